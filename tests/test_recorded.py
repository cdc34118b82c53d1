"""A record beside a config: whose it is, what is compared, when there is a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from record_support import (
    ADAMW,
    SGD,
    audit_recorded,
    clip_config,
    codes,
    lognormal,
    optimizer,
    record_of,
    steps,
    write_record,
)
from support import run_cli

from gradaudit.options import Options
from gradaudit.plan.recorded import as_config
from gradaudit.render.record import _steps_text
from gradaudit.render.recorded import figures_of, files_text, lacking_text
from gradaudit.rules.text import percent

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


def test_a_named_unit_has_none_of_the_optimizers_that_are_of_another() -> None:
    record = record_of([
        optimizer(), optimizer("AdamW", 1),
        *steps(lognormal(30), 1.0, rate=1e-3), *steps(lognormal(30), 1.0, rate=4e-4, index=1),
    ])  # fmt: skip
    options = Options()
    options.unit = "disc"
    result = audit_recorded(TWO, record, options)
    assert {u.name: [m.optimizer.index for m in u.measured] for u in result.units} == {
        "gen": [],
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


def test_without_a_config_each_optimizer_is_a_unit_of_its_own() -> None:
    """Two of one kind and rate are told apart by their numbers."""
    record = record_of([
        optimizer("SGD"), optimizer("SGD", 3),
        *steps(lognormal(30), rate=0.1), *steps(lognormal(30), rate=0.1, index=3),
    ])  # fmt: skip
    result = audit_recorded(as_config(record), record)
    assert result.problems == []
    assert [(u.name, [m.optimizer.index for m in u.measured]) for u in result.units] == [
        ("optimizer_0", [0]),
        ("optimizer_3", [3]),
    ]
    assert all(one.comparable for unit in result.units for one in unit.measured)
    unknown = record_of([{"kind": "optimizer", "optimizer": 0}, optimizer("SGD", 1),
                         *steps([1.0] * 3), *steps([1.0] * 3, index=1)])  # fmt: skip
    for entry in unknown.optimizers[0].steps:
        entry.learning_rate = []
    mixed = audit_recorded(as_config(unknown), unknown)
    assert mixed.problems == []
    assert sum(len(unit.measured) for unit in mixed.units) == 2
    alone = record_of([optimizer("SGD"), *steps(lognormal(30), rate=0.1)])
    assert as_config(alone).startswith("optimizer: SGD\nlearning_rate: 0.1\n")


# The rate


def test_a_rate_inside_the_warmup_is_not_compared() -> None:
    lines = [{**entry, "learning_rate": [1e-5 * entry["step"]]} for entry in steps(lognormal(40))]
    assert "GA901" not in codes(ADAMW, record_of([optimizer(), *lines]))


def test_a_warmup_by_hand_that_the_file_speaks_of_is_not_judged() -> None:
    """In stairs, one an epoch: the rates alone do not tell it from a lower rate."""
    config = ADAMW + "warmup_steps: 500\ngradient_clip_norm: 0.1\n"
    record = record_of([optimizer(), *steps(lognormal(120), 0.1, rate=2e-4)])
    result = audit_recorded(config, record)
    assert {f.rule.code for f in result.findings}.isdisjoint({"GA901", "GA931"})
    (measured,) = result.units[0].measured
    assert not measured.warmup.over
    assert measured.wanted["GA931"] == 380 + 20
    record.source = "probe"
    assert lacking_text(measured)[0] == "`--skip-steps 500` leaves the warm-up out"
    groups = [{"learning_rate": 2e-4, "initial_learning_rate": 2e-4}]
    record = record_of([optimizer(groups=groups), *steps(lognormal(120), 0.1, rate=2e-4)])
    assert {"GA901", "GA931"} <= set(codes(config, record))  # the scheduler says that it is over


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


@pytest.mark.parametrize(
    ("norm", "moves", "severity"),
    [
        (20.0, 3e-6, "error"),
        (20.0, 3e-4, "warning"),  # a rate that was set for clipped steps
        (20.0, None, "warning"),
        (5.0, 3e-5, "warning"),
    ],
)
def test_a_clip_that_holds_an_sgd_run_still_is_an_error(
    norm: float, moves: float | None, severity: str
) -> None:
    lines = steps(lognormal(120, norm), 1.0, rate=0.1)
    for line in lines[9::10] if moves is not None else []:
        line |= {"update_ratio": [moves, moves], "weight_norms": [1.0, 1.0]}
    record = record_of([optimizer("SGD"), *lines])
    found = codes(clip_config("sgd", "0.1", "1.0"), record)["GA931"]
    assert found.severity == severity
    assert (severity == "error") == any("changes the weights by 3e-6" in e for e in found.evidence)
    adamw = record_of([optimizer(), *[{**line, "learning_rate": [1e-3]} for line in lines]])
    assert codes(clip_config("adamw", "1.0e-3", "1.0"), adamw)["GA931"].severity == "info"


@pytest.mark.parametrize(
    ("moves", "next_step", "note"),
    [
        # ten times the threshold: an update of 2e-5, 2e-3 of the weights
        (2e-6, "Clip at the 90th percentile", "leave the learning rate as it is"),
        (2e-4, "Lower the learning rate instead", "if the loss gets unsteady, lower"),
        (None, "Lower the learning rate instead", "if the run was stable, lower the learning"),
    ],
)
def test_what_a_looser_clip_asks_of_the_rate_goes_by_how_far_steps_move(
    moves: float | None, next_step: str, note: str
) -> None:
    lines = steps(lognormal(120, 7.0), 1.0, rate=0.1)
    for line in lines[9::10] if moves is not None else []:
        line |= {"update_ratio": [moves, moves], "weight_norms": [1.0, 1.0]}
    record = record_of([optimizer("SGD"), *lines])
    found = codes(clip_config("sgd", "0.1", "1.0"), record)["GA931"]
    assert found.severity == "warning"  # the clip leaves more than a tenth
    assert found.next.startswith(next_step)
    assert found.fix is not None
    said = " ".join(found.fix.notes)
    assert note in said
    assert ("lower the learning rate" in said) is not (moves == 2e-6)


def test_no_looser_clip_at_a_rate_that_was_set_for_clipped_steps() -> None:
    """Ten times the threshold would be an update of a fifth of the weights."""
    lines = steps(lognormal(120, 7.0), 1.0, rate=0.1)
    for line in lines[9::10]:
        line |= {"update_ratio": [2e-2, 2e-2], "weight_norms": [1.0, 1.0]}
    found = codes(clip_config("sgd", "0.1", "1.0"), record_of([optimizer("SGD"), *lines]))["GA931"]
    assert found.fix is None
    assert "would change the weights by up to 0.2" in found.no_fix
    assert "0.02 now" in found.no_fix
    assert "lower the learning rate first" in found.no_fix


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


@pytest.mark.parametrize("backbone", [0.0, 1e-3])
def test_the_head_of_a_frozen_backbone_warms_up(backbone: float) -> None:
    """The first group's rate is level, and the second's rises over all of the record."""
    lines = steps(lognormal(150, 5.0), 1.0)
    for line in lines:
        line["learning_rate"] = [backbone, 0.1 * line["step"] / 300]
    groups = [{"learning_rate": rate, "initial_learning_rate": rate} for rate in (backbone, 0.1)]
    record = record_of([optimizer("SGD", groups=groups), *lines])
    result = audit_recorded(clip_config("sgd", "0.1", "1.0"), record)
    (measured,) = result.units[0].measured
    assert measured.norms == []
    assert measured.lacking(100) == 250
    assert "GA931" not in {finding.rule.code for finding in result.findings}


def test_no_threshold_is_taken_from_steps_inside_the_warmup() -> None:
    lines = steps(lognormal(150, 5.0), 1.0, rate=0.1)
    for line in lines:
        line["learning_rate"] = [0.1 * min(line["step"] / 100, 1)]
    record = record_of([optimizer("SGD"), *lines])
    found = codes(clip_config("sgd", "0.1", "1.0"), record)
    assert found["GA931"].fix is None
    assert "record 49 more" in found["GA931"].no_fix
    inside = record_of([optimizer("SGD", groups=[{"initial_learning_rate": 0.1}]), *lines[:80]])
    result = audit_recorded(clip_config("sgd", "0.1", "1.0"), inside)
    assert not [f for f in result.findings if f.rule.code == "GA931"]
    assert result.units[0].measured[0].wanted["GA931"] == 40  # 20 to the end, and 20 after it


@pytest.mark.parametrize("scheduler", [True, False])
def test_no_threshold_is_taken_from_the_last_tenth_of_a_warmup(scheduler: bool) -> None:
    """Whether a scheduler says which rate it multiplies, or the file how long the warm-up is."""
    lines = steps(lognormal(120, 5.0), 1.0)
    for line in lines:
        line["step"] += 1850
        line["learning_rate"] = [0.1 * line["step"] / 2000]
    groups = [{"initial_learning_rate": 0.1}] if scheduler else []
    config = clip_config("sgd", "0.1", "1.0") + ("" if scheduler else "warmup_steps: 2000\n")
    result = audit_recorded(config, record_of([optimizer("SGD", groups=groups), *lines]))
    assert "GA931" not in {finding.rule.code for finding in result.findings}
    assert result.units[0].measured[0].lacking(0) == 30


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


def test_a_finding_points_at_what_is_of_its_optimizer() -> None:
    """Where no clip key is understood at the optimiser, never at the rate; and what another
    optimizer does stands where the unit begins, not at the rate of this one."""
    config = "model: {width: 8}\noptimizer: sgd\nlearning_rate: 0.1\n"
    record = record_of([optimizer("SGD"), *steps(lognormal(120, 5.0), 1.0, rate=0.1)])
    assert codes(config, record)["GA931"].place.line == 2
    both = [
        optimizer("SGD"), optimizer("Muon", 1), *steps(lognormal(120, 5.0), 1.0, rate=0.1),
        *steps(lognormal(120, 5.0), 1.0, rate=0.02, index=1),
    ]  # fmt: skip
    found = [f for f in audit_recorded(config, record_of(both)).findings if "Muon" in f.message]
    assert found
    assert {finding.place.line for finding in found} == {1}


def test_one_norm_is_one_norm() -> None:
    (measured,) = (
        audit_recorded(SGD, record_of([optimizer("SGD"), *steps([1.0])])).units[0].measured
    )
    assert _steps_text(measured, figures_of(measured)).endswith("1 norm to judge by")


# What is said of the run


def test_the_first_files_named_are_checkpoints() -> None:
    names = ["a.log", "b.json", "c.txt", "d.csv", "out/e.ckpt", "f.txt"]
    files = [{"kind": "file", "operation": "write", "path": name, "step": 0} for name in names]
    result = audit_recorded(ADAMW, record_of([optimizer(), *files, *steps(lognormal(30))]))
    (measured,) = result.units[0].measured
    assert files_text(measured) == ["wrote out/e.ckpt, a.log, b.json, c.txt and 2 more"]


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ([], "its batch was not seen"),
        (["batch_norm_unseen"], "its batch was not seen: none was called from Python"),
    ],
)
def test_why_a_batch_was_not_seen_is_not_guessed(notes: list[str], said: str) -> None:
    lines = [{"kind": "note", "topic": topic, "text": "-"} for topic in notes]
    entries = [optimizer(batch_norm_layers=1), *lines, *steps(lognormal(30))]
    (measured,) = audit_recorded(ADAMW, record_of(entries)).units[0].measured
    assert figures_of(measured).batch_norm == said


@pytest.mark.parametrize(("source", "devices"), [("probe", 1), ("dryrun", None)])
def test_how_many_devices_a_run_has_is_no_number_of_a_dry_run(
    source: str, devices: int | None
) -> None:
    """One process stands for any number of them."""
    record = record_of([optimizer(), *steps(lognormal(30))], source=source)
    (unit,) = audit_recorded(ADAMW, record).units
    assert unit.number("world_size") == devices


def test_inside_a_warmup_without_a_known_end_it_is_said_how_many_steps_come_after() -> None:
    lines = steps([1.0] * 15, clip=2.0)
    rising = [{**line, "learning_rate": [1e-5 * line["step"]]} for line in lines]
    result = audit_recorded("optimizer: adamw\n", record_of([optimizer(), *rising]))
    said = lacking_text(result.units[0].measured[0])
    assert said[0].startswith("20 steps after the warm-up, whose end is not known: ")
    assert any(text.startswith("100 steps after the warm-up") for text in said)


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (0.9993, "99.9 %"), (0.996, "99.6 %"), (0.99, "99 %"), (0.0, "0.0 %")],
)
def test_almost_all_is_not_all(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("key", ["gradient_accumulation_steps: 2", "batch_size: 16"])
def test_no_threshold_is_taken_from_a_run_with_another_batch_than_the_file(key: str) -> None:
    seen = [{"mode": "train", "batch": 8, "calls": 1}]
    lines = steps(lognormal(150, 5.0), 1.0, backward_calls=1, batch_norm=seen)
    config = clip_config("adamw", "1.0e-3", "1.0")
    assert codes(config, record_of([optimizer(), *lines]))["GA931"].fix is not None
    one = codes(f"{config}{key}\n", record_of([optimizer(), *lines]))["GA931"]
    assert one.fix is None
    assert "the batch changes the norm: bring the two together" in one.no_fix


def test_more_steps_of_a_gradient_that_is_nan_are_not_asked_for() -> None:
    """A scaler's skipped steps and a single one with NaN leave it as it was."""
    nan = [{**line, "pre_clip_norm": "nan", "post_clip_norm": "nan"} for line in steps([1.0] * 60)]
    result = audit_recorded(ADAMW, record_of([optimizer(), *steps([1.0] * 26), *nan[26:]]))
    (said,) = lacking_text(result.units[0].measured[0])
    assert said.startswith("more steps would not help, the gradient is NaN or infinite from")
    assert "from step 27 on" in said
    assert "(GA933)" in said
    once = [*steps([1.0] * 26), nan[26], *steps([1.0] * 60)[27:]]
    skipped = [*steps([1.0] * 26), *({**line, "skipped": True} for line in nan[26:])]
    for lines in (once, skipped):
        result = audit_recorded(ADAMW, record_of([optimizer(), *lines]))
        texts = lacking_text(result.units[0].measured[0])
        assert all("more step" in text and "not help" not in text for text in texts)
