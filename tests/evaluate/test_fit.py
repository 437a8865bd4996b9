from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nasflow.data import Dataset, digits
from nasflow.errors import CandidateError, RunError
from nasflow.evaluate.checkpoint import write_bytes
from nasflow.evaluate.fit import fit
from nasflow.evaluate.train import Train
from nasflow.evaluate.training import measure
from tests.evaluate.networks import HandWritten, plain

PLAIN = HandWritten(plain)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits.load(augment={"crop": 1, "mixup": 0.2})


def trainer(data: Dataset, **recipe: object) -> Train:
    return Train(data, device="cpu", **{"epochs": 3, "images": 400} | recipe)


class Killed(BaseException):
    pass


def die_at(epoch: int):
    def report(entry: dict[str, float]) -> None:
        if entry["epoch"] == epoch:
            raise Killed

    return report


def timeless(measures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in measures.items() if "seconds" not in name}


def test_the_weights_kept_give_the_accuracy_reported(data: Dataset, tmp_path: Path) -> None:
    measures = fit(PLAIN, trainer(data), tmp_path / "new/folder", seed=1)
    module = plain()
    module.load_state_dict(load_file(tmp_path / "new/folder/weights.safetensors"))
    assert measure(module, data, data.test)[0] == pytest.approx(measures["test_accuracy"])
    assert measure(module, data, data.validation)[0] == pytest.approx(measures["accuracy"])
    document = json.loads((tmp_path / "new/folder/training.json").read_text())
    assert document["measures"] == measures
    assert [entry["epoch"] for entry in document["history"]] == [1, 2, 3]


def test_a_search_result_can_be_trained_again_to_the_last_bit(
    data: Dataset, tmp_path: Path
) -> None:
    searched, again = trainer(data)(PLAIN, seed=5), fit(PLAIN, trainer(data), tmp_path, seed=5)
    assert timeless(searched).items() <= timeless(again).items()


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "learning_rate": 0.01, "average": 0.9},
        {"optimizer": "rmsprop", "learning_rate": 0.002, "channels_last": False},
    ],
)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    data: Dataset, tmp_path: Path, recipe: dict[str, object]
) -> None:
    how = trainer(data, **recipe)
    whole = fit(PLAIN, how, tmp_path / "whole")
    for epoch in (1, 2):
        with pytest.raises(Killed):
            fit(PLAIN, how, tmp_path / "killed", report=die_at(epoch))
    assert timeless(fit(PLAIN, how, tmp_path / "killed")) == timeless(whole)
    for file in ("weights.safetensors", "checkpoint.safetensors"):
        one, two = (load_file(tmp_path / part / file) for part in ("whole", "killed"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_training_is_not_repeated(data: Dataset, tmp_path: Path) -> None:
    first = fit(PLAIN, trainer(data, epochs=1), tmp_path)
    assert fit(PLAIN, trainer(data, epochs=1), tmp_path, report=die_at(1)) == first


def test_without_held_out_images_the_last_epoch_is_kept(tmp_path: Path) -> None:
    measures = fit(PLAIN, trainer(digits.load(validation=0), epochs=2), tmp_path)
    assert "accuracy" not in measures
    assert measures["test_accuracy"] > 0.2


def test_another_training_or_a_damaged_checkpoint_is_refused(data: Dataset, tmp_path: Path) -> None:
    fit(PLAIN, trainer(data, epochs=1), tmp_path)
    with pytest.raises(RunError, match=r"its recipe is \{'batch': 64\}, here \{'batch': 32\}"):
        fit(PLAIN, trainer(data, epochs=1, batch=32), tmp_path)
    with pytest.raises(RunError, match="its fingerprint is 'f00d', here 'beef'"):
        fit(HandWritten(plain, fingerprint="beef"), trainer(data, epochs=1), tmp_path)
    other = HandWritten(lambda: plain(width=8))  # the same name for another network
    with pytest.raises(RunError, match="not a checkpoint of this network"):
        fit(other, trainer(data, epochs=1), tmp_path)
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(RunError, match="truncated, or not a safetensors file"):
        fit(PLAIN, trainer(data, epochs=1), tmp_path)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*file: No space left on device"):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_one_line(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot create the folder"):
        fit(PLAIN, trainer(data), tmp_path / "file/folder")


def test_a_training_that_fails_says_so(data: Dataset, tmp_path: Path) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) / 0

    with pytest.raises(CandidateError, match="NaN or infinite in epoch 1"):
        fit(HandWritten(Broken), trainer(data), tmp_path)


def test_tied_weights_can_be_stored(data: Dataset, tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 64)
            self.two.weight = self.one.weight
            self.head = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.two(self.one(x.flatten(1)).relu()).relu())

    fit(HandWritten(Tied), trainer(data, epochs=1), tmp_path)
    stored = load_file(tmp_path / "weights.safetensors")
    assert torch.equal(stored["one.weight"], stored["two.weight"])
