"""The screen of a dry run promises what `fix` does with its record, and gives the reasons that
`check` gives: no torch needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from record_support import write_record
from support import run_cli
from test_dryrun_screen import lines

from gradaudit.audit import audit_path
from gradaudit.cli.dry_told import tell
from gradaudit.cli.dryrun import _show
from gradaudit.cli.options import CheckArguments
from gradaudit.evidence.dry_run import DryRun, read_dry_run
from gradaudit.evidence.record_reader import read_record
from gradaudit.options import Options
from gradaudit.render.dryrun import dry_run_lines
from gradaudit.render.layout import plain
from gradaudit.settings import Finder

CONFIG = """\
optimizer: adamw
learning_rate: 1.0e-3
gradient_clip_norm: {clip}
batch_size: 64
loss_weights:
  mse: 1.0
  calib: {calib}
"""
ROLES = {"mse": "primary", "calib": "auxiliary", "var": "auxiliary"}


def record(norms: list[float] | None = None, calib: float = 4.0) -> list[dict[str, Any]]:
    """Of `mse` and `calib`, whose weight is 2; with these norms of the whole."""
    entries = lines(calib=calib, var_every=1000)
    for entry in entries:
        if entry["kind"] == "terms":
            entry["terms"] = entry["terms"][:2]
            entry["cosines"] = [[1.0, 0.0], [0.0, 1.0]]
        elif entry["kind"] == "step" and norms is not None:
            entry["pre_clip_norm"] = norms[entry["step"] - 1]
            entry["clips"] = [{"what": "norm", "clip_norm": 2.0}]
    return entries


def told(
    tmp_path: Path, text: str, entries: list[dict[str, Any]], settings: str = ""
) -> tuple[DryRun, str, str]:
    """The summary, the screen, and what `fix` says of the same, under these settings."""
    config = tmp_path / "c.yaml"
    config.write_text(text)
    later = "2099-01-01T00:00:00+00:00"  # than the file: it was not changed since
    folder = str(write_record(tmp_path / "r", entries, source="dryrun", started=later))
    run = read_dry_run(read_record(folder), ROLES)
    words = ["--isolated"]
    if settings:
        (tmp_path / "gradaudit.toml").write_text(settings)
        words = ["--config", str(tmp_path / "gradaudit.toml")]
    finder = Finder(words[1] if settings else None, not settings)
    tell(run, str(config), "main", read_record(folder), finder)
    drawn = dry_run_lines(run, "c.yaml", "r", "gradaudit fix c.yaml --record r", 80)
    screen = " ".join(" ".join(plain(line) for line in drawn).split())
    fix = " ".join(run_cli("fix", str(config), "--record", folder, *words).out.split())
    return run, screen[screen.index("What to change") :], fix


def test_a_weight_that_fix_writes_is_promised(tmp_path: Path) -> None:
    run, screen, fix = told(tmp_path, CONFIG.format(clip=2.0, calib=2.0), record())
    assert "calib 2 -> 0.33" in screen
    assert "shows the new weights as a diff" in screen
    assert run.in_file == {"calib": ""}
    assert "+ calib: 0.33" in fix


def test_a_weight_that_is_not_the_files_is_not_promised(tmp_path: Path) -> None:
    """In the code it is 2, in a file that nobody changed 0.5."""
    _, screen, fix = told(tmp_path, CONFIG.format(clip=2.0, calib=0.5), record())
    why = "the run's weight of `calib` is 2, `calib` is 0.5: find out which is meant"
    assert f"* `fix` does not write `calib`: {why}" in screen
    assert "shows the new weights" not in screen
    assert "no key that is known" not in screen
    assert "Nothing to fix" in fix
    assert why in fix


def spread(low: float, high: float) -> list[float]:
    """Norms in no order, so that neighbours are not alike."""
    return [low + (high - low) * (step * 61 % 120) / 119 for step in range(120)]


@pytest.mark.parametrize(
    ("clip", "norms", "said"),
    [
        ("1.0", spread(2, 4), "clip threshold: 3.8, the 90th percentile"),
        ("3.5", spread(2, 4), "clip threshold: 3.5 may stay, it acts at 30 of 120 steps; the 90th"),
        ("50.0", spread(2, 4), "as a guard against spikes the 90th percentile is 3.8"),
        ("1.0", [*spread(2, 4)[:60], 300.0, *spread(2, 4)[61:]],
         "clip threshold: none, the largest norm is 100 times the median: find out which term"),
    ],
)  # fmt: skip
def test_a_threshold_is_what_the_rules_say_of_it(
    tmp_path: Path, clip: str, norms: list[float], said: str
) -> None:
    entries = record(norms, calib=0.1)
    entries[-1]["clip_norm"] = float(clip)
    run, screen, fix = told(tmp_path, CONFIG.format(clip=clip, calib=2.0), entries)
    assert said in screen
    written = "shows the new threshold as a diff" in screen
    assert written is run.clip_written
    assert written is ("+gradient_clip_norm" in fix)
    assert written is (said.startswith("clip threshold: 3.8"))


def test_no_threshold_beside_a_batch_that_is_to_change(tmp_path: Path) -> None:
    text = CONFIG.format(clip=1.0, calib=2.0).replace("64", "4") + "norm: batch\n"
    entries = record(spread(2, 4), calib=0.1)
    for entry in entries:
        if entry["kind"] == "step":
            entry["batch_norm"] = [{"mode": "train", "batch": 4, "calls": 1}]
    run, screen, fix = told(tmp_path, text, entries)
    assert "clip threshold: none, mend GA301" in screen
    assert run.also == ["raise `batch_size` from 4 to 16"]
    assert "shows a diff: raise `batch_size` from 4 to 16" in screen
    assert "+batch_size: 16" in fix
    assert "+gradient_clip_norm" not in fix


def test_a_weight_on_a_schedule_says_so(tmp_path: Path) -> None:
    entries = record()
    for entry in entries:
        if entry["kind"] == "terms":
            entry["terms"][1]["weight"] = 0.1 * entry["step"]
    _, screen, fix = told(tmp_path, CONFIG.format(clip=2.0, calib=2.0), entries)
    why = "its weight changes during training (0.1 to 12)"
    assert "none can be lowered, though the auxiliary terms lead the training with 80 %" in screen
    assert f"`calib` stays: {why}" in screen
    assert f"`calib`: {why}" in fix


def test_terms_of_a_step_that_was_not_done_do_not_count(tmp_path: Path) -> None:
    """Ctrl-C between the measurement of a step and the step: 25 stood beside 24 steps."""
    entries = [
        entry
        for entry in record()
        if entry.get("step", 0) <= 24 or (entry["kind"], entry["step"]) == ("terms", 25)
    ]
    assert sum(entry["kind"] == "terms" for entry in entries) == 25
    _, screen, _ = told(tmp_path, CONFIG.format(clip=2.0, calib=2.0), entries)
    assert "weights: none, 24 steps after the warm-up; 6 more are needed (30)" in screen


SEVERAL = """\
model:
  optimizer: adamw
  learning_rate: 1.0e-3
  gradient_clip_norm: 2.0
  loss_weights: {mse: 1.0, calib: 2.0}
