"""NASNet: cells of blocks found by search, stacked by a fixed skeleton.

Zoph, Vasudevan, Shlens & Le, "Learning Transferable Architectures for Scalable Image Recognition",
CVPR 2018 (arXiv 1707.07012). Section 3 has the space, appendix A.4 the drawn cells; what the text
leaves open (stems, borders, projections) follows the authors' released TF-slim code.

PNASNet (Liu et al., 2018, arXiv 1712.00559) and AmoebaNet (Real et al., 2019, arXiv 1802.01548)
search the same space; their networks are points here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nasflow import ir
from search_spaces._nasnet_cells import (
    AMOEBANET_A,
    AMOEBANET_B,
    AMOEBANET_C,
    NASNET_A,
    NASNET_B_NORMAL,
    NASNET_B_REDUCTION,
    NASNET_C,
    PNASNET_5,
    STRIDED,
)

EPS, MOMENTUM = 1e-3, 0.1
SAME = "same"  # TensorFlow's borders, as in the released networks


def _norm() -> ir.BatchNorm:
    return ir.BatchNorm(eps=EPS, momentum=MOMENTUM)


def _relu(x: ir.Value) -> ir.Value:
    return ir.Activation("relu")(x)


# -- the thirteen operations (section 3, list of operations) --------------------------------------


@ir.block
def conv(
    x: ir.Value,
    out: ir.Operand,
    kernel: ir.Operand = 1,
    stride: ir.Operand = 1,
    dilation: ir.Operand = 1,
) -> ir.Value:
    x = ir.Conv2d(out, kernel, stride, SAME, dilation, bias=False)(_relu(x), name="conv")
    return _norm()(x, name="norm")


@ir.block
def factorised_conv(x: ir.Value, out: ir.Operand, size: ir.Operand, stride: ir.Operand) -> ir.Value:
    """1 x size, then size x 1; each carries the stride of its own axis."""
    x = ir.Conv2d(out, (1, size), (1, stride), SAME, bias=False)(_relu(x), name="row")
    x = _relu(_norm()(x, name="row_norm"))
    x = ir.Conv2d(out, (size, 1), (stride, 1), SAME, bias=False)(x, name="column")
    return _norm()(x, name="column_norm")


@ir.block
def separable_conv(
    x: ir.Value,
    out: ir.Operand,
    kernel: ir.Operand,
    stride: ir.Operand,
    dilation: ir.Operand = 1,
) -> ir.Value:
    """Depthwise then pointwise, applied twice; only the first has the stride."""
    for number, step in ((1, stride), (2, 1)):
        with ir.scope(f"part{number}"):
            channels = x.dim("C")
            depthwise = ir.Conv2d(channels, kernel, step, SAME, dilation, channels, bias=False)
            x = depthwise(_relu(x), name="depthwise")
            x = ir.Conv2d(out, bias=False)(x, name="pointwise")
            x = _norm()(x, name="norm")
    return x


@ir.block
def factorised_reduction(x: ir.Value, out: ir.Operand) -> ir.Value:
    """Halve the resolution by two 1x1 paths, the second shifted by a pixel; half the filters each."""
    even = ir.Conv2d(out // 2, bias=False)(ir.Subsample(2)(x), name="even")
    odd = ir.Conv2d(out - out // 2, bias=False)(ir.Subsample(2, offset=1)(x), name="odd")
    return _norm()(ir.Concat()(even, odd), name="norm")


def pool(x: ir.Value, out: ir.Operand, pooling: ir.Operation) -> ir.Value:
    """Pool, and match the number of filters by a 1x1 convolution where it differs."""
    return _match(pooling(x, name="pool"), out)


def _match(x: ir.Value, out: ir.Operand) -> ir.Value:
    def project(x: ir.Value) -> ir.Value:
        return _norm()(ir.Conv2d(out, bias=False)(x, name="project"), name="norm")

    return ir.when(x.dim("C") != out, project, lambda x: x)(x, name="match")


def identity(x: ir.Value, out: ir.Operand, stride: ir.Operand) -> ir.Value:
    """Nothing, or a strided 1x1 convolution where the shape must change."""
    changes = (x.dim("C") != out) | (stride != 1)
    return ir.when(changes, lambda x: conv(x, out, 1, stride), lambda x: x)(x, name="identity")


Branch = Callable[[ir.Value], ir.Value]


def operations(out: ir.Operand, stride: ir.Operand) -> dict[str, Branch]:
    """Return the thirteen choices for a hidden state, each giving ``out`` filters."""
    return {
        "identity": lambda x: identity(x, out, stride),
        "conv_1x7_7x1": lambda x: factorised_conv(x, out, 7, stride),
        "avg_pool_3x3": lambda x: pool(x, out, ir.AvgPool(3, stride, SAME)),
        "max_pool_3x3": lambda x: pool(x, out, ir.MaxPool(3, stride, SAME)),
        "max_pool_5x5": lambda x: pool(x, out, ir.MaxPool(5, stride, SAME)),
        "max_pool_7x7": lambda x: pool(x, out, ir.MaxPool(7, stride, SAME)),
        "conv_1x1": lambda x: conv(x, out, 1, stride),
        "conv_3x3": lambda x: conv(x, out, 3, stride),
        "conv_1x3_3x1": lambda x: factorised_conv(x, out, 3, stride),
        "dil_conv_3x3": lambda x: conv(x, out, 3, stride, dilation=2),
        "sep_conv_3x3": lambda x: separable_conv(x, out, 3, stride),
        "sep_conv_5x5": lambda x: separable_conv(x, out, 5, stride),
        "sep_conv_7x7": lambda x: separable_conv(x, out, 7, stride),
    }


@ir.block
def bottleneck(
    x: ir.Value, out: ir.Operand, narrow: ir.Operand, body: Callable[[ir.Value], ir.Value]
) -> ir.Value:
    """Apply ``body`` to ``narrow`` filters, between two 1x1 convolutions."""
    return conv(body(conv(x, narrow, name="narrow")), out, name="widen")


def max_pool_2x2(x: ir.Value, out: ir.Operand, stride: ir.Operand) -> ir.Value:
    """Pool windows that begin at each pixel; those at stride 1 reach past the far border."""
    # PyTorch pads both sides or, by rounding up, a last strided window: not this one.
    beyond = ir.when(stride == 1, lambda x: ir.Pad((0, 1, 0, 1), -1e38)(x), lambda x: x)
    return pool(beyond(x, name="beyond"), out, ir.MaxPool(2, stride, SAME))


def amoeba_operations(out: ir.Operand, stride: ir.Operand) -> dict[str, Branch]:
    """Return the choices of AmoebaNet's released code: dense kernels see fewer filters, two more."""

    def narrowed(narrow: ir.Operand, body: Branch) -> Branch:
        return lambda x: bottleneck(x, out, narrow, body)

    quarter, more = out // 4, 3 * out // 8
    return operations(out, stride) | {
        "conv_1x7_7x1": narrowed(quarter, lambda x: factorised_conv(x, quarter, 7, stride)),
        "conv_3x3": narrowed(quarter, lambda x: conv(x, quarter, 3, stride)),
        "conv_1x3_3x1": narrowed(more, lambda x: factorised_conv(x, more, 3, stride)),
        "dil_conv_3x3": narrowed(quarter, lambda x: conv(x, quarter, 3, stride, dilation=2)),
        "max_pool_2x2": lambda x: max_pool_2x2(x, out, stride),
        "dil_sep_conv_5x5": lambda x: separable_conv(x, out, 5, stride, dilation=2),
    }


