"""DINO: printed figures, counts by hand, and a small one made of transformers' layers of Deformable DETR."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DeformableDetrConfig
from transformers.models.deformable_detr import modeling_deformable_detr as detr

import nasflow
from search_spaces import dino
from tests.conformance.reference import assert_counts, perturb, relative_error

# Zhang et al. (2023), table 1, for R50 (GFLOPs of the first hundred pictures of COCO's validation set); Swin-L
# as EasyCV's table of its DINO; Cai et al. (2023) for RevCol-H.
PRINTED = {"dino_r50": (47, 279), "dino_swin_l": (217, None), "dino_revcol_h": (2180, None)}


@pytest.mark.parametrize("name", PRINTED)
def test_printed_figures(name: str) -> None:
    graph, (params, macs) = nasflow.model(name), PRINTED[name]
    assert round(graph.params / 1e6) == params
    if macs:
        assert graph.macs / 1e9 == pytest.approx(macs, rel=0.01)


def test_counts_by_hand() -> None:
    """The released configuration's layers on ResNet-50, without the table of noised labels, 92 x 256."""
    d, hidden, classes = 256, 2048, 91
    linear = d * d + d
    attention = 2 * linear + 8 * 4 * 4 * 3 * (d + 1)  # 8 heads, 4 maps, 4 places
    transform = 2 * d * hidden + hidden + d
    mlp = 2 * linear + 4 * d + 4
    parts = [
        nasflow.model("resnet50").params - (2048 * 1000 + 1000),
        (512 + 1024 + 2048 + 9 * 2048) * d + 4 * 3 * d,  # projected maps and their norms
        4 * d + 900 * d,
        6 * (attention + transform + 2 * 2 * d),
        linear + 2 * d + classes * (d + 1) + mlp,
        6 * (4 * linear + attention + transform + 3 * 2 * d),
        2 * d * d + d + linear + 2 * d + classes * (d + 1) + mlp,
    ]
    assert nasflow.model("dino_r50").params == sum(parts) == 46_922_750


# -- a small one ----------------------------------------------------------------------------------------

SIZE, WIDTH, QUERIES, CLASSES, PLACES = (64, 96), 32, 7, 5, 2
CHANNELS = (128, 256, 512)


def small(decoder: int = 2) -> nasflow.ir.Graph:
    space = nasflow.space(
        "dino", classes=CLASSES, size=SIZE, queries=QUERIES, width=WIDTH, places=PLACES, encoder=2,
        decoder=decoder, backbones={"resnet": {"deepest": (1, 1, 1, 1)}},
    )  # fmt: skip
    point: dict[str, Any] = {"unit": "basic", "order": "post", "attention": "none", "width": 1}
    point |= {f"stage{i}/depth": 1 for i in range(1, 5)}
    chosen = {"backbone": "resnet", "hidden": 1024, "encoder": 2}
    return space.bind(chosen | {f"resnet/{name}": value for name, value in point.items()})


def perceptron(*sizes: int) -> nn.ModuleDict:
    pairs = itertools.pairwise(sizes)
    return nn.ModuleDict({f"fc{i}": nn.Linear(*pair) for i, pair in enumerate(pairs, 1)})


def run(layers: Any, x: Tensor) -> Tensor:
    found = [layers[name] for name in layers if name.startswith("fc")]
    for layer in found[:-1]:
        x = layer(x).relu()
    return found[-1](x)


def sines(x: Tensor, longest: float) -> Tensor:
    """Sines and cosines of each number, entry by entry."""
    half = WIDTH // 2
    entries = []
    for number in x.unbind(-1):
        for i in range(0, half, 2):
            angle = 2 * math.pi * number / longest ** (i / half)
            entries += [angle.sin(), angle.cos()]
    return torch.stack(entries, dim=-1)


def grid(size: tuple[int, ...], shift: float) -> Tensor:
    """Down and across of each pixel of a map, in parts of its sides."""
    down, across = ((torch.arange(side) + shift) / side for side in size)
    return torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).flatten(0, 1)


