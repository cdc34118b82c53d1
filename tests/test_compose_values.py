"""What interpolations and references stand for, and why some cannot be known."""

from __future__ import annotations

import ast
import operator
import warnings
from pathlib import Path
from typing import Any

import pytest
from compose_support import BASES, at, composed_at, composed_of, said, write
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.compose import arithmetic
from gradaudit.syntax.scalars import read_scalar
from gradaudit.syntax.tree import Mapping, Scalar

OMEGACONF = r"""
lr: 1e-4
same: ${lr}
twice: ${same}
quoted: "${lr}"
text: lr_${lr}_${name}
name: net
escaped: \${lr}
half: \\${lr}
section: {lr: 3, sibling: "${.lr}", outer: "${..lr}", items: [7, "${.0}", "${..lr}"]}
item: ${section.items[0]}
dotted: ${section.items.0}
which: lr
nested: ${section.${which}}
through: ${alias_of.lr}
alias_of: ${section}
mandatory: ???
of_mandatory: ${mandatory}
absent: ${no.such.key}
environment: ${oc.env:HOME}
code: ${multiply:2,${lr}}
chosen: ${oc.select:lr,9}
defaulted: ${oc.select:no.such,9}
fallback: ${oc.select:no.such,${name}}
nothing: ${oc.select:no.such}
unset: ${oc.select:mandatory,9}
inner: ${oc.select:section.${which},9}
decoded: ${oc.decode:${lr}}
quoted_default: ${oc.select:no.such,'a, b'}
a: ${b}
b: ${c}
c: x${a}
self: ${self.x}
open: ${lr
plain: "{lr}"
above: ${.....lr}
spaced: ${ lr }
"""


@pytest.mark.parametrize(
    ("key", "text", "note"),
    [
        ("lr", "1e-4", ""),
        ("same", "1e-4", "from ${lr}, line 2"),
        ("twice", "1e-4", "from ${same}, line 2"),
        ("quoted", "1e-4", "from ${lr}, line 2"),
        ("text", "lr_1e-4_net", "from ${lr} and ${name}"),
        ("escaped", "${lr}", ""),
        ("half", "\\1e-4", "from ${lr}"),
        ("section.sibling", "3", "from ${.lr}, line 10"),
        ("section.outer", "1e-4", "from ${..lr}, line 2"),
        ("item", "7", "from ${section.items[0]}, line 10"),
        ("dotted", "7", "from ${section.items.0}, line 10"),
        ("nested", "3", "from ${section.lr}, line 10"),
        ("through", "3", "from ${alias_of.lr}, line 10"),
        ("alias_of", "Mapping", "from ${section}, line 10"),
        ("mandatory", None, "mandatory: it is given at launch"),
        ("of_mandatory", None, "${mandatory}: mandatory: it is given at launch"),
        ("absent", None, "${no.such.key}: there is no `no.such.key` in what the file is made of"),
        ("environment", None, "${oc.env:HOME} is computed at run time"),
        ("code", None, "${multiply:2,${lr}} is computed at run time"),
        ("chosen", "1e-4", "from ${oc.select:lr,9}, line 2"),
        ("defaulted", "9", "the default of ${oc.select:no.such,9}"),
        ("fallback", "net", "from ${name}, line 7"),
        ("nothing", "null", "${oc.select:no.such} finds nothing"),
        ("unset", "9", "the default of ${oc.select:mandatory,9}"),
        ("inner", "3", "from ${oc.select:section.${which},9}, line 10"),
        ("decoded", "1e-4", "from ${lr}, line 2"),
        ("quoted_default", "a, b", "the default of ${oc.select:no.such,'a, b'}"),
        ("a", None, "it refers to itself: ${b} -> ${c} -> x${a} -> ${b}"),
        ("self", None, "it refers to itself: ${self.x} -> ${self.x}"),
        ("open", None, "`${lr` is not closed"),
        ("plain", "{lr}", ""),
        ("above", None, "${.....lr}: there is no `lr` in what the file is made of"),
        ("spaced", "1e-4", "from ${lr}, line 2"),
    ],
)
def test_omegaconf(key: str, text: str | None, note: str) -> None:
    composed = composed_of(OMEGACONF, "omegaconf")
    assert said(composed, key) == (text, note)
    assert said(composed, key) == (text, note)  # as it is kept


def test_items_of_lists_refer_relatively() -> None:
    composed = composed_of(OMEGACONF, "omegaconf")
    items = at(composed, "section.items")
    texts = [getattr(composed.value_of(item)[0], "value", None) for item in items.items]  # type: ignore[attr-defined]
    assert texts == ["7", "7", "3"]


