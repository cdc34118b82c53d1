"""Batches that are lists of samples: images of a detector, each with a dict of its boxes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


class SampleList(list[Any]):
    """A list with one item a sample. To a training it is the list that its loader made."""


class SampleTuple(tuple[Any, ...]):
    """A tuple with one item a sample."""

    __slots__ = ()


OF_SAMPLES = (SampleList, SampleTuple)


def is_record(batch: Any) -> bool:
    """Whether it is an object of a dataclass, whose fields are parts of a batch."""
    return is_dataclass(batch) and not isinstance(batch, type)


def fields_of(batch: Any) -> dict[str, Any]:
    """The fields of an object of a dataclass, by name."""
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def with_fields(batch: Any, values: dict[str, Any]) -> Any:
    """A copy with other values in its fields, made without `__init__`, also where it is frozen."""
    made = copy.copy(batch)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def batch_size_of(loader: Any) -> int:
    """Samples of a batch, as a DataLoader says; 0 where it does not."""
    for one in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(one, "batch_size", None)
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return size
    return 0


def mark(batch: Any, count: int, size_of: Callable[[Any], int | None]) -> Any:
    """The batch, with every list of `count` samples told as one: its items are the samples, not
    the rows of their tensors. `size_of`: the first dimension that all parts of something share;
    where that is `count` already, nothing is a list of samples.
    """
    if count < 1 or isinstance(batch, torch.Tensor) or size_of(batch) == count:
        return batch
    if isinstance(batch, Mapping):
        if type(batch) is not dict:
            return batch
        return {key: mark(value, count, size_of) for key, value in batch.items()}
    if is_record(batch):
        parts = {name: mark(value, count, size_of) for name, value in fields_of(batch).items()}
        return with_fields(batch, parts)
    if type(batch) not in (list, tuple):
        return batch
    inside = type(batch)(mark(value, count, size_of) for value in batch)
    if size_of(inside) == count or len(batch) != count or not _alike(batch):
        return inside
    return SampleList(batch) if type(batch) is list else SampleTuple(batch)


def _alike(items: Any) -> bool:
    """Whether the items may be samples of one kind: tensors of one dtype and as many dimensions,
    mappings of the same keys, or rows of such."""
    first = items[0]
    if isinstance(first, torch.Tensor):
        return all(
            isinstance(one, torch.Tensor) and (one.dtype, one.ndim) == (first.dtype, first.ndim)
            for one in items
        )
    if isinstance(first, Mapping):
        return all(isinstance(one, Mapping) and one.keys() == first.keys() for one in items)
    if isinstance(first, (list, tuple)):
        return all(type(one) is type(first) and len(one) == len(first) for one in items)
    return is_record(first) and all(type(one) is type(first) for one in items)
