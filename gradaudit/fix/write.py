"""Write a file so that at every moment it is either the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile


class WriteFailed(Exception):
    """`message` names the file, what went wrong and the mend. The file is as it was."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def write(path: str, original: bytes, new: bytes) -> None:
    """Replace the bytes `original` of the file at `path` by `new`.

    The new file is made beside the old one, flushed to the disk and renamed over it; mode, owner
    (where permitted) and extended attributes are kept. A symbolic link stays one: its target is
    written.

    Raises:
        WriteFailed: the file is read-only, not a plain file, has several names (hard links, which
            a rename would part), has changed since it was read, or the system refuses.
    """
    try:
        real = os.path.realpath(path, strict=True)
        status = os.stat(real)
        _check(path, real, status)
        _replace(path, real, status, original, new)
    except OSError as error:
        what = error.strerror or str(error)
        raise WriteFailed(f"{path}: not written: {what}; {_mend(error)}") from error


def _mend(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "the file and its directory must both be writable"
    if isinstance(error, FileNotFoundError):
        return "was it moved meanwhile? run the fix again"
    return "the file is as it was"


def _check(path: str, real: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise WriteFailed(f"{path}: not written: it is not a plain file")
    # The mode is looked at too: root may write anything, and a rename needs no right to the file.
    if not status.st_mode & 0o222 or not os.access(real, os.W_OK):
        raise WriteFailed(f"{path}: not written: it is read-only; `chmod u+w` it to have it fixed")
    if status.st_nlink > 1:
        raise WriteFailed(
            f"{path}: not written: the file has {status.st_nlink} names (hard links), "
            "and the others would keep the old text; replace it by a copy of its own first"
        )


def _replace(path: str, real: str, status: os.stat_result, original: bytes, new: bytes) -> None:
    directory = os.path.dirname(real)
    handle, temporary = tempfile.mkstemp(prefix=".gradaudit-", suffix=".tmp", dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(new)
            file.flush()
            _keep_attributes(real, temporary, status)
            os.fsync(file.fileno())
        with open(real, "rb") as file:
            if file.read() != original:
                raise WriteFailed(
                    f"{path}: not written: it has changed since it was read; run the fix again"
                )
        os.replace(temporary, real)
    except BaseException:  # an interrupt too must not leave the temporary file behind
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_directory(directory)


def _keep_attributes(real: str, temporary: str, status: os.stat_result) -> None:
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):  # another's file: it becomes ours, as in an editor
            os.chown(temporary, status.st_uid, status.st_gid)
    os.chmod(temporary, stat.S_IMODE(status.st_mode))  # after chown, which clears bits
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(real):
                os.setxattr(temporary, name, os.getxattr(real, name))


def _flush_directory(directory: str) -> None:
    """Make the rename durable. The file is written by now: a failure here is no failure of it."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
