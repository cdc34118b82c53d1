"""Loss terms: flat `*_weight` keys, a mapping of weights, or a list of one-pair mappings."""

from __future__ import annotations

from gradaudit.findings import Place
from gradaudit.plan.model import OVERRIDE, WRITTEN, LossTerm, Setting
from gradaudit.syntax.scalars import read_scalar, to_number
from gradaudit.syntax.tree import Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.syntax.tree import Node, Tree

_FLAT_SECTIONS = ("unit", "loss", "training", "optimizer")


class TermCandidate:
    """A key that names no setting: perhaps a loss term's weight."""

    __slots__ = ("key", "merged", "name", "path", "section", "section_name", "value")

    def __init__(
        self, name: str, section_name: str, key: Scalar, value: Node, path: str, section: str,
        merged: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.section_name = section_name
        self.key = key
        self.value = value
        self.path = path
        self.section = section
        self.merged = merged


def find_terms(candidates: list[TermCandidate], tree: Tree, words: dict[str, Any]) -> list[LossTerm]:
    """The terms of one unit, in file order.

    Flat keys count only where at least one of them has a known role: `edge_weight` and
    `node_weight` of a graph are no loss.
    """
    terms: dict[str, LossTerm] = {}
    flat_known = False
    flat: list[LossTerm] = []
    for candidate in candidates:
        name = _term_name(candidate, words)
        if name is None:
            continue
        setting = _weight(candidate, tree)
        if setting is None or setting.number is None or setting.number < 0:
            continue
        tokens = tuple(token for token in name.split("_") if token)
        role = _role(tokens, words["roles"])
        term = LossTerm(name, setting.number, role, setting, tokens)
        if candidate.section in ("loss", "loss_weights"):
            terms[candidate.path] = term
        else:
            flat.append(term)
            flat_known = flat_known or role != "unknown"
    if flat_known:
        for term in flat:
            terms.setdefault(term.setting.key, term)
    return sorted(
        terms.values(), key=lambda term: term.setting.place.start if term.setting.place else 0
    )


def _term_name(candidate: TermCandidate, words: dict[str, Any]) -> str | None:
    name = candidate.name
    if name in words["never"]:
        return None
    if candidate.section == "loss_weights":
        return name
    if candidate.section == "loss" and name in words["in_term"]:
        return candidate.section_name
    if candidate.section not in _FLAT_SECTIONS:
        return None
    for suffix in words["suffixes"]:
        if name.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    for prefix in words["prefixes"]:
        if name.startswith(prefix) and len(name) > len(prefix):
            return name[len(prefix) :]
    return None


def _role(tokens: tuple[str, ...], roles: dict[str, str]) -> str:
    """An auxiliary word decides over a primary one: `calib_rank` is a calibration."""
    found = {roles[token] for token in tokens if token in roles}
    for role in ("auxiliary", "regulariser", "primary"):
        if role in found:
            return role
    return "unknown"


def _weight(candidate: TermCandidate, tree: Tree) -> Setting | None:
    target = resolve(candidate.value)
    if type(target) is not Scalar:
        return None
    value = read_scalar(target)
    is_text = False
    if isinstance(value, str):
        number = to_number(value)
        if number is None:
            return None
        value, is_text = number, True
    if isinstance(value, bool) or value is None:
        return None
    return Setting(
        "loss_weight", value, origin=OVERRIDE if id(target) in tree.overridden else WRITTEN,
        raw=tree.source.text[target.start : target.end],
        key=candidate.path, place=Place(tree.source, candidate.value.start, candidate.value.end),
        node=target if target is candidate.value and not candidate.merged else None,
        key_node=candidate.key, tree=tree, is_text=is_text,
    )  # fmt: skip
