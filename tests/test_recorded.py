"""What a record makes of a config: matched, compared, confirmed, withdrawn, mended."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from record_support import audit_recorded, record_of, write_record
from support import run_cli

from gradaudit.evidence.record import Record
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.rules import load
from gradaudit.rules.weighing import JUDGES, TELLS
from gradaudit.settings import Settings

ADAMW = "optimizer: adamw\nlearning_rate: 1.0e-3\n"
SGD = "optimizer: sgd\nlearning_rate: 0.1\n"
TERMS = """optimizer: adamw
learning_rate: 1.0e-3
loss_weights:
  ce: 1.0
  mse: 1.0
  calibration: 6.0
  variance: 6.0
"""


def optimizer(name: str = "AdamW", index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "kind": "optimizer", "optimizer": index, "class": name,
        "module": f"torch.optim.{name.lower()}", "layers": ["a.weight", "b.weight"],
        "shapes": [[4, 4], [4, 4]], "dtypes": {"torch.float32": 2}, **more,
    }  # fmt: skip


def steps(
    norms: list[float], clip: float | None = None, rate: float = 1e-3, index: int = 0, **more: Any
) -> list[dict[str, Any]]:
    found = []
    for number, norm in enumerate(norms, 1):
        entry = {
            "kind": "step", "optimizer": index, "step": number, "learning_rate": [rate],
            "events": "ZBS" if clip is None else "ZBCS", "backward_calls": 1,
            "pre_clip_norm": norm, "post_clip_norm": norm if clip is None else min(norm, clip),
            "layer_norms": [norm * 0.8, norm * 0.6],
        }  # fmt: skip
        if clip is not None:
            entry["clips"] = [{"what": "norm", "clip_norm": clip, "pre_clip_norm": norm,
                               "covered": 2, "of": 2, "with_gradient": 2}]  # fmt: skip
        found.append({**entry, **more})
    return found


def lognormal(count: int, middle: float = 1.0, spread: float = 0.3, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [round(middle * draw.lognormvariate(0, spread), 6) for _ in range(count)]


def terms(count: int, norms: dict[str, float], weights: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "kind": "terms",
            "step": number,
            "terms": [
                {"name": name, "weight": weights[name], "gradient_norm": norm,
                 "active": norm > 0}
                for name, norm in norms.items()
            ],
        }
        for number in range(1, count + 1)
    ]  # fmt: skip


def codes(config: str, record: Record, **more: Any) -> dict[str, Finding]:
    return {f.rule.code: f for f in audit_recorded(config, record, **more).findings}


# Which unit


TWO = """gen:
  optimizer: adamw
  learning_rate: 1.0e-3
  gradient_clip_norm: 1.0
disc:
  optimizer: adamw
  learning_rate: 4.0e-4
  gradient_clip_norm: 1.0
"""


def test_of_several_units_the_one_with_the_rate_is_meant() -> None:
    record = record_of([optimizer(), *steps(lognormal(30), 0.5, rate=4e-4)])
    result = audit_recorded(TWO, record)
    assert result.problems == []
    by_name = {unit.name: unit for unit in result.units}
    assert by_name["gen"].measured == []
    assert len(by_name["disc"].measured) == 1
    assert {f.unit for f in result.findings} == {"disc"}
    assert "GA902" in {f.rule.code for f in result.findings}


def test_a_record_that_may_be_of_two_units_asks_which() -> None:
    record = record_of([optimizer(), *steps(lognormal(30), 0.5, rate=7e-5)])
    result = audit_recorded(TWO, record)
    assert result.findings == []
    assert result.problems == [
        (
            "--record: its AdamW (learning rate 7e-05) may be of `gen` or `disc`: say which with "
            "--unit NAME"
        )
    ]
    options = Options()
    options.unit = "gen"
    named = audit_recorded(TWO, record, options)
    assert named.problems == []
    assert {f.rule.code for f in named.findings} >= {"GA901", "GA902"}


def test_two_optimizers_go_to_their_units() -> None:
    record = record_of([
        optimizer(), optimizer("AdamW", 1),
        *steps(lognormal(30), 1.0, rate=1e-3), *steps(lognormal(30), 1.0, rate=4e-4, index=1),
    ])  # fmt: skip
    result = audit_recorded(TWO, record)
    assert {u.name: [m.optimizer.index for m in u.measured] for u in result.units} == {
        "gen": [0],
        "disc": [1],
    }


def test_only_the_optimizer_that_the_file_speaks_of_is_compared() -> None:
    """A GAN: the file has the generator's rate, the discriminator has its own."""
    record = record_of([
        optimizer(), optimizer("SGD", 1),
        *steps(lognormal(30), rate=1e-3), *steps(lognormal(30), rate=0.5, index=1),
    ])  # fmt: skip
    result = audit_recorded(ADAMW, record)
    assert [m.comparable for m in result.units[0].measured] == [True, False]
    assert result.findings == []


