"""Know which points were proposed or told, and draw the ones that were not."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from array import array
from collections.abc import Mapping
from itertools import islice
from typing import Any

from nasflow.ir import Point, Space

# Spaces up to this size are listed once half of them is seen: rejecting draws would slow down.
LISTED = 100_000
MISSES = 200  # known points drawn in a row before a space is listed, or taken to be exhausted


def key(point: Mapping[str, Any]) -> int:
    """Return 64 bits that name a point, whatever the order of its decisions."""
    text = json.dumps(point, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def thaw(value: Any) -> Any:
    """Return what JSON stored as lists as the tuples they were, at any depth of a point."""
    if isinstance(value, dict):
        return {name: thaw(each) for name, each in value.items()}
    return tuple(map(thaw, value)) if isinstance(value, list | tuple) else value


def within(space: Space, point: Point) -> bool:
    """Tell whether a point keeps to the hard limits through which a space is seen, if it is."""
    excess = getattr(space, "excess", None)  # of nasflow.search.limited.Limited
    return excess is None or excess(point) == 0


def dump_random(rng: random.Random) -> list[Any]:
    """Return a random state as JSON."""
    version, words, gauss = rng.getstate()
    return [version, list(words), gauss]


def load_random(rng: random.Random, state: list[Any]) -> None:
    """Set a random state that `dump_random` returned."""
    version, words, gauss = state
    rng.setstate((version, tuple(words), gauss))


class Keys:
    """A set of 64-bit keys that takes 12 to 24 bytes for each, where Python's takes over a hundred.

    Open addressing with linear probing: keys are hashes themselves.
    """

    def __init__(self) -> None:
        self.slots, self.count = array("Q", bytes(8 * 64)), 0  # 0 is an empty slot

    def __len__(self) -> int:
        return self.count

    def __contains__(self, name: int) -> bool:
        return self.slots[self._slot(name)] != 0

    def add(self, name: int) -> bool:
        """Take a key in; say whether it is new."""
        slot = self._slot(name)
        if self.slots[slot]:
            return False
        self.slots[slot] = name or 1
        self.count += 1
        if 3 * self.count > 2 * len(self.slots):
            kept = [each for each in self.slots if each]
            self.slots, self.count = array("Q", bytes(16 * len(self.slots))), 0
            for each in kept:
                self.add(each)
        return True

    def _slot(self, name: int) -> int:
        """Return where a key is, or where it belongs; 0 counts as 1."""
        name = name or 1
        last = len(self.slots) - 1
        slot = name & last
        while self.slots[slot] not in (0, name):
            slot = (slot + 1) & last
        return slot

    def state(self) -> str:
        """Return the keys as base64 text."""
        kept = sorted(each for each in self.slots if each)
        return base64.b64encode(b"".join(each.to_bytes(8, "little") for each in kept)).decode()

    def restore(self, state: str) -> None:
        """Take the keys that `state` returned."""
        data = base64.b64decode(state)
        self.slots, self.count = array("Q", bytes(8 * 64)), 0
        for i in range(0, len(data), 8):
            self.add(int.from_bytes(data[i : i + 8], "little"))


class Seen:
    """Remember points by their keys, and draw uniformly from the others.

    What `fresh` draws depends on the set and on `rng` only, so a restored set draws the same.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.keys = Keys()
        self._left: dict[int, Point] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, point: Point) -> bool:
        return key(point) in self.keys

    def add(self, point: Point) -> bool:
        """Remember a point; say whether it is new."""
        name = key(point)
        new = self.keys.add(name)
        if self._left is not None:
            self._left.pop(name, None)
        return new

    def take(self, point: Point | None) -> Point | None:
        """Remember a point, where there is one, and return it."""
        if point is not None:
            self.add(point)
        return point

    def fresh(self, rng: random.Random) -> Point | None:
        """Return a point not seen, each as likely as another; None where none is left.

        Within hard limits a space may hold fewer points than its size says: then `MISSES` draws tell.
        """
        mostly_known = 2 * len(self.keys) >= self.space.size
        for _ in range(0 if mostly_known and self.space.size <= LISTED else MISSES):
            point = self.space.sample(rng)
            if point not in self:
                return point
        return self._listed(rng) if self.space.size <= LISTED else None

    def _listed(self, rng: random.Random) -> Point | None:
        if self._left is None:
            named = ((key(point), point) for point in self.space.enumerate())
            self._left = {name: point for name, point in named if name not in self.keys}
        if not self._left:
            return None
        return next(islice(self._left.values(), rng.randrange(len(self._left)), None))

    def state(self) -> str:
        """Return the set as base64 text."""
        return self.keys.state()

    def restore(self, state: str) -> None:
        """Take the set that `state` returned."""
        self.keys.restore(state)
        self._left = None
