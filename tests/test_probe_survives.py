"""What goes wrong in a program, or around it: the training goes on, and so does its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from probe_support import needs, run_recorded

pytestmark = [pytest.mark.torch, needs("torch")]

TRAIN = """
import gc, os, sys, time, torch, weakref

def made():
    model = torch.nn.Linear(4, 4)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)

def train(model, optimizer, steps=1):
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).pow(2).sum().backward()
        optimizer.step()
"""


def recorded(folder: Path, program: str) -> tuple[list[dict[str, Any]], str]:
    """Run a program with the recorder: the lines of its record, and what it printed."""
    ran = run_recorded(folder, TRAIN + program)
    text = (folder / "record" / "rank-0.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()], ran.stdout


def steps_of(lines: list[dict[str, Any]], optimizer: int = 0) -> list[dict[str, Any]]:
    own = [line for line in lines if line["kind"] == "step"]
    return [line for line in own if line["optimizer"] == optimizer]


def test_a_record_that_cannot_be_written_costs_the_training_nothing(tmp_path: Path) -> None:
    """A full disk: what is to be said of it cannot be written there either."""
    program = """
from gradaudit_recorder import output, steps
steps.FLUSH_SECONDS = 0
class Full:
    def write(self, text): pass
    def flush(self): raise OSError(28, "No space left on device")
    def close(self): self.flush()
model, optimizer = made()
train(model, optimizer)
output._output.file = Full()
train(model, optimizer, 3)
print("trained on")
"""
    ran = run_recorded(tmp_path, TRAIN + program)
    assert ran.stdout == "trained on\n"
    assert "No space left on device" in ran.stderr
    told = (tmp_path / "record" / ".state" / "failed").read_text(encoding="utf-8")
    assert "No space left on device" in told


def test_a_step_that_ran_out_of_memory_and_a_training_that_begins_anew(tmp_path: Path) -> None:
    """As `find_executable_batch_size` does it: Adam's state is what does not fit."""
    lines, _ = recorded(
        tmp_path,
        """
class Full(torch.optim.SGD):
    def step(self, closure=None):
        raise torch.OutOfMemoryError("out of memory")

def attempt():
    model = torch.nn.Linear(4, 4)
    train(model, Full(model.parameters(), lr=0.1))

try:
    attempt()
except RuntimeError:
    pass
gc.collect()
train(*made(), 5)
""",
    )
    assert [line["step"] for line in steps_of(lines)] == [1, 2, 3, 4, 5]


def test_a_module_that_was_never_initialised(tmp_path: Path) -> None:
    lines, _ = recorded(
        tmp_path,
        "half_made = torch.nn.Linear.__new__(torch.nn.Linear)\ntrain(*made(), 3)\n",
    )
    assert [line["step"] for line in steps_of(lines)] == [1, 2, 3]
