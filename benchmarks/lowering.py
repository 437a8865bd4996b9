"""How fast networks are written and run, beside timm's modules of the same networks.

    python -m benchmarks.lowering [--pairs 15] [model=timm_model ...]

Printed: seconds to write and to construct a network, and the time of ours over timm's for a forward
pass in eval mode and for a forward and backward pass in train mode: paired runs in turns, in float32,
channels first, one thread, on the same input. A ratio is the median of the pairs with its 95 %
bootstrap interval. Seconds are of the processor, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import nasflow
from nasflow.lower import to_source, to_torch

TWINS = {
    "resnet50": "resnet50",
    "densenet121": "densenet121",
    "efficientnet_b0": "efficientnet_b0",
    "swin_t_224": "swin_tiny_patch4_window7_224",
    "deit_ti": "deit_tiny_patch16_224",
    "nasnet_a_6_4032": "nasnetalarge",
    "vit_s16": "deit3_small_patch16_224",
    "pit_s": "pit_s_224",
    "levit_128": "levit_128",
    "halonet_h1": "halonet_h1",
    "convmixer_768_32": "convmixer_768_32",
    "mixer_s16": "mixer_s16_224",
    "resmlp_s12": "resmlp_12_224",
    "gmlp_s": "gmlp_s16_224",
    "poolformer_s12": "poolformer_s12",
    "convnext_t_224": "convnext_tiny",
}
_library = torch.library.Library("torchvision", "FRAGMENT")  # lives as long as schemas must
LARGE = 80_000_000  # parameters from which a network is run with one sample


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds that ``work`` takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def forward(module: nn.Module, x: Tensor) -> None:
    """Run a module in eval mode."""
    with torch.no_grad():
        module(x)


def backward(module: nn.Module, x: Tensor) -> None:
    """Run a module forward and backward."""
    out = module(x)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    module.zero_grad(set_to_none=True)


def ratios(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> list[float]:
    """Return the time of ours over theirs for each pair; who goes first alternates."""
    for work in (ours, theirs):
        work()
    found = []
    for i in range(pairs):
        if i % 2:
            b, a = seconds(theirs), seconds(ours)
        else:
            a, b = seconds(ours), seconds(theirs)
        found.append(a / b)
    return found


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the median and its 95 % bootstrap interval."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[draws // 40], medians[-draws // 40]


def define_schemas() -> None:
    """Let torchvision, which timm imports, load beside a torch that its wheel was not built for."""
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _library.define(schema)


def compare(model: str, twin: str, pairs: int) -> None:
    """Print the figures of one network."""
    try:
        import timm
    except RuntimeError:
        define_schemas()
        import timm

    graph = nasflow.model(model)
    written = seconds(lambda: to_source(graph))
    made = seconds(lambda: to_torch(graph, device="meta"))
    print(f"{model}: written in {written:.3f} s, constructed (on meta) in {made:.3f} s")
    ours, theirs = to_torch(graph, seed=0), timm.create_model(twin)
    x = torch.randn(1 if graph.params > LARGE else 4, *graph.inputs[0].shape)
    for label, work, training in (("forward", forward, False), ("with backward", backward, True)):
        ours.train(training)
        theirs.train(training)
        found = ratios(lambda w=work: w(ours, x), lambda w=work: w(theirs, x), pairs)  # type: ignore[misc]
        middle, low, high = interval(found)
        print(f"  {label:14} ours / timm {middle:.3f}  [{low:.3f}, {high:.3f}]", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15, help="paired runs of each kind")
    parser.add_argument("models", nargs="*", help="model=timm_model; some of each kind by default")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    chosen = dict(text.split("=", 1) for text in options.models) or TWINS
    for model, twin in chosen.items():
        compare(model, twin, options.pairs)


if __name__ == "__main__":
    main()
