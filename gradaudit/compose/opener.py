"""Opens the files that a config is built on, each once in a run, and says how far it may look.

Configs are untrusted: what one names is opened only inside the boundary of the file that names it
(`Opener.boundary_of`), only where it is a regular file with a config's suffix, and only as many as
a real chain has.
"""

from __future__ import annotations

import os
import re
import stat

from gradaudit.source import Unreadable, decode, read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.source import Source
    from gradaudit.syntax.tree import Tree

SUFFIXES = (".yaml", ".yml", ".json", ".jsonc", ".toml", ".py")
"""What a base may be called: nothing else is opened, whatever a config says."""

MAX_FILES = 50
"""Files that one config may be built on; the longest real chain seen has eight."""

MOST_BYTES = 16 * 2**20
"""Bytes that one config may be built on together: a tree takes a hundred times its text."""

MAX_DEPTH = 20
"""How often a base may have a base of its own."""

MOST_SHARED = 2**20
"""Characters of the texts whose trees are kept in case another file is built on them: the files of
a directory are judged one after the other, and a tree takes up to a hundred times its text."""

_LEVELS = 3
"""Directories above that of a single named file, where nothing else bounds the search."""

_MAX_ABOVE = 64
_HERE = os.path.join(os.curdir, "")
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"


class NotOpened(Exception):
    """Why a file was not read, in words, and how bad that is (`info` or `error`)."""

    def __init__(self, reason: str, severity: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.severity = severity


class Opener:
    """Reads and keeps trees by their real path; knows how far it may look.

    named  the directories (or files) that the user named and that led to configs.
    trees  real path -> tree, or why it cannot be read. parts: what was composed of them, by real
           path and dialect, for those who compose (`compose.bases`).
    """

    def __init__(self, *named: str) -> None:
        self.named = [os.path.realpath(path) for path in named if path and path != "-"]
        self.trees: dict[str, Tree | NotOpened] = {}
        self.parts: dict[Any, Any] = {}
        self._boundaries: dict[str, str] = {}
        self._repositories: dict[str, bool] = {}
        self._kinds: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._reals: dict[str, str] = {}
        self._parsed: dict[str, Tree] = {}
        self._shared = 0

    def real(self, path: str) -> str:
        """`os.path.realpath`, which asks for every part of a path anew, with the answers kept."""
        known = self._reals.get(path)
        if known is None:
            folder, name = os.path.split(path)
            if name == os.pardir and folder:
                known = os.path.dirname(self.real(folder))  # a real path has no link to go back by
            elif name in ("", os.curdir, os.pardir):
                known = os.path.realpath(path)
            else:
                known = os.path.join(self.real(folder or os.curdir), name)
                if os.path.islink(known):
                    known = os.path.realpath(path)
            self._reals[path] = known
        return known

    def shown(self, path: str, real: str) -> str:
        """A path as a user would have typed it: without `a/..`, relative if it was, and with
        the `./` that was typed before it."""
        tidy = os.path.normpath(path)
        if path[:2] == _HERE and tidy[:1] != ".":
            tidy = _HERE + tidy
        # `link/../x` is not `x` where `link` leads elsewhere.
        return tidy if tidy == path or self.real(tidy) == real else path

    def boundary_of(self, path: str) -> str:
        """The directory that nothing is opened outside of for the sake of the file `path`.

        The repository around the file; else the current directory where the file is below it;
        else the directory that the user named; else three levels above that of the file. Never
        the root of the file system.
        """
        directory = self.real(os.path.dirname(path) or os.curdir)
        known = self._boundaries.get(directory)
        if known is None:
            known = self._boundaries[directory] = self._find_boundary(directory)
        return known

    def _find_boundary(self, directory: str) -> str:
        above = _upward(directory)
        for ancestor in above:
            if ancestor not in self._repositories:
                git = os.path.join(ancestor, ".git")
                self._repositories[ancestor] = os.path.exists(git)
            if self._repositories[ancestor]:
                return ancestor
        here = os.path.realpath(".")
        if here in above:
            return here
        named = [path for path in self.named if path in above]
        if named:
            return max(named, key=len)
        return above[min(_LEVELS, len(above) - 1)] if above else directory

    def find(self, written: str, path: str, search: bool) -> str:
        """The path, as it is shown, of what the file `path` names as `written`.

        `search`: in the directory of `path` or one above it, the nearest first, because where a
        launcher looks is not known; else in that directory only. The file itself is found only
        where no other is: a `base.yaml` that names `base.yaml` means one above it.

        Raises:
            NotOpened: it lies outside, is no config file by its name, or is not there.
        """
        refuse_name(written)
        if not written.lower().endswith(SUFFIXES):
            raise NotOpened("its suffix is not that of a config, so it is not opened", "info")
        found = self._locate(written, path, search, "file")
        if found is not None:
            return found
        if search:
            where = "in the directory of the file and those above it"
            raise NotOpened(f"there is none {where}; a launcher may know another place", "info")
        raise NotOpened("there is no such file", "error")

    def find_directory(self, written: str, path: str) -> str | None:
        """A directory named by a file, looked for as with `search`; None where there is none.

        Raises:
            NotOpened: it lies outside.
        """
        refuse_name(written)
        return self._locate(written, path, True, "directory")

    def _locate(self, written: str, path: str, search: bool, kind: str) -> str | None:
        boundary = self.boundary_of(path)
        own = self.real(path)
        itself = ""
        outside = True
        base = os.path.dirname(path)
        above = self.real(base or os.curdir)
        for _ in range(_MAX_ABOVE if search else 1):
            joined = os.path.join(base, written)
            # Most are not there: what is costs more, a look at each directory on its way.
            is_there = self._kind(joined) == kind
            if is_there:
                real = self.real(joined)
            else:
                real = os.path.normpath(os.path.join(above, written))
            if is_inside(real, boundary):
                outside = False
                if kind == "file" and real == own:
                    itself = itself or joined  # it may not be saved yet
                elif is_there:
                    return self.shown(joined, real)
            base = os.path.join(base, os.pardir)
            above = os.path.dirname(above)
            if not is_inside(above, boundary):
                break
        if itself:
            return self.shown(itself, own)
        if outside:
            raise NotOpened("it lies outside of what was named, so it is not opened", "info")
        return None

    def exists(self, path: str, near: str) -> bool:
        """Whether a regular file is at `path`, inside the boundary of the file `near`."""
        real = self.real(path)
        return is_inside(real, self.boundary_of(near)) and self._kind(real) == "file"

    def is_there(self, path: str, near: str) -> bool:
        """Whether a file or directory is at `path`, inside the boundary of the file `near`."""
        real = self.real(path)
        return is_inside(real, self.boundary_of(near)) and self._kind(real) != ""

    def _kind(self, path: str) -> str:
        known = self._kinds.get(path)
        if known is None:
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                known = ""
            else:
                mode = status.st_mode
                self._sizes[path] = status.st_size
                known = "file" if stat.S_ISREG(mode) else "directory" * stat.S_ISDIR(mode)
            self._kinds[path] = known
        return known

    def size(self, path: str) -> int:
        """The bytes of a file that `find` found: what it costs to open it."""
        self._kind(path)
        return self._sizes.get(path, 0)

    def bytes_of(self, path: str) -> bytes:
        """A file's bytes: what is read for a config, be it a base or the model's source.

        Raises:
            OSError: missing, not a regular file, or no permission. Unreadable: too large.
        """
        return read_bytes(path)

    def read(self, path: str) -> Source:
        """Raises: OSError, Unreadable."""
        return decode(self.bytes_of(path), path)

    def parse(self, source: Source) -> Tree:
        """The tree of a text: of one path and text there is one, be it judged, built on or both,
        as long as it is kept (`MOST_SHARED`). It is shared: never change it.

        Raises:
            Unreadable: see `syntax.parse`.
        """
        known = self._parsed.get(source.path)
        if known is not None:
            if known.source.is_same(source):
                return known
            del self._parsed[source.path]  # so that the new one is the newest
            self._shared -= len(known.source.text)
        from gradaudit.syntax import parse

        tree = self._parsed[source.path] = parse(source)
        self._shared += len(source.text)
        while self._shared > MOST_SHARED:
            oldest = self._parsed.pop(next(iter(self._parsed)))
            self._shared -= len(oldest.source.text)
        return tree

    def open(self, path: str) -> Tree:
        """The tree of a file that `find` found. It is shared: never change it.

        Raises:
            NotOpened: it cannot be read or parsed.
        """
        real = self.real(path)
        known = self.trees.get(real)
        if known is None:
            try:
                known = self.parse(self.read(path))
            except OSError as error:
                known = NotOpened(f"it cannot be read: {error.strerror or error}", "info")
            except Unreadable as error:
                known = NotOpened(f"line {error.line}: {error.message}", _severity(error))
            self.trees[real] = known
        if isinstance(known, NotOpened):
            raise known
        return known


def refuse_name(written: str) -> None:
    """Refuse what is a place of its own instead of one relative to a file.

    Raises:
        NotOpened: an absolute path, one of a home directory, a URL, or a name that is put
            together at run time.
    """
    if "${" in written or "{{" in written or written.startswith("$"):
        raise NotOpened("its name is put together at run time", "info")
    if "\0" in written:
        raise NotOpened("no file has such a name", "error")
    # `C:` too is a scheme by this pattern: an absolute path of Windows.
    if written[:1] in ("/", "\\", "~") or (":" in written and re.match(_SCHEME, written)):
        raise NotOpened("it lies outside of what was named, so it is not opened", "info")


def is_inside(real: str, boundary: str) -> bool:
    """Whether a real path is a directory or below it."""
    return real == boundary or real.startswith(boundary.rstrip(os.sep) + os.sep)


def _upward(directory: str) -> list[str]:
    """A directory and those above it but the root of the file system, the nearest first."""
    found: list[str] = []
    while True:
        parent = os.path.dirname(directory)
        if parent == directory:
            return found
        found.append(directory)
        directory = parent


def _severity(error: Unreadable) -> str:
    """A syntax error stops the framework too; our own limits do not."""
    broken = error.message.startswith("not valid") or "has no anchor" in error.message
    return "error" if broken else "info"
