"""The TOML reader: values as `tomllib` has them, spans of tables, and words of errors."""

from __future__ import annotations

import re
import tomllib

import pytest
from edit_checks import composed, standard
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.source import Source, Unreadable
from gradaudit.syntax import parse, toml_reader
from gradaudit.syntax.plain import plain
from gradaudit.syntax.scalars import read_scalar
from gradaudit.syntax.toml_reader import _is_plainly_valid
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, path_of, walk


def read(text: str, path: str = "c.toml") -> Tree:
    return parse(Source(path, text))


VALID = {
    "empty": "",
    "comments": "# a\n\n  # b",
    "keys": 'a = 1\nb-c_1 = 2\n"q k" = 3\n\'l.k\' = 4\n1 = 5\n"" = 6\n',
    "dotted": "a.b.c = 1\na . 'b' . d = 2\nx = 3\na.e = 4\n",
    "integers": "a = [0, +1, -17, 1_000, 0xDead_beef, 0o17, 0b1_1, 9223372036854775807]",
    "floats": "a = [1.0, 3.1e-2, 5e+22, 1e06, -2E-2, 6.6_6, inf, -inf, +inf, nan, -nan]",
    "bools": "a = [true, false]",
    "dates": "a = [1979-05-27T07:32:00Z, 1979-05-27 07:32:00.5, 1979-05-27t07:32:00-07:00,\n"
    "1979-05-27, 07:32:00, 07:32:00.999999]",
    "strings": r'''a = "\b\t\n\f\r\"\\\u00e9\U0001F600 # no comment" # one
b = 'C:\n # "'
c = ''
d = """
first\

   joined ""x"" \""" y"""
f = """"q"""""
'''
    "e = '''\n'a''b'''''\n",
    "arrays": "a = [ # c\n  1, # d\n\n  [2, 3,],\n  # e\n]\nb = [[], [{}]]\n",
    "inline": "a = {}\nb = { x = 1, y.z = 2, y.w = [ {} ] }\n",
    "tables": "[a]\n[a.b]\nx = 1\n[ c . 'd' ] # h\n[a.e]\ny = 2\n",
    "super-table later": "[a.b]\nx = 1\n[a]\ny = 2\n[a.c]\nz = 3\n",
    "arrays of tables": "[[a]]\nx = 1\n[a.s]\ny = 2\n[[a.t]]\nz = 3\n[[a.t]]\n[[a]]\n[b]\n",
    "sub-table of dotted": "[f]\na.c = 1\n[f.a.t]\ns = 2\n",
    "crlf": 'a = 1\r\n[b]\r\nc = """\r\nx\r\ny"""\r\nd = [\r\n1 # e\r\n]\r\n',
    "no newline": "[a]\nb = 1 # c",
}


@pytest.mark.parametrize("name", VALID)
def test_values_are_those_of_tomllib(name: str) -> None:
    tree = read(VALID[name])
    expected = composed(VALID[name], "tomllib")
    assert expected is not None
    assert standard(tree) == expected
    for node in walk(tree.roots[0]):
        for child in _below(node):
            assert child.parent is node
        if type(node) is not Mapping or node.parent is not None:
            assert node.start < node.end
    roots = [node for node in walk(tree.roots[0]) if type(node) is Mapping]
    assert sorted(map(id, roots)) == sorted(map(id, tree.mappings))


def _below(node: Node) -> list[Node]:
    if type(node) is Mapping:
        return [child for pair in node.pairs for child in pair]
    return node.items if type(node) is Sequence else []


def test_every_number_is_read_whatever_a_yaml_loader_would_make_of_it() -> None:
    tree = read("a = [1e-4, 1_000, 0o17, 0b11, inf, true, 1979-05-27]\nb = '1e-4'\n")
    for yaml11 in (True, False):
        assert plain(tree.roots[0], yaml11) == {
            "a": [1e-4, 1000, 15, 3, float("inf"), True, "1979-05-27"],
            "b": "1e-4",
        }


