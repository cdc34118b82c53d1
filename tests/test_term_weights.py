"""`fix --record`: weights from a dry run's record, through the whole flow of a fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from record_support import audit_recorded, record_of, write_record

from gradaudit.audit import audit_source
from gradaudit.evidence.dry_run import read_dry_run
from gradaudit.evidence.record_reader import read_record
from gradaudit.findings import RECOMMENDED, SAFE
from gradaudit.fixing import fix_bytes
from gradaudit.options import Options
from gradaudit.plan.terms import shares_of
from gradaudit.settings import Settings
from gradaudit.source import Source

CONFIG = """\
optimizer: adamw
learning_rate: 1.0e-3
loss_weights:
  mse: 1.0        # the task
  calib: {calib}   # since v3
  variance: 10.0
"""


def lines(
    steps: int = 60, *, calib: float = 8.0, rare: int = 1, warmup: int = 0, scheduled: bool = False
) -> list[dict[str, Any]]:
    """mse has a norm of 1, calib of 20; variance acts at every `rare`-th step, with 300."""
    found: list[dict[str, Any]] = [{"kind": "optimizer", "class": "AdamW", "groups": []}]
    for step in range(1, steps + 1):
        rate = 1e-3 * min(step / (warmup or 1), 1.0)
        found.append({
            "kind": "step", "step": step, "events": "ZBS", "learning_rate": [rate],
            "pre_clip_norm": 20.0,
        })  # fmt: skip
        acts = step % rare == 0
        term = [
            {"name": "mse", "weight": 1.0, "value": 0.5, "gradient_norm": 1.0, "active": True},
            {"name": "calib", "weight": calib + step * scheduled, "value": 0.5,
             "gradient_norm": 20.0, "active": True},
            {"name": "variance_loss", "weight": 10.0, "value": 0.0,
             "gradient_norm": 300.0 if acts else 0.0, "active": acts},
        ]  # fmt: skip
        found.append({"kind": "terms", "step": step, "terms": term, "total_norm": 20.0})
    return found


def fixed(
    tmp_path: Path, text: str, entries: list[dict[str, Any]], edited: bool = False
) -> tuple[str, list[str]]:
    """The text after `fix --record`, and why findings of the loss have no fix. `edited`: the record
    was made before this text was."""
    options = Options()
    folder = write_record(tmp_path / "record", entries, source="dryrun")
    options.record = read_record(str(folder))
    options.edited = edited
    done = fix_bytes(text.encode(), "c.yaml", options, Settings(), (SAFE, RECOMMENDED), True)
    text = done.outcome.text if done.outcome is not None else text
    return text, [f.no_fix for f in done.after.findings if f.rule.code in ("GA401", "GA961")]


def test_auxiliary_weights_come_down_by_the_formula_and_nothing_else(tmp_path: Path) -> None:
    """pi: 0.6 for mse, 0.2 for each of two. calib: 8 x (0.2 / 0.6) / 20 = 0.13; variance: the
    hundredth of one round, for (0.2 / 0.6) / 300 is less."""
    text = CONFIG.format(calib="8.0")
    after, _ = fixed(tmp_path, text, lines())
    assert after == text.replace("8.0 ", "0.13 ").replace("10.0", "0.1")


def test_the_same_record_is_not_applied_twice(tmp_path: Path) -> None:
    once, said = fixed(tmp_path, CONFIG.format(calib="8.0"), lines())
    again, later = fixed(tmp_path, once, lines(), edited=True)
    assert again == once
    assert all("measure again" in text for text in [*said, *later])


def test_a_weight_that_changed_since_is_left_alone(tmp_path: Path) -> None:
    text = CONFIG.format(calib="4.0")
    after, _ = fixed(tmp_path, text, lines(), edited=True)
    assert after == text.replace("10.0", "0.1")


def test_a_weight_of_the_run_that_is_not_the_files_is_said(tmp_path: Path) -> None:
    """The file was not changed: `calib` is 8 in the code, and the norms are those of 8."""
    record = record_of(lines(), source="dryrun")
    result = audit_recorded(CONFIG.format(calib="4.0"), record)
    (unlike,) = [f for f in result.findings if f.rule.code == "GA907"]
    assert unlike.message == "the run's weight of `calib` is 8, `calib` is 4"
    assert unlike.severity == "warning"
    shares = {share.name: share for share in shares_of(result.units[0].measured[0])}
    assert shares["calib"].rms == 20.0
    assert shares["calib"].weight == 8.0
    entries = [{**e, "terms": e["terms"][:2]} if e["kind"] == "terms" else e for e in lines()]
    text = CONFIG.format(calib="4.0").replace("  variance: 10.0\n", "")
    after, said = fixed(tmp_path, text, entries)
    assert after == text
    assert any("find out which is meant" in reason for reason in said)


def test_a_file_that_was_changed_since_differs_on_purpose(tmp_path: Path) -> None:
    options = Options()
    options.record, options.edited = record_of(lines(), source="dryrun"), True
    source = Source("c.yaml", CONFIG.format(calib="4.0"))
    result = audit_source(source, options, Settings())
    assert "GA907" not in {f.rule.code for f in result.findings}
    shares = {share.name: share for share in shares_of(result.units[0].measured[0])}
    assert shares["calib"].rms == 10.0


def test_steps_inside_the_warm_up_do_not_count(tmp_path: Path) -> None:
    text = CONFIG.format(calib="8.0")
    after, said = fixed(tmp_path, text, lines(40, warmup=30))
    assert after == text
    assert any("more are needed" in reason for reason in said)


@pytest.mark.parametrize("told", [True, False])
def test_screen_and_fix_count_the_same_steps(tmp_path: Path, told: bool) -> None:
    """Penalties that sleep in the warm-up have 40 % of all steps, and lead the others; whether the
    dry run says where it ended or only the rates show it."""
    entries = lines(80, warmup=40)
    for entry in entries:
        for term in entry.get("terms", ()):
            if entry["step"] < 40 and term["name"] != "mse":
                term["gradient_norm"], term["active"] = 0.0, False
            elif term["name"] == "mse":
                term["gradient_norm"] = 400.0 if entry["step"] < 40 else 1.0
    if told:
        entries.append({"kind": "trajectory", "warmup_steps": 40})
    record = record_of(entries, source="dryrun")
    measured = audit_recorded(CONFIG.format(calib="8.0"), record).units[0].measured[0]
    shares = {share.name: share.share for share in shares_of(measured)}
    if told:
        run = read_dry_run(record, {share.name: share.role for share in shares_of(measured)})
        assert run.balance.to_apply
        assert {term.name: term.share for term in run.terms} == pytest.approx(shares)
    assert shares["mse"] < 0.01
    text = CONFIG.format(calib="8.0")
    assert fixed(tmp_path, text, entries)[0] == text.replace("8.0 ", "0.13 ").replace("10.0", "0.1")


def test_why_a_weight_on_a_schedule_stays(tmp_path: Path) -> None:
    entries = [
        {**e, "terms": e["terms"][:2]} if e["kind"] == "terms" else e for e in lines(scheduled=True)
    ]
    text = CONFIG.format(calib="8.0").replace("  variance: 10.0\n", "")
    after, said = fixed(tmp_path, text, entries)
    assert after == text
    assert any("`calib`: its weight changes during training (9 to 68)" in why for why in said)


@pytest.mark.parametrize(("norm", "changes"), [(300.0, True), (40.0, False)])
def test_a_term_that_hardly_acts_stays_unless_it_spikes(
    tmp_path: Path, norm: float, changes: bool
) -> None:
    """At one step in 200, with 15 times the usual norm of 20, and with 2 times."""
    entries = lines(200, rare=200)
    for entry in entries:
        for term in entry.get("terms", []):
            if term["name"] == "variance_loss" and term["active"]:
                term["gradient_norm"] = norm
    after, _ = fixed(tmp_path, CONFIG.format(calib="8.0"), entries)
    assert ("variance: 10.0" not in after) is changes


def test_a_weight_on_a_schedule_stays(tmp_path: Path) -> None:
    after, _ = fixed(tmp_path, CONFIG.format(calib="8.0"), lines(scheduled=True))
    assert "calib: 8.0 " in after
    assert "variance: 0.1" in after


def test_what_the_script_calls_the_task_is_not_touched(tmp_path: Path) -> None:
    roles = [
        {"kind": "term", "name": name, "role": role}
        for name, role in (("mse", "primary"), ("calib", "primary"), ("variance_loss", "auxiliary"))
    ]
    after, _ = fixed(tmp_path, CONFIG.format(calib="8.0"), [*lines(), *roles])
    assert "calib: 8.0 " in after
    assert "variance: 10.0" not in after


def test_a_longer_name_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    """`calib_bounds` is in no file; it must not be given the weight of `calib`."""
    entries = lines()
    for entry in entries:
        if entry["kind"] == "terms":
            entry["terms"].append({"name": "calib_bounds", "weight": 0.5, "value": 0.1,
                                   "gradient_norm": 50.0, "active": True})  # fmt: skip
    after, _ = fixed(tmp_path, CONFIG.format(calib="8.0"), entries)
    assert "calib: 0.089 " in after  # three auxiliary terms: 8 x (0.4 / 3 / 0.6) / 20


OTHER_NAMES = """\
optimizer: adamw
learning_rate: 1.0e-3
model:
  depth: 4
