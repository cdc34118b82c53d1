"""What a dry run names as causes, in the order of what was measured, and what it recommends."""

from __future__ import annotations

from math import ceil

from gradaudit.evidence.dry_run import LEAST_COSINE
from gradaudit.evidence.terms import CAP, EVEN, FEWEST_STEPS, SEEN
from gradaudit.render.dryrun_text import number, prose
from gradaudit.render.layout import clean, fit, piece
from gradaudit.rules.text import listed, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.dry_run import DryRun
    from gradaudit.evidence.terms import Advice
    from gradaudit.render.layout import Line

WIDE = 76
"""Columns from which a row of a weight has room for its interval."""

LEAST_CAUSE = 0.05
"""Share of the squared norm below which a term is no cause worth a line."""

NO_KEY = "the file has no key that is known to be this weight: change it by hand"
"""Why `fix` does not write a weight that stands nowhere."""

MOVED = 1.5
"""Factor below which a 95th percentile has hardly moved: its own interval is as wide."""


def causes(run: DryRun, width: int) -> list[Line]:
    """The terms that make the gradient, largest share of the squared norm first."""
    named = [term for term in run.terms if term.energy >= LEAST_CAUSE]
    before = run.term_norm or run.norm
    if not named or before is None or len(run.terms) < 2:
        return []
    lines: list[Line] = [[], [piece("What makes the gradient large, most first", "heading")]]
    for place, term in enumerate(named, 1):
        text = f"`{term.name}`: {percent(term.energy)} of the squared norm"
        if term.active_share < 0.5:
            text += f", all of it at the {percent(term.active_share)} of steps where it is active"
        rest, largest = run.without.get(term.name), run.without_largest.get(term.name)
        if rest is not None and largest is not None:
            text += "; without it the " + _moved((before.p95, rest), (before.max, largest), "is")
        lines += prose(text, width, f"  {place}. ")
    each = run.micro_batches
    if each > 1:
        lines += prose(
            f"norms here are of the first of a step's {each} micro-batches, on which terms are "
            "measured; above they are of all together",
            width, "     ", "dim",
        )  # fmt: skip
    rest_energy = sum(term.energy for term in run.terms if term not in named)
    if rest_energy:
        lines += prose(
            f"all others together: {percent(rest_energy)} of the squared norm",
            width,
            "     ",
            "dim",
        )
    return lines


def _moved(p95: tuple[float, float], largest: tuple[float, float], verb: str) -> str:
    """What a change does to the 95th percentile (before, after), or, where that hardly moves, to
    the largest norm: a term that acts at one step in a hundred is in no percentile below the 99th.
    """
    what, (before, after) = "95th percentile", p95
    if p95[0] < MOVED * p95[1] and largest[0] >= MOVED * largest[1]:
        what, (before, after) = "largest", largest
    return f"{what} {verb} {number(after)}, not {number(before)}"


def advice_lines(run: DryRun, again: str, width: int) -> list[Line]:
    """Weights, threshold, batch: each with what it rests on, or why there is none."""
    lines: list[Line] = [[], [piece("What to change", "heading")]]
    if run.non_finite is not None:
        step, what = run.non_finite
        look = "`torch.autograd.detect_anomaly()` names the operation that makes a NaN"
        if not what.startswith("the gradient"):
            look = "look at what makes it in `losses` (log or division of 0, an exp that overflows)"
        lines += prose(
            f"first of all step {step}, where {what}: {look}. If norms grew before it, the rate or "
            "a weight is too large; else look at its batch",
            width,
        )
    lines += _weights(run, width)
    lines += _clip(run, width)
    lines += _batch(run, width)
    return lines + _command(run, again, width)


def _command(run: DryRun, again: str, width: int) -> list[Line]:
    """What `fix` will do; nothing where it will do nothing."""
    also = "; ".join(run.also)
    if _writes_weights(run):
        text = (
            f"`{again}` shows the new weights as a diff; with `--write` it writes them. Then dry "
            "run again: gradients change when weights do."
        )
        if also:
            text += f" In the same diff, for other findings: {also}."
    elif run.clip_written:
        text = f"`{again}` shows the new threshold as a diff; with `--write` it writes it."
        if also:
            text += f" In the same diff, for other findings: {also}."
    elif also:
        text = f"`{again}` shows a diff: {also}; with `--write` it writes it."
    else:
        return []
    return prose(text, width)


