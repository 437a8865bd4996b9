"""DINO: queries that start from the likeliest places of several maps and refine their boxes layer by layer.

Zhang et al., "DINO: DETR with Improved DeNoising Anchor Boxes for End-to-End Object Detection", ICLR 2023
(arXiv 2203.03605), section 3 and figure 2, with the released configuration on four maps; attention is that of
Zhu et al., "Deformable DETR" (ICLR 2021, arXiv 2010.04159), section 4.1, and boxes are told to queries as in Liu
et al., "DAB-DETR" (ICLR 2022, arXiv 2201.12329), section 4.1.

Boxes are centre across and down, width and height, in parts of the image. Noised boxes, which training adds to
the queries, are no part of the network, nor is the table of the labels they carry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasflow import ir
from search_spaces import resnet, revcol, swin
from search_spaces._backbones import BACKBONES, Backbones, check, choose, point
from search_spaces.deformable_detr import HEADS, ring, shares, transformed

Sizes = tuple[tuple[int, int], ...]

GROUPS = 32  # of the norm of projected maps
PIXEL_WAVES, BOX_WAVES = 20.0, 10000.0
"""How much longer the longest wave is than the shortest: of pixels' positions, and of boxes."""
RARE = -4.595
"""A classifier's first bias: one query in a hundred shows any kind (Lin et al., 2017, focal loss)."""


