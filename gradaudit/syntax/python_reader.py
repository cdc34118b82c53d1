"""Python configs of the mmengine family (mmdetection, mmsegmentation, ...) as a tree.

`ast` parses them; nothing is executed. The module's variables are the keys of the root mapping, in
the order of their last assignment: assigning a name or a key again replaces it, as in Python, so
that a key stands twice only where a literal has it twice. What only running the file would tell
is unknown (`python_values`, `python_effects`).
"""

from __future__ import annotations

import ast
import warnings

from gradaudit.source import Unreadable
from gradaudit.syntax.limits import nested_too_deep
from gradaudit.syntax.python_effects import (
    assign_into,
    call,
    delete,
    disturb,
    executed,
    spoil_path,
)
from gradaudit.syntax.python_scope import UNKNOWN, UPDATE, Scope
from gradaudit.syntax.python_settle import settle
from gradaudit.syntax.python_values import path_of, read
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, Tree, entries, resolve

__all__ = ["READ_BASE", "UNKNOWN", "UPDATE", "bases", "imported_names", "parse_python"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source

MAX_CHARACTERS = 256 * 1024
"""Longer files are refused: `ast` alone takes 130 MB for one of this length in the worst case, a
list of one-digit numbers; reading one takes up to two seconds."""

READ_BASE = "!read_base"
"""The tag of the `_base_` list that stands for the imports under `with read_base():`."""

_COMPOUND = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar,
    ast.Match,
)  # fmt: skip


def parse_python(source: Source) -> Tree:
    """Parse a Python config; see `syntax.parse` for what is raised."""
    module = _parse(source)
    scope = Scope(source)
    imports: dict[int, dict[str, str]] = {}
    root = scope.mapping(0, len(source.text))
    root.flow = False
    try:
        for statement in module.body:
            _statement(statement, scope, imports)
        root.pairs = list(scope.pairs.values())
        mappings, aliased = settle(root, scope)
    except RecursionError:
        raise Unreadable("too deeply nested to be read") from None
    tree = Tree(source, [root], mappings, aliased, "python")
    tree.imports = imports
    return tree


def _parse(source: Source) -> ast.Module:
    if len(source.text) > MAX_CHARACTERS:
        raise Unreadable(
            f"a Python config of more than {MAX_CHARACTERS // 1024} K characters is not read"
        )
    try:
        with warnings.catch_warnings():  # of "\d" and the like, which Python itself prints
            warnings.simplefilter("ignore")
            return ast.parse(source.text)
    except SyntaxError as error:
        line = min(max(error.lineno or 1, 1), source.line_count)
        column = min(max(error.offset or 1, 1), len(source.line(line)) + 1)
        if "too many nested" in error.msg:
            raise Unreadable(nested_too_deep(), line, column) from None
        raise Unreadable(f"not valid Python: {error.msg}", line, column) from None
    except (RecursionError, MemoryError):
        raise Unreadable("not valid Python: too deeply nested for its parser") from None
    except UnicodeEncodeError as error:
        place = source.position(error.start)
        raise Unreadable("not valid Python: a lone surrogate", *place) from None
    except ValueError as error:
        raise Unreadable(f"not valid Python: {error}") from None


def _statement(statement: ast.stmt, scope: Scope, imports: dict[int, dict[str, str]]) -> None:
    if isinstance(statement, ast.Assign):
        _assign(statement.targets, statement.value, scope)
    elif isinstance(statement, ast.AnnAssign):
        if statement.value is not None:
            _assign([statement.target], statement.value, scope)
    elif isinstance(statement, ast.AugAssign):
        _augmented(statement, scope)
    elif isinstance(statement, ast.Expr):
        if isinstance(statement.value, ast.Call):
            call(statement.value, scope)
        else:
            disturb(statement.value, scope)
    elif isinstance(statement, ast.Delete):
        for target in statement.targets:
            _delete(target, scope)
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        _import(statement, scope)
    elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        scope.pairs.pop(statement.name, None)
        scope.symbols[statement.name] = statement.name
    elif isinstance(statement, ast.With) and _is_read_base(statement):
        _read_base(statement, scope, imports)
    elif isinstance(statement, _COMPOUND):
        _unsettle(statement, scope)


