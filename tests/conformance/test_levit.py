"""LeViT against timm."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.levit import LevitDistilled
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
    relative_error,
)

# Millions of MACs as Graham et al. (2021), table 3, print them.
PRINTED = {"128s": 305, "128": 406, "192": 658, "256": 1120, "384": 2353}
SMALL = {"size": 64, "classes": 10, "key_width": 8, "widths": ((16, 24), (24, 32), (32,))}


@pytest.mark.parametrize("size", PRINTED)
def test_counts(size: str) -> None:
    with torch.device("meta"):
        reference = timm.create_model(f"levit_{size}")
        image = torch.empty(1, 3, 224, 224)
    graph = nasflow.model(f"levit_{size}")
    assert graph.macs / 1e6 == pytest.approx(PRINTED[size], rel=0.007)
    params = parameters(reference)
    reference.requires_grad_(False)  # PyTorch's counter stumbles over a parameter that is an input
    assert_counts(graph, params, counted_macs(reference, image))


def small(folded: bool = False) -> nasflow.ir.Graph:
    space = nasflow.space("levit", **SMALL, depths=((1, 2),) * 3, folded=folded)
    point = {"distilled": True}
    for stage, values in enumerate(((16, 3, 1), (24, 5, 2), (32, 6, 1)), 1):
        names = (f"stage{stage}/{name}" for name in ("width", "heads", "depth"))
        point |= dict(zip(names, values, strict=True))
    return space.bind(point)


def test_outputs() -> None:
    reference = LevitDistilled(
        64, num_classes=10, embed_dim=(16, 24, 32), key_dim=8, depth=(1, 2, 1), num_heads=(3, 5, 6),
        down_op="subsample",
    )  # fmt: skip
    assert_equal_outputs(small(), reference)


def test_a_trained_network_folds_into_one_without_norms() -> None:
    torch.manual_seed(0)
    trained, plain = small().to_torch(seed=0), small(folded=True).to_torch(seed=0)
    for norm in trained.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
                tensor.normal_(0, 0.5)
            norm.running_var.uniform_(0.5, 2)
    trained.eval()
    theirs = dict(trained.named_modules())
    state = dict(trained.state_dict())
    for name in list(theirs):
        if not isinstance(norm := theirs.get(f"{name}_norm"), nn.modules.batchnorm._BatchNorm):
            continue
        if not name.endswith(("head", "teacher")):
            fuse = fuse_conv_bn_eval if "stem" in name else fuse_linear_bn_eval
            folded = fuse(theirs[name], norm)
            state[f"{name}.weight"], state[f"{name}.bias"] = folded.weight, folded.bias
        else:  # the norm is before the linear map
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * scale
            linear = theirs[name]
            state[f"{name}.weight"] = linear.weight * scale
            state[f"{name}.bias"] = linear.bias + linear.weight @ shift
    wanted = plain.state_dict()
    plain.load_state_dict({name: state[name] for name in wanted})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(plain.eval()(x), trained(x)) < 1e-5
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in plain.modules())


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("levit", size=64, classes=10).verify()
    assert space.size == (4 * 3 * 3) * (4 * 4 * 3) * (3 * 3 * 3)  # widths, heads, depths
