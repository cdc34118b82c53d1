"""The JSON reader: values as `json` has them, spans, what goes beyond JSON, and words of errors."""

from __future__ import annotations

import json
from math import isnan

import pytest

from gradaudit.source import Source, Unreadable
from gradaudit.syntax import parse
from gradaudit.syntax.limits import MAX_DEPTH
from gradaudit.syntax.plain import plain
from gradaudit.syntax.scalars import read_scalar
from gradaudit.syntax.stdlib_opinion import without_comments
from gradaudit.syntax.tree import Mapping, Scalar, Tree, walk


def read(text: str, path: str = "c.json") -> Tree:
    return parse(Source(path, text))


@pytest.mark.parametrize("path", ["c.json", "c.jsonc", "a.b/c.JSON", "c.json5"])
def test_the_suffix_decides(path: str) -> None:
    assert read("{}", path).format == "json"
    assert read("{}", "json").format == "yaml"


@pytest.mark.parametrize(
    "text",
    [
        "{}", "[]", "1", ' "x" ', "null", '{"a": {"b": [1, 2, {"c": null}]}, "d": []}',
        '{"a": 1, "a": 2}', "[1e-4, 1E5, -0, -0.5e+3, 0.0, 12345678901234567890]",
        "[NaN, Infinity, -Infinity]", "[true, false, null]",
        r'["\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00", "é😀", "\u0000", ""]',
        '\t{\r\n "a"\r\n : 1 }\r\n', '["//", "/* x */", ",]", "#"]', '"\u2028\x7f\x85"',
    ],
)  # fmt: skip
def test_values_are_those_of_json(text: str) -> None:
    tree = read(text)
    ours, theirs = plain(tree.roots[0]), json.loads(text)
    assert json.dumps(ours) == json.dumps(theirs)
    assert plain(tree.roots[0], yaml11=False) == ours or "NaN" in text
    assert tree.strict_json


def test_a_number_is_one_however_it_is_spelt() -> None:
    tree = read('{"lr": 1e-4, "text": "1e-4", "x": NaN, "y": 017}'.replace("017", "17"))
    lr, text, nan, _ = (value for _, value in _root(tree).pairs)
    assert type(lr) is Scalar
    assert (lr.style, lr.value, read_scalar(lr)) == ("", "1e-4", 1e-4)
    assert type(text) is Scalar
    assert (text.style, text.value, read_scalar(text)) == ('"', "1e-4", "1e-4")
    assert type(nan) is Scalar
    assert isnan(float(read_scalar(nan) or 0))


def test_digits_beyond_measure_stay_text() -> None:
    tree = read("[" + "9" * 10_000 + "]")
    assert plain(tree.roots[0]) == ["9" * 10_000]


def _root(tree: Tree) -> Mapping:
    root = tree.roots[0]
    assert type(root) is Mapping
    return root


def test_spans_and_parents() -> None:
    text = '{"a": [1, "x\\n"], // c\n "b": {"c": null}}'
    tree = read(text)
    shown = [text[node.start : node.end] for node in walk(tree.roots[0])]
    assert shown == [
        text, '"a"', '[1, "x\\n"]', "1", '"x\\n"', '"b"', '{"c": null}', '"c"', "null",
    ]  # fmt: skip
    assert [text[m.start : m.end] for m in tree.mappings] == [text, '{"c": null}']
    for node in walk(tree.roots[0]):
        assert (node.parent is None) is (node is tree.roots[0])
    assert [text[start:end] for start, end in tree.comments] == ["// c"]


@pytest.mark.parametrize(
    ("text", "beyond", "at"),
    [
        ("[1, 2]", None, 0),
        ("[1, 2 // c\n]", "a comment", 6),
        ("/* a\n b */ [1]", "a comment", 0),
        ("[1, 2,]", "a comma before a closing bracket", 5),
        ('{"a": 1, }', "a comma before a closing bracket", 7),
        ("[[1,], 2] // c", "a comma before a closing bracket", 3),
        ("[1, [], {}]", None, 0),
    ],
)
def test_what_a_plain_loader_refuses_is_known(text: str, beyond: str | None, at: int) -> None:
    tree = read(text)
    assert tree.beyond_json == (None if beyond is None else (beyond, at))
    assert tree.strict_json is (beyond is None)
    if beyond:
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
    blanked = without_comments(text)
    assert len(blanked) == len(text)
    assert plain(tree.roots[0]) == json.loads(blanked)


