"""Loss terms: flat `*_weight` keys, a mapping of weights, a list of one-pair mappings, or of items
with a name and a weight."""

from __future__ import annotations

from gradaudit.findings import Place
from gradaudit.plan.model import INHERITED, OVERRIDE, WRITTEN, LossTerm, Setting
from gradaudit.plan.values import is_usable
from gradaudit.syntax.scalars import read_scalar, to_number
from gradaudit.syntax.tree import Alias, Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gradaudit.compose.model import Composed
    from gradaudit.syntax.tree import Node

_FLAT_SECTIONS = ("unit", "loss", "training", "optimizer")


class TermCandidate:
    """A key that may hold a loss term's weight; `name` is the term's (`term_name`).

    group   the section of a plain number, which is a weight only beside others; else empty.
    """

    __slots__ = ("group", "key", "merged", "name", "path", "section", "value")

    def __init__(
        self, name: str, key: Scalar, value: Node, path: str, section: str, merged: bool,
        group: str = "",
    ) -> None:  # fmt: skip
        self.name = name
        self.key = key
        self.value = value
        self.path = path
        self.section = section
        self.merged = merged
        self.group = group


def find_terms(
    candidates: list[TermCandidate], composed: Composed, words: dict[str, Any]
) -> list[LossTerm]:
    """The terms of one unit, in file order.

    Flat keys count only where at least one of them has a known role: `edge_weight` and
    `node_weight` of a graph are no loss. Plain numbers of a loss's section count only where two
    of them have one: `gamma` and `classes` are no terms.
    """
    terms: dict[str, LossTerm] = {}
    flat_known = False
    flat: list[LossTerm] = []
    groups: dict[str, dict[str, LossTerm]] = {}
    beside = [_tokens(candidate.name) for candidate in candidates]
    for candidate in candidates:
        name = candidate.name
        setting = weight_of(candidate, composed)
        if setting is None or setting.number is None:
            continue
        tokens = _tokens(name)
        role = role_of(tokens, words["roles"], beside)
        term = LossTerm(name, setting.number, role, setting, tokens)
        if candidate.group:
            groups.setdefault(candidate.group, {})[candidate.path] = term
        elif candidate.section in ("loss", "loss_weights"):
            terms[candidate.path] = term
        else:
            flat.append(term)
            flat_known = flat_known or role != "unknown"
    for group in groups.values():
        if sum(term.role != "unknown" for term in group.values()) >= 2:
            terms.update(group)
    if flat_known:
        for term in flat:
            terms[term.setting.key] = term  # of two equal keys the last, as PyYAML has it
    return sorted(
        terms.values(), key=lambda term: term.setting.place.start if term.setting.place else 0
    )


def _tokens(name: str) -> tuple[str, ...]:
    return tuple(token for token in name.split("_") if token)


def term_name(name: str, section: str, owner: str, words: dict[str, Any]) -> str | None:
    """The loss term whose weight a key (normalised) of a section may be, or None.

    `owner` is the section's own name, or what the item of a list calls itself (`title`).
    """
    if section == "loss_weights":
        if name in words["never"]:
            return None
        return owner if name in words["in_term"] else name
    if section not in _FLAT_SECTIONS:
        return None
    if section == "loss" and name in words["in_term"]:
        return None if name in words["never"] else owner
    if name.endswith(words["suffixes"]):
        if name in words["never"]:
            return None
        for suffix in words["suffixes"]:
            if name.endswith(suffix) and len(name) > len(suffix):
                bare = name[: -len(suffix)]
                if suffix == "_coefficient" and not is_plain_term(bare, words):
                    return None  # of a warm-up, of a decay
                # What `z_loss_weight` weighs is the z-loss; a `z` alone is a coordinate.
                is_z_loss = suffix[:5] == "_loss" and bare.rpartition("_")[2] == "z"
                return f"{bare}_loss" if is_z_loss else bare
    if name.startswith(words["prefixes"]):
        for prefix in words["prefixes"]:
            if name.startswith(prefix) and len(name) > len(prefix):
                return None if name in words["never"] else name[len(prefix) :]
    return None


def is_plain_term(name: str, words: dict[str, Any]) -> bool:
    """Whether a number of this name, in a loss's section, may be a weight and no parameter."""
    if name in words["never"] or name.isdigit():
        return False
    return all(token not in words["parameter"] for token in name.split("_"))


def title(named: dict[str, Node], words: dict[str, Any]) -> str | None:
    """What an item of a list calls itself: `nn.SmoothL1Loss` -> `smooth_l1`."""
    for key in words["title"]:
        value = resolve(named[key]) if key in named else None
        if type(value) is Scalar and value.value:
            last = value.value.rsplit(".", 1)[-1]
            name = ""
            for i, letter in enumerate(last):
                if letter.isupper() and i:
                    if not last[i - 1].isupper() or last[i + 1 : i + 2].islower():
                        name += "_"
                name += letter
            name = name.lower().replace("-", "_").replace(" ", "_")
            return name.removesuffix("loss").strip("_") or name
    return None


_ONE_NAME = (("cross", "entropy"), ("smooth", "l1"))

_Z_LOSS = (("z", "loss"), ("router", "z"), ("moe", "z"))
"""The last two words of a penalty on the logarithm of a softmax's normaliser: of the output (PaLM,
arXiv:2204.02311, section 5) or of a router (ST-MoE, arXiv:2202.08906)."""

_AXES = frozenset((("x",), ("y",), ("x", "loss"), ("y", "loss")))
"""Terms beside which a `z_loss` is that of a third coordinate."""


def role_of(
    tokens: tuple[str, ...], roles: dict[str, str], beside: Iterable[tuple[str, ...]] = ()
) -> str:
    """An auxiliary word decides over a primary one: `calib_rank` is a calibration. `beside` are
    the words of the other terms."""
    if tokens[-2:] in _Z_LOSS and _AXES.isdisjoint(beside):
        return "auxiliary"
    for pair in _ONE_NAME:
        if pair[0] in tokens and pair[1] in tokens:
            return "primary"
    found = {roles[token] for token in tokens if token in roles}
    for role in ("auxiliary", "regulariser", "primary"):
        if role in found:
            return role
    return "unknown"


def weight_of(candidate: TermCandidate, composed: Composed) -> Setting | None:
    target, _ = composed.value_of(candidate.value)
    if type(target) is not Scalar:
        return None
    value = read_scalar(target)
    is_text = False
    if isinstance(value, str):
        number = to_number(value)
        if number is None:
            return None
        value, is_text = number, True
    if isinstance(value, bool) or value is None or not is_usable(value):
        return None
    node = target if type(candidate.value) is Alias else candidate.value
    tree = composed.tree_of(node)
    origin = WRITTEN if tree is composed.tree else INHERITED
    return Setting(
        "loss_weight", value, origin=OVERRIDE if id(target) in tree.overridden else origin,
        raw=tree.source.text[node.start : node.end],
        key=candidate.path, place=Place(tree.source, candidate.value.start, candidate.value.end),
        node=target if target is candidate.value and not candidate.merged else None,
        key_node=candidate.key, tree=tree, is_text=is_text,
    )  # fmt: skip
