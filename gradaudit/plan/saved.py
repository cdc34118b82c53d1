"""The config that a run saved beside its checkpoints, where a config resumes from one of them."""

from __future__ import annotations

import os

from gradaudit.compose import compose
from gradaudit.compose.opener import NotOpened, is_inside
from gradaudit.plan.build import build_units
from gradaudit.plan.linked import Pair
from gradaudit.source import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.compose.opener import Opener
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.syntax.tree import Tree

_NAMES = (
    "config.yaml", "config.yml", "args.yaml", "hparams.yaml", "training_args.yaml", "opt.yaml",
    "train_config.yaml", os.path.join(".hydra", "config.yaml"), "config.json",
)  # fmt: skip
"""What trainers call the settings that they save: LightningCLI, detectron2, OLMo, nanotron
(config.yaml), timm (args.yaml), Lightning's loggers (hparams.yaml), LLaMA-Factory's board
(training_args.yaml), YOLOv5 (opt.yaml), hydra."""

_ABOVE = 3
"""The directory of the checkpoint, and two above it: `version_0/checkpoints/last.ckpt`."""

_CHECKPOINTS = (".ckpt", ".pt", ".pth", ".tar", ".bin", ".safetensors", ".pdparams")


def saved_pairs(units: list[TrainingUnit], opener: Opener) -> Iterator[Pair]:
    """Each training that resumes another, beside the plan that this one was saved with.

    The same program saved it, so it is read as the config is. Only inside the boundary of the
    config, and never in the directory where it stands itself, which holds configs of other runs.
    Nothing of what is read flows into the plan.
    """
    for unit in units:
        setting = unit.settings.get("resume")
        if setting is None or not isinstance(setting.value, str):
            continue
        tree = _saved(setting.value, unit.composed.tree.source.path, opener)
        if tree is None:
            continue
        try:
            others = build_units(compose(tree, unit.composed.dialect, opener))
        except Unreadable:
            continue
        same = [other for other in others if other.name == unit.name]
        if len(units) == len(others) == 1:
            same = others
        for other in same[:1]:
            yield Pair(unit, other, "saved", setting.key, setting.place)


def _saved(written: str, path: str, opener: Opener) -> Tree | None:
    folder = written.rstrip("/")
    if folder.lower().endswith(_CHECKPOINTS):
        folder = os.path.dirname(folder)
    own = opener.real(os.path.dirname(path) or os.curdir)
    for _ in range(_ABOVE):
        if not folder:
            return None
        try:
            directory = opener.find_directory(folder, path)
            if directory is not None and not is_inside(own, opener.real(directory)):
                for name in _NAMES:
                    candidate = os.path.join(directory, name)
                    if opener.exists(candidate, path):
                        return opener.open(candidate)
        except NotOpened:
            return None
        folder = os.path.dirname(folder)
    return None
