"""``export onnx=true``: what is written loads, and computes what the module does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nasflow import ir
from nasflow.cli.export import _write_onnx


def test_attention_in_windows_is_written_for_any_batch(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    x = ir.Rearrange("c (h p) (w q) -> W=(h w) L=(p q) D=c", (("p", 2), ("q", 2)))(ir.image(16, 4))
    q, k, v = (ir.Rearrange("w l (h d) -> W=w H=h L=l D=d", (("h", 2),))(x) for _ in range(3))
    bias = ir.Parameter(("H", "L", "M"), (2, 4, 4))()
    y = ir.Rearrange("w h l d -> W=w L=l D=(h d)")(ir.Attention()(q, k, v, bias))
    graph = ir.Space(ir.Linear(3)(y), name="windows").bind({})
    module = graph.to_torch(seed=0).eval()
    _write_onnx(module, graph.inputs, tmp_path / "model.onnx")
    images = torch.randn(3, 16, 4, 4)
    run = ReferenceEvaluator(onnx.load(tmp_path / "model.onnx"))
    (found,) = run.run(None, {run.input_names[0]: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), module(images))
