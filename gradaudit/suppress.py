"""`# gradaudit: ignore[GA101] reason`: which findings a file's own comments silence.

On the finding's line, on the line above, or on a parent key (then for all below it).
`# gradaudit: ignore-file[GA101]`, anywhere, is for the whole file. Without brackets all rules are
meant.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.rules import Rule
    from gradaudit.syntax.tree import Tree

MARK = "gradaudit:"


class Suppression:
    """One comment: the lines it covers (from, to), the codes it names (empty for all)."""

    __slots__ = ("codes", "end", "first", "last", "start", "used")

    def __init__(self, codes: list[str], first: int, last: int, start: int, end: int) -> None:
        self.codes = codes
        self.first = first
        self.last = last
        self.start = start
        self.end = end
        self.used = False

    def covers(self, line: int, rule: Rule) -> bool:
        if not self.first <= line <= self.last:
            return False
        return not self.codes or any(
            rule.code.startswith(code.upper()) or rule.name == code.lower() for code in self.codes
        )


def suppressions(tree: Tree) -> list[Suppression]:
    """The file's suppression comments, in file order."""
    source = tree.source
    text = source.text
    if MARK not in text or tree.format == "json":
        return []
    import re

    pattern = re.compile(r"#[ \t]*gradaudit:[ \t]*(ignore-file|ignore)\b(?:\[([^\]\r\n]*)\])?")
    found = []
    inside = _scalar_spans(tree)
    for match in pattern.finditer(text):
        start = match.start()
        if any(a <= start < b for a, b in inside) or not _begins_comment(text, start):
            continue
        codes = [code.strip() for code in (match.group(2) or "").split(",") if code.strip()]
        line, column = source.position(start)
        if match.group(1) == "ignore-file":
            first, last = 1, source.line_count
        else:
            first = last = line
            if not source.line(line)[: column - 1].strip():
                first = last = _next_line_with_content(source, line)
            last = max(last, _subtree_end(tree, first))
        found.append(Suppression(codes, first, last, start, match.end()))
    return found


def _begins_comment(text: str, at: int) -> bool:
    """A `#` begins a comment at the start of a line or after a blank; else it is inside one."""
    if at == 0 or text[at - 1] in " \t\n":
        return True
    line_start = text.rfind("\n", 0, at) + 1
    return " #" in text[line_start:at]


def _next_line_with_content(source: object, line: int) -> int:
    from gradaudit.source import Source

    assert isinstance(source, Source)
    for number in range(line + 1, source.line_count + 1):
        text = source.line(number).strip()
        if text and not text.startswith("#"):
            return number
    return line


def _scalar_spans(tree: Tree) -> list[tuple[int, int]]:
    from gradaudit.syntax.tree import Scalar, walk

    return [
        (node.start, node.end)
        for root in tree.roots
        for node in walk(root)
        if type(node) is Scalar and (node.style or "\n" in node.value)
    ]


def _subtree_end(tree: Tree, line: int) -> int:
    """The last line of the section whose key stands on `line`; `line` itself for a scalar."""
    from gradaudit.syntax.tree import Mapping, Scalar, last_leaf, walk

    source = tree.source
    start = source.offset(line)
    end = start + len(source.line(line))
    for root in tree.roots:
        for node in walk(root):
            if type(node) is not Mapping:
                continue
            for key, value in node.pairs:
                if start <= key.start <= end and type(value) is not Scalar:
                    return source.position(max(last_leaf(value).end - 1, key.start))[0]
    return line
