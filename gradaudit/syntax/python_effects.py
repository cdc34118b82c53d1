"""What Python statements do to the containers that a config has built so far.

Assignments to a constant key, `update`, `append`, `pop` and `del` are followed. Whatever else may
change a container makes it unknown.
"""

from __future__ import annotations

import ast

from gradaudit.syntax.python_scope import UPDATE, Part, Scope, name_in_base
from gradaudit.syntax.python_values import dict_call, path_of, read
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeGuard

_HARMLESS = frozenset((
    "abs", "all", "any", "bool", "dict", "enumerate", "float", "format", "frozenset", "hasattr",
    "int", "isinstance", "issubclass", "len", "list", "max", "min", "print", "range", "repr",
    "reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip", "deepcopy",
))  # fmt: skip
_HARMLESS_METHODS = frozenset((
    "copy", "deepcopy", "get", "items", "keys", "values", "count", "index", "format", "join",
    "split", "strip", "replace", "lower", "upper", "startswith", "endswith",
))  # fmt: skip
"""What they return may be a part of a container (`Scope.sources`), but they change none."""

_ANYTHING = frozenset(("exec", "eval", "globals", "locals", "vars"))
"""Through these any variable may be changed."""

_OWN_NAMES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def target_path(expr: ast.expr, scope: Scope) -> tuple[list[Part], bool] | None:
    """The path of what is changed, and whether a base file may have it.

    `_base_.model.depth` is the base's `model.depth`.
    """
    parts = path_of(expr, scope)
    if parts is None:
        return None
    if parts[0][0] == "_base_" and "_base_" in scope.pairs:
        inside = len(parts) > 1 and isinstance(parts[1][0], str)
        return (parts[1:], True) if inside else None
    return parts, scope.inherits(str(parts[0][0]))


def spoil_path(expr: ast.expr, scope: Scope, held: Node | None = None) -> None:
    """Say that the container that `expr` names may be changed in a way that is not followed.

    held: what may be put into it.
    """
    found = target_path(expr, scope)
    node = scope.find(found[0]) if found else None
    at = scope.spans.of(expr)
    if node is not None:
        scope.spoil(node, *at, held)
        return
    name = str(found[0][0][0]) if found else _root_of(expr)
    if name == "_base_":  # the list of files stays
        return
    if name not in scope.pairs and name and ((found and found[1]) or scope.inherits(name)):
        scope.bind(name, *at, scope.unknown(*at))
    if name in scope.pairs:
        scope.spoil(scope.pairs[name][1], *at, held)


def _root_of(expr: ast.AST) -> str:
    """`model` of `model.get('neck')[0].x`; empty where there is no name at the beginning."""
    while True:
        if isinstance(expr, ast.Name):
            return expr.id
        if isinstance(expr, (ast.Attribute, ast.Subscript, ast.Starred)):
            expr = expr.value
        elif isinstance(expr, ast.Call):
            expr = expr.func
        else:
            return ""


def disturb(expr: ast.AST, scope: Scope) -> None:
    """Say what the calls in an expression may change: what they are methods of, and what they are
    given."""
    stack: list[ast.AST] = [expr]
    while stack:
        inner = stack.pop()
        scope.spend(0)
        if isinstance(inner, ast.NamedExpr):
            at = scope.spans.of(inner.target)
            scope.bind(inner.target.id, *at, scope.unknown_of(inner.value))
        if not isinstance(inner, ast.Call):
            stack.extend(ast.iter_child_nodes(inner))
            continue
        function = inner.func
        stack.append(function)
        arguments = [*inner.args, *(keyword.value for keyword in inner.keywords)]
        if isinstance(function, ast.Name):
            if function.id in _ANYTHING:
                _forget_all(inner, scope)
            harmless = function.id in _HARMLESS
        else:
            harmless = isinstance(function, ast.Attribute) and function.attr in _HARMLESS_METHODS
        if harmless:
            stack.extend(arguments)
            continue
        together = scope.unknown_of(inner)
        if isinstance(function, ast.Attribute):
            spoil_path(function.value, scope, together)
        _spoil_all(arguments, together, scope)


