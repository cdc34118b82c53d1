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
    """A key that may hold a loss term's weight; `name` is the term's (`term_name`)."""

    __slots__ = ("key", "merged", "name", "path", "section", "value")

    def __init__(
        self, name: str, key: Scalar, value: Node, path: str, section: str, merged: bool
    ) -> None:
        self.name = name
        self.key = key
        self.value = value
        self.path = path
        self.section = section
        self.merged = merged


def find_terms(
    candidates: list[TermCandidate], tree: Tree, words: dict[str, Any]
) -> list[LossTerm]:
    """The terms of one unit, in file order.

    Flat keys count only where at least one of them has a known role: `edge_weight` and
    `node_weight` of a graph are no loss.
    """
    terms: dict[str, LossTerm] = {}
    flat_known = False
    flat: list[LossTerm] = []
    for candidate in candidates:
        name = candidate.name
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
            terms[term.setting.key] = term  # of two equal keys the last, as PyYAML has it
    return sorted(
        terms.values(), key=lambda term: term.setting.place.start if term.setting.place else 0
    )


def term_name(name: str, section: str, section_name: str, words: dict[str, Any]) -> str | None:
    """The loss term whose weight a key (normalised) of a section may be, or None."""
    if section == "loss_weights":
        return None if name in words["never"] else name
    if section not in _FLAT_SECTIONS:
        return None
    if section == "loss" and name in words["in_term"]:
        return None if name in words["never"] else section_name
    if name.endswith(words["suffixes"]):
        if name in words["never"]:
            return None
        for suffix in words["suffixes"]:
            if name.endswith(suffix) and len(name) > len(suffix):
                return name[: -len(suffix)]
    if name.startswith(words["prefixes"]):
        for prefix in words["prefixes"]:
            if name.startswith(prefix) and len(name) > len(prefix):
                return None if name in words["never"] else name[len(prefix) :]
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
