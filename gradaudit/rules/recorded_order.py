"""GA9: the order of the calls around an optimizer step, from the recorded events."""

from __future__ import annotations

import re
from math import isfinite

from gradaudit.findings import ERROR, HIGH, MEDIUM, WARNING
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_PAGE, report, steps_by_gradient
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.record import Step
    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

AMP = "https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping"
CLIP = "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html"
ZERO = "https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html"

_CLIP_NOT_AFTER_BACKWARD = re.compile(r"\A[^BC]*C[^B]*B[^C]*[SK]")
_ZERO_THEN_CLIP = re.compile(r"\A[^BC]*Z[^BC]*C")

STEPS = 2
"""Steps after the first that must show an order, and more than half of all: in the first window,
and around an evaluation, calls stand that belong to no step."""


def _share(steps: list[Step], shown: list[Step]) -> float | None:
    """The share of the steps that show an order; None where they are too few to say."""
    if len(shown) < STEPS or len(shown) * 2 <= len(steps):
        return None
    return len(shown) / len(steps)


def _evidence(shown: list[Step], share: float) -> str:
    return (
        f"the calls of step {shown[-1].step} are `{shown[-1].events}` (Z zero_grad, B backward, "
        f"U unscale_, C clip, S step), and alike at {percent(share)} of the steps"
    )


@rule(
    "GA911",
    "clip-before-unscale",
    scope="record",
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(AMP, RECORD_PAGE),
)
def clip_before_unscale(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The gradient is clipped while it still bears the loss scale.

    Why:
        The norm that the clip sees is 65,536 times too large (or whatever the scale is): it cuts
        every step to the threshold, and the scaler then divides that by the scale. Under SGD
        nothing is learnt. Under Adam the constant factor cancels down to `eps`, but every step is
        normalised, and each change of the scale changes what the clip does.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "SGD"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBCUS", "learning_rate": [0.1],
         "pre_clip_norm": 0.83, "post_clip_norm": 1.5e-5, "loss_scale": 65536,
         "clips": [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 54461}]}

    Good:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "SGD"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBUCS", "learning_rate": [0.1],
         "pre_clip_norm": 0.83, "post_clip_norm": 0.83, "loss_scale": 65536,
         "clips": [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 0.83}]}

    Tell:
        Look for `scaler.unscale_(optimizer)` before `clip_grad_norm_`. Without it the norm that
        the clip returns is near the loss scale times what an fp32 run shows.

    Symptoms:
        works in fp32, not in fp16
        loss is flat

    Fix:
        None: the order is in the code. `scaler.scale(loss).backward()`,
        `scaler.unscale_(optimizer)`, `clip_grad_norm_(...)`, `scaler.step(optimizer)`,
        `scaler.update()`.

    False positives:
        A threshold that the code multiplies by the scale, as some did before `unscale_`.
    """
    steps = measured.optimizer.settled_steps
    shown = [step for step in steps if step.clipped_while_scaled]
    share = _share(steps, shown)
    if share is None:
        return
    last = shown[-1]
    clip = last.clips[-1]
    norm, after = clip.pre_clip_norm, last.post_clip_norm
    seen = f"norms such as {number(norm)}" if norm and isfinite(norm) else "scaled norms"
    left = (
        f" What reached the optimizer was {number(after)}."
        if after is not None and isfinite(after)
        else ""
    )
    learns = steps_by_gradient(measured)
    yield report(
        measured,
        ["clip_norm", "clip_value"],
        "the gradient is clipped before it is unscaled: the clip acts on the scaled one",
        severity=ERROR if learns else WARNING,
        label="clips scaled gradients",
        why=[
            (
                f"The clip saw {seen} and cut them to the threshold; the scaler then divided "
                f"what was left by its scale.{left}"
            ),
            "Under SGD nothing is learnt that way."
            if learns
            else "Under Adam a constant factor cancels down to eps, but every step is normalised.",
        ],
        evidence=[_evidence(shown, share)],
        next="Call `scaler.unscale_(optimizer)` between `backward()` and the clip.",
    )


def _without_effect(measured: Measured) -> tuple[list[Step], list[Step], list[Step]]:
    """The steps to judge; those whose only clip follows a step; those where it is too early."""
    steps = measured.optimizer.settled_steps
    after: list[Step] = []
    before: list[Step] = []
    for step in steps:
        if not _CLIP_NOT_AFTER_BACKWARD.search(step.events):
            continue
        empty = bool(step.clips) and all(clip.with_gradient == 0 for clip in step.clips)
        (before if empty or _ZERO_THEN_CLIP.search(step.events) else after).append(step)
    return steps, after, before


@rule(
    "GA912",
    "clip-called-after-step",
    scope="record",
    severities=(WARNING,),
    confidence=HIGH,
    references=(CLIP, RECORD_PAGE),
)
def clip_called_after_step(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The clip is called after the optimizer has stepped, and so does nothing.

    Why:
        It cuts gradients that were used already and are zeroed next. The logged norm looks as
        usual, since the clip returns the norm before clipping, and every spike goes through.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "CZBS", "learning_rate": [1e-3],
         "post_clip_norm": 2.4, "clips": [{"what": "norm", "clip_norm": 1.0, "with_gradient": 6}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.8, "post_clip_norm": 0.8,
         "clips": [{"what": "norm", "clip_norm": 1.0, "with_gradient": 6}]}

    Tell:
        Read the loop: the order is backward, clip, step, zero_grad.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: the order is in the code.

    False positives:
        None known: at more than half of the steps no clip follows a backward.
    """
    steps, shown, _ = _without_effect(measured)
    share = _share(steps, shown)
    if share is None:
        return
    zeroed = any("Z" in step.events for step in shown)
    spikes = "every spike goes through unclipped."
    yield report(
        measured,
        ["clip_norm", "clip_value"],
        "the clip is called after the optimizer's step: "
        + ("it does nothing" if zeroed else "it comes too late"),
        severity=WARNING,
        label="never acts" if zeroed else "acts too late",
        why=[
            f"It cuts gradients that were used already; {spikes}"
            if zeroed
            else "It cuts gradients that were used already, and the next ones are added to what it "
            f"leaves; {spikes}"
        ],
        evidence=[_evidence(shown, share)],
        next="Move the call between `backward()` and `step()`.",
    )