train:
  depth_weight: 8.0   # metres
"""


def test_a_weight_is_found_by_the_terms_name_and_its_number(tmp_path: Path) -> None:
    """Neither name is known for a loss; `model.depth` is another number."""
    renamed = {"mse": "heading", "calib": "depth"}
    entries = [{**e, "terms": e["terms"][:2]} if e["kind"] == "terms" else e for e in lines()]
    for entry in entries:
        for term in entry.get("terms", ()):
            term["name"] = renamed[term["name"]]
    roles = [{"kind": "term", "name": "heading", "role": "primary"},
             {"kind": "term", "name": "depth", "role": "auxiliary"}]  # fmt: skip
    after, _ = fixed(tmp_path, OTHER_NAMES, [*entries, *roles])
    assert after == OTHER_NAMES.replace("8.0 ", "0.27 ")
    assert fixed(tmp_path, after, [*entries, *roles])[0] == after
    twice = OTHER_NAMES + "  depth: 8.0\n"
    assert fixed(tmp_path, twice, [*entries, *roles])[0] == twice  # which of the two is not known


def test_a_term_that_spikes_at_one_step_in_a_hundred_comes_down_alone(tmp_path: Path) -> None:
    """`calib` has a fiftieth of mse's norm: nothing leads the training, and one step is a spike."""
    entries = lines(100, rare=100)
    for entry in entries:
        for term in entry.get("terms", []):
            if term["name"] == "calib":
                term["gradient_norm"] = 0.02
        if entry["kind"] == "terms":
            entry["total_norm"] = 300.0 if entry["step"] == 100 else 1.0
    for line in entries:
        if line["kind"] == "step":
            line["pre_clip_norm"] = 300.0 if line["step"] == 100 else 1.0
    text = CONFIG.format(calib="8.0")
    once, _ = fixed(tmp_path, text, entries)
    assert once == text.replace("10.0", "0.1")
    assert fixed(tmp_path, once, entries)[0] == once
