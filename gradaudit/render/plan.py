"""A unit's plan as `show` has it on the screen and in JSON: what is named, and what is said."""

from __future__ import annotations

from gradaudit.plan.model import COMPUTED, INHERITED, WRITTEN
from gradaudit.syntax.tree import dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.syntax.scalars import Value
    from gradaudit.syntax.tree import Scalar, Tree

UNITS = {
    "micro_batch": "samples", "global_batch": "samples", "accumulation": "micro-batches",
    "world_size": "devices", "warmup_steps": "steps", "total_steps": "steps",
    "steps_per_epoch": "steps", "warmup_epochs": "epochs", "epochs": "epochs",
    "decay_steps": "steps", "decay_epochs": "epochs", "decay_calls": "scheduler calls",
    "warmup_ratio": "share of the training", "warmup_tokens": "tokens", "total_tokens": "tokens",
}  # fmt: skip
"""The unit of each canonical setting that has one."""

_HELPERS = frozenset(("beta1", "beta2", "clip_kind", "loss_balancing"))
"""Names that only rules and `plan.values` use: no canonical settings."""

_LENGTHS = frozenset(("epochs", "total_steps", "total_tokens"))


def is_shown(name: str) -> bool:
    """Whether a name is one of the plan's, not one that gradaudit only computes with."""
    return not name.startswith("_") and name not in _HELPERS


def known(unit: TrainingUnit) -> dict[str, Setting]:
    return {name: setting for name, setting in unit.settings.items() if is_shown(name)}


def unknown(unit: TrainingUnit) -> dict[str, str]:
    """Canonical name -> why its value cannot be known."""
    found = {
        name: reason
        for name, reason in unit.unknown.items()
        if is_shown(name) and name not in unit.settings
    }
    if "betas" not in unit.settings and "betas" not in found:
        reason = _half_known(unit)
        if reason:
            found["betas"] = reason
    return found


def _half_known(unit: TrainingUnit) -> str:
    """Why a pair of betas is not known where a key for one of them is there."""
    said = []
    for name in ("beta1", "beta2"):
        setting = unit.settings.get(name)
        if setting is not None:
            said.append(f"{name} is {setting.value}")
        else:
            said.append(f"{name}: {unit.unknown.get(name, 'not known')}")
    found = {"beta1", "beta2"} & (unit.settings.keys() | unit.unknown.keys())
    return ", ".join(said) if found else ""


def note_of(setting: Setting) -> str:
    """The note, and what a number that JSON has no word for means."""
    value = setting.value
    if not isinstance(value, float) or value - value == 0:
        return setting.note
    if value != value:
        said = "not a number"
    elif setting.name.startswith("clip"):
        said = "infinite: it never acts" if value > 0 else "minus infinity"
    elif setting.name in _LENGTHS:
        said = "infinite: it has no end" if value > 0 else "minus infinity"
    else:
        said = "infinite" if value > 0 else "minus infinity"
    return f"{said}; {setting.note}" if setting.note else said


def finite(value: Value | tuple[float, ...]) -> Any:
    """A value as JSON has it: null for the numbers that it has no word for."""
    if isinstance(value, tuple):
        return None if None in map(finite, value) else list(value)
    return None if isinstance(value, float) and value - value != 0 else value


def setting_object(setting: Setting) -> dict[str, Any]:
    place = setting.place
    line, column = place.source.position(place.start) if place else (None, None)
    return {
        "value": finite(setting.value),
        "unit": setting.unit or UNITS.get(setting.name),
        "origin": setting.origin,
        "raw": setting.raw,
        "key": setting.key,
        "path": place.source.path if place else None,
        "line": line,
        "column": column,
        "note": note_of(setting),
    }


def unknown_object(name: str, reason: str, unit: TrainingUnit) -> dict[str, Any]:
    """A setting whose value cannot be known: where it stands, if it stands anywhere.

    What nobody wrote has no origin (null), but for what a formula lacks a factor of.
    """
    found: dict[str, Any] = {
        "value": None, "unit": None, "origin": None, "raw": None, "key": None, "path": None,
        "line": None, "column": None, "note": f"not known: {reason}",
    }  # fmt: skip
    node = unit.unknown_nodes.get(name)
    if node is None:
        dialect = unit.composed.dialect
        if any(formula["name"] == name for formula in dialect["formulas"]):
            found["origin"] = COMPUTED
        return found
    tree = unit.composed.tree_of(node)
    source = tree.source
    found["origin"] = WRITTEN if tree is unit.composed.tree else INHERITED
    found["raw"] = source.text[node.start : node.end]
    found["key"] = _key(node, tree)
    found["path"] = source.path
    found["line"], found["column"] = source.position(node.start)
    return found


def _key(node: Scalar, tree: Tree) -> str | None:
    try:
        return dotted(path_of(node, tree))
    except StopIteration:  # put together from several texts: it stands in no file as such
        return None
