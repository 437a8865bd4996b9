"""Judge a network before any training, from one batch: scores that rank networks.

Each is written from its paper; docs/zero-cost.md compares them with a table of trained networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from nasflow.data import Dataset
from nasflow.errors import CandidateError, ConfigError, nearest
from nasflow.evaluate.device import pick_device
from nasflow.evaluate.evaluator import Network, Report, cost
from nasflow.evaluate.failure import blame_candidate
from nasflow.evaluate.train import image_size, own_randomness
from nasflow.evaluate.training import logits_of
from nasflow.ir import Graph
from nasflow.ir.graph import prune
from nasflow.options import check_whole

Batch = tuple[Tensor, Tensor]
"""Normalised images (B, C, H, W) and their labels (B,)."""

NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
ACTIVATIONS = frozenset(
    {
        "relu",
        "relu_",
        "relu6",
        "hardtanh",
        "leaky_relu",
        "silu",
        "gelu",
        "hardswish",
        "elu",
        "prelu",
    }
)
JACOBIAN = 1e-5  # added to eigenvalues (Mellor et al., 2020)
SHIFT = 0.01  # of zen's perturbed images (Lin et al., 2021)
ZEN_DRAWS, ZEN_IMAGES = 2, 16


class Watching(TorchFunctionMode):
    """Call ``replace`` with every function of a kind that runs inside, modules' own ones too.

    It gets the function, its first argument and the rest; what it returns stands for the result.
    """

    def __init__(self, names: frozenset[str], replace: Callable[..., Any]) -> None:
        super().__init__()
        self.names, self.replace = names, replace

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        run = partial(func, *args, **(kwargs or {}))
        if getattr(func, "__name__", "") in self.names:
            return self.replace(run, args[0] if args else (kwargs or {})["input"])
        return run()


def without_norms() -> AbstractContextManager[Any]:
    """Return a context in which norms pass their input on."""
    return Watching(NORMS, lambda run, x: x)


# -- scores that take the module and the batch --------------------------------------------------


def synflow(module: nn.Module, batch: Batch) -> float:
    """Return the sum of ``|w| dR/d|w|`` over weights, R the outputs' sum at an input of ones.

    Weights are taken absolutely, norms left out (Tanaka et al., 2020, equation 4; without norms as
    by Abdelfattah et al., 2021); in double precision, for deep networks overflow float32. The
    module's weights are left as absolute doubles.
    """
    module.double().eval()
    weights = _weights(module)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.abs_()
    ones = torch.ones_like(batch[0][:1], dtype=torch.float64)
    with without_norms():
        total = logits_of(module(ones)).sum()
    return _sum(abs(w * g).sum() for w, g in _gradients(total, weights))


def snip(module: nn.Module, batch: Batch) -> float:
    """Return the sum of ``|w dL/dw|`` over weights: how the loss feels each one (Lee et al., 2019)."""
    return _sum(abs(w * g).sum() for w, g in _gradients(_loss(module, batch), _weights(module)))


def grad_norm(module: nn.Module, batch: Batch) -> float:
    """Return the sum over layers of the Euclidean norm of the weights' gradient (Abdelfattah et al., 2021)."""
    return _sum(g.norm() for _, g in _gradients(_loss(module, batch), _weights(module)))


def jacob_cov(module: nn.Module, batch: Batch) -> float:
    """Return how little the input gradients of a batch's images correlate (Mellor et al., 2020).

    ``-sum(log(s + k) + 1 / (s + k))`` over the eigenvalues s of their correlation matrix.
    """
    images = batch[0].detach().clone().requires_grad_(True)
    (jacobian,) = torch.autograd.grad(logits_of(module.train()(images)).sum(), images)
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    values = torch.linalg.eigvalsh(correlation.nan_to_num()) + JACOBIAN
    return float(-(values.log() + 1 / values).sum())


def naswot(module: nn.Module, batch: Batch) -> float:
    """Return the log-determinant of the agreement of images' activation patterns (Mellor et al., 2021).

    An entry of the kernel counts the units that are positive, or not, for both images.
    """
    count = len(batch[0])
    kernel = torch.zeros(count, count, dtype=torch.float64, device=batch[0].device)

    def count_agreement(run: Callable[[], Any], x: Tensor) -> Any:
        nonlocal kernel
        if x.shape[0] == count:
            on = (x.detach().flatten(1) > 0).float()
            kernel = kernel + (on @ on.T + (1 - on) @ (1 - on).T).double()
        return run()

    with torch.no_grad(), Watching(ACTIVATIONS, count_agreement):
        module.train()(batch[0])
    return float(torch.linalg.slogdet(kernel)[1])


