"""What a record makes of the findings of a file: borne out, withdrawn, told once, mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from record_support import (
    ADAMW,
    audit_recorded,
    clip_config,
    codes,
    example_record,
    lognormal,
    optimizer,
    record_of,
    steps,
    terms,
    write_record,
)
from support import run_cli

from gradaudit.options import Options
from gradaudit.rules import load
from gradaudit.rules.docs import parse
from gradaudit.rules.weighing import JUDGES, TELLS
from gradaudit.settings import Settings

TERMS = """optimizer: adamw
learning_rate: 1.0e-3
loss_weights:
  ce: 1.0
  mse: 1.0
  calibration: 6.0
  variance: 6.0
"""


def test_every_judge_is_of_a_rule_that_there_is() -> None:
    rules = load()
    assert set(JUDGES) <= set(rules)
    assert all(rules[code].scope == "record" for code in TELLS)
    assert all(rules[code].scope == "unit" for told in TELLS.values() for code in told)


CROWDED = """optimizer: {optimizer}
learning_rate: {rate}
gradient_clip_norm: 0.2
loss_weights:
  ce: 0.10
  mse: 0.10
  dice: 0.10
  calibration: 0.85
"""


def test_a_suspicion_of_a_tight_clip_is_withdrawn_where_it_seldom_acts() -> None:
    config = CROWDED.format(optimizer="adamw", rate="1.0e-3")
    norms = [0.1 + 0.01 * (n % 9) for n in range(60)]
    result = audit_recorded(config, record_of([optimizer(), *steps(norms, 0.2)]))
    assert "GA101" not in {f.rule.code for f in result.findings}
    ((finding, reason),) = result.withdrawn
    assert finding.rule.code == "GA101"
    assert "0 of 60 steps only" in reason


def test_a_tight_clip_that_is_borne_out_is_told_once() -> None:
    config = CROWDED.format(optimizer="sgd", rate="0.1")
    record = record_of([optimizer("SGD"), *steps(lognormal(60, 2.0), 0.2, rate=0.1)])
    found = codes(config, record)
    assert "GA931" not in found
    assert found["GA101"].severity == "warning"
    assert found["GA101"].confidence == "high"
    assert any("acts on 60 of 60 steps" in text for text in found["GA101"].evidence)


def test_one_that_holds_the_run_still_is_as_grave_as_measured() -> None:
    lines = steps(lognormal(120, 20.0), 0.2, rate=0.1)
    for line in lines[9::10]:
        line |= {"update_ratio": [3e-6, 3e-6], "weight_norms": [1.0, 1.0]}
    found = codes(
        CROWDED.format(optimizer="sgd", rate="0.1"), record_of([optimizer("SGD"), *lines])
    )
    assert found["GA101"].severity == "error"


JUDGED = sorted({*JUDGES, *(code for told in TELLS.values() for code in told)})


@pytest.mark.parametrize("code", JUDGED)
def test_no_record_gives_a_finding_a_severity_that_its_rule_does_not_declare(code: str) -> None:
    """Each rule that a record can change, on its own example, beside every rule's record."""
    bad = parse(load()[code]).bad
    for rule in load().values():
        if rule.scope == "record":
            audit_recorded(bad, example_record(parse(rule).bad_record))  # it looks at each finding


def test_no_rule_on_records_is_graver_than_the_rule_that_tells_it() -> None:
    for code, told in TELLS.items():
        for host in told:
            assert set(load()[code].severities) <= set(load()[host].severities), (code, host)


def test_under_adamw_a_clip_on_every_step_is_an_info() -> None:
    config = CROWDED.format(optimizer="adamw", rate="1.0e-3")
    found = codes(config, record_of([optimizer(), *steps(lognormal(60, 2.0), 0.2)]))
    assert found["GA101"].severity == "info"


BATCH_NORM = ADAMW + "batch_size: 4\nnorm: batch\n"


