"""From keys found to settings in force: typing, normalising, choosing among occurrences."""

from __future__ import annotations

from functools import lru_cache

from gradaudit.findings import Place
from gradaudit.plan.model import COMPUTED, INHERITED, OVERRIDE, WRITTEN, Setting
from gradaudit.syntax.scalars import read_scalar, to_number
from gradaudit.syntax.tree import Alias, Scalar, Sequence, dotted, path_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.model import Composed
    from gradaudit.dialects import Dialect
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.syntax.scalars import Number, Value
    from gradaudit.syntax.tree import Node

_OPTIMIZER_ALIASES = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw",
    "adamw_apex_fused": "adamw", "fusedadam": "adam", "fused_adam": "adam", "adamw_bnb": "adamw",
    "adamw_bnb_8bit": "adamw", "adamw_8bit": "adamw", "adamw8bit": "adamw",
    "paged_adamw": "adamw", "paged_adamw_8bit": "adamw", "paged_adamw_32bit": "adamw",
    "pagedadamw8bit": "adamw", "paged_lion_8bit": "lion", "lion_8bit": "lion",
    "sgd_momentum": "sgd", "nesterov": "sgd", "momentum": "sgd", "decoupledadamw": "adamw",
    "decoupled_adamw": "adamw", "schedule_free_adamw": "schedulefree_adamw",
    "adamwschedulefree": "schedulefree_adamw", "rms_prop": "rmsprop", "adafactor_torch":
    "adafactor", "adamw_anyprecision": "adamw", "anyprecisionadamw": "adamw",
}  # fmt: skip

_NORM_WORDS = (
    ("frozen", "frozen_batch"), ("sync", "sync_batch"), ("batch", "batch"), ("group", "group"),
    ("rms", "rms"), ("layer", "layer"), ("instance", "instance"),
)  # fmt: skip
_NORM_SHORT = {
    "bn": "batch", "bn1d": "batch", "bn2d": "batch", "bn3d": "batch", "syncbn": "sync_batch",
    "gn": "group", "ln": "layer", "in": "instance", "frozenbn": "frozen_batch", "none": "none",
    "identity": "none",
}  # fmt: skip

_PRECISION = {
    "32": "fp32", "32-true": "fp32", "fp32": "fp32", "float32": "fp32", "no": "fp32",
    "16": "fp16-mixed", "16-mixed": "fp16-mixed", "fp16": "fp16-mixed", "float16": "fp16",
    "16-true": "fp16", "bf16": "bf16-mixed", "bf16-mixed": "bf16-mixed", "bf16-true": "bf16",
    "bfloat16": "bf16", "amp_bf16": "bf16-mixed", "amp_fp16": "fp16-mixed", "64": "fp64",
}  # fmt: skip

_MINUS_ONE = (
    "total_steps", "epochs", "warmup_steps", "warmup_epochs", "micro_batch", "global_batch",
    "accumulation", "world_size",
)  # fmt: skip
"""Settings whose -1 leaves the choice to the framework. A micro-batch of -1 does so only where a
dialect says it (`auto`), or where no framework is known: a DataLoader refuses it."""

_OF_EITHER_KIND = ("clip_value", "value")
_NORM_KINDS = frozenset(("norm", "full_model", "global_norm", "gradient_norm", "global", "l2"))

_LARGEST, _SMALLEST = 1e60, 1e-60
"""Between these several numbers can be multiplied and divided and still fit a float."""

_DIGITS = frozenset("+-0123456789_.xabcdefABCDEF")

UNUSABLE = "no number that a training can use"


class Found:
    """A key that a dialect knows, where it stands, before its value is read.

    off     how its section is switched off; empty where it is not.
    """

    __slots__ = ("depth", "key", "merged", "name", "off", "path", "section", "setting", "value")

    def __init__(
        self, setting: str | None, name: str, key: Scalar, value: Node, path: str, section: str,
        depth: int, merged: bool, off: str = "",
    ) -> None:  # fmt: skip
        self.setting = setting
        self.name = name
        self.key = key
        self.value = value
        self.path = path
        self.section = section
        self.depth = depth
        self.merged = merged
        self.off = off


def is_usable(value: Number) -> bool:
    """Whether a number is 0 or of a size that a training can have; infinity and NaN are not."""
    return value == 0 or _SMALLEST <= abs(value) <= _LARGEST


