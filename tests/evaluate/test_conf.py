"""The configuration files build what they say, with the defaults of the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from nasflow.evaluate import Cost, Together
from nasflow.evaluate.latency import Latency
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.train import Train
from tests.evaluate.networks import HandWritten, plain

CONF = Path(__file__).parents[2] / "conf"


def composed(*words: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(overrides=[f"+{word}" for word in words])


def test_train_has_the_defaults_of_the_recipe() -> None:
    evaluator = instantiate(composed("data=digits", "evaluator=train").evaluator)
    assert isinstance(evaluator, Train)
    assert evaluator.recipe == Recipe()
    assert evaluator.data.augment.crop == 1


def test_full_trains_longer_by_the_same_means() -> None:
    evaluator = instantiate(composed("data=digits", "evaluator=full").evaluator)
    assert evaluator.recipe.epochs == 600


def test_cost_latency_and_both_together() -> None:
    assert isinstance(instantiate(composed("evaluator=cost").evaluator), Cost)
    assert isinstance(instantiate(composed("evaluator=latency").evaluator), Latency)
    words = ("evaluator.evaluators.train.epochs=1", "evaluator.evaluators.latency.repeats=2")
    config = composed("data=digits", "evaluator=train_latency")
    for word in words:
        key, value = word.split("=")
        config.merge_with_dotlist([f"{key}={value}"])
    both = instantiate(config.evaluator)
    assert isinstance(both, Together)
    assert {"accuracy", "latency_ms", "params"} <= both(HandWritten(plain), seed=0).keys()


@pytest.mark.parametrize("file", sorted((CONF / "data").glob("*.yaml")), ids=lambda f: f.stem)
def test_a_data_file_names_only_what_its_loader_takes(file: Path, tmp_path: Path) -> None:
    from nasflow.errors import DataError

    config = composed(f"data={file.stem}")
    if file.stem == "digits":
        assert instantiate(config.data).classes == 10
        return
    config.data.path = str(tmp_path / "absent")
    with pytest.raises(Exception, match="not found") as caught:
        instantiate(config.data)
    assert isinstance(caught.value.__cause__, DataError)
