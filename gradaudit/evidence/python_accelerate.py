"""Schedules that Accelerate steps once a process, though they are counted in optimiser steps."""

from __future__ import annotations

import ast
import re

from gradaudit.evidence.python_code import dotted, keyword, last_name, same
from gradaudit.evidence.training_code import PreparedSchedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.python_code import Call, Code, Scope, Value

HORIZONS: dict[str, tuple[str, int]] = {
    "get_scheduler": ("num_training_steps", 3),
    "get_linear_schedule_with_warmup": ("num_training_steps", 2),
    "get_cosine_schedule_with_warmup": ("num_training_steps", 2),
    "get_cosine_with_hard_restarts_schedule_with_warmup": ("num_training_steps", 2),
    "get_polynomial_decay_schedule_with_warmup": ("num_training_steps", 2),
    "CosineAnnealingLR": ("T_max", 1),
    "PolynomialLR": ("total_iters", 1),
    "OneCycleLR": ("total_steps", 2),
}
"""What makes a schedule with an end -> the argument that says where, and its position."""

_LIBRARIES = re.compile(r"(?:torch\.optim\.lr_scheduler|transformers|diffusers)\.")
_MOST = 20
"""Calls of `prepare` in one function that are looked at."""

_PROCESSES = re.compile(r"num_processes|world_size|n_gpu|num_gpu|num_devices")
_OTHERWISE = re.compile(r"num_processes|world_size|n_gpu|num_gpu|num_devices|accum")
"""A length that speaks of these counts something else, or is made to measure."""


def prepared_schedules(code: Code) -> Iterator[PreparedSchedule]:
    """Every schedule through `accelerator.prepare` whose length counts optimiser steps.

    Accelerate (`accelerate/scheduler.py`) steps it once a process, unless
    `step_scheduler_with_optimizer=False` or `split_batches=True`. That is right for a length
    counted in batches of a loader before `prepare` splits it, and wrong for one that also ends the
    training, or for the length of a loader that is split already.
    """
    for scope in code.scopes:
        for prepare in [call for call in scope.calls if call.method == "prepare"][:_MOST]:
            accelerator = _accelerator(code, scope, prepare)
            if accelerator is None:
                continue
            for argument in prepare.node.args:
                found = _prepared(code, scope, prepare, accelerator, argument)
                if found is not None:
                    yield found


def _accelerator(code: Code, scope: Scope, prepare: Call) -> ast.Call | None:
    """The call that makes it, where that leaves the scheduler to step once a process."""
    values = code.values_of(dotted(prepare.receiver), scope)
    if len(values) != 1 or not isinstance(values[0].node, ast.Call):
        return None
    made = values[0].node
    if code.resolve(made.func) not in (
        "accelerate.Accelerator",
        "accelerate.accelerator.Accelerator",
    ):
        return None
    return made if _steps_each_process(code, scope, made) else None


def _steps_each_process(code: Code, scope: Scope, made: ast.Call) -> bool:
    if any(given.arg is None for given in made.keywords) or len(made.args) > 1:
        return False
    with_optimizer = keyword(made, "step_scheduler_with_optimizer")
    if with_optimizer is not None and code.constant(with_optimizer, scope) is not True:
        return False
    split = keyword(made, "split_batches", 1)
    if split is not None and code.constant(split, scope) is not False:
        return False
    loaders = keyword(made, "dataloader_config")
    if loaders is None:
        return True
    values = [loaders, *(v.node for v in code.values_of(dotted(loaders), scope) if v.node)]
    calls = [value for value in values if isinstance(value, ast.Call)]
    return len(calls) == 1 and _keeps_batches(code, scope, calls[0])


def _keeps_batches(code: Code, scope: Scope, config: ast.Call) -> bool:
    split = keyword(config, "split_batches", 0)
    if any(given.arg is None for given in config.keywords):
        return False
    return split is None or code.constant(split, scope) is False


def _prepared(
    code: Code, scope: Scope, prepare: Call, accelerator: ast.Call, argument: ast.expr
) -> PreparedSchedule | None:
    made = _schedule(code, scope, argument, prepare)
    if made is None or not _is_stepped(code, scope, prepare, argument):
        return None
    value, call, horizon = made
    if any(_OTHERWISE.search(ast.unparse(given).lower()) for given in [*call.args, horizon]):
        return None
    if any(_OTHERWISE.search(ast.unparse(word.value).lower()) for word in call.keywords):
        return None
    counted = _split_length(code, scope, horizon, value, prepare)
    measured = counted is not None
    if counted is None:
        counted = _bounds_training(code, scope, horizon)
    if counted is None:
        return None
    return PreparedSchedule(
        code.span(horizon), code.span(call), code.span(prepare.node), code.span(accelerator),
        code.span(counted), code.text(argument), code.text(horizon),
        code.text(prepare.receiver) if prepare.receiver else "accelerator", measured,
    )  # fmt: skip


