"""Convolutions over one, two and three axes, and their transposes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand, Scalar
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.span import prefix
from nasflow.ir.types import Type
from nasflow.ir.weight import Factor, Weight, axis, init

__all__ = ["Conv1d", "Conv2d", "Conv3d", "DeformableConv2d", "StandardisedConv2d"]


def spread(value: Scalar, rank: int, what: str, least: int = 1) -> tuple[int, ...]:
    """Return one integer for each spatial axis from an int or a tuple of them."""
    values: tuple[Any, ...] = value if isinstance(value, tuple) else (value,) * rank
    if len(values) != rank or not all(type(v) is int and v >= least for v in values):
        raise TypeRuleError(f"expected {what} to be {rank} integers from {least}, got {value!r}")
    return values


def joined(values: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return a single int where all axes agree, as PyTorch's arguments are usually written."""
    return values[0] if len(set(values)) == 1 else values


Borders = tuple[tuple[int, int], ...]
"""Padding before and after each spatial axis."""


def borders(
    padding: Operand,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Borders:
    """Return the padding of each axis.

    ``"half"`` is dilation * (kernel - 1) // 2 on both sides. ``"same"`` is TensorFlow's: as little as
    gives ceil(size / stride) places, the odd pixel at the end.
    """
    if padding == "half":
        return tuple((d * (k - 1) // 2,) * 2 for k, d in zip(kernel, dilation, strict=True))
    if padding != "same":
        return tuple((p, p) for p in spread(padding, len(sizes), "padding", least=0))  # type: ignore[arg-type]
    totals = [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)


def slide(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1) -> int:
    """Return how many places a kernel has along an axis."""
    out = (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise TypeRuleError(
            f"expected at least {dilation * (kernel - 1) + 1 - sum(padding)} entries along the axis "
            f"for kernel={kernel} dilation={dilation} padding={padding}, got {size}"
        )
    return out


class _Convolution(Operation):
    """Shared by convolutions of every rank: (C, *spatial) -> (out, *spatial)."""

    rank: ClassVar[int]
    axes: ClassVar[tuple[str, ...]]
    # Declared again by each subclass, so that the decorator sees them.
    out: Operand
    kernel: Operand
    stride: Operand
    padding: Operand
    dilation: Operand
    groups: Operand
    bias: Operand
    init: Operand

    def _window(self) -> tuple[tuple[int, ...], ...]:
        kernel = spread(self.kernel, self.rank, "kernel")  # type: ignore[arg-type]
        stride = spread(self.stride, self.rank, "stride")  # type: ignore[arg-type]
        dilation = spread(self.dilation, self.rank, "dilation")  # type: ignore[arg-type]
        return kernel, stride, dilation

    def _borders(self, x: Type) -> Borders:
        return borders(self.padding, x.shape[1:], *self._window())

    def _layer(self) -> tuple[str, dict[str, tuple[Scalar, Scalar]]]:
        """Return PyTorch's class, and what its construction takes beyond a convolution's arguments."""
        return f"nn.Conv{self.rank}d", {}

    def _parts(self) -> tuple[int, ...]:
        """Return the named parts of the filters, outermost first, if they have any."""
        return ()

    def _shrink(self, kernel: tuple[int, ...]) -> str:
        """Return how a child takes its part of a bigger kernel."""
        return "centre"

    def _channels(self, x: Type) -> tuple[int, int, int]:
        if x.axes != self.axes or x.dtype != "float":
            raise TypeRuleError(
                f"{type(self).__name__}: expected ({' '.join(self.axes)}), got {x!r}"
            )
        channels, out, groups = x.shape[0], self.out, self.groups
        for what, number in (("out", out), ("groups", groups)):
            if type(number) is not int or number < 1:
                raise TypeRuleError(
                    f"{type(self).__name__}: expected {what} from 1, got {number!r}"
                )
        assert isinstance(out, int) and isinstance(groups, int)
        for what, number in (("in_channels", channels), ("out", out)):
            if number % groups:
                raise TypeRuleError(
                    f"{type(self).__name__} groups={groups} does not divide {what}={number}"
                )
        return channels, out, groups

    def infer(self, *types: Type) -> Type:
        (x,) = types
        _, out, _ = self._channels(x)
        kernel, stride, dilation = self._window()
        windows = zip(x.shape[1:], kernel, stride, self._borders(x), dilation, strict=True)
        return Type(self.axes, (out, *(slide(*window) for window in windows)))

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        (x,) = types
        channels, out, groups = self._channels(x)
        kernel = self._window()[0]
        depthwise = groups == channels
        rows = tuple(Factor(size) for size in self._parts()) or (
            Factor(groups, source="0:C" if depthwise else ""),
            Factor(out // groups),
        )
        columns = axis(channels // groups, source="0:C" if groups == 1 else "")
        spatial = tuple(axis(size, shrink=self._shrink(kernel)) for size in kernel)
        law = init(self.init)  # type: ignore[arg-type]
        weight = Weight("weight", (rows, columns, *spatial), law)
        if not self.bias:
            return (weight,)
        start = init("torch" if law.law == "torch" else "zeros")
        return (weight, Weight("bias", (rows,), start))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        channels, out, groups = self._channels(types[0])
        columns = place.span(0, "C")
        if groups == 1:
            parts = enumerate(self._parts() or (out,))
            rows = place.merge("out", [place.own(f"out.{i}", size) for i, size in parts])
        elif groups == channels:  # each channel on its own: whatever entries come, those go
            per_channel = out // groups
            rows, columns = columns, prefix(1, 1)
            if per_channel > 1:
                rows = place.merge("out", (rows, place.own("per_channel", per_channel)))
        else:
            _, columns = place.groups(columns, groups, "a grouped convolution")
            rows = place.own("out.0", out, groups)  # the room that it has ungrouped, too
        weight, *biases = place.declared
        place.take(weight, rows, columns)
        for bias in biases:
            place.take(bias, rows)
        return (place.result(**place.sizes(), C=rows),)

    def macs(self, *types: Type) -> int:
        (x,) = types
        channels, _, groups = self._channels(x)
        kernel = self._window()[0]
        return self.infer(x).numel * (channels // groups) * math.prod(kernel)

    def source(self, *types: Type) -> Source:
        (x,) = types
        channels, out, groups = self._channels(x)
        kernel, stride, dilation = map(joined, self._window())
        pads = self._borders(x)
        even = all(before == after for before, after in pads)
        padding = joined(tuple(before for before, _ in pads)) if even else 0
        callee, more = self._layer()
        built = module(
            callee,
            ("in_channels", channels),
            ("out_channels", out),
            ("kernel_size", kernel),
            stride=(stride, 1),
            padding=(padding, 0),
            dilation=(dilation, 1),
            groups=(groups, 1),
            bias=(bool(self.bias), True),
            **more,
        )
        if even:
            return built
        amounts = tuple(amount for pair in reversed(pads) for amount in pair)
        return Source("{self}(F.pad({0}, {pad}))", {"pad": amounts}, built.build)

    def window(self, *types: Type) -> tuple[int, int]:
        kernel, stride, dilation = self._window()
        return dilation[-1] * (kernel[-1] - 1) + 1, stride[-1]


@operation
class Conv1d(_Convolution):
    """Convolve tokens along their order: (C, L) -> (out, L')."""

    out: Operand
    kernel: Operand = 1
    stride: Operand = 1
    padding: Operand = "half"
    dilation: Operand = 1
    groups: Operand = 1
    bias: Operand = True
    init: Operand = "torch"
    rank: ClassVar[int] = 1
    axes: ClassVar[tuple[str, ...]] = ("C", "L")


@operation
class Conv2d(_Convolution):
    """Convolve a feature map: (C, H, W) -> (out, H', W').

    ``kernel``, ``stride``, ``padding`` and ``dilation`` are integers or (height, width) pairs;
    ``padding`` may also be ``"half"``, dilation * (kernel - 1) // 2, which keeps the size at stride 1,
    or TensorFlow's ``"same"``: see :func:`borders`.
    ``init`` is a law of :data:`nasflow.ir.weight.LAWS` for the weight; the bias starts at zero
    (with ``"torch"``, as PyTorch starts it). Without groups, ``factors`` splits the filters into named
    parts for weight sharing, as Linear's does: ``(heads, width)``. ``shrink`` is how a child of a supernet
    takes its kernel from a bigger one: its ``"centre"``, or that mapped by a learned matrix (``"transform"``,
    square kernels; Cai et al., 2020, section 3.2). It changes no network, only what children share.
    """

    out: Operand
    kernel: Operand = 1
    stride: Operand = 1
    padding: Operand = "half"
    dilation: Operand = 1
    groups: Operand = 1
    bias: Operand = True
    init: Operand = "kaiming_normal_fan_out"
    factors: Operand = ()
    shrink: Operand = "centre"
    rank: ClassVar[int] = 2
    axes: ClassVar[tuple[str, ...]] = ("C", "H", "W")

    def _shrink(self, kernel: tuple[int, ...]) -> str:
        if self.shrink == "transform" and len(set(kernel)) > 1:
            raise TypeRuleError(f"Conv2d: shrink='transform' needs a square kernel, got {kernel}")
        if self.shrink not in ("centre", "transform"):
            raise TypeRuleError(
                f"Conv2d: expected shrink to be 'centre' or 'transform', got {self.shrink!r}"
            )
        return str(self.shrink)

    def _parts(self) -> tuple[int, ...]:
        if not self.factors:
            return ()
        if self.groups != 1 or math.prod(self.factors) != self.out:  # type: ignore[arg-type]
            raise TypeRuleError(
                f"Conv2d: expected factors of {self.out} and no groups, got {self.factors!r}"
            )
        return self.factors  # type: ignore[return-value]


@operation
class Conv3d(_Convolution):
    """Convolve a video: (C, T, H, W) -> (out, T', H', W'). Attributes as Conv2d, three numbers."""

    out: Operand
    kernel: Operand = 1
    stride: Operand = 1
    padding: Operand = "half"
    dilation: Operand = 1
    groups: Operand = 1
    bias: Operand = True
    init: Operand = "kaiming_normal_fan_out"
    rank: ClassVar[int] = 3
    axes: ClassVar[tuple[str, ...]] = ("C", "T", "H", "W")


@operation
class StandardisedConv2d(_Convolution):
    """Convolve with filters of mean 0 and variance 1: (C, H, W) -> (out, H', W').

    Qiao et al. (2019), "Weight Standardization" (arXiv 1903.10520), section 3. With a number as ``gain``
    each filter also has a learned gain that starts there, over the square root of the fan in (Brock et al.,
    2021, "Characterizing signal propagation", arXiv 2101.08692, equation 3). Else as Conv2d.
    """

    out: Operand
    kernel: Operand = 1
    stride: Operand = 1
    padding: Operand = "half"
    dilation: Operand = 1
    groups: Operand = 1
    bias: Operand = True
    init: Operand = "kaiming_normal_fan_out"
    eps: Operand = 1e-5
    gain: Operand = None
    rank: ClassVar[int] = 2
    axes: ClassVar[tuple[str, ...]] = ("C", "H", "W")
    support: ClassVar[str] = '''
class StandardisedConv2d(nn.Conv2d):
    """Convolve with filters of mean 0 and variance 1, or with ``gained`` of a learned scale."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        eps: float = 1e-5,
        gained: bool = False,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(out_channels)) if gained else None

    def forward(self, x: Tensor) -> Tensor:
        filters = self.weight.flatten(1)
        variance, mean = torch.var_mean(filters, dim=1, correction=0, keepdim=True)
        filters = (filters - mean) * torch.rsqrt(variance + self.eps)
        if self.gain is not None:
            filters = filters * (self.gain * filters.shape[1] ** -0.5)[:, None]
        return self._conv_forward(x, filters.view_as(self.weight), self.bias)
'''

    def _layer(self) -> tuple[str, dict[str, tuple[Scalar, Scalar]]]:
        eps: Any = self.eps
        return "StandardisedConv2d", {
            "eps": (eps, 1e-5),
            "gained": (self.gain is not None, False),
        }

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        weight, *biases = super().weights(*types)
        if self.gain is None:
            return (weight, *biases)
        if not isinstance(self.gain, (int, float)):
            raise TypeRuleError(f"StandardisedConv2d: expected a number as gain, got {self.gain!r}")
        start = init(("constant", float(self.gain)))
        return (weight, *biases, Weight("gain", (weight.axes[0],), start))


@operation
class DeformableConv2d(_Convolution):
    """Convolve at places that offsets move: (C, H, W), (2 k k, H', W') -> (out, H', W').

    Dai et al. (2017), "Deformable Convolutional Networks" (arXiv 1703.06211), equations 2 to 4. The offsets are
    down and right, in pixels, for one tap of the kernel after the other; between pixels maps are linear, and
    zero outside. Attributes as Conv2d's; one group.
    """

    out: Operand
    kernel: Operand = 3
    stride: Operand = 1
    padding: Operand = "half"
    dilation: Operand = 1
    groups: Operand = 1
    bias: Operand = True
    init: Operand = "kaiming_normal_fan_out"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    rank: ClassVar[int] = 2
    axes: ClassVar[tuple[str, ...]] = ("C", "H", "W")
    support: ClassVar[str] = '''
class DeformableConv2d(nn.Conv2d):
    """Convolve at places that offsets of (N, 2 taps, H, W), down and right of each tap, move."""

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        (height, width), (rows, columns) = x.shape[-2:], offsets.shape[-2:]
        down, right = offsets.unflatten(1, (-1, 2)).unbind(2)
        taps = [
            torch.arange(size, device=x.device, dtype=x.dtype) * dilation
            for size, dilation in zip(self.kernel_size, self.dilation)
        ]
        tap_y, tap_x = torch.meshgrid(*taps, indexing="ij")
        steps = torch.arange(max(rows, columns), device=x.device, dtype=x.dtype)
        start_y = steps[:rows, None] * self.stride[0] - self.padding[0]
        start_x = steps[:columns] * self.stride[1] - self.padding[1]
        y = down + tap_y.reshape(-1, 1, 1) + start_y
        at_x = right + tap_x.reshape(-1, 1, 1) + start_x
        grid = torch.stack(((2 * at_x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
        seen = F.grid_sample(x, grid.flatten(1, 2), align_corners=False)
        seen = seen.unflatten(2, (-1, rows)).flatten(1, 2)
        return F.conv2d(seen, self.weight.flatten(1)[:, :, None, None], self.bias)
'''

    def _layer(self) -> tuple[str, dict[str, tuple[Scalar, Scalar]]]:
        return "DeformableConv2d", {}

    def infer(self, *types: Type) -> Type:
        x, offsets = types
        made = super().infer(x)
        wanted = Type(self.axes, (2 * math.prod(self._window()[0]), *made.shape[1:]))
        if offsets != wanted:
            raise TypeRuleError(f"DeformableConv2d: expected offsets {wanted!r}, got {offsets!r}")
        if self.groups != 1 or self.padding == "same":
            raise TypeRuleError(
                "DeformableConv2d: expected one group and equal padding on both sides"
            )
        return made

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        return super().weights(types[0])

    def macs(self, *types: Type) -> int:
        return super().infer(types[0]).numel * types[0].shape[0] * math.prod(self._window()[0])

    def source(self, *types: Type) -> Source:
        return super().source(types[0])
