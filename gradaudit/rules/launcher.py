"""GA8: a training's config against that of the launcher which was named beside it."""

from __future__ import annotations

from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, WARNING, Finding, Related
from gradaudit.rules import rule
from gradaudit.rules.deepspeed import TRANSFORMERS
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, precision_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.linked import Pair
    from gradaudit.plan.model import Setting
    from gradaudit.rules import Limits

_HALF = frozenset(("fp16-mixed", "bf16-mixed"))


def _both(pair: Pair, name: str) -> tuple[Setting, Setting] | None:
    """What a training's config and its launcher's say of a setting, where it is not the same."""
    return pair.unlike(name) if pair.kind == "launcher" else None


@rule(
    "GA802",
    "launcher-precision-disagrees",
    scope="run",
    severities=(WARNING, INFO),
    confidence=HIGH,
    references=(
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/training_args.py"
            " (ACCELERATE_MIXED_PRECISION is set where fp16 or bf16 is true, else kept)"
        ),
        "https://huggingface.co/docs/accelerate/package_reference/cli (mixed_precision)",
    ),
)
def launcher_precision_disagrees(pair: Pair, limits: Limits) -> Iterator[Finding]:
    """The launcher's config and the training's config ask for unlike precisions.

    Why:
        Accelerate hands its `mixed_precision` on as an environment variable. transformers' trainer
        overwrites it where its own `bf16` or `fp16` is true; where both are false, that of the
        launcher is in force, and a config that says fp32 trains in half precision. A script that
        makes its own Accelerator may do either.

    Bad:
        # accelerate.yaml
        compute_environment: LOCAL_MACHINE
        distributed_type: MULTI_GPU
        mixed_precision: fp16
        ---
        # train.yaml
        per_device_train_batch_size: 8
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: cosine
        bf16: false

    Good:
        # accelerate.yaml
        compute_environment: LOCAL_MACHINE
        distributed_type: MULTI_GPU
        mixed_precision: 'no'
        ---
        # train.yaml
        per_device_train_batch_size: 8
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: cosine
        bf16: false

    Tell:
        Print `trainer.accelerator.mixed_precision` (or `accelerator.state`) when training begins.

    Symptoms:
        loads other values than the file seems to say
        works in fp32, not in fp16

    Fix:
        None: which of the two files is meant is not known.

    False positives:
        `mixed_precision: no` beside a trainer that turns one on is common and right: not reported.
        Two half precisions are an info under transformers' trainer, where its own flag wins.
        Only files that are named together are compared.
    """
    both = _both(pair, "precision")
    if both is None:
        return
    mine, theirs = both
    said, value = precision_name(mine.value), precision_name(theirs.value)
    if theirs.value not in _HALF or mine.value not in (*_HALF, "fp32"):
        return
    known = pair.own.composed.dialect["name"] in TRANSFORMERS
    if mine.value == "fp32":
        if known and mine.last_key != "bf16":
            return  # `fp16: false` alone: TRL turns bf16 on
        message = f"the config says fp32, its launcher {value}"
        why = "Where the trainer asks for no half precision, that of the launcher is in force."
        label = "not what runs"
    else:
        message = f"the config says {said}, its launcher {value}"
        why = "transformers' trainer overwrites the launcher's value with its own."
        label = "this one wins"
    if not known:
        why = "Which of the two wins is decided by how the script makes its Accelerator."
        label = "or the launcher's"
    yield Finding(
        place_of(mine, pair.own),
        message,
        severity=INFO if known and mine.value in _HALF else WARNING,
        confidence=HIGH if known else MEDIUM,
        key=mine.key,
        label=label,
        related=[Related(place_of(theirs, pair.other), f"{value} at launch")],
        why=[why],
        next="Say the same in both files.",
        no_fix="which of the two files is meant is not known",
    )


