"""Where a probe keeps its record, what ends it, and which of several optimizers ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_support import (
    LOOP,
    PYTHON,
    ROOT,
    begun,
    environment,
    error_of,
    needs,
    probe,
    probe_command,
    read,
)  # fmt: skip

from gradaudit.cli import records
from gradaudit.probe import closing, launch, processes
from gradaudit.probe.prepared import prepared


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    (tmp_path / "loop.py").write_text(LOOP, encoding="utf-8")
    return tmp_path


def test_two_probes_of_one_second_have_a_directory_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-120000")
    made = [records.new_directory("probe") for _ in range(3)]
    expected = ["20260101-120000", "20260101-120000-2", "20260101-120000-3"]
    assert [Path(name).name for name in made] == expected
    assert all(Path(name).is_dir() for name in made)


def test_a_command_that_cannot_run_leaves_no_directory(tmp_path: Path) -> None:
    for words in ([PYTHON, "-I", "train.py"], ["no-such-command"], [PYTHON, "-c", "pass"]):
        assert probe(tmp_path, "--", *words).code == 2
    assert list((tmp_path / ".gradaudit" / "probe").iterdir()) == []


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_of_two_probes_at_once_into_one_directory_the_second_is_refused(tmp_path: Path) -> None:
    """Their ranks would write into one file, and each would end the other's."""
    first = begun(tmp_path, "-o", "mine")
    try:
        ran = probe(tmp_path, "-o", "mine", "--", PYTHON, "-c", "open('ran', 'w')")
        assert ran.code == 2
        assert "mine: another probe or dry run is writing its record there; name" in ran.err
        assert sorted(os.listdir(tmp_path)) == ["begun", "mine"]
        assert sorted(os.listdir(tmp_path / "mine")) == [".gradaudit-held", ".state"]
    finally:
        (tmp_path / "go").touch()
        said, _ = first.communicate(timeout=60)
    assert "never imported torch" in said
    assert not (tmp_path / "mine").exists()


def test_a_probe_that_was_killed_does_not_end_the_next(tmp_path: Path) -> None:
    first = begun(tmp_path, "-o", "mine")
    first.kill()
    words = ("-o", "mine", "--", PYTHON, "-c", "open('ran', 'w')")
    ran = probe(tmp_path, *words)  # its command runs on, and would record there
    assert ran.code == 2
    said = error_of(ran)
    assert "mine: the command of a probe that was killed still runs" in said
    assert not (tmp_path / "ran").exists()
    (tmp_path / "go").touch()
    first.communicate(timeout=60)
    group = int(said.partition("kill -- -")[2].partition("`")[0])
    until = time.monotonic() + 60
    while alive(group):
        assert time.monotonic() < until
        time.sleep(0.02)
    (tmp_path / "mine" / ".state" / "failed").write_text("it was killed")
    ran = probe(tmp_path, *words)
    assert "never imported torch" in ran.err
    assert (tmp_path / "ran").exists()
    assert os.listdir(tmp_path / "mine") == []


@pytest.mark.torch
@needs("torch")
def test_a_closed_terminal_does_not_end_what_ignores_it(loop: Path) -> None:
    """As `nohup` has it."""
    words = ("--exit-zero", "--steps", "60", "-o", "r", "--", PYTHON, "loop.py", "0.02")
    command = probe_command(*words)
    running = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "-", *command],
        cwd=loop, env=environment(PYTHONPATH=str(ROOT)), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 120
    while time.monotonic() < until and not (loop / "r" / "rank-0.jsonl").exists():
        time.sleep(0.1)
    running.send_signal(signal.SIGHUP)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "60 of SGD (steps 1 to 60)" in out


