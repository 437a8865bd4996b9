"""Published residual networks: points of the space in resnet.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasflow import ir

HE = "He et al. (2016), table 1"
CBAM = "Woo et al. (2018), table 1"


# Quick to build.
PLAIN: dict[str, Any] = {"units": ("basic",), "orders": ("post",), "attentions": ("none",)}
PRE: dict[str, Any] = {**PLAIN, "units": ("bottleneck",), "orders": ("pre",)}


def _model(
    unit: str,
    depths: Sequence[int],
    source: str,
    settings: Mapping[str, Any] | None = None,
    note: str = "",
    **more: Any,
) -> ir.Model:
    point: dict[str, Any] = {"unit": unit, "order": "post", "width": 1, "attention": "none"}
    point |= {"inner_width": 1, "groups": 1} if unit == "bottleneck" else {}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    return ir.Model({**point, **more}, settings or {}, source, note=note)


SIZES: dict[int, tuple[str, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def _imagenet(layers: int, source: str = HE, **more: Any) -> ir.Model:
    return _model(*SIZES[layers], source, **more)


def _v1(layers: int, source: str = HE, **more: Any) -> ir.Model:
    """The paper's own bottleneck: the first 1x1 has the stride. Basic units are as they are."""
    return _imagenet(layers, source, **more, **({"stride_in": "1x1"} if layers >= 50 else {}))


def _cifar(units: int, source: str, unit: str = "basic", **more: Any) -> ir.Model:
    settings = {"skeleton": "cifar", "classes": 10, "size": 32, **more.pop("settings", {})}
    return _model(unit, (units,) * 3, source, settings, **more)


def _pyramid(units: int, alpha: int, unit: str = "basic") -> ir.Model:
    """6n + 2 layers of basic units, or 9n + 2 of bottlenecks; filters grow by ``alpha`` over all."""
    settings = {**PLAIN, "units": (unit,), "orders": ("pyramidal",), "deepest": (units,) * 3}
    return _cifar(
        units,
        "Han et al. (2017), table 4 and released code",
        unit,
        order="pyramidal",
        shortcut="pool",
        alpha=alpha,
        settings={**settings, "alphas": (alpha,)},
        note="counts are those of the authors' released code, and of pytorchcv's; its README prints 28.3M for a = 270, "
        "0.7% less, and 1.7M, 3.8M and 26.0M, which filters cut off instead of rounded would have",
    )


def _bit(layers: int, width: int, size: int) -> ir.Model:
    unit, depths = SIZES[layers]
    settings = {"size": size, "norm": "group", "widths": (width,), **PRE}
    return _model(
        unit,
        depths,
        "Kolesnikov et al. (2020), section 3.1 and released code",
        settings,
        order="pre",
        width=width,
        stem_width=64 * width,
        stem_pool="zeros",
        note="the printed multiply-adds, 0.2% more, count more than products",
    )


CARDINAL: dict[str, Any] = {"groups": 32, "inner_width": 2}  # 32x4d
XIE, HU = "Xie et al. (2017), table 1", "Hu et al. (2018), table 2"
LI = "Li et al. (2018), section 5 and released code"
LARGE: dict[str, Any] = {"size": 320}
SENET_154: dict[str, Any] = {
    **{"groups": 64, "inner_width": 4, "halve_first": True, "projection": 3},
    **{"stem": "3x3", "stem_width": 128, "stem_pool": "caffe"},
    "settings": {**LARGE, "dropout": 0.2},
}

MODELS: dict[str, ir.Model] = {
    **{f"resnet{layers}": _imagenet(layers) for layers in SIZES},
    **{f"resnet{layers}_v1": _v1(layers) for layers in (50, 101, 152)},
    **{
        f"se_resnet{layers}": _v1(layers, HU, attention="se", stem_pool="caffe") for layers in SIZES
    },
    **{f"cbam_resnet{layers}": _v1(layers, CBAM, attention="cbam") for layers in (18, 34, 50, 101)},
    "resnext50_32x4d": _imagenet(50, XIE, **CARDINAL),
    "resnext101_32x4d": _imagenet(101, XIE, **CARDINAL),
    "resnext50_32x4d_v1": _v1(50, CBAM, **CARDINAL),
    "resnext101_32x4d_v1": _v1(101, CBAM, **CARDINAL),
    "resnext101_64x4d": _imagenet(101, XIE, groups=64, inner_width=4, settings=LARGE),
    "se_resnext50_32x4d": _imagenet(50, HU, attention="se", stem_pool="caffe", **CARDINAL),
    "se_resnext101_32x4d": _imagenet(101, HU, attention="se", stem_pool="caffe", **CARDINAL),
    "se_resnext50_32x4d_v1": _v1(50, CBAM, attention="se", **CARDINAL),
    "se_resnext101_32x4d_v1": _v1(101, CBAM, attention="se", **CARDINAL),
    "cbam_resnext50_32x4d": _v1(50, CBAM, attention="cbam", **CARDINAL),
    "cbam_resnext101_32x4d": _v1(101, CBAM, attention="cbam", **CARDINAL),
    "senet154": _imagenet(
        152, "Hu et al. (2018), section 6.3 and released code", attention="se", **SENET_154
    ),
    "wrn50_2": _imagenet(50, "Zagoruyko & Komodakis (2016), section 3.4", inner_width=2),
    **{
        f"wideresnet18_{int(10 * width)}{suffix}": _imagenet(
            18, CBAM, width=width, attention=attention
        )
        for width in (1.5, 2)
        for suffix, attention in (("", "none"), ("_se", "se"), ("_cbam", "cbam"))
    },
    # CIFAR: 6n + 2 layers of basic units, or 9n + 2 of bottlenecks.
    "plain20_cifar": _cifar(3, "He et al. (2016), section 4.2", shortcut="none"),
    "plain56_cifar": _cifar(9, "He et al. (2016), section 4.2", shortcut="none"),
    "resnet20_cifar": _cifar(3, "He et al. (2016), section 4.2", shortcut="pad"),
    "resnet110_cifar": _cifar(18, "He et al. (2016), section 4.2", shortcut="pad"),
    "resnet56_cifar": _cifar(9, LI),
    "resnet56_cifar_noskip": _cifar(9, LI, shortcut="none"),
    "resnet110_cifar_noskip": _cifar(18, LI, shortcut="none"),
    **{f"wrn56_k{k}": _cifar(9, LI, width=k, stem_width=16 * k) for k in (1, 2, 4, 8)},
    "wrn56_k8_noskip": _cifar(9, LI, width=8, stem_width=128, shortcut="none"),
    "wrn28_10_cifar": _cifar(4, "Zagoruyko & Komodakis (2016), table 4", order="pre", width=10),
    "resnet1001_preact": _cifar(
        111,
        "He et al. (2016b), table 4",
        "bottleneck",
        order="pre",
        settings={"deepest": (111, 111, 111)},
    ),
    "pyramidnet": _pyramid(18, 270),
    "pyramidnet110_a48": _pyramid(18, 48),
    "pyramidnet110_a84": _pyramid(18, 84),
    "pyramidnet272_a200": _pyramid(30, 200, "bottleneck"),
    # BiT: widths are 3 or 4 times ResNet's, of the first convolution too.
    "bit_r101x3_384": _bit(101, 3, 384),
    "bit_r152x4_480": _bit(152, 4, 480),
    "stochastic_depth_resnet": _cifar(
        18, "Huang et al. (2016), section 4", settings={"drop_path": 0.5, **PLAIN}
    ),
}