gan:
  optimizer: adamw
  learning_rate: 1.0e-3
  gradient_clip_norm: 2.0
"""


def test_the_unit_main_beside_another_that_is_like_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`model` is the unit `main`: `fix` without --unit cannot tell whose record it is."""
    config = tmp_path / "c.yaml"
    config.write_text(SEVERAL)
    later = "2099-01-01T00:00:00+00:00"
    folder = str(write_record(tmp_path / "r", record(), source="dryrun", started=later))
    finder, arguments = Finder(None, True), CheckArguments()
    arguments.isolated = True
    result = audit_path(str(config), Options(), finder)
    assert [unit.name for unit in result.units] == ["main", "gan"]
    assert _show(arguments, result.units[0], folder, result, finder) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "no key that is known" not in shown
    assert "--unit main --isolated` shows the new weights as a diff" in shown
    said = run_cli("fix", str(config), "--record", folder, "--isolated", "--unit", "main").out
    assert "calib: 0.33" in said


def test_where_the_file_cannot_be_looked_into_nothing_is_said_of_its_keys(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("a: [\n")  # edited while the dry run ran
    folder = str(write_record(tmp_path / "r", record(), source="dryrun"))
    run = read_dry_run(read_record(folder), ROLES)
    tell(run, str(config), "main", read_record(folder), Finder(None, True))
    drawn = dry_run_lines(run, "c.yaml", "r", "gradaudit fix c.yaml --record r", 80)
    screen = " ".join(" ".join(plain(line) for line in drawn).split())
    assert "calib 2 -> 0.33" in screen
    assert "no key that is known" not in screen
    assert "as a diff" not in screen


def two_spike() -> list[dict[str, Any]]:
    """`calib` and `var` act at 3 of 120 steps with 11 and 12 times the norm of `mse`."""
    entries = lines(var_every=40)
    for entry in entries:
        if entry["kind"] == "terms":
            acts = entry["step"] % 40 == 0
            for term, norm in zip(entry["terms"], (10.0, 110.0 * acts, 120.0 * acts), strict=True):
                term["gradient_norm"], term["active"] = norm, norm > 0
            entry["total_norm"], entry["cosines"] = 170.0 if acts else 10.0, []
    return entries


def test_two_terms_that_spike_alike_are_both_lowered(tmp_path: Path) -> None:
    """Neither is ten times the other; each is eleven times the usual norm, and the task leads."""
    run, _, fix = told(tmp_path, CONFIG.format(clip=2.0, calib=2.0) + "  var: 10.0\n", two_spike())
    assert not run.balance.dominated
    assert {advice.name for advice in run.balance.to_apply} == {"calib", "var"}
    assert run.in_file == {"calib": "", "var": ""}
    assert "GA964 (recommended): lower" in fix


def test_behind_a_clip_by_value_the_screen_and_fix_have_one_threshold(tmp_path: Path) -> None:
    """A dry run clips by value first and by norm then, as the config says."""
    entries = record(spread(20, 30), calib=0.1)
    for entry in entries:
        if entry["kind"] == "step":
            own = entry["pre_clip_norm"] / 8
            entry["clips"] = [
                {"what": "value", "clip_value": 0.5, "covered": 2, "of": 2},
                {"what": "norm", "clip_norm": 3.0, "pre_clip_norm": own, "covered": 2, "of": 2},
            ]
        elif entry["kind"] == "trajectory":
            entry["clip_norm"] = 3.0
    text = CONFIG.format(clip=3.0, calib=2.0).replace("adamw", "sgd")
    run, screen, fix = told(tmp_path, text, entries)
    assert run.clip_written
    assert "clip threshold: 3.6" in screen
    above = sum(norm / 8 > 3.0 for norm in spread(20, 30))
    assert f"3 acts at {above} of 120 steps" in screen
    assert "+gradient_clip_norm: 3.6" in fix


def spiked() -> list[dict[str, Any]]:
    """`calib` at weight 2 acts at 2 of 120 steps, with 30 times the norm of the others, 10."""
    entries = record(spread(9, 11), calib=0.1)
    for entry in entries:
        acts = entry["step"] % 50 == 0 if "step" in entry else False
        if entry["kind"] == "terms":
            for term, norm in zip(entry["terms"], (10.0, 300.0 * acts), strict=True):
                term["gradient_norm"], term["active"] = norm, norm > 0
            entry["total_norm"] = 300.0 if acts else 10.0
        elif entry["kind"] == "step" and acts:
            entry["pre_clip_norm"] = 300.0
    return entries


def test_a_file_that_was_mended_makes_no_spikes(tmp_path: Path) -> None:
    """At the file's new weight the term has the norm of no spike."""
    folder = str(write_record(tmp_path / "r", spiked(), source="dryrun"))
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(clip=20.0, calib=2.0))
    assert "GA964" in run_cli("check", str(config), "--record", folder, "--isolated").out
    run_cli("fix", str(config), "--record", folder, "--isolated", "--write")
    assert "calib: 0.044" in config.read_text()
    after = run_cli("check", str(config), "--record", folder, "--isolated").out
    assert "GA964" not in after


