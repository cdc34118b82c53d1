"""Words and numbers for messages: the same spelling in every rule."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

_NAMES = {
    "adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "lion": "Lion", "rmsprop": "RMSprop",
    "adagrad": "Adagrad", "adafactor": "Adafactor", "lamb": "LAMB", "lars": "LARS",
    "radam": "RAdam", "nadam": "NAdam", "novograd": "NovoGrad", "adamax": "Adamax",
    "muon": "Muon", "prodigy": "Prodigy", "adadelta": "Adadelta", "nadamw": "NAdamW",
    "amsgrad": "AMSGrad", "adabelief": "AdaBelief", "adan": "Adan", "signsgd": "signSGD",
    "dadaptadam": "D-Adaptation", "dadaptadamw": "D-Adaptation", "dadaptsgd": "D-Adaptation",
    "dadaptlion": "D-Adaptation", "asgd": "ASGD",
}  # fmt: skip


def by_hand(*lines: str) -> str:
    """Why no finding of scope `source` has a fix, and the lines to write instead."""
    written = " and ".join(f"`{line}`" for line in lines)
    return f"Python sources are checked, not edited; write {written}"


def number(value: float) -> str:
    """Three or four significant digits, as a person writes them: 16.05, 8e-05, 0.069, 1,024."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    text = f"{value:.3g}"
    return text.replace("e-0", "e-").replace("e+0", "e")


def times(value: float) -> str:
    """A ratio: `14 times`, `3.3 times`; from 10,000 on to two digits: `31,000 times`."""
    if value >= 9999.5:
        return f"{number(rounded(value))} times"
    return f"{value:.0f} times" if value >= 9.5 else f"{value:.1f} times"


def rounded(value: float) -> float:
    """To two significant digits: a percentile or a ratio of few steps is not known better."""
    return float(f"{value:.2g}")


def percent(share: float) -> str:
    """`12 %`; with a digit more below a tenth, and where rounding would make all of almost all."""
    if 0.995 <= share < 1:
        return f"{int(share * 1000) / 10:.1f} %"
    return f"{share * 100:.0f} %" if share >= 0.0995 else f"{share * 100:.1f} %"


def optimizer_name(unit: TrainingUnit) -> str:
    """The optimiser as people write it, or `the optimiser` where it is unknown."""
    return family_name(unit.optimizer) if unit.optimizer else "the optimiser"


def family_name(family: str) -> str:
    """An optimiser's family as people write it: `AdamW`."""
    return _NAMES.get(family, family)


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def precision_name(value: object) -> str:
    """A precision as people write it: `bf16` for the mixed one too."""
    return str(value).removesuffix("-mixed")


def median(values: list[float]) -> float:
    """The middle value. `statistics` would import fractions, decimal and random into a check.

    Raises: IndexError where there are no values.
    """
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
