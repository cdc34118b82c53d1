"""GA8: a trainer's config against the DeepSpeed config that it names or carries."""

from __future__ import annotations

from gradaudit.edits import replace_value
from gradaudit.findings import ERROR, HIGH, INFO, LOW, MEDIUM, SAFE, Finding, Fix, Related
from gradaudit.plan.model import DEFAULT, WRITTEN
from gradaudit.rules import rule
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, precision_name
from gradaudit.syntax.scalars import to_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.linked import Pair
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_SAME = (
    "micro_batch", "accumulation", "clip_norm", "learning_rate", "eps", "weight_decay",
    "warmup_steps", "total_steps",
)  # fmt: skip
"""Settings that both write in one unit."""

_AT = {"linked": "", "launcher": "deepspeed_config."}
"""Where a launcher's file holds what it makes a DeepSpeed config of."""

TRANSFORMERS = frozenset(("hf-trainer", "llama-factory", "axolotl"))
"""Dialects whose trainer is that of transformers."""

_HALF = frozenset(("fp16-mixed", "bf16-mixed"))


@rule(
    "GA801",
    "deepspeed-disagrees-with-trainer",
    scope="run",
    severities=(ERROR,),
    confidence=HIGH,
    references=(
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/integrations/"
            "deepspeed.py (fill_match collects mismatches, trainer_config_finalize raises)"
        ),
        "https://github.com/hiyouga/LLaMA-Factory/issues/201 (the ValueError)",
    ),
)
def deepspeed_disagrees(pair: Pair, limits: Limits) -> Iterator[Finding]:
    """The DeepSpeed config and the trainer's config say different things of one setting.

    Why:
        transformers compares the two before the first step and ends with a ValueError: "Please
        correct the following DeepSpeed config values that mismatch TrainingArguments values". The
        model is loaded by then, so it costs a queue slot and the start of the job. `auto` in the
        DeepSpeed config takes the trainer's value.

    Bad:
        per_device_train_batch_size: 8
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: cosine
        deepspeed:
          train_micro_batch_size_per_gpu: 4
          zero_optimization: {stage: 2}

    Good:
        per_device_train_batch_size: 8
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: cosine
        deepspeed:
          train_micro_batch_size_per_gpu: auto
          zero_optimization: {stage: 2}

    Tell:
        Start the training: it ends with the ValueError, which lists each pair of values.

    Symptoms:
        training ends with an error, or never starts
        works on one GPU, not on eight

    Fix:
        Safe: `auto` in the DeepSpeed config where that is a section of this file. None where it is
        a file of its own, which other trainings may share: edit it there.

    False positives:
        A value that the command line of the training overrides. Where the trainer's value is its
        default and not written, the confidence is medium for that reason. `auto`, what only one of
        the two knows, and batch sizes that `auto_find_batch_size` looks for are not compared. The
        global batch depends on the number of processes: only one that no number of them can make
        is reported. Of an Accelerate config that is named beside it, the clip alone is compared.
    """
    if pair.kind == "linked":
        finds_batch = "auto_find_batch_size" in pair.own.keys
        yield from _numbers(pair, [n for n in _SAME if not (finds_batch and n == "micro_batch")])
        yield from _betas(pair)
        yield from _precision(pair)
        if not finds_batch:
            yield from _global_batch(pair)
    elif pair.kind == "launcher" and pair.own.composed.dialect["name"] in TRANSFORMERS:
        yield from _numbers(pair, ["clip_norm"])  # the accumulation is GA803's


def _numbers(pair: Pair, names: list[str]) -> Iterator[Finding]:
    """Settings that are numbers to both."""
    for name in names:
        mine = pair.own.get(name)
        said = _said(mine) if mine is not None else None
        if mine is None or said is None or (name == "total_steps" and said <= 0):
            continue
        if name == "warmup_steps" and pair.own.number("warmup_ratio"):
            continue  # steps that follow from the length
        for theirs in pair.other.every(name):
            value = _said(theirs)
            if (
                theirs.origin == DEFAULT
                or value is None
                or not theirs.key.startswith(_AT[pair.kind])
            ):
                continue
            if value != said:
                yield _mismatch(pair, mine, theirs, number(said), number(value))
            elif theirs.node is not None and theirs.node.style:  # in quotes: `8 != "8"`
                yield _mismatch(pair, mine, theirs, number(said), f"the text {theirs.raw!r}")


