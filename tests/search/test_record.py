from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nasflow.errors import RunError
from nasflow.search import results
from nasflow.search.ledger import FILE
from nasflow.search.record import Order
from nasflow.search.run import resume, search


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the records of a run: its header, three asks with their results, its end."""
    out = tmp_path_factory.mktemp("whole")
    search(
        space={"_target_": "tests.search.fakes.space"},
        strategy={"_target_": "tests.search.fakes.Walk"},
        evaluator={"_target_": "tests.search.fakes.Table"},
        budget={"trials": 3},
        out=out,
    )
    return [json.loads(line) for line in (out / FILE).read_text().splitlines()]


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        (1, {"plan": 3}, "line 1: run: expected plan to be a mapping, got 3"),
        (2, {"n": 7}, "line 2: expected proposal 0, got 7"),
        (2, {"point": [1]}, "line 2: ask: expected point to be a mapping"),
        (2, {"fp": None}, "line 2: ask: expected fp to be text"),
        (2, {"t": "dup", "of": 5}, "line 2: proposal 0 cannot equal proposal 5"),
        (3, {"n": "x"}, "line 3: result: expected n to be a whole number, got 'x'"),
        (3, {"n": 1}, "line 3: a result of proposal 1, which waits for none"),
        (3, {"reward": "high"}, "line 3: result: expected reward to be a number or null"),
        (3, {"reward": float("nan")}, "line 3: result: expected numbers, got nan"),
        (3, {"measures": {"accuracy": 10**400}}, "line 3: result: expected numbers, got 1000"),
        (3, {"at": None}, "line 3: result: expected at to be a number, got None"),
        (3, {"t": "zzz"}, "line 3: unknown kind 'zzz'"),
    ],
)
def test_an_edited_ledger_is_one_line_that_says_where(
    lines: list[dict[str, Any]], tmp_path: Path, number: int, change: dict[str, Any], says: str
) -> None:
    edited = [line | (change if i == number else {}) for i, line in enumerate(lines, 1)]
    text = "".join(f"{json.dumps(line)}\n" for line in edited)
    (tmp_path / FILE).write_text(text)
    for call in (results.load, resume):
        with pytest.raises(RunError) as caught:
            call(tmp_path)
        assert says in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / FILE).read_text() == text


def test_fields_that_a_kind_does_not_have_are_passed_over() -> None:
    record = {"t": "ask", "n": 0, "point": {}, "fp": "f", "measures": 3}
    assert Order().problem(record) is None


@pytest.mark.parametrize("part", ["space", "budget", "seed"])
def test_a_plan_without_a_part_is_one_line(
    lines: list[dict[str, Any]], tmp_path: Path, part: str
) -> None:
    plan = {key: value for key, value in lines[0]["plan"].items() if key != part}
    text = "".join(f"{json.dumps(line)}\n" for line in [lines[0] | {"plan": plan}, *lines[1:]])
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RunError, match=f"its plan has no {part}"):
        resume(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"records": "x", "state": {}}'])
def test_a_damaged_snapshot_is_one_line(
    lines: list[dict[str, Any]], tmp_path: Path, text: str
) -> None:
    (tmp_path / FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (tmp_path / "strategy.json").write_text(text)
    with pytest.raises(RunError, match=r"strategy\.json: cannot be read .*replays the whole run"):
        resume(tmp_path, budget={"trials": 5})
    (tmp_path / "strategy.json").unlink()
    assert len(resume(tmp_path, budget={"trials": 5}).entries) == 5
