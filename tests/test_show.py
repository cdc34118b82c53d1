"""`show`: values that JSON has no word for, that nobody wrote, or that are off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import run_cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def no_word(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def shown(text: str, name: str = "a.yaml") -> dict[str, Any]:
    Path(name).write_text(text, encoding="utf-8")
    ran = run_cli("show", name, "--format", "json")
    return dict(json.loads(ran.out, parse_constant=no_word)["files"][0])


def settings(text: str, name: str = "a.yaml") -> dict[str, Any]:
    return dict(shown(text, name)["units"][0]["settings"])


def test_what_json_has_no_word_for_is_null_with_a_note() -> None:
    found = settings("learning_rate: .nan\nmax_grad_norm: .inf\nepochs: -.inf\nbeta1: .inf\n")
    assert [found[n]["value"] for n in ("learning_rate", "clip_norm", "epochs")] == [None] * 3
    assert found["clip_norm"]["note"] == "infinite: it never acts"
    assert found["clip_norm"]["raw"] == ".inf"
    assert found["learning_rate"]["note"] == "not a number"
    ran = run_cli("check", "a.yaml", "--format", "json")
    assert json.loads(ran.out, parse_constant=no_word)["files"]


def test_an_unknown_value_says_where_it_stands() -> None:
    found = settings("learning_rate: ${oc.env:LR}\noptimizer: adamw\nmax_grad_norm: auto\n")
    rate, clip = found["learning_rate"], found["clip_norm"]
    assert (rate["origin"], rate["raw"], rate["line"]) == ("written", "${oc.env:LR}", 1)
    assert (clip["value"], clip["key"], clip["line"]) == (None, "max_grad_norm", 3)
    assert clip["note"].startswith("not known: ")


def test_what_nobody_wrote_has_no_origin() -> None:
    found = settings(
        '{"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4, "fp16": {}}',
        "ds.json",
    )
    unknown = [one for one in found.values() if one["note"].startswith("not known")]
    assert unknown
    assert {(one["origin"], one["key"], one["raw"], one["line"]) for one in unknown} <= {
        (None, None, None, None),
        ("computed", None, None, None),
    }


def test_names_that_are_only_computed_with_are_left_out() -> None:
    found = settings("optimizer: adamw\nlr: 0.001\nbeta1: 0.9\nbeta2: 0.95\n")
    assert found["betas"]["value"] == [0.9, 0.95]
    assert not {"beta1", "beta2", "clip_kind"} & found.keys()
    assert "    beta1 " not in run_cli("show", "a.yaml").out
    half = settings("optimizer: adamw\nlr: 0.001\nbeta1: 0.9\n")["betas"]
    assert half["value"] is None
    assert half["note"] == "not known: beta1 is 0.9, beta2: not known"


def test_off_by_a_switch_says_so() -> None:
    text = "SOLVER:\n  CLIP_GRADIENTS: {ENABLED: false}\n  BASE_LR: 0.01\n  IMS_PER_BATCH: 16\n"
    text += "MODEL:\n  META_ARCHITECTURE: GeneralizedRCNN\n"
    assert settings(text)["clip_norm"]["note"] == "off (ENABLED: false)"


def test_an_unreadable_file_claims_no_dialect() -> None:
    file = shown("optimizer: [1\n")
    assert file["dialect"] is None
    assert file["why_dialect"][0].startswith("cannot be read: ")


def test_the_framework_of_defaults_is_named_once() -> None:
    text = "output_dir: out\nper_device_train_batch_size: 4\nnum_train_epochs: 3\n"
    Path("a.yaml").write_text(text, encoding="utf-8")
    screen = run_cli("show", "a.yaml").out
    assert screen.count("Hugging Face TrainingArguments") == 1
    assert "default (training_args.py:" in screen


def test_a_report_without_findings_has_the_plan() -> None:
    Path("a.yaml").write_text("optimizer: adamw\nlearning_rate: 1.0e-4\n", encoding="utf-8")
    report = run_cli("report", "a.yaml").out
    assert "## The plan as understood" in report
    assert "- `learning_rate: 1.0e-4` (`a.yaml` line 2, written)" in report


def test_the_next_command_names_only_files_with_fixes() -> None:
    for name, size in (("a.yaml", "1.0e-4"), ("b.yaml", "1e-4")):
        Path(name).write_text(f"optimizer: adamw\nlearning_rate: {size}\n", encoding="utf-8")
    screen = run_cli("check", "a.yaml", "b.yaml", columns=140).out
    assert "`gradaudit fix b.yaml" in screen


def test_a_frame_says_why_there_is_no_fix() -> None:
    Path("a.yaml").write_text("optimizer: adamw\nlearning_rate: -1.0\n", encoding="utf-8")
    assert "= no fix: which value was meant is not known" in run_cli("check", "a.yaml").out
    assert "which value was meant is not known" in run_cli("fix", "a.yaml", columns=200).out
