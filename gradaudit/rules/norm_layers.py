"""GA3: the parameters of normalisation layers."""

from __future__ import annotations

from math import gcd

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    RECOMMENDED,
    SAFE,
    SPECULATIVE,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_OTHER_SENSE = (
    "keras", "tensorflow", "paddle", "flax", "mindspore", "mxnet", "jax", "efficientnet",
)  # fmt: skip
"""Words of a file that counts the old statistics, not the new batch: frameworks, and a network
whose best-known PyTorch port (lukemelas/EfficientNet-PyTorch) turns the number around itself."""

_TORCH = ("torch", ".pth", "cuda", "nn.")

_DECAYS = ("bnm_", "bn_decay", "bn_clip", "bn_momentum_", "batch_norm_decay")
"""How keys begin by which PointNet++ and its kin lower the momentum of BatchNorm from 0.5 on."""


@rule(
    "GA308",
    "batch-norm-momentum",
    scope="unit",
    needs=("norm_momentum",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"newest": 0.5, "left": 0.05},
    references=(
        (
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html (running = "
            "(1 - momentum) x running + momentum x new: not the usual notion of momentum)"
        ),
        (
            "https://keras.io/api/layers/normalization_layers/batch_normalization/ (0.99 by "
            "default, the weight of the old)"
        ),
        (
            "https://github.com/erikwijmans/Pointnet2_PyTorch (bn_momentum 0.5, which bnm_decay "
            "lowers)"
        ),
    ),
)
def batch_norm_momentum(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """BatchNorm's running statistics are those of the last batches, or still those of the start.

    Why:
        In torch the momentum of BatchNorm is the weight of the newest batch, 0.1 by default; in
        Keras, Paddle and flax it is the weight of all older ones, 0.99 or 0.9. Carried over as it
        is, 0.99 makes the running mean and variance, which `eval()` uses, those of the last batch:
        training looks healthy and validation jumps. A very small momentum errs on the other side:
        after T steps the share (1 - momentum)^T of the running statistics is still what they began
        with, mean 0 and variance 1. Neither touches a gradient, under any optimiser.

    Bad:
        # torch
        optimizer: sgd
        learning_rate: 0.1
        bn_momentum: 0.99

    Good:
        # torch
        optimizer: sgd
        learning_rate: 0.1
        bn_momentum: 0.01

    Tell:
        Evaluate twice with a few training batches in `train()` mode between: a validation loss
        that jumps follows the last batches. `torch.optim.swa_utils.update_bn` computes the
        statistics anew: does the validation improve?

    Symptoms:
        validation far worse than training

    Fix:
        Recommended where the file is known to be torch's, speculative elsewhere: for 0.9 and above
        1 - momentum, which is the same thing in torch's sense. For a momentum that is too small
        there is none: 0.1 and 0.01 are usual.

    Limits:
        newest: the weight of the newest batch, from which it is reported.
        left: share of the first statistics that may be left at the end of the training.

    False positives:
        A file for Keras, Paddle, flax or MindSpore, where 0.99 is right: left alone where the file
        speaks of one, an info where it speaks neither of them nor of torch. 0 is a way to freeze
        the statistics and 1 one to test them; statistics from a pretrained network are no bad
        beginning. Frozen BatchNorm is not reported, nor is a momentum that begins high and decays
        (`bn_momentum: 0.5` beside `bn_decay` or `bnm_clip`, as in PointNet++), nor EfficientNet,
        whose best-known PyTorch port takes Keras's number and turns it around itself.
    """
    momentum = unit.settings["norm_momentum"]
    value = momentum.number
    if value is None or not 0 < value < 1 or momentum.origin == DEFAULT:
        return
    if unit.norm not in (None, "batch", "sync_batch"):
        return
    named = unit.composed.dialect["name"] != "generic"
    text = "" if named else unit.tree.source.text.lower()
    if any(word in text for word in _OTHER_SENSE):
        return
    torch = named or any(word in text for word in _TORCH)
    if value >= limits["newest"]:
        if any(key.startswith(_DECAYS) for key in unit.keys):
            return
        yield _newest(unit, momentum, value, torch)
        return
    length = unit.length
    steps = length.value if length and length.unit == "steps" else None
    if length and length.unit == "epochs" and (each := unit.number("steps_per_epoch")):
        steps = length.value * each
    if steps is None or not torch:
        return
    left = (1 - value) ** steps
    if left < limits["left"]:
        return
    yield Finding(
        place_of(momentum, unit),
        f"after {number(steps)} steps {percent(left)} of BatchNorm's running statistics are still "
        "those of the start",
        severity=INFO,
        confidence=MEDIUM,
        key=momentum.key,
        label=f"(1 - {number(value)}) ^ {number(steps)} = {left:.2g}",
        why=[
            (
                "They begin with mean 0 and variance 1, and `eval()` uses them: validation lags "
                "behind training. Not where a pretrained network brings its own."
            )
        ],
        next="Raise it towards torch's 0.1, or compute the statistics anew at the end "
        "(`torch.optim.swa_utils.update_bn`).",
        no_fix="how much the statistics should be smoothed is a choice",
    )


def _newest(unit: TrainingUnit, momentum: Setting, value: float, torch: bool) -> Finding:
    fix = None
    turned = float(f"{1 - value:.6g}")
    edit = change(momentum, turned, f"{turned:g}") if value >= 0.9 and turned >= 1e-3 else None
    if edit is not None:
        fix = Fix(
            RECOMMENDED if torch else SPECULATIVE,
            f"set `{momentum.last_key}` to {edit.new}",
            [edit],
            [f"right if {number(value)} was meant as the weight of the old, as in Keras"],
        )
    return Finding(
        place_of(momentum, unit),
        f"in torch a BatchNorm momentum of {number(value)} gives the newest batch "
        f"{percent(value)} of the running statistics",
        severity=WARNING if torch else INFO,
        confidence=MEDIUM if torch else LOW,
        key=momentum.key,
        label="the weight of the newest batch",
        why=[
            (
                "`eval()` then normalises with the statistics of the last batches: validation "
                "jumps while training looks healthy. Keras, Paddle and flax mean the opposite by "
                "this number, the weight of the old."
            )
        ],
        next=f"If PyTorch reads this file, check whether {number(turned)} was meant."
        if value >= 0.9
        else "Take torch's 0.1, unless the last batches are to decide.",
        fix=fix,
        no_fix="" if fix else "which number was meant is not known",
    )


@rule(
    "GA309",
    "group-norm-groups",
    scope="unit",
    needs=("norm_groups", "norm_channels"),
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html (num_channels "
            "must be divisible by num_groups)"
        ),
        "https://arxiv.org/abs/1803.08494 (Wu & He 2018: 32 groups, or 16 channels a group)",
        (
            "https://github.com/CompVis/latent-diffusion/blob/main/ldm/modules/diffusionmodules/"
            "util.py (GroupNorm32(32, channels))"
        ),
    ),
)
def group_norm_groups(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The channels do not divide into GroupNorm's groups.

    Why:
        GroupNorm shares the channels out into groups of equal size. torch refuses a number of
        channels that is no multiple of the number of groups when the layer is made, before the
        first step. Many diffusion networks have 32 groups written into their code (ADM, latent
        diffusion), so that their width must be a multiple of 32.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        norm_cfg:
          num_groups: 32
          num_channels: 48

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        norm_cfg:
          num_groups: 16
          num_channels: 48

    Tell:
        Construct the model: `ValueError: num_channels must be divisible by num_groups`.

    Symptoms:
        training ends with an error, or never starts

    Fix:
        Safe where torch refuses the layer for sure, recommended where the width may be multiplied
        first: the largest number of groups that divides both. GroupNorm has a gain for each
        channel, whatever the groups, so that trained weights still fit. None where the groups are
        in the framework's code, or nothing divides both.

    False positives:
        A width that is multiplied before it is normalised: a warning where the framework is not
        known. Groups and channels are compared only where they stand in the same section, and not
        where the config names another normalisation.
    """
    groups, channels = unit.settings["norm_groups"], unit.settings["norm_channels"]
    count, width = groups.number, channels.number
    if not count or not width or count < 1 or width < 1 or width % count == 0:
        return
    fixed = groups.origin == DEFAULT
    if not fixed and groups.key.rpartition(".")[0] != channels.key.rpartition(".")[0]:
        return
    if not fixed and unit.norm not in (None, "group"):
        return
    sure = fixed or channels.last_key == "num_channels"
    related = []
    if not fixed:
        related.append(Related(place_of(groups, unit), f"{number(count)} groups"))
    fix = None if fixed else _fewer_groups(groups, count, width, sure)
    code = ", as the framework's code has it" if fixed else ""
    yield Finding(
        place_of(channels, unit),
        f"{number(width)} channels do not divide into GroupNorm's {number(count)} groups{code}",
        severity=ERROR if sure else WARNING,
        confidence=HIGH if sure else MEDIUM,
        key=channels.key,
        label=f"{number(width)} mod {number(count)} = {number(width % count)}",
        related=related,
        why=["torch refuses it when the layer is made: the training does not start."],
        next=f"Take a width that is a multiple of {number(count)}"
        + ("." if fixed else ", or a number of groups that divides the width."),
        fix=fix,
        no_fix=""
        if fix
        else "the groups are in the framework's code"
        if fixed
        else f"no number of groups divides both {number(count)} and {number(width)}",
    )


def _fewer_groups(groups: Setting, count: float, width: float, sure: bool) -> Fix | None:
    if count != int(count) or width != int(width):
        return None
    fewer = gcd(int(count), int(width))
    edit = change(groups, fewer) if fewer > 1 else None
    if edit is None:
        return None
    return Fix(
        SAFE if sure else RECOMMENDED,
        f"set `{groups.last_key}` to {edit.new}",
        [edit],
        [f"{number(width / fewer)} channels a group; trained gains and shifts still fit"],
    )
