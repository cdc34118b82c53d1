"""Python source as scopes: what is called and assigned, in order, and under which conditions.

Read with `ast`, never imported or run. What these tell the rest works on source text alone, so it
is about what is written in one file: a call into another file is a name and nothing more.
"""

from __future__ import annotations

import ast
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradaudit.source import Source

    Function = ast.FunctionDef | ast.AsyncFunctionDef
    Within = tuple[tuple[ast.stmt, bool], ...]

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
_CLOSED = (*FUNCTIONS, ast.ClassDef, ast.Lambda)
"""What runs later, if at all: not where it stands."""


_RATE = re.compile(r"(?:^|_)lr(?:_|$)|learning_rate")
_PRODUCT = (ast.Div, ast.Mult)


class Call:
    """A call, the compound statements around it (outermost first), and its number in the scope.

    Each statement comes with whether the call stands in its body (or header), not in its `else`.
    """

    __slots__ = ("node", "order", "within")

    def __init__(self, node: ast.Call, within: Within, order: int) -> None:
        self.node = node
        self.within = within
        self.order = order

    def is_in(self, statement: ast.stmt) -> bool:
        return any(outer is statement for outer, _ in self.within)

    @property
    def loops(self) -> list[ast.stmt]:
        return [outer for outer, _ in self.within if isinstance(outer, LOOPS)]

    @property
    def method(self) -> str:
        """`step` of `optimizer.step()`; empty for a plain name."""
        return self.node.func.attr if isinstance(self.node.func, ast.Attribute) else ""

    @property
    def receiver(self) -> ast.expr | None:
        return self.node.func.value if isinstance(self.node.func, ast.Attribute) else None


class Value:
    """What a name is given. `operator`: of `x /= y`. `position`: which of several that are unpacked
    (None for all of it). A value of None is one that cannot be followed."""

    __slots__ = ("node", "operator", "order", "position", "within")

    def __init__(
        self,
        node: ast.expr | None,
        within: Within,
        order: int,
        operator: ast.operator | None = None,
        position: int | None = None,
    ) -> None:
        self.node = node
        self.within = within
        self.order = order
        self.operator = operator
        self.position = position


class Scope:
    """One function, or a module outside all functions: calls and values in the order of the text.

    values  dotted name (`loss`, `self.loss`) -> what it is given here.
    outer   the scope around it; None for the module.
    """

    __slots__ = ("assigned", "calls", "outer", "parameters", "values")

    def __init__(self, outer: Scope | None) -> None:
        self.outer = outer
        self.calls: list[Call] = []
        self.values: dict[str, list[Value]] = {}
        self.assigned: list[tuple[ast.expr, Value]] = []
        """Every target with its value, those that are no names too."""
        self.parameters: set[str] = set()


