"""GA901: the file's warm-up and schedule against rates that do not move."""

from __future__ import annotations

from typing import Any

import pytest
from record_support import audit_recorded, optimizer, record_of, steps

from gradaudit.findings import Finding

CONFIG = "optimizer: adamw\nlearning_rate: 1.0e-3\n"
DECAY = CONFIG + "lr_scheduler: cosine\nmax_steps: 100\n"
READ = {"kind": "file", "operation": "read", "path": "last.ckpt", "step": 0, "via": "torch.load"}


def found(
    config: str, rates: list[float], *more: dict[str, Any], name: str = "AdamW", **header: Any
) -> list[Finding]:
    lines = steps([1.0] * len(rates))
    for line, rate in zip(lines, rates, strict=True):
        line["learning_rate"] = [rate]
    record = record_of([optimizer(name), *more, *lines], **{"source": "probe", **header})
    return [f for f in audit_recorded(config, record).findings if f.rule.code == "GA901"]


def test_a_warmup_that_the_run_has_not() -> None:
    (one,) = found(CONFIG + "warmup_steps: 10\n", [1e-3] * 30)
    assert "no warm-up: its learning rate is 0.001 from the first step on" in one.message
    assert one.key == "warmup_steps"
    assert one.severity == "warning"


def test_a_schedule_that_the_run_has_not() -> None:
    (one,) = found(DECAY, [1e-3] * 60)
    assert "stays at 0.001, the file's schedule is cosine" in one.message
    assert one.key == "lr_scheduler"


@pytest.mark.parametrize("first", [0.0, 1e-4, 5e-4])
def test_a_warmup_that_is_soon_over_is_one(first: float) -> None:
    """Accelerate calls a scheduler once for each process."""
    assert not found(CONFIG + "warmup_steps: 10\n", [first] + [1e-3] * 29)


def test_what_may_be_otherwise_is_not_judged() -> None:
    level, warm = [1e-3] * 60, CONFIG + "warmup_steps: 10\n"
    assert not found(warm, level, READ)  # resumed, maybe
    assert not found(warm, level, skip_steps=3)
    assert not found(warm, level, source="dryrun")
    assert not found(warm + "lr_scheduler: constant\n", level)
    assert not found(CONFIG + "warmup_steps: 2\n", level)
    assert not found(DECAY, level[:40])  # an epoch may be as long
    assert not found(DECAY, [*level[:50], *[9e-4] * 10])
    assert not found(DECAY.replace("cosine", "wsd"), level)
    free = warm.replace("adamw", "AdamWScheduleFree")
    assert not found(free, level, name="AdamWScheduleFree")


def test_a_schedule_by_hand_that_falls_during_its_warmup() -> None:
    rates = [1e-3 * min(1.0, n / 10) * (1 - n / 100) for n in range(1, 61)]
    (one,) = found(CONFIG, rates)
    assert (one.severity, one.confidence) == ("info", "low")
    (one,) = found(CONFIG, [0.4 * rate for rate in rates])
    assert one.severity == "warning"
    (one,) = found(CONFIG, [9e-4] * 60)
    assert one.severity == "warning"
