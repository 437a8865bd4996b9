"""Written source reads as a person would have written it, and is safe."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nasflow import ir
from nasflow.errors import GraphError
from nasflow.lower import to_source
from nasflow.lower.wrapping import WIDTH
from tests.lower.spaces import SPACES, bottleneck

RUFF = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")


def sources() -> list[str]:
    found = []
    for make in SPACES.values():
        space = make()
        found += [to_source(space.bind(space.sample(seed))) for seed in range(3)]
    return found


def classes(text: str) -> dict[str, str]:
    tree = ast.parse(text)
    return {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def bound(*outputs: ir.Value, name: str = "net") -> str:
    return to_source(ir.Space(outputs, name=name).bind({}))


def test_a_residual_network_is_short() -> None:
    space = SPACES["resnet"]()
    text = to_source(space.bind({"stage0/depth": 3, "stage1/depth": 4, "stage2/depth": 2}))
    assert list(classes(text)) == ["Shortcut", "Bottleneck", "ResNet"]
    assert "*(Bottleneck(32, 8) for _ in range(3))," in text
    assert "Bottleneck(16, 8, stride=2, shortcut_else=True)" in text
    assert "self.middle_conv = nn.Conv2d(width, width, 3, stride=stride, padding=1" in text
    assert "self.expand_bn = nn.BatchNorm2d(4 * width)" in text
    assert "F.relu(self.reduce_bn(self.reduce_conv(x)), inplace=True)" in text
    assert len(text.splitlines()) < 80


def test_cells_are_fed_by_the_two_before() -> None:
    space = SPACES["cells"]()
    point = next(p for p in map(space.sample, range(100)) if p["depth"] == 3)
    text = to_source(space.bind(point))
    assert "for cell in self.cells:" in text
    assert "previous, current = current, cell(previous, current)" in text


def test_all_is_typed_documented_and_used() -> None:
    for text in sources():
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                named = [argument for argument in node.args.args if argument.arg != "self"]
                assert node.returns is not None and all(a.annotation for a in named)
            if isinstance(node, (ast.ClassDef, ast.Module)):
                assert ast.get_docstring(node)
        loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert {alias.asname or alias.name for alias in node.names} <= loaded
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                assert str(module).split(".")[0] in ("torch", "math")
        assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.skipif(RUFF is None, reason="ruff is not installed")
def test_ruff_finds_nothing_to_change(tmp_path: Path) -> None:
    for number, text in enumerate(sources()):
        (tmp_path / f"model{number}.py").write_text(text)
    rules = ["--isolated", f"--line-length={WIDTH}"]
    for command in (["check", "--select=E,F,I,UP,B,SIM,C4,RUF"], ["format", "--diff"]):
        done = subprocess.run(
            [str(RUFF), *command, *rules, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_blocks_that_differ_in_structure_are_different_classes() -> None:
    x = ir.image(8, 8)
    x = cell_like(cell_like(x, "relu"), "gelu")
    assert list(classes(bound(x))) == ["CellLike", "CellLike2", "Net"]


@ir.block
def cell_like(x: ir.Value, form: str) -> ir.Value:
    return ir.Activation(form)(ir.Conv2d(8)(x))


def test_arguments_give_parameters_their_names() -> None:
    x = ir.image(3, 8)
    text = bound(bottleneck(bottleneck(x, 4), 8, name="second"))
    assert "def __init__(self, in_channels: int, width: int) -> None:" in text
    text = bound(cell_pair(cell_pair(x, out=4), out=6, name="second"))
    assert "self.conv = nn.Conv2d(in_channels, out, 1)" in text


@ir.block
def cell_pair(x: ir.Value, out: int) -> ir.Value:
    return ir.Conv2d(out)(x, name="conv")


def test_what_several_uses_need_is_computed_once() -> None:
    x = ir.image(3, 8)
    dropped = ir.Dropout(0.5)(x)
    text = bound(ir.Add()(dropped, ir.Multiply()(dropped, dropped)))
    assert text.count("self.dropout(") == 1
    words = ir.Embedding(9, 4)(ir.ids(3))
    token = ir.Parameter(("L", "D"), (1, 4))(name="token")
    text = bound(ir.Concat("L")(token, words))
    assert text.count("self.embedding(") == 1  # the batch size is asked of it, too


def test_what_others_use_is_not_overwritten() -> None:
    x = ir.image(3, 8)
    assert "F.relu(image)" in bound(ir.Activation()(x))
    assert "F.relu(self.conv2d(image), inplace=True)" in bound(ir.Activation()(ir.Conv2d(4)(x)))
    y = ir.Conv2d(3)(x)
    assert "inplace" not in bound(ir.Add()(y, ir.Activation()(y)))
    assert "inplace" not in bound(ir.Activation()(ir.Add()(x)))
    assert "inplace" not in bound(ir.Activation()(ir.Activation("sigmoid")(x)))


def test_iterations_that_differ_in_numbers_are_one_loop() -> None:
    space = SPACES["growing"]()
    text = to_source(space.bind({"depth": 4}))
    assert list(classes(text)) == ["DropPath", "Layer", "Growing"]
    assert "Layer(in_channels, rate)" in text
    assert "for in_channels, rate in ((2, 0.0), (5, 0.1), (8, 0.2), (11, 0.3" in text


@pytest.mark.parametrize("name", ["forward", "training", "half", "class", "to", "register_buffer"])
def test_names_that_python_or_modules_have_are_escaped(name: str) -> None:
    text = bound(ir.Conv2d(4)(ir.image(3, 8), name=name))
    assert f"self.{name}_ = nn.Conv2d(" in text


HOSTILE = [
    "x;import os",
    "__import__('os')",
    'a"b',
    "a\nb",
    "é",
    "A",
    "",
    "a.b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_no_names_are_refused(name: str) -> None:
    kind = ir.Type(("C", "H", "W"), (3, 8, 8))
    made = ir.Applied(ir.Conv2d(4), (kind,))
    graph = ir.Graph("net", [kind], [ir.Node(name, made, (0,), name)], [1])
    with pytest.raises(GraphError, match="expected lower-case letters"):
        to_source(graph)


@pytest.mark.parametrize("name", [*HOSTILE, "F", "Tensor", "print", "1x1"])
def test_no_name_of_a_block_or_input_becomes_code(name: str) -> None:
    kind = ir.Type(("C", "H", "W"), (3, 8, 8))
    made = ir.Applied(ir.Conv2d(4), (kind,))
    settings = {"arguments": {name: 4}, "input_names": [name]}
    inner = ir.Graph(name, [kind], [ir.Node("conv", made, (0,), "conv")], [1], **settings)
    graph = ir.Graph(name, [kind], [ir.Node("a", inner, (0,), "a")], [1], input_names=[name])
    tree = ast.parse(to_source(graph))
    found = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(found) == 2 and all(re.fullmatch(r"[A-Z][A-Za-z0-9]*", n) for n in found)
    assert not {"F", "Tensor"} & set(found)


def test_values_only_become_constants() -> None:
    class Odd(ir.Operation):
        def infer(self, *types: ir.Type) -> ir.Type:
            return types[0]

        def source(self, *types: ir.Type) -> ir.Source:
            return ir.Source("{0}.to({text})", {"text": "'); import os; ('"})

    kind = ir.Type(("D",), (3,))
    made = ir.Applied(Odd(), (kind,))
    text = to_source(ir.Graph("net", [kind], [ir.Node("odd", made, (0,), "odd")], [1]))
    assert not any(isinstance(node, ast.Import) for node in ast.walk(ast.parse(text)))
    assert "\"'); import os; ('\"" in text


@pytest.mark.parametrize(
    "forward",
    [
        "{0} + open('/etc/passwd')",
        "{0}.__class__",
        "(lambda: {0})()",
        "{0}; 1",
        "{missing}",
        "os.x",
    ],
)
def test_sources_of_operations_may_only_mention_torch(forward: str) -> None:
    class Wrong(ir.Operation):
        def infer(self, *types: ir.Type) -> ir.Type:
            return types[0]

        def source(self, *types: ir.Type) -> ir.Source:
            return ir.Source(forward)

    kind = ir.Type(("D",), (3,))
    made = ir.Applied(Wrong(), (kind,))
    with pytest.raises(GraphError):
        to_source(ir.Graph("net", [kind], [ir.Node("wrong", made, (0,), "wrong")], [1]))


def test_only_finite_numbers_are_written() -> None:
    kind = ir.Type(("D",), (3,))
    made = ir.Applied(ir.Scale(float("inf")), (kind,))
    with pytest.raises(GraphError, match="finite"):
        to_source(ir.Graph("net", [kind], [ir.Node("scale", made, (0,), "scale")], [1]))


def test_cells_of_the_space_share_a_class() -> None:
    x = ir.image(3, 8)
    left, right = ir.Conv2d(4)(x), ir.Conv2d(6)(x)
    y = cell_of_two(left, right)
    text = bound(cell_of_two(y, right, name="second"))
    assert list(classes(text)) == ["CellOfTwo", "Net"]
    assert "def forward(self, left: Tensor, right: Tensor) -> Tensor:" in text


@ir.block
def cell_of_two(left: ir.Value, right: ir.Value) -> ir.Value:
    return ir.Add()(ir.Conv2d(6)(left), right)
