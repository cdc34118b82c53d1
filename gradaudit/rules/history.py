"""GA7: what a setting's own comment says of its past."""

from __future__ import annotations

import re
from functools import cache
from math import isclose

from gradaudit.findings import HIGH, INFO, SPECULATIVE, Finding, Fix, Place
from gradaudit.plan.model import Setting
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, times
from gradaudit.syntax.scalars import read_scalar, to_number
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits
    from gradaudit.syntax.tree import Node

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w|%|\.\d)"


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """What raises a number, what an arrow does, and words of a course over time (such a comment
    tells of one run, not of two). Made when a comment is looked at: most files have none, and
    making them takes as long as judging one."""
    return (
        re.compile(
            rf"\b(?:{'|'.join(_RAISED)})\b"
            rf"[^.;,()\d]{{0,20}}?\b[Ff]rom\s+(?P<from>{_NUMBER})(?:\s+to\s+(?P<to>{_NUMBER}))?",
            re.IGNORECASE,
        ),
        re.compile(rf"(?<![\w.])(?P<from>{_NUMBER})\s*(?:→|->|=>)\s*(?=(?P<to>{_NUMBER}))"),
        re.compile(
            r"warm|ramp|anneal|decay|schedul|linear|cosine|\b(?:not|never)\s+$", re.IGNORECASE
        ),
    )


_NEAR = 25
"""Characters before and after a match in which a word of a schedule takes it back."""

_NAMES = ("weight", "rate", "threshold", "coef", "coeff", "lambda", "lr", "penalty")
_SUFFIXES = tuple(f"_{name}" for name in _NAMES)
_ARROWS = ("→", "->", "=>")
_HEADS = (">", "→")
_RAISED = ("increased", "raised", "bumped", "boosted", "strengthened", "upped", "scaled up")