@pytest.mark.parametrize(
    ("seen", "layers", "expected"),
    [
        ([{"mode": "train", "batch": 4, "calls": 2}], 2, ("warning", "high")),
        ([{"mode": "train", "batch": 12, "calls": 2}], 2, ("info", "high")),
        ([{"mode": "train", "batch": 32, "calls": 2}], 2, None),
        ([{"mode": "eval", "batch": 4, "calls": 2}], 2, None),
        ([{"mode": "eval", "batch": 4, "calls": 2, "no_grad": True}], 2, ("warning", "medium")),
        ([{"mode": "train", "batch": 4, "calls": 2, "synced_over": 8}], 2, None),
        ([{"mode": "train", "batch": 4, "calls": 2, "synced_over": 2}], 2, ("info", "high")),
        ([], 0, None),
        ([{"mode": "train", "batch": 4, "calls": 2}], 0, ("warning", "high")),
        ([], 2, ("warning", "medium")),
    ],
)
def test_batch_norm_by_what_it_saw(
    seen: list[dict[str, Any]], layers: int, expected: tuple[str, str] | None
) -> None:
    lines = steps(lognormal(10), batch_norm=seen)
    result = audit_recorded(BATCH_NORM, record_of([optimizer(batch_norm_layers=layers), *lines]))
    found = {f.rule.code: f for f in result.findings}
    if expected is None:
        assert "GA301" not in found
        assert [f.rule.code for f, _ in result.withdrawn] == ["GA301"]
    else:
        assert (found["GA301"].severity, found["GA301"].confidence) == expected


