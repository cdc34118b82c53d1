"""Dry run the sample, apply what it recommends, and train before and after over several seeds.

Runs the commands that a user would run (`gradaudit dryrun`, `gradaudit fix --record --write`) on a
copy of `sample_configs/enhanced_training.yaml`, then trains `sample_configs/priority_net.py` with
both files, and with each fix of the diagnosis report alone. Writes `docs/measured-sample.md`.

    python benchmarks/dryrun_sample.py            # about eight minutes on one core
    python benchmarks/dryrun_sample.py --seeds 2 --output -   # a quick look
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from measure_fixes import (
    LEARNING_RATE,
    SAMPLES,
    STEPS_PER_EPOCH,
    evaluate,
    load_sample,
    spread,
)

ROOT = SAMPLES.parent
TARGET = ROOT / "docs" / "measured-sample.md"
CONFIG = "enhanced_training.yaml"
STEPS = 120
WARMUP = 12
FIRST_DRY_SEED = 100  # training seeds count from 0

Change = dict[str, Any]

REPORT_FIXES: list[tuple[str, str, Change]] = [
    ("#1a batch 24", "more stable BatchNorm, lower gradient variance", {"batch_size": 24}),
    (
        "#1b batch 6 x accumulation 4",
        "the same as batch 24",
        {"gradient_accumulation_steps": 4},
    ),
    ("#2 clip 2 to 5", "gradient below 5", {"gradient_clip_norm": 5.0}),
    ("#3 variance penalty 10 to 2", "no explosion", {"min_variance_weight": 2.0}),
    ("#4 total / 6", "no term dominates", {"divide": 6}),
    (
        "#5 calibration 1.0 and 0.75",
        "guides, does not dominate",
        {"calib_max_weight": 1.0, "calib_range_weight": 0.75},
    ),
    ("#6 log BatchNorm's mode", "a check, no change", {}),
    ("#7 uncertainty 0.35 to 0.10", "less weight on uncertainty", {"uncertainty_weight": 0.10}),
    (
        "#1a + #2 + #3 (its TODAY)",
        "gradient 0.5 to 2.0",
        {"batch_size": 24, "gradient_clip_norm": 5.0, "min_variance_weight": 2.0},
    ),
]


class Outcome(NamedTuple):
    """One training; norms before clipping, of all steps and of those after the warm-up."""

    p50: float
    p95: float
    late_p50: float
    late_p95: float
    mse: float
    accuracy: float

    @property
    def ratio(self) -> float:
        return self.p95 / self.p50

    @property
    def late_ratio(self) -> float:
        return self.late_p95 / self.late_p50


def train(sample: ModuleType, config: Change, seed: int, per_epoch: int) -> Outcome:
    config = dict(config)
    divide = config.pop("divide", 1)
    original = sample.PriorityLoss.forward
    if divide != 1:
        sample.PriorityLoss.forward = lambda self, *batch: original(self, *batch) / divide
    try:
        model = sample.build_model(config, seed)
        records = sample.train(config, STEPS, seed, steps_per_epoch=per_epoch, model=model)
    finally:
        sample.PriorityLoss.forward = original
    norms = torch.tensor([record.pre_clip_norm for record in records])
    late = norms[6 * per_epoch :]
    mse, accuracy = evaluate(sample, model)
    return Outcome(
        norms.quantile(0.5).item(),
        norms.quantile(0.95).item(),
        late.quantile(0.5).item(),
        late.quantile(0.95).item(),
        mse,
        accuracy,
    )


def gradaudit(*words: str, cwd: Path) -> str:
    """Run the command line; 1 says that something was found."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "gradaudit", *words], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"gradaudit {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def dry_run(folder: Path, seed: int, rate: float | None, per_epoch: int) -> tuple[str, str]:
    """Dry run the config in `folder`; returns the record's directory and the screen."""
    record = f"record-{seed}-{rate or 'file'}"
    words = ["dryrun", CONFIG, "--entry", "priority_net.py:build", "--steps", str(STEPS)]
    words += ["--seed", str(seed), "--output", record]
    if rate is not None:
        words += ["--set", f"priority_net.learning_rate={rate}"]
    words += ["--assume", f"steps_per_epoch={per_epoch}"]
    return record, gradaudit(*words, cwd=folder)


def fix(folder: Path, record: str, name: str, *more: str) -> Path:
    """`fix --record --write` on a copy of the config."""
    copy = folder / name
    shutil.copy(folder / CONFIG, copy)
    gradaudit("fix", name, "--record", record, "--unit", "priority_net", "--write", *more,
              "--exit-zero", cwd=folder)  # fmt: skip
    return copy


WEIGHTS_ONLY = ("--select", "GA401,GA402,GA961")


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


def weights_of(sample: ModuleType, path: Path) -> Change:
    section = sample.load(path)
    return {key: value for key, value in section.items() if key.endswith("_weight")}


def screen(text: str) -> str:
    kept = [line for line in text.splitlines() if "recorded in" not in line]
    return "\n".join(kept).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Dry run, fix and train the sample.")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--output", default=str(TARGET), help="a file, or - for the screen")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    sample = load_sample()
    seeds = range(args.seeds)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (CONFIG, "priority_net.py", "gradaudit.toml"):
            shutil.copy(SAMPLES / file, folder / file)
        written = sample.load(folder / CONFIG) | {"learning_rate": LEARNING_RATE}

        def runs(change: Change, per_epoch: int = STEPS_PER_EPOCH) -> list[Outcome]:
            return [train(sample, written | change, seed, per_epoch) for seed in seeds]

        record, shown = dry_run(folder, FIRST_DRY_SEED, LEARNING_RATE, STEPS_PER_EPOCH)
        weights = weights_of(sample, fix(folder, record, "weights.yaml", *WEIGHTS_ONLY))
        whole_path = fix(folder, record, "whole.yaml")
        whole = weights_of(sample, whole_path)
        whole["batch_size"] = sample.load(whole_path)["batch_size"]
        others = []
        for seed in range(FIRST_DRY_SEED + 1, FIRST_DRY_SEED + max(args.seeds, 2)):
            other, _ = dry_run(folder, seed, LEARNING_RATE, STEPS_PER_EPOCH)
            others.append(weights_of(sample, fix(folder, other, "other.yaml", *WEIGHTS_ONLY)))

        one_each = [
            train(sample, written | other, seed, STEPS_PER_EPOCH)
            for seed, other in enumerate(others)
        ]
        before = runs({})
        after, after_whole = runs(weights), runs(whole)
        rows = [
            (title, expected, runs(change) if change else before)
            for title, expected, change in REPORT_FIXES
        ]

        own_rate = {"learning_rate": sample.load(folder / CONFIG)["learning_rate"]}
        own_record, _ = dry_run(folder, FIRST_DRY_SEED, None, 10)
        own = weights_of(sample, fix(folder, own_record, "own.yaml", *WEIGHTS_ONLY))
        own_before, own_after = runs(own_rate, 10), runs(own_rate | own, 10)

    old = {key: value for key, value in written.items() if key.endswith("_weight")}
    changed = [key for key in old if weights[key] != old[key]]
    lines = [
        "# The dry run on the sample: measured, applied, trained again",
        "",
        (
            "<!-- Written by benchmarks/dryrun_sample.py; do not edit. --> "
            f"Measured {datetime.date.today().isoformat()}; torch {torch.__version__}, one thread. "
            "To write this page again: `python benchmarks/dryrun_sample.py`."
        ),
        "",
        "## What is run",
        "",
        "```bash",
        (
            f"gradaudit dryrun {CONFIG} --entry priority_net.py:build --steps {STEPS} "
            f"--seed {FIRST_DRY_SEED} \\"
        ),
        (
            f"    --set priority_net.learning_rate={LEARNING_RATE} "
            f"--assume steps_per_epoch={STEPS_PER_EPOCH} --output DIR"
        ),
        f"gradaudit fix {CONFIG} --record DIR --unit priority_net --write",
        "```",
        "",
        (
            f"Then `sample_configs/priority_net.py` is trained with both files: {args.seeds} seeds "
            f"(initialisation, data, dropout; none of them that of the dry run) x {STEPS} steps, "
            f"under the protocol of [measurements](measurements.md): learning rate "
            f"{LEARNING_RATE:g} in every variant, {STEPS_PER_EPOCH} steps an epoch, {WARMUP} steps "
            "of warm-up. Norms are those before the clip, of all steps. Cells are the median over "
            "seeds (minimum to maximum); *lower MSE* counts seeds whose held-out MSE is below that "
            "of the same seed as written. Intervals are percentile bootstraps over seeds."
        ),
        "",
        "## What the dry run says",
        "",
        "```text",
        screen(shown),
        "```",
        "",
        "## Before and after",
        "",
        f"| variant {HEAD}",
        "|---|---|---|---|---|---|---|",
        row("as written", before, before),
        row("measured weights (`--select GA401,GA402,GA961`)", after, before),
        row(f"all that `fix` does: and batch {whole['batch_size']}", after_whole, before),
        row(
            f"weights of {len(others)} other dry runs, a training seed each",
            one_each,
            before[: len(others)],
        ),
        "",
        "Measured weights alone, the primary weights unchanged:",
        "",
        *acceptance(before, after),
        "",
        "All that `fix --record --write` does:",
        "",
        *acceptance(before, after_whole),
        "",
        "### How much the weights depend on the dry run's seed",
        "",
        "| key | as written | this dry run | " + f"{len(others)} others (minimum to maximum) |",
        "|---|---|---|---|",
        *(
            f"| `{key}` | {old[key]:g} | {weights[key]:g} | "
            f"{spread([other[key] for other in others], '.2g')} |"
            for key in changed
        ),
        "",
        "### At the file's own learning rate",
        "",
        (
            f"{own_rate['learning_rate']:g}, 10 steps an epoch, {STEPS} steps of which 60 are "
            "warm-up: so slow a rate hardly leaves the region in which every penalty is active, so "
            "that the norm is large but not heavy-tailed. Its ratio is not that of the acceptance "
            "above; what the weights do to the norm and to the held-out figures is."
        ),
        "",
        f"| variant {HEAD}",
        "|---|---|---|---|---|---|---|",
        row("as written", own_before, own_before),
        row("measured weights", own_after, own_before),
        "",
        "## Each fix of the diagnosis report, alone",
        "",
        f"| fix | what the report expects {HEAD}",
        "|---|---|---|---|---|---|---|---|",
        row("as written", before, before, "-"),
        *(row(title, found, before, expected) for title, expected, found in rows),
        row("measured weights", after, before, "(this tool)"),
        "",
        "## Reading",
        "",
        *reading(before, after, {title: found for title, _, found in rows}),
        "",
        f"`{args.seeds} seeds x {STEPS} steps; {time.monotonic() - started:.0f} s`",
        "",
    ]
    text = "\n".join(lines)
    if args.output == "-":
        print(text)
    else:
        Path(args.output).write_text(text, encoding="utf-8")


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
    lines.append("")
    lines.append(
        "What the table of weights by seed shows: a penalty that acts at less than 1 % of the "
        "steps of a dry run is not touched, and at 108 measured steps that can be the one that "
        "makes the largest spikes. The screen then says so and asks for more steps."
    )
    return lines


if __name__ == "__main__":
    main()
