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
    assert "cannot be written any more: [Errno 28] No space left on device" in told
    assert "report" not in told  # it is no fault of ours


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


def test_a_step_that_raised_of_an_optimizer_that_stays(tmp_path: Path) -> None:
    """The step of another was taken for one inside of it, for as long as it did not step again."""
    lines, _ = recorded(
        tmp_path,
        """
class Fails(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError("no")

model = torch.nn.Linear(4, 4)
fails = Fails(model.parameters(), lr=0.1)
try:
    train(model, fails)
except ValueError:
    pass
train(*made(), 5)
""",
    )
    assert [line["step"] for line in steps_of(lines)] == [1, 2, 3, 4, 5]


def test_other_parameters_in_the_place_of_as_many(tmp_path: Path) -> None:
    """The clip was not known to be of them, and the norm after it passed for the one before."""
    lines, _ = recorded(
        tmp_path,
        """
def clipped(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).pow(2).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()

model, optimizer = made()
clipped(model, optimizer)
model, _ = made()
optimizer.param_groups[0]["params"] = list(model.parameters())
clipped(model, optimizer)
""",
    )
    for line in steps_of(lines):
        assert line["pre_clip_norm"] == line["clips"][0]["pre_clip_norm"] > 0.1


@pytest.mark.parametrize("event", ["open", "os.rename", "os.remove"])
def test_an_audit_event_of_the_programs_own(tmp_path: Path, event: str) -> None:
    _, out = recorded(tmp_path, f'sys.audit("{event}")\ntrain(*made(), 2)\nprint("trained on")\n')
    assert out == "trained on\n"


def test_a_module_that_was_never_initialised(tmp_path: Path) -> None:
    lines, _ = recorded(
        tmp_path,
        "half_made = torch.nn.Linear.__new__(torch.nn.Linear)\ntrain(*made(), 3)\n",
    )
    assert [line["step"] for line in steps_of(lines)] == [1, 2, 3]


SCALED = """
def two(first_scaled):
    torch.manual_seed(0)
    (own, one), (rest, other) = made(), made()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    def with_scaler():
        one.zero_grad()
        scaler.scale(own(torch.ones(2, 4)).pow(2).sum()).backward()
        scaler.step(one)
        scaler.update()
    for step in range(4):
        if first_scaled:
            with_scaler()
        other.zero_grad()
        rest(torch.ones(2, 4)).pow(2).sum().backward()
        torch.nn.utils.clip_grad_norm_(rest.parameters(), 0.1)
        other.step()
        if not first_scaled:
            with_scaler()
"""


@pytest.mark.parametrize("first_scaled", [True, False])
def test_an_optimizer_without_a_scaler_beside_one_that_has_one(
    tmp_path: Path, first_scaled: bool
) -> None:
    """Its norms were divided by the other's scale, and its clip told to act on scaled gradients."""
    lines, _ = recorded(tmp_path, f"{SCALED}\ntwo({first_scaled})\n")
    scaled, other = (steps_of(lines, at) for at in ((0, 1) if first_scaled else (1, 0)))
    assert {line["loss_scale"] for line in scaled} == {2.0**16}
    assert {line["unscaled"] for line in scaled} == {True}
    for line in other:
        (clip,) = line["clips"]
        assert "unscaled" not in clip
        assert line["pre_clip_norm"] == pytest.approx(clip["pre_clip_norm"])
        assert "loss_scale" not in line
        assert "unscaled" not in line


def test_a_scaler_that_the_step_forgets_is_told_yet(tmp_path: Path) -> None:
    """The loss is scaled, and the optimizer is stepped by itself, without `scaler.step`."""
    lines, _ = recorded(
        tmp_path,
        """
model, optimizer = made()
scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
for step in range(3):
    optimizer.zero_grad()
    for micro_batch in range(2):
        scaler.scale(model(torch.ones(2, 4)).pow(2).sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    optimizer.step()
""",
    )
    steps = steps_of(lines)
    assert [line["unscaled"] for line in steps] == [False] * 3
    assert {line["clips"][0]["unscaled"] for line in steps} == {False}
    ratio = steps[0]["clips"][0]["pre_clip_norm"] / steps[0]["pre_clip_norm"]
    assert ratio == pytest.approx(4.0)


def test_a_fork_writes_no_line_of_its_parent_again(tmp_path: Path) -> None:
    """What waits in the file's buffer is in the child's too, which lets go of it."""
    lines, _ = recorded(
        tmp_path,
        """
model, optimizer = made()
train(model, optimizer)
for name in "abc":
    open(f"{name}.txt", "w").close()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
""",
    )
    paths = [line["path"] for line in lines if line["kind"] == "file"]
    assert len(paths) == len(set(paths)) > 0


def test_a_model_that_the_program_lets_go_of_is_gone(tmp_path: Path) -> None:
    """Also where its last step was one at which weights are looked at, and its line waits."""
    _, out = recorded(
        tmp_path,
        """
from gradaudit_recorder import steps
model, optimizer = made()
train(model, optimizer, 10)
steps.flush()
steps.FLUSH_SECONDS = 1e9
train(model, optimizer)
assert steps._waiting
weight = weakref.ref(model.weight)
del model, optimizer
gc.collect()
print(weight() is None)
""",
    )
    assert out == "True\n"


def test_a_scaler_that_has_a_scale_of_its_own(tmp_path: Path) -> None:
    """As that of FSDP1 has: what it multiplies is not seen, what it unscales is."""
    lines, _ = recorded(
        tmp_path,
        """
class Own(torch.amp.GradScaler):
    def scale(self, outputs):
        if self._scale is None:
            self._lazy_init_scale_growth_tracker(outputs.device)
        return outputs * self._scale

model, optimizer = made()
scaler = Own("cpu")
for step in range(4):
    optimizer.zero_grad()
    scaler.scale(model(torch.ones(2, 4)).pow(2).sum()).backward()
    if step == 3:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    scaler.step(optimizer)
    scaler.update()
""",
    )
    assert [line.get("loss_scale") for line in steps_of(lines)] == [2.0**16] * 4
    last = steps_of(lines)[3]
    assert last["clips"][0]["unscaled"] is False
    assert last["pre_clip_norm"] == pytest.approx(last["clips"][0]["pre_clip_norm"] / 2**16)
