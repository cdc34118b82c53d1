"""The edits of a fix as a unified diff of the lines that they change."""

from __future__ import annotations

from gradaudit.syntax.tree import (
    Mapping,
    Scalar,
    Sequence,
    content_span,
    dotted,
    last_leaf,
    path_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Edit
    from gradaudit.source import Source
    from gradaudit.syntax.tree import Node, Tree

    Splice = tuple[int, int, str]
    Hunk = tuple[int, int, list[str]]

CONTEXT = 1
"""Unchanged lines around a change: enough for `git apply` and `patch`."""


def unified(edits: list[Edit]) -> list[str]:
    """The lines of the diff, file by file, in file order."""
    by_source: dict[int, tuple[Source, list[Splice]]] = {}
    for edit in edits:
        source = edit.tree.source
        by_source.setdefault(id(source), (source, []))[1].append(_splice(edit))
    lines: list[str] = []
    for source, splices in by_source.values():
        path = source.path.lstrip("/")
        lines += [f"--- a/{path}", f"+++ b/{path}", *_hunks(source, sorted(splices))]
    return lines


def _splice(edit: Edit) -> Splice:
    text = edit.tree.source.text
    new = edit.new or ""
    if edit.op == "insert":
        return _insert(edit.tree, edit.node, edit.key, new)
    if edit.op == "delete":
        return _delete(edit.tree, edit.node)
    start, end = content_span(edit.node, text)
    if start == end and text[start - 1 : start] not in (" ", "\t", "\n"):
        new = " " + new
    return start, end, new


def _entry(node: Node) -> tuple[list[tuple[int, int]], int, bool]:
    """The spans of all entries beside `node`, its own index, and whether they are in flow style."""
    parent = node.parent
    if type(parent) is Mapping:
        spans = [(key.start, last_leaf(value).end) for key, value in parent.pairs]
        return spans, next(i for i, (key, _) in enumerate(parent.pairs) if key is node), parent.flow
    assert type(parent) is Sequence
    spans = [(item.start, last_leaf(item).end) for item in parent.items]
    return spans, next(i for i, item in enumerate(parent.items) if item is node), parent.flow


def _insert(tree: Tree, node: Node, key: str, new: str) -> Splice:
    source = tree.source
    spans, index, flow = _entry(node)
    entry = new
    if type(node.parent) is Mapping:
        above = dotted(path_of(node.parent, tree))
        name = key.removeprefix(f"{above}.") if above else key
        quote = node.style if type(node) is Scalar and node.style in ("'", '"') else ""
        sign = " =" if tree.format == "toml" else ":"
        entry = f"{quote}{name}{quote}{sign} {new}"
    start, end = spans[index]
    if flow:
        return end, end, f", {entry}"
    column = source.position(start)[1] - 1
    line = source.position(max(end - 1, start))[0]
    at = source.offset(line) + len(source.line(line))
    if type(node.parent) is Sequence:
        column, entry = column - 2, f"- {entry}"
    return at, at, "\n" + " " * column + entry


def _delete(tree: Tree, node: Node) -> Splice:
    source = tree.source
    spans, index, flow = _entry(node)
    start, end = spans[index]
    first = source.position(start)[0]
    before = source.line(first)[: start - source.offset(first)]
    whole_lines = not flow and before.strip() in ("", "-" * (type(node.parent) is Sequence))
    if whole_lines:
        last = source.position(max(end - 1, start))[0]
        return source.offset(first), _after(source, last), ""
    if index + 1 < len(spans):
        return start, spans[index + 1][0], ""
    return (spans[index - 1][1] if index else start), end, ""


def _after(source: Source, line: int) -> int:
    """The offset where the line after `line` begins."""
    return source.offset(line + 1) if line < source.line_count else len(source.text)


def _hunks(source: Source, splices: list[Splice]) -> list[str]:
    """Splices that share lines, or whose context would meet, are one hunk."""
    groups: list[tuple[int, int, list[Splice]]] = []
    for start, end, new in splices:
        first = source.position(start)[0]
        last = source.position(max(end - 1, start))[0]
        if groups and first <= groups[-1][1] + 2 * CONTEXT + 1:
            begin, until, inside = groups.pop()
            groups.append((begin, max(until, last), [*inside, (start, end, new)]))
        else:
            groups.append((first, last, [(start, end, new)]))
    lines: list[str] = []
    shift = 0
    for first, last, inside in groups:
        begin = max(1, first - CONTEXT)
        until = min(_last_line(source), last + CONTEXT)
        old = [source.line(number) for number in range(begin, until + 1)]
        fresh = _changed(source, begin, until, inside)
        lines.append(f"@@ -{begin},{len(old)} +{begin + shift},{len(fresh)} @@")
        lines += _body(old, fresh)
        shift += len(fresh) - len(old)
    return lines


def _last_line(source: Source) -> int:
    """The last line that has text: what follows a final line break is no line to a diff."""
    return source.line_count - (source.text.endswith("\n") and source.line_count > 1)


def _changed(source: Source, first: int, last: int, splices: list[Splice]) -> list[str]:
    text = source.text
    parts = []
    at = source.offset(first)
    for start, end, new in splices:
        parts += [text[at:start], new]
        at = max(at, end)
    after = "".join([*parts, text[at : _after(source, last)]])
    return [line.rstrip("\r") for line in after.removesuffix("\n").split("\n")] if after else []


def _body(old: list[str], new: list[str]) -> list[str]:
    """Lines with ` `, `-` and `+`; equal lines are matched in order."""
    import difflib

    lines: list[str] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for op, a, b, c, d in matcher.get_opcodes():
        if op == "equal":
            lines += [" " + line for line in old[a:b]]
        else:
            lines += ["-" + line for line in old[a:b]] + ["+" + line for line in new[c:d]]
    return lines
