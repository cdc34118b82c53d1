"""Fixtures, and the hypothesis profile: the same examples in every run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from support import ROOT, needs_gpus

settings.register_profile("gradaudit", deadline=None, derandomize=True)
settings.load_profile("gradaudit")

# What a shell starts in its background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(
    params=["cpu", *(pytest.param(name, marks=pytest.mark.gpu) for name in ("cuda", "mps"))]
)
def device(request: pytest.FixtureRequest) -> str:
    """The test runs on the CPU and, where there is one, on a GPU: of CUDA, or of a Mac."""
    name: str = request.param
    needs_gpus(1, name)
    return name


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in the repository's root, where the sample's paths are as a user types them."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write `config.yaml` into an empty directory and go there."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(text.encode())
        return path

    return write
