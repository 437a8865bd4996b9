from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nasflow.data import Dataset, digits
from nasflow.errors import CandidateError, ConfigError
from nasflow.evaluate.train import Train, summary
from nasflow.evaluate.training import measure
from tests.evaluate.networks import HandWritten, plain

PLAIN = HandWritten(plain)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits.load(augment={"crop": 1})


def quick(data: Dataset, **recipe: object) -> Train:
    return Train(data, device="cpu", **{"epochs": 1, "images": 200} | recipe)


def test_weights_of_the_best_epoch_are_kept(data: Dataset, tmp_path: Path) -> None:
    trainer = Train(data, device="cpu", keep=str(tmp_path), epochs=3)
    measures = trainer(PLAIN, seed=0)
    module = PLAIN.to_torch()
    module.load_state_dict(load_file(tmp_path / "f00d.safetensors"))
    accuracy, _ = measure(module, data, data.validation)
    assert accuracy == measures["accuracy"]
    Train(data, device="cpu", keep=str(tmp_path / "not there"), epochs=1)(PLAIN, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["f00d.safetensors"]


def timeless(measures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in measures.items() if "seconds" not in name}


def test_a_few_epochs_learn_the_digits(data: Dataset) -> None:
    reports: list[dict[str, float]] = []
    measures = Train(data, device="cpu")(PLAIN, seed=0, report=reports.append)
    assert measures["accuracy"] > 0.9
    assert measures["params"] == PLAIN.cost().params
    assert measures["macs"] == 1000
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4, 5]
    best = max(report["accuracy"] for report in reports)
    assert measures["accuracy"] == measures["best_accuracy"] == best
    assert reports[int(measures["best_epoch"]) - 1]["accuracy"] == best
    assert measures["last_accuracy"] == reports[-1]["accuracy"]
    assert reports[-1]["train_loss"] < reports[0]["train_loss"] / 2
    assert 0 < reports[0]["seconds"] < measures["train_seconds"]


def test_one_seed_gives_the_same_measures_whatever_was_drawn_before(data: Dataset) -> None:
    trainer = quick(data)
    first = timeless(trainer(PLAIN, seed=3))
    torch.rand(7)
    before = torch.get_rng_state()
    assert timeless(trainer(PLAIN, seed=3)) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert timeless(trainer(PLAIN, seed=4)) != first


def test_a_pickled_evaluator_measures_the_same(data: Dataset) -> None:
    trainer = quick(data)
    first = timeless(trainer(PLAIN, seed=0))
    assert timeless(pickle.loads(pickle.dumps(trainer))(PLAIN, seed=0)) == first


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "learning_rate": 0.01},
        {"optimizer": "rmsprop", "learning_rate": 0.002, "schedule": "exponential"},
        {"average": 0.9, "schedule": "constant"},
        {"label_smoothing": 0.1, "channels_last": False, "clip": None},
        {"precision": "bfloat16"},
        {"decay_all": True, "momentum": 0.0},
    ],
)
def test_every_kind_of_recipe_learns(data: Dataset, recipe: dict[str, object]) -> None:
    trainer = Train(data, device="cpu", **{"epochs": 2, "images": 800} | recipe)
    assert trainer(PLAIN, seed=0)["accuracy"] > 0.5


def test_mixup_and_cutout_learn(data: Dataset) -> None:
    augment = dataclasses.replace(data.augment, mixup=0.2, cutout=2)
    strong = dataclasses.replace(data, augment=augment)
    assert Train(strong, device="cpu", epochs=2)(PLAIN, seed=0)["accuracy"] > 0.7


def test_images_are_resized_to_what_the_network_takes(data: Dataset) -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5 * 6, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1:] == (1, 5, 6)
            return self.head(x.flatten(1))

    sized = HandWritten(Sized, shape=(1, 5, 6))
    assert Train(data, device="cpu")(sized, seed=0)["accuracy"] > 0.4


