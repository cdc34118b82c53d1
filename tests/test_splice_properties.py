"""Random edits of random YAML: nothing but what was meant may change, to any parser."""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from edit_checks import PARSERS, composed, edited_as_meant
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.fix.splice import Refused, apply, splices
from gradaudit.fix.verify import verify
from gradaudit.source import decode
from gradaudit.syntax import parse
from gradaudit.syntax.spelling import spell
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, walk

if TYPE_CHECKING:
    import random

    from gradaudit.findings import Edit
    from gradaudit.syntax.scalars import Value

EXAMPLES = int(os.environ.get("GRADAUDIT_EXAMPLES", "150"))
"""More for a long run by hand, which then draws at random too."""

steady = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 150,
    suppress_health_check=list(HealthCheck),
)

PLAIN = ("1", "0.5", "1e-4", "true", "no", "~", "null", "x", "two words", "a/b.c", "${a.b}", "é😀",
         "-1", ".5", "http://x.y/#z", "x#y", "0x1F", "12:30", "&x"[1:], "2024-01-01")  # fmt: skip
QUOTED = ("''", "'it''s'", '"a # b"', '"tab\\t\\u00e9"', "'{x: [1'", '"😀"', '"a: b"')
VALUES: tuple[Value, ...] = (7, -0.25, 1e-5, 1e300, True, None, "text", "1e-4", "it's: #x", "é", "")