@rule(
    "GA803",
    "launcher-accumulation-disagrees",
    scope="run",
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        "https://github.com/hiyouga/LLaMA-Factory/issues/201 (the ValueError)",
        "https://github.com/huggingface/accelerate/pull/698 (the Accelerator's value wins)",
        "https://github.com/huggingface/accelerate/pull/3632 (the DeepSpeed plugin's value wins)",
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/integrations/"
            "deepspeed.py (fill_match)"
        ),
    ),
)
def launcher_accumulation_disagrees(pair: Pair, limits: Limits) -> Iterator[Finding]:
    """The launcher's config and the training's config accumulate over unlike numbers of steps.

    Why:
        Accelerate makes a DeepSpeed config of its own file, with this number in it. transformers'
        trainer compares it with its own and ends with a ValueError. In a script that makes its own
        Accelerator one of the two wins in silence (which one depends on the version), so that the
        global batch may be another than the config says, and with it what the learning rate means.

    Bad:
        # accelerate.yaml
        compute_environment: LOCAL_MACHINE
        distributed_type: DEEPSPEED
        deepspeed_config: {gradient_accumulation_steps: 4, zero_stage: 2}
        ---
        # train.yaml
        per_device_train_batch_size: 8
        gradient_accumulation_steps: 2
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: cosine

    Good:
        # accelerate.yaml
        compute_environment: LOCAL_MACHINE
        distributed_type: DEEPSPEED
        deepspeed_config: {gradient_accumulation_steps: 2, zero_stage: 2}
        ---
        # train.yaml
        per_device_train_batch_size: 8
        gradient_accumulation_steps: 2
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: cosine

    Tell:
        Start the training under transformers: the ValueError lists both numbers. Elsewhere
        DeepSpeed logs the number that it uses.

    Symptoms:
        training ends with an error, or never starts
        works on one GPU, not on eight

    Fix:
        None: which of the two files is meant is not known.

    False positives:
        A number given on the command line of the training. `auto` agrees with everything, and a
        number that one of the files leaves out is not compared.
    """
    both = _both(pair, "accumulation")
    if both is None or both[0].number is None or both[1].number is None:
        return
    mine, theirs = both
    known = pair.own.composed.dialect["name"] in TRANSFORMERS
    yield Finding(
        place_of(mine, pair.own),
        f"the config accumulates over {number(both[0].number)} "
        f"step{'' if both[0].number == 1 else 's'}, its launcher over {number(both[1].number)}",
        severity=ERROR if known else WARNING,
        confidence=HIGH if known else MEDIUM,
        key=mine.key,
        label=f"{number(both[0].number)} here",
        related=[Related(place_of(theirs, pair.other), f"{number(both[1].number)} at launch")],
        why=[
            "transformers' trainer compares the two and ends with a ValueError."
            if known
            else "One of the two wins in silence, by the version of Accelerate: the global batch "
            "is another than one of the files says."
        ],
        next="Make the two equal, or take the launcher's out.",
        no_fix="which of the two files is meant is not known",
    )


@rule(
    "GA804",
    "launcher-world-size-disagrees",
    scope="run",
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        "https://huggingface.co/docs/accelerate/package_reference/cli (num_processes)",
        "Goyal et al. 2017, Accurate, Large Minibatch SGD (the rate goes with the global batch)",
    ),
)
def launcher_world_size_disagrees(pair: Pair, limits: Limits) -> Iterator[Finding]:
    """The launcher starts another number of processes than the config counts on.

    Why:
        The launcher decides how many processes run. A config that counts on another number computes
        another global batch, other steps in an epoch, and sometimes another learning rate, than the
        training has.

    Bad:
        # accelerate.yaml
        compute_environment: LOCAL_MACHINE
        distributed_type: MULTI_GPU
        num_processes: 2
        ---
        # train.yaml
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        num_gpus: 8

    Good:
        # accelerate.yaml
        compute_environment: LOCAL_MACHINE
        distributed_type: MULTI_GPU
        num_processes: 8
        ---
        # train.yaml
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        num_gpus: 8

    Tell:
        Print `accelerator.num_processes` when training begins.

    Symptoms:
        works on one GPU, not on eight
        loads other values than the file seems to say

    Fix:
        None: which of the two files is meant is not known.

    False positives:
        A config that counts the devices of one node: a launcher's number that is a multiple of it
        may be several nodes, and is not reported. A number that the script never reads.
    """
    both = _both(pair, "world_size")
    if both is None or not both[0].number or not both[1].number:
        return
    mine, theirs = both
    if both[1].number % both[0].number == 0:
        return
    yield Finding(
        place_of(mine, pair.own),
        f"the config counts on {number(both[0].number)} processes, its launcher starts "
        f"{number(both[1].number)}",
        severity=WARNING,
        confidence=MEDIUM,
        key=mine.key,
        label="not what runs",
        related=[Related(place_of(theirs, pair.other), f"{number(both[1].number)} are started")],
        why=["The global batch, and what is computed from it, is another than the config says."],
        next="Make the two equal.",
        no_fix="which of the two files is meant is not known",
    )
