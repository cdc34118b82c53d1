"""Python expressions as nodes: literals, simple arithmetic and names that are known.

Nothing is executed. What a literal does not say is a `Scalar` with the tag `!python` whose value
is its source text: known to be unknown, never guessed.
"""

from __future__ import annotations

import ast
import operator

from gradaudit.syntax.limits import MAX_DEPTH
from gradaudit.syntax.python_scope import MOST_BITS, UPDATE, Part, Scope, spelt
from gradaudit.syntax.scalars import read_scalar
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, resolve

_LONGEST_TEXT = 4096
"""Of texts that are put together: each doubling takes one short line."""

_DEEPEST_SUM = 100

_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}  # fmt: skip

_NUMBERS = {
    "math.inf": float("inf"), "numpy.inf": float("inf"), "torch.inf": float("inf"),
    "math.nan": float("nan"), "numpy.nan": float("nan"),
}  # fmt: skip


class _NotKnown(Exception):
    """An expression whose value cannot be told."""


def read(expr: ast.expr, scope: Scope) -> Node:
    """The node of an expression."""
    start, end = scope.spans.of(expr)
    node: Node | None = None
    if isinstance(expr, ast.Constant):
        node = scope.constant(expr.value, start, end)
    elif isinstance(expr, ast.Dict):
        node = _display(expr, scope)
    elif isinstance(expr, (ast.List, ast.Tuple)):
        if not any(isinstance(item, ast.Starred) for item in expr.elts):
            box = scope.sequence(start, end)
            for item in expr.elts:
                box.items.append(read(item, scope))
            node = box
    elif isinstance(expr, ast.Call) and _names(expr.func, "dict", scope):
        node = dict_call(expr, scope)
    elif isinstance(expr, (ast.Name, ast.Attribute, ast.Subscript)):
        node = _reference(expr, scope)
    elif isinstance(expr, (ast.UnaryOp, ast.BinOp, ast.Call)):
        try:
            node = scope.constant(value_of(expr, scope), start, end)
        except _NotKnown:
            node = None
    elif isinstance(expr, ast.Set):
        node = _of_base(expr, scope)
    return scope.unknown_of(expr) if node is None else node


def _of_base(expr: ast.Set, scope: Scope) -> Scalar | None:
    """mmengine's `{{_base_.x}}`, to Python a set in a set: as the reference that it is."""
    inner = expr.elts[0]
    if len(expr.elts) != 1 or not isinstance(inner, ast.Set) or len(inner.elts) != 1:
        return None
    named = inner.elts[0]
    if not isinstance(named, ast.Attribute):
        return None
    parts = path_of(named, scope)
    if parts is None or parts[0][0] != "_base_":
        return None
    node = scope.unknown_of(named)
    node.start, node.end = scope.spans.of(expr)
    return node


def path_of(expr: ast.expr, scope: Scope) -> list[Part] | None:
    """The variable and the steps of `model['backbone'].depth`; None where one is not known."""
    parts: list[Part] = []
    while len(parts) < MAX_DEPTH:
        start, end = scope.spans.of(expr)
        if isinstance(expr, ast.Name):
            parts.append((expr.id, start, end))
            return parts[::-1]
        if isinstance(expr, ast.Attribute):
            parts.append((expr.attr, scope.spans.name_before(end), end))
            expr = expr.value
        elif isinstance(expr, ast.Subscript):
            try:
                key = value_of(expr.slice, scope)
            except _NotKnown:
                return None
            if isinstance(key, float):
                return None
            parts.append((key, *scope.spans.of(expr.slice)))
            expr = expr.value
        else:
            return None
    return None


def _reference(expr: ast.expr, scope: Scope) -> Node | None:
    """A variable of the file is an alias; a class, function or module is its dotted name."""
    parts = path_of(expr, scope)
    if parts is None:
        return None
    name = str(parts[0][0])
    start, end = scope.spans.of(expr)
    if name in scope.pairs:
        target = scope.find(parts)
        if target is None or target.tag == UPDATE:
            return None
        alias = Alias()
        scope.new(alias, start, end)
        alias.name = scope.spans.text[start:end]
        alias.target = target
        return alias
    while isinstance(expr, ast.Attribute):
        expr = expr.value
    if name not in scope.symbols or not isinstance(expr, ast.Name):
        return None
    dotted = ".".join([scope.symbols[name], *(str(key) for key, _, _ in parts[1:])])
    if dotted in _NUMBERS:
        return scope.constant(_NUMBERS[dotted], start, end)
    node = scope.scalar(dotted, start, end)
    scope.texts[id(node)] = node
    return node