def _assign(targets: list[ast.expr], expr: ast.expr, scope: Scope) -> None:
    if len(targets) == 1 and isinstance(targets[0], (ast.Tuple, ast.List)):
        if _unpack(targets[0].elts, expr, scope):
            return
    value = read(expr, scope)
    disturb(expr, scope)
    for number, target in enumerate(targets):
        _give(target, value if number == 0 else _again(value, expr, scope), expr, scope)


def _again(value: Node, expr: ast.expr, scope: Scope) -> Node:
    """What the second name of `a = b = dict()` stands for: the same object."""
    alias = Alias()
    scope.new(alias, *scope.spans.of(expr))
    alias.name = scope.spans.text[alias.start : alias.end]
    alias.target = resolve(value)
    return alias


def _unpack(targets: list[ast.expr], expr: ast.expr, scope: Scope) -> bool:
    """`a, b = 1, 2`; False where it is not as simple."""
    if not isinstance(expr, (ast.Tuple, ast.List)) or len(targets) != len(expr.elts):
        return False
    if not all(isinstance(target, ast.Name) for target in targets):
        return False
    if any(isinstance(item, ast.Starred) for item in expr.elts):
        return False
    values = [read(item, scope) for item in expr.elts]  # all before the first name changes
    disturb(expr, scope)
    for target, value, item in zip(targets, values, expr.elts, strict=True):
        _give(target, value, item, scope)
    return True


