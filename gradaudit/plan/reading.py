"""What stands at a dialect's key paths as settings: its value, its unit, and how it is known."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.dialects.paths import UP_TO_ZERO
from gradaudit.findings import Place
from gradaudit.plan.bare import bare_value
from gradaudit.plan.loss_terms import role_of
from gradaudit.plan.model import (
    COMPUTED,
    DEFAULT,
    INHERITED,
    OVERRIDE,
    WRITTEN,
    LossTerm,
    Setting,
)
from gradaudit.plan.paths import SECTION, spelled
from gradaudit.plan.values import LIST_KINDS, UNUSABLE, is_usable, read_value, without_noise
from gradaudit.syntax.scalars import to_number
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.model import Composed
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.plan.paths import Met, Reader
    from gradaudit.syntax.scalars import Number
    from gradaudit.syntax.tree import Node, Tree

    _Value = tuple[str, Any, str, bool] | str | None

_TIME_UNITS = {
    "ba": ("steps", 1.0), "ep": ("epochs", 1.0), "dur": ("ratio", 1.0), "tok": ("tokens", 1.0),
    "t": ("tokens", 1.0),
}  # fmt: skip
_TIME_NAMES = {
    ("warmup", "steps"): "warmup_steps", ("warmup", "epochs"): "warmup_epochs",
    ("warmup", "ratio"): "warmup_ratio", ("warmup", "tokens"): "warmup_tokens",
    ("length", "steps"): "total_steps", ("length", "epochs"): "epochs",
    ("length", "tokens"): "total_tokens",
}  # fmt: skip

RUN_TIME = frozenset(("???", "auto"))
"""Values that say that the launcher or the framework fills them in."""


def fill_from_paths(unit: TrainingUnit, reader: Reader) -> None:
    """Give a unit every setting that its dialect's paths find, and the defaults of the rest."""
    found = reader.found
    dialect = reader.dialect
    absent_here = found.keys().isdisjoint
    for spec in dialect["paths"]:
        if not spec["of_unit"] and absent_here(spec["at"]):
            if "absent" in spec or "off" in spec:
                _fill_absent(unit, spec, reader)
        elif not _fill(unit, spec, reader):
            _fill_absent(unit, spec, reader)
    terms = dialect["terms"]
    if terms and not unit.loss_terms:
        unit.loss_terms = [
            term for spec in terms for met in reader.at(spec["path"])
            if (term := _term(spec, met, reader)) is not None
        ]  # fmt: skip
        unit.terms_by_design = dialect["terms_apart"]


def _fill(unit: TrainingUnit, spec: dict[str, Any], reader: Reader) -> bool:
    """What stands at a setting's paths; returns whether that decides it."""
    name = spec["name"]
    made: list[Setting] = []
    reason = ""
    found = reader.found
    for entry in spec["from"]:
        path = entry["path"]
        met = reader.at(path) if path[0] == "@" else found.get(path)
        if not met:
            continue
        always = entry["always"]
        for one in met:
            if not always and not reader.applies(entry, one):
                continue
            if made and any(other.key_node is one.key for other in made):
                continue  # an earlier entry of the same path has its say
            read: Setting | str | None = None
            if entry["bare"]:
                read = bare_value(name, spec["kind"], one, reader, "off" in entry)
            if read is None:
                read = _read(spec, entry, one, reader)
            if isinstance(read, Setting):
                made.append(read)
            elif read is not None and not reason and not made:
                reason = read
                target, _ = reader.composed.value_of(one.value)
                target = target or one.value  # known at run time only: it stands here all the same
                if type(target) is Scalar:
                    unit.unknown_nodes[name] = target
    if reason:
        unit.settings.pop(name, None)
        unit.unknown[name] = reason
    elif len(made) == 1 and name == made[0].name and name not in unit.settings:
        unit.settings[name] = made[0]
        unit.unknown.pop(name, None)
        unit.unknown_nodes.pop(name, None)
    elif made:
        _put(unit, made)
    return bool(reason or made)


