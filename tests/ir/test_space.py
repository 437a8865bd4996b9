"""Counting, drawing, changing, encoding and checking points, against brute force."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasflow import ir
from nasflow.errors import PointError, SpaceError, TypeRuleError

# -- random conditional spaces: a specification, the space it makes, and its points one by one -------

# ("use", d): decision d appears; ("switch", d, {option: specs}); ("repeat", d, [specs, ...]).
Spec = list[tuple[Any, ...]]
NAMES = {
    "a": (2, 3),
    "b": ("p", "q", "r"),
    "c": (2, 5),
    "d": ("s", "t"),
    "n": (0, 1, 2),
    "m": (1, 2),
}
# A decision's gates must not depend on itself in a circle, so inner specs use later names only.
ORDER = tuple(NAMES)


def specs(draw: Any, after: int, depth: int) -> Spec:
    found: Spec = []
    for _ in range(draw(st.integers(0, 3))):
        if after >= len(ORDER):
            break
        position = draw(st.integers(after, len(ORDER) - 1))
        name = ORDER[position]
        kind = draw(st.sampled_from(("use", "switch", "repeat"))) if depth else "use"
        if kind == "repeat" and name not in ("n", "m"):
            kind = "switch"
        if kind == "use":
            found.append(("use", name))
        elif kind == "switch":
            inner = {o: specs(draw, position + 1, depth - 1) for o in NAMES[name]}
            found.append(("switch", name, inner))
        else:
            count = max(NAMES[name])  # type: ignore[type-var]
            bodies = [specs(draw, position + 1, depth - 1) for _ in range(count)]  # type: ignore[arg-type]
            found.append(("repeat", name, bodies))
    return found


@st.composite
def specifications(draw: Any) -> Spec:
    return [("use", ORDER[draw(st.integers(0, 5))]), *specs(draw, 0, 2)]


def build(spec: Spec) -> ir.Space:
    decisions = {name: ir.choice(name, *options) for name, options in NAMES.items()}

    def grow(x: ir.Value, spec: Spec) -> ir.Value:
        for item in spec:
            decision = decisions[item[1]]
            if item[0] == "use":
                x = ir.Scale(
                    ir.table(decision, {o: i + 2 for i, o in enumerate(decision.options)})
                )(x)
            elif item[0] == "switch":
                branches = {
                    o: (lambda x, inner=inner: grow(x, inner)) for o, inner in item[2].items()
                }
                x = ir.switch(decision, branches)(x)
            else:
                x = ir.repeat(lambda x, i, bodies=item[2]: grow(x, bodies[i]), decision)(x)
        return x

    return ir.Space(grow(ir.image(1, 4), spec), name="random")


def brute(spec: Spec, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every way to go on from a partial point through a specification."""
    if not spec:
        yield point
        return
    item, *rest = spec
    name = item[1]
    for option in [point[name]] if name in point else NAMES[name]:
        closed = {**point, name: option}
        inner: Spec = []
        if item[0] == "switch":
            inner = item[2][option]
        elif item[0] == "repeat":
            inner = [step for body in item[2][:option] for step in body]
        yield from brute([*inner, *rest], closed)


def frozen(point: Any) -> frozenset[Any]:
    return frozenset(point.items())


@settings(max_examples=120, deadline=None)
@given(specifications(), st.integers(0, 1000))
def test_a_space_is_exactly_its_points(spec: Spec, seed: int) -> None:
    space, rng = build(spec), random.Random(seed)
    points = {frozen(point): point for point in brute(spec, {})}
    assert space.size == len(points)
    enumerated = [frozen(point) for point in space.enumerate()] if len(points) < 3000 else points
    assert len(enumerated) == len(points) and set(enumerated) == set(points)
    for _ in range(8):
        point, other = space.sample(rng), space.sample(rng)
        assert frozen(point) in points
        space.check(point)
        space.bind(point)
        assert space.decode(space.encode(point)) == point
        assert frozen(space.crossover(point, other, rng)) in points
        if len(points) > 1:
            mutant = space.mutate(point, rng)
            assert frozen(mutant) in points and mutant != point
        neighbours = list(space.neighbours(point))
        assert all(frozen(n) in points and n != point for n in neighbours)
        assert len(set(map(frozen, neighbours))) == len(neighbours)


