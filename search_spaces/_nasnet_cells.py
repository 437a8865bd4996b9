"""The published cells of NASNet's space, as points: Zoph et al. (2018), Liu et al. (2018), Real et al. (2019)."""

from __future__ import annotations

from collections.abc import Sequence

Block = tuple[int, str, int, str]
"""Left state, its operation, right state, its operation; combined by addition."""


def cell_point(
    kind: str, blocks: Sequence[Block], keep: Sequence[int] = (), combine: str = "add"
) -> dict[str, object]:
    """Return the decisions of a cell; state 0 is h_i, 1 is h_{i-1}, then the blocks."""
    point: dict[str, object] = {f"{kind}/keep{state}": "always" for state in keep}
    for number, (left, left_op, right, right_op) in enumerate(blocks):
        scope = f"{kind}/block{number}"
        point |= {
            f"{scope}/left": left,
            f"{scope}/right": right,
            f"{scope}/left_op": left_op,
            f"{scope}/right_op": right_op,
            f"{scope}/combine": combine,
        }
    return point


NASNET_A_NORMAL = cell_point(
    "normal",
    [
        (0, "sep_conv_5x5", 1, "sep_conv_3x3"),
        (1, "sep_conv_5x5", 1, "sep_conv_3x3"),
        (0, "avg_pool_3x3", 1, "identity"),
        (1, "avg_pool_3x3", 1, "avg_pool_3x3"),
        (0, "sep_conv_3x3", 0, "identity"),
    ],
    keep=[1],
)
NASNET_A_REDUCTION = cell_point(
    "reduction",
    [
        (0, "sep_conv_5x5", 1, "sep_conv_7x7"),
        (0, "max_pool_3x3", 1, "sep_conv_7x7"),
        (0, "avg_pool_3x3", 1, "sep_conv_5x5"),
        (3, "identity", 2, "avg_pool_3x3"),
        (2, "sep_conv_3x3", 0, "max_pool_3x3"),
    ],
    keep=[3],
)
NASNET_A = {**NASNET_A_NORMAL, **NASNET_A_REDUCTION}
STRIDED = {**NASNET_A_NORMAL, "downsample": "normal"}


# The drawn cells of NASNet-B and -C are in no public code. These were found by search: they meet
# every printed figure, and nothing more is known of them.
NASNET_B_NORMAL = cell_point(
    "normal",
    [
        (2, "identity", 1, "identity"),
        (1, "identity", 0, "sep_conv_3x3"),
        (3, "sep_conv_3x3", 4, "sep_conv_5x5"),
        (2, "sep_conv_3x3", 2, "sep_conv_3x3"),
    ],
    combine="concat",
)
NASNET_B_REDUCTION = cell_point(
    "reduction",
    [
        (2, "avg_pool_3x3", 2, "sep_conv_3x3"),
        (0, "max_pool_3x3", 0, "sep_conv_3x3"),
        (2, "max_pool_3x3", 4, "avg_pool_3x3"),
        (5, "max_pool_3x3", 2, "sep_conv_3x3"),
    ],
    combine="concat",
)
NASNET_C = {
    **cell_point(
        "normal",
        [
            (1, "avg_pool_3x3", 1, "sep_conv_3x3"),
            (1, "sep_conv_3x3", 1, "sep_conv_3x3"),
            (0, "sep_conv_3x3", 1, "identity"),
            (0, "identity", 0, "sep_conv_3x3"),
        ],
    ),
    **cell_point(
        "reduction",
        [
            (1, "sep_conv_5x5", 0, "sep_conv_5x5"),
            (0, "identity", 0, "sep_conv_7x7"),
            (3, "sep_conv_7x7", 0, "sep_conv_7x7"),
            (3, "sep_conv_7x7", 2, "sep_conv_5x5"),
        ],
    ),
}


# PNASNet has one kind of cell, strided where the resolution halves (Liu et al., 2018, figure 1).
PNASNET_5 = {
    **cell_point(
        "normal",
        [
            (1, "sep_conv_5x5", 1, "max_pool_3x3"),
            (0, "sep_conv_7x7", 0, "max_pool_3x3"),
            (0, "sep_conv_5x5", 0, "sep_conv_3x3"),
            (4, "sep_conv_3x3", 0, "max_pool_3x3"),
            (1, "sep_conv_3x3", 0, "identity"),
        ],
        keep=[4],
    ),
    "downsample": "normal",
}

# AmoebaNet (Real et al., 2019, figure 5 and the released code's specifications).
AMOEBANET_A = {
    **cell_point(
        "normal",
        [
            (0, "avg_pool_3x3", 0, "max_pool_3x3"),
            (1, "sep_conv_3x3", 1, "identity"),
            (0, "identity", 1, "avg_pool_3x3"),
            (0, "sep_conv_3x3", 2, "sep_conv_5x5"),
            (5, "avg_pool_3x3", 0, "sep_conv_3x3"),
        ],
        keep=[1],
    ),
    **cell_point(
        "reduction",
        [
            (1, "sep_conv_3x3", 0, "avg_pool_3x3"),
            (0, "max_pool_3x3", 2, "sep_conv_7x7"),
            (1, "max_pool_3x3", 0, "max_pool_3x3"),
            (4, "sep_conv_3x3", 0, "conv_1x7_7x1"),
            (1, "avg_pool_3x3", 0, "sep_conv_7x7"),
        ],
        keep=[2, 4],
    ),
}
AMOEBANET_B = {
    **cell_point(
        "normal",
        [
            (1, "conv_1x1", 1, "max_pool_3x3"),
            (1, "identity", 0, "sep_conv_3x3"),
            (1, "conv_1x1", 0, "sep_conv_3x3"),
            (2, "conv_1x1", 2, "identity"),
            (1, "avg_pool_3x3", 5, "conv_1x1"),
        ],
        keep=[0],
    ),
    **cell_point(
        "reduction",
        [
            (0, "max_pool_2x2", 0, "max_pool_3x3"),
            (2, "identity", 1, "conv_3x3"),
            (2, "dil_sep_conv_5x5", 2, "max_pool_3x3"),
            (3, "identity", 1, "sep_conv_3x3"),
            (4, "avg_pool_3x3", 3, "conv_1x1"),
        ],
    ),
}
AMOEBANET_C = {
    **cell_point(
        "normal",
        [
            (0, "avg_pool_3x3", 0, "sep_conv_3x3"),
            (0, "identity", 0, "sep_conv_3x3"),
            (2, "avg_pool_3x3", 1, "sep_conv_3x3"),
            (0, "identity", 1, "sep_conv_3x3"),
            (3, "avg_pool_3x3", 0, "sep_conv_3x3"),
        ],
        keep=[1, 2],
    ),
    **cell_point(
        "reduction",
        [
            (0, "max_pool_3x3", 0, "max_pool_3x3"),
            (2, "sep_conv_7x7", 0, "sep_conv_3x3"),
            (0, "sep_conv_7x7", 1, "max_pool_3x3"),
            (4, "sep_conv_5x5", 4, "sep_conv_5x5"),
            (1, "max_pool_3x3", 1, "sep_conv_3x3"),
        ],
        keep=[0, 2, 4],
    ),
}
