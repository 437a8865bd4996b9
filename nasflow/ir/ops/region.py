"""Several maps of one picture: one convolution for all, what they show in boxes, boxes moved to fit better."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import SpaceError, TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import PLAIN_CALL, Call, Operation, Source, module, operation
from nasflow.ir.ops.combine import MANY
from nasflow.ir.ops.convolution import Conv2d
from nasflow.ir.span import places
from nasflow.ir.types import Type
from nasflow.ir.weight import Weight

__all__ = ["ConvEach", "RefineBoxes", "RoIAlign"]


def _numbers(value: Operand, least: int) -> bool:
    """Whether an attribute is a tuple of at least so many positive numbers."""
    return (
        isinstance(value, tuple)
        and len(value) >= least
        and all(isinstance(number, (int, float)) and number > 0 for number in value)
    )


@operation
class ConvEach(Operation):
    """Convolve ``count`` maps of any sizes by the same filters: (C, H, W) each -> (out, H, W) each.

    As the head of a region proposal network on a pyramid does (Lin et al., 2017, section 4.1). Attributes as
    Conv2d's.
    """

    count: Operand
    out: Operand
    kernel: Operand = 1
    init: Operand = "kaiming_normal_fan_out"
    arity: ClassVar[tuple[int, int]] = (1, MANY)
    support: ClassVar[str] = '''
class ConvEach(nn.Conv2d):
    """Convolve several maps by the same filters."""

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        return tuple([self._conv_forward(x, self.weight, self.bias) for x in maps])
'''

    def _conv(self) -> Conv2d:
        return Conv2d(self.out, self.kernel, init=self.init)

    def results(self) -> int:
        if type(self.count) is not int:
            raise SpaceError(f"ConvEach: the number of maps cannot be open, got {self.count!r}")
        return self.count

    def infer(self, *types: Type) -> tuple[Type, ...]:
        channels = {x.shape[0] for x in types}
        if len(types) != self.count or len(channels) != 1:
            raise TypeRuleError(
                f"ConvEach: expected {self.count} maps of equal channels, got {types!r}"
            )
        return tuple(self._conv().infer(x) for x in types)

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        return self._conv().weights(types[0])

    def macs(self, *types: Type) -> int:
        return sum(self._conv().macs(x) for x in types)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        assert isinstance(self.out, int)
        columns = place.agree("convolves", [spans[0] for spans in place.inputs])
        rows = place.own("out", self.out)
        weight, bias = place.declared
        place.take(weight, rows, columns)
        place.take(bias, rows)
        return tuple((rows, *map(places, type_.shape[1:])) for type_ in place.outputs)

    def source(self, *types: Type) -> Source:
        build = self._conv().source(types[0]).build
        assert build is not None
        return Source(PLAIN_CALL, build=Call("ConvEach", build.positional, build.keyword))

    def window(self, *types: Type) -> tuple[int, int]:
        return self._conv().window(types[0])


@operation
class RoIAlign(Operation):
    """Sample each box on the map that fits its size: (R, 4), maps (C, H, W) -> (C, T=R, H=side, W=side).

    Boxes are corners x1, y1, x2, y2 in pixels of the image; ``strides`` are such pixels for each pixel
    of each map, finest first. A box of ``finest`` pixels a side, or of less than twice as many, is looked up
    in the first map, one twice as large in the second, and so on (Lin et al., 2017, equation 1). It is cut into
    ``side`` x ``side`` bins, each the mean of ``samples`` x ``samples`` points between pixels (He et al., 2017,
    section 3); maps are zero beyond a pixel from their border, and pixels' centres lie half a pixel in, as with
    ``aligned=True`` in ``torchvision.ops.roi_align``. Regions stand where videos have frames. No gradient reaches
    the boxes.
    """

    side: Operand
    strides: Operand
    samples: Operand = 2
    finest: Operand = 56
    arity: ClassVar[tuple[int, int]] = (2, MANY)
    support: ClassVar[str] = '''
class RoIAlign(nn.Module):
    """Average points of the bins of boxes: (N, R, 4), maps of (N, C, H, W) to (N, C, R, side, side)."""

    def __init__(
        self, side: int, strides: tuple[float, ...], samples: int = 2, finest: float = 56
    ) -> None:
        super().__init__()
        self.side = side
        self.strides = strides
        self.samples = samples
        self.finest = finest

    def forward(self, boxes: Tensor, *maps: Tensor) -> Tensor:
        boxes, device = boxes.detach(), boxes.device
        level = self.level(boxes)
        shapes = [tuple(x.shape[-2:]) for x in maps]
        starts = [sum(h * w for h, w in shapes[:i]) for i in range(len(maps) + 1)]
        height, width = torch.tensor(shapes, device=device)[level].unsqueeze(-1).unbind(-2)
        start = torch.tensor(starts, device=device)[level]
        start = start + starts[-1] * torch.arange(len(boxes), device=device)[:, None]

        stride = torch.tensor(self.strides, device=device, dtype=boxes.dtype)[level]
        left, top, right, bottom = (boxes / stride.unsqueeze(-1) - 0.5).unbind(-1)
        column, across = self.taps(left, right, width)
        row, down = self.taps(top, bottom, height)
        pixel = (row * width.unsqueeze(-1))[:, :, :, None, :, None] + column[:, :, None, :, None]
        pixel = (pixel + start[(...,) + (None,) * 4]).flatten(4).flatten(0, 3)
        weight = (down[:, :, :, None, :, None] * across[:, :, None, :, None]).flatten(4)

        table = torch.cat([x.flatten(2) for x in maps], dim=2).transpose(1, 2).flatten(0, 1)
        weight = weight.flatten(0, 3).to(table.dtype) / self.samples**2
        bins = F.embedding_bag(pixel, table, mode="sum", per_sample_weights=weight)
        return bins.view(*boxes.shape[:2], self.side, self.side, -1).permute(0, 4, 1, 2, 3)

    def level(self, boxes: Tensor) -> Tensor:
        """Number the map of each box, (N, R)."""
        size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1).sqrt()
        level = (size / self.finest + 1e-6).log2().floor()
        return level.clamp(0, len(self.strides) - 1).long()

    def taps(self, first: Tensor, last: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels that an axis of each bin reads, and their weights, (N, R, side, taps)."""
        count = self.side * self.samples
        steps = (torch.arange(count, device=first.device, dtype=first.dtype) + 0.5) / count
        at = first.unsqueeze(-1) + steps * (last - first).unsqueeze(-1)
        inside = (at >= -1) & (at <= size)
        at = at.clamp(min=0).minimum((size - 1).to(at.dtype))
        low = at.floor()
        upper = at - low
        weight = torch.stack((1 - upper, upper), dim=-1) * inside.unsqueeze(-1)
        pixel = torch.stack((low.long(), (low.long() + 1).minimum(size - 1)), dim=-1)
        shape = (self.side, 2 * self.samples)
        return pixel.flatten(2).unflatten(2, shape), weight.flatten(2).unflatten(2, shape)