BROKEN = {
    "": (1, 1, "no value in the file"),
    "// only": (1, 8, "no value in the file"),
    '{"a": 1\n "b": 2}': (1, 8, "a comma is missing here"),
    '["a" "b"]': (1, 5, "a comma is missing here"),
    "[1 2]": (1, 3, "a comma is missing here"),
    "{'a': 1}": (1, 2, "single quotes"),
    "[1, # c\n2]": (1, 5, "`#` begins no comment in JSON; write `//`"),
    '{"a": "x\ny"}': (1, 7, "does not end on its line; close it"),
    '["x': (1, 2, "does not end on its line"),
    '["\\x"]': (1, 3, "`\\x` is no escape of JSON; write `\\\\`"),
    '["\\ud83d"]': (1, 2, "half of a surrogate pair"),
    '["a\tb"]': (1, 4, "write `\\u0009`"),
    '{"a" 1}': (1, 6, "a colon is missing"),
    '{"a" = 1}': (1, 6, "`=` stands where JSON has a colon"),
    '{"a": 1; "b": 2}': (1, 8, "`;` stands where JSON has a comma"),
    '{"a": True}': (1, 7, "write `true`"),
    '{"a": None}': (1, 7, "write `null`"),
    '{"a": nan}': (1, 7, "write `NaN`"),
    '{"a": adamw}': (1, 7, 'write `"adamw"`'),
    "{a: 1}": (1, 2, 'write `"a"`'),
    "lr: 1\n": (1, 1, 'write `"lr"`'),
    "[.5]": (1, 2, "a digit on either side of the dot"),
    "[1.]": (1, 2, "a digit on either side of the dot"),
    "[+1]": (1, 2, "without `+`"),
    "[01]": (1, 2, "without the leading 0"),
    "[1_000]": (1, 2, "`1_000` is no number to JSON"),
    "[0x1F]": (1, 2, "`0x1F` is no number to JSON"),
    "[truex]": (1, 2, "text stands in double quotes"),
    "[1,,2]": (1, 4, "a comma too many"),
    "[,1]": (1, 2, "a comma too many"),
    '{"a":}': (1, 6, "its value is missing"),
    '{"a"}': (1, 5, "its value is missing"),
    '{"a": , "b": 1}': (1, 7, "a comma too many"),
    "[1}": (1, 3, "`}` stands where the `[` of line 1 wants its `]`"),
    "[1]]": (1, 4, "`]` closes nothing"),
    "{} {}": (1, 4, "more behind the end"),
    '{\n"a": [': (2, 7, "before the `[` of line 2 is closed; write `]`"),
    '{"a"': (1, 5, "a colon is missing too"),
    "[1 /* x": (1, 4, "is not closed; write `*/`"),
    '{"a": {{ lr }}}': (1, 8, "template"),
    '{"a": 1 @}': (1, 8, "a comma is missing"),
    "[@]": (1, 2, "text stands in double quotes"),
    '{1: "x"}': (1, 2, 'write `"1"`'),
}


@pytest.mark.parametrize("text", BROKEN)
def test_an_error_names_the_place_and_the_mend(text: str) -> None:
    line, column, words = BROKEN[text]
    with pytest.raises(Unreadable) as caught:
        read(text)
    assert caught.value.message.startswith("not valid JSON: ")
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text) if "ud83d" not in text else json.loads("")


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH).roots
    for text in ("[" * 201, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(Unreadable, match="nested deeper than 200 levels"):
            read(text)
    monkeypatch.setattr("gradaudit.syntax.json_reader.MAX_NODES", 1000)
    for text in ("[" + "1," * 1001 + "1]", "[" + "[]," * 1001 + "1]"):
        with pytest.raises(Unreadable, match="more than 500,000 keys and values"):
            read(text)
