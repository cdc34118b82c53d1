"""What a training's Python source shows of its loop: facts for the rules of scope `source`.

Read with `ast`, never imported or run. Where the text leaves a doubt, there is no fact: a loss that
a helper may have divided, a clip in a branch that the scaled loss does not take.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.python_source import NormLayer
    from gradaudit.source import Source

    Span = tuple[int, int]
    """Start and end in the source's text, in characters."""


class UndividedLoss:
    """A loop adds up the gradients of several micro-batches, and the loss is not divided.

    backward  the call. step: where the optimiser's step is. Spans.
    loss      its text. count: that of the number of micro-batches; times: its value, where known.
    known_by  what makes the loss a mean: `F.cross_entropy`, `criterion`, `outputs.loss`.
    sure      the reduction is written in this file or the library's default.
    scaler    the text of the `GradScaler` that multiplies the loss; empty where there is none.
    calls     how many branches call `backward` on it; `backward` is the first.
    """

    __slots__ = (
        "backward",
        "calls",
        "count",
        "known_by",
        "loss",
        "scaler",
        "step",
        "sure",
        "times",
    )

    def __init__(
        self, backward: Span, step: Span, loss: str, count: str, times: int | None,
        known_by: str, sure: bool, scaler: str, calls: int,
    ) -> None:  # fmt: skip
        self.backward = backward
        self.step = step
        self.loss = loss
        self.count = count
        self.times = times
        self.known_by = known_by
        self.sure = sure
        self.scaler = scaler
        self.calls = calls


class ScaledClip:
    """Gradients are clipped while they are still multiplied by the loss scale.

    clip      the call; function: its name. backward, step: those of the scaled loss. Spans.
    unscale   the call of `unscale_` that comes too late; None where there is none.
    scaler, optimizer  their texts.
    by_value  each gradient is clipped alone, not their norm.
    sure      the scaler is seen to be made of `GradScaler`.
    """

    __slots__ = (
        "backward", "by_value", "clip", "function", "optimizer", "scaler", "step", "sure",
        "unscale",
    )  # fmt: skip

    def __init__(
        self, clip: Span, backward: Span, step: Span, unscale: Span | None, scaler: str,
        optimizer: str, function: str, by_value: bool, sure: bool,
    ) -> None:  # fmt: skip
        self.clip = clip
        self.backward = backward
        self.step = step
        self.unscale = unscale
        self.scaler = scaler
        self.optimizer = optimizer
        self.function = function
        self.by_value = by_value
        self.sure = sure


class LateClip:
    """Gradients are clipped after the optimiser has used them, and emptied before the next.

    clip      the call; function: its name. step: the call of the optimiser's step. Spans.
    stepped   the text of that call.
    """

    __slots__ = ("clip", "function", "step", "stepped")

    def __init__(self, clip: Span, step: Span, function: str, stepped: str) -> None:
        self.clip = clip
        self.step = step
        self.function = function
        self.stepped = stepped


class PreparedSchedule:
    """A schedule counted in optimiser steps that Accelerate steps once a process.

    horizon   the argument that says how long it is; made: the call that makes it. prepared: the
              call of `prepare`. accelerator: the call that makes that. counted: what shows that the
              horizon counts optimiser steps. Spans.
    name      the scheduler's text. length: that of the horizon; accelerate: of the accelerator.
    measured  the horizon is the length of a data loader that `prepare` has split, not a number
              that also ends the training.
    """

    __slots__ = (
        "accelerate", "accelerator", "counted", "horizon", "length", "made", "measured", "name",
        "prepared",
    )  # fmt: skip

    def __init__(
        self, horizon: Span, made: Span, prepared: Span, accelerator: Span, counted: Span,
        name: str, length: str, accelerate: str, measured: bool,
    ) -> None:  # fmt: skip
        self.horizon = horizon
        self.made = made
        self.prepared = prepared
        self.accelerator = accelerator
        self.counted = counted
        self.name = name
        self.length = length
        self.accelerate = accelerate
        self.measured = measured


class TrainingCode:
    """What one Python file shows. optimizer: the class of the only one that it makes, or empty."""

    __slots__ = (
        "late_clips", "norms", "optimizer", "scaled_clips", "schedules", "source", "undivided",
    )  # fmt: skip

    def __init__(self, source: Source) -> None:
        self.source = source
        self.norms: list[NormLayer] = []
        self.undivided: list[UndividedLoss] = []
        self.late_clips: list[LateClip] = []
        self.scaled_clips: list[ScaledClip] = []
        self.schedules: list[PreparedSchedule] = []
        self.optimizer = ""

    def at(self, source: Source) -> TrainingCode:
        """The same of another file with the same text."""
        found = TrainingCode(source)
        found.norms, found.undivided = self.norms, self.undivided
        found.scaled_clips, found.late_clips = self.scaled_clips, self.late_clips
        found.schedules = self.schedules
        found.optimizer = self.optimizer
        return found
