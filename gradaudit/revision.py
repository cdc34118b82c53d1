"""Files as they were at a revision of their git repository.

Only git's plumbing is asked (`rev-parse`, `merge-base`, `ls-tree`, `cat-file`): nothing that runs
what a repository's configuration names (hooks, filters, a file system monitor, external diffs),
writes, or goes to the network.
"""

from __future__ import annotations

import errno
import os
import subprocess

from gradaudit.compose.opener import SUFFIXES, Opener
from gradaudit.source import MAX_BYTES, Unreadable, too_large

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source

_FILES = ("100644", "100755", "100664")
_LINK, _COMMIT = "120000", "160000"
_MOST_LINKS = 40

_OF_ONE_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""Set in hooks: they would make git answer for another repository than that of the file."""


class NoRevision(Exception):
    """Why a file cannot be had at a revision: one sentence."""


def top_of(path: str) -> str | None:
    """The top of the repository around a path, which need not exist; None where there is none."""
    folder = os.path.realpath(path)
    while not os.path.exists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder


def top_around(path: str) -> str:
    """The same of a file.

    Raises: NoRevision.
    """
    top = top_of(os.path.dirname(path) or os.curdir)
    if top is None:
        raise NoRevision(f"{path} is in no git repository")
    return top


class Revision:
    """The tree of one revision of a repository.

    top      the repository's directory, real. name: the revision as typed. commit: its id.
    entries  path from the top -> (mode, id), of files, links and submodules.
    folders  path from the top of each directory.
    """

    def __init__(self, top: str, name: str) -> None:
        """Raises: NoRevision."""
        # git's own word: a `.git` may be no repository, and then it goes on above.
        shown = os.fsdecode(_git(top, "rev-parse", "--show-toplevel").removesuffix(b"\n"))
        top = self.top = os.path.realpath(shown)
        self.name = name
        self.commit = _commit(top, name)
        self.entries: dict[str, tuple[str, str]] = {}
        self.folders = {""}
        for line in _git(top, "ls-tree", "-r", "-z", "--full-tree", self.commit).split(b"\0"):
            about, tab, name_there = line.partition(b"\t")
            if tab:
                mode, _, number = about.decode("ascii").split(" ")
                self.entries[os.fsdecode(name_there)] = mode, number
        for path in self.entries:
            folder = path.rpartition("/")[0]
            while folder not in self.folders:
                self.folders.add(folder)
                folder = folder.rpartition("/")[0]
        self._blobs: dict[str, bytes] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._removed: bool | None = None

    def place_of(self, real: str) -> str | None:
        """A real path as the tree has it: from the top, with `/`. None outside of it."""
        if real == self.top:
            return ""
        above = self.top.rstrip(os.sep) + os.sep
        return real[len(above) :].replace(os.sep, "/") if real.startswith(above) else None

    def blob(self, number: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: they are not here (a partial clone). Unreadable: too large.
        """
        known = self._blobs.get(number)
        if known is None:
            known = self._blobs[number] = self._read(number)
        return known

    def _read(self, number: str) -> bytes:
        if self._process is None or self._owner != os.getpid():  # each process has a git of its own
            self._process = subprocess.Popen(
                ["git", "-C", self.top, "cat-file", "--batch"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=_environment(),
            )  # fmt: skip
            self._owner = os.getpid()
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        to.write(number.encode("ascii") + b"\n")
        to.flush()
        head = back.readline().split()
        if len(head) != 3:
            raise OSError(errno.EIO, f"git has no object {number[:12]} here: a partial clone?")
        size = int(head[2])
        if size > MAX_BYTES:
            while size > 0:
                size -= len(back.read(min(size, MAX_BYTES))) or size
            back.read(1)
            raise too_large(int(head[2]))
        data = back.read(size)
        back.read(1)  # the line's end after it
        return data

    def holds(self, source: Source) -> bool:
        """Whether a file of the working tree has the bytes that it had at this revision."""
        place = self.place_of(os.path.realpath(source.path))
        mode, number = self.entries.get(place or "", ("", ""))
        if mode not in _FILES or source.encoding != "utf-8":
            return False
        from hashlib import sha1, sha256

        data = source.to_bytes(source.text)
        hashed = (sha1 if len(number) == 40 else sha256)(b"blob %d\0" % len(data))
        hashed.update(data)
        return hashed.hexdigest() == number

    @property
    def lost_files(self) -> bool:
        """Whether any config of this revision is gone from the working tree: what was built on it
        may be another now, and have the same bytes."""
        if self._removed is None:
            self._removed = any(
                not os.path.lexists(os.path.join(self.top, path))
                for path in self.entries
                if path.lower().endswith(SUFFIXES)
            )
        return self._removed

    def near(self, place: str) -> str:
        """The path of the tree that was probably meant; empty where none is near."""
        from difflib import get_close_matches

        name = place.rpartition("/")[2]
        same = [path for path in self.entries if path.rpartition("/")[2] == name]
        if same:
            return (get_close_matches(place, same, 1, 0) or same)[0]
        folder = place.rpartition("/")[0]
        beside = [path for path in self.entries if path.rpartition("/")[0] == folder]
        close = get_close_matches(place, beside, 1, 0.7)
        return close[0] if close else ""

    def close(self) -> None:
        """Let git go."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.communicate()


class RevisionOpener(Opener):
    """Opens the files of a revision at the paths that they have in the working tree.

    So a config is judged as it was, with its bases, linked files and Python sources of that time,
    by the settings of its place. What lies outside of the repository is read as it is.
    """

    def __init__(self, revision: Revision, *named: str) -> None:
        super().__init__(*named)
        self.revision = revision

    def real(self, path: str) -> str:
        """As `os.path.realpath` would have answered at that time: links are those of the tree."""
        known = self._reals.get(path)
        if known is None:
            known = self._reals[path] = self._follow(path)
        return known

    def _follow(self, path: str) -> str:
        full = os.path.join(os.path.realpath(os.curdir), path)
        drive, rest = os.path.splitdrive(full)
        current = drive + os.sep
        parts = rest.replace(os.sep, "/").split("/")[::-1]
        links = 0
        while parts:
            part = parts.pop()
            if part in ("", os.curdir):
                continue
            if part == os.pardir:
                current = os.path.dirname(current)
                continue
            current = os.path.join(current, part)
            place = self.revision.place_of(current)
            if place is None:
                current = os.path.realpath(current)
                continue
            mode, number = self.revision.entries.get(place, ("", ""))
            links += mode == _LINK
            if mode == _LINK and links <= _MOST_LINKS:
                try:
                    target = os.fsdecode(self.revision.blob(number)).replace(os.sep, "/")
                except (OSError, Unreadable):
                    continue
                current = drive + os.sep if target[:1] == "/" else os.path.dirname(current)
                parts += target.split("/")[::-1]
        return current

    def _kind(self, path: str) -> str:
        real = self.real(path)
        place = self.revision.place_of(real)
        if place is None or self._beyond(place):
            return super()._kind(path)
        if place in self.revision.folders:
            return "directory"
        return "file" if self.revision.entries.get(place, ("", ""))[0] in _FILES else ""

    def _beyond(self, place: str) -> bool:
        """Whether a path lies in a repository of its own inside of this one."""
        entries = self.revision.entries
        while place:
            if entries.get(place, ("", ""))[0] == _COMMIT:
                return True
            place = place.rpartition("/")[0]
        return False

    def size(self, path: str) -> int:
        try:
            return len(self.bytes_of(path))
        except (OSError, Unreadable):
            return 0  # opening it will say why

    def bytes_of(self, path: str) -> bytes:
        place = self.revision.place_of(self.real(path))
        if place is None or self._beyond(place):
            return super().bytes_of(path)
        mode, number = self.revision.entries.get(place, ("", ""))
        if mode not in _FILES:
            raise FileNotFoundError(errno.ENOENT, f"not there at {self.revision.name}")
        return self.revision.blob(number)


def _commit(top: str, name: str) -> str:
    """The id of a revision: what git takes, or `A...` and `A...B` for their merge base."""
    if not name or name.startswith("-"):
        raise NoRevision(f"`{name}` is no revision")
    first, dots, second = name.partition("...")
    if dots:
        pair = [_commit(top, first or "HEAD"), _commit(top, second or "HEAD")]
        found = _ask(top, "merge-base", *pair)
        if not found:
            raise NoRevision(
                f"`{name}`: git finds no common ancestor of the two{_shallow(top, first)}"
            )
        return found
    found = _ask(top, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not found:
        raise NoRevision(f"no revision `{name}` in {top}{_why_none(top, name)}")
    return found


def _why_none(top: str, name: str) -> str:
    if ".." in name:
        return "; `A..B` is a range: `A...B`, with three dots, is where B left A"
    if not _ask(top, "rev-list", "--all", "--max-count=1"):
        return ", which has no commit yet"
    return _shallow(top, name)


def _shallow(top: str, name: str) -> str:
    """The mend of what CI jobs meet most: only the newest commit was fetched."""
    if _ask(top, "rev-parse", "--is-shallow-repository") != "true":
        return ""
    remote, slash, branch = name.partition("/")
    fetch = f"git fetch {remote} {branch}" if slash else "git fetch --unshallow"
    return f"; the clone is shallow: `{fetch}` first (actions/checkout: `fetch-depth: 0`)"


def _ask(top: str, *words: str) -> str:
    """The one line that git answers with; empty where it refuses."""
    try:
        return _git(top, *words).decode("utf-8", "replace").strip()
    except NoRevision as error:
        if isinstance(error.__cause__, subprocess.CalledProcessError):
            said = error.__cause__.stderr
            if b"dubious ownership" not in said and b"not a git repository" not in said.lower():
                return ""
        raise


def _git(top: str, *words: str) -> bytes:
    """Raises: NoRevision."""
    try:
        ran = subprocess.run(
            ["git", "-C", top, *words], env=_environment(), stdin=subprocess.DEVNULL,
            capture_output=True, check=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise NoRevision("git is not found: install it, or put it on the PATH") from None
    except OSError as error:
        raise NoRevision(f"git cannot be run: {error.strerror or error}") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoRevision(f"git: {said[0] if said else f'exit code {error.returncode}'}") from error
    except ValueError as error:  # a NUL in what was typed
        raise NoRevision(str(error)) from None
    return ran.stdout


def _environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name not in _OF_ONE_REPOSITORY}
    return {**kept, "LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "none"}  # fmt: skip
