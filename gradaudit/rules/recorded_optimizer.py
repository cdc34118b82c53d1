"""GA9: the optimiser of the file against that of the run."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, WARNING
from gradaudit.plan.measured import same
from gradaudit.plan.model import ADAPTIVE, LEARNING_RATE_FREE, SGD_LIKE, SIGN
from gradaudit.plan.terms import shares_of
from gradaudit.plan.values import optimizer_family
from gradaudit.rules import rule
from gradaudit.rules.recorded import ELSEWHERE, RECORD_PAGE, differs, said, written
from gradaudit.rules.term_weights import unlike_text
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

KNOWN = ADAPTIVE | LEARNING_RATE_FREE | SGD_LIKE | SIGN | {"lbfgs", "muon"}
WRAPPERS = frozenset(("sam", "asam", "gsam", "lookahead"))
"""They step another optimiser, which is the one that a record has."""


@rule(
    "GA906",
    "recorded-optimizer-differs",
    scope="record",
    needs=("optimizer",),
    severities=(WARNING,),
    confidence=HIGH,
    references=(
        "https://arxiv.org/abs/1711.05101 (Loshchilov & Hutter 2019: Adam's decay is not AdamW's)",
        RECORD_PAGE,
    ),
)
def recorded_optimizer_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The run steps another optimiser than the file says.

    Why:
        A learning rate, a weight decay and a clip are good or bad under one optimiser: 0.1 is
        usual for SGD and ruin for Adam, and Adam's decay is no AdamW's.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "Adam", "module": "torch.optim.adam"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW", "module": "torch.optim.adamw"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Tell:
        Print `type(optimizer)`.

    Symptoms:
        worse than the published result
        loads other values than the file seems to say

    Fix:
        None: which of the two is meant is not known.

    False positives:
        An optimiser of one's own whose class has another name. DeepSpeed's and apex' `FusedAdam`
        is Adam or AdamW by a switch: it passes for both. SAM and Lookahead step an optimiser that
        the file may not name: where the file says one of these, nothing is said. A section that is
        called as the optimiser (`adamw:` beside `optimizer: muon`) says by that which it means.
    """
    setting = written(measured, "optimizer")
    optimizer, seen = measured.optimizer, measured.family
    if setting is None or not isinstance(setting.value, str) or not optimizer.class_name:
        return
    wanted = setting.value
    torch_own = optimizer.module.startswith("torch.optim")
    either = {wanted, seen} <= {"adam", "adamw"} and not torch_own
    known = wanted in KNOWN and seen in KNOWN
    if wanted == seen or either or wanted in WRAPPERS or not (known or torch_own):
        return
    if optimizer_family(measured.unit.name.rsplit(".", 1)[-1]) == seen:
        return  # the section is called as it, and `optimizer` is the key of all
    yield differs(
        measured,
        setting,
        f"the run steps {optimizer.class_name}, the file says {setting.raw or wanted}",
        severity=WARNING,
        confidence=HIGH if known else MEDIUM,
        label=f"the run had {optimizer.class_name}",
        why="Rates, decay and clip are good or bad under one optimiser. " + ELSEWHERE,
        evidence=f"the class that stepped is {optimizer.module or '?'}.{optimizer.class_name}",
        next="Find where the optimiser is made.",
    )


@rule(
    "GA907",
    "recorded-hyperparameter-differs",
    scope="record",
    needs=(("weight_decay", "momentum", "eps", "betas", "loss_terms"),),
    severities=(WARNING, INFO),
    confidence=HIGH,
    limits={"tolerance": 0.01},
    references=("https://docs.pytorch.org/docs/stable/optim.html", RECORD_PAGE),
)
def recorded_hyperparameter_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Weight decay, momentum, betas, eps or a loss weight of the run are not those of the file.

    Why:
        The defaults of torch's optimisers differ from one to the next (a decay of 0.01 in AdamW, 0
        in Adam), and a value that does not reach the constructor is replaced by one silently. A
        weight of the loss that stands in the code is one that no config changes: whoever lowers
        the key lowers nothing.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        weight_decay: 0.1
        --- record
        {"kind": "optimizer", "class": "AdamW", "groups": [{"weight_decay": 0.01}]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        weight_decay: 0.1
        --- record
        {"kind": "optimizer", "class": "AdamW",
         "groups": [{"weight_decay": 0.1}, {"weight_decay": 0}]}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Tell:
        Print `optimizer.param_groups` without the parameters; a dry run says with which weight each
        term of the loss was measured.

    Symptoms:
        worse than the published result
        loads other values than the file seems to say

    Fix:
        None: which of the two is meant is not known.

    Limits:
        tolerance: relative difference up to which two numbers are one.

    False positives:
        A value that any group has counts as read: norms and biases without decay are usual. A
        loss weight is held against its key only where it was the same at every step and the file
        was not changed since; one that the code scales on purpose differs.
    """
    for name in ("weight_decay", "momentum", "eps", "betas"):
        setting = written(measured, name)
        if setting is None or setting.value is None:
            continue
        wanted = setting.value if isinstance(setting.value, tuple) else setting.number
        seen = [group[name] for group in measured.optimizer.groups if group.get(name) is not None]
        if wanted is None or not seen or any(_equal(wanted, v, limits["tolerance"]) for v in seen):
            continue
        shown = _shown(seen[0])
        yield differs(
            measured,
            setting,
            f"the run's {name} {'are' if name == 'betas' else 'is'} {shown}, the file says "
            f"{_shown(wanted)}",
            severity=WARNING,
            confidence=HIGH,
            label=f"the run had {shown}",
            why=ELSEWHERE,
            evidence=f"{said(setting)} is in no group of {measured.optimizer.class_name}",
            next="Pass the value to the optimiser's constructor.",
        )
    yield from _loss_weights(measured)


def _loss_weights(measured: Measured) -> Iterator[Finding]:
    """A file that was changed since has its say in GA961 and GA931."""
    if measured.older or not measured.terms:
        return
    for share in shares_of(measured):
        if share.setting is None or not share.differs:
            continue
        yield differs(
            measured,
            share.setting,
            unlike_text(share),
            severity=WARNING,
            confidence=HIGH,
            label=f"the run had {number(share.used or 0.0)}",
            why=ELSEWHERE,
            evidence=f"`{share.name}` was measured with {number(share.used or 0.0)} at each step",
            next="Let the code read the file, or write into the file what the code does.",
        )


def _equal(wanted: object, seen: object, tolerance: float) -> bool:
    if isinstance(wanted, (tuple, list)) or isinstance(seen, (tuple, list)):
        if not isinstance(wanted, (tuple, list)) or not isinstance(seen, (tuple, list)):
            return False
        return len(wanted) == len(seen) and all(
            _equal(a, b, tolerance) for a, b in zip(wanted, seen, strict=True)
        )
    if isinstance(wanted, (int, float)) and isinstance(seen, (int, float)):
        return same(float(wanted), float(seen), tolerance)
    return False


def _shown(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_shown, value)) + ")"
    return number(float(value)) if isinstance(value, (int, float)) else str(value)
