"""`docs/measured-sample.md` from what `dryrun_sample.py` measured."""

from __future__ import annotations

import datetime
import random
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from measure_fixes import LEARNING_RATE, STEPS_PER_EPOCH, spread
from sample_runs import CONFIG, UNIT, WARMUP_EPOCHS, WEIGHTS_ONLY, Change, Outcome

STEPS = 120
OWN_PER_EPOCH = 20
OWN_STEPS = 80 * OWN_PER_EPOCH  # the file's 80 epochs
OWN_LENGTHS = {OWN_STEPS: OWN_PER_EPOCH, STEPS: 10}  # steps -> steps an epoch

RATIO_BEFORE, RATIO_AFTER, TIMES_LOWER = 20, 5, 10
"""What was asked of the fix: p95 / p50 from above the first to below the second, and a 95th
percentile so many times lower."""


class Measured(NamedTuple):
    """All that was measured. Outcomes are one a seed.

    own  learning rate of the file: steps -> [as written, with the weights measured at that rate].
    """

    seed: int
    screen: str
    old: Change
    weights: Change
    whole: Change
    others: list[Change]
    before: list[Outcome]
    after: list[Outcome]
    after_whole: list[Outcome]
    one_each: list[Outcome]
    report_fixes: list[tuple[str, str, list[Outcome]]]
    own_rate: float
    own: dict[int, list[list[Outcome]]]
    seconds: float


def resampled(values: list[float], estimate: Callable[[list[float]], float]) -> tuple[float, float]:
    """The 95 % interval of an estimate over seeds (percentile bootstrap, 2,000 resamples)."""
    draw = random.Random(0)
    found = sorted(estimate(draw.choices(values, k=len(values))) for _ in range(2000))
    return found[50], found[1949]


def paired(
    before: list[Outcome], after: list[Outcome], compare: Callable[[Outcome, Outcome], float]
) -> str:
    """Median of a comparison, seed by seed, with its interval over seeds."""
    values = [compare(b, a) for b, a in zip(before, after, strict=True)]
    low, high = resampled(values, statistics.median)
    return f"{statistics.median(values):.3g} (95 % interval {low:.3g} to {high:.3g})"


