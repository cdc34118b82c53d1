"""What the screen of a dry run says of a record: no torch needed."""

from __future__ import annotations

from typing import Any

import pytest
from record_support import record_of

from gradaudit.evidence.dry_run import clip_advice, read_dry_run
from gradaudit.render.dryrun import dry_run_lines
from gradaudit.render.dryrun_advice import NO_KEY
from gradaudit.render.layout import plain

ROLES = {"mse": "primary", "calib": "auxiliary", "var": "auxiliary"}


def lines(
    steps: int = 120, warmup: int = 0, var_every: int = 10, calib: float = 4.0
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"kind": "optimizer", "class": "AdamW", "layers": ["a.weight", "a.bias"],
         "shapes": [[2, 2], [2]], "groups": []},
    ]  # fmt: skip
    for step in range(1, steps + 1):
        acts = step % var_every == 0
        norm = 50.0 if acts else 4.0 + 0.01 * step
        found.append({
            "kind": "step", "step": step, "events": "ZBCS", "learning_rate": [1e-3],
            "pre_clip_norm": norm, "layer_norms": [norm * 0.8, norm * 0.6],
        })  # fmt: skip
        found.append({
            "kind": "terms", "step": step, "total_norm": norm,
            "cosines": [[1.0, 0.0, 0.0 if acts else None], [0.0, 1.0, 0.0 if acts else None],
                        [0.0 if acts else None] * 2 + [1.0 if acts else None]],
            "terms": [
                {"name": "mse", "weight": 1.0, "gradient_norm": 1.0, "active": True},
                {"name": "calib", "weight": 2.0, "gradient_norm": calib, "active": True},
                {"name": "var", "weight": 10.0, "gradient_norm": 50.0 * acts, "active": acts},
            ],
        })  # fmt: skip
    found.append({
        "kind": "trajectory", "unit": "main", "entry": "t.py:build", "seed": 0, "steps": steps,
        "steps_asked": steps, "stopped": "", "optimizer": "AdamW", "clip_norm": 2.0,
        "warmup_steps": warmup, "elements": 6, "notes": [], "adaptive": True, "self_check": 0.0,
    })  # fmt: skip
    return found


def screen(
    entries: list[dict[str, Any]], width: int = 80, held: tuple[str, ...] = ("calib",)
) -> str:
    run = read_dry_run(record_of(entries, source="dryrun"), ROLES)
    run.in_file = {name: "" if name in held else NO_KEY for name in ROLES}
    drawn = dry_run_lines(run, "c.yaml", "DIR", "gradaudit fix c.yaml --record DIR", width)
    rows = [plain(line) for line in drawn]
    assert all(len(row) <= width for row in rows)
    return " ".join(" ".join(rows).split())


