"""Lines whose numbers are on their way from a device, which is simulated: it is late, or fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from probe_support import needs, run_recorded

pytestmark = [pytest.mark.torch, needs("torch")]

LATE = """
import os, sys, torch
from gradaudit_recorder import reading, steps, tensors

tensors.is_here = reading.is_here = lambda tensor: False
steps.FLUSH_SECONDS = 0.0
def are_here(numbers):  # at the third question
    numbers.asked = getattr(numbers, "asked", 0) + 1
    return numbers.asked > 2
reading.Numbers.are_here = are_here

torch.manual_seed(0)
first, second = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
late = torch.nn.Linear(4, 1)
one = torch.optim.SGD(first.parameters(), lr=0.1)
other = torch.optim.AdamW(second.parameters(), lr=0.1)
def train(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(3, 4)).pow(2).mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    return norm
"""


def recorded(folder: Path, program: str, *, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Run a program with the recorder: the lines of its record, and what it printed."""
    ran = run_recorded(folder, program, code)
    lines = (folder / "record" / "rank-0.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], ran.stdout


def test_lines_of_a_late_device_are_all_written_in_order(tmp_path: Path) -> None:
    """Through a change of the groups in the middle, and an error of the script."""
    lines, _ = recorded(
        tmp_path,
        f"""{LATE}
for step in range(20):
    train(first, one)
    train(second, other)
    if step == 10:
        assert steps._written.sent is not None  # lines are under way
        one.add_param_group({{"params": list(late.parameters())}})
raise RuntimeError("of the script")
""",
        code=1,
    )
    steps = [(line["step"], line["optimizer"]) for line in lines if line["kind"] == "step"]
    assert steps == [(step, index) for step in range(1, 21) for index in (0, 1)]
    again = [line["kind"] == "optimizer" and len(line["layers"]) == 4 for line in lines].index(True)
    before = [line for line in lines[:again] if line["kind"] == "step"]
    assert len(before) == 22
    assert {len(line["layer_norms"]) for line in before} == {2}
    of_first = [line for line in lines[again:] if line.get("optimizer") == 0]
    assert {len(line["layer_norms"]) for line in of_first[1:]} == {4}
    assert (lines[-1]["kind"], lines[-1]["why"]) == ("stop", "error")


def test_the_next_lines_are_sent_as_the_last_arrive(tmp_path: Path) -> None:
    """Where steps are slow, a line is one step late and not two."""
    _, out = recorded(
        tmp_path,
        f"""{LATE}
reading.Numbers.are_here = lambda numbers: hasattr(numbers, "asked") or setattr(
    numbers, "asked", 1)
seen = []
for step in range(6):
    train(first, one)
    seen.append([len(steps._waiting), steps._written.sent is not None])
import json; print(json.dumps(seen))
""",
    )
    assert json.loads(out) == [[0, True]] * 6


def test_a_device_that_fails_with_the_program_leaves_a_last_line(tmp_path: Path) -> None:
    lines, _ = recorded(
        tmp_path,
        f"""{LATE}
for step in range(3):
    train(first, one)
def arrive(numbers):
    raise RuntimeError("CUDA error: device-side assert triggered")
reading.Numbers.arrive = arrive
arrive(None)
""",
        code=1,
    )
    assert (lines[-1]["kind"], lines[-1]["why"], lines[-1]["steps"]) == ("stop", "error", 3)
    said = [line["text"] for line in lines if line.get("topic") == "recorder"]
    assert len(said) == 1
    assert "device-side assert" in said[0]


def test_a_forked_child_frees_nothing_that_is_under_way(tmp_path: Path) -> None:
    """Torch ends a process that frees pinned memory of its parent's GPU."""
    lines, _ = recorded(
        tmp_path,
        f"""{LATE}
import weakref
train(first, one)
train(first, one)
under_way = weakref.ref(steps._written.sent)
waiting = weakref.ref(steps._waiting[0]["layer_norms"])
child = os.fork()
if child == 0:
    kept = under_way() is not None and waiting() is not None
    os._exit(0 if kept and steps._written.sent is None and not steps._waiting else 3)
assert os.waitpid(child, 0)[1] == 0
""",
    )
    assert [line["step"] for line in lines if line["kind"] == "step"] == [1, 2]


def test_what_the_program_does_to_a_clips_norm_is_not_recorded(tmp_path: Path) -> None:
    """Its result is the program's own: an average over ranks is often taken in it."""
    lines, out = recorded(
        tmp_path,
        f"""{LATE}
norms = []
for step in range(4):
    norm = train(first, one)
    norms.append(norm.item())
    norm.mul_(100)
print(norms)
""",
    )
    steps = [line for line in lines if line["kind"] == "step"]
    said = pytest.approx(json.loads(out))
    assert [line["pre_clip_norm"] for line in steps] == said
    assert [line["clips"][0]["pre_clip_norm"] for line in steps] == said


def test_a_loss_that_is_complex_costs_no_line(tmp_path: Path) -> None:
    """It is no number of a record; the steps are."""
    lines, _ = recorded(
        tmp_path,
        f"""{LATE}
for step in range(3):
    train(first, one)
    loss = first(torch.randn(3, 4)).mean().to(torch.complex64)
    torch.autograd.backward([loss], [torch.ones_like(loss)])
    one.step()
""",
    )
    assert [line["kind"] for line in lines].count("step") == 6
    roots = [line["backward_roots"] for line in lines if line["kind"] == "step"]
    assert [root[0] is None for root in roots] == [False, True] * 3


def test_numbers_come_to_the_cpu_whatever_the_default_device(tmp_path: Path) -> None:
    _, out = recorded(
        tmp_path,
        f"""{LATE}
import contextlib
empty = torch.empty
class Event:
    def record(self): pass
    def query(self): return True
    def synchronize(self): pass
torch.cuda.Event, torch.cuda.device = Event, lambda device: contextlib.nullcontext()
torch.set_default_device("cpu")
torch.ones(1)  # from here on the default device knows the calls that it is for
torch.empty = lambda *words, pin_memory, **named: empty(*words, **named)
train(first, one)
torch.set_default_device("meta")
print(reading.Numbers([])._copy_without_waiting(torch.ones(2, device="cpu")).tolist())
torch.set_default_device("cpu")
""",
    )
    assert json.loads(out) == [1.0, 1.0]


FLOAT8 = """
import torch
class Own(torch.optim.Optimizer):
    def step(self, closure=None):
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.copy_(p.to(torch.float32) - 0.1 * p.grad.to(torch.float32))
eight = torch.nn.Parameter(torch.ones(4).to(torch.float8_e4m3fn))
if hasattr(eight, "grad_dtype"):
    eight.grad_dtype = None
plain = torch.nn.Parameter(torch.ones(4))
optimizer = Own([eight, plain], {})
for step in range(24):
    eight.grad, plain.grad = torch.ones(4).bfloat16(), torch.ones(4)
    optimizer.step()
"""


def test_weights_in_float8_are_left_out_of_updates(tmp_path: Path) -> None:
    import torch

    if not hasattr(torch.Tensor, "grad_dtype"):
        pytest.skip("in this torch a gradient has its parameter's type")
    lines, _ = recorded(tmp_path, FLOAT8)
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, 25))
    assert {tuple(line["layer_norms"]) for line in steps} == {(2.0, 2.0)}
    assert [value is None for value in steps[9]["update_ratio"]] == [True, False]
    assert steps[11]["last_update"]["looked"] == 1
