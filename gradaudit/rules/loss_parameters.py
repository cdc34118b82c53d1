"""GA4: the parameters of single losses."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.plan.model import DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_CONTRASTIVE = (
    "contrastive", "infonce", "info_nce", "nce", "ntxent", "nt_xent", "simclr", "moco", "supcon",
    "clip", "npair", "siglip",
)  # fmt: skip

_OF_A_GAN = ("discriminator", "gan", "disc")

_OF_A_TEACHER = ("distil", "teacher", "student")


@rule(
    "GA407",
    "label-smoothing-out-of-range",
    scope="unit",
    needs=("label_smoothing",),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"largest": 0.4, "preferences": 0.5},
    references=(
        "https://arxiv.org/abs/1512.00567 (Szegedy et al. 2016: 0.1)",
        "https://arxiv.org/abs/1906.02629 (Müller et al. 2019: when label smoothing helps)",
        (
            "https://huggingface.co/docs/trl/dpo_trainer (label_smoothing: a chance of swapped "
            "labels, between 0 and 0.5)"
        ),
    ),
)
def label_smoothing_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The labels are smoothed so much that little of them is left.

    Why:
        Smoothing takes this share of the target and spreads it evenly over all classes. The right
        class stays the likeliest, but the network is trained not to be sure of it: at 0.9 and a
        thousand classes its target is 0.1. The usual value is 0.1. In losses over preferences
        (DPO) it is the chance that a pair's labels are swapped: at 0.5 the pairs say nothing, and
        above the training prefers the rejected answers. The optimiser makes no difference.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        label_smoothing: 0.9

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        label_smoothing: 0.1

    Tell:
        The loss cannot fall below the entropy of the smoothed labels, and the largest predicted
        probability stays near 1 minus the smoothing where there are many classes.

    Symptoms:
        worse than the published result

    Fix:
        Recommended: 0.1, the value of Szegedy et al. 2016 and of most recipes since; 0.9 is often
        the share that stays, of which 0.1 is the smoothing. None for preferences, where the number
        says how many labels are swapped.

    Limits:
        largest: smoothing from this on is reported.
        preferences: the same for preferences.

    False positives:
        Training against labels that are known to be wrong, where large values have been tried
        (Lukasik et al. 2020). In a GAN 0.9 is often the target of the real samples; where a key
        speaks of a discriminator nothing is reported. What lies outside [0, 1], and 1 itself, is
        value-out-of-domain.
    """
    smoothing = unit.settings["label_smoothing"]
    value = smoothing.number
    preferences = smoothing.note.startswith("of preferences")
    if value is None or value >= 1 or smoothing.origin == DEFAULT:
        return
    if value < limits["preferences" if preferences else "largest"] or unit.has_word(_OF_A_GAN):
        return
    if preferences:
        message = f"{number(value)} says that {percent(value)} of the preference pairs are swapped"
        if value >= 0.5:
            message += ": they say nothing" if value == 0.5 else ": rejected answers are preferred"
    else:
        message = f"label smoothing spreads {percent(value)} of each label over all classes"
    edit = None if preferences else change(smoothing, 0.1)
    yield Finding(
        place_of(smoothing, unit),
        message,
        severity=WARNING,
        confidence=HIGH if preferences else MEDIUM,
        key=smoothing.key,
        label="no preference is left" if preferences else "little of the label is left",
        why=[
            (
                "The chance of a swapped pair lies between 0 and 0.5; at 0.5 the two sides of the "
                "loss cancel."
            )
            if preferences
            else (
                "The network is trained not to be sure of any class, so that its probabilities "
                "say little. The usual value is 0.1."
            )
        ],
        next="Take a value below 0.5, or 0."
        if preferences
        else f"Take 0.1, or 0; if {number(value)} is the share that stays, {number(1 - value)}."
        if 1 - value < limits["largest"]
        else "Take 0.1, or 0.",
        fix=Fix(
            RECOMMENDED,
            f"set `{smoothing.last_key}` to {edit.new}",
            [edit],
            ["0.1 as in Szegedy et al. 2016; 0 turns it off"],
        )
        if edit
        else None,
        no_fix="how many labels are swapped is not known" if preferences else "",
    )


