"""The commands and trainings of `dryrun_sample.py`: a dry run, a fix, a training."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from measure_fixes import SAMPLES, evaluate

ROOT = SAMPLES.parent
CONFIG = "enhanced_training.yaml"
UNIT = "priority_net"
WARMUP_EPOCHS = 6  # of the file

Change = dict[str, Any]


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


def train(sample: ModuleType, config: Change, seed: int, per_epoch: int, steps: int) -> Outcome:
    """One training of so many steps, with so many to an epoch. `divide`: of the loss, by it."""
    config = dict(config)
    divide = config.pop("divide", 1)
    original = sample.PriorityLoss.forward
    if divide != 1:
        sample.PriorityLoss.forward = lambda self, *batch: original(self, *batch) / divide
    try:
        model = sample.build_model(config, seed)
        records = sample.train(config, steps, seed, steps_per_epoch=per_epoch, model=model)
    finally:
        sample.PriorityLoss.forward = original
    norms = torch.tensor([record.pre_clip_norm for record in records])
    late = norms[WARMUP_EPOCHS * per_epoch :]
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


def dry_run(
    folder: Path, seed: int, rate: float | None, per_epoch: int, steps: int
) -> tuple[str, str]:
    """Dry run the config in `folder`; returns the record's directory and the screen.

    rate  instead of the file's learning rate; None for that.
    """
    record = f"record-{seed}-{rate or 'file'}"
    words = ["dryrun", CONFIG, "--entry", "priority_net.py:build", "--steps", str(steps)]
    words += ["--seed", str(seed), "--output", record]
    if rate is not None:
        words += ["--set", f"{UNIT}.learning_rate={rate}"]
    words += ["--assume", f"steps_per_epoch={per_epoch}"]
    return record, gradaudit(*words, cwd=folder)


def fix(folder: Path, record: str, name: str, *more: str) -> Path:
    """`fix --record --write` on a copy of the config."""
    copy = folder / name
    shutil.copy(folder / CONFIG, copy)
    gradaudit("fix", name, "--record", record, "--unit", UNIT, "--write", *more,
              "--exit-zero", cwd=folder)  # fmt: skip
    return copy


WEIGHTS_ONLY = ("--select", "GA401,GA402,GA961,GA964")
"""The findings that have a fix for loss weights."""


def weights_of(sample: ModuleType, path: Path) -> Change:
    section = sample.load(path)
    return {key: value for key, value in section.items() if key.endswith("_weight")}
