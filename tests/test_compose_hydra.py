"""Hydra's defaults lists: our own subset, Hydra itself, and that both agree."""

from __future__ import annotations

import builtins
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from compose_support import HYDRA, composed_at, data, said, write

from gradaudit.compose import hydra_native
from gradaudit.compose.hydra import Library, Lists
from gradaudit.compose.hydra_items import header_of
from gradaudit.compose.opener import Opener
from gradaudit.source import Source, read
from gradaudit.syntax import parse

TEMPLATE = {
    "conf/train.yaml": """
defaults:
  - _self_
  - data: mnist
  - model: net
  - callbacks: [early, late]
  - logger: null
  - optional local: default
  - /paths: here
  - optimizer@model.optim: adam
  - override model/norm: layer
seed: 1
batch: ${data.batch_size}
""",
    "conf/data/mnist.yaml": "batch_size: 64\nworkers: 2\n",
    "conf/model/net.yaml": "defaults:\n  - norm: batch\n  - base\ndepth: 3\nwidth: 4\n",
    "conf/model/base.yaml": "depth: 1\nactivation: relu\n",
    "conf/model/norm/batch.yaml": "kind: batch\n",
    "conf/model/norm/layer.yaml": "kind: layer\n",
    "conf/callbacks/early.yaml": "patience: 3\nboth: early\n",
    "conf/callbacks/late.yaml": "swa: true\nboth: late\n",
    "conf/paths/here.yaml": "# @package _global_\nroot: /tmp\npaths: {logs: x}\n",
    "conf/optimizer/adam.yaml": "lr: 1e-3\nbetas: [0.9, 0.999]\n",
    "conf/optimizer/sgd.yaml": "lr: 0.1\n",
    "conf/experiment/big.yaml": """# @package _global_
defaults:
  - override /optimizer@model.optim: sgd
  - override /data: mnist
seed: 2
data: {batch_size: 512}
""",
}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "repo"


def order(path: Path, opener: Opener | None = None) -> list[tuple[str, str]]:
    library = Library(parse(read(str(path))), opener or Opener())
    return [(Path(name).stem if name.startswith("/") else name, package)
            for name, package, _ in Lists(library).all()]  # fmt: skip


def test_a_template(repo: Path) -> None:
    write(repo, TEMPLATE)
    composed = composed_at(repo / "conf/train.yaml", HYDRA)
    assert not composed.missing
    found = data(composed)
    found.pop("defaults")
    assert found == {
        "seed": 1,
        "batch": "${data.batch_size}",
        "data": {"batch_size": 64, "workers": 2},
        "model": {
            "norm": {"kind": "layer"}, "depth": 3, "activation": "relu", "width": 4,
            "optim": {"lr": "1e-3", "betas": [0.9, 0.999]},
        },
        "callbacks": {"patience": 3, "both": "late", "swa": True},
        "root": "/tmp",
        "paths": {"logs": "x"},
    }  # fmt: skip
    text, note = said(composed, "batch")
    assert (text, note) == ("64", f"from ${{data.batch_size}}, {repo / 'conf/data/mnist.yaml'}:1")
    owner = {tree.source.path: composed.mounts[id(tree)] for tree in composed.trees}
    assert owner[str(repo / "conf/optimizer/adam.yaml")] == ("model", "optim")
    assert composed.roots[0].end == composed.tree.roots[0].end


def test_a_config_that_is_added_to_another_one(repo: Path) -> None:
    write(repo, TEMPLATE)
    composed = composed_at(repo / "conf/experiment/big.yaml", HYDRA)
    found = data(composed)
    assert found["data"] == {"batch_size": 512, "workers": 2}
    assert found["model"] == {"optim": {"lr": 0.1}}
    [missing] = composed.missing
    assert missing.severity == "info"
    assert "added to" in missing.path
    assert "not named" in missing.reason


def test_its_own_content_comes_last_by_default(repo: Path) -> None:
    write(repo, {"a.yaml": "defaults: [b]\nx: a\n", "b.yaml": "x: b\n"})
    assert data(composed_at(repo / "a.yaml", HYDRA))["x"] == "a"
    write(repo, {"a.yaml": "defaults: [_self_, b]\nx: a\n"})
    assert data(composed_at(repo / "a.yaml", HYDRA))["x"] == "b"


