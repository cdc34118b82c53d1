"""What is trained of a model: all of it, a part, or adapters beside it. Told once, here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

LORA = frozenset(("lora", "qlora", "dora", "qdora", "lora+", "rslora"))
PARTIAL = LORA | {"freeze", "oft", "qoft", "ia3", "adalora", "loha", "lokr", "vera", "adapter"}
"""Ways of fine-tuning that leave most weights, the embeddings among them, as they are."""


def finetuning_of(unit: TrainingUnit) -> str | None:
    """How the model is fine-tuned, in lower case; `lora` where only its rank or switch says so."""
    setting = unit.get("finetuning")
    if setting is not None and isinstance(setting.value, str):
        return setting.value.lower()
    switch = unit.get("use_lora")
    if switch is not None and isinstance(switch.value, bool):
        return "lora" if switch.value else None
    return "lora" if unit.number("lora_rank") else None


def trains_lora(unit: TrainingUnit) -> bool:
    return finetuning_of(unit) in LORA


def begins_trained(unit: TrainingUnit) -> bool | None:
    """Whether the weights begin as trained ones; None where nothing says so."""
    setting = unit.get("pretrained")
    if setting is None:
        return None
    if isinstance(setting.value, bool):
        return setting.value
    return bool(setting.value)


def scaled_by_root(unit: TrainingUnit) -> bool:
    """Whether LoRA's output is divided by the root of the rank (rsLoRA), not by the rank."""
    setting = unit.get("rslora")
    return (setting is not None and setting.value is True) or finetuning_of(unit) == "rslora"


def lora_scale(unit: TrainingUnit) -> float | None:
    """What LoRA's output is multiplied by, or None where it is not known."""
    rank, alpha = unit.number("lora_rank"), unit.number("lora_alpha")
    if rank is None or alpha is None or rank <= 0:
        return None
    return alpha / (rank**0.5 if scaled_by_root(unit) else rank)
