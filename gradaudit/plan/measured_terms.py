"""Which loss term of the plan a measured term is, and what role it has."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.plan.loss_terms import role_of, term_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.plan.model import LossTerm, TrainingUnit

_WORDS = GENERIC["loss_terms"]


def planned_terms(unit: TrainingUnit, names: Iterable[str]) -> dict[str, LossTerm]:
    """Measured name -> the plan's term of the same name, key, or name but for `_loss`."""
    by_name: dict[str, LossTerm] = {}
    for term in unit.loss_terms:
        by_name.setdefault(_plain(term.setting.last_key), term)
        by_name.setdefault(_plain(term.name), term)
    return {name: by_name[_plain(name)] for name in names if _plain(name) in by_name}


def term_roles(unit: TrainingUnit, names: Iterable[str]) -> dict[str, str]:
    """Measured name -> `primary`, `auxiliary`, `regulariser` or `unknown`: the plan's, or by the
    words of its name where its weight stands in no file."""
    names = list(names)
    planned = planned_terms(unit, names)
    roles = {}
    for name in names:
        tokens = tuple(token for token in _plain(name).split("_") if token)
        roles[name] = planned[name].role if name in planned else role_of(tokens, _WORDS["roles"])
    return roles


def _plain(name: str) -> str:
    low = name.lower().replace("-", "_").replace(" ", "_")
    found = term_name(low, "unit", "", _WORDS) or low
    return found.removesuffix("_loss").removeprefix("loss_") or found
