"""Operators on what two files of one run say of the same thing."""

from __future__ import annotations

from gradaudit.syntax.scalars import to_number
from gradaudit.syntax.tree import Scalar

from .change import child, own, to
from .model import Case, Make, Mutation, Operator


def _said_by_deepspeed(case: Case, key: str) -> bool:
    """A linked DeepSpeed config that has a number of its own (not "auto")."""
    for tree in case.unit.composed.trees:
        if tree is not case.tree and tree.roots:
            node = child(tree.roots[0], key)
            if type(node) is Scalar and not node.style and to_number(node.value) is not None:
                return True
    return False


def _unlike(name: str, key: str, factor: float) -> Make:
    def make(case: Case) -> Mutation | None:
        if not _said_by_deepspeed(case, key):
            return None
        # Which of the two is in force is the framework's affair: the trainer's own is broken.
        for setting in case.unit.every(name):
            mine = own(case, setting)
            if mine is not None and mine.number:
                return to(case, mine, float(f"{mine.number * factor:.6g}"))
        return None

    return make


ACROSS = [
    Operator(
        "accumulation-unlike-deepspeed",
        "the trainer's accumulation doubled, its DeepSpeed config having a number",
        ("GA801",),
        _unlike("accumulation", "gradient_accumulation_steps", 2.0),
        companions=("GA305",),
    ),
    Operator(
        "micro-batch-unlike-deepspeed",
        "the trainer's micro-batch doubled, its DeepSpeed config having a number",
        ("GA801",),
        _unlike("micro_batch", "train_micro_batch_size_per_gpu", 2.0),
        companions=("GA305",),
    ),
    Operator(
        "clip-unlike-deepspeed",
        "the trainer's clip norm halved, its DeepSpeed config having a number",
        ("GA801",),
        _unlike("clip_norm", "gradient_clipping", 0.5),
    ),
]
