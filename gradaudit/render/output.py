"""Where lines go: `rich` draws on a terminal, a pipe gets plain text."""

from __future__ import annotations

import os
import sys

from gradaudit.render.layout import NARROWEST, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from gradaudit.render.layout import Line

STYLES = {
    "error": "bold red", "warning": "bold yellow", "info": "bold cyan", "related": "blue",
    "gutter": "bright_black", "path": "bold", "dim": "bright_black", "bold": "bold",
    "word": "bold", "code": "underline", "fix": "bold green", "added": "green",
    "removed": "red", "ok": "bold green", "heading": "bold",
}  # fmt: skip


def use_color(choice: str, stream: TextIO) -> bool:
    """`always`, `never`, or by what the stream and the environment say.

    NO_COLOR (no-color.org) switches off, FORCE_COLOR on; a dumb terminal gets none.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width_of(stream: TextIO) -> int:
    """Columns to draw in: COLUMNS, else the terminal's, else 80; never under 60."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return max(int(columns), NARROWEST)
    try:
        return max(os.get_terminal_size(stream.fileno()).columns, NARROWEST)
    except (OSError, ValueError):
        return 80


def write_lines(lines: Iterable[Line], color: bool, stream: TextIO | None = None) -> None:
    """Write lines to standard output, in colour or plain."""
    stream = stream if stream is not None else sys.stdout
    if not color:
        text = "".join(f"{plain(line)}\n" for line in lines)
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a terminal that is not UTF-8: marks instead of letters
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "replace").decode(encoding))
        return
    from rich.console import Console

    console = Console(
        file=stream, force_terminal=True, highlight=False, markup=False, emoji=False,
        soft_wrap=True,
    )  # fmt: skip
    for line in lines:
        console.print(styled(line), soft_wrap=True)


def styled(line: Line) -> object:
    """A line as rich text."""
    from rich.style import Style
    from rich.text import Text

    text = Text(end="")
    for content, names, link in line:
        style = Style.parse(" ".join(STYLES[name] for name in names.split()))
        text.append(content, style + Style(link=link) if link else style)
    if len(line) > 1:
        text.rstrip()
    return text
