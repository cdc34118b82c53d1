"""GA8: a training that goes on from a checkpoint, against the settings that this was saved with."""

from __future__ import annotations

from gradaudit.findings import INFO, MEDIUM, WARNING, Finding, Related
from gradaudit.rules import rule
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.linked import Pair
    from gradaudit.plan.model import Setting
    from gradaudit.rules import Limits

_OF_THE_STATE = ("learning_rate", "weight_decay", "betas", "eps", "momentum")
"""What an optimiser's state dictionary holds for each group, and puts back."""

_OF_THE_SCHEDULE = (
    "scheduler", "min_learning_rate", "warmup_steps", "warmup_epochs", "warmup_ratio",
    "decay_steps", "decay_epochs",
)  # fmt: skip
_OF_THE_BATCH = ("micro_batch", "accumulation", "global_batch", "world_size")

_GROUPS = (
    (
        _OF_THE_STATE,
        WARNING,
        (
            "Loading the optimiser's state puts {} back: the new value is not in force unless the "
            "program sets it afterwards."
        ),
        "Set it after loading, or load the weights alone and warm up again.",
    ),
    (
        _OF_THE_SCHEDULE,
        WARNING,
        (
            "The scheduler goes on from its saved step and base rates: the rate jumps, or the "
            "change does nothing."
        ),
        "Look at the first learning rates of the resumed run.",
    ),
    (
        _OF_THE_BATCH,
        INFO,
        (
            "An epoch has another number of steps than the saved step counts: the place in the "
            "data and in the schedule shifts."
        ),
        "Check where in the data and in the schedule the run goes on.",
    ),
)
"""Settings with what their change does to a resumed run: severity, why, what to do next."""

_WITHOUT_STATE = frozenset((
    "reset_optimizer", "reset_optimizer_state", "no_resume_opt", "resume_optimizer",
    "load_optimizer", "load_optimizer_state", "restore_optimizer", "weights_only",
    "load_weights_only", "save_only_model",
))  # fmt: skip
"""Keys by which a training takes the weights alone: what they say is not looked at."""


@rule(
    "GA806",
    "resumed-with-other-settings",
    scope="run",
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.load_state_dict"
            ".html (the groups' options are loaded too)"
        ),
        (
            "https://docs.pytorch.org/docs/stable/optim.html (state_dict of a scheduler: all of "
            "its variables but the optimiser)"
        ),
    ),
)
def resumed_with_other_settings(pair: Pair, limits: Limits) -> Iterator[Finding]:
    """A training resumes from a checkpoint that was saved with other settings.

    Why:
        torch's `load_state_dict` puts back the learning rate, betas, eps, momentum and weight decay
        with the moments: what the config says now is not in force until something writes it anew.
        A scheduler goes on from its saved step, with its saved base rates, so that another warm-up
        or length makes the rate jump or does nothing. Under another batch an epoch has another
        number of steps, and the place in the data is lost.

    Bad:
        # runs/first/config.yaml
        optimizer: adamw
        learning_rate: 2.0e-4
        batch_size: 32
        epochs: 50
        ---
        # train.yaml
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 32
        epochs: 50
        resume_from: runs/first/last.ckpt

    Good:
        # runs/first/config.yaml
        optimizer: adamw
        learning_rate: 2.0e-4
        batch_size: 32
        epochs: 50
        ---
        # train.yaml
        optimizer: adamw
        learning_rate: 2.0e-4
        batch_size: 32
        epochs: 100
        resume_from: runs/first/last.ckpt

    Tell:
        Print `optimizer.param_groups[0]["lr"]` after the first resumed step.

    Symptoms:
        loads other values than the file seems to say

    Fix:
        None: whether the run should go on as it was or with the new settings is not known.

    False positives:
        A trainer that loads the weights alone, or that sets the rate again after loading. A config
        with a key that speaks of it (`reset_optimizer`, `no_resume_opt`, `weights_only`, ...) is
        left alone. More epochs or steps are the usual reason to resume: not reported. Only a config
        that lies with the checkpoint, or up to two directories above it, is read.
    """
    if pair.kind != "saved":
        return
    optimizers = pair.unlike("optimizer")
    if optimizers is not None:
        yield _finding(
            pair, *optimizers, WARNING,
            "The moments of another optimiser do not fit: loading them fails, or means nothing.",
            "Load the weights alone, and warm up again.",
        )  # fmt: skip
        return
    takes_weights_alone = not _WITHOUT_STATE.isdisjoint(pair.own.keys)
    for names, severity, why, next_ in _GROUPS:
        if takes_weights_alone and names is not _OF_THE_BATCH:
            continue
        for name in names:
            if unlike := pair.unlike(name):
                said = why.format(_shown(unlike[1]))
                yield _finding(pair, *unlike, severity, said, next_)


def _shown(setting: Setting) -> str:
    value = setting.number
    return number(value) if value is not None else setting.raw or str(setting.value)


def _finding(
    pair: Pair, mine: Setting, theirs: Setting, severity: str, why: str, next_: str
) -> Finding:
    related = [Related(place_of(theirs, pair.other), "as it was saved")]
    if pair.named is not None:
        related.append(Related(pair.named, "resumes from here"))
    return Finding(
        place_of(mine, pair.own),
        f"`{mine.last_key}` is {_shown(mine)}; the run that this one resumes had {_shown(theirs)}",
        severity=severity,
        confidence=MEDIUM,
        key=mine.key,
        label=f"was {_shown(theirs)}",
        related=related,
        why=[why],
        next=next_,
        no_fix="whether to go on as before or with the new settings is not known",
    )
