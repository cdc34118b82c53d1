"""Dry run the sample, apply what it recommends, and train before and after over several seeds.

Runs the commands that a user would run (`gradaudit dryrun`, `gradaudit fix --record --write`) on a
copy of `sample_configs/enhanced_training.yaml`, then trains `sample_configs/priority_net.py` with
both files, and with each fix of the diagnosis report alone. Writes `docs/measured-sample.md`.

    python benchmarks/dryrun_sample.py            # about four minutes on one quiet core
    python benchmarks/dryrun_sample.py --seeds 2 --output -   # a quick look
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import torch
from measure_fixes import LEARNING_RATE, SAMPLES, STEPS_PER_EPOCH, load_sample
from sample_page import OWN_LENGTHS, STEPS, Measured, page
from sample_runs import CONFIG, ROOT, WEIGHTS_ONLY, Change, Outcome, dry_run, fix, train, weights_of

TARGET = ROOT / "docs" / "measured-sample.md"
FIRST_DRY_SEED = 100  # training seeds count from 0
LONG_SEEDS = 5  # of the 80 epochs

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


def measure(seeds: range) -> Measured:
    """All dry runs and trainings."""
    started = time.monotonic()
    sample = load_sample()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (CONFIG, "priority_net.py", "gradaudit.toml"):
            shutil.copy(SAMPLES / file, folder / file)
        as_is = sample.load(folder / CONFIG)
        written = as_is | {"learning_rate": LEARNING_RATE}

        def runs(change: Change) -> list[Outcome]:
            return [train(sample, written | change, seed, STEPS_PER_EPOCH, STEPS) for seed in seeds]

        record, shown = dry_run(folder, FIRST_DRY_SEED, LEARNING_RATE, STEPS_PER_EPOCH, STEPS)
        weights = weights_of(sample, fix(folder, record, "weights.yaml", *WEIGHTS_ONLY))
        whole_path = fix(folder, record, "whole.yaml")
        whole = weights_of(sample, whole_path)
        whole["batch_size"] = sample.load(whole_path)["batch_size"]
        others = []
        for seed in range(FIRST_DRY_SEED + 1, FIRST_DRY_SEED + max(len(seeds), 2)):
            other, _ = dry_run(folder, seed, LEARNING_RATE, STEPS_PER_EPOCH, STEPS)
            others.append(weights_of(sample, fix(folder, other, "other.yaml", *WEIGHTS_ONLY)))

        before = runs({})
        own_record, _ = dry_run(folder, FIRST_DRY_SEED, None, OWN_LENGTHS[STEPS], STEPS)
        own = weights_of(sample, fix(folder, own_record, "own.yaml", *WEIGHTS_ONLY))
        return Measured(
            seed=FIRST_DRY_SEED,
            screen=shown,
            old={key: value for key, value in written.items() if key.endswith("_weight")},
            weights=weights,
            whole=whole,
            others=others,
            before=before,
            after=runs(weights),
            after_whole=runs(whole),
            one_each=[
                train(sample, written | other, seed, STEPS_PER_EPOCH, STEPS)
                for seed, other in enumerate(others)
            ],
            report_fixes=[
                (title, expected, runs(change) if change else before)
                for title, expected, change in REPORT_FIXES
            ],
            own_rate=as_is["learning_rate"],
            own={
                steps: [
                    [
                        train(sample, config, seed, per_epoch, steps)
                        for seed in seeds[: len(seeds) if steps == STEPS else LONG_SEEDS]
                    ]
                    for config in (as_is, as_is | own)
                ]
                for steps, per_epoch in OWN_LENGTHS.items()
            },
            seconds=time.monotonic() - started,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Dry run, fix and train the sample.")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--output", default=str(TARGET), help="a file, or - for the screen")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = page(measure(range(args.seeds)))
    if args.output == "-":
        print(text)
    else:
        Path(args.output).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
