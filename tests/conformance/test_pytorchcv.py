"""Networks that only pytorchcv implements, cut short: outputs equal to ten digits with its weights."""

from __future__ import annotations

from typing import Any

import torch
from pytorchcv.models.cbamresnet import CbamResNet
from pytorchcv.models.darts import DARTS
from pytorchcv.models.densenet_cifar import CIFARDenseNet
from pytorchcv.models.preresnet_cifar import CIFARPreResNet
from pytorchcv.models.resnet_cifar import CIFARResNet
from pytorchcv.models.wrn_cifar import CIFARWRN
from torch import nn

import nasflow
from nasflow import discovery, ir
from search_spaces import darts
from tests.conformance.reference import assert_equal_outputs


def short(family: str, name: str, settings: dict[str, Any], **more: Any) -> ir.Graph:
    """Return a published network with other settings and decisions."""
    entry = discovery.models()[name][1]
    space = discovery.find("space", family)(**{**entry.settings, **settings})
    return space.bind({**entry.point, **more})


def depths(*counts: int) -> dict[str, int]:
    return {f"stage{i}/depth": count for i, count in enumerate(counts, 1)}


def pooled(units: nn.Module) -> nn.Module:
    """Return a network that pools over whatever is left of a smaller image."""
    features: Any = units.features
    features.final_pool = nn.AdaptiveAvgPool2d(1)
    return units


def test_outputs_of_cbam() -> None:
    graph = short("resnet", "cbam_resnet18", {"size": 64, "classes": 10}, **depths(1, 1, 1, 1))
    reference = CbamResNet(
        [[64], [128], [256], [512]], 64, bottleneck=False, in_size=(64, 64), num_classes=10
    )
    ours = [name for name in graph.to_torch(seed=0).state_dict() if "shortcut" in name]
    theirs = [name for name in reference.state_dict() if "identity" in name]
    assert_equal_outputs(
        graph, pooled(reference), names=dict(zip(ours, theirs, strict=True)), double=True
    )


def test_outputs_of_resnets_for_cifar() -> None:
    graph = short("resnet", "resnet56_cifar", {"size": 16}, **depths(2, 1, 1))
    assert_equal_outputs(
        graph, pooled(CIFARResNet([[16, 16], [32], [64]], 16, bottleneck=False)), double=True
    )


def test_outputs_of_preactivation_with_bottlenecks() -> None:
    settings = {"size": 16, "deepest": (2, 1, 1)}
    graph = short("resnet", "resnet1001_preact", settings, **depths(2, 1, 1))
    assert_equal_outputs(
        graph, pooled(CIFARPreResNet([[64, 64], [128], [256]], 16, True)), double=True
    )


def test_outputs_of_wide_resnets() -> None:
    graph = short("resnet", "wrn28_10_cifar", {"size": 16}, width=2, **depths(2, 1, 1))
    assert_equal_outputs(graph, pooled(CIFARWRN([[32, 32], [64], [128]], 16)), double=True)


def test_outputs_of_densenet_bc() -> None:
    blocks = {f"block{i}/depth": count for i, count in enumerate((2, 2, 1), 1)}
    settings = {"size": 16, "deepest": (2, 2, 2)}
    graph = short("densenet", "densenet_bc_l100_k12_cifar", settings, **blocks)
    reference = CIFARDenseNet([[36, 48], [36, 48], [36]], 24, bottleneck=True)
    assert_equal_outputs(graph, pooled(reference), double=True)


def test_outputs_of_darts() -> None:
    filters, layers = 4, 6
    settings = {**darts.IMAGENET, "classes": 10, "filters": filters, "layers": layers}
    graph = short("darts", "darts_imagenet", settings)
    sep, skip, most, dilated = "sep_conv_3x3", "skip_connect", "max_pool_3x3", "dil_conv_3x3"
    normal = [(sep, 0), (sep, 1), (sep, 0), (sep, 1), (sep, 1), (skip, 0), (skip, 0), (dilated, 2)]
    halving = [(most, 0), (most, 1), (skip, 2), (most, 1), (most, 0), (skip, 2), (skip, 2)]
    reference = DARTS(
        [[4 * filters * 2**stage] * 2 for stage in range(3)],
        filters, normal, [*halving, (most, 1)], num_classes=10,
    )  # fmt: skip
    torch.manual_seed(0)
    assert_equal_outputs(graph, reference, double=True)


def test_counts() -> None:
    """Parameters that pytorchcv documents for its whole networks."""
    documented = {"cbam_resnet18": 11_779_392, "darts_imagenet": 4_718_752}
    documented |= {"wrn28_10_cifar": 36_479_194, "resnet1001_preact": 10_327_706}
    assert {name: nasflow.model(name).params for name in documented} == documented
