"""Dry runs of a tiny training in which something happens at a certain pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gradaudit.__main__ import main

SCRIPT = """
import itertools, os, signal, sys
import torch
from gradaudit.probe.protocol import Training

calls = itertools.count(1)

def losses(model, batch):
    if next(calls) == {call}:
        {what}
    out = model(batch).squeeze(-1)
    return {{"task": (out.square().mean(), 1.0), "spread": (out.var(), 0.5)}}

def build(config):
    torch.manual_seed(0)
    batches = torch.randn(40, 8, 4).unbind()
    return Training(torch.nn.Linear(4, 1), batches, losses, primary=["task"])
"""
"""Two calls of `losses` a step: the measurement's and the training's own."""

CTRL_C = "signal.raise_signal(signal.SIGINT)"
WORDS = ["dryrun", "c.yaml", "--entry", "mine.py:build", "--steps", "6", "-o", "record"]
CONFIG = "optimizer: sgd\nlearning_rate: 0.01\nmax_steps: 50\nwarmup_steps: 2\n"


def folder_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fixture: a directory with the config, to work in."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return tmp_path


def dryrun(folder: Path, what: str, call: int, *words: str) -> int:
    name = f"ends_{abs(hash((folder, what, call)))}.py"
    (folder / name).write_text(SCRIPT.format(what=what, call=call))
    return main(
        ["dryrun", "c.yaml", "--entry", f"{name}:build", "--steps", "6", "-o", "record", *words]
    )


def lines_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for text in (folder / "record" / "rank-0.jsonl").read_text().splitlines():
        line = json.loads(text)
        found.setdefault(line["kind"], []).append(line)
    return found
