"""Batches for what is measured at fixed weights: kept, and those among them without a sample in
common.

Products of gradients are free of noise only where the two batches are independent. Within one pass
over a loader they are; a batch of the next pass is made of old samples, also where it is shuffled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gradaudit.probe.batches import Ended, leaves_of, size_of, tensors_of
from gradaudit.probe.samples import OF_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.probe.batches import Stream

_SAME_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_COLUMNS, _NUMBERS = 2**16, 2**22
"""Of a batch at a time, while its samples are told apart: 32 MiB as whole numbers."""


FEW = 24
"""Batches of a pass below which a run that goes over them again says so: with as many the terms are
measured at fixed weights."""


class Drawn(NamedTuple):
    """Batches of one size.

    every     in order, as the training would go on: some may repeat.
    distinct  those without a sample in common, of the one pass that gave the most.
    why       there are not more of these; empty where as many were drawn as were asked for.
    """

    every: list[Any]
    distinct: list[Any]
    why: str = ""

    def too_few(self, needed: int) -> str:
        """Why what needs so many distinct batches is not measured; empty where it can be."""
        if len(self.distinct) >= needed:
            return ""
        return f"{self.why or f'there are {len(self.distinct)} batches'}; it takes {needed}"


def told_of_repeats(stream: Stream) -> list[str]:
    """What to say of steps that went over the same few batches again and again."""
    if not stream.restarts or stream.of_a_pass >= FEW:
        return []
    many = f"{stream.of_a_pass} batch{'' if stream.of_a_pass == 1 else 'es'}"
    said = (
        f"the steps went over the same {many} {stream.restarts + 1} times: intervals are those of "
        "these steps, and other samples may lie outside. Where the training has more, return its "
        "own loader as `batches`"
    )
    return [said]


def draw(stream: Stream, count: int, most_bytes: int, distinct: int) -> Drawn:
    """The next `count` batches, or as many as fit into these bytes, of the commonest size: the last
    one of an epoch is often smaller. At most `distinct` of them as such."""
    batches: list[Any] = []
    passes: list[int] = []
    held = 0
    ended = False
    try:
        while len(batches) < count and held <= most_bytes:
            batches.append(stream.take())
            passes.append(stream.restarts)
            held += sum(t.numel() * t.element_size() for t in tensors_of(batches[-1]))
    except Ended:
        ended = True
    sizes = [size_of(batch) for batch in batches]
    most = max(set(sizes), key=sizes.count) if sizes else None
    kept = [at for at, size in enumerate(sizes) if size == most]
    found: list[Any] = []
    whole = False
    for number in sorted({passes[at] for at in kept}):
        of_pass = [batches[at] for at in kept if passes[at] == number]
        own = without_repeats(of_pass, distinct)
        ended_inside = passes[0] < number < passes[-1]
        if len(own) > len(found) or (ended_inside and len(own) == len(found)):
            found = own
            whole = ended_inside or len(own) < min(len(of_pass), distinct)
    every = [batches[at] for at in kept]
    if len(found) == distinct:
        return Drawn(every, found)
    many = f"{len(found)} different batch{'' if len(found) == 1 else 'es'}"
    if whole:
        why = f"a pass over the loader has only {many}"
    elif held > most_bytes:
        why = f"only {many} of one pass can be kept in memory"
    elif ended:
        why = f"the loader ended, with {many} left"
    else:
        why = f"there are only {many} of one pass"
    return Drawn(every, found, why)


def without_repeats(batches: Iterable[Any], most: int) -> list[Any]:
    """The batches, at most so many, less those of which a quarter of the samples or more were in
    earlier ones: a generator may begin anew inside itself. What is drawn with replacement from a
    large set stays. Batches that `_samples` cannot tell apart stay, too."""
    found: list[Any] = []
    seen: set[int] = set()
    weights = torch.randint(
        -(2**62), 2**62, (_COLUMNS,), generator=torch.Generator().manual_seed(0)
    )
    for batch in batches:
        if len(found) == most:
            break
        samples = _samples(batch, weights)
        if samples and 4 * sum(sample in seen for sample in samples) >= len(samples):
            continue
        seen.update(samples)
        found.append(batch)
    return found


def _samples(batch: Any, weights: torch.Tensor) -> list[int]:
    """A number for each sample, the same for the same bits in all its tensors and the same texts;
    one for the whole batch where it cannot be cut. None at all where a part of it has no number:
    by the others alone, labels beside graphs say, different samples would be one. Sums of whole
    numbers, which no order of adding changes."""
    size = size_of(batch)
    total = torch.zeros(size or 1, dtype=torch.long)
    columns = min(_COLUMNS, max(_NUMBERS // len(total), 1))
    factor = 1
    try:
        for leaf in leaves_of(batch):
            if leaf is None or isinstance(leaf, (int, float, complex)):
                continue  # as often the number of the batch as a part of its samples
            if isinstance(leaf, OF_SAMPLES):
                total += torch.tensor([_of_one(sample, weights) for sample in leaf]) * factor
                factor += 2
                continue
            tensors = tensors_of(leaf)
            for tensor in tensors:
                kind = _SAME_BYTES[tensor.element_size()]
                flat = tensor.detach().cpu().contiguous().view(kind).reshape(len(total), -1)
                for part in flat.split(columns, 1):
                    total += (part.long() * weights[: part.shape[1]]).sum(1) * factor
                    factor += 2  # odd: no factor makes two parts one
            if not tensors:
                rows = [leaf] if size is None or isinstance(leaf, (str, bytes)) else leaf
                total += torch.tensor([_number(row) for row in rows]) * factor
                factor += 2
    except (RuntimeError, KeyError, TypeError):  # sparse, nested, of a dtype or class of its own
        return []
    return total.tolist() if factor > 1 else []


def _of_one(sample: Any, weights: torch.Tensor) -> int:
    """A number for an item of a list of samples: its tensors as one row each, and their shapes."""
    found: list[Any] = []
    for leaf in leaves_of(sample):
        tensors = tensors_of(leaf)
        shapes = [tuple(tensor.shape) for tensor in tensors]
        rows = [tensor[None] for tensor in tensors]
        found.append(_samples(rows, weights) if tensors else _number(leaf))
        if found[-1] == []:
            raise TypeError(type(leaf).__name__)
        found.append(tuple(shapes))
    return hash(repr(found))


def _number(row: Any) -> int:
    """The same for equal texts, numbers and rows of them; of this process only.

    Raises: TypeError for what is equal to nothing but itself.
    """
    if hasattr(row, "tolist"):
        row = row.tolist()
    if isinstance(row, (list, tuple)):
        return hash(tuple(_number(one) for one in row))
    if isinstance(row, (int, float, complex)):
        return hash(repr(row))  # hash() itself has one number for -1 and -2, and many for NaN
    if getattr(type(row), "__hash__", None) is object.__hash__:
        raise TypeError(type(row).__name__)
    return hash(row)