def also(line: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [*lines(**more), line]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_causes_weights_and_the_command(width: int) -> None:
    said = screen(lines(), width)
    assert "1. `var`: 94 % of the squared norm, all of it at the 10 % of steps" in said
    assert "without it the 95th percentile is 4.12, not 50" in said
    assert "calib 2 -> 0.17 x 0.0833" in said
    assert ("x 0.0833 (0.0833 to 0.0833)" in said) is (width > 60)
    assert "var 10 -> 0.1 x 0.00667" in said
    assert "* the file has no key that is known to be this weight" in said
    assert "clip threshold: none, fix what makes the spikes first" in said
    assert "`gradaudit fix c.yaml --record DIR` shows the new weights as a diff" in said
    assert "largest layers, share of the squared norm: `a.weight` 64 %, `a.bias` 36 %" in said


def test_nothing_is_recommended_inside_the_warm_up() -> None:
    said = screen(lines(steps=50, warmup=60))
    assert "all 50 steps lie inside the warm-up" in said
    assert "Take --steps 160" in said
    assert "weights: none, 0 steps after the warm-up; 30 more are needed (30)" in said
    assert "clip threshold: none, 100 more steps after the warm-up are needed" in said


def spiking(norm: float, every: int, calib: float = 0.1) -> list[dict[str, Any]]:
    """`var` with another norm than 50, which the total follows."""
    found = lines(var_every=every, calib=calib)
    for line in found:
        for term in line.get("terms", []):
            if term["name"] == "var" and term["active"]:
                term["gradient_norm"] = norm
        if line["kind"] in ("step", "terms"):
            acts = line["step"] % every == 0
            line["pre_clip_norm" if line["kind"] == "step" else "total_norm"] = (
                norm if acts else 1.0
            )
    return found


@pytest.mark.parametrize("width", [80, 140])
def test_a_rare_term_that_makes_a_spike_is_lowered(width: int) -> None:
    """One step in 120, in no percentile and no mean: by what it does to the largest norm."""
    said = screen(spiking(50.0, 119), width)
    assert "1. `var`: 95 % of the squared norm, all of it at the 0.8 % of steps" in said
    assert "without it the largest is 1, not 50" in said
    assert "weights: lower what makes the spikes; primary weights stay" in said
    assert "var 10 -> 0.1 x 0.00667 *" in said
    assert (
        "`var` acted at 1 of 120 steps only, with 50 times the norm of the usual step (1)" in said
    )
    assert "and the largest would be 1.12, not 50" in said
    assert "calib 2 ->" not in said


@pytest.mark.parametrize(
    ("norm", "every", "said"),
    [
        (4.0, 119, "acted at 1 of 120 steps, with a norm of 4, 4.0 times that of the usual step"),
        (4.0, 119, "step: no spikes, as far as that tells; some 120 more steps would judge it"),
        (4.0, 999, "never acted in 120 steps; it may still act at up to 2.5 % of such steps; more"),
    ],
)  # fmt: skip
def test_what_acts_too_rarely_says_what_would_judge_it(norm: float, every: int, said: str) -> None:
    text = screen(spiking(norm, every))
    assert "`var` stays: it " in text
    assert said in text
    assert "weights: none, the auxiliary terms do not lead the training" in text


def test_a_balanced_loss_gets_a_threshold_and_no_weights() -> None:
    said = screen(lines(var_every=1000, calib=0.1))
    assert "weights: none, the auxiliary terms do not lead the training" in said
    assert "clip threshold: 5.08, the 90th percentile" in said
    assert "2 acts at 120 of 120 steps, which under an adaptive optimiser only normalises" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            {"kind": "noise", "refused": "BatchNorm couples the samples of a batch"},
            "noise scale: none, BatchNorm couples",
        ),
        (
            {"kind": "noise", "noise_scale": 90.0, "low": 40.0, "high": "inf",
             "lower_bound_only": True, "batches": 24, "micro_batch": 8},
            "noise scale: above 40 samples; no upper end can be told (24 batches of 8",
        ),
        (
            {"kind": "noise", "noise_scale": "inf", "low": 0.0, "high": "inf",
             "lower_bound_only": True, "batches": 24, "micro_batch": 8},
            "noise scale: cannot be told from noise",
        ),
        (
            {"kind": "batch_size_bias", "micro_batch": 2, "large": 8, "batches": 64,
             "cosine": [0.5, 0.4, 0.6], "cosine_frozen_norm": [0.99, 0.95, 1.0]},
            "normalisation: BatchNorm alone turns the gradient at 2 samples",
        ),
        (
            {"kind": "batch_size_bias", "micro_batch": 2, "large": 8, "batches": 64,
             "cosine": [0.5, 0.4, 0.6], "cosine_frozen_norm": [0.5, 0.4, 0.6]},
            "batch: raise the micro-batch from 2 to 8 or more",
        ),
        (
            {"kind": "batch_size_bias", "micro_batch": 2, "large": 8, "batches": 64,
             "cosine": None},
            "noise hides whether they differ (64 batches)",
        ),
        (
            {"kind": "rate_test", "learning_rate": 0.1, "factors": [1.0, 2.0],
             "losses": [[1.0, 1.0, 1.0, 1.0], [1.0, "inf"]]},
            "x 2: the loss is not finite",
        ),
        (  # the rate itself is too high, though the steps before were finite
            {"kind": "rate_test", "learning_rate": 0.1, "factors": [0.5, 1.0, 2.0],
             "losses": [[1.0, 1.0, 1.0, 1.0], [1.0, 9.0, "inf"], [9.0, "nan"]]},
            "x 0.5: the loss stays finite x 1: the loss is not finite x 2: the loss is not finite",
        ),
        (
            {"kind": "term", "name": "calib", "samples": "coupled", "steps": 9,
             "without_graph": 9, "median_value": 0.5},
            "`calib` never had a graph: nothing is trained by it",
        ),
    ],
)  # fmt: skip
def test_lines_of_the_record(line: dict[str, Any], said: str) -> None:
    assert said in screen(also(line))


def test_no_threshold_for_a_norm_that_the_new_weights_will_change() -> None:
    said = screen(lines(var_every=1000))
    assert "calib 2 -> " in said
    assert "clip threshold: none from this run: other weights make another norm" in said


