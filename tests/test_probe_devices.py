"""What the recorder asks of a device, seen without one: a GPU is slow where it is waited for.

`test_probe_recorder.py` has the trainings on a GPU itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from probe_support import (
    PYTHON,
    Lines,
    Ran,
    error_of,
    needs,
    probe,
    read,
    run_both,
    run_recorded,
)

pytestmark = [pytest.mark.torch, needs("torch")]


def recorded(folder: Path, program: str) -> str:
    """Run a program with the recorder; what it printed."""
    ran = run_recorded(folder, program)
    assert ran.stderr == ""
    return ran.stdout


def test_numbers_are_read_twice_a_second_and_a_gpu_is_never_waited_for(
    tmp_path: Path, device: str
) -> None:
    both = run_both(tmp_path, "late" if device == "cpu" else device, "waits.py")
    assert both.recorded[0]["weights"] == both.alone[0]["weights"]
    assert len(both.record.steps) == 120
    assert both.kept["waits"] == both.alone[0]["waits"]
    added = both.kept["reads"] - both.alone[0]["reads"]
    most = both.kept["seconds"] / 0.5 + 3
    assert 1 <= added <= most < 120


@pytest.mark.parametrize(
    "script", ["plain.py", "gan.py", "joint.py", "lbfgs.py", "scaler.py right fused"]
)
def test_a_record_is_the_same_whether_its_numbers_are_read_at_once_or_later(
    tmp_path: Path, script: str
) -> None:
    """At once on the CPU, which nobody waits for."""
    found = []
    for device in ("cpu", "late"):
        (tmp_path / device).mkdir()
        found.append(run_both(tmp_path / device, device, *script.split()).record.all_steps)
    assert found[0]
    for step in (*found[0], *found[1]):
        del step["time"]
    assert found[0] == found[1]


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
    "noted": sorted(topic for topic, _ in output._noted),
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


NO_DOUBLES = """
import json, torch
import gradaudit_recorder.steps as steps
from gradaudit_recorder import state, undone
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

made = []
class Doubles(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor) and one.dtype == torch.float64:
                made.append([str(function), str(one.device)])
        return result

steps._written.at = float("inf")  # nothing is written: there is nothing to read
undone._is_plain = lambda tensor: True  # but for their class these are
with FakeTensorMode(), Doubles():
    of = lambda dtype: torch.nn.Parameter(torch.empty(8, 8, device="mps", dtype=dtype))
    weights = [of(torch.float32), of(torch.float16), of(torch.bfloat16)]
    optimizer = torch.optim.SGD(weights, lr=0.1, foreach=False)
    for step in range(23):
        optimizer.zero_grad()
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        torch.nn.utils.clip_grad_norm_(weights[:2], 1.0)
        optimizer.step()
    none = list(made)
    weights[0].detach().double()
lines = list(steps._waiting)
steps._waiting.clear()
devices = {str(norms.device) for line in lines for _, norms in line["layer_norms"].parts}
print(json.dumps({
    "listens": state.current.active, "lines": len(lines), "made": none, "seen": len(made),
    "devices": sorted(devices), "updates": sum("update_ratio" in line for line in lines),
    "looks": sum("last_update" in line for line in lines),
}))
"""


def test_no_float64_is_made_on_a_device_that_has_none(tmp_path: Path) -> None:
    """As MPS, on tensors without values. That the mode sees one is tried at the end."""
    said = json.loads(recorded(tmp_path, NO_DOUBLES))
    assert said["made"] == []
    assert said["seen"] == 1
    assert (said["listens"], said["lines"]) == (True, 23)
    assert (said["updates"], said["looks"]) == (2, 2)
    assert said["devices"] == ["mps:0"]


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


REPLAYS = """
import sys, time, torch

base = torch._C._CUDAGraph  # without its CUDA: what torch's own class calls
base.capture_begin = lambda self, **named: None
base.capture_end = base.replay = lambda self: None
really = torch.cuda.is_initialized, torch.cuda.is_current_stream_capturing

class capture:
    def __enter__(self):
        graph.capture_begin()
        torch.cuda.is_initialized = torch.cuda.is_current_stream_capturing = lambda: True
    def __exit__(self, *error):
        torch.cuda.is_initialized, torch.cuda.is_current_stream_capturing = really
        graph.capture_end()

if torch.version.cuda is None:
    graph = object.__new__(torch.cuda.CUDAGraph)
    graph._tracker = None
