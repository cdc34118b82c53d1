"""What the program writes, deletes and resumes from before it is stopped.

Python tells an audit hook of each file that it opens; torch.save and torch.load with a path do so
in C++ and are wrapped.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import tempfile
from typing import Any

import torch

from gradaudit_recorder import output, state

MOST = 200
WRITES = frozenset("wxa+")
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".pickle")
DELETIONS = {"os.remove", "os.rmdir", "shutil.rmtree"}

_seen: set[tuple[str, str]] = set()
_writing: list[dict[str, Any]] = []


class _Place:
    here = ""
    elsewhere: tuple[str, ...] = ()


_place = _Place()


def install() -> None:
    _place.here = os.path.join(os.getcwd(), "")
    _place.elsewhere = tuple(
        os.path.join(folder, "")
        for folder in (
            tempfile.gettempdir(),
            sysconfig.get_path("stdlib"),
            sysconfig.get_path("purelib"),
            sysconfig.get_path("platlib"),
            os.path.expanduser("~/.cache"),
            os.path.expanduser("~/.triton"),
            "/dev",
            "/proc",
            "/sys",
            state.current.directory,
        )
    )
    sys.addaudithook(_listen)
    for name in ("save", "load"):
        wrapped = _wrap(getattr(torch, name), "write" if name == "save" else "read", name)
        setattr(torch, name, wrapped)
        setattr(torch.serialization, name, wrapped)


def _listen(event: str, words: tuple[Any, ...]) -> None:
    """Called by Python for every audited event: all but a few are left at once."""
    try:
        if event == "open":
            path, mode, flags = words
            if isinstance(mode, str):
                writes = not WRITES.isdisjoint(mode)
            else:
                writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
            if writes:
                _seen_file("write", path, "open")
            elif isinstance(path, str) and path.endswith(CHECKPOINTS):
                _seen_file("read", path, "open")
        elif event == "os.rename":
            _seen_file("write", words[1], "os.rename", words[-1])
        elif event in DELETIONS:
            _seen_file("delete", words[0], event, words[-1])
    except (IndexError, ValueError):  # a program's own event of that name, with other words
        return


def _wrap(original: Any, operation: str, name: str) -> Any:
    place = 1 if operation == "write" else 0

    @functools.wraps(original)
    def called(*words: Any, **named: Any) -> Any:
        path = words[place] if len(words) > place else named.get("f")
        if isinstance(path, (str, os.PathLike)):
            _seen_file(operation, path, f"torch.{name}")
        return original(*words, **named)

    return called


def _seen_file(operation: str, path: Any, via: str, folder: Any = None) -> None:
    """Note a path the first time. Must not raise, and must open nothing.

    folder: the descriptor that a relative path is relative to; shutil.rmtree uses one, after it has
    named its directory.
    """
    try:
        if isinstance(folder, int) and folder >= 0:
            return
        now = state.current
        if len(_seen) >= MOST or not now.recording() or not isinstance(path, (str, os.PathLike)):
            return
        full = os.path.abspath(os.fspath(path))
        if (operation, full) in _seen or "__pycache__" in full:
            return
        if full.startswith(_place.elsewhere):
            inside = full.startswith(_place.here) and not full.startswith(now.directory)
            if not inside or "site-packages" in full:
                return
        _seen.add((operation, full))
        shown = full.removeprefix(_place.here)
        done = now.most_steps()
        output.write(
            {"kind": "file", "operation": operation, "path": shown, "step": done, "via": via}
        )
    except Exception:
        return
