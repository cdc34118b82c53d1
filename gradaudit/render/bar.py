"""The bar of a measuring run, drawn by rich; imported only on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

FREE_COLUMNS = 6
"""To the right of the bar. A terminal writes `^C` where the cursor is, which is there: at the right
edge it would begin another line, and the bar above it would stay."""


class Bar(Progress):
    """One bar, and above it the command's line that has no end yet."""

    def __init__(self, console: Console, shown: dict[str, Any]) -> None:
        """shown: what the task has, as in `show`."""
        self._above: Text | None = None
        self._terminal = console
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            console=console,
            transient=True,
            expand=True,
        )
        self._only = self.add_task(**shown)

    def show(self, shown: dict[str, Any]) -> None:
        self.update(self._only, **shown)

    def above(self, text: str | None) -> None:
        """Its end, where it is longer than the terminal is wide."""
        if text is None:
            self._above = None
            return
        line = Text.from_ansi(text, no_wrap=True, overflow="crop")
        self._above = line[-max(self._terminal.width - 1, 1) :]

    def get_renderables(self) -> Iterable[RenderableType]:
        if self._above is not None:
            yield self._above
        width = max(self._terminal.width - FREE_COLUMNS, 20)
        for one in super().get_renderables():
            yield Constrain(one, width)
