"""How fast networks are written and run, beside timm's modules of the same networks.

    python -m benchmarks.lowering [--pairs 15] [--device cuda] [--bfloat16] [--channels-last] [model=timm_model ...]

Printed: seconds to write and to construct a network, and the time of ours over timm's for a forward
pass in eval mode and for a forward and backward pass in train mode: paired runs in turns, by default in
float32 with channels first, one thread, on the same input. A ratio is the median of the pairs with its 95 %
bootstrap interval. Seconds are of the processor, so that other work on the machine disturbs little; on
a GPU they are between two events there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

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
LARGE = 80_000_000  # parameters from which a network is run with a quarter of the samples
BATCH = {"cpu": 4, "cuda": 64}
Work = Callable[[], object]


def seconds(work: Work, device: str = "cpu") -> float:
    """Return the seconds that ``work`` takes: of the processor, or between two events on a GPU."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def forward(module: nn.Module, x: Tensor, precision: torch.dtype) -> None:
    """Run a module in eval mode."""
    with torch.no_grad():
        scores(module, x, precision)


def backward(module: nn.Module, x: Tensor, precision: torch.dtype) -> None:
    """Run a module forward and backward."""
    scores(module, x, precision).sum().backward()
    module.zero_grad(set_to_none=True)


def scores(module: nn.Module, x: Tensor, precision: torch.dtype) -> Tensor:
    """Return a module's first output."""
    with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
        out = module(x)
    return out[0] if isinstance(out, tuple) else out


def ratios(ours: Work, theirs: Work, pairs: int, device: str = "cpu") -> list[float]:
    """Return the time of ours over theirs for each pair; who goes first alternates."""
    for work in (ours, theirs):
        work()
    found = []
    for i in range(pairs):
        if i % 2:
            b, a = seconds(theirs, device), seconds(ours, device)
        else:
            a, b = seconds(ours, device), seconds(theirs, device)
        found.append(a / b)
    return found


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the median and its 95 % bootstrap interval."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[draws // 40], medians[-draws // 40]


def define_schemas() -> None:
    """Let torchvision, which timm imports, load beside a torch that its wheel was not built for."""
    with contextlib.suppress(RuntimeError):
        import torchvision  # type: ignore[import-untyped,unused-ignore]  # noqa: F401

        return  # it was
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _library.define(schema)


def compare(model: str, twin: str, pairs: int, precision: torch.dtype, **place: Any) -> None:
    """Print the figures of one network; ``place`` is its device and memory format."""
    define_schemas()
    import timm

    device = place["device"]
    graph = nasflow.model(model)
    written = seconds(lambda: to_source(graph))
    made = seconds(lambda: to_torch(graph, device="meta"))
    print(f"{model}: written in {written:.3f} s, constructed (on meta) in {made:.3f} s")
    ours, theirs = to_torch(graph, seed=0).to(**place), timm.create_model(twin).to(**place)
    batch = BATCH[device] // (4 if graph.params > LARGE else 1)
    x = torch.randn(batch, *graph.inputs[0].shape).to(**place)
    for label, work, training in (("forward", forward, False), ("with backward", backward, True)):
        ours.train(training)
        theirs.train(training)
        run = functools.partial(work, x=x, precision=precision)
        found = ratios(lambda r=run: r(ours), lambda r=run: r(theirs), pairs, device)  # type: ignore[misc]
        middle, low, high = interval(found)
        print(f"  {label:14} ours / timm {middle:.3f}  [{low:.3f}, {high:.3f}]", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15, help="paired runs of each kind")
    parser.add_argument("--device", default="cpu", choices=list(BATCH))
    parser.add_argument("--bfloat16", action="store_true", help="run under autocast")
    parser.add_argument("--channels-last", action="store_true", help="the memory format")
    parser.add_argument("models", nargs="*", help="model=timm_model; some of each kind by default")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    chosen = dict(text.split("=", 1) for text in options.models) or TWINS
    precision = torch.bfloat16 if options.bfloat16 else torch.float32
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    for model, twin in chosen.items():
        compare(model, twin, options.pairs, precision, device=options.device, memory_format=layout)


if __name__ == "__main__":
    main()
