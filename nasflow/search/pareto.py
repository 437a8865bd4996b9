"""Compare vectors of objectives, all to be maximised: who dominates whom, and how much is dominated."""

from __future__ import annotations

from collections.abc import Sequence

Vector = Sequence[float]


def dominates(a: Vector, b: Vector) -> bool:
    """Tell whether `a` is at least as good as `b` in everything and better in something."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(
        x > y for x, y in zip(a, b, strict=True)
    )


def front(vectors: Sequence[Vector]) -> list[int]:
    """Return the indices of the vectors that none dominates, best in the first objective first.

    Of equal vectors the first stands for all.
    """
    order = sorted(range(len(vectors)), key=lambda i: (*(-x for x in vectors[i]), i))
    kept: list[int] = []
    best_second = float("-inf")
    for i in order:  # whoever dominates i precedes it in this order
        vector = vectors[i]
        if len(vector) == 2:  # then only the best second value so far can
            if vector[1] <= best_second:
                continue
            best_second = vector[1]
        elif any(all(x >= y for x, y in zip(vectors[j], vector, strict=True)) for j in kept):
            continue
        kept.append(i)
    return kept


def hypervolume(vectors: Sequence[Vector], reference: Vector) -> float:
    """Measure exactly the volume that the vectors dominate above `reference`.

    By exclusive volumes (While, Bradstreet and Barone, 2012, "A fast way of calculating exact hypervolumes"):
    meant for fronts of some hundred vectors.
    """
    inside = [v for v in vectors if all(x > r for x, r in zip(v, reference, strict=True))]
    if not inside:
        return 0.0
    kept = [inside[i] for i in front(inside)]
    if len(reference) == 1:
        return kept[0][0] - reference[0]
    if len(reference) == 2:
        return _area(kept, reference)
    return sum(_exclusive(vector, kept[i + 1 :], reference) for i, vector in enumerate(kept))


def _area(kept: Sequence[Vector], reference: Vector) -> float:
    area, floor = 0.0, reference[1]
    for x, y in kept:
        area += (x - reference[0]) * (y - floor)
        floor = y
    return area


def _exclusive(vector: Vector, others: Sequence[Vector], reference: Vector) -> float:
    own = 1.0
    for x, r in zip(vector, reference, strict=True):
        own *= x - r
    capped = [[min(x, y) for x, y in zip(vector, other, strict=True)] for other in others]
    return own - hypervolume(capped, reference)