def _said(setting: Setting) -> float | None:
    """The number that is compared: that of a value which means off too (`max_grad_norm: 0`)."""
    if setting.value is None and setting.raw:
        return to_number(setting.raw)
    return setting.number


def _betas(pair: Pair) -> Iterator[Finding]:
    mine, theirs = pair.own.get("betas"), pair.other.get("betas")
    if mine is None or theirs is None or theirs.origin == DEFAULT:
        return
    if isinstance(mine.value, tuple) and isinstance(theirs.value, tuple):
        said, value = (tuple(map(number, betas)) for betas in (mine.value, theirs.value))
        if mine.value != theirs.value:
            yield _mismatch(
                pair, mine, theirs, f"({', '.join(said)})", f"({', '.join(value)})",
                no_fix="`auto` stands for the whole pair: write it in place of the list",
            )  # fmt: skip


def _precision(pair: Pair) -> Iterator[Finding]:
    """Of switches: what both turn on, and what one turns on and the other off in so many words."""
    mine, theirs = pair.own.get("precision"), pair.other.get("precision")
    if mine is None or theirs is None or theirs.origin == DEFAULT or mine.value == theirs.value:
        return
    half = mine.value in _HALF
    no_fix = ""
    if theirs.value in _HALF:
        if not half and not (mine.value == "fp32" and mine.key in ("bf16", "")):
            return
        if half:  # one switch alone would leave the engine without either
            no_fix = "both `fp16.enabled` and `bf16.enabled` have to be auto"
    elif not half or theirs.last_key != "enabled" or str(mine.value)[:4] not in theirs.key:
        return
    said, value = precision_name(mine.value), precision_name(theirs.value)
    yield _mismatch(pair, mine, theirs, said, value, no_fix=no_fix)


def _global_batch(pair: Pair) -> Iterator[Finding]:
    """A global batch that no number of processes makes of the micro-batch and the accumulation."""
    own = pair.own
    theirs = pair.other.get("global_batch")
    micro, accumulation = own.number("micro_batch"), own.number("accumulation")
    if theirs is None or theirs.number is None or not micro or not accumulation:
        return
    one = micro * accumulation
    if theirs.number % one:
        mine = own.settings["micro_batch"]
        said = f"{number(micro)} x {number(accumulation)} x the processes"
        yield _mismatch(pair, mine, theirs, said, number(theirs.number), whole=True)


def _mismatch(
    pair: Pair, mine: Setting, theirs: Setting, said: str, value: str,
    *, no_fix: str = "", whole: bool = False,
) -> Finding:  # fmt: skip
    """`mine` is the trainer's setting, `theirs` DeepSpeed's; `said` and `value` in words. `whole`:
    it is about the global batch. `no_fix`: why `auto` alone is no fix."""
    here = mine.place
    there = place_of(theirs, pair.other)
    named = mine.key and mine.name != "precision"  # `bf16: true` names no value
    name = f"`{mine.last_key}`" if named else f"the trainer's {mine.name}"
    name = "the global batch" if whole else name
    default = " by default" if mine.origin == DEFAULT else ""
    related = []
    if here is not None:
        place, key = here, mine.key
        related = [Related(there, f"{value} in DeepSpeed")]
    elif pair.inline or pair.named is None:
        place, key = there, f"{pair.key}.{theirs.key}"
    else:
        place, key = pair.named, pair.key
        related = [Related(there, f"{value} in DeepSpeed")]
    fix = None
    if not pair.inline:
        no_fix = "the DeepSpeed config stands in a file that other trainings may share"
    elif not no_fix and theirs.node is not None and theirs.tree is not None:
        if theirs.origin == WRITTEN:
            edit = replace_value(theirs.tree, theirs.node, None, "auto")
            fix = Fix(
                SAFE,
                f"set `{pair.key}.{theirs.key}` to auto",
                [edit],
                ["the trainer fills in its own value; as it stands, the run does not start"],
            )
    return Finding(
        place,
        f"{name} is {said}{default}, DeepSpeed's `{theirs.key}` says {value}",
        severity=ERROR,
        confidence=MEDIUM if mine.origin == DEFAULT else HIGH,
        key=key,
        label=f"{said}{default}" if place is here else f"{value} here",
        related=related,
        why=[
            "transformers compares the two and ends with a ValueError before the first step.",
        ],
        next=f"Set `{theirs.key}` to auto in the DeepSpeed config, or make the two equal.",
        fix=fix,
        no_fix=no_fix,
    )


