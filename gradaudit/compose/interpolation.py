"""What a value that refers to others stands for. Nothing is executed: a resolver that only the
program knows leaves its value unknown.

OmegaConf's `${a.b}` and hyperpyyaml's `!ref <a>` are followed by the dialect's rules; in a file
whose loader is not known, both.
"""

from __future__ import annotations

import re

from gradaudit.compose import arithmetic
from gradaudit.compose.merge import in_force
from gradaudit.compose.model import LOST
from gradaudit.compose.references import LONGEST, Unknown, arguments, brief, is_resolver, split
from gradaudit.syntax.pattern import later
from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, path_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.model import Composed, Path
    from gradaudit.syntax.tree import Node

    Result = tuple[Node | None, str]

_DEEPEST = 50
"""References that are followed one after the other."""

_KEY = re.compile(r"\.*[^.\[\]\s:{}$,]*(?:\.[^.\[\]\s:{}$,]+|\[[^\[\]{}$,]+\])*\Z")
_STEP = re.compile(r"[^.\[\]]+")
_REF = re.compile(r"<([^<>]*)>")
_REF_KEY = re.compile(r"([^\[\].]+)((?:\[[^\[\]]+\])*)\Z")
_OF_BASE = later(r"_base_((?:\.\w+|\[['\"]?\w+['\"]?\])+)\Z")
_BASE_TEXT = later(r"\{\{\s*_base_((?:\.\w+)+)\s*\}\}\Z")

_CIRCLE = "it refers to itself"

PYTHON = "!python"
MANDATORY = "mandatory: it is given at launch"


def value_of(composed: Composed, node: Scalar) -> Result:
    """What a scalar stands for, and how that is known; see `Composed.value_of`."""
    known = composed.known.get(id(node))
    if known is None:
        # With the node itself, so that no other can get its id.
        known = composed.known[id(node)] = (node, *_Search(composed).follow(node))
    return known[1:]


