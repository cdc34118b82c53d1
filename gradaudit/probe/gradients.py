"""Gradients of single loss terms: their inner products, without keeping more than fits.

Each term costs one backward pass over the shared graph (`torch.autograd.grad` with
`retain_graph`); `is_grads_batched` is slower and larger on a CPU and is not used. `.grad` and
hooks of DDP stay untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gradaudit.probe.fetch import HALVES, as_real, numbers_in, numbers_of, wide
from gradaudit.probe.protocol import DryRunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

KEPT_BYTES = 512 * 2**20
"""Gradients kept at a time. What needs more is done in parts: blocks of parameters, or of pieces of
a large one, each with its own backward passes. On top comes the one gradient of a block's tensors
that a pass makes before it is cut."""

_DOUBLES = (torch.float64, torch.complex128)

DOUBLE_BYTES = 32 * 2**20
"""Of gradients in double precision at a time, while their products are summed."""


class Term(NamedTuple):
    """One term of the loss of one batch. tensor: without the weight, a scalar."""

    name: str
    tensor: Tensor
    weight: float

    @property
    def has_graph(self) -> bool:
        return bool(self.tensor.requires_grad)


def values_of(terms: Sequence[Term]) -> list[float]:
    """The values of the terms, without their weights."""
    return numbers_of([term.tensor for term in terms])


def reduced_precision(losses: Sequence[Tensor]) -> bool:
    """Whether gradients pass through fewer digits than float32 has on their way: an operation in
    float16 or bfloat16 (autocast), or a GPU that may multiply float32 in TF32, which has the
    digits of float16."""
    seen, waiting = set(), [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    on_gpu = any(loss.device.type == "cuda" for loss in losses)
    products, convolutions = _tf32_allowed() if on_gpu else (False, False)
    if products:
        return True
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if any(of.dtype in HALVES for of in getattr(node, "_input_metadata", ())):
            return True
        if convolutions and ("Convolution" in node.name() or "Rnn" in node.name()):
            return True
        waiting += [below for below, _ in node.next_functions if below is not None]
    return False


def _tf32_allowed() -> tuple[bool, bool]:
    """Whether matrix products and whether convolutions may be in TF32 (torch lets only these)."""
    try:
        return bool(torch.backends.cuda.matmul.allow_tf32), bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:  # set by torch's newer names, which the older may not read then
        return True, True


class Products(NamedTuple):
    """Inner products of the weighted gradients of one batch.

    gram        [T][T] between terms. total_norm: 2-norm of their sum.
    difference  for each extra loss the 2-norm of its gradient minus the sum of the terms'.
    extra_norms the 2-norm of each extra loss's gradient.
    layers      squared norm of each term in each parameter: [T][parameters].
    """

    gram: list[list[float]]
    total_norm: float
    difference: list[float]
    extra_norms: list[float]
    layers: list[list[float]]

    def norm(self, term: int) -> float:
        """2-norm of one weighted term's gradient."""
        return sqrt(max(self.gram[term][term], 0.0))

    def cosines(self) -> list[list[float | None]]:
        """Cosines between terms; None where a gradient is zero."""
        norms = [self.norm(i) for i in range(len(self.gram))]
        return [
            [
                min(max(dot / (norms[i] * norms[j]), -1.0), 1.0) if norms[i] and norms[j] else None
                for j, dot in enumerate(row)
            ]
            for i, row in enumerate(self.gram)
        ]


def read_terms(returned: Any) -> list[Term]:
    """What `losses` returned, looked at.

    Raises: DryRunError where it is not `{name: (scalar tensor, weight)}`.
    """
    if not isinstance(returned, Mapping) or not returned:
        kind = type(returned).__name__
        if isinstance(returned, Mapping):
            kind += " with nothing in it"
        raise DryRunError(
            f"`losses` returned a {kind}: it must return {{name: (tensor, weight)}}, one a term"
        )
    terms = []
    for name, pair in returned.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise DryRunError(
                f"term `{name}`: takes (tensor, weight), the tensor without its weight; "
                f"got a {type(pair).__name__}"
            )
        tensor, weight = pair
        if _has_graph(weight) and not isinstance(tensor, torch.Tensor):
            raise DryRunError(
                f"term `{name}`: tensor and weight are swapped: it is (tensor, weight), the loss "
                f"first and {tensor!r} after it"
            )
        if not isinstance(tensor, torch.Tensor):
            tensor = torch.as_tensor(float(tensor))  # a term that is off in this batch
        if tensor.numel() != 1:
            raise DryRunError(
                f"term `{name}` has the shape {tuple(tensor.shape)}: reduce it to one number, as "
                "the training does (mean or sum)"
            )
        terms.append(Term(str(name), tensor.reshape(()), _weight(name, weight)))
    return terms