@pytest.mark.parametrize("weight", ["", "  calib: ${w}\n"])
def test_no_threshold_from_the_norms_of_spikes_that_fix_cannot_mend(
    tmp_path: Path, weight: str
) -> None:
    """The weight stands in the code, or is no plain number: GA964 has no fix to wait for."""
    text = CONFIG.format(clip=2.0, calib=2.0).replace("  calib: 2.0\n", weight) + "w: 2.0\n"
    entries = spiked()
    entries[0]["class"] = "SGD"
    run, screen, fix = told(tmp_path, text.replace("adamw", "sgd"), entries)
    assert not run.balance.dominated
    assert "clip threshold: none from this run" in screen
    assert "+gradient_clip_norm" not in fix
    assert "lower the weight of `calib` first, then record again" in fix


SGD = CONFIG.replace("adamw", "sgd")


def of_sgd(norms: list[float]) -> list[dict[str, Any]]:
    entries = record(norms, calib=0.1)
    entries[0]["class"] = "SGD"
    return entries


def test_the_threshold_on_the_screen_has_the_digits_that_fix_writes(tmp_path: Path) -> None:
    """The 90th percentile is 4.87: two digits are inside its interval."""
    entries = of_sgd(spread(3.0, 5.08))
    run, screen, fix = told(tmp_path, SGD.format(clip=2.0, calib=2.0), entries)
    assert run.clip_advice == 4.9
    assert "clip threshold: 4.9, the 90th percentile" in screen
    assert "+gradient_clip_norm: 4.9" in fix


