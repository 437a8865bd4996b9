"""Settings at which every space's networks are small enough to run in a test."""

from __future__ import annotations

import inspect
from typing import Any

import nasflow
from nasflow import ir
from nasflow.discovery import find

STAGES = (
    ((8, 16), (1, 2), (3, 5), (1,), 1, False),
    ((16, 24), (1, 2), (3, 5), (3, 4), 2, True),
    ((24, 32), (1, 3), (3, 5), (4,), 2, True),
)
ATTENDING = (
    ((16, 24), (2, 3), (3,), (3, 4), 2, False),
    ((24, 32), (2, 3), (3,), (4,), 1, True),
)
STAGED: dict[str, Any] = {
    "sizes": (32, 64),
    "classes": 5,
    "stems": (8, 16),
    "features": (16, 24),
    "stages": STAGES,
}
SMALL: dict[str, dict[str, Any]] = {
    "alphanet": STAGED,
    "bignas": STAGED,
    "autoformer": {"size": 64, "classes": 5, "widths": (16, 24), "heads": (2, 3), "ratios": (2, 3),
                   "depths": (1, 2), "head_width": 8, "reach": 2},
    "levit": {"size": 64, "classes": 5, "key_width": 8, "widths": ((16, 24), (24, 32), (32,)),
              "heads": ((2, 3), (3,), (4, 6)), "depths": ((1, 2), (1, 2), (1, 1))},
    "nasvit": {**STAGED, "sizes": (32, 48), "stages": STAGES[:1], "attention_stages": ATTENDING},
    "ofa": {"sizes": (32, 64), "classes": 5, "widths": (0.25, 0.5), "depths": (1, 2)},
    "resnet": {"size": 32, "classes": 5, "skeleton": "cifar", "widths": (1, 2), "groups": (1, 4),
        "deepest": (3, 2, 2)},
    "dpn": {"size": 64, "classes": 5, "deepest": (1, 2, 2, 1)},
    "efficientnet": {"classes": 5, "widths": (0.25, 0.5), "depths": (0.5, 1.0), "sizes": (32, 64)},
    "efficientnet_v2": {"size": 64, "classes": 5, "deepest": (1, 2, 2, 2, 2, 2, 1),
                        "widest": (16, 24, 32, 48, 64, 72, 80)},
    "darts": {"size": 16, "classes": 5, "layers": 3, "filters": 4, "nodes": 2},
    "shakeshake": {"size": 16, "classes": 5, "widths": (4, 8), "deepest": 2},
    "gmlp": {"size": 64, "classes": 5, "widths": (16, 32), "depths": (1, 2)},
    "mixer": {"size": 64, "classes": 5, "patches": (16, 32), "widths": (16, 32), "depths": (1, 2)},
    "resmlp": {"size": 64, "classes": 5, "patches": (8, 16), "widths": (16, 32), "depths": (1, 2)},
    "convmixer": {"size": 56, "classes": 5, "widths": (16, 32), "depths": (1, 2)},
    "mobilenet_v1": {"classes": 5, "widths": (0.25, 0.5), "sizes": (32, 64)},
    "mobilenet_v2": {"classes": 5, "widths": (0.35, 0.5), "sizes": (32, 64), "deepest": 2},
    "mobilenet_v3": {"classes": 5, "widths": (0.35, 0.5), "sizes": (32, 64), "deepest": 2},
    "mnasnet": {"classes": 5, "widths": (0.25, 0.5), "sizes": (32, 64), "scales": (1.0,)},
    "autoslim": {"size": 32, "classes": 5},
    "metaformer": {"size": 64, "classes": 5, "widths": ((32, 64),) * 4, "deepest": (1, 2, 2, 1)},
    "deepvit": {"size": 64, "classes": 5, "heads": (2,), "head_widths": (8, 9), "depths": (1, 3),
                "plain_depths": (0, 1)},
    "cvt": {"size": 64, "classes": 5, "deepest": (1, 1, 2)},
    "pvt": {"size": 64, "classes": 5, "deepest": (1, 1, 2, 1)},
    "densenet": {"size": 64, "classes": 5, "deepest": (2, 2, 3, 2), "growths": (4, 8)},
    "convnext": {"size": 64, "classes": 5, "widths": (16, 32), "deepest": (1, 2, 2, 1)},
    "regnet": {"size": 64, "classes": 5, "deepest": 3, "widest": 128},
    "revcol": {"size": 64, "classes": 5, "widths": (16, 24), "deepest": (1, 2, 2, 1), "columns": 2},
    "vgg": {"size": 64, "classes": 5, "deepest": 2, "widths": (0.25, 0.5), "features": (32, 64)},
    "inception": {"size": 128, "classes": 5},
    "replknet": {"size": 32, "classes": 5, "widths": (8, 16), "kernels": (3, 5), "deepest": (1, 2)},
    "dilation": {"size": 16, "classes": 3},
    "deformable": {"size": 16, "classes": 5, "widths": (4, 8), "deepest": 2},
    "deeplab": {"size": 64, "classes": 5, "deepest": (1, 1, 2, 1), "units": ("basic",)},
    "detection": {
        "size": (64, 96), "classes": 3, "proposals": 5, "detections": 2, "stages": 2, "width": 8, "hidden": 16,
        "stuff": 4, "context": 1,
        "backbones": {
            "swin": {"widths": (32,), "windows": (2, 3), "depths": (2, 2, 2, 2)},
            "convnext": {"widths": (8, 16), "deepest": (1, 2, 1, 1)},
            "replknet": {"widths": (8, 16), "kernels": (3, 5), "deepest": (1, 1, 2, 1)},
            "revcol": {"widths": (8, 16), "deepest": (1, 2, 1, 1), "columns": 2},
        },
    },
    "dino": {
        "size": (64, 96), "classes": 3, "queries": 5, "width": 32, "places": 1, "encoder": 2, "decoder": 2,
        "backbones": {"convnext": {"widths": (8, 16), "deepest": (1, 2, 1, 1)}},
    },
    "nfnet": {"size": 64, "classes": 5, "deepest": (1, 2, 2, 1), "widths": {"thin": (16, 32, 48, 48)}, "group": 8},
    "rir": {"size": 16, "classes": 5, "widths": (4, 8), "deepest": (1, 2, 2)},
    "polynet": {"size": 107, "classes": 5, "deepest": (1, 2, 1)},
    "lenet": {"classes": 5},
    "alexnet": {"classes": 5},
    "nasnet": {"size": 16, "classes": 5, "blocks": 2, "repeats": 1, "filters": 8},
    "nas": {"size": 16, "classes": 5, "blocks": 4, "layers": 2, "filters": (4, 6), "pools": (3,)},
    "enas": {"size": 16, "classes": 5, "repeats": 1, "filters": 4, "nodes": 2},
    "smash": {"size": 16, "classes": 5, "layers": (1, 1), "banks": 2, "bank": 8, "kernels": (3, 5)},
    "enas_macro": {"size": 16, "classes": 5, "layers": 3, "filters": 4},
    "nas_bench_201": {"size": 16, "classes": 5, "filters": 4, "cells": 1},
    "nas_bench_macro": {"size": 16, "classes": 5, "channels": 4},
    "halonet": {"size": 64, "classes": 5, "widths": (16, 32), "deepest": (1, 1, 2, 1), "heads": (2, 2, 4, 4),
                "blocks": (2,), "halos": (1, 2), "value_ratios": (1, 2), "ratios": (0.5, 1), "features": (0, 32)},
    "swin": {"size": 56, "classes": 5, "widths": (32, 64), "windows": (3, 7), "depths": (2, 4)},
    "vit": {"size": 64, "classes": 5, "heads": (2, 3), "depths": (1, 3)},
    "vitas": {"size": 32, "classes": 5, "heads": (2, 4), "depth": 2, "width": 40, "attention_width": 80,
              "mlp_width": 80},
    "vig": {"size": 64, "classes": 5, "widths": (32, 64), "depths": (1, 3), "neighbours": (2, 3)},
    "timesformer": {"frames": 2, "size": 64, "classes": 5, "heads": (1, 2), "depths": (1, 2)},
    "context_cluster": {
        "size": 16, "classes": 5, "stem": 2, "widths": ((8, 16),) * 2, "deepest": (1, 2),
        "heads": ((1, 2),) * 2, "head_widths": (4, 8), "regions": ((1, 2),) * 2, "centres": ((2,),) * 2,
    },
    "gpt": {"vocabulary": 50, "context": 6, "heads": (1, 2), "depths": (1, 2)},
    "transformer": {"vocabulary": 50, "source": 6, "target": 5, "widths": (32, 64), "depths": (1, 2)},
}  # fmt: skip
"""Settings that make a space's networks small; others are asked for small images if they take some."""


def small(name: str, **more: Any) -> ir.Space:
    wanted = SMALL.get(name)
    if wanted is None:
        known = inspect.signature(find("space", name)).parameters
        wanted = {key: value for key, value in {"size": 64, "classes": 5}.items() if key in known}
    return nasflow.space(name, **wanted, **more)
