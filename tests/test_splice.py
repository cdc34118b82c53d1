"""Edits of small files: the bytes that must come out, and the edits that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.findings import Edit
from gradaudit.fix.splice import Refused, apply, splices
from gradaudit.fix.verify import verify
from gradaudit.source import Source, decode
from gradaudit.syntax import parse
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree

if TYPE_CHECKING:
    from gradaudit.syntax.scalars import Value

Steps = tuple[str | int, ...]


def tree_of(data: str | bytes, path: str = "c.yaml") -> Tree:
    return parse(decode(data.encode() if isinstance(data, str) else data, path))


def find(tree: Tree, steps: Steps, document: int = 0) -> tuple[Node, Node]:
    """The key (or item) at a path, and its value (or the item again). Aliases are followed."""
    node = entry = tree.roots[document]
    for step in steps:
        node = getattr(node, "target", None) or node
        if type(node) is Mapping:
            entry, node = next(
                (k, v) for k, v in node.pairs if type(k) is Scalar and k.value == step
            )
        else:
            assert type(node) is Sequence
            assert isinstance(step, int)
            entry = node = node.items[step]
    return entry, node


def carry_out(tree: Tree, edits: list[Edit]) -> bytes:
    """Splice, verify, encode: what the engine does with edits that go together."""
    new = apply(tree.source.text, [change for edit in edits for change in splices(edit)])
    verify(tree, new, edits)
    return tree.source.to_bytes(new)


def is_json(text: str | bytes) -> str:
    head = text if isinstance(text, str) else text.decode("utf-8-sig")
    return "c.json" if head.startswith(('{"', '{\n  "')) else "c.yaml"


def edit_of(tree: Tree, op: str, steps: Steps, value: Value, **more: str) -> Edit:
    document = int(more.pop("document", "0"))
    entry, node = find(tree, steps, document)
    if op == "replace":
        return replace_value(tree, node, None, value, new=more.get("new"))
    if op == "insert":
        return insert_after(tree, entry, more.get("name", "new"), value, new=more.get("new"))
    return delete_entry(tree, entry)


BOM = b"\xef\xbb\xbf"

REPLACED: dict[str, tuple[str | bytes, Steps, Value, str | bytes]] = {
    "plain": ("lr: 3   # c\nb: 2\n", ("lr",), 0.5, "lr: 0.5   # c\nb: 2\n"),
    "crlf": ("lr: 3   # c\r\nb: 2\r\n", ("b",), 5, "lr: 3   # c\r\nb: 5\r\n"),
    "mixed line ends": ("lr: 3\nb: 2\r\nc: 1\n", ("b",), 5, "lr: 3\nb: 5\r\nc: 1\n"),
    "bom, no newline": (BOM + b"lr: 3\nb: 2", ("b",), 5, BOM + b"lr: 3\nb: 5"),
    "bom, first": (BOM + b"lr: 3\nb: 2", ("lr",), 5, BOM + b"lr: 5\nb: 2"),
    "single quotes": ("a: 'it''s' # x\n", ("a",), "o'k", "a: 'o''k' # x\n"),
    "single quotes, unprintable": ("a: 'x'\n", ("a",), "o\nk", 'a: "o\\nk"\n'),
    "double quotes": ('a: "x\\ny"  # x\n', ("a",), "z", 'a: "z"  # x\n'),
    "double quotes, odd": ('a: "x"\n', ("a",), 'ü"\x85\U0001f600', 'a: "ü\\"\\u0085\U0001f600"\n'),
    "quoted to number": ("a: '1e-4' # x\n", ("a",), 1e-4, "a: 0.0001 # x\n"),
    "word that is a bool": ("a: x\n", ("a",), "off", 'a: "off"\n'),
    "text like a number": ("a: x\n", ("a",), "1e5", 'a: "1e5"\n'),
    "text like a time": ("a: x\n", ("a",), "12:30", 'a: "12:30"\n'),
    "text like a date": ("a: x\n", ("a",), "2024-01-01", 'a: "2024-01-01"\n'),
    "text like a comment": ("a: x\n", ("a",), "b #c", 'a: "b #c"\n'),
    "text like a mapping": ("a: x\n", ("a",), "b: c", 'a: "b: c"\n'),
    "empty text": ("a: x\n", ("a",), "", 'a: ""\n'),
    "two words": ("a: x\n", ("a",), "b c", "a: b c\n"),
    "non-ASCII": ("ключ: знач 😀 # é\nb: 2\n", ("b",), 9, "ключ: знач 😀 # é\nb: 9\n"),
    "after non-ASCII": ("ключ: знач😀 # é\nb: 2\n", ("ключ",), 9, "ключ: 9 # é\nb: 2\n"),
    "tag": ("a: !!str 5 # c\n", ("a",), "q", "a: !!str q # c\n"),
    "tag on its own line": ("c: !!str\n  foo\n", ("c",), "q", "c: !!str\n  q\n"),
    "own tag, text": ("a: !ref <x> # c\n", ("a",), "<y>", 'a: !ref "<y>" # c\n'),
    "anchor unused": ("a: &x 5 # c\nb: 1\n", ("a",), 6, "a: &x 6 # c\nb: 1\n"),
    "empty": ("a:\nb:   # c\n", ("a",), 6, "a: 6\nb:   # c\n"),
    "empty with comment": ("a:\nb:   # c\n", ("b",), 6, "a:\nb: 6   # c\n"),
    "empty at the end": ("a:\nb:", ("b",), 6, "a:\nb: 6"),
    "empty with anchor": ("a: &x\nb: 1\n", ("a",), 6, "a: &x 6\nb: 1\n"),
    "empty in flow": ("{a: , b: }\n", ("b",), 6, "{a: , b: 6}\n"),
    "empty in flow, first": ("{a: , b: }\n", ("a",), 6, "{a: 6, b: }\n"),
    "no value in flow": ("{a, b: 1}\n", ("a",), 6, "{a: 6, b: 1}\n"),
    "empty item": ("-\n- b\n", (0,), 6, "- 6\n- b\n"),
    "null written": ("a: ~ # c\n", ("a",), 6, "a: 6 # c\n"),
    "to null": ("a: 6 # c\n", ("a",), None, "a: null # c\n"),
    "to true": ("a: no # c\n", ("a",), True, "a: true # c\n"),
    "to infinity": ("a: 1\n", ("a",), float("inf"), "a: .inf\n"),
    "to NaN": ("a: 1\n", ("a",), float("nan"), "a: .nan\n"),
    "literal": ("a: |\n  x\n\n# c\nb: 1\n", ("a",), "z", "a: z\n\n# c\nb: 1\n"),
    "literal with a comment": ("a: |-  # c\n  x\n  y\nb: 1\n", ("a",), 5, "a: 5  # c\nb: 1\n"),
    "literal, CRLF": ("a: |\r\n  x\r\n  y\r\nb: 1\r\n", ("a",), 5, "a: 5\r\nb: 1\r\n"),
    "literal, at the end": ("a: |\n  x\n  y", ("a",), 5, "a: 5"),
    "literal, no lines": ("a: |\nb: 1\n", ("a",), 5, "a: 5\nb: 1\n"),
    "literal with #": ("a: |\n  # x\n  y\nb: 1\n", ("a",), 5, "a: 5\nb: 1\n"),
    "folded in a list": ("- >-\n  x\n  y\n- z\n", (0,), "w", "- w\n- z\n"),
    "plain on two lines": ("a: x\n  y  # c\nb: 1\n", ("a",), "z", "a: z  # c\nb: 1\n"),
    "value on the next line": ("a:  # c\n  x\nb: 1\n", ("a",), 5, "a:  # c\n  5\nb: 1\n"),
    "trailing blanks": ("a: 1   \nb: 2  \n\n", ("a",), 5, "a: 5   \nb: 2  \n\n"),
    "item": ("- 1\n- 2 # c\n", (1,), 5, "- 1\n- 5 # c\n"),
    "item in flow": ("b: [0.9, 0.999]  # c\n", ("b", 1), 0.95, "b: [0.9, 0.95]  # c\n"),
    "root": ("5 # c\n", (), 6, "6 # c\n"),
    "json": ('{\n  "a": 1,\n  "b": "x"\n}', ("b",), "y", '{\n  "a": 1,\n  "b": "y"\n}'),
    "json text for a number": ('{"a": 1}', ("a",), "y", '{"a": "y"}'),
    "json null": ('{"a":1}', ("a",), None, '{"a":null}'),
    "small float": ("lr: 1e-4\n", ("lr",), 1e-5, "lr: 1.0e-05\n"),
    "small float, json": ('{"lr": 1e-4}', ("lr",), 1e-5, '{"lr": 1.0e-05}'),
    "NEL elsewhere": ("a: x\x85 y\nb: 2\n", ("b",), 5, "a: x\x85 y\nb: 5\n"),
    "explicit key": ("? a\n: 1\nb: 2\n", ("a",), 5, "? a\n: 5\nb: 2\n"),
    "merge beside": ("x: &x {p: 5}\nb:\n  <<: *x\n  q: 1\n", ("b", "q"), 2,
                     "x: &x {p: 5}\nb:\n  <<: *x\n  q: 2\n"),
    "duplicates elsewhere": ("a: 1\na: 2\nb: 3\n", ("b",), 5, "a: 1\na: 2\nb: 5\n"),
    "override of a list": ("a: [x: 1, 2]\n", ("a", 0, "x"), 5, "a: [x: 5, 2]\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", REPLACED)
def test_replace(case: str) -> None:
    before, steps, value, after = REPLACED[case]
    tree = tree_of(before, is_json(before))
    expected = after.encode() if isinstance(after, str) else after
    assert carry_out(tree, [edit_of(tree, "replace", steps, value)]) == expected


INSERTED: dict[str, tuple[str | bytes, Steps, Value, str | bytes]] = {
    "block": ("a: 1  # c\nb: 2\n", ("a",), 3, "a: 1  # c\nnew: 3\nb: 2\n"),
    "no newline": ("a: 1\nb: 2", ("b",), 3, "a: 1\nb: 2\nnew: 3"),
    "no newline, CRLF": ("a: 1\r\nb: 2", ("b",), 3, "a: 1\r\nb: 2\r\nnew: 3"),
    "bom, CRLF": (BOM + b"a: 1\r\nb: 2\r\n", ("b",), 3, BOM + b"a: 1\r\nb: 2\r\nnew: 3\r\n"),
    "line ends mixed": ("a: 1\nb: 2\r\nc: 3\n", ("a",), 3, "a: 1\nnew: 3\nb: 2\r\nc: 3\n"),
    "aligned": ("alpha:  1\nbe:     2\n", ("be",), 3, "alpha:  1\nbe:     2\nnew:    3\n"),
    "aligned, longest": ("alpha: 1\nbe:    2\n", ("alpha",), 3,
                         "alpha: 1\nnew:   3\nbe:    2\n"),
    "aligned colons": ("alpha : 1\nbe    : 2\n", ("be",), 3,
                       "alpha : 1\nbe    : 2\nnew   : 3\n"),
    "aligned colons, longest": ("alpha : 1\nbe    : 2\n", ("alpha",), 3,
                                "alpha : 1\nnew   : 3\nbe    : 2\n"),
    "spaced colon": ("alpha : 1\n", ("alpha",), 3, "alpha : 1\nnew : 3\n"),
    "not aligned": ("alpha: 1\nbe: 2\n", ("alpha",), 3, "alpha: 1\nnew: 3\nbe: 2\n"),
    "in a list": ("- a: 1\n  b: 2\n- c: 1\n", (0, "a"), 3,
                  "- a: 1\n  new: 3\n  b: 2\n- c: 1\n"),
    "in a list of lists": ("- - a: 1\n", (0, 0, "a"), 3, "- - a: 1\n    new: 3\n"),
    "after a list": ("a:\n  b:\n    - x\n    - y # c\n  d: 1\n# tail\n", ("a", "b"), 3,
                     "a:\n  b:\n    - x\n    - y # c\n  new: 3\n  d: 1\n# tail\n"),
    "after a commented-out child": ("m:\n  a: 1\n  # b: 2\n\n# own\nd: 1\n", ("m",), 3,
                                    "m:\n  a: 1\n  # b: 2\nnew: 3\n\n# own\nd: 1\n"),
    "after null": ("a:\nb: 1\n", ("a",), 3, "a:\nnew: 3\nb: 1\n"),
    "after an alias": ("x: &x 1\ny: *x\n", ("y",), 3, "x: &x 1\ny: *x\nnew: 3\n"),
    "after a merge": ("x: &x {a: 1}\ny:\n  <<: *x\n", ("y", "<<"), 3,
                      "x: &x {a: 1}\ny:\n  <<: *x\n  new: 3\n"),
    "after literal": ("a: |\n  x\n\nb: 1\n", ("a",), 3, "a: |\n  x\nnew: 3\n\nb: 1\n"),
    "after literal, kept": ("a: |+\n  x\n\nb: 1\n", ("a",), 3, "a: |+\n  x\n\nnew: 3\nb: 1\n"),
    "after plain on two lines": ("a: x\n  y # c\nb: 1\n", ("a",), 3,
                                 "a: x\n  y # c\nnew: 3\nb: 1\n"),
    "after flow on lines": ("a: {\n  x: 1\n} # c\nb: 1\n", ("a",), 3,
                            "a: {\n  x: 1\n} # c\nnew: 3\nb: 1\n"),
    "quoted keys": ('"a": 1\n', ("a",), 3, '"a": 1\n"new": 3\n'),
    "text": ("a: 1\n", ("a",), "1e-4", 'a: 1\nnew: "1e-4"\n'),
    "item": ("l:\n  - x # c\n  - y\n", ("l", 0), 3, "l:\n  - x # c\n  - 3\n  - y\n"),
    "item, not indented": ("l:\n- x\nm: 1\n", ("l", 0), 3, "l:\n- x\n- 3\nm: 1\n"),
    "item, wide dash": ("l:\n  -   x\n", ("l", 0), 3, "l:\n  -   x\n  -   3\n"),
    "item after mapping": ("- a: 1\n  b: 2\n- c\n", (0,), 3, "- a: 1\n  b: 2\n- 3\n- c\n"),
    "item after dash alone": ("-\n  a: 1\n", (0,), 3, "-\n  a: 1\n- 3\n"),
    "item after dash and comment": ("- # c\n  a: 1\n- # d\n  b: 1\n", (1,), 3,
                                    "- # c\n  a: 1\n- # d\n  b: 1\n- 3\n"),
    "item, inner list": ("- - x\n- z\n", (0, 0), 3, "- - x\n  - 3\n- z\n"),
    "item, no newline": ("- x", (0,), 3, "- x\n- 3"),
    "item, null": ("-\n- x\n", (0,), 3, "-\n- 3\n- x\n"),
    "flow": ("m: {a: 1, b: 2} # c\n", ("m", "a"), 3, "m: {a: 1, new: 3, b: 2} # c\n"),
    "flow, last": ("m: {a: 1, b: 2} # c\n", ("m", "b"), 3, "m: {a: 1, b: 2, new: 3} # c\n"),
    "flow, trailing comma": ("m: {a: 1, } # c\n", ("m", "a"), 3, "m: {a: 1, new: 3, } # c\n"),
    "flow, padded": ("m: { a: 1 }\n", ("m", "a"), 3, "m: { a: 1, new: 3 }\n"),
    "flow, no value": ("m: {a , b}\n", ("m", "b"), 3, "m: {a , b , new: 3}\n"),
    "flow on lines": ("m: {\n  a: 1, # ca\n  b: 2 # cb\n}\n", ("m", "a"), 3,
                      "m: {\n  a: 1, # ca\n  new: 3,\n  b: 2 # cb\n}\n"),
    "flow on lines, last": ("m: {\n  a: 1, # ca\n  b: 2 # cb\n}\n", ("m", "b"), 3,
                            "m: {\n  a: 1, # ca\n  b: 2, # cb\n  new: 3\n}\n"),
    "flow on lines, closed": ("m: {a: 1,\n    b: 2}\n", ("m", "b"), 3,
                              "m: {a: 1,\n    b: 2,\n    new: 3}\n"),
    "flow on lines, comma": ("m: {\n  a: 1,\n}\n", ("m", "a"), 3,
                             "m: {\n  a: 1,\n  new: 3,\n}\n"),
    "flow, comment behind": ("m: {a: 1,  # ca\n    b: 2}\n", ("m", "a"), 3,
                             "m: {a: 1,  # ca\n    new: 3, b: 2}\n"),
    "flow item": ("l: [1, 2]\n", ("l", 0), 3, "l: [1, 3, 2]\n"),
    "flow item, close": ("l: [1,2]\n", ("l", 1), 3, "l: [1,2,3]\n"),
    "flow item, only": ("l: [1]\n", ("l", 0), 3, "l: [1, 3]\n"),
    "flow item after pair": ("l: [a: 1 , 2]\n", ("l", 0), 3, "l: [a: 1 , 3 , 2]\n"),
    "flow items wrapped": ("l: [1, 2,\n    3, 4]\n", ("l", 2), 9, "l: [1, 2,\n    3, 9, 4]\n"),
    "flow items wrapped, last": ("l: [1, 2,\n    3]\n", ("l", 2), 9, "l: [1, 2,\n    3, 9]\n"),
    "flow items wrapped, closed": ("l: [\n  1, 2,\n  3\n]\n", ("l", 2), 9,
                                   "l: [\n  1, 2,\n  3, 9\n]\n"),
    "flow, spaced commas": ("l: [1 , 2]\n", ("l", 0), 3, "l: [1 , 3 , 2]\n"),
    "flow, absent value": ("m: {a: , b: 1}\n", ("m", "a"), 3, "m: {a: , new: 3, b: 1}\n"),
    "flow, absent value on lines": ("m: {\n  a: ,\n  b: 1}\n", ("m", "a"), 3,
                                    "m: {\n  a: ,\n  new: 3,\n  b: 1}\n"),
    "flow items on lines": ("l: [1, 2,\n    3, 4]\n", ("l", 1), 9, "l: [1, 2, 9,\n    3, 4]\n"),
    "json": ('{\n  "a": 1,\n  "b": {"x": 2}\n}\n', ("a",), True,
             '{\n  "a": 1,\n  "new": true,\n  "b": {"x": 2}\n}\n'),
    "json, last": ('{\n  "a": 1,\n  "b": {"x": 2}\n}\n', ("b",), "t",
                   '{\n  "a": 1,\n  "b": {"x": 2},\n  "new": "t"\n}\n'),
    "json, one line": ('{"a":1,"b":2}', ("b",), True, '{"a":1,"b":2,"new":true}'),
    "json, one entry": ('{"a":1}', ("a",), None, '{"a":1,"new":null}'),
}  # fmt: skip


@pytest.mark.parametrize("case", INSERTED)
def test_insert(case: str) -> None:
    before, steps, value, after = INSERTED[case]
    tree = tree_of(before, is_json(before))
    expected = after.encode() if isinstance(after, str) else after
    assert carry_out(tree, [edit_of(tree, "insert", steps, value)]) == expected


DELETED: dict[str, tuple[str | bytes, Steps, str | bytes]] = {
    "block": ("a: 1\n# own\nb: 2  # c\nc: 3\n", ("b",), "a: 1\n# own\nc: 3\n"),
    "with what is in it": ("a:\n  x: 1 # c\n  y: 2\nb: 2\n", ("a",), "b: 2\n"),
    "no newline": ("a: 1\nb: 2", ("b",), "a: 1"),
    "no newline, CRLF": ("a: 1\r\nb: 2", ("b",), "a: 1"),
    "bom, first": (BOM + b"a: 1\nb: 2\n", ("a",), BOM + b"b: 2\n"),
    "first of a dash": ("- a: 1 # c\n  b: 2\n", (0, "a"), "- b: 2\n"),
    "literal": ("a: |\n  x\n\nb: 1\n", ("a",), "\nb: 1\n"),
    "literal with a comment": ("b: 1\na: | # c\n  x\n", ("a",), "b: 1\n"),
    "null": ("a:\nb: 1\n", ("a",), "b: 1\n"),
    "alias": ("x: &x 1\ny: *x\n", ("y",), "x: &x 1\n"),
    "item": ("l:\n  - x # c\n  - y\n", ("l", 0), "l:\n  - y\n"),
    "item, mapping": ("- a: 1\n  b: 2\n- c\n", (0,), "- c\n"),
    "item, first of a dash": ("- - x\n  - y\n- z\n", (0, 0), "- - y\n- z\n"),
    "item, no newline": ("- x\n- y", (1,), "- x"),
    "flow": ("m: {a: 1, b: 2, c: 3} # c\n", ("m", "b"), "m: {a: 1, c: 3} # c\n"),
    "flow, first": ("m: {a: 1, b: 2} # c\n", ("m", "a"), "m: {b: 2} # c\n"),
    "flow, last": ("m: {a: 1, b: 2} # c\n", ("m", "b"), "m: {a: 1} # c\n"),
    "flow, padded": ("m: { a: 1, b: 2 }\n", ("m", "b"), "m: { a: 1 }\n"),
    "flow, trailing comma": ("m: {a: 1, b: 2,}\n", ("m", "b"), "m: {a: 1,}\n"),
    "flow, only": ("m: {a: 1}\n", ("m", "a"), "m: {}\n"),
    "flow, only, comma": ("m: [a, ]\n", ("m", 0), "m: []\n"),
    "flow, end of a line": ("l: [1, 2,\n    3]\n", ("l", 1), "l: [1,\n    3]\n"),
    "flow, own line": ("m: {\n  a: 1, # ca\n  b: 2 # cb\n}\n", ("m", "a"),
                       "m: {\n  b: 2 # cb\n}\n"),
    "flow, own line, last": ("m: {\n  a: 1, # ca\n  b: 2 # cb\n}\n", ("m", "b"),
                             "m: {\n  a: 1 # ca\n}\n"),
    "flow, own line, comma": ("m: {\n  a: 1,\n  b: 2,\n}\n", ("m", "b"), "m: {\n  a: 1,\n}\n"),
    "flow, closed": ("m: {a: 1,\n    b: 2}\n", ("m", "b"), "m: {a: 1}\n"),
    "flow item": ("l: [1, 2, 3]\n", ("l", 1), "l: [1, 3]\n"),
    "flow item, pair": ("l: [a: 1 , 2]\n", ("l", 0), "l: [2]\n"),
    "json": ('{\n  "a": 1,\n  "b": 2\n}', ("b",), '{\n  "a": 1\n}'),
    "json, first": ('{\n  "a": 1,\n  "b": 2\n}', ("a",), '{\n  "b": 2\n}'),
}  # fmt: skip


@pytest.mark.parametrize("case", DELETED)
def test_delete(case: str) -> None:
    before, steps, after = DELETED[case]
    tree = tree_of(before, is_json(before))
    expected = after.encode() if isinstance(after, str) else after
    assert carry_out(tree, [edit_of(tree, "delete", steps, None)]) == expected


REFUSED: dict[str, tuple[str | bytes, str, Steps, str]] = {
    "shared": ("a: &x 5 # c\nb: *x\n", "replace", ("a",), "shared: `*x` on line 2"),
    "shared further up": ("a: &x {p: {q: 5}}\nb: *x\n", "replace", ("a", "p", "q"), "`*x` on line"),
    "through an alias": ("a: &x {p: 5}\nb: *x\n", "replace", ("b", "p"), "shared: `*x` on line 2"),
    "through a merge": ("a: &x {p: 5}\nb:\n  <<: *x\n", "replace", ("b", "<<", "p"), "line 3"),
    "alias": ("a: &x 5\nb: *x\n", "alias", ("b",), "alias `*x`: it is written at its anchor on l"),
    "collection": ("a: [1]\n", "replace", ("a",), "not a single value"),
    "own tag, number": ("a: !ref <x>\n", "replace", ("a",), "the tag `!ref` says what"),
    "standard tag": ("a: !!str 5\n", "replace", ("a",), "the tag `!!str` says what"),
    "standard tag, text": ("a: !!float 1\n", "text", ("a",), "the tag `!!float` says what"),
    "twice": ("a: 1\nb: 1\na: 2\n", "replace", ("a",), "`a` is written twice (lines 1 and 3)"),
    "twice further up": ("a: {b: 1}\na: {b: 2}\n", "replace", ("a", "b"), "`a` is written twice"),
    "utf-16": ("a: 1\n".encode("utf-16"), "replace", ("a",), "UTF-16"),
    "too long": ("a: 1 # " + "x" * 150_000, "replace", ("a",), "128 K characters"),
    "no second parser": ("a:\t1\nb: 2\n", "replace", ("b",), "PyYAML cannot read it"),
    "json infinity": ('{"a": 1}', "infinity", ("a",), "does not read back as inf"),
    "insert: shared": ("a: &x\n  p: 5\nb:\n  <<: *x\n", "insert", ("a", "p"), "`*x` on line 4"),
    "insert: there": ("a: 1\nnew: 2\n", "insert", ("a",), "`new` is there already (line 2)"),
    "insert: ends in literal": ("a: |\n  x", "insert", ("a",), "ends the file without a newline"),
    "insert: explicit key": ("? a\n: 1\n", "insert", ("a",), "long form"),
    "insert: no braces": ("l: [a: 1]\n", "insert", ("l", 0, "a"), "without braces"),
    "insert: comment": ("l: [1, 2 # c\n  ]\n", "insert", ("l", 1), "comment stands between"),
    "insert: NEL": ("a: x\x85 y\nb: 2\n", "insert", ("b",), "line 1 has a line break (U+0085)"),
    "insert: CR": ("a: x\rb: 2\n", "insert", ("a",), "U+000D"),
    "delete: dash comment": ("- # c\n  a: 1\n- b\n", "delete", (0,), "comment `# c` would be l"),
    "delete: only key": ("a:\n  b: 1\nc: 1\n", "delete", ("a", "b"), "only key"),
    "delete: only item": ("a:\n- b\nc: 1\n", "delete", ("a", 0), "only item"),
    "delete: anchor": ("a: &x 1\nb: *x\n", "delete", ("a",), "`&x` in it is still needed: `*x`"),
    "delete: anchor below": ("a: {p: &x 1}\nb: *x\n", "delete", ("a",), "`*x` on line 2"),
    "delete: anchor of an item": ("- &x 1\n- *x\n", "delete", (0,), "`*x` on line 2"),
    "delete: explicit key": ("? a\n: 1\nb: 2\n", "delete", ("a",), "long form"),
    "delete: kept blanks": ("a: |+\n  x\n\nb: 1\n", "delete", ("a",), "`|+`"),
    "delete: kept blanks above": ("a: |+\n  x\nb: 1\n\nc: 2\n", "delete", ("b",), "change `a`"),
    "delete: comment joins text": ("a: |\n  x\nb:\n  c: 1\n  # d\ne: 1\n", "delete", ("b",), ""),
    "delete: newline of text": ("a: |\n  x\nb: 1", "delete", ("b",), "change `a`"),
    "delete: comments between": ("- a: 1\n  # b\n  b: 2\n", "delete", (0, "a"), "moves up"),
    "delete: shares its line": ("- - x\n  - y\n- - z\n", "delete", (1, 0), "only item"),
    "delete: flow comment": ("m: {a: 1, # c\n  b: 2}\n", "delete", ("m", "a"), "comment stands"),
    "delete: only, comment": ("m: {a: 1 # c\n  }\n", "delete", ("m", "a"), "comment stands"),
    "delete: merge key": ("a: &x {p: 5}\nb:\n  <<: *x\n  c: 1\n", "delete", ("b", "<<"), "merge"),
    "delete: overrides": ("a: &x {p: 5}\nb:\n  <<: *x\n  p: 1\n", "delete", ("b", "p"),
                          "another `p`, which would come into force"),
    "delete: inside twice": (
        "a:\n  p: 1\n  q: 2\na:\n  p: 3\n", "delete", ("a", "p"), "written twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    before, op, steps, reason = REFUSED[case]
    tree = tree_of(before, is_json(before) if isinstance(before, str) else "c.yaml")
    if op == "alias":
        entry, _ = find(tree, steps[:-1])
        assert type(entry) is Mapping
        value = next(v for k, v in entry.pairs if type(k) is Scalar and k.value == steps[-1])
        edit = replace_value(tree, value, None, 7)
    elif op == "text":
        edit = edit_of(tree, "replace", steps, "text")
    elif op == "infinity":
        edit = edit_of(tree, "replace", steps, float("inf"))
    else:
        edit = edit_of(tree, op, steps, 7)
    with pytest.raises(Refused) as caught:
        carry_out(tree, [edit])
    assert reason in caught.value.reason


def test_edits_say_what_they_do() -> None:
    tree = tree_of("a:\n  b: 'x'  # c\n  l: [1, 2]\n")
    key, value = find(tree, ("a", "b"))
    edit = replace_value(tree, value, None, "y")
    assert (edit.op, edit.key, edit.old, edit.new, edit.line) == ("replace", "a.b", "'x'", "'y'", 2)
    edit = insert_after(tree, key, "dotted.name", 1e-5)
    assert (edit.key, edit.old, edit.new) == ("a.dotted.name", None, "1.0e-05")
    edit = insert_after(tree, find(tree, ("a", "l", 0))[0], "", 5)
    assert (edit.key, edit.new) == ("a.l.1", "5")
    edit = delete_entry(tree, find(tree, ("a", "l"))[0])
    assert (edit.key, edit.old, edit.new) == ("a.l", "[1, 2]", None)


def test_a_name_with_dots_and_a_word_that_needs_quotes() -> None:
    tree = tree_of("a:\n  b: 1\n")
    key, _ = find(tree, ("a", "b"))
    edits = [insert_after(tree, key, "trainer.lr", 2)]
    assert carry_out(tree, edits) == b"a:\n  b: 1\n  trainer.lr: 2\n"
    edits = [insert_after(tree, key, "on", 2)]
    assert carry_out(tree, edits) == b'a:\n  b: 1\n  "on": 2\n'


def test_a_spelling_asked_for_is_used() -> None:
    tree = tree_of("lr: 1e-4\nwd: 0.1\nq: 'x'\n")
    lr, wd, q = (find(tree, (name,))[1] for name in ("lr", "wd", "q"))
    assert carry_out(tree, [replace_value(tree, lr, None, 3e-4, new="3e-4")]).startswith(
        b"lr: 3e-4"
    )
    assert b"wd: 1_0" in carry_out(tree, [replace_value(tree, wd, None, 10, new="1_0")])
    assert b"q: 'y'" in carry_out(tree, [replace_value(tree, q, None, "y", new="y")])
    # Where loaders agreed on the old value, they must agree on the new one.
    with pytest.raises(Refused, match="does not read back"):
        carry_out(tree, [replace_value(tree, wd, None, 3e-4, new="3e-4")])
    with pytest.raises(Refused, match="as well"):
        carry_out(tree, [replace_value(tree, wd, None, 1, new="1 # new\nother: 2")])


def test_edits_together() -> None:
    tree = tree_of("a: 1\nb: 2\nc: [1, 2, 3]\nd: 4\n")
    edits = [
        edit_of(tree, "replace", ("a",), 10),
        edit_of(tree, "insert", ("a",), 5),
        edit_of(tree, "delete", ("c", 0), None),
        edit_of(tree, "replace", ("c", 2), 30),
        edit_of(tree, "delete", ("d",), None),
    ]
    assert carry_out(tree, edits) == b"a: 10\nnew: 5\nb: 2\nc: [2, 30]\n"


def test_overlaps_are_refused() -> None:
    assert apply("abcdef", [(3, 4, "X"), (0, 1, "")]) == "bcXef"
    assert apply("abcdef", [(0, 2, "X"), (2, 4, "Y")]) == "XYef"
    for changes in (
        [(0, 3, ""), (2, 4, "")],
        [(1, 1, "a"), (1, 1, "b")],
        [(0, 2, ""), (2, 2, "x")],
    ):
        with pytest.raises(Refused, match="same place"):
            apply("abcdef", changes)


def test_a_key_is_not_a_value() -> None:
    tree = tree_of("a: 1\n")
    key, _ = find(tree, ("a",))
    with pytest.raises(Refused, match="keys are not renamed"):
        splices(Edit("replace", tree, key, "a", value="b"))
    with pytest.raises(Refused, match="neither a key nor an item"):
        splices(Edit("delete", tree, tree.roots[0], ""))
    tree = tree_of("a: {b: 1}\n")
    with pytest.raises(Refused, match="does not belong"):
        splices(Edit("insert", tree, find(tree, ("a", "b"))[0], "c"))


def test_a_wrong_splice_is_caught() -> None:
    """`verify` is told what was meant, and given a text where something else happened."""
    tree = tree_of("a: 1 # c\nb: [x, y]\n")
    edit = edit_of(tree, "replace", ("a",), 2)
    verify(tree, "a: 2 # c\nb: [x, y]\n", [edit])
    wrong = {
        "a: 2 # c\nb: [x, z]\n": "change `b.1`",
        "a: 2 # c\nb: [x]\n": "change|add or take",
        "a: 2 # c\nb: [x, y, z]\n": "add or take",
        "a: 2\nb: [x, y]\n": "comment `# c` would be lost",
        "a: 2 # c\nb: [x, y] # d\n": "become a comment",
        "a: 3 # c\nb: [x, y]\n": "read back",
        "a: '2' # c\nb: [x, y]\n": "read back",
        "a: [2] # c\nb: [x, y]\n": "change `a.0`",
        "a: !!int 2 # c\nb: [x, y]\n": "tag",
        "a: &x 2 # c\nb: [x, y]\n": "single value",
        "a: 2 # c\nb: [x, y\n": "could not be read",
        "b: [x, y]\na: 2 # c\n": "change",
        "a: 2 # c\nb: ['x', y]\n": "change `b.0`",
    }
    for text, reason in wrong.items():
        with pytest.raises(Refused, match=reason):
            verify(tree, text, [edit])


def test_source_is_not_needed_twice() -> None:
    """Several documents: the edit stays in its own."""
    tree = tree_of("a: 1\n---\na: 2\n...\n")
    edit = edit_of(tree, "replace", ("a",), 9, document="1")
    assert carry_out(tree, [edit]) == b"a: 1\n---\na: 9\n...\n"
    assert isinstance(tree.source, Source)


def test_of_two_equal_keys_only_the_one_that_loses_may_go() -> None:
    tree = tree_of("a: 1  # old\nb: 3\na: 2  # new\n", "c.yaml")
    root = tree.roots[0]
    assert type(root) is Mapping
    (first, _), _, (last, _) = root.pairs
    assert carry_out(tree, [delete_entry(tree, first)]) == b"b: 3\na: 2  # new\n"
    with pytest.raises(Refused, match="written twice"):
        splices(delete_entry(tree, last))
