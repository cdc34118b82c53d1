"""The interpreter of dialects on small dialects of its own: conditions and units."""

from __future__ import annotations

from typing import Any

from gradaudit.compose import compose
from gradaudit.compose.model import Composed
from gradaudit.dialects import GENERIC
from gradaudit.dialects.compile import TIMES, compile_dialect
from gradaudit.plan.formulas import add_by_formula
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


def test_what_follows_a_prefix_is_read_and_the_whole_is_never_replaced() -> None:
    settings = {
        "learning_rate": [{"path": "lr", "prefix": "lin_"}, "lr"],
        "scheduler": {"from": {"path": "lr", "prefix": "lin_", "flags": {"*": "linear"}}},
        "weight_decay": {"from": {"path": "args[]", "prefix": "weight_decay="}},
        "betas": {"from": {"path": "args[]", "prefix": "betas="}},
    }
    text = "{lr: lin_2.5e-4, args: ['eps=1', 'weight_decay=0.1', 'betas=0.9,0.99']}"
    unit = units_of(text, settings=settings)["main"]
    assert unit.number("learning_rate") == 2.5e-4
    assert unit.settings["learning_rate"].node is None
    assert not unit.settings["learning_rate"].is_text
    assert unit.settings["scheduler"].value == "linear"
    assert unit.number("weight_decay") == 0.1
    assert unit.settings["betas"].value == (0.9, 0.99)
    plain = units_of("{lr: 0.1}", settings=settings)["main"]
    assert plain.number("learning_rate") == 0.1
    assert plain.settings["learning_rate"].node is not None
    assert "scheduler" not in plain.settings


def test_a_formula_divides_by_settings() -> None:
    settings = {
        "global_batch": "total",
        "micro_batch": "micro",
        "world_size": "gpus",
        "accumulation": {"compute": {"of": "global_batch", "over": ["micro_batch", "world_size"]}},
    }

    def computed(text: str) -> TrainingUnit:
        unit = units_of(text, settings=settings)["main"]
        assert unit.computes is not None
        add_by_formula(unit, unit.computes)
        return unit

    steps = computed("{total: 64, micro: 4, gpus: 2}").settings["accumulation"]
    assert steps.value == 8
    assert steps.note == "global_batch / micro_batch / world_size"
    unknown = computed("{total: 64, micro: 4}")
    assert "world_size is not known" in unknown.unknown["accumulation"]
    assert "accumulation" not in computed("{total: 64, micro: 0, gpus: 2}").settings


def test_a_condition_on_the_same_item_looks_at_that_item_alone() -> None:
    hooks = [
        {"path": "hooks[].momentum", "when": {"hooks[].type": "EMAHook"}, "one_minus": True},
        {"path": "nets.*.decay", "unless": {"nets.*.ema": ["absent", False]}},
    ]
    settings = {"ema_decay": {"from": hooks}}
    text = "{hooks: [{type: Sync, momentum: 1}, {type: EMAHook, momentum: 0.25}, {type: Log}]}"
    assert units_of(text, settings=settings)["main"].number("ema_decay") == 0.75
    text = "{nets: {a: {decay: 0.5}, b: {ema: true, decay: 0.9}, c: {ema: false, decay: 0.1}}}"
    assert units_of(text, settings=settings)["main"].number("ema_decay") == 0.9
    assert not units_of("{hooks: [{momentum: 1}]}", settings=settings)["main"].settings


def test_a_formula_rounds_to_a_whole_number() -> None:
    settings: dict[str, Any] = {
        "_batch": "batch", "_nominal": "nbs",
        "accumulation": {"compute": {"of": "_nominal", "over": ["_batch"], "rounded": True}},
    }  # fmt: skip
    for batch, steps in ((24, 3), (64, 1), (256, 1)):
        unit = units_of(f"{{batch: {batch}, nbs: 64}}", settings=settings)["main"]
        assert unit.computes is not None
        add_by_formula(unit, unit.computes)
        assert unit.number("accumulation") == steps


def test_the_first_entry_of_a_path_that_says_something_has_its_say() -> None:
    settings = {
        "optimizer": [
            {"path": "optim", "when": {"decouple": "false"}, "values": {"adam": "adam"}},
            {"path": "optim", "values": {"adam": "adamw"}},
        ],
        "length": "duration",
    }
    plain = units_of("{optim: Adam, decouple: false, duration: 2e12T}", settings=settings)["main"]
    assert plain.settings["optimizer"].value == "adam"
    assert plain.others.get("optimizer", []) == []
    assert plain.number("total_tokens") == 2e12
    decoupled = units_of("{optim: Adam}", settings=settings)["main"]
    assert decoupled.settings["optimizer"].value == "adamw"


