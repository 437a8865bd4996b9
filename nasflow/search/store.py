"""Keep a run in an object store: ``s3://bucket/path``, ``gs://bucket/path``, or any other URI that fsspec knows.

A driver works in a folder of its own machine, as ever, and this module keeps a copy of it in the store. Objects cannot
be appended to, so whatever a flush makes durable of the ledger becomes one object, ``ledger/<driver>-<offset>.jsonl``:
the bytes from that offset on, in place of whatever an earlier driver left there. Every so often some are merged, and
at the end of the search all of them, into ``ledger.jsonl``; then the store holds exactly the files of a run's folder.

Stores have no locks: a driver that begins writes its name into ``driver``, and one that finds another's name there
before it adds to the ledger gives up. So the last one to begin wins, and no result is written twice.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nasflow.errors import RunError

LEDGER, PIECES, DRIVER = "ledger.jsonl", "ledger", "driver"
MERGED = 64  # pieces that become one
READERS = 16  # objects read at once
ATTEMPTS = 3  # at reading while another driver merges
_PIECE = re.compile(rf"{PIECES}/(\d+)-(\d+)\.jsonl")
_stores: dict[str, Store] = {}


def copy_of(uri: str, again: bool = False) -> Path:
    """Return this process's working copy of the run at `uri`; the first call reads it from the store.

    With `again` it is read once more, unless this process is the run's driver. Raises RunError (one line) for a store
    that is not known or does not answer.
    """
    new = uri not in _stores
    if new:
        _stores[uri] = Store(uri)
    if new or (again and not _stores[uri].drives):
        _stores[uri].pull()
    return _stores[uri].folder


def of(folder: Path) -> Store | None:
    """Return the store that `folder` is the working copy of; None for a folder of its own."""
    return next((store for store in _stores.values() if store.folder == folder), None)


def named(path: Path) -> str:
    """Return what a person calls a path: its URI where it lies in a working copy."""
    for store in _stores.values():
        if path.is_relative_to(store.folder):
            inside = path.relative_to(store.folder).as_posix()
            return store.uri if inside == "." else store.uri_of(inside)
    return str(path)


def push() -> None:
    """Write every file that changed in a working copy to its store, but for the ledger, which writes itself."""
    for store in _stores.values():
        store.push()


class Store:
    """Copy one run to and from its store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with self._told():
            self.files, self.root = _open(uri)
        parts = urlsplit(uri)
        name = Path(parts.path).name or parts.netloc
        scratch = tempfile.mkdtemp(prefix="nasflow-run-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        self.folder = Path(scratch) / name
        self._driver = self._generation = ""
        self._pieces: list[int] = []  # offsets of this driver's pieces that are not merged yet
        self._known: dict[str, tuple[int, int]] = {}  # files in the store: size and time here

    @property
    def drives(self) -> bool:
        """Tell whether this process is the run's driver, or was."""
        return bool(self._driver)

    def uri_of(self, name: str) -> str:
        """Return the URI of a file of the run."""
        head, mark, query = self.uri.partition("?")
        return f"{head.rstrip('/')}/{name}{mark}{query}"

    def pull(self) -> None:
        """Read the whole run into its working copy, which is made only if there is one."""
        for attempt in range(ATTEMPTS):
            try:
                with self._told():
                    names = self._names()
                    with ThreadPoolExecutor(READERS) as readers:
                        contents = dict(zip(names, readers.map(self._read, names), strict=True))
                    break
            except RunError:
                if attempt == ATTEMPTS - 1:
                    raise
        contents.pop(DRIVER, None)
        ledger = self._joined(contents)
        if ledger:
            contents[LEDGER] = ledger
        for name, data in contents.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._known[name] = _state(path)

    def take(self) -> None:
        """Make this process the driver of the run; another one finds out before it next adds to the ledger."""
        self._driver = uuid.uuid4().hex
        with self._told():
            pieces = (_PIECE.fullmatch(name) for name in self._names())
            last = max((int(piece[1]) for piece in pieces if piece), default=0)
            self._generation = f"{last + 1:06d}"
            self._write(DRIVER, self._driver.encode())

    def clear(self) -> None:
        """Remove the ledger of a run that is begun anew."""
        with self._told():
            for name in sorted(
                self._names(), reverse=True
            ):  # cut short, it leaves a shorter ledger
                if name == LEDGER or _PIECE.fullmatch(name):
                    self.files.delete_file(self._path(name))

    def append(self, offset: int, data: bytes) -> None:
        """Store what was added to the ledger from byte `offset` on; it is durable when this returns."""
        with self._told():
            self._must_drive()
            self._write(self._piece(offset), data)
            self._pieces.append(offset)
            if len(self._pieces) == MERGED:
                first, *rest = self._pieces
                ledger = (self.folder / LEDGER).read_bytes()
                self._write(self._piece(first), ledger[first : offset + len(data)])
                # In this order, whatever a kill leaves of them is read to the same ledger.
                for piece in rest:
                    self.files.delete_file(self._path(self._piece(piece)))
                self._pieces = []

    def put(self, name: str) -> None:
        """Store one file of the working copy."""
        with self._told():
            path = self.folder / name
            self._write(name, path.read_bytes())
            self._known[name] = _state(path)

    def push(self) -> None:
        """Store what changed in the working copy, and remove from the store what was removed there."""
        paths = [
            path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".tmp"
        ]
        here = {path.relative_to(self.folder).as_posix(): path for path in paths}
        for name, path in here.items():
            if name != LEDGER and self._known.get(name) != _state(path):
                self.put(name)
        with self._told():
            for name in self._known.keys() - here.keys():
                self.files.delete_file(self._path(name))
                del self._known[name]

    def finish(self) -> None:
        """Merge the ledger into one object, when its driver ends."""
        with self._told():
            self._must_drive()
            pieces = sorted(name for name in self._names() if _PIECE.fullmatch(name))
            self._write(LEDGER, (self.folder / LEDGER).read_bytes())
            for name in pieces:
                self.files.delete_file(self._path(name))
        self._pieces = []
        self.push()

    def _must_drive(self) -> None:
        if self._read(DRIVER) != self._driver.encode():
            raise RunError(f"{self.uri}: another driver has gone on with this run; this one ends")

    def _joined(self, contents: dict[str, bytes]) -> bytes:
        """Take the pieces of the ledger out of `contents`, and return the ledger."""
        ledger = contents.pop(LEDGER, b"")
        pieces = sorted((m[1], int(m[2]), m[0]) for m in map(_PIECE.fullmatch, contents) if m)
        for _, offset, name in pieces:
            if offset > len(ledger):
                raise RunError(f"{self.uri}: the ledger has a gap before {name}")
            ledger = ledger[:offset] + contents.pop(name)
        return ledger

    def _piece(self, offset: int) -> str:
        return f"{PIECES}/{self._generation}-{offset:012d}.jsonl"

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _names(self) -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self.root, allow_not_found=True, recursive=True)
        found = [i.path for i in self.files.get_file_info(selector) if i.type == FileType.File]
        return [path.lstrip("/").removeprefix(f"{self.root.lstrip('/')}/") for path in found]

    def _read(self, name: str) -> bytes:
        with self.files.open_input_stream(self._path(name)) as stream:
            data: bytes = stream.read()
        return data

    def _write(self, name: str, data: bytes) -> None:
        with self.files.open_output_stream(self._path(name)) as stream:
            stream.write(data)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what a store answers."""
        try:
            yield
        except RunError:
            raise
        except Exception as error:  # stores raise errors of many libraries
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise RunError(f"{self.uri}: {text}") from error


def _open(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI and the path in it: Arrow's own, or fsspec's."""
    import pyarrow
    from pyarrow import fs

    try:
        files, root = fs.FileSystem.from_uri(uri)
    except pyarrow.ArrowInvalid as error:
        if "nrecognized filesystem type" not in str(error):
            raise
        import fsspec

        known, root = fsspec.core.url_to_fs(uri)
        files = fs.PyFileSystem(fs.FSSpecHandler(known))
    return files, root.rstrip("/")


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