class Writer:
    """Writes a random YAML file. Each comment is the only one of its name: `#c1`, `#c2`, ..."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.comments = 0
        self.keys = 0
        self.anchors: list[str] = []

    def file(self) -> bytes:
        rng = self.rng
        text = "".join(self.collection(0, rng.choice((1, 2, 3))))
        if rng.random() < 0.2:
            text = "---" + self.trailing() + "\n" + text
        if rng.random() < 0.1:
            text += "---\nb: 1\n"
        if rng.random() < 0.3:
            text = text.rstrip("\n")
        if rng.random() < 0.3:
            text = text.replace("\n", "\r\n")
        return (b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + text.encode()

    def comment(self) -> str:
        self.comments += 1
        return f"#c{self.comments}" + self.rng.choice(("", " é: [", " 'x"))

    def trailing(self) -> str:
        roll = self.rng.random()
        return "" if roll < 0.6 else " " * self.rng.choice((1, 3)) + self.comment() * (roll < 0.9)

    def between(self, indent: int) -> str:
        """What stands above an entry: blank lines, comments of its own or of the one above."""
        text = ""
        while self.rng.random() < 0.2:
            at = indent + self.rng.choice((-2, 0, 0, 2))
            text += self.rng.choice(("\n", "  \n", " " * max(0, at) + self.comment() + "\n"))
        return text

    def key(self) -> str:
        self.keys += 1
        name = self.rng.choice(("k", "long_key", "é", "k.k", "k k", "k-k")) + str(self.keys)
        return self.rng.choice((name, name, name, f"'{name}'", f'"{name}"'))

    def colon(self) -> str:
        return self.rng.choice((": ", ": ", ": ", ":   ", " : ", "  :  "))

    def properties(self) -> str:
        text = ""
        if self.rng.random() < 0.08:
            self.anchors.append(f"a{len(self.anchors)}")
            text = f"&{self.anchors[-1]} "
        return text + ("!tag " if self.rng.random() < 0.04 else "")

    def scalar(self, flow: bool) -> str:
        if self.anchors and self.rng.random() < 0.08:
            return f"*{self.rng.choice(self.anchors)} "
        choices = QUOTED if self.rng.random() < 0.3 else PLAIN
        text = self.rng.choice(choices)
        if flow and any(sign in text for sign in "{}$:") and choices is PLAIN:
            text = "x"
        return self.properties() + text

    def collection(self, indent: int, depth: int) -> list[str]:
        """The lines of a block mapping or sequence."""
        mapping = self.rng.random() < 0.7
        lines = []
        for _ in range(self.rng.choice((1, 2, 2, 3, 4))):
            head = " " * indent + (self.key() if mapping else "-")
            lines.append(self.between(indent) + head + self.entry(indent, depth, mapping))
        return lines

    def entry(self, indent: int, depth: int, mapping: bool) -> str:
        colon = self.colon() if mapping else self.rng.choice((" ", " ", "   "))
        roll = self.rng.random()
        if depth and roll < 0.35:
            if not mapping and self.rng.random() < 0.5:
                inner = "".join(self.collection(indent + 2, depth - 1)).lstrip(" \n")
                return " " + re.sub(r"\A(#.*\s*)+", "", inner)
            deeper = indent + self.rng.choice((1, 2, 4))
            start = colon.rstrip(" ") + self.trailing() + "\n"
            return start + "".join(self.collection(deeper, depth - 1))
        if roll < 0.55:
            text = self.flow(indent + 2, 2)  # before its anchor, which is not for use within
            return colon + self.properties() + text + self.trailing() + "\n"
        if roll < 0.65:
            return colon + self.block_scalar(indent + 3)  # deeper than any comment below it
        if roll < 0.7:
            return colon.rstrip(" ") + self.trailing() + "\n"
        if roll < 0.75:
            return f"{colon}two\n{' ' * (indent + 2)}lines{self.trailing()}\n"
        return colon + self.scalar(flow=False) + self.trailing() + "\n"

    def block_scalar(self, indent: int) -> str:
        header = self.rng.choice(("|", ">")) + self.rng.choice(("", "", "-", "+"))
        lines = [self.rng.choice(("x", "# no comment", "a: b", "  deeper", "")) for _ in range(3)]
        body = "".join(" " * indent * bool(line) + line + "\n" for line in ["first", *lines])
        return header + self.trailing() + "\n" + body

    def flow(self, indent: int, depth: int) -> str:
        """A flow collection, on one line or on several."""
        rng = self.rng
        mapping = rng.random() < 0.5
        opening, closing = "{}" if mapping else "[]"
        entries = [self.flow_entry(indent, depth, mapping) for _ in range(rng.choice((0, 1, 2, 3)))]
        if not entries:
            return opening + closing
        layout = rng.random()
        last = rng.choice(("", "", ","))
        if layout < 0.6:
            pad = rng.choice(("", " "))
            return (
                opening + pad + rng.choice((", ", ",", " , ")).join(entries) + last + pad + closing
            )
        blanks = "\n" + " " * indent
        if layout < 0.8:
            lines = [e + "," + self.trailing() for e in entries[:-1]]
            lines.append(entries[-1] + last + self.trailing())
            return opening + blanks + blanks.join(lines) + "\n" + " " * (indent - 1) + closing
        ends = [rng.choice((", ", "," + blanks, "," + self.trailing() + blanks)) for _ in entries]
        return opening + "".join(map(str.__add__, entries[:-1], ends)) + entries[-1] + closing

    def flow_entry(self, indent: int, depth: int, mapping: bool) -> str:
        roll = self.rng.random()
        if mapping and roll > 0.9:
            return self.key() + (": " if roll < 0.95 else "")
        nested = depth and self.rng.random() < 0.25
        value = self.flow(indent + 2, depth - 1) if nested else self.scalar(flow=True)
        if not mapping:
            return f"{self.key()}: {value}" if self.rng.random() < 0.05 else value
        return self.key() + self.colon() + value


def tree_of(rng: random.Random) -> Tree:
    data = Writer(rng).file()
    tree = parse(decode(data, "c.yaml"))
    assert tree.source.to_bytes(tree.source.text) == data
    # What the composers cannot read (`*a` for an anchor of another document) judges nothing.
    assume(all(composed(tree.source.text, parser) is not None for parser in PARSERS["yaml"]))
    return tree


def places(tree: Tree) -> tuple[list[Node], list[Node]]:
    """The scalar values; the keys and items."""
    values: list[Node] = []
    entries: list[Node] = []
    for root in tree.roots:
        for node in walk(root):
            if type(node) is Mapping:
                entries += [key for key, _ in node.pairs]
                values += [value for _, value in node.pairs if type(value) is Scalar]
            elif type(node) is Sequence:
                entries += node.items
                values += [item for item in node.items if type(item) is Scalar]
    return values, entries


def names_of_comments(text: str) -> Counter[str]:
    return Counter(re.findall(r"(?:#|//|/\*)c[1-9]\d*", text))


def carry_out(tree: Tree, edits: list[Edit]) -> str:
    """Make the edits and check all that must hold. Refused ones end the example."""
    text = tree.source.text
    try:
        changes = sorted(change for edit in edits for change in splices(edit))
        new = apply(text, changes)
        verify(tree, new, edits)
    except Refused as refusal:
        event(f"{edits[0].op} refused: {refusal.reason.split('`')[0]}")
        assume(False)
    event(f"{edits[0].op} done")
    kept = [text[a[1] : b[0]] for a, b in pairwise(changes)]
    assert new.startswith(text[: changes[0][0]])
    assert new.endswith(text[changes[-1][1] :])
    assert all(stretch in new for stretch in kept)
    for parser in PARSERS[tree.format]:
        before, after = composed(text, parser), composed(new, parser)
        assert before is not None
        assert after is not None
        assert edited_as_meant(before, after, edits), parser
    if edits[0].op != "delete":
        assert names_of_comments(text) == names_of_comments(new)
    return new


@steady
@given(st.randoms(use_true_random=False), st.data())
def test_replace(rng: random.Random, data: st.DataObject) -> None:
    tree = tree_of(rng)
    values, _ = places(tree)
    assume(values)
    chosen = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique_by=id))
    edits = [replace_value(tree, node, None, data.draw(st.sampled_from(VALUES))) for node in chosen]
    new = carry_out(tree, edits)
    # Once more changes nothing: an edit is spelled as it reads.
    for edit in edits:
        assert edit.new is not None
        assert edit.new in new


@steady
@given(st.randoms(use_true_random=False), st.data())
def test_insert_and_delete_again(rng: random.Random, data: st.DataObject) -> None:
    tree = tree_of(rng)
    _, entries = places(tree)
    assume(entries)
    sibling = data.draw(st.sampled_from(entries))
    edit = insert_after(tree, sibling, "new_key", data.draw(st.sampled_from(VALUES)))
    new = carry_out(tree, [edit])
    again = parse(decode(tree.source.to_bytes(new), "c.yaml"))
    inserted = next(n for n in places(again)[1] if is_after(n, sibling))
    assert carry_out(again, [delete_entry(again, inserted)]) == tree.source.text


def is_after(node: Node, sibling: Node) -> bool:
    """`node` is the entry after the one that stands where `sibling` stood."""
    parent = node.parent
    if type(parent) is Mapping:
        heads = [key for key, _ in parent.pairs]
    else:
        assert type(parent) is Sequence
        heads = parent.items
    index = next(i for i, head in enumerate(heads) if head is node)
    return index > 0 and (heads[index - 1].start, type(heads[index - 1]), type(parent)) == (
        sibling.start, type(sibling), type(sibling.parent),
    )  # fmt: skip


@steady
@given(st.randoms(use_true_random=False), st.data())
def test_delete(rng: random.Random, data: st.DataObject) -> None:
    tree = tree_of(rng)
    _, entries = places(tree)
    assume(entries)
    node = data.draw(st.sampled_from(entries))
    new = carry_out(tree, [delete_entry(tree, node)])
    assert not names_of_comments(new) - names_of_comments(tree.source.text)


@steady
@given(st.sampled_from(("", "'", '"')), st.text() | st.floats() | st.integers())
def test_what_is_spelled_reads_back(style: str, value: str | float | int) -> None:
    tree = parse(decode(b"a: 1\n" if not style else f"a: {style}{style}\n".encode(), "c.yaml"))
    root = tree.roots[0]
    assert type(root) is Mapping
    edit = replace_value(tree, root.pairs[0][1], None, value)
    assert edit.new == spell(value, style=style)
    try:
        verify(tree, apply(tree.source.text, splices(edit)), [edit])
    except Refused as refusal:
        # Long integers and surrogates aside, any value can be written.
        pytest.fail(f"{value!r} spelled {edit.new!r}: {refusal.reason}")
