"""GA9: the rate and the clip of the file against those of the run."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, WARNING
from gradaudit.plan.measured import PARTIAL, same
from gradaudit.rules import rule
from gradaudit.rules.recorded import ELSEWHERE, RECORD_PAGE, differs, written
from gradaudit.rules.recorded_schedule import falls_in_warmup, unlike_schedule
from gradaudit.rules.text import number, rounded, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import Setting
    from gradaudit.rules import Limits


@rule(
    "GA901",
    "recorded-learning-rate-differs",
    scope="record",
    needs=("learning_rate",),
    severities=(WARNING, INFO),
    confidence=HIGH,
    limits={"tolerance": 0.01},
    references=(
        "https://docs.pytorch.org/docs/stable/optim.html (initial_lr: what a scheduler multiplies)",
        RECORD_PAGE,
    ),
)
def recorded_learning_rate_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The run trains with another learning rate than the file says, or not by its schedule.

    Why:
        Whatever is concluded from the file is then about another training. Common causes are a
        value on the command line that wins, a rate that the code scales with the batch or the
        number of devices, and a key that nobody reads. Where the rate is the file's, but does not
        move at all, the warm-up or the schedule of the file is what nobody reads.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Tell:
        Print `optimizer.param_groups[0]["lr"]` after the warm-up, and `["initial_lr"]` where a
        scheduler put it there. The rate of the first step says nothing: under a warm-up it is
        near 0.

    Symptoms:
        loads other values than the file seems to say

    Fix:
        None: which of the two is meant is not known.

    Limits:
        tolerance: relative difference up to which two rates are one.

    False positives:
        A rate that the code scales on purpose (by devices, by batch / 256): the message says by
        which factor. A schedule by hand that falls during its warm-up never reaches its base: above
        half of it, where the rate rises and falls again, this is an info. A record that ends inside
        the warm-up is not judged, nor is a run that was resumed below its peak. Of a schedule only
        a rate that stays level is judged: through a warm-up in steps, from the first one on, with
        no checkpoint read; or through half of the training's steps under cosine, linear or
        polynomial. An optimiser that has its schedule inside (schedule-free ones, RAdam) is left
        out.
    """
    setting = written(measured, "learning_rate")
    if setting is None or setting.number is None or setting.number <= 0:
        return
    optimizer, wanted, rates = measured.optimizer, setting.number, measured.rates
    if not rates:
        return
    if any(same(rate, wanted, limits["tolerance"]) for rate in rates):
        yield from unlike_schedule(measured)
        return
    peak = optimizer.peak_rate
    if peak is None or peak <= 0 or (not measured.warmup.over and peak < wanted):
        return
    ratio = peak / wanted
    factor = (
        f"{times(ratio)} the file's"
        if ratio > 1
        else f"1/{number(rounded(1 / ratio))} of the file's"
    )
    lower = falls_in_warmup(measured, wanted)
    yield differs(
        measured,
        setting,
        f"the run's learning rate is {number(peak)}, {factor} {number(wanted)}",
        severity=INFO if lower else WARNING,
        confidence=LOW if lower else HIGH,
        label=f"the run had {number(peak)}",
        why="A schedule by hand that falls from the first step on is below its base when the "
        "warm-up ends: then this is as it should be. Else the run takes the rate from elsewhere."
        if lower
        else ELSEWHERE,
        evidence=(
            f"the scheduler multiplies {number(peak)}"
            if optimizer.initial_rate == peak
            else f"{number(peak)} is the highest rate of {len(optimizer.steps)} steps"
        ),
        next="Find out which is meant: a rate that the code scales by devices or batch belongs "
        "beside the key in a comment; one from the command line belongs into the file.",
    )


