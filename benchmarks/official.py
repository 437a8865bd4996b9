"""Our supernets beside the official code of the same spaces: one child's forward and backward pass.

    pip install --no-deps ofa==0.1.0.post202307202001 && pip install torchvision timm tqdm
    python -m benchmarks.official [--autoformer FOLDER] [--attentivenas FOLDER] [--nasvit FOLDER] [--only ofa ...]
                                  [--pairs 15] [--device cuda]

FOLDER is a checkout of github.com/microsoft/Cream (its folder AutoFormer), facebookresearch/AttentiveNAS (whose
supernet AlphaNet trains) and facebookresearch/NASViT. What is not given or not installed is skipped.

Both sides choose the child, run it in training mode on the same images and add to gradients that are there:
the biggest, the smallest, a random child, and a step of four. Ratios are of the processor's seconds, on one
thread (on a GPU: of the seconds between two events there), medians of paired runs in turns with their 95 %
bootstrap interval. Before that the children's weights and multiply-adds are compared, and, where a table of
weights is short, outputs with the same weights.

The official code needs names that today's PyTorch no longer has; they are defined here, nothing of it is changed.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import importlib
import io
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nasflow
from benchmarks.lowering import define_schemas, ratios
from benchmarks.supernet import BATCH, shown, together
from nasflow.ir.space import Space
from nasflow.lower import Supernet
from search_spaces import alphanet, nasvit
from search_spaces._mobile import Stage

LABELS = ("biggest", "smallest", "random", "random")
SEEDS = (500, 501)
SWISH = "swish"
Counts = list[tuple[int, int]]
Point = dict[str, Any]


class Official(NamedTuple):
    """Somebody's supernet, and our space of the same networks."""

    space: Space
    fixed: Point
    """Decisions that are not varied: all images of a comparison have one size."""
    module: nn.Module
    activate: Callable[[Point], object]
    """Make the module run the child of a point."""
    child: Callable[[], nn.Module] | None = None
    """Return the active child on its own, where the supernet runs more than the child: maps of kernels."""
    params: Callable[[], int] | None = None
    """Return their own count of the active child's weights, where it has some that no image uses."""
    weights: Callable[[str], Tensor] | None = None
    """Return the shared tensor of our name."""


# -- what is compared ---------------------------------------------------------------------------


def once_for_all(folder: str) -> Official:
    """Return once-for-all's MobileNetV3 supernet; kernels are mapped by matrices on both sides."""
    networks = importlib.import_module("ofa.imagenet_classification.elastic_nn.networks.ofa_mbv3")
    kernels, expands, depths = (3, 5, 7), (3, 4, 6), (2, 3, 4)
    module = networks.OFAMobileNetV3(
        dropout_rate=0.0,
        ks_list=list(kernels),
        expand_ratio_list=list(expands),
        depth_list=list(depths),
    )

    def activate(point: Point) -> None:
        # Layers that do not run have a setting too: any will do.
        places = [f"stage{stage}/layers/{i}" for stage in range(1, 6) for i in range(max(depths))]
        module.set_active_subnet(
            ks=[point.get(f"{place}/kernel", kernels[0]) for place in places],
            e=[point.get(f"{place}/expand", expands[0]) for place in places],
            d=[point[f"stage{stage}/depth"] for stage in range(1, 6)],
        )

    space = nasflow.space("ofa", widths=(1.0,))  # the paper trains a supernet for each width
    fixed = {"resolution": 128}
    child = module.get_active_subnet
    return Official(space, fixed, module, activate, child=child, weights=in_order(module))


def in_order(module: nn.Module) -> Callable[[str], Tensor]:
    """Return what finds once-for-all's tensors, asked for in the order of our supernet's names."""
    named = dict(module.named_parameters())
    plain = iter([p for name, p in named.items() if not name.endswith("_matrix")])
    maps = {kind: iter([p for n, p in named.items() if kind in n]) for kind in ("7to5", "5to3")}

    def find(name: str) -> Tensor:
        if "@" in name:
            return next(maps["7to5" if name.endswith("@5x5") else "5to3"])
        return next(plain)

    return find


AUTOFORMER = {
    "patch_embed": "patch_embed_super.proj",
    "norm1": "attn_layer_norm",
    "norm2": "ffn_layer_norm",
    "mlp/": "",
    "relative_k_": "rel_pos_embed_k.embeddings_table_",
    "relative_v_": "rel_pos_embed_v.embeddings_table_",
    "/value": "",
    "/": ".",
}
"""Parts of our weights' names and of AutoFormer's."""


