"""Write the forward method of a class: short chains nested, variables with readable names."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from nasflow.ir.graph import Graph
from nasflow.lower import names, syntax
from nasflow.lower.constructor import FilledForm
from nasflow.lower.family import Family
from nasflow.lower.form import BlockForm, LoopForm, OpForm, UnrolledForm, is_module
from nasflow.lower.parameters import to_tree
from nasflow.lower.step import LIGHT, Make, Step
from nasflow.lower.variables import Variables

LONGEST: Final = 84
"""Characters of an expression that others are written in."""
DEEPEST: Final = 3
HEAVY: Final = frozenset({"Conv1d", "Conv2d", "Conv3d", "Linear", "Matmul", "Attention"})
FRESH: Final = frozenset({"Conv1d", "Conv2d", "Conv3d", "Linear", "BatchNorm", "GroupNorm", "Add"})
"""What makes a new tensor that its own gradient does not need."""
IN_PLACE: Final = {
    "F.relu({0})": "F.relu({0}, inplace=True)",
    "F.relu6({0})": "F.relu6({0}, inplace=True)",
}


class Forward:
    """The body of one forward method."""

    def __init__(
        self,
        family: Family,
        forms: Sequence[FilledForm],
        families: Sequence[Family],
        reserved: Collection[str] = (),
        *,
        is_root: bool = False,
    ) -> None:
        self.reserved = reserved  # names of functions that the module defines
        graph = self.graph = family.template
        self.graphs = family.graphs
        self.parameters = family.parameters
        self.families = families
        self.is_root = is_root
        self.count = len(graph.inputs)
        self.steps: list[Step] = []
        self.used: set[int] = set()  # parameters that forward mentions
        ids = list(range(self.count))
        for node, filled in zip(graph.nodes, forms, strict=True):
            own = syntax.attribute_of(syntax.name("self"), names.attribute(node.weights))
            taken = tuple(ids[value] for value in node.inputs)
            ids += self._add(node.name, filled, taken, own, len(node.content.outputs))
            if self.steps and isinstance(node.content, Graph):
                self.steps[-1].carried = node.content.input_names
        self.results = tuple(ids[value] for value in graph.results)
        self.maker = {value: step for step in self.steps for value in step.outputs}
        self.statements = self._nest()
        self.variables = Variables(self, self.statements)
        self.arguments = self.variables.arguments

    @property
    def result(self) -> str:
        """The type of what the method returns."""
        if any(step.kind == "Auxiliary" and step.outputs == self.results for step in self.steps):
            return "Tensor | tuple[Tensor, Tensor]"
        count = len(self.results)
        return "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"

    # -- steps --------------------------------------------------------------------------------------

    def _add(
        self, name: str, filled: FilledForm, inputs: tuple[int, ...], own: ast.expr, width: int
    ) -> list[int]:
        """Add the step(s) of a node; return its values."""
        form = filled.form
        if isinstance(form, UnrolledForm):
            ids = list(inputs)
            for inner_name, inner, taken in zip(
                form.names, filled.inside, form.inputs, strict=True
            ):
                place = ast.Subscript(own, syntax.literal(inner_name), ast.Load())
                label = f"{name}_{inner_name}"
                values = tuple(ids[value] for value in taken)
                ids += self._add(label, inner, values, place, inner.form.outputs)
            return [ids[value] for value in form.results]
        outputs = tuple(range(self.count, self.count + width))
        self.count += width
        step = Step(name, inputs, outputs, self._maker(filled, own), "block")
        step.mentions = (1,) * len(inputs)
        if isinstance(form, OpForm):
            step.kind = form.kind
            step.mentions = syntax.mentions(form.forward, form.support, len(inputs))
            several = form.kind != "Add" or len(inputs) > 1  # a sum of one value is that value
            step.is_fresh = form.kind in FRESH and filled.flag is None and several
            if form.forward in IN_PLACE:
                text = IN_PLACE[form.forward]
                step.overwrite = lambda inputs: syntax.fill(text, inputs)
        elif isinstance(form, LoopForm):
            step.kind = "loop"
            if not is_module(form):
                step.loop, step.own = form.recurrence, own
                step.width = form.runs[0].outputs
                step.item = self._item(name, form)
        self.steps.append(step)
        return list(outputs)

    def _item(self, name: str, form: LoopForm) -> str:
        """Return what one of the modules of a loop is called."""
        labels = {
            self.families[run.family].label for run in form.runs if isinstance(run, BlockForm)
        }
        return labels.pop() if len(labels) == 1 else names.singular(name)

    def _maker(self, filled: FilledForm, own: ast.expr) -> Make:
        form = filled.form
        if not isinstance(form, OpForm) or is_module(form):
            return lambda inputs: syntax.call(own, inputs)
        first = len(form.positional) + len(form.keyword)
        constants = {}
        for key, (_, bound) in zip(form.constants, filled.values[first:], strict=True):
            self.used |= bound.parameters()
            constants[key] = to_tree(bound, self.parameters, inside=True)
        return lambda inputs: syntax.fill(form.forward, inputs, constants, own, form.support)

    # -- statements ---------------------------------------------------------------------------------

    def _nest(self) -> list[Step]:
        """Decide which steps are written inside others; return those that are statements."""
        uses = Counter(self.results)
        for step in self.steps:
            for value, count in zip(step.inputs, step.mentions, strict=True):
                uses[value] += count
        self.inlined: set[int] = set()
        for step in self.steps:
            source = self.maker.get(step.inputs[0]) if step.inputs else None
            if step.overwrite and source and source.is_fresh and uses[step.inputs[0]] == 1:
                step.make = step.overwrite
            step.onto = self._onto(step, uses)
            self._measure(step)
            for value in step.inputs:
                maker = self.maker.get(value)
                if maker is None:
                    step.length += len(self.graph.input_names[value])
                    step.leaves.append(value)
                    continue
                if step.onto is not None and value == step.inputs[step.onto]:
                    step.leaves.append(value)
                elif self._is_tensor(maker) or (uses[value] == 1 and self._fits(maker, step)):
                    self.inlined.add(value)
                    light = step.kind in LIGHT
                    step.depth = max(step.depth, maker.depth + (0 if light else 1))
                    step.length += maker.length
                    step.heavy |= maker.heavy
                    step.leaves += maker.leaves
                else:
                    step.length += 1 if uses[value] == 1 else len(maker.name)
                    step.leaves.append(value)
        for value in self.results:
            maker = self.maker.get(value)
            plain = maker and len(maker.outputs) == 1 and not maker.loop and maker.onto is None
            if plain and uses[value] == 1:
                self.inlined.add(value)
        return [step for step in self.steps if not self.inlined.issuperset(step.outputs)]

    def _onto(self, step: Step, uses: Counter[int]) -> int | None:
        """Return the input of a sum that may be overwritten: fresh, of no other use, as large."""
        if step.kind != "Add" or len(step.inputs) != 2:
            return None
        for position, value in enumerate(step.inputs):
            maker = self.maker.get(value)
            if maker and maker.is_fresh and uses[value] == 1 and self._alike(maker.name, step.name):
                return position
        return None

    def _alike(self, one: str, other: str) -> bool:
        """Return whether two nodes give values of one type in every instance of the class."""
        for graph in self.graphs:
            outputs = {node.name: node.content.outputs for node in graph.nodes}
            if one not in outputs or other not in outputs or outputs[one] != outputs[other]:
                return False
        return True

    def _measure(self, step: Step) -> None:
        step.heavy = step.kind in HEAVY
        step.depth = 0 if self._is_tensor(step) else 1
        if not step.loop:
            step.length = len(syntax.write(step.make([syntax.name("")] * len(step.inputs))))

    @staticmethod
    def _is_tensor(step: Step) -> bool:
        return step.kind == "Parameter"

    def _fits(self, maker: Step, step: Step) -> bool:
        """Return whether a step's only use reads well inside another step."""
        if len(maker.outputs) != 1 or maker.kind in ("Concat", "loop") or step.kind == "loop":
            return False
        if maker.onto is not None:
            return False
        if self.is_root and maker.kind == "block" and step.kind not in LIGHT:
            return False
        if step.kind == "block" and (maker.kind == "block" or maker.depth > 1):
            return False
        if step.heavy and maker.heavy and step.kind in HEAVY:
            return False
        deep = maker.depth + (0 if step.kind in LIGHT else 1)
        return deep <= DEEPEST and step.length + maker.length + len(step.name) <= LONGEST

    def lines(self) -> Iterator[str]:
        """Yield the statements of the method, one on each line, unbroken."""
        statements, variables = self.statements, self.variables
        tree = variables.tree
        for i, step in enumerate(statements):
            if step.loop:
                yield from self._loop(step, i, variables)
                continue
            if step.onto is not None:
                term = syntax.write(tree(step.inputs[1 - step.onto]))
                yield f"{variables.assign(i, step)[0]} += {term}"
                continue
            value = syntax.write(step.make([tree(v) for v in step.inputs]))
            yield f"{', '.join(variables.assign(i, step))} = {value}"
        results = [tree(value) for value in self.results]
        values = [syntax.write(result) for result in results]
        yield f"return {', '.join(values)}"

    def _loop(self, step: Step, i: int, variables: Variables) -> Iterator[str]:
        loop = step.loop
        assert loop is not None and step.own is not None
        before = [step.inputs[value] if value >= 0 else None for value in loop.start]
        tree = variables.tree
        outer = {k: tree(step.inputs[k]) for kind, k in loop.takes if kind == "outer"}
        starts = [None if value is None else syntax.write(tree(value)) for value in before]
        state = variables.state(i, step, before)
        late = [(a, b) for a, b in zip(state, starts, strict=True) if b is not None and a != b]
        if late:
            yield f"{', '.join(a for a, _ in late)} = {', '.join(b for _, b in late)}"
        item = variables.variable(step.item, {*state, *variables.live(i)})
        inputs = [syntax.name(state[k]) if kind == "state" else outer[k] for kind, k in loop.takes]
        made = syntax.write(syntax.call(syntax.name(item), inputs))
        yield f"for {item} in {syntax.write(step.own)}:"
        targets = ["_"] * step.width
        for position, (kind, k) in enumerate(loop.update):
            if kind == "output":
                targets[k] = state[position]
        moved = [(state[p], state[k]) for p, (kind, k) in enumerate(loop.update) if kind == "state"]
        moved = [(a, b) for a, b in moved if a != b]
        if step.width > 1 and moved:
            fresh = [variables.fresh(f"next_{target}", {*state}) for target in targets]
            yield f"    {', '.join(fresh)} = {made}"
            moved += [(a, b) for a, b in zip(targets, fresh, strict=True) if a != "_"]
        elif step.width > 1:
            yield f"    {', '.join(targets)} = {made}"
        else:
            moved += [(target, made) for target in targets if target != "_"]
        if moved:
            yield f"    {', '.join(a for a, _ in moved)} = {', '.join(b for _, b in moved)}"
