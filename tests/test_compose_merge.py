"""The deep merge, against a plain dict's; and that nothing shared is changed."""

from __future__ import annotations

import json
from typing import Any

from compose_support import shape
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.compose.merge import Merger, at, in_force, without
from gradaudit.source import Source
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain
from gradaudit.syntax.tree import Mapping, Node, Scalar, Tree

KEYS = st.sampled_from("abcd")
VALUES = st.recursive(
    st.integers(0, 9) | st.booleans() | st.none(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)
CONFIGS = st.dictionaries(KEYS, VALUES, max_size=4)


def tree_of(text: str) -> Tree:
    return parse(Source("c.yaml", text))


def root_of(text: str) -> Node:
    return tree_of(text).roots[0]


def merged(base: Any, leaf: Any, append: bool = False, delete: bool = False) -> Any:
    """What frameworks do, on plain data."""
    if isinstance(base, dict) and isinstance(leaf, dict):
        if delete and leaf.get("d") is True:
            return leaf
        both = dict(base)
        for key, value in leaf.items():
            both[key] = merged(base[key], value, append, delete) if key in base else value
        return both
    if append and isinstance(base, list) and isinstance(leaf, list):
        return base + leaf
    return leaf


@given(CONFIGS, CONFIGS, st.booleans(), st.booleans())
def test_it_merges_as_dicts_do(base: Any, leaf: Any, append: bool, delete: bool) -> None:
    under, over = tree_of(json.dumps(base)), tree_of(json.dumps(leaf))
    before = shape(under), shape(over)
    made = Merger(append, "d" if delete else "").merge(under.roots[0], over.roots[0])
    expected = merged(base, leaf, append, delete)
    assert plain(made) == expected
    assert list(plain(made)) == list(expected)  # type: ignore[arg-type]
    assert (shape(under), shape(over)) == before


@given(CONFIGS, CONFIGS, CONFIGS)
def test_it_can_be_repeated(first: Any, second: Any, third: Any) -> None:
    a, b, c = (root_of(json.dumps(value)) for value in (first, second, third))
    merger = Merger()
    made = plain(merger.merge(merger.merge(a, b), c))
    assert made == merged(merged(first, second), third)


def test_what_one_side_alone_has_is_that_sides_node() -> None:
    under, over = root_of("a: {x: 1}\nb: {y: 2}\n"), root_of("b: {z: 3}\nc: {w: 4}\n")
    made = Merger().merge(under, over)
    assert isinstance(made, Mapping)
    assert isinstance(under, Mapping)
    assert isinstance(over, Mapping)
    assert made.pairs[0] == under.pairs[0]
    assert made.pairs[2] == over.pairs[1]
    key, section = made.pairs[1]
    assert key is over.pairs[0][0]
    assert (section.parent, section.start, section.end) == (
        None, over.pairs[0][1].start, over.pairs[0][1].end,
    )  # fmt: skip


def keys(node: Node) -> list[str]:
    assert isinstance(node, Mapping)
    return [key.value for key, _ in node.pairs if isinstance(key, Scalar)]


def test_duplicates_of_the_leaf_stay_and_the_last_is_merged() -> None:
    made = Merger().merge(root_of("a: {x: 1}\n"), root_of("a: {y: 2}\na: {z: 3}\n"))
    assert keys(made) == ["a", "a"]
    assert plain(made) == {"a": {"x": 1, "z": 3}}


def test_duplicates_of_the_base_stay_unless_the_leaf_overrides_them() -> None:
    base = "a: 1\na: 2\nb: 1\nb: 2\n"
    made = Merger().merge(root_of(base), root_of("b: 3\n"))
    assert keys(made) == ["a", "a", "b"]
    assert plain(made) == {"a": 2, "b": 3}


def test_merge_keys_are_read_as_loaders_do() -> None:
    base = "x: &x {a: 1, b: 1}\ns: {<<: *x, b: 2}\n"
    leaf = "y: &y {b: 5, c: 5}\ns: {<<: *y, d: 6}\n"
    made = plain(Merger().merge(root_of(base), root_of(leaf)))
    assert isinstance(made, dict)
    assert made["s"] == {"a": 1, "b": 5, "c": 5, "d": 6}


def test_a_key_merged_and_written_is_no_duplicate() -> None:
    root = root_of("x: &x {a: 1, b: 1}\ns: {<<: *x, b: 2}\n")
    assert isinstance(root, Mapping)
    section = root.pairs[1][1]
    assert isinstance(section, Mapping)
    assert [value.value for _, value in in_force(section) if isinstance(value, Scalar)] == [
        "1",
        "2",
    ]


def test_sections_behind_anchors_are_merged() -> None:
    made = plain(Merger().merge(root_of("d: &d {x: 1}\ns: *d\n"), root_of("s: {y: 2}\n")))
    assert made == {"d": {"x": 1}, "s": {"x": 1, "y": 2}}


def test_anchors_that_lead_back_end() -> None:
    made = Merger().merge(root_of("a: &a {b: *a, x: 1}\n"), root_of("a: &a {b: *a, y: 2}\n"))
    assert keys(made) == ["a"]


def test_alias_bombs_cost_what_their_text_has() -> None:
    levels = "".join(
        f"l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}, c: *l{n - 1}}}\n" for n in range(1, 60)
    )
    text = f"l0: &l0 {{x: 1}}\n{levels}"
    merger = Merger()
    merger.merge(root_of(text), root_of(text))
    assert len(merger.made) < 100


def test_depth_is_bounded() -> None:
    text = "".join(f"l{n}: &l{n} {{a: *l{n - 1}}}\n" for n in range(1, 3000))
    text = f"l0: &l0 {{x: 1}}\n{text}"
    Merger().merge(root_of(text), root_of(text))


def test_an_update_keeps_the_type_of_what_it_updates() -> None:
    made = Merger().merge(root_of("a: !Adam {x: 1}\n"), root_of("a: !update {y: 1}\n"))
    assert isinstance(made, Mapping)
    assert made.pairs[0][1].tag == "!Adam"


def test_a_root_can_be_put_under_keys_and_be_freed_of_one() -> None:
    root = root_of("defaults: [x]\na: 1\n")
    assert isinstance(root, Mapping)
    rest = without(root, "defaults")
    assert plain(at(rest, ("p", "q"))) == {"p": {"q": {"a": 1}}}
    assert without(rest, "defaults") is rest
    assert at(rest, ()) is rest
