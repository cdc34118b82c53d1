"""Loops that add up the gradients of several micro-batches before the optimiser steps."""

from __future__ import annotations

import ast
import re

from gradaudit.evidence.python_code import last_name, mentions, same
from gradaudit.evidence.python_loss import mends_gradients, names_accumulation, undivided_mean
from gradaudit.evidence.training_code import UndividedLoss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.python_code import Call, Code, Scope

_OPTIMIZER = re.compile(r"optim|^opt(?:_?[a-z0-9])?$|_opt$")
_NO_OPTIMIZER = re.compile(r"sched|prof|ema|^env|_env|warmup|swa|bar$|timer|meter")
_ELSEWHERE = frozenset(("accumulate", "no_backward_sync", "set_gradient_accumulation_boundary"))
"""Whoever uses these leaves the division, or its place, to a library."""


def undivided_losses(code: Code) -> Iterator[UndividedLoss]:
    """Every plain accumulation loop whose mean loss is not divided by the number of micro-batches.

    Two forms are known: `if (i + 1) % k == 0: optimizer.step(); optimizer.zero_grad()` after each
    `loss.backward()`, and an inner `for _ in range(accumulation)` before the step. Loops with a
    second optimiser, with `accelerator.accumulate`, or that change gradients by hand are left.
    """
    for scope in code.scopes:
        backwards = [call for call in scope.calls if call.method == "backward"]
        if not backwards or any(call.method in _ELSEWHERE for call in scope.calls):
            continue
        backward = backwards[0]
        root = _root(backward.node)
        if not all(_is_alike(call, backward, root) for call in backwards[1:]):
            continue  # with several losses, which of them the step is for is not plain
        steps = [call for call in scope.calls if steps_optimizer(call)]
        zeros = [call for call in scope.calls if call.method == "zero_grad"]
        if root is None or not backward.loops or not steps or not zeros:
            continue
        found = _counted_by_remainder(code, scope, backward, steps, zeros) or _counted_by_range(
            backward, steps, zeros
        )
        if found is None or mends_gradients(code, scope, found[0]):
            continue
        count, step = found
        times = code.constant(count, scope)
        if times is not None and not (type(times) is int and times > 1):
            continue
        if _scales_rate(code, count):
            continue
        mean = undivided_mean(code, scope, backward, root, count)
        if mean is not None:
            yield UndividedLoss(
                code.span(backward.node), code.span(step.node), code.text(root), code.text(count),
                times if type(times) is int else None, mean.by, mean.sure,
                _scaler(code, backward.node), len(backwards),
            )  # fmt: skip


def _root(backward: ast.Call) -> ast.expr | None:
    """The loss of `loss.backward()` and of `scaler.scale(loss).backward()`.

    None for `accelerator.backward(loss)`, and where a gradient is handed in or the graph is kept:
    then it is one sample over time, whose losses are meant to add up.
    """
    if backward.args or backward.keywords or not isinstance(backward.func, ast.Attribute):
        return None
    loss = backward.func.value
    if isinstance(loss, ast.Call) and isinstance(loss.func, ast.Attribute):
        if loss.func.attr == "scale" and len(loss.args) == 1:
            return loss.args[0]
    return loss


def _is_alike(other: Call, backward: Call, root: ast.expr | None) -> bool:
    """The same loss in another branch: scaled in the one, as it is in the other."""
    apart = any(
        one is two and here != there
        for one, here in other.within
        for two, there in backward.within
        if isinstance(one, ast.If)
    )
    return apart and same(_root(other.node), root) and other.loops == backward.loops


def _scaler(code: Code, backward: ast.Call) -> str:
    scaled = backward.func.value if isinstance(backward.func, ast.Attribute) else None
    if isinstance(scaled, ast.Call) and isinstance(scaled.func, ast.Attribute):
        return code.text(scaled.func.value)
    return ""


