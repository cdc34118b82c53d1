"""Running a script of tests/training with the recorder and without, and reading what both left."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIM = ROOT / "gradaudit" / "probe" / "shim"
TRAINING = Path(__file__).resolve().parent / "training"


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@dataclass
class Lines:
    """One rank's file, by kind. steps: of optimizer 0."""

    header: dict[str, Any]
    optimizers: list[dict[str, Any]]
    all_steps: list[dict[str, Any]]
    files: list[dict[str, Any]]
    notes: dict[str, str]
    stop: dict[str, Any] | None

    @property
    def steps(self) -> list[dict[str, Any]]:
        return self.steps_of(0)

    def steps_of(self, optimizer: int) -> list[dict[str, Any]]:
        return [step for step in self.all_steps if step["optimizer"] == optimizer]

    def column(self, name: str) -> list[Any]:
        return [step[name] for step in self.steps]


def read(path: Path) -> Lines:
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        kinds.setdefault(entry["kind"], []).append(entry)
    assert entries[0]["kind"] == "header"
    stops = kinds.get("stop", [])
    assert not stops or entries[-1] is stops[0]
    return Lines(
        entries[0],
        kinds.get("optimizer", []),
        kinds.get("step", []),
        kinds.get("file", []),
        {note["topic"]: note["text"] for note in kinds.get("note", [])},
        stops[0] if stops else None,
    )


def environment(**more: str) -> dict[str, str]:
    given = {k: v for k, v in os.environ.items() if not k.startswith("GRADAUDIT")}
    return {**given, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **more}


@dataclass
class Both:
    """A script run with the recorder and without: what each kept, by rank, and the record."""

    recorded: list[dict[str, Any]]
    alone: list[dict[str, Any]]
    ranks: list[Lines]
    errors: str = ""
    device: str = "cpu"
    record: Lines = field(init=False)

    def __post_init__(self) -> None:
        self.record = self.ranks[0]

    @property
    def kept(self) -> dict[str, Any]:
        return self.recorded[0]

    def near(self, values: Any, tolerance: float | None = None) -> Any:
        """Equal to a float32's rounding, or as told; None stays None.

        On a GPU the script's own sum and the recorder's are of different kernels, which add in
        different orders.
        """
        if isinstance(values, list):
            return [self.near(value, tolerance) for value in values]
        near = tolerance or (1e-6 if self.device == "cpu" else 1e-5)
        return None if values is None else pytest.approx(values, rel=near, abs=1e-12)


def on_device(device: str, ranks: int) -> dict[str, str]:
    """What the scripts of tests/training read, and what a GPU needs to do the same twice."""
    if device == "mps":  # what has no kernel there is computed on the CPU, as users have it
        return {"DEVICE": device, "PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    if device == "late":  # the CPU, as a device that would have to be waited for
        return {"DEVICE": "cpu", "NUMBERS_COME_LATER": "1"}
    if device != "cuda":
        return {"DEVICE": device}
    given = {"DEVICE": device, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if ranks == 1:  # trainers take all that they see
        given["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return given


TORN = "terminate called without an active exception"
"""What aborts a process of gloo at its very end, seldom and on a busy machine: a thread of torch's
still holds a tensor, and the interpreter that it needs to let go of it is gone
(https://github.com/pytorch/pytorch/pull/179291, not mended)."""


def run_both(
    folder: Path,
    device: str,
    script: str,
    *words: str,
    ranks: int = 1,
    launched: bool = False,
    steps: int = 1000,
    skip: int = 0,
) -> Both:
    """Run at once: a training is the same however the machine is loaded.

    launched: by torchrun; always where there are several ranks.
    """
    launched = launched or ranks > 1
    record = folder / "record"
    (record / ".state").mkdir(parents=True)
    started = []
    for name in ("recorded", "alone"):
        command = [sys.executable, str(TRAINING / script), str(folder / name), *words]
        if launched:
            command[:1] = [
                sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks),
                "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
            ]  # fmt: skip
        given = environment(**on_device(device, ranks))
        if name == "recorded":
            given |= {
                "PYTHONPATH": str(SHIM),
                "GRADAUDIT_PROBE_DIR": str(record),
                "GRADAUDIT_PROBE_STEPS": str(steps),
                "GRADAUDIT_PROBE_SKIP": str(skip),
            }
        started.append(
            subprocess.Popen(
                command, cwd=folder, env=given, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in started]
    if launched and folder.name != "again" and any(TORN in error for error in errors):
        more = {"ranks": ranks, "steps": steps, "skip": skip}
        return run_both(folder / "again", device, script, *words, launched=True, **more)
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)
    assert "gradaudit" not in errors[0]
    names = ("recorded", "alone")
    kept = [
        [
            json.loads((folder / (f"{name}.{rank}" if launched else name)).read_text())
            for rank in range(ranks)
        ]
        for name in names
    ]
    files = [read(record / f"rank-{rank}.jsonl") for rank in range(ranks)]
    assert sorted(p.name for p in record.glob("rank*")) == [f"rank-{r}.jsonl" for r in range(ranks)]
    return Both(kept[0], kept[1], files, errors[0], device)


def run_recorded(folder: Path, program: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program with the recorder alone, no command around it; its record is in `record`."""
    record = folder / "record"
    (record / ".state").mkdir(parents=True)
    (folder / "program.py").write_text(program, encoding="utf-8")
    given = environment(PYTHONPATH=str(SHIM), GRADAUDIT_PROBE_DIR=str(record))
    ran = subprocess.run(
        [PYTHON, "program.py"], cwd=folder, env=given, text=True, capture_output=True, check=False
    )
    assert ran.returncode == code, ran.stderr
    return ran


def assert_faithful(both: Both) -> None:
    """The same bytes in every tensor, and whatever the script measured itself."""
    assert both.recorded == both.alone
    assert both.kept["weights"]
    assert both.record.stop is not None
    assert both.record.stop["why"] == "script_ended"
    assert "recorder" not in both.record.notes


PYTHON = sys.executable
LOOP = """
import sys, time, torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(400):
    optimizer.zero_grad()
    model(torch.randn(3, 4)).pow(2).mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    time.sleep(float(sys.argv[1]))
open("ended", "w").close()
"""


class Ran:
    def __init__(self, ended: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = ended.returncode, ended.stdout, ended.stderr


def probe_command(*words: str) -> list[str]:
    return [PYTHON, "-m", "gradaudit", "probe", *words]


def probe(folder: Path, *words: str, **more: str) -> Ran:
    """Run it in `folder`, in a process of its own."""
    given = environment(PYTHONPATH=str(ROOT), COLUMNS="80", **more)
    return Ran(
        subprocess.run(
            probe_command(*words), cwd=folder, env=given, capture_output=True, text=True,
            timeout=240, check=False,
        )
    )  # fmt: skip


def error_of(ran: Ran) -> str:
    last = ran.err.splitlines()[-1]
    assert last.startswith("gradaudit: error: ")
    return last.removeprefix("gradaudit: error: ")


WAITS = """
import os, time
open("begun", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)
"""


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A probe whose command has begun, and waits for a file `go`."""
    running = subprocess.Popen(
        probe_command(*words, "--", PYTHON, "-c", WAITS), cwd=folder, text=True,
        env=environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    until_begun(running, folder)
    return running


def until_begun(running: subprocess.Popen[str], folder: Path) -> None:
    """Wait for the file `begun` that it makes."""
    until = time.monotonic() + 60
    while not (folder / "begun").exists():
        assert running.poll() is None and time.monotonic() < until  # noqa: PT018
        time.sleep(0.02)