@rule(
    "GA408",
    "extreme-class-weight",
    scope="unit",
    needs=("pos_weight",),
    severities=(INFO,),
    confidence=LOW,
    limits={"largest": 100},
    references=(
        (
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html "
            "(pos_weight: negatives over positives)"
        ),
        "https://arxiv.org/abs/1708.02002 (Lin et al. 2017: focal loss)",
    ),
)
def extreme_class_weight(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Positive samples weigh more than a hundred times as much as negative ones.

    Why:
        One positive sample then decides the gradient of its batch, and most batches have none: the
        norm jumps between two levels. A clip norm cuts just the batches that the weight was to
        strengthen; under SGD without a clip they are the large steps, and Adam's second moment is
        filled by them, which shortens the steps between.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        pos_weight: 500.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        pos_weight: 20.0

    Tell:
        Log the gradient norm with and without positives in the batch.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: how rare the positives are is not in the file. A sampler that draws them more often,
        a focal loss or the square root of the weight spread the gradient more evenly.

    Limits:
        largest: weights above this are reported.

    False positives:
        Where positives are that rare, this is the weight that torch's own page recommends: an
        info. Lists of class weights are not read.
    """
    weight = unit.settings["pos_weight"]
    value = weight.number
    if value is None or value <= limits["largest"]:
        return
    clip = unit.get("clip_norm")
    related = []
    effect = "the batches that hold one have a gradient far above all others."
    if clip is not None and clip.number and clip.number > 0:
        related.append(Related(place_of(clip, unit), "cuts the batches that have positives"))
        effect = (
            f"the clip norm {number(clip.number)} cuts those batches, and undoes part of the "
            "weight."
        )
    yield Finding(
        place_of(weight, unit),
        f"a positive sample weighs {number(value)} times as much as a negative one",
        severity=INFO,
        confidence=LOW,
        key=weight.key,
        label="one sample decides the batch",
        related=related,
        why=[f"Where positives are rare, {effect}"],
        next="Draw positives more often (a weighted sampler) and lower the weight by as much, or "
        "try a focal loss.",
        no_fix="how rare the positives are is not in the file",
    )


@rule(
    "GA409",
    "temperature-out-of-range",
    scope="unit",
    needs=("temperature",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"lowest": 0.01, "highest": 1},
    references=(
        "https://arxiv.org/abs/2103.00020 (Radford et al. 2021, CLIP: 0.07, kept above 0.01)",
        "https://arxiv.org/abs/2002.05709 (Chen et al. 2020, SimCLR: 0.05 to 1 compared)",
        "https://arxiv.org/abs/1911.05722 (He et al. 2020, MoCo: 0.07)",
    ),
)
def temperature_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The temperature of a contrastive loss is outside what is used.

    Why:
        Similarities are divided by it before the softmax. The gradient of each is of the order of
        1 / temperature: at 0.005 up to 200 times as large, all of it on the hardest negatives, and
        16-bit logits lose their digits. CLIP keeps its own above 0.01 to prevent instability. Above
        1 the softmax over cosines is nearly flat, and hard and easy negatives count alike. Adam
        cancels the size of the gradient, not its concentration.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        contrastive_temperature: 0.001

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        contrastive_temperature: 0.07

    Tell:
        Log the entropy of the softmax over the negatives: near 0 the temperature is too low, near
        the logarithm of their number too high.

    Symptoms:
        loss is nan after some hundred steps
        loss is flat
        gradient norm spikes

    Fix:
        None: 0.05 to 0.5 are usual, and the best value is found by trying.

    Limits:
        lowest: temperatures below this are a warning.
        highest: above this an info.

    False positives:
        The temperature of a distillation, of sampling or of a teacher is another, and not read as
        this one: in a loss's section it counts only where the loss or the section is called
        contrastive, InfoNCE, NT-Xent, SimCLR, MoCo, SupCon or CLIP, and never where they speak of
        a distillation. Above 1 is right for similarities that are not cosines. A learnt temperature
        may only begin there, or be written as the logarithm of its inverse (CLIP's 2.6592).
    """
    for setting in unit.every("temperature"):
        value = setting.number
        if value is None or setting.origin == DEFAULT or not _is_contrastive(setting, unit):
            continue
        if limits["lowest"] <= value <= limits["highest"]:
            continue
        low = value < limits["lowest"]
        if value <= 0:
            turned = "turns the loss around" if value < 0 else "divides by zero"
            message = f"a temperature of {number(value)} {turned}"
        elif low:
            message = (
                f"temperature {number(value)} multiplies the contrastive logits by "
                f"{number(1 / value)}"
            )
        else:
            message = f"temperature {number(value)} makes the softmax over cosines nearly flat"
        yield Finding(
            place_of(setting, unit),
            message,
            severity=WARNING if low else INFO,
            confidence=MEDIUM if low else LOW,
            key=setting.key,
            label=f"below {number(limits['lowest'])}"
            if low
            else f"above {number(limits['highest'])}",
            why=[
                "Gradients grow with 1 / temperature, and only the hardest negatives get any."
                if low
                else "Hard and easy negatives then count alike. Similarities that are not "
                "cosines are another matter."
            ],
            next="Take a value between 0.05 and 0.5 and compare.",
            no_fix="the best value is found by trying",
        )


def _is_contrastive(setting: Setting, unit: TrainingUnit) -> bool:
    """Whether its own key, the sections around it or the loss's name say so.

    A dialect that reads it by its path knows whose it is.
    """
    if not unit.composed.dialect["vocabulary"]:
        return True
    name = unit.get("loss_name")
    said = setting.key
    if name is not None and isinstance(name.value, str):
        said += f".{name.value}"
    flat = said.lower().replace("-", "_")
    if any(word in flat for word in _OF_A_TEACHER):
        return False
    parts = flat.replace(".", "_").split("_")
    return any(word in parts or (len(word) > 4 and word in flat) for word in _CONTRASTIVE)