@pytest.mark.parametrize(
    ("limit", "why", "written"),
    [
        ("recommend-steps = 200", "from 200 steps after the warm-up: record 80 more", False),
        ("tail = 1.1", "the 95th percentile is 1.2 times the median", False),
        ("recommend-steps = 40", "", True),
    ],
)
def test_the_threshold_goes_by_the_limits_of_the_user(
    tmp_path: Path, limit: str, why: str, written: bool
) -> None:
    entries = of_sgd(spread(3.0, 5.05))
    settings = f"[rules.GA931]\n{limit}\n"
    run, screen, fix = told(tmp_path, SGD.format(clip=2.0, calib=2.0), entries, settings)
    assert why in screen
    assert why in fix
    assert run.clip_written is written
    assert written is ("+gradient_clip_norm" in fix)


def test_fewer_steps_suffice_where_the_user_says_so(tmp_path: Path) -> None:
    """The norms alone ask for 100."""
    entries = [e for e in of_sgd(spread(3.0, 5.05)) if e.get("step", 0) <= 90]
    settings = "[rules.GA931]\nrecommend-steps = 60\n"
    run, screen, fix = told(tmp_path, SGD.format(clip=2.0, calib=2.0), entries, settings)
    assert f"clip threshold: {run.clip_advice:g}, the 90th percentile" in screen
    assert f"+gradient_clip_norm: {run.clip_advice:g}" in fix


def test_a_weight_that_is_no_plain_number_has_a_reason_of_its_own(tmp_path: Path) -> None:
    """Beside one that is written, so that GA964 has a fix and says nothing of what it leaves."""
    text = "w: 10.0\n" + CONFIG.format(clip=2.0, calib=2.0) + "  var: ${w}\n"
    run, _, fix = told(tmp_path, text, two_spike())
    why = "`var` does not stand in this file as a plain number"
    assert run.in_file == {"calib": "", "var": why}
    assert "GA964 (recommended): lower `calib` by" in fix
    assert f"{why}: by hand, 10 to" in fix


def test_a_change_to_another_training_is_named_with_it(tmp_path: Path) -> None:
    one = "  optimizer: adamw\n  learning_rate: 1.0e-3\n  batch_size: 64\n  reg_weight: 0.1\n"
    one, other = (
        f"{one}  mse_weight: 1.0\n  calib_weight: 2.0\n",
        f"{one}  mse_weight: 1.0\n  calib_weight: 40.0\n",
    )
    config = tmp_path / "c.yaml"
    config.write_text(f"generator:\n{one}critic:\n{other}")
    later = "2099-01-01T00:00:00+00:00"
    entries = record()
    entries[-1]["unit"] = "generator"
    folder = str(write_record(tmp_path / "r", entries, source="dryrun", started=later))
    read = read_record(folder)
    run = read_dry_run(read, ROLES)
    tell(run, str(config), "generator", read, Finder(None, True))
    assert run.also == ["lower `calib_weight` to 1.0 in `critic`"]