'''

    def infer(self, *types: Type) -> Type:
        boxes, *maps = types
        if len(boxes.shape) != 2 or boxes.shape[1] != 4 or boxes.dtype != "float":
            raise TypeRuleError(f"RoIAlign: expected boxes of 4 numbers, got {boxes!r}")
        channels = maps[0].shape[0]
        if any(x.axes != ("C", "H", "W") or x.shape[0] != channels for x in maps):
            raise TypeRuleError(f"RoIAlign: expected maps of equal channels, got {maps!r}")
        if not _numbers(self.strides, 1) or len(self.strides) != len(maps):  # type: ignore[arg-type]
            raise TypeRuleError(
                f"RoIAlign: expected a stride for each of {len(maps)} maps, got {self.strides!r}"
            )
        for what, number in (("side", self.side), ("samples", self.samples)):
            if type(number) is not int or number < 1:
                raise TypeRuleError(f"RoIAlign: expected {what} from 1, got {number!r}")
        assert isinstance(self.side, int)
        return Type(("C", "T", "H", "W"), (channels, boxes.shape[0], self.side, self.side))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        boxes, *maps = place.inputs
        channels = place.agree("looks up", [spans[0] for spans in maps])
        side = places(place.outputs[0].size("H"))
        return ((channels, boxes[0], side, side),)

    def source(self, *types: Type) -> Source:
        return module(
            "RoIAlign",
            ("side", self.side),  # type: ignore[arg-type]
            ("strides", self.strides),  # type: ignore[arg-type]
            samples=(self.samples, 2),  # type: ignore[arg-type]
            finest=(self.finest, 56),  # type: ignore[arg-type]
        )

    def window(self, *types: Type) -> None:
        return None


@operation
class RefineBoxes(Operation):
    """Move and stretch boxes: (R, 4), deltas (R, 4 K), scores (R, classes + 1) -> (R, 4).

    A box takes the four deltas of its likeliest class, or the only ones where K is 1; the last score is that of
    no object, which may have deltas, too. Deltas shift the centre, in widths and heights of the box, and are
    logarithms of what the width and height are multiplied by (Girshick et al., 2014, appendix C), all of them
    multiplied by ``scales`` first. Corners are kept in an image of ``size``, (height, width). No gradient passes.
    """

    scales: Operand
    size: Operand
    arity: ClassVar[tuple[int, int]] = (3, 3)
    support: ClassVar[str] = '''