@pytest.mark.torch
@needs("torch")
def test_the_slower_of_two_optimizers_has_all_its_steps(tmp_path: Path) -> None:
    """Five steps of a critic for each of its generator, as WGANs have it, with some left out."""
    (tmp_path / "wgan.py").write_text(
        """import torch
critic, generator = torch.nn.Linear(4, 1), torch.nn.Linear(2, 4)
of_critic = torch.optim.RMSprop(critic.parameters(), 5e-5)
of_generator = torch.optim.RMSprop(generator.parameters(), 1e-4)
for step in range(1, 200):
    of_critic.zero_grad()
    critic(generator(torch.randn(3, 2)).detach()).mean().backward()
    of_critic.step()
    if step % 5 == 0:
        of_generator.zero_grad()
        critic(generator(torch.randn(3, 2))).mean().backward()
        of_generator.step()
""",
        encoding="utf-8",
    )
    words = ("--exit-zero", "--steps", "6", "--skip-steps", "6", "-o", "r")
    ran = probe(tmp_path, *words, "--", PYTHON, "wgan.py")
    assert ran.code == 0, ran.err
    steps = read(tmp_path / "r" / "rank-0.jsonl").all_steps
    assert [step["step"] for step in steps if step["optimizer"] == 1] == [*range(7, 13)]


@pytest.mark.torch
@needs("torch")
def test_a_rate_that_is_a_tensor_is_that_of_its_step(tmp_path: Path) -> None:
    """It is read when its line is written, so that no step waits for a device: the program changes
    it in place before."""
    (tmp_path / "rate.py").write_text(
        """import torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.5))
for step in range(9):
    optimizer.zero_grad()
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"].mul_(0.5)
""",
        encoding="utf-8",
    )
    ran = probe(tmp_path, "--exit-zero", "--steps", "4", "-o", "r", "--", PYTHON, "rate.py")
    assert ran.code == 0, ran.err
    rates = read(tmp_path / "r" / "rank-0.jsonl").column("learning_rate")
    assert rates == [[0.5], [0.25], [0.125], [0.0625]]


OUTER = """
import subprocess, sys, time
inner = "import time; time.sleep(60)"
print(subprocess.Popen([sys.executable, "-c", inner], start_new_session=True).pid, flush=True)
time.sleep(60)
"""
"""A launcher that gives its worker a session of its own, as torchrun does."""


