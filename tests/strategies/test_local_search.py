from __future__ import annotations

from nasflow.search.strategy import Result
from strategies.local_search import LocalSearch
from tests.strategies.spaces import flat


def test_it_climbs_by_single_changes_to_the_peak() -> None:
    strategy, best = LocalSearch(flat(4, 4, 4), seed=0, start=1), -1
    current: dict[str, object] = {}
    for number in range(40):
        point = strategy.ask()
        assert point is not None
        if number:
            assert sum(point[name] != current[name] for name in point) == 1
        reward = sum(map(int, point.values()))  # type: ignore[arg-type]
        if reward > best:
            best, current = reward, dict(point)
        strategy.tell(point, Result(reward=float(reward)))
        if best == 9:
            break
    assert best == 9


def test_it_starts_anew_where_no_neighbour_is_better() -> None:
    strategy = LocalSearch(flat(4, 4, 4), seed=0, start=1)
    first = strategy.ask()
    assert first is not None
    strategy.tell(first, Result(reward=1.0))
    around = [strategy.ask() for _ in range(9)]
    for point in around:
        strategy.tell(point, Result(reward=0.5))  # type: ignore[arg-type]
    elsewhere = strategy.ask()
    assert elsewhere is not None and sum(elsewhere[name] != first[name] for name in first) > 1
    strategy.tell(elsewhere, Result(reward=0.2))
    assert strategy.best == (elsewhere, 0.2)
