"""Arguments of a scheduler or optimiser that are no canonical settings: `gamma`, `step_size`.

They stand beside settings that the plan has found: in the section of the scheduler's name, in
its `params`, `kwargs` or `init_args`, or beside the milestones and the rate.
"""

from __future__ import annotations

from gradaudit.plan.values import typed
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.syntax.scalars import Value
    from gradaudit.syntax.tree import Node

    Argument = Value | tuple[Value, ...]

_BESIDE = (
    "scheduler", "milestones", "decay_steps", "decay_epochs", "decay_calls", "warmup_steps",
    "warmup_epochs", "warmup_ratio", "min_learning_rate", "learning_rate", "base_learning_rate",
)  # fmt: skip
"""Settings in whose sections arguments may stand, the nearest to the scheduler first."""

_INNER = ("params", "kwargs", "init_args", "args", "conf", "config", "options")
"""Sections of arguments beside a name; also as endings: `lr_scheduler_kwargs`."""

MOST_ITEMS = 1000


def arguments_of(unit: TrainingUnit, name: str = "scheduler") -> dict[str, Argument]:
    """Key in lower case -> value, as far as one is known; the nearest of equal keys."""
    found: dict[str, Argument] = {}
    beside = _BESIDE if name == "scheduler" else (name,)
    for other in beside:
        setting = unit.get(other)
        if setting is None or not setting.key:
            continue
        for section in _sections(unit, setting):
            for key, value in _scalars(unit, section):
                found.setdefault(key, value)
    return found


def _sections(unit: TrainingUnit, setting: Setting) -> Iterator[Mapping]:
    """The sections of arguments first, then the one in which the setting stands."""
    section = _section(unit, setting)
    if section is None:
        return
    own = setting.last_key.lower()
    # `lr_scheduler_type: cosine` has its arguments in `lr_scheduler_kwargs`.
    stem = own.removesuffix("_type").removesuffix("_name")
    for key, value, _ in entries(section):
        name = key.value.lower() if type(key) is Scalar else ""
        target, _ = unit.composed.value_of(value)
        ends = any(name.endswith(f"_{word}") for word in _INNER) and name.startswith(stem)
        # `scheduler: !name:torch...ExponentialLR {gamma: 0.999}`: the section bears the name.
        itself = name == own and name != ""
        if type(target) is Mapping and (name in _INNER or ends or itself):
            yield target
    yield section


def _section(unit: TrainingUnit, setting: Setting) -> Mapping | None:
    """The section as its framework sees it, bases merged, where the path leads there."""
    parts = setting.key.split(".")[:-1]
    for root in unit.composed.roots:
        node: Node | None = root
        for part in parts:
            node = _below(unit, node, part)
            if node is None:
                break
        target = resolve(node) if node is not None else None
        if type(target) is Mapping:
            return target
    parent = setting.key_node.parent if setting.key_node is not None else None
    return parent if type(parent) is Mapping else None


def _below(unit: TrainingUnit, node: Node | None, part: str) -> Node | None:
    target = resolve(node) if node is not None else None
    if type(target) is Mapping:
        found = [v for k, v, _ in entries(target) if type(k) is Scalar and k.value == part]
        return unit.composed.value_of(found[-1])[0] if found else None
    if type(target) is Sequence and part.isdigit() and int(part) < len(target.items):
        return unit.composed.value_of(target.items[int(part)])[0]
    return None


def _scalars(unit: TrainingUnit, section: Mapping) -> Iterator[tuple[str, Argument]]:
    dialect = unit.composed.dialect
    last: dict[str, Argument] = {}
    for key, value, _ in entries(section):
        if type(key) is not Scalar:
            continue
        target, _ = unit.composed.value_of(value)
        form = unit.composed.tree_of(value).format
        if type(target) is Scalar:
            last[key.value.lower()] = typed(target, dialect, form)
        elif type(target) is Sequence and len(target.items) <= MOST_ITEMS:
            items = [resolve(item) for item in target.items]
            if all(type(item) is Scalar for item in items):
                last[key.value.lower()] = tuple(
                    typed(item, dialect, form) for item in items if type(item) is Scalar
                )
    yield from last.items()


def number_in(arguments: dict[str, Argument], *names: str) -> float | None:
    """The first of several arguments that is a finite number."""
    for name in names:
        value = arguments.get(name)
        if isinstance(value, tuple):
            value = value[0] if len(value) == 1 else None
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0:
            return value
    return None


def numbers_in(arguments: dict[str, Argument], *names: str) -> tuple[float, ...]:
    """The first of several arguments that is a list of finite numbers; empty where none is."""
    for name in names:
        value = arguments.get(name)
        if isinstance(value, tuple) and value:
            numbers = [number_in({"": item}, "") for item in value]
            if all(number is not None for number in numbers):
                return tuple(number for number in numbers if number is not None)
    return ()
