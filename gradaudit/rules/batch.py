"""GA3: what the micro-batch feeds: BatchNorm, pairwise losses, batch-statistic penalties."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.findings import (
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    RECOMMENDED,
    SPECULATIVE,
    WARNING,
    Finding,
    Related,
)  # fmt: skip
from gradaudit.rules import rule
from gradaudit.rules.repair import place_of, raise_micro_batch
from gradaudit.rules.text import listed, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import LossTerm, TrainingUnit
    from gradaudit.rules import Limits

ENOUGH = 16
"""Samples from which BatchNorm's statistics are taken as reliable (Wu & He 2018, figure 1)."""

_WORDS = GENERIC["loss_terms"]
GAN = ("discriminator", "gan", "netg", "netd")


FEW = 8
"""Up to this many samples a larger micro-batch is recommended; from there to 15 it is a try."""


def _backed(samples: float) -> str:
    return RECOMMENDED if samples <= FEW else SPECULATIVE


def _samples(count: float) -> str:
    return f"{number(count)} sample{'s' if count != 1 else ''}"


def _norm_related(unit: TrainingUnit) -> list[Related]:
    """Where BatchNorm is said: the Python source first, else the setting."""
    layers = [layer for layer in unit.norms if layer.value in ("batch", "sync_batch")]
    if layers and layers[0].place:
        count = f", one of {len(layers)} such layers" if len(layers) > 1 else ""
        return [Related(layers[0].place, f"takes its statistics from one micro-batch{count}")]
    norm = unit.get("norm")
    return [Related(norm.place, "normalises over the micro-batch")] if norm and norm.place else []


def _how_known(unit: TrainingUnit) -> list[str]:
    layers = [layer for layer in unit.norms if layer.value in ("batch", "sync_batch")]
    if layers:
        return (
            [f"read from {layers[0].place.source.path}, without importing it"]
            if (layers[0].place)
            else []
        )
    norm = unit.get("norm")
    return [f"`{norm.key}`: {norm.note}"] if norm and norm.note else []