def _display(expr: ast.Dict, scope: Scope) -> Mapping | None:
    """`{...}`. What is spread into it (`**base`) must come first, so that it never wins."""
    spread = [key is None for key in expr.keys]
    if spread != sorted(spread, reverse=True):
        return None
    box = scope.mapping(*scope.spans.of(expr))
    for key, value in zip(expr.keys, expr.values, strict=True):
        if key is None:
            if not _copy_into(box, value, scope):
                return None
            continue
        start, end = scope.spans.of(key)
        known = _key(key, scope)
        if known is None:
            return None
        named = scope.scalar(known, start, end, style="'" if isinstance(key, ast.Constant) else "")
        box.pairs.append((named, read(value, scope)))
    return box


def _key(expr: ast.expr, scope: Scope) -> str | None:
    """The text of a dict's key; None where it is not known."""
    if isinstance(expr, ast.Constant):
        return spelt(expr.value)
    try:
        return spelt(value_of(expr, scope))
    except _NotKnown:
        return None


def dict_call(expr: ast.Call, scope: Scope) -> Mapping | None:
    """The arguments of `dict(...)`, or of a call that takes the same."""
    if len(expr.args) > 1:
        return None
    box = scope.mapping(*scope.spans.of(expr))
    if expr.args and not _copy_into(box, expr.args[0], scope):
        return None
    for keyword in expr.keywords:
        if keyword.arg is None:
            if not _copy_into(box, keyword.value, scope):
                return None
            continue
        start = scope.spans.of(keyword)[0]
        key = scope.scalar(keyword.arg, start, scope.spans.name_at(start))
        box.pairs.append((key, read(keyword.value, scope)))
    return box


def _copy_into(box: Mapping, expr: ast.expr, scope: Scope) -> bool:
    """`dict(base, ...)`, `{**base, ...}`: YAML's merge key says the same, where `base` is known."""
    node = read(expr, scope)
    source = resolve(node)
    if type(source) is not Mapping or source.tag == UPDATE:
        return False
    start, end = scope.spans.of(expr)
    box.pairs.append((scope.scalar("<<", start, end), node))
    scope.copies.setdefault(id(source), (source, []))[1].append(box)
    return True


def _names(expr: ast.expr, builtin: str, scope: Scope) -> bool:
    """Whether an expression is a builtin that the file gives no other meaning."""
    return (
        isinstance(expr, ast.Name)
        and expr.id == builtin
        and builtin not in scope.pairs
        and builtin not in scope.symbols
    )


def value_of(expr: ast.expr, scope: Scope, depth: int = 0) -> int | float | str:
    """The number or text that an expression of constants and known names gives.

    Raises:
        _NotKnown: anything else, or larger than any config needs.
    """
    if depth > _DEEPEST_SUM:
        raise _NotKnown
    result: object = None
    if isinstance(expr, ast.Constant):
        result = expr.value
    elif isinstance(expr, (ast.Name, ast.Attribute, ast.Subscript)):
        node = _reference(expr, scope)
        target = resolve(node) if node is not None else None
        if type(target) is Scalar and target.tag is None and id(target) not in scope.texts:
            result = read_scalar(target)
    elif isinstance(expr, ast.UnaryOp) and isinstance(expr.op, (ast.USub, ast.UAdd)):
        number = value_of(expr.operand, scope, depth + 1)
        if not isinstance(number, str):
            result = -number if isinstance(expr.op, ast.USub) else number
    elif isinstance(expr, ast.BinOp):
        left = value_of(expr.left, scope, depth + 1)
        right = value_of(expr.right, scope, depth + 1)
        result = _combined(left, right, expr.op)
    elif isinstance(expr, ast.Call) and len(expr.args) == 1 and not expr.keywords:
        for builtin, convert in (("float", float), ("int", int)):
            if _names(expr.func, builtin, scope):
                try:
                    result = convert(value_of(expr.args[0], scope, depth + 1))
                except (ValueError, OverflowError):
                    raise _NotKnown from None
    if isinstance(result, bool) or not isinstance(result, (int, float, str)):
        raise _NotKnown
    if isinstance(result, str):
        if len(result) > _LONGEST_TEXT:
            raise _NotKnown
    elif isinstance(result, int) and result.bit_length() > MOST_BITS:
        raise _NotKnown
    return result


def _combined(left: int | float | str, right: int | float | str, sign: ast.operator) -> object:
    function = _OPERATORS.get(type(sign))
    if isinstance(left, str) or isinstance(right, str):
        both = isinstance(left, str) and isinstance(right, str)
        return left + right if both and function is operator.add else None  # type: ignore[operator]
    if function is operator.pow and isinstance(left, int) and isinstance(right, int):
        if max(left.bit_length(), 1) * abs(right) > MOST_BITS:
            return None
    try:
        return function(left, right) if function else None
    except ArithmeticError:
        return None
