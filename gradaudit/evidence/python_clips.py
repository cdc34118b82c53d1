"""Where gradients are clipped at the wrong moment: while a `GradScaler` still has them multiplied
by its scale, or after the optimiser has used them."""

from __future__ import annotations

import ast
import re

from gradaudit.evidence.python_accumulation import is_optimizer, steps_optimizer
from gradaudit.evidence.python_code import dotted, identifiers, keyword, last_name, same
from gradaudit.evidence.training_code import LateClip, ScaledClip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.python_code import Call, Code, Scope

_CLIPS = ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "clip_grads_with_norm_")
_PRECISION = re.compile(r"amp|scal|fp16|half|mixed|precision|autocast|cuda|bf16|dtype|float16")
"""A condition that speaks of these may tell the scaled steps from the others."""

_FOR_THE_NORM = 1e8
"""A threshold of 1,000, from which clips hardly act (GA104), times a scale of 65,536."""
_MOST = 20
"""Clips of one function that are looked at: a file of nothing else ends too."""


def scaled_clips(code: Code) -> Iterator[ScaledClip]:
    """Every clip by torch between `scaler.scale(loss).backward()` and `scaler.step(optimizer)`
    that no `scaler.unscale_` stands before."""
    for scope in code.scopes:
        clips = [call for call in scope.calls if _is_clip(code, call)]
        for clip in clips[:_MOST]:
            found = _scaled(code, scope, clip)
            if found is not None:
                yield found


def late_clips(code: Code) -> Iterator[LateClip]:
    """Every clip by torch that comes after the step, where nothing uses the gradients any more.

    The loss, the step and the clip are in one loop (or one function without any) and under the
    same conditions; nothing there runs backward or steps after the clip, and `zero_grad` empties
    what was clipped.
    """
    for scope in code.scopes:
        clips = [call for call in scope.calls if _is_clip(code, call)]
        for clip in clips[:_MOST]:
            here = [call for call in scope.calls if call.loops == clip.loops]
            step = _step_before(clip, here)
            if step is not None:
                yield LateClip(
                    code.span(clip.node), code.span(step.node), last_name(clip.node.func),
                    code.text(step.node),
                )  # fmt: skip


def _step_before(clip: Call, here: list[Call]) -> Call | None:
    """The step that a clip comes too late for, among the calls of its loop."""
    uses = [call for call in here if call.method == "backward" or steps_optimizer(call)]
    before = [call for call in uses if call.order < clip.order]
    if len(before) < 2 or len(before) < len(uses):
        return None
    backward, step = before[-2], before[-1]
    in_time = any("clip" in _name(call) and call.order < step.order for call in here)
    emptied = any(_empties(call, step, clip) for call in here)
    if backward.method != "backward" or not _optimises(step) or in_time or not emptied:
        return None
    return step if _conditions(step) == _conditions(clip) else None


def _empties(call: Call, step: Call, clip: Call) -> bool:
    """Whether a `zero_grad` runs whenever the clip does, and is not another optimiser's."""
    if call.method != "zero_grad" or not set(_conditions(call)) <= set(_conditions(clip)):
        return False
    stepped = step.node.args[0] if step.node.args else step.receiver
    return not is_optimizer(call.receiver) or same(call.receiver, stepped)


def _name(call: Call) -> str:
    return last_name(call.node.func).lower()


def _optimises(call: Call) -> bool:
    """`optimizer.step()` and `scaler.step(optimizer)`."""
    if call.method != "step":
        return False
    return is_optimizer(call.node.args[0] if call.node.args else call.receiver)


def _conditions(call: Call) -> list[tuple[int, bool]]:
    return [(id(node), body) for node, body in call.within if isinstance(node, ast.If)]


def _is_clip(code: Code, call: Call) -> bool:
    """A clip by torch. One at infinity, or as good as, cuts nothing: it is there for the norm that
    it returns."""
    name = code.resolve(call.node.func)
    if not name.startswith("torch.") or name.rpartition(".")[2] not in _CLIPS:
        return False
    threshold = keyword(call.node, "clip_value" if "value" in name else "max_norm", 1)
    if isinstance(threshold, ast.Constant) and isinstance(threshold.value, (int, float)):
        return threshold.value < _FOR_THE_NORM
    return threshold is None or "inf" not in identifiers(threshold)