def test_relative_groups_and_packages(repo: Path) -> None:
    write(repo, {
        "conf/actor/dp.yaml": "defaults:\n  - ../optim@optim: fsdp\n  - actor\n  - _self_\nk: 1\n",
        "conf/actor/actor.yaml": "clip: 1.0\noptim: {lr: 1.0e-6, warmup: -1}\n",
        "conf/optim/fsdp.yaml": "lr: 1.0e-3\nwd: 0.01\nbase: ${.wd}\n",
    })  # fmt: skip
    composed = composed_at(repo / "conf/actor/dp.yaml", HYDRA)
    found = data(composed)
    assert found["optim"] == {"lr": 1e-6, "wd": 0.01, "base": "${.wd}", "warmup": -1}
    assert found["clip"] == 1.0
    assert said(composed, "optim.base")[0] == "0.01"


def test_a_group_that_is_used_twice_is_read_once(repo: Path) -> None:
    write(repo, {
        "a.yaml": "defaults:\n  - db@src: x\n  - db@dst: x\ndst: {port: 2}\n",
        "db/x.yaml": "port: 1\nhost: h\n",
    })  # fmt: skip
    composed = composed_at(repo / "a.yaml", HYDRA)
    found = data(composed)
    assert found["src"] == {"port": 1, "host": "h"}
    assert found["dst"] == {"port": 2, "host": "h"}
    assert len(composed.trees) == 2


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        ("model: gone", "model/gone", "registered in Python"),
        ("gone", "gone", "registered in Python"),
        ("model: ???", "model/???", "given at launch"),
        ("model: ${size}_net", "model/${size}_net", "depends on"),
        ("model: '${oc.env:HOME}'", "model/${oc.env:HOME}", "depends on"),
        ("model: ../../../outside", "model/../../../outside", "outside"),
        ("/../../outside@x: y", "../../outside/y", "outside"),
        ("model: broken", "model/broken", "line"),
    ],
)
def test_what_is_not_read(repo: Path, entry: str, path: str, words: str) -> None:
    write(repo, {
        "a.yaml": f"defaults:\n  - {entry}\nx: 1\n", "model/net.yaml": "y: 1\n",
        "model/broken.yaml": "[",
    })  # fmt: skip
    write(repo.parent, {"outside.yaml": "secret: 1\n", "outside/y.yaml": "secret: 1\n"})
    composed = composed_at(repo / "a.yaml", HYDRA)
    [missing] = composed.missing
    assert missing.path == path
    assert words in missing.reason
    assert missing.severity == ("error" if words == "line" else "info")
    assert data(composed)["x"] == 1


@pytest.mark.parametrize(
    "entry",
    [
        "optional model: gone", "model: null", "override hydra/launcher: slurm",
        "hydra/job_logging: colorlog", "optional model: null", "_self_",
    ],
)  # fmt: skip
def test_what_is_not_missed(repo: Path, entry: str) -> None:
    write(repo, {"a.yaml": f"defaults:\n  - {entry}\nx: 1\n"})
    composed = composed_at(repo / "a.yaml", HYDRA)
    assert not composed.missing
    assert composed.roots is composed.tree.roots


def test_a_circle_is_an_error(repo: Path) -> None:
    write(
        repo,
        {"a.yaml": "defaults: [b]\n", "b.yaml": "defaults: [c]\n", "c.yaml": "defaults: [b]\n"},
    )
    [missing] = composed_at(repo / "a.yaml", HYDRA).missing
    assert (missing.kind, missing.severity) == ("cycle", "error")
    assert "b.yaml" in missing.reason
    assert "c.yaml" in missing.reason


def test_lists_that_double_end(repo: Path) -> None:
    write(repo, {f"c{n}.yaml": f"defaults: [c{n + 1}, c{n + 1}]\n" for n in range(18)})
    composed = composed_at(repo / "c0.yaml", HYDRA)
    assert composed.missing


