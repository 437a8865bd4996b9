"""Show a network: its values' types, the cost of every node, its decisions, pictures of its blocks.

python -m nasflow show model=resnet50
python -m nasflow show run=outputs/... rank=1 to=pictures
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasflow.cli.files import named, read_run, target, write
from nasflow.cli.source import found
from nasflow.cli.table import table
from nasflow.report.text import decisions, operation

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.ir import Graph

UNITS = {"peak_memory": " bytes an input", "receptive_field": " pixels"}
HEADER = ("node", "operation", "output", "params", "macs")


def run(config: DictConfig) -> int:
    """Print the network; write its pictures where ``to=`` says."""
    from nasflow.report.picture import pictures
    from nasflow.search.tradeoff import tradeoff

    network = found(config)
    print(network.name)
    if network.point is not None:
        print(decisions(network.point))
    print(table(HEADER, nodes(network.graph)))
    print()
    for name, value in costs(network.graph, network.measures or {}).items():
        print(f"{name:16} {value}")
    if config.run is not None:
        traded = tradeoff(read_run(config.run))
        print(f"\nits run: {traded.describe()}" if traded else "")
    if config.to is not None:
        for name, svg in pictures(network.graph).items():
            print(f"wrote {named(write(target(config.to) / f'{name}.svg', svg))}")
    return 0


def nodes(graph: Graph) -> list[tuple[str, str, str, int, int]]:
    """Return a row for each operation: path, operation, output types, parameters, multiply-adds."""
    rows = []
    counted: set[tuple[str, str]] = set()
    for path, node, _ in graph.walk():
        applied: Any = node.content  # `walk` yields operations only
        owner = (path.rpartition("/")[0], node.weights)
        params = 0 if owner in counted else applied.params
        counted.add(owner)
        output = " + ".join(str(type) for type in applied.outputs)
        rows.append((path, operation(applied.op), output, params, applied.macs))
    return rows


def costs(graph: Graph, measures: dict[str, float]) -> dict[str, str]:
    """Return what is known of a network, as text by name."""
    import dataclasses

    exact = dataclasses.asdict(graph.cost())
    lines = {
        name: f"{value:,}{UNITS.get(name, '')}" if value is not None else "the whole input"
        for name, value in exact.items()
    }
    others = {name: f"{value:.4g}" for name, value in measures.items() if name not in lines}
    return {
        "input": " + ".join(map(str, graph.inputs)),
        **lines,
        **others,
        "fingerprint": graph.fingerprint,
    }