def test_what_is_put_together_stands_where_it_was_written() -> None:
    composed = composed_of("a: 1\nb: {c: 'x${a}'}\n", "omegaconf")
    node = at(composed, "b.c")
    made, _ = composed.value_of(node)
    assert isinstance(made, Scalar)
    assert (made.start, made.end, made.parent) == (node.start, node.end, node.parent)
    assert read_scalar(made) == "x1"


def test_a_number_that_is_put_together_is_text_to_omegaconf() -> None:
    composed = composed_of("a: 1\nb: ${a}${a}\nc: ${oc.decode:${b}}\n", "omegaconf")
    made, _ = composed.value_of(at(composed, "b"))
    assert isinstance(made, Scalar)
    assert read_scalar(made) == "11"
    decoded, _ = composed.value_of(at(composed, "c"))
    assert isinstance(decoded, Scalar)
    assert read_scalar(decoded) == 11


def test_the_last_of_duplicates_is_meant() -> None:
    assert said(composed_of("a: 1\na: 2\nb: ${a}\n", "omegaconf"), "b")[0] == "2"


def test_anchors_are_followed_first() -> None:
    composed = composed_of("x: &x 5\nr: &r '${x}'\na: *x\nb: *r\n", "omegaconf")
    assert said(composed, "a") == ("5", "through an anchor")
    assert said(composed, "b") == ("5", "from ${x}, line 1")


def test_another_loader_takes_the_text_as_it_is() -> None:
    composed = composed_of("a: 1\nb: ${a}\n", "none")
    assert said(composed, "b") == ("${a}", "")


def test_an_unknown_loader_follows_what_exists() -> None:
    composed = composed_of("a: 1\nb: ${a}\nc: ${HOME}\nd: ???\ne: !ref <a>\n", "")
    assert said(composed, "b")[0] == "1"
    assert said(composed, "c")[0] is None
    assert said(composed, "d") == ("???", "")
    assert said(composed, "e")[0] == "1"


def test_values_of_other_files_are_named_with_their_path(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, {
        "a.yaml": "_BASE_: b.yaml\nlr: ${base.lr}\nx: ${gone}\n",
        "b.yaml": "base:\n  lr: 3\n  own: ${.lr}\n  leaf: ${lr}\n",
    })  # fmt: skip
    composed = composed_at(tmp_path / "a.yaml", {**BASES, "interpolation": "omegaconf"})
    assert said(composed, "lr") == ("3", f"from ${{base.lr}}, {tmp_path / 'b.yaml'}:2")
    assert said(composed, "base.own") == ("3", "from ${.lr}, line 2")
    assert said(composed, "base.leaf")[0] == "3"


def test_what_may_be_in_a_file_that_was_not_read_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "_BASE_: gone.yaml\nx: ${y}\nz: ${oc.select:y,1}\n"})
    composed = composed_at(tmp_path / "a.yaml", {**BASES, "interpolation": "omegaconf"})
    assert said(composed, "x") == (None, "${y}: `y` may be in gone.yaml, which was not read")
    assert said(composed, "z")[0] is None


def test_bases_of_mm_configs_can_be_referred_to(tmp_path: Path) -> None:
    write(tmp_path, {
        "a.yaml": "_BASE_: b.yaml\nlr: 1\nx: '{{_base_.lr}}'\n"
                  "y: '{{ _base_.m.lr }}'\nz: '{{_base_.q}}'\n",
        "b.yaml": "lr: 7\nm: {lr: 8}\n",
    })  # fmt: skip
    composed = composed_at(tmp_path / "a.yaml", BASES)
    assert said(composed, "x")[0] == "7"
    assert said(composed, "y")[0] == "8"
    assert said(composed, "z")[0] is None


HYPERPYYAML = """
lr: 1e-4
n: 3
same: !ref <lr>
twice: !ref <lr> * 2
part: !ref <section[inner][x]>
section: {inner: {x: 4}, items: [5, 6]}
item: !ref <section[items][1]>
text: !ref results/<n>/<part>
path: !ref <text>/save
sum: !ref (<n> + 1) // 2 - -<part> ** 2 % 5
by_zero: !ref <n> / 0
huge: !ref 9 ** 9 ** 9 ** 9
given: !PLACEHOLDER
of_given: !ref <given>
object: !new:torch.nn.Linear
of_object: !ref <object>
attribute: !ref <object.weight>
made: !apply:os.system [rm]
copied: !copy <section>
absent: !ref <nothing>
real: !!float 1e-3
first: !ref <second>
second: !ref <first> + 1
not_a_ref: !copy abc
mapping_in_text: !ref <section>/x
dollar: ${lr}
"""


