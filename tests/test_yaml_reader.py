"""A PyYAML built without libyaml: the tree is the same."""

from __future__ import annotations

import pytest
import yaml
from support import ROOT

from gradaudit.source import Source
from gradaudit.syntax import yaml_reader
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, walk

SAMPLES = sorted((ROOT / "sample_configs").glob("*.yaml"))
SNIPPETS = {
    "empty": "a:\nb:\n  -\n  - c:\n",
    "styles": "a: x\nb: 'x'\nc: \"x\"\nd: |\n  x\ne: >-\n  x\n",
    "nested": "a:\n  - b: 1\n    c: [1, {d: 2}]\n  -\n    - e\nf: {}\ng: []\n",
    "properties": "a: &x !t {b: 1}\nc: *x\nd: !!float 1\n<<: *x\n",
    "documents": "--- 1\n---\n- 2\n...\n",
    "none": "# only a comment\n",
}


def facts(node: Node) -> tuple[object, ...]:
    kind: tuple[object, ...] = ()
    if isinstance(node, Scalar):
        kind = node.value, node.style
    elif isinstance(node, (Mapping, Sequence)):
        kind = (node.flow,)
    elif isinstance(node, Alias):
        kind = (node.name,)
    return (type(node), node.start, node.end, node.tag, node.anchor, *kind)


def nodes(text: str) -> list[tuple[object, ...]]:
    tree = yaml_reader.parse_yaml(Source("x.yaml", text))
    return [facts(node) for root in tree.roots for node in walk(root)]


@pytest.mark.parametrize(
    "text",
    [*SNIPPETS.values(), *(path.read_text("utf-8") for path in SAMPLES)],
    ids=[*SNIPPETS, *(path.name for path in SAMPLES)],
)
def test_the_tree_without_libyaml(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_libyaml = nodes(text)
    monkeypatch.setattr(yaml_reader, "Parser", yaml.SafeLoader)
    assert nodes(text) == with_libyaml
