"""GA3: how samples add up to batches, and what is left over."""

from __future__ import annotations

from math import ceil

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    RECOMMENDED,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import ASSUMED, COMPUTED, DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.repair import place_of, switch
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_REFUSES = {
    "deepspeed": "runtime/config.py, _batch_assertion",
    "gpt-neox": "neox_arguments/arguments.py, check_batch_parameters",
    "nemo": "megatron/core/num_microbatches_calculator.py",
    "torchtitan": "torchtitan/train.py",
}
"""Frameworks that end with an error where the numbers do not multiply, and where they do so."""

_ROUNDS = frozenset(("litgpt", "llm-foundry", "olmo", "verl"))
"""Frameworks that split the batch themselves, the rest of it in a smaller micro-batch or not at
all: none of their numbers need divide another."""

_A_NODES = frozenset(
    ("num_gpus", "n_gpus", "num_gpu", "ngpu", "nproc_per_node", "num_processes", "gpus", "devices")
)
"""Keys that may count one machine's processes."""

_TOKENS = 2**17
"""Global batches from this on count tokens, whatever their key says: optimiser steps of so many
samples are not published."""

_SHARDED = ("parallel", "tensor", "pipeline", "pipe", "tp", "pp", "cp", "sp", "ep", "mp")
"""Words of keys that split a model over devices: those see the same samples."""


def _whole(setting: Setting | None) -> int | None:
    """A count of at least 1, in samples (or in whatever has no unit of its own)."""
    if setting is None or setting.number is None or setting.unit not in ("", "samples"):
        return None
    value = setting.number
    return int(value) if value >= 1 and value == int(value) else None


def _disputed(unit: TrainingUnit, *names: str) -> bool:
    """Whether a setting is written a second time with another value."""
    return any(
        other.value != unit.settings[name].value
        for name in names
        if name in unit.settings
        for other in unit.others.get(name, ())
    )