class Code:
    """A file: its scopes (the module first), and what its imports name.

    rates    what learning rates are multiplied with and divided by. comparisons: every `a < b` of
             two. imports: local name -> dotted name: `F` -> `torch.nn.functional`.
    defined  every function, method and class that the file writes out, by its name.
    fields   `self.x` -> what any method of the file gives it.
    """

    def __init__(self, source: Source, tree: ast.Module) -> None:
        """Raises: RecursionError: nested too deep."""
        self.source = source
        self.rates: list[ast.expr] = []
        self.comparisons: list[ast.Compare] = []
        self.defined: dict[str, ast.AST] = {}
        inner: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and len(node.ops) == 1:
                self.comparisons.append(node)
            elif isinstance(node, ast.BinOp) and id(node) not in inner:
                if any(_is_rate(factor) for factor in _factors(node, inner)):
                    self.rates.append(node)
            elif isinstance(node, ast.AugAssign) and isinstance(node.op, _PRODUCT):
                if _is_rate(node.target):
                    self.rates.append(node.value)
            elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                self.defined[node.name] = node
        self.imports: dict[str, str] = {}
        self.scopes: list[Scope] = []
        self.fields: dict[str, list[Value]] = {}
        _Reader(self).scope(tree.body, None, ())

    def resolve(self, node: ast.expr) -> str:
        """The dotted name that an expression means, imports followed; empty where it is none."""
        name = dotted(node)
        first, dot, rest = name.partition(".")
        return self.imports.get(first, first) + dot + rest

    def values_of(self, name: str, scope: Scope) -> list[Value]:
        """What a name is given: in the scope, else in those around it; for `self.x` by any method.

        A parameter hides what stands outside, and has no value here.
        """
        if name.startswith("self."):
            return self.fields.get(name, [])
        here: Scope | None = scope
        while here is not None:
            if name in here.values or name in here.parameters:
                return here.values.get(name, [])
            here = here.outer
        return []

    def constant(self, node: ast.expr, scope: Scope) -> object:
        """The value of a literal, or of a name that is given one literal only; None if neither."""
        if isinstance(node, ast.Constant):
            return node.value
        values = self.values_of(dotted(node), scope)
        if len(values) == 1 and isinstance(values[0].node, ast.Constant):
            return None if values[0].operator else values[0].node.value
        return None

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node begins and ends, in characters."""
        end_line = node.end_lineno or node.lineno
        end_column = node.end_col_offset if node.end_col_offset is not None else node.col_offset
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def text(self, node: ast.expr) -> str:
        """As it stands, in one line."""
        start, end = self.span(node)
        return " ".join(self.source.text[start:end].split())

    def _offset(self, line: int, column: int) -> int:
        """`ast` counts columns in UTF-8 bytes; spans here are in characters."""
        text = self.source.line(line)
        return self.source.offset(line) + len(text.encode()[:column].decode(errors="replace"))


class _Reader:
    """Fills a `Code`: one pass over the statements."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.order = 0

    def scope(self, body: list[ast.stmt], outer: Scope | None, parameters: Iterable[str]) -> None:
        scope = Scope(outer)
        scope.parameters.update(parameters)
        self.code.scopes.append(scope)
        self._block(body, scope, ())

    def _block(self, body: list[ast.stmt], scope: Scope, within: Within) -> None:
        for statement in body:
            self._statement(statement, scope, within)

    def _statement(self, node: ast.stmt, scope: Scope, within: Within) -> None:
        if isinstance(node, FUNCTIONS):
            given = node.args
            names = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            names += [name for name in (given.vararg, given.kwarg) if name]
            self.scope(node.body, scope, (name.arg for name in names))
        elif isinstance(node, ast.ClassDef):
            self._block(node.body, Scope(scope), ())  # its methods; the class itself trains nothing
        elif isinstance(node, ast.Import):
            for name in node.names:
                top = name.name.partition(".")[0]
                self.code.imports[name.asname or top] = name.name if name.asname else top
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                self.code.imports[name.asname or name.name] = f"{node.module or ''}.{name.name}"
        else:
            self._plain(node, scope, within)

    def _plain(self, node: ast.stmt, scope: Scope, within: Within) -> None:
        self.order += 1
        blocks = [
            (name, value)
            for name, value in ast.iter_fields(node)
            if isinstance(value, list) and value and isinstance(value[0], _BLOCK)
        ]
        inside = (*within, (node, True)) if blocks else within
        for expression in _own(node):
            self._calls(expression, scope, inside)
        self._values(node, scope, within)
        for name, value in blocks:
            path = (*within, (node, name not in ("orelse", "handlers", "finalbody")))
            for part in value:
                if isinstance(part, ast.stmt):
                    self._statement(part, scope, path)
                else:  # an `except` or a `case`
                    self._block(part.body, scope, path)

    def _calls(self, node: ast.expr, scope: Scope, within: Within) -> None:
        stack: list[ast.AST] = [node]
        found: list[ast.Call] = []
        while stack:
            inner = stack.pop()
            if isinstance(inner, _CLOSED):
                continue
            if isinstance(inner, ast.Call):
                found.append(inner)
            stack.extend(ast.iter_child_nodes(inner))
        for call in sorted(
            found, key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0)
        ):
            self.order += 1
            scope.calls.append(Call(call, within, self.order))

    def _values(self, node: ast.stmt, scope: Scope, within: Within) -> None:
        self.order += 1
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._give(target, Value(node.value, within, self.order), scope)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._give(node.target, Value(node.value, within, self.order), scope)
        elif isinstance(node, ast.AugAssign):
            self._give(node.target, Value(node.value, within, self.order, node.op), scope)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._give(node.target, Value(None, within, self.order), scope)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if item.optional_vars is not None:
                    given = Value(_scaled_by_apex(item.context_expr), within, self.order)
                    self._give(item.optional_vars, given, scope)

    def _give(self, target: ast.expr, value: Value, scope: Scope) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for position, part in enumerate(target.elts):
                node, at = value.node, position
                if isinstance(node, (ast.Tuple, ast.List)) and len(node.elts) == len(target.elts):
                    self._give(part, Value(node.elts[position], value.within, value.order), scope)
                else:
                    self._give(part, Value(node, value.within, value.order, None, at), scope)
            return
        scope.assigned.append((target, value))
        name = dotted(target)
        if name:
            scope.values.setdefault(name, []).append(value)
            if name.startswith("self."):
                self.code.fields.setdefault(name, []).append(value)