def started() -> tuple[subprocess.Popen[bytes], int]:
    """A launcher and the number of its worker."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", OUTER], stdout=subprocess.PIPE, start_new_session=True
    )
    assert launcher.stdout is not None
    return launcher, int(launcher.stdout.readline())


def test_every_process_below_one_is_found() -> None:
    """By its parents, whatever its session; `/proc` and `ps` say the same."""
    launcher, worker = started()
    try:
        assert processes.descendants(launcher.pid) == [worker]
        assert (worker, launcher.pid) in processes._from_ps()
        assert processes.descendants(worker) == []
    finally:
        os.kill(worker, signal.SIGKILL)
        launcher.kill()
        launcher.communicate()


def test_what_ends_a_command_ends_its_workers(tmp_path: Path) -> None:
    launcher, worker = started()
    launch._Running(launcher, str(tmp_path)).end(signal.SIGKILL)
    until = time.monotonic() + 10
    while time.monotonic() < until and _runs(worker):
        time.sleep(0.05)
    left = _runs(worker)
    if left:
        os.kill(worker, signal.SIGKILL)
    launcher.communicate()
    assert not left


def _runs(pid: int) -> bool:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()[:1] not in ("", "Z")


# Ctrl-C


def wait_for(path: Path, text: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and not (path.exists() and text in path.read_text()):
        time.sleep(0.1)


def interrupted(folder: Path, times: int, *words: str, ranks: int = 1) -> str:
    """Run a probe into r, press Ctrl-C when every rank has a step on file; what it printed."""
    running = subprocess.Popen(
        probe_command("--exit-zero", "-o", "r", "--", *words), cwd=folder, text=True,
        env=environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for rank in range(ranks):
        wait_for(folder / "r" / f"rank-{rank}.jsonl", '"step"')
    for _ in range(times):
        running.send_signal(signal.SIGINT)
        time.sleep(0.4)
    out, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    return out + err


TORCHRUN = (
    PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
    "--rdzv-endpoint", "localhost:0",
)  # fmt: skip
ACCELERATE = (
    PYTHON, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines",
    "1", "--mixed_precision", "no", "--dynamo_backend", "no",
)  # fmt: skip


@pytest.mark.torch
@needs("torch")
@pytest.mark.parametrize(
    ("launcher", "ranks"),
    [
        ((PYTHON,), 1),
        (("sh", "-c", '"$@"; touch next', "-", PYTHON), 1),
        pytest.param(TORCHRUN, 2, marks=pytest.mark.slow),
        pytest.param(ACCELERATE, 1, marks=[pytest.mark.slow, needs("accelerate")]),
    ],
    ids=["python", "shell script", "torchrun", "accelerate"],
)
def test_a_second_ctrl_c_ends_at_once_and_the_record_says_so(
    loop: Path, launcher: tuple[str, ...], ranks: int
) -> None:
    """A step of 30 s is under way: nothing of the command could say it."""
    said = interrupted(loop, 2, *launcher, str(loop / "loop.py"), "30", ranks=ranks)
    assert "Ctrl-C again ends it at once" in said
    assert "ended at once, without the steps of the last half second" in said
    for rank in range(ranks):
        record = read(loop / "r" / f"rank-{rank}.jsonl")
        assert record.stop == {
            "kind": "stop", "why": "cut_off", "steps": 1, "recorder_seconds": None
        }  # fmt: skip
        assert record.column("step") == [1]
    assert not (loop / "next").exists()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False)
    assert str(loop / "loop.py") not in listed.stdout


def test_a_record_without_an_end_is_given_one(tmp_path: Path) -> None:
    """Half a line goes; what has an end, what is no record and what is empty stay as they are."""
    header, stop = '{"kind": "header"}\n', '{"kind": "stop", "why": "steps"}\n'
    step = '{"kind": "step", "step": 7}\n'
    (tmp_path / "rank-0.jsonl").write_text(header + step + step[:9])
    (tmp_path / "rank-1.jsonl").write_text(header + step + stop)
    (tmp_path / "rank-2.jsonl").write_text("")
    (tmp_path / "other.jsonl").write_text(step)
    closing.close_records(str(tmp_path))
    lines = (tmp_path / "rank-0.jsonl").read_text().splitlines(keepends=True)
    assert lines[:2] == [header, step]
    assert json.loads(lines[2])["why"] == "cut_off"
    assert json.loads(lines[2])["steps"] == 7
    assert (tmp_path / "rank-1.jsonl").read_text() == header + step + stop
    assert (tmp_path / "rank-2.jsonl").read_text() == ""
    assert (tmp_path / "other.jsonl").read_text() == step


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("export PYTHONPATH=$PWD; {python} -c '{waits}'; true", 1),
        ("{python} -c '{waits}'; sleep 0.1", 0),  # one that is long in importing what it needs
        ("sleep 0.1", 0),
    ],
)
def test_a_command_that_hides_from_the_recorder_is_told_of_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: int
) -> None:
    """Not at its end, which may be days away. A Python says that it has the recorder as it starts,
    whatever it imports then."""
    monkeypatch.setattr(launch, "SILENT_SECONDS", 1.0)
    said: list[str] = []
    line = script.format(python=PYTHON, waits="import time; time.sleep(2)")
    request = launch.Request(["sh", "-c", line], str(tmp_path / "r"), steps=5, cwd=str(tmp_path))
    with prepared(request):
        outcome = launch.run(request, launch.Listener(lambda seen: None, said.append, {}))
    assert len(said) == words
    assert all("no Python of the command has loaded the recorder in 1 s;" in one for one in said)
    assert outcome.why == "nothing"


CLOSING = """
import os, signal, sys, time
from gradaudit.__main__ import main
from gradaudit.probe import launch

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else nohup around the tests decides
close, end = launch.close_records, launch._Running.end
def closed(directory):
    os.kill(os.getpid(), signal.{second})
    time.sleep(0.1)
    close(directory)
