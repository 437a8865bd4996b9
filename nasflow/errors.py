"""Every error nasflow raises for something a person can mend; each message is one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasflowError(Exception):
    """Root of all errors whose message is meant for the person who caused them."""


class TypeRuleError(NasflowError):
    """An operation was given values whose types its rule refuses."""


class SpaceError(NasflowError):
    """A search space is declared wrongly: a name used twice, an empty choice, an ill-typed point."""


class PointError(NasflowError):
    """A point does not fit its space: unknown, missing, inactive or out-of-range decision."""


class GraphError(NasflowError):
    """A stored graph is not a valid graph: wrong schema, unknown operation, cycle, absurd size."""


class ConfigError(NasflowError):
    """The command line or a configuration file asks for something that does not exist."""


class DataError(NasflowError):
    """A data set is missing, truncated, or not in the form its name promises."""


class RunError(NasflowError):
    """A run folder, a ledger or a place to run cannot be used."""


class CandidateError(NasflowError):
    """One candidate failed (NaN loss, out of memory, time limit); the search goes on."""


class NasflowWarning(UserWarning):
    """Something was left out that the person may have wanted; the work goes on."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest candidate, or an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
