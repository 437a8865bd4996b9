"""Show a search while it runs: a line for each result, and a live status line on a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from nasflow.report.plot import short
from nasflow.search.events import Asked, Ended, Event, Failed, Finished, Refused, Started, Trained

if TYPE_CHECKING:
    from nasflow.search.budget import Budget

SHOWN = (
    "accuracy",
    "params",
    "macs",
    "latency_ms",
)  # first where measured; the reward stands for itself
LINES_A_SECOND = 20  # cheap evaluators finish a thousand candidates a second: print the best and a few of the rest


class Live:
    """Observe a search and print what happens; a context manager, `Live(budget)` as the loop's observer.

    `head` is printed once the search begins: what is refused before that has one line only. On a terminal the last
    line is a bar with the time, what is in flight, and the best reward so far.
    """

    def __init__(self, budget: Budget, console: Console | None = None, head: str = "") -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.budget = budget
        self.head = head
        self.open: set[int] = set()
        self.best: float | None = None
        self.failed = self.refused = self.evaluated = 0
        self._printed = 0.0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn(
                "{task.completed:,.0f}" + (f" of {budget.trials:,}" if budget.trials else "")
            ),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=budget.trials)

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self.head:
            self.console.print(self.head, markup=False)
            self.head = ""
        if isinstance(event, Started):
            self.evaluated = event.evaluated
            if event.note:
                self.console.print(event.note)
            if event.evaluated or event.reissued:
                self.console.print(
                    f"going on after {event.evaluated:,} results, {event.reissued} in flight again"
                )
        elif isinstance(event, Trained):
            self._trained(event)
        elif isinstance(event, Asked):
            self.open.add(event.n)
        elif isinstance(event, Refused):
            self.refused += 1
            self._line(f"{event.n:5}  refused: {event.error}")
        elif isinstance(event, Failed):
            self._note(event)
            self.failed += 1
            self._line(f"{event.n:5}  failed: {event.error}", style="red")
        elif isinstance(event, Finished):
            self._note(event)
            self._finished(event)
        elif isinstance(event, Ended):
            self.open.clear()
        self._bar.update(self._task, completed=self.evaluated, description=self._status())

    def _note(self, event: Finished | Failed) -> None:
        self.open.discard(event.n)
        self.evaluated = event.evaluated

    def _finished(self, event: Finished) -> None:
        if event.best:
            self.best = event.result.reward
        mark = "  best so far" if event.best else ""
        text = f"{event.n:5}  {measures(event.result.measures)}  {event.seconds:.1f} s{mark}"
        self._line(text, style="bold" if event.best else None, always=event.best)

    def _trained(self, event: Trained) -> None:
        shown = {k: v for k, v in event.measures.items() if k not in ("epoch", "seconds")}
        text = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        spent = f"{event.measures['seconds']:.1f} s"
        last = event.measures["epoch"] == event.epochs
        head = f"epoch {event.measures['epoch']:3.0f} of {event.epochs}"
        self._line(f"{head}  {text}  {spent}", always=last or "biggest" in shown)

    def _line(self, text: str, style: str | None = None, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._printed > 1 / LINES_A_SECOND:
            self._printed = now
            self.console.print(text, style=style, markup=False)

    def _status(self) -> str:
        parts = [f"{len(self.open)} in flight"]
        parts += [f"best {self.best:.4f}"] if self.best is not None else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.refused} refused"] if self.refused else []
        return ", ".join(parts)


def measures(values: dict[str, float]) -> str:
    """Return the measures that people look at first, as text."""
    chosen = [name for name in SHOWN if name in values] or list(values)[:4]
    return "  ".join(
        f"{name} {values[name]:.4f}" if abs(values[name]) < 10 else f"{name} {short(values[name])}"
        for name in chosen
    )
