"""Where gradients are clipped while a `GradScaler` still has them multiplied by its scale."""

from __future__ import annotations

import ast
import re

from gradaudit.evidence.python_code import dotted, last_name, same
from gradaudit.evidence.training_code import ScaledClip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.python_code import Call, Code, Scope

_CLIPS = ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "clip_grads_with_norm_")
_PRECISION = re.compile(r"amp|scal|fp16|half|mixed|precision|autocast|cuda|bf16|dtype|float16")
"""A condition that speaks of these may tell the scaled steps from the others."""

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


def _is_clip(code: Code, call: Call) -> bool:
    name = code.resolve(call.node.func)
    return name.startswith("torch.") and name.rpartition(".")[2] in _CLIPS


def _scaled(code: Code, scope: Scope, clip: Call) -> ScaledClip | None:
    before = [call for call in scope.calls if call.order < clip.order and _scaler_of(call)]
    if not before:
        return None
    backward = before[-1]
    scaler = _scaler_of(backward)
    assert scaler is not None
    steps = [call for call in scope.calls if call.method == "step" and same(call.receiver, scaler)]
    after = [call for call in steps if call.order > clip.order and len(call.node.args) == 1]
    if not after or backward.loops != clip.loops or after[0].loops[: len(clip.loops)] != clip.loops:
        return None
    step = after[0]
    made = _is_made_of_scaler(code, scope, scaler)
    if made is False or _is_told(scope, scaler, clip, steps):
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
    """Whether the scaler is torch's, and not turned off; None where this file does not tell."""
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
    return not any(
        given.arg == "enabled" and isinstance(given.value, ast.Constant) and not given.value.value
        for call in scalers
        for given in call.keywords
    )


def _is_told(scope: Scope, scaler: ast.expr, clip: Call, steps: list[Call]) -> bool:
    """Whether anything since the last step unscales: `unscale_`, a helper that is given the
    scaler, a threshold or gradients that are multiplied by `get_scale()`."""
    since = max((call.order for call in steps if call.order < clip.order), default=0)
    for call in scope.calls:
        if call.method == "get_scale" or "unscale" in last_name(call.node.func).lower():
            if call.order < clip.order and (call.order > since or call.method == "get_scale"):
                return True
        given = [*call.node.args, *(word.value for word in call.node.keywords)]
        if since < call.order < clip.order and any(same(argument, scaler) for argument in given):
            return True
    return False


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
