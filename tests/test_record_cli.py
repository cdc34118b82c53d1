"""`--record` on the command line: what is shown, in which form, and what ends with 2."""

from __future__ import annotations

import io
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot
from record_support import lognormal, optimizer, steps, write_record
from support import run_cli

from gradaudit.cli.record import summarise_record
from gradaudit.render.record import BLOCKS, sparkline

CONFIG = """optimizer: adamw
learning_rate: 1.0e-3
batch_size: 8
gradient_clip_norm: 2.0
"""
LAYERS = ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "head.weight", "head.bias"]


def entries(count: int = 130, warmup: int = 20) -> list[dict[str, Any]]:
    draw = random.Random(5)
    found: list[dict[str, Any]] = [
        {
            "kind": "optimizer", "optimizer": 0, "class": "AdamW", "module": "torch.optim.adamw",
            "groups": [{"tensors": 5, "learning_rate": 1e-3, "initial_learning_rate": 1e-3}],
            "layers": LAYERS, "shapes": [[16, 8], [16], [32, 16], [1, 32], [1]],
            "dtypes": {"torch.float32": 5}, "batch_norm_layers": 1, "bias_before_batch_norm": [1],
        },
        {"kind": "file", "operation": "write", "path": "out/last.ckpt", "step": 0},
        {"kind": "note", "topic": "compiled_step", "text": "the step is compiled"},
    ]  # fmt: skip
    for number in range(1, count + 1):
        norm = round(1.5 * draw.lognormvariate(0, 0.4), 4)
        parts = [3.0, 1e-7, 2.0, 1.0, 0.3]
        whole = math.hypot(*parts)
        line = {
            "kind": "step", "optimizer": 0, "step": number, "events": "LZBCS",
            "backward_calls": 1, "learning_rate": [1e-3 * min(1.0, number / warmup)],
            "pre_clip_norm": norm, "post_clip_norm": min(norm, 2.0),
            "clips": [{"what": "norm", "clip_norm": 2.0, "pre_clip_norm": norm, "covered": 5,
                       "of": 5, "with_gradient": 5}],
            "layer_norms": [part / whole * min(norm, 2.0) for part in parts],
            "batch_norm": [{"mode": "train", "batch": 8, "calls": 1}],
        }  # fmt: skip
        if number % 10 == 0:
            line |= {"update_ratio": [1e-3] * 5, "weight_norms": [1.0] * 5}
        found.append(line)
    return [*found, {"kind": "stop", "why": "steps", "steps": count}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(CONFIG)
    write_record(tmp_path / "probe", entries(), started="2999-01-01T00:00:00Z")
    return tmp_path


def panel(text: str) -> str:
    return text[text.index("Recorded probe") :].split("\n\n")[0]


def test_the_panel_at_80_columns(folder: Path) -> None:
    ran = run_cli("check", "train.yaml", "--record", "probe")
    assert panel(ran.out) == snapshot("""\
Recorded probe
            train.py, torch 2.13.0, cpu
  steps     130 of AdamW (steps 1 to 130), 19 of them warm-up, 111 norms to
            judge by
  norm      median 1.553  p90 2.72  p95 2.886  max 5.679   ▁▂▂▆▂▃▄▆▅▂▁█▃▅▄▁▃▂▃▁▃
  clip      at 2: acted at 30 of 111 steps, 27 % (95 % interval 20 % to 36 %)
  rate      5e-5 to 0.001
  batch     backward called once a step; BatchNorm: 8 samples at a time
  precision fp32
  layers    encoder.0.weight    64 %  ███████████████████
            encoder.1.weight    28 %  █████████
            head.weight        7.1 %  ██
            head.bias          0.6 %  █
            encoder.0.bias     0.0 %
  files     wrote out/last.ckpt
  note      the step is compiled\
""")
    assert max(map(len, ran.out.splitlines())) <= 80


def test_the_panel_at_140_columns(folder: Path) -> None:
    ran = run_cli("check", "train.yaml", "--record", "probe", columns=140)
    assert panel(ran.out) == snapshot("""\
Recorded probe
            train.py, torch 2.13.0, cpu
  steps     130 of AdamW (steps 1 to 130), 19 of them warm-up, 111 norms to judge by
  norm      median 1.553  p90 2.72  p95 2.886  max 5.679   ▃▃▃▁▄▁▆▂▃▄▅▁▅▅▄▆▆▄▃▂▂▁█▅▂▆▅▅▃▃▃▄▅▃▃▁▅▃▂▃▄
  clip      at 2: acted at 30 of 111 steps, 27 % (95 % interval 20 % to 36 %)
  rate      5e-5 to 0.001
  batch     backward called once a step; BatchNorm: 8 samples at a time
  precision fp32
  layers    encoder.0.weight    64 %  ███████████████████
            encoder.1.weight    28 %  █████████
            head.weight        7.1 %  ██
            head.bias          0.6 %  █
            encoder.0.bias     0.0 %
  files     wrote out/last.ckpt
  note      the step is compiled\
""")


def test_a_record_that_ends_inside_the_warmup(folder: Path) -> None:
    write_record(folder / "probe", entries(60, 200), started="2999-01-01T00:00:00Z")
    ran = run_cli("check", "train.yaml", "--record", "probe")
    assert panel(ran.out) == snapshot("""\
Recorded probe
            train.py, torch 2.13.0, cpu
  steps     60 of AdamW (steps 1 to 60), all inside the warm-up: 140 more to its
            end; no norm is judged
  norm      max 3.878, all inside the warm-up   ▅▃▄▄▄▅▂▅▄▂▃█▃▅▃▅▂▆▃▃▁▇▁▆▂▆██▆▆▆▅
  clip      at 2
  rate      5e-6 to 0.0003
  batch     backward called once a step; BatchNorm: 8 samples at a time
  precision fp32
  layers    encoder.0.weight    64 %  ███████████████████
            encoder.1.weight    28 %  █████████
            head.weight        7.1 %  ██
            head.bias          0.6 %  █
            encoder.0.bias     0.0 %
  too few   `--skip-steps 200` leaves the warm-up out
            160 more steps: share of clipped steps (GA931), vanishing layers
            (GA941), layers far apart (GA942)
            180 more steps: growth (GA935)
            240 more steps: a clip that never acts (GA932), heavy tail (GA933),
            spikes (GA934)
  files     wrote out/last.ckpt
  note      the step is compiled\
""")


def test_concise_has_the_findings_alone(folder: Path) -> None:
    ran = run_cli("check", "train.yaml", "--record", "probe", "--format", "concise")
    assert "Recorded" not in ran.out


def test_json_has_the_measurement(folder: Path) -> None:
    ran = run_cli("check", "train.yaml", "--record", "probe", "--format", "json")
    (file,) = json.loads(ran.out)["files"]
    record = file["record"]
    assert record["directory"] == "probe"
    (optimizer,) = record["optimizers"]
    assert optimizer["judged"] == 111
    assert optimizer["batch_norm_batch"] == 8
    median = optimizer["pre_clip_norm"]["median"]
    assert median["interval"][0] < median["value"] < median["interval"][1]
    plain = json.loads(run_cli("check", "train.yaml", "--format", "json").out)
    assert "record" not in plain["files"][0]


def test_markdown_report(folder: Path) -> None:
    ran = run_cli("report", "train.yaml", "--record", "probe")
    assert ran.code == 0
    section = ran.out[ran.out.index("What was measured") :]
    assert "| median |" in section
    assert "`encoder.0.weight`" in section
    assert "wrote out/last.ckpt" in section
    assert "record `probe`, 130 steps of AdamW" in ran.out
    assert "Not measured" not in ran.out


def test_a_report_without_findings_has_the_section_too(folder: Path) -> None:
    ran = run_cli("report", "train.yaml", "--record", "probe", "--select", "GA1")
    assert "## What was measured" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", ".", "--record", "probe"], "not a directory"),
        (["check", "--record", "probe"], "not a directory"),
        (["check", "train.yaml", "--record", "nowhere"], "does not exist"),
        (["fix", "train.yaml", "--record", "nowhere"], "does not exist"),
        (["report", "train.yaml", "--record", "nowhere"], "does not exist"),
        (["check", "train.yaml", "other.yaml", "--record", "probe"], "name one config"),
        (["check", "train.yaml", "--unit", "x"], "--record too"),
        (["check", "train.yaml", "--record", "probe", "--unit", "x"], "no unit `x`"),
        (["fix", "train.yaml", "--record", "probe", "--unit", "x"], "no unit `x`"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(folder: Path, words: list[str], said: str) -> None:
    (folder / "other.yaml").write_text(CONFIG)
    ran = run_cli(*words)
    assert ran.code == 2
    assert said in " ".join((ran.out + ran.err).split())


def test_nothing_is_written_for_a_unit_that_is_not_there(folder: Path) -> None:
    text = CONFIG + "weight_decay: 1e-2\n"  # GA702 has a fix for it
    (folder / "train.yaml").write_text(text)
    ran = run_cli("fix", "train.yaml", "--record", "probe", "--unit", "x", "--write")
    assert ran.code == 2
    assert "no unit `x`" in ran.out
    assert (folder / "train.yaml").read_text() == text
    words = ("fix", "-", "--stdin-filename", "train.yaml", "--record", "probe", "--write")
    ran = run_cli(*words, "--unit", "x", stdin=text.encode())
    assert (ran.code, ran.out) == (2, text)
    assert run_cli(*words, "--unit", "main", stdin=text.encode()).out != text


def test_the_next_command_takes_the_record_along(folder: Path) -> None:
    (folder / "train.yaml").write_text(CONFIG.replace("adamw", "sgd").replace("2.0", "0.5"))
    write_record(
        folder / "probe",
        [
            {**entry, "class": "SGD"} if entry["kind"] == "optimizer" else entry
            for entry in entries()
        ],
        started="2999-01-01T00:00:00Z",
    )
    ran = run_cli("check", "train.yaml", "--record", "probe", "--unit", "main")
    assert "fix train.yaml --record probe --unit main" in " ".join(ran.out.split())


# What `probe` says at its end


def summarised(*words: Any) -> tuple[int, str]:
    stream = io.StringIO()
    return summarise_record(*words, stream=stream), stream.getvalue()


def test_the_summary_beside_a_config(folder: Path) -> None:
    code, text = summarised("probe", "train.yaml")
    assert code == 0
    assert text.startswith("Recorded probe\n")
    assert "GA301" in text


def test_what_the_file_alone_shows_is_a_line_each(folder: Path) -> None:
    """After a probe the user asks what the run showed."""
    config = CONFIG.replace("1.0e-3", "1.0e-2") + "betas: [0.9, 0.5]\n"
    (folder / "train.yaml").write_text(config, encoding="utf-8")
    _, text = summarised("probe", "train.yaml")
    run, file = text.split("From the file alone (`gradaudit check train.yaml` explains):\n")
    alone = file.split("\n\n")[0].splitlines()
    assert any("GA601" in line for line in alone)
    assert all(line.startswith("train.yaml:") for line in alone)
    assert "[GA901]" in run
    assert "= why" in run
    assert "= why" not in file


def test_the_summary_of_a_run_alone_offers_no_fix(folder: Path) -> None:
    code, text = summarised("probe")
    assert code == 0
    assert "probe (as recorded):" in text
    assert "GA301" in text
    assert "= fix" not in text
    assert "gradaudit fix" not in text


def test_the_summary_says_what_is_wrong_by_its_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = entries()
    for line in lines:
        if line["kind"] == "step":
            line["events"] = "CZBS"
    write_record(folder / "probe", lines)
    code, text = summarised("probe")
    assert code == 1
    assert "GA912" in text
    assert summarised("nowhere")[0] == 2
    assert summarised("probe", "nowhere.yaml")[0] == 2
    assert "does not exist" in capsys.readouterr().err


# The curve


def test_a_sparkline_shows_the_largest_of_each_cell() -> None:
    drawn, _ = sparkline([1.0] * 50 + [100.0] + [1.0] * 49, 20)
    assert len(drawn) == 20
    assert drawn.count(BLOCKS[-1]) == 1
    assert drawn.count(BLOCKS[0]) == 19
    assert sparkline([5.0] * 3, 20) == (BLOCKS[0] * 3, 0)
    assert sparkline([0.0, 1.0], 20)[0] == BLOCKS[0] + BLOCKS[-1]
    assert sparkline([1.0] * 100, 10, 50)[1] == 5


def test_what_was_withdrawn_is_counted_and_told(folder: Path) -> None:
    (folder / "train.yaml").write_text(CONFIG.replace("8", "4") + "norm: batch\n")
    lines = entries()
    for line in lines:
        if line["kind"] == "step":
            line["batch_norm"] = [{"mode": "train", "batch": 32, "calls": 1}]
    write_record(folder / "probe", lines, started="2999-01-01T00:00:00Z")
    ran = run_cli("check", "train.yaml", "--record", "probe", "--select", "GA301")
    assert "withdrawn GA301 batch-norm-tiny-batch: BatchNorm saw 32 samples" in ran.out
    assert "No findings in 1 file (1 withdrawn by the record)." in ran.out
    shown = run_cli("check", "train.yaml", "--record", "probe", "--format", "json")
    (withdrawn,) = json.loads(shown.out)["files"][0]["record"]["withdrawn"]
    assert withdrawn["code"] == "GA301"
    assert "32 samples" in withdrawn["reason"]


def test_of_many_optimizers_the_first_are_described_one_by_one(tmp_path: Path) -> None:
    record = [optimizer("SGD" if index else "Adam", index) for index in range(7)]
    for index in range(7):
        record += steps(lognormal(12), index=index, rate=0.01 * (index + 1))
    out = io.StringIO()
    write_record(tmp_path / "r", record)
    summarise_record(str(tmp_path / "r"), stream=out)
    shown = out.getvalue()
    assert shown.count("\n  norm ") == 4
    assert "12 of Adam (optimizer 0, steps 1 to 12)" in shown
    assert "more      3 of SGD, judged as these are" in shown


def test_a_clip_without_weighted_terms_is_no_balance_of_the_loss(folder: Path) -> None:
    (folder / "tight.yaml").write_text(CONFIG.replace("clip_norm: 2.0", "clip_norm: 0.5"))
    ran = run_cli("report", "tight.yaml", "--record", "probe")
    summary = ran.out.split("## Summary")[1].split("## 1.")[0]
    assert "GA931" in ran.out
    assert "balance of the loss" not in ran.out
    assert "clip_norm" in summary


def folds(count: int, each: int) -> list[dict[str, Any]]:
    """A new optimizer for each fold, every step clipped."""
    lines: list[dict[str, Any]] = []
    for index in range(count):
        lines.append(optimizer(index=index, name="SGD"))
        more = steps([2.0] * each, index=index, rate=0.1, events="ZBCS")
        clips = [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 2.0}]
        lines += [{**line, "clips": clips} for line in more]
    return [*lines, {"kind": "stop", "why": "steps", "steps": each}]


def test_a_run_of_many_short_optimizers_says_why_it_ended(folder: Path) -> None:
    write_record(folder / "folds", folds(20, 25))
    (folder / "f.yaml").write_text("optimizer: adam\nlearning_rate: 0.01\nclip_grad_norm: 0.5\n")
    ran = run_cli("check", "f.yaml", "--record", "folds")
    assert "stopped   enough steps of all optimizers together, none has 100 of its own" in ran.out
    assert ran.out.count("= also: warning[GA931]") == 5
    assert "14 more of this cause (GA931)" in " ".join(ran.out.split())
    assert "enough steps" not in run_cli("check", "train.yaml", "--record", "probe").out


@pytest.mark.parametrize(("covered", "said"), [(5, "all 5 tensors"), (3, "3 of 5 tensors")])
def test_the_report_says_what_the_recorded_clip_covered(
    folder: Path, covered: int, said: str
) -> None:
    lines = entries()
    for line in lines:
        for clip in line.get("clips", []):
            clip["covered"] = covered
    lines[0]["batch_norm_layers"] = 0
    for line in lines:
        line.pop("batch_norm", None)
    write_record(folder / "again", lines)
    (folder / "tight.yaml").write_text(CONFIG.replace("clip_norm: 2.0", "clip_norm: 0.5"))
    ran = run_cli("report", "tight.yaml", "--record", "again")
    assert f"In the recorded run the call is given {said} with a gradient." in ran.out
    assert "the recorded model has no BatchNorm" in ran.out
    assert "names no normalisation layer" not in ran.out
    assert "Snippet" not in ran.out  # the norm is measured, and there is no BatchNorm to watch
    assert "over 100 steps are recorded again" in ran.out
    assert "half the peak rate" in ran.out


@pytest.mark.parametrize(("folds", "in_full"), [(2, 2), (4, 1)])
def test_what_is_said_of_each_fold_is_in_full_once(
    tmp_path: Path, folds: int, in_full: int
) -> None:
    lines = [
        line
        for fold in range(folds)
        for line in (optimizer("SGD", fold), *steps(lognormal(60, 5.0), 0.1, rate=0.1, index=fold))
    ]
    write_record(tmp_path / "r", lines)
    out = io.StringIO()
    assert summarise_record(str(tmp_path / "r"), stream=out) == 1
    assert out.getvalue().count("= why: Under SGD") == in_full
    assert out.getvalue().count("[GA931]") == folds
    assert ("The same of other optimizers:" in out.getvalue()) == (folds > 2)
    assert f"Found {folds} " in out.getvalue()