def _writes_weights(run: DryRun) -> bool:
    return any(run.in_file.get(advice.name) == "" for advice in run.balance.to_apply)


def _weights(run: DryRun, width: int) -> list[Line]:
    balance = run.balance
    if balance.why_not:
        text = f"weights: none, {balance.why_not}"
        if balance.helpers_unnamed:
            text += " by its name; Training(primary=[...]) says which terms are the task"
        if balance.missing:
            text += f"; {balance.missing} more are needed ({FEWEST_STEPS})"
        return prose(text, width)
    assert balance.reference is not None
    advised = balance.to_apply
    if not advised:
        why = (
            f"weights: none can be lowered, though the auxiliary terms lead the training with "
            f"{percent(balance.share)} of the norms"
            if balance.dominated
            else "weights: none, the auxiliary terms do not lead the training"
        )
        norm = f"(`{balance.reference.name}` has a norm of {number(balance.reference.rms)})"
        return prose(f"{why} {norm}", width) + _held_back(run, width) + _rare(run, width)
    what = "leads the training" if balance.dominated else "makes the spikes"
    lines = prose(f"weights: lower what {what}; primary weights stay", width)
    room = max(len(advice.name) for advice in advised)
    room = max(min(room, width - 60 if width >= WIDE else width - 38), 5)
    for advice in advised:
        where = " *" if run.in_file.get(advice.name) else ""  # not there: it could not be looked up
        low, high = max(advice.low, 1e-9), advice.high
        row = (
            f"    {fit(clean(advice.name), room):<{room}} {number(advice.weight):>7} -> "
            f"{number(advice.new):<8} x {number(advice.wanted)}"
        )
        if width >= WIDE and advice.few != 1:
            row += f" ({number(low)} to {number(high)})"
        lines.append([piece(row + where, "fix")])
    kept: dict[str, list[str]] = {}
    for advice in advised:
        if run.in_file.get(advice.name):
            kept.setdefault(run.in_file[advice.name], []).append(f"`{advice.name}`")
    for why, names in kept.items():
        text = why if why == NO_KEY else f"`fix` does not write {listed(names)}: {why}"
        lines += prose(f"* {text}", width, "    ", "dim")
    for advice in advised:
        if advice.few:
            lines += prose(_of_few(run, advice), width, "    ", "dim")
    lines += _held_back(run, width) + _rare(run, width)
    capped = [f"`{advice.name}`" for advice in advised if advice.is_off]
    if capped:
        lines += prose(
            f"{', '.join(capped)}: wants less than x {number(CAP)}, the most of one round. At such "
            "a weight the penalty is effectively off: is it needed, and in these units?",
            width, "    ", "dim",
        )  # fmt: skip
    before, after = run.term_norm or run.norm, run.norm_after
    if before is not None and after is not None:
        moved = _moved((before.p95, after.p95), (before.max, after.max), "would be")
        text = (
            f"at these very weights of the model the median would be {number(after.median)} and "
            f"the {moved}"
        )
        if "95th" in moved and after.p95 > 0:
            text += f": {times(before.p95 / after.p95)} lower"
        lines += prose(text, width, "    ")
    lines += prose(
        "it changes the objective: compare the task's own metric before and after", width, "    ",
        "dim",
    )  # fmt: skip
    return lines


def _of_few(run: DryRun, advice: Advice) -> str:
    """What a recommendation rests on that was seen at a few steps only."""
    term = next(term for term in run.terms if term.name == advice.name)
    said = f"`{advice.name}` acted at {advice.few} of {term.steps} steps only"
    if not advice.spikes or not run.balance.usual or not advice.high:
        return f"{said}: how low it belongs is a rough guess"
    # `high` is the factor of the step with the smallest norm
    least = advice.wanted * term.rms / advice.high / run.balance.usual
    more = " or more" if advice.few > 1 else ""
    return (
        f"{said}, with {times(least)}{more} the norm of the usual step "
        f"({number(run.balance.usual)}). That it is too large is seen; how low it belongs is a "
        "rough guess"
    )