Operations = Callable[[ir.Operand, ir.Operand], dict[str, Branch]]
OPERATIONS: dict[str, Operations] = {"nasnet": operations, "amoebanet": amoeba_operations}
COMBINE: dict[str, Callable[[ir.Value, ir.Value], ir.Value]] = {
    "add": lambda left, right: ir.Add()(left, right),
    "concat": lambda left, right: ir.Concat()(left, right),
}


# -- a cell -----------------------------------------------------------------------------------------


class Recipe:
    """The decisions of one kind of cell; every cell of that kind shares them.

    States are numbered 0 for the newest of the cell's inputs, h_i, then older ones, then the blocks.
    """

    def __init__(self, kind: str, blocks: int, inputs: int, operations: Operations) -> None:
        self.inputs = inputs
        self.operations = operations
        names = tuple(operations(4, 1))
        self.left, self.right, self.left_op, self.right_op, self.combine = [], [], [], [], []
        for block in range(blocks):
            with ir.scope(kind, f"block{block}"):
                states = range(inputs + block)
                self.left.append(ir.choice("left", *states))
                self.right.append(ir.choice("right", *states))
                self.left_op.append(ir.choice("left_op", *names))
                self.right_op.append(ir.choice("right_op", *names))
                self.combine.append(ir.choice("combine", *COMBINE))
        with ir.scope(kind):
            # NASNet-A's drawn cells also concatenate some states that are used.
            self.keep = [
                ir.choice(f"keep{state}", "unused", "always", searched=False)
                for state in range(inputs + blocks)
            ]

    def gate(self, state: int) -> ir.Operand:
        """Whether a hidden state is part of the cell's result: nobody uses it, or kept anyway."""
        gate: ir.Operand = True  # the last block's state, which no block can use
        for block in range(max(0, state - self.inputs + 1), len(self.left)):
            unused = (self.left[block] != state) & (self.right[block] != state)
            gate = unused if gate is True else gate & unused
        return gate if gate is True else gate | (self.keep[state] == "always")


