"""A supernet under DistributedDataParallel: gradients are averaged as a plain module's are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from nasflow import ir

WORKERS = 2


def space() -> ir.Space:
    width = ir.choice("width", 2, 4, ordered=True)
    x = ir.Activation("tanh")(ir.Conv2d(width, 3)(ir.image(3, 6), name="first"))
    return ir.Space(ir.Mean()(ir.Conv2d(2)(x, name="second")), name="net")


class Sandwich(nn.Module):
    """One pass of two children."""

    def __init__(self) -> None:
        super().__init__()
        self.supernet = space().to_supernet(seed=0)

    def forward(self, x: Tensor) -> Tensor:
        small = self.supernet({"width": 2}, x)
        return small.square().sum() + self.supernet({"width": 4}, x).square().sum()


def batch(rank: int) -> Tensor:
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(rank))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS
    )
    model = DistributedDataParallel(Sandwich())
    for _ in range(2):  # where there is no gradient yet, and where one is added to
        model(batch(rank)).backward()
    found = {name: p.grad for name, p in model.module.named_parameters()}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_gradients_are_averaged_over_workers(tmp_path: Path) -> None:
    multiprocessing.start_processes(work, (str(tmp_path),), WORKERS, start_method="fork")
    plain = Sandwich()
    for rank in range(WORKERS):
        (plain(batch(rank)) / WORKERS * 2).backward()
    for rank in range(WORKERS):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad)
