"""GA7: what a setting's own comment says of its past."""

from __future__ import annotations

import re

from gradaudit.findings import HIGH, INFO, SPECULATIVE, Finding, Fix, Place
from gradaudit.plan.model import Setting
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, times
from gradaudit.syntax.scalars import read_scalar, to_number
from gradaudit.syntax.tree import Scalar, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

_RAISED = re.compile(
    r"(?:increased|raised|bumped|up|boosted|strengthened|upped|scaled up)\b"
    r"[^.;,()\d]{0,20}?\bfrom\s+(?P<from>[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)",
    re.IGNORECASE,
)
_ARROW = re.compile(
    r"(?P<from>\d*\.?\d+(?:[eE][-+]?\d+)?)\s*(?:→|->|=>)\s*(?P<to>\d*\.?\d+(?:[eE][-+]?\d+)?)"
)
_SUFFIXES = ("_weight", "_rate", "_threshold", "_coef", "_coeff", "_lambda", "_lr", "_penalty")


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

    Fix:
        Speculative, for loss weights: back to the value named in the comment. Measured for a
        minor term of the reconstructed training: no effect that can be told from noise
        (measurements#uncertainty_weight-010).

    Limits:
        factor: the value, over the earlier one that the comment names.

    False positives:
        A comment that was not kept up to date. Only "increased from", "raised from" and the like,
        and `0.75 -> 2.5`, are read.
    """
    seen: set[int] = set()
    weights = {id(term.setting.node): term.setting for term in unit.loss_terms if term.setting.node}
    for setting in (*weights.values(), *_other_numbers(unit)):
        node = setting.node
        value = setting.number
        if node is None or id(node) in seen or value is None or value <= 0:
            continue
        seen.add(id(node))
        said = _raised_from(setting, unit)
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


def _other_numbers(unit: TrainingUnit) -> Iterator[Setting]:
    for name in ("learning_rate", "clip_norm", "clip_value", "weight_decay"):
        yield from unit.every(name)
    for key, value in unit.mapping.pairs:
        if (
            type(key) is Scalar
            and type(value) is Scalar
            and key.value.lower().endswith(_SUFFIXES)
            and isinstance(read_scalar(value), (int, float))
        ):
            number_ = to_number(value.value)
            if number_ is not None:
                yield Setting(
                    "number", number_, raw=value.value, key=dotted(path_of(value, unit.tree)),
                    place=Place(unit.tree.source, value.start, value.end), node=value,
                    key_node=key, tree=unit.tree,
                )  # fmt: skip


def _raised_from(setting: Setting, unit: TrainingUnit) -> tuple[float, str] | None:
    """The earlier value that the comment on the setting's line names, and the comment."""
    node = setting.node
    if node is None or setting.tree is None:
        return None
    source = setting.tree.source
    line_end = source.text.find("\n", node.end)
    rest = source.text[node.end : line_end if line_end >= 0 else len(source.text)]
    hash_at = rest.find("#")
    if hash_at < 0:
        return None
    comment = rest[hash_at:]
    match = _RAISED.search(comment) or _ARROW.search(comment)
    if match is None:
        return None
    return float(match.group("from")), comment.lstrip("# \t").rstrip()
