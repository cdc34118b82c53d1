"""What is made and looked at before a user's command runs under the recorder."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from gradaudit.evidence.record_reader import BadRecord, refuse_taken
from gradaudit.probe.held import held
from gradaudit.probe.launch import COMMAND, CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.probe.launch import Request

_PYTHON = re.compile(r"(python|pypy)[\d.]*(\.exe)?\Z")


@contextmanager
def prepared(request: Request) -> Iterator[None]:
    """The directory of the record is there, and this probe's alone; what can be seen before
    anything runs is looked at.

    Raises: CannotRun.
    """
    flag = isolating_flag(request.command)
    if flag:
        raise CannotRun(
            f"Python's {flag} leaves out PYTHONPATH or site, by which the recorder comes in: "
            f"run the command without {flag}"
        )
    _check_cwd(request)
    with ExitStack() as stack:
        try:
            os.makedirs(request.directory, exist_ok=True)
            refuse_taken(request.directory)
            stack.enter_context(held(request.directory))
            refuse_taken(request.directory)  # of a probe that ended just now
            stack.enter_context(_fresh_state(request.directory))
        except OSError as error:
            raise CannotRun(
                f"{error.filename or request.directory}: {error.strerror}; name another directory "
                "with --output"
            ) from None
        except BadRecord as error:
            raise CannotRun(str(error)) from None
        yield


@contextmanager
def _fresh_state(directory: str) -> Iterator[None]:
    """Where this process and the recorder leave each other word, without the words that a probe
    left that was killed: they would end this one.

    Raises: BadRecord where the command of that probe still runs, OSError.
    """
    state = os.path.join(directory, ".state")
    orphan = _still_running(os.path.join(state, COMMAND))
    if orphan:
        raise BadRecord(
            f"{directory}: the command of a probe that was killed still runs, and would record "
            f"there: end it (`kill -- -{orphan}`), or name another directory with --output"
        )
    shutil.rmtree(state, ignore_errors=True)
    os.mkdir(state)
    try:
        yield
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _still_running(path: str) -> int:
    """The process group that a file names, if anything in it runs; else 0."""
    with suppress(OSError, ValueError, OverflowError), open(path, encoding="ascii") as file:
        group = int(file.read())
        os.killpg(group, 0)
        return group
    return 0


def isolating_flag(command: list[str]) -> str:
    """The option of a Python in the command under which nothing can be put on its path, or "".

    -I and -E ignore PYTHONPATH, -S does not load sitecustomize.
    """
    words = iter(command)
    for word in words:
        if _PYTHON.search(os.path.basename(word)):
            break
    for word in words:
        if not word.startswith("-") or word == "-" or word.startswith("--"):
            return ""
        for letter in word[1:]:
            if letter in "IES":
                return f"-{letter}"
            if letter in "mcWX":
                if letter in "WX" and word[-1] == letter:
                    next(words, None)  # its value is the next word
                break
        if word[1] in "mc":
            return ""
    return ""


def _check_cwd(request: Request) -> None:
    if request.cwd is None:
        return
    try:
        os.makedirs(request.cwd, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"--cwd {request.cwd}: {error.strerror}") from None
    for word in request.command:
        there = os.path.join(request.cwd, word)
        if word.endswith((".py", ".sh")) and os.path.isfile(word) and not os.path.exists(there):
            raise CannotRun(
                f"{word} is not in --cwd {request.cwd}: name it by its full path, "
                f"{os.path.abspath(word)}"
            )