_BLOCK = (ast.stmt, ast.ExceptHandler, ast.match_case)


def _own(node: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement itself, without those of the statements in it."""
    for _, value in ast.iter_fields(node):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.expr):
                yield part
            elif isinstance(part, ast.withitem):
                yield part.context_expr


def _factors(node: ast.BinOp, inner: set[int]) -> list[ast.expr]:
    """What a product or quotient is of; `inner` gains the products in it, which are seen then."""
    factors: list[ast.expr] = []
    waiting: list[ast.expr] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.BinOp) and isinstance(part.op, _PRODUCT):
            inner.add(id(part))
            waiting += (part.left, part.right)
        else:
            factors.append(part)
    return factors


def _is_rate(node: ast.expr) -> bool:
    """`lr`, `args.learning_rate`, `group["lr"]`."""
    named = last_name(node)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        named = str(node.slice.value)
    return bool(_RATE.search(named.lower()))


def _scaled_by_apex(node: ast.expr) -> ast.expr | None:
    """`with amp.scale_loss(loss, optimizer) as scaled:` gives the loss, times a scale."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "scale_loss" and node.args:
            return node.args[0]
    return None


def dotted(node: ast.expr | None) -> str:
    """`self.optimizer` as text; empty for anything but names joined by dots."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def last_name(node: ast.expr | None) -> str:
    """`optimizer` of `self.optimizer`, of `optimizer` and of `self.optimizers[0]`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def same(one: ast.AST | None, other: ast.AST | None) -> bool:
    """Whether two expressions are written alike."""
    if one is None or type(one) is not type(other):
        return False
    if isinstance(one, ast.Name) and isinstance(other, ast.Name):
        return one.id == other.id
    assert other is not None
    return one is other or ast.dump(one) == ast.dump(other)


def mentions(node: ast.expr, wanted: ast.expr) -> bool:
    """Whether an expression stands somewhere in another."""
    return any(same(inner, wanted) for inner in ast.walk(node) if isinstance(inner, ast.expr))


def identifiers(node: ast.AST) -> Iterator[str]:
    """Every name in it, lower case: of variables, attributes, keyword arguments and text keys."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id.lower()
        elif isinstance(inner, ast.Attribute):
            yield inner.attr.lower()
        elif isinstance(inner, ast.keyword) and inner.arg:
            yield inner.arg.lower()
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value.lower()


def keyword(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """An argument of a call by its name, or by its position."""
    for given in call.keywords:
        if given.arg == name:
            return given.value
    if position is not None and position < len(call.args):
        argument = call.args[position]
        return None if isinstance(argument, ast.Starred) else argument
    return None