def space(
    *,
    classes: int = 91,
    size: tuple[int, int] = (800, 1280),
    channels: int = 3,
    queries: int = 900,
    width: int = 256,
    places: int = 4,
    encoder: int = 6,
    decoder: int = 6,
    backbones: Backbones = tuple(BACKBONES),
) -> ir.Space:
    """Return the space of detectors over a choice of backbones.

    Their results are scores and boxes of the places that queries start from, then of each layer of the decoder.

    Args:
        classes: kinds of object, as COCO numbers them.
        size, channels: height and width of the images, multiples of 32, and their channels.
        queries: objects that are found at most.
        width: features of tokens and queries, a multiple of 32.
        places: how many each head looks at on each map.
        encoder, decoder: most layers of the encoder, and layers of the decoder.
        backbones: those to choose from; as a mapping also the settings of each.
    """
    check(size, backbones)
    sizes: Sizes = tuple(
        (-(-size[0] // stride), -(-size[1] // stride)) for stride in (8, 16, 32, 64)
    )
    if not 1 <= queries <= sum(height * width for height, width in sizes):
        raise ir.SpaceError(f"dino: expected queries up to the pixels of {sizes}, got {queries}")
    hidden = ir.choice("hidden", 1024, 2048, ordered=True)

    maps = project(*choose(ir.image(channels, size), backbones)[1:], width=width)
    flat = [ir.Rearrange("c h w -> L=(h w) D=c")(x) for x in maps]
    memory, position = ir.Concat("L")(*flat, name="tokens"), positions(sizes, width)
    centres = ir.PixelPlaces(sizes)(name="centres")

    def layer(x: ir.Value) -> ir.Value:
        return encoder_layer(x, position, centres, sizes=sizes, places=places, hidden=hidden)

    memory = ir.repeat(layer, ir.integer("encoder", 1, encoder), name="encoder")(memory)
    scores, boxes = proposals(memory, sizes, classes, queries)
    results = [scores, ir.Activation("sigmoid")(boxes)]

    tell, move, classify, norm = shared_heads(width, classes)
    x = ir.Parameter(("L", "D"), (queries, width), ("normal", 1.0))(name="queries")
    earlier = ir.Detach()(boxes)
    for i in range(1, decoder + 1):
        now = ir.Detach()(earlier)
        boxes = ir.Activation("sigmoid")(now)
        about = tell(waves(boxes, 4, width, BOX_WAVES), name=f"tell{i}")
        more: dict[str, Any] = {"sizes": sizes, "places": places, "hidden": hidden}
        x = decoder_layer(x, about, memory, boxes, **more, name=f"decoder{i}")
        found = norm(x, name=f"norm{i}")
        # Looking forward twice: a box is judged by what this layer and the one before moved (section 3.5).
        box = ir.Add()(move(found, name=f"move{i}"), earlier)
        results += [classify(found, name=f"classify{i}"), ir.Activation("sigmoid")(box)]
        earlier = ir.Add()(move(x, name=f"step{i}"), now)
    return ir.Space(results, name="dino")


# -- maps to tokens -----------------------------------------------------------------------------------


@ir.block
def project(*maps: ir.Value, width: int) -> tuple[ir.Value, ...]:
    """Bring maps to one width; a further one is half the coarsest: (C, H, W) each -> (width, H, W) each."""
    law = "xavier_uniform"
    found = [ir.Conv2d(width, init=law)(x, name=f"map{i}") for i, x in enumerate(maps, 1)]
    found.append(ir.Conv2d(width, 3, 2, init=law)(maps[-1], name=f"map{len(maps) + 1}"))
    return tuple(ir.GroupNorm(GROUPS)(x, name=f"norm{i}") for i, x in enumerate(found, 1))


def positions(sizes: Sizes, width: int) -> ir.Value:
    """Tell where on its map each pixel lies, and on which map: (L, width)."""
    kind = ir.Parameter(("L", "D"), (len(sizes), width), ("normal", 1.0))(name="levels")
    found = []
    for level, size in enumerate(sizes):
        where = waves(ir.PixelPlaces((size,), 1.0)(), 2, width, PIXEL_WAVES)
        found.append(ir.Add()(where, ir.Slice("L", level, level + 1)(kind)))
    return ir.Concat("L")(*found, name="position")


def waves(where: ir.Value, numbers: int, width: int, longest: float) -> ir.Value:
    """Tell places or boxes by waves, those down before those across: (L, numbers) -> (L, numbers width / 2)."""
    across, down, *extent = ir.Split(numbers, "D")(where)
    return ir.SinusoidalFeatures(width // 2, longest)(ir.Concat("D")(down, across, *extent))


# -- layers ---------------------------------------------------------------------------------------------


def dense(x: ir.Value, out: ir.Operand, name: str) -> ir.Value:
    """Map tokens linearly, from Glorot's start: (L, D) -> (L, out)."""
    return ir.Linear(out, init="xavier_uniform")(x, name=name)


@ir.block
def multiscale_attention(
    query: ir.Value, memory: ir.Value, where: ir.Value, sizes: Sizes, places: int
) -> ir.Value:
    """Let each query sum what its heads see on all maps at the places it names: (Q, D) -> the same."""
    width, factors = memory.dim("D"), (HEADS, len(sizes), places)
    looks = HEADS * len(sizes) * places
    start = ("values", *ring(places, len(sizes)))
    offsets = ir.Linear(2 * looks, init="zeros", bias_init=start, factors=(*factors, 2))
    values = dense(memory, width, "value")
    looked = ir.MultiscaleDeformableAttention(HEADS, sizes)(
        values, where, offsets(query, name="offsets"), shares(query, looks, factors)
    )
    return dense(looked, width, "proj")


@ir.block
def encoder_layer(
    x: ir.Value,
    position: ir.Value,
    centres: ir.Value,
    sizes: Sizes,
    places: int,
    hidden: ir.Operand,
) -> ir.Value:
    """Let pixels look at places on all maps around theirs, then transform each: (L, D) -> the same."""
    query = ir.Add()(x, position)
    y = multiscale_attention(query, x, centres, sizes=sizes, places=places, name="attn")
    return transformed(ir.LayerNorm()(ir.Add()(x, y), name="norm1"), hidden, "norm2")


@ir.block
def self_attention(x: ir.Value, about: ir.Value) -> ir.Value:
    """Let queries attend to each other, by what they hold and what they are about: (Q, D) -> the same."""
    told, width = ir.Add()(x, about), about.dim("D")
    parts = [
        ir.Rearrange("l (m d) -> m l d", (("m", HEADS),))(dense(value, width, name))
        for value, name in ((told, "query"), (told, "key"), (x, "value"))
    ]
    return dense(ir.Rearrange("m l d -> l D=(m d)")(ir.Attention()(*parts)), width, "proj")


@ir.block
def decoder_layer(
    x: ir.Value,
    about: ir.Value,
    memory: ir.Value,
    boxes: ir.Value,
    sizes: Sizes,
    places: int,
    hidden: ir.Operand,
) -> ir.Value:
    """Let queries attend to each other, look at the maps around their boxes, and transform each."""
    x = ir.LayerNorm()(ir.Add()(x, self_attention(x, about, name="queries")), name="norm1")
    query = ir.Add()(x, about)
    y = multiscale_attention(query, memory, boxes, sizes=sizes, places=places, name="attn")
    return transformed(ir.LayerNorm()(ir.Add()(x, y), name="norm2"), hidden, "norm3")


# -- heads ----------------------------------------------------------------------------------------------


def mlp(x: ir.Value, width: int, out: int, layers: int, last: str = "xavier_uniform") -> ir.Value:
    """Map tokens by linear layers with ReLUs between: (L, D) -> (L, out); ``last`` starts the last."""
    for i in range(1, layers):
        x = ir.Activation("relu")(dense(x, width, f"fc{i}"))
    return ir.Linear(out, init=last)(x, name=f"fc{layers}")


def kinds(x: ir.Value, classes: int) -> ir.Value:
    """Score each token for each class."""
    return ir.Linear(classes, bias_init=("constant", RARE))(x, name="scores")


@ir.block
def proposals(
    memory: ir.Value, sizes: Sizes, classes: int, queries: int
) -> tuple[ir.Value, ir.Value]:
    """Return scores and boxes, as logits, of the tokens likeliest to show anything (section 3.4)."""
    width: Any = memory.dim("D")
    anchors, counts = ir.PixelAnchors(sizes)()
    x = ir.LayerNorm()(dense(ir.Multiply()(memory, counts), width, "map"), name="norm")
    scores = kinds(x, classes)
    best = ir.TopK(queries)(ir.Max("D")(scores))
    boxes = ir.Add()(mlp(x, width, 4, 3, "zeros"), anchors)
    return ir.TakeTokens()(scores, best), ir.TakeTokens()(boxes, best)


def shared_heads(width: int, classes: int) -> list[Callable[..., ir.Value]]:
    """Return what all layers of the decoder share: how boxes are told, moved and classified, and a norm."""

    def tell(x: ir.Value) -> ir.Value:
        return mlp(x, width, width, 2)

    def move(x: ir.Value) -> ir.Value:
        return mlp(x, width, 4, 3, "zeros")

    def classify(x: ir.Value) -> ir.Value:
        return kinds(x, classes)

    def norm(x: ir.Value) -> ir.Value:
        return ir.LayerNorm()(x, name="norm")

    return [ir.shared(head) for head in (tell, move, classify, norm)]


# -- published detectors --------------------------------------------------------------------------------

PAPER = "Zhang et al. (2023), table 1 and released configuration"
SMALLER = (
    "no configuration is published: this is DINO's on RevCol-H, and has the printed parameters; the printed MACs are "
    "of a smaller picture, as RevCol-H alone has 6,339 G at 1280 x 800"
)


def _model(
    backbone: str,
    network: ir.Model,
    source: str = PAPER,
    reconstructed: bool = False,
    note: str = "",
) -> ir.Model:
    decisions = {**point(backbone, network), "hidden": 2048, "encoder": 6}
    return ir.Model(decisions, {}, source, reconstructed, note)


MODELS: dict[str, ir.Model] = {
    "dino_r50": _model("resnet", resnet.MODELS["resnet50"]),
    "dino_swin_l": _model("swin", swin.MODELS["swin_l_384"]),
    "dino_revcol_h": _model(
        "revcol", revcol.MODELS["revcol_h"], "Cai et al. (2023), results on COCO", True, SMALLER
    ),
}
