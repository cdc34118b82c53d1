"""How key paths of a dialect become settings: what each entry of a dialect file does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradaudit.audit import audit_path, audit_source
from gradaudit.compose.model import Composed, Missing
from gradaudit.dialects import GENERIC
from gradaudit.dialects.compile import TIMES, compile_dialect, extended, markers
from gradaudit.dialects.paths import steps
from gradaudit.dialects.schema import BadDialect
from gradaudit.options import Options
from gradaudit.plan.build import build_units
from gradaudit.plan.facts import add_facts
from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.values import read_value
from gradaudit.settings import Finder, Settings
from gradaudit.source import Source
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain


def dialect(text: str, **more: Any) -> dict[str, Any]:
    """A table made of the `settings:` of a dialect file."""
    raw = plain(parse(Source("d.yaml", text)).roots[0])
    assert isinstance(raw, dict)
    whole: dict[str, Any] = {
        "name": "d", "title": "D", "recognise": {}, "loader": {"kind": "yaml11"}, **more,
    }  # fmt: skip
    whole.update(raw if "settings" in raw else {"settings": raw})
    return compile_dialect(whole, "d.yaml", GENERIC["kinds"] | TIMES)


def units(table: dict[str, Any], config: str) -> list[TrainingUnit]:
    composed = Composed(parse(Source("c.yaml", config)), table)
    found = build_units(composed)
    add_facts(found, "c.yaml", Options(), Settings())
    return found


def unit(settings: str, config: str, **more: Any) -> TrainingUnit:
    (only,) = units(dialect(settings, **more), config)
    return only


def value(settings: str, config: str, name: str = "learning_rate") -> Any:
    return unit(settings, config).settings[name].value


def test_a_path_has_steps() -> None:
    assert steps("a.b[].c") == ["a", "b", "[]", "c"]
    assert steps("lr[0]") == ["lr", "[0]"]
    assert steps("a\\.b.c") == ["a.b", "c"]


def test_the_first_path_that_is_there_is_in_force_and_the_rest_are_others() -> None:
    found = unit("learning_rate: [a.lr, lr]", "lr: 2.0\na: {lr: 1.0}\n")
    assert found.settings["learning_rate"].value == 1.0
    assert found.settings["learning_rate"].key == "a.lr"
    assert [other.value for other in found.others["learning_rate"]] == [2.0]


def test_of_equal_keys_the_last_is_in_force() -> None:
    found = unit("learning_rate: lr", "lr: 1.0\nlr: 2.0\n")
    assert found.settings["learning_rate"].value == 2.0
    assert [other.value for other in found.others["learning_rate"]] == [1.0]


def test_lists_and_stars() -> None:
    assert value("learning_rate: 'lr[0]'", "lr: [0.5, 0.1]") == 0.5
    assert value("learning_rate: 'groups[].lr'", "groups: [{x: 1}, {lr: 0.2}]") == 0.2
    assert value("learning_rate: '*.lr'", "a: 1\nb: {lr: 0.3}") == 0.3
    assert unit("learning_rate: 'lr[0]'", "lr: [0.5]").settings["learning_rate"].key == "lr.0"


def test_a_dash_in_a_file_is_an_underscore() -> None:
    assert value("learning_rate: base_lr", "base-lr: 0.5") == 0.5


@pytest.mark.parametrize(
    ("config", "wanted"),
    [("clip: 5.0", 5.0), ("clip: 0", None), ("clip: 0.0", None), ("clip: -1", None),
     ("clip: null", None), ("clip: false", None), ("{}", 1.0)],
)  # fmt: skip
def test_off_and_absent(config: str, wanted: float | None) -> None:
    settings = "clip_norm: {from: clip, off: [0, -1, false], absent: 1.0, source: x.py}"
    assert value(settings, config, "clip_norm") == wanted
    origin = "default" if config == "{}" else "written"
    assert unit(settings, config).settings["clip_norm"].origin == origin


def test_what_the_framework_chooses_is_unknown() -> None:
    settings = "micro_batch: {from: bs, auto: [-1], absent: 8, source: x.py}"
    for text in ("auto", "-1", "???"):
        found = unit(settings, f"bs: {text}")
        assert "micro_batch" not in found.settings
        assert "leaves it" in found.unknown["micro_batch"]


def test_flags_and_values() -> None:
    settings = """
