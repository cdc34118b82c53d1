"""Which files a command looks at: those named, and those found in directories."""

from __future__ import annotations

import os
import stat

from gradaudit.source import NOT_REGULAR
from gradaudit.syntax import SUFFIXES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Saw = Callable[[str, list[str]], None]
    """Takes a directory's absolute path, and the names in it."""

_NEVER = frozenset(
    ("node_modules", "__pycache__", "site-packages", "venv", "env", "wandb", "mlruns")
)

_LOOKED_AT = (*SUFFIXES, ".py")


class Target:
    """A file to look at. `named` on the command line: judged whatever it holds."""

    __slots__ = ("named", "path")

    def __init__(self, path: str, named: bool) -> None:
        self.path = path
        self.named = named


class Unavailable:
    """What was named and is not there, or may not be read: a problem, exit code 2."""

    __slots__ = ("message", "path")

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message


def discover(paths: list[str], saw: Saw | None = None) -> Iterator[Target | Unavailable]:
    """Every file once, named ones as typed, those of a directory joined to it, in name order.

    Directories are walked without hidden ones and without what git ignores. `saw` is told what each
    of them holds.
    """
    seen: set[str] = set()
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as error:
            yield Unavailable(path, describe(error, path))
            continue
        if stat.S_ISDIR(mode):
            for found, real in _walk(path, saw):
                if isinstance(found, Unavailable):
                    yield found
                elif real not in seen:
                    seen.add(real)
                    yield Target(found, named=False)
        elif not stat.S_ISREG(mode):
            yield Unavailable(path, NOT_REGULAR)
        elif (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            yield Target(path, named=True)


def describe(error: OSError | ValueError, path: str) -> str:
    """An operating-system error in plain words, with the mend."""
    if isinstance(error, FileNotFoundError):
        return "no such file or directory" + _nearby(path)
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, IsADirectoryError):
        return "is a directory"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _nearby(path: str) -> str:
    from difflib import get_close_matches

    if os.path.islink(path):
        return f": it is a link to {os.readlink(path)}, which is not there"
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return f"; there is no directory {folder} either" if folder else ""
    close = get_close_matches(name, names, 1, 0.7)
    return f"; did you mean {os.path.join(folder, close[0])}?" if close else ""


def _walk(top: str, saw: Saw | None) -> Iterator[tuple[str | Unavailable, str]]:
    """Each file with the path that it has without symbolic links."""
    ignores = _Ignores(top)
    stack = [(top, os.path.realpath(top), os.path.abspath(top))]
    while stack:
        folder, real, absolute = stack.pop()
        try:
            entries = {entry.name: entry for entry in os.scandir(folder)}
        except OSError as error:
            yield Unavailable(folder, describe(error, folder)), real
            continue
        names = sorted(entries)
        ignores.read(folder, names)
        if saw is not None:
            saw(absolute, names)
        below = []
        for name in names:
            if name[0] == ".":
                continue
            entry = entries[name]
            if entry.is_dir(follow_symlinks=False):
                if name not in _NEVER and not ignores.ignored(entry.path, True):
                    below.append((entry.path, _join(real, name), _join(absolute, name)))
            elif (
                name.endswith(_LOOKED_AT)
                and _is_file(entry)
                and not ignores.ignored(entry.path, False)
                and (name[-3:] != ".py" or _is_python_config(entry.path))
            ):
                is_link = entry.is_symlink()
                yield entry.path, os.path.realpath(entry.path) if is_link else _join(real, name)
        below.reverse()
        stack += below


def _join(folder: str, name: str) -> str:
    """`os.path.join` for an absolute directory and a plain name, of which there are thousands."""
    return folder + name if folder[-1] == os.sep else f"{folder}{os.sep}{name}"


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A regular file or a link to one: no pipe, and no link that leads nowhere or in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_python_config(path: str) -> bool:
    """Most Python files of a directory are programs: they are not even counted as skipped."""
    from gradaudit.syntax.python_marks import HEAD, looks_like_config

    try:
        with open(path, "rb") as file:
            return looks_like_config(file.read(HEAD).decode("utf-8", "replace"))
    except OSError:
        return False


class _Ignores:
    """The .gitignore files from the repository's top down to where the walk is.

    `pathspec` is imported when the first of them is found, not before.
    """

    def __init__(self, top: str) -> None:
        self.specs: list[tuple[str, Any]] = []
        folder = os.path.abspath(top)
        above = []
        while not os.path.isdir(os.path.join(folder, ".git")):
            parent = os.path.dirname(folder)
            if parent == folder:
                return
            folder = parent
            above.append(folder)
        self._add(folder, os.path.join(folder, ".git", "info", "exclude"))
        for outer in reversed(above):
            self._add(outer, os.path.join(outer, ".gitignore"))

    def read(self, folder: str, names: list[str]) -> None:
        if ".gitignore" in names:
            self._add(os.path.abspath(folder), os.path.join(folder, ".gitignore"))

    def _add(self, folder: str, path: str) -> None:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = [line for line in file.read().splitlines() if line.strip()]
        except OSError:
            return
        if not any(not line.startswith("#") for line in lines):
            return
        from pathspec import GitIgnoreSpec

        self.specs.append((folder + os.sep, GitIgnoreSpec.from_lines(lines)))

    def ignored(self, path: str, is_directory: bool) -> bool:
        if not self.specs:
            return False
        full = os.path.abspath(path) + ("/" if is_directory else "")
        for folder, spec in self.specs[::-1]:  # mypyc cannot compile `reversed` of these
            if full.startswith(folder):
                include = spec.check_file(full[len(folder) :]).include
                if include is not None:
                    return bool(include)
        return False
