"""Choose the variables of a written forward method."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from nasflow.lower import names, syntax
from nasflow.lower.step import LIGHT, Step

if TYPE_CHECKING:
    from nasflow.lower.forward import Forward

LETTERS: Final = ("x", "y", "z", "u", "v", "w")


class Variables:
    """The variables of a forward method: a chain of values keeps one name."""

    def __init__(self, forward: Forward, statements: list[Step]) -> None:
        self.forward = forward
        self.statements = statements
        graph = forward.graph
        taken: list[str] = []
        for name in graph.input_names:
            taken.append(self.variable(name, taken))
        if not forward.is_root and len(taken) == 1:
            taken = ["x"]
        self.arguments = taken
        self.names: dict[int, str] = dict(enumerate(taken))
        self.fixed = {0} if forward.is_root and len(taken) == 1 else set()
        self.last: dict[int, int] = {}
        for i, step in enumerate(statements):
            self.last.update(dict.fromkeys(step.leaves, i))
        for value in forward.results:
            for leaf in self._leaves(value):
                self.last[leaf] = len(statements)

    def variable(self, name: str, taken: Collection[str] = ()) -> str:
        """Return a variable called so, that hides none of ``taken`` and no function."""
        return names.variable(name, {*taken, *self.forward.reserved})

    def fresh(self, name: str, taken: Collection[str]) -> str:
        """Return a name that hides none of ``taken`` and no function."""
        return names.fresh(name, {*taken, *self.forward.reserved})

    def _leaves(self, value: int) -> list[int]:
        if value in self.forward.inlined:
            return self.forward.maker[value].leaves
        return [value]

    def tree(self, value: int) -> ast.expr:
        """Return a value as the expression that gives it here."""
        if value in self.forward.inlined:
            step = self.forward.maker[value]
            return step.make([self.tree(v) for v in step.inputs])
        return syntax.name(self.names[value])

    def live(self, i: int) -> set[str]:
        """Return the variables that are read after statement i."""
        return {name for value, name in self.names.items() if self.last.get(value, -1) > i}

    def assign(self, i: int, step: Step) -> list[str]:
        """Return the variables that statement i assigns."""
        if len(step.outputs) > 1:
            return [self._part(i, step, k) for k in range(len(step.outputs))]
        value = step.outputs[0]
        source = self._continued(i, step)
        if source is not None:
            self.names[value] = self.names[source]
        else:
            self.names[value] = self._fresh(i, step, value)
        return [self.names[value]]

    def _continued(self, i: int, step: Step) -> int | None:
        """Return the value whose variable the statement's result takes over, if any."""
        leaves = set(step.leaves)
        dying = [v for v in leaves if self.last[v] == i and v not in self.fixed]
        if step.onto is not None:
            return step.inputs[step.onto]
        if step.kind in LIGHT:
            direct = [v for v in step.inputs if v in dying and step.is_unnamed]
            return direct[0] if direct else None
        if len(leaves) != 1 or not dying or self._leaves_chain(step.outputs[0]):
            return None
        return dying[0]

    def _leaves_chain(self, value: int) -> bool:
        """Return whether a value is better given its own name than that of what it was made from.

        It is where a loop has a name for it, and among several inputs where it only goes into a
        combination of values.
        """
        if self._wanted(value):
            return True
        users = [step for step in self.statements if value in step.leaves]
        if len(self.arguments) == 1 or len(users) != 1:
            return False
        return len(set(users[0].leaves)) > 1 and not (
            users[0].kind in LIGHT and users[0].is_unnamed
        )

    def _goes_on(self, value: int) -> bool:
        """Return whether a later statement will take over the value's variable."""
        i = self.last.get(value, -1)
        if not 0 <= i < len(self.statements) or self.statements[i].loop:
            return False
        step = self.statements[i]
        return len(step.outputs) == 1 and self._continued(i, step) == value

    def _wanted(self, value: int) -> str:
        """Return what a loop that carries the value on calls it."""
        i = self.last.get(value, -1)
        if not 0 <= i < len(self.statements):
            return ""
        step = self.statements[i]
        if not step.loop or value not in step.inputs:
            return ""
        position = step.inputs.index(value)
        return step.carried[position] if position in step.loop.start else ""

    def _fresh(self, i: int, step: Step, value: int) -> str:
        live = self.live(i)
        for name in (self._wanted(value), self._role(value)):
            if name and self.variable(name) not in live:
                return self.variable(name)
        if self._goes_on(value) or (step.is_unnamed and step.kind in (*LIGHT, "Concat")):
            for letter in LETTERS:
                if letter not in live:
                    return letter
            return self.fresh("x", live)
        return self.variable(step.name if step.name[0].isalpha() else f"x{step.name}", live)

    def _part(self, i: int, step: Step, k: int) -> str:
        value = step.outputs[k]
        if value not in self.last:
            return "_"
        hint = self._wanted(value) or self._role(value) or f"{step.name}_{k}"
        self.names[value] = self.variable(hint, self.live(i))
        self.last.setdefault(value, i)
        return self.names[value]

    def _role(self, value: int) -> str:
        """Return q, k or v for what attention takes as such, possibly after other steps."""
        for _ in range(4):
            users = [step for step in self.forward.steps if value in step.inputs]
            if len(users) != 1 or len(users[0].outputs) != 1:
                return ""
            (step,) = users
            if step.kind == "Attention":
                position = step.inputs.index(value)
                return "qkv"[position] if position < 3 else ""
            value = step.outputs[0]
        return ""

    def state(self, i: int, step: Step, before: Sequence[int | None]) -> list[str]:
        """Return the variables that a loop carries; its results take their names."""
        assert step.loop is not None
        chosen: list[str] = []
        outer = {step.inputs[k] for kind, k in step.loop.takes if kind == "outer"}
        kept = {self.names[v] for v in outer if v in self.names} | self.live(i)
        for p, value in enumerate(before):
            later = {self.names.get(v, "") for v in before[p + 1 :] if v is not None and v != value}
            taken = {*chosen, *kept, *later}
            start = step.loop.start[p]
            wanted = self.variable(step.carried[start] if start >= 0 else "x")
            if value is not None and self._carries(i, value, wanted, outer, taken):
                chosen.append(self.names[value])
            else:
                chosen.append(self.fresh(wanted, taken))
        for value, position in zip(step.outputs, step.loop.results, strict=True):
            self.names[value] = chosen[position]
        return chosen

    def _carries(
        self, i: int, value: int, wanted: str, outer: set[int], taken: Collection[str]
    ) -> bool:
        """Return whether a loop may go on with the variable of a value that it starts from."""
        if value in self.forward.inlined or value in self.fixed | outer:
            return False
        name = self.names[value]
        return self.last.get(value) == i and name in (wanted, *LETTERS) and name not in taken
