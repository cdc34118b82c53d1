"""Random edits of random JSON with comments and of random TOML, as in `test_splice_properties`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from edit_checks import PARSERS, composed, standard, strict
from hypothesis import assume, given
from hypothesis import strategies as st
from test_splice_properties import carry_out, is_after, names_of_comments, places, steady

from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.fix.splice import apply, splices
from gradaudit.fix.verify import verify
from gradaudit.source import Source, Unreadable, decode
from gradaudit.syntax import parse
from gradaudit.syntax.stdlib_opinion import without_comments

if TYPE_CHECKING:
    import random

    from gradaudit.syntax.scalars import Value
    from gradaudit.syntax.tree import Tree

VALUES: tuple[Value, ...] = (7, -0.25, 1e-5, 1e300, True, "text", "1e-4", "it's: #x", "é\\", "")
FORMATS = st.sampled_from(["c.json", "c.jsonc", "c.toml"])


class Writer:
    """What both writers share. Each comment is the only one of its name."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.comments = 0
        self.keys = 0

    def file(self) -> bytes:
        text = self.text()
        if self.rng.random() < 0.3:
            text = text.rstrip("\n")
        if self.rng.random() < 0.3:
            text = text.replace("\n", "\r\n")
        return (b"\xef\xbb\xbf" if self.rng.random() < 0.2 else b"") + text.encode()

    def text(self) -> str:
        raise NotImplementedError

    def number(self) -> int:
        self.keys += 1
        return self.keys


class JsonWriter(Writer):
    """JSON; `loose` with comments and trailing commas."""

    def __init__(self, rng: random.Random, loose: bool) -> None:
        super().__init__(rng)
        self.loose = loose

    def text(self) -> str:
        return self.blank() + self.value(0, 3) + self.blank() + "\n"

    def blank(self, often: float = 0.15) -> str:
        """Blanks between two tokens, now and then with a comment among them."""
        roll = self.rng.random()
        if not self.loose or roll > often:
            return self.rng.choice(("", "", " ", "  "))
        self.comments += 1
        words = self.rng.choice(("", ' "x', " é: [", " , }"))
        if self.rng.random() < 0.5:
            return f" //c{self.comments}{words}\n"
        return f" /*c{self.comments}{words}" + self.rng.choice(("", "\n *")) + "*/ "

    def scalar(self) -> str:
        return self.rng.choice(
            ("1", "-0.5", "1e-4", "1E+5", "true", "false", "null", '"x"', '""', '"// x"', '"a,]"',
             '"\\u00e9\\n\\\\\\""', '"\\ud83d\\ude00"', '"😀/*"', '"#c0"')
        )  # fmt: skip

    def value(self, indent: int, depth: int) -> str:
        if not depth or (indent and self.rng.random() < 0.5):
            return self.scalar()
        mapping = self.rng.random() < 0.7
        count = self.rng.choice((0, 1, 2, 2, 3, 4))
        lines = self.rng.random() < 0.6
        inner = "\n" + " " * (indent + 2) if lines else self.rng.choice(("", " "))
        text = ""
        for number in range(count):
            entry = self.value(indent + 2, depth - 1)
            if mapping:
                colon = self.rng.choice((": ", ":", " : ")) + self.blank(0.03)
                entry = f'"k{self.number()}"{colon}{entry}'
            last = number + 1 == count
            comma = "" if last and not (self.loose and self.rng.random() < 0.3) else ","
            text += inner + self.blank(0.05) + entry + self.blank(0.05) + comma
            text += self.blank(0.3) if comma or last else ""
        close = "\n" + " " * indent if lines and count else self.rng.choice(("", " "))
        return ("{" if mapping else "[") + text + close + ("}" if mapping else "]")


class TomlWriter(Writer):
    def text(self) -> str:
        tables = "".join(self.table([f"t{self.number()}"], 2) for _ in range(self.pick(0, 1, 2, 3)))
        return self.body() + tables

    def pick(self, *choices: int) -> int:
        return self.rng.choice(choices)

    def comment(self) -> str:
        self.comments += 1
        return f"#c{self.comments}" + self.rng.choice(("", " é: [", " 'x", ' = """'))

    def trailing(self) -> str:
        roll = self.rng.random()
        return "" if roll < 0.6 else self.rng.choice(("", " ", "  ")) + self.comment()

    def between(self) -> str:
        text = ""
        while self.rng.random() < 0.2:
            text += self.rng.choice(("\n", "  \n", "  " + self.comment() + "\n"))
        return text

    def key(self) -> str:
        name = f"k{self.number()}"
        return self.rng.choice((name, name, name, f'"{name}"', f"'{name} é.'"))

    def entry(self, key: str) -> str:
        equals = self.rng.choice((" = ", " = ", "=", "   = "))
        return key + equals + self.value(2) + self.trailing() + "\n"

    def body(self) -> str:
        text = ""
        for _ in range(self.pick(0, 1, 2, 3)):
            text += self.between() + self.rng.choice(("", "", "  "))
            if self.rng.random() < 0.2:
                above = self.key() + self.rng.choice((".", " . "))
                for _ in range(self.pick(1, 2)):
                    text += self.entry(above + self.key())
            else:
                text += self.entry(self.key())
        return text

    def table(self, path: list[str], depth: int) -> str:
        name = ".".join(path)
        array = self.rng.random() < 0.3
        header = f"[[{name}]]" if array else self.rng.choice((f"[{name}]", f"[ {name} ]"))
        text = ""
        for _ in range(self.pick(1, 2) if array else 1):
            text += self.between() + header + self.trailing() + "\n" + self.body()
            if depth and self.rng.random() < 0.4:
                text += self.table([*path, f"s{self.number()}"], depth - 1)
        if depth and self.rng.random() < 0.2:  # a table elsewhere in between
            text += f"[x{self.number()}]\n" + self.body()
            text += self.table([*path, f"s{self.number()}"], 0)
        return text

    def value(self, depth: int, one_line: bool = False) -> str:
        """`one_line`: in an inline table, where no line may end but in a long text."""
        roll = self.rng.random()
        if not depth or roll < 0.6:
            return self.rng.choice(
                ("1", "1_000", "0xff", "0o17", "-0.5", "1e-4", "inf", "true", "1979-05-27",
                 "1979-05-27 07:32:00Z", "07:32:00.5", '"x"', "'C:\\'", '"a # b"', '"\\u00e9\\""',
                 '"""\nlong # no\n[t]\n"""', "'''it's'''", '""')
            )  # fmt: skip
        one_line = one_line or roll < 0.75
        entries = [self.value(depth - 1, one_line) for _ in range(self.pick(0, 1, 2, 3))]
        if roll < 0.75:
            dot = self.rng.choice(("", "", ".y"))
            joined = ", ".join(f"{self.key()}{dot} = {entry}" for entry in entries)
            pad = self.rng.choice(("", " "))
            return "{" + pad + joined + pad + "}"
        if one_line or self.rng.random() < 0.5:
            return "[" + self.rng.choice((", ", ",")).join(entries) + "]"
        text = "[" + self.trailing() + "\n"
        for number, entry in enumerate(entries):
            last = number + 1 == len(entries)
            text += "  " + entry + ("" if last and self.rng.random() < 0.5 else ",")
            text += self.trailing() + "\n"
        return text + self.between() + "]"