def _scaled(code: Code, scope: Scope, clip: Call) -> ScaledClip | None:
    before = [call for call in scope.calls if call.order < clip.order and _scaler_of(call)]
    if not before:
        return None
    backward = before[-1]
    scaler = _scaler_of(backward)
    assert scaler is not None
    steps = [call for call in scope.calls if call.method == "step" and same(call.receiver, scaler)]
    after = [call for call in steps if call.order > clip.order and len(call.node.args) == 1]
    outer = len(clip.loops)  # the losses may be those of an inner loop over micro-batches
    if not after or any(call.loops[:outer] != clip.loops for call in (backward, after[0])):
        return None
    if any(backward.order < call.order < clip.order for call in steps):
        return None
    step = after[0]
    made = _is_made_of_scaler(code, scope, scaler)
    if made is False or _is_told(scope, scaler, clip, steps):
        return None
    if _knows_scale(code, scope, clip, backward):
        return None
    if not _goes_together(clip, backward, step):
        return None
    late = [
        call for call in scope.calls
        if call.method == "unscale_" and same(call.receiver, scaler)
        and clip.order < call.order < step.order
    ]  # fmt: skip
    function = last_name(clip.node.func)
    return ScaledClip(
        code.span(clip.node), code.span(backward.node), code.span(step.node),
        code.span(late[0].node) if late else None, code.text(scaler), code.text(step.node.args[0]),
        function, "value" in function, made is True,
    )  # fmt: skip


def _scaler_of(call: Call) -> ast.expr | None:
    """The scaler of `scaler.scale(loss).backward()`."""
    scaled = call.receiver
    if call.method != "backward" or not isinstance(scaled, ast.Call):
        return None
    function = scaled.func
    if not isinstance(function, ast.Attribute) or function.attr != "scale":
        return None
    return function.value if scaled.args and dotted(function.value) else None


def _is_made_of_scaler(code: Code, scope: Scope, scaler: ast.expr) -> bool | None:
    """Whether the scaler is torch's, and on; None where this file does not tell."""
    values = code.values_of(dotted(scaler), scope)
    made = [
        inner
        for value in values
        if value.node is not None
        for inner in ast.walk(value.node)
        if isinstance(inner, ast.Call)
    ]
    scalers = [call for call in made if last_name(call.func).endswith("GradScaler")]
    if not values:
        return None
    if not scalers:
        return False
    told = [_is_on(code, scope, call) for call in scalers]
    return None if None in told and False not in told else all(told)


def _is_on(code: Code, scope: Scope, scaler: ast.Call) -> bool | None:
    """By its `enabled`, the fifth number of torch.cuda's class, the sixth of torch.amp's."""
    if any(given.arg is None for given in scaler.keywords):
        return None
    in_cuda = ".cuda." in code.resolve(scaler.func)
    enabled = keyword(scaler, "enabled", 4 if in_cuda else 5)
    if enabled is None:
        return True if len(scaler.args) < 4 else None
    value = code.constant(enabled, scope)
    return value if isinstance(value, bool) else None


def _is_told(scope: Scope, scaler: ast.expr, clip: Call, steps: list[Call]) -> bool:
    """Whether anything since the last step unscales: `unscale_`, or a helper that is given the
    scaler."""
    since = max((call.order for call in steps if call.order < clip.order), default=0)
    for call in scope.calls:
        if call.method == "unscale_" and not same(call.receiver, scaler):
            continue  # another scaler's
        if since < call.order < clip.order and "unscale" in _name(call):
            return True
        given = [*call.node.args, *(word.value for word in call.node.keywords)]
        if since < call.order < clip.order and any(same(argument, scaler) for argument in given):
            return True
    return False


def _knows_scale(code: Code, scope: Scope, clip: Call, backward: Call) -> bool:
    """Whether the threshold, or what is done to the gradients before it, goes by `get_scale()`."""
    given: list[ast.expr] = [clip.node]
    for inner in ast.walk(clip.node):
        if isinstance(inner, (ast.Name, ast.Attribute)):
            given += [value.node for value in code.values_of(dotted(inner), scope) if value.node]
    return any(
        isinstance(inner, ast.Attribute) and inner.attr == "get_scale"
        for node in given
        for inner in ast.walk(node)
    ) or any(
        call.method == "get_scale" and backward.order < call.order < clip.order
        for call in scope.calls
    )


def _goes_together(clip: Call, backward: Call, step: Call) -> bool:
    """Whether the clip is on the way from the scaled loss to its step, as far as conditions tell.

    Another branch of an `if` on that way is not; nor is a condition about precision that neither
    the loss nor the step is under.
    """
    for statement, in_body in clip.within:
        if not isinstance(statement, ast.If):
            continue
        known = [
            (other, body)
            for call in (backward, step)
            for other, body in call.within
            if isinstance(other, ast.If) and same(other.test, statement.test)
        ]
        if any(body != in_body for _, body in known):
            return False
        if not known and _speaks_of_precision(statement.test):
            return False
    return not any(
        statement is other and body != other_body
        for statement, body in backward.within
        for other, other_body in step.within
    )


def _speaks_of_precision(test: ast.expr) -> bool:
    return bool(_PRECISION.search(ast.unparse(test).lower()))
