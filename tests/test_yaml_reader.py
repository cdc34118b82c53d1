"""The ways to read YAML give one tree: libyaml by PyYAML, libyaml by flat lists, PyYAML alone."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from support import ROOT

from gradaudit.source import Source, Unreadable
from gradaudit.syntax import yaml_events, yaml_reader
from gradaudit.syntax.limits import MAX_DEPTH, MAX_NODES
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, Tree, walk

SAMPLES = sorted((ROOT / "sample_configs").glob("*.yaml"))
SNIPPETS = {
    "empty": "a:\nb:\n  -\n  - c:\n",
    "styles": "a: x\nb: 'x'\nc: \"x\"\nd: |\n  x\ne: >-\n  x\n",
    "nested": "a:\n  - b: 1\n    c: [1, {d: 2}]\n  -\n    - e\nf: {}\ng: []\n",
    "properties": "a: &x !t {b: 1}\nc: *x\nd: !!float 1\n<<: *x\n&k e: &s !u [1]\n",
    "documents": "--- 1\n---\n- 2\n...\n",
    "none": "# only a comment\n",
    "letters": "é: 😀 # ü\n\"\\u00e9\": 'ß'\r\nb: [ö]\r\n",
}
TEXTS = pytest.mark.parametrize(
    "text",
    [*SNIPPETS.values(), *(path.read_text("utf-8") for path in SAMPLES)],
    ids=[*SNIPPETS, *(path.name for path in SAMPLES)],
)
PIECES = (
    "a", "lr", "1e-4", "é", "😀", "\ufeff", "\n", "\n  ", "\n- ", ": ", ", ", "? ", "- ", "&a ",
    "*a", "!t ", "!!str ", "|\n  ", ">-\n  ", "'", '"', "\\", "{", "}", "[", "]", " # c", "\n---\n",
    "\n...\n", "%YAML 1.2\n", "\t", "\r\n", "\x85", "\u2028", "<<: *a\n", "@", "\x00", "\x07",
)  # fmt: skip


def facts(node: Node) -> tuple[object, ...]:
    kind: tuple[object, ...] = ()
    if isinstance(node, Scalar):
        kind = node.value, node.style
    elif isinstance(node, (Mapping, Sequence)):
        kind = (node.flow,)
    elif isinstance(node, Alias):
        assert node.target is not None
        kind = node.name, node.target.start
    parent = None if node.parent is None else (type(node.parent), node.parent.start)
    return (type(node), node.start, node.end, node.tag, node.anchor, parent, *kind)


def all_of(tree: Tree) -> object:
    documents = [[facts(node) for node in walk(root)] for root in tree.roots]
    return documents, [mapping.start for mapping in tree.mappings], len(tree.aliased)


def by_events(text: str) -> object:
    """The tree of PyYAML's events, or what is wrong and where."""
    try:
        return all_of(yaml_events.parse_events(Source("x.yaml", text)))
    except Unreadable as error:
        return str(error), error.line, error.column


def by_either(text: str) -> object:
    try:
        return all_of(yaml_reader.parse_yaml(Source("x.yaml", text)))
    except Unreadable as error:
        return str(error), error.line, error.column


@TEXTS
def test_the_tree_without_libyaml(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_libyaml = by_events(text)
    monkeypatch.setattr(yaml_events, "Parser", yaml.SafeLoader)
    assert by_events(text) == with_libyaml


flat = pytest.mark.skipif(
    yaml_reader.flat_events is None, reason="not compiled, or without libyaml's header"
)


@flat
@TEXTS
def test_flat_events_make_the_same_tree(text: str) -> None:
    tree = yaml_reader._parse_flat(Source("x.yaml", text))
    assert tree is not None
    assert all_of(tree) == by_events(text)


@flat
@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
@example("\ufeffa: 1")
@example("[a?b, c:d, http://e]")
def test_flat_events_change_nothing(text: str) -> None:
    assert by_either(text) == by_events(text)


@flat
@pytest.mark.parametrize(
    "text",
    [
        "a: [1\n",
        "a: *x\n",
        "a: \x07\n",
        "a: \ud800\n",
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "- [\n" * 100_000,
        "[" + "1," * MAX_NODES + "]",
    ],
    ids=["unclosed", "alias", "character", "surrogate", "deep", "deeper", "many"],
)
def test_what_flat_events_refuse_is_read_again(text: str) -> None:
    assert yaml_reader._parse_flat(Source("x.yaml", text)) is None


@flat
def test_flat_events_reach_the_same_bounds() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert by_either(deepest) == by_events(deepest)
    tree = yaml_reader._parse_flat(Source("x.yaml", "[" + "1," * (MAX_NODES - 1) + "]"))
    assert tree is not None
    assert tree.roots[0].end == 2 * MAX_NODES
