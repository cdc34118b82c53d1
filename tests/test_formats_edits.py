"""Edits of JSON with comments and of TOML: the bytes that must come out, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import run_cli
from test_splice import Steps, carry_out, edit_of, find, tree_of

from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.findings import Edit
from gradaudit.fix.splice import Refused, splices
from gradaudit.fix.verify import verify
from gradaudit.syntax.second_opinion import JSON, TOMLLIB, NoOpinion, flatten
from gradaudit.syntax.spelling import spell

if TYPE_CHECKING:
    from pathlib import Path

    from gradaudit.syntax.scalars import Value

JSONC = "c.jsonc"
TOML = "c.toml"

REPLACED: dict[str, tuple[str, str, Steps, Value, str]] = {
    "number": (JSONC, '{"a": 1, // c\n "b": 2,}', ("a",), 0.5, '{"a": 0.5, // c\n "b": 2,}'),
    "small number": (JSONC, '{"a": 1e-4}', ("a",), 1e-5, '{"a": 1.0e-05}'),
    "text": (JSONC, '{"a": "x" /* c */}', ("a",), "é\"\\\n", '{"a": "é\\"\\\\\\n" /* c */}'),
    "text beyond 16 bits": (JSONC, '["x"]', (0,), "😀\U000e0001", '["😀\\udb40\\udc01"]'),
    "surrogates elsewhere": (JSONC, '["\\ud83d\\ude00", 1]', (1,), 2, '["\\ud83d\\ude00", 2]'),
    "to text": (JSONC, "[1] // c", (0,), "adamw", '["adamw"] // c'),
    "to null": (JSONC, "[1]", (0,), None, "[null]"),
    "from NaN": (JSONC, "[NaN, -Infinity]", (0,), 1, "[1, -Infinity]"),
    "duplicates elsewhere": (JSONC, '{"a": 1, "a": 2, "b": 3}', ("b",), 4,
                             '{"a": 1, "a": 2, "b": 4}'),
    "a merge key is none": (JSONC, '{"<<": 1, "b": 3}', ("<<",), 4, '{"<<": 4, "b": 3}'),
    "crlf": (JSONC, '{\r\n"a": 1 // c\r\n}\r\n', ("a",), 2, '{\r\n"a": 2 // c\r\n}\r\n'),
    "toml number": (TOML, "a = 1 # c\n[b]\nc = 2\n", ("b", "c"), 3e-4,
                    "a = 1 # c\n[b]\nc = 0.0003\n"),
    "toml small": (TOML, "a = 1#c\n", ("a",), 1e-5, "a = 1.0e-05#c\n"),
    "toml hex": (TOML, "a = 0xFF\n", ("a",), 16, "a = 16\n"),
    "toml infinity": (TOML, "a = 1\n", ("a",), float("inf"), "a = inf\n"),
    "toml not a number": (TOML, "a = 1\n", ("a",), float("nan"), "a = nan\n"),
    "toml bool": (TOML, "a = true # c", ("a",), False, "a = false # c"),
    "toml text": (TOML, 'a = "x" # c\n', ("a",), "y\t\"\x7f", 'a = "y\\t\\"\\u007f" # c\n'),
    "toml literal": (TOML, "a = 'x' # c\n", ("a",), "C:\\x", "a = 'C:\\x' # c\n"),
    "toml literal, quote": (TOML, "a = 'x'\n", ("a",), "it's", 'a = "it\'s"\n'),
    "toml to text": (TOML, "a = 1\n", ("a",), "adamw", 'a = "adamw"\n'),
    "toml long text": (TOML, 'a = """\nx\ny""" # c\n', ("a",), "z", 'a = "z" # c\n'),
    "toml long literal": (TOML, "a = '''x'''\n", ("a",), 1, "a = 1\n"),
    "toml date": (TOML, "a = 1979-05-27 07:32:00 # c\n", ("a",), 1, "a = 1 # c\n"),
    "toml date elsewhere": (TOML, "a = 1979-05-27\nb = 07:32:00.5\nc = 1\n", ("c",), 2,
                            "a = 1979-05-27\nb = 07:32:00.5\nc = 2\n"),
    "toml in an array": (TOML, "a = [ # c\n  1, # d\n  2, # e\n]\n", ("a", 1), 3,
                         "a = [ # c\n  1, # d\n  3, # e\n]\n"),
    "toml in an inline table": (TOML, "a = {x = 1, y.z = 2} # c\n", ("a", "y", "z"), 3,
                                "a = {x = 1, y.z = 3} # c\n"),
    "toml dotted": (TOML, "a.b.c = 1\na.b.d = 2\n", ("a", "b", "c"), 3, "a.b.c = 3\na.b.d = 2\n"),
    "toml array of tables": (TOML, "[[a]]\nx = 1\n[[a]]\nx = 2\n", ("a", 1, "x"), 3,
                             "[[a]]\nx = 1\n[[a]]\nx = 3\n"),
    "toml scattered": (TOML, "[a]\nx = 1\n[b]\n[a.c]\ny = 1\n", ("a", "c", "y"), 3,
                       "[a]\nx = 1\n[b]\n[a.c]\ny = 3\n"),
    "toml crlf": (TOML, 'a = 1\r\nb = """\r\nx"""\r\n', ("a",), 2, 'a = 2\r\nb = """\r\nx"""\r\n'),
}  # fmt: skip


@pytest.mark.parametrize("case", REPLACED)
def test_replace(case: str) -> None:
    path, before, steps, value, after = REPLACED[case]
    tree = tree_of(before, path)
    assert carry_out(tree, [edit_of(tree, "replace", steps, value)]) == after.encode()


INSERTED: dict[str, tuple[str, str, Steps, Value, str]] = {
    "one line": (JSONC, '{"a": 1, "b": 2}', ("b",), 3, '{"a": 1, "b": 2, "new": 3}'),
    "trailing comma": (JSONC, '{"a": 1, "b": 2,}', ("b",), 3, '{"a": 1, "b": 2, "new": 3,}'),
    "last line": (JSONC, '{\n  "a": 1, // ca\n  "b": 2 // cb\n}', ("b",), 3,
                  '{\n  "a": 1, // ca\n  "b": 2, // cb\n  "new": 3\n}'),
    "last line, comma": (JSONC, '{\n  "a": 1, /* ca */ // x\n}', ("a",), "t",
                         '{\n  "a": 1, /* ca */ // x\n  "new": "t",\n}'),
    "first line": (JSONC, '{\n  "a": 1, // ca\n  // cb\n  "b": 2\n}', ("a",), 3,
                   '{\n  "a": 1, // ca\n  "new": 3,\n  // cb\n  "b": 2\n}'),
    "comment between": (JSONC, '{"a": 1, /* c */ "b": 2}', ("a",), 3,
                        '{"a": 1, /* c */ "new": 3, "b": 2}'),
    "comment before the comma": (JSONC, '{"a": 1 /* c */, "b": 2}', ("a",), 3,
                                 '{"a": 1 /* c */, "new": 3, "b": 2}'),
    "below a section": (JSONC, '{\n  "a": {\n    "x": 1 // c\n  }, // d\n  "b": 2\n}', ("a",), 3,
                        '{\n  "a": {\n    "x": 1 // c\n  }, // d\n  "new": 3,\n  "b": 2\n}'),
    "item": (JSONC, "[\n  1, // c\n  2\n]", (1,), 3, "[\n  1, // c\n  2,\n  3\n]"),
    "url in a text": (JSONC, '{\n  "a": "http://x", // c\n  "b": 2\n}', ("a",), 3,
                      '{\n  "a": "http://x", // c\n  "new": 3,\n  "b": 2\n}'),
    "toml": (TOML, "[a]\nx = 1 # c\n\n[b]\ny = 2\n", ("a", "x"), 3,
             "[a]\nx = 1 # c\nnew = 3\n\n[b]\ny = 2\n"),
    "toml, root": (TOML, "x = 1\n[b]\n", ("x",), "t", 'x = 1\nnew = "t"\n[b]\n'),
    "toml, indented": (TOML, "[a]\n  x = 1\n  y = 2\n", ("a", "x"), 3,
                       "[a]\n  x = 1\n  new = 3\n  y = 2\n"),
    "toml, aligned": (TOML, "[a]\nlong = 1\nx    = 2\n", ("a", "x"), 3,
                      "[a]\nlong = 1\nx    = 2\nnew  = 3\n"),
    "toml, close": (TOML, "x=1\n", ("x",), 3, "x=1\nnew=3\n"),
    "toml, dotted": (TOML, "a.x = 1\na.y = 2\n", ("a", "x"), 3, "a.x = 1\na.new = 3\na.y = 2\n"),
    "toml, after dotted": (TOML, "a.x = 1\na.y = 2\nb = 1\n", ("a",), 3,
                           "a.x = 1\na.y = 2\nnew = 3\nb = 1\n"),
    "toml, after array": (TOML, "x = [\n  1, # c\n] # d\ny = 1\n", ("x",), 3,
                          "x = [\n  1, # c\n] # d\nnew = 3\ny = 1\n"),
    "toml, after long text": (TOML, 'x = """\na\n# b\n""" # d\ny = 1\n', ("x",), 3,
                              'x = """\na\n# b\n""" # d\nnew = 3\ny = 1\n'),
    "toml, no newline": (TOML, "[a]\nx = 1", ("a", "x"), 3, "[a]\nx = 1\nnew = 3"),
    "toml, crlf": (TOML, "[a]\r\nx = 1\r\n", ("a", "x"), 3, "[a]\r\nx = 1\r\nnew = 3\r\n"),
    "toml, quoted keys": (TOML, '"x" = 1\n', ("x",), 3, '"x" = 1\n"new" = 3\n'),
    "toml, inline": (TOML, "a = {x = 1, y = 2}\n", ("a", "x"), 3, "a = {x = 1, new = 3, y = 2}\n"),
    "toml, inline, last": (TOML, "a = { x=1 } # c\n", ("a", "x"), 3, "a = { x=1,new=3 } # c\n"),
    "toml, item": (TOML, "a = [1, 2]\n", ("a", 1), 3, "a = [1, 2, 3]\n"),
    "toml, items on lines": (TOML, "a = [\n  1, # c\n  2, # d\n]\n", ("a", 1), 3,
                             "a = [\n  1, # c\n  2, # d\n  3,\n]\n"),
    "toml, items, no comma": (TOML, "a = [\n  1,#c\n  2#d\n]\n", ("a", 1), 3,
                              "a = [\n  1,#c\n  2,#d\n  3\n]\n"),
    "toml, array of tables": (TOML, "[[a]]\nx = 1\n[[a]]\n", ("a", 0, "x"), 3,
                              "[[a]]\nx = 1\nnew = 3\n[[a]]\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", INSERTED)
