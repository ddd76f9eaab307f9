"""The wheel ``nocturne-client``: what others install to use promoted models. ``python -m deployments.client``."""
