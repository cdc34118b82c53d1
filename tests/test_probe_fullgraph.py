"""A training step that the program compiles as one graph: a call of the recorder would break it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from probe_support import PYTHON, Ran, environment, error_of, needs, probe, read

pytestmark = [pytest.mark.torch, pytest.mark.slow, needs("torch")]

OWN = """
import torch

class Own(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"])
"""
"""An optimizer of the user's, whose step is compiled with all else."""

STEP = f"""{OWN}
import hashlib, sys

torch._dynamo.config.trace_autograd_ops = True
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
how = sys.argv[2]
optimizer = (torch.optim.SGD if how == "part" else Own)(model.parameters())
def train(x):
    loss = model(x).pow(2).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    if how != "part":
        optimizer.step()
        model.zero_grad()
    return loss.detach()
one = torch.compile(train, backend="eager", fullgraph=how != "raises")
for _ in range(6):
    x = torch.randn(3, 4)
    if how == "raises":
        with torch._dynamo.error_on_graph_break(True):
            one(x)
    else:
        one(x)
    if how == "part":
        optimizer.step()
        optimizer.zero_grad()
digest = hashlib.sha256()
for p in model.parameters():
    digest.update(p.detach().numpy().tobytes())
open(sys.argv[1], "w").write(digest.hexdigest())
"""


def both(folder: Path, how: str) -> tuple[bool, Ran]:
    """Whether the weights with the recorder are those without, and how `probe` ended."""
    (folder / "step.py").write_text(STEP, encoding="utf-8")
    alone = [PYTHON, "step.py", "alone", how]
    subprocess.run(alone, cwd=folder, env=environment(), check=True, timeout=240)
    ran = probe(folder, "--exit-zero", "-o", "r", "--", PYTHON, "step.py", "recorded", how)
    return (folder / "alone").read_text() == (folder / "recorded").read_text(), ran


@pytest.mark.parametrize("how", ["fullgraph", "raises"])
def test_a_whole_step_in_one_graph_is_left_alone(tmp_path: Path, how: str) -> None:
    """It runs as it does without the recorder, and it is said why there is no record."""
    same, ran = both(tmp_path, how)
    assert same
    assert ran.code == 2
    assert "compiled into one graph (fullgraph)" in error_of(ran)
    assert "without `fullgraph=True`" in error_of(ran)


def test_a_clip_in_one_graph_leaves_no_norm_before_it(tmp_path: Path) -> None:
    """The step is seen, the clip is not: the norm before it is not taken for that after it."""
    same, ran = both(tmp_path, "part")
    assert same
    assert ran.code == 0, ran.err
    record = read(tmp_path / "r" / "rank-0.jsonl")
    assert record.column("step") == list(range(1, 7))
    assert set(record.column("pre_clip_norm")) == {None}
    assert all(norm <= 0.01001 for norm in record.column("post_clip_norm"))
    assert record.notes["fullgraph"].startswith("a clip is compiled into one graph")


SCALED = f"""{OWN}
model, seen = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
optimizer, other = Own(model.parameters()), torch.optim.SGD(seen.parameters(), lr=0.1)
optimizer.step = torch.compile(optimizer.step, backend="eager", fullgraph=True)
scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
for _ in range(4):
    for one, by in ((model, optimizer), (seen, other)):
        by.zero_grad()
        scaler.scale(one(torch.randn(3, 4)).pow(2).mean()).backward()
        scaler.step(by)
    scaler.update()
"""


def test_a_hidden_step_is_not_taken_for_one_that_the_scaler_skipped(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(SCALED, encoding="utf-8")
    ran = probe(tmp_path, "--exit-zero", "-o", "r", "--", PYTHON, "scaled.py")
    assert ran.code == 0, ran.err
    record = read(tmp_path / "r" / "rank-0.jsonl")
    assert [step["skipped"] for step in record.all_steps] == [False] * 4
    assert "the step of an optimizer is compiled" in record.notes["fullgraph"]