# The rate


def test_a_rate_inside_the_warmup_is_not_compared() -> None:
    lines = [{**entry, "learning_rate": [1e-5 * entry["step"]]} for entry in steps(lognormal(40))]
    assert "GA901" not in codes(ADAMW, record_of([optimizer(), *lines]))


def test_the_rate_that_a_scheduler_multiplies_is_the_one_that_counts() -> None:
    groups = [{"learning_rate": 1e-5, "initial_learning_rate": 1e-3}]
    record = record_of([optimizer(groups=groups), *steps(lognormal(40), rate=1e-5)])
    assert "GA901" not in codes(ADAMW, record)
    groups = [{"learning_rate": 1e-5, "initial_learning_rate": 4e-3}]
    record = record_of([optimizer(groups=groups), *steps(lognormal(40), rate=1e-5)])
    assert "4 times the file's" in codes(ADAMW, record)["GA901"].message or (
        "4.0 times the file's" in codes(ADAMW, record)["GA901"].message
    )


def test_any_group_may_have_the_rate_of_the_file() -> None:
    lines = [{**entry, "learning_rate": [1e-4, 1e-3]} for entry in steps(lognormal(40))]
    assert "GA901" not in codes(ADAMW, record_of([optimizer(), *lines]))


def test_a_file_that_was_changed_since_may_differ(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(ADAMW)
    folder = write_record(
        tmp_path / "record", [optimizer(), *steps(lognormal(40), rate=5e-3)],
        started="2001-01-01T00:00:00Z",
    )  # fmt: skip
    ran = run_cli("check", "--format", "json", "--record", str(folder), str(config))
    (finding,) = json.loads(ran.out)["files"][0]["findings"]
    assert (finding["code"], finding["severity"], finding["confidence"]) == ("GA901", "info", "low")
    assert any("changed after the record" in text for text in finding["evidence"])
    folder = write_record(
        folder, [optimizer(), *steps(lognormal(40), rate=5e-3)], started="2999-01-01T00:00:00Z"
    )
    ran = run_cli("check", "--format", "json", "--record", str(folder), str(config))
    assert json.loads(ran.out)["files"][0]["findings"][0]["severity"] == "warning"


# Order of calls


@pytest.mark.parametrize(
    ("events", "more", "expected"),
    [
        ("ZBCS", {}, set()),
        ("LZBBCS", {}, set()),
        ("ZBUCS", {"loss_scale": 1024.0}, set()),
        ("ZBCUS", {"loss_scale": 1024.0}, {"GA911"}),
        ("CZBS", {}, {"GA912"}),
        ("CZBUS", {"loss_scale": 1024.0}, {"GA912"}),
        ("LCZBBS", {}, {"GA912"}),
        ("ZCBS", {}, {"GA913"}),
        ("LZCBBS", {}, {"GA913"}),
        ("CBCS", {}, set()),
        ("BZBZBCS", {}, set()),
        ("", {}, set()),
    ],
)
def test_orders(events: str, more: dict[str, Any], expected: set[str]) -> None:
    lines = steps(lognormal(12, 0.5), 1.0, events=events, **more)
    lines[0] |= {"events": "BBBCS"}  # what the program does before its training
    found = codes(SGD, record_of([optimizer("SGD"), *lines], 1))
    assert {code for code in found if code.startswith("GA91")} == expected


def test_the_first_step_alone_shows_no_order() -> None:
    lines = steps(lognormal(12, 0.5), 1.0)
    lines[0] |= {"events": "CZBS"}
    lines[1] |= {"events": "CZBS"}
    found = codes(ADAMW, record_of([optimizer(), *lines]))
    assert not [code for code in found if code.startswith("GA91")]


def test_the_recorder_may_say_that_a_clip_saw_the_scale() -> None:
    lines = steps(lognormal(12, 0.5), 1.0, events="ZBCS", loss_scale=1024.0)
    for line in lines:
        line["clips"][0]["unscaled"] = False
    assert "GA911" in codes(SGD, record_of([optimizer("SGD"), *lines]))


def test_clip_before_unscale_is_an_error_where_the_step_is_the_gradient() -> None:
    lines = steps(lognormal(12, 0.5), 1.0, events="ZBCUS", loss_scale=1024.0)
    assert codes(SGD, record_of([optimizer("SGD"), *lines]))["GA911"].severity == "error"
    assert codes(ADAMW, record_of([optimizer(), *lines]))["GA911"].severity == "warning"


# The clip


def clip_config(optimizer_name: str, rate: str, threshold: str) -> str:
    return f"optimizer: {optimizer_name}\nlearning_rate: {rate}\ngradient_clip_norm: {threshold}\n"


def test_a_clip_that_always_acts_is_a_fault_under_sgd_only() -> None:
    norms = lognormal(120, 5.0)
    sgd = codes(
        clip_config("sgd", "0.1", "1.0"),
        record_of([optimizer("SGD"), *steps(norms, 1.0, rate=0.1)]),
    )
    adamw = codes(
        clip_config("adamw", "1.0e-3", "1.0"), record_of([optimizer(), *steps(norms, 1.0)])
    )
    assert sgd["GA931"].severity == "warning"
    assert adamw["GA931"].severity == "info"
    assert "cancels" in adamw["GA931"].why[0]
    assert "learning rate x 1 long" in sgd["GA931"].why[0]


@pytest.mark.parametrize(("count", "fixed"), [(19, None), (60, False), (99, False), (100, True)])
def test_too_few_steps_get_no_verdict_then_no_threshold(count: int, fixed: bool | None) -> None:
    record = record_of([optimizer("SGD"), *steps(lognormal(count, 5.0), 1.0, rate=0.1)])
    result = audit_recorded(clip_config("sgd", "0.1", "1.0"), record)
    found = {f.rule.code: f for f in result.findings}
    measured = result.units[0].measured[0]
    if fixed is None:
        assert "GA931" not in found
        assert measured.wanted["GA931"] == 1
        return
    fix = found["GA931"].fix
    assert (fix is not None) == fixed
    if not fixed:
        assert f"record {100 - count} more" in found["GA931"].no_fix
        assert measured.wanted["GA933"] == 100 - count


def test_no_threshold_is_taken_from_steps_inside_the_warmup() -> None:
    lines = steps(lognormal(150, 5.0), 1.0, rate=0.1)
    for line in lines:
        line["learning_rate"] = [0.1 * min(line["step"] / 100, 1)]
    record = record_of([optimizer("SGD"), *lines])
    found = codes(clip_config("sgd", "0.1", "1.0"), record)
    assert found["GA931"].fix is None
    assert "record 48 more" in found["GA931"].no_fix
    inside = record_of([optimizer("SGD", groups=[{"initial_learning_rate": 0.1}]), *lines[:80]])
    result = audit_recorded(clip_config("sgd", "0.1", "1.0"), inside)
    assert not [f for f in result.findings if f.rule.code == "GA931"]
    assert result.units[0].measured[0].wanted["GA931"] == 40  # 20 to the end, and 20 after it


def test_a_heavy_tail_gets_no_threshold() -> None:
    norms = [60.0 if n % 8 == 3 else 2.0 + 0.1 * (n % 5) for n in range(120)]
    record = record_of([optimizer("SGD"), *steps(norms, 1.0, rate=0.1)])
    found = codes(clip_config("sgd", "0.1", "1.0"), record)
    assert found["GA931"].fix is None
    assert "mend what makes the spikes first" in found["GA931"].no_fix
    assert "GA933" in found


def test_a_changed_threshold_is_judged_by_the_same_norms() -> None:
    """The file is asked, not the run: the norms were taken before any clip."""
    record = record_of([optimizer("SGD"), *steps(lognormal(120, 5.0), 1.0, rate=0.1)])
    assert "GA931" not in codes(clip_config("sgd", "0.1", "50.0"), record)


def test_a_clip_out_of_time_is_not_judged_by_its_threshold() -> None:
    lines = steps(lognormal(120, 5.0), 1.0, rate=0.1, events="CZBS")
    found = codes(clip_config("sgd", "0.1", "1.0"), record_of([optimizer("SGD"), *lines]))
    assert "GA912" in found
    assert "GA931" not in found


# What becomes of a finding of the file


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
        ([], 0, None),
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


def test_fix_lowers_auxiliary_weights_and_leaves_the_task(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(TERMS)
    norms = {"ce": 1.0, "mse": 2.0, "calibration": 30.0, "variance": 900.0}
    entries = [optimizer(), *steps(lognormal(120), 5.0), *terms(30, norms, WEIGHTS)]
    folder = write_record(tmp_path / "r", entries)
    words = ("--record", str(folder), str(config))
    run_cli("fix", *words, "--write")
    text = config.read_text()
    assert "ce: 1.0\n" in text
    assert "mse: 1.0\n" in text
    # the largest primary norm is 2: each of two auxiliary terms is to have 2 * 0.4 / 0.6 / 2
    assert "calibration: 0.13\n" in text
    assert "variance: 0.06\n" in text  # no more than 100 times in one round
    again = run_cli("fix", *words, "--write")
    assert "Nothing to fix" in again.out
    assert config.read_text() == text
    left = " ".join(run_cli("check", *words).out.split())
    assert "changed since they were measured: measure again" in left
