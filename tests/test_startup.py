"""What a command loads: a plain check must not pay for what it does not use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import read_terminal

from gradaudit.syntax import yaml_reader

ROOT = Path(__file__).resolve().parent.parent
MARK = "modules: "
CONFIG = "optimizer: adamw\nlearning_rate: 1e-4\nbatch_size: 32\n"

PROGRAM = f"""
import sys
from gradaudit.__main__ import main
code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.write({MARK!r} + " ".join(sys.modules) + "\\n")
sys.exit(code)
"""

NEVER = (
    "torch", "ruamel", "jinja2", "pydantic", "typer", "click", "rich", "dataclasses", "inspect",
    "typing", "json", "pathlib", "difflib", "importlib.metadata", "asyncio", "pathspec",
    "statistics", "textwrap", "tomllib", "traceback", "argparse", "tempfile", "subprocess",
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "configs" / "train.yaml"
    path.parent.mkdir()
    path.write_text(CONFIG, encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    """The caller's, without what would change colours or coverage of start-up."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm"}


def modules_of(*words: str, cwd: Path, code: int) -> set[str]:
    """The modules in memory when a command has ended with the exit code `code`."""
    # -S: an environment may load anything at start-up (.pth files of editable installs).
    ran = subprocess.run(
        [sys.executable, "-S", "-c", site_paths() + PROGRAM, *words],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(MARK)
    return set(last.removeprefix(MARK).split())


def site_paths() -> str:
    return f"import sys\nsys.path[:] = {sys.path!r}\n"


def loaded(modules: set[str], names: tuple[str, ...]) -> set[str]:
    return {name for name in names if name in modules}


@pytest.mark.parametrize("style", ["full", "concise"])
def test_a_plain_check_loads_nothing_heavy(config: Path, style: str) -> None:
    modules = modules_of("check", "--format", style, config.name, cwd=config.parent, code=1)
    assert not loaded(modules, NEVER)
    assert ("yaml" in modules) is (yaml_reader.flat_events is None)


def test_a_clean_file_loads_no_frames_and_no_fixes(config: Path) -> None:
    config.write_text(CONFIG.replace("1e-4", "1.0e-4"), encoding="utf-8")
    modules = modules_of("check", config.name, cwd=config.parent, code=0)
    assert not loaded(modules, NEVER)
    assert not {name for name in modules if name.startswith("gradaudit.fix")}
    assert "gradaudit.render.frame" not in modules
    assert "gradaudit.suppress" not in modules
    assert not {name for name in modules if name.startswith("gradaudit.evidence.")}
    assert "ast" not in modules
    assert not {name for name in modules if "record" in name}


def test_a_source_that_is_named_is_read_by_ast_alone(config: Path) -> None:
    (config.parent / "train.py").write_text("import torch\n", encoding="utf-8")
    words = ("check", config.name, "--source", "train.py")
    modules = modules_of(*words, cwd=config.parent, code=1)
    assert {"ast", "gradaudit.evidence.python_source"} <= modules
    assert not loaded(modules, ("torch", "inspect", "tokenize", "rich", "typer"))


def test_a_directory_without_gitignore_loads_nothing_more(config: Path) -> None:
    modules = modules_of("check", ".", cwd=config.parent, code=1)
    assert not loaded(modules, NEVER)


def test_pathspec_is_loaded_by_the_first_gitignore(config: Path) -> None:
    (config.parent / ".git").mkdir()
    (config.parent / ".gitignore").write_text("*.json\n", encoding="utf-8")
    modules = modules_of("check", ".", cwd=config.parent, code=1)
    assert "pathspec" in modules


def test_json_is_loaded_to_write_json(config: Path) -> None:
    modules = modules_of("check", "--format", "json", config.name, cwd=config.parent, code=1)
    assert loaded(modules, NEVER) == {"json"}


@pytest.mark.parametrize(
    ("name", "text", "needs"),
    [
        ("train.json", '{"optimizer": "adamw", "lr": 1e-4}', set()),
        ("train.jsonc", '{"optimizer": "adamw", "lr": 1e-4} // c', set()),
        ("train.toml", "optimizer = 'adamw'\nlr = 1e-4\n", set()),
        ("train.toml", "optimizer = 'adamw'\nlr = 1_0e-5\n", {"tomllib"}),
    ],
)
def test_other_formats_load_what_they_need(
    config: Path, name: str, text: str, needs: set[str]
) -> None:
    (config.parent / name).write_text(text, encoding="utf-8")
    modules = modules_of("check", name, cwd=config.parent, code=0)
    assert "yaml" not in modules
    assert loaded(modules, NEVER) - {"typing"} == needs  # tomllib itself imports typing


def test_settings_without_plugins_ask_for_no_entry_points(config: Path) -> None:
    text = 'extend-select = ["GA7"]\nmin-confidence = "low"\n'
    (config.parent / "gradaudit.toml").write_text(text, encoding="utf-8")
    modules = modules_of("check", config.name, cwd=config.parent, code=1)
    assert "gradaudit.plugins" not in modules
    assert loaded(modules, NEVER) == {"tomllib", "typing"}  # tomllib itself imports typing


@pytest.mark.parametrize("words", [["--version"], ["-V"]])
def test_the_version_loads_the_entry_point_only(config: Path, words: list[str]) -> None:
    modules = modules_of(*words, cwd=config.parent, code=0)
    ours = {name for name in modules if name.partition(".")[0] == "gradaudit"}
    ours -= {"gradaudit.syntax", "gradaudit.syntax.flat_events"}  # whether it can be loaded is said
    assert ours == {"gradaudit", "gradaudit.__main__"}
    assert "yaml" not in modules


def test_what_goes_through_typer_does_not_load_rich_or_pydantic(config: Path) -> None:
    """typer 0.29 loads pydantic for every command; before 0.20 it loads rich."""
    modules = modules_of("show", config.name, cwd=config.parent, code=0)
    assert "typer" in modules
    assert not loaded(modules, ("pydantic", "rich", "torch", "jinja2"))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_rich_draws_on_a_terminal(config: Path) -> None:
    master, slave = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", site_paths() + PROGRAM, "check", config.name],
        cwd=config.parent,
        env=environment(),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(slave)
        drawn = read_terminal(master)
        assert process.stderr is not None
        modules = process.stderr.read().splitlines()[-1].removeprefix(MARK).split()
    assert process.returncode == 1
    assert "rich" in modules
    assert re.search(r"\x1b\[[0-9;]*m", drawn)
    assert "GA702" in drawn


def test_the_help_of_probe_loads_nothing_of_the_probe(config: Path) -> None:
    modules = modules_of("probe", "--help", cwd=config.parent, code=0)
    assert "torch" not in modules
    assert not {name for name in modules if name.startswith("gradaudit.probe")}