def _fill_absent(unit: TrainingUnit, spec: dict[str, Any], reader: Reader) -> None:
    """What is in force where nothing stands at a setting's paths."""
    name = spec["name"]
    present = unit.settings.get(name)
    if present is not None:  # found by the name of its key
        if "off" in spec and _is_off(spelled(present.raw), spec["off"]):
            present.value = None
            present.note = f"off ({present.raw})"
        return
    if name in unit.unknown:
        return
    for absent in spec.get("absent", ()):
        if not absent["always"] and not reader.applies(absent):
            continue
        if reader.composed.missing and (base := _may_be_in(spec, reader)):
            unit.unknown[name] = f"not in this file; it may be in {base}, which was not read"
        elif "unknown" in absent:
            unit.unknown[name] = absent["unknown"]
        else:
            _put_default(unit, name, absent)
        return


def _may_be_in(spec: dict[str, Any], reader: Reader) -> str:
    """The file that was not read and may hold a setting; empty where there is none.

    A linked file (`deepspeed: ds.json`) holds only what stands below its key, the base of a section
    (`DATA_CONFIG._BASE_CONFIG_`) only what stands in that section.
    """
    compose = reader.dialect["compose"]
    below = {link["key"]: f"{link['key']}." for link in compose.get("links", ())}
    for base in compose.get("bases", ()):
        section = base["key"].rpartition(".")[0]
        if section:
            below[base["key"]] = f"{section}."
    for missing in reader.composed.missing:
        key = dotted(path_of(missing.node, missing.tree)) if below else ""
        start = below.get(key)
        if start is None or any(entry["path"].startswith(start) for entry in spec["from"]):
            return missing.path
    return ""


def _put_default(unit: TrainingUnit, name: str, absent: dict[str, Any]) -> None:
    value = absent["value"]
    if name in ("warmup", "length"):
        made = _timed(name, str(value))
        if made is None:
            return
        name, value = made
    note = absent["note"]
    if name not in unit.settings:
        unit.settings[name] = Setting(name, value, origin=DEFAULT, note=note)


def _put(unit: TrainingUnit, made: list[Setting]) -> None:
    """Of the first key's settings the last is in force, as loaders have it; the rest are others.

    They go before what was found by the name of its key alone.
    """
    for setting in made:
        name = setting.name
        present = unit.settings.get(name)
        others = unit.others.setdefault(name, [])
        if present is None or present.origin == DEFAULT:
            unit.settings[name] = setting
        elif present not in made or present.key == setting.key:
            if present.node is not setting.node or present.node is None:
                others.append(present)
            unit.settings[name] = setting
        elif not any(other.node is setting.node and other.node for other in others):
            others.append(setting)
        unit.unknown.pop(name, None)
        unit.unknown_nodes.pop(name, None)


def _read(
    spec: dict[str, Any], entry: dict[str, Any], met: Met, reader: Reader
) -> Setting | str | None:
    """The setting that a value gives; a reason where it cannot be known; None where it says
    nothing of this setting."""
    composed = reader.composed
    target, via = composed.value_of(met.value)
    if target is None:
        return via or "known at run time only"
    tree = composed.tree_of(met.value)
    text = None
    if "count" in entry:
        text = _counted(target)
    elif entry.get("tag"):
        text = (target.tag or "").rpartition(":")[2].lstrip("!") or None
    elif type(target) is Scalar:
        text = target.value
    elif type(target) is Sequence and spec["kind"] in LIST_KINDS:
        text = ""
    elif SECTION in entry.get("flags", ()):
        text = SECTION
    if text is None:
        return None
    if type(target) is Scalar:
        read = _known_value(spec, entry, text, target, reader)
    else:
        read = _value(spec, entry, text, target, reader)
    if isinstance(read, str) or read is None:
        return read
    name, value, note, is_text = read
    if "fraction_as" in entry and isinstance(value, float) and 0 < value < 1:
        name = entry["fraction_as"]
    if "scale" in entry and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = without_noise(value * entry["scale"])
        if not is_usable(value):
            return f"{value:.3g} is {UNUSABLE}"
    unit = entry.get("unit", "")
    one_minus = entry.get("one_minus") and isinstance(value, (int, float))
    if one_minus:
        value = without_noise(1 - value)
    made = _made(name, value, met, target, tree, via, note, unit, is_text, composed)
    if one_minus:
        made.origin = COMPUTED
        made.note = f"1 - {text}; {made.note}".rstrip("; ")
    if "prefix" in entry or one_minus or "count" in entry:
        made.node = None  # the value is a part of what stands there: nothing may replace the whole
    return made