def autoformer(folder: str) -> Official:
    """Return AutoFormer's supernet-T, set as its training command sets it, without stochastic depth."""
    with importing(folder):
        found = importlib.import_module("model.supernet_transformer")
    module = found.Vision_TransformerSuper(
        embed_dim=256,
        depth=14,
        num_heads=4,
        mlp_ratio=4.0,
        qkv_bias=True,
        gp=True,
        relative_position=True,
        change_qkv=True,
    )

    config: dict[str, Any] = {}

    def activate(point: Point) -> None:
        depth = point["depth"]
        blocks = [f"blocks/{i}" for i in range(depth)]
        config["embed_dim"] = [point["width"]] * depth
        config["layer_num"] = depth
        config["num_heads"] = [point[f"{block}/heads"] for block in blocks]
        config["mlp_ratio"] = [point[f"{block}/mlp_ratio"] for block in blocks]
        module.set_sample_config(config)

    def params() -> int:
        return module.get_sampled_params_numel(config)

    space = nasflow.space("autoformer")
    return Official(space, {}, module, activate, params=params, weights=renamed(module))


def renamed(module: nn.Module) -> Callable[[str], Tensor]:
    """Return what finds AutoFormer's tensors by our names."""
    named = dict(module.named_parameters())

    def find(name: str) -> Tensor:
        for ours, theirs in AUTOFORMER.items():
            name = name.replace(ours, theirs)
        tensor = named[name]
        if name.endswith("qkv.weight"):  # queries, keys and values take turns in their rows
            tensor = tensor.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)
        return tensor[0] if name in ("cls_token", "pos_embed") else tensor

    return find


def attentive_nas(folder: str) -> Official:
    """Return the supernet of AttentiveNAS and AlphaNet."""
    return mobile(folder, nasflow.space("alphanet"), alphanet.STAGES)


def nas_vit(folder: str) -> Official:
    """Return NASViT's supernet."""
    return mobile(folder, nasflow.space("nasvit"), (*nasvit.STAGES, *nasvit.ATTENTION_STAGES))


def mobile(folder: str, space: Space, stages: Sequence[Stage]) -> Official:
    """Return a supernet of these authors, who describe stages as AttentiveNAS does."""
    with importing(folder), contextlib.redirect_stdout(io.StringIO()):  # it prints itself
        found = importlib.import_module("models.attentive_nas_dynamic_model")
        module = found.AttentiveNasDynamicModel(described(stages))

    def column(point: Point, name: str) -> list[int]:
        first = [getattr(stage, f"{name}s")[0] for stage in stages]  # what there is no choice of
        return [point.get(f"stage{n}/{name}", only) for n, only in enumerate(first, 1)]

    def activate(point: Point) -> None:
        module.set_active_subnet(
            resolution=point["resolution"],
            width=[point["stem"], *column(point, "width"), point["features"]],
            depth=column(point, "depth"),
            kernel_size=column(point, "kernel"),
            expand_ratio=column(point, "expand"),
        )

    return Official(space, {"resolution": 192}, module, activate)


def described(stages: Sequence[Stage]) -> types.SimpleNamespace:
    """Return stages in the form of these authors' configurations."""
    described = {
        f"mb{number}": types.SimpleNamespace(
            c=list(stage.widths),
            d=list(stage.depths),
            k=list(stage.kernels),
            t=list(stage.expands),
            s=stage.stride,
            se=stage.se,
            act_func=SWISH,
        )
        for number, stage in enumerate(stages, 1)
    }
    return types.SimpleNamespace(
        use_v3_head=True,
        resolutions=[192, 224, 256, 288],
        first_conv=types.SimpleNamespace(c=[16, 24], act_func=SWISH, s=2),
        last_conv=types.SimpleNamespace(c=[1792, 1984], act_func=SWISH),
        **described,
    )


# -- importing code of another time -------------------------------------------------------------


def define_missing() -> None:
    """Define what PyTorch had when this code was written, and let torchvision load."""
    define_schemas()
    former = types.ModuleType("torch._six")
    former.container_abcs = collections.abc  # type: ignore[attr-defined]
    former.string_classes = (str, bytes)  # type: ignore[attr-defined]
    sys.modules.setdefault("torch._six", former)


@contextlib.contextmanager
def importing(folder: str) -> Iterator[None]:
    """Import from a folder whose packages have names that others have too (``model``, ``models``)."""
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("model", "models"):
                del sys.modules[name]


# -- comparing ----------------------------------------------------------------------------------


def output(module: nn.Module, x: Tensor) -> Tensor:
    """Return the scores; NASViT's module gives what its stages made as well."""
    found = module(x)
    return found[0] if isinstance(found, tuple) else found


def counts(official: Official, x: Tensor) -> tuple[int, int]:
    """Return the weights of the active child and its multiply-adds of one sample.

    Nobody counts the weights for us, so they are those whose gradient is not zero. What is not a number makes
    whatever it meets so, also where an activation or a weight of zero would hide that an entry takes part; a
    gate clamped to [0, 6] would stop it and is left open. This spoils the module.
    """
    module = official.child() if official.child else official.module
    unbounded = mock.patch("torch.nn.functional.relu6", lambda x, inplace=False: x)
    with unbounded, FlopCounterMode(display=False) as counter:
        scores = output(module, torch.full_like(x, torch.nan))
    scores.sum().backward()
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    used = sum(int((grad != 0).sum()) for grad in grads)
    macs = counter.get_total_flops() // (2 * len(x))
    return official.params() if official.params else used, macs


