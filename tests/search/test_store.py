"""Runs in object stores; fsspec's memory stands for a bucket."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest

from nasflow.cli import main
from nasflow.errors import RunError
from nasflow.search import results, store
from nasflow.search.ledger import Ledger, read
from nasflow.search.run import resume, search
from tests.search.test_ledger import ask, filled, result


@pytest.fixture
def uri() -> str:
    return f"memory://bucket/{uuid.uuid4().hex}/run"


def objects(uri: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(uri)
    return sorted(path.removeprefix(f"{root}/") for path in files.find(root))


def elsewhere() -> None:
    """Forget all working copies, as another machine has none."""
    store._stores.clear()


def test_a_run_in_a_store_is_the_run_of_a_folder(setup: dict[str, Any], uri: str) -> None:
    here = search(**setup)
    there = search(**{**setup, "out": uri})
    assert [e.result for e in here.entries] == [e.result for e in there.entries]
    assert objects(uri) == ["driver", "ledger.jsonl", "strategy.json"]
    elsewhere()
    assert [e.result for e in results.load(uri).entries] == [e.result for e in here.entries]
    with pytest.raises(RunError, match=f"resume run={uri}"):
        search(**{**setup, "out": uri})


def test_a_run_goes_on_from_its_store(setup: dict[str, Any], tmp_path: Path, uri: str) -> None:
    whole = search(**{**setup, "out": tmp_path / "whole", "budget": {"trials": 45}})
    search(**{**setup, "out": uri})
    elsewhere()
    run = resume(uri, budget={"trials": 45})
    assert [e.result for e in run.entries] == [e.result for e in whole.entries]


@pytest.mark.parametrize("trials", [1, store.MERGED // 2 - 1, store.MERGED // 2, store.MERGED])
def test_whatever_was_flushed_is_there_after_a_kill(uri: str, trials: int) -> None:
    ledger = Ledger.create(store.copy_of(uri), {"plan": {}})
    for n in range(trials):
        for record in (ask(n), result(n)):
            ledger.append(record)
            ledger.flush()
    assert len(objects(uri)) <= store.MERGED + 3
    elsewhere()
    records = list(read(store.copy_of(uri)))[1:]
    assert records == [r for n in range(trials) for r in (ask(n), result(n))]


def test_a_kill_while_pieces_are_removed_changes_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = filled(store.copy_of(uri), trials=20)
    assert ledger.store
    removed: list[str] = []

    def remove(name: str) -> None:
        if len(removed) == 7:
            raise OSError("killed")
        removed.append(name)
        fsspec.filesystem("memory").rm(name)

    for n in range(20, 40):
        ledger.append(ask(n))
        ledger.flush()
    files = ledger.store.files
    monkeypatch.setattr(ledger.store, "files", Failing(files, remove))
    with pytest.raises(RunError, match="killed"):
        ledger.close()
    assert len(removed) == 7
    elsewhere()
    assert (store.copy_of(uri) / "ledger.jsonl").read_bytes() == ledger.path.read_bytes()


class Failing:
    def __init__(self, files: Any, remove: Any) -> None:
        self.files, self.delete_file = files, remove

    def __getattr__(self, name: str) -> Any:
        return getattr(self.files, name)


def test_the_driver_that_went_on_wins(uri: str) -> None:
    first = filled(store.copy_of(uri))
    first.flush()
    elsewhere()
    second, records = Ledger.open(store.copy_of(uri))
    assert len(list(records)) == 7
    first.append(ask(3))
    with pytest.raises(RunError, match="another driver has gone on"):
        first.flush()
    second.append(ask(3))
    second.append(result(3))
    second.close()
    elsewhere()
    assert list(read(store.copy_of(uri)))[-2:] == [ask(3), result(3)]


def test_a_run_that_goes_on_elsewhere_is_read_anew(uri: str) -> None:
    ledger = filled(store.copy_of(uri))
    ledger.flush()
    driver = dict(store._stores)
    elsewhere()
    assert len(results.load(uri).entries) == 3
    here = dict(store._stores)
    store._stores |= driver
    for record in (ask(3), result(3)):
        ledger.append(record)
    ledger.flush()
    store._stores |= here
    assert len(results.load(uri).entries) == 4


def test_other_files_follow_when_they_change(uri: str) -> None:
    folder = store.copy_of(uri)
    filled(folder).close()
    (folder / "weights").mkdir()
    (folder / "weights/a").write_text("a")
    (folder / "report.html").write_text("b")
    store.push()
    assert {"report.html", "weights/a"} <= set(objects(uri))
    assert store.named(folder / "report.html") == f"{uri}/report.html"
    os.remove(folder / "weights/a")
    store.push()
    assert "weights/a" not in objects(uri)


def test_a_store_that_fails_is_one_line_and_loses_nothing(
    setup: dict[str, Any], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = store.Store._write, []

    def write(self: store.Store, name: str, data: bytes) -> None:
        calls.append(name)
        if len(calls) == 9:
            raise OSError("the bucket\nis full")
        real(self, name, data)

    monkeypatch.setattr(store.Store, "_write", write)
    with pytest.raises(RunError, match="the bucket is full") as caught:
        search(**{**setup, "out": uri, "evaluator": Slow()})
    assert "\n" not in str(caught.value)
    elsewhere()
    assert results.load(uri).entries
    assert len(resume(uri, evaluator=Slow()).entries) == 30


class Slow:
    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        import time

        time.sleep(0.01)
        return {"accuracy": sum(graph.widths) / 100, "seed": seed}


def test_the_commands_take_a_uri(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["space.blocks=1", "evaluator=cost", "objective.measures={params: min}"]
    words = ["search", "space=nasnet", "strategy=random", "executor=inline", *small, f"out={uri}"]
    assert main([*words, "budget.trials=2"]) == 0
    assert f"{uri}/report.html" in capsys.readouterr().out
    for words in (
        ["resume", f"run={uri}", "budget.trials=3"],
        ["show", f"run={uri}", f"to={uri}/pictures"],
        ["export", f"run={uri}", f"to={uri}/second", "rank=2"],
        ["report", f"run={uri}"],
    ):
        elsewhere()
        assert main(words) == 0
    assert "nasflow-run-" not in capsys.readouterr().out
    assert {"report.html", "best/model.py", "second/model.py", "ledger.jsonl"} <= set(objects(uri))
