"""What a clip compared with its threshold: the only norm of which "above it" says that it acted.

It is not always the 2-norm of one optimizer's gradient: one call may be given the tensors of two
optimizers, take another norm, be made for each tensor by itself, or come after another clip. A call
with an infinite threshold only measures and is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite

from gradaudit.evidence.record import NORM_CLIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.evidence.record import Clip, Step

SCALED = "it compared the gradient with the loss scale in it"
LATE = "it was called out of order"
NOTHING = "it was given no tensor that has a gradient"
SECOND = "another clip by norm came before it, so that what it compared was cut already"


@dataclass(frozen=True)
class Compared:
    """The norms that a run's clip compared, by step.

    norms   None where not known, and throughout where `why_not` says that no one norm was compared.
            Where no clip by norm is called, those of the optimizer's gradient.
    acted   of the steps with a finite norm and a known threshold: whether it was above that.
    what    in words what they are norms of; empty for the 2-norm of the optimizer's gradient.
    """

    norms: list[float | None] = field(default_factory=list)
    acted: list[bool] = field(default_factory=list)
    what: str = ""
    why_not: str = ""

    @property
    def known(self) -> list[float]:
        """The finite ones."""
        return [norm for norm in self.norms if norm is not None and isfinite(norm)]


def compared(steps: Sequence[Step]) -> Compared:
    """Of these steps; what most of those with a clip show is taken for all."""
    clipped = [(step, clip) for step in steps if (clip := _clip_of(step)) is not None]
    if not clipped:
        return Compared([_own(step) for step in steps])
    reasons = [reason for step, _ in clipped if (reason := why_not(step))]
    if len(reasons) * 2 > len(clipped):
        return Compared([None] * len(steps), why_not=_commonest(reasons))
    what = _commonest([_what(step, clip) for step, clip in clipped])
    norms = [
        norm_of(step) if _clip_of(step) is not None else None if what else _own(step)
        for step in steps
    ]
    acted = [
        norm > clip.limit
        for step, norm in zip(steps, norms, strict=True)
        if norm is not None
        and isfinite(norm)  # a NaN is above no threshold, and below none
        and (clip := _clip_of(step)) is not None
        and clip.limit is not None
    ]
    return Compared(norms, acted, what)


def norm_of(step: Step) -> float | None:
    """The norm that the clip of one step compared; None where it is not known, or no one norm."""
    clip = _clip_of(step)
    if clip is None or why_not(step) or _own(step) is None:
        return None
    if clip.pre_clip_norm is not None:
        return clip.pre_clip_norm
    return None if _what(step, clip) else _own(step)


def why_not(step: Step) -> str:
    """Why no one norm decided whether the clip of a step acted; empty where one did."""
    clip = _clip_of(step)
    if clip is None:
        return ""
    if clip.with_gradient == 0 or clip.covered == 0:
        return NOTHING
    if step.clipped_while_scaled:
        return SCALED
    calls = sum(other.what in NORM_CLIPS and _cuts(other) for other in step.clips)
    if calls > 1 and _is_part(clip):
        return f"{calls} calls a step, each with a norm of its own"
    if any(other.what in NORM_CLIPS for other in _before(step, clip)):
        return SECOND
    if step.events and "C" not in step.events[step.events.rfind("B") + 1 :]:
        return LATE
    return ""


def _clip_of(step: Step) -> Clip | None:
    """The clip by norm that can act at a step."""
    clip = step.norm_clip
    return clip if clip is not None and clip.limit is not None else None


def _cuts(clip: Clip) -> bool:
    """Whether a call can change a gradient of this optimizer."""
    return clip.limit is not None and clip.covered != 0


def _before(step: Step, clip: Clip) -> list[Clip]:
    """The calls of a step that may have cut the gradient before this one saw it."""
    at = next(at for at, other in enumerate(step.clips) if other is clip)
    return [other for other in step.clips[:at] if _cuts(other)]


def _commonest(words: list[str]) -> str:
    """Of several as common the first."""
    return max(dict.fromkeys(words), key=words.count)


def _what(step: Step, clip: Clip) -> str:
    text = ""
    if _is_part(clip):
        text = f"the norm of {clip.covered} of {clip.of} tensors"
    elif clip.with_gradient is not None and clip.covered is not None:
        if clip.with_gradient > clip.covered:
            text = f"the norm of all {clip.with_gradient} tensors that it was given"
    if clip.norm_type not in (None, 2):
        order = "largest entry" if clip.norm_type == inf else f"{clip.norm_type:g}-norm"
        text = text.replace("norm", order, 1) or f"the {order} of the gradient"
    if any(other.what == "value" for other in _before(step, clip)):
        text = f"{text or 'the norm'} after the clip by value"
    return text


def _is_part(clip: Clip) -> bool:
    return clip.covered is not None and clip.of is not None and clip.covered < clip.of


def _own(step: Step) -> float | None:
    return step.pre_clip_norm if step.is_in_true_units else None