def _held_back(run: DryRun, width: int) -> list[Line]:
    lines: list[Line] = []
    for name, why in run.balance.held_back:
        lines += prose(f"`{name}` stays: {why}", width, "    ", "dim")
    return lines


def _rare(run: DryRun, width: int) -> list[Line]:
    """Auxiliary terms that acted at too few steps, and what would settle them."""
    lines: list[Line] = []
    for term in run.balance.rare:
        if not term.active:
            most = percent(1 - 0.05 ** (1 / term.steps))
            text = (
                f"`{term.name}` stays: it never acted in {term.steps} steps; it may still act at "
                f"up to {most} of such steps; more --steps, or another --seed, may show it"
            )
        else:
            usual = run.balance.usual
            size = f", {times(term.rms / usual)} that of the usual step" if usual else ""
            text = (
                f"`{term.name}` stays: it acted at {term.active} of {term.steps} steps, with a "
                f"norm of {number(term.rms)}{size}"
            )
            if term.active < SEEN:
                more = ceil(SEEN * term.steps / term.active) - term.steps
                text += f": no spikes, as far as that tells; some {more} more steps would judge it"
            else:
                text += ": no spikes, and it asks for little"
        lines += prose(text, width, "    ", "dim")
    return lines


def _clip(run: DryRun, width: int) -> list[Line]:
    if run.clip_advice is not None and run.balance.to_apply:
        return prose(
            "clip threshold: none from this run: other weights make another norm; change them, and "
            "measure again",
            width,
        )
    if run.clip_advice is None:
        why = run.clip_why or "no norm was measured"
        tail = run.norm.tail if run.norm is not None else None
        if "more steps" not in why and tail is not None and tail > EVEN:
            why += f" (95th percentile {times(tail)} the median)"
        return prose(f"clip threshold: none, {why}", width)
    text = f"clip threshold: {number(run.clip_advice)}, the 90th percentile"
    if run.clip_stays and run.clip_norm is not None and run.norm is not None:
        text = (
            f"clip threshold: {number(run.clip_norm)} may stay, it acts at {run.clipped} of "
            f"{run.norm.count} steps; "
        )
        text += "as a guard against spikes " * (not run.clipped)
        text += f"the 90th percentile is {number(run.clip_advice)}"
    if run.clip_interval is not None:
        low, high = run.clip_interval
        text += f" ({number(low)} to {number(high)})"
        if run.clip_norm is not None and low <= run.clip_norm <= high and not run.clip_stays:
            return prose(f"{text}; {number(run.clip_norm)} is as good", width)
    if run.clip_stays:
        if run.clip_norm is None:
            text += "; the file has none, and no rule asks for one: as a guard, by hand"
        return prose(text, width)
    if run.clip_norm is not None and run.norm is not None:
        text += f"; {number(run.clip_norm)} acts at {run.clipped} of {run.norm.count} steps"
        if run.about.get("adaptive") and run.clipped == run.norm.count:
            text += ", which under an adaptive optimiser only normalises"
    return prose(text, width)


def _batch(run: DryRun, width: int) -> list[Line]:
    cosine = run.bias.get("cosine")
    if not cosine or cosine[2] >= LEAST_COSINE:
        return []
    large, small = run.bias["large"], run.bias["micro_batch"]
    frozen = run.bias.get("cosine_frozen_norm")
    if frozen and frozen[1] >= LEAST_COSINE:
        return prose(
            f"normalisation: BatchNorm alone turns the gradient at {small} samples (with its "
            f"running statistics the cosine is {frozen[0]:.2f}): GroupNorm, frozen statistics, or "
            f"a micro-batch of {large}",
            width,
        )
    return prose(
        f"batch: raise the micro-batch from {small} to {large} or more; accumulation is no help",
        width,
    )