def test_a_table_spans_from_its_header_to_its_last_entry() -> None:
    text = (
        "top = 1 # c\n\n"
        "[a] # h\nx = 1\ny.z = 2\ny.w = [\n3]\n# below\n\n"
        "[a.b]\nq = 1\n\n"
        "[other]\n"
        "[a.late]\nr = 1\n"
        "[[list]]\ns = 1\n[list.sub]\n[[list]]\n"
    )
    tree = read(text)
    spans = {path_of(m, tree)[1:]: text[m.start : m.end] for m in tree.mappings}
    assert spans == {
        (): text.rstrip("\n"),
        ("a",): "[a] # h\nx = 1\ny.z = 2\ny.w = [\n3]\n# below\n\n[a.b]\nq = 1",
        ("a", "y"): "z = 2\ny.w = [\n3]",
        ("a", "b"): "[a.b]\nq = 1",
        ("other",): "[other]",
        ("a", "late"): "[a.late]\nr = 1",
        ("list", 0): "[[list]]\ns = 1\n[list.sub]",
        ("list", 0, "sub"): "[list.sub]",
        ("list", 1): "[[list]]",
    }
    assert [text[start:end] for start, end in tree.comments] == ["# c", "# h", "# below"]
    root = tree.roots[0]
    assert type(root) is Mapping
    keys = {k.value: text[k.start : k.end] for k, _ in root.pairs if type(k) is Scalar}
    assert keys == {"top": "top", "a": "a", "other": "other", "list": "list"}


def test_strings_keep_their_quotes_as_style() -> None:
    tree = read("a = \"x\"\nb = 'x'\nc = \"\"\"x\"\"\"\nd = '''x'''\ne = 1\n")
    root = tree.roots[0]
    assert type(root) is Mapping
    styles = [value.style for _, value in root.pairs if type(value) is Scalar]
    assert styles == ['"', "'", '"""', "'''", ""]
    assert [read_scalar(v) for _, v in root.pairs if type(v) is Scalar] == ["x"] * 4 + [1]


BROKEN = {
    "a = 1\na = 2\n": (2, 6, "cannot overwrite a value"),
    "[a]\n[a]\n": (2, 3, "twice"),
    "[a]\nb = 1\n[a.b]\n": (3, 5, "cannot overwrite a value"),
    "a = []\n[[a]]\n": (2, 4, "immutable"),
    "a = {b = 1}\n[a.c]\n": (2, 5, "twice"),
    "a = True\n": (1, 5, "write `true`"),
    "a = None\n": (1, 5, "TOML has no null: leave the key out"),
    "a = adamw\n": (1, 5, '`"adamw"`'),
    "lr: 1\n": (1, 3, "TOML has `=` between a key and its value"),
    "a = [1, 2\n": (2, 1, "unclosed array"),
    "a = 1 b = 2\n": (1, 7, "expected newline"),
    "[a\n": (1, 3, "expected ']'"),
    'a = """x\n': (2, 1, "unterminated string"),
    "a = '\n": (2, 1, 'expected "\'"'),
    "a = 2024-13-01\n": (1, 9, "expected newline"),
    "a = {{ lr }}\n": (1, 6, "template"),
    "# \x01\n": (1, 3, "invalid character"),
    "a = 1\rb = 2\n": (1, 6, "expected newline"),
    'a = "\\q"\n': (1, 8, "unescaped"),
    "a = " + "9" * 10_000: (1, 5, "more digits than anyone reads"),
}


