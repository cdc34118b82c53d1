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


@pytest.mark.torch
@needs("torch")
def test_a_probe_keeps_what_the_config_was(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "c.yaml").write_text(CONFIG)
    probe(
        tmp_path, "--steps", "4", "--config", "c.yaml", "--output", "r",
        "--", PYTHON, "loop.py", "0",
    )  # fmt: skip
    header = read(tmp_path / "r" / "rank-0.jsonl").header
    assert {one["path"]: one["sha256"] for one in header["configs"]} == {
        "c.yaml": content_digest(CONFIG.encode()),
        "loop.py": content_digest(LOOP.encode()),
    }