def test_the_search_path_is_followed_where_it_is_a_directory(repo: Path) -> None:
    write(repo, {
        "examples/conf/a.yaml": "hydra:\n  searchpath:\n    - file://lib/config\n    - pkg://other.conf\n"
                                "defaults:\n  - trainer\n  - _self_\n  - gone\nx: 1\n",
        "lib/config/trainer.yaml": "defaults:\n  - opt: adam\nx: 2\ny: 2\n",
        "lib/config/opt/adam.yaml": "lr: 3\n",
    })  # fmt: skip
    composed = composed_at(repo / "examples/conf/a.yaml", HYDRA)
    found = data(composed)
    assert (found["x"], found["y"], found["opt"]) == (1, 2, {"lr": 3})
    [missing] = composed.missing
    assert "pkg://other.conf" in missing.reason


def test_the_root_is_the_nearest_directory_with_the_groups(repo: Path) -> None:
    write(repo, {
        "conf/exp/deep/a.yaml": "defaults:\n  - /model: net\n  - extra\nx: 1\n",
        "conf/model/net.yaml": "d: 1\n", "conf/exp/deep/extra.yaml": "e: 1\n",
        "model/net.yaml": "d: 2\n",
    })  # fmt: skip
    found = data(composed_at(repo / "conf/exp/deep/a.yaml", HYDRA))
    assert found["model"] == {"d": 1}
    assert found["e"] == 1


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("# @package _global_\nx: 1\n", "_global_"), ("\n#  @package  a.b\n", "_global_.a.b"),
        ("# @package _group_\n", None), ("# a comment\n# @package a\n", None), ("x: 1\n", None),
        ("# @package: a\n", None), ("# @package _global_.q\n", "_global_.q"),
    ],
)  # fmt: skip
def test_headers(text: str, package: str | None) -> None:
    assert header_of(parse(Source("a.yaml", text))) == package


@pytest.mark.parametrize(
    "text",
    ["defaults: {a: b}\n", "defaults: x\n", "defaults: [1, [2], {}, null]\n", "defaults:\n",
     "defaults: [{a: {b: c}}]\n", "- defaults\n", "defaults: [{? [a] : b}]\n"],
)  # fmt: skip
def test_what_is_no_list_of_defaults(repo: Path, text: str) -> None:
    write(repo, {"a.yaml": text})
    composed_at(repo / "a.yaml", HYDRA)


def test_without_a_place_everything_is_missing() -> None:
    from gradaudit.compose import compose

    composed = compose(parse(Source("a.yaml", "defaults: [b, {m: n}]\n")), HYDRA, None)
    assert [missing.severity for missing in composed.missing] == ["info", "info"]


