from __future__ import annotations

import itertools
import random

import pytest

from nasflow.search.pareto import dominates, front, hypervolume


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_the_front_is_what_none_dominates(width: int) -> None:
    rng = random.Random(width)
    for _ in range(50):
        vectors = [
            tuple(rng.randint(0, 4) for _ in range(width)) for _ in range(rng.randint(0, 12))
        ]
        wanted = {v for v in vectors if not any(dominates(other, v) for other in vectors)}
        got = [vectors[i] for i in front(vectors)]
        assert sorted(got) == sorted(wanted)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_the_hypervolume_counts_unit_cells(width: int) -> None:
    rng = random.Random(width)
    for _ in range(30):
        vectors = [
            tuple(rng.randint(-1, 4) for _ in range(width)) for _ in range(rng.randint(0, 6))
        ]
        cells = itertools.product(range(4), repeat=width)
        wanted = sum(
            any(all(x > c for x, c in zip(v, cell, strict=True)) for v in vectors) for cell in cells
        )
        assert hypervolume(vectors, (0,) * width) == wanted


def test_a_front_of_many_is_quick_in_two_objectives() -> None:
    rng = random.Random(0)
    vectors = [(rng.random(), rng.random()) for _ in range(100_000)]
    assert len(front(vectors)) < 100
