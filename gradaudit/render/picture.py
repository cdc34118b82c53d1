"""A screen as an SVG picture, drawn by rich's recorder from the lines of a real run."""

from __future__ import annotations

import io

from gradaudit.render.output import styled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.layout import Line


def svg(command: str, lines: list[Line], width: int) -> str:
    """The picture of a terminal `width` columns wide: the command, and what it printed.

    No web font is fetched: the viewer's own monospace font is used.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor",
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    console.print(Text("$ " + command, style="bold"))
    for line in lines:
        text = styled(line)
        assert isinstance(text, Text)
        console.print(text, soft_wrap=True)
    picture = console.export_svg(title="gradaudit", unique_id="gradaudit")
    before, _, rest = picture.partition("@font-face")
    styles = rest.rpartition("}\n\n    .gradaudit-matrix")
    if styles[1]:
        picture = before + ".gradaudit-matrix" + styles[2]
    return picture.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
