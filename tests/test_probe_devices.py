"""What the recorder asks of a device, seen without one: a GPU is slow where it is waited for.

`test_probe_recorder.py` has the trainings on a GPU itself.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from probe_support import PYTHON, SHIM, environment, error_of, needs, probe, read, run_both

pytestmark = [pytest.mark.torch, needs("torch")]


def recorded(folder: Path, program: str) -> str:
    """Run a program with the recorder; what it printed."""
    record = folder / "record"
    (record / ".state").mkdir(parents=True)
    (folder / "program.py").write_text(program, encoding="utf-8")
    given = environment(PYTHONPATH=str(SHIM), GRADAUDIT_PROBE_DIR=str(record))
    ran = subprocess.run(
        [PYTHON, "program.py"], cwd=folder, env=given, text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_numbers_are_read_twice_a_second_and_a_gpu_is_never_waited_for(
    tmp_path: Path, device: str
) -> None:
    both = run_both(tmp_path, device, "waits.py")
    assert both.recorded[0]["weights"] == both.alone[0]["weights"]
    assert len(both.record.steps) == 120
    assert both.kept["waits"] == both.alone[0]["waits"]
    added = both.kept["reads"] - both.alone[0]["reads"]
    most = both.kept["seconds"] / 0.5 + 3
    assert 1 <= added <= most < 120


FAKE = """
import torch
import gradaudit_recorder.steps as steps
from gradaudit_recorder import output, state
from torch._subclasses.fake_tensor import FakeTensorMode

free = {free}
asked = []
def memory(device):
    asked.append(str(device))
    return free[device.index], 9000
torch.cuda.mem_get_info = memory
steps._written.at = float("inf")  # nothing is written: there is nothing to read
with FakeTensorMode():
    of = lambda device, dtype: torch.nn.Parameter(torch.empty(8, 8, device=device, dtype=dtype))
    weights = [
        of("cuda:0", torch.float32), of("cuda:1", torch.bfloat16), of("cpu", torch.float32),
        of("cuda:1", torch.float32), of("cuda:0", torch.float16),
    ]
    optimizer = torch.optim.SGD(weights, lr=0.1, foreach=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.zeros(()))
    for step in range(12):
        optimizer.zero_grad()
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        torch.nn.utils.clip_grad_norm_([weights[0], weights[4]], 1.0)
        optimizer.step()
lines = list(steps._waiting)
steps._waiting.clear()
print(json.dumps({{
    "listens": state.current.active, "lines": len(lines), "asked": asked,
    "ratios": [line["step"] for line in lines if "update_ratio" in line],
    "parts": [[places, str(norms.device)] for places, norms in lines[3]["layer_norms"].parts],
    "noted": sorted(output._noted),
}}))
"""


@pytest.mark.parametrize(
    ("free", "ratios", "noted"),
    # 64 elements of 4 and of 2 bytes on each: a copy needs 384, and half of what is free is taken.
    [([768, 768], [10], []), ([768, 767], [], ["update_ratio"])],
)
def test_no_step_reads_a_number_or_mixes_devices(
    tmp_path: Path, free: list[int], ratios: list[int], noted: list[str]
) -> None:
    """On tensors without values, of GPUs that are not there: to read one, or to add what lies on
    two devices, is an error, at which the recorder would stop listening."""
    said = json.loads(recorded(tmp_path, "import json" + FAKE.format(free=free)))
    assert said["listens"] is True
    assert said["lines"] == 12
    assert said["ratios"] == ratios
    assert said["asked"] == ["cuda:0", "cuda:1"]
    assert said["noted"] == noted
    assert said["parts"] == [
        [[0], "cuda:0"], [[1], "cuda:1"], [[2], "cpu"], [[3], "cuda:1"], [[4], "cuda:0"],
    ]  # fmt: skip


GRAPH = """
import sys, time, torch
from torch.utils._python_dispatch import TorchDispatchMode

class Norms(TorchDispatchMode):
    count = 0
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        Norms.count += "norm" in str(function) or "clone" in str(function)
        return function(*args, **(kwargs or {}))

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
def train():
    optimizer.zero_grad(set_to_none=False)
    model(torch.randn(3, 4)).pow(2).mean().backward()
    if sys.argv[1] == "all":
        optimizer.step()
for _ in range(3):
    train()
    if sys.argv[1] != "all":
        optimizer.step()
really = torch.cuda.is_initialized, torch.cuda.is_current_stream_capturing
torch.cuda.is_initialized = torch.cuda.is_current_stream_capturing = lambda: True
with Norms():
    train()
torch.cuda.is_initialized, torch.cuda.is_current_stream_capturing = really
open("clean", "w").write(str(Norms.count))
for _ in range(40):
    if sys.argv[1] != "all":
        optimizer.step()
    time.sleep(0.1)
open("ended", "w").close()
"""


def test_a_step_in_a_cuda_graph_ends_the_run_and_is_said(tmp_path: Path) -> None:
    """Its replays are not seen: nothing would end the training. Nothing of ours is captured."""
    (tmp_path / "graph.py").write_text(GRAPH, encoding="utf-8")
    ran = probe(tmp_path, "-o", "r", "--", PYTHON, "graph.py", "all")
    assert ran.code == 2
    assert "are replayed in a CUDA graph" in error_of(ran)
    assert "without capturing `optimizer.step()`" in error_of(ran)
    assert (tmp_path / "clean").read_text() == "0"
    assert not (tmp_path / "ended").exists()
    record = read(tmp_path / "r" / "rank-0.jsonl")
    assert "CUDA graph" in record.notes["cuda_graph"]
    assert record.column("step")[0] == 1


def test_a_captured_forward_and_backward_leave_the_steps_seen(tmp_path: Path) -> None:
    (tmp_path / "graph.py").write_text(GRAPH, encoding="utf-8")
    words = ("--exit-zero", "--steps", "8", "-o", "r", "--", PYTHON, "graph.py", "some")
    ran = probe(tmp_path, *words)
    assert ran.code == 0, ran.err
    assert (tmp_path / "clean").read_text() == "0"
    assert read(tmp_path / "r" / "rank-0.jsonl").column("step") == list(range(1, 9))