def without_noise(value: Number) -> Number:
    """What arithmetic makes, to 12 digits: 1 - 0.999 is 0.001, not 0.0010000000000000009."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


@lru_cache(1024)
def optimizer_family(text: str) -> str:
    """`torch.optim.AdamW`, `FusedAdam`, `paged_adamw_8bit` -> `adamw`, `adam`, `adamw`."""
    name = text.rsplit(".", 1)[-1].strip().lower().replace("-", "_")
    return _OPTIMIZER_ALIASES.get(name, name)


def norm_kind(text: str) -> str | None:
    """`nn.BatchNorm2d`, `BN`, `sync_bn` -> `batch`, `batch`, `sync_batch`; None for no layer."""
    name = text.rsplit(".", 1)[-1].strip().lower()
    short = _NORM_SHORT.get(name.replace("_", "").replace("-", ""))
    if short:
        return short
    if "norm" in name or name in ("batch", "group", "layer", "rms", "instance", "sync_batch"):
        for word, kind in _NORM_WORDS:
            if word in name:
                return kind
    return None


def _to_usable(value: Value) -> tuple[str, Number | None]:
    """Why a value is no number that can be judged, or an empty reason and the number."""
    if isinstance(value, bool):
        return "a switch, not a number", None
    if value is None:
        return "", None
    number: Number
    if isinstance(value, str):
        known = to_number(value)
        if known is None:
            if len(value) > 40 and _DIGITS.issuperset(value):
                return f"{_shortened(value)} is {UNUSABLE}", None
            return f"{_shortened(value)!r} is not a number", None
        number = known
    else:
        number = value
    if number - number == 0 and not is_usable(number):
        return f"{number:.3g} is {UNUSABLE}", None
    return "", number


def read_value(
    kind: str, target: Node | str, dialect: Dialect, format: str
) -> tuple[Any, bool] | str:
    """A value in its setting's one unit, and whether its loader reads text where a number is
    meant; or the reason why it cannot be known. `target` is a scalar, a list for a pair or for
    numbers, or bare text."""
    if kind in LIST_KINDS:
        return _pair(target) if kind == "pair" else _numbers(target)
    value: Value
    if isinstance(target, str):
        text = value = target
    elif type(target) is Scalar:
        text, value = target.value, typed(target, dialect, format)
    else:
        return "a section, not a value"
    if kind == "number":
        reason, number = _to_usable(value)
        if reason:
            return reason
        return number, isinstance(value, str) and dialect["loader"] not in CONVERTS
    if kind == "optimizer":
        return (optimizer_family(value), False) if isinstance(value, str) else "no name"
    if kind == "norm":
        family = norm_kind(value) if isinstance(value, str) else None
        return (family, False) if family else f"{text!r} names no normalisation layer"
    if kind == "precision":
        return _precision(value)
    return value, False


def _precision(value: Value) -> tuple[Any, bool] | str:
    """How numbers are kept, where the text names a format at all."""
    text = str(value).lower()
    known = _PRECISION.get(text)
    if known is not None:
        return known, False
    if isinstance(value, str) and not any(word in text for word in _FORMATS):
        return f"{_shortened(value)!r} names no precision"
    return value, False


_FORMATS = ("16", "32", "64", "8", "fp4", "nf4", "half", "float", "double", "mixed", "amp", "none",
            "full", "high", "medium", "single")  # fmt: skip
"""A spelling of a precision has one of these in it (`O1` of apex is read by its own key)."""

LIST_KINDS = frozenset(("pair", "numbers"))
"""Kinds of settings whose value may be a list."""

CONVERTS = frozenset(("coerced", "yacs"))
"""Loaders that turn text into the number that it spells."""


def typed(node: Scalar, dialect: Dialect, format: str) -> Value:
    """A scalar as the file's loader gives it."""
    return read_scalar(node, reads_yaml11(dialect, format))


def reads_yaml11(dialect: Dialect, format: str) -> bool:
    """Whether the file is YAML whose loader takes `1e-4` for text, at first or for good."""
    return format == "yaml" and dialect["loader"] in ("yaml11", "unknown", "coerced")


def _pair(target: Node | str) -> tuple[Any, bool] | str:
    numbers, text = _items(target)
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return "not a pair of numbers"
    if not text and not (is_usable(numbers[0]) and is_usable(numbers[1])):
        return f"a pair with {UNUSABLE}"
    return (float(numbers[0]), float(numbers[1])), False


def _numbers(target: Node | str) -> tuple[Any, bool] | str:
    numbers, text = _items(target)
    found = [number for number in numbers if number is not None and is_usable(number)]
    cut = text.count("(") != text.count(")")  # in two, by the comma of `{STEPS: (30, 60)}`
    if not found or len(found) < len(numbers) or cut:
        return "no list of numbers"
    return tuple(found), False


