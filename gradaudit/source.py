"""A file's bytes, its encoding, and where its lines begin. Nothing else."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right

MAX_BYTES = 5 * 1024 * 1024
"""Larger files are refused: the largest of 5,822 real configs has 36 KB, and reading time and
memory stay bounded (a 5 MiB file of one-letter list items is the worst case: about two seconds)."""

_UTF8_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


NOT_REGULAR = "is not a regular file; give its text on standard input, with - in its place"

# Without O_NONBLOCK, opening a pipe waits until someone writes to it.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Unreadable(Exception):
    """The file cannot be read as text or parsed: what is wrong, and the line (from 1).

    `text` is what can be shown of a file that could not be decoded.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, text: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.text = text


class Source:
    """The text of one file, and what is needed to write it back byte for byte.

    `path` is as the user typed it (or the typed directory joined with the rest), never resolved.
    `text` has no byte-order mark; offsets everywhere else count its characters from 0.
    """

    __slots__ = ("_starts", "bom", "encoding", "path", "text")

    def __init__(self, path: str, text: str, encoding: str = "utf-8", bom: bytes = b"") -> None:
        self.path = path
        self.text = text
        self.encoding = encoding
        self.bom = bom
        self._starts: list[int] = []

    @property
    def newline(self) -> str:
        """The file's own line ending, for lines that a fix inserts."""
        return "\r\n" if "\r\n" in self.text else "\n"

    def is_same(self, other: Source) -> bool:
        """Whether the other is of the same path and bytes."""
        return (
            self.path == other.path
            and self.text == other.text
            and self.bom == other.bom
            and self.encoding == other.encoding
        )

    def to_bytes(self, text: str) -> bytes:
        """`text` as this file would hold it. Only UTF-8 is ever written."""
        return self.bom + text.encode("utf-8")

    def _line_starts(self) -> list[int]:
        if not self._starts:
            starts = [0]
            at = 0
            for line in self.text.split("\n"):
                at += len(line) + 1
                starts.append(at)
            starts.pop()  # the text ends with its last line, with or without a break
            self._starts = starts
        return self._starts

    @property
    def line_count(self) -> int:
        return len(self._line_starts())

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both from 1, in characters.

        Lines are counted as an editor counts them (LF and CRLF), not as YAML 1.1 does, to which
        NEL, LS and PS are breaks too.
        """
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line_at(self, offset: int) -> int:
        """The line of a character offset, from 1: for who asks once, without a table of lines."""
        return self.text.count("\n", 0, offset) + 1

    def offset(self, line: int, column: int = 1) -> int:
        starts = self._line_starts()
        return min(starts[min(line, len(starts)) - 1] + column - 1, len(self.text))

    def line(self, number: int) -> str:
        """The text of line `number` (from 1) without its ending."""
        starts = self._line_starts()
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")


def too_large(size: int) -> Unreadable:
    return Unreadable(
        f"the file has {size / 2**20:.0f} MiB; a config of more than "
        f"{MAX_BYTES // 2**20} MiB is not read"
    )


def decode(data: bytes, path: str) -> Source:
    """Turn a file's bytes into a `Source`.

    Raises:
        Unreadable: larger than `MAX_BYTES`, a NUL byte, or bytes that are not UTF-8 and carry
            no UTF-16 or UTF-32 mark.
    """
    if len(data) > MAX_BYTES:
        raise too_large(len(data))
    for mark, encoding in _WIDE_BOMS:
        if data.startswith(mark):
            try:
                return Source(path, data.decode(encoding).lstrip("\ufeff"), encoding)
            except UnicodeDecodeError:
                raise Unreadable(f"not valid {encoding.upper()}; save it as UTF-8") from None
    bom = _UTF8_BOM if data.startswith(_UTF8_BOM) else b""
    body = data[len(bom) :]
    nul = body.find(0)
    if nul >= 0:
        raise Unreadable(
            f"byte {nul + len(bom)} is NUL: a binary file, or UTF-16 without its mark; "
            "save it as UTF-8",
            *_place(body, nul),
        )
    try:
        return Source(path, body.decode("utf-8"), "utf-8", bom)
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"byte {error.start + len(bom)} (0x{body[error.start]:02x}) is not UTF-8; "
            "save the file as UTF-8",
            *_place(body, error.start),
        ) from None


def _place(body: bytes, at: int) -> tuple[int, int, str]:
    """Line and column of a byte, and the text around it."""
    text = body.decode("utf-8", "replace")
    start = body.rfind(b"\n", 0, at) + 1
    column = len(body[start:at].decode("utf-8", "replace")) + 1
    return body.count(b"\n", 0, at) + 1, column, text


def read(path: str, shown: str | None = None) -> Source:
    """Read a file.

    Raises:
        OSError: missing, not a regular file, or no permission.
        Unreadable: see `decode`.
    """
    return decode(read_bytes(path), shown if shown is not None else path)


def read_bytes(path: str) -> bytes:
    """A regular file's bytes, at most one more than `MAX_BYTES`; never waits for a pipe.

    Raises:
        OSError: missing, not a regular file, or no permission. Unreadable: too large.
    """
    handle = os.open(path, _READ)
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        if status.st_size > MAX_BYTES:
            raise too_large(status.st_size)
        data = os.read(handle, status.st_size + 1)
        if data and len(data) == status.st_size:  # one more was asked for: this is the end
            return data
        while len(data) <= MAX_BYTES:  # it grew meanwhile, or says 0 as those of /proc do
            more = os.read(handle, MAX_BYTES)
            if not more:
                break
            data += more
        return data
    finally:
        os.close(handle)