@pytest.mark.parametrize("text", BROKEN)
def test_an_error_has_the_words_and_the_place_of_tomllib(text: str) -> None:
    line, column, words = BROKEN[text]
    with pytest.raises(Unreadable) as caught:
        read(text)
    assert caught.value.message.startswith("not valid TOML: ")
    assert words.lower() in caught.value.message.lower()
    assert (caught.value.line, caught.value.column) == (line, column)
    with pytest.raises(ValueError):  # noqa: PT011 - whatever tomllib raises
        tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "[" * 100_000 + "]" * 100_000,
        "a = " + "{x = " * 100_000,
        "a" + ".a" * 100_000 + " = 1",
        "[" + "a." * 100_000 + "a]",
        "[[" + "a." * 300 + "a]]",
    ],
)
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(Unreadable, match="nested deeper than 200 levels"):
        read(text)


def test_as_deep_as_may_be() -> None:
    assert read("a = " + "[" * 199 + "]" * 199).roots
    assert read("[" + "a." * 198 + "a]").roots


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradaudit.syntax.toml_reader.MAX_NODES", 1000)
    keys = "".join(f"k{i} = 1\n" for i in range(1000))
    for text in ("a = [" + "1," * 1001 + "]", "[[a]]\n" * 1001, keys):
        with pytest.raises(Unreadable, match="more than 500,000 keys and values"):
            read(text)


LINES = st.lists(
    st.sampled_from(
        [
            "[a]", "[b]", "[a.b]", "[a.c]", "[a]  # again", "[[a]]", "[ a ]", "['a']",
            "x = 1", "y = 2 # two", "x = 01", "x = -0.5", "x=1.", "x = 1e5", "x = .5", "x = 1_000",
            "x = 'lit'", 'x = "text" # "not"', 'x = "a\\tb"', 'x = "a\tb"', 'x = "a\x01b"',
            "b = true", "b = True", "b = [1, 2]", "b = [1, 2,]", "b = []", 'b = ["a", \'b\'] #',
            "b = [1 2]", "a.b = 1", "a = {b = 1}", "c = 2020-01-01", "c = 1 d = 2", "# only",
            "# \x07", "", "   ", "\tx = 3", "x = 3\r", "= 1", "x =", "x", '"x" = 4', "x = inf",
            "x = 99999999999999999999", 'd = """', "e = '''a'''",
        ]
    ),
    max_size=6,
)  # fmt: skip


@given(LINES)
@settings(max_examples=1500, deadline=None)
def test_what_is_not_asked_of_tomllib_is_what_tomllib_says(lines: list[str]) -> None:
    text = "\n".join(lines)
    wanted = composed(text, "tomllib")
    if wanted is None:
        with pytest.raises(Unreadable):
            read(text)
    else:
        assert standard(read(text)) == wanted


@pytest.mark.parametrize(
    ("text", "clear"),
    [
        ("# c\n[a.b]\nx = 1 # c\r\ny = 'z'\n\n[c]\nz = [1, 2.5]", True),
        ("[a]\nx = 1\n[a]\ny = 2\n", False),  # every line is valid, the text is not
        ("[a]\nx = 01\n", False),
        ('x = "a\\tb"\n', False),
        ("[[a]]\n", False),
    ],
)
def test_which_texts_are_plainly_valid(text: str, clear: bool) -> None:
    assert _is_plainly_valid(text) is clear


@given(st.lists(st.sampled_from(["[a]", "[b.c]", "x = 1", "y = 'a' # c", 'z = "b"', "w = true",
                                 "v = -1.5#c", "u = 007", "", "# c"]), unique=True))  # fmt: skip
def test_the_short_way_makes_the_same_nodes(lines: list[str]) -> None:
    text = "\n".join(lines)
    short = seen_of(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toml_reader, "_ENTRY", re.compile(r"(?!)"))
        assert seen_of(text) == short


def seen_of(text: str) -> object:
    """Every node with all that it has, and the comments; or the error."""
    try:
        tree = read(text)
    except Unreadable as error:
        return str(error), error.line, error.column
    nodes = [
        (type(node), node.start, node.end, node.tag, node.parent and node.parent.start)
        + ((node.value, node.style) if isinstance(node, Scalar) else ())
        for node in walk(tree.roots[0])
    ]
    return nodes, tree.comments