def _counted(target: Node) -> str | None:
    """How many items a list has, or a text with commas (`0,1,`); None for anything else."""
    if type(target) is Sequence:
        return str(len(target.items))
    if type(target) is Scalar and "," in target.value:
        return str(len([item for item in target.value.strip("[]() ").split(",") if item.strip()]))
    return None


def _pair_of(target: Sequence, composed: Composed) -> str | Sequence:
    """A list, as text where its items stand for something else."""
    items = [composed.value_of(item)[0] for item in target.items]
    if all(item is own for item, own in zip(items, target.items, strict=True)):
        return target
    return " ".join(item.value if type(item) is Scalar else "?" for item in items)


def _is_off(said: str, off: tuple[str, ...]) -> bool:
    """Whether a text is a spelling of off; `<=0` among them takes every number below 0."""
    if said in off:
        return True
    return UP_TO_ZERO in off and said[:1] == "-" and (to_number(said) or 0) <= 0


_KNOWN: dict[tuple[object, ...], tuple[dict[str, Any], _Value]] = {}
_MOST_KNOWN = 10_000


def _known_value(
    spec: dict[str, Any], entry: dict[str, Any], text: str, target: Scalar, reader: Reader
) -> _Value:
    """`_value` of a scalar, remembered: configs of one framework have most of their texts in
    common. The entry is kept beside the answer, so that no other can get its id."""
    loader = reader.dialect["loader"]
    format = reader.composed.tree_of(target).format
    asked = (id(entry), text, target.style, target.tag, format, loader)
    known = _KNOWN.get(asked)
    if known is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[asked] = entry, _value(spec, entry, text, target, reader)
    return known[1]


def _value(
    spec: dict[str, Any], entry: dict[str, Any], text: str, target: Node, reader: Reader
) -> _Value:
    """(canonical name, value, note, text where a number is meant) of what stands at a path."""
    name: str = entry.get("as", spec["name"])
    note: str = entry.get("note", "")
    if entry["plain"] and text.lower() not in RUN_TIME and spec["kind"] != "time":
        return _typed(name, spec, note, target, reader)
    said = spelled(text, target.style if type(target) is Scalar else "")
    if said in entry.get("silent", ()):
        return None
    prefix: str | None = entry.get("prefix")
    if prefix is not None:
        if not text.startswith(prefix):
            return None
        text = text[len(prefix) :]
        said = spelled(text)
    if "flags" in entry:
        if said not in entry["flags"]:
            if "*" not in entry["flags"]:
                return None
            said = "*"
        value = entry["flags"][said]
        if value == "unknown":
            return f"`{text}` leaves it to the framework"
        return name, value, note or _off(name, value, entry, text), False
    if said in entry.get("values", ()):
        value = entry["values"][said]
        return name, value, note or _off(name, value, entry, text), False
    if said in spec.get("auto", ()) or said in RUN_TIME:
        return f"`{text}` leaves it to the framework or the launcher"
    if _is_off(said, entry.get("off", ())):
        return name, None, note or f"off ({text or 'null'})", False
    if spec["kind"] == "time":
        timed = _timed(spec["name"], text)
        return (*timed, note, False) if timed else f"{text!r} is no length of training"
    what: Node | str = target
    if entry.get("tag") or prefix is not None or "count" in entry:
        what = text
    return _typed(name, spec, note, what, reader)


def _off(name: str, value: Any, entry: dict[str, Any], text: str) -> str:
    """What a switch or a section switches off: `off (ENABLED: false)`."""
    if value is not None or not name.startswith("clip"):
        return ""
    return f"off ({entry['path'].rpartition('.')[2]}: {text or 'null'})"


