"""The shape of a network's form: all of it but the labels of its entries.

Networks that differ only in what stands at each place have one shape: a cell at other widths, or a
cell with other convolutions. What can be found without labels is found once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from nasflow.ir.absorb import Free
from nasflow.ir.rules import Kind

MOST: Final = 16
"""Most values of a sum (or product, or concatenation) that is taken as part of another one."""

Entry = tuple[int | str, tuple[int, ...], bool, Any]
"""A kind (see :class:`nasflow.ir.rules.Kind`; a concatenation has its axis), the positions of its
arguments, whether it owns weights or state, and ``more``: the condition under which a
concatenation's order is free, or pairs of what may be free in an opaque sub-graph, and when."""

INPUT: Final[Entry] = (Kind.PLAIN, (), False, None)


class Shape:
    """Entries in order, inputs first, and which of them are results.

    Attributes:
        zeros: entries whose value is zero.
        absorption: ``moves`` and ``absorbed`` of the graphs that have the shape.
        conditions: everything that some order depends on.
        uses: how often each entry is used, 0 where no result needs it.
        size: number of entries that results need, inputs left out.
        own: whether any of them has weights or state.
        named: those that have, and are reached along two ways or more.
        spelled: of sums that other sums are part of, what they take when those are written out.
        chain: of a chain, how many entries there are up to the last that has weights; else None.
    """

    __slots__ = (
        "absorption", "chain", "conditions", "entries", "inputs", "named", "own", "results", "size",
        "spelled", "uses", "zeros",
    )  # fmt: skip

    def __init__(
        self, inputs: int, entries: Sequence[Entry], results: Sequence[int], zeros: set[int],
        absorption: tuple[dict[str, Any], dict[str, Any]],
    ) -> None:  # fmt: skip
        self.inputs = inputs
        self.entries = tuple(entries)
        self.results = tuple(results)
        self.zeros = frozenset(zeros)
        self.absorption = absorption
        self.uses = [0] * len(entries)
        owning: list[int] = []  # last one first, as are the other two
        named: list[int] = []
        grouped: list[int] = []
        self.conditions = self._count(owning, named, grouped)
        self.own = bool(owning)
        self.named = tuple(reversed(named))
        self.chain = self._chain(owning)
        self.spelled = self._spelled(grouped) if grouped else {}

    def _count(self, owning: list[int], named: list[int], grouped: list[int]) -> Free:
        """Count uses and what is used; list ``owning``, ``named`` and sums that take other sums."""
        entries, uses, size = self.entries, self.uses, 0
        conditions: Free = frozenset()
        for result in self.results:
            uses[result] += 1
        for e in range(len(entries) - 1, self.inputs - 1, -1):
            used = uses[e]
            if not used:
                continue
            size += 1
            kind, args, own, more = entries[e]
            # What holds no weights itself is as if written anew at each of its uses.
            ways = 1
            if own:
                owning.append(e)
                if used > 1:
                    named.append(e)
            elif used > 1:
                ways = 2
            for a in args:
                uses[a] += ways
            if kind and kind in [entries[a][0] for a in args]:
                grouped.append(e)
            if more is not None:
                for when in [when for _, when in more] if more.__class__ is tuple else (more,):
                    if when.__class__ is frozenset:
                        conditions |= when
        self.size = size
        return conditions

    def _chain(self, owning: list[int]) -> int | None:
        last = len(self.entries) - 1
        if self.inputs != 1 or self.results != (last,) or self.zeros:
            return None
        for e, (kind, args, _, more) in enumerate(self.entries):
            if e and (kind or more is not None or args != (e - 1,)):
                return None
        return owning[0] if owning else 0

    def taken(self, e: int) -> tuple[int, ...]:
        """Return the entries that an entry takes, sums that are part of it written out."""
        return self.spelled.get(e) or self.entries[e][1]

    def _spelled(self, grouped: list[int]) -> dict[int, tuple[int, ...]]:
        spelled: dict[int, tuple[int, ...]] = {}
        for e in reversed(grouped):
            kind, args, _, _ = self.entries[e]
            if kind != Kind.SORTED:
                parts: list[int] = []
                for a in args:
                    inner = spelled.get(a) or self.entries[a][1]
                    same = self.entries[a][0] == kind and 0 < len(inner) < MOST
                    parts.extend(inner if same else (a,))
                spelled[e] = tuple(parts)
        return spelled
