"""The memory of a run: one JSON object a line, appended and never rewritten.

Records, told apart by ``"t"``; ``n`` numbers the proposals of the run from 0:

| t | meaning | fields |
|---|---|---|
| run | first line: what the run is | format, nasflow, seed, plan |
| ask | a proposal was sent to evaluation | n, point, fp |
| dup | a proposal equals proposal `of` | n, point, of |
| refused | a proposal over a hard limit or impossible to build | n, point, fp, measures, error |
| none | the strategy had nothing to propose | |
| result | an evaluation ended, once for each ask | n, measures, reward, values, error, seconds, at |
| start, end | a driver began or ended; `at` is the run's time so far | at, reason |

What is written survives the death of the process at once. Against a power cut it is flushed to the disk (fdatasync):
each result before the strategy hears of it, unless results come faster than nine flushes take; then in groups, with at
most a tenth of the time spent on flushing, and always before the loop waits. So what a power cut can take was measured
in less than nine flushes' time, and a resume measures it again. A torn last line is cut off.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from nasflow.errors import RunError
from nasflow.search import store
from nasflow.search.record import Order, Record

FILE = "ledger.jsonl"
SNAPSHOT = "strategy.json"  # the strategy's state, beside it
FORMAT = 1
REST = 9  # between two flushes, in flushes: a tenth of the time at most
LINE = 2048  # bytes read at once to find one line again
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Ledger:
    """Append to the ledger of one run, holding the only right to do so.

    `create` starts one, `open` goes on with one. Each raises RunError (one line) for a folder that cannot be used and
    for one that another driver is writing. `records` counts the lines, `known` maps fingerprint to proposal number.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.store = store.of(path.parent)
        self.records = 0
        self.known: dict[str, int] = {}
        self._answers = array(
            "q"
        )  # by proposal: offset of the line that holds its result, -1 while there is none
        self._fd = fd
        self._end = self._stored = 0
        self._flushed = time.perf_counter()
        self._flush_cost = 0.0
        self._dirty = False

    @classmethod
    def create(cls, folder: Path, header: Record) -> Ledger:
        """Start a run in `folder`, which is made if need be; a run without any result in it is begun anew."""
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(f"{folder}: cannot write a run here: {error.strerror}") from error
        _lock(fd, folder)
        if _has_results(fd):
            os.close(fd)
            raise RunError(
                f"{store.named(folder)} already holds a run: "
                f"go on with `resume run={store.named(folder)}` or choose another out="
            )
        os.ftruncate(fd, 0)
        path.with_name(SNAPSHOT).unlink(missing_ok=True)
        ledger = cls(path, fd)
        if ledger.store:
            ledger.store.take()
            ledger.store.clear()
        ledger.append({"t": "run", "format": FORMAT, **header})
        ledger.flush()
        _sync_folder(folder)
        return ledger

    @classmethod
    def open(cls, folder: Path) -> tuple[Ledger, Iterator[Record]]:
        """Go on with the run in `folder`; exhaust the returned records before the first `append`."""
        path = folder / FILE
        _must_hold_run(folder)
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error
        _lock(fd, folder)
        ledger = cls(path, fd)
        if ledger.store:
            ledger.store.take()
            ledger._stored = path.stat().st_size
        return ledger, ledger._load()

    def append(self, record: Record) -> None:
        """Write one record.

        Raises RunError where the disk refuses it; everything before it stays whole.
        """
        line = f"{_encode(record)}\n".encode()
        try:
            written = os.write(self._fd, line)
            if written < len(
                line
            ):  # a full disk takes what fits: ask for the rest to learn the reason
                os.write(self._fd, line[written:])
        except OSError as error:
            self._cut()
            raise RunError(
                f"{self.path}: cannot record trial {record.get('n', '')}: {error.strerror}; "
                f"all earlier results are safe: make room, then `resume run={self.where}`"
            ) from error
        self._note(record, self._end)
        self._end += len(line)
        self._dirty = True
        pause = time.perf_counter() - self._flushed
        if record["t"] == "result" and pause >= REST * self._flush_cost:
            self.flush()

    def flush(self) -> None:
        """Wait until everything written is on the disk."""
        if not self._dirty:
            return
        begin = time.perf_counter()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be flushed to disk: {error.strerror}") from error
        if self.store:
            self.store.append(self._stored, os.pread(self._fd, self._end, self._stored))
            self._stored = self._end
        self._flushed = time.perf_counter()
        self._flush_cost += 0.2 * (
            self._flushed - begin - self._flush_cost
        )  # one slow flush is no slow disk
        self._dirty = False

    @property
    def where(self) -> str:
        """Name the run as its owner does: its folder or its URI."""
        return store.named(self.path.parent)

    def save(self, name: str, data: Mapping[str, Any]) -> None:
        """Replace a JSON file beside the ledger, whole."""
        write_atomically(self.path.with_name(name), data)
        if self.store:
            self.store.put(name)

    def answer(self, n: int) -> Record | None:
        """Read the ``result`` or ``refused`` record of proposal `n`; None while it has none."""
        offset = self._answers[n]
        if offset < 0:
            return None
        line = b""
        while b"\n" not in line:
            line += os.pread(self._fd, LINE, offset + len(line))
        record: Record = json.loads(line[: line.index(b"\n")])
        return record

    def close(self) -> None:
        """Flush and give up the right to write."""
        if self._fd < 0:
            return
        try:
            self.flush()
            if self.store:
                self.store.finish()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _cut(self) -> None:
        """Take back half a line: what follows must not be glued to it."""
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:  # the torn line is then cut off when the ledger is next opened
            return

    def _note(self, record: Record, offset: int) -> None:
        self.records += 1
        kind = record["t"]
        if kind in ("ask", "dup", "refused"):
            self._answers.append(offset if kind == "refused" else -1)
        if kind in ("ask", "refused"):
            self.known.setdefault(record["fp"], record["n"])
        elif kind == "result":
            if self._answers[record["n"]] >= 0:
                raise RunError(f"{self.path}: proposal {record['n']} has two results")
            self._answers[record["n"]] = offset

    def _load(self) -> Iterator[Record]:
        with self.path.open("rb") as file:
            for offset, end, record in _parse(file, self.path):
                self._note(record, offset)
                self._end = end
                yield record
        if self._end < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, self._end)


