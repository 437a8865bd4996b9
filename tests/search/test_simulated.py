"""Five hundred workers in simulated time."""

from __future__ import annotations

from typing import Any

import pytest

from nasflow.errors import ConfigError, RunError
from nasflow.search.events import Asked, Failed, Finished
from nasflow.search.run import resume, search
from tests.search.conftest import FAKES


def simulated(workers: int, **durations: Any) -> dict[str, Any]:
    return {"name": "simulated", "workers": workers, "durations": durations}


def test_500_workers_with_heavy_tailed_durations_are_busy(setup: dict[str, Any]) -> None:
    setup["space"]["options"] = 40
    run = search(**{**setup, "budget": {"trials": 5000}}, executor=simulated(500))
    spent = sorted(e.seconds for e in run.entries)
    assert spent[-1] > 50 * spent[len(spent) // 2]  # the tail is heavy
    assert run.utilisation and 0.99 <= run.utilisation <= 1
    assert run.seconds > 5000 * 600 / 500 and len({e.fingerprint for e in run.entries}) == 5000


def test_results_come_in_the_order_of_their_ends_and_no_more_are_open_than_workers(
    setup: dict[str, Any],
) -> None:
    open_, most = set(), 0

    def watch(event: Any) -> None:
        nonlocal most
        if isinstance(event, Asked):
            open_.add(event.n)
            most = max(most, len(open_))
        elif isinstance(event, Finished | Failed):
            open_.remove(event.n)

    run = search(**setup, executor=simulated(7), observer=watch)
    ends = [e.at for e in run.entries]
    assert ends == sorted(ends) and most == 7
    assert [e.n for e in run.entries] != sorted(e.n for e in run.entries)


def test_by_hand(setup: dict[str, Any]) -> None:
    """Two workers, no spread, seconds as the widths sum to: 1 and 2 begin at 0, 3 at 1, 4 at 2."""
    setup["space"] |= {"places": 1, "options": 4}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    place = simulated(2, measure="accuracy", scale=100, sigma=0) | {"overhead": 0}
    run = search(**setup, executor=place)
    assert [(e.point["w0"], e.at) for e in run.entries] == [(1, 1), (2, 2), (3, 4), (4, 6)]
    assert run.seconds == 6 and run.utilisation == 1
    assert run.reason and "nothing left" in run.reason


def test_the_budget_and_limits_are_in_simulated_seconds(setup: dict[str, Any]) -> None:
    setup["budget"] = {"seconds": 7200}
    setup["space"]["options"] = 40
    run = search(**setup, executor=simulated(20, scale=60) | {"time_limit": 300})
    assert run.reason == "seconds: 7200 s are over" and 7200 <= run.seconds <= 7500
    assert {e.result.error for e in run.failed} == {"time limit of 300 s"}


def test_one_seed_gives_one_run_and_a_resume_goes_on(setup: dict[str, Any], tmp_path: Any) -> None:
    first, second = (
        search(**{**setup, "out": tmp_path / name}, executor=simulated(5)) for name in "ab"
    )
    assert [(e.point, e.at) for e in first.entries] == [(e.point, e.at) for e in second.entries]
    run = resume(first.out, budget={"trials": 40})
    assert len(run.entries) == 40 and run.seconds > second.seconds and run.utilisation is None


def test_what_is_asked_wrongly_is_one_line(setup: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sigma'"):
        search(**setup, executor=simulated(5, sigmo=1))
    with pytest.raises(ConfigError, match=r"durations\.scale"):
        search(**setup, executor=simulated(5, scale=-1))
    with pytest.raises(RunError, match="did you mean 'accuracy'"):
        search(**setup, executor=simulated(5, measure="acuracy"))