def zen(graph: Network, batch: Batch, seed: int) -> float:
    """Return how strongly the map before the pooling moves with the image (Lin et al., 2021).

    The logarithm of the mean of ``|f(x) - f(x + 0.01 e)|``, x, e and weights standard normal, plus
    that of each batch norm's deviation over the batch (root of the mean variance over channels).
    The paper takes residual links out first; here the network stays as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    module = features(graph).to_torch(seed=seed).to(batch[0].device).train()
    for tensor in _weights(module):
        tensor.data = _normal(tensor, generator)
    scales: list[Tensor] = []

    def note_scale(run: Callable[[], Any], x: Tensor) -> Any:
        scales.append(x.transpose(0, 1).flatten(1).var(1).mean().add(1e-12).log() / 2)
        return run()

    changes, normed = [], []
    with torch.no_grad():
        for _ in range(ZEN_DRAWS):
            x = _normal(batch[0][:ZEN_IMAGES], generator)
            scales.clear()
            with Watching(frozenset({"batch_norm"}), note_scale):
                plain = module(x)
            normed.append(_sum(scales))
            moved = module(x + SHIFT * _normal(x, generator))
            changes.append(float((plain - moved).flatten(1).norm(dim=1).mean()))
    mean = sum(changes) / ZEN_DRAWS
    return (math.log(mean) if mean > 0 else -math.inf) + sum(normed) / ZEN_DRAWS


def features(graph: Network) -> Network:
    """Return the part of a network up to its last value with more than one axis.

    Only nodes of the outermost level are looked at; a network without such a value stays whole.
    """
    if not isinstance(graph, Graph):
        return graph
    maps = [i for i, kind in enumerate(graph.types) if len(kind.shape) > 1]
    if not maps or maps[-1] < len(graph.inputs):
        return graph
    names = graph.input_names
    return prune(graph.name, graph.inputs, graph.nodes, maps[-1:], graph.types, input_names=names)[
        0
    ]


SCORES: dict[str, Callable[[nn.Module, Batch], float]] = {
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "snip": snip,
}
MEASURES = ("params", "macs", *SCORES, "zen")


def measures(
    graph: Network, batch: Batch, names: Sequence[str] = MEASURES, seed: int = 0
) -> dict[str, float]:
    """Return the measures of MEASURES that are named, of a network with weights drawn from ``seed``.

    Raises CandidateError for one that is not finite.
    """
    found: dict[str, float] = {}
    counted = cost(graph)
    for name in check(names):
        if name in counted:
            found[name] = counted[name]
        elif name == "zen":
            found[name] = zen(graph, batch, seed)
        else:  # each has fresh weights: some change them, and running statistics
            module = graph.to_torch(seed=seed).to(batch[0].device)
            found[name] = SCORES[name](module, batch)
        if not math.isfinite(found[name]):
            raise CandidateError(f"{name} is NaN or infinite")
    return found


def check(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of measures; raise ConfigError unless all are known."""
    for name in (names,) if isinstance(names, str) else names:
        if name not in MEASURES or isinstance(names, str):
            raise ConfigError(
                f"evaluator.measures: expected a list of {', '.join(MEASURES)}, got {name!r}"
                f"{nearest(str(name), MEASURES)}"
            )
    return tuple(names)


class ZeroCost:
    """Measure networks at their initialisation, on one batch of ``data`` that all of them see.

    Args:
        data: the images, from whose training part the batch is drawn evenly over the classes.
        measures: those of MEASURES to take.
        batch: images in the batch.
        device: "auto", "cpu", "cuda", ...
    """

    def __init__(
        self,
        data: Dataset,
        measures: Sequence[str] = MEASURES,
        batch: int = 64,
        device: str = "auto",
    ) -> None:
        check_whole("evaluator.batch", batch, 2)
        self.data, self.names, self.batch, self.device = data, check(measures), batch, device
        self._batches: dict[tuple[int, int], Batch] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_batches": {}}

    def __call__(
        self, graph: Network, *, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return the measures, what else `cost` counts, and the seconds all took.

        Raises CandidateError where one cannot be taken or is not finite.
        """
        begin = time.monotonic()
        batch = self.images(image_size(graph, self.data))
        with own_randomness(self.data), blame_candidate():
            torch.manual_seed(seed)  # dropout draws from the global generator
            found = measures(graph, batch, self.names, seed)
        return cost(graph) | found | {"seconds": time.monotonic() - begin}

    def images(self, size: tuple[int, int]) -> Batch:
        """Return the batch at a size (height, width)."""
        if size not in self._batches:
            data = self.data.limited(self.batch, 0).prepared(size, pick_device(self.device))
            self._batches[size] = data.normalise(data.train.loaded().images), data.train.labels
        return self._batches[size]


# -- parts ----------------------------------------------------------------------------------------


def _weights(module: nn.Module) -> list[Tensor]:
    """Return the kernels and matrices: no biases and nothing of norms."""
    return [p for p in module.parameters() if p.ndim > 1]


def _loss(module: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(logits_of(module.train()(batch[0])), batch[1])


def _gradients(total: Tensor, weights: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the weights that have a part in ``total``, each with its gradient."""
    found = torch.autograd.grad(total, weights, allow_unused=True)
    return [(w.detach(), g) for w, g in zip(weights, found, strict=True) if g is not None]


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype)
    return drawn.to(like.device)


def _sum(parts: Any) -> float:
    return float(sum(float(part) for part in parts))