def test_insert(case: str) -> None:
    path, before, steps, value, after = INSERTED[case]
    tree = tree_of(before, path)
    assert carry_out(tree, [edit_of(tree, "insert", steps, value)]) == after.encode()


DELETED: dict[str, tuple[str, str, Steps, str]] = {
    "one line": (JSONC, '{"a": 1, "b": 2}', ("a",), '{"b": 2}'),
    "last": (JSONC, '{"a": 1, "b": 2}', ("b",), '{"a": 1}'),
    "trailing comma": (JSONC, '{"a": 1, "b": 2, }', ("b",), '{"a": 1, }'),
    "only": (JSONC, '{"x": {"a": 1,}}', ("x", "a"), '{"x": {}}'),
    "own line": (JSONC, '{\n  // of a\n  "a": 1, // ca\n  "b": 2 // cb\n}', ("a",),
                 '{\n  // of a\n  "b": 2 // cb\n}'),
    "own line, last": (JSONC, '{\n  "a": 1, // ca\n  "b": 2 /* cb */\n}', ("b",),
                       '{\n  "a": 1 // ca\n}'),
    "own line, comma": (JSONC, '{\n  "a": 1,\n  "b": 2, /* x */\n}', ("b",), '{\n  "a": 1,\n}'),
    "section": (JSONC, '{\n  "a": {\n    "x": [1], // c\n  },\n  "b": 2\n}', ("a",),
                '{\n  "b": 2\n}'),
    "a text with a comma": (JSONC, '{"a": "x,]", "b": "//"}', ("a",), '{"b": "//"}'),
    "one of two equal keys": (JSONC, '{"a": 1, "b": 2, "a": 3}', ("a",), '{"b": 2, "a": 3}'),
    "toml": (TOML, "[a]\nx = 1 # c\n# of y\ny = 2\n", ("a", "x"), "[a]\n# of y\ny = 2\n"),
    "toml, only": (TOML, "[a]\nx = 1\n[b]\n", ("a", "x"), "[a]\n[b]\n"),
    "toml, only of all": (TOML, "x = 1\n", ("x",), ""),
    "toml, array": (TOML, "[a]\nx = [\n 1, # c\n]\ny = 2\n", ("a", "x"), "[a]\ny = 2\n"),
    "toml, long text": (TOML, 'x = """\na\n"""\ny = 2\n', ("x",), "y = 2\n"),
    "toml, dotted": (TOML, "a.x = 1\na.y = 2\n", ("a", "x"), "a.y = 2\n"),
    "toml, no newline": (TOML, "[a]\nx = 1\ny = 2", ("a", "y"), "[a]\nx = 1"),
    "toml, no newline, crlf": (TOML, "[a]\r\nx = 1\r\ny = 2", ("a", "y"), "[a]\r\nx = 1"),
    "toml, inline": (TOML, "a = {x = 1, y = 2} # c\n", ("a", "x"), "a = {y = 2} # c\n"),
    "toml, inline, last": (TOML, "a = { x = 1, y = 2 }\n", ("a", "y"), "a = { x = 1 }\n"),
    "toml, inline, only": (TOML, "a = { x = 1 }\n", ("a", "x"), "a = {}\n"),
    "toml, inline table": (TOML, "a = {x = 1}\nb = 1\n", ("a",), "b = 1\n"),
    "toml, item": (TOML, "a = [\n  1, # c\n  2, # d\n]\n", ("a", 0), "a = [\n  2, # d\n]\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", DELETED)
def test_delete(case: str) -> None:
    path, before, steps, after = DELETED[case]
    tree = tree_of(before, path)
    assert carry_out(tree, [edit_of(tree, "delete", steps, None)]) == after.encode()


REFUSED: dict[str, tuple[str, str, str, Steps, Value, str]] = {
    "infinity": (JSONC, "[1]", "replace", (0,), float("inf"), "does not read back as inf"),
    "not a number": (JSONC, "[1]", "insert", (0,), float("nan"), "does not read back as nan"),
    "twice": (JSONC, '{"a": 1, "a": 2}', "replace", ("a",), 3, "written twice (lines 1 and 1)"),
    "there": (JSONC, '{"a": 1, "new": 2}', "insert", ("a",), 3, "`new` is there already"),
    "comment at the end": (JSONC, '{"a": 1 /* c */}', "insert", ("a",), 3, "comment stands"),
    "comment at the end, lines": (JSONC, '{"a": 1,\n "b": 2 /* c */}', "insert", ("b",), 3,
                                  "comment stands"),
    "comment of the only": (JSONC, '{/* c */ "a": 1}', "delete", ("a",), None, "comment stands"),
    "comment between": (JSONC, '{"a": 1, /* c */ "b": 2}', "delete", ("a",), None,
                        "comment stands"),
    "comment before": (JSONC, '[1 /* c */,\n2\n]', "delete", (1,), None, "comment stands"),
    "toml null": (TOML, "a = 1\n", "replace", ("a",), None, "TOML has no null"),
    "toml null, new": (TOML, "a = 1\n", "insert", ("a",), None, "TOML has no null"),
    "toml behind a table": (TOML, "[a]\n[b]\n", "insert", ("a",), 1, "table with a header"),
    "toml table": (TOML, "[a]\nx = 1\n[b]\n", "delete", ("a",), None, "table of its own"),
    "toml dotted table": (TOML, "a.x = 1\nb = 1\n", "delete", ("a",), None, "table of its own"),
    "toml only dotted key": (TOML, "a.x = 1\nb = 1\n", "delete", ("a", "x"), None, "only key"),
    "toml one of many": (TOML, "[[a]]\n[[a]]\n", "delete", ("a", 0), None, "array of tables"),
    "toml after one of many": (TOML, "[[a]]\n[[a]]\n", "insert", ("a", 0), 1, "array of tables"),
    "toml dotted in inline": (TOML, "a = {x.y = 1}\n", "insert", ("a", "x", "y"), 1, "dotted key"),
    "toml there": (TOML, "a = 1\n[new]\n", "insert", ("a",), 3, "`new` is there already (line 2)"),
    "toml comment": (TOML, "a = [1, 2 # c\n]\n", "insert", ("a", 1), 3, "comment stands"),
    "utf-16": (TOML, "\ufeffa = 1\n", "replace", ("a",), 3, "UTF-16"),
    "too long": (TOML, "a = 1 # " + "x" * 150_000, "replace", ("a",), 3, "128 K characters"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    path, before, op, steps, value, reason = REFUSED[case]
    data = before.encode("utf-16-le") if before.startswith("\ufeff") else before
    tree = tree_of(data, path)
    with pytest.raises(Refused) as caught:
        carry_out(tree, [edit_of(tree, op, steps, value)])
    assert reason in caught.value.reason


def test_strict_json_stays_strict() -> None:
    tree = tree_of('{"a": 1}', "c.json")
    edit = edit_of(tree, "replace", ("a",), 2)
    verify(tree, '{"a": 2}', [edit])
    for text in ('{"a": 2,}', '{"a": 2 /* c */}'):
        with pytest.raises(Refused, match=r"no longer read|become a comment"):
            verify(tree, text, [edit])


def test_a_wrong_splice_is_caught() -> None:
    for path, before, right, wrong in (
        (JSONC, '{"a": 1, // c\n"b": [1, "x"]}', '{"a": 2, // c\n"b": [1, "x"]}', {
            '{"a": 2, // c\n"b": [1, "y"]}': "change `b.1`",
            '{"a": 2, // c\n"b": [1]}': "add or take|change",
            '{"a": 2,\n"b": [1, "x"]}': "would be lost",
            '{"a": "2", // c\n"b": [1, "x"]}': "read back",
            '{"a": 2.0, // c\n"b": [1, "x"]}': "read back",
            '{"b": [1, "x"], // c\n"a": 2}': "change",
            '{"a": 2, // c\n"b": [1.0, "x"]}': "change `b.0`",
            '{"a": 2 // c\n"b": [1, "x"]}': "could not be read",
        }),
        (TOML, "a = 1 # c\n[b]\nx = 1\ny = 1979-05-27\n",
         "a = 2 # c\n[b]\nx = 1\ny = 1979-05-27\n", {
            "a = 2 # c\n[b]\nx = 1\ny = 1979-05-28\n": "change `b.y`",
            "a = 2 # c\n[b]\nx = 1.0\ny = 1979-05-27\n": "change `b.x`",
            "a = 2 # c\nb.x = 1\n": "add or take|change",
            "a = 2\n[b]\nx = 1\ny = 1979-05-27\n": "would be lost",
            "a = '2' # c\n[b]\nx = 1\ny = 1979-05-27\n": "read back",
            "a = 2 # c\n[b]\nx = 1\ny = 1979-05-27\na = 3\n": "add or take",
            "a = 2 # c\n[b]\nx = 1\nx = 1979-05-27\n": "could not be read",
        }),
    ):  # fmt: skip
        tree = tree_of(before, path)
        edit = edit_of(tree, "replace", ("a",), 2)
        verify(tree, right, [edit])
        for text, reason in wrong.items():
            with pytest.raises(Refused, match=reason):
                verify(tree, text, [edit])


def test_edits_together() -> None:
    tree = tree_of("a = 1\nb = 2 # c\n[t]\nl = [1, 2, 3]\nd = 4\n", TOML)
    edits = [
        edit_of(tree, "replace", ("a",), 10),
        edit_of(tree, "insert", ("a",), 5),
        edit_of(tree, "delete", ("t", "l", 0), None),
        edit_of(tree, "replace", ("t", "l", 2), 30),
        edit_of(tree, "delete", ("t", "d"), None),
    ]
    assert carry_out(tree, edits) == b"a = 10\nnew = 5\nb = 2 # c\n[t]\nl = [2, 30]\n"


def test_names_that_need_quotes() -> None:
    tree = tree_of("[a]\nx = 1\n", TOML)
    x, _ = find(tree, ("a", "x"))
    assert carry_out(tree, [insert_after(tree, x, "b.c d", 2)]) == b'[a]\nx = 1\n"b.c d" = 2\n'
    tree = tree_of('{"x": 1}', "c.json")
    x, _ = find(tree, ("x",))
    assert carry_out(tree, [insert_after(tree, x, 'a"b', 2)]) == b'{"x": 1, "a\\"b": 2}'


def test_a_spelling_asked_for_is_used_for_numbers_and_not_for_text() -> None:
    tree = tree_of("a = 1\nb = 'x'\n", TOML)
    a, b = find(tree, ("a",))[1], find(tree, ("b",))[1]
    assert replace_value(tree, a, None, 3e-4, new="3e-4").new == "3e-4"
    assert carry_out(tree, [replace_value(tree, a, None, 1000, new="1_000")]).startswith(
        b"a = 1_000\n"
    )
    assert replace_value(tree, a, None, "adamw", new="adamw").new == '"adamw"'
    assert replace_value(tree, b, None, "y", new="y").new == "'y'"
    edit = Edit("replace", tree, a, "a", new="adamw", value="adamw")
    assert splices(edit) == [(4, 5, '"adamw"')]
    assert delete_entry(tree, find(tree, ("a",))[0]).old == "1"


def test_the_second_parsers_are_the_standard_library() -> None:
    seen = flatten('{"a": [1, 1e-4, NaN, true, null, "x"], "a": {},}', JSON)
    assert [(s.kind, s.value, s.tag[-5:]) for s in seen.values()] == [
        ("mapping", "", ""), ("scalar", "a", "2:str"), ("sequence", "", ""),
        ("scalar", "1", "2:int"), ("scalar", "1e-4", "float"), ("scalar", "NaN", "float"),
        ("scalar", "true", ":bool"), ("scalar", "null", ":null"), ("scalar", "x", "2:str"),
        ("scalar", "a", "2:str"), ("mapping", "", ""),
    ]  # fmt: skip
    assert len(flatten("a.b = 1979-05-27\n", TOMLLIB)) == 5
    for text, parser in (("{", JSON), ("a", TOMLLIB), ("[" * 100_000, JSON)):
        with pytest.raises(NoOpinion):
            flatten(text, parser)


@pytest.mark.parametrize("value", [1, -2.5, 1e-5, 1e300, True, "x", 'q"\\\t\x00\x1f\x7f\x85é😀'])
def test_what_is_spelled_reads_back(value: Value) -> None:
    for path, text in (("c.json", '{"a": 1}'), (TOML, "a = 1\n"), (TOML, "a = 'x'\n")):
        tree = tree_of(text, path)
        edit = edit_of(tree, "replace", ("a",), value)
        carry_out(tree, [edit])
        assert spell(value, tree.format) or value == ""


FIXED = {
    JSONC: '{\n  "optimizer": "adamw",\n  "lr": 1e-4, /* c */\n'
    '  "warmup_steps": 200, // long\n  "max_steps": 100,\n}',
    "c.json": '{"optimizer": "adamw", "lr": 1e-4,\r\n"warmup_steps": 200, "max_steps": 100}',
    TOML: '# top\noptimizer = "adamw"\nlr = 1e-4\n[schedule]\n'
    "warmup_steps = 200 # long\nmax_steps = 1_00",
}


@pytest.mark.parametrize("name", FIXED)
def test_the_command_repairs_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(FIXED[name].encode())
    assert run_cli("check", name).code == 1
    assert run_cli("fix", "--write", name).code == 0
    assert (tmp_path / name).read_bytes() == FIXED[name].replace("200", "10").encode()
    assert run_cli("check", name).code == 0
