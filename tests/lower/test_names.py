"""Names of nodes become attributes that cannot be anything else."""

from __future__ import annotations

import keyword

from torch import nn

from nasflow.lower.names import attribute, camel, singular, variable


def test_no_module_has_the_attribute_already() -> None:
    public = [name for name in dir(nn.Module) if name.islower() and not name.startswith("_")]
    # transformers, a reference of other tests, adds to PyTorch's class when it is imported
    origin = {name: getattr(getattr(nn.Module, name), "__module__", "torch") for name in public}
    public = [name for name in public if "transformers" not in str(origin[name])]
    for name in [*public, *keyword.kwlist, "training"]:
        if name.islower():
            assert attribute(name) == f"{name}_"
            assert not hasattr(nn.Module(), attribute(name))


def test_different_names_stay_different() -> None:
    names = ["float", "float_", "float__", "conv", "conv_", "1x1", "x1", "x1_"]
    assert len({attribute(name) for name in names}) == len(names)


def test_classes_and_variables_hide_nothing() -> None:
    assert camel("conv_bn_act") == "ConvBnAct"
    assert camel("tensor") == "TensorBlock"
    assert camel("1x1") == "Block1x1"
    assert variable("print") == "print_" and variable("lambda") == "lambda_"
    assert variable("x", {"x"}) == "x2"
    assert variable("l") == "length"
    assert singular("stage0_blocks") == "stage_block"
