"""A model says which packages it needs; what is installed is compared before anything is computed."""

from __future__ import annotations

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from tasks.errors import ConfigurationError
from tasks.registry.needs import BASE_NEEDS, SCORER_NEEDS
from tasks.registry.serving.packages import require_packages

NUMPY = importlib.metadata.version("numpy")
releases = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
clauses = st.lists(st.tuples(st.sampled_from([">=", "<=", "==", "!=", "<", ">"]), releases), max_size=3)


def test_what_models_are_logged_with_is_met_here() -> None:
    require_packages([*BASE_NEEDS, *(need for needs in SCORER_NEEDS.values() for need in needs)])


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("numpy>=99,<100", rf"numpy {NUMPY} is installed, the model needs >=99,<100.*pip install 'numpy>=99,<100'"),
        ("numpy==1.0", rf"numpy {NUMPY} is installed"),
        ("no-such-package>=1", "no-such-package is not installed, the model needs >=1"),
        ("numpy @ file:///x", "cannot be read"),
        ("", "cannot be read"),
        ("numpy>=two", "cannot be read"),
    ],
)
def test_what_is_not_met_is_named_with_its_cure(requirement: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        require_packages(["pandas>=1", requirement])


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"numpy .*; pandas .*pip install 'numpy<1' 'pandas<1'"):
        require_packages(["numpy<1", "pandas<1", "TA-Lib>=0.6"])


@given(releases, clauses)
def test_releases_compare_as_the_packaging_library_says(found: str, wanted: list[tuple[str, str]]) -> None:
    text = ",".join(f"{sign}{number}" for sign, number in wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda _name: found)
        try:
            require_packages([f"thing{text}"])
            met = True
        except ConfigurationError:
            met = False
    assert met == SpecifierSet(text).contains(found)