class Clocked(nn.Module):
    """Record the progress it is told, as a scheduled drop path would use it, and have two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = plain()
        self.extra = nn.Linear(64, 10)
        self.progress = -1.0
        self.extra.progress = None  # has a rate that is not scheduled
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        if not self.training:
            return self.body(x)
        SEEN.append(self.progress)
        assert self.extra.progress is None
        return self.body(x), self.extra(x.flatten(1))


SEEN: list[float] = []


def test_progress_is_set_and_the_auxiliary_head_is_trained(data: Dataset) -> None:
    SEEN.clear()
    with_head = quick(data, epochs=2, auxiliary=0.4)(HandWritten(Clocked), seed=0)
    assert pytest.approx([i / 6 for i in range(6)]) == SEEN  # 3 steps an epoch
    reports: list[dict[str, float]] = []
    quick(data, epochs=1, auxiliary=0.0)(HandWritten(Clocked), seed=0, report=reports.append)
    quick(data, epochs=1, auxiliary=0.4)(HandWritten(Clocked), seed=0, report=reports.append)
    assert reports[1]["train_loss"] > reports[0]["train_loss"] + 0.4
    assert with_head["epochs"] == 2


# A candidate's own failures


class Diverging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = plain()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * float("nan")


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("an operation of\nsomeone's own")


class Greedy(Raising):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.empty(1 << 50)


def cannot_build() -> nn.Module:
    raise TypeError("no such layer")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Diverging, "the loss is NaN or infinite in epoch 1"),
        (Raising, "ValueError: an operation of someone's own"),
        (Greedy, "out of memory: "),
        (cannot_build, "TypeError: no such layer"),
    ],
)
def test_a_failing_candidate_says_why_on_one_line(data: Dataset, make: object, says: str) -> None:
    with pytest.raises(CandidateError, match=says) as caught:
        quick(data)(HandWritten(make), seed=0)
    assert "\n" not in str(caught.value)


def test_the_time_limit_ends_a_training(data: Dataset) -> None:
    with pytest.raises(CandidateError, match=r"time limit of 0\.05 s reached in epoch \d+"):
        quick(data, epochs=10_000, time_limit=0.05)(PLAIN, seed=0)


def test_what_report_raises_passes_through(data: Dataset) -> None:
    def stop(_: dict[str, float]) -> None:
        raise StopIteration("enough")

    with pytest.raises(StopIteration):
        quick(data)(PLAIN, seed=0, report=stop)


# Settings that no candidate can satisfy


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (
            HandWritten(lambda: plain(channels=3), shape=(3, 8, 8)),
            "3 channels, data 'digits' has 1",
        ),
        (HandWritten(lambda: plain(classes=7)), "has 10 classes, the network gives"),
        (HandWritten(plain, shape=(8, 8)), "needs one image"),
    ],
)
def test_a_network_that_does_not_fit_the_data(
    data: Dataset, network: HandWritten, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        quick(data)(network, seed=0)


def test_a_search_needs_held_out_images() -> None:
    with pytest.raises(ConfigError, match=r"set data\.validation above 0"):
        quick(digits.load(validation=0))(PLAIN, seed=0)


def test_an_unknown_device_is_refused(data: Dataset) -> None:
    with pytest.raises(ConfigError, match="device 'tpu9' cannot be used here"):
        Train(data, device="tpu9")(PLAIN, seed=0)


def test_the_first_of_equal_epochs_is_the_best() -> None:
    pairs = [(0.5, 1.0), (0.9, 0.5), (0.9, 0.4), (0.8, 0.3)]
    history = [{"epoch": i, "accuracy": a, "loss": b} for i, (a, b) in enumerate(pairs, 1)]
    best, last = summary(history, "best"), summary(history, "last")
    assert (best["accuracy"], best["loss"], best["best_epoch"]) == (0.9, 0.5, 2)
    assert (last["accuracy"], last["loss"], last["best_accuracy"]) == (0.8, 0.3, 0.9)