@pytest.mark.parametrize(
    ("key", "text", "note"),
    [
        ("same", "1e-4", "from !ref <lr>, line 2"),
        ("twice", "0.0002", "from !ref <lr> * 2"),
        ("part", "4", "from !ref <section[inner][x]>, line 7"),
        ("item", "6", "from !ref <section[items][1]>, line 7"),
        ("text", "results/3/4", "from !ref results/<n>/<part>"),
        ("path", "results/3/4/save", "from !ref <text>/save"),
        ("sum", "-2", "from !ref (<n> + 1) // 2 - -<part> ** 2 % 5"),
        ("by_zero", None, "`<n> / 0`: division by zero"),
        ("huge", None, "`9 ** 9 ** 9 ** 9`: a number of too many digits"),
        ("given", None, "a placeholder: it is given at launch"),
        ("of_given", None, "!ref <given>: a placeholder: it is given at launch"),
        ("object", None, "made by `!new:torch.nn.Linear`"),
        ("of_object", None, "!ref <object>: made by `!new:torch.nn.Linear`"),
        ("attribute", None, "<object.weight> is read from an object at run time"),
        ("made", "Sequence", ""),
        ("copied", "Mapping", "from !copy <section>, line 7"),
        ("absent", None, "!ref <nothing>: there is no `nothing` in what the file is made of"),
        ("real", "1e-3", ""),
        ("first", None, "it refers to itself: <second> -> <first> + 1 -> <second>"),
        ("not_a_ref", None, "`abc` is no reference"),
        ("mapping_in_text", None, "<section> is no plain value"),
        ("dollar", "${lr}", ""),
    ],
)
def test_hyperpyyaml(key: str, text: str | None, note: str) -> None:
    assert said(composed_of(HYPERPYYAML, "hyperpyyaml"), key) == (text, note)


def test_long_chains_and_doubling_texts_end() -> None:
    chain = "".join(f"k{n}: ${{k{n + 1}}}\n" for n in range(3000))
    composed = composed_of(f"{chain}k3000: 1\n", "omegaconf")
    assert said(composed, "k0")[0] is None
    assert said(composed, "k2990")[0] == "1"
    double = "".join(f"k{n}: ${{k{n + 1}}}${{k{n + 1}}}\n" for n in range(40))
    assert "characters" in said(composed_of(f"{double}k40: xx\n", "omegaconf"), "k0")[1]
    nest = "${" * 2000 + "a" + "}" * 2000
    assert said(composed_of(f"k: '{nest}'\n", "omegaconf"), "k")[0] is None


@given(
    st.lists(st.sampled_from(["${", "}", "a", ".", "[0]", "\\", ":", ",", "'", "oc.select:", "k"]))
)
def test_no_text_is_too_odd(parts: list[str]) -> None:
    text = "".join(parts).replace("'", "''")
    composed = composed_of(f"a: {{a: 1}}\nk: '{text}'\n", "omegaconf")
    node, note = composed.value_of(at(composed, "k"))
    assert node is not None or note


@given(st.text(alphabet="0123456789.+-*/%() e<>an", max_size=30))
def test_arithmetic_is_pythons(text: str) -> None:
    """Where Python finds a plain number, so do we; and nothing else is taken for one."""
    functions: dict[type[ast.operator], Any] = {
        ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
        ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
        ast.Pow: operator.pow,
    }  # fmt: skip

    def number(node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = number(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and type(node.op) in functions:
            left, right = number(node.left), number(node.right)
            if isinstance(node.op, ast.Pow) and (abs(right) > 100 or abs(left) > 1e6):
                raise OverflowError
            return functions[type(node.op)](left, right)
        raise TypeError

    expected: Any
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = number(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError):
        expected = None
    except (ArithmeticError, MemoryError, RecursionError):
        return
    try:
        found = arithmetic.evaluate(text.strip())
    except arithmetic.TooLarge:
        assert expected is not None
        return
    if expected is None or isinstance(expected, complex):
        assert found is None
    elif found is not None:
        assert float(found) == float(expected)
    else:
        assert text.strip()[0] not in "0123456789.+-("


def test_nothing_but_scalars_is_changed() -> None:
    composed = composed_of("a: {b: 1}\n", "omegaconf")
    node = at(composed, "a")
    assert isinstance(node, Mapping)
    assert composed.value_of(node) == (node, "")
