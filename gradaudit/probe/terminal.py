"""A terminal for the command's output, so that a progress bar can stand below it.

The command sees a terminal where it would have seen one: its own bars and colours stay.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STANDS_SECONDS = 0.5
"""How long a line stands unfinished until it is shown: a prompt, a bar that overwrites itself."""

TICK_SECONDS = 0.1
"""Between two looks at such a line."""


class Terminal:
    """A pseudo-terminal, read line by line in a thread. `end` is for the command to write to."""

    def __init__(
        self, line: Callable[[str], None], unfinished: Callable[[str, bool], None]
    ) -> None:
        """unfinished: told of a line that stands without its end, each time that it has changed;
        and whether it has stood as it is for that long.

        Raises: OSError, ImportError: this system has none.
        """
        import pty

        self._reading, self.end = pty.openpty()
        self._line, self._unfinished = line, unfinished
        self.copy_size()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def copy_size(self) -> None:
        """The command's terminal is as large as ours."""
        import fcntl
        import struct
        import termios

        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(2)
            fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        text, last = codecs.getincrementaldecoder("utf-8")("replace"), _Last()
        # Linux looks for input first and for the closed end second: what was written between the
        # two is there at the next read.
        ends = 0
        while ends < 2:
            lines: list[str] = []
            try:
                if select.select([self._reading], [], [], last.wait())[0]:
                    gained = os.read(self._reading, 65536)
                    ends += not gained
                    lines = last.take(text.decode(gained))
            except (OSError, ValueError):  # the other end is closed
                ends += 1
            for line in lines:
                _draw(self._line, line)
            if last.is_due():
                _draw(self._unfinished, last.text, last.stands)
        rest = last.text + text.decode(b"", final=True)
        if rest.strip():
            _draw(self._line, rest)

    def close(self) -> None:
        """Close our end, and wait until all that was written has been shown."""
        os.close(self.end)
        self._thread.join(timeout=2)
        with contextlib.suppress(OSError):
            os.close(self._reading)


def _draw(show: Callable[..., None], *what: object) -> None:
    """Show it, or not: what cannot be drawn is lost, but a terminal that nobody reads is full at
    once, and the command waits in it forever."""
    with contextlib.suppress(Exception):
        show(*what)


class _Last:
    """The line that has no end yet; of what overwrites itself (\\r) only the last is kept.

    began, changed  when, by the clock. said: what was last told of it, and when at said_at.
    """

    def __init__(self) -> None:
        self.text = ""
        self.stands = False
        self._began = self._changed = self._said_at = 0.0
        self._said: tuple[str, bool] | None = None

    def take(self, gained: str) -> list[str]:
        """The lines that are finished by what was gained."""
        now = time.monotonic()
        *lines, rest = (self.text + gained).split("\n")
        if lines or not self.text:
            self._began, self._said = now, None
        self._changed = now
        self.text = rest[max(rest.rstrip("\r").rfind("\r"), 0) :]
        return lines

    def wait(self) -> float | None:
        """Seconds until it is to be looked at again; None: when it has changed."""
        return TICK_SECONDS if self.text and self._said != (self.text, True) else None

    def is_due(self) -> bool:
        """Whether there is something to tell; it counts as told."""
        now = time.monotonic()
        self.stands = now - self._changed >= STANDS_SECONDS
        new = bool(self.text) and self._said != (self.text, self.stands)
        if not new or now - self._began < STANDS_SECONDS or now - self._said_at < TICK_SECONDS:
            return False
        self._said, self._said_at = (self.text, self.stands), now
        return True
