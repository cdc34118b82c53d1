"""What rules share when they point at a setting or change it."""

from __future__ import annotations

from math import gcd

from gradaudit.edits import insert_after, replace_value
from gradaudit.findings import RECOMMENDED, SPECULATIVE, Edit, Fix, Place
from gradaudit.plan.model import INHERITED, WRITTEN
from gradaudit.rules.text import number
from gradaudit.syntax.scalars import yaml_float
from gradaudit.syntax.tree import Mapping, Scalar, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.syntax.tree import Tree


def place_of(setting: Setting, unit: TrainingUnit) -> Place:
    """Where a setting stands; the unit's own first key for one that no file holds."""
    return setting.place if setting.place is not None else start_of(unit)


def start_of(unit: TrainingUnit) -> Place:
    """The unit's own first key."""
    mapping = unit.mapping
    first = mapping.pairs[0][0] if mapping.pairs else mapping
    return Place(unit.tree.source, first.start, first.end)


def key_of(node: Scalar, tree: Tree) -> str | None:
    """The dotted path of a value; None for one that an interpolation put together."""
    try:
        return dotted(path_of(node, tree))
    except StopIteration:
        return None


def change(setting: Setting, value: float, spelled: str | None = None) -> Edit | None:
    """An edit that gives a written number another value, or None where none can be made.

    A value inherited from a base file is overridden in the file that inherits it, where that has
    the section to put it in; the base is never edited for the sake of one of its users.

    None for what no file holds, what the command line overrides, what an alias brings in, a value
    in quotes, a value that is the old one already, and a pair such as `betas` (edit its items with
    `edits.replace_value`).
    `spelled` is the text to write; without it the number is spelt in the style of the old one.
    """
    if setting.origin == INHERITED and setting.leaf is not None and value != setting.value:
        return _override(*setting.leaf, value, spelled)
    if setting.node is None or setting.tree is None or setting.origin != WRITTEN:
        return None
    if setting.node.style:
        return None
    new = spelled if spelled is not None else _like(setting.raw, value)
    if new == setting.raw or (value == setting.value and not setting.is_text):
        return None
    return replace_value(setting.tree, setting.node, setting.key, value, new)


def _override(tree: Tree, path: str, value: float, spelled: str | None) -> Edit | None:
    """Insert the last key of a dotted path into its section of a file, which has it not."""
    *above, name = path.split(".")
    node = tree.roots[0] if tree.roots else None
    for part in above:
        if type(node) is not Mapping:
            return None
        node = next(
            (v for k, v in reversed(node.pairs) if type(k) is Scalar and k.value == part), None
        )
    if type(node) is not Mapping or not node.pairs:
        return None
    return insert_after(tree, node.pairs[-1][0], name, value, spelled)


def _like(old: str, value: float) -> str:
    """`value` with as many decimals as `old` has where that loses nothing: 2.50 -> 0.70."""
    if isinstance(value, int) or (value == int(value) and "." not in old and "e" not in old):
        return str(int(value))
    if "." in old and "e" not in old.lower():
        decimals = len(old.split(".")[1])
        text = f"{value:.{decimals}f}"
        if 0 < decimals <= 2 and float(text) == value:
            return text
    return yaml_float(float(value))


def raise_micro_batch(
    unit: TrainingUnit, at_least: float, seen: float | None, applicability: str = RECOMMENDED
) -> Fix | None:
    """Double the micro-batch until what sees `seen` samples now sees `at_least`.

    As much of the factor as divides is taken back from what is accumulated, so that the global
    batch, and with it the learning rate, stays as it is or changes as little as it can.
    """
    micro = unit.settings.get("micro_batch")
    size = unit.number("micro_batch")
    if micro is None or size is None or not seen or size != int(size):
        return None
    factor = 1
    while seen * factor < at_least:
        factor *= 2
    new = int(size) * factor
    edit = change(micro, new)
    if edit is None or factor == 1:
        return None
    title = f"raise `{micro.last_key}` from {micro.raw} to {new}"
    notes = [f"memory for activations x {factor}"]
    edits = [edit]
    accumulation = unit.settings.get("accumulation")
    steps = unit.number("accumulation") or 1
    taken_back = 1
    if accumulation is not None and steps > 1 and steps == int(steps):
        common = gcd(int(steps), factor)
        lowered = change(accumulation, int(steps) // common)
        if lowered is not None:
            taken_back = common
            edits.append(lowered)
            title += f", lower `{accumulation.last_key}` from {accumulation.raw} to {lowered.new}"
    notes += _global_batch(unit, int(size), steps, factor, taken_back)
    return Fix(applicability, title, edits, notes)


def _global_batch(
    unit: TrainingUnit, size: int, steps: float, factor: int, taken_back: int
) -> list[str]:
    """What becomes of the global batch, of what is counted in steps and of the learning rate."""
    larger = factor // taken_back
    if larger == 1:
        return ["the global batch stays as it is, so the learning rate stays too"]
    world = unit.number("world_size")
    before = size * steps * (world or 1)
    on = "" if world else " a device"
    rate = unit.number("learning_rate")
    known = f" ({number(rate)})" if rate else ""
    grows = f"from {number(before)} to {number(before * larger)}{on}"
    return [
        f"the batch of an optimiser step grows {grows}",
        f"steps an epoch / {larger}: whatever is counted in steps lasts {larger} x as many epochs",
        f"review the learning rate{known}: a batch this much larger often takes a higher one",
    ]


def start_at(
    unit: TrainingUnit, rate: Setting, value: float, spelled: str, note: str
) -> Fix | None:
    """A rate to begin the search with; None where the schedule would then end above its peak."""
    floor = unit.number("min_learning_rate")
    edit = change(rate, value, spelled)
    if edit is None or (floor is not None and floor >= value):
        return None
    return Fix(SPECULATIVE, f"set `{rate.last_key}` to {edit.new}", [edit], [note])


def switch(setting: Setting, on: bool) -> Edit | None:
    """An edit that turns a written switch on or off, in the case of its old text; None where none
    can be made, as for a word that stands for a switch (`16-true`)."""
    old = setting.raw
    if old.lower() not in ("true", "false"):
        return None
    new = "true" if on else "false"
    return change(setting, on, new.capitalize() if old[0].isupper() else new)