@settings(max_examples=60, deadline=None)
@given(specifications(), st.data())
def test_check_accepts_exactly_the_points(spec: Spec, data: Any) -> None:
    space = build(spec)
    legal = {frozen(point) for point in itertools.islice(brute(spec, {}), 5000)}
    if len(legal) == 5000:
        return
    tried = {}
    for name in space.decisions:
        option = data.draw(st.sampled_from((None, *name.options)))
        if option is not None:
            tried[name.name] = option
    if frozen(tried) in legal:
        space.check(tried)
    else:
        with pytest.raises(PointError):
            space.check(tried)


def test_points_are_drawn_uniformly() -> None:
    spec: Spec = [
        ("switch", "b", {"p": [], "q": [("use", "a")], "r": [("use", "a"), ("use", "n")]})
    ]
    spec.append(("repeat", "m", [[("use", "c")], [("use", "d")]]))
    space, rng = build(spec), random.Random(0)
    assert space.size == (1 + 2 + 6) * (2 + 4)
    draws = 200 * space.size
    counts = Counter(frozen(space.sample(rng)) for _ in range(draws))
    statistic = sum((count - 200) ** 2 / 200 for count in counts.values())
    freedom = space.size - 1
    assert len(counts) == space.size
    # Mean and standard deviation of chi-square; five of the latter happen once in a million.
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


def test_a_trunk_of_five_stages_counts_exactly() -> None:
    """Cai et al., "Once-for-All" (2020), section 3.1: depths 2 to 4, kernels and widths of 3."""
    x = ir.image(16, 32)
    for stage in range(5):
        with ir.scope(f"stage{stage}"):

            def layer(x: ir.Value) -> ir.Value:
                width = 16 * ir.choice("expand", 3, 4, 6)
                kernel = ir.choice("kernel", 3, 5, 7)
                y = ir.Conv2d(width)(x)
                return ir.Conv2d(16, kernel)(y)

            x = ir.repeat(layer, ir.integer("depth", 2, 4))(x)
    space = ir.Space(x, name="trunk")
    assert space.size == (9**2 + 9**3 + 9**4) ** 5
    point = space.sample(0)
    assert sum(name.endswith("kernel") for name in point) == sum(
        value for name, value in point.items() if name.endswith("depth")
    )
    assert space.bind(point).params == space.bind(dict(reversed(point.items()))).params


def test_what_no_space_can_be_that_large_is_refused_at_once() -> None:
    with pytest.raises(
        SpaceError, match=r"'width': expected at most 10,000 options, got 1,000,000"
    ):
        ir.integer("width", 1, 10**9)
    with pytest.raises(SpaceError, match=r"'blocks': expected at most 10,000 times, got 1,000,000"):
        ir.repeat(lambda x: ir.Conv2d(8)(x), 10**9)(ir.image(3, 8))


def test_a_shape_that_cannot_be_computed_names_the_input() -> None:
    side = ir.choice("side", (12, 8))
    open_space = ir.Space(ir.Mean()(ir.image(3, ir.floor(side * 0.5))), name="odd")
    with pytest.raises(SpaceError, match="image: cannot compute its shape"):
        open_space.bind({"side": (12, 8)})


# -- what is asked of single spaces ------------------------------------------------------------------


