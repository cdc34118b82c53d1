"""What the user says was measured: one gradient norm, and when."""

from __future__ import annotations


class Observed:
    """`--observed-grad-norm`, with `--observed-epoch` or `--observed-step`, both from 1.

    The norm is taken as the one before clipping: it is what `clip_grad_norm_` returns and what
    Hugging Face, Megatron, verl and LLaMA-Factory log.
    """

    __slots__ = ("epoch", "grad_norm", "step")

    def __init__(self, grad_norm: float, epoch: int | None = None, step: int | None = None) -> None:
        self.grad_norm = grad_norm
        self.epoch = epoch
        self.step = step

    @property
    def when(self) -> str:
        """` at epoch 3`, ` at step 200`, or nothing."""
        if self.epoch is not None:
            return f" at epoch {self.epoch}"
        return f" at step {self.step}" if self.step is not None else ""