def ended(running, how):
    if how == signal.SIGKILL:
        os.kill(os.getpid(), signal.{second})
        time.sleep(0.1)
    end(running, how)
launch.close_records, launch._Running.end = closed, ended
sys.exit(main(sys.argv[1:]))
"""
"""A probe to which a second signal comes while it ends the command, and one while it closes the
record."""

RECORDER = """
import os, time
with open(os.path.join(os.environ["GRADAUDIT_PROBE_DIR"], "rank-0.jsonl"), "w") as file:
    file.write('{"kind": "header", "schema": 1}\\n')
    file.write('{"kind": "step", "optimizer": 0, "step": 3, "time": 0.1, "skipped": false, ')
    file.write('"pre_clip_norm": 1.0, "clips": []}\\n')
    file.flush()
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("first", "second"), [("SIGHUP", "SIGTERM"), ("SIGTERM", "SIGHUP"), ("SIGTERM", "SIGINT")]
)
def test_a_signal_while_the_record_is_closed_does_not_cost_its_end(
    tmp_path: Path, first: str, second: str
) -> None:
    """A terminal that is closed sends one, and who cleans up behind it another."""
    (tmp_path / "closing.py").write_text(CLOSING.format(second=second), encoding="utf-8")
    (tmp_path / "records.py").write_text(RECORDER, encoding="utf-8")
    running = subprocess.Popen(
        [PYTHON, "closing.py", "probe", "-o", "r", "--", PYTHON, str(tmp_path / "records.py")],
        cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(tmp_path / "r" / "rank-0.jsonl", '"step"')
    running.send_signal(signal.Signals[first])
    running.communicate(timeout=60)
    expected = first if second == "SIGINT" else second
    assert running.returncode == 128 + signal.Signals[expected]
    lines = (tmp_path / "r" / "rank-0.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == {
        "kind": "stop", "why": "cut_off", "steps": 3, "recorder_seconds": None
    }  # fmt: skip
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False)
    assert str(tmp_path / "records.py") not in listed.stdout


@pytest.mark.torch
@pytest.mark.slow
@needs("torch")
def test_ranks_that_run_apart_end_at_one_step(tmp_path: Path) -> None:
    """On a GPU a rank asks for many steps that another has not begun; to read a number waits for
    all of them. Here the numbers of a rank's step can be read when both have asked for it."""
    (tmp_path / "apart.py").write_text(APART, encoding="utf-8")
    said = interrupted(tmp_path, 1, *TORCHRUN, str(tmp_path / "apart.py"), ranks=2)
    assert "interrupted" in said
    ends = [read(tmp_path / "r" / f"rank-{rank}.jsonl").stop for rank in range(2)]
    assert [end and end["why"] for end in ends] == ["interrupted"] * 2
    assert len({end and end["steps"] for end in ends}) == 1


APART = """
import os, time, torch
import gradaudit_recorder.steps as steps

rank = int(os.environ["RANK"])
def asked(of):
    try:
        return int(open(f"asked-{of}").read() or 0)
    except FileNotFoundError:
        return 0

read = steps.Sent.lines
def waits(sent):
    while asked(1 - rank) < asked(rank):
        time.sleep(0.001)
    return read(sent)
steps.Sent.lines = waits

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(1, 5000):
    with open(f"asked-{rank}.new", "w") as file:
        file.write(str(step))
    os.replace(f"asked-{rank}.new", f"asked-{rank}")
    optimizer.zero_grad()
    model(torch.randn(3, 4)).pow(2).mean().backward()
    optimizer.step()
    time.sleep(0.05 if rank else 0.002)
"""


WIPES = """
import shutil, time
shutil.rmtree("out")
time.sleep(30)
open("ran-on", "w")
"""


def test_a_command_that_deletes_its_record_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "wipes.py").write_text(WIPES, encoding="utf-8")
    ran = probe(tmp_path, "-o", "out/record", "--", PYTHON, "wipes.py")
    assert ran.code == 2
    assert "the command deleted out/record, where its record was being written" in ran.err
    assert os.listdir(tmp_path) == ["wipes.py"]