@rule(
    "GA902",
    "recorded-clip-differs",
    scope="record",
    needs=(("clip_norm", "clip_value"),),
    severities=(WARNING, INFO),
    confidence=HIGH,
    limits={"tolerance": 0.01, "steps": 5},
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html",
        RECORD_PAGE,
    ),
)
def recorded_clip_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The run clips at another threshold than the file says, or not at all.

    Why:
        A clip that stands in a config and that no code reads is the commonest kind of dead
        setting: spikes pass unhindered while everybody believes in a guard.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 3.2, "post_clip_norm": 3.2}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 5.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 3.2, "post_clip_norm": 3.2, "clips": [{"what": "norm", "clip_norm": 5.0}]}

    Tell:
        Look for `clip_grad_norm_` in the training loop, or print the norm of the gradients just
        before `optimizer.step()`: it must not exceed the threshold.

    Symptoms:
        gradient norm spikes
        loads other values than the file seems to say

    Fix:
        None: the code has to read the key.

    Limits:
        tolerance: relative difference up to which two thresholds are one.
        steps: fewest steps after the first to conclude that no clip is called.

    False positives:
        A clip by hand (`p.grad.mul_`) is not seen: where the norm at the step never exceeds the
        file's threshold the finding is an info. Of a bound for entries the norm of a layer tells
        it. Under DeepSpeed and FSDP1 a threshold that was seen is compared, and that none was seen
        says nothing.
    """
    partial = bool(measured.record.topics & PARTIAL)
    for name, seen in (
        ("clip_norm", measured.optimizer.clip_norm),
        ("clip_value", measured.optimizer.clip_value),
    ):
        setting = written(measured, name)
        if setting is None:
            continue
        wanted = setting.number if setting.number is None or setting.number > 0 else None
        if wanted is not None and seen is not None:
            if not same(wanted, seen, limits["tolerance"]):
                yield _other_clip(measured, setting, wanted, seen)
        elif wanted is not None and not partial:
            other = _OTHER_KIND[name]
            called = getattr(measured.optimizer, other)
            if called is not None and written(measured, other) is None:
                yield _other_kind(measured, setting, wanted, called)
            else:
                yield from _no_clip(measured, setting, wanted, limits)
        elif setting.value is None and seen is not None:
            yield differs(
                measured, setting,
                f"the file says no clip, the run clips at {number(seen)}",
                severity=WARNING, confidence=MEDIUM, label="off", why=ELSEWHERE,
                evidence=f"the clip was called with {number(seen)} at most steps",
                next="Find the call, and let it read the file.",
            )  # fmt: skip


def _other_clip(measured: Measured, setting: Setting, wanted: float, seen: float) -> Finding:
    return differs(
        measured,
        setting,
        f"the run clips at {number(seen)}, the file says {number(wanted)}",
        severity=WARNING,
        confidence=HIGH,
        label=f"the run had {number(seen)}",
        why=ELSEWHERE,
        evidence=f"{number(seen)} was passed to the clip at most steps",
        next="Let the code read the file, or write into the file what the code does.",
    )


_OTHER_KIND = {"clip_norm": "clip_value", "clip_value": "clip_norm"}
_KIND = {"clip_norm": "by norm", "clip_value": "by value"}


def _other_kind(measured: Measured, setting: Setting, wanted: float, seen: float) -> Finding:
    said, done = _KIND[setting.name], _KIND[_OTHER_KIND[setting.name]]
    return differs(
        measured,
        setting,
        f"the file clips {said} at {number(wanted)}, the run {done} at {number(seen)}",
        severity=WARNING,
        confidence=HIGH,
        label=f"the run clips {done}",
        why="One bounds the length of the whole gradient, the other each of its entries: a "
        "threshold for one says nothing about the other.",
        evidence=f"a clip {done} was called with {number(seen)}, none {said}",
        next="Call the clip that the file means, or write into the file what the code does.",
    )


def _above(measured: Measured, setting: Setting, wanted: float) -> tuple[int, int, str]:
    """At how many steps the gradient that the optimizer saw cannot have been clipped, of how many,
    and in words why not. Entries are not recorded: n of at most c have a norm of at most c sqrt(n).
    """
    steps = measured.optimizer.settled_steps
    if setting.name == "clip_norm":
        norms = [step.post_clip_norm for step in steps if step.post_clip_norm is not None]
        return sum(n > wanted * 1.001 for n in norms), len(norms), "the norm at the step exceeded"
    sizes = [measured.elements(at) for at in range(len(measured.optimizer.shapes))]
    most = [wanted * 1.001 * size**0.5 for size in sizes]
    known = [step.layer_norms for step in steps if step.layer_norms]
    above = sum(
        any(norm is not None and norm > top for norm, top in zip(norms, most, strict=False))
        for norms in known
    )
    return above, len(known), "an entry of the gradient exceeded"


def _no_clip(
    measured: Measured, setting: Setting, wanted: float, limits: Limits
) -> Iterator[Finding]:
    steps = measured.optimizer.settled_steps
    if len(steps) < limits["steps"] or any(step.clips for step in steps):
        return
    above, known, what = _above(measured, setting, wanted)
    if not known:
        return
    value = setting.name == "clip_value"
    yield differs(
        measured,
        setting,
        f"the file clips {'by value ' if value else ''}at {number(wanted)}, the run calls no clip",
        severity=WARNING if above else INFO,
        confidence=HIGH if above else LOW,
        label="not called",
        why="Nobody reads the key: a spike passes unhindered, unless the code clips by hand in "
        "another way."
        if above
        else "No call of torch's clip was seen. A clip by hand would not be.",
        evidence=f"{what} {number(wanted)} at {above} of {known} steps, and no clip was called",
        next=f"Call `torch.nn.utils.clip_grad_{'value' if value else 'norm'}_(model.parameters(), "
        "...)` between backward and step, with the value from the file.",
    )
