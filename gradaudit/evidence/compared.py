"""What a clip compared with its threshold: the only norm of which "above it" says that it acted.

It is not always the 2-norm of one optimizer's gradient: one call may be given the tensors of two
optimizers, take another norm, or be made for each tensor by itself.
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


@dataclass(frozen=True)
class Compared:
    """The norms that a run's clip compared, by step.

    norms   None where not known, and throughout where `why_not` says that no one norm was compared.
            Where no clip by norm is called, those of the optimizer's gradient.
    acted   of the steps with a norm and a known threshold: whether it was above that of its step.
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
    clipped = [step for step in steps if step.norm_clip is not None]
    if not clipped:
        return Compared([_own(step) for step in steps])
    reasons = [reason for step in clipped if (reason := why_not(step))]
    if len(reasons) * 2 > len(clipped):
        return Compared([None] * len(steps), why_not=max(set(reasons), key=reasons.count))
    words = [_what(step.norm_clip) for step in clipped if step.norm_clip is not None]
    what = max(set(words), key=words.count)
    norms = [
        norm_of(step) if step.norm_clip is not None else None if what else _own(step)
        for step in steps
    ]
    acted = [
        norm > step.norm_clip.limit
        for step, norm in zip(steps, norms, strict=True)
        if norm is not None and step.norm_clip is not None and step.norm_clip.limit is not None
    ]
    return Compared(norms, acted, what)


def norm_of(step: Step) -> float | None:
    """The norm that the clip of one step compared; None where it is not known, or no one norm."""
    clip = step.norm_clip
    if clip is None or why_not(step) or _own(step) is None:
        return None
    if clip.pre_clip_norm is not None:
        return clip.pre_clip_norm
    return None if _what(clip) else _own(step)


def why_not(step: Step) -> str:
    """Why no one norm decided whether the clip of a step acted; empty where one did."""
    clip = step.norm_clip
    if clip is None:
        return ""
    if clip.with_gradient == 0 or clip.covered == 0:
        return NOTHING
    if step.clipped_while_scaled:
        return SCALED
    calls = sum(other.what in NORM_CLIPS and other.covered != 0 for other in step.clips)
    if calls > 1 and _is_part(clip):
        return f"{calls} calls a step, each with a norm of its own"
    if step.events and "C" not in step.events[step.events.rfind("B") + 1 :]:
        return LATE
    return ""


def _what(clip: Clip | None) -> str:
    if clip is None:
        return ""
    text = ""
    if _is_part(clip):
        text = f"the norm of {clip.covered} of {clip.of} tensors"
    elif clip.with_gradient is not None and clip.covered is not None:
        if clip.with_gradient > clip.covered:
            text = f"the norm of all {clip.with_gradient} tensors that it was given"
    if clip.norm_type not in (None, 2):
        order = "largest entry" if clip.norm_type == inf else f"{clip.norm_type:g}-norm"
        text = text.replace("norm", order, 1) or f"the {order} of the gradient"
    return text


def _is_part(clip: Clip) -> bool:
    return clip.covered is not None and clip.of is not None and clip.covered < clip.of


def _own(step: Step) -> float | None:
    return step.pre_clip_norm if step.is_in_true_units else None
