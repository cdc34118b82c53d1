"""What a plan takes from outside the config: assumptions, the Python source, observations."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.findings import Place
from gradaudit.plan.formulas import add_by_formula
from gradaudit.plan.model import ASSUMED, Setting
from gradaudit.plan.values import (
    UNUSABLE,
    add_computed,
    is_usable,
    norm_kind,
    optimizer_family,
)
from gradaudit.settings import did_you_mean, matches
from gradaudit.source import Unreadable, read
from gradaudit.syntax.scalars import to_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.options import Options
    from gradaudit.plan.model import SettingValue, TrainingUnit
    from gradaudit.settings import Settings


def add_facts(
    units: list[TrainingUnit], path: str, options: Options, settings: Settings
) -> list[str]:
    """Complete the units; returns what was asked for and could not be done."""
    problems: list[str] = []
    _add_sources(units, path, options, settings, problems)
    for name, text in {**settings.assume, **options.assume}.items():
        _assume(units, name, text, problems)
    for unit in units:
        add_computed(unit)
        if unit.computes is not None:
            add_by_formula(unit, unit.computes)
            add_computed(unit)  # what a formula completed: the devices of several nodes
    _observe(units, options)
    if options.record is not None:
        from gradaudit.plan.recorded import add_record

        problems += add_record(units, path, options.record, options.unit, options.edited)
    return problems


def _observe(units: list[TrainingUnit], options: Options) -> None:
    """Give the observation to the unit it is of, or to all that clip where nobody says."""
    if options.observed is None:
        return
    if options.unit is not None:
        chosen = [unit for unit in units if unit.name == options.unit]
    else:
        chosen = [unit for unit in units if unit.number("clip_norm")] or units
        for unit in chosen:
            unit.observed_here = len(chosen) == 1
    for unit in chosen:
        unit.observed = options.observed


def _add_sources(
    units: list[TrainingUnit],
    path: str,
    options: Options,
    settings: Settings,
    problems: list[str],
) -> None:
    wanted: list[tuple[str | None, str]] = list(options.sources)
    if settings.sources:
        seen_path = settings.shown_to_globs(path)
        for pattern, by_unit in settings.sources.items():
            if matches(pattern, seen_path):
                wanted.extend((name, file) for name, files in by_unit.items() for file in files)
    if not wanted:
        return
    from gradaudit.evidence.python_source import norm_layers

    opener = options.opener_for(path)
    read_source = read if opener is None else opener.read
    for name, file in wanted:
        chosen = [unit for unit in units if name is None or unit.name == name]
        if not chosen and name is not None:
            known = tuple(unit.name for unit in units)
            problems.append(f"source {file}: no unit `{name}`{did_you_mean(name, known)}")
            continue
        try:
            source = read_source(file)
            layers = norm_layers(source)
        except OSError as error:
            problems.append(f"source {file}: {error.strerror}")
            continue
        except Unreadable as error:
            problems.append(f"source {file}: {error.message}")
            continue
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            problems.append(f"source {file}: not Python that can be read, line {line or '?'}")
            continue
        for unit in chosen:
            for layer in layers:
                norm = Setting(
                    "norm", layer.kind, raw=layer.class_name, key=layer.class_name,
                    place=Place(source, layer.start, layer.end),
                    note=f"{layer.class_name} in {file}",
                )  # fmt: skip
                unit.norms.append(norm)
    for unit in units:
        if unit.norms and "norm" not in unit.settings:
            unit.settings["norm"] = _decisive(unit.norms)


def _decisive(norms: list[Setting]) -> Setting:
    """The kind that the batch matters to, where a model mixes several."""
    for kind in ("batch", "sync_batch", "frozen_batch"):
        for norm in norms:
            if norm.value == kind:
                return norm
    return norms[0]


_OPEN_WHERE_NULL = frozenset((
    "total_steps", "epochs", "steps_per_epoch", "micro_batch", "global_batch", "accumulation",
    "world_size", "dataset_size", "total_tokens",
))  # fmt: skip
"""Numbers that a training always has: null (or -1) leaves them to the framework, and does not turn
anything off as `clip_norm: null` does."""


def _assume(units: list[TrainingUnit], name: str, text: str, problems: list[str]) -> None:
    """State what no file says. What a config writes wins; what the source shows does not."""
    unit_name, _, setting_name = name.rpartition(".")
    kinds: dict[str, str] = GENERIC["kinds"]
    if setting_name not in kinds:
        problems.append(
            f"--assume {name}: no such setting{did_you_mean(setting_name, tuple(kinds))}"
        )
        return
    kind = kinds[setting_name]
    value: SettingValue = text
    if kind == "number":
        value = to_number(text)
        if value is None:
            problems.append(f"--assume {name}={text}: takes a number")
            return
        if not is_usable(value):
            problems.append(f"--assume {name}={text}: {UNUSABLE}")
            return
    elif kind == "norm":
        value = norm_kind(text) or text
        known = ("batch", "sync_batch", "frozen_batch", "group", "layer", "rms", "instance", "none")
        if value not in known:
            problems.append(f"--assume {name}={text}: takes one of {', '.join(known)}")
            return
    elif kind == "optimizer":
        value = optimizer_family(text)
    chosen = [unit for unit in units if not unit_name or unit.name == unit_name]
    if not chosen:
        hint = did_you_mean(unit_name, tuple(unit.name for unit in units))
        problems.append(f"--assume {name}: no unit `{unit_name}`{hint}")
    for unit in chosen:
        present = unit.settings.get(setting_name)
        open_ = setting_name in _OPEN_WHERE_NULL and present is not None and present.value is None
        if present is None or present in unit.norms or open_:
            unit.settings[setting_name] = Setting(
                setting_name, value, origin=ASSUMED, raw=text, key="--assume",
            )  # fmt: skip
            unit.unknown.pop(setting_name, None)
            unit.unknown_nodes.pop(setting_name, None)