def _items(target: Node | str) -> tuple[list[Number | None], str]:
    """The items of a list as numbers; or of its text, and that: `(0.9, 0.95)` is text to YAML and
    a list to yacs and argparse."""
    if type(target) is Sequence:
        return [_number(item) for item in target.items], ""
    text = target.value if type(target) is Scalar else target if isinstance(target, str) else ""
    return [to_number(part) for part in text.strip("()[] ").replace(",", " ").split()], text


def to_setting(
    name: str, kind: str, node: Node, key: Node | None, path: str, composed: Composed
) -> Setting | str:
    """The setting that a value node gives, or the reason why its value cannot be known."""
    target, via = composed.value_of(node)
    if target is None:
        return via
    if type(target) is not Scalar and kind not in LIST_KINDS:
        return "a section, not a value"
    tree = composed.tree_of(node)
    if type(target) is Scalar:
        text = target.value
        if text in ("auto", "???"):
            return f"`{text}` leaves it to the framework or the launcher"
        if "{{" in text:
            return f"{text!r} is filled in elsewhere"
    read = read_value(kind, target, composed.dialect, tree.format)
    if isinstance(read, str):
        return read
    value, is_text = read
    note = ""
    if value is None and kind == "number":
        note = "off (null)" if name.startswith("clip") else "null"
    elif via.startswith("from"):
        note = via
    overridden = id(target) in tree.overridden
    text = tree.source.text
    origin = WRITTEN if tree is composed.tree else INHERITED
    setting = Setting(
        name,
        value,
        origin=OVERRIDE if overridden else origin,
        raw=target.value
        if overridden and type(target) is Scalar
        else text[target.start : target.end]
        if type(node) is Alias and tree is composed.tree_of(target)
        else text[node.start : node.end],
        key=path if origin == WRITTEN else dotted(path_of(node, tree)),
        place=Place(tree.source, node.start, node.end),
        node=node if target is node and type(node) is Scalar else None,
        key_node=key,
        tree=tree,
        note=note,
        is_text=is_text,
    )
    if origin == INHERITED and not composed.is_run:  # a run's files may not say a key twice
        setting.leaf = composed.tree, path
    return setting


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:20]}... ({len(text):,} characters)"


def _number(node: Node) -> Number | None:
    target = resolve(node)
    return to_number(target.value) if type(target) is Scalar else None


def fill(unit: TrainingUnit, found: list[Found], dialect: Dialect, shared: bool) -> None:
    """Put what was found into the unit; settings that it already has win."""
    kinds: dict[str, str] = dialect["kinds"]
    known_before = set(unit.settings)
    # Nearest to the section's top first; a named section before one that no dialect knows.
    found = sorted(
        found, key=lambda f: (f.off != "", f.section == "other" and f.depth > 0, f.depth)
    )
    by_name: dict[str, list[Setting]] = {}
    for item in found:
        if item.off:
            if item.setting is None:
                continue
            setting = _switched_off(item, item.setting, unit.composed)
        elif item.setting is None:
            flag = _flag(item, dialect["flags"][item.name], unit.composed)
            if flag is None:
                continue
            setting = flag
        else:
            kind = kinds[item.setting]
            made = to_setting(item.setting, kind, item.value, item.key, item.path, unit.composed)
            if isinstance(made, str):
                target = resolve(item.value)
                if type(target) is Scalar and item.setting not in unit.unknown:
                    unit.unknown[item.setting] = made
                    unit.unknown_nodes[item.setting] = target
                continue
            setting = made
        if shared:
            setting.note = setting.note or "stands outside the section; shared"
        elif item.merged or type(item.value) is Alias:
            setting.note = setting.note or "through an anchor"
        by_name.setdefault(setting.name, []).append(setting)
    for name, settings in by_name.items():
        best = _in_force(settings)
        if name not in known_before:
            unit.settings[name] = best
            unit.unknown.pop(name, None)
            unit.unknown_nodes.pop(name, None)
            unit.others.setdefault(name, []).extend(s for s in settings if s is not best)
    _combine(unit, dialect)


def _in_force(settings: list[Setting]) -> Setting:
    """The first, or its last duplicate: PyYAML keeps the last of two equal keys."""
    best = settings[0]
    for setting in settings[1:]:
        if setting.key == best.key:
            best = setting
    return best


def _switched_off(item: Found, name: str, composed: Composed) -> Setting:
    value = item.value
    target = resolve(value)
    tree = composed.tree_of(value)
    return Setting(
        name, None, raw=target.value if type(target) is Scalar else "", key=item.path,
        place=Place(tree.source, value.start, value.end), key_node=item.key, tree=tree,
        note=f"off ({item.off})",
        origin=WRITTEN if tree is composed.tree else INHERITED,
    )  # fmt: skip