class Reference(nn.Module):
    """Section 3 and figure 2 of the paper with transformers' layers."""

    def __init__(self) -> None:
        super().__init__()
        config = DeformableDetrConfig(
            d_model=WIDTH, encoder_ffn_dim=1024, decoder_ffn_dim=1024, num_feature_levels=4,
            encoder_n_points=PLACES, decoder_n_points=PLACES, encoder_attention_heads=8,
            decoder_attention_heads=8, dropout=0.0, activation_dropout=0.0, attention_dropout=0.0,
        )  # fmt: skip
        config._attn_implementation = "eager"
        self.levels = nn.Parameter(torch.randn(4, WIDTH))
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))
        maps = [nn.Conv2d(channels, WIDTH, 1) for channels in CHANNELS]
        maps.append(nn.Conv2d(CHANNELS[-1], WIDTH, 3, 2, 1))
        self.project = nn.ModuleDict({f"map{i}": conv for i, conv in enumerate(maps, 1)})
        self.project.update({f"norm{i}": nn.GroupNorm(32, WIDTH) for i in range(1, 5)})
        self.encoder = nn.ModuleList(detr.DeformableDetrEncoderLayer(config) for _ in range(2))
        self.proposals = perceptron(WIDTH, WIDTH, WIDTH, 4)
        self.proposals["map"] = nn.Linear(WIDTH, WIDTH)
        self.proposals["norm"] = nn.LayerNorm(WIDTH)
        self.proposals["scores"] = nn.Linear(WIDTH, CLASSES)
        self.tell1, self.move1 = perceptron(2 * WIDTH, WIDTH, WIDTH), perceptron(*[WIDTH] * 3, 4)
        self.norm1 = nn.ModuleDict({"norm": nn.LayerNorm(WIDTH)})
        self.classify1 = nn.ModuleDict({"scores": nn.Linear(WIDTH, CLASSES)})
        for i in (1, 2):
            self.add_module(f"decoder{i}", detr.DeformableDetrDecoderLayer(config))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        project: Any = self.project
        inputs = [*features, features[-1]]
        maps = [project[f"norm{i}"](project[f"map{i}"](x)) for i, x in enumerate(inputs, 1)]
        sizes = [tuple(x.shape[-2:]) for x in maps]
        x = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        batch, seen = len(x), torch.ones(x.shape[:2], dtype=torch.bool)
        where = [sines(grid(size, 1.0), 20) for size in sizes]
        position = torch.cat([y + self.levels[i] for i, y in enumerate(where)])
        centres = torch.cat([grid(size, 0.5).flip(-1) for size in sizes])
        shapes = {"spatial_shapes": torch.tensor(sizes), "spatial_shapes_list": sizes}
        for layer in self.encoder:
            x = layer(
                x, seen, position.expand(batch, -1, -1), level_start_index=None,
                reference_points=centres[None, :, None].expand(batch, -1, 4, -1), **shapes,
            )  # fmt: skip
        proposals: Any = self.proposals
        parts: Any = SimpleNamespace(enc_output=proposals["map"], enc_output_norm=proposals["norm"])
        y, anchors = detr.DeformableDetrModel.gen_encoder_output_proposals(parts, x, ~seen, sizes)
        scores = proposals["scores"](y)
        best = scores.amax(-1).topk(QUERIES, dim=1).indices.unsqueeze(-1)
        # Boxes outside the picture, infinite there, are brought back to 0.999 where the paper's code goes on.
        boxes = run(proposals, y) + anchors.clamp(max=math.log(999))
        boxes = boxes.take_along_dim(best, dim=1)
        results = [scores.take_along_dim(best, dim=1), boxes.sigmoid()]
        q, earlier, now = self.queries.expand(batch, -1, -1), boxes, boxes
        layers: Any = (self.decoder1, self.decoder2)
        for decoder in layers:
            box = now.sigmoid()
            about = run(self.tell1, sines(box[..., [1, 0, 2, 3]], 10000))
            q = decoder(
                q, about, box[:, :, None].expand(-1, -1, 4, -1), encoder_hidden_states=x,
                encoder_attention_mask=seen, level_start_index=None, **shapes,
            )  # fmt: skip
            found = self.norm1["norm"](q)
            results += [
                self.classify1["scores"](found),
                (run(self.move1, found) + earlier).sigmoid(),
            ]
            earlier = now = run(self.move1, q) + now
        return results


PARTS = {
    "attn.value": "attn.value_proj", "attn.offsets": "attn.sampling_offsets",
    "attn.weights": "attn.attention_weights", "attn.proj": "attn.output_proj",
    "queries.query": "self_attn.q_proj", "queries.key": "self_attn.k_proj",
    "queries.value": "self_attn.v_proj", "queries.proj": "self_attn.o_proj",
    "fc1": "mlp.fc1", "fc2": "mlp.fc2",
}  # fmt: skip


def theirs(name: str) -> str:
    """Return transformers' name of a tensor of ours."""
    if not name.startswith(("encoder", "decoder")):
        return name
    head, kind = name.rsplit(".", 1)
    stem, *inner = head.split(".")
    if stem == "encoder":
        stem, norms = f"encoder.{inner.pop(0)}", ["self_attn_layer_norm", "final_layer_norm"]
        attention = "self_"
    else:
        norms = ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"]
        attention = "encoder_"
    part = ".".join(inner)
    if part.startswith("norm"):
        return f"{stem}.{norms[int(part[-1]) - 1]}.{kind}"
    prefix = attention if part.startswith("attn") else ""
    return f"{stem}.{prefix}{PARTS[part]}.{kind}"


def test_a_small_one() -> None:
    torch.manual_seed(0)
    module: Any = small().to_torch(seed=0).eval()
    reference = Reference().eval()
    perturb(reference)
    others = reference.state_dict()
    own = {name: t for name, t in module.state_dict().items() if not name.startswith("backbone")}
    assert {theirs(name) for name in own} == set(others)
    for name, tensor in own.items():
        tensor.copy_(others[theirs(name)])
    image = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        found, wanted = module(image), reference(list(module.backbone_resnet(image)[1:]))
    assert len(found) == len(wanted) == 6
    for ours, other in zip(found, wanted, strict=True):
        assert relative_error(ours, other) < 1e-4


def test_a_box_looks_forward_twice() -> None:
    """A loss on a layer's boxes reaches the layer and the one before, and no proposals (section 3.5)."""
    module: Any = small(decoder=3).to_torch(seed=0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)

    def reached(number: int) -> set[str]:
        module.zero_grad()
        module(torch.randn(1, 3, *SIZE))[number].sum().backward()
        return {name for name, p in module.named_parameters() if p.grad is not None}

    last = reached(-1)
    assert {"decoder2.fc2.weight", "queries"} < last and "proposals.fc3.weight" not in last
    assert "proposals.fc3.weight" in reached(1)


def test_declared_counts_are_real() -> None:
    graph = small()
    assert_counts(graph, graph.params, graph.macs)
    assert nasflow.model("dino_r50").macs == 277_326_228_480


def test_mistakes_are_told() -> None:
    with pytest.raises(nasflow.ir.SpaceError, match="queries up to the pixels"):
        nasflow.space("dino", size=(64, 64), backbones=("resnet",))
    with pytest.raises(nasflow.ir.SpaceError, match="backbones among"):
        nasflow.space("dino", backbones=("vgg",))
    assert set(dino.MODELS) == set(PRINTED)
