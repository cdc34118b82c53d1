"""How a dry run ends before its time: what stays of it, and what must not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from probe_support import PYTHON, ROOT, environment

from gradaudit.__main__ import main
from gradaudit.evidence.record_reader import BadRecord, read_record

pytestmark = [pytest.mark.torch, pytest.mark.slow]

SCRIPT = """
import itertools, os, signal, sys
import torch
from gradaudit.probe.protocol import Training

calls = itertools.count(1)

def losses(model, batch):
    if next(calls) == {call}:
        {what}
    out = model(batch).squeeze(-1)
    return {{"task": (out.square().mean(), 1.0), "spread": (out.var(), 0.5)}}

def build(config):
    torch.manual_seed(0)
    batches = torch.randn(40, 8, 4).unbind()
    return Training(torch.nn.Linear(4, 1), batches, losses, primary=["task"])
"""
"""Two calls of `losses` a step: the measurement's and the training's own."""

CTRL_C = "signal.raise_signal(signal.SIGINT)"
CONFIG = "optimizer: sgd\nlearning_rate: 0.01\nmax_steps: 50\nwarmup_steps: 2\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return tmp_path


def dryrun(folder: Path, what: str, call: int, *words: str) -> int:
    name = f"ends_{abs(hash((folder, what, call)))}.py"
    (folder / name).write_text(SCRIPT.format(what=what, call=call))
    return main(
        ["dryrun", "c.yaml", "--entry", f"{name}:build", "--steps", "6", "-o", "record", *words]
    )


def lines_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for text in (folder / "record" / "rank-0.jsonl").read_text().splitlines():
        line = json.loads(text)
        found.setdefault(line["kind"], []).append(line)
    return found


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("raise ValueError('mine')", 7),
        ("sys.exit(0)", 7),
        ("raise KeyError('mine')", 13),  # after the steps
        ("sys.exit('enough')", 13),
    ],
)
def test_what_the_users_code_ends_leaves_no_record(
    folder: Path, what: str, call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even one of half the steps: the next command would take it for a measurement."""
    assert dryrun(folder, what, call) == 2
    said = capsys.readouterr()
    assert "your code failed: " in said.err
    assert not said.out
    assert not (folder / "record").exists()


def test_a_fault_of_gradaudit_leaves_no_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gradaudit.probe import frozen

    monkeypatch.setattr(frozen, "dots_of", None)
    assert dryrun(folder, "pass", 0) == 3
    assert "this is a fault in gradaudit" in capsys.readouterr().err
    assert not (folder / "record").exists()


def test_ctrl_c_in_the_steps_keeps_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `probe` has it: judged by what there is, and told as interrupted."""
    assert dryrun(folder, CTRL_C, 9) == 0
    assert "stopped early: interrupted: 4 of 6 steps" in " ".join(capsys.readouterr().out.split())
    lines = lines_of(folder)
    assert [line["step"] for line in lines["step"]] == [1, 2, 3, 4]
    # without these a `fix --record` would take the warm-up's steps, and lower the task's weight
    assert lines["trajectory"][0]["warmup_steps"] == 2
    assert {line["name"]: line["role"] for line in lines["term"]} == {
        "task": "primary", "spread": "auxiliary"
    }  # fmt: skip
    assert lines["stop"] == [{"kind": "stop", "why": "interrupted", "steps": 4}]
    assert "frozen" not in lines  # nothing more was begun


@pytest.mark.parametrize(("call", "done"), [(9, 4), (13, 6)], ids=["in the steps", "after them"])
def test_a_second_ctrl_c_does_not_cost_the_record(
    folder: Path, call: int, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher passes on what the terminal sends to all: two arrive."""
    from gradaudit.probe.dry_lines import to_json

    before = signal.getsignal(signal.SIGINT)

    def again(value: Any) -> Any:
        if isinstance(value, dict) and value.get("why") == "interrupted":
            signal.raise_signal(signal.SIGINT)
        return to_json(value)

    monkeypatch.setattr("gradaudit.probe.dryrun.to_json", again)
    assert dryrun(folder, CTRL_C, call) == 0
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "interrupted", "steps": done}]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_first_step_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dryrun(folder, CTRL_C, 1) == 2
    said = capsys.readouterr().err
    assert "interrupted before the first step was done: nothing was measured" in said
    assert not (folder / "record").exists()


@pytest.mark.parametrize("call", [13, 45], ids=["which terms couple samples", "gradients"])
def test_ctrl_c_after_the_steps_keeps_them(
    folder: Path, call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dryrun(folder, CTRL_C, call) == 0
    assert "note: interrupted after the steps" in " ".join(capsys.readouterr().out.split())
    lines = lines_of(folder)
    assert len(lines["step"]) == 6
    assert lines["trajectory"][0]["warmup_steps"] == 2
    assert {line["name"] for line in lines["term"]} == {"task", "spread"}
    assert "rate_test" not in lines
    assert lines["stop"] == [{"kind": "stop", "why": "interrupted", "steps": 6}]
    assert main(["check", "c.yaml", "--record", "record"]) in (0, 1)
    assert "stopped interrupted" in " ".join(capsys.readouterr().out.split())


def test_ctrl_c_during_the_summary_says_where_the_record_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gradaudit.render import dryrun as screen

    monkeypatch.setattr(screen, "dry_run_lines", lambda *_: signal.raise_signal(signal.SIGINT))
    assert dryrun(folder, "pass", 0) == 130
    assert "interrupted; the record is in record:" in capsys.readouterr().err
    assert lines_of(folder)["stop"][0]["why"] == "steps"


def test_a_dry_run_that_is_killed_leaves_what_is_no_record(folder: Path) -> None:
    (folder / "mine.py").write_text(
        SCRIPT.format(call=7, what="os.kill(os.getpid(), signal.SIGKILL)")
    )
    words = ["dryrun", "c.yaml", "--entry", "mine.py:build", "--steps", "6", "-o", "record"]
    command = [PYTHON, "-m", "gradaudit", *words]
    given = environment(PYTHONPATH=os.pathsep.join([str(ROOT)]))
    assert subprocess.run(command, env=given, check=False).returncode == -signal.SIGKILL
    with pytest.raises(BadRecord, match="record: holds no whole record: a dry run is still"):
        read_record("record")
    (folder / "mine.py").write_text(SCRIPT.format(call=0, what="pass"))
    assert main(words) == 0  # into the same directory, which holds no record
    assert os.listdir("record") == ["rank-0.jsonl"]
