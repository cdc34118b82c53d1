"""How a dry run ends before its time: what stays of it, and what must not."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ending_support import CTRL_C, SCRIPT, WORDS, dryrun, folder_of_a_run, lines_of
from probe_support import PYTHON, ROOT, environment

from gradaudit.__main__ import main
from gradaudit.cli.dryrun import Progress

GONE = """
import torch
from gradaudit.probe.protocol import Training

def given():
    yield from torch.randn(10, 8, 4).unbind()
    raise OSError("disk gone")

def build(config):
    losses = lambda model, batch: {"task": (model(batch).square().mean(), 1.0)}
    return Training(torch.nn.Linear(4, 1), given(), losses)
"""

pytestmark = [pytest.mark.torch, pytest.mark.slow]
folder = pytest.fixture(folder_of_a_run)


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("raise ValueError('mine')", 7),
        ("sys.exit(0)", 7),
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


@pytest.mark.parametrize("call", [13, 45], ids=["which terms couple samples", "gradients"])
@pytest.mark.parametrize("what", ["raise KeyError('mine')", "sys.exit('enough')"])
def test_what_fails_after_the_steps_keeps_them(
    folder: Path, what: str, call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them were lost for what came behind them."""
    assert dryrun(folder, what, call) == 2
    said = capsys.readouterr()
    assert "after the 6 steps, your code failed: " in said.err
    assert "(ends_" in said.err
    assert "; the steps are kept, the record is in record: " in said.err
    out = " ".join(said.out.split())
    assert "note: after the 6 steps, your code failed: " in out
    assert "what is measured at the last weights is not complete" in out
    lines = lines_of(folder)
    assert len(lines["step"]) == 6
    assert {line["name"] for line in lines["term"]} == {"task", "spread"}
    assert "rate_test" not in lines
    assert lines["stop"] == [{"kind": "stop", "why": "error", "steps": 6}]
    assert main(["check", "c.yaml", "--record", "record"]) in (0, 1)