precision:
  from:
    - {path: bf16, flags: {true: bf16-mixed, auto: unknown}}
    - {path: fp16, flags: {true: fp16-mixed}}
  absent: fp32
  source: x.py
optimizer: {from: {path: opt, values: {adam: adamw}}}
"""
    assert value(settings, "bf16: true\nfp16: true", "precision") == "bf16-mixed"
    assert value(settings, "bf16: no\nfp16: yes", "precision") == "fp16-mixed"
    assert value(settings, "bf16: false", "precision") == "fp32"
    assert "precision" not in unit(settings, "bf16: auto").settings
    assert value(settings, "opt: Adam", "optimizer") == "adamw"
    assert value(settings, "opt: torch.optim.SGD", "optimizer") == "sgd"


def test_conditions() -> None:
    settings = """
clip_norm:
  from: {path: clip, when: {kind: [norm, absent]}}
  absent: {value: null, source: x.py, when: {kind: norm}}
clip_value: {from: {path: clip, when: {kind: value, on: present}}}
"""
    assert value(settings, "clip: 1.0", "clip_norm") == 1.0
    assert value(settings, "clip: 1.0\nkind: Norm", "clip_norm") == 1.0
    found = unit(settings, "clip: 1.0\nkind: value\non: 1")
    assert found.settings["clip_value"].value == 1.0
    assert "clip_norm" not in found.settings
    assert not unit(settings, "clip: 1.0\nkind: value").settings
    assert value(settings, "kind: norm", "clip_norm") is None


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [("100ba", "warmup_steps", 100), ("2ep", "warmup_epochs", 2), ("0.02dur", "warmup_ratio", 0.02),
     ("8388608000tok", "warmup_tokens", 8388608000), ("500", "warmup_steps", 500)],
)  # fmt: skip
def test_time_strings(text: str, name: str, wanted: float) -> None:
    assert value("warmup: t_warmup", f"t_warmup: {text}", name) == wanted


def test_a_fraction_may_be_another_setting() -> None:
    settings = "warmup_steps: {from: {path: w, fraction_as: warmup_ratio}}"
    assert value(settings, "w: 0.1", "warmup_ratio") == 0.1
    assert value(settings, "w: 100", "warmup_steps") == 100


def test_other_names_units_and_factors() -> None:
    settings = """
warmup_steps:
  from:
    - {path: t, when: {units: tokens}, as: warmup_tokens}
    - {path: t}
dropout: {from: {path: percent, scale: 0.01}}
micro_batch: {from: {path: max_tokens, unit: tokens}}
"""
    found = unit(settings, "t: 50\nunits: tokens\npercent: 10\nmax_tokens: 4096")
    assert found.settings["warmup_tokens"].value == 50
    assert found.settings["dropout"].value == pytest.approx(0.1)
    assert found.settings["micro_batch"].unit == "tokens"
    assert unit(settings, "t: 50").settings["warmup_steps"].value == 50


def test_a_tag_names_the_optimizer() -> None:
    settings = "optimizer: {from: {path: opt, tag: true}}"
    assert value(settings, "opt: !name:torch.optim.AdamW\n  lr: 0.1\n", "optimizer") == "adamw"


def test_formulas() -> None:
    settings = """
base_learning_rate: base_lr
micro_batch: bs
accumulation: {absent: 1, source: x.py}
world_size: gpus
learning_rate: {compute: {of: [base_learning_rate, micro_batch, world_size], over: 512}}
_share: share
min_learning_rate:
  compute: {of: [_share, learning_rate]}
"""
    found = unit(settings, "base_lr: 0.1\nbs: 64\ngpus: 8\nshare: 0.5")
    assert found.settings["learning_rate"].value == pytest.approx(0.1)
    assert found.settings["learning_rate"].origin == "computed"
    assert found.settings["min_learning_rate"].value == pytest.approx(0.05)
    found = unit(settings, "base_lr: 0.1\nbs: 64")
    assert "learning_rate" not in found.settings
    assert "world_size is not known" in found.unknown["learning_rate"]
    assert "learning_rate" not in unit(settings, "bs: 64").unknown


def test_formulas_may_stand_in_any_order() -> None:
    settings = """