def tree_of(rng: random.Random, path: str) -> Tree:
    writer = TomlWriter(rng) if path == "c.toml" else JsonWriter(rng, loose=path == "c.jsonc")
    data = writer.file()
    tree = parse(decode(data, path))
    assert tree.source.to_bytes(tree.source.text) == data
    signs = re.findall(r"(?:#|//|/\*)c[1-9]", tree.source.text)
    assert len(tree.comments) == len(signs)
    assert all(re.match(r"(?:#|//|/\*)c[1-9]", tree.source.text[a:b]) for a, b in tree.comments)
    return tree


@steady
@given(st.randoms(use_true_random=False), FORMATS)
def test_the_tree_is_that_of_the_standard_library(rng: random.Random, path: str) -> None:
    tree = tree_of(rng, path)
    expected = composed(tree.source.text, PARSERS[tree.format][0])
    assert expected is not None
    assert standard(tree) == expected
    if tree.format == "json":
        assert json.loads(strict(tree.source.text)) == json.loads(
            without_comments(tree.source.text)
        )
        try:
            json.loads(tree.source.text)
            assert tree.strict_json
        except ValueError:
            assert not tree.strict_json


@steady
@given(st.randoms(use_true_random=False), FORMATS, st.data())
def test_replace(rng: random.Random, path: str, data: st.DataObject) -> None:
    tree = tree_of(rng, path)
    values, _ = places(tree)
    assume(values)
    chosen = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique_by=id))
    edits = [replace_value(tree, node, None, data.draw(st.sampled_from(VALUES))) for node in chosen]
    # Nothing stands in the way of another value: none of them may be refused.
    new = apply(tree.source.text, [change for edit in edits for change in splices(edit)])
    verify(tree, new, edits)
    assert carry_out(tree, edits) == new


@steady
@given(st.randoms(use_true_random=False), FORMATS, st.data())
def test_insert_and_delete_again(rng: random.Random, path: str, data: st.DataObject) -> None:
    tree = tree_of(rng, path)
    _, entries = places(tree)
    assume(entries)
    sibling = data.draw(st.sampled_from(entries))
    edit = insert_after(tree, sibling, "new_key", data.draw(st.sampled_from(VALUES)))
    new = carry_out(tree, [edit])
    again = parse(decode(tree.source.to_bytes(new), path))
    inserted = next((n for n in places(again)[1] if is_after(n, sibling)), None)
    assert inserted is not None
    assert carry_out(again, [delete_entry(again, inserted)]) == tree.source.text


@steady
@given(st.randoms(use_true_random=False), FORMATS, st.data())
def test_delete(rng: random.Random, path: str, data: st.DataObject) -> None:
    tree = tree_of(rng, path)
    _, entries = places(tree)
    assume(entries)
    new = carry_out(tree, [delete_entry(tree, data.draw(st.sampled_from(entries)))])
    assert not names_of_comments(new) - names_of_comments(tree.source.text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@steady
@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_json_writes_is_read(value: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assume(not any("\ud800" <= char <= "\udfff" for char in json.dumps(value, ensure_ascii=False)))
    tree = parse(Source("c.json", text))
    assert standard(tree) == composed(text, "json")


@steady
@given(st.text("[]{},:\"'\\/*#\n 1e-.trufalsn\t", max_size=30))
def test_any_text_is_json_to_both_or_to_none(text: str) -> None:
    try:
        json.loads(strict(text))
        fine = True
    except ValueError:
        fine = False
    try:
        parse(Source("c.json", text))
    except Unreadable:
        # The crude way of taking commas and comments away makes some texts valid: `[,]`, `1/**/`.
        assert not fine or "," in text or "/" in text
    else:
        assert fine


@steady
@given(st.text("[]{}=.,ab\"'\\#\n 1_-:TZ", max_size=30))
def test_any_text_is_toml_to_both_or_to_none(text: str) -> None:
    expected = composed(text, "tomllib")
    if expected is None:
        with pytest.raises(Unreadable):
            parse(Source("c.toml", text))
    else:
        assert standard(parse(Source("c.toml", text))) == expected
