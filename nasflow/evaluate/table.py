"""Look candidates up in a table of networks that others really trained, in microseconds.

The tables are public (their sources stand at each function) and no part of nasflow: they are read
from the folder named by the environment variable ``NASFLOW_BENCHMARKS``, by default
``../shared/benchmarks`` beside the project.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.errors import CandidateError, ConfigError, DataError, nearest

if TYPE_CHECKING:
    from nasflow.evaluate.evaluator import Network, Report
    from nasflow.ir import Point

VARIABLE = "NASFLOW_BENCHMARKS"
BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "benchmarks"
EDGES = ("edge_1_0", "edge_2_0", "edge_2_1", "edge_3_0", "edge_3_1", "edge_3_2")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
BLOCKS = ("identity", "mbconv_e3_k3", "mbconv_e6_k5")


class Table:
    """Evaluate a point by its own row; `key` maps a point to the row's key.

    Equal networks may have been trained apart: the row is found by the point, never by the graph.
    """

    reads_graph = False

    def __init__(
        self,
        name: str,
        key: Callable[[Mapping[str, Any]], Hashable],
        rows: Mapping[Hashable, dict[str, float]],
    ) -> None:
        self.name, self.key, self.rows = name, key, rows

    def __call__(
        self, graph: Network | None, *, point: Point, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return the measures of the point's row; the graph and the seed change nothing.

        Raises CandidateError where the table has no such row.
        """
        try:
            return dict(self.rows[self.key(point)])
        except KeyError:
            raise CandidateError(f"table {self.name} has no row for {dict(point)}") from None

    def best(self, measure: str = "accuracy") -> float:
        """Return the highest value of a measure in the table."""
        return max(row[measure] for row in self.rows.values())


def nas_bench_201(
    data: str = "cifar10", device: str | None = None, folder: str | None = None
) -> Table:
    """Return NAS-Bench-201's 15,625 cells (Dong and Yang, 2020; the tables' licences are MIT).

    `accuracy` is the validation accuracy after 12 epochs, from which to search; `test_accuracy`
    that after 200 epochs, to report. On CIFAR-10 `params` and `macs` are the published counts; they
    include dead edges. With a `device` of HELP's measurements (Lee et al., 2021; for example
    ``raspi4``) there is `latency_ms`.
    """
    if data not in ("cifar10", "cifar100"):
        hint = nearest(data, ("cifar10", "cifar100"))
        raise ConfigError(f"nas_bench_201 data: expected cifar10 or cifar100, got {data!r}{hint}")
    place = find(folder) / "nas_bench_201"
    searched, reported = f"{data}_valid_acc_12ep", f"{data}_test_acc_200ep"
    counts = {"params": "params_cifar10", "macs": "flops_cifar10"} if data == "cifar10" else {}
    train = read(place / "accuracy_12ep.parquet", [*EDGES, searched, *counts.values()])
    test = read(place / "test_200ep.parquet", [reported])
    measures = {
        "accuracy": percent(train[searched]),
        "test_accuracy": percent(test[reported]),
        **{measure: train[column] for measure, column in counts.items()},
    }
    if device is not None:
        measures["latency_ms"] = latency(read(place / "latency_ms.parquet"), device)
    keys = zip(*([OPERATIONS[i] for i in train[edge]] for edge in EDGES), strict=True)
    return Table(f"nas_bench_201/{data}", itemgetter(*EDGES), rows(keys, measures))


def nas_bench_macro(folder: str | None = None) -> Table:
    """Return NAS-Bench-Macro's 6,561 networks on CIFAR-10 (Su et al., 2021; Apache-2.0).

    `accuracy` is the test accuracy of the first training, from which to search; `test_accuracy` the
    mean of the other two.
    """
    table = read(find(folder) / "nas_bench_macro" / "nas_bench_macro_cifar10.parquet")
    pairs = zip(table["test_acc_seed1"], table["test_acc_seed2"], strict=True)
    measures = {
        "accuracy": percent(table["test_acc_seed0"]),
        "test_accuracy": percent([(a + b) / 2 for a, b in pairs]),
        "params": table["params"],
        "macs": table["flops"],
    }
    layers = [f"layer{i}" for i in range(8)]
    keys = zip(*([BLOCKS[i] for i in table[layer]] for layer in layers), strict=True)
    return Table("nas_bench_macro", itemgetter(*layers), rows(keys, measures))


def find(folder: str | None = None) -> Path:
    """Return the folder of the tables; raises DataError where there is none."""
    place = Path(folder or os.environ.get(VARIABLE) or BESIDE)
    if not place.is_dir():
        raise DataError(
            f"benchmark tables: no folder {place}; set {VARIABLE} to the one with nas_bench_201/"
        )
    return place


def read(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Return a parquet file's columns by name, all of them unless some are named.

    Raises DataError for a missing or damaged file.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:  # `read_table` would import pandas
            return dict(file.read(columns).to_pydict())
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0] if path.exists() else "no such file"
        raise DataError(f"benchmark table {path}: {reason}") from error


def latency(table: Mapping[str, list[Any]], device: str) -> list[float]:
    """Return a device's column in milliseconds; raises ConfigError for an unknown device."""
    devices = [name.removesuffix("_ms") for name in table if name.endswith("_ms")]
    if device not in devices:
        raise ConfigError(
            f"nas_bench_201 device: unknown {device!r}{nearest(device, devices)};"
            f" there are: {', '.join(devices)}"
        )
    return table[f"{device}_ms"]


def percent(column: list[float]) -> list[float]:
    """Return percentages as fractions of one."""
    return [value / 100 for value in column]


def rows(keys: Any, measures: Mapping[str, list[float]]) -> dict[Hashable, dict[str, float]]:
    """Return one dictionary of measures for each key."""
    lines = zip(*measures.values(), strict=True)
    return {
        key: dict(zip(measures, line, strict=True)) for key, line in zip(keys, lines, strict=True)
    }
