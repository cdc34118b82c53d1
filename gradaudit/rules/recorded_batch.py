"""GA9: batch, accumulation and precision of the file against those of the run."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, WARNING
from gradaudit.plan.measured import PARTIAL
from gradaudit.rules import rule
from gradaudit.rules.recorded import ELSEWHERE, RECORD_PAGE, differs, written
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


@rule(
    "GA903",
    "recorded-batch-differs",
    scope="record",
    needs=("micro_batch",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.DataParallel.html (splits it)",
        RECORD_PAGE,
    ),
)
def recorded_batch_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """BatchNorm was given another number of samples than the file's micro-batch.

    Why:
        What BatchNorm sees is the true micro-batch of one device. Fewer samples than the file says
        mean that the code does not read the key, or that something splits the batch
        (`DataParallel`, a batch that is the sum over devices), and every statement on BatchNorm
        must use the smaller number.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        batch_size: 64
        --- record
        {"kind": "optimizer", "class": "AdamW", "batch_norm_layers": 2}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "batch_norm": [{"mode": "train", "batch": 16, "calls": 2}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        batch_size: 16
        --- record
        {"kind": "optimizer", "class": "AdamW", "batch_norm_layers": 2}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "batch_norm": [{"mode": "train", "batch": 16, "calls": 2}]}

    Tell:
        Print the first dimension of the input of a BatchNorm layer.

    Symptoms:
        works on one GPU, not on eight
        loads other values than the file seems to say

    Fix:
        None: which of the two is meant is not known.

    False positives:
        More samples than the micro-batch are an info only: two views of a sample, or series that
        were flattened into the batch, do that on purpose.
    """
    setting = written(measured, "micro_batch")
    seen = measured.optimizer.batch_norm_batch
    if setting is None or setting.number is None or seen is None or setting.unit:
        return
    wanted = setting.number
    if wanted < 1 or wanted == seen:
        return
    fewer = seen < wanted
    yield differs(
        measured,
        setting,
        f"BatchNorm sees {number(seen)} samples at a time, the file's micro-batch is "
        f"{number(wanted)}",
        severity=WARNING if fewer else INFO,
        confidence=MEDIUM if fewer else LOW,
        label=f"BatchNorm saw {number(seen)}",
        why="The code takes its batch from somewhere else (the command line, a default), or "
        "something splits it before the model: `DataParallel`, a number that is the sum over all "
        "devices."
        if fewer
        else "Several views of a sample, or series flattened into the batch, do this on purpose.",
        evidence=f"{number(seen)} is the commonest first dimension of what BatchNorm was given",
        next="Judge BatchNorm by the number that it sees (`--assume micro_batch=N`), or find what "
        "changes the batch.",
    )


@rule(
    "GA904",
    "recorded-accumulation-differs",
    scope="record",
    needs=("accumulation",),
    severities=(WARNING, INFO),
    confidence=HIGH,
    references=(
        "https://github.com/huggingface/transformers/issues/34191 (accumulation gone wrong)",
        RECORD_PAGE,
    ),
)
def recorded_accumulation_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The run calls backward less or more often a step than the file accumulates.

    Why:
        Fewer backward calls than the file says mean that the batch of a step is smaller than
        planned, and with it the learning rate too high for it and the run shorter in samples.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_accumulation_steps: 4
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "backward_calls": 1}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_accumulation_steps: 4
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBBBBS", "learning_rate": [1e-3],
         "backward_calls": 4}

    Tell:
        Count the calls of `backward()` between two of `optimizer.step()`.

    Symptoms:
        worse than the published result
        loads other values than the file seems to say

    Fix:
        None: the code has to read the key, or the key is of another trainer.

    False positives:
        More calls than the file says are an info only: a loop may call backward for each loss
        term. Several losses in one call of backward, each of a micro-batch, look like too few.
    """
    setting = written(measured, "accumulation")
    seen = measured.optimizer.backward_calls
    if setting is None or setting.number is None or seen is None or measured.optimizer.uses_closure:
        return
    wanted = setting.number
    if wanted < 1 or wanted == seen:
        return
    fewer = seen < wanted
    yield differs(
        measured,
        setting,
        f"the run calls backward {number(seen)} time{'s' if seen != 1 else ''} a step, the file "
        f"accumulates {number(wanted)}",
        severity=WARNING if fewer else INFO,
        confidence=HIGH if fewer else LOW,
        label=f"the run had {number(seen)}",
        why=f"The batch of an optimizer step is {number(seen)}/{number(wanted)} of what is planned."
        if fewer
        else "Either more is accumulated than the file says, or backward is called for each loss.",
        evidence=f"{number(seen)} is the commonest number over the steps from the second on",
        next="Let the loop read the key, or correct the key and review the learning rate.",
    )


@rule(
    "GA905",
    "recorded-precision-differs",
    scope="record",
    needs=("precision",),
    severities=(WARNING, INFO),
    confidence=HIGH,
    references=("https://docs.pytorch.org/docs/stable/amp.html", RECORD_PAGE),
)
def recorded_precision_differs(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The run computes in another precision than the file says.

    Why:
        fp32 in place of bf16 costs twice the memory and more of the time; fp16 in place of bf16
        brings overflow, and with it a scaler whose skipped steps nobody planned.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        precision: bf16-mixed
        --- record
        {"kind": "optimizer", "class": "AdamW", "dtypes": {"torch.float32": 6}}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        precision: bf16-mixed
        --- record
        {"kind": "optimizer", "class": "AdamW", "dtypes": {"torch.float32": 6}}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "autocast": [{"device": "cuda", "dtype": "bfloat16"}]}

    Tell:
        Print `torch.is_autocast_enabled()` and the dtype of a layer's output inside the model.

    Symptoms:
        works in fp32, not in fp16
        slow or wasted training

    Fix:
        None: the code has to read the key.

    False positives:
        Parameters that are shards (FSDP's own mixed precision) and DeepSpeed's are not judged:
        the record does not see what they compute in.
    """
    setting = written(measured, "precision")
    optimizer = measured.optimizer
    seen = optimizer.precision
    if setting is None or seen is None or optimizer.sharded or measured.record.topics & PARTIAL:
        return
    wanted = setting.value
    if not isinstance(wanted, str) or wanted not in _HALF_OF:
        return
    kind, was = _HALF_OF[wanted], _HALF_OF[seen]
    if kind == was:
        return
    yield differs(
        measured,
        setting,
        f"the run computes in {seen}, the file says {wanted}",
        severity=WARNING,
        confidence=HIGH,
        label=f"the run had {seen}",
        why=ELSEWHERE,
        evidence=(
            "autocast was on"
            if any(step.autocast for step in optimizer.settled_steps)
            else "autocast was off and all parameters have one type"
        ),
        next="Let the code read the key.",
    )


_HALF_OF = {
    "fp32": "fp32", "tf32": "fp32", "bf16": "bf16", "bf16-mixed": "bf16", "fp16": "fp16",
    "fp16-mixed": "fp16",
}  # fmt: skip
