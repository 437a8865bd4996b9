from __future__ import annotations

import time
from pathlib import Path

import pytest

from nasflow.errors import CandidateError, ConfigError, DataError
from nasflow.evaluate import table

try:
    table.find()
except DataError as missing:
    pytest.skip(str(missing), allow_module_level=True)


def test_nas_bench_201_is_complete_and_prints_its_known_best() -> None:
    cells = table.nas_bench_201()
    assert len(cells.rows) == 5**6
    assert cells.best("test_accuracy") == pytest.approx(0.94373, abs=5e-6)
    assert table.nas_bench_201("cifar100").best("test_accuracy") == pytest.approx(0.73513, abs=5e-6)


def test_a_point_gets_its_own_row() -> None:
    # arch_index 0 of the table
    names = (
        "avg_pool_3x3",
        "nor_conv_1x1",
        "skip_connect",
        "nor_conv_1x1",
        "skip_connect",
        "skip_connect",
    )
    point = dict(zip(table.EDGES, names, strict=True))
    measures = table.nas_bench_201(device="raspi4")(None, point=point)
    assert measures["accuracy"] == pytest.approx(0.63364)
    assert measures["test_accuracy"] == pytest.approx(0.858633)
    assert measures["params"] == 129306
    assert measures["macs"] == 15647370
    assert measures["latency_ms"] == pytest.approx(10.481977)


def test_nas_bench_macro_is_complete_and_prints_its_known_best() -> None:
    networks = table.nas_bench_macro()
    assert len(networks.rows) == 3**8
    best = dict(
        zip(
            [f"layer{i}" for i in range(8)], (table.BLOCKS[int(c)] for c in "22212202"), strict=True
        )
    )
    assert (
        networks(None, point=best)["test_accuracy"]
        <= networks.best("test_accuracy")
        == pytest.approx(0.9324, abs=5e-5)
    )


def test_a_thousand_look_ups_take_less_than_a_tenth_of_a_second() -> None:
    networks = table.nas_bench_macro()
    point = {f"layer{i}": "identity" for i in range(8)}
    started = time.process_time()
    for _ in range(1000):
        networks(None, point=point)
    assert time.process_time() - started < 0.1


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NASFLOW_BENCHMARKS"):
        table.nas_bench_201(folder=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nas_bench_macro_cifar10\.parquet: no such file"):
        table.nas_bench_macro(folder=str(tmp_path))
    (tmp_path / "nas_bench_macro").mkdir()
    (tmp_path / "nas_bench_macro" / "nas_bench_macro_cifar10.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError) as caught:
        table.nas_bench_macro(folder=str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="did you mean 'raspi4'"):
        table.nas_bench_201(device="raspi")
    with pytest.raises(ConfigError, match="cifar10"):
        table.nas_bench_201("cifar")
    with pytest.raises(CandidateError, match="no row"):
        table.nas_bench_macro()(None, point={"layer0": "identity"})