@rule(
    "GA301",
    "batch-norm-tiny-batch",
    scope="unit",
    needs=("norm", "micro_batch"),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"warning": 8, "info": 16},
    references=(
        (
            "https://arxiv.org/abs/1803.08494 (Wu & He 2018: at batch 2 a ResNet-50 with BatchNorm "
            "has 10.6 points more error than with GroupNorm)"
        ),
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.SyncBatchNorm.html",
        "docs/measurements.md",
    ),
)
def batch_norm_tiny_batch(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """BatchNorm takes its statistics from fewer than 16 samples.

    Why:
        Mean and variance come from the micro-batch of one device (of all devices with
        SyncBatchNorm), never from the accumulated batch. Few samples make them noisy and biased,
        and the gradient with them, under every optimiser. Over vectors torch refuses a batch of 1,
        and at 2 the normalised values are plus and minus one whatever the input. Over images or
        series each channel averages the positions too: over 64 x 64 pixels at batch 6 it has
        24,576 values, after pooling or a linear layer the 6 alone.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 4
        norm: batch

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        norm: batch

    Tell:
        Compare the loss of one batch in `train()` and in `eval()` mode, with dropout set to 0: a
        gap of more than half says that the statistics are not those of the data.

    Symptoms:
        validation far worse than training
        works on one GPU, not on eight

    Fix:
        Recommended for a warning, speculative for an info: double the micro-batch until BatchNorm
        sees 16 or more; what is accumulated is taken back as far as the numbers divide. Where
        memory forbids it: SyncBatchNorm across devices, or GroupNorm. Never accumulation. Measured
        on the reconstructed training: batch 24 instead of 6 halves the median norm and improves
        held-out error in 19 of 24 runs (measurements#batch-24); how much of that is BatchNorm and
        how much the losses that compare samples is not known.

    Limits:
        warning: fewer samples than this are a warning.
        info: fewer than this are an info; the fix goes up to it.

    False positives:
        Frozen BatchNorm or BatchNorm in `eval()` (DETR, detectron2's default, `norm_eval`): say
        so with `--assume norm=frozen_batch` or in `[assume]`. pix2pix trains with batch 1 by
        design: in a GAN (a key with `discriminator`, `netD`, `netG` or `gan`) this
        is an info. Published 3-D detectors train with 2 to 6 a device.
    """
    if unit.norm not in ("batch", "sync_batch"):
        return
    seen = unit.norm_batch
    if seen is None or seen >= limits["info"]:
        return
    micro = unit.settings["micro_batch"]
    gan = unit.has_word(GAN)
    severity = WARNING if seen < limits["warning"] and not gan else INFO
    across = ", across devices" if unit.norm == "sync_batch" else ""
    alone = (
        "over vectors torch raises an error"
        if seen == 1
        else f"after pooling or a linear layer from these {seen} values alone"
    )
    why = [
        (
            f"Mean and variance of each channel come from {_samples(seen)} (times the positions of "
            f"a convolution; {alone}): they change from batch to batch, and with them every "
            "gradient. Accumulation does not help: each micro-batch is normalised alone."
        )
    ]
    yield Finding(
        place_of(micro, unit),
        f"BatchNorm sees {_samples(seen)} at a time{across}; below {number(limits['info'])} its "
        "statistics may be unreliable",
        severity=severity,
        confidence=MEDIUM,
        key=micro.key,
        label=f"{_samples(seen)} a micro-batch",
        related=_norm_related(unit),
        why=why,
        evidence=_how_known(unit),
        next="Where memory forbids a larger batch: SyncBatchNorm across devices, or GroupNorm.",
        fix=raise_micro_batch(
            unit, limits["info"], seen, RECOMMENDED if seen < limits["warning"] else SPECULATIVE
        ),
        cause="micro-batch",
    )


@rule(
    "GA302",
    "accumulation-cannot-cure-batch-norm",
    scope="unit",
    needs=("norm", "micro_batch", "accumulation"),
    severities=(WARNING, INFO),
    confidence=HIGH,
    limits={"warning": 8, "samples": 16},
    references=(
        (
            "https://github.com/ultralytics/yolov5/issues/1630 (BatchNorm does not accumulate: "
            "small batches tend to end worse)"
        ),
        "https://github.com/run-ai/runai/issues/14 (normalised per mini-batch, not equivalent)",
        "https://github.com/andreped/GradientAccumulator/issues/6 (not compatible)",
        "docs/measurements.md",
    ),
)
def accumulation_cannot_cure_batch_norm(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are accumulated over micro-batches that are too small for BatchNorm.

    Why:
        Accumulation averages gradients, and so lowers their noise and the logged norm; it does
        not enlarge what BatchNorm sees, which is one micro-batch at a time. The bias of tiny
        statistics stays in the average, under every optimiser.

        Measured on the reconstructed training (measurements#batch-6-x-accumulation-4): 6 x 4
        lowers the norms about as much as a real batch of 24, but not the held-out error, and the
        gradient expected at batch 6, which is what it averages to, has a cosine of 0.46 with the
        one at batch 96; that of batch 24 has 0.93. That model has BatchNorm, pairs and batch
        statistics, and all three see six samples.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 4
        gradient_accumulation_steps: 8
        norm: batch

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        gradient_accumulation_steps: 2
        norm: batch

    With:
        GA301

    Tell:
        Average the gradient over a hundred accumulated steps, and over as many real batches of
        the same size: where their cosine is well below 1, accumulation is not what it stands for.
        The logged norm does not show it.

    Symptoms:
        validation far worse than training
        worse than the published result

    Fix:
        Recommended up to 8 samples, speculative above: move the accumulation into the micro-batch,
        the global batch as it is where the numbers divide.

    Limits:
        warning: fewer samples than this are a warning.
        samples: fewer than this are an info.

    False positives:
        SyncBatchNorm over enough devices and frozen BatchNorm are not reported.
    """
    if unit.norm not in ("batch", "sync_batch"):
        return
    steps = unit.number("accumulation") or 1
    seen = unit.norm_batch
    if seen is None or seen >= limits["samples"] or steps <= 1:
        return
    accumulation = unit.settings["accumulation"]
    micro = unit.settings["micro_batch"]
    yield Finding(
        place_of(accumulation, unit),
        f"accumulating {number(steps)} micro-batches does not help BatchNorm: it still sees "
        f"{seen} samples at a time",
        severity=WARNING if seen < limits["warning"] else INFO,
        confidence=HIGH,
        key=accumulation.key,
        label=f"{number(steps)} x {seen}, normalised {seen} by {seen}",
        related=[Related(place_of(micro, unit), f"{seen} samples a micro-batch")],
        why=["Accumulation lowers the noise of the gradient; the bias of tiny statistics stays."],
        evidence=_how_known(unit),
        next="Trade accumulation for micro-batch, or use GroupNorm.",
        fix=raise_micro_batch(unit, limits["samples"], seen, _backed(seen)),
        cause="micro-batch",
    )


def _terms_with(unit: TrainingUnit, words: tuple[str, ...]) -> list[LossTerm]:
    return [
        term
        for term in unit.loss_terms
        if term.weight > 0 and not set(words).isdisjoint(term.tokens)
    ]


@rule(
    "GA303",
    "pairwise-loss-tiny-batch",
    scope="unit",
    needs=("micro_batch", "loss_terms"),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"largest": 8},
    references=(
        (
            "https://arxiv.org/abs/2002.05709 (Chen et al. 2020, SimCLR: contrastive losses gain "
            "from large batches)"
        ),
        "https://arxiv.org/abs/2101.06983 (Gao et al. 2021, GradCache)",
        "https://arxiv.org/abs/1911.05722 (He et al. 2020, MoCo: a queue instead of a batch)",
        "docs/measurements.md",
    ),
)
def pairwise_loss_tiny_batch(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A pairwise loss compares the few samples of a tiny micro-batch.

    Why:
        A ranking or contrastive term sees n (n - 1) / 2 pairs at most (a mask leaves fewer, and
        triplets count otherwise), and they share n samples:
        15 pairs of 6 samples are far from 15 independent signals. Accumulation adds no pair across
        micro-batches. Whether the term's gradient grows with the number of pairs depends on its
        reduction: with `mean` it does not, with `sum` it does.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 4
        loss_weights:
          triplet: 1.0
          ce: 1.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        loss_weights:
          triplet: 1.0
          ce: 1.0

    Tell:
        Log the share of pairs with a non-zero loss: at a handful of pairs it jumps between 0 and 1.

    Symptoms:
        gradient norm spikes
        worse than the published result

    Fix:
        Recommended: double the micro-batch to 16 or more. Where memory forbids it: a queue (MoCo)
        or GradCache. Measured on the reconstructed training, together with its BatchNorm and its
        batch statistics: measurements#batch-24.

    Limits:
        largest: micro-batches of up to this are reported.

    False positives:
        A memory bank or queue supplies the other side of the pairs; lists ranked within one
        sample (documents of one query) are not pairs across the batch.
    """
    micro = unit.settings["micro_batch"]
    size = micro.number
    if size is None or not 1 < size <= limits["largest"]:
        return
    terms = _terms_with(unit, _WORDS["pairwise"])
    if not terms or unit.has_word(("queue", "memory_bank")):
        return
    count = int(size)
    pairs = count * (count - 1) // 2
    yield Finding(
        place_of(micro, unit),
        f"`{terms[0].name}` compares at most {pairs} pair{'s' if pairs != 1 else ''} of {count} "
        "samples",
        severity=WARNING,
        confidence=MEDIUM,
        key=micro.key,
        label=f"{count} samples, at most {pairs} pair{'s' if pairs != 1 else ''}",
        related=[Related(place_of(terms[0].setting, unit), "pairwise term, by its name")],
        why=[
            (
                f"{pairs} pair{'s' if pairs != 1 else ''} of {count} samples are few and not "
                "independent; accumulation adds none across micro-batches."
            )
        ],
        next=f"Check that `{terms[0].name}` is reduced by mean: with sum, a larger batch raises "
        "its gradient.",
        fix=raise_micro_batch(unit, ENOUGH, size, _backed(size)),
        cause="micro-batch",
    )


@rule(
    "GA304",
    "batch-statistic-penalty-tiny-batch",
    scope="unit",
    needs=("micro_batch", "loss_terms"),
    severities=(WARNING,),
    confidence=LOW,
    limits={"samples": 16},
    references=(
        "https://arxiv.org/abs/2105.04906 (Bardes et al. 2022, VICReg: a variance over the batch)",
        "docs/measurements.md",
    ),
)
def batch_statistic_penalty_tiny_batch(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A penalty on a statistic of the batch is computed over a tiny micro-batch.

    Why:
        A variance or a range of few samples changes much from batch to batch; where it stands in a
        denominator its gradient spikes. A maximum or a range loads its whole gradient on one or
        two samples instead of 1/n on each. Adam
        remembers each spike in its second moment; SGD takes it as a step. Accumulation does not
        enlarge the statistic.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 8
        mse_weight: 1.0
        variance_weight: 0.5

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 16
        mse_weight: 1.0
        variance_weight: 0.5

    Tell:
        Log the gradient norm of the term alone for 100 steps: its 95th percentile is ten times
        its median or more.

    Symptoms:
        loss spikes
        gradient norm spikes

    Fix:
        Recommended up to 8 samples, speculative above: double the micro-batch to 16 or more.
        Measured on the reconstructed training: batch 24 halves the 95th percentile of the norm
        (measurements#batch-24).

    Limits:
        samples: micro-batches of fewer than this are reported; the fix goes up to it.

    False positives:
        A term that only has such a word in its name, or takes its statistic over something other
        than the batch (pixels, time, an ensemble): the confidence is low for that reason.
    """
    micro = unit.settings["micro_batch"]
    size = micro.number
    if size is None or not 1 <= size < limits["samples"]:
        return
    terms = _terms_with(unit, _WORDS["batch_statistic"])
    if not terms:
        return
    names = listed([f"`{term.name}`" for term in terms])
    many = len(terms) > 1
    yield Finding(
        place_of(micro, unit),
        f"{names} take{'' if many else 's'} a statistic of {_samples(size)}",
        severity=WARNING,
        confidence=LOW,
        key=micro.key,
        label=f"{_samples(size)} a micro-batch",
        related=[
            Related(place_of(term.setting, unit), "a batch statistic, by its name")
            for term in terms[:3]
        ],
        why=[
            (
                "A variance or a range of few samples changes much from batch to batch; where it "
                "stands in a denominator its gradient spikes. A maximum or a range loads one or "
                "two samples. Accumulation does not enlarge it."
            )
        ],
        next=f"Log the gradient norm of {names} alone for 100 steps.",
        fix=raise_micro_batch(unit, limits["samples"], size, _backed(size)),
        cause="micro-batch",
    )
