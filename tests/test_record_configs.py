"""Whether the config is still that of the record: by its content, else by its time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from probe_support import LOOP, PYTHON, needs, probe, read
from record_support import clip_config, lognormal, optimizer, steps, write_record
from support import run_cli

from gradaudit.evidence.record import content_digest
from gradaudit.probe.configs import config_digests, named_configs

CONFIG = clip_config("sgd", "0.1", "1.0")
LATER = 4_000_000_000


def record_beside(folder: Path, configs: list[dict[str, str]]) -> Path:
    """A config with the time of a checkout after the run, and its record."""
    (folder / "train.yaml").write_text(CONFIG)
    os.utime(folder / "train.yaml", (LATER, LATER))
    entries = [optimizer("SGD"), *steps(lognormal(120, 5.0), 1.0, rate=0.05)]
    return write_record(folder / "r", entries, configs=configs)


def checked(folder: Path, record: Path, name: str = "train.yaml") -> dict[str, Any]:
    ran = run_cli("check", str(folder / name), "--record", str(record), "--format", "json")
    (file,) = json.loads(ran.out)["files"]
    return {finding["code"]: finding for finding in file["findings"]}


def entry(content: str, path: str = "conf/train.yaml") -> list[dict[str, str]]:
    return [{"path": path, "sha256": content_digest(content.encode())}]


@pytest.mark.parametrize(
    ("configs", "same"),
    [
        (entry(CONFIG), True),
        (entry(CONFIG.replace("\n", "\r\n")), True),  # another checkout's ends of lines
        (entry(CONFIG, "old-name.yaml"), True),
        (entry(CONFIG + "epochs: 3\n"), False),
        (entry(CONFIG + "epochs: 3\n", "other.yaml"), False),
        ([], False),
    ],
)
def test_the_same_content_is_the_same_config(
    tmp_path: Path, configs: list[dict[str, str]], same: bool
) -> None:
    found = checked(tmp_path, record_beside(tmp_path, configs))
    assert found["GA901"]["severity"] == ("warning" if same else "info")
    changed = any("changed after the record" in text for text in found["GA901"]["evidence"])
    assert changed is not same


@pytest.mark.parametrize(
    ("configs", "why"),
    [
        (entry(CONFIG + "epochs: 3\n"), "its content is not that which the run had"),
        ([], "by its time alone, which a fresh checkout changes too"),
        (entry(CONFIG), None),
    ],
)
def test_the_screen_says_how_it_is_known(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configs: list[dict[str, str]],
    why: str | None,
) -> None:
    record_beside(tmp_path, configs)
    monkeypatch.chdir(tmp_path)
    ran = run_cli("check", "train.yaml", "--record", "r")
    out = " ".join(ran.out.split())
    shown = json.loads(run_cli("check", "train.yaml", "--record", "r", "--format", "json").out)
    changed = shown["files"][0]["record"]["config_changed"]
    assert changed is None if why is None else changed.startswith(why)
    assert (f"config changed after the record was made ({why}" in out) is (why is not None)
    assert max(map(len, ran.out.splitlines())) <= 80


def test_loss_weights_of_the_same_content_let_the_clip_be_mended(tmp_path: Path) -> None:
    """A checkout that makes the file younger withholds neither the fix nor the verdict."""
    config = CONFIG + "loss_weights:\n  ce: 1.0\n  mse: 1.0\n"
    for configs, fixed in ((entry(config), True), ([], False)):
        record = record_beside(tmp_path, configs)
        (tmp_path / "train.yaml").write_text(config)
        os.utime(tmp_path / "train.yaml", (LATER, LATER))
        assert (checked(tmp_path, record)["GA931"]["fix"] is not None) is fixed


def test_which_files_of_a_command_are_configs(tmp_path: Path) -> None:
    for name in ("c.yaml", "d.json", "train.py", "d.bin"):
        (tmp_path / name).write_text(name)
    (tmp_path / "huge.json").write_bytes(b" " * ((1 << 22) + 1))
    command = ["python", "train.py", "--config=c.yaml", "d.json", "x.yaml", "d.bin", "huge.json"]
    found = config_digests(named_configs(command, str(tmp_path), None))
    assert [one["path"] for one in found] == ["train.py", "c.yaml", "d.json"]
    assert found[1]["sha256"] == content_digest(b"c.yaml")
    assert named_configs(["torchrun"], None, "x.yaml") == [("x.yaml", "x.yaml")]


BASE = {
    "_base_": ("_base_: [base.yaml]\n", "base.yaml"),  # mmengine and its kin
    "_BASE_": ("_BASE_: base.yaml\n", "base.yaml"),  # detectron2
    "defaults": ("defaults: [base, _self_]\n", "base.yaml"),  # Hydra
    "inherit": ("base_config: base.yaml\n", "base.yaml"),
}


def based(folder: Path, key: str) -> tuple[Path, Path]:
    """A config that is built on another, each with the time of a fresh checkout."""
    line, name = BASE[key]
    base, leaf = folder / name, folder / "train.yaml"
    base.write_text("optimizer: sgd\ngradient_clip_norm: 1.0\n")
    leaf.write_text(line + "learning_rate: 0.1\n")
    for path in (base, leaf):
        os.utime(path, (LATER, LATER))
    return base, leaf


@pytest.mark.parametrize("key", BASE)
def test_the_digests_of_the_whole_chain_are_kept(tmp_path: Path, key: str) -> None:
    base, leaf = based(tmp_path, key)
    assert config_digests([("c/train.yaml", str(leaf))]) == [
        {"path": "c/train.yaml", "sha256": content_digest(leaf.read_bytes())},
        {
            "path": str(base),
            "sha256": content_digest(base.read_bytes()),
            "base_of": "c/train.yaml",
        },
    ]


def test_the_settings_say_which_files_a_config_is_built_on(tmp_path: Path) -> None:
    """Under `deepspeed` only a dialect that knows the key has a file."""
    leaf, base = tmp_path / "train.yaml", tmp_path / "ds.json"
    leaf.write_text("learning_rate: 0.1\noptim: sgd\ndeepspeed: ds.json\n")
    base.write_text('{"gradient_clipping": 1.0}')
    assert [one["path"] for one in config_digests([("c", str(leaf))])] == ["c"]
    (tmp_path / "gradaudit.toml").write_text('[dialect]\n"*.yaml" = "hf-trainer"\n')
    assert [one["path"] for one in config_digests([("c", str(leaf))])] == ["c", str(base)]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("nothing", None),
        ("leaf", "was changed after the record was made (its content is not"),
        ("base", "base.yaml, which it is built on, is not that which the run had"),
        ("gone", "may have been changed after the record was made ("),
        ("unknown", "base.yaml, which it is built on, by its time alone"),
    ],
)
def test_a_changed_base_is_a_changed_config(tmp_path: Path, what: str, why: str | None) -> None:
    base, leaf = based(tmp_path, "_base_")
    configs = config_digests([("train.yaml", str(leaf))])
    if what == "leaf":
        leaf.write_text(leaf.read_text() + "epochs: 3\n")
    elif what == "base":
        base.write_text(base.read_text() + "epochs: 3\n")
    elif what == "gone":
        base.unlink()
    elif what == "unknown":
        del configs[1:]
    entries = [optimizer("SGD"), *steps(lognormal(120, 5.0), 1.0, rate=0.05)]
    found = checked(tmp_path, write_record(tmp_path / "r", entries, configs=configs))["GA901"]
    assert found["severity"] == ("warning" if why is None else "info")
    assert (
        any(why in text for text in found["evidence"]) if why else "changed after" not in str(found)
    )
    if what == "gone":
        assert "is not found from here" in str(found["evidence"])
        out = run_cli("check", str(leaf), "--record", str(tmp_path / "r")).out
        assert "may have been changed after the record was made" in " ".join(out.split())


def test_a_file_that_cannot_be_read_keeps_no_run_from_starting(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "loop.yaml").write_text("_base_: [loop.yaml]\nlearning_rate: 0.1\n")
    (tmp_path / "alone.yaml").write_text("_base_: [nowhere.yaml]\nlearning_rate: 0.1\n")
    for name in ("broken.yaml", "loop.yaml", "alone.yaml"):
        found = config_digests([(name, str(tmp_path / name))])
        assert [one["path"] for one in found] == [name]


@pytest.mark.torch
@needs("torch")
def test_a_probe_keeps_what_the_config_was(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "c.yaml").write_text("_base_: [base.yaml]\n" + CONFIG)
    (tmp_path / "base.yaml").write_text("epochs: 3\n")
    probe(
        tmp_path, "--steps", "4", "--config", "c.yaml", "--output", "r",
        "--", PYTHON, "loop.py", "0",
    )  # fmt: skip
    header = read(tmp_path / "r" / "rank-0.jsonl").header
    assert {one["path"]: one["sha256"] for one in header["configs"]} == {
        "c.yaml": content_digest(b"_base_: [base.yaml]\n" + CONFIG.encode()),
        "base.yaml": content_digest(b"epochs: 3\n"),
        "loop.py": content_digest(LOOP.encode()),
    }


ENTRY = """
import torch
from gradaudit.probe.protocol import Training

