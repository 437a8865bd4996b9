"""Check that the lines of a ledger make sense, one after the other: people edit files."""

from __future__ import annotations

import sys
from typing import Any

Record = dict[str, Any]
Kinds = tuple[type, ...]

MOST = sys.float_info.max
WHOLE: Kinds = (int,)
NUMBER: Kinds = (int, float)
TEXT: Kinds = (str,)
TABLE: Kinds = (dict,)
NOTHING: Kinds = (type(None),)
FIELDS: dict[str, dict[str, Kinds]] = {
    "ask": {"n": WHOLE, "point": TABLE, "fp": TEXT},
    "dup": {"n": WHOLE, "point": TABLE, "of": WHOLE},
    "refused": {"n": WHOLE, "point": TABLE, "fp": TEXT, "measures": TABLE, "error": TEXT},
    "result": {
        "n": WHOLE,
        "measures": TABLE,
        "reward": NUMBER + NOTHING,
        "values": (list,),
        "error": TEXT + NOTHING,
        "seconds": NUMBER,
        "at": NUMBER,
    },
    "run": {"plan": TABLE},
    "none": {},
    "start": {},
    "end": {},
}


class Order:
    """Follow the records of one ledger; `problem` says what is wrong with the next one."""

    def __init__(self) -> None:
        self.proposals = 0
        self.open: set[int] = set()

    def problem(self, record: Record) -> str | None:
        """Say in a few words why this record cannot follow those before it; None where it can."""
        kind = record["t"]
        if kind not in FIELDS:
            return f"unknown kind {kind!r}"
        for name, kinds in FIELDS[kind].items():
            if not isinstance(record.get(name), kinds) or isinstance(record[name], bool):
                return (
                    f"{kind}: expected {name} to be {_named(kinds)}, got {record.get(name)!r:.80}"
                )
        known = {name: record[name] for name in FIELDS[kind]}
        numbers = [
            record.get("at", 0),
            known.get("reward") or 0,
            *known.get("measures", {}).values(),
            *known.get("values", ()),
        ]
        for number in numbers:
            if not isinstance(number, int | float) or not abs(number) <= MOST:  # NaN neither
                return f"{kind}: expected numbers, got {number!r:.80}"
        return self._misplaced(kind, record)

    def _misplaced(self, kind: str, record: Record) -> str | None:
        if kind in ("ask", "dup", "refused"):
            if record["n"] != self.proposals:
                return f"expected proposal {self.proposals}, got {record['n']}"
            if kind == "dup" and not 0 <= record["of"] < record["n"]:
                return f"proposal {record['n']} cannot equal proposal {record['of']}"
            self.proposals += 1
        if kind == "ask":
            self.open.add(record["n"])
        elif kind == "result":
            if record["n"] not in self.open:
                return f"a result of proposal {record['n']}, which waits for none"
            self.open.remove(record["n"])
        return None


def _named(kinds: Kinds) -> str:
    names = {
        float: "a number",
        str: "text",
        dict: "a mapping",
        list: "a list",
        int: "a whole number",
    }
    named = next(name for kind, name in names.items() if kind in kinds)
    return named if type(None) not in kinds else f"{named} or null"