def test_a_linked_file_that_is_not_there_hides_only_what_stands_below_its_key() -> None:
    settings = {
        "clip_norm": {"from": ["ds.clip"], "absent": {"value": 1.0, "source": "x.py"}},
        "accumulation": {"from": ["steps"], "absent": {"value": 1, "source": "x.py"}},
    }
    raw = {
        "name": "small", "title": "Small", "recognise": {"x": 10}, "loader": {"kind": "json"},
        "compose": {"links": [{"key": "ds", "relative_to": "search"}]}, "settings": settings,
    }  # fmt: skip
    dialect = compile_dialect(raw, "small.yaml", GENERIC["kinds"] | TIMES)
    composed = compose(parse(Source("config.yaml", "{ds: ds.json, lr: 1}")), dialect, None)
    assert [missing.path for missing in composed.missing] == ["ds.json"]
    unit = units_by_paths(composed)[0]
    assert unit.number("accumulation") == 1
    assert "it may be in ds.json" in unit.unknown["clip_norm"]


def test_a_condition_may_look_at_the_name_of_the_file() -> None:
    default = {"value": 0.5, "source": "x.py", "when": {"<file>": ["config", "ppo"]}}
    settings = {"clip_norm": {"absent": default}}
    assert units_of("{lr: 1}", settings=settings)["main"].number("clip_norm") == 0.5
    default["when"] = {"<file>": "dqn"}
    assert "clip_norm" not in units_of("{lr: 1}", settings=settings)["main"].settings


def test_items_are_counted() -> None:
    settings = {"world_size": {"from": [{"path": "gpus", "count": True}, "gpus"]}}
    for text, devices in {"[0, 3]": 2, '"0,1,2,"': 3, "4": 4}.items():
        unit = units_of(f"{{gpus: {text}}}", settings=settings)["main"]
        assert unit.number("world_size") == devices, text


def test_a_pair_may_stand_for_other_values_and_a_condition_may_ask_for_a_tag() -> None:
    found = units_of(
        "b: 0.8\nopt: !name:torch.optim.Adam\n  betas: [!ref <b>, 0.99]\n",
        interpolation="hyperpyyaml",
        units=[{"at": "opt"}],
        settings={
            "betas": "@.betas",
            "weight_decay": {
                "absent": {"value": 0.0, "when": {"@": "!name:torch.optim.Adam"}, "source": "x"}
            },
        },
    )
    assert found["main"].settings["betas"].value == (0.8, 0.99)
    assert found["main"].number("weight_decay") == 0.0


def test_a_star_may_stand_for_the_name_of_the_unit() -> None:
    accumulation = {
        "from": {"path": "steps.*", "in_unit": "*"},
        "absent": {"value": 1, "source": "x.py"},
    }
    found = units_of(
        "{steps: {a: 4}, opt: {a: {lr: 1}, b: {lr: 2}}}",
        units=[{"at": "opt.*", "named": "always"}],
        settings={"accumulation": accumulation},
    )
    assert {name: unit.number("accumulation") for name, unit in found.items()} == {"a": 4, "b": 1}


def test_a_flag_may_ask_for_a_section() -> None:
    precision = {"from": {"path": "fp16", "flags": {"a section": "fp16-mixed", None: "fp32"}}}
    for text, wanted in (("{init: 1}", "fp16-mixed"), ("{}", "fp16-mixed"), ("null", "fp32")):
        unit = units_of(f"{{fp16: {text}}}", settings={"precision": precision})["main"]
        assert unit.settings["precision"].value == wanted


def test_weights_in_a_list_are_named_by_the_list_beside_them() -> None:
    terms = {"terms": [{"path": "loss.coef[]", "named_by": "loss.types[].type"}]}
    text = "{loss: {coef: [1, 0.5, 0.25], types: [{type: Dice}, {type: Focal}]}}"
    unit = units_of(text, loss_terms=terms)["main"]
    weights = {term.name: term.weight for term in unit.loss_terms}
    assert weights == {"Dice": 1, "Focal": 0.5, "2": 0.25}