class _Search:
    """One question: `path` are the nodes that led here, each with its text."""

    __slots__ = ("composed", "path", "style")

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.style: str = composed.dialect.get("interpolation", "")
        self.path: list[Scalar] = []

    def follow(self, node: Node, at: Path | None = None) -> Result:
        """What a node stands for. `at` is where it stands below the roots, if that is known."""
        node = resolve(node)
        if type(node) is not Scalar:
            return (None, "an alias without an anchor") if type(node) is Alias else (node, "")
        known = self.composed.known.get(id(node))
        if known is not None:
            return known[1:]
        if any(node is other for other in self.path):
            circle = self.path[next(i for i, n in enumerate(self.path) if n is node) :]
            texts = " -> ".join(brief(other.value) for other in [*circle, node])
            return None, f"{_CIRCLE}: {texts}"
        if len(self.path) >= _DEEPEST:
            return None, f"more than {_DEEPEST} references one after the other"
        self.path.append(node)
        try:
            return self._value(node, at)
        except Unknown as why:
            return None, str(why)
        finally:
            self.path.pop()

    def _value(self, node: Scalar, at: Path | None) -> Result:
        text, tag = node.value, node.tag
        if tag is not None and tag[:1] == "!" and tag != "!":
            return self._tagged(node, tag)
        if self.style in ("omegaconf", "") and "${" in text:
            return self._interpolated(node, at)
        if self.style == "omegaconf" and text == "???":
            return None, MANDATORY
        base = _BASE_TEXT.match(text) if "{{" in text else None
        if base is not None:
            return self._of_base(node, base[1])
        return node, ""

    # OmegaConf

    def _interpolated(self, node: Scalar, at: Path | None) -> Result:
        parts = split(node.value)
        if len(parts) == 1 and parts[0][0]:
            return self._one(node, parts[0][1], at)
        made, names = [], []
        for refers, text in parts:
            if not refers:
                made.append(text)
                continue
            made.append(self._text(node, text, at))
            names.append(f"${{{text}}}")
            if sum(map(len, made)) > LONGEST:
                raise Unknown(f"a text of more than {LONGEST} characters")
        # OmegaConf makes text of it even where it looks like a number.
        return _scalar("".join(made), node, '"' if names else node.style), _from(names)

    def _text(self, node: Scalar, inner: str, at: Path | None) -> str:
        found, why = self._one(node, inner, at)
        if found is None:
            raise Unknown(why)
        if type(found) is not Scalar:
            raise Unknown(f"${{{inner}}} is no plain value")
        return found.value

    def _one(self, node: Scalar, inner: str, at: Path | None) -> Result:
        """What `${inner}` stands for."""
        written = inner
        if not is_resolver(inner):
            inner = self._expanded(node, inner, at)
        inner = inner.strip()
        if is_resolver(inner):
            return self._resolver(node, inner, at)
        if not _KEY.match(inner) or not inner.strip("."):
            raise Unknown(f"${{{brief(written)}}} cannot be followed")
        target, where = self._find(node, inner, at)
        if target is None:
            raise Unknown(self._absent(f"${{{inner}}}", where))
        return self._arrive(node, target, where, f"${{{inner}}}")

    def _expanded(self, node: Scalar, text: str, at: Path | None) -> str:
        """A key with what is nested in it: `a.${b}`."""
        if "${" not in text:
            return text
        return "".join(
            self._text(node, part, at) if refers else part for refers, part in split(text)
        )

    def _find(self, node: Scalar, key: str, at: Path | None) -> tuple[Node | None, Path]:
        """The node at `a.b`, `a[0]` or (relative to where `node` stands) `..a`; and its path."""
        level = len(key) - len(key.lstrip("."))
        steps = tuple(part.strip("'\" ") for part in _STEP.findall(key[level:]))
        if level:
            here = at if at is not None else self._place(node)
            if level > len(here):
                return None, steps
            steps = here[: len(here) - level] + steps
        return self._lookup(steps), steps

    def _place(self, node: Scalar) -> Path:
        """Where a node stands below the roots: in its file, and that where it is mounted."""
        tree = self.composed.tree_of(node)
        inside = tuple(map(str, path_of(self._written(node), tree)[1:]))
        return self.composed.mounts.get(id(tree), ()) + inside

    def _written(self, node: Scalar) -> Node:
        """The node itself; of one that is put together (`_scalar`), the one it was made of."""
        parent = node.parent
        if type(parent) is Mapping:
            for _, value in parent.pairs:
                if value.start == node.start and value.end == node.end:
                    return value
        elif type(parent) is Sequence:
            for value in parent.items:
                if value.start == node.start and value.end == node.end:
                    return value
        return node

    def _arrive(self, node: Scalar, target: Node, where: Path, written: str) -> Result:
        found, why = self.follow(target, where)
        if found is None:
            return None, why if why.startswith(_CIRCLE) else f"{written}: {why}"
        return found, self._came(written, found, node)

    def _came(self, written: str, target: Node, node: Node) -> str:
        tree = self.composed.tree_of(target)
        line = tree.source.line_at(target.start)
        if tree is self.composed.tree_of(node):
            return f"from {written}, line {line}"
        return f"from {written}, {tree.source.path}:{line}"

    def _absent(self, written: str, where: Path) -> str:
        name = ".".join(where) or written
        if self.composed.missing:
            return (
                f"{written}: `{name}` may be in {self.composed.missing[0].path}, which was not read"
            )
        return f"{written}: {LOST[0]}{name}{LOST[1]}"

    def _resolver(self, node: Scalar, inner: str, at: Path | None) -> Result:
        """`${name:arguments}`: two of OmegaConf's own say all that is needed; others are code."""
        name, _, rest = inner.partition(":")
        given = arguments(rest)
        if name == "oc.select":
            given[0] = self._expanded(node, given[0], at)
        if name == "oc.select" and 1 <= len(given) <= 2 and _KEY.match(given[0]):
            target, where = self._find(node, given[0], at)
            if target is not None:
                found, why = self._arrive(node, target, where, f"${{{brief(inner)}}}")
                if found is not None or not why.endswith(MANDATORY) or len(given) < 2:
                    return found, why
            elif self.composed.missing:
                raise Unknown(self._absent(f"${{{brief(inner)}}}", where))
            if len(given) == 2:
                return self._argument(node, given[1], at, f"the default of ${{{brief(inner)}}}")
            return _scalar("null", node, ""), f"${{{brief(inner)}}} finds nothing"
        if name == "oc.decode" and len(given) == 1:
            found, why = self._argument(node, given[0], at, f"${{{brief(inner)}}}")
            if type(found) is Scalar:
                return _scalar(found.value, node, ""), why
        raise Unknown(f"${{{brief(inner)}}} is computed at run time")

    def _argument(self, node: Scalar, text: str, at: Path | None, note: str) -> Result:
        if "${" in text:
            found, why = self._interpolated(_scalar(text, node, ""), at)
            return found, why or note
        if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
            return _scalar(text[1:-1], node, '"'), note
        if text[:1] in ("[", "{"):
            raise Unknown(f"{note}: lists are not followed")
        return _scalar(text, node, ""), note

    # hyperpyyaml, and what other loaders make of tags

    def _tagged(self, node: Scalar, tag: str) -> Result:
        if tag == PYTHON:
            base = _OF_BASE.match(node.value)
            if base is not None:
                return self._of_base(node, base[1])
            return None, "only running the file would tell"
        if self.style in ("hyperpyyaml", ""):
            if tag == "!PLACEHOLDER":
                return None, "a placeholder: it is given at launch"
            if tag in ("!ref", "!copy"):
                return self._reference(node, tag)
        return None, f"made by `{brief(tag)}`"

    def _reference(self, node: Scalar, tag: str) -> Result:
        """`<a[b]>` is the node itself, `<a> * 2` a number, `<a>/save` a text."""
        text = node.value
        whole = _REF.fullmatch(text.strip())
        if whole is not None:
            target, where = self._referred(whole[1])
            if target is None:
                raise Unknown(self._absent(f"{tag} <{whole[1]}>", where))
            return self._arrive(node, target, where, f"{tag} <{whole[1]}>")
        if tag == "!copy":
            raise Unknown(f"`{brief(text)}` is no reference")
        if len(text) > LONGEST:
            raise Unknown(f"a text of more than {LONGEST} characters")
        names: list[str] = []
        made, last = [], 0
        for match in _REF.finditer(text):
            target, where = self._referred(match[1])
            if target is None:
                raise Unknown(self._absent(f"{tag} <{match[1]}>", where))
            found, why = self._arrive(node, target, where, f"{tag} <{match[1]}>")
            if found is None:
                raise Unknown(why)
            if type(found) is not Scalar:
                raise Unknown(f"<{match[1]}> is no plain value")
            names.append(f"<{match[1]}>")
            made += [text[last : match.start()], found.value]
            last = match.end()
            if sum(map(len, made)) > LONGEST:
                raise Unknown(f"a text of more than {LONGEST} characters")
        result = "".join([*made, text[last:]])
        note = f"from {tag} {brief(text)}" if names else ""
        try:
            number = arithmetic.evaluate(result)
        except arithmetic.TooLarge as error:
            raise Unknown(f"`{brief(text)}`: {error}") from None
        if number is not None:
            return _scalar(number, node, ""), note
        return _scalar(result, node, '"'), note

    def _referred(self, key: str) -> tuple[Node | None, Path]:
        match = _REF_KEY.match(key.strip())
        if match is None:
            raise Unknown(f"<{brief(key)}> is read from an object at run time")
        steps = (match[1], *(part.strip("'\" ") for part in _STEP.findall(match[2])))
        return self._lookup(steps), steps

    def _of_base(self, node: Scalar, keys: str) -> Result:
        """`_base_.a.b`: what the files say that the file is built on, whatever it says itself."""
        steps = tuple(part.strip("'\"") for part in _STEP.findall(keys))
        base = self.composed.under.get(id(self.composed.tree_of(node)))
        target = self._below(base, steps) if base is not None else None
        written = "_base_." + ".".join(steps)
        if target is None:
            raise Unknown(self._absent(written, steps))
        return self._arrive(node, target, steps, written)

    def _lookup(self, steps: Path) -> Node | None:
        """The value in force at a path of keys and indices below the roots, the last first."""
        for root in reversed(self.composed.roots):
            found = self._below(root, steps)
            if found is not None:
                return found
        return None

    def _below(self, node: Node, steps: Path) -> Node | None:
        for step in steps:
            node = resolve(node)
            if type(node) is Scalar:  # `${a.b}` where `a: ${c}`
                found, why = self.follow(node)
                if why.startswith(_CIRCLE):
                    raise Unknown(why)
                if found is None:
                    return None
                node = found
            if type(node) is Mapping:
                index = self.composed.index.get(id(node))
                if index is None:
                    index = self.composed.index[id(node)] = {
                        key.value: value for key, value in in_force(node) if type(key) is Scalar
                    }
                if step not in index:
                    return None
                node = index[step]
            elif type(node) is Sequence and step.isdecimal() and int(step) < len(node.items):
                node = node.items[int(step)]
            else:
                return None
        return node


def _scalar(text: str, node: Scalar, style: str) -> Scalar:
    """A text that is put together, in the place of `node`."""
    if len(text) > LONGEST:
        raise Unknown(f"a text of more than {LONGEST} characters")
    made = Scalar()
    made.value = text
    made.style = style
    made.tag = None
    made.anchor = None
    made.start, made.end = node.start, node.end
    made.parent = node.parent
    return made


def _from(names: list[str]) -> str:
    return f"from {brief(' and '.join(dict.fromkeys(names)))}" if names else ""