else:
    graph = torch.cuda.CUDAGraph()
first, second = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
one = torch.optim.SGD(first.parameters(), lr=0.1)
other = torch.optim.AdamW(second.parameters(), lr=0.1)
def train(model, optimizer):
    optimizer.zero_grad(set_to_none=False)
    model(torch.randn(3, 4)).pow(2).mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
mode = sys.argv[1]
for _ in range(3):
    train(first, one)
    if mode in ("one", "both"):
        train(second, other)
with capture():
    if mode == "calls":
        one.zero_grad(set_to_none=False)
        first(torch.randn(3, 4)).pow(2).mean().backward()
        torch.nn.utils.clip_grad_norm_(first.parameters(), 0.5)
    else:
        train(first, one)
        if mode == "both":
            train(second, other)
open("captured", "w").close()
for _ in range(60):
    graph.replay()
    if mode == "one":
        train(second, other)
    if mode == "calls":
        one.step()
    time.sleep(0.1)
open("ended", "w").close()
"""


def replayed(folder: Path, mode: str) -> tuple[Ran, Lines]:
    import torch

    if torch.version.cuda is not None and not torch.cuda.is_available():
        pytest.skip("this torch is a build with CUDA, and makes no graph without a GPU")
    (folder / "replays.py").write_text(REPLAYS, encoding="utf-8")
    words = ("--exit-zero", "--steps", "8", "-o", "r", "--", PYTHON, "replays.py", mode)
    ran = probe(folder, *words)
    assert not (folder / "ended").exists()
    return ran, read(folder / "r" / "rank-0.jsonl")


def test_one_optimizer_in_a_cuda_graph_leaves_the_other_recorded(tmp_path: Path) -> None:
    """It is said which one was not seen, and how many of its steps were replayed meanwhile."""
    ran, record = replayed(tmp_path, "one")
    assert ran.code == 0, ran.err
    assert [step["step"] for step in record.steps_of(0)] == [1, 2, 3]
    assert [step["step"] for step in record.steps_of(1)] == list(range(1, 9))
    assert {step["events"] for step in record.steps_of(1)[1:]} == {"ZBCS"}
    assert record.stop is not None
    assert record.stop["why"] == "steps"
    texts = all_notes(tmp_path)
    assert len(texts) == 2
    assert "the steps of optimizer 0 (SGD) are replayed in a CUDA graph" in texts[0]
    assert "optimizer 0 (SGD): 5 steps were asked for by replays" in texts[1]
    assert "optimizer 0 (SGD)" in " ".join(ran.out.split())


def all_notes(folder: Path) -> list[str]:
    lines = (folder / "r" / "rank-0.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry["text"] for entry in entries if entry.get("topic") == "cuda_graph"]


def test_two_optimizers_in_a_cuda_graph_end_the_run(tmp_path: Path) -> None:
    """After the capture: the steps before it are written."""
    ran, record = replayed(tmp_path, "both")
    assert ran.code == 2
    assert "are replayed in a CUDA graph" in error_of(ran)
    assert [len(record.steps_of(0)), len(record.steps_of(1))] == [3, 3]
    assert ["optimizer 0 (SGD)" in text for text in all_notes(tmp_path)] == [True, False]


def test_an_optimizer_that_never_steps_holds_no_run_up(tmp_path: Path) -> None:
    """It may yet begin: it has as many steps' time as were asked for."""
    ran, record = replayed(tmp_path, "never")
    assert ran.code == 2
    assert "are replayed in a CUDA graph" in error_of(ran)
    assert (tmp_path / "captured").exists()
    assert record.column("step") == [1, 2, 3]


def test_calls_in_a_cuda_graph_are_told_at_each_replay(tmp_path: Path) -> None:
    """Their order, number and threshold; what the norm was before the clip is not known."""
    ran, record = replayed(tmp_path, "calls")
    assert ran.code == 0, ran.err
    assert record.column("step") == list(range(1, 9))
    after = record.steps[3:]
    assert {step["events"] for step in record.steps[1:]} == {"ZBCS"}
    assert {step["backward_calls"] for step in after} == {1}
    assert {step["pre_clip_norm"] for step in after} == {None}
    assert {clip["clip_norm"] for step in after for clip in step["clips"]} == {0.5}
    assert {clip["covered"] for step in after for clip in step["clips"]} == {2}
    assert None not in record.column("post_clip_norm")
