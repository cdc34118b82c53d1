"""Where `probe` and `dryrun` keep their records when nobody names a directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time

from gradaudit.cli.common import UsageError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = ".gradaudit"


def new_directory(kind: str) -> str:
    """A new one, `.gradaudit/KIND/TIME`, which keeps itself out of git; made here, so that of two
    runs that start within one second each has its own.

    Raises: UsageError.
    """
    records = os.path.join(OWN, kind)
    started = os.path.join(records, time.strftime("%Y%m%d-%H%M%S"))
    try:
        os.makedirs(records, exist_ok=True)
        ignored = os.path.join(OWN, ".gitignore")
        with contextlib.suppress(FileExistsError), open(ignored, "x", encoding="utf-8") as file:
            file.write("*\n")
        for number in itertools.count(1):
            folder = started if number == 1 else f"{started}-{number}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
                break
    except OSError as error:
        raise UsageError(f"{records}: {error.strerror}; name a directory with --output") from None
    return folder


@contextlib.contextmanager
def record_directory(output: str | None, kind: str) -> Iterator[str]:
    """Where a record goes: `output`, or a new directory of its kind. Where nothing was recorded,
    what was made for it is removed; an empty directory that was there before stays.

    Raises: UsageError.
    """
    made = _missing(output) if output else [new_directory(kind)]
    at = os.path.dirname(made[-1]) if made else output  # what of the path is there
    if output and at and not os.path.isdir(at):
        raise UsageError(
            f"--output {output}: {at} is a file; it takes a directory, in which the record is "
            "written"
        )
    try:
        yield output or made[0]
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _missing(path: str) -> list[str]:
    """The directories of a path that are not there yet, the innermost first."""
    missing = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


@contextlib.contextmanager
def told_where(directory: str) -> Iterator[None]:
    """Around the summary of a record: Ctrl-C cuts only that short, and a line says where the record
    is. The command ends with 130 then, as a shell has it of every program that Ctrl-C ends: what
    the summary would have judged is not known, so that 0 or 1 would be a guess, and nothing failed,
    so that 2 would be wrong."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\ngradaudit: interrupted; {where(directory)}\n")
        raise


@contextlib.contextmanager
def told_if_ended(directory: str) -> Iterator[None]:
    """Around the run: a signal that ends gradaudit (`timeout`, a batch system) leaves no time for a
    summary, and a line says where the record is. A terminal that was closed hears nothing."""
    try:
        yield
    except SystemExit:
        with contextlib.suppress(OSError):
            if any(name.endswith(".jsonl") for name in os.listdir(directory)):
                sys.stderr.write(f"\ngradaudit: ended by a signal; {where(directory)}\n")
                sys.stderr.flush()
        raise


def where(directory: str) -> str:
    """Where the record is that was not judged, and what judges it."""
    shown = f"`gradaudit check --record {quoted(directory)} CONFIG` judges it"
    return f"the record is in {directory}: {shown}"
