"""GA3: what depth, residual connections and the scale of the first weights do to a gradient."""

from __future__ import annotations

from gradaudit.findings import LOW, MEDIUM, RECOMMENDED, SPECULATIVE, WARNING, Finding, Fix, Related
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of, switch
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_SATURATES = frozenset(("sigmoid", "logistic"))
"""Their slope is a quarter at most. That of tanh is 1 at zero: plain networks of eight layers and
more train with it (physics-informed networks)."""


@rule(
    "GA310",
    "deep-without-residual",
    scope="unit",
    needs=("depth", "residual"),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"layers": 20, "saturating_layers": 8},
    references=(
        "https://arxiv.org/abs/1512.03385 (He et al. 2016: plain networks get worse with depth)",
        (
            "https://proceedings.mlr.press/v9/glorot10a.html (Glorot & Bengio 2010: sigmoid is "
            "unsuited for deep networks)"
        ),
        "https://arxiv.org/abs/1901.09321 (Zhang et al. 2019, Fixup)",
    ),
)
def deep_without_residual(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A deep network has its residual connections turned off.

    Why:
        Without residual connections the gradient of the first layer is a product of one Jacobian
        a layer: it vanishes or explodes with the depth. He et al. saw plain networks of 34 layers
        train worse than those of 18, with BatchNorm. A sigmoid, whose slope is a quarter at most,
        shrinks it in every layer, so that less than half of that depth is enough.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        num_layers: 24
        use_residual: false

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        num_layers: 24
        use_residual: true

    Tell:
        Log the gradient norm of each layer at the first step: the first layers' is orders of
        magnitude from the last layers'.

    Symptoms:
        gradient norm is tiny
        loss is flat

    Fix:
        Recommended: turn the residual connections on (He et al. 2016).

    Limits:
        layers: networks of this depth and more.
        saturating-layers: the same where the activation is a sigmoid.

    False positives:
        Networks whose initialisation keeps the product near one (dynamical isometry, DKS, SIREN)
        train deep and plain. Where no key speaks of residual connections nothing is reported, nor
        where the depth and the switch stand in sections beside each other (an encoder's layers, a
        post-net's switch). `skip_connections` is as often a U-Net's, and not read as this.
    """
    depth, residual = unit.settings["depth"], unit.settings["residual"]
    layers = depth.number
    if residual.value is not False or layers is None or unit.has_word(("siren", "isometry")):
        return
    if not _share_a_section(depth, residual):
        return
    activation = unit.get("activation")
    name = ""
    if activation is not None and _share_a_section(depth, activation):
        name = str(activation.value).rsplit(".", 1)[-1].lower()
    saturates = name in _SATURATES
    if layers < limits["saturating_layers" if saturates else "layers"]:
        return
    edit = switch(residual, True)
    yield Finding(
        place_of(residual, unit),
        f"{number(layers)} layers{f' of {name}' if saturates else ''} without residual connections",
        severity=WARNING,
        confidence=MEDIUM,
        key=residual.key,
        label="no residual connections",
        related=[Related(place_of(depth, unit), "the depth")],
        why=[
            (
                "The gradient of the first layer is a product of one factor a layer, which "
                "vanishes or explodes."
            )
        ],
        next="Log the gradient norm of each layer at the first step.",
        fix=Fix(
            RECOMMENDED,
            f"turn `{residual.last_key}` on",
            [edit],
            ["checkpoints of the plain network behave otherwise with it"],
        )
        if edit
        else None,
    )


def _share_a_section(one: Setting, other: Setting) -> bool:
    """Whether one of the two stands in the other's section, or in a section of that."""
    a, b = (f"{setting.key.rpartition('.')[0]}." for setting in (one, other))
    return a == "." or b == "." or a.startswith(b) or b.startswith(a)


@rule(
    "GA311",
    "deep-post-norm-without-warmup",
    scope="unit",
    needs=("depth", "pre_norm"),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"layers": 12},
    references=(
        (
            "https://arxiv.org/abs/2002.04745 (Xiong et al. 2020: post-norm needs a warm-up, "
            "pre-norm does not)"
        ),
        "https://arxiv.org/abs/2004.08249 (Liu et al. 2020: post-norm amplifies small updates)",
        "https://arxiv.org/abs/2203.00555 (Wang et al. 2022, DeepNet)",
    ),
)
def deep_post_norm_without_warmup(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A deep transformer with post-norm is trained at full rate from the first step.

    Why:
        With the normalisation after the residual sum, gradients near the output are large at
        initialisation (Xiong et al. 2020), and Adam's first steps, at full rate, often end in
        divergence or on a plateau. A warm-up or pre-norm mends it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        num_layers: 12
        pre_norm: false
        warmup_steps: 0
        max_steps: 100000

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        num_layers: 12
        pre_norm: false
        warmup_steps: 5000
        max_steps: 100000

    Tell:
        The loss rises or stays level in the first thousand steps, and a tenth of the rate cures
        it.

    Symptoms:
        loss rises, from the start or after falling
        loss is flat
        loss is nan

    Fix:
        None: the length of a warm-up depends on the training, and pre-norm is another network.

    Limits:
        layers: transformers of this depth and more.

    False positives:
        Fine-tuning: the pretrained weights are past the initialisation; not reported where a
        checkpoint is named. In timm's vision transformers `pre_norm` is a norm before the first
        block: not reported where a key speaks of patches. RAdam, which warms up by itself, and
        DeepNorm or Admin, which scale the residuals, are not reported. SGD is not judged.
    """
    depth, position = unit.settings["depth"], unit.settings["pre_norm"]
    if position.value is not False or depth.number is None or depth.number < limits["layers"]:
        return
    if not unit.is_adaptive or unit.optimizer in ("radam", "lamb"):
        return
    off = _no_warmup(unit)
    if off is None or unit.get("model_name"):
        return
    if unit.has_word(_NOT_FROM_SCRATCH + _PRE_NORM_IS_ANOTHER):
        return
    layers = number(depth.number)
    yield Finding(
        place_of(off, unit) if off.key else place_of(position, unit),
        f"no warm-up for a post-norm transformer of {layers} layers",
        severity=WARNING,
        confidence=MEDIUM,
        key=off.key or position.key,
        label="full rate from the first step" if off.key else "post-norm, and no warm-up",
        related=[
            Related(place_of(position, unit), "normalises after the residual sum"),
            Related(place_of(depth, unit), f"{layers} layers"),
        ],
        why=[
            (
                "With post-norm, gradients near the output are large at initialisation; "
                f"{optimizer_name(unit)} at full rate often diverges on them."
            )
        ],
        next="Warm up for some thousand steps, or normalise before each block.",
        no_fix="how long a warm-up it takes is not known",
    )


_NOT_FROM_SCRATCH = (
    "pretrained", "finetune", "finetuning", "resume", "restore", "deepnorm", "admin", "lora",
)  # fmt: skip

_PRE_NORM_IS_ANOTHER = ("patch", "vit", "timm")


def _no_warmup(unit: TrainingUnit) -> Setting | None:
    """The setting that says that there is no warm-up; None where there is one or nobody knows."""
    if unit.warmup is not None or unit.number("warmup_tokens"):
        return None
    scheduler = unit.get("scheduler")
    if scheduler and isinstance(scheduler.value, str):
        words = scheduler.value.lower()
        if "warm" in words or "noam" in words or "cycle" in words:
            return None
    for name in ("warmup_steps", "warmup_epochs", "warmup_ratio"):
        if name in unit.unknown:
            return None
    for name in ("warmup_steps", "warmup_epochs", "warmup_ratio"):
        setting = unit.get(name)
        if setting is not None and setting.number == 0:
            return setting
    return None


@rule(
    "GA312",
    "init-std-too-large",
    scope="unit",
    needs=("init_std",),
    severities=(WARNING,),
    confidence=LOW,
    limits={"std": 0.1},
    references=(
        "https://arxiv.org/abs/1810.04805 (Devlin et al. 2019, BERT: 0.02)",
        "https://arxiv.org/abs/1502.01852 (He et al. 2015: sqrt(2 / n) keeps the scale)",
    ),
)
def init_std_too_large(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The weights start with a standard deviation far above what keeps activations in scale.

    Why:
        A layer of n inputs multiplies the scale of its activations by std x sqrt(n): with 0.2 and
        768 inputs by 5.5, in every layer that is not normalised at once, and the logits and the
        first loss grow with it. GPT and BERT take 0.02, He et al. sqrt(2 / n), which is 0.05 for
        768.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        initializer_range: 0.2

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        initializer_range: 0.02

    Tell:
        The first loss is far above log(number of classes).

    Symptoms:
        loss is nan
        loss spikes

    Fix:
        Speculative: 0.02, as BERT, GPT-2 and most transformers since. It changes nothing where
        all weights come from a checkpoint.

    Limits:
        std: standard deviations above this; sqrt(2 / n) is above it for fewer than 200 inputs.

    False positives:
        Narrow networks (He's rule gives 0.18 for 64 inputs) and embeddings. Not reported for SIREN
        and muP, nor where a checkpoint is named: fine-tuning draws new weights for the head alone.
        `init_std` alone is read only in frameworks where it is that of weights: in reinforcement
        learning it is the spread of the first actions.
    """
    std = unit.settings["init_std"]
    value = std.number
    if value is None or value <= limits["std"] or unit.get("model_name"):
        return
    if unit.has_word(("siren", "mup")):
        return
    edit = change(std, 0.02)
    yield Finding(
        place_of(std, unit),
        f"weights start with a standard deviation of {number(value)}; usual is 0.02",
        severity=WARNING,
        confidence=LOW,
        key=std.key,
        label=f"x {number(value * 768**0.5)} a layer of 768 inputs",
        why=[
            (
                "A layer multiplies the scale of its activations by std x sqrt(inputs); the logits "
                "and the first gradients grow with it."
            )
        ],
        next="Compare the first loss with log(number of classes).",
        fix=Fix(SPECULATIVE, f"set `{std.last_key}` to 0.02", [edit]) if edit else None,
    )