def steps_optimizer(call: Call) -> bool:
    """`optimizer.step()`, `scaler.step(optimizer)`, and any other `step()` that may be one."""
    if call.method != "step":
        return False
    name = last_name(call.receiver).lower()
    if any(_OPTIMIZER.search(last_name(given).lower()) for given in call.node.args):
        return True
    return not call.node.args and not _NO_OPTIMIZER.search(name)


def is_optimizer(node: ast.expr | None) -> bool:
    return bool(_OPTIMIZER.search(last_name(node).lower()))


def _counted_by_remainder(
    code: Code, scope: Scope, backward: Call, steps: list[Call], zeros: list[Call]
) -> tuple[ast.expr, Call] | None:
    """`if (i + 1) % k == 0:` around every step and every `zero_grad` of the backward's loop."""
    loop = backward.loops[-1]
    if any(_remainder(code, scope, outer) for outer, _ in backward.within):
        return None
    here = [call for call in steps if call.is_in(loop)]
    emptied = [call for call in zeros if call.is_in(loop)]
    if not here or not emptied or any(call.loops != backward.loops for call in [*here, *emptied]):
        return None
    counts = []
    for call in [*here, *emptied]:
        found = [
            count
            for outer, in_body in call.within
            if in_body and (count := _remainder(code, scope, outer)) is not None
        ]
        if len(found) != 1:
            return None
        counts.append(found[0])
    if not all(same(counts[0], other) for other in counts[1:]):
        return None
    named = [call for call in here if is_optimizer(call.receiver) or call.node.args]
    return (counts[0], named[0]) if named and len(_stepped(named)) == 1 else None


def _stepped(steps: list[Call]) -> set[str]:
    given = [call.node.args[0] if call.node.args else call.receiver for call in steps]
    return {ast.dump(optimizer) for optimizer in given if optimizer is not None}


def _remainder(code: Code, scope: Scope, node: ast.stmt) -> ast.expr | None:
    """The `k` of an `if` that asks for a remainder by it, itself or by a name given just that."""
    if not isinstance(node, ast.If):
        return None
    found = _divisors(node.test)
    if not found:
        for inner in ast.walk(node.test):
            if isinstance(inner, (ast.Name, ast.Attribute)):
                name = inner.id if isinstance(inner, ast.Name) else ""
                values = scope.values.get(name, [])
                if len(values) == 1 and values[0].node is not None:
                    found += _divisors(values[0].node)
    if len(found) != 1 or not isinstance(
        found[0], (ast.Name, ast.Attribute, ast.Subscript, ast.Constant)
    ):
        return None
    return found[0]


def _divisors(node: ast.expr) -> list[ast.expr]:
    return [
        inner.right
        for inner in ast.walk(node)
        if isinstance(inner, ast.BinOp)
        and isinstance(inner.op, ast.Mod)
        and not isinstance(inner.left, (ast.Constant, ast.JoinedStr))
    ]


def _counted_by_range(
    backward: Call, steps: list[Call], zeros: list[Call]
) -> tuple[ast.expr, Call] | None:
    """`for _ in range(accumulation):` around the backward, the one step after it."""
    loop = backward.loops[-1]
    if not isinstance(loop, ast.For) or any(call.is_in(loop) for call in [*steps, *zeros]):
        return None
    count = _range(loop.iter)
    outside = backward.loops[:-1]
    after = [call for call in steps if call.order > backward.order and call.loops == outside]
    if count is None or not names_accumulation(count) or len(steps) != 1 or not after:
        return None
    if not all(call.loops == outside for call in zeros) or not is_optimizer(
        after[0].node.args[0] if after[0].node.args else after[0].receiver
    ):
        return None
    return count, after[0]


def _range(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        if node.func.id == "enumerate":
            return _range(node.args[0])
        if node.func.id == "range" and isinstance(node.args[0], (ast.Name, ast.Attribute)):
            return node.args[0]
    return None


def _scales_rate(code: Code, count: ast.expr) -> bool:
    """Whether the file divides or multiplies a learning rate by the count: `lr / accumulation`."""
    if isinstance(count, ast.Constant):
        return False
    return any(mentions(rate, count) for rate in code.rates)
