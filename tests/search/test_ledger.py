from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasflow.errors import RunError
from nasflow.search import ledger as ledgers
from nasflow.search.ledger import FILE, Ledger, read


def ask(n: int) -> dict[str, Any]:
    return {"t": "ask", "n": n, "point": {"a": n}, "fp": f"f{n}"}


def result(n: int) -> dict[str, Any]:
    record = {"t": "result", "n": n, "measures": {"x": n}, "reward": n, "values": [n]}
    return {**record, "error": None, "seconds": 0, "at": 1}


def filled(folder: Path, trials: int = 3) -> Ledger:
    ledger = Ledger.create(folder, {"plan": {}})
    for n in range(trials):
        ledger.append(ask(n))
        ledger.append(result(n))
    return ledger


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    filled(tmp_path).close()
    header, *records = read(tmp_path)
    assert header["t"] == "run"
    assert records == [r for n in range(3) for r in (ask(n), result(n))]


def test_answers_come_by_proposal_and_fingerprint(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger.append(ask(3))
    assert ledger.known["f2"] == 2
    answer = ledger.answer(2)
    assert answer and answer["reward"] == 2
    assert ledger.answer(3) is None
    ledger.close()
    again, records = Ledger.open(tmp_path)
    assert len(list(records)) == again.records == 8
    answer = again.answer(1)
    assert answer and answer["reward"] == 1 and again.known["f3"] == 3
    again.close()


@pytest.mark.parametrize("torn", [b'{"t":"ask","n":3,"poi', b'{"t":"ask"}', b"\x00" * 4096])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    filled(tmp_path).close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(torn)
    assert len(list(read(tmp_path))) == 7
    ledger, records = Ledger.open(tmp_path)
    assert len(list(records)) == 7
    ledger.append(ask(3))
    ledger.close()
    assert list(read(tmp_path))[-1] == ask(3)


def test_damage_in_the_middle_is_refused_with_its_line(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[4:]]))
    with pytest.raises(RunError, match="line 4 is damaged"):
        list(read(tmp_path))


def test_every_prefix_of_the_file_opens(tmp_path: Path) -> None:
    filled(tmp_path).close()
    whole = (tmp_path / FILE).read_bytes()
    start = whole.index(b"\n") + 1
    for size in range(start, len(whole) + 1):
        (tmp_path / FILE).write_bytes(whole[:size])
        ledger, records = Ledger.open(tmp_path)
        assert len(list(records)) == whole[:size].count(b"\n")
        ledger.close()
        assert (tmp_path / FILE).read_bytes() == whole[: whole[:size].rindex(b"\n") + 1]


def test_two_drivers_cannot_write_one_run(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    with pytest.raises(RunError, match="another driver"):
        Ledger.open(tmp_path)
    ledger.close()
    Ledger.open(tmp_path)[0].close()


def test_a_second_result_for_one_proposal_is_refused(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    with pytest.raises(RunError, match="two results"):
        ledger.append(result(1))
    ledger.close()


@pytest.mark.parametrize("what", ["missing", "empty", "file", "foreign"])
def test_a_folder_that_holds_no_run_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "run"
    if what == "file":
        folder.write_text("")
    elif what != "missing":
        folder.mkdir()
    if what == "foreign":
        (folder / FILE).write_text('{"t": "something"}\n')
    with pytest.raises(RunError, match="run") as caught:
        list(read(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_run_is_not_begun_again(tmp_path: Path) -> None:
    filled(tmp_path).close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(RunError, match="already holds a run"):
        Ledger.create(tmp_path, {})
    assert (tmp_path / FILE).read_bytes() == before


def test_a_run_without_a_result_is_begun_anew(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, {"plan": {}})
    ledger.append(ask(0))
    ledger.close()
    ledgers.write_atomically(tmp_path / ledgers.SNAPSHOT, {"records": 2})
    Ledger.create(tmp_path, {"plan": {"seed": 1}}).close()
    assert [r["plan"] for r in read(tmp_path)] == [{"seed": 1}]
    assert os.listdir(tmp_path) == [FILE]


def test_a_file_that_is_no_ledger_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("notes of mine\n")
    with pytest.raises(RunError, match="already holds"):
        Ledger.create(tmp_path, {})
    assert (tmp_path / FILE).read_text() == "notes of mine\n"


def test_a_header_torn_by_a_kill_does_not_block_the_folder(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'{"t":"run","for')
    Ledger.create(tmp_path, {"plan": {}}).close()
    assert next(read(tmp_path))["t"] == "run"


def test_an_unwritable_folder_is_one_line() -> None:
    with pytest.raises(RunError, match="cannot write a run here"):
        Ledger.create(Path("/proc/nasflow"), {})


# A limit on the size of files stops a write halfway, as a full disk does.
FULL = """
import resource, signal, sys
from pathlib import Path
from nasflow.errors import RunError
from nasflow.search.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
ledger = Ledger.create(Path(sys.argv[1]), {"plan": {}})
n = 0
try:
    while True:
        ledger.append({"t": "ask", "n": n, "point": {}, "fp": str(n)})
        n += 1
except RunError as error:
    print(n, error)
"""


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    count, message = done.stdout.strip().split(" ", 1)
    assert "\n" not in message and f"trial {count}" in message and "resume" in message
    ledger, records = Ledger.open(tmp_path)
    assert len(list(records)) == int(count) + 1
    ledger.append(ask(int(count)))
    ledger.close()


def test_a_disk_error_while_flushing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = filled(tmp_path)

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(ledgers.os, "fdatasync", fails)
    ledger.append(ask(3))
    with pytest.raises(RunError, match="cannot be flushed"):
        ledger.flush()


@pytest.mark.parametrize(("flush", "between", "flushed"), [(0.001, 0.02, 50), (0.001, 0.001, 6)])
def test_flushing_takes_a_tenth_of_the_time_and_never_waits_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: float, between: float, flushed: int
) -> None:
    now, calls = [0.0], []

    def slow(fd: int) -> None:
        calls.append(fd)
        now[0] += flush

    monkeypatch.setattr(ledgers.os, "fdatasync", slow)
    monkeypatch.setattr(ledgers.time, "perf_counter", lambda: now[0])
    ledger = Ledger.create(tmp_path, {"plan": {}})
    ledger._flush_cost = flush
    calls.clear()
    for n in range(50):
        now[0] += between
        ledger.append(ask(n))
        ledger.append(result(n))
    assert flushed - 1 <= len(calls) <= flushed
    ledger.flush()
    ledger.flush()
    assert len(calls) <= flushed + 1
    ledger.close()


def test_a_snapshot_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    ledgers.write_atomically(path, {"a": 1})
    ledgers.write_atomically(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2} and os.listdir(tmp_path) == ["s.json"]


def test_memory_by_trial_is_small(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    filled(tmp_path, trials=5000).close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
