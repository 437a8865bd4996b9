from __future__ import annotations

import random

from strategies._points import Keys


def test_keys_are_a_set_of_few_bytes_each() -> None:
    rng, keys, known = random.Random(0), Keys(), set[int]()
    for _ in range(3000):
        name = rng.choice(
            (rng.getrandbits(64), rng.getrandbits(10) << 54)
        )  # the latter all collide
        assert (name in keys) == (name in known)
        assert keys.add(name) == (name not in known)
        known.add(name)
    assert len(keys) == len(known)
    assert all(name in keys for name in known)
    assert keys.slots.itemsize * len(keys.slots) <= 24 * len(keys)


def test_restored_keys_are_the_same() -> None:
    keys, again = Keys(), Keys()
    for name in (2, 7, 1 << 63):
        keys.add(name)
    again.restore(keys.state())
    assert 7 in again and 3 not in again and len(again) == 3
    assert again.state() == keys.state()
