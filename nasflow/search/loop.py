"""The search itself: ask, refuse or deduplicate, hand out, record, tell.

The state of a search is a fold over its ledger: live, each step is written first and then applied; after a kill, the
same steps are applied again. So a resumed search cannot differ from one that was never killed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from nasflow.errors import NasflowError, PointError, RunError
from nasflow.search.budget import Budget
from nasflow.search.events import Asked, Ended, Failed, Finished, Observer, Refused
from nasflow.search.job import Job, Outcome, finite, thaw
from nasflow.search.ledger import SNAPSHOT, Ledger, Record
from nasflow.search.objective import Objective
from nasflow.search.strategy import Result, Strategy

if TYPE_CHECKING:
    from nasflow.ir import Graph, Point, Space

UNBUILDABLE = (
    "unbuildable-"  # begins what stands for the fingerprint of a point that makes no network
)
REMEMBERED = 100_000  # points of a space whose networks need not be bound again to be recognised
TWINS = 100  # duplicates of proposals in flight, one after the other, before the loop waits for a result
SHARE = 20  # a snapshot is taken when this many times its cost has passed
# For each space in use, fingerprints by digests of points: searches of one space by many seeds bind a point once.
_points: WeakKeyDictionary[Any, dict[bytes, str]] = WeakKeyDictionary()
_encode = json.JSONEncoder(sort_keys=True).encode


class Loop:
    """Run one search for an executor, which calls `next` whenever it has a free place and `done` for each result.

    `reason` says why the search is over, None while it is not; it is `over` once nothing is in flight any more.
    """

    def __init__(
        self,
        space: Space,
        strategy: Strategy,
        objective: Objective,
        budget: Budget,
        ledger: Ledger,
        *,
        seed: int,
        observer: Observer,
    ) -> None:
        self.space, self.strategy, self.objective, self.budget = space, strategy, objective, budget
        self.ledger, self.seed, self.observer = ledger, seed, observer
        self.proposals = self.evaluated = self.failed = 0
        self.best: float | None = None
        self.reason: str | None = None
        self.open: dict[int, Point] = {}
        self.reissue: deque[int] = deque()
        self._twins: dict[int, list[Point]] = {}
        self._in_a_row = 0  # duplicates of proposals in flight since anything else happened
        self._points = _points.setdefault(space, {})
        self._idle = 0  # proposals in a row that brought nothing new
        self._dry = False  # the strategy had nothing to propose and has learned nothing since
        self._before = 0.0
        self.clock: Callable[[], float] = time.monotonic
        self._begin = self.clock()
        self._saved = time.monotonic()
        self._save_cost = 0.0

    @property
    def elapsed(self) -> float:
        """Return the seconds this run has been searching, over all its drivers."""
        return self._before + self.clock() - self._begin

    @property
    def over(self) -> bool:
        """Tell whether the search has ended and nothing is in flight."""
        return self.reason is not None and not self.open

    def next(self) -> Job | None:
        """Return the next candidate to evaluate; None when there is none before another result arrives.

        Everything recorded is on the disk when None is returned.
        """
        if self.reissue:
            n = self.reissue.popleft()
            graph = self.space.bind(self.open[n])
            return self._job(n, self.open[n], graph.fingerprint, graph)
        while self._may_ask():
            point = self._call("ask", self.strategy.ask)
            if point is None:
                self._write({"t": "none"}, None)
                continue
            job = self._consider(self.proposals, point)
            if job is not None:
                return job
        self.settle()
        return None

    def settle(self) -> None:
        """Put everything recorded on the disk; an executor calls this before it waits."""
        self.ledger.flush()

    def done(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a candidate and tell the strategy.

        Raises RunError where the outcome would befall every candidate, and where the disk or the strategy fails.
        """
        if outcome.fatal:
            raise RunError(f"trial {job.n} cannot be evaluated: {outcome.error}")
        result = self._judge(job, outcome)
        point = self.open[job.n]
        best = result.reward is not None and (self.best is None or result.reward > self.best)
        record = {
            "t": "result",
            "n": job.n,
            "measures": result.measures,
            "reward": result.reward,
            "values": list(result.values),
            "error": result.error,
            "seconds": round(outcome.seconds, 6),
            "at": round(self.elapsed, 3),
        }
        self._write(record, point)
        if result.error is not None:
            self.observer(Failed(job.n, point, result.error, self.evaluated, outcome.seconds))
        else:
            event = (job.n, point, result, self.evaluated, best, outcome.seconds, job.fingerprint)
            self.observer(Finished(*event))
        self._end_if_spent()
        pause = time.monotonic() - self._saved
        if pause > max(1.0, SHARE * self._save_cost):
            self.save()

    def replay(self, records: Iterator[Record], snapshot: Mapping[str, Any] | None) -> None:
        """Apply the records after the header again, from the snapshot's state on where there is one.

        Raises RunError where the strategy does not propose what it proposed then.
        """
        known = snapshot["records"] if snapshot else 1
        if snapshot and known == 1:
            self._call("restore", lambda: self.strategy.restore(snapshot["state"]))
        for number, record in enumerate(records, start=2):
            drive = number > known
            if drive and record["t"] in ("ask", "dup", "refused", "none"):
                self._verify(record)
            self._apply(record, thaw(record.get("point")), tell=drive)
            self._before = record.get("at", self._before)
            if snapshot and number == known:
                self._call("restore", lambda: self.strategy.restore(snapshot["state"]))
        self.reissue = deque(sorted(self.open))
        self._begin = self.clock()

    def begin(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count the run's time from now on, by another clock where one is given."""
        self.clock = clock
        self._begin = clock()

    def spent(self) -> bool:
        """Tell whether a run that was resumed had ended, and its budget is spent still."""
        self._end_if_spent()
        return self.over

    def save(self) -> None:
        """Write the strategy's state, so that a resume need not replay the whole run."""
        begin = time.monotonic()
        self.ledger.flush()
        state = self._call("state", self.strategy.state)
        try:
            self.ledger.save(SNAPSHOT, {"records": self.ledger.records, "state": state})
        except (TypeError, ValueError) as error:
            raise RunError(
                f"strategy {type(self.strategy).__name__}: state() must return plain JSON ({error}); "
                f"all results are safe: mend it, then `resume run={self.ledger.where}`"
            ) from error
        self._saved = time.monotonic()
        self._save_cost = self._saved - begin

    def finish(self) -> None:
        """Record why the search ended."""
        self.ledger.append({"t": "end", "reason": self.reason, "at": round(self.elapsed, 3)})
        self.save()
        self.observer(Ended(self.reason or "", self.evaluated))

    def _may_ask(self) -> bool:
        """Tell whether to ask the strategy now; set `reason` where the search is over."""
        self._end_if_spent()
        if self.reason is None and not self.open:
            if self._dry:
                self.reason = "exhausted: the strategy has nothing left to propose"
            elif self._idle >= self.budget.patience:
                self.reason = f"exhausted: the last {self._idle:,} proposals were all known already or over the limits"
        waiting = self._in_a_row >= TWINS
        enough = (
            self.budget.trials is not None and self.evaluated + len(self.open) >= self.budget.trials
        )
        idle = self._idle >= self.budget.patience
        return not (self.reason or self._dry or waiting or enough or idle)

    def _end_if_spent(self) -> None:
        if self.reason is None:
            self.reason = self.budget.spent(self.evaluated, self.elapsed, self.best)

    def _consider(self, n: int, point: Point) -> Job | None:
        """Record a new proposal; return what there is to evaluate for it, if anything."""
        digest = hashlib.blake2b(self._text(point).encode(), digest_size=16).digest()
        graph, refusal, costs = None, None, dict[str, float]()
        fingerprint = self._points.get(digest, "")
        known = self.ledger.known.get(fingerprint)
        if known is None and (not fingerprint or self.objective.limits):
            graph, fingerprint, refusal, costs = self._bind(point)
            known = self.ledger.known.get(fingerprint)
            self._remember(digest, fingerprint)
        if known is not None:
            self._write({"t": "dup", "n": n, "point": point, "of": known}, point)
            return None
        if refusal is not None:
            record = {"t": "refused", "n": n, "point": point, "fp": fingerprint}
            self._write({**record, "measures": costs, "error": refusal}, point)
            self.observer(Refused(n, point, refusal))
            return None
        self._write({"t": "ask", "n": n, "point": point, "fp": fingerprint}, point)
        self.observer(Asked(n, point))
        return self._job(n, point, fingerprint, graph)

    def _text(self, point: Point) -> str:
        try:
            return canonical(point)
        except (TypeError, ValueError) as error:  # numpy's integers, most often
            raise RunError(
                f"strategy {type(self.strategy).__name__} proposed a point that is not plain JSON "
                f"({error}): expected decision names with Python's own values, got {point!r}"
            ) from error

    def _remember(self, digest: bytes, fingerprint: str) -> None:
        if fingerprint.startswith(UNBUILDABLE):
            return
        if len(self._points) == REMEMBERED:
            del self._points[next(iter(self._points))]
        self._points[digest] = fingerprint

    def _bind(self, point: Point) -> tuple[Graph | None, str, str | None, dict[str, float]]:
        """Return the graph, its fingerprint, why it is refused (None where it is not), and its costs."""
        try:
            graph = self.space.bind(point)
        except PointError as error:
            name = type(self.strategy).__name__
            raise RunError(
                f"strategy {name} proposed a point outside the space: {error}"
            ) from error
        except NasflowError as error:  # valid decisions that make no network
            digest = hashlib.sha256(canonical(point).encode()).hexdigest()
            return None, f"{UNBUILDABLE}{digest[:32]}", str(error), {}
        if not self.objective.limits or graph.fingerprint in self.ledger.known:
            return graph, graph.fingerprint, None, {}
        costs = self.objective.costs(graph)
        return graph, graph.fingerprint, self.objective.refusal(costs), costs

    def _job(self, n: int, point: Point, fingerprint: str, graph: Graph | None) -> Job:
        # By fingerprint, so that a candidate's seed depends neither on the order of results nor on the workers.
        digest = hashlib.sha256(f"{self.seed}/{fingerprint}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big") >> 1
        return Job(n, point, fingerprint, seed, lambda: graph or self.space.bind(point))

    def _judge(self, job: Job, outcome: Outcome) -> Result:
        if outcome.error is not None:
            return Result(finite(outcome.measures), error=outcome.error)
        measures = outcome.measures
        if self.objective.costs_named:
            measures = self.objective.complete(measures, job.graph)
        return self.objective.result(measures)

    def _write(self, record: Record, point: Point | None) -> None:
        self.ledger.append(record)
        self._apply(record, point, tell=True)

    def _apply(self, record: Record, point: Point | None, tell: bool) -> None:
        """Take one step of the search; live and in a replay alike."""
        kind = record["t"]
        if kind in ("ask", "dup", "refused"):
            assert point is not None
            self.proposals = record["n"] + 1
            self._idle += kind != "ask"
        if kind == "none":
            self._dry = True
        elif kind == "ask" and point is not None:
            self._in_a_row = 0
            self.open[record["n"]] = point
        elif kind == "dup" and point is not None:
            answer = self.ledger.answer(record["of"])
            if answer is None:
                self._in_a_row += 1
                self._twins.setdefault(record["of"], []).append(point)
            elif tell:
                self._tell(point, read_result(answer))
        elif kind == "refused" and point is not None and tell:
            self._tell(point, read_result(record))
        elif kind == "result":
            self._conclude(record, tell)

    def _conclude(self, record: Record, tell: bool) -> None:
        point = self.open.pop(record["n"])
        result = read_result(record)
        self.evaluated += 1
        self.failed += result.error is not None
        self._idle, self._in_a_row, self._dry = 0, 0, False
        if result.reward is not None and (self.best is None or result.reward > self.best):
            self.best = result.reward
        for proposal in (point, *self._twins.pop(record["n"], ())):
            if tell:
                self._tell(proposal, result)

    def _verify(self, record: Record) -> None:
        point = self._call("ask", self.strategy.ask)
        if canonical(point) != canonical(record.get("point")):
            where = f"proposal {record['n']}" if "n" in record else "a proposal"
            raise RunError(
                f"{self.ledger.path}: the strategy does not repeat {where} of this run; its code, its options or a "
                "library changed since: resume with what the run began with, or begin a new run"
            )

    def _tell(self, point: Point, result: Result) -> None:
        self._call("tell", lambda: self.strategy.tell(point, result))

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        """Call the strategy; name it in whatever it raises."""
        try:
            return call()
        except (Exception, SystemExit) as error:
            name = type(self.strategy).__name__
            text = " ".join(str(error).split())
            raise RunError(
                f"strategy {name} failed in {what}(): {type(error).__name__}: {text}; all results are safe: "
                f"mend it, then `resume run={self.ledger.where}`"
            ) from error


def read_result(record: Record) -> Result:
    """Return the result that a ``result`` or ``refused`` record holds."""
    values = tuple(record.get("values") or ())
    return Result(record["measures"], record.get("reward"), record["error"], values)


def canonical(point: Mapping[str, Any] | None) -> str:
    """Return a text that is equal for equal points, whichever way they were stored."""
    return _encode(point)