def _fit(previous: ir.Value, current: ir.Value, out: ir.Operand) -> ir.Value:
    """Bring h_{i-1} to ``out`` filters at the resolution of h_i."""
    halve = previous.dim("H") != current.dim("H")
    project = ir.where(previous.dim("C") != out, "project", "keep")
    fit = ir.switch(
        ir.where(halve, "halve", project),
        halve=lambda x: factorised_reduction(_relu(x), out),
        project=lambda x: conv(x, out),
        keep=lambda x: x,
    )
    return fit(previous, name="fit")


def _hidden_states(
    recipe: Recipe, states: list[ir.Value], out: ir.Operand, stride: int, drop: ir.Operand
) -> list[ir.Value]:
    """Append one hidden state per block: two picked states, an operation on each, combined."""
    for block in range(len(recipe.left)):
        pair = []
        for side, index, op in (
            ("left", recipe.left[block], recipe.left_op[block]),
            ("right", recipe.right[block], recipe.right_op[block]),
        ):
            picked = ir.pick(index, states[: recipe.inputs + block])
            # Stride applies to the cell's inputs only, never to states made inside the cell.
            step = ir.where(index < recipe.inputs, stride, 1) if stride > 1 else 1
            name = f"block{block}_{side}"
            y = ir.switch(op, recipe.operations(out, step))(picked, name=name)
            if drop is not None:
                keep = ir.DropPath(drop, scheduled=True)
                y = ir.when(op == "identity", lambda y: y, keep)(y, name=f"{name}_drop")
            pair.append(y)
        states.append(ir.switch(recipe.combine[block], COMBINE)(*pair, name=f"block{block}"))
    return states


@ir.block
def cell(
    previous: ir.Value,
    current: ir.Value,
    recipe: Recipe,
    filters: ir.Operand,
    stride: int = 1,
    drop: ir.Operand = None,
    raw: bool = False,
) -> ir.Value:
    """A cell: (h_{i-1}, h_i) -> h_{i+1}. ``raw`` takes h_{i-1} as it comes."""
    fitted = previous if raw else _fit(previous, current, filters)
    states = [conv(current, filters, name="squeeze"), fitted]
    states = _hidden_states(recipe, states, filters, stride, drop)
    results = []
    for number, state in enumerate(states):
        if number < 2 and stride > 1:
            state = factorised_reduction(state, filters, name=f"reduce{number}")
        elif number == 1 and raw:
            state = _match(state, filters)
        results.append(ir.Gated(state, recipe.gate(number)))
    return ir.Concat()(*results, name="concat")


@ir.block
def cell_b(
    oldest: ir.Value,
    older: ir.Value,
    previous: ir.Value,
    current: ir.Value,
    recipe: Recipe,
    filters: ir.Operand,
    stride: int = 1,
    drop: ir.Operand = None,
) -> tuple[ir.Value, ...]:
    """NASNet-B's kind of cell: four states in, the four blocks out, none concatenated (appendix B)."""
    states = [conv(current, filters, name="squeeze")]
    for number, state in enumerate((previous, older, oldest)):
        with ir.scope(f"input{number + 1}"):
            states.append(_fit(state, current, filters))
    return tuple(_hidden_states(recipe, states, filters, stride, drop)[4:])