def small() -> ir.Space:
    x = ir.image(3, 8)
    width = ir.integer("width", 4, 16, 4)
    kind = ir.choice("kind", "conv", "pool")
    keep = ir.choice("keep", False, True, searched=False, default=False)
    y = ir.Conv2d(width)(x)
    y = ir.switch(
        kind,
        conv=lambda y: ir.Conv2d(8, ir.choice("kernel", 1, 3, ordered=True))(y),
        pool=lambda y: ir.MaxPool(3)(y),
    )(y)
    y = ir.when(keep, lambda y: ir.Activation("relu")(y), lambda y: y)(y)
    points = {"narrow": {"width": 4, "kind": "pool"}}
    return ir.Space(y, name="small", points=points)


def test_size_counts_only_what_is_searched() -> None:
    assert small().size == 4 * (2 + 1)
    assert all(point["keep"] is False for point in small().enumerate())


def test_each_active_decision_is_asked_for_once_in_order() -> None:
    asked: list[str] = []

    def last(decision: ir.Decision) -> ir.Scalar:
        asked.append(decision.name)
        return decision.offered[-1]

    space = small()
    assert space.decide(last) == space.largest() == {"width": 16, "kind": "pool", "keep": False}
    assert asked == [d.name for d in space.decisions if d.name in space.largest()]


def test_points_may_set_what_is_not_searched() -> None:
    point = {"width": 4, "kind": "pool"}
    assert len(small().bind({**point, "keep": True}).nodes) == len(small().bind(point).nodes) + 1


@pytest.mark.parametrize("kernels", [(1, 3), (3, 1)])
def test_what_is_not_searched_may_hang_on_what_is(kernels: tuple[int, int]) -> None:
    branches = {
        1: lambda x: ir.Conv2d(ir.choice("wide", 4, 8, searched=False), 1)(x),
        3: lambda x: ir.Conv2d(8, 3)(x),
    }
    x = ir.switch(ir.choice("kernel", *kernels), branches)(ir.image(1, 8))
    space = ir.Space(ir.Linear(10)(ir.Mean()(x)), name="hanging")
    expected = [{"kernel": 1, "1/wide": 4}, {"kernel": 3}]
    assert sorted(space.enumerate(), key=lambda point: point["kernel"]) == expected
    for seed in range(8):
        point = space.sample(seed)
        assert point in expected and space.bind(point)


def test_named_points_are_completed() -> None:
    assert small().points["narrow"] == {"width": 4, "kind": "pool", "keep": False}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"width": 4}, r"^decision 'kind' is missing: expected one of 'conv', 'pool'$"),
        (
            {"width": 5, "kind": "pool"},
            r"^decision 'width': expected one of 4, 8, \.\.\. 16, got 5$",
        ),
        ({"width": "4", "kind": "pool"}, r"^decision 'width': .* got '4'$"),
        ({"width": True, "kind": "pool"}, r"^decision 'width': .* got True$"),
        ({"width": [4], "kind": "pool"}, r"^decision 'width': .* got \(4,\)$"),
        (
            {"width": 4, "kind": "pol"},
            r"^decision 'kind': expected one of 'conv', 'pool', got 'pol'$",
        ),
        (
            {"width": 4, "kind": "pool", "kind/conv/kernel": 3},
            r"^decision 'kind/conv/kernel' is inactive here: expected no value, got 3$|has no decision",
        ),
        ({"widht": 4}, r"^space 'small' has no decision 'widht' \(did you mean 'width'\?\)$"),
        ([("width", 4)], r"^a point: expected a mapping, got list$"),
        (
            {"width": 4, "kind": "pool", "keep": 1},
            r"^decision 'keep': expected one of False, True, got 1$",
        ),
    ],
)
def test_a_bad_point_gets_one_clear_line(point: Any, message: str) -> None:
    with pytest.raises(PointError, match=message) as caught:
        small().check(point)
    assert "\n" not in str(caught.value)


def test_a_tuple_option_may_be_stored_as_a_list() -> None:
    size = ir.choice("size", (1, 3), (3, 1))
    space = ir.Space(ir.Conv2d(4, size)(ir.image(3, 8)))
    assert space.complete({"size": [3, 1]}) == {"size": (3, 1)}


