"""Plugins: the package of docs/plugins.md, really built, installed and found by entry points."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, run_cli

from gradaudit import dialects, plugins
from gradaudit.dialects import plugged, recognise
from gradaudit.dialects.compiled.markers import BASE_KEYS
from gradaudit.rules import RULES, load
from gradaudit.settings import BadSettings
from gradaudit.settings import load as load_settings

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
CONFIG = """\
acme:
  version: 3
optim:
  kind: adamw
  peak: 3.0
  clip: 1.0
feed:
  per_gpu: 12
"""
PLAIN = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 12\n"

BACKEND = '''
"""A build backend that needs nothing: a wheel is a zip file."""
import pathlib, tomllib, zipfile

def _wheel(directory):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    info = f"{stem}.dist-info"
    points = "".join(
        f"[{group}]\\n" + "".join(f"{name} = {value}\\n" for name, value in table.items())
        for group, table in project.get("entry-points", {}).items()
    )
    metadata = f"Metadata-Version: 2.1\\nName: {project['name']}\\nVersion: {project['version']}\\n"
    tags = "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    path = pathlib.Path(directory) / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in sorted(pathlib.Path(".").glob("*/**/*")):
            if file.suffix in (".py", ".yaml"):
                wheel.write(file)
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/entry_points.txt", points)
        wheel.writestr(f"{info}/RECORD", "")
    return path.name

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory)
'''


SHORT = {
    "project": "pyproject.toml",
    "rules": "gradaudit_acme/rules.py",
    "dialect": "gradaudit_acme/dialects/acme-trainer.yaml",
}


def example() -> dict[str, str]:
    """File -> text of the package in docs/plugins.md."""
    blocks = re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    found = dict(blocks)
    assert set(found) == set(SHORT.values())
    empty = ("gradaudit_acme/__init__.py", "gradaudit_acme/dialects/__init__.py")
    return found | dict.fromkeys(empty, "")


def package_at(folder: Path, files: dict[str, str]) -> Path:
    """The sources of a package, with a build backend that needs no other package."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    project = folder / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    own = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n\n'
    project.write_text(own + text[text.index("[project]") :], encoding="utf-8")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package into a directory on the path, for one test; what it brings is forgotten
    afterwards, as when the process ends."""
    target = tmp_path / "site"
    target.mkdir()
    monkeypatch.syspath_prepend(str(target))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    load()
    before = dict(RULES)
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (table, dict(table))
        for table in (
            dialects.PLUGGED, dialects._loaded, recognise._PATHS, recognise._DEEP,
            recognise._BELOW, BASE_KEYS, plugged.RAWS,
        )
    ]  # fmt: skip
    lists = (recognise._TAGS, recognise._COMMENTS, recognise._FILES)
    modules = set(sys.modules)

    def do(files: dict[str, str] | None = None, **changed: str) -> None:
        files = dict(files or example())
        files |= {SHORT[name]: text for name, text in changed.items()}
        source = package_at(tmp_path / f"source{len(list(tmp_path.iterdir()))}", files)
        # The folder itself is named: PYTHONSAFEPATH, where it is set, leaves it out.
        build = "import sys; sys.path.insert(0, ''); from backend import build_wheel as build; "
        build += "print(build(sys.argv[1]))"
        ran = subprocess.run(
            [sys.executable, "-c", build, str(tmp_path)],
            cwd=source, capture_output=True, text=True, check=True,
        )  # fmt: skip
        with zipfile.ZipFile(tmp_path / ran.stdout.strip()) as wheel:
            wheel.extractall(target)

    yield do
    for code in [code for code in RULES if code not in before]:
        del RULES[code]
    for table, was in kept:
        table.clear()
        table.update(was)
    recognise._TAGS, recognise._COMMENTS, recognise._FILES = lists
    plugins._loaded.clear()
    for name in set(sys.modules) - modules:
        if name.partition(".")[0].startswith("gradaudit_"):
            del sys.modules[name]


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


NAMED = 'plugins = ["gradaudit-acme"]\n'


def codes(*words: str) -> dict[str, list[str]]:
    """Path -> the codes found in it."""
    ran = run_cli("check", "--format", "json", *words)
    assert ran.err == ""
    document = json.loads(ran.out)
    return {f["path"]: [found["code"] for found in f["findings"]] for f in document["files"]}


def error_of(settings: str) -> str:
    """What loading a settings file with this text says."""
    write("gradaudit.toml", settings)
    with pytest.raises(BadSettings) as caught:
        load_settings("gradaudit.toml")
    return str(caught.value)


def test_the_config_of_the_page_is_the_one_of_the_tests() -> None:
    assert CONFIG in PAGE


def test_rules_and_dialects_take_part_where_they_are_named(install: Callable[..., None]) -> None:
    install()
    assert importlib.metadata.version("gradaudit-acme") == "1.0"
    write("gradaudit.toml", NAMED)
    write("config.yaml", CONFIG)
    ran = run_cli("check", "config.yaml", "--format", "json")
    document = json.loads(ran.out)
    (file,) = document["files"]
    assert file["dialect"] == "acme-trainer"
    by_code = {finding["code"]: finding for finding in file["findings"]}
    assert set(by_code) == {"GA201", "ACME101"}
    assert by_code["ACME101"]["url"] == "https://acme.example/handbook/batches"
    assert by_code["ACME101"]["key"] == "feed.per_gpu"
    assert by_code["ACME101"]["message"] == "a micro-batch of 12 is padded to a multiple of 8"


def test_an_installed_plugin_that_nobody_names_does_nothing(install: Callable[..., None]) -> None:
    install()
    write("config.yaml", PLAIN)
    assert codes("config.yaml") == {"config.yaml": []}
    assert "gradaudit_acme" not in sys.modules
    assert "ACME101" not in RULES


def test_one_command_over_directories_with_and_without_it(install: Callable[..., None]) -> None:
    """Whatever is loaded first, a file is judged by what its own settings name."""
    install()
    for name in ("a", "b", "c"):
        write(f"{name}/config.yaml", PLAIN + "seed: 1  # gradaudit: ignore[ACME101] for b\n")
        write(f"{name}/own.yaml", CONFIG)
        write(f"{name}/gradaudit.toml", NAMED if name == "b" else "")
    alone = codes("a/config.yaml")
    found = codes("a", "b", "c")
    assert found["b/config.yaml"] == ["ACME101", "GA002"]
    assert "ACME101" in found["b/own.yaml"]
    assert found["a/config.yaml"] == found["c/config.yaml"] == alone["a/config.yaml"]
    assert not {"a/own.yaml", "c/own.yaml"} & set(found)  # no training, as far as they know
    shown = json.loads(run_cli("show", "a/own.yaml", "b/own.yaml", "--format", "json").out)
    assert [file["dialect"] for file in shown["files"]] == ["generic", "acme-trainer"]


@pytest.mark.parametrize(
    ("settings", "words", "found"),
    [
        ("", (), ["ACME101"]),
        ('ignore = ["ACME"]', (), []),
        ('ignore = ["micro-batch-off-grid"]', (), []),
        ('select = ["GA"]', (), []),
        ('select = ["ACME1"]', (), ["ACME101"]),
        ('severity = {ACME101 = "off"}', (), []),
        ('[rules.micro-batch-off-grid]\ngrid = 4', (), []),
        ('[rules.ACME101]\ngrid = 5', (), ["ACME101"]),
        ('[per-file-ignores]\n"*.yaml" = ["ACME101"]', (), []),
        ('[per-key-ignores]\nbatch_size = ["ACME101"]', (), []),
        ("", ("--select", "ACME101"), ["ACME101"]),
        ("", ("--select", "GA1"), []),
        ("", ("--ignore", "acme101"), []),
        ("", ("--extend-select", "micro-batch-off-grid", "--select", "GA1"), ["ACME101"]),
        ("", ("--min-confidence", "high"), ["ACME101"]),
    ],
)  # fmt: skip
def test_settings_and_options_speak_of_its_rules(
    install: Callable[..., None], settings: str, words: tuple[str, ...], found: list[str]
) -> None:
    install()
    write("gradaudit.toml", NAMED + settings)
    write("config.yaml", PLAIN)
    assert codes("config.yaml", *words) == {"config.yaml": found}
    assert codes(".", *words) == {"./config.yaml": found}


def test_severity_and_comments(install: Callable[..., None]) -> None:
    install()
    write("gradaudit.toml", NAMED + '[severity]\nACME101 = "error"\n')
    write("config.yaml", PLAIN)
    assert run_cli("check", "config.yaml").code == 1
    write("config.yaml", PLAIN.replace("12", "12  # gradaudit: ignore[ACME101] why"))
    assert codes("config.yaml") == {"config.yaml": []}
    write("config.yaml", PLAIN.replace("12", "16  # gradaudit: ignore[ACME101] why"))
    assert codes("config.yaml") == {"config.yaml": ["GA002"]}


def test_a_profile_of_its_own(install: Callable[..., None]) -> None:
    text = example()["gradaudit_acme/rules.py"]
    install(rules=text.replace("    limits=", '    profile="strict",\n    limits='))
    write("gradaudit.toml", NAMED)
    write("config.yaml", PLAIN)
    assert codes("config.yaml") == {"config.yaml": []}
    assert codes("config.yaml", "--profile", "strict") == {"config.yaml": ["ACME101"]}


def test_a_rule_on_the_python_source(install: Callable[..., None]) -> None:
    text = example()["gradaudit_acme/rules.py"]
    for old, new in (
        ('scope="unit"', 'scope="source"'),
        ('needs=("micro_batch",)', 'needs=("micro_batch", "source")'),
        ("    batch = unit.", "    unit, code = unit.unit, unit.code\n    batch = unit."),
        ("is padded", "is padded by {code.source.path}"),
    ):
        assert old in text
        text = text.replace(old, new)
    install(rules=text)
    write("gradaudit.toml", NAMED)
    write("config.yaml", PLAIN)
    write("train.py", "import torch\n")
    assert codes("config.yaml") == {"config.yaml": []}
    assert codes("config.yaml", "--source", "train.py") == {"config.yaml": ["ACME101"]}
    assert "padded by train.py" in run_cli("check", "config.yaml", "--source", "train.py").out


def test_its_rules_are_listed_and_explained(install: Callable[..., None]) -> None:
    install()
    assert "ACME101" not in run_cli("rules").out
    assert "no rule is called 'ACME101'" in run_cli("explain", "ACME101").err
    write("gradaudit.toml", NAMED)
    out = run_cli("explain", "ACME101").out
    assert "of the plugin `gradaudit-acme`" in " ".join(out.split())
    assert "Our fused kernels" in out
    assert run_cli("explain", "micro-batch-off-grid").out == out
    assert "one of ACME101" in run_cli("explain", "acme").err
    lines = run_cli("rules").out.splitlines()
    at = lines.index("ACME  Plugin gradaudit-acme")
    assert lines[at + 1].startswith("  ACME101  info     micro-batch-off-grid")
    rules = json.loads(run_cli("rules", "--format", "json").out)["rules"]
    assert rules[-1]["code"] == "ACME101"
    assert rules[-1]["plugin"] == "gradaudit-acme"
    assert rules[0]["plugin"] is None


def test_what_judges_its_dialect_is_listed(install: Callable[..., None]) -> None:
    install()
    words = ("rules", "ACME", "GA101", "GA105", "--dialect", "acme-trainer", "--format", "json")
    assert "no rule is called 'ACME'" in run_cli(*words).err
    write("gradaudit.toml", NAMED)
    document = json.loads(run_cli(*words).out)
    assert document["dialect"] == "acme-trainer"
    assert {rule["code"]: (rule["judges"], rule["missing"]) for rule in document["rules"]} == {
        "GA101": ("yes", []),
        "GA105": ("no", [["clip_value", "clip_agc"]]),
        "ACME101": ("yes", []),
    }
    write("gradaudit.toml", "")
    ran = run_cli("rules", "--dialect", "acme-trainer")
    assert (ran.code, ran.out) == (2, "")
    assert "no dialect is called 'acme-trainer'" in ran.err


def test_every_output_takes_its_rules(install: Callable[..., None]) -> None:
    text = example()["gradaudit_acme/rules.py"]
    install(rules=re.sub(r"    page=.*\n", "", text))
    write("gradaudit.toml", NAMED)
    write("config.yaml", PLAIN)
    for words in (
        ("check", "config.yaml"), ("check", "config.yaml", "--format", "concise"),
        ("check", "config.yaml", "--format", "markdown"), ("report", "config.yaml"),
    ):  # fmt: skip
        out = run_cli(*words).out
        assert "ACME101" in out
        assert "]()" not in out
        assert "rules/micro-batch-off-grid" not in out
    (file,) = json.loads(run_cli("check", "config.yaml", "--format", "json").out)["files"]
    assert file["findings"][0]["url"] is None


def test_settings_may_name_its_dialect(install: Callable[..., None]) -> None:
    install()
    write("gradaudit.toml", NAMED + 'dialect = "acme-trainer"\n')
    write("config.yaml", CONFIG.replace("acme:\n  version: 3\n", ""))
    assert codes("config.yaml") == {"config.yaml": ["GA201", "ACME101"]}
    assert "did you mean `acme-trainer`?" in error_of(NAMED + 'dialect = "acme-trainr"\n')


def test_a_dialect_may_extend_one_of_ours_and_follow_bases(install: Callable[..., None]) -> None:
    install(
        dialect="name: acme-trainer\ntitle: Acme\nextends: hf-trainer\n"
        "recognise: {acme.version: 10}\nloader: {kind: yaml11}\n"
        "compose: {bases: [{key: parent, relative_to: file}]}\n"
        "settings: {micro_batch: feed.per_gpu}\n"
    )
    write("gradaudit.toml", NAMED)
    write("base.yaml", "acme: {version: 3}\nlearning_rate: 3.0\nfeed: {per_gpu: 8}\n")
    write("leaf.yaml", "parent: base.yaml\nfeed: {per_gpu: 12}\n")
    shown = json.loads(run_cli("show", "leaf.yaml", "--format", "json").out)["files"][0]
    assert shown["dialect"] == "acme-trainer"
    settings = shown["units"][0]["settings"]
    assert settings["micro_batch"]["value"] == 12
    assert settings["learning_rate"]["origin"] == "inherited"


def test_extend_hands_plugins_on(install: Callable[..., None]) -> None:
    install()
    write("base.toml", NAMED + 'ignore = ["ACME101"]\n')
    write("gradaudit.toml", 'extend = "base.toml"\n')
    write("config.yaml", PLAIN)
    assert load_settings("gradaudit.toml").plugins == ("gradaudit-acme",)
    assert codes("config.yaml") == {"config.yaml": []}
    write("gradaudit.toml", 'extend = "base.toml"\nignore = []\n')
    assert codes("config.yaml") == {"config.yaml": ["ACME101"]}


RULE = example()["gradaudit_acme/rules.py"]
DIALECT = example()["gradaudit_acme/dialects/acme-trainer.yaml"]
PROJECT = example()["pyproject.toml"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rules": RULE.replace("ACME101", "GA899")}, "not beginning with GA"),
        ({"rules": RULE.replace("ACME101", "acme101")}, "two to four capital letters"),
        ({"rules": RULE.replace("ACME101", "ACMEX101")}, "two to four capital letters"),
        ({"rules": RULE.replace("ACME101", "GA101")},
         "micro-batch-off-grid: the code GA101 is that of clip-norm-too-tight, of gradaudit"),
        ({"rules": RULE.replace('"micro-batch-off-grid"', '"clip-norm-too-tight"')},
         "GA101 of gradaudit has this name"),
        ({"rules": RULE.replace('"micro-batch-off-grid"', '"Batch"')}, "words-with-hyphens"),
        ({"rules": RULE.replace('needs=("micro_batch",)', 'needs=("microbatch",)')},
         "no canonical setting is called `microbatch`; did you mean `micro_batch`?"),
        ({"rules": RULE.replace('scope="unit"', 'scope="units"')}, "`scope` takes file or unit"),
        ({"rules": RULE.replace('scope="unit"', 'scope="source"')}, "belong together"),
        ({"rules": RULE.replace("(INFO,)", '("hint",)')}, "`severities` takes"),
        ({"rules": RULE.replace("confidence=HIGH,\n    limits", 'confidence="sure",\n    limits')},
         "`confidence` takes one of low, medium, high"),
        ({"rules": RULE.replace("    limits=", '    profile="lax",\n    limits=')}, "`profile`"),
        ({"rules": "1 / 0\n"}, "ZeroDivisionError: division by zero (rules.py:1)"),
        ({"rules": "import no_such_module\n"}, "No module named 'no_such_module'"),
        ({"rules": "raise SystemExit(3)\n"}, "SystemExit: 3"),
        ({"rules": ""}, "register no rule"),
        ({"project": PROJECT.replace("gradaudit.", "other.")}, "has no entry points"),
        ({"project": PROJECT.replace('"gradaudit_acme.dialects"', '"gradaudit_acme.rules"')},
         "must name a package"),
        ({"dialect": DIALECT.replace("learning_rate:", "learning_rat:")},
         "acme-trainer.yaml: settings.learning_rat: no canonical setting is called so"),
        ({"dialect": DIALECT.replace("name: acme", "name: other")}, "`name:` must be acme-trainer"),
        ({"dialect": DIALECT + "extends: nobody\n"}, "there is no dialect `nobody`"),
        ({"dialect": DIALECT + "compose: {run: [acme]}\n"}, "compose.run: is not for dialects"),
        ({"dialect": "a: [1\n"}, "dialect acme-trainer.yaml"),
        ({"dialect": "- 1\n"}, "holds no mapping"),
        ({"dialect": DIALECT.replace("learning_rate: optim.peak", "learning_rate: {from: 3}")},
         "dialect acme-trainer.yaml"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_package(
    install: Callable[..., None], changed: dict[str, str], said: str
) -> None:
    install(**changed)
    before = (dict(RULES), dict(dialects.PLUGGED), dict(recognise._PATHS))
    message = error_of(NAMED)
    assert message.startswith("gradaudit.toml: `plugins`: package `gradaudit-acme`: ")
    assert said in message
    assert (dict(RULES), dict(dialects.PLUGGED), dict(recognise._PATHS)) == before
    write("config.yaml", PLAIN)
    ran = run_cli("check", "config.yaml")
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_names_that_are_no_plugins(install: Callable[..., None]) -> None:
    install()
    message = error_of('plugins = ["gradaudit-acmee"]\n')
    assert "package `gradaudit-acmee`: is not installed for" in message
    assert "did you mean `gradaudit-acme`?" in message
    assert "is no plugin" in error_of('plugins = ["pytest"]\n')
    assert "takes a list" in error_of('plugins = "gradaudit-acme"\n')
    assert "is not installed" in error_of('plugins = [""]\n')


@pytest.mark.parametrize("name", ["Gradaudit_Acme", "gradaudit.acme", " gradaudit-acme "])
def test_a_name_is_compared_as_pip_does(install: Callable[..., None], name: str) -> None:
    install()
    write("gradaudit.toml", f'plugins = ["{name}"]\n')
    assert load_settings("gradaudit.toml").plugins == ("gradaudit-acme",)


def test_two_plugins_that_clash(install: Callable[..., None]) -> None:
    install()
    install(
        {
            re.sub(r"(gradaudit[-_])acme", r"\1other", name): re.sub(
                r"(gradaudit[-_])acme", r"\1other", text
            )
            for name, text in example().items()
        }
    )
    message = error_of('plugins = ["gradaudit-acme", "gradaudit-other"]\n')
    assert "package `gradaudit-other`" in message
    assert "the code ACME101 is that of micro-batch-off-grid, of gradaudit-acme" in message
    assert RULES["ACME101"].package == "gradaudit-acme"


def test_a_rule_that_fails_is_said_to_be_the_plugins(install: Callable[..., None]) -> None:
    install(rules=RULE.replace("    batch = unit", "    1 / 0\n    batch = unit"))
    write("gradaudit.toml", NAMED)
    write("config.yaml", PLAIN)
    for command in ("check", "fix", "report", "show"):
        ran = run_cli(command, "config.yaml")
        assert ran.code == 2
        assert "plugin `gradaudit-acme`: ACME101 micro-batch-off-grid failed with" in ran.err
        assert re.search(r"division by zero \(rules\.py:\d+\)", ran.err)
    write("gradaudit.toml", NAMED + 'ignore = ["ACME101"]\n')
    assert codes("config.yaml") == {"config.yaml": []}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("        severity=INFO", '        severity="hint"', "severity hint, confidence high"),
        ("        confidence=HIGH", '        confidence="sure"', "severity info, confidence sure"),
        ("    yield Finding(", "    yield 1\n    yield Finding(", "AttributeError: 'int'"),
    ],
)
def test_findings_that_nothing_else_could_work_with(
    install: Callable[..., None], old: str, new: str, said: str
) -> None:
    install(rules=RULE.replace(old, new))
    write("gradaudit.toml", NAMED)
    write("config.yaml", PLAIN)
    ran = run_cli("check", "config.yaml")
    assert ran.code == 2
    assert said in ran.err
    assert "plugin `gradaudit-acme`: ACME101" in ran.err


def test_bad_docs_of_a_plugin_are_said(install: Callable[..., None]) -> None:
    install(rules=RULE.replace("    Tell:\n", "    Tells:\n"))
    write("gradaudit.toml", NAMED)
    for words in (("rules",), ("rules", "--format", "json"), ("explain", "ACME101")):
        ran = run_cli(*words)
        assert ran.code == 2
        assert "ACME101 micro-batch-off-grid: unknown section `Tells:`" in ran.err


def in_a_process(target: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gradaudit", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(target)])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_many_files_on_several_processors(install: Callable[..., None], tmp_path: Path) -> None:
    """Each process loads what its files need; the answer is that of one process."""
    install()
    for number in range(130):
        write(f"{'b' if number % 2 else 'a'}/{number:03}.yaml", CONFIG)
    write("b/gradaudit.toml", NAMED)
    ran = in_a_process(tmp_path / "site", "check", ".", "--format", "concise")
    assert ran.returncode == 1, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if "ACME101" in line]
    assert len(lines) == 65
    assert all(line.startswith("./b/") for line in lines)
    write("b/gradaudit.toml", 'plugins = ["nobody"]\n')
    ran = in_a_process(tmp_path / "site", "check", ".", "--format", "concise")
    assert ran.returncode == 2
    assert "package `nobody`: is not installed" in ran.stderr


@pytest.mark.slow
def test_pip_installs_it_and_check_finds_it(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    source = package_at(tmp_path / "source", example())
    target = tmp_path / "target"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    work = tmp_path / "work"
    work.mkdir()
    (work / "gradaudit.toml").write_text(NAMED, encoding="utf-8")
    (work / "config.yaml").write_text(CONFIG, encoding="utf-8")
    ran = in_a_process(target, "check", str(work / "config.yaml"), "--format", "concise")
    assert ran.returncode == 1, ran.stderr
    assert "ACME101" in ran.stdout
    assert "GA201" in ran.stdout
