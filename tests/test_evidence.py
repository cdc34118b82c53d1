"""What is learnt from the Python source and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import SAMPLE, audit_text, run_cli

from gradaudit.evidence.observed import Observed
from gradaudit.evidence.python_source import norm_layers
from gradaudit.options import Options
from gradaudit.source import Source


def kinds(code: str) -> list[tuple[str, str]]:
    return [(layer.class_name, layer.kind) for layer in norm_layers(Source("m.py", code))]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import torch.nn as nn\nnn.BatchNorm1d(4)", [("BatchNorm1d", "batch")]),
        ("from torch import nn\nx = [nn.GroupNorm(2, 4), nn.LayerNorm(4)]",
         [("GroupNorm", "group"), ("LayerNorm", "layer")]),
        ("from torch.nn import BatchNorm2d as BN\nBN(4)", [("BatchNorm2d", "batch")]),
        ("import torch\nnorm_layer = torch.nn.BatchNorm2d", [("BatchNorm2d", "batch")]),
        ("from torch import nn\nnn.SyncBatchNorm.convert_sync_batchnorm(m)\nnn.BatchNorm2d(3)",
         [("BatchNorm2d", "sync_batch")]),
        ("from torch import nn\nif isinstance(m, nn.BatchNorm2d): pass", []),
        ("from torch import nn\ndef f(x: nn.BatchNorm2d) -> nn.LayerNorm: ...", []),
        ("BatchNorm1d = 3\nprint(BatchNorm1d)", []),
        ("from torch import nn\nif type(m) is nn.BatchNorm2d or nn.LayerNorm == x: pass", []),
        ("from torch.nn import BatchNorm1d as B, BatchNorm2d\nx = type(m) in (B, BatchNorm2d)", []),
        ("from torch import nn\nmatch m:\n    case nn.BatchNorm3d(): pass", []),
        ("from torch import nn\nok = nn.BatchNorm2d(4)(x) == y", [("BatchNorm2d", "batch")]),
        ("x = 'nn.BatchNorm1d(4)'  # nn.BatchNorm1d(4)", []),
    ],
)  # fmt: skip
def test_normalisation_layers(code: str, found: list[tuple[str, str]]) -> None:
    assert kinds(code) == found


def test_spans_count_characters_behind_non_ascii_text() -> None:
    source = Source("m.py", "é = '→'; nn.BatchNorm1d(4)\n")
    (layer,) = norm_layers(source)
    assert source.text[layer.start : layer.end] == "nn.BatchNorm1d"


def test_the_source_is_never_imported(tmp_path: Path) -> None:
    trap = tmp_path / "model.py"
    trap.write_text("from torch import nn\nraise SystemExit(7)\nnn.BatchNorm1d(1)\n")
    config = tmp_path / "c.yaml"
    config.write_text("optimizer: adamw\nlr: 0.001\nbatch_size: 4\n")
    ran = run_cli("check", str(config), "--source", str(trap), "--format", "concise")
    assert "GA301" in ran.out
    assert ran.code == 1


def test_a_source_that_is_missing_or_no_python_is_a_problem(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("optimizer: adamw\nlr: 0.001\n")
    broken = tmp_path / "broken.py"
    broken.write_text("def (:\n")
    for source, words in ((tmp_path / "none.py", "No such file"), (broken, "line 1")):
        ran = run_cli("check", str(config), "--source", str(source))
        assert ran.code == 2
        assert words in ran.out


TEXT = """\
one:
  optimizer: adamw
  lr: 1.0e-4
  clip_grad_norm: 1.0
two:
  optimizer: sgd
  lr: 0.1
  clip_grad_norm: 1.0
"""


def observed(text: str, norm: float, unit: str | None = None) -> list[tuple[str | None, str, str]]:
    options = Options()
    options.observed = Observed(norm)
    options.unit = unit
    found = audit_text(text, options).findings
    return [(f.unit, f.severity, f.message) for f in found if f.rule.code == "GA101"]


def test_without_a_unit_each_that_clips_is_discussed_and_the_origin_called_unknown() -> None:
    found = observed(TEXT, 20)
    assert [unit for unit, _, _ in found] == ["one", "two"]
    assert all(message.startswith(f"if it is of `{unit}`:") for unit, _, message in found)
    assert [unit for unit, _, _ in observed(TEXT, 20, "two")] == ["two"]


def test_the_optimiser_decides_what_a_clipped_norm_means() -> None:
    assert observed(TEXT, 20, "one")[0][1] == "info"
    assert observed(TEXT, 20, "two")[0][1] == "warning"
    assert observed(TEXT, 0.5, "two") == []


def test_the_sample_says_all_that_is_known_of_28_9(in_root: Path) -> None:
    ran = run_cli(
        "check", SAMPLE, "--observed-grad-norm", "28.9", "--observed-epoch", "3",
        "--unit", "priority_net", "--select", "GA101", columns=140,
    )  # fmt: skip
    text = " ".join(ran.out.split())
    for words in (
        "28.9 at epoch 3 is the norm before clipping, 14 times the threshold 2",
        "that step's gradient was scaled by 0.069",
        "enhanced_training.yaml:85:",
        "Raising the threshold",
        "2.77e-5 if the scheduler steps per epoch, up to 4.08e-5 if it steps per batch",
        "still in the warm-up",
        "Measure the pre-clip norm over 100 steps after the warm-up",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--observed-epoch", "3"], "need --observed-grad-norm"),
        (
            ["--observed-grad-norm", "1", "--observed-epoch", "1", "--observed-step", "2"],
            "one of the two",
        ),
        (["--assume", "nrom=batch"], "did you mean `norm`?"),
        (["--assume", "norm=bogus"], "takes one of batch"),
        (["--assume", "world_size=many"], "takes a number"),
        (["--unit", "priority_net"], "give --observed-grad-norm or --record too"),
        (["--unit", "priority_nett", "--observed-grad-norm", "9"], "did you mean `priority_net`?"),
        (["--set", "nosuch.key=1"], "no section `nosuch`"),
        (["--select", "GA1O1"], "did you mean `GA101`?"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said_with_the_mend(
    words: list[str], message: str, in_root: Path
) -> None:
    ran = run_cli("check", SAMPLE, *words, columns=200)
    assert ran.code == 2
    assert message in ran.out + ran.err


def test_assumptions_fill_what_no_file_says() -> None:
    options = Options()
    options.assume = {"norm": "batch", "micro_batch": "99"}
    found = audit_text("optimizer: adamw\nlr: 0.001\nbatch_size: 4\n", options)
    assert [f.rule.code for f in found.findings] == ["GA301"], "the written batch size wins"
    unit = found.units[0]
    assert (unit.settings["norm"].origin, unit.number("micro_batch")) == ("assumed", 4)


def test_an_override_is_judged_and_never_edited() -> None:
    options = Options()
    options.overrides = [("lr", "1e-3"), ("clip_grad_norm", "-2")]
    result = audit_text("optimizer: adamw\nlr: 1.0e-4\nbatch_size: 4\n", options)
    unit = result.units[0]
    assert (unit.settings["learning_rate"].origin, unit.number("learning_rate")) == (
        "override",
        1e-3,
    )
    (finding,) = [f for f in result.findings if f.rule.code == "GA102"]
    assert finding.fix is None
