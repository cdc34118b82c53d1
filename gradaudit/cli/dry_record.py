"""The record of a dry run is whole, or there is none, whatever ends the run."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress

from gradaudit.probe.held import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TextIO

SAME_SECONDS = 1.0
"""Signals within this time are one: GNU `timeout` sends its own to the command and, at once, to the
command's whole group, and a closed terminal is told by the shell and by the kernel."""

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Windows has no SIGHUP."""


@contextmanager
def whole_record(directory: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Where the lines of a record go. It is one only with its end: until then it has a name that no
    command reads, and whatever ends the run before (the user's code, a fault, a signal) leaves
    nothing that `check --record` or `fix --record` would take for a measurement.

    Raises: BadRecord where there is one already, or another run is writing it. OSError.
    """
    from gradaudit.evidence.record_reader import UNFINISHED, refuse_taken

    os.makedirs(directory, exist_ok=True)
    refuse_taken(directory)
    unfinished = os.path.join(directory, UNFINISHED)
    with held(directory), open(unfinished, "a", encoding="utf-8") as file:
        try:
            refuse_taken(directory)  # of a run that ended just now
            _overwrite(file)

            def write(line: dict[str, Any]) -> None:
                file.write(json.dumps(line, allow_nan=False) + "\n")

            yield write
            file.flush()
            refuse_taken(directory)  # of a probe that no lock held off
            if os.name == "nt":
                file.close()  # what is open has no new name there
            os.replace(unfinished, os.path.join(directory, "rank-0.jsonl"))
        except BaseException:
            with suppress(OSError):
                os.remove(unfinished)
            raise


def _overwrite(file: TextIO) -> None:
    """What is in it was left by a run that was killed: it has no end, and is no record."""
    if not os.fstat(file.fileno()).st_size:
        return
    sys.stderr.write(
        f"gradaudit: {file.name} is of a dry run that was killed before its end, and no record: it "
        "is overwritten\n"
    )
    file.truncate(0)


class Told:
    """The signals that a dry run hears while it measures.

    number  of the one that told it to end, SIGTERM or SIGHUP; 0 where none did: Ctrl-C is none of
            them, as what was measured is judged after it.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at = 0.0
        self._closing = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    @property
    def how(self) -> str:
        """How the run was ended, in words."""
        return f"ended by {signal.Signals(self.number).name}" if self.number else "interrupted"

    def closing(self) -> None:
        """To be called when none of the training's code runs any more: the last lines are written
        whatever comes. A launcher may pass on the SIGINT that the terminal sends to all, and an
        impatient user presses twice."""
        self._closing = True
        self._set(signal.SIGINT, signal.SIG_IGN)

    def listen(self) -> None:
        """Hear the signals that end a run from now on. What is ignored stays so: nohup."""
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._set(number, self._hear)

    def put_back(self) -> None:
        """Every handler as it was."""
        for number, handler in self._before.items():
            with suppress(ValueError):
                signal.signal(number, handler)

    def _hear(self, number: int, frame: object) -> None:
        """The first ends the steps as Ctrl-C does, so that they are kept; a later one all, at once.

        Raises: KeyboardInterrupt.
        """
        if os.getpid() != self._process or (
            self.number and time.monotonic() - self._at > SAME_SECONDS
        ):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self.number:
            return
        self.number, self._at = number, time.monotonic()
        self._set(signal.SIGINT, signal.SIG_IGN)
        if callable(signal.getsignal(signal.SIGCHLD)):
            # A loader's workers are told, too, and end: a DataLoader raises an error here then.
            self._set(signal.SIGCHLD, _nothing)
        if not self._closing:
            raise KeyboardInterrupt

    def _set(self, number: int, handler: Any) -> None:
        before = signal.getsignal(number)
        if before is None:  # it was not set from Python, and could not be put back from here
            return
        with suppress(ValueError):  # not the main thread: no signal comes here
            signal.signal(number, handler)
            self._before.setdefault(number, before)


def _nothing(number: int, frame: object) -> None:
    """Not SIG_IGN: children that end would leave no exit code then."""


@contextmanager
def told_by_signals() -> Iterator[Told]:
    """SIGTERM (a batch system, `timeout`, a CI) and SIGHUP (a closed terminal) end a dry run with
    what it measured; after this the handlers are as they were."""
    told = Told()
    told.listen()
    try:
        yield told
    finally:
        told.put_back()
