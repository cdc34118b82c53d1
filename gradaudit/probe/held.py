"""A directory that one run alone records into, while it runs."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress

from gradaudit.evidence.record_reader import BadRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

HELD = ".gradaudit-held"
"""An empty file, there while a run records."""


@contextmanager
def held(directory: str) -> Iterator[None]:
    """The directory, which no other probe or dry run records into meanwhile.

    Raises: BadRecord where another does, OSError.
    """
    path = os.path.join(directory, HELD)
    with _opened_alone(path, directory):
        try:
            yield
        finally:
            with suppress(OSError):
                os.remove(path)


def _opened_alone(path: str, directory: str) -> TextIO:
    """The file, which no other run has or gets while it is open.

    Raises: BadRecord where another has it, OSError.
    """
    while True:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115 -- the caller closes it
        try:
            if not _locked(file):
                raise BadRecord(
                    f"{directory}: another probe or dry run is writing its record there; name "
                    "another directory with --output, or wait for its end"
                )
            if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # it was removed by a run that ended in between


def _locked(file: TextIO) -> bool:
    """Whether the file is ours until it is closed or this process ends, however it does. The lock
    is this process's own: the workers of a loader, which may outlive it, do not hold it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # another error: a file system without locks, where none can tell
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True
