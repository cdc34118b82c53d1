"""Configs of no known framework that are built on others, leaves that only their base tells, and
what is said of a chain."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from compose_support import BASES, HYDRA, at, composed_at, data, write
from support import run_cli

from gradaudit.compose import opener as opening
from gradaudit.compose.identify import identify
from gradaudit.compose.opener import Opener
from gradaudit.dialects import load
from gradaudit.source import read
from gradaudit.syntax import parse

WARM = "optimizer: adamw\nlr: 1.0e-3\nepochs: 100\nwarmup_epochs: 200\n"
LIGHTNING = (
    "defaults: [_self_, {datamodule: mnist}, {trainer: default}, {model: net}]\n"
    "task_name: train\ntrain: true\nckpt_path: null\nseed: null\n"
)


@pytest.fixture(autouse=True)
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*words: str) -> list[dict[str, Any]]:
    ran = run_cli("check", "--format", "json", *words)
    return [finding for file in json.loads(ran.out)["files"] for finding in file["findings"]]


def codes(*words: str) -> list[str]:
    return [finding["code"] for finding in found(*words)]


@pytest.mark.parametrize(
    "key", ["_base_", "_BASE_", "base_config", "__include__", "includes", "include"]
)
def test_the_base_of_a_plain_config_is_read(repo: Path, key: str) -> None:
    write(repo, {"leaf.yaml": f"{key}: [base.yaml]\nlr: 1.0e-4\n", "base.yaml": WARM})
    [finding] = [f for f in found("leaf.yaml") if f["code"] == "GA203"]
    assert finding["path"] == "base.yaml"


def test_a_base_that_is_not_there_is_no_error_where_no_framework_is_known(repo: Path) -> None:
    write(repo, {"leaf.yaml": f"_base_: gone.yaml\n{WARM}"})
    [finding] = [f for f in found("leaf.yaml") if f["code"] == "GA705"]
    assert finding["severity"] == "info"
    write(repo, {"leaf.yaml": f"include: [gone.yaml, src, '**/*.yaml']\n_base_: net\n{WARM}"})
    assert "GA705" not in codes("leaf.yaml")


@pytest.mark.parametrize("key", ["_base_", "include"])
def test_a_circle_of_plain_configs_is_an_error_of_medium_confidence(repo: Path, key: str) -> None:
    write(repo, {"a.yaml": f"{key}: b.yaml\nlr: 1.0e-3\n", "b.yaml": f"{key}: a.yaml\n{WARM}"})
    [finding] = [f for f in found("a.yaml") if f["code"] == "GA706"]
    assert (finding["severity"], finding["confidence"]) == ("error", "medium")
    assert "GA705" not in codes("a.yaml")


def test_a_file_that_names_its_own_name_means_one_above_it(repo: Path) -> None:
    write(repo, {"run/base.yaml": "include: base.yaml\nlr: 1.0e-3\n", "base.yaml": WARM})
    assert not {"GA705", "GA706"} & set(codes("run/base.yaml"))
    assert "GA203" in codes("run/base.yaml")
    write(repo, {"alone.yaml": f"include: alone.yaml\n{WARM}"})
    assert "GA706" in codes("alone.yaml")


def test_a_defaults_list_of_a_plain_config_is_followed(repo: Path) -> None:
    files = {
        "train.yaml": "defaults: [opt: adam, _self_]\nepochs: 100\nwarmup_epochs: 200\n",
        "opt/adam.yaml": "name: adamw\nlr: 1.0e-3\n",
    }
    write(repo, files)
    plan = json.loads(run_cli("show", "--format", "json", "train.yaml").out)["files"][0]
    assert plan["chain"] == ["train.yaml", "opt/adam.yaml"]
    assert plan["units"][0]["settings"]["learning_rate"]["value"] == 1e-3
    assert "GA203" in codes("train.yaml")


def test_a_section_called_defaults_names_no_files(repo: Path) -> None:
    write(repo, {"a.yaml": f"defaults: [opt: adam, verbose]\n{WARM}"})
    assert "GA705" not in codes("a.yaml")


def test_a_leaf_of_a_hydra_config_is_of_its_dialect(repo: Path) -> None:
    write(repo, {
        "train.yaml": LIGHTNING,
        "leaf.yaml": "defaults: [train, override model: vit]\n",
        "model/vit.yaml": "optimizer: {_target_: torch.optim.AdamW, lr: 1.0e-3}\n",
    })  # fmt: skip
    assert identify(parse(read("train.yaml")), Opener())[1].name == "lightning-hydra"
    assert identify(parse(read("leaf.yaml")), Opener())[1].name == "lightning-hydra"


def test_the_markers_of_a_leaf_and_its_base_add_up(repo: Path) -> None:
    write(repo, {
        "base.yml": "_BASE_: root.yaml\nMODEL: {BACKBONE: {NAME: x}}\n",
        "leaf.yml": "_BASE_: base.yml\nMODEL: {MASK_ON: true}\n",
    })  # fmt: skip
    dialect, why = identify(parse(read("leaf.yml")), Opener())
    assert dialect["name"] == "detectron2"
    assert any("base.yml" in reason for reason in why.reasons)


def test_bases_are_named_with_the_prefix_that_was_typed(repo: Path) -> None:
    write(repo, {"h/a.yaml": "_BASE_: ../h/m/b.yaml\n", "h/m/b.yaml": "x: 1\n"})
    for path, shown in (
        ("./h/a.yaml", "./h/m/b.yaml"), ("h/a.yaml", "h/m/b.yaml"),
        ("./h/../h/a.yaml", "./h/m/b.yaml"), ("../" + repo.name + "/h/a.yaml",
                                             f"../{repo.name}/h/m/b.yaml"),
    ):  # fmt: skip
        assert composed_at(path, BASES).trees[1].source.path == shown
    assert composed_at("./h/a.yaml", BASES).trees[0].source.path == "./h/a.yaml"


def test_the_chain_of_a_finding_names_parents_only(repo: Path) -> None:
    write(repo, {
        "train.yaml": "defaults: [model: resnet, trainer: default]\n",
        "model/resnet.yaml": "depth: 1\n",
        "trainer/default.yaml": "defaults: [warm]\nx: 1\n",
        "trainer/warm.yaml": "y: 1\n",
    })  # fmt: skip
    composed = composed_at("train.yaml", HYDRA)
    by_path = {tree.source.path: tree for tree in composed.trees}
    lines = {
        path: [tree.source.path for tree in composed.lineage(tree)]
        for path, tree in by_path.items()
    }
    assert lines["trainer/default.yaml"] == ["train.yaml", "trainer/default.yaml"]
    assert lines["trainer/warm.yaml"] == ["train.yaml", "trainer/default.yaml", "trainer/warm.yaml"]

    write(repo, {"a.yaml": "_BASE_: [b.yaml, c.yaml]\n", "b.yaml": "x: 1\n",
                 "c.yaml": "_BASE_: d.yaml\n", "d.yaml": "y: 1\n"})  # fmt: skip
    composed = composed_at("a.yaml", BASES)
    assert [tree.source.path for tree in composed.lineage(composed.trees[-1])] == [
        "a.yaml", "c.yaml", "d.yaml",
    ]  # fmt: skip


def test_what_one_config_may_read_is_bounded_in_bytes(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradaudit.compose import chain, hydra

    for room in (chain, hydra):
        monkeypatch.setattr(room, "MOST_BYTES", 2**20)
    names = [f"b{number}.yaml" for number in range(6)]
    write(repo, {name: f"x{name[1]}: 1\n# {'-' * 300_000}\n" for name in names})
    write(repo, {"a.yaml": f"_BASE_: [{', '.join(names)}]\n"})
    write(repo, {"h.yaml": f"defaults: [{', '.join(name[:-5] for name in names)}]\n"})
    for path, dialect in (("a.yaml", BASES), ("h.yaml", HYDRA)):
        opener = Opener()
        composed = composed_at(path, dialect, opener)
        assert {"x0", "x5"} & set(data(composed))
        assert len(opener.trees) == 3
        [missing] = composed.missing
        assert missing.severity == "info"
        assert "more than 1 MiB" in missing.reason
    assert opening.MOST_BYTES == 16 * 2**20


def test_more_bases_than_are_read_are_said_once(repo: Path) -> None:
    names = [f"b{number}.yaml" for number in range(10_000)]
    write(repo, dict.fromkeys(names[:120], "x: 1\n"))
    write(repo, {"list.yaml": f"_BASE_: [{', '.join(names)}]\nSOLVER: {{IMS_PER_BATCH: 16}}\n"})
    composed = composed_at("list.yaml", BASES)
    reasons = [missing.reason for missing in composed.missing]
    assert len(reasons) == len(set(reasons)) <= 2
    assert any("more than 100 files" in reason for reason in reasons)
    assert {f["severity"] for f in found("list.yaml") if f["code"] == "GA705"} == {"info"}


def test_a_list_of_bases_is_a_marker_too(repo: Path) -> None:
    write(repo, {"a.yaml": "_BASE_: [x.yaml]\nMODEL: {WEIGHTS: w, MASK_ON: true}\n"})
    assert identify(parse(read("a.yaml")), Opener())[0] is load("detectron2")


def test_the_advice_fits_the_reason(repo: Path) -> None:
    write(repo, {
        "conf/experiment/big.yaml": "# @package _global_\ndefaults: [override /model: vit]\n"
                                    "lr: 1.0e-3\n",
        "conf/model/vit.yaml": "depth: 1\n",
    })  # fmt: skip
    write(repo, {"gradaudit.toml": 'dialect = "lightning-hydra"\n'})
    [finding] = [f for f in found("conf/experiment/big.yaml") if f["code"] == "GA705"]
    assert finding["message"].startswith("the primary config that this is added to")
    shown = run_cli("check", "--verbose", "conf/experiment/big.yaml").out
    assert "Check the primary config" in shown
    assert "from a directory" not in shown
    assert "model, which was not read" not in run_cli("show", "conf/experiment/big.yaml").out
    names = ", ".join(f"b{number}.yaml" for number in range(60))
    write(repo, {f"b{number}.yaml": "x: 1\n" for number in range(60)})
    write(repo, {"gradaudit.toml": 'dialect = "detectron2"\n',
                 "a.yaml": f"_BASE_: [{names}]\nSOLVER: {{BASE_LR: 0.1}}\n",
                 "run.yaml": "_BASE_: ${name}.yaml\nSOLVER: {BASE_LR: 0.1}\n"})  # fmt: skip
    assert "from a directory" not in run_cli("check", "--verbose", "a.yaml").out
    assert "only the program knows" in run_cli("check", "--verbose", "run.yaml").out


def test_the_unquoted_reference_of_a_python_config_is_the_bases_value(repo: Path) -> None:
    write(repo, {
        "base.py": "lr = 0.5\nopt = dict(type='SGD', lr=0.25)\n",
        "leaf.py": "_base_ = './base.py'\nrate = {{_base_.lr}}\nother = {{_base_.opt.lr}}\n"
                   "no = {{lr}}\n",
    })  # fmt: skip
    composed = composed_at("leaf.py", load("mmengine"))
    values = {}
    for key in ("rate", "other", "no"):
        node, _ = composed.value_of(at(composed, key))
        values[key] = getattr(node, "value", None)
    assert values == {"rate": "0.5", "other": "0.25", "no": None}


def test_a_link_that_leads_nowhere_is_said_to_be_one(repo: Path) -> None:
    os.symlink("gone.yaml", repo / "dangling.yaml")
    said = run_cli("check", "dangling.yaml")
    text = " ".join((said.out + said.err).split())
    assert "it is a link to gone.yaml, which is not there" in text
    assert "did you mean" not in text
