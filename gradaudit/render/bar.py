"""The bar of a measuring run, drawn by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.text import Text

FREE_COLUMNS = 6
"""To the right of the bar. A terminal writes `^C` where the cursor is, which is there: at the right
edge it would begin another line, and the bar above it would stay."""


def new_bar(console: Console, shown: dict[str, Any]) -> Any:
    """One bar, not begun, and above it the command's line that has no end yet.

    shown: what rich's task has; `bar.show(shown)` and `bar.above(text)` change what is drawn.
    """
    from rich.constrain import Constrain
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    class Bar(Progress):
        _above: Text | None = None

        def show(self, shown: dict[str, Any]) -> None:
            self.update(self.task_ids[0], **shown)

        def above(self, text: str | None) -> None:
            """Its end, where it is longer than the terminal is wide."""
            if text is None:
                self._above = None
                return
            line = Text.from_ansi(text, no_wrap=True, overflow="crop")
            self._above = line[-max(console.width - 1, 1) :]

        def get_renderables(self) -> Iterable[RenderableType]:
            if self._above is not None:
                yield self._above
            for one in super().get_renderables():
                yield Constrain(one, max(console.width - FREE_COLUMNS, 20))

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[facts]}"),
        console=console,
        transient=True,
        expand=True,
    )
    bar.add_task(**shown)
    return bar
