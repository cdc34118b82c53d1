"""The command line as a user and a CI job meet it: exit codes, formats, next commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, SAMPLE, run_cli

from gradaudit import __version__

GOOD = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 32\n"
WARNING = "optimizer: adamw\nlearning_rate: 1e-4\nbatch_size: 32\n"
ERROR = "optimizer: adamw\nlearning_rate: -1.0e-4\nbatch_size: 32\n"
INFO = "optimizer: adamw\nlearning_rate: 1.0e-4\nwarmup_ratio: 0.15\nbatch_size: 32\n"
Write = Callable[[str], Path]


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        (GOOD, [], 0),
        (INFO, [], 0),
        (INFO, ["--fail-on", "info"], 1),
        (WARNING, [], 1),
        (WARNING, ["--fail-on", "error"], 0),
        (ERROR, ["--fail-on", "error"], 1),
        (ERROR, ["--exit-zero"], 0),
        (ERROR, ["--ignore", "GA703"], 0),
        (ERROR, ["--select", "GA1"], 0),
        (ERROR, ["--select", "value-out-of-domain"], 1),
        (GOOD, ["--fail-on", "loud"], 2),
        (GOOD, ["--nosuch"], 2),
        (GOOD, ["--select", "GA999"], 2),
        (GOOD, ["nosuch.yaml"], 2),
        (ERROR, ["nosuch.yaml"], 2),
        (ERROR, ["nosuch.yaml", "--exit-zero"], 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", ["full", "concise", "json", "markdown"])
def test_exit_codes_are_the_same_for_every_format(
    text: str, words: list[str], code: int, format: str, config: Write
) -> None:
    config(text)
    assert run_cli("check", "config.yaml", "--format", format, *words).code == code


def test_an_unparsable_file_is_never_hidden_by_a_good_one(config: Write) -> None:
    config(GOOD)
    Path("bad.yaml").write_text("a: [1\nb: 2\n")
    ran = run_cli("check", "config.yaml", "bad.yaml", "--format", "concise")
    assert ran.code == 1
    assert "bad.yaml:2:2: error[GA001] not valid YAML" in ran.out


def test_a_directory_is_judged_where_it_trains_and_the_rest_is_counted(config: Write) -> None:
    config(WARNING)
    Path("package.json").write_text('{"name": "x", "version": "1"}')
    Path("ci.yml").write_text("on: [push]\njobs: {test: {runs-on: x}}\n")
    Path("chart.yaml").write_text("{{ if .Values.options }}\na: {{ .b }}\n{{ end }}\n")
    Path(".hidden").mkdir()
    Path(".hidden/config.yaml").write_text(ERROR)
    ran = run_cli("check")
    assert ran.code == 1
    assert "Found 1 warning in 1 file (3 other files skipped)." in ran.out
    verbose = run_cli("check", "--verbose")
    assert "./chart.yaml: skipped: does not parse, and bears no mark of a training" in verbose.out
    assert "./ci.yml: skipped: no training settings in it" in verbose.out


def test_a_named_file_is_judged_whatever_it_holds(config: Write) -> None:
    config("name: x\nname: y\n")
    assert "GA701" in run_cli("check", "config.yaml").out


def test_paths_are_shown_as_typed(config: Write) -> None:
    config(ERROR)
    Path("sub").mkdir()
    Path("sub/c.yaml").write_text(ERROR)
    ran = run_cli("check", "./config.yaml", "sub", "--format", "concise")
    assert [line.split(":")[0] for line in ran.out.splitlines()[:2]] == [
        "./config.yaml",
        "sub/c.yaml",
    ]


def test_standard_input_has_the_name_that_it_is_given(config: Write) -> None:
    config(GOOD)
    ran = run_cli(
        "check", "-", "--stdin-filename", "train.yaml", "--format", "concise", stdin=ERROR.encode()
    )
    assert ran.out.startswith("train.yaml:2:16: error[GA703]")
    assert run_cli("check", "-", "--format", "concise", stdin=ERROR.encode()).out.startswith("-:2:")
    assert run_cli("check", "-", stdin=b"\xff\xfe\x00").code == 1


def test_json_has_the_contracts_fields(in_root: Path) -> None:
    ran = run_cli("check", SAMPLE, "--format", "json")
    document = json.loads(ran.out)
    assert list(document) == ["schema", "version", "files", "problems", "summary"]
    assert (document["schema"], document["version"]) == (1, __version__)
    (file,) = document["files"]
    assert list(file) == ["path", "dialect", "units", "findings"]
    assert file["units"] == [
        "priority_net",
        "neural_posterior",
        "adaptive_subtractor",
        "rl_controller",
    ]
    assert list(document["summary"]) == [
        "files", "skipped", "errors", "warnings", "infos", "suppressed",
        "below_confidence", "fixable",
    ]  # fmt: skip
    source = Path(SAMPLE).read_text(encoding="utf-8").splitlines()
    for finding in file["findings"]:
        assert list(finding) == [
            "code", "name", "severity", "confidence", "message", "unit", "path", "line", "column",
            "end_line", "end_column", "key", "related", "evidence", "fix", "url",
        ]  # fmt: skip
        if finding["fix"]:
            for edit in finding["fix"]["edits"]:
                assert list(edit) == ["op", "path", "key", "line", "old", "new"]
                assert edit["old"] in source[edit["line"] - 1]
    batch_norm = next(f for f in file["findings"] if f["code"] == "GA301")
    assert batch_norm["related"][0]["path"] == "sample_configs/priority_net.py"
    line = (
        Path("sample_configs/priority_net.py")
        .read_text()
        .splitlines()[batch_norm["related"][0]["line"] - 1]
    )
    start, end = batch_norm["related"][0]["column"] - 1, batch_norm["related"][0]["end_column"] - 1
    assert line[start:end] == "nn.BatchNorm1d"


def test_the_documents_in_the_manual_have_the_fields_of_real_ones(config: Write) -> None:
    """Of check, compare and rules, in the order of docs/usage.md."""
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    check, _, compare, rules = (json.loads(block) for block in blocks)
    config("optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 4\nnorm: batch\n")
    real = json.loads(run_cli("check", "config.yaml", "--format", "json").out)
    said, found = (one["files"][0]["findings"][0] for one in (check, real))
    assert check.keys() == real.keys()
    assert check["summary"] == real["summary"]
    assert said.keys() == found.keys()
    assert said["fix"] == found["fix"]
    other = Path("other.yaml")
    other.write_text("optimizer: adamw\nlearning_rate: 1.0e-3\nbatch_size: 4\n", encoding="utf-8")
    real = json.loads(run_cli("compare", "config.yaml", "other.yaml", "--format", "json").out)
    assert compare.keys() == real.keys()
    assert compare["summary"].keys() == real["summary"].keys()
    assert compare["findings"].keys() == real["findings"].keys()
    assert compare["units"][0].keys() == real["units"][0].keys()
    assert compare["units"][0]["changes"][0].keys() == real["units"][0]["changes"][0].keys()
    real = json.loads(run_cli("rules", "--format", "json").out)
    assert rules.keys() == real.keys()
    assert rules["rules"][0] in real["rules"]


def test_json_is_one_document_and_nothing_else(config: Write) -> None:
    config(GOOD)
    ran = run_cli("check", "config.yaml", "nosuch.yaml", "--format", "json")
    document = json.loads(ran.out)
    assert document["problems"][0]["path"] == "nosuch.yaml"
    assert ran.err == ""


def test_the_next_command_is_one_that_works(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(WARNING)
    spaced = path.with_name("my config.yaml")
    path.rename(spaced)
    ran = run_cli("check", "my config.yaml", "--select", "GA7")
    command = "gradaudit fix 'my config.yaml' --select GA7"
    assert f"`{command}` shows it" in " ".join(ran.out.split())
    done = subprocess.run(
        f"{sys.executable} -m {command} --write", shell=True, capture_output=True, check=False,
        cwd=path.parent, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert spaced.read_text() == GOOD


def test_show_follows_the_contract(in_root: Path) -> None:
    document: dict[str, Any] = json.loads(run_cli("show", SAMPLE, "--format", "json").out)
    (file,) = document["files"]
    assert list(file) == ["path", "dialect", "why_dialect", "chain", "units"]
    unit = file["units"][0]
    assert list(unit) == ["name", "settings", "others", "loss_terms", "not_judged"]
    rate = unit["settings"]["learning_rate"]
    assert rate == {
        "value": 8e-05, "unit": None, "origin": "written", "raw": "8.0e-5",
        "key": "priority_net.learning_rate", "path": SAMPLE, "line": 42, "column": 18, "note": "",
    }  # fmt: skip
    assert [term["name"] for term in unit["loss_terms"]] == [
        "ranking", "mse", "uncertainty", "calib_mean", "calib_max", "calib_range", "min_variance",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["check", "{file}", "--stdin-filename", "x.yaml"],  # the short way
        ["check", "--stdin-filename=x.yaml", "--", "{file}"],  # typer
        ["check", "--stdin-filename", "x.yaml"],
        ["fix", "{file}", "--stdin-filename", "x.yaml"],
        ["report", "{file}", "--stdin-filename", "x.yaml"],
        ["show", "{file}", "--stdin-filename", "x.yaml"],
    ],
)
def test_a_name_for_standard_input_that_is_not_read(words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(WARNING)
    ran = run_cli(*(word.format(file=file) for word in words))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "gradaudit: error: --stdin-filename says what standard input stands for, and it is not "
        "read here: give - as the path\n"
    )


def test_show_explain_and_rules_end_with_0_unless_asked_for_what_is_not_there(
    config: Write,
) -> None:
    config(ERROR)
    assert run_cli("show", "config.yaml").code == 0
    assert run_cli("show", "nosuch.yaml").code == 2
    assert run_cli("explain", "GA301").code == 0
    assert run_cli("explain", "batch-norm-tiny-batch").out == run_cli("explain", "ga301").out
    assert run_cli("explain", "GA30").code == 2
    assert run_cli("rules").code == 0
    codes = [rule["code"] for rule in json.loads(run_cli("rules", "--format", "json").out)["rules"]]
    assert codes == sorted(codes)
    assert len(codes) >= 20


def test_a_fault_of_ours_is_3_and_says_so(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    config(GOOD)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gradaudit.cli.common.audit_path", broken)
    ran = run_cli("check", "config.yaml")
    assert ran.code == 3
    assert "a fault in gradaudit, not in your file" in ran.err


def test_version() -> None:
    import gradaudit.audit
    from gradaudit.syntax import yaml_reader

    libyaml = "" if yaml_reader.flat_events is None else ", libyaml"
    compiled = "" if gradaudit.audit.__file__.endswith(".py") else f" (compiled{libyaml})"
    assert run_cli("--version").out == f"gradaudit {__version__}{compiled}\n"
    assert run_cli("-V").out == f"gradaudit {__version__}{compiled}\n"


def test_every_command_has_help() -> None:
    for command in ("check", "fix", "report", "show", "explain", "rules"):
        ran = run_cli(command, "--help")
        assert ran.code == 0
        assert "Usage: gradaudit " + command in ran.out
    assert "did you mean" in run_cli("check", "--format", "jsno").err.lower()
    assert "Did you mean 'check'" in run_cli("chekc").err


def test_a_full_disk_is_no_fault_of_ours(config: Write) -> None:
    config(ERROR)
    done = subprocess.run(
        f"{sys.executable} -m gradaudit check config.yaml > /dev/full", shell=True,
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "gradaudit: error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault_of_ours(config: Write, closed: str) -> None:
    config(ERROR)
    command = f"exec {sys.executable} -m gradaudit check config.yaml nosuch.yaml {closed}"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2  # of the file that is not there
    assert "Traceback" not in done.stderr


def test_the_next_command_keeps_what_decides_the_findings(config: Write) -> None:
    config(WARNING)
    ran = run_cli("check", "config.yaml", "--isolated", "--assume", "world_size=8", columns=200)
    assert "`gradaudit fix config.yaml --assume world_size=8 --isolated` shows it" in ran.out
    ran = run_cli("fix", "-", "--stdin-filename", "a b.yaml", stdin=WARNING.encode(), columns=200)
    assert "`gradaudit fix - --stdin-filename 'a b.yaml' --write`" in ran.out


def test_a_file_that_says_nothing_is_not_called_clean(config: Write) -> None:
    for text in ("", "- 1\n", "x\n", "name: x\n"):
        config(text)
        ran = run_cli("check", "config.yaml", columns=100)
        assert ran.code == 0
        assert "config.yaml: no training settings in it: nothing was judged" in ran.out
        assert "No findings" not in ran.out


def test_a_misspelt_override_is_not_taken_for_a_new_key(config: Write) -> None:
    config(GOOD)
    ran = run_cli("check", "config.yaml", "--set", "lerning_rate=3", columns=100)
    assert ran.code == 2
    assert "did you mean `learning_rate`?" in ran.out
    assert run_cli("check", "config.yaml", "--set", "warmup_ratio=0.05").code == 0