class TestHydraItself:
    """What the `hydra` extra adds, and that it says the same where both know."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("hydra")

    def test_names_that_refer_to_other_choices(self, repo: Path) -> None:
        write(repo, {
            "a.yaml": "defaults:\n  - server: apache\n  - db: ${server}_db\n  - _self_\nx: 1\n",
            "server/apache.yaml": "port: 1\n", "db/apache_db.yaml": "rows: 7\n",
        })  # fmt: skip
        composed = composed_at(repo / "a.yaml", HYDRA)
        assert data(composed)["db"] == {"rows": 7}
        assert not composed.missing

    def test_no_resolver_reaches_it(self, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PICK", "x")
        write(repo, {
            "a.yaml": "defaults:\n  - s: x\n  - db: ${s}_db\n  - t: '${oc.env:PICK}'\n",
            "s/x.yaml": "p: 1\n", "db/x_db.yaml": "r: 7\n", "t/x.yaml": "u: 1\n",
        })  # fmt: skip
        composed = composed_at(repo / "a.yaml", HYDRA)
        assert "t" not in data(composed)
        assert {missing.path for missing in composed.missing} == {"db/${s}_db", "t/${oc.env:PICK}"}

    def test_it_opens_nothing_outside(self, repo: Path) -> None:
        write(repo.parent, {"x_db.yaml": "secret: 1\n"})
        write(repo, {
            "a.yaml": "defaults:\n  - s: x\n  - db: ../../${s}_db\n", "s/x.yaml": "p: 1\n",
        })  # fmt: skip
        composed = composed_at(repo / "a.yaml", HYDRA)
        assert "secret" not in str(data(composed))
        assert [missing.path for missing in composed.missing] == ["db/../../${s}_db"]

    def test_without_it_our_own_subset_answers(
        self, repo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(repo, {"a.yaml": "defaults:\n  - s: x\n  - db: ${s}_db\n", "s/x.yaml": "p: 1\n"})
        real = builtins.__import__

        def without_hydra(name: str, *rest: Any, **named: Any) -> Any:
            if name.partition(".")[0] == "hydra":
                raise ImportError(name)
            return real(name, *rest, **named)

        for name in [name for name in sys.modules if name.partition(".")[0] == "hydra"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", without_hydra)
        composed = composed_at(repo / "a.yaml", HYDRA)
        assert data(composed)["s"] == {"p": 1}
        assert [missing.path for missing in composed.missing] == ["db/${s}_db"]

    def test_it_is_not_imported_where_our_own_subset_knows(
        self, repo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(repo, TEMPLATE)
        monkeypatch.setattr(hydra_native, "ask_hydra", lambda _: pytest.fail("Hydra was asked"))
        assert not composed_at(repo / "conf/train.yaml", HYDRA).missing

    def test_the_template_is_what_hydra_composes(self, repo: Path) -> None:
        write(repo, TEMPLATE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from hydra import compose, initialize_config_dir
            from omegaconf import OmegaConf

            with initialize_config_dir(str(repo / "conf"), version_base="1.3"):
                whole = OmegaConf.to_container(compose("train"))
        assert isinstance(whole, dict)
        whole["model"]["optim"]["lr"] = "1e-3"  # its loader reads a number
        found = data(composed_at(repo / "conf/train.yaml", HYDRA))
        found.pop("defaults")
        assert found == whole

    def test_both_agree_on_random_trees(self, repo: Path) -> None:
        """Of those that Hydra composes at all: our own subset goes on where it stops."""
        rng = random.Random(5)
        agreed = 0
        for number in range(150):
            directory = repo / str(number)
            write(directory, _random_configs(rng))
            tree = parse(read(str(directory / "main.yaml")))
            opener = Opener()
            asked = hydra_native.ask_hydra(Library(tree, opener))
            if asked is None:
                continue
            lists = Lists(Library(tree, opener))
            assert lists.all() == asked[0], directory
            assert not lists.missing
            agreed += len(asked[0]) > 1
        assert agreed > 20


GROUPS = ("a", "b", "a/c", "b/d")


def _random_configs(rng: random.Random) -> dict[str, str]:
    files = {"main.yaml": _random_config(rng, 0.95)}
    for group in GROUPS:
        for option in ("x", "y"):
            files[f"{group}/{option}.yaml"] = _random_config(rng, 0.3)
    return files


def _random_config(rng: random.Random, often: float) -> str:
    header = rng.choice(["", "", "", "# @package _global_\n", "# @package r.s\n"])
    items = []
    for _ in range(rng.randint(0, 3) if rng.random() < often else 0):
        package = rng.choice(
            ["", "", "", "@p", "@_global_", "@_here_", "@_group_.z", "@_global_.q"]
        )
        if rng.random() < 0.15:
            items.append(rng.choice(["x", "/a/x", "/b/y", "c/x"]) + package)
        else:
            group = rng.choice(["", "/"]) + rng.choice(GROUPS)
            option = rng.choice(["x", "y", "x", "null", "[x, y]"])
            items.append(f"{rng.choice(['', 'optional '])}{group}{package}: {option}")
    if rng.random() < 0.5:
        items.insert(rng.randint(0, len(items)), "_self_")
    if items and rng.random() < 0.25:
        items.append(f"override /{rng.choice(GROUPS)}: {rng.choice(['x', 'y', 'null'])}")
    listed = "defaults:\n" + "".join(f"  - {item}\n" for item in items) if items else ""
    return f"{header}{listed}v: {rng.randint(0, 9)}\n"