def row(name: str, runs: list[Outcome], reference: list[Outcome], expected: str = "") -> str:
    wins = sum(run.mse < other.mse for run, other in zip(runs, reference, strict=True))
    cells = [name] + ([expected] if expected else [])
    cells += [
        spread([run.p50 for run in runs], ".2f"), spread([run.p95 for run in runs], ".1f"),
        spread([run.ratio for run in runs], ".1f"), spread([run.mse for run in runs], ".4f"),
        spread([run.accuracy for run in runs], ".3f"),
        "" if runs is reference else f"{wins} of {len(runs)}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = "| p50 | p95 | p95 / p50 | held-out MSE | pair accuracy | lower MSE |"


def acceptance(before: list[Outcome], after: list[Outcome]) -> list[str]:
    """What was asked of the recommendation, and what came out, in one list."""
    times = paired(before, after, lambda b, a: b.p95 / a.p95)
    late = paired(before, after, lambda b, a: b.late_p95 / a.late_p95)
    mse = paired(before, after, lambda b, a: a.mse - b.mse)
    accuracy = paired(before, after, lambda b, a: a.accuracy - b.accuracy)
    ratios = [run.ratio for run in before], [run.ratio for run in after]
    return [
        f"- 95th percentile of the norm, before over after: {times}; after the warm-up {late}.",
        (
            f"- 95th percentile over median: from {min(ratios[0]):.1f} or more to "
            f"{max(ratios[1]):.1f} or less (medians {statistics.median(ratios[0]):.1f} and "
            f"{statistics.median(ratios[1]):.1f}); of the steps after the warm-up, medians "
            f"{statistics.median(run.late_ratio for run in before):.1f} and "
            f"{statistics.median(run.late_ratio for run in after):.1f}."
        ),
        f"- held-out MSE, after minus before: {mse}.",
        f"- held-out pair accuracy, after minus before: {accuracy}.",
    ]


def screen(text: str) -> str:
    kept = [line for line in text.splitlines() if "recorded in" not in line]
    return "\n".join(kept).strip()


def in_short(found: Measured) -> list[str]:
    """What was asked of the weights, and in how many seeds it came out, under both rates."""
    short, long = found.own[STEPS], found.own[OWN_STEPS]
    own = f"the file's own rate {found.own_rate:g}"
    rows: list[tuple[str, list[Outcome], list[Outcome]]] = [
        (f"rate {LEARNING_RATE:g}, {STEPS} steps: measured weights", found.before, found.after),
        (
            f"the same: all that `fix` does, batch {found.whole['batch_size']} too",
            found.before,
            found.after_whole,
        ),
        (f"{own}, its 80 epochs as {OWN_STEPS} steps: measured weights", long[0], long[1]),
        (f"{own}, {STEPS} steps: measured weights", short[0], short[1]),
    ]
    lines = [
        (
            "Asked of the weights that a dry run recommends, over at least 5 seeds, with the "
            "weights of the task unchanged: a 95th percentile (p95) of the gradient norm at least "
            f"{TIMES_LOWER} times lower; p95 over the median (p50) from over {RATIO_BEFORE} to "
            f"under {RATIO_AFTER}; held-out error and rank accuracy no worse. Seeds in which that "
            "is so:"
        ),
        "",
        (
            f"| training | p95 {TIMES_LOWER} times lower | p95 / p50 over {RATIO_BEFORE} as "
            f"written | under {RATIO_AFTER} after | held-out MSE no worse "
            "| pair accuracy no worse |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for name, before, after in rows:
        pairs = list(zip(before, after, strict=True))
        counts = [
            sum(b.p95 >= TIMES_LOWER * a.p95 for b, a in pairs),
            sum(b.ratio > RATIO_BEFORE for b in before),
            sum(a.ratio < RATIO_AFTER for a in after),
            sum(a.mse <= b.mse for b, a in pairs),
            sum(a.accuracy >= b.accuracy for b, a in pairs),
        ]
        lines.append(f"| {name} | {' | '.join(f'{n} of {len(pairs)}' for n in counts)} |")
    late = statistics.median(run.late_ratio for run in found.after_whole)
    tails = sum(run.ratio > RATIO_BEFORE for run in long[0])
    lines += [
        "",
        "Where a row falls short, these are the reasons:",
        "",
        (
            f"- At the file's own rate {STEPS} steps hardly leave the region in which every "
            "penalty is active at every step. The norm is then large at *all* steps, and there is "
            f"no tail to shorten. Over the file's 80 epochs, at {OWN_PER_EPOCH} steps an epoch, "
            f"the tail appears in {tails} of {len(long[0])} seeds; in the others the norm is still "
            f"large at most steps (medians up to {max(run.p50 for run in long[0]):.1f}, after the "
            f"fix at most {max(run.p50 for run in long[1]):.1f}). The file's 40,000 scenarios "
            f"would make 6,667 steps an epoch; {OWN_PER_EPOCH} is what this page can afford."
        ),
        (
            "- A larger batch lowers the median more than the 95th percentile, which the few "
            "early steps make at which penalties are still active: the norm is lower all "
            f"over, and its ratio higher. After the warm-up the ratio is {late:.1f} (median over "
            "seeds)."
        ),
        (
            "- It is one small network on made-up chirps. It shows that the recommendation does "
            "what it says on the training that it was measured on, not what it does for yours."
        ),
    ]
    return lines


def left_alone(found: Measured, changed: list[str]) -> list[str]:
    """Which other dry runs left a weight as it is, and what became of the training."""
    lines: list[str] = []
    worst = max(range(len(found.others)), key=lambda at: found.one_each[at].p95)
    for key in changed:
        kept = [at for at, other in enumerate(found.others) if other[key] == found.old[key]]
        if not kept:
            continue
        said = (
            f"{len(kept)} of the {len(found.others)} other dry runs left `{key}` as it is: after "
            "the warm-up it never acted, or once without a spike, and the screen says so and asks "
            "for more steps."
        )
        if worst in kept:
            said += (
                " The training with these weights is the one with the largest p95 in the row above."
            )
        lines += [said, ""]
    return lines


def page(found: Measured) -> str:
    """The whole page."""
    seeds = len(found.before)
    changed = [key for key in found.old if found.weights[key] != found.old[key]]
    own_rows: list[str] = []
    for steps, (own_before, own_after) in found.own.items():
        own_rows += [
            row(f"{steps} steps, as written", own_before, own_before),
            row(f"{steps} steps, measured weights", own_after, own_before),
        ]
    lines = [
        "# The dry run on the sample: measured, applied, trained again",
        "",
        (
            "<!-- Written by benchmarks/dryrun_sample.py; do not edit. --> "
            f"Measured {datetime.date.today().isoformat()}; torch {torch.__version__}, one thread. "
            "To write this page again: `python benchmarks/dryrun_sample.py`."
        ),
        "",
        "## In short",
        "",
        *in_short(found),
        "",
        "## What is run",
        "",
        "```bash",
        (
            f"gradaudit dryrun {CONFIG} --entry priority_net.py:build --steps {STEPS} "
            f"--seed {found.seed} \\"
        ),
        (
            f"    --set {UNIT}.learning_rate={LEARNING_RATE} "
            f"--assume steps_per_epoch={STEPS_PER_EPOCH} --output DIR"
        ),
        f"gradaudit fix {CONFIG} --record DIR --unit {UNIT} --write",
        "```",
        "",
        (
            f"Then `sample_configs/priority_net.py` is trained with both files: {seeds} seeds "
            f"(initialisation, data, dropout; none of them that of the dry run) x {STEPS} steps, "
            f"under the protocol of [measurements](measurements.md): learning rate "
            f"{LEARNING_RATE:g} in every variant, {STEPS_PER_EPOCH} steps an epoch, "
            f"{WARMUP_EPOCHS * STEPS_PER_EPOCH} steps of warm-up. Why not the file's rate, and "
            "what comes out at it, is [below](#at-the-files-own-learning-rate). Norms are those "
            "before the clip, of all steps. Cells are the median over seeds (minimum to maximum); "
            "*lower MSE* counts seeds whose held-out MSE is below that of the same seed as "
            "written. Intervals are percentile bootstraps over seeds."
        ),
        "",
        "## What the dry run says",
        "",
        "```text",
        screen(found.screen),
        "```",
        "",
        "## Before and after",
        "",
        f"| variant {HEAD}",
        "|---|---|---|---|---|---|---|",
        row("as written", found.before, found.before),
        row(f"measured weights (`--select {WEIGHTS_ONLY[1]}`)", found.after, found.before),
        row(
            f"all that `fix` does: and batch {found.whole['batch_size']}",
            found.after_whole,
            found.before,
        ),
        row(
            f"weights of {len(found.others)} other dry runs, a training seed each",
            found.one_each,
            found.before[: len(found.others)],
        ),
        "",
        "Measured weights alone, the primary weights unchanged:",
        "",
        *acceptance(found.before, found.after),
        "",
        "All that `fix --record --write` does:",
        "",
        *acceptance(found.before, found.after_whole),
        "",
        "### How much the weights depend on the dry run's seed",
        "",
        (f"| key | as written | this dry run | {len(found.others)} others (minimum to maximum) |"),
        "|---|---|---|---|",
        *(
            f"| `{key}` | {found.old[key]:g} | {found.weights[key]:g} | "
            f"{spread([other[key] for other in found.others], '.2g')} |"
            for key in changed
        ),
        "",
        *left_alone(found, changed),
        "## At the file's own learning rate",
        "",
        (
            f"{found.own_rate:g}, with the weights of a dry run at that rate ({STEPS} steps, 60 of "
            f"them warm-up). At so slow a rate {STEPS} steps are too few, so every variant above "
            f"takes {LEARNING_RATE:g}: of 1, 2, 4 and 8e-3 the rate at which the file *as written* "
            "has its lowest held-out MSE, so the choice favours no repair. Here are the file's 80 "
            f"epochs, at {OWN_PER_EPOCH} steps each, and {STEPS} steps, 10 an epoch."
        ),
        "",
        f"| variant {HEAD}",
        "|---|---|---|---|---|---|---|",
        *own_rows,
        "",
        f"Over the {OWN_STEPS} steps:",
        "",
        *acceptance(*found.own[OWN_STEPS]),
        "",
        "## Each fix of the diagnosis report, alone",
        "",
        f"| fix | what the report expects {HEAD}",
        "|---|---|---|---|---|---|---|---|",
        row("as written", found.before, found.before, "-"),
        *(row(title, runs, found.before, expected) for title, expected, runs in found.report_fixes),
        row("measured weights", found.after, found.before, "(this tool)"),
        "",
        "## Reading",
        "",
        *reading(found.before, found.after, {title: runs for title, _, runs in found.report_fixes}),
        "",
        (
            f"`{seeds} seeds x {STEPS} steps, {len(found.own[OWN_STEPS][0])} x {OWN_STEPS}; "
            f"{found.seconds:.0f} s`"
        ),
        "",
    ]
    return "\n".join(lines)


def reading(
    before: list[Outcome], after: list[Outcome], fixes: dict[str, list[Outcome]]
) -> list[str]:
    """One line a fix, made of its own numbers: what of the expectation came out."""

    def median(runs: list[Outcome], name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    p95 = median(before, "p95")
    lines = []
    for title, runs in fixes.items():
        if runs is before:
            lines.append(f"- **{title}**: prints, and changes nothing.")
            continue
        wins = sum(run.mse < other.mse for run, other in zip(runs, before, strict=True))
        factor = p95 / median(runs, "p95")
        said = f"p95 {factor:.1f} times lower" if factor >= 1.15 else (
            f"p95 {1 / factor:.1f} times higher" if factor <= 0.87 else "p95 as before"
        )  # fmt: skip
        lines.append(
            f"- **{title}**: {said}, p95 / p50 {median(runs, 'ratio'):.0f}, held-out MSE lower in "
            f"{wins} of {len(runs)} seeds."
        )
    wins = sum(run.mse < other.mse for run, other in zip(after, before, strict=True))
    lines.append(
        f"- **measured weights**: p95 {p95 / median(after, 'p95'):.1f} times lower, p95 / p50 "
        f"{median(after, 'ratio'):.1f}, held-out MSE lower in {wins} of {len(after)} seeds."
    )
    lines.append("")
    lines.append(
        "Dividing the total (#4) changes no ratio inside the sum. Under AdamW it is the same as a "
        "clip six times as loose (and an `eps` six times as large): the logged norm falls, and the "
        "spikes weigh more. Raising the clip (#2) cannot lower a norm that is logged before "
        "clipping. Accumulation (#1b) averages noise and keeps the batch of 6 that every batch "
        "statistic is taken from."
    )
    return lines
