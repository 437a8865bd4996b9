"""Graphs survive storage exactly, and what a stranger wrote is checked in full."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nasflow
from nasflow import ir
from nasflow.errors import GraphError
from nasflow.ir.graph import Graph
from nasflow.ir.serialize import MAX_FLAT

from . import tiny


@ir.block
def residual(x: ir.Value, out: int) -> ir.Value:
    y = ir.Conv2d(out, (3, 1), bias=False)(x, name="conv")
    return ir.Add()(ir.BatchNorm(init=("constant", 0.5))(y, name="norm"), x)


def network() -> Graph:
    x = ir.Conv2d(8, 3)(ir.image(3, 8), name="stem")
    tied = ir.shared(lambda x: ir.Conv2d(8)(x))
    x = ir.repeat(lambda x: residual(x, 8), ir.integer("depth", 1, 3), name="stage")(x)
    x = ir.Add()(tied(x, name="a"), tied(ir.Activation("relu")(x), name="b"))
    position = ir.Parameter(("L", "D"), (64, 8), init=("normal", 0.02))()
    y = ir.Add()(ir.Rearrange("c h w -> L=(h w) D=c")(x), position)
    return ir.Space(ir.Linear(10)(y, name="head"), name="net").bind({"depth": 3})


def stored() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(network().to_json()))
    return data


def test_a_round_trip_is_exact() -> None:
    graph = network()
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again.to_json() == graph.to_json()
    assert again.fingerprint == graph.fingerprint
    assert (again.params, again.macs, again.outputs) == (graph.params, graph.macs, graph.outputs)
    assert again.cost() == graph.cost()
    assert [(n.name, n.inputs, n.weights) for _, n, _ in again.walk()] == [
        (n.name, n.inputs, n.weights) for _, n, _ in graph.walk()
    ]


def test_equal_blocks_are_stored_once_and_stay_one_object() -> None:
    names = [graph["name"] for graph in stored()["graphs"]]
    assert names.count("residual") == 1 and names[-1] == "net"
    stage = next(node.content for node in Graph.from_json(stored()).nodes if node.name == "stage")
    assert isinstance(stage, Graph) and len({id(node.content) for node in stage.nodes}) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_random_networks_survive(seed: int, nodes: int) -> None:
    graph = tiny.random_network(random.Random(seed), nodes)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again.to_json() == graph.to_json() and again.fingerprint == graph.fingerprint


# -- what a stranger may write -----------------------------------------------------------------------


def top(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["graphs"][-1]
    return found


def node(data: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        n for graph in reversed(data["graphs"]) for n in graph["nodes"] if n["name"] == name
    )
    return found


def bomb(data: dict[str, Any]) -> None:
    graph = {**top(data), "nodes": [], "results": [0], "name": "level"}
    graph["nodes"] = [node(data, "stem")]
    graph["nodes"][0]["attributes"]["out"] = 3
    graph["results"] = [1]
    graphs = [graph]
    for level in range(40):
        uses = [{"name": f"n{i}", "graph": level, "inputs": [i]} for i in range(2)]
        graphs.append({**graph, "nodes": uses, "results": [2]})
    data["graphs"] = graphs


def tower(data: dict[str, Any]) -> None:
    bomb(data)
    for graph in data["graphs"][1:]:
        graph["nodes"], graph["results"] = graph["nodes"][:1], [1]
    data["graphs"] += [
        {**data["graphs"][-1], "nodes": [{"name": "n0", "graph": 40 + i, "inputs": [0]}]}
        for i in range(40)
    ]


def edit(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def apply(data: dict[str, Any]) -> None:
        for path, value in changes.items():
            where, _, key = path.rpartition("__")
            target = data if not where else top(data) if where == "top" else node(data, where)
            if key in ("out", "kernel", "bias", "init", "groups", "form", "pattern", "shape"):
                target = target["attributes"]
            target[key] = value

    return apply


def unset(where: str, *keys: str) -> Callable[[dict[str, Any]], None]:
    def apply(data: dict[str, Any]) -> None:
        target = top(data) if where == "top" else node(data, where)
        for key in keys[:-1]:
            target = target[key]
        del target[keys[-1]]

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(format="other"), "graph: expected format 'nasflow.graph', got 'other'"),
        (edit(version=2), "graph: expected version 1, got 2"),
        (edit(graphs=[]), "expected graphs to be a list"),
        (edit(graphs={}), "expected graphs to be a list"),
        (edit(extra=1), "unknown field 'extra'"),
        (edit(stem__op="Conv2"), "'stem': unknown operation 'Conv2' (did you mean 'Conv2d'?)"),
        (edit(stem__op=3), "expected op to be a name, got 3"),
        (edit(stem__out="8"), "Conv2d: expected out from 1, got '8'"),
        (edit(stem__out=-8), "expected out from 1, got -8"),
        (edit(stem__out=None), "expected out from 1, got None"),
        (edit(stem__out=2**70), "expected out to be at most"),
        (edit(stem__out=float("nan")), "expected out to be at most"),
        (edit(stem__out={"a": 1}), "expected out to be a plain value"),
        (edit(stem__kernel=[3, 3, 3]), "expected kernel to be 2 integers"),
        (edit(stem__kernel=0), "expected kernel to be 2 integers from 1, got 0"),
        (edit(stem__bias="False or x"), "expected bias to be true or false, got 'False or x'"),
        (edit(stem__groups=5), "Conv2d groups=5 does not divide"),
        (edit(stem__init="__import__('os')"), "expected an initialisation law"),
        (edit(activation__form="relu({0}); evil"), "expected one of"),
        (unset("stem", "attributes", "kernel"), "Conv2d: field 'kernel' is missing"),
        (unset("stem", "inputs"), "field 'inputs' is missing"),
        (unset("top", "results"), "field 'results' is missing"),
        (lambda d: node(d, "stem")["attributes"].update(kernal=3), "unknown field 'kernal' (did you"),
        (edit(stem__inputs=[1]), "a value must be made before it is used"),
        (edit(stem__inputs=[-1]), "expected inputs to be ids of values, got -1"),
        (edit(stem__inputs=[True]), "expected inputs to be ids of values, got True"),
        (edit(stem__inputs=[]), "expected 1 to 1 inputs, got 0"),
        (edit(stem__name="self.x = 1"), "lower-case letters"),
        (edit(stem__name="a\nb"), "lower-case letters"),
        (edit(stem__name="stem" * 30), "lower-case letters"),
        (edit(head__name="stem"), "two nodes are named 'stem'"),
        (edit(head__inputs=[0, 0]), "expected 1 to 1 inputs, got 2"),
        (edit(head__weights="../x"), "expected weights to be"),
        (edit(head__weights="stem"), "shares the weights of 'stem'"),
        (edit(top__name="class X:"), "expected name to be"),
        (edit(top__kind="loop"), "expected kind 'block' or 'repeat', got 'loop'"),
        (edit(top__results=[10**9]), "results has value 1000000000"),
        (edit(top__results=[]), "expected at least one result"),
        (edit(top__results=[1]), "is needed by no result"),
        (edit(top__arguments={"x=1, y": 2}), "named as in Python"),
        (edit(top__arguments={"lambda": 2}), "named as in Python"),
        (edit(top__arguments={"x": [2]}), "plain value"),
        (edit(top__inputs=[]), "only 0 are made before it"),
        (lambda d: top(d)["inputs"][0].update(shape=[3, 8]), "expected one size"),
        (lambda d: top(d)["inputs"][0].update(shape=[3, 8, 2**50]), "expected axis W"),
        (lambda d: top(d)["inputs"][0].update(axes=["C", "H", "x"]), "capital letters"),
        (lambda d: top(d)["inputs"][0].update(dtype="complex"), "expected a dtype among"),
        (lambda d: top(d)["inputs"][0].update(batched=1), "batched to be true or false"),
        (lambda d: top(d)["inputs"][0].update(name="x y"), "expected name to be"),
        (lambda d: node(d, "stage").update(graph=99), "the index of an earlier graph"),
        (lambda d: node(d, "stage").update(graph=len(d["graphs"]) - 1), "the index of an earlier"),
        (lambda d: node(d, "stage").update(inputs=[0]), "expected inputs (C=8 H=8 W=8), got (C=3"),
        (lambda d: d["graphs"].insert(-1, copy.deepcopy(d["graphs"][0])), "no graph uses it"),
        (bomb, f"expected at most {MAX_FLAT:,} operations"),
        (tower, "nested at most 64 deep"),
    ],
)  # fmt: skip
def test_bad_data_gets_one_clear_line(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    data = stored()
    change(data)
    with pytest.raises(GraphError) as caught:
        Graph.from_json(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 450


@pytest.mark.parametrize("data", [None, 3, "x", [], {}, {"graphs": None}])
def test_what_is_no_graph_at_all_is_refused(data: Any) -> None:
    with pytest.raises(GraphError, match=r"^graph: "):
        Graph.from_json(data)


def test_a_split_into_a_billion_parts_is_refused_before_it_is_made() -> None:
    parts = ir.Split(2)(ir.image(4, 8))
    data = ir.Space(ir.Add()(*parts)).bind({}).to_json()
    data["graphs"][-1]["nodes"][0]["attributes"]["parts"] = 10**9
    with pytest.raises(GraphError, match="results"):
        Graph.from_json(data)


def paths(data: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [prefix] + [path for key, value in items for path in paths(value, (*prefix, key))]


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.floats(), st.text(max_size=5),
    st.integers(), st.lists(st.integers(-2, 9), max_size=4), st.just({}), st.just("half"),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_edit_is_refused_or_gives_a_sound_graph(data: Any) -> None:
    stored_graph = stored()
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(paths(stored_graph)[1:]))
        target = stored_graph
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = data.draw(JUNK)
    try:
        graph = Graph.from_json(stored_graph)
    except GraphError as error:
        assert "\n" not in str(error)
        return
    assert graph.fingerprint and graph.cost().params >= 0
    for _, inner, types in graph.walk():
        inner.content.op.source(*types)  # type: ignore[union-attr]
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))).fingerprint == graph.fingerprint


@pytest.mark.parametrize("name", ["bignas", "nasnet", "resnet"])
def test_graphs_of_spaces_that_hold_functions_can_be_pickled(name: str) -> None:
    space = nasflow.space(name)
    graph = space.bind(space.sample(1))
    again = pickle.loads(pickle.dumps(graph))
    assert again.to_json() == graph.to_json() and again.fingerprint == graph.fingerprint
    assert again.arguments == graph.arguments and again.cost() == graph.cost()
