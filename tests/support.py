"""What tests share: auditing a text, and running the command line in this process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import pytest

from gradaudit.__main__ import main
from gradaudit.audit import FileResult, audit_source
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

ROOT = Path(__file__).parent.parent
SAMPLE = "sample_configs/enhanced_training.yaml"


class Ran:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


def run_cli(*words: str, stdin: bytes = b"", columns: int = 80) -> Ran:
    """Run `gradaudit` in this process with plain output of a given width."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    os.environ["COLUMNS"] = str(columns)
    os.environ.pop("NO_COLOR", None)
    os.environ.pop("FORCE_COLOR", None)
    stdin_before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(words))
    finally:
        sys.stdin = stdin_before
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return Ran(code, *texts)


def read_terminal(master: int) -> str:
    """All that is written to the other end of a pseudo-terminal until nobody holds it; closes ours.

    Linux says EIO when the other end is closed. It looks for input first and for the closed end
    second: what is written and closed between the two looks like an end, and one more read has it.
    """
    chunks = []
    ends = 0
    while ends < 2:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            chunk = b""
        ends += not chunk
        chunks.append(chunk)
    os.close(master)
    return b"".join(chunks).decode()


def audit_text(
    text: str, options: Options | None = None, settings: Settings | None = None
) -> FileResult:
    result = audit_source(Source("config.yaml", text), options or Options(), settings or Settings())
    for finding in result.findings:
        if settings is None or finding.rule.code not in settings.severity:
            assert finding.severity in finding.rule.severities, finding.rule.code
    return result


def needs_gpus(count: int, device: str = "cuda") -> None:
    """Skip the test where it is to run on GPUs and this machine has fewer. A Mac has one."""
    if device == "cpu":
        return
    torch = pytest.importorskip("torch")
    if device == "mps":
        found = int(torch.backends.mps.is_available())
        if found < count:
            pytest.skip(f"takes {count} GPU{'s' if count > 1 else ''} of a Mac, this has {found}")
        return
    if torch.version.cuda is None:
        pytest.skip("this torch is a build without CUDA")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found < count:
        pytest.skip(f"takes {count} GPU{'s' if count > 1 else ''}, this machine has {found}")
