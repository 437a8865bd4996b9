"""GoogLeNet and BN-Inception beside torchvision's and pytorchcv's modules, and printed figures."""

from __future__ import annotations

import pytest
import torch
from pytorchcv.models.bninception import bninception
from torchvision.models import GoogLeNet

import nasflow
from nasflow import ir
from search_spaces import googlenet
from tests.conformance.reference import assert_counts, assert_equal_outputs, copy_weights

# googlenet_bn is torchvision's count, bn_inception pytorchcv's; the others are ours, and meet what is
# printed: 2.04 billion multiply-adds of SE-BN-Inception (Hu et al., 2018, table 2).
COUNTS = {
    "googlenet": (6_998_552, 1_582_671_872),
    "googlenet_auxiliary": (13_378_280, 1_591_044_096),
    "googlenet_bn": (6_624_904, 1_498_376_192),
    "bn_inception": (11_295_240, 2_032_600_064),
    "se_bn_inception": (11_941_638, 2_033_239_424),
}
# Szegedy et al. (2015), table 1: thousands of parameters and millions of multiply-adds of each module.
# Its 463 thousand of module 4c do not fit its own widths, which give 509; its multiply-adds do.
TABLE_1 = {
    "stage3_a": (159, 128),
    "stage3_b": (380, 304),
    "stage4_a": (364, 73),
    "stage4_b": (437, 88),
    "stage4_c": (509, 100),
    "stage4_d": (580, 119),
    "stage4_e": (840, 170),
    "stage5_a": (1072, 54),
    "stage5_b": (1388, 71),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if "auxiliary" in name:  # in evaluation mode the module leaves the side classifiers out
        assert (graph.params, graph.macs) == COUNTS[name]
    else:
        assert_counts(graph, *COUNTS[name])


def small(name: str, size: int, **more: object) -> ir.Graph:
    entry = googlenet.MODELS[name]
    return googlenet.space(**{**entry.settings, "size": size, "classes": 7, "dropout": 0.0}).bind(
        {**entry.point, **more}
    )


def test_outputs_equal_torchvision() -> None:
    reference = GoogLeNet(num_classes=7, aux_logits=False, init_weights=False, dropout=0.0)
    assert_equal_outputs(small("googlenet_bn", 64), reference, torch.randn(8, 3, 64, 64))


def test_outputs_equal_pytorchcv() -> None:
    reference = bninception(num_classes=7)
    reference.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    graph = small("bn_inception", 64)
    assert_equal_outputs(graph, reference, torch.randn(8, 3, 64, 64))


def test_modules_have_the_sizes_of_the_papers_table() -> None:
    """All but biases, by the table's own rounding."""
    found: dict[str, list[float]] = {}
    for path, node, _ in nasflow.model("googlenet").walk():
        sums = found.setdefault(path.split("/")[0], [0.0, 0.0])
        sums[0] += node.content.params / 1000
        sums[1] += node.content.macs / 1e6
    for name, (params, macs) in TABLE_1.items():
        assert found[name] == [pytest.approx(params, rel=0.05), pytest.approx(macs, rel=0.06)], name


def test_side_classifiers_help_in_training_only() -> None:
    entry = googlenet.MODELS["googlenet_auxiliary"]
    graph = googlenet.space(auxiliary=True, classes=5).bind({**entry.point, "width": 0.25})
    module = graph.to_torch(seed=0)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert [y.shape for y in module.train()(x)] == [(1, 5)] * 3
        assert module.eval()(x).shape == (1, 5)


def test_gates_scale_what_modules_give() -> None:
    """An SE with a gate of 1/2 everywhere halves every module, as ReLU networks without norms show."""
    gated, plain = (small("googlenet", 64, attention=kind, width=0.25) for kind in ("se", "none"))
    module, without = gated.to_torch(seed=0).double().eval(), plain.to_torch(seed=0).double().eval()
    for name, value in module.named_parameters():
        if "attention_se" in name:
            torch.nn.init.zeros_(value)  # sigmoid(0)
    copy_weights(without, {n: v for n, v in module.state_dict().items() if "attention_se" not in n})
    for value in (module.classifier, without.classifier):
        torch.nn.init.zeros_(value.bias)
    seen: list[torch.Tensor] = []
    for network in (module, without):
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.zeros_(value)
        seen.append(network(torch.ones(1, 3, 64, 64, dtype=torch.float64)))
    assert torch.allclose(seen[0], seen[1] / 2**9)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_point_of_the_space_binds(version: str) -> None:
    space = googlenet.space(version=version, size=64)
    for seed in range(20):
        space.bind(space.sample(seed))