def test_a_record_of_another_batch_or_of_other_weights_withdraws_nothing(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(CROWDED.format(optimizer="sgd", rate="0.1") + "batch_size: 6\nnorm: batch\n")
    many = {"batch_norm": [{"mode": "train", "batch": 24, "calls": 1}]}
    entries = [optimizer("SGD"), *({**step, **many} for step in steps([0.1, 0.11] * 30, 0.2))]
    now = write_record(tmp_path / "r", entries, started="2999-01-01T00:00:00+00:00")
    out = run_cli("check", str(config), "--record", str(now)).out
    assert "withdrawn GA101" in out
    assert "withdrawn GA301" in out
    before = write_record(tmp_path / "old", entries, started="2020-01-01T00:00:00+00:00")
    out = run_cli("check", str(config), "--record", str(before)).out
    assert "GA101" in out
    assert "GA301" in out
    assert "withdrawn" not in out


def test_accumulation_is_withdrawn_where_nothing_is_accumulated() -> None:
    config = BATCH_NORM + "gradient_accumulation_steps: 8\n"
    seen = [{"mode": "train", "batch": 4, "calls": 2}]
    result = audit_recorded(
        config, record_of([optimizer(batch_norm_layers=2), *steps(lognormal(10), batch_norm=seen)])
    )
    assert "GA302" in {f.rule.code for f, _ in result.withdrawn}
    assert "GA904" in {f.rule.code for f in result.findings}


WEIGHTS = {"ce": 1.0, "mse": 1.0, "calibration": 6.0, "variance": 6.0}


@pytest.mark.parametrize(
    ("auxiliary", "expected"),
    [(0.1, None), (0.7, ("info", "medium")), (4.0, ("warning", "high"))],
)
def test_weights_by_their_gradients(auxiliary: float, expected: tuple[str, str] | None) -> None:
    norms = {"ce": 1.0, "mse": 1.0, "calibration": auxiliary, "variance": auxiliary}
    record = record_of([optimizer(), *steps(lognormal(30)), *terms(30, norms, WEIGHTS)])
    result = audit_recorded(TERMS, record)
    found = {f.rule.code: f for f in result.findings}
    assert "GA961" not in found
    if expected is None:
        assert [f.rule.code for f, _ in result.withdrawn] == ["GA401"]
    else:
        assert (found["GA401"].severity, found["GA401"].confidence) == expected


def test_too_few_probes_change_nothing() -> None:
    norms = {"ce": 1.0, "mse": 1.0, "calibration": 0.1, "variance": 0.1}
    record = record_of([optimizer(), *steps(lognormal(30)), *terms(19, norms, WEIGHTS)])
    result = audit_recorded(TERMS, record)
    plain = audit_recorded(TERMS, record_of([optimizer(), *steps(lognormal(30))]))
    assert [f.severity for f in result.findings] == [f.severity for f in plain.findings]
    assert result.withdrawn == []
    assert result.units[0].measured[0].wanted["GA961"] == 1


def test_the_settings_keep_their_severity() -> None:
    settings = Settings()
    settings.severity = {"GA301": "error"}
    seen = [{"mode": "train", "batch": 12, "calls": 2}]
    record = record_of([optimizer(batch_norm_layers=2), *steps(lognormal(10), batch_norm=seen)])
    found = codes(BATCH_NORM, record, settings=settings)
    assert found["GA301"].severity == "error"


def test_what_no_file_says_is_taken_from_the_record() -> None:
    seen = [{"mode": "train", "batch": 4, "calls": 2}]
    record = record_of([
        optimizer(batch_norm_layers=2), *steps(lognormal(10), 1.0, batch_norm=seen),
    ])  # fmt: skip
    result = audit_recorded(ADAMW, record)
    settings = result.units[0].settings
    assert {name: settings[name].origin for name in ("micro_batch", "norm", "clip_norm")} == {
        "micro_batch": "measured", "norm": "measured", "clip_norm": "measured",
    }  # fmt: skip
    found = {f.rule.code: f for f in result.findings}
    assert found["GA301"].confidence == "high"
    assert found["GA301"].fix is None


def test_a_rule_that_is_selected_alone_still_hears_the_record() -> None:
    options = Options()
    options.select = ["GA101"]
    record = record_of([optimizer("SGD"), *steps(lognormal(120, 2.0), 0.2, rate=0.1)])
    found = codes(CROWDED.format(optimizer="sgd", rate="0.1"), record, options=options)
    assert list(found) == ["GA101"]
    assert found["GA101"].fix is not None
    assert "measured 90th percentile" in found["GA101"].fix.title
    options = Options()
    options.select, options.ignore = ["GA101"], ["GA931"]
    found = codes(CROWDED.format(optimizer="sgd", rate="0.1"), record, options=options)
    assert found["GA101"].fix is None or "percentile" not in found["GA101"].fix.title


# Fixes


def test_fix_writes_the_percentile_and_then_nothing_more(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("# my run\n" + clip_config("sgd", "0.1", "1.0  # tight"))
    norms = lognormal(120, 5.0)
    folder = write_record(tmp_path / "r", [optimizer("SGD"), *steps(norms, 1.0, rate=0.1)])
    words = ("--record", str(folder), str(config))
    shown = run_cli("fix", *words)
    assert shown.code == 1
    said = " ".join(shown.out.split())
    assert "the measured 90th percentile" in said
    assert "95 % interval" in said
    run_cli("fix", *words, "--write")
    text = config.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("gradient_clip_norm")]
    value = float(line.split()[1])
    assert value == pytest.approx(sorted(norms)[107], rel=0.06)
    assert line.endswith("# tight")
    assert text.startswith("# my run\noptimizer: sgd\n")
    again = run_cli("fix", *words, "--write")
    assert "Nothing to fix" in again.out
    assert config.read_text() == text


def test_no_clip_norm_is_recommended_beside_a_change_that_moves_the_norm(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    crowded = CROWDED.format(optimizer="sgd", rate="0.1")
    config.write_text(crowded.replace("calibration: 0.85", "calibration: 2.0"))
    norms = lognormal(120, 5.0)
    entries = [optimizer("SGD"), *steps(norms, 0.2, rate=0.1)]
    later = write_record(tmp_path / "r", entries, started="2999-01-01T00:00:00+00:00")
    said = " ".join(run_cli("fix", str(config), "--record", str(later)).out.split())
    assert "lower `calibration`" in said
    assert "90th percentile" not in said
    alone = run_cli("fix", str(config), "--record", str(later), "--select", "GA101").out
    assert "measured 90th percentile" in " ".join(alone.split())
    before = write_record(tmp_path / "old", entries)  # the weights may have been others then
    alone = run_cli("fix", str(config), "--record", str(before), "--select", "GA101").out
    assert "measured 90th percentile" not in " ".join(alone.split())


def test_fix_lowers_auxiliary_weights_and_leaves_the_task(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(TERMS)
    norms = {"ce": 1.0, "mse": 2.0, "calibration": 30.0, "variance": 900.0}
    entries = [optimizer(), *steps(lognormal(120), 5.0), *terms(30, norms, WEIGHTS)]
    folder = write_record(tmp_path / "r", entries)
    words = ("--record", str(folder), str(config))
    said = run_cli("fix", *words, "--write").out
    text = config.read_text()
    assert "ce: 1.0\n" in text
    assert "mse: 1.0\n" in text
    # the largest primary norm is 2: each of two auxiliary terms is to have 2 * 0.4 / 0.6 / 2
    assert "calibration: 0.13\n" in text
    assert "not fixed" not in said  # what is left of it is no contradiction
    assert "mended in part" in said
    told = " ".join(said.split())
    assert "nothing more to lower: measure again with the new weights" in told
    assert "variance: 0.06\n" in text  # no more than 100 times in one round
    again = run_cli("fix", *words, "--write")
    assert "Nothing to fix" in again.out
    assert config.read_text() == text
    left = " ".join(run_cli("check", *words).out.split())
    assert "this record has nothing more to lower: measure again with the new weights" in left
    config.write_text(text.replace("0.13", "0.5").replace("0.06", "0.9"))
    left = " ".join(run_cli("check", *words).out.split())
    assert "changed since they were measured: measure again" in left


def test_no_clip_asks_for_weights_that_were_just_set(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(TERMS.replace("adamw", "sgd") + "gradient_clip_norm: 1.0\n")
    lines = steps(lognormal(120, 5.0), 1.0)
    entries = [optimizer("SGD"), *lines, *terms(30, {"ce": 1.0, "calibration": 9.0}, WEIGHTS)]
    folder = write_record(tmp_path / "r", entries)
    said = " ".join(run_cli("fix", "--record", str(folder), str(config)).out.split())
    assert "lower `calibration` by the measured norms" in said
    assert "set the loss weights first" not in said
    assert "the loss weights are no longer those of the record" in said


@pytest.mark.parametrize(("limit", "written"), [(100, True), (200, False)])
def test_a_clip_that_may_act_on_half_of_the_steps_goes_by_the_users_limits(
    tmp_path: Path, limit: int, written: bool
) -> None:
    """GA931 is silent then; GA101 recommends by its limits."""
    config, settings = tmp_path / "train.yaml", tmp_path / "gradaudit.toml"
    config.write_text(
        "optimizer: sgd\nlearning_rate: 1.0e-3\ngradient_clip_norm: 0.25\nloss_weights:\n"
        "  ce: 0.10\n  mse: 0.10\n  dice: 0.10\n  calibration: 2.5\n"
    )
    settings.write_text(f"[rules.GA931]\nrecommend-steps = {limit}\n")
    entries = [optimizer("SGD"), *steps(lognormal(120, 0.25), 0.25)]
    later = "2099-01-01T00:00:00+00:00"  # than the file: it was not changed since
    folder = str(write_record(tmp_path / "r", entries, started=later))
    words = [str(config), "--record", folder, "--config", str(settings), "--select", "GA101"]
    assert "which may be more or less than half" in " ".join(run_cli("check", *words).out.split())
    said = run_cli("fix", *words).out
    assert ("+gradient_clip_norm" in said) is written
