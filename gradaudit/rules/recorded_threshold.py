"""The threshold that the measured norms recommend (what `fix --record` writes, and the screen of a
dry run says), and how these norms are told."""

from __future__ import annotations

from gradaudit.evidence.statistics import (
    levelled,
    median,
    quantile,
    series_quantile,
    steady_tail_ratio,
    tail_ratio,
)
from gradaudit.evidence.terms import balance
from gradaudit.findings import RECOMMENDED, Fix
from gradaudit.plan.measured import same
from gradaudit.plan.terms import balance_is_open, norm_moved, shares_of, weights_changed
from gradaudit.rules import load
from gradaudit.rules.recorded import steps_by_gradient, written
from gradaudit.rules.recorded_layers import update_ratios
from gradaudit.rules.repair import change
from gradaudit.rules.text import listed, number, rounded, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import Setting
    from gradaudit.rules import Limits

NOT_PLAIN = "the threshold does not stand in this file as a plain number"
"""Why a threshold that is recommended is not written."""

PERCENTILE = 0.9
DOMINATED = 0.5
"""Share of the gradient that auxiliary terms have where GA961 lowers their weights."""

USUAL = 1e-3
"""Update over weight that is the rule of thumb (GA943)."""

HEAVY = 10
"""A 95th percentile at this many times the median: 38 on the reconstructed training as written, 8
with its heavy penalties lowered; a looser clip there was worse (docs/measurements.md)."""

LARGEST = 50
"""A single norm at this many times the median, of all and of its neighbours, likewise."""


def median_move(measured: Measured) -> float | None:
    """How far a step changes the weights: median of update over weight; None: not measured, or at
    another rate than the file has now."""
    ratios = {} if measured.step_moved else update_ratios(measured)
    return median(list(ratios.values())) if ratios else None


def _moves_at(threshold: float, measured: Measured) -> float | None:
    """How far a step of SGD behind this threshold changes the weights; None where the run had
    another one, or it is not known of the file as it is."""
    used = measured.optimizer.clip_norm
    return median_move(measured) if used is not None and same(used, threshold) else None


def _too_far(moves: float, factor: float, value: float) -> str:
    """Why the looser clip `value`, higher by `factor`, is none at this learning rate, which was set
    for clipped steps: an update may then be as many times as long."""
    if moves * factor <= load()["GA943"].limits["high"]:
        return ""
    return (
        f"at this learning rate a step clipped at {number(value)}, the 90th percentile, would "
        f"change the weights by up to {number(rounded(moves * factor))} of their size (1e-3 is "
        f"usual; {number(rounded(moves))} now): lower the learning rate first, then record again"
    )


def _longer_steps(measured: Measured, moves: float | None, factor: float) -> str:
    """What a looser clip does to the steps of SGD, and to which side the rate should then go."""
    text = f"under {measured.optimizer.class_name} a step may then be {times(factor)} as long"
    if moves is None:
        return f"{text}: if the run was stable, lower the learning rate with it"
    now, then = number(rounded(moves)), number(rounded(moves * factor))
    text += f": an update of up to {then} of the weights instead of {now}"
    if moves * factor <= USUAL:
        return f"{text}, no more than is usual (1e-3): leave the learning rate as it is"
    return f"{text} (1e-3 is usual): if the loss gets unsteady, lower the learning rate with it"


def norms_text(measured: Measured) -> str:
    """`pre-clip norm over 98 steps (steps 3 to 100): median 1.2, p95 8.1, largest 24`."""
    return _told("pre-clip norm", measured, measured.norms)


def clip_norms_text(measured: Measured) -> str:
    """The same of what the clip compared with its threshold, and what that is where it is another
    norm than the gradient's."""
    what = measured.compared.what
    if not what:
        return _told("pre-clip norm", measured, measured.clip_norms)
    return f"{_told('what the clip compared', measured, measured.clip_norms)}. It is {what}"


def _told(name: str, measured: Measured, norms: list[float]) -> str:
    return (
        f"{name} of {len(norms)} steps ({measured.span}): median {number(median(norms))}, "
        f"p95 {number(quantile(norms, 0.95))}, largest {number(max(norms))}"
    )


def recommended(measured: Measured) -> float:
    """The 90th percentile of what the clip compares, to two digits; to more where two put it
    outside its own interval.

    Raises: ValueError where no such norm is known.
    """
    exact = quantile(measured.clip_norms, PERCENTILE)
    low, high = series_quantile(measured.clip_norms, PERCENTILE) or (exact, exact)
    if low == high:
        return rounded(exact)
    values = [rounded(exact), float(f"{exact:.3g}"), float(f"{exact:.4g}")]
    return next((value for value in values if low <= value <= high), exact)


def stands_out(norms: list[float], factor: float) -> bool:
    """Whether a norm is so many times the median, of all and of its neighbours."""
    if not norms:
        return False
    return max(norms) >= factor * median(norms) > 0 and max(levelled(norms), default=0.0) >= factor


def begins(measured: Measured) -> bool:
    """Whether the first norm is that of the first step of the training."""
    first = measured.after[0]
    return first.step == 1 and first.pre_clip_norm == measured.norms[0]


def jumps(measured: Measured, factor: float = LARGEST) -> bool:
    """Whether a norm stands out so far that a few steps decide; that of the initial weights alone
    does not."""
    norms = measured.norms
    if not stands_out(norms, factor):
        return False
    return not begins(measured) or stands_out(norms[1:], factor)