def read_total(returned: Any) -> Tensor:
    """What `total` returned, looked at.

    Raises: DryRunError where it is no scalar tensor with a graph.
    """
    wrong = ""
    if not isinstance(returned, torch.Tensor):
        wrong = f"a {type(returned).__name__}"
    elif returned.numel() != 1:
        wrong = f"a tensor of the shape {tuple(returned.shape)}"
    elif not returned.requires_grad:
        wrong = "a tensor without a graph"
    if wrong:
        raise DryRunError(
            f"`total` returned {wrong}: it must return the loss that your script calls backward "
            "on, one number as a tensor with its graph (no `.item()`, no `.detach()`)"
        )
    total: Tensor = returned.reshape(())
    return total


def _has_graph(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _weight(name: object, weight: Any) -> float:
    """A weight as a number. A tensor with a graph is none: what is learned through it would not
    be, and its gradient would be missing.

    Raises: DryRunError.
    """
    if _has_graph(weight):
        raise DryRunError(
            f"term `{name}`: its weight is learned (it requires a gradient): multiply it into the "
            "tensor, and give 1.0 as the weight"
        )
    try:
        return float(weight)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DryRunError(f"term `{name}`: its weight {weight!r} is not a number") from error


def weighted_sum(terms: Sequence[Term]) -> Tensor:
    """The loss: the sum of weight x term.

    Raises: DryRunError where no term has a graph.
    """
    parts = [term.weight * term.tensor for term in terms if term.has_graph]
    if not parts:
        raise DryRunError(
            "no term of the loss has a graph: nothing can be trained. Is the model called under "
            "`torch.no_grad()`, or is a tensor detached (`.detach()`, `.item()`) on its way?"
        )
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def products(
    terms: Sequence[Term],
    parameters: Sequence[Tensor],
    extra: Sequence[Tensor] = (),
    kept_bytes: int = KEPT_BYTES,
    scale: float = 1.0,
) -> Products:
    """The inner products of the terms' weighted gradients; `extra` are losses to hold against the
    sum. `scale`: the loss scale of the backward passes, which is taken off again. Frees the graph.
    """
    count = len(terms)
    gram = [[0.0] * count for _ in terms]
    layers = [[0.0] * len(parameters) for _ in terms]
    sums: list[tuple[Tensor, list[Tensor]]] = []
    graphs = [*(term.tensor if term.has_graph else None for term in terms), *extra]
    scales = [*_scales(terms, scale), *[scale] * len(extra)]
    last = max((at for at, graph in enumerate(graphs) if graph is not None), default=-1)
    every = blocks(parameters, len(graphs), kept_bytes)
    for place, block in enumerate(every):
        whole = [parameters[piece.at] for piece in block]
        columns = []
        for at, graph in enumerate(graphs):
            keep = at < last or place < len(every) - 1
            # no name for the whole gradient: it is gone before the next is made
            columns.append(_cut(_gradient(graph, whole, keep, scales[at]), whole, block))
        for at in range(len(block)):
            sums.append(_sums([column[at] for column in columns], terms))
        del columns
    dots = _tables([table for table, _ in sums], count)
    for piece, table in zip([piece for block in every for piece in block], dots, strict=True):
        for i in range(count):
            layers[i][piece.at] += table[i][i]
            for j in range(count):
                gram[i][j] += table[i][j]
    each = 1 + 2 * len(extra)
    flat = numbers_of([square for _, squares in sums for square in squares])
    total, *others = (sqrt(sum(flat[at::each])) for at in range(each))
    return Products(gram, total, others[::2], others[1::2], layers)


def _sums(rows: Sequence[Tensor], terms: Sequence[Term]) -> tuple[Tensor, list[Tensor]]:
    """Of one piece's gradients, the terms' first and without their weights: the products of these,
    weighted, and squared norms, of their sum and of each other row's distance from it and size."""
    count = len(terms)
    weights = torch.tensor([term.weight for term in terms], dtype=rows[0].dtype)
    weights = weights.to(rows[0].device)[:, None]
    dots, squares = None, None
    for part in _parts(len(rows), rows[0].shape[0]):
        own = torch.stack([row[part] for row in rows[:count]]) * weights
        together = own.sum(0)
        found = [_square(together)]
        for row in rows[count:]:
            found += [_square(row[part] - together), _square(row[part])]
        table = _product(own)
        dots = table if dots is None else dots + table
        squares = found if squares is None else [a + b for a, b in zip(squares, found, strict=True)]
    assert dots is not None
    assert squares is not None
    return dots, squares


def total_gradient(loss: Tensor, parameters: Sequence[Tensor], scale: float = 1.0) -> Tensor:
    """[1, elements]: the gradient as one flat vector in float32."""
    found = _gradient(loss, parameters, False, scale)
    return torch.cat([_flat(g, p) for g, p in zip(found, parameters, strict=True)])[None]


def term_gradients(
    terms: Sequence[Term], parameters: Sequence[Tensor], scale: float = 1.0
) -> Tensor:
    """[T, elements]: the weighted gradient of each term as a flat vector in float32."""
    graphs = [term.tensor if term.has_graph else None for term in terms]
    last = max((at for at, graph in enumerate(graphs) if graph is not None), default=-1)
    rows: Tensor | None = None
    for at, (term, own) in enumerate(zip(terms, _scales(terms, scale), strict=True)):
        found = _gradient(graphs[at], parameters, at < last, own)
        flat = torch.cat([_flat(g, p) for g, p in zip(found, parameters, strict=True)])
        if rows is None:
            rows = flat.new_empty(len(terms), flat.shape[0])
        torch.mul(flat, term.weight, out=rows[at])
    assert rows is not None
    return rows


def dots_of(rows: Sequence[Tensor]) -> list[list[float]]:
    """All inner products of the rows of these tensors, one below the other, summed in double
    precision. They are not put together: that would be a copy."""
    count = sum(len(row) for row in rows)
    total: Tensor | None = None
    for part in _parts(count, rows[0].shape[1]):
        table = _product(torch.cat([row[:, part] for row in rows]))
        total = table if total is None else total + table
    assert total is not None
    return total.tolist()  # type: ignore[no-any-return]


def _parts(rows: int, columns: int) -> list[slice]:
    """Ranges of columns that fit in double precision, one at least."""
    each = max(DOUBLE_BYTES // (8 * max(rows, 1)), 1)
    return [slice(start, start + each) for start in range(0, max(columns, 1), each)]


def _product(vectors: Tensor) -> Tensor:
    """Their inner products, still on the device. In double precision also because float32 products
    may be made in TF32 on a GPU, where the user's script allowed it: three digits."""
    part = wide(vectors)
    return part @ part.T


def _tables(tables: Sequence[Tensor], count: int) -> list[list[list[float]]]:
    """[count][count] each, read at once."""
    if not tables or not count:
        return []
    first = tables[0].device
    return torch.stack([table.to(first) for table in tables]).tolist()  # type: ignore[no-any-return]


class Piece(NamedTuple):
    """A range of the real numbers of the parameter at a place of a list."""

    at: int
    start: int
    end: int


def blocks(parameters: Sequence[Tensor], columns: int, kept_bytes: int) -> list[list[Piece]]:
    """Runs of parameters whose gradients, `columns` times over, fit; a large one is cut."""
    found: list[list[Piece]] = [[]]
    free = kept_bytes
    for at, parameter in enumerate(parameters):
        each = (8 if parameter.dtype in _DOUBLES else 4) * max(columns, 1)
        count = numbers_in(parameter)
        most, end = max(kept_bytes // each, 1), 0
        while not end or end < count:
            start = end
            if found[-1] and (count - start) * each > free:
                found.append([])
                free = kept_bytes
            end = min(start + most, count)
            found[-1].append(Piece(at, start, end))
            free -= (end - start) * each
            if not end:
                break  # without elements
    return found


def _cut(
    gradients: Sequence[Tensor | None], whole: Sequence[Tensor], block: Sequence[Piece]
) -> list[Tensor]:
    """The pieces of a block, flat. Copied where they are not the whole, which would live on."""
    rows = []
    for gradient, parameter, piece in zip(gradients, whole, block, strict=True):
        flat = _flat(gradient, parameter)
        row = flat[piece.start : piece.end]
        rows.append(row.clone() if gradient is not None and len(row) < len(flat) else row)
    return rows


def _gradient(
    graph: Tensor | None, parameters: Sequence[Tensor], keep: bool, scale: float
) -> Sequence[Tensor | None]:
    """The gradient of a graph; its backward pass runs at the scale, which is taken off again."""
    if graph is None:
        return [None] * len(parameters)
    # in float32, as a scaler multiplies: a scale of 65,536 is infinite in float16
    scaled = graph if scale == 1 else graph.float() * scale
    found = torch.autograd.grad(scaled, list(parameters), retain_graph=keep, allow_unused=True)
    return found if scale == 1 else [None if g is None else g / scale for g in found]


def _scales(terms: Sequence[Term], scale: float) -> list[float]:
    """At which each term's pass runs: as large as in the training's own pass, where its weight is
    in it, so that what overflows there does here, and nothing else."""
    return [scale * term.weight if scale != 1 and term.weight else scale for term in terms]


def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    if gradient is None:
        dtype = torch.float64 if parameter.dtype in _DOUBLES else torch.float32
        return torch.zeros((), dtype=dtype, device=parameter.device).expand(numbers_in(parameter))
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    kept = as_real(gradient.detach()).reshape(-1)
    return kept if kept.dtype in (torch.float32, torch.float64) else kept.float()


def _square(vector: Tensor) -> Tensor:
    return wide(vector).square().sum()