def test_an_end_that_is_not_zero_does_not_read_as_zero() -> None:
    """A difference of 0.03 % that is beyond chance."""
    losses = [[1.0] * 8, [0.9997, 0.9996] * 4]
    line = {"kind": "rate_test", "learning_rate": 0.1, "factors": [1.0, 2.0], "losses": losses}
    assert "x 2: loss -0.035% (-0.04% to -0.03%), lower" in screen(also(line))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (8.0, "x 2: loss +700.0% (+700.0% to +700.0%), higher"),
        (40.0, "x 2: loss 40 times that at the rate itself (40 times to 40 times), far higher"),
        (4e11, "x 2: loss 4e+11 times that at the rate itself (4e+11 times to 4e+11 times), far"),
    ],
)
def test_a_loss_that_runs_away_is_told_as_a_factor(loss: float, said: str) -> None:
    """Thirty-nine billion per cent is no number that anyone reads."""
    losses = [[1.0] * 8, [loss] * 8]
    line = {"kind": "rate_test", "learning_rate": 0.1, "factors": [1.0, 2.0], "losses": losses}
    assert said in screen(also(line))


@pytest.mark.parametrize("name", ["SGD", "AdamW", ""])
def test_the_noise_scale_is_a_rough_guide_under_other_optimisers_than_sgd(name: str) -> None:
    entries = also({"kind": "noise", "micro_batch": 8, "batches": 24, "noise_scale": 90.0,
                    "low": 70.0, "high": 120.0, "lower_bound_only": False})  # fmt: skip
    (about,) = [entry for entry in entries if entry["kind"] == "trajectory"]
    about["optimizer"] = name
    note = "" if name == "SGD" else f"; under {name or 'Adam'} a rough guide only"
    assert f"noise scale: 70 to 120 samples (24 batches of 8{note})" in screen(entries)


def test_it_says_on_how_many_micro_batches_terms_and_rates_were_measured() -> None:
    losses = [[1.0] * 8, [0.9997, 0.9996] * 4]
    line = {"kind": "rate_test", "learning_rate": 0.1, "factors": [1.0, 2.0], "losses": losses}
    one = also(line | {"micro_batches": 1})
    assert "micro-batches" not in screen(one)
    assert "on the same batches: it says whether" in screen(one)

    def several(took: int) -> str:
        entries = also(line | {"micro_batches": took})
        (about,) = [entry for entry in entries if entry["kind"] == "trajectory"]
        about |= {"accumulation": 4, "ranks": 2}
        return screen(entries)

    assert "Measured on the first of the 8 micro-batches of each step" in several(8)
    assert "on the same batches, 8 micro-batches a step as in the run: it says" in several(8)
    said = (
        "1 micro-batch a step where the run takes 8, so that gradients are noisier than the run's"
    )
    assert said in several(1)


def test_threshold_from_percentiles() -> None:
    assert clip_advice([1.0] * 99)[0] is None
    norms = [1.0 + 0.01 * (37 * n % 100) for n in range(100)]
    threshold, interval, why = clip_advice(norms)
    assert threshold == pytest.approx(1.891)
    assert interval is not None
    assert interval[0] < 1.891 < interval[1]
    assert not why
    assert clip_advice([*norms[:90], *[99.0] * 10])[2] == "fix what makes the spikes first"


def test_what_autocast_rounds_and_the_scaler_skips() -> None:
    entries = lines()
    (about,) = [line for line in entries if line["kind"] == "trajectory"]
    about |= {"self_check": 3e-7, "autocast": "float16", "rounding": 4e-4, "unchecked": "",
              "skipped": 3, "loss_scale": 8192.0}  # fmt: skip
    said = screen(entries)
    assert (
        "self-check, in full precision: the terms' gradients add up to their sum's, to 3e-07"
        in said
    )
    assert "under float16 autocast, which rounds each of them, to 4e-04" in said
    assert "rounds each of them, exactly" in screen(
        [entry | ({"rounding": 0.0} if entry is about else {}) for entry in entries]
    )
    assert "the loss scaler skipped 3 steps, whose gradients overflowed" in said
    about["unchecked"] = "FlashAttention only supports fp16"
    assert "does not run without (FlashAttention only supports fp16)" in screen(entries)


def test_of_few_steps_no_tail_is_told() -> None:
    """The 95th percentile of one step over its median is 1: that is no even norm."""
    few = screen(lines(steps=20, warmup=19))
    assert "Loss terms, step 20 " in few
    assert " 1 step: median " in few
    assert "of 1 step (" in few or "acted" not in few
    assert "over median" not in few
    assert "over median" in screen(lines(steps=39, warmup=19))


def test_a_clip_by_value_is_on_the_screen() -> None:
    found = lines(var_every=1000)
    assert "by value" not in screen(found)
    for line in found:
        if line["kind"] == "step":
            line["clips"] = [{"what": "value", "clip_value": 0.05}]
    said = screen(found)
    assert "a clip by value cuts each element to between -0.05 and 0.05" in said
    assert "how often it acted is not measured" in said


def test_one_step_after_the_warm_up_is_one_step() -> None:
    said = screen(lines(steps=50, warmup=49))
    assert "weights: none, 1 step after the warm-up; 29 more are needed (30)" in said
