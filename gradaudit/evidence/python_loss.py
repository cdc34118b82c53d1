"""Whether the loss that a loop accumulates is a mean which nothing divides by their number."""

from __future__ import annotations

import ast
import re

from gradaudit.evidence.python_code import (
    dotted,
    identifiers,
    keyword,
    last_name,
    mentions,
    same,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.python_code import Call, Code, Scope, Value

_ACCUMULATES = re.compile(r"accum|grad_?acc|micro_?(?:batch|step)")
_CRITERION = re.compile(r"(?:^|_)(?:criterion|loss_?(?:fn|func|function)|objective)$")
_MODEL = re.compile(r"model|net$|^net|module|transformer|ddp|engine")
_FUNCTIONAL = re.compile(
    r"torch\.nn\.functional\.(?:\w+_loss|cross_entropy|kl_div|binary_cross_entropy\w*)$"
)
_LOSS_CLASS = re.compile(r"torch\.nn\.(?:modules\.loss\.)?\w+Loss$")
_SAME_VALUE = frozenset(("to", "cuda", "float", "double", "contiguous", "cpu", "squeeze"))
_IN_PLACE = ("div_", "mul_", "copy_", "divide_", "multiply_", "true_divide_")
_RESCALES = re.compile(r"averag|scale|mult|divi|normali|reduce|mean")
_ASK = frozenset(("range", "len", "min", "max", "int", "print", "islice", "divmod"))
"""Calls that are given the number of micro-batches and change no gradient."""
_MEANS = ("mean", "batchmean", "elementwise_mean")


class Mean:
    """That a loss is a mean: by which callable, and whether its reduction is seen."""

    __slots__ = ("by", "sure")

    def __init__(self, by: str, sure: bool) -> None:
        self.by = by
        self.sure = sure


class Divided(Exception):
    """The loss is divided, or may be: there is nothing to say."""


def undivided_mean(
    code: Code, scope: Scope, backward: Call, root: ast.expr, count: ast.expr
) -> Mean | None:
    """What makes `root` a mean over one micro-batch, where nothing divides it by `count`.

    None wherever that is not plain: a quotient, a product, a helper, a name that speaks of
    accumulation.
    """
    try:
        return _Loss(code, scope, backward, count).of(root)
    except Divided:
        return None


class _Loss:
    """Follows one loss through the assignments of its loop."""

    def __init__(self, code: Code, scope: Scope, backward: Call, count: ast.expr) -> None:
        self.code = code
        self.scope = scope
        self.backward = backward
        self.count = count
        self.seen: set[str] = set()

    def of(self, node: ast.expr, each: bool = False) -> Mean | None:
        """Of what is written in one place. `each`: a mean is taken of it further out, so that a
        loss a sample will do."""
        if not isinstance(self.count, ast.Constant) and mentions(node, self.count):
            raise Divided
        if any(_ACCUMULATES.search(name) for name in identifiers(node)):
            raise Divided
        return self._part(node, each)

    def _part(self, node: ast.expr, each: bool) -> Mean | None:
        if isinstance(node, ast.Name):
            return self._name(node.id, each)
        if isinstance(node, ast.IfExp):
            both = self._part(node.body, each), self._part(node.orelse, each)
            return both[0] if both[0] and both[1] else None
        if isinstance(node, ast.BinOp):
            return self._sum(node, each)
        if isinstance(node, ast.Call):
            return self._call(node, each)
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            return self._output(node)
        return None

    def _name(self, name: str, each: bool) -> Mean | None:
        if name in self.seen:
            return None  # what it was before: judged already
        self.seen.add(name)
        if any(c.method in _IN_PLACE and dotted(c.receiver) == name for c in self.scope.calls):
            raise Divided
        values = [v for v in self.scope.values.get(name, []) if v.order < self.backward.order]
        loop = next((loop for loop in reversed(self.backward.loops)), None)
        here = [value for value in values if any(outer is loop for outer, _ in value.within)]
        found: list[Mean | None] = []
        for value in here or values:
            if value.node is None or value.position is not None:
                return None
            if value.operator is not None and not isinstance(value.operator, (ast.Add, ast.Sub)):
                raise Divided
            if value.operator is not None or _keeps(value.node, name):
                self._adds(value, found, each)
            elif not (isinstance(value.node, ast.Constant) and value.node.value in (0, None)):
                found.append(self.of(value.node, each))
        return found[0] if found and all(found) else None

    def _adds(self, value: Value, found: list[Mean | None], each: bool) -> None:
        """`loss += aux`, `loss = loss + aux`: what is added does not divide what was there."""
        assert value.node is not None
        if value.operator is None and not _adds_or_averages(value.node):
            raise Divided
        mean = self.of(value.node, each)
        if mean and not any(found):
            found.append(mean)

    def _sum(self, node: ast.BinOp, each: bool) -> Mean | None:
        if isinstance(node.op, (ast.Add, ast.Sub)):
            parts = [self._part(node.left, each), self._part(node.right, each)]
            return next((part for part in parts if part), None)
        if any(isinstance(inner, ast.Name) and inner.id in self.seen for inner in ast.walk(node)):
            raise Divided
        return None

    def _output(self, node: ast.Attribute | ast.Subscript) -> Mean | None:
        """`outputs.loss`, `model(**batch).loss`, `outputs["loss"]`: the model's own."""
        if isinstance(node, ast.Attribute):
            named = node.attr
        else:
            key = node.slice
            named = str(key.value) if isinstance(key, ast.Constant) else ""
        if named != "loss":
            return None
        made: ast.expr | None = node.value
        if isinstance(made, ast.Name):
            values = self.scope.values.get(made.id, [])
            before = [value for value in values if value.order < self.backward.order]
            if not before or before[-1].position is not None or before[-1].operator is not None:
                return None
            made = before[-1].node
        if not isinstance(made, ast.Call) or not _MODEL.search(last_name(made.func).lower()):
            return None
        if self._divides_inside(made.func):
            return None
        if any(_ACCUMULATES.search(name) or "num_items" in name for name in identifiers(made)):
            raise Divided
        return Mean(self.code.text(node), False)

    def _call(self, node: ast.Call, each: bool) -> Mean | None:
        function = node.func
        if isinstance(function, ast.Attribute):
            if function.attr in _SAME_VALUE:
                return self._part(function.value, each)
            if function.attr == "mean" and not node.args and not node.keywords:
                return self._part(function.value, True)
        if _FUNCTIONAL.match(self.code.resolve(function)):
            return self._reduced(node, self.code.text(function), each)
        if isinstance(function, ast.Call):
            return self._made(function, each)
        name = dotted(function)
        made = [value.node for value in self.code.values_of(name, self.scope)]
        if len(made) == 1 and made[0] is not None:
            known = self._made(made[0], each)
            if known or self._is_torch_loss(made[0]):
                return known
        if any(isinstance(n, ast.Name) and n.id in self.seen - {name} for n in ast.walk(node)):
            raise Divided  # a helper is given the loss itself
        if self._divides_inside(function):
            return None
        if _CRITERION.search(last_name(function).lower()) and not each:
            return Mean(name or self.code.text(function), False)
        return None

    def _divides_inside(self, function: ast.expr) -> bool:
        """Whether what is called is written in this file and may sum, or divide by the count."""
        defined = self.code.defined
        bodies = [defined.get(last_name(function))]
        for value in self.code.values_of(dotted(function), self.scope):
            made = value.node
            while isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute):
                if made.func.attr not in _SAME_VALUE:
                    break
                made = made.func.value  # `Model().cuda()`
            named = last_name(made.func if isinstance(made, ast.Call) else made)
            bodies += [made if isinstance(made, ast.Lambda) else defined.get(named)]
            if named == "partial":
                return True
        count = last_name(self.count).lower()
        return any(
            name in ("sum", count) or _ACCUMULATES.search(name)
            for body in bodies
            if body is not None
            for name in identifiers(body)
        ) or any(
            same(inner, self.count)
            for body in bodies
            if body is not None and isinstance(self.count, ast.Constant)
            for inner in ast.walk(body)
        )

    def _made(self, node: ast.expr, each: bool) -> Mean | None:
        """A loss of `torch.nn`, as it is made, on whatever device."""
        while (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _SAME_VALUE
        ):
            node = node.func.value
        if isinstance(node, ast.Call) and self._is_torch_loss(node):
            return self._reduced(node, self.code.text(node.func), each)
        return None

    def _is_torch_loss(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and bool(_LOSS_CLASS.match(self.code.resolve(node.func)))

    def _reduced(self, node: ast.Call, name: str, each: bool) -> Mean | None:
        if any(given.arg in (None, "reduce", "size_average") for given in node.keywords):
            return None
        reduction = keyword(node, "reduction")
        how = reduction.value if isinstance(reduction, ast.Constant) else reduction
        if how is None or how in _MEANS or (each and how == "none"):
            return Mean(name, True)
        return None


def _keeps(node: ast.expr, name: str) -> bool:
    """Whether `loss = loss + ...` or `loss = loss.mean()`: the name stands in its own value."""
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))


