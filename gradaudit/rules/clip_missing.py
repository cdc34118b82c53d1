"""GA1: no clipping where it is known to be off."""

from __future__ import annotations

from gradaudit.findings import INFO, MEDIUM, WARNING, Finding, Related
from gradaudit.rules import rule
from gradaudit.rules.optimisers import forgets_scale, steps_with_gradient, why_scale_cancels
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

_BOUNDS_ITSELF = frozenset(("adafactor", "lamb", "lars", "signsgd", "signum"))
"""Optimisers whose step has a bound of its own, or forgets a spike at once: Adafactor clips its
update (Shazeer & Stern 2018, section 6), LAMB and LARS scale it to the weights, signSGD keeps no
size."""

_RECURRENT = ("lstm", "gru", "rnn")


def _clips_nothing(unit: TrainingUnit) -> bool:
    """Whether clipping is known to be off: said so, or the framework's default. Absent is not."""
    norm = unit.get("clip_norm")
    if norm is None or norm.value is not None:
        return False
    return not any(
        name in unit.unknown or (name in unit.settings and unit.settings[name].value is not None)
        for name in ("clip_value", "clip_agc")
    )


@rule(
    "GA107",
    "clip-missing",
    scope="unit",
    needs=("optimizer",),  # what is off counts as not known
    severities=(INFO,),
    confidence=MEDIUM,
    profile="strict",
    references=(
        "https://arxiv.org/abs/1211.5063 (Pascanu et al. 2013)",
        (
            "https://github.com/google-research/tuning_playbook (gradient clipping against early "
            "instability, at the 90th percentile of the norm)"
        ),
    ),
)
def clip_missing(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """No gradient is clipped.

    Why:
        A single spike, from a broken sample or an unlucky batch, goes into the weights at full
        length under SGD. Under Adam one step stays bounded, but the spike fills the second moment
        and shortens the steps of the next 1 / (1 - beta2), a thousand at 0.999. A clip that acts
        on spikes alone costs nothing on other steps.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: null

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 1.0

    Tell:
        Log the gradient norm of every step. Where the largest is above ten times the median, a
        clip near the 90th percentile would have acted.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: the threshold is a matter of the norms that are measured.

    False positives:
        Most published recipes clip nothing and are fine, vision with BatchNorm and SGD above all:
        SGD is reported only where the config names another normalisation, and the rule runs in the
        strict profile only. Silent for optimisers that bound their own step (Adafactor, LAMB, LARS)
        or keep no size (signSGD), and where it is not known whether the trainer clips: an absent
        key is not off.
    """
    if not _clips_nothing(unit) or unit.optimizer in _BOUNDS_ITSELF or _is_recurrent(unit):
        return
    if unit.is_sgd and unit.norm in (None, "batch", "sync_batch", "frozen_batch"):
        return
    clip = unit.settings["clip_norm"]
    if steps_with_gradient(unit):
        effect = f"Under {optimizer_name(unit)} a spike goes into the weights at full length."
    elif forgets_scale(unit):
        because, memory = why_scale_cancels(unit)
        effect = (
            f"Under {optimizer_name(unit)} {because}, and a spike stays in {memory} for many steps."
        )
    else:
        effect = "A spike goes into the weights, or into the optimiser's memory, unchanged."
    yield Finding(
        place_of(clip, unit),
        "no gradient is clipped",
        severity=INFO,
        confidence=MEDIUM,
        key=clip.key,
        label="no clip" if clip.key else "clips nothing by default",
        why=[f"{effect} A clip that acts on spikes alone costs nothing on other steps."],
        next="Log the norm of 100 steps after the warm-up and clip at its 90th percentile.",
        no_fix="the threshold depends on the norms, which must be measured",
    )


def _is_recurrent(unit: TrainingUnit) -> bool:
    cell = unit.get("recurrent")
    if cell is None or not isinstance(cell.value, str):
        return False
    return any(word in cell.value.lower() for word in _RECURRENT)


@rule(
    "GA108",
    "recurrent-without-clip",
    scope="unit",
    needs=("recurrent",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"long": 100},
    references=(
        "https://arxiv.org/abs/1211.5063 (Pascanu et al. 2013: recurrent gradients explode; clip)",
        (
            "https://arxiv.org/abs/1409.3215 (Sutskever et al. 2014: LSTMs have exploding "
            "gradients too; norm clipped at 5)"
        ),
    ),
)
def recurrent_without_clip(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A recurrent network is trained without clipping.

    Why:
        The gradient through n time steps holds a product of n Jacobians of the same recurrent
        weights: where their largest singular value exceeds one it can grow exponentially with n.
        The gates of LSTM and GRU mend vanishing gradients, not exploding ones. SGD takes the spike
        as a step; Adam bounds the step, but its second moment remembers the spike for long.

    Bad:
        optimizer: adam
        learning_rate: 1.0e-3
        rnn_type: lstm
        seq_len: 400
        gradient_clip_norm: null

    Good:
        optimizer: adam
        learning_rate: 1.0e-3
        rnn_type: lstm
        seq_len: 400
        gradient_clip_norm: 5.0

    Tell:
        Log the gradient norm of every step: spikes of ten times the median and more, on long
        sequences first.

    Symptoms:
        gradient norm spikes
        loss spikes
        loss is nan after some hundred steps

    Fix:
        None: published thresholds reach from 0.25 (PyTorch's word language model) to 5 (Sutskever
        et al.) and more. Measure the norm and clip at its 90th percentile.

    Limits:
        long: sequences of this many steps and more make it a warning; otherwise it is an info.

    False positives:
        A small recurrent layer in a network of another kind, short sequences, or a recurrence
        kept contractive (orthogonal weights, strong decay). Truncated back-propagation bounds the
        number of steps: its length is the sequence's. Silent where it is not known whether the
        trainer clips, and for optimisers that bound their own step (Adafactor, LAMB, LARS) or
        keep no size (signSGD).
    """
    if not _is_recurrent(unit) or not _clips_nothing(unit) or unit.optimizer in _BOUNDS_ITSELF:
        return
    cell = unit.settings["recurrent"]
    clip = unit.settings["clip_norm"]
    length = unit.get("sequence_length")
    steps = length.number if length is not None else None
    long = steps is not None and steps >= limits["long"]
    related = [Related(place_of(cell, unit), "recurrent")]
    if length is not None and long:
        related.append(Related(place_of(length, unit), "the gradient goes back through these"))
    through = f" over {number(steps)} time steps" if steps and long else ""
    yield Finding(
        place_of(clip, unit),
        f"the gradient of a recurrent `{cell.value}`{through} is not clipped",
        severity=WARNING if long else INFO,
        confidence=MEDIUM,
        key=clip.key,
        label="no clip" if clip.key else "clips nothing by default",
        related=related,
        why=[
            (
                "Back through time the same weights are multiplied again and again: gradients can "
                "grow exponentially with the length. Gates do not prevent that."
            )
        ],
        next="Log the norm for 100 steps and clip at its 90th percentile; 0.25 to 5 is usual.",
        no_fix="the threshold depends on the norms, which must be measured",
    )
