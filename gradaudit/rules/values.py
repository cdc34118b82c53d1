"""GA7: values that a setting cannot have."""

from __future__ import annotations

from functools import lru_cache

from gradaudit.findings import ERROR, HIGH, MEDIUM, WARNING, Finding, Place
from gradaudit.plan.model import ADAPTIVE, COMPUTED
from gradaudit.rules import rule
from gradaudit.rules.repair import key_of, place_of
from gradaudit.rules.text import number
from gradaudit.syntax.scalars import looks_botched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits


_COUNT = ((lambda v: v < 1, ERROR, "must be 1 or more"),)
_BATCH = ((lambda v: v <= 0, ERROR, "must be 1 or more"),)
_LENGTH = (
    (lambda v: v < 0 and v != -1, ERROR, "must be above 0"),
    (lambda v: v == 0, WARNING, "0: nothing is trained"),
)
_NOT_NEGATIVE = ((lambda v: v < 0, ERROR, "must not be negative"),)
_BETA = ((lambda v: not 0 <= v < 1, ERROR, "must lie in [0, 1); torch refuses it"),)

_DOMAINS: dict[str, tuple[tuple[Callable[[float], bool], str, str], ...]] = {
    "learning_rate": (
        (lambda v: v < 0, ERROR, "a negative learning rate climbs the loss; torch refuses it"),
        (lambda v: v == 0, WARNING, "a learning rate of 0 changes nothing"),
    ),
    "micro_batch": _BATCH,
    "global_batch": _BATCH,
    "accumulation": _COUNT,
    "world_size": _COUNT,
    "epochs": _LENGTH,
    "total_steps": _LENGTH,
    "warmup_steps": (
        *_NOT_NEGATIVE,
        (
            lambda v: 0 < v < 1,
            ERROR,
            "less than one step; a share of the training is another setting here",
        ),
    ),
    "warmup_epochs": _NOT_NEGATIVE,
    "warmup_ratio": (
        (lambda v: not 0 <= v <= 1, ERROR, "a ratio of the training lies between 0 and 1"),
    ),
    "dropout": (
        (lambda v: not 0 <= v <= 1, ERROR, "a probability lies between 0 and 1"),
        (lambda v: v == 1, WARNING, "nothing passes this layer"),
    ),
    "beta1": _BETA,
    "beta2": _BETA,
    "momentum": (
        (lambda v: v < 0, ERROR, "must not be negative; torch refuses it"),
        (lambda v: v >= 1, ERROR, "from 1 on the velocity grows without bound"),
    ),
    "eps": (
        (lambda v: v < 0, ERROR, "must not be negative; torch refuses it"),
        (lambda v: v == 0, WARNING, "0 divides by zero where a second moment is zero"),
    ),
    "weight_decay": (
        (lambda v: v < 0, ERROR, "a negative decay makes weights grow; torch refuses it"),
    ),
    "label_smoothing": (
        (lambda v: not 0 <= v <= 1, ERROR, "must lie between 0 and 1; torch refuses it"),
        (lambda v: v == 1, WARNING, "1 leaves nothing of the labels"),
    ),
    "ema_decay": (
        (lambda v: not 0 <= v <= 1, ERROR, "must lie between 0 and 1: the average diverges"),
        (lambda v: v == 1, WARNING, "1 keeps the first weights for ever"),
    ),
}
"""Settings in the order of judging: what is wrong about which values, the first that holds."""


_WITH_VELOCITY = frozenset((None, "sgd", "momentum", "nesterov", "lars", "muon", "rmsprop"))
"""Optimisers that add momentum x the last step to the next; beside others the key is not read."""

_MAY_BE_INFINITE = frozenset(("clip_norm", "clip_value", "epochs", "total_steps"))
"""An infinite clip never acts; an endless training is stopped by hand."""


Wrong = tuple[str, str, str]
"""Severity, what is wrong, and how sure that is."""


def _not_finite(setting: Setting) -> Wrong | None:
    value = setting.value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value - value == 0:
        return None
    if value != value:
        return ERROR, "not a number: it spreads to everything that is computed with it", HIGH
    if value > 0 and setting.name in _MAY_BE_INFINITE:
        return None
    return ERROR, "must be finite", HIGH