def _to_lower(measured: Measured) -> list[str]:
    """The terms whose weight the measured gradients ask to lower, whoever can write it: one that
    spikes makes the norms at weights that are the run's still."""
    if not measured.terms:
        return []
    roles = {share.name: share.role for share in shares_of(measured)}
    return [f"`{advice.name}`" for advice in balance(measured.settled_terms, roles).to_apply]


def _other_batch(measured: Measured) -> str:
    """In which way a step of the run had another batch than one of the file; empty where it had
    not, or where that is not known. More than the file says may be on purpose (GA903, GA904)."""
    optimizer = measured.optimizer
    calls = None if optimizer.uses_closure else optimizer.backward_calls
    called = f"the run called backward {calls} time{'s' if calls != 1 else ''} a step"
    saw = f"BatchNorm saw {optimizer.batch_norm_batch} samples at a time"
    for name, seen, text in (
        ("accumulation", calls, f"{called}, the file accumulates"),
        ("micro_batch", optimizer.batch_norm_batch, f"{saw}, the file's micro-batch is"),
    ):
        setting = written(measured, name)
        if seen and setting is not None and not setting.unit:
            if setting.number and seen < setting.number:
                return f"{text} {number(setting.number)}"
    return ""


def clip_fix(measured: Measured, limits: Limits) -> tuple[Fix | None, str]:
    """The threshold that the measured norms recommend, or why there is none.

    `limits` are those of GA931.
    """
    if measured.compared.why_not:
        return None, (
            "no threshold can be recommended from how the clip is called: "
            f"{measured.compared.why_not}"
        )
    lacking = measured.lacking(int(limits["recommend_steps"]))
    if lacking is None:
        return None, "a threshold is recommended from steps after the warm-up only"
    if lacking:
        return None, (
            f"a threshold is recommended from {number(limits['recommend_steps'])} steps after the "
            f"warm-up: record {lacking} more"
        )
    if measured.terms and weights_changed(measured):
        return None, (
            "the loss weights are no longer those of the record, and they change the norm: record "
            "again"
        )
    if balance_is_open(measured, DOMINATED):
        return None, "set the loss weights first, then record again: they change the norm"
    open_weights = _to_lower(measured)
    if open_weights:
        return None, (
            f"lower the weight of {listed(open_weights)} first, then record again: it changes the "
            "norm"
        )
    if norm_moved(measured):
        return None, (
            f"the file {measured.changed}, maybe in its loss weights or its batch, which change "
            "the norm: record again"
        )
    other = _other_batch(measured)
    if other:
        return None, (
            f"{other}, and the batch changes the norm: bring the two together, then record again"
        )
    norms = measured.clip_norms
    if len(norms) < limits["recommend_steps"]:
        return None, "the norm that the clip compared is not known at enough steps"
    tail = tail_ratio(norms)
    if tail is None or tail >= limits["tail"]:
        if tail and (steady_tail_ratio(norms) or 0) < limits["tail"]:
            return None, (
                "the norm changes by more than ten times over the record: record steps from "
                "where it has settled (`--skip-steps`)"
            )
        return None, (
            f"the 95th percentile is {times(tail or 0)} the median: mend what makes the spikes "
            "first, then record again"
        )
    if jumps(measured):
        ratio = times(max(measured.norms) / median(measured.norms))
        return None, (
            f"the largest norm is {ratio} the median: find out which term or which samples make "
            "such steps first, then record again"
        )
    setting = measured.unit.settings.get("clip_norm") if measured.comparable else None
    interval = series_quantile(norms, PERCENTILE)
    value = recommended(measured)
    if interval is None:
        return None, (
            "neighbouring steps are so alike that the 90th percentile has no interval yet: record "
            "more steps"
        )
    if setting is None or value <= 0:
        return None, ""
    return _change_to(value, interval, setting, measured)


def _change_to(
    value: float, interval: tuple[float, float], setting: Setting, measured: Measured
) -> tuple[Fix | None, str]:
    """The change of the threshold in the file, with what it does to the steps, or why none."""
    before, is_sgd = setting.number, steps_by_gradient(measured)
    longer = ""
    if is_sgd and before is not None and 0 < before < value:
        moves, factor = _moves_at(before, measured), value / before
        why_not = _too_far(moves, factor, value) if moves is not None else ""
        if why_not:
            return None, why_not
        longer = _longer_steps(measured, moves, factor)
    edit = change(setting, int(value) if value == int(value) and "." not in setting.raw else value)
    if edit is None:
        return None, NOT_PLAIN
    low, high = map(number, interval)
    what = f" ({measured.compared.what})" if measured.compared.what else ""
    count = len(measured.clip_norms)
    notes = [
        (
            f"{number(value)} is the 90th percentile of {count} measured norms{what}; 95 % "
            f"interval {low} to {high}"
        ),
        "it cannot lower the logged norm, which is the one before clipping",
    ]
    if longer:
        notes.append(longer)
    elif not is_sgd:
        notes.append(
            f"under {measured.optimizer.class_name} little changes; the clip then acts on spikes "
            "only"
        )
    title = f"set `{setting.last_key}` to {edit.new}, the measured 90th percentile"
    return Fix(RECOMMENDED, title, [edit], notes), ""