# -- the skeletons (figure 2, appendix A.3) ---------------------------------------------------------


@ir.block
def auxiliary_head(x: ir.Value, classes: int) -> ir.Value:
    """A classifier part of the way, used in training only (Szegedy et al., 2015)."""
    x = ir.AvgPool(5, 3, padding=0)(_relu(x))
    x = _relu(_norm()(ir.Conv2d(128, bias=False)(x, name="project"), name="project_norm"))
    x = ir.Conv2d(768, (x.dim("H"), x.dim("W")), padding=0, bias=False)(x, name="conv")
    x = _relu(_norm()(x, name="norm"))
    return ir.Linear(classes)(ir.Flatten()(x), name="classifier")


State = tuple[ir.Value, ...]
"""What the next cell takes, oldest first."""


class Skeleton:
    """How cells are stacked: sizes, rates, and which cell halves the resolution."""

    def __init__(
        self,
        blocks: int,
        inputs: int,
        repeats: int,
        filters: int,
        drop_path: float,
        operations: Operations,
    ) -> None:
        self.normal = Recipe("normal", blocks, inputs, operations)
        self.reduction = Recipe("reduction", blocks, inputs, operations)
        self.inputs = inputs
        self.repeats = ir.integer("repeats", 1, 8, searched=False, default=repeats)
        self.filters = ir.integer("filters", 4, 512, searched=False, default=filters)
        # Two of the paper's ImageNet networks have no reduction cell: their normal cell, strided,
        # halves the resolution and counts as one of the N.
        self.downsample = ir.choice("downsample", "reduction", "normal", searched=False)
        # The largest network lets the cell after a reduction skip the reduction's input.
        self.skip = ir.choice("skip_reduction_input", False, True, searched=False)
        self.drop = drop_path / (3 * self.repeats) if drop_path else None

    def cell(
        self, state: State, recipe: Recipe, filters: ir.Operand, stride: int = 1, **settings: object
    ) -> State:
        """Apply one cell; return what it makes."""
        if self.inputs == 4:
            settings.pop("raw", None)
            return cell_b(*state, recipe, filters, stride, **settings)
        return (cell(*state, recipe, filters, stride, **settings),)

    def after(self, state: State, made: State) -> State:
        """Return what the next cell takes: the newest states."""
        return (*state, *made)[-self.inputs :]

    def reduce(self, state: State, filters: ir.Operand, name: str, raw: bool = False) -> State:
        """Halve the resolution by the reduction cell, or by the normal cell at stride 2."""
        made = ir.switch(
            self.downsample,
            reduction=lambda *x: self.cell(x, self.reduction, filters, 2, raw=raw),
            normal=lambda *x: self.cell(x, self.normal, filters, 2, raw=raw),
        )(*state, name=name)
        return self.after(state, made if isinstance(made, tuple) else (made,))

    def skipped(self, before: State, after: State) -> State:
        """Replace a reduction's input by what came before it, where that is to be skipped."""
        if self.inputs == 4:
            return after
        return ir.pick(ir.where(self.skip, 1, 0), [after[0], before[0]]), after[1]

    def cifar_stem(self, image: ir.Value) -> State:
        """A 3x3 convolution of three times the filters; the first cell sees nothing older."""
        multiplier = ir.integer("stem_multiplier", 1, 3, searched=False, default=3)
        x = ir.Conv2d(multiplier * self.filters, 3, bias=False)(image, name="stem_conv")
        state = (_norm()(x, name="stem_norm"),) * self.inputs
        first = self.cell(state, self.normal, self.filters, drop=self.drop, raw=True, name="first")
        return self.after(state, first)

    def imagenet_stem(self, image: ir.Value) -> State:
        """A strided 3x3 convolution, then cells of a quarter and half of the filters, strided."""
        filters = ir.integer("stem_filters", 8, 512, searched=False, default=32)
        x = ir.Conv2d(filters, 3, 2, padding=0, bias=False)(image, name="stem_conv")
        state = (_norm()(x, name="stem_norm"),) * self.inputs
        state = self.reduce(state, self.filters // 4, "stem0", raw=True)
        return self.reduce(state, self.filters // 2, "stem1")

    def stage(self, number: int, done: ir.Operand, state: State) -> State:
        """Apply the normal cells of a stage, of which ``done`` are there already."""
        filters = self.filters * 2**number

        def step(*x: ir.Value) -> State:
            return self.after(x, self.cell(x, self.normal, filters))

        def dropping(*x: ir.Value, i: int) -> State:
            # The rate grows with the cell's place in the network (section 3, ScheduledDropPath).
            rate = self.drop * (number * self.repeats + done + i + 1)
            return self.after(x, self.cell(x, self.normal, filters, drop=rate))

        body = step if self.drop is None else dropping
        after: State = ir.repeat(body, self.repeats - done, name=f"stage{number}")(*state)
        return after


SIDES: dict[str, tuple[int, ...]] = {"cifar": (), "imagenet": (224, 299, 331, 480)}


def space(
    *,
    classes: int = 10,
    size: int | tuple[int, int] = 32,
    channels: int = 3,
    blocks: int = 5,
    inputs: int = 2,
    skeleton: str = "cifar",
    operations: str = "nasnet",
    repeats: int = 2,
    filters: int = 32,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    auxiliary: bool = False,
) -> ir.Space:
    """Return the NASNet space.

    Args:
        classes, size, channels: number of classes; side (or height and width) and channels of the images.
        blocks: blocks in a cell, B in the paper.
        inputs: states a cell takes: 2, or 4 for NASNet-B, whose cells hand on all their blocks.
        skeleton: ``"cifar"``, or ``"imagenet"``: a stride-2 stem and two more strided cells.
        operations: ``"nasnet"``'s thirteen, or ``"amoebanet"``'s.
        repeats, filters: what search holds N and F at; "6 @ 768" is N = 6 and F = 768 / 24.
        drop_path: rate of ScheduledDropPath at the last cell, for training.
        dropout: rate before the classifier.
        auxiliary: whether a second classifier after stage 1 helps training; the network then gives
            (logits, auxiliary logits) in training mode. Published figures leave it out.
    """
    if skeleton not in SIDES:
        raise ir.SpaceError(f"nasnet: expected skeleton cifar or imagenet, got {skeleton!r}")
    if operations not in OPERATIONS:
        raise ir.SpaceError(f"nasnet: expected operations nasnet or amoebanet, got {operations!r}")
    if inputs not in (2, 4):
        raise ir.SpaceError(f"nasnet: expected 2 or 4 inputs of a cell, got {inputs!r}")
    least = 1 if inputs == 2 else inputs  # NASNet-B's cells hand on four of their blocks
    if not isinstance(blocks, int) or not least <= blocks <= 100:
        raise ir.SpaceError(f"nasnet: expected {least} to 100 blocks in a cell, got {blocks!r}")
    plan = Skeleton(blocks, inputs, repeats, filters, drop_path, OPERATIONS[operations])
    # The published networks differ in the side of their images: one space holds them all.
    side: ir.Operand | tuple[int, int] = size
    if isinstance(size, int):
        sides = sorted({size, *SIDES[skeleton]})
        side = ir.choice("resolution", *sides, ordered=True, searched=False, default=size)
    image = ir.image(channels, side)
    state = (plan.cifar_stem if skeleton == "cifar" else plan.imagenet_stem)(image)
    done: ir.Operand = 1 if skeleton == "cifar" else 0
    auxiliary_logits = None
    for number in range(3):
        if number:
            reduced = plan.reduce(state, plan.filters * 2**number, f"reduction{number}")
            state = plan.skipped(state, reduced)
            done = ir.where(plan.downsample == "normal", 1, 0)
        state = plan.stage(number, done, state)
        if number == 1 and auxiliary:
            auxiliary_logits = auxiliary_head(_result(state), classes)
    x = ir.Mean()(_relu(_result(state)))
    if dropout:
        x = ir.Dropout(dropout)(x)
    logits = ir.Linear(classes)(x, name="classifier")
    if auxiliary_logits is not None:
        logits = ir.Auxiliary()(logits, auxiliary_logits)
    return ir.Space(logits, name="nasnet")


def _result(state: State) -> ir.Value:
    return state[-1] if len(state) == 2 else ir.Concat()(*state)


# -- published networks; their cells are in _nasnet_cells.py ------------------------------------------

ZOPH, LIU, REAL = "Zoph et al. (2018)", "Liu et al. (2018)", "Real et al. (2019) and released code"
AMOEBANET = {"operations": "amoebanet"}
FOUR_INPUTS = {"blocks": 4, "inputs": 4}


def _network(
    cells: Mapping[str, object],
    repeats: int,
    filters: int,
    source: str,
    size: int = 32,
    note: str = "",
    reconstructed: bool = False,
    settings: Mapping[str, object] | None = None,
    **more: object,
) -> ir.Model:
    """Return N = ``repeats`` and F = ``filters`` of a cell; a size above 32 means ImageNet's skeleton."""
    settings = dict(settings or {})
    if size > 32:
        settings |= {"skeleton": "imagenet", "classes": 1000, "size": 224}
        more["resolution"] = size
    point = {**cells, "repeats": repeats, "filters": filters, **more}
    return ir.Model(point, settings, source, reconstructed, note)


SKELETON_NOTE = (
    "the printed figures hold for normal cells only, strided where the resolution halves, as in the "
    "authors' PNASNet code; with reduction cells they are 9 to 12 % lower than what comes out. The "
    "paper's parameters include the moving statistics of batch norm"
)

CELL_NOTE = "the drawn cell is in no public code: this one was found by search and meets the printed figures"

MODELS = {
    "nasnet_a_6_768_cifar": _network(NASNET_A, 6, 32, f"{ZOPH}, table 1"),
    "nasnet_a_7_2304_cifar": _network(
        {**NASNET_A, "reduction/keep3": "unused"},
        6,
        96,
        f"{ZOPH}, table 1",
        stem_multiplier=1,
        reconstructed=True,
        note="printed 27.6M; the text knows no N = 7 on CIFAR. Seven normal cells a stage give 32.6M; "
        "six and the reduction cell, which concatenates unused states only, give the printed figure",
    ),
    "nasnet_a_4_1056_mobile": _network(NASNET_A, 4, 44, f"{ZOPH}, table 3", 224),
    "nasnet_b_4_1152_cifar": _network(
        {**NASNET_B_NORMAL, **NASNET_B_REDUCTION},
        4,
        36,
        f"{ZOPH}, table 1",
        note=CELL_NOTE,
        reconstructed=True,
        settings=FOUR_INPUTS,
    ),
    "nasnet_b_4_1536_mobile": _network(
        {**NASNET_B_NORMAL, "downsample": "normal"},
        4,
        48,
        f"{ZOPH}, table 3",
        224,
        CELL_NOTE,
        reconstructed=True,
        settings=FOUR_INPUTS,
    ),
    "nasnet_c_4_640_cifar": _network(
        NASNET_C,
        4,
        40,
        f"{ZOPH}, table 1",
        note=CELL_NOTE,
        reconstructed=True,
        settings={"blocks": 4},
    ),
    "nasnet_a_5_1538": _network(
        STRIDED, 5, 64, f"{ZOPH}, table 2", 299, SKELETON_NOTE, reconstructed=True
    ),
    "nasnet_a_7_1920": _network(
        STRIDED, 7, 80, f"{ZOPH}, table 2", 299, SKELETON_NOTE, reconstructed=True
    ),
    "nasnet_a_6_4032": _network(
        NASNET_A, 6, 168, f"{ZOPH}, table 2", 331, stem_filters=96, skip_reduction_input=True
    ),
    "pnasnet5_cifar": _network(PNASNET_5, 3, 48, f"{LIU}, table 3"),
    "pnasnet5_mobile": _network(
        PNASNET_5, 3, 54, f"{LIU}, table 4", 224, note="printed 588M; 587.3M is what the cell has"
    ),
    "pnasnet5_large": _network(PNASNET_5, 4, 216, f"{LIU}, table 5", 331, stem_filters=96),
    "amoebanet_a": _network(AMOEBANET_A, 6, 190, f"{REAL}, table 2", 331, settings=AMOEBANET),
    "amoebanet_b_gpipe": _network(
        AMOEBANET_B, 6, 512, f"Huang et al. (2019), section 5; {REAL}", 480, settings=AMOEBANET
    ),
    "amoebanet_c": _network(
        AMOEBANET_C, 6, 228, f"Cubuk et al. (2019), table 3; {REAL}", 331, settings=AMOEBANET
    ),
}