def _spoil_all(arguments: list[ast.expr], together: Node, scope: Scope) -> None:
    """Whatever is named in the arguments of a call may be changed by it, and put into another."""
    inside = [node for argument in arguments for node in ast.walk(argument)]
    stored = {node.id for node in inside if _is_stored(node)}
    for node in inside:
        if isinstance(node, (ast.Attribute, ast.Subscript)) and name_in_base(node):
            spoil_path(node, scope, together)
        elif isinstance(node, ast.Name) and node.id not in stored:
            if node.id in _ANYTHING:
                _forget_all(node, scope)
            spoil_path(node, scope, together)


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _forget_all(expr: ast.expr, scope: Scope) -> None:
    for name, (key, value) in list(scope.pairs.items()):
        scope.spoil(value, *scope.spans.of(expr))
        scope.pairs[name] = (key, scope.unknown(*scope.spans.of(expr)))


def executed(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes below a statement whose names are the module's: not those inside of functions,
    classes and comprehensions."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*_OWN_NAMES, *_COMPREHENSIONS)):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def assign_into(target: ast.Attribute | ast.Subscript, value: Node, scope: Scope) -> None:
    """`model['depth'] = 18`, `cfg.model.depth = 18`, `_base_.lr = 0.1`."""
    found = target_path(target, scope)
    if found is None:
        spoil_path(target, scope, value)
        return
    parts, inherited = found
    at = scope.spans.of(target)
    name, start, end = parts[-1]
    if len(parts) == 1:
        if name not in scope.pairs or name in scope.given:
            scope.given.discard(str(name))
            scope.bind(str(name), start, end, _replacing(value, parts[-1], scope))
            scope.given.add(str(name))
        else:  # the file has one of its own, and the two are merged
            scope.spoil(scope.pairs[str(name)][1], *at, value)
        return
    box = _reach(parts[:-1], inherited, at, scope, value)
    if type(box) is Mapping and id(box) not in scope.copies:
        if box.tag == UPDATE and isinstance(name, int):  # an item of a list of the base
            scope.spoil(box, *at, value)
            return
        if box.tag == UPDATE:
            value = _replacing(value, parts[-1], scope)
        scope.put(box, _key(parts[-1], scope), value)
    elif type(box) is Sequence and isinstance(name, int) and scope.child(box, name) is not None:
        box.items[name] = value
    elif box is not None:
        scope.spoil(box, *at, value)


def _key(part: Part, scope: Scope) -> Scalar:
    key, start, end = part
    quoted = scope.spans.text[end - 1 : end] in ("'", '"')
    return scope.scalar(str(key), start, end, style="'" if quoted else "")


def _reach(
    parts: list[Part], inherited: bool, at: tuple[int, int], scope: Scope, held: Node
) -> Node | None:
    """The container at a path; None where it is not known: `held` may be put into it. In what is
    inherited, mappings that only a base file has are made."""
    name, start, end = parts[0]
    if name in scope.pairs:
        node = resolve(scope.pairs[str(name)][1])
        if inherited and name not in scope.given:  # merged with one of the file's own
            scope.spoil(node, *at, held)
            return None
    elif inherited:
        through_base = not scope.inherits(str(name))
        node = scope.mapping(start, end, UPDATE)
        scope.bind(str(name), start, end, node)
        if through_base:
            scope.given.add(str(name))
    else:
        return None
    for part in parts[1:]:
        if scope.is_spoilt(node):
            break
        below = scope.child(node, part[0])
        made = type(node) is Mapping and node.tag == UPDATE and isinstance(part[0], str)
        if below is None and type(node) is Mapping and made:
            below = scope.mapping(part[1], part[2], UPDATE)
            scope.put(node, _key(part, scope), below)
        if below is None:
            scope.spoil(node, *at, held)
            return None
        node = resolve(below)
    if type(node) is Scalar or scope.is_spoilt(node):
        scope.spoil(node, *at, held)
        return None
    return node


def _replacing(value: Node, part: Part, scope: Scope) -> Node:
    """A dict that takes the place of a base's instead of being merged into it says so as
    configs do: with `_delete_`."""
    if type(value) is Mapping:
        start, end = part[1], part[2]
        key = scope.scalar("_delete_", start, end)
        value.pairs.insert(0, (key, scope.scalar("true", start, end)))
    elif type(value) is Alias and type(resolve(value)) is Mapping:
        unknown = scope.unknown(value.start, value.end)
        scope.share(unknown, value)
        return unknown
    return value


def call(expr: ast.Call, scope: Scope) -> None:
    """A call that is a statement: followed where it is a simple change of a known container."""
    if not isinstance(expr.func, ast.Attribute) or not _method(expr, expr.func, scope):
        disturb(expr, scope)


def _method(expr: ast.Call, function: ast.Attribute, scope: Scope) -> bool:
    """Follow a method call; False where it cannot be, and nothing was changed."""
    found = target_path(function.value, scope)
    if found is None or any(isinstance(arg, ast.Starred) for arg in expr.args):
        return False
    parts, inherited = found
    if function.attr in ("update", "merge"):
        return _update(expr, function.attr, parts, inherited, scope)
    box = scope.find(parts)
    if box is None or expr.keywords or not expr.args:
        return False
    if function.attr == "append" and type(box) is Sequence and len(expr.args) == 1:
        box.items.append(read(expr.args[0], scope))
        disturb(expr.args[0], scope)
        return True
    if function.attr == "pop" and isinstance(expr.args[0], ast.Constant):
        return delete(box, expr.args[0].value, scope)
    return False


def delete(box: Node | None, key: object, scope: Scope) -> bool:
    """Take a key out of a dict of the file; False where that is not all that would happen."""
    if type(box) is not Mapping or box.tag == UPDATE or id(box) in scope.copies:
        return False
    return isinstance(key, str) and scope.take_out(box, key)


def _update(expr: ast.Call, name: str, parts: list[Part], inherited: bool, scope: Scope) -> bool:
    new: Node | None
    if len(expr.args) == 1 and not expr.keywords:
        new = read(expr.args[0], scope)
    else:
        new = dict_call(expr, scope) if not expr.args else None
    if type(new) is not Mapping or any(_is_merge(key) for key, _ in new.pairs):
        return False
    at = scope.spans.of(expr)
    box = _reach(parts, inherited, at, scope, new)
    if box is not None:
        if type(box) is not Mapping or id(box) in scope.copies:
            scope.spoil(box, *at, new)
        elif box.tag == UPDATE:
            if not box.pairs:
                box.start, box.end = new.start, new.end
            _merge(box, new, scope)
        elif name == "update":
            for key, value in new.pairs:
                if type(key) is Scalar:
                    scope.put(box, key, value)
        else:
            scope.spoil(box, *at, new)
    for argument in (*expr.args, *(keyword.value for keyword in expr.keywords)):
        disturb(argument, scope)
    return True


def _is_merge(key: Node) -> bool:
    return type(key) is Scalar and key.value == "<<" and not key.style


def _merge(box: Mapping, new: Mapping, scope: Scope) -> None:
    """Put a dict into one that is inherited: mmengine merges dicts in dicts as well."""
    for key, value in new.pairs:
        if type(key) is not Scalar:
            continue
        before = scope.child(box, key.value)
        if type(value) is Mapping and not _replaces(value):
            inner = resolve(before) if before is not None else None
            simple = not any(_is_merge(name) for name, _ in value.pairs)
            if type(inner) is Mapping and simple and not scope.is_spoilt(inner):
                if type(before) is Mapping and id(inner) not in scope.copies:
                    _merge(inner, value, scope)
                else:
                    scope.spoil(inner, value.start, value.end, value)
                continue
            if inner is not None and type(inner) is not Scalar:
                merged = scope.unknown(value.start, value.end)
                scope.share(merged, value)
                scope.share(merged, inner)
                value = merged
            elif box.tag == UPDATE:
                _mark(value)
        scope.put(box, key, value)


def _replaces(mapping: Mapping) -> bool:
    return any(type(key) is Scalar and key.value == "_delete_" for key, _ in mapping.pairs)


def _mark(mapping: Mapping) -> None:
    """A base file may have more keys of a dict that is put into one of its own."""
    mapping.tag = UPDATE
    for _, value in mapping.pairs:
        if type(value) is Mapping and not _replaces(value):
            _mark(value)
