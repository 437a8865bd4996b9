from __future__ import annotations

import torch
from torch import nn

from nasflow.evaluate.average import Average
from nasflow.evaluate.batchnorm import recalibrate


def test_statistics_become_those_of_the_batches_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.2), nn.Conv2d(3, 3, 1))
    module[1].running_mean.fill_(9)
    module[1].eval()
    weights = [p.clone() for p in module.parameters()]
    batches = [torch.randn(16, 3, 4, 4) * 3 + 1 for _ in range(4)]
    assert recalibrate(module, batches) == 4
    mean = torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(0)
    variance = torch.stack([b.var(dim=(0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(module[1].running_mean, mean, atol=1e-6)
    assert torch.allclose(module[1].running_var, variance, atol=1e-5)
    assert [m.training for m in (module, *module)] == [True, True, False, True]
    assert module[1].momentum == 0.2
    assert all(torch.equal(a, b) for a, b in zip(weights, module.parameters(), strict=True))


def test_a_network_without_batch_norm_reads_no_batch() -> None:
    assert recalibrate(nn.LayerNorm(3), iter(lambda: 1 / 0, None)) == 0


def test_the_average_follows_weights_and_statistics() -> None:
    module = nn.BatchNorm1d(2)
    average = Average(module, 0.5)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.running_mean.fill_(4.0)
        module.num_batches_tracked.fill_(7)
    average.update(module, step=100)
    assert torch.allclose(average.module.weight, torch.full((2,), 1.5))
    assert torch.allclose(average.module.running_mean, torch.full((2,), 2.0))
    assert average.module.num_batches_tracked == 7
    average.update(module, step=0)  # decay (1 + 0) / (10 + 0) = 0.1
    assert torch.allclose(average.module.weight, torch.full((2,), 1.95))