learning_rate: {compute: {of: [base_learning_rate, world_size]}}
base_learning_rate: lr
world_size: {compute: {of: [_nodes, _devices]}}
_nodes: nodes
_devices: devices
"""
    found = unit(settings, "lr: 0.1\nnodes: 2\ndevices: 4")
    assert found.settings["world_size"].value == 8
    assert found.settings["learning_rate"].value == pytest.approx(0.8)
    assert "learning_rate" not in found.unknown


def test_a_root_in_a_formula() -> None:
    settings = """
base_learning_rate: lr
global_batch: bs
learning_rate: {compute: {of: base_learning_rate, root_of: global_batch, root_over: 1024}}
"""
    assert unit(settings, "lr: 0.004\nbs: 4096").settings["learning_rate"].value == 0.008


TWO = """
settings: {learning_rate: '@.lr', micro_batch: bs, optimizer: {from: '@.type'}}
units: [{at: train.g}, {at: train.d}]
"""


def test_units_share_what_stands_outside() -> None:
    g, d = units(dialect(TWO), "bs: 4\ntrain: {g: {lr: 0.1, type: Adam}, d: {lr: 0.2}}")
    assert (g.name, d.name) == ("g", "d")
    assert (g.settings["learning_rate"].value, d.settings["learning_rate"].value) == (0.1, 0.2)
    assert d.settings["micro_batch"].value == 4
    assert "optimizer" not in d.settings


def test_a_unit_alone_is_the_file() -> None:
    (only,) = units(dialect(TWO), "bs: 4\ntrain: {g: {lr: 0.1}}")
    assert only.name == "main"
    assert only.settings["learning_rate"].value == 0.1
    named = TWO.replace("{at: train.g}", "{at: '*', named: always}").replace(", {at: train.d}", "")
    (only,) = units(dialect(named), "CartPole-v1: {lr: 0.1}")
    assert only.name == "CartPole-v1"


def test_loss_terms() -> None:
    settings = """
settings: {}
loss_terms:
  by_design: true
  terms: [{path: train.c_mel, name: mel, role: primary}, 'weights.*', '*.loss_weight']
"""
    found = unit(settings, "train: {c_mel: 45}\nweights: {ce: 1, kd: 0.5}\npix: {loss_weight: 2}")
    assert [(t.name, t.weight, t.role) for t in found.loss_terms] == [
        ("mel", 45, "primary"), ("ce", 1, "primary"), ("kd", 0.5, "auxiliary"),
        ("pix", 2, "unknown"),
    ]  # fmt: skip
    assert found.terms_by_design


def test_nothing_is_taken_for_absent_where_a_base_was_not_read() -> None:
    table = dialect("clip_norm: {from: clip, absent: 1.0, source: x.py}")
    tree = parse(Source("c.yaml", "a: 1"))
    composed = Composed(tree, table)
    composed.missing.append(Missing(tree, tree.roots[0], "base.yaml", "it is gone", "error"))
    (only,) = build_units(composed)
    assert "base.yaml" in only.unknown["clip_norm"]
    assert "clip_norm" not in only.settings


def test_loaders_decide_what_is_text() -> None:
    for loader, is_text in (("yaml11", True), ("omegaconf", False), ("coerced", False)):
        found = unit("learning_rate: lr", "lr: 1e-4", loader={"kind": loader})
        assert found.settings["learning_rate"].value == 1e-4
        assert found.settings["learning_rate"].is_text is is_text


def test_a_vocabulary_is_completed_by_paths() -> None:
    table = dialect("""
settings:
  clip_norm: {from: trainer.clip, off: [0], absent: {value: null, source: x.py}}
  learning_rate: model.optim.lr
vocabulary:
  never: [max_iter]
  keys: {learning_rate: [adam_lr]}
