"""The code frame: lines of the file with the places underlined and words beside them."""

from __future__ import annotations

from gradaudit.render.layout import clean, display_width, fit, piece, printable, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Place
    from gradaudit.render.layout import Line
    from gradaudit.source import Source


class Mark:
    """A place in a frame: the finding's own (`primary`) or one that explains it."""

    __slots__ = ("label", "place", "primary", "style")

    def __init__(self, place: Place, label: str, primary: bool, style: str) -> None:
        self.place = place
        self.label = label
        self.primary = primary
        self.style = style


def gutter_width(marks: list[Mark]) -> int:
    return max(len(str(mark.place.line)) for mark in marks)


def frame(marks: list[Mark], gutter: int, width: int) -> list[Line]:
    """One block a source, the primary's first; inside it the lines in file order."""
    lines: list[Line] = []
    sources: list[Source] = []
    for mark in marks:
        if not any(mark.place.source is source for source in sources):
            sources.append(mark.place.source)
    for number, source in enumerate(sources):
        here = [mark for mark in marks if mark.place.source is source]
        if number:
            line, column = source.position(here[0].place.start)
            lines.append([piece(" " * (gutter + 1) + "|", "gutter")])
            lines.append([
                piece(" " * gutter + " ::: ", "gutter"),
                piece(clean(f"{source.path}:{line}:{column}"), "path"),
            ])  # fmt: skip
        lines.append([piece(" " * (gutter + 1) + "|", "gutter")])
        lines.extend(_block(source, here, gutter, width))
    return lines


def _block(source: Source, marks: list[Mark], gutter: int, width: int) -> list[Line]:
    lines: list[Line] = []
    last = 0
    for number in sorted({mark.place.line for mark in marks}):
        if last and number > last + 1:
            if number == last + 2:
                lines.extend(_code(source, last + 1, [], gutter, width))
            else:
                lines.append([piece("...", "gutter")])
        here = [mark for mark in marks if mark.place.line == number]
        lines.extend(_code(source, number, here, gutter, width))
        last = number
    return lines


def _code(source: Source, number: int, marks: list[Mark], gutter: int, width: int) -> list[Line]:
    """A line of code and, below it, a line of underlining for each mark."""
    text = source.line(number)
    starts = [source.position(mark.place.start)[1] - 1 for mark in marks]
    room = width - gutter - 3
    first = _crop_from(text, min(starts, default=0), room)
    shown = ("…" if first else "") + "".join(map(printable, text[first:]))
    code = fit(shown, room)
    lines: list[Line] = [[piece(f"{number:>{gutter}} | ", "gutter"), piece(code, "")]]
    for start, mark in sorted(zip(starts, marks, strict=True), key=lambda pair: -pair[0]):
        end = min(start + max(mark.place.end - mark.place.start, 1), max(len(text), start + 1))
        before = display_width("".join(map(printable, text[first:start]))) + (1 if first else 0)
        under = max(display_width("".join(map(printable, text[start:end]))), 1)
        under = min(under, max(room - before, 1))
        lines.extend(_underline(mark, before, under, gutter, room))
    return lines


def _underline(mark: Mark, before: int, under: int, gutter: int, room: int) -> list[Line]:
    sign = "^" if mark.primary else "-"
    bar = piece(" " * (gutter + 1) + "| ", "gutter")
    arrow: Line = [bar, piece(" " * before + sign * under, mark.style)]
    label = clean(mark.label)
    if not label:
        return [arrow]
    if before + under + 1 + display_width(label) <= room:
        return [[*arrow, piece(" " + label, mark.style)]]
    indent = min(before, max(room - 40, 2))
    below = wrap(label, room, " " * indent)
    return [arrow, *([bar, piece(line, mark.style)] for line in below)]


def _crop_from(text: str, start: int, room: int) -> int:
    """The character to begin at, so that a place far to the right is seen."""
    return 0 if display_width(text[:start]) < room * 2 // 3 else max(start - room // 3, 0)


def diff_lines(
    source: Source, changes: list[tuple[int, int, str]], gutter: int, width: int
) -> list[Line]:
    """The lines that (start, end, new text) changes touch, as they are and as they will be."""
    text = source.text
    by_line: dict[int, list[tuple[int, int, str]]] = {}
    for start, end, new in sorted(changes):
        by_line.setdefault(source.position(start)[0], []).append((start, end, new))
    bar = [piece(" " * (gutter + 1) + "|", "gutter")]
    lines: list[Line] = [bar]
    for number, spans in by_line.items():
        at = source.offset(number)
        old = source.line(number)
        stop = max(at + len(old), max(end for _, end, _ in spans))
        new_text = text[at:stop]
        for start, end, new in reversed(spans):
            new_text = new_text[: start - at] + new + new_text[end - at :]
        lines.extend(_signed(text[at:stop], "-", "removed", number, gutter, width))
        lines.extend(_signed(new_text, "+", "added", number, gutter, width))
    lines.append(bar)
    return lines


def _signed(text: str, sign: str, style: str, number: int, gutter: int, width: int) -> list[Line]:
    shown = text.splitlines() if text.strip() else []
    return [
        [
            piece(f"{number + offset:>{gutter}} ", "gutter"),
            piece(f"{sign} ", style),
            piece(fit("".join(map(printable, line)), width - gutter - 3), style),
        ]
        for offset, line in enumerate(shown)
    ]
