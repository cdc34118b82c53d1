"""Where a probe keeps its record, what ends it, and which of several optimizers ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_support import LOOP, PYTHON, ROOT, environment, needs, probe, probe_command, read

from gradaudit.cli import records
from gradaudit.probe import launch, processes


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