""")
    (only,) = units(table, "model: {optim: {lr: 0.1, name: sgd}}\nmax_iter: 3\nbatch_size: 4")
    assert only.settings["learning_rate"].value == 0.1
    assert only.settings["optimizer"].value == "sgd"
    assert only.settings["micro_batch"].value == 4
    assert only.settings["clip_norm"].value is None
    assert "total_steps" not in only.settings
    (only,) = units(table, "adam_lr: 0.2\ngradient_clip_val: 0")
    assert only.settings["learning_rate"].value == 0.2
    assert only.settings["clip_norm"].value is None


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("nosuch: x", "nosuch: no canonical setting"),
        ("learning_rate: {from: {key: lr}}", "unknown entry `key`"),
        ("learning_rate: {from: {off: 0}}", "each takes `path:`"),
        ("learning_rate: {absent: 1.0}", "a default names its `source:`"),
        ("learning_rate: {from: {path: lr, as: nosuch}}", "no canonical setting is called"),
        ("learning_rate: {compute: {over: 2}}", "takes `of:`"),
        ("learning_rate: 5", "takes a path"),
    ],
)
def test_a_wrong_dialect_is_refused_with_the_mend(settings: str, problem: str) -> None:
    with pytest.raises(BadDialect, match=problem):
        dialect(settings)


def test_a_dialect_extends_another() -> None:
    base = {"name": "a", "settings": {"seed": "s", "epochs": "e"}, "interpolation": "omegaconf"}
    raw = {"name": "b", "extends": "a", "settings": {"seed": None, "dropout": "d"}}
    whole = extended(raw, {"a": base, "b": raw})
    assert whole["settings"] == {"epochs": "e", "dropout": "d"}
    assert whole["interpolation"] == "omegaconf"
    with pytest.raises(BadDialect, match="there is no dialect `c`"):
        extended({"name": "b", "extends": "c"}, {})


def test_markers_are_sorted_by_where_they_are_looked_for() -> None:
    table = markers([{"name": "d", "recognise": {
        "a.b=x|Y": 3, "**.deep": 4, "!tag:": 5, "# text": 6, "file:*.x": 7, "*.steps": 8,
    }}])  # fmt: skip
    assert table["paths"] == {"a.b": "d 3=x|Y", "a": ">"}
    assert table["deep"] == {"deep": "d 4"}
    assert table["below"] == {"steps": "d 8"}
    assert table["tags"] == (("!tag:", "d", 5),)
    assert table["comments"] == (("# text", "d", 6),)
    assert table["files"] == (("*.x", "d", 7),)


def test_a_linked_file_of_deepspeed_says_what_the_trainer_leaves_out(tmp_path: Path) -> None:
    """What both write the trainer decides; where the file is missing, nothing is a default."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "ds.json").write_text(
        '{"optimizer": {"type": "Lamb", "params": {"lr": 0.002}}, "gradient_clipping": 0.3}'
    )
    config = "deepspeed: %s\nper_device_train_batch_size: 4\nnum_train_epochs: 3\n"
    for name, text in (
        ("linked.yaml", config % "ds.json" + "learning_rate: 0.001\n"),
        ("missing.yaml", config % "none.json"),
    ):
        (tmp_path / name).write_text(text)
    linked = audit_path(str(tmp_path / "linked.yaml"), Options(), Finder(isolated=True)).units[0]
    assert (linked.settings["optimizer"].value, linked.settings["optimizer"].origin) == (
        "lamb",
        "inherited",
    )
    assert linked.settings["clip_norm"].value == 0.3
    assert linked.settings["clip_norm"].leaf is None, "nothing can be overridden beside the link"
    assert linked.settings["learning_rate"].value == 0.001
    assert [other.value for other in linked.others["learning_rate"]] == [0.002]
    missing = audit_path(str(tmp_path / "missing.yaml"), Options(), Finder(isolated=True)).units[0]
    assert "none.json" in missing.unknown["clip_norm"]
    assert not {"optimizer", "betas", "accumulation"} & set(missing.settings)


def test_a_text_that_names_no_precision_is_unknown() -> None:
    assert read_value("precision", "lr_c", GENERIC, "yaml") == "'lr_c' names no precision"
    assert read_value("precision", "bf16-mixed", GENERIC, "yaml") == ("bf16-mixed", False)


def test_files_that_few_keys_tell_are_recognised() -> None:
    timm = (
        "model: resnet50\nopt: adamw\nlr: 0.001\nweight_decay: 0.05\nbatch_size: 64\namp: true\n"
        "sched: cosine\naa: x\nsmoothing: 0.1\nmodel_ema: true\nwarmup_epochs: 5\n"
    )
    old = '[model]\nflavor="8B"\n[training]\nbatch_size=1\nseq_len=8\nmax_norm=1.0\nsteps=9\n'
    for name, text, expected in (("a.yaml", timm, "timm"), ("a.toml", old, "torchtitan")):
        result = audit_source(Source(name, text), Options(), Settings())
        assert result.recognised is not None
        assert result.recognised.name == expected
