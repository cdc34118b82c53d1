"""PyYAML's event objects turned into a tree, in nine tenths of the time of compose; and in words
what is wrong with a text that libyaml refuses.

Compose is not used: it loses where an alias stands, recurses in C without a bound (100,000 open
brackets end the process), and resolves tags that no rule looks at.
"""

from __future__ import annotations

from gradaudit.source import Source, Unreadable
from gradaudit.syntax.libyaml import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    MarkedYAMLError,
    Parser,
    ReaderError,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    YAMLError,
)
from gradaudit.syntax.limits import MAX_DEPTH, MAX_NODES, nested_too_deep, too_many_nodes
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, Tree

_TOO_DEEP = "maximum nesting depth"
"""What libyaml 0.2.6 (PyYAML 6.0.4) says at 1,000 open brackets, before our own bound is met: its
scanner reads ahead of the events."""


def parse_events(source: Source) -> Tree:
    """The tree of a text; see `syntax.parse` for what is raised."""
    roots: list[Node] = []
    mappings: list[Mapping] = []
    aliased: set[int] = set()
    try:
        _read_events(Parser(source.text).get_event, roots, mappings, aliased)
    except ReaderError as error:
        raise _unreadable_character(error, source) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "cannot be parsed").strip()
        if error.context and error.problem and error.context_mark:
            opened = source.position(error.context_mark.index)[0]
            problem = f"{problem} ({error.context}, begun on line {opened})"
        line, column = source.position(min(mark.index, len(source.text))) if mark else (1, 1)
        if _TOO_DEEP in problem:
            raise Unreadable(nested_too_deep(), line, column) from None
        problem = f"not valid YAML: {problem}{_hint(source, line)}"
        raise Unreadable(problem, line, column) from None
    except YAMLError as error:
        raise Unreadable(f"not valid YAML: {error}") from None
    return Tree(source, roots, mappings, aliased, "yaml")


def _unreadable_character(error: ReaderError, source: Source) -> Unreadable:
    code = error.character if isinstance(error.character, int) else ord(error.character or "\0")
    at = source.text.find(chr(code))
    line, column = source.position(max(at, 0))
    return Unreadable(f"character U+{code:04X} is not allowed in YAML; delete it", line, column)


def _hint(source: Source, line: int) -> str:
    text = source.line(line)
    indent = text[: len(text) - len(text.lstrip())]
    if "\t" in indent:
        return "; YAML does not allow a tab as indentation: use spaces"
    if "{{" in text or "{%" in text:
        return "; the line looks like a template: check the file that it renders to"
    return ""


def _at(
    event: MappingStartEvent | SequenceStartEvent | AliasEvent,
) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1, mark.column + 1


def _read_events(
    get_event: object, roots: list[Node], mappings: list[Mapping], aliased: set[int]
) -> None:
    assert callable(get_event)
    new_scalar, scalar_event = Scalar, ScalarEvent  # a local name is found faster
    anchors: dict[str, Node] = {}
    stack: list[tuple[Mapping | Sequence, list[Node]]] = []
    children: list[Node] = roots
    append = children.append
    parent: Mapping | Sequence | None = None
    count = 0
    while True:
        event = get_event()
        kind = type(event)
        if kind is scalar_event:
            node = new_scalar()
            node.value = event.value
            node.style = event.style or ""  # PyYAML without libyaml says None
            node.tag = event.tag
            node.start = event.start_mark.index
            node.end = event.end_mark.index
            node.parent = parent
            node.anchor = anchor = event.anchor
            if anchor:
                anchors[anchor] = node
            append(node)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            box: Mapping | Sequence
            if kind is MappingStartEvent:
                box = Mapping()
                mappings.append(box)
            else:
                box = Sequence()
            box.tag = event.tag
            box.start = box.end = event.start_mark.index
            box.flow = event.flow_style is True
            box.parent = parent
            box.anchor = anchor = event.anchor
            if anchor:
                anchors[anchor] = box
            append(box)
            if len(stack) >= MAX_DEPTH:
                raise Unreadable(nested_too_deep(), *_at(event))
            parent = box
            children = []
            append = children.append
            stack.append((box, children))
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            box, children = stack.pop()
            count += len(children)
            if count > MAX_NODES:
                raise Unreadable(too_many_nodes())
            if type(box) is Mapping:
                in_turn = iter(children)  # a key, its value, a key, ...
                box.pairs = list(zip(in_turn, in_turn, strict=True))
            else:
                assert type(box) is Sequence
                box.items = children
            # libyaml's own end of a block is the next token's start: where its last node ends is.
            box.end = event.end_mark.index if box.flow else children[-1].end
            parent, children = stack[-1] if stack else (None, roots)
            append = children.append
        elif kind is AliasEvent:
            alias = Alias()
            alias.name = event.anchor
            alias.tag = None
            alias.anchor = None
            alias.start = event.start_mark.index
            alias.end = event.end_mark.index
            alias.parent = parent
            alias.target = anchors.get(event.anchor)
            if alias.target is None:
                line, column = _at(event)
                raise Unreadable(
                    f"alias *{event.anchor} has no anchor &{event.anchor} above it", line, column
                )
            aliased.add(id(alias.target))
            append(alias)
        elif kind is StreamEndEvent:
            if count + len(roots) > MAX_NODES:
                raise Unreadable(too_many_nodes())
            return