def _adds_or_averages(node: ast.expr) -> bool:
    """Whether a new value of a loss is the old one plus something, or its mean."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Add, ast.Sub))
    known = _SAME_VALUE | {"mean", "sum"}
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in known
    )


def _may_mend(call: Call, count: ast.expr) -> bool:
    name = last_name(call.node.func).lower()
    if "grad" in name and _RESCALES.search(name) and not name.endswith("scaler"):
        return True
    if isinstance(count, ast.Constant) or name in _ASK:
        return False
    return any(same(given, count) for given in call.node.args) and bool(call.loops)


def names_accumulation(node: ast.expr) -> bool:
    return any(_ACCUMULATES.search(name) for name in identifiers(node))


def mends_gradients(code: Code, scope: Scope, count: ast.expr) -> bool:
    """Whether the gradients themselves are changed: `p.grad /= k`, `p.grad.div_(k)`, a hook, or a
    helper that may do it: `average_gradients(model)`, `rescale(model, k)`."""
    if any(_may_mend(call, count) for call in scope.calls):
        return True
    if any(call.method == "register_hook" for each in code.scopes for call in each.calls):
        return True
    for target, value in scope.assigned:
        empties = isinstance(value.node, ast.Constant) and value.node.value is None
        if not empties and any(
            isinstance(inner, ast.Attribute) and inner.attr == "grad" for inner in ast.walk(target)
        ):
            return True
    return any(
        call.method in _IN_PLACE
        and call.receiver is not None
        and any("grad" in name for name in identifiers(call.receiver))
        for call in scope.calls
    ) or any("foreach_div_" in call.method or "foreach_mul_" in call.method for call in scope.calls)