def _schedule(
    code: Code, scope: Scope, argument: ast.expr, prepare: Call
) -> tuple[Value, ast.Call, ast.expr] | None:
    """The one call before `prepare` that makes the scheduler, and the length that it is given."""
    values = [v for v in scope.values.get(dotted(argument), []) if v.order < prepare.order]
    if len(values) != 1 or not isinstance(values[0].node, ast.Call):
        return None
    call = values[0].node
    name = last_name(call.func)
    if name not in HORIZONS or not _LIBRARIES.match(code.resolve(call.func)):
        return None
    if (
        call.args
        and isinstance(call.args[0], ast.Constant)
        and "constant" in str(call.args[0].value)
    ):
        return None
    horizon = keyword(call, *HORIZONS[name])
    return (values[0], call, horizon) if horizon is not None else None


def _is_stepped(code: Code, scope: Scope, prepare: Call, argument: ast.expr) -> bool:
    """Whether what `prepare` gives back for it is stepped."""
    position = next(i for i, given in enumerate(prepare.node.args) if given is argument)
    given = {
        dotted(target)
        for target, value in scope.assigned
        if value.node is prepare.node and value.position in (None, position)
    }
    return any(
        call.method == "step" and dotted(call.receiver) in given and call.order > prepare.order
        for call in scope.calls
    ) and not any(
        call.method == "step" and dotted(call.receiver) in given and _by_process(call)
        for call in scope.calls
    )


def _by_process(call: Call) -> bool:
    """Whether it is left out on purpose: `if step % accelerator.num_processes == 0:`."""
    return any(
        isinstance(outer, ast.If) and _PROCESSES.search(ast.unparse(outer.test).lower())
        for outer, _ in call.within
    )


def _split_length(
    code: Code, scope: Scope, horizon: ast.expr, made: Value, prepare: Call
) -> ast.expr | None:
    """The `len(loader)` in a horizon whose loader an earlier `prepare` gave back."""
    for node in _parts(code, scope, horizon, made.order):
        if not (isinstance(node, ast.Call) and last_name(node.func) == "len" and node.args):
            continue
        name = dotted(node.args[0])
        given = [
            value
            for value in scope.values.get(name, [])
            if value.order < made.order
            and isinstance(value.node, ast.Call)
            and isinstance(value.node.func, ast.Attribute)
            and value.node.func.attr == "prepare"
            and same(value.node.func.value, prepare.receiver)
        ]
        if given and given[-1].order < _order_of(scope, node):
            return node
    return None


def _order_of(scope: Scope, node: ast.Call) -> int:
    return next((call.order for call in scope.calls if call.node is node), 0)


def _parts(code: Code, scope: Scope, node: ast.expr, before: int) -> list[ast.AST]:
    """An expression with the values of the names in it, those given before; each name once."""
    seen: set[str] = set()
    found: list[ast.AST] = []
    waiting = [node]
    while waiting:
        for inner in ast.walk(waiting.pop()):
            found.append(inner)
            name = dotted(inner) if isinstance(inner, (ast.Name, ast.Attribute)) else ""
            if name and name not in seen:
                seen.add(name)
                values = code.values_of(name, scope)
                waiting += [v.node for v in values if v.node is not None and v.order < before]
    return found


def _bounds_training(code: Code, scope: Scope, horizon: ast.expr) -> ast.expr | None:
    """Where the horizon, a name that is no number of batches, also ends the loop of steps."""
    if not isinstance(horizon, (ast.Name, ast.Attribute, ast.Constant)):
        return None
    if isinstance(horizon, ast.Constant) and type(horizon.value) is not int:
        return None
    values = code.values_of(dotted(horizon), scope)
    if not all(v.node is not None and v.operator is None and _is_given(v.node) for v in values):
        return None  # computed: from the length of a loader, as a rule
    for inner in code.comparisons:
        counter, bound = inner.left, inner.comparators[0]
        if isinstance(inner.ops[0], (ast.GtE, ast.Gt, ast.Eq, ast.Lt)) and same(bound, horizon):
            counted = code.values_of(dotted(counter), scope)
            if any(v.node and _OTHERWISE.search(ast.unparse(v.node).lower()) for v in counted):
                return None  # `step += accelerator.num_processes`: as Accelerate counts
            if re.search(r"step|updat|iter", last_name(counter).lower()):
                return inner
    return None


def _is_given(node: ast.expr) -> bool:
    """Whether a value is a number or one that is looked up: `1000`, `args.steps`, `int(c["x"])`."""
    if isinstance(node, ast.Call):
        if last_name(node.func) == "int" and len(node.args) == 1:
            return _is_given(node.args[0])
        return isinstance(node.func, ast.Attribute) and node.func.attr == "get"
    return isinstance(node, (ast.Constant, ast.Name, ast.Attribute, ast.Subscript))