def read(folder: Path) -> Iterator[Record]:
    """Yield the records of the run in `folder`, the header first, also while the run goes on.

    Raises RunError for a folder that holds no run and for a damaged ledger.
    """
    _must_hold_run(folder)
    path = folder / FILE
    try:
        with path.open("rb") as file:
            for _, _, record in _parse(file, path):
                yield record
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error


def write_atomically(path: Path, data: Mapping[str, Any]) -> None:
    """Replace a JSON file so that a crash leaves the old one or the new one, whole."""
    draft = path.with_suffix(".tmp")
    try:
        with draft.open("w") as file:
            json.dump(data, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def _parse(file: IO[bytes], path: Path) -> Iterator[tuple[int, int, Record]]:
    """Yield (offset, end, record) for each whole line; a broken last line ends the file."""
    end = 0
    order = Order()
    for number, line in enumerate(file, start=1):
        record = _record(line)
        if record is None:
            if file.readline():
                raise RunError(
                    f"{path}: line {number} is damaged; restore the file, or cut it there"
                )
            break
        if number == 1 and record["t"] != "run":
            raise RunError(f"{path}: its first line is not the header of a run")
        if number == 1 and record.get("format") != FORMAT:
            raise RunError(f"{path}: expected format {FORMAT}, got {record.get('format')!r}")
        if (problem := order.problem(record)) is not None:
            raise RunError(f"{path}: line {number}: {problem}; restore the file, or cut it there")
        yield end, end + len(line), record
        end += len(line)
    if not end:
        raise RunError(f"{path}: holds no run: it has no whole line")


def _record(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("t"), str) else None


def _has_results(fd: int) -> bool:
    """Tell whether a file holds a result, or anything that is no ledger."""
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        for line in file:
            record = _record(line)
            if line.endswith(b"\n") and (record is None or record["t"] == "result"):
                return True
    return False


def _must_hold_run(folder: Path) -> None:
    if not (folder / FILE).is_file():
        known = folder.is_dir() or store.of(folder) is not None
        what = f"is not a run folder: it has no {FILE}" if known else "is not a folder"
        raise RunError(f"{store.named(folder)} {what}")


def _lock(fd: int, folder: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise RunError(
            f"{folder}: another driver is writing this run; wait for it or end it"
        ) from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
