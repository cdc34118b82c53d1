"""The key of a loss term's weight, found by the term's name and the number that it was measured
with, where the words of the name alone do not make a loss of it."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.plan.loss_terms import TermCandidate, role_of, term_name, weight_of
from gradaudit.plan.model import LossTerm
from gradaudit.syntax.tree import Mapping, Scalar, dotted, entries, path_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.syntax.tree import Node

_WORDS = GENERIC["loss_terms"]
SAME = 1e-6
DEEPEST = 12


def find_key(
    unit: TrainingUnit, name: str, weight: float, beside: Iterable[tuple[str, ...]] = ()
) -> LossTerm | None:
    """The only key of the unit's section that is called after the term (`depth`, `depth_weight`,
    `lambda_depth`) and holds the weight, else the only one that is called its weight. None where
    there is none, or several.

    A name alone could be anything (`depth: 4` of a network); a name and the same number are not,
    nor is `depth_weight` with another number: that one was changed since it was measured. `beside`
    are the words of all terms.
    """
    plain = name.lower().replace("-", "_")
    names = {plain, plain.removesuffix("_loss")}
    found = []
    changed = []
    for key, value, merged in _pairs(unit.mapping, 0):
        normal = key.value.lower().replace("-", "_")
        own = term_name(normal, "unit", "", _WORDS) or ""
        if names.isdisjoint((normal, own, own.removesuffix("_loss"))):
            continue
        path = dotted(path_of(key, unit.composed.tree_of(key)))
        candidate = TermCandidate(plain, key, value, path, "loss", merged)
        setting = weight_of(candidate, unit.composed)
        number = setting.number if setting is not None else None
        if setting is None or number is None:
            continue
        tokens = tuple(token for token in plain.split("_") if token)
        term = LossTerm(plain, number, role_of(tokens, _WORDS["roles"], beside), setting, tokens)
        if abs(number - weight) <= SAME * abs(weight):
            found.append(term)
        elif normal not in names:
            changed.append(term)
    if not found:
        found = changed
    return found[0] if len(found) == 1 else None


def _pairs(node: Node, depth: int) -> Iterator[tuple[Scalar, Node, bool]]:
    """Every key of a section and of those below it, with its scalar."""
    mapping = resolve(node)
    if type(mapping) is not Mapping or depth > DEEPEST:
        return
    for key, value, merged in entries(mapping):
        target = resolve(value)
        if type(target) is Mapping:
            yield from _pairs(target, depth + 1)
        elif type(target) is Scalar and type(key) is Scalar:
            yield key, value, merged
