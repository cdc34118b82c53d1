"""Facts from the training's Python source, read with `ast` and never imported or run.

Which normalisation layers there are, and what shows of the loop: losses that are accumulated
undivided, gradients that are clipped while scaled or after the step, schedules that Accelerate
steps too often.
"""

from __future__ import annotations

import ast
from functools import lru_cache

from gradaudit.evidence.python_accelerate import prepared_schedules
from gradaudit.evidence.python_accumulation import undivided_losses
from gradaudit.evidence.python_clips import late_clips, scaled_clips
from gradaudit.evidence.python_code import Code
from gradaudit.evidence.training_code import TrainingCode
from gradaudit.source import Source

_LAYERS = {
    "BatchNorm1d": "batch", "BatchNorm2d": "batch", "BatchNorm3d": "batch",
    "LazyBatchNorm1d": "batch", "LazyBatchNorm2d": "batch", "LazyBatchNorm3d": "batch",
    "SyncBatchNorm": "sync_batch", "FrozenBatchNorm2d": "frozen_batch",
    "GroupNorm": "group", "LayerNorm": "layer", "RMSNorm": "rms",
    "InstanceNorm1d": "instance", "InstanceNorm2d": "instance", "InstanceNorm3d": "instance",
}  # fmt: skip


class NormLayer:
    """One use of a normalisation layer: its class, its kind (`batch`, `group`, ...), its span."""

    __slots__ = ("class_name", "end", "kind", "start")

    def __init__(self, class_name: str, kind: str, start: int, end: int) -> None:
        self.class_name = class_name
        self.kind = kind
        self.start = start
        self.end = end


def read_training(source: Source) -> TrainingCode:
    """All that a file shows.

    Raises:
        SyntaxError, ValueError, RecursionError: not Python that `ast` can parse.
    """
    return _shown(source.text).at(source)


@lru_cache(maxsize=8)
def _shown(text: str) -> TrainingCode:
    """By the text alone: many configs may name one file, which is read for each and parsed once."""
    source = Source("", text)
    tree = ast.parse(text)
    found = TrainingCode(source)
    found.norms = norm_layers(source, tree)
    if "backward" not in text and "prepare" not in text:
        return found  # a model alone: no loop to read
    try:
        _add_loops(found, Code(source, tree))
    except RecursionError:  # nested as no loop of a training is: generated, and none is in it
        return found
    return found


def _add_loops(found: TrainingCode, code: Code) -> None:
    found.undivided = list(undivided_losses(code))
    found.scaled_clips = list(scaled_clips(code))
    found.late_clips = list(late_clips(code))
    found.schedules = list(prepared_schedules(code))
    found.optimizer = _optimizer(code)


def _optimizer(code: Code) -> str:
    """The class of `torch.optim` that the file makes, where it makes one only."""
    found = set()
    for scope in code.scopes:
        for call in scope.calls:
            package, _, name = code.resolve(call.node.func).rpartition(".")
            if package.startswith("torch.optim") and "lr_scheduler" not in package:
                found.add(name)
    return found.pop() if len(found) == 1 else ""


def norm_layers(source: Source, tree: ast.Module | None = None) -> list[NormLayer]:
    """Every place where a normalisation class is used (called, passed or assigned), in file order.

    Names are followed through imports (`import torch.nn as nn`, `from torch.nn import
    BatchNorm1d as BN`), so that a class of another library with the same name is still found but
    a local variable is not. `SyncBatchNorm.convert_sync_batchnorm(...)` turns every batch norm
    into a synchronised one.

    Raises:
        SyntaxError, ValueError, RecursionError: not Python that `ast` can parse.
    """
    tree = tree or ast.parse(source.text)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                if name.name in _LAYERS:
                    aliases[name.asname or name.name] = name.name
    asked_about = _only_asked_about(tree)
    found: list[NormLayer] = []
    converted = False
    for node in ast.walk(tree):
        if id(node) in asked_about:
            continue
        class_name = None
        if isinstance(node, ast.Attribute):
            if node.attr == "convert_sync_batchnorm":
                converted = True
            elif node.attr in _LAYERS and isinstance(node.value, (ast.Name, ast.Attribute)):
                class_name = node.attr
        elif isinstance(node, ast.Name) and node.id in aliases:
            class_name = aliases[node.id]
        if class_name and isinstance(node, (ast.Attribute, ast.Name)):
            start, end = _span(node, source)
            found.append(NormLayer(class_name, _LAYERS[class_name], start, end))
    if converted:
        found = [layer for layer in found if layer.class_name != "SyncBatchNorm"]
        for layer in found:
            if layer.kind == "batch":
                layer.kind = "sync_batch"
    return sorted(found, key=lambda layer: layer.start)


def _only_asked_about(tree: ast.AST) -> set[int]:
    """`isinstance(m, nn.BatchNorm2d)`, `type(m) is nn.BatchNorm2d`, `case nn.BatchNorm2d():` and
    annotations name a layer without making one."""
    asked: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("isinstance", "issubclass"):
                asked.extend(node.args[1:])
        elif isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                names = [operand]
                if isinstance(operand, (ast.Tuple, ast.List, ast.Set)):
                    names = operand.elts
                asked.extend(name for name in names if isinstance(name, (ast.Name, ast.Attribute)))
        elif isinstance(node, ast.MatchClass):
            asked.append(node.cls)
        elif isinstance(node, (ast.AnnAssign, ast.arg)):
            asked.extend([node.annotation] if node.annotation else [])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns:
            asked.append(node.returns)
    return {id(inner) for outer in asked for inner in ast.walk(outer)}


def _span(node: ast.expr, source: Source) -> tuple[int, int]:
    """`ast` counts columns in UTF-8 bytes; spans here are in characters."""

    def offset(line: int, column: int) -> int:
        text = source.line(line)
        return source.offset(line) + len(text.encode()[:column].decode(errors="replace"))

    end_line = node.end_lineno or node.lineno
    end_column = node.end_col_offset if node.end_col_offset is not None else node.col_offset
    return offset(node.lineno, node.col_offset), offset(end_line, end_column)