@lru_cache(4096)
def _outside(name: str, value: float) -> tuple[str, str] | None:
    """What is wrong about a value whatever stands beside it, and how grave that is. Kept: the
    configs of a directory have most of their values in common."""
    for is_wrong, severity, what in _DOMAINS.get(name, ()):
        if is_wrong(value):
            return severity, what
    return None


def _domain(name: str, value: float, unit: TrainingUnit) -> Wrong | None:
    """What is wrong about a value that its setting cannot have."""
    wrong = _outside(name, value)
    if wrong is None:
        return None
    if name == "momentum" and unit.optimizer not in _WITH_VELOCITY:
        return None
    if name == "eps" and value == 0 and unit.optimizer not in ADAPTIVE:
        return None
    if name == "warmup_steps" and value > 0 and unit.composed.dialect["name"] == "generic":
        return WARNING, "less than one step; a share of the training may be meant", MEDIUM
    return (*wrong, HIGH)


_JUDGED = frozenset((*_DOMAINS, "clip_norm", "clip_value"))


@rule(
    "GA703",
    "value-out-of-domain",
    scope="unit",
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        "https://docs.pytorch.org/docs/stable/optim.html (argument checks of each optimiser)",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
    ),
)
def value_out_of_domain(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A setting has a value that it cannot have.

    Why:
        torch refuses most of them, when the optimiser or layer is made or first used; those that
        it does not refuse silently disable learning (a rate of 0, a dropout of 1, `.nan`) or let
        it diverge (a momentum of 1 or more). Every optimiser that has the setting shares its
        domain.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        momentum: 9.0

    Good:
        optimizer: sgd
        learning_rate: 0.1
        momentum: 0.9

    Tell:
        Construct the optimiser and the model with these values and take one step: torch raises an
        error for most. It does not for a momentum of 1 or more, a learning rate of 0 or a dropout
        of 1: there, look at the loss of the first steps.

    Symptoms:
        loss is nan
        loss is flat
        training ends with an error, or never starts

    Fix:
        None: which value was meant is not known.

    False positives:
        A learning rate of 0 for a frozen group (a warning). -1 for a number of steps or epochs
        means "not used" and is not reported, nor is a batch size of -1 where no framework is known
        or its own means "automatic" (Ultralytics). A warm-up of 0.1 steps is a share to trainers
        that say so (transformers 5): it is read as one. An infinite clip threshold never acts and
        an infinite length has no end: neither is reported.
    """
    for name, in_force in unit.settings.items():
        if name not in _JUDGED:
            continue
        for setting in (in_force, *others) if (others := unit.others.get(name)) else (in_force,):
            value = setting.number
            wrong = _not_finite(setting) if value is None else _domain(name, value, unit)
            if wrong:
                yield _out_of_domain(setting, unit, *wrong)
    betas = unit.get("betas")
    if betas is not None and isinstance(betas.value, tuple):
        for value in betas.value:
            if not 0 <= value < 1 and "beta1" not in unit.settings:
                yield _out_of_domain(
                    betas,
                    unit,
                    ERROR,
                    f"{number(value)} does not lie in [0, 1); torch refuses it",
                    HIGH,
                )
    yield from _botched(unit)


def _out_of_domain(
    setting: Setting, unit: TrainingUnit, severity: str, what: str, confidence: str
) -> Finding:
    written = f"`{setting.last_key}: {setting.raw or setting.value}`"
    if setting.origin == COMPUTED:
        written = f"`{setting.last_key}` makes {setting.name} {number(setting.number or 0)}"
    return Finding(
        place_of(setting, unit),
        f"{written}: {what}",
        severity=severity,
        confidence=confidence,
        key=setting.key,
        label=what.split(";")[0].split(":")[0],
        why=["The run cannot start with it, or it silently spoils the training."],
        no_fix="which value was meant is not known",
    )


def _botched(unit: TrainingUnit) -> Iterator[Finding]:
    """A known number whose text no loader reads as one, `1.0e_8`."""
    for name, node in unit.unknown_nodes.items():
        text = node.value
        if looks_botched(text):
            tree = unit.composed.tree_of(node)
            yield Finding(
                Place(tree.source, node.start, node.end),
                f"`{text}` is text to every loader; {name} wants a number",
                severity=ERROR,
                confidence=HIGH,
                key=key_of(node, tree),
                label="not a number",
                why=["The optimiser refuses text, or its default is used in silence."],
                no_fix="which number was meant is not known",
            )