@torch.no_grad()
def refine_boxes(
    boxes: Tensor,
    deltas: Tensor,
    scores: Tensor,
    scales: tuple[float, ...],
    size: tuple[int, int],
) -> Tensor:
    """Move and stretch boxes, (N, R, 4), by the deltas of their likeliest class, inside the image."""
    deltas = deltas.unflatten(-1, (-1, 4))
    if deltas.shape[2] > 1:
        likeliest = scores[..., :-1].argmax(dim=-1)
        deltas = deltas.take_along_dim(likeliest[..., None, None], dim=2)
    shift, stretch = (deltas.squeeze(2) * deltas.new_tensor(scales)).split(2, dim=-1)
    extent = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + extent / 2 + shift * extent
    extent = extent * stretch.clamp(-4.135, 4.135).exp()  # at most 1000 / 16 times
    corners = torch.cat((centre - extent / 2, centre + extent / 2), dim=-1)
    return corners.clamp(min=0).minimum(corners.new_tensor((*size[::-1], *size[::-1])))
'''

    def infer(self, *types: Type) -> Type:
        boxes, deltas, scores = types
        rows = {x.shape[0] for x in types if len(x.shape) == 2}
        if len(rows) != 1 or any(len(x.shape) != 2 for x in types) or boxes.shape[1] != 4:
            raise TypeRuleError(
                f"RefineBoxes: expected values for each of some boxes, got {types!r}"
            )
        if deltas.shape[1] not in (4, 4 * (scores.shape[1] - 1), 4 * scores.shape[1]):
            raise TypeRuleError(
                f"RefineBoxes: expected 4 deltas, or 4 for each of {scores.shape[1] - 1} classes, got "
                f"{deltas!r}"
            )
        if not _numbers(self.scales, 4) or not _numbers(self.size, 2):
            raise TypeRuleError(
                f"RefineBoxes: expected four scales and a height and width, got {self.scales!r} and "
                f"{self.size!r}"
            )
        return boxes

    def source(self, *types: Type) -> Source:
        return Source(
            "refine_boxes({0}, {1}, {2}, {scales}, {size})",
            {"scales": self.scales, "size": self.size},  # type: ignore[dict-item]
        )

    def window(self, *types: Type) -> None:
        return None