@rule(
    "GA805",
    "tiny-initial-loss-scale",
    scope="unit",
    needs=("loss_scale_power",),
    severities=(INFO,),
    confidence=LOW,
    limits={"power": 7, "usual": 16},
    references=(
        "https://www.deepspeed.ai/docs/config-json/#fp16-training-options (initial_scale_power)",
        "https://github.com/facebookresearch/fairseq (fp16_init_scale: 2**7)",
        "https://docs.pytorch.org/docs/stable/amp.html (GradScaler begins at 2**16)",
        "Micikevicius et al. 2018, Mixed Precision Training (gradients below 2^-24 become zero)",
    ),
)
def tiny_initial_loss_scale(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A dynamic loss scale begins so low that small gradients vanish at first.

    Why:
        In fp16 what is below 2^-24 becomes zero; the loss scale lifts gradients above that. A
        dynamic scale doubles once in a window of steps without an overflow (1,000 in DeepSpeed), so
        it needs thousands of steps to get from a tiny start to where others begin. An initial scale
        that is too high costs a few skipped steps only.

    Bad:
        train_micro_batch_size_per_gpu: 8
        gradient_clipping: 1.0
        fp16: {enabled: true, loss_scale: 0, initial_scale_power: 2}
        optimizer: {type: AdamW, params: {lr: 1.0e-4}}

    Good:
        train_micro_batch_size_per_gpu: 8
        gradient_clipping: 1.0
        fp16: {enabled: true, loss_scale: 0, initial_scale_power: 16}
        optimizer: {type: AdamW, params: {lr: 1.0e-4}}

    Tell:
        DeepSpeed logs the loss scale: it doubles once a window, and no step is skipped.

    Symptoms:
        works in fp32, not in fp16
        slow or wasted training

    Fix:
        None: it is slow, not wrong, and some models want a low scale.

    False positives:
        Losses that are summed over many elements have large gradients, and little vanishes. A fixed
        loss scale (`loss_scale` above 0) and bf16 are not judged.

    Limits:
        power: powers of two below this are reported; 7 is the default of fairseq.
        usual: where torch and DeepSpeed begin.
    """
    power = unit.settings["loss_scale_power"]
    value = power.number
    if value is None or value >= limits["power"] or unit.number("loss_scale"):
        return
    if unit.get("precision") is None or unit.settings["precision"].value != "fp16-mixed":
        return
    doublings = limits["usual"] - value
    yield Finding(
        place_of(power, unit),
        f"the loss scale begins at 2^{number(value)}: small gradients may be zero at first",
        severity=INFO,
        confidence=LOW,
        key=power.key,
        label="a low start",
        why=[
            (
                f"It needs {number(doublings)} doublings to reach 2^{number(limits['usual'])}, "
                "where torch and DeepSpeed begin, and a window of steps without an overflow for "
                "each."
            )
        ],
        next=f"Set it to {number(limits['usual'])}: too high a start costs a few skipped steps.",
        no_fix="it is slow, not wrong, and some models want a low scale",
    )
