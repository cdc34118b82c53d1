"""A terminal for the command's output, so that a progress bar can stand below it.

The command sees a terminal where it would have seen one: its own bars and colours stay.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Terminal:
    """A pseudo-terminal, read line by line in a thread. `end` is for the command to write to."""

    def __init__(self, line: Callable[[str], None]) -> None:
        """Raises: OSError, ImportError: this system has none."""
        import pty

        self._reading, self.end = pty.openpty()
        self._line = line
        self._copy_size()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _copy_size(self) -> None:
        import fcntl
        import struct
        import termios

        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(2)
            fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        rest = b""
        # Linux looks for input first and for the closed end second: what was written between the
        # two is there at the next read.
        ends = 0
        while ends < 2:
            try:
                gained = os.read(self._reading, 65536)
            except OSError:  # the other end is closed
                gained = b""
            ends += not gained
            *lines, rest = (rest + gained).split(b"\n")
            for line in lines:
                self._line(line.decode(errors="replace"))
        if rest.strip():
            self._line(rest.decode(errors="replace"))

    def close(self) -> None:
        """Close our end, and wait until all that was written has been shown."""
        os.close(self.end)
        self._thread.join(timeout=2)
        with contextlib.suppress(OSError):
            os.close(self._reading)
