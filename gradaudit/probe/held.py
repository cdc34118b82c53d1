"""A directory that one run alone records into, while it runs."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


def opened_alone(path: str, directory: str, kind: str) -> TextIO:
    """The file, which no other run of the kind (`probe`, `dry run`) has or gets while it is open.

    Raises: BadRecord where another has it, OSError.
    """
    from gradaudit.evidence.record_reader import BadRecord

    while True:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115 -- the caller closes it
        try:
            if not _locked(file):
                raise BadRecord(
                    f"{directory}: another {kind} is writing its record there; name another "
                    "directory with --output, or wait for its end"
                )
            if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # it was renamed or removed by a run that ended in between


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


@contextmanager
def held(directory: str, kind: str) -> Iterator[None]:
    """The directory, which no other run of the kind records into meanwhile.

    Raises: BadRecord where another does, OSError.
    """
    path = os.path.join(directory, ".held")
    with opened_alone(path, directory, kind):
        try:
            yield
        finally:
            with suppress(OSError):
                os.remove(path)