def counted(load: Callable[[], Official], points: Iterable[Point], x: Tensor) -> Counts:
    """Return the counts of official children, each of a supernet of its own."""
    found = []
    for point in points:
        official = load()
        official.activate(point)
        found.append(counts(official, x))
    return found


def share(net: Supernet, find: Callable[[str], Tensor]) -> None:
    """Copy their weights into ours: the first entries, where a space is narrower than what they keep."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            theirs = find(name)
            if theirs.numel() == weight.numel():
                theirs = theirs.reshape(weight.shape)  # a linear layer is a kernel of one pixel
            weight.copy_(theirs[tuple(slice(size) for size in weight.shape)])


def error(net: Supernet, official: Official, point: Point, x: Tensor) -> float:
    """Return the relative difference of a child's outputs when its weights are theirs."""
    assert official.weights is not None
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in official.module.named_parameters():
            # Their biases of queries, keys and values are not cut as their weights are: they stay zero.
            if not name.endswith("qkv.bias"):
                weight.add_(torch.randn_like(weight), alpha=0.02)
        share(net, official.weights)
        official.activate(point)
        ours, theirs = net.at(point)(x), output(official.module, x)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def with_gradients(module: nn.Module) -> nn.Module:
    """Give every weight a gradient of zeros."""
    for weight in module.parameters():
        if weight.requires_grad:
            weight.grad = torch.zeros_like(weight)
    return module


def steps(net: Supernet, official: Official, point: Point, x: Tensor) -> list[Callable[[], None]]:
    """Return our step and theirs: choose a child, run it forward and backward."""

    def ours() -> None:
        net.at(point)(x).sum().backward()

    def theirs() -> None:
        official.activate(point)
        output(official.module, x).sum().backward()

    return [ours, theirs]


def measure(name: str, load: Callable[[], Official], pairs: int, device: str) -> None:
    """Print the figures of one supernet."""
    official = load()
    space = official.space
    net = space.to_supernet(seed=0)
    batch = BATCH[device]
    chosen = (space.largest(), space.smallest(), *map(space.sample, SEEDS))
    points = [space.complete({**point, **official.fixed}) for point in chosen]
    x = torch.randn(batch, *net.at(points[0]).graph.inputs[0].shape)
    busy = os.getloadavg()[0]
    print(f"{name}: {x.shape[-1]} pixels, batch {batch}; the machine's load {busy:.1f}", flush=True)
    compare(net, load, points, x[:2])
    net, x = net.to(device), x.to(device)
    official.module.to(device)
    if official.weights:
        print(f"  outputs with the same weights differ by {error(net, official, points[2], x):.0e}")
    with_gradients(net)
    with_gradients(official.module)
    pairs_of_steps = [steps(net, official, point, x) for point in points]
    for label, (ours, theirs) in zip(LABELS[:3], pairs_of_steps, strict=False):
        print(
            f"  {label:9} ours / official {shown(ratios(ours, theirs, pairs, device))}", flush=True
        )
    ours, theirs = (together(steps) for steps in zip(*pairs_of_steps, strict=True))
    print(f"  sandwich  ours / official {shown(ratios(ours, theirs, pairs, device))}", flush=True)


def compare(
    net: Supernet, load: Callable[[], Official], points: Sequence[Point], x: Tensor
) -> None:
    """Print the weights and multiply-adds of the children, and what theirs have more."""
    graphs = [net.at(point).graph for point in points]
    for label, graph, (params, macs) in zip(LABELS, graphs, counted(load, points, x), strict=True):
        more = [f"{part - own:+,d}" for own, part in ((graph.params, params), (graph.macs, macs))]
        line = f"  {label:9} {graph.params:,d} weights, {graph.macs:,d} MACs"
        equal = (graph.params, graph.macs) == (params, macs)
        print(line + (" in both" if equal else f"; theirs {more[0]} and {more[1]}"), flush=True)


LOADERS: Mapping[str, Callable[[str], Official]] = {
    "ofa": once_for_all,
    "autoformer": autoformer,
    "attentivenas": attentive_nas,
    "nasvit": nas_vit,
}


def missing(name: str, folder: str) -> str:
    """Return why a comparison cannot run, or nothing."""
    if name == "ofa" and not find_spec("ofa"):
        return "pip install --no-deps ofa"
    if name != "ofa" and not folder:
        return f"--{name} FOLDER"
    try:
        LOADERS[name](folder)
    except ImportError as problem:
        return str(problem)
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in list(LOADERS)[1:]:
        parser.add_argument(f"--{name}", default="", metavar="FOLDER", help="its official code")
    parser.add_argument("--only", nargs="*", default=list(LOADERS), choices=list(LOADERS))
    parser.add_argument("--pairs", type=int, default=15, help="paired runs of each kind")
    parser.add_argument("--device", default="cpu", choices=list(BATCH))
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    define_missing()
    for name in options.only:
        folder = getattr(options, name, "")
        if reason := missing(name, folder):
            print(f"skipped: {name} ({reason})")
            continue
        measure(name, lambda n=name, f=folder: LOADERS[n](f), options.pairs, options.device)  # type: ignore[misc]


if __name__ == "__main__":
    main()
