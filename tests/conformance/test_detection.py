"""Detectors: printed figures, torchvision's Faster R-CNN, and a small one beside torchvision's parts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import LevelMapper
from torchvision.ops.roi_align import _roi_align

import nasflow
from search_spaces import detection
from tests.conformance.reference import assert_counts, counted_macs, parameters, relative_error

FIGURES = Path(nasflow.__file__).parents[1] / "docs" / "printed_figures.csv"
PAPERS = [name for name in detection.MODELS if name not in ("faster_rcnn", "htcpp_revcol_h")]
LARGE_SWIN = "cascade_mask_rcnn_swin_l"
ATTENTION = 10_464_632_832  # MACs of the products of attention, which that figure leaves out


def printed() -> dict[str, dict[str, str]]:
    with FIGURES.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", PAPERS)
def test_figures(name: str) -> None:
    """The papers' counter adds up to 2.8 G for norms, ReLUs, biases and upsampling."""
    graph, figures = nasflow.model(name), printed()[name]
    assert round(graph.params / 1e6) == int(figures["params"].rstrip("M"))
    macs = graph.macs - (ATTENTION if name == LARGE_SWIN else 0)
    assert 0 <= int(figures["macs"].rstrip("G")) - macs / 1e9 < 2.8


def test_htcpp_on_revcol_h() -> None:
    """Parameters as printed; the printed MACs are fewer than the backbone's own on such a picture."""
    name = "htcpp_revcol_h"
    graph, backbone = nasflow.model(name), nasflow.model("revcol_h")
    assert round(graph.params / 1e9, 2) == float(printed()[name]["params"].rstrip("G"))
    macs = backbone.macs * (800 * 1280) / 640**2
    assert float(printed()[name]["macs"].rstrip("G")) < macs / 1e9 < graph.macs / 1e9
    # Backbone without its classifier, pyramid (a lateral map of 5,400 channels in all), proposals, three heads
    # of boxes, three of masks with two maps between them, the branch of stuff, two blocks of attention.
    widths = [360, 720, 1440, 2880]
    parts = [
        backbone.params - (2880 * 1000 + 1000) - 2 * 2880,
        sum(widths) * 256 + 4 * 256 + 4 * (9 * 256**2 + 256),
        9 * 256**2 + 256 + 15 * 257,
        3 * (4 * (9 * 256**2 + 2 * 256) + 49 * 256 * 1024 + 1024 + 85 * 1025),
        3 * (4 * (9 * 256**2 + 256) + 4 * 256**2 + 256 + 80 * 257) + 2 * (256**2 + 256),
        6 * (256**2 + 256) + 4 * (9 * 256**2 + 256) + 183 * 257,
        2 * (12 * 2880**2 + 13 * 2880),
    ]
    assert graph.params == sum(parts)


def test_declared_counts_are_real() -> None:
    name = "cascade_mask_rcnn_convnext_b"
    assert_counts(nasflow.model(name), 145_800_242, 963_565_040_640)


def faster_rcnn() -> FasterRCNN:
    with torch.device("meta"):
        return fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)


