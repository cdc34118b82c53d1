"""What the scripts of this folder share: the device, and what they keep for the tests: the final
weights, and what they measured themselves."""

import hashlib
import json
import os
import sys

import torch

DEVICE = os.environ.get("DEVICE", "cpu")
if DEVICE == "cuda":
    # Two runs of one script are held against each other bit by bit. What has no deterministic
    # kernel warns; CUBLAS_WORKSPACE_CONFIG comes from outside, before CUDA begins.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
if "NUMBERS_COME_LATER" in os.environ and "gradaudit_recorder" in sys.modules:
    # The CPU as a device that would have to be waited for.
    from gradaudit_recorder import reading, tensors

    tensors.is_here = reading.is_here = lambda tensor: False


def norms(parameters):
    """2-norms of the gradients, one by one; None where there is none."""
    return [None if p.grad is None else float(p.grad.norm()) for p in parameters]


def total(parameters):
    return float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm())


def bytes_of(tensor):
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()  # numpy has no bfloat16


def keep(model, **values):
    """Write to the file that the first argument names: a digest of each tensor's bytes, and values."""
    digests = {
        name: hashlib.sha256(bytes_of(tensor)).hexdigest()
        for name, tensor in model.state_dict().items()
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"weights": digests, **values}, file)