def build(config):
    x = torch.randn(64, 4)
    batches = [(x[i : i + 8], x[i : i + 8, :1]) for i in range(0, 64, 8)]
    def losses(model, batch):
        return {"mse": (torch.nn.functional.mse_loss(model(batch[0]), batch[1]), 1.0)}
    return Training(torch.nn.Linear(4, 1), batches, losses)
"""


@pytest.mark.torch
@needs("torch")
def test_a_dry_run_keeps_the_bases_that_its_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of `--config`, not those that lie beside the file."""
    monkeypatch.chdir(tmp_path)
    Path("entry.py").write_text(ENTRY)
    Path("train.yaml").write_text("learning_rate: 0.1\noptim: sgd\ndeepspeed: ds.json\n")
    Path("ds.json").write_text('{"gradient_clipping": 1.0}')
    Path("elsewhere").mkdir()
    Path("elsewhere/own.toml").write_text('[dialect]\n"*.yaml" = "hf-trainer"\n')
    kept = {}
    for name, options in (("with", ["--config", "elsewhere/own.toml"]), ("without", [])):
        words = ["train.yaml", "--entry", "entry.py:build", "--steps", "3", "-o", name, *options]
        ran = run_cli("dryrun", *words)
        assert ran.code in (0, 1), ran.err
        kept[name] = [one["path"] for one in read(Path(name) / "rank-0.jsonl").header["configs"]]
    assert kept == {"with": ["train.yaml", "ds.json"], "without": ["train.yaml"]}
