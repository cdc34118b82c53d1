"""GA924: what a step did to the weights, and is no longer there when the next begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probe_support import assert_faithful, needs, run_both
from record_support import ADAMW, audit_recorded, codes, lognormal, optimizer, record_of, steps

from gradaudit.evidence.record_reader import read_record
from gradaudit.plan.recorded import as_config

BACK = {"looked": 6, "moved": 6, "kept": 0, "back": 6, "left": 0.0}


def said(looks: list[dict[str, Any]], **more: Any) -> tuple[str, str] | None:
    lines = steps(lognormal(12 * len(looks) or 12))
    for look, line in zip(looks, lines[11::11], strict=False):
        line["last_update"] = look
    finding = codes(ADAMW, record_of([optimizer(**more), *lines])).get("GA924")
    return (finding.severity, finding.confidence) if finding else None


def test_every_look_must_show_it() -> None:
    assert said([BACK] * 2) is None
    assert said([BACK] * 3) == ("warning", "medium")
    assert said([BACK] * 5) == ("error", "high")
    kept = {**BACK, "kept": 6, "back": 0, "left": 1.0}
    assert said([BACK] * 8 + [kept]) is None
    half = {**BACK, "back": 3, "left": 0.4}
    assert said([half] * 9) is None


def test_a_rest_that_is_small_and_one_that_is_not() -> None:
    assert said([{**BACK, "back": 0, "left": 1e-3}] * 9) == ("warning", "medium")
    assert said([{**BACK, "back": 0, "left": 0.051}] * 9) is None
    assert said([{**BACK, "back": 0, "left": "nan"}] * 9) is None


def test_a_step_that_moved_nothing_is_no_look() -> None:
    still = {"looked": 6, "moved": 0, "kept": 0, "back": 0, "left": None}
    assert said([still] * 9) is None
    assert said([*[still] * 4, *[BACK] * 5]) == ("error", "high")


def test_tensors_of_two_optimizers_are_not_judged() -> None:
    assert said([BACK] * 9, shared_tensors=2) is None


def test_shards_without_marks_are_not_judged() -> None:
    lines = [{**step, "last_update": BACK} for step in steps(lognormal(12))]
    note = {"kind": "note", "topic": "zero", "text": "ZeRO: partial"}
    assert "GA924" in codes(ADAMW, record_of([optimizer(), *lines]))
    assert "GA924" not in codes(ADAMW, record_of([optimizer(), *lines, note]))


def test_weights_at_the_bounds_of_a_clamp_are_an_info() -> None:
    held = {**BACK, "clamped": 6}
    assert said([held] * 9) == ("info", "medium")
    assert said([{**BACK, "kept": 2, "back": 4, "clamped": 4, "left": 0.01}] * 9) == (
        "info", "medium",
    )  # fmt: skip
    assert said([*[held] * 8, {**held, "clamped": 5}]) == ("error", "high")  # not all are explained
    assert said([{**held, "left": 0.3, "back": 2}] * 9) is None


@pytest.mark.torch
@needs("torch")
@pytest.mark.parametrize(
    ("kind", "seed", "expected"),
    [
        ("ring", 0, set()), ("ring", 1, set()), ("ring", 2, set()),
        ("saturated", 0, {"info"}), ("saturated", 1, {"info"}), ("restored", 0, {"error"}),
    ],
)  # fmt: skip
def test_the_clamp_of_a_wgan_is_no_state_that_is_put_back(
    tmp_path: Path, kind: str, seed: int, expected: set[str]
) -> None:
    """A saturated critic keeps nothing of its steps, bit for bit, and is no fault."""
    both = run_both(tmp_path, "cpu", "wgan.py", kind, str(seed), "600", skip=400)
    assert_faithful(both)
    record = read_record(str(tmp_path / "record"))
    found = audit_recorded(as_config(record), record).findings
    assert {f.severity for f in found if f.rule.code == "GA924"} == expected


@pytest.mark.torch
@needs("torch")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wgan_that_is_not_clamped_before_its_first_step(tmp_path: Path, seed: int) -> None:
    """Recorded from step 1: a norm 85 times the median, once, is no rare term or sample."""
    both = run_both(tmp_path, "cpu", "wgan.py", "late", str(seed), "600")
    assert_faithful(both)
    record = read_record(str(tmp_path / "record"))
    found = audit_recorded(as_config(record), record).findings
    (first,) = [finding for finding in found if finding.rule.code == "GA933"]
    assert (first.severity, first.unit) == ("info", "optimizer_0")
    assert "the norm of the first step is" in first.message


@pytest.mark.torch
@needs("torch")
@pytest.mark.parametrize(
    "mode",
    [
        "plain", "restored", "averaged", "inner", "perturbed", "swapped", "clipped", "lookahead",
        "sphere", "pruned", "spectral", "meta",
    ],
)  # fmt: skip
def test_what_is_done_to_the_weights_between_two_steps(tmp_path: Path, mode: str) -> None:
    """GA924 speaks of the two that undo the steps, and of nothing that a healthy training does."""
    both = run_both(tmp_path, "cpu", "between.py", mode)
    assert_faithful(both)
    looks = [step for step in both.record.steps if "last_update" in step]
    assert [step["step"] for step in looks] == [12, 23, 34, 45, 56]
    record = read_record(str(tmp_path / "record"))
    found = {f.rule.code: f for f in audit_recorded(ADAMW, record).findings}
    said = (found["GA924"].severity, found["GA924"].confidence) if "GA924" in found else None
    assert said == {"restored": ("error", "high"), "averaged": ("warning", "medium")}.get(mode)
    last = looks[-1]["last_update"]
    assert last["looked"] == last["moved"] == 4
    if mode in ("plain", "swapped", "perturbed"):
        assert last == {
            "looked": 4, "moved": 4, "kept": 4, "back": 0, "clamped": 0, "left": 1.0,
        }  # fmt: skip
    if mode == "averaged":
        assert last["left"] < 2e-3
