"""What a dry run trains with, from its recipe and the training that was handed over: optimiser,
rates, precision, devices. What is not as the config says goes into the recipe's notes.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import torch

from gradaudit.probe.coupling import batch_norms
from gradaudit.probe.curve import Rates, rates_of
from gradaudit.probe.own_schedule import own_rates
from gradaudit.probe.precision import AUTOCAST, Precision, precision_of
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.recipe import alone, make_optimizer, not_reproduced

if TYPE_CHECKING:
    from gradaudit.probe.protocol import Training
    from gradaudit.probe.recipe import Recipe

WHOLE = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions in which the weights themselves are kept."""


def optimizer_for(training: Training, recipe: Recipe) -> torch.optim.Optimizer:
    """The script's own, else the config's.

    Raises: DryRunError.
    """
    optimizer = training.optimizer
    if optimizer is None:
        held = [p for p in training.model.parameters() if p.requires_grad]
        made: torch.optim.Optimizer = make_optimizer(recipe, held)
        return made
    if isinstance(optimizer, torch.optim.LBFGS):
        raise DryRunError(
            "LBFGS evaluates the loss several times a step, which a dry run does not: "
            "`gradaudit probe -- python train.py` measures such a training"
        )
    name = type(optimizer).__name__
    recipe.notes.insert(
        0, f"the optimiser is the script's own {name}; the config's settings of one are not used"
    )
    inside = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left = [
        n for n, p in training.model.named_parameters() if p.requires_grad and id(p) not in inside
    ]
    if left:
        shown = ", ".join(f"`{name}`" for name in left[:2]) + ", ..." * (len(left) > 2)
        what = "1 tensor" if len(left) == 1 else f"{len(left)} tensors"
        recipe.notes.insert(
            1, f"{what} of the model {'is' if len(left) == 1 else 'are'} not in that optimiser "
            f"({shown}): every norm, share and clip here is of the tensors that it trains; a clip "
            "over `model.parameters()` would count the others, too"
        )  # fmt: skip
    return optimizer


def modes_for(training: Training, recipe: Recipe) -> None:
    """Train mode, as a training's loop has it; a part that `build` put into eval mode stays so. A
    model that is in eval mode as a whole (transformers hands them over like this) was forgotten."""
    model = training.model
    in_eval = [name for name, module in model.named_modules() if not module.training]
    count = sum(1 for _ in model.modules())
    if len(in_eval) in (0, count):
        model.train()
    if len(in_eval) == count:
        recipe.notes.append(
            "`build` handed over a model in eval mode as a whole: it was put into train mode, as a "
            "training's loop does. To keep a part in eval mode, call `model.train()` and then "
            "`.eval()` on that part"
        )
    elif in_eval:
        outer = [name for name in in_eval if name.rpartition(".")[0] not in in_eval or not name]
        shown = ", ".join(f"`{name or 'the model itself'}`" for name in outer[:3])
        more = f" and {len(outer) - 3} more" if len(outer) > 3 else ""
        recipe.notes.append(
            f"in eval mode, as `build` left it: {shown}{more}; no dropout there, and BatchNorm on "
            "its running statistics. Where your loop calls `model.train()`, so must `build`"
        )


def rates_for(
    training: Training, recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int
) -> Rates:
    """The rate in each step, by the script's own scheduler or the config's; where torch refuses the
    latter its warm-up and the peak, and why.

    Raises: DryRunError where the script's own cannot be followed.
    """
    if training.scheduler is not None:
        rates, said = own_rates(training, optimizer, recipe.clock, steps)
        recipe.notes.append(said)
        return rates
    if any("initial_lr" in group for group in optimizer.param_groups):
        recipe.notes.append(
            "a scheduler was made for the script's optimiser and is not followed; what it set "
            "already is taken for the peak: pass it as Training(..., scheduler=...)"
        )
    peaks = [float(group["lr"]) for group in optimizer.param_groups]
    length = recipe.clock.steps
    if length is not None and length < steps:
        recipe.notes.append(
            f"the training is {length:,} steps long: after them the rate stays where it ended"
        )
    if recipe.planned is not None:
        try:
            return rates_of(recipe.planned, recipe.clock, peaks, steps)
        except ValueError as error:
            recipe.notes.append(not_reproduced(recipe.planned, str(error)))
    if recipe.held is not None:
        return rates_of(recipe.held, recipe.clock, peaks, steps)
    return Rates([array("d", [peak]) for peak in peaks], peaks, 0)


def precision_for(training: Training, recipe: Recipe, device: torch.device) -> Precision:
    """How passes are run: as the config's precision says, where that is autocast.

    Raises: DryRunError where a scaler would be refused by torch.
    """
    name = recipe.precision
    if name in AUTOCAST:
        try:
            found = precision_of(name, recipe.loss_scale, device)
        except ValueError as error:
            recipe.notes.append(
                f"precision {name} is not reproduced ({error}): measured without autocast"
            )
            return Precision(device)
        if found.scales and any(p.dtype == torch.float16 for p in training.model.parameters()):
            raise DryRunError(
                f"precision {name} scales the loss of float32 weights, and some that `build` made "
                "are float16, which torch's GradScaler refuses: leave them in float32, or say "
                "`--precision model`"
            )
        scaler = " and a GradScaler" if found.scales else ""
        recipe.notes.append(
            f"precision {name}: passes run under autocast{scaler}; the self-check, and which terms "
            "couple samples, in full precision (`--precision model`: all of it)"
        )
        return found
    whole = WHOLE.get(name)
    if whole is not None and not any(p.dtype == whole for p in training.model.parameters()):
        recipe.notes.append(
            f"precision {name} is not reproduced: no weight is in it. The weights are as `build` "
            f"makes them; `model.to({whole})` makes them so"
        )
    elif whole is None and name not in ("", "fp32", "tf32"):
        recipe.notes.append(
            f"precision {name} is not reproduced: everything is measured in the model's own dtype"
        )
    return Precision(device)


def see_to_ranks(training: Training, recipe: Recipe) -> None:
    """Say how several devices are stood for; one, where BatchNorm takes statistics from all."""
    ranks = recipe.ranks
    if ranks == 1:
        return
    layers = batch_norms(training.model)
    own = any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in layers)
    if layers and (own or recipe.sync_batch_norm):
        recipe.ranks = 1
        recipe.notes.append(alone(ranks, "SyncBatchNorm takes its statistics from all of them"))
        return
    of_each = f" of {recipe.accumulation}" if recipe.accumulation > 1 else ""
    recipe.notes.append(
        f"{ranks} devices: each step takes {ranks * recipe.accumulation} micro-batches, those of "
        f"one device{of_each} after the other's, and averages their gradients as DDP does; "
        "`--assume world_size=1` is quicker and noisier"
    )