@rule(
    "GA913",
    "clip-before-backward",
    scope="record",
    severities=(WARNING,),
    confidence=HIGH,
    references=(CLIP, RECORD_PAGE),
)
def clip_before_backward(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The clip is called before there is a gradient, and so does nothing.

    Why:
        After `zero_grad` there is no gradient or one of zeros: the clip returns 0 and changes
        nothing, and what backward then computes reaches the optimizer as it is.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZCBS", "learning_rate": [1e-3],
         "post_clip_norm": 2.4, "clips": [{"what": "norm", "clip_norm": 1.0, "with_gradient": 0}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.8, "post_clip_norm": 0.8,
         "clips": [{"what": "norm", "clip_norm": 1.0, "with_gradient": 6}]}

    Tell:
        Log what `clip_grad_norm_` returns: it is 0 at every step.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: the order is in the code.

    False positives:
        None known: at more than half of the steps no clip follows a backward.
    """
    steps, _, shown = _without_effect(measured)
    share = _share(steps, shown)
    if share is None:
        return
    yield report(
        measured,
        ["clip_norm", "clip_value"],
        "the clip is called before backward: there is no gradient to clip yet",
        severity=WARNING,
        label="never acts",
        why=["What backward computes afterwards reaches the optimizer unclipped."],
        evidence=[_evidence(shown, share)],
        next="Move the call between `backward()` and `step()`.",
    )


@rule(
    "GA914",
    "gradients-never-zeroed",
    scope="record",
    severities=(ERROR,),
    confidence=HIGH,
    references=(ZERO, RECORD_PAGE),
)
def gradients_never_zeroed(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """No gradient is zeroed between two steps: each adds to all before it.

    Why:
        `backward()` adds to what is there. Without `zero_grad` a step follows the sum of the
        gradients of the whole training, under every optimiser: old directions never fade, the norm
        grows with the steps, and a clip then cuts each of them.

    Bad:
        optimizer: sgd
        learning_rate: 0.01
        --- record
        {"kind": "optimizer", "class": "SGD"}
        {"kind": "step", "step": 1, "to": 12, "events": "BS", "learning_rate": [0.01],
         "pre_clip_norm": 3.0, "stale_gradients": 6}

    Good:
        optimizer: sgd
        learning_rate: 0.01
        --- record
        {"kind": "optimizer", "class": "SGD"}
        {"kind": "step", "step": 1, "to": 12, "events": "ZBS", "learning_rate": [0.01],
         "pre_clip_norm": 3.0, "stale_gradients": 0}

    Tell:
        Print the norm of the gradients just before `backward()`: it must be 0, or there must be
        none, at the first micro-batch of a step.

    Symptoms:
        gradient norm grows
        loss is flat
        loss rises, from the start or after falling

    Fix:
        None: call `optimizer.zero_grad()` once a step, in the code.

    False positives:
        A loop that keeps its gradients on purpose (momentum by hand).
    """
    steps = [s for s in measured.optimizer.settled_steps if s.stale_gradients is not None]
    shown = [s for s in steps if s.stale_gradients and "Z" not in s.events]
    share = _share(steps, shown)
    if share is None:
        return
    many = shown[-1].stale_gradients
    yield report(
        measured,
        ["optimizer", "learning_rate"],
        "gradients are never zeroed: each step follows the sum of all before it",
        severity=ERROR,
        confidence=HIGH if len(shown) >= 5 else MEDIUM,
        label="zero_grad is never called",
        why=["`backward()` adds to what is there: old directions never fade, the norm grows."],
        evidence=[
            _evidence(shown, share),
            f"at step {shown[-1].step} {many} tensors still held the gradient of the step before",
        ],
        next="Call `optimizer.zero_grad()` once a step, before the first `backward()`.",
    )