def _typed(
    name: str, spec: dict[str, Any], note: str, what: Node | str, reader: Reader
) -> tuple[str, Any, str, bool] | str:
    """A value by its setting's kind; `what` is text where it is a part of what stands there."""
    composed = reader.composed
    format = composed.tree.format
    is_part = isinstance(what, str)
    if not isinstance(what, str):
        format = composed.tree_of(what).format
        if type(what) is Sequence:
            whole = _pair_of(what, composed)
            is_part, what = whole is not what, whole
    read = read_value(spec["kind"], what, reader.dialect, format)
    if isinstance(read, str):
        return read
    value, is_text = read
    if value is None:
        note = note or ("off (null)" if name.startswith("clip") else "null")
    return name, value, note, is_text and not is_part


def _made(
    name: str, value: Any, met: Met, target: Node, tree: Tree, via: str, note: str, unit: str,
    is_text: bool, composed: Composed,
) -> Setting:  # fmt: skip
    node = met.value
    own = target is node and type(node) is Scalar
    overridden = id(target) in tree.overridden
    origin, key = WRITTEN, met.path
    if tree is not composed.tree:
        origin, key = INHERITED, dotted(path_of(node, tree))
    if overridden:
        origin = OVERRIDE
    text = tree.source.text
    if type(node) is Scalar:
        raw = node.value if overridden else text[node.start : node.end]
    else:
        raw = text[node.start : node.end] if type(node) is not Mapping else ""
    notes = [part for part in (note, via) if part]
    setting = Setting(
        name, value, origin=origin, raw=raw, key=key,
        place=Place(tree.source, node.start, node.end), node=node if own else None,  # type: ignore[arg-type]
        key_node=met.key, tree=tree, note="; ".join(notes), is_text=is_text, unit=unit,
    )  # fmt: skip
    if origin == INHERITED and not composed.is_run:  # a run's files may not say a key twice
        if not _is_linked(met.path, composed):
            setting.leaf = composed.tree, met.path
    return setting


def _is_linked(path: str, composed: Composed) -> bool:
    """Whether a path leads into a linked file: a key of its own cannot stand beside its name."""
    links = composed.dialect["compose"].get("links", ())
    return any(path.startswith(f"{link['key']}.") for link in links)


def _timed(name: str, text: str) -> tuple[str, Number] | None:
    """`100ba` -> (`warmup_steps`, 100); a number without a unit counts batches."""
    digits = text.strip().lower()
    unit = "ba"
    for known in _TIME_UNITS:
        if digits.endswith(known):
            digits, unit = digits[: -len(known)], known
            break
    try:
        number = float(digits.replace("_", ""))
    except ValueError:
        return None
    measure, scale = _TIME_UNITS[unit]
    canonical = _TIME_NAMES.get((name, measure))
    if canonical is None or not is_usable(number):
        return None
    value = number * scale
    return canonical, int(value) if value == int(value) and measure != "ratio" else value


def _term(spec: dict[str, Any], met: Met, reader: Reader) -> LossTerm | None:
    if not reader.applies(spec, met):
        return None
    target, via = reader.composed.value_of(met.value)
    if type(target) is not Scalar:
        return None
    tree = reader.composed.tree_of(met.value)
    read = read_value("number", target, reader.dialect, tree.format)
    if isinstance(read, str) or read[0] is None:
        return None
    setting = _made(
        "loss_weight", read[0], met, target, tree, via, "", "", read[1], reader.composed
    )
    name = spec.get("name") or _name_of(spec, met, reader)
    tokens = tuple(token for token in name.lower().split("_") if token)
    role = spec.get("role") or role_of(tokens, GENERIC["loss_terms"]["roles"])
    return LossTerm(name, read[0], role, setting, tokens)


def _name_of(spec: dict[str, Any], met: Met, reader: Reader) -> str:
    """A weight's name: its key, or in a list beside another what stands there at its place."""
    if "named_by" in spec:
        at = met.path.rpartition(".")[2]
        names = reader.at(spec["named_by"])
        if at.isdigit() and int(at) < len(names):
            target, _ = reader.composed.value_of(names[int(at)].value)
            if type(target) is Scalar:
                return target.value
    return _name_in(spec["path"], met.path)


def _name_in(pattern: str, path: str) -> str:
    """What the wildcard stands for; without one the last key."""
    if "*" not in pattern:
        return path.rpartition(".")[2]
    before = pattern.partition("*")[0]
    return path.split(".")[before.count(".") + before.count("[")]
