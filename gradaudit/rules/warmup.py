"""GA2: warm-ups that are missing, written twice, or counted in shares."""

from __future__ import annotations

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    MEDIUM,
    WARNING,
    Finding,
    Related,
)  # fmt: skip
from gradaudit.plan.model import DEFAULT, LEARNING_RATE_FREE
from gradaudit.rules import rule
from gradaudit.rules.lengths import scheduler_name
from gradaudit.rules.optimisers import forgets_scale, rate_is_factor, steps_with_gradient
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import listed, number, optimizer_name, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_WARMS_UP_ITSELF = ("onecycle", "1cycle", "noam", "inverse", "warm", "trapez", "wsd", "slanted")
_NEEDS_NONE = LEARNING_RATE_FREE | {"radam", "schedulefree_adamw", "adadelta", "adagrad", "muon"}
"""Their first steps are no longer than later ones; Muon's are orthogonalised."""
_SMALL_SAMPLES = frozenset((
    "ppo", "rollout", "rollouts", "gamma", "env", "envs", "reward", "rays", "nerf", "replay",
    "points",
))  # fmt: skip
"""Words of trainings whose samples are single steps of a game, rays or points: there, thousands
make a usual batch."""


@rule(
    "GA208",
    "warmup-missing",
    scope="unit",
    needs=(
        "optimizer",
        "learning_rate",
        "global_batch",
        ("warmup_steps", "warmup_epochs", "warmup_ratio"),
    ),
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"batch": 4096, "adaptive_rate": 3e-4, "sgd_rate": 0.8},
    references=(
        (
            "https://arxiv.org/abs/1706.02677 (Goyal et al. 2017: at a batch of 8,192, ResNet-50 "
            "without a warm-up ends clearly worse)"
        ),
        (
            "https://arxiv.org/abs/1908.03265 (Liu et al. 2020, RAdam: in the first steps Adam's "
            "second moment is known from few gradients)"
        ),
        "https://arxiv.org/abs/1904.00962 (You et al. 2020, LAMB: warm-up for large batches)",
    ),
)
def warmup_missing(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A large batch with a high learning rate starts at its peak, without a warm-up.

    Why:
        Rates for large batches are scaled up, and the first steps bear a high rate least: the
        weights change fastest there, and Adam divides by a second moment that it knows from a few
        gradients. Published trainings of networks with batches of thousands of samples warm up for
        some hundred to some thousand steps.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        global_batch_size: 8192
        warmup_steps: 0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        global_batch_size: 8192
        warmup_steps: 2000

    Tell:
        Look at the loss and at the gradient norms of the first few hundred steps: they rise, or
        the norm is many times what it is later.

    Symptoms:
        loss is nan
        loss spikes
        gradient norm spikes

    Fix:
        None: how long it has to be depends on the model; 1 to 5 % of the steps is usual.

    Limits:
        batch: a global batch from here on is large.
        adaptive-rate: a rate from here on is high under Adam and its kin.
        sgd-rate: a rate from here on is high under SGD.

    False positives:
        A warm-up that the code adds and the file does not name, a run that continues an earlier
        one, a linear probe, and small networks on rows of a table (recommenders), where batches of
        thousands are usual. Not reported: RAdam, Muon and optimisers that find their rate,
        schedules that rise by themselves (one-cycle, Noam), and trainings whose samples are rays,
        points or steps of a game. A batch in tokens is not judged. Deep post-norm transformers
        have a rule of their own, whatever the batch.
    """
    batch, rate = unit.settings["global_batch"], unit.number("learning_rate")
    size = batch.number
    if size is None or size < limits["batch"] or rate is None or batch.unit:
        return
    off = _no_warmup(unit)
    if off is None or unit.optimizer in _NEEDS_NONE or rate_is_factor(unit):
        return
    if steps_with_gradient(unit):
        high = limits["sgd_rate"]
    elif forgets_scale(unit):
        high = limits["adaptive_rate"]
    else:
        return
    name = scheduler_name(unit).replace("_", "")
    if rate < high or any(word in name for word in _WARMS_UP_ITSELF):
        return
    if unit.has_word(_SMALL_SAMPLES):
        return
    written = off.origin != DEFAULT
    where = off if written else unit.settings["learning_rate"]
    yield Finding(
        place_of(where, unit),
        f"no warm-up: the first step, with a batch of {number(size)}, has the peak rate "
        f"{number(rate)}",
        severity=INFO,
        confidence=MEDIUM,
        key=where.key,
        label="no warm-up" if written else "from the first step on",
        related=[Related(place_of(batch, unit), f"global batch {number(size)}")]
        if batch.place is not None
        else [],
        why=[
            (
                f"Under {optimizer_name(unit)} a rate that is fine later can throw the weights far "
                "off in the first steps, which they may not recover from."
            )
        ],
        next="Warm up for 1 to 5 % of the steps, or look at the loss of the first hundred.",
        no_fix="how long the warm-up has to be depends on the model",
    )


def _no_warmup(unit: TrainingUnit) -> Setting | None:
    """The setting that says that there is no warm-up; None where there may be one."""
    off = None
    for name in ("warmup_steps", "warmup_epochs", "warmup_ratio", "warmup_tokens"):
        if name in unit.unknown:
            return None
        for setting in unit.every(name):
            if setting.number != 0:
                return None
            off = off or setting
    return off


_REFUSED = {
    "axolotl": "axolotl refuses a config with both (mutually exclusive)",
    "nemo": "NeMo refuses both (`Either use particular number of step or ratio`)",
    "deepmd": "DeePMD-kit refuses both (mutually exclusive)",
}
"""Dialects whose trainer does not start with two warm-ups, and what it says."""


@rule(
    "GA209",
    "warmup-in-two-units",
    scope="unit",
    needs=(
        ("warmup_steps", "warmup_epochs"),
        ("warmup_epochs", "warmup_ratio"),
    ),
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        (
            "https://github.com/axolotl-ai-cloud/axolotl/blob/main/src/axolotl/utils/schemas/"
            "validation.py (warmup_steps and warmup_ratio are mutually exclusive)"
        ),
        (
            "https://github.com/NVIDIA/NeMo/blob/main/nemo/core/optim/lr_scheduler.py "
            "(WarmupPolicy takes steps or a ratio)"
        ),
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/"
            "training_args.py (get_warmup_steps: the steps won before release 5; since then "
            "__post_init__ sets warmup_steps to a warmup_ratio that is given)"
        ),
    ),
)
def warmup_in_two_units(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The warm-up is written in two units, and only one of them is in force.

    Why:
        Which of the two counts is decided by the trainer's code: to transformers 4 the steps, to
        transformers 5 the ratio, while axolotl and NeMo refuse to start. Whoever changes the other
        number changes nothing, and a warm-up of another length than was meant is in force.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        max_steps: 10000
        warmup_steps: 1000
        warmup_ratio: 0.03

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        max_steps: 10000
        warmup_ratio: 0.03

    Tell:
        Log the learning rate and count the steps until it reaches its peak.

    Symptoms:
        loads other values than the file seems to say
        training ends with an error, or never starts

    Fix:
        None: which of the two was meant is not known.

    False positives:
        A framework that adds the two up. Not reported: a 0 beside the other, two numbers that say
        the same, and numbers in different sections.
    """
    given = [
        setting
        for name in ("warmup_steps", "warmup_epochs", "warmup_ratio")
        if (setting := unit.get(name)) is not None
        and setting.number
        and setting.number > 0
        and setting.place is not None
    ]
    if len(given) < 2:
        return
    first, second = given[:2]
    section = first.key.rpartition(".")[0]
    if second.key.rpartition(".")[0] != section or _same_length(unit, first, second):
        return
    dialect = unit.composed.dialect["name"]
    refused = _REFUSED.get(dialect)
    effect = "only one of them is in force"
    if refused:
        effect = "the trainer refuses both"
    elif "gives way" in second.note + first.note:
        effect = "transformers 4 takes the steps, transformers 5 the ratio"
    names = listed([f"`{setting.last_key}: {setting.raw}`" for setting in given])
    yield Finding(
        place_of(second, unit),
        f"the warm-up is written twice, {names}: {effect}",
        severity=ERROR if refused else WARNING,
        confidence=MEDIUM if dialect == "generic" else HIGH,
        key=second.key,
        label="a warm-up in another unit",
        related=[Related(place_of(first, unit), "the warm-up is written here too")],
        why=[
            f"{refused}."
            if refused
            else "Whoever changes the number that is not in force changes nothing."
        ],
        next="Keep the one that was meant.",
        no_fix="which of the two was meant is not known",
    )


def _same_length(unit: TrainingUnit, first: Setting, second: Setting) -> bool:
    """Whether two numbers in different units are one length, to a tenth."""
    steps, epochs = unit.number("total_steps"), unit.number("epochs")
    per_epoch = unit.number("steps_per_epoch")
    if not steps and epochs and per_epoch:
        steps = epochs * per_epoch
    lengths = []
    for setting in (first, second):
        value = setting.number or 0
        if setting.name == "warmup_ratio":
            value *= steps or 0
        elif setting.name == "warmup_epochs":
            value *= per_epoch or 0
        lengths.append(value)
    low, high = sorted(lengths)
    return low > 0 and high <= 1.1 * low


@rule(
    "GA210",
    "fractional-warmup-steps",
    scope="unit",
    needs=("warmup_ratio",),
    severities=(INFO,),
    confidence=HIGH,
    references=(
        "https://github.com/huggingface/transformers/pull/41326 (warmup_steps may be a ratio)",
        "https://huggingface.co/docs/transformers/main_classes/trainer (warmup_steps)",
    ),
)
def fractional_warmup_steps(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """`warmup_steps` is below 1: a share of the training, but to transformers 5 alone.

    Why:
        transformers 5 reads a `warmup_steps` below 1 as a share of the training. Releases before
        it take a whole number of steps: they refuse the fraction or, where it gets through, warm
        up for less than one step, which is no warm-up.

    Bad:
        per_device_train_batch_size: 8
        num_train_epochs: 3
        learning_rate: 2.0e-5
        lr_scheduler_type: cosine
        warmup_steps: 0.03

    Good:
        per_device_train_batch_size: 8
        num_train_epochs: 3
        learning_rate: 2.0e-5
        lr_scheduler_type: cosine
        warmup_steps: 100

    Tell:
        Log the learning rate: with a warm-up, the second step is far below the peak.

    Symptoms:
        loads other values than the file seems to say
        training ends with an error, or never starts

    Fix:
        None: where transformers 5 is installed, the value is right.

    False positives:
        Every training that runs on transformers 5, where this is how a share is written: an info
        that says what the file depends on. Elsewhere a fraction of a step is an error, which
        value-out-of-domain reports.
    """
    setting = unit.settings["warmup_ratio"]
    share = setting.number
    if share is None or not 0 < share < 1 or not setting.last_key.lower().endswith("steps"):
        return
    yield Finding(
        place_of(setting, unit),
        f"`{setting.last_key}: {setting.raw}` is {percent(share)} of the training since "
        "transformers 5, and less than one step before",
        severity=INFO,
        confidence=HIGH,
        key=setting.key,
        label="a share of the training",
        why=["An older release refuses the fraction, or trains without a warm-up."],
        next="Require `transformers>=5` beside this file, or write whole steps.",
        no_fix="under transformers 5 the value is right",
    )
