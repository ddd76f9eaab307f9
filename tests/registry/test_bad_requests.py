"""Each kind of bad request is refused with its words before anything is scored; good ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.errors import ConfigurationError, ModelInputError
from tasks.registry.serving.predictor import Predictor
from tests.registry.bad_requests import PACKAGES, REQUESTS, Request, load_changed, models, send


@pytest.fixture(scope="module")
def sent_to(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.title)
def test_it_is_refused_in_words(request_: Request, sent_to: dict[str, Predictor]) -> None:
    with pytest.raises(ModelInputError, match=request_.message):
        send(request_, sent_to)


@pytest.mark.parametrize("model", ["one", "panel"])
def test_the_same_request_unspoilt_is_answered(model: str, sent_to: dict[str, Predictor]) -> None:
    for asked in ({}, {"rows": "all"}, {"interval": 0.9}):
        said = send(Request("sound", lambda bars: bars, "", model, asked), sent_to)
        assert len(said)
        assert np.isfinite(said.select_dtypes("number")).all(axis=None)


def test_columns_in_another_order_give_the_same(sent_to: dict[str, Predictor]) -> None:
    turned, plain = (Request("", change, "") for change in (lambda bars: bars[bars.columns[::-1]], lambda bars: bars))
    assert send(turned, sent_to)["prediction"].tolist() == send(plain, sent_to)["prediction"].tolist()


@pytest.mark.parametrize("change", PACKAGES.values(), ids=PACKAGES)
def test_a_model_whose_packages_are_not_here_is_not_loaded(
    change: tuple[str, str, str], sent_to: dict[str, Predictor]
) -> None:
    before, after, message = change
    with pytest.raises(ConfigurationError, match=message):
        load_changed(Path(sent_to["one"].bundle), before, after)