@rule(
    "GA704",
    "raised-by-its-own-comment",
    scope="unit",
    severities=(INFO,),
    confidence=HIGH,
    limits={"factor": 3},
    references=("docs/measurements.md",),
)
def raised_by_its_own_comment(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A weight, rate or threshold was raised three times or more, its own comment says.

    Why:
        A change of this size between two runs is the first suspect when the gradient norm changes
        between them; several at once make the cause undecidable. That it was raised is a fact;
        that it hurts is not: a term may be inactive, and Adam is indifferent to a common factor.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        mse_weight: 1.0
        calib_weight: 0.9  # Nov 15 increased from 0.25

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        mse_weight: 1.0
        calib_weight: 0.25  # Nov 15 increased from 0.25

    Tell:
        Train with the value before the change, everything else equal, over several seeds.

    Symptoms:
        gradient norm grows
        one loss term drowns the others

    Fix:
        Speculative, for loss weights: back to the value named in the comment. Measured for a
        minor term of the reconstructed training: no effect that can be told from noise
        (measurements#uncertainty_weight-010).

    Limits:
        factor: the value, over the earlier one that the comment names.

    False positives:
        A comment that was not kept up to date. Only "increased from", "raised from" and the like,
        and `0.75 -> 2.5` where the right-hand number is the value, are read; not where a word near
        it speaks of a schedule (warm-up, ramp, decay, cosine), and not on a line with several
        values.
    """
    telling = _telling(unit.tree.source.text)
    if not telling:
        return  # most files: no comment needs to be looked up
    seen: set[int] = set()
    weights = {id(term.setting.node): term.setting for term in unit.loss_terms if term.setting.node}
    for setting in (*weights.values(), *_other_numbers(unit, telling)):
        node = setting.node
        value = setting.number
        if node is None or id(node) in seen or value is None or value <= 0:
            continue
        seen.add(id(node))
        said = _raised_from(setting, value)
        if said is None:
            continue
        before, comment = said
        if before <= 0 or value / before < limits["factor"] - 0.005:
            continue
        fix = None
        edit = change(setting, float(before)) if id(node) in weights else None
        if edit is not None:
            fix = Fix(
                SPECULATIVE,
                f"set `{setting.last_key}` back to {edit.new}, as its comment names it",
                [edit],
                [
                    (
                        "lowering single weights brought no measured gain over 8 seeds "
                        "(docs/measurements.md)"
                    ),
                    "the comment stays as it is: update it",
                ],
            )
        yield Finding(
            place_of(setting, unit),
            f"`{setting.last_key}` was raised {times(value / before)}, from {number(before)} to "
            f"{number(value)}, its own comment says",
            severity=INFO,
            confidence=HIGH,
            key=setting.key,
            label=f"{times(value / before)} its earlier value",
            why=[
                (
                    "A change of this size is the first suspect when the norm changed with it; "
                    "several at once make the cause undecidable. That it hurts is not shown by "
                    "this."
                )
            ],
            evidence=[f"its comment: {comment}"],
            next="Compare runs with the old and the new value, everything else equal.",
            fix=fix,
            cause="history",
        )


_last: tuple[str, tuple[tuple[int, int], ...]] = ("", ())
"""The text that was looked at last, and what was found: files have several trainings."""


def _telling(text: str) -> tuple[tuple[int, int], ...]:
    """Where the lines begin and end whose comment may tell of a change."""
    global _last
    if _last[0] is not text:
        _last = text, _found_telling(text)
    return _last[1]


def _found_telling(text: str) -> tuple[tuple[int, int], ...]:
    """See `_telling`: few lines, and some in vain."""
    if "#" not in text:
        return ()
    found = [
        (begin, end)
        for begin, end in _lines_with("rom ", text)
        if any(word in text[begin:end].lower() for word in _RAISED)
    ]
    # One character is found twenty times as fast as two, and few files have any of these.
    for head in _HEADS:
        if head in text:
            for begin, end in _lines_with(head, text):
                if any(arrow in text[begin:end] for arrow in _ARROWS):
                    found.append((begin, end))
    return tuple(found)


def _lines_with(sign: str, text: str) -> list[tuple[int, int]]:
    """The lines in which `sign` stands behind a `#`."""
    found = []
    at = text.find(sign)
    while at >= 0:
        begin = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = end if end >= 0 else len(text)
        if text.find("#", begin, at) >= 0:
            found.append((begin, end))
        at = text.find(sign, end)
    return found


def _is_told(at: int, telling: tuple[tuple[int, int], ...]) -> bool:
    return any(begin <= at <= end for begin, end in telling)


def _other_numbers(unit: TrainingUnit, telling: tuple[tuple[int, int], ...]) -> Iterator[Setting]:
    """Rates, thresholds and weights of the unit that are no loss terms, wherever they stand."""
    for name in ("learning_rate", "clip_norm", "clip_value", "weight_decay"):
        yield from unit.every(name)
    first = min(begin for begin, _ in telling)
    last = max(end for _, end in telling)
    for node in unit.tree.mappings:
        if not unit.mapping.start <= node.start < unit.mapping.end:
            continue
        if node.start > last or node.end < first:
            continue
        for key, value in node.pairs:
            if not first <= value.end <= last or not _is_told(value.end, telling):
                continue
            if type(key) is not Scalar or type(value) is not Scalar or value.style:
                continue
            name = key.value.lower()
            if not (name in _NAMES or name.endswith(_SUFFIXES)):
                continue
            read = read_scalar(value)
            number_ = None if isinstance(read, bool) else to_number(value.value)
            if number_ is not None:
                yield Setting(
                    "number", number_, raw=value.value, key=dotted(path_of(value, unit.tree)),
                    place=Place(unit.tree.source, value.start, value.end), node=value,
                    key_node=key, tree=unit.tree,
                )  # fmt: skip


def _raised_from(setting: Setting, value: float) -> tuple[float, str] | None:
    """The earlier value that the comment on the setting's line names, and the comment."""
    node = setting.node
    if node is None or setting.tree is None:
        return None
    text = setting.tree.source.text
    line_end = text.find("\n", node.end)
    rest = text[node.end : line_end if line_end >= 0 else len(text)]
    begin = re.search(r"(?:^|\s)#", rest)
    if begin is None:
        return None
    raised, arrow, schedule = _patterns()
    comment = rest[begin.end() :].strip("# \t\r")
    for pattern in (raised, arrow):
        for match in pattern.finditer(comment):
            now = match.group("to")
            if now is not None and not isclose(float(now), value, rel_tol=1e-6):
                continue
            before = comment[max(0, match.start() - _NEAR) : match.start()]
            end = match.end() if now is None else match.end("to")
            if schedule.search(before) or schedule.search(comment[match.start() : end + _NEAR]):
                continue
            if _stands_alone(node, text):
                return float(match.group("from")), comment
    return None


def _stands_alone(node: Scalar, text: str) -> bool:
    """Whether no other value stands on a value's line: of several, its comment may mean any."""
    begin = text.rfind("\n", 0, node.start) + 1
    end = text.find("\n", node.start)
    end = len(text) if end < 0 else end
    child: Node = node
    parent = node.parent
    while parent is not None and parent.flow:  # a block mapping has one entry a line
        spans: list[tuple[int, int]] = []
        if type(parent) is Mapping:
            spans = [(key.start, value.end) for key, value in parent.pairs]
        elif type(parent) is Sequence:
            spans = [(item.start, item.end) for item in parent.items]
        others = [span for span in spans if not span[0] <= child.start < span[1]]
        if any(start < end and stop > begin for start, stop in others):
            return False
        child, parent = parent, parent.parent
    return True