def _give(target: ast.expr, value: Node, expr: ast.expr, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        scope.bind(target.id, *scope.spans.of(target), value)
        return
    disturb(target, scope)
    if isinstance(target, (ast.Attribute, ast.Subscript)):
        assign_into(target, value, scope)
    else:  # `a, *b = ...`: each is a part of a value that is not taken apart
        for inner in ast.walk(target):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                unknown = scope.unknown_of(expr)
                scope.bind(inner.id, *scope.spans.of(inner), unknown)
            elif isinstance(inner, (ast.Attribute, ast.Subscript)):
                spoil_path(inner, scope, scope.unknown_of(expr))


def _augmented(statement: ast.AugAssign, scope: Scope) -> None:
    """`lr *= 2`: a number or text that is known becomes another, all else unknown."""
    target = statement.target
    whole = ast.copy_location(ast.BinOp(target, statement.op, statement.value), statement)
    value = read(whole, scope)
    disturb(statement.value, scope)
    if value.tag == UNKNOWN:
        spoil_path(target, scope, value)  # a list grows in place
    _give(target, value, whole, scope)


def _delete(target: ast.expr, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        scope.pairs.pop(target.id, None)
        scope.symbols.pop(target.id, None)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for item in target.elts:
            _delete(item, scope)
    else:
        parts = path_of(target, scope)
        box = scope.find(parts[:-1]) if parts and len(parts) > 1 else None
        if parts is None or not delete(box, parts[-1][0], scope):
            spoil_path(target.value if isinstance(target, ast.Subscript) else target, scope)


def _import(statement: ast.Import | ast.ImportFrom, scope: Scope) -> None:
    """Imported names are known by where they come from, as mmengine itself writes them down."""
    module = ""
    if isinstance(statement, ast.ImportFrom):
        module = "." * statement.level + (statement.module or "")
        module += "" if module.endswith(".") else "."
    for alias in statement.names:
        name = alias.asname or alias.name
        if not module and alias.asname is None:  # `import torch.optim` binds `torch`
            name = alias.name.partition(".")[0]
            scope.symbols[name] = name
        else:
            scope.symbols[name] = module + alias.name
        scope.pairs.pop(name, None)


def _is_read_base(statement: ast.With) -> bool:
    for item in statement.items:
        expr = item.context_expr
        if isinstance(expr, ast.Call):
            function = expr.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            if (function.id if isinstance(function, ast.Name) else name) == "read_base":
                return True
    return False


def _read_base(statement: ast.With, scope: Scope, imports: dict[int, dict[str, str]]) -> None:
    """The imports of base files become a `_base_` list of their paths."""
    start, end = scope.spans.of(statement.items[0].context_expr)
    known = scope.pairs.get("_base_")
    box = known[1] if known else None
    if type(box) is not Sequence or box.tag != READ_BASE:
        box = scope.sequence(start, end, READ_BASE)
        scope.bind("_base_", start, end, box)
    for inner in executed(statement):
        if not isinstance(inner, ast.ImportFrom):
            continue
        at = scope.spans.of(inner)
        names = {alias.name: alias.asname or alias.name for alias in inner.names}
        if inner.module is None:  # `from . import base`: each name is a file
            for name, here in names.items():
                box.items.append(scope.scalar(_base_path(inner.level, name), *at, style="'"))
                scope.symbols[here] = name
            continue
        node = scope.scalar(_base_path(inner.level, inner.module), *at, style="'")
        box.items.append(node)
        if "*" in names:
            scope.all_inherited = True
        else:
            imports[id(node)] = names
            scope.inherited.update(names.values())


def _base_path(level: int, module: str) -> str:
    """`.._base_.models.resnet` -> `../_base_/models/resnet.py`; an absolute name stays as it is,
    because where that package is installed is not known."""
    return "../" * (level - 1) + module.replace(".", "/") + ".py" if level else module


def _unsettle(statement: ast.stmt, scope: Scope) -> None:
    """`if`, `for`, `try` and the like: what they may assign or change is unknown from here on.

    Whatever is named in one may be put into anything else that is named in it.
    """
    whole = scope.unknown_of(statement)
    for node in executed(statement):
        scope.spend(whole.start)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(node, ast.AugAssign):
                    spoil_path(target, scope, whole)  # a list grows in place
                _make_unknown(target, node.value, whole, scope)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            _make_unknown(node.target, node.iter, whole, scope)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            _make_unknown(node.optional_vars, node.context_expr, whole, scope)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                _forget(alias.asname or alias.name.partition(".")[0], scope)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            _forget(node.name, scope)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                _make_unknown(target, target, whole, scope)
    disturb(statement, scope)


def _make_unknown(target: ast.expr, expr: ast.expr, whole: Node, scope: Scope) -> None:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            unknown = scope.unknown_of(expr)
            scope.share(unknown, whole)
            before = scope.pairs.get(node.id)
            if before is not None:  # it may still be what it was: `if debug: model = other`
                scope.share(unknown, before[1])
            scope.bind(node.id, *scope.spans.of(node), unknown)
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            if not isinstance(node.ctx, ast.Load):
                spoil_path(node.value, scope, whole)


def _forget(name: str, scope: Scope) -> None:
    scope.pairs.pop(name, None)
    scope.symbols.pop(name, None)


def bases(tree: Tree) -> list[tuple[str, Node]]:
    """The files that a config is built on, in order: (path relative to the file, as written; the
    node that names it).

    From `_base_`, and from the imports under `read_base()`; there, an absolute module name is
    given as it is written, without `.py`. A node with the tag `UNKNOWN` names a base that only
    running the file would tell.
    """
    found: list[tuple[str, Node]] = []
    root = tree.roots[0] if tree.roots else None
    if type(root) is Mapping:
        for key, value, _ in entries(root):
            if key.value == "_base_":
                target = resolve(value)
                items = target.items if type(target) is Sequence else [value]
                for item in items:
                    named = resolve(item)
                    if type(named) is Scalar:
                        found.append((named.value, item))
    return found


def imported_names(tree: Tree, node: Node) -> dict[str, str] | None:
    """Of a base (a node of `bases`): which of its names are imported, and as what; None for all."""
    return tree.imports.get(id(node)) if tree.imports is not None else None