def test_a_loader_that_fails_after_the_steps_keeps_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gone.py").write_text(GONE)
    assert main(["dryrun", "c.yaml", "--entry", "gone.py:build", *WORDS[4:]]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "after the 6 steps, the loader failed at batch 11: OSError: disk gone" in said
    assert len(lines_of(folder)["step"]) == 6


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


def apart(folder: Path, what: str, call: int, **more: Any) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    (folder / "mine.py").write_text(SCRIPT.format(what=what, call=call))
    return subprocess.run(
        [PYTHON, "-m", "gradaudit", *WORDS], env=environment(PYTHONPATH=str(ROOT)), check=False,
        capture_output=True, text=True, timeout=120, **more,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("call", [9, 13], ids=["in the steps", "after them"])
def test_a_signal_that_ends_it_keeps_the_steps(
    folder: Path, name: str, call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch system that takes the machine back, a CI at its limit, a closed terminal."""
    number = signal.Signals[name]
    before = [signal.getsignal(each) for each in (number, signal.SIGINT)]
    assert dryrun(folder, f"signal.raise_signal(signal.{name})", call) == 128 + number
    said = capsys.readouterr()
    assert f"gradaudit: ended by {name}; the record is in record: " in said.err
    assert not said.out  # not judged, as under `probe`
    done = 4 if call == 9 else 6
    lines = lines_of(folder)
    assert len(lines["step"]) == done
    assert {line["name"] for line in lines["term"]} == {"task", "spread"}
    assert lines["stop"] == [{"kind": "stop", "why": "interrupted", "steps": done}]
    assert [signal.getsignal(each) for each in (number, signal.SIGINT)] == before
    assert main(["check", "c.yaml", "--record", "record"]) in (0, 1)


def test_a_signal_before_the_first_step_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dryrun(folder, "signal.raise_signal(signal.SIGTERM)", 1) == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert "ended by SIGTERM before the first step was done: nothing was measured" in said
    assert not (folder / "record").exists()


def test_a_signal_while_torch_is_imported_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which takes seconds, and comes before any code of the training."""

    class Told:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "gradaudit.probe.dryrun":
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.delitem(sys.modules, "gradaudit.probe.dryrun", raising=False)
    monkeypatch.setattr("sys.meta_path", [Told(), *sys.meta_path])
    assert dryrun(folder, "pass", 0) == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert "ended by SIGTERM before the first step was done: nothing was measured" in said
    assert not (folder / "record").exists()


@pytest.mark.parametrize("then", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_a_second_signal_at_once_does_not_cost_the_record(
    folder: Path, first: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`timeout` sends SIGTERM to its command, and then to the command's group."""
    from gradaudit.probe.dry_lines import to_json

    def again(value: Any) -> Any:
        if isinstance(value, dict) and value.get("why") == "interrupted":
            signal.raise_signal(signal.Signals[then])
        return to_json(value)

    monkeypatch.setattr("gradaudit.probe.dryrun.to_json", again)
    code = dryrun(folder, f"signal.raise_signal(signal.{first})", 9)
    told = next((name for name in (first, then) if name != "SIGINT"), "")
    assert code == (128 + signal.Signals[told] if told else 0)
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "interrupted", "steps": 4}]


def test_a_signal_while_the_last_lines_are_written_keeps_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that came to its end."""
    from gradaudit.probe.dry_lines import to_json

    def told(value: Any) -> Any:
        if isinstance(value, dict) and value.get("kind") == "stop":
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        return to_json(value)

    monkeypatch.setattr("gradaudit.probe.dryrun.to_json", told)
    assert dryrun(folder, "pass", 0) == 128 + signal.SIGTERM
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "steps", "steps": 6}]


def test_a_later_second_signal_ends_it_at_once(folder: Path) -> None:
    """Where the training's own code does not let go."""
    stubborn = """
        import time
        try:
            os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(1.2)
            os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
    """
    assert apart(folder, stubborn, 9).returncode == -signal.SIGTERM
    assert sorted(os.listdir(folder / "record")) == [".gradaudit-held", "unfinished.jsonl"]


def test_what_is_ignored_stays_ignored(folder: Path) -> None:
    """As under `nohup`."""
    ran = apart(
        folder, "os.kill(os.getpid(), signal.SIGHUP)", 9,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "steps", "steps": 6}]


def test_a_signal_to_the_whole_group_ends_a_loaders_workers_too(folder: Path) -> None:
    """A DataLoader makes an error of its worker's death, and it must not cost the record."""
    text = SCRIPT.format(what="os.killpg(0, signal.SIGTERM); __import__('time').sleep(60)", call=9)
    loader = "torch.utils.data.DataLoader(torch.randn(4000, 4), 8, num_workers=2)"
    text = text.replace("torch.randn(40, 8, 4).unbind()", loader)
    (folder / "mine.py").write_text(text)
    ran = subprocess.run(
        [PYTHON, "-m", "gradaudit", *WORDS], env=environment(PYTHONPATH=str(ROOT)), check=False,
        capture_output=True, text=True, timeout=120, start_new_session=True,
    )  # fmt: skip
    assert ran.returncode == 128 + signal.SIGTERM, ran.stderr
    assert "Traceback" not in ran.stderr
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "interrupted", "steps": 4}]


def test_a_process_that_the_training_forked_ends_as_it_would(folder: Path) -> None:
    """It has the handlers of its parent, and is none of the dry run's."""
    forked = """
        import time
        ready, begun = os.pipe()
        child = os.fork()
        if not child:
            os.write(begun, b"."); time.sleep(60); os._exit(0)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
    """
    ran = apart(folder, forked, 9)
    assert ran.returncode == 0, ran.stderr


def test_a_terminal_that_was_closed_costs_no_record() -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    bar = Progress(6, Gone())
    bar.show(6, 1.0)
    bar.end()


def test_the_time_that_is_left_is_not_told_from_the_first_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is slow: of a run of 9 seconds it said 400 at first."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock = iter([0.0, 4.0, 4.5, 5.0, 6.0, 7.0])
    monkeypatch.setattr("gradaudit.cli.dryrun.time.monotonic", lambda: next(clock))
    terminal = Terminal()
    bar = Progress(100, terminal)
    for step in range(1, 6):
        bar.show(step, 1.0)
    lines = terminal.getvalue().split("\r")[1:]
    assert [line.endswith("s left") for line in lines] == [False] * 4 + [True]
    assert "about 95 s left" in lines[-1]  # a second each
