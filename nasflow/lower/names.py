"""Names in written source: attributes, classes, variables, none of which can be anything else."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from typing import Final

from nasflow.errors import GraphError
from nasflow.ir.trace import MAX_NAME, NAME

# Public attributes of nn.Module in any version of PyTorch up to 2.13. Listed and not looked up, so
# that the keys of a state dict never depend on the version that writes them.
_MODULE: Final = (
    "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu",
    "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer",
    "get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "load_state_dict",
    "modules", "mtia", "named_buffers", "named_children", "named_modules", "named_parameters",
    "parameters", "register_backward_hook", "register_buffer", "register_forward_hook",
    "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module",
    "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
    "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "to",
    "to_empty", "train", "training", "type", "xpu", "zero_grad",
)  # fmt: skip

ATTRIBUTES: Final = frozenset(name.rstrip("_") for name in (*_MODULE, *keyword.kwlist))
"""What no attribute of a written module may be called, trailing underscores aside."""

VARIABLES: Final = frozenset({*keyword.kwlist, *keyword.softkwlist, "self", "torch", "nn"})
"""What no variable or argument of written source may be called."""

CLASSES: Final = frozenset({"F", "Tensor", "True", "False", "None", *dir(builtins)})
"""What no class of written source may be called."""


def checked(name: str) -> str:
    """Return a node's name if it is one; raises GraphError, so that none can become code."""
    if not isinstance(name, str) or len(name) > 4 * MAX_NAME or not NAME.match(name):
        raise GraphError(
            f"name {str(name)[:MAX_NAME]!r}: expected lower-case letters, digits and underscores"
        )
    return name


def attribute(name: str) -> str:
    """Return the attribute, and the part of a state dict's key, that a node of that name gets.

    It is the name itself, with an underscore where Python or ``nn.Module`` has that name: at the
    end, or in front of a digit. Different names stay different.
    """
    if checked(name)[0].isdigit():
        return f"_{name}"
    return f"{name}_" if name.rstrip("_") in ATTRIBUTES else name


def variable(name: str, taken: Iterable[str] = ()) -> str:
    """Return a variable called ``name`` or nearly so, and not among ``taken``."""
    name = name if name.isidentifier() and name.isascii() else "x"
    name = "length" if name == "l" else name  # which looks like a 1
    if name in VARIABLES or hasattr(builtins, name):
        name += "_"
    return fresh(name, taken)


def fresh(name: str, taken: Iterable[str]) -> str:
    """Return ``name``, numbered from 2 where it is taken."""
    others = taken if isinstance(taken, (set, frozenset, dict)) else set(taken)
    candidate, number = name, 2
    while candidate in others:
        candidate, number = f"{name}{number}", number + 1
    return candidate


def camel(name: str) -> str:
    """Return the class name of a block: ``conv_bn_act`` gives ``ConvBnAct``."""
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", name) if part]
    text = "".join(part[:1].upper() + part[1:] for part in parts)[:MAX_NAME]
    if not text or text[0].isdigit():
        text = f"Block{text}"
    return f"{text}Block" if text in CLASSES else text


def singular(name: str) -> str:
    """Return what one of several is called: ``stage0_blocks`` gives ``stage_block``."""
    name = name.removesuffix("_else")
    plain = "_".join(filter(None, (part.rstrip("0123456789") for part in name.split("_"))))
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") else plain or "block"