def test_two_decisions_of_one_name_are_refused() -> None:
    x = ir.image(3, 8)
    first, second = ir.choice("out", 4, 8), ir.choice("out", 4, 8)
    with pytest.raises(
        SpaceError, match=r"two decisions are named 'out'; put each in an ir\.scope"
    ):
        ir.Space(ir.Conv2d(second)(ir.Conv2d(first)(x)))


def test_a_decision_that_nothing_live_uses_does_not_exist() -> None:
    x = ir.image(3, 8)
    ir.Conv2d(ir.choice("dead", 4, 8))(x)
    assert ir.Space(ir.Conv2d(ir.choice("live", 4, 8))(x)).decisions[0].name == "live"
    assert ir.Space(ir.Activation()(x)).size == 1


def test_verify_names_the_point_and_the_node() -> None:
    groups = ir.choice("groups", 1, 3)
    y = ir.Conv2d(64, 3)(ir.image(3, 8), name="stem")
    space = ir.Space(ir.Conv2d(64, 3, groups=groups)(y, name="mix"), name="bad")
    with pytest.raises(SpaceError, match=r"^space 'bad': mix: Conv2d groups=3.*\{'groups': 3\}$"):
        space.verify()


def test_an_ill_typed_node_is_named_with_what_it_got() -> None:
    @ir.block
    def block2(x: ir.Value) -> ir.Value:
        return ir.Conv2d(63, 3, groups=3)(x, name="conv1")

    space = ir.Space(block2(ir.Conv2d(64)(ir.image(3, 8))))
    with pytest.raises(TypeRuleError) as caught:
        space.bind({})
    assert str(caught.value) == "block2/conv1: Conv2d groups=3 does not divide in_channels=64"


def test_sampling_is_reproducible() -> None:
    space = small()
    assert [space.sample(seed) for seed in range(20)] == [space.sample(seed) for seed in range(20)]
    assert len({frozen(space.sample(seed)) for seed in range(60)}) > 6


def test_a_mutation_changes_one_decision_or_what_it_opens() -> None:
    space, rng = small(), random.Random(0)
    for _ in range(50):
        point = space.sample(rng)
        mutant = space.mutate(point, rng)
        changed = {n for n in {*point, *mutant} if point.get(n) != mutant.get(n)}
        assert len({n for n in changed if "kernel" not in n}) <= 1 and changed


def test_a_single_point_cannot_be_mutated() -> None:
    space = ir.Space(ir.Activation()(ir.image(3, 8)))
    with pytest.raises(PointError, match="nothing to mutate"):
        space.mutate({}, random.Random(0))


def test_neighbours_of_an_ordered_decision_are_adjacent() -> None:
    space = small()
    widths = [n["width"] for n in space.neighbours({"width": 8, "kind": "pool"}) if n["width"] != 8]
    assert widths == [4, 12]


def test_an_encoding_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(PointError, match="expected an encoding of 10 numbers, got 3"):
        small().decode([0.0, 0.0, 0.0])


def test_options_that_count_as_equal_are_refused() -> None:
    with pytest.raises(SpaceError, match="expected distinct options"):
        ir.choice("key", 1, True)


@pytest.mark.parametrize("name", ["class X:", "Net", "", "a" * 81])
def test_a_space_is_named_like_what_becomes_a_class(name: str) -> None:
    with pytest.raises(SpaceError, match="lower-case letters"):
        ir.Space(ir.Activation()(ir.image(3, 8)), name=name)


def test_uses_of_a_shared_lambda_are_one_block() -> None:
    tied = ir.shared(lambda x: ir.Conv2d(3)(x))
    x = ir.image(3, 8)
    graph = ir.Space(tied(tied(x, name="a"), name="b")).bind({})
    assert [inner.name for inner in graph.subgraphs()] == ["block", "space"]
