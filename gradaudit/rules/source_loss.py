"""GA3: losses that the training's Python source accumulates without dividing them."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, WARNING, Finding, Place, Related
from gradaudit.plan.model import DECOUPLED, SGD_LIKE
from gradaudit.plan.values import optimizer_family
from gradaudit.rules import rule
from gradaudit.rules.optimisers import cancels_scale
from gradaudit.rules.text import by_hand, family_name, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.training_code import UndividedLoss
    from gradaudit.plan.model import SourceOfUnit, TrainingUnit
    from gradaudit.rules import Limits


@rule(
    "GA306",
    "accumulated-loss-undivided",
    scope="source",
    needs=("source",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-accumulation "
            "(`loss = loss / iters_to_accumulate`)"
        ),
        (
            "https://huggingface.co/docs/accelerate/usage_guides/gradient_accumulation (divides by "
            "hand in a plain loop; `accelerator.backward` does it itself)"
        ),
        "https://github.com/huggingface/transformers/pull/34191 (and when to count tokens instead)",
    ),
)
def accumulated_loss_undivided(judged: SourceOfUnit, limits: Limits) -> Iterator[Finding]:
    """The gradients of several micro-batches are summed, and the mean loss is not divided.

    Why:
        `backward()` adds to the gradients that are there. After k micro-batches, each with a mean
        loss, they hold k times the mean over all samples. Under SGD that is a learning rate k times
        higher (weight decay alone is not multiplied), and it changes whenever k does. Under Adam
        with decoupled decay the factor cancels, but for `eps` and the clip: a threshold of c cuts
        where c / k would have. Where Adam's decay is part of the gradient, it weighs k times less.

    Config:
        optimizer: sgd
        learning_rate: 0.1
        gradient_accumulation_steps: 4

    Bad:
        import torch.nn.functional as F


        def train(model, loader, optimizer, accumulation):
            for step, (x, y) in enumerate(loader):
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                if (step + 1) % accumulation == 0:
                    optimizer.step()
                    optimizer.zero_grad()

    Good:
        import torch.nn.functional as F


        def train(model, loader, optimizer, accumulation):
            for step, (x, y) in enumerate(loader):
                loss = F.cross_entropy(model(x), y)
                (loss / accumulation).backward()
                if (step + 1) % accumulation == 0:
                    optimizer.step()
                    optimizer.zero_grad()

    Tell:
        Log the gradient norm before clipping with k and with 1, at the same samples a step: it
        should hardly differ, and is k times larger here.

    Symptoms:
        loss rises, from the start or after falling
        works on one GPU, not on eight

    Fix:
        None: Python sources are checked, not edited. Divide the loss by the number of micro-batches
        before `backward()`, log the undivided one, and then review the learning rate (SGD) and the
        clip threshold (every optimiser): they may have been tuned to the sum.

    False positives:
        A rate or a threshold that was tuned to the sum: dividing now would lower both by k. Losses
        weighted by tokens must be divided by the tokens of all micro-batches, not by k. Judged are
        only plain loops whose loss is seen to be a mean: a loss of torch, or, with low confidence,
        what the model returns as `loss` and what is called `criterion` or `loss_fn`. A helper that
        is given the loss, the gradients or the count may divide: not reported, nor is a criterion
        of the same file that sums or names the count. `accelerator.backward` divides by itself;
        loops of Fabric and DeepSpeed, closures, and loops that keep the graph (`retain_graph`) are
        not judged.
    """
    unit, code = judged.unit, judged.code
    family = unit.optimizer or (optimizer_family(code.optimizer) if code.optimizer else None)
    for found in code.undivided:
        micro_batches = found.times or unit.number("accumulation")
        if micro_batches is not None and micro_batches <= 1:
            continue  # the config accumulates nothing
        k = number(micro_batches) if micro_batches else f"`{found.count}`"
        yield Finding(
            Place(code.source, *found.backward),
            f"the gradients of {k} micro-batches are summed, and `{found.loss}` is not divided: "
            f"they are {k} times as large",
            severity=WARNING if family in SGD_LIKE and not cancels_scale(family) else INFO,
            confidence=HIGH if found.sure else LOW,
            label=f"not divided by `{found.count}`",
            related=[Related(Place(code.source, *found.step), f"steps once every {k}")],
            why=_why(unit, family, k),
            evidence=_how_known(found, code.source.path),
            next="Divide the loss, then review what was tuned to the sum: rate and clip threshold.",
            no_fix=by_hand(_divided(found)),
        )  # fmt: skip


def _divided(found: UndividedLoss) -> str:
    loss = found.loss if found.loss.replace("_", "").isalnum() else f"({found.loss})"
    if found.calls > 1:
        return f"{found.loss} = {loss} / {found.count}"
    if found.scaler:
        return f"{found.scaler}.scale({loss} / {found.count}).backward()"
    return f"({loss} / {found.count}).backward()"


def _why(unit: TrainingUnit, family: str | None, k: str) -> list[str]:
    clip = unit.number("clip_norm")
    if clip and clip > 0:
        clipped = f"The clip at {number(clip)} cuts where {number(clip)} / {k} would have."
    else:
        clipped = f"A clip by norm, if there is one, cuts at 1 / {k} of its threshold."
    if family is None:
        said = (
            f"Under SGD this is a learning rate {k} times higher; under Adam with decoupled decay "
            "it cancels, but for `eps` and the clip. Which optimiser this is, is not known here."
        )
    elif not cancels_scale(family):
        said = (
            f"Under {family_name(family)} this is a learning rate {k} times higher, where no clip "
            "acts; weight decay alone is not multiplied."
        )
    elif family in DECOUPLED or not unit.number("weight_decay"):
        name = family_name(family)
        said = f"Under {name} the factor cancels in the step, but for `eps` and the clip."
    else:
        said = (
            f"Under {family_name(family)} the factor cancels in the step, but for `eps` and the "
            f"clip; weight decay that is added to the gradient weighs {k} times less."
        )
    return [said, clipped]


def _how_known(found: UndividedLoss, path: str) -> list[str]:
    known = f"read from {path}, without importing it"
    if found.sure:
        return [f"{known}: `{found.known_by}` is a mean over the micro-batch"]
    unknown = f"how `{found.known_by}` is reduced is not followed"
    return [f"{known}: {unknown}; where it sums over samples, or divides already, this is no fault"]