class Parts(nn.Module):
    """What torchvision's detector computes of an image and of regions that were looked up."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, regions: Tensor) -> None:
        self.model.rpn.head(list(self.model.backbone(image).values()))
        self.model.roi_heads.box_predictor(self.model.roi_heads.box_head(regions))


def test_counts_of_faster_rcnn() -> None:
    reference = faster_rcnn()
    inputs = torch.empty(1, 3, 800, 1280), torch.empty(1000, 256, 7, 7)
    counts = parameters(reference), counted_macs(Parts(reference), *inputs)
    assert counts == (41_808_406, 206_385_648_640)
    # torchvision counts its pretrained weights without those of norms, which it freezes.
    norms = sum(m.weight.numel() * 2 for m in reference.modules() if isinstance(m, nn.BatchNorm2d))
    assert counts[0] - norms == 41_755_286
    assert_counts(nasflow.model("faster_rcnn"), *counts)


# -- a small cascade ------------------------------------------------------------------------------------

SIZE, WIDTH, HIDDEN, CLASSES = (128, 160), 8, 16, 3
CHANNELS = (64, 128, 256, 512)
BOXES = [[4.0, 8.0, 60.0, 50.0], [5, 6, 150, 125], [20, 10, 100, 120], [70, 30, 75, 60]]


def small(stuff: int) -> nasflow.ir.Graph:
    space = nasflow.space(
        "detection",
        size=SIZE, classes=CLASSES, proposals=len(BOXES), detections=2, stages=2, width=WIDTH,
        hidden=HIDDEN, stuff=stuff, backbones={"resnet": {"deepest": (1, 1, 1, 1)}},
    )  # fmt: skip
    point = {"unit": "basic", "order": "post", "attention": "none", "width": 1}
    point |= {f"stage{i}/depth": 1 for i in range(1, 5)}
    chosen = {"box_head": "linear", "deltas": "all", "backbone": "resnet"}
    return space.bind(chosen | {f"resnet/{name}": value for name, value in point.items()})


class Reference(nn.Module):
    """Two stages of torchvision's pyramid and heads, whose last class is the background.

    With ``stuff`` it is the hybrid task cascade: Chen et al. (2019), figures 2(d) and 4.
    """

    def __init__(self, stuff: int) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(list(CHANNELS), WIDTH, LastLevelMaxPool())
        shapes = ((WIDTH, 1),) * 5 + ((WIDTH, 3),) * 4 + ((WIDTH, 1), (stuff, 1))
        self.stuff = nn.ModuleList(
            nn.Conv2d(WIDTH, out, kernel, padding=kernel // 2)
            for out, kernel in (shapes if stuff else ())
        )
        self.proposals = RPNHead(WIDTH, 3)
        self.heads = nn.ModuleList()
        for _ in range(2):
            self.heads.append(TwoMLPHead(WIDTH * 49, HIDDEN))
            self.heads.append(FastRCNNPredictor(HIDDEN, CLASSES + 1))
        self.masks = nn.ModuleList()
        for stage in range(2):
            before = nn.Conv2d(WIDTH, WIDTH, 1) if stuff and stage else nn.Identity()
            convs = MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1)
            predict = MaskRCNNPredictor(WIDTH, WIDTH, CLASSES)
            self.masks.append(nn.ModuleList((before, convs, predict)))

    def semantics(self, levels: list[Tensor]) -> list[Tensor]:
        """Return features and scores of stuff, if there are any."""
        if not self.stuff:
            return []
        maps = [
            F.interpolate(x, levels[1].shape[-2:], mode="bilinear", align_corners=True)
            for x in levels
        ]
        x = sum(F.relu(conv(x)) for conv, x in zip(self.stuff[:5], maps, strict=True))
        for conv in self.stuff[5:9]:
            x = F.relu(conv(x))
        return [F.relu(self.stuff[9](x)), self.stuff[10](x)]

    def forward(self, maps: tuple[Tensor, ...], boxes: Tensor) -> list[Tensor]:
        """Return what our network does, for one picture."""
        levels = list(self.pyramid({str(i): x for i, x in enumerate(maps)}).values())
        objectness, deltas = self.proposals(levels)
        results = [*objectness, *deltas]
        stuff = self.semantics(levels)

        def regions(boxes: Tensor, side: int) -> Tensor:
            found = looked_up(levels, boxes, side)
            for features in stuff[:1]:
                rois = torch.cat((torch.zeros(len(boxes), 1), boxes), dim=1)
                seen = _roi_align.__wrapped__(features, rois, 1 / 8, 14, 14, 2, True)
                found = found + F.adaptive_avg_pool2d(seen, side)
            return found

        boxes = boxes[0]
        for stage, weights in enumerate(((10, 10, 5, 5), (20, 20, 10, 10))):
            head, predict = self.heads[2 * stage : 2 * stage + 2]
            scores, moves = predict(head(regions(boxes, 7)))
            kind = scores[:, :-1].argmax(dim=1)
            moved = BoxCoder(weights).decode(moves, [boxes])
            boxes = clip_boxes_to_image(moved[torch.arange(len(kind)), kind], SIZE)
            results += [scores[None], moves[None]]
        results.append(boxes[None])
        x, seen = regions(boxes[:2], 14), None
        for before, convs, predict in (cast(Any, stage) for stage in self.masks):
            y = x if seen is None or not stuff else x + F.relu(before(seen))
            seen = convs(y)
            results.append(predict(seen).transpose(0, 1)[None])
        return [*results, *stuff[1:]]


def looked_up(levels: list[Tensor], boxes: Tensor, side: int) -> Tensor:
    """Look up each box on the level of its size, by torchvision's RoIAlign written in PyTorch.

    That one reads beyond the last pixels where the compiled one does not; the boxes keep away from them.
    """
    chosen = LevelMapper(2, 5)([boxes])
    regions = []
    for box, level in zip(boxes, chosen.tolist(), strict=True):
        roi = torch.cat((torch.zeros(1), box))[None]
        regions.append(
            _roi_align.__wrapped__(levels[level], roi, 0.25 / 2**level, side, side, 2, True)
        )
    return torch.cat(regions)


@pytest.mark.parametrize("stuff", [0, 5])
def test_a_small_cascade(stuff: int) -> None:
    torch.manual_seed(0)
    module: Any = small(stuff).to_torch(seed=0).eval()
    reference = Reference(stuff)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(std=0.1)
    theirs = dict(reference.state_dict())
    own = {name: t for name, t in module.state_dict().items() if not name.startswith("backbone")}
    for stage in (1, 2):  # a transposed convolution's weight is (in, out, height, width)
        name = f"masks.{stage - 1}.2.conv5_mask"
        enlarge = theirs.pop(f"{name}.weight").permute(1, 2, 3, 0).reshape(-1, WIDTH, 1, 1, 1)
        own.pop(f"mask_head{stage}.enlarge.weight").copy_(enlarge)
        own.pop(f"mask_head{stage}.enlarge_bias").copy_(
            theirs.pop(f"{name}.bias")[:, None, None, None]
        )
    for (name, tensor), other in zip(own.items(), theirs.values(), strict=True):
        assert tensor.numel() == other.numel(), name
        tensor.copy_(other.view_as(tensor))
    image, boxes = torch.randn(1, 3, *SIZE), torch.tensor([BOXES])
    with torch.no_grad():
        found = module(image, boxes)
        wanted = reference(module.backbone_resnet(image), boxes)
    assert len(found) == len(wanted)
    errors = [relative_error(ours, other) for ours, other in zip(found, wanted, strict=True)]
    assert max(errors) < 1e-4


def test_mistakes_are_told() -> None:
    with pytest.raises(nasflow.ir.SpaceError, match="multiples of 32"):
        nasflow.space("detection", size=(60, 96))
    with pytest.raises(nasflow.ir.SpaceError, match="backbones among"):
        nasflow.space("detection", backbones=("vgg",))
