"""The interpreter of dialects on small dialects of its own: conditions and units."""

from __future__ import annotations

from typing import Any

from gradaudit.compose.model import Composed
from gradaudit.dialects import GENERIC
from gradaudit.dialects.compile import TIMES, compile_dialect
from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.units import units_by_paths
from gradaudit.source import Source
from gradaudit.syntax import parse


def units_of(text: str, **entries: Any) -> dict[str, TrainingUnit]:
    """The units of a text in a dialect made of these entries."""
    raw = {
        "name": "small", "title": "Small", "recognise": {"x": 10}, "loader": {"kind": "json"},
        **entries,
    }  # fmt: skip
    dialect = compile_dialect(raw, "small.yaml", GENERIC["kinds"] | TIMES)
    composed = Composed(parse(Source("config.yaml", text)), dialect)
    return {unit.name: unit for unit in units_by_paths(composed)}


def test_an_entry_does_not_count_unless() -> None:
    settings = {
        "learning_rate": {"from": {"path": "lr", "unless": {"schedule": ["noam", "rex"]}}},
        "base_learning_rate": {"from": {"path": "lr", "when": {"schedule": "noam"}}},
        "clip_norm": {"absent": {"value": 1.0, "source": "x.py", "unless": {"clip": "absent"}}},
    }
    noam = units_of("{lr: 2.0, schedule: Noam, clip: 1}", settings=settings)["main"]
    assert noam.number("learning_rate") is None
    assert noam.number("base_learning_rate") == 2.0
    assert noam.number("clip_norm") == 1.0
    cosine = units_of("{lr: 2.0, schedule: cosine}", settings=settings)["main"]
    assert cosine.number("learning_rate") == 2.0
    assert "clip_norm" not in cosine.settings


def test_keys_with_values_mark_units_whose_settings_stand_side_by_side() -> None:
    units = [{"at": "lr_gen", "name": "gen"}, {"at": "lr_disc", "name": "disc"}]
    settings = {
        "learning_rate": [
            {"path": "lr_gen", "in_unit": "gen"}, {"path": "lr_disc", "in_unit": "disc"},
        ],
        "micro_batch": "batch",
    }  # fmt: skip
    found = units_of("{lr_disc: 1, lr_gen: 2, batch: 8}", units=units, settings=settings)
    assert list(found) == ["disc", "gen"]
    assert [unit.number("learning_rate") for unit in found.values()] == [1, 2]
    assert [unit.number("micro_batch") for unit in found.values()] == [8, 8]
    alone = units_of("{lr_gen: 2}", units=units, settings=settings)
    assert {name: unit.number("learning_rate") for name, unit in alone.items()} == {"main": 2}


def test_a_value_marks_no_unit_that_has_no_name() -> None:
    found = units_of("{a: 1, b: {lr: 2}, c: {lr: 3}}", units=[{"at": "*"}])
    assert list(found) == ["b", "c"]


def test_a_tag_says_which_sections_are_units() -> None:
    text = """\
opt: !name:torch.optim.Adam
  lr: 1
decay: !name:torch.optim.lr_scheduler.StepLR
  lr: 2
model: {lr: 3}
other: !name:torch.optim.SGD
  lr: 4
"""
    found = units_of(
        text,
        units=[{"at": "*", "tag": "!name:torch.optim.[A-Z]*"}],
        settings={
            "learning_rate": "@.lr",
            "optimizer": {"from": {"path": "@", "tag": True}},
        },
    )
    assert [unit.settings["optimizer"].value for unit in found.values()] == ["adam", "sgd"]
    assert {name: unit.number("learning_rate") for name, unit in found.items()} == {
        "opt": 1, "other": 4,
    }  # fmt: skip