@rule(
    "GA305",
    "batch-product-mismatch",
    scope="unit",
    needs=("global_batch", "micro_batch"),
    severities=(ERROR, WARNING, INFO),
    confidence=HIGH,
    references=(
        (
            "https://www.deepspeed.ai/docs/config-json/ (train_batch_size must be equal to "
            "train_micro_batch_size_per_gpu x gradient_accumulation_steps x number of GPUs)"
        ),
        (
            "https://github.com/NVIDIA/Megatron-LM/blob/main/megatron/core/"
            "num_microbatches_calculator.py (the global batch must be divisible by micro-batch x "
            "data-parallel size)"
        ),
    ),
)
def batch_product_mismatch(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The global batch is not micro-batch x accumulation x devices.

    Why:
        One of the numbers is not what the training does. Where the framework compares them it ends
        before the first step; where it does not, the batch of an optimiser step differs from the
        one that the learning rate was chosen for, under every optimiser, and whatever is counted
        in steps or in samples shifts with it. Whether micro-batch x accumulation divides the
        global batch needs no number of devices: where it does not, no number of devices fits.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        global_batch_size: 100
        micro_batch_size: 8
        gradient_accumulation_steps: 4

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        global_batch_size: 96
        micro_batch_size: 8
        gradient_accumulation_steps: 4

    Tell:
        Count the samples of one optimiser step over all processes, or divide the number of
        samples of an epoch by its logged optimiser steps.

    Symptoms:
        training ends with an error, or never starts
        works on one GPU, not on eight
        worse than the published result

    Fix:
        None: which of the numbers is wrong is not known. In DeepSpeed leave one of the three out,
        or write "auto" where a trainer fills it in: it is then computed.

    False positives:
        Devices that share one model by tensor, pipeline, context or expert parallelism see the
        same samples: where a key speaks of these, the number of devices is not used (but in NeMo,
        where the tensor and pipeline sizes are known and divide it). A key that
        counts one machine's devices is taken for any multiple of it. `auto`, a number that is
        computed, and batches counted in tokens (by their unit, or by their size: nanoGPT's
        `total_batch_size: 524288`) are not compared; frameworks that split an uneven
        batch themselves (LitGPT, LLM Foundry, OLMo, verl) are left alone, and so is DeepSpeed with
        a section `elasticity`, which chooses the numbers itself. Where the micro-batch is only
        called `batch_size`, which some trainers use for all devices, it is an info.
    """
    dialect = unit.composed.dialect
    if dialect["name"] in _ROUNDS or _disputed(unit, "global_batch", "micro_batch", "accumulation"):
        return
    whole, micro = unit.settings["global_batch"], unit.settings["micro_batch"]
    if {whole.origin, micro.origin} & {COMPUTED, DEFAULT}:
        return
    refuses = dialect["name"] in _REFUSES
    accumulation = unit.get("accumulation")
    ranks = None
    if accumulation is not None and accumulation.origin in (COMPUTED, DEFAULT):
        ranks = _ranks(whole, micro, accumulation)
        accumulation = None
    if accumulation is None and not refuses:
        return
    # Where it is not written, the framework makes a whole number of it.
    steps = 1 if accumulation is None else _whole(accumulation)
    total, size = _whole(whole), _whole(micro)
    if total is None or size is None or steps is None:
        return
    each = size * steps
    length = unit.number("sequence_length") or _TOKENS
    if not refuses and (total >= _TOKENS or total >= each * length):
        return
    related = [Related(place_of(micro, unit), f"{size} samples a micro-batch")]
    product = f"{size}"
    if accumulation is not None:
        related.append(Related(place_of(accumulation, unit), f"x {steps}"))
        product = f"{size} x {steps} = {number(each)}"
    devices = None
    if total % each:
        message = (
            f"the global batch {number(total)} is no multiple of {product}: no number of devices "
            "makes up for it"
        )
    elif ranks is not None and (world := unit.get("world_size")) is not None:
        if world.origin == DEFAULT or unit.has_word(("context", "cp")):
            return
        devices = world
        related.append(Related(place_of(devices, unit), f"{ranks} of them data-parallel"))
        product = f"{size} x {ranks} = {number(size * ranks)}"
        message = f"the global batch {number(total)} is no multiple of {product}"
    else:
        devices = _devices(unit, total, each, accumulation is not None)
        if devices is None:
            return
        count = int(devices.number or 1)
        plural = "" if count == 1 else "s"
        related.append(Related(place_of(devices, unit), f"x {count} device{plural}"))
        product = f"{product.partition(' =')[0]} x {count} = {number(each * count)}"
        message = (
            f"the global batch is {number(total)}, but {product}"
            if accumulation is not None
            else f"the global batch {number(total)} is no multiple of {product}"
        )
    if unit.has_word(("elasticity",)):
        return  # DeepSpeed chooses the batch
    exact = devices is not None and accumulation is not None
    vague = micro.last_key.lower() == "batch_size"
    sure = refuses and (devices is None or devices.origin == ASSUMED)
    severity = ERROR if sure else INFO if vague else WARNING
    yield Finding(
        place_of(whole, unit),
        message,
        severity=severity,
        confidence=HIGH if severity == ERROR else LOW if vague else MEDIUM,
        key=whole.key,
        label=f"{'is not' if exact else 'no multiple of'} {product}",
        related=related,
        why=[
            (
                f"{dialect['title']} compares them and ends before the first step "
                f"({_REFUSES[dialect['name']]})."
                if severity == ERROR
                else f"With these devices {dialect['title']} ends before the first step "
                f"({_REFUSES[dialect['name']]})."
                if refuses
                else "One of the numbers is not what the training does: the batch of an optimiser "
                "step, and with it the learning rate that suits it, is not the one in the file."
            )
        ],
        next="Work out which of the numbers you mean and correct the others.",
        no_fix="which of the numbers is wrong is not known",
    )


def _ranks(whole: Setting, micro: Setting, accumulation: Setting) -> int | None:
    """The devices that see other samples than the rest, where the accumulation that the framework
    computes from them is more than one and no whole number."""
    steps, total, size = accumulation.number, _whole(whole), _whole(micro)
    if accumulation.origin != COMPUTED or not steps or not total or not size:
        return None
    ranks = total / size / steps
    return round(ranks) if 1 < steps != int(steps) and abs(ranks - round(ranks)) < 1e-6 else None


def _devices(unit: TrainingUnit, total: int, each: int, exact: bool) -> Setting | None:
    """The number of devices where the global batch contradicts it, else None.

    `exact`: nothing else multiplies; otherwise an accumulation that is not written may.
    """
    world = unit.get("world_size")
    count = _whole(world)
    if world is None or count is None or total == each * count:
        return None
    if world.origin == DEFAULT or _disputed(unit, "world_size") or unit.has_word(_SHARDED):
        return None
    if not exact or world.last_key.lower() in _A_NODES or world.origin == COMPUTED:
        return None if (total // each) % count == 0 else world
    return world


@rule(
    "GA307",
    "last-batch-of-one",
    scope="unit",
    needs=("norm", "micro_batch", "dataset_size", "drop_last"),
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/data.html (drop_last is off by default)",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html",
        (
            "https://docs.pytorch.org/docs/stable/_modules/torch/nn/functional.html (batch_norm: "
            '"Expected more than 1 value per channel when training")'
        ),
    ),
)
def last_batch_of_one(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The last batch of an epoch has one sample, and BatchNorm gets it.

    Why:
        The data do not divide into batches, and one sample is left over. BatchNorm over vectors
        has no variance of one value: torch ends the training with a ValueError, at the end of the
        first epoch. Over images it takes its statistics from that sample alone, and writes them
        into its running averages with the weight of a full batch. The optimiser has no part in it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 32
        norm: batch
        dataset_size: 3201
        drop_last: false

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 32
        norm: batch
        dataset_size: 3201
        drop_last: true

    Tell:
        The number of samples, modulo the batch size, is 1. With several processes each has the
        samples divided by their number, rounded up, as DistributedSampler pads them.

    Symptoms:
        training ends with an error, or never starts
        validation far worse than training

    Fix:
        Recommended: drop the last, incomplete batch. Another batch size does it too.

    False positives:
        A sampler of the trainer's own that fills up the last batch, or a number of samples that
        is not the one after filtering. Frozen BatchNorm and SyncBatchNorm over several devices are
        not reported. Silent where the number of samples is not in the file, where the launcher
        says how many processes there are, and where `drop_last` is not known to be off.
    """
    drop = unit.settings["drop_last"]
    if drop.value is not False or unit.norm not in ("batch", "sync_batch"):
        return
    micro = unit.settings["micro_batch"]
    size, samples = _whole(micro), _whole(unit.settings["dataset_size"])
    world = _whole(unit.get("world_size"))
    if size is None or samples is None or size < 2 or _disputed(unit, "micro_batch", "drop_last"):
        return
    if world is None and ("world_size" in unit.unknown or "world_size" in unit.settings):
        return
    if unit.norm == "sync_batch" and world != 1:
        return
    each = ceil(samples / (world or 1))
    if each < size or each % size != 1:
        return
    edit = switch(drop, True)
    fix = None
    if edit is not None:
        fix = Fix(
            RECOMMENDED,
            f"set `{drop.last_key}` to {edit.new}",
            [edit],
            ["one sample less in each epoch, another one where the data are shuffled"],
        )
    shared = f" on each of {world} devices" if world and world > 1 else ""
    yield Finding(
        place_of(drop, unit),
        f"{number(each)} samples{shared} in batches of {size} leave one over: BatchNorm gets a "
        "batch of 1",
        severity=WARNING,
        confidence=MEDIUM if world else LOW,
        key=drop.key,
        label="the last batch is kept",
        related=[
            Related(place_of(unit.settings["dataset_size"], unit), f"{number(samples)} samples"),
            Related(place_of(micro, unit), f"{number(each)} mod {size} = 1"),
        ],
        why=[
            (
                'Over vectors torch ends with "Expected more than 1 value per channel when '
                'training"; over images the statistics of one sample go into the running averages.'
            )
        ],
        next="Drop the last batch, or take a batch size that leaves more over.",
        fix=fix,
    )