def _flag(item: Found, norm: str, composed: Composed) -> Setting | None:
    """`sync_bn: true` says what the normalisation is; `sync_bn: false` says nothing."""
    target = resolve(item.value)
    if type(target) is not Scalar or read_scalar(target) is not True:
        return None
    tree = composed.tree_of(item.value)
    return Setting(
        "norm", norm, raw=target.value, key=item.path,
        place=Place(tree.source, item.value.start, item.value.end), key_node=item.key, tree=tree,
        origin=WRITTEN if tree is composed.tree else INHERITED,
    )  # fmt: skip


def _combine(unit: TrainingUnit, dialect: Dialect) -> None:
    """Settings that follow from several keys."""
    settings = unit.settings
    norms = unit.every("norm")
    for strongest in ("frozen_batch", "sync_batch"):
        for setting in norms:
            if setting.value == strongest and settings["norm"] is not setting:
                unit.others["norm"] = [s for s in norms if s is not setting]
                settings["norm"] = setting
    kind = settings.get("clip_kind")
    clip = settings.get("clip_norm")
    if clip and kind and isinstance(kind.value, str):
        name = {"value": "clip_value", "agc": "clip_agc"}.get(kind.value.lower())
        if name and name not in settings:
            settings[name] = settings.pop("clip_norm")
            settings[name].name = name
            clip = None
    by_value = settings.get("clip_value")
    if by_value and kind and isinstance(kind.value, str) and "clip_norm" not in settings:
        if kind.value.lower() in _NORM_KINDS and by_value.last_key.lower() in _OF_EITHER_KIND:
            settings["clip_norm"] = clip = settings.pop("clip_value")
            clip.name = "clip_norm"
    if clip and clip.number == 0 and clip.last_key.lower() in dialect["zero_is_off"]:
        clip.value = None
        clip.note = "off (0)"
    settle(unit)


def settle(unit: TrainingUnit) -> None:
    """What follows from the settings of any dialect: a pair of betas, -1 for "not used"."""
    settings = unit.settings
    if "betas" not in settings and "beta1" in settings and "beta2" in settings:
        first, second = settings["beta1"], settings["beta2"]
        if first.number is not None and second.number is not None:
            betas = [beta for beta in (first, second) if beta.key]
            shown = betas[0] if betas else first
            keys = " and ".join(beta.key for beta in betas)
            settings["betas"] = Setting(
                "betas", (first.number, second.number), origin=shown.origin, key=shown.key,
                place=shown.place, tree=shown.tree or unit.tree,
                note=f"from {keys}" if betas else first.note,
            )  # fmt: skip
    for name in _MINUS_ONE:
        if name not in settings:
            continue
        if name == "micro_batch" and unit.composed.dialect["name"] != "generic":
            continue
        for written in unit.every(name):
            if written.number == -1:
                written.value = None
                written.note = "-1: left to the framework"
            elif name == "world_size" and written.value == 0 and written.number is not None:
                written.value = 1
                written.note = "no GPU: one process on the CPU"


def drop_misread(unit: TrainingUnit, not_with: dict[str, dict[str, tuple[str, ...]]]) -> None:
    """Take out what a key does not mean beside certain others: PPO's `n_epochs` is no length."""
    for name, by_key in not_with.items():
        for setting in unit.every(name):
            words = by_key.get(setting.last_key.lower())
            if words is None or not (not unit.keys.isdisjoint(words) or unit.has_word(words)):
                continue
            if unit.settings[name] is not setting:
                unit.others[name].remove(setting)
            elif unit.others.get(name):
                unit.settings[name] = unit.others[name].pop(0)
            else:
                del unit.settings[name]


def add_computed(unit: TrainingUnit) -> None:
    """`global_batch` from micro-batch, accumulation and devices, or the micro-batch from it."""
    settings = unit.settings
    accumulation = unit.number("accumulation")
    world = unit.number("world_size")
    micro, total = unit.number("micro_batch"), unit.number("global_batch")
    if micro and not total and accumulation and world:
        settings["global_batch"] = Setting(
            "global_batch", int(micro * accumulation * world), origin=COMPUTED,
            note="micro_batch x accumulation x world_size", unit=settings["micro_batch"].unit,
        )  # fmt: skip
    elif total and not micro and "micro_batch" not in settings and world:
        if accumulation is None and ("accumulation" in settings or "accumulation" in unit.unknown):
            return
        share = total / (world * (accumulation or 1))
        if share == int(share) and share >= 1:
            settings["micro_batch"] = Setting(
                "micro_batch", int(share), origin=COMPUTED, place=settings["global_batch"].place,
                tree=unit.tree, key=settings["global_batch"].key,
                note="global_batch / world_size / accumulation",
                unit=settings["global_batch"].unit,
            )  # fmt: skip
