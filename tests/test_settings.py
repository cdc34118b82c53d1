"""Settings files: which one is read, what each key does, and who wins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import audit_text, run_cli

from gradaudit.discover import discover
from gradaudit.options import Options
from gradaudit.rules import load as load_rules
from gradaudit.settings import BadSettings, Finder, Settings, is_selected, load, matches

# GA703 twice, GA702 twice, GA701 once.
TEXT = """\
optimizer: adamw
learning_rate: -1.0
momentum: 9.0
eps: 1e-8
weight_decay: 1e-2
batch_size: 32
batch_size: 32
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write files (path -> text) under an empty directory and go there."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_toml", ".toml")
            path = path if path.suffix else path.with_suffix(".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


Project = Callable[..., Path]


def codes(*words: str) -> list[str]:
    """The codes that `check` reports, each once, over all files."""
    return sorted({finding["code"] for finding in findings(*words)})


def findings(*words: str) -> list[dict[str, Any]]:
    ran = run_cli("check", "--format", "json", *words)
    assert ran.err == ""
    document = json.loads(ran.out)
    assert not document["problems"]
    return [finding for file in document["files"] for finding in file["findings"]]


def test_without_settings_all_rules_run(project: Project) -> None:
    project(x=TEXT)
    assert codes("x.yaml") == ["GA701", "GA702", "GA703"]


RULES = load_rules()


@pytest.mark.parametrize(
    ("select", "ignore", "runs"),
    [
        (None, [], True),
        (None, ["GA301"], False),
        (None, ["GA3"], False),
        (None, ["batch-norm-tiny-batch"], False),
        (None, ["ALL"], True),  # nothing was asked for, and everything was taken back
        ([], [], False),
        (["ALL"], [], True),
        (["GA3"], [], True),
        (["GA1"], [], False),
        (["ga301"], [], True),
        (["GA301"], ["GA3"], True),
        (["GA3"], ["GA301"], False),
        (["GA3"], ["GA3"], False),
        (["GA30"], ["GA3"], True),
        (["batch-norm-tiny-batch"], ["GA30"], True),
        (["GA3"], ["batch-norm-tiny-batch"], False),
        (["ALL"], ["GA3"], False),
        (["ALL", "GA301"], ["GA3"], True),
        (["GA301"], ["ALL"], True),
    ],
)
def test_the_more_specific_of_select_and_ignore_decides(
    select: list[str] | None, ignore: list[str], runs: bool
) -> None:
    expected = False if ignore == ["ALL"] and select is None else runs
    assert is_selected(RULES["GA301"], select, ignore) is expected


def test_a_rule_beyond_the_profile_runs_where_it_is_named() -> None:
    rule = RULES["GA703"]
    settings = Settings()

    def runs(**more: object) -> bool:
        options = Options()
        for name, value in more.items():
            setattr(options, name, value)
        return rule in options.active_rules(settings)

    assert runs()
    rule.profile = "strict"
    try:
        assert not runs()
        assert not runs(select=["GA7"])
        assert not runs(select=["ALL"])
        assert runs(select=["GA703"])
        assert runs(select=["value-out-of-domain"])
        assert runs(extend_select=["GA7"])
        assert not runs(extend_select=["GA7"], ignore=["GA703"])
        assert runs(profile="strict")
        assert runs(profile="pedantic")
        assert not runs(profile="strict", ignore=["GA7"])
        settings.profile = "strict"
        assert runs()
        assert not runs(profile="default")
    finally:
        rule.profile = "default"


def test_select_and_ignore(project: Project) -> None:
    project(x=TEXT, gradaudit_toml='select = ["GA7"]\nignore = ["number-as-text"]\n')
    assert codes("x.yaml") == ["GA701", "GA703"]


def test_the_command_line_replaces_select_and_ignore(project: Project) -> None:
    project(x=TEXT, gradaudit_toml='select = ["GA701"]\nignore = ["GA703"]\n')
    assert codes("--select", "GA70", "x.yaml") == ["GA701", "GA702"]
    assert codes("--select", "GA70", "--ignore", "GA701", "x.yaml") == ["GA702", "GA703"]
    assert codes("--ignore", "GA702", "x.yaml") == ["GA701"]


def test_fail_on(project: Project) -> None:
    project(x="optimizer: adamw\nlearning_rate: 1e-4\n", gradaudit_toml='fail-on = "error"\n')
    assert run_cli("check", "x.yaml").code == 0
    assert run_cli("check", "--fail-on", "info", "x.yaml").code == 1
    assert run_cli("check", "--isolated", "x.yaml").code == 1


def test_fail_on_is_of_each_file(project: Project) -> None:
    text = "optimizer: adamw\nlearning_rate: 1e-4\n"
    project(a__x=text, a__gradaudit_toml='fail-on = "error"\n', b__x=text)
    assert run_cli("check", "a/x.yaml").code == 0
    assert run_cli("check", "a/x.yaml", "b/x.yaml").code == 1


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.yaml", "a/b/x.yaml", True),
        ("x.yaml", "a/b/x.yaml", True),
        ("y.yaml", "a/b/x.yaml", False),
        ("a/*.yaml", "a/b/x.yaml", True),
        ("b/*.yaml", "a/b/x.yaml", False),
        ("a/**/x.yaml", "a/b/x.yaml", True),
        ("*/x.yaml", "x.yaml", False),
        ("X.yaml", "x.yaml", False),
    ],
)
def test_globs(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def test_per_file_ignores_are_relative_to_the_settings_file(project: Project) -> None:
    project(
        gradaudit_toml='[per-file-ignores]\n"legacy/*" = ["GA703", "duplicate-key"]\n',
        legacy__x=TEXT, new__legacy__x=TEXT, x=TEXT,
    )  # fmt: skip
    assert codes("legacy/x.yaml") == ["GA702"]
    assert codes("new/legacy/x.yaml") == ["GA701", "GA702", "GA703"]
    assert codes("x.yaml") == ["GA701", "GA702", "GA703"]


def test_per_file_ignores_hold_for_files_that_cannot_be_read(project: Project) -> None:
    project(gradaudit_toml='[per-file-ignores]\n"t.yaml" = ["GA001"]\n', t="a: [")
    assert run_cli("check", "t.yaml").code == 0


def test_per_key_ignores(project: Project) -> None:
    text = "m:\n  optimizer: adamw\n  lr: -1.0\n  sub:\n    dropout: 3.0\n"
    project(x=text, y=text)
    assert len(findings("x.yaml")) == 2
    project(gradaudit_toml='[per-key-ignores]\n"m.lr" = ["GA703"]\n')
    assert [f["key"] for f in findings("x.yaml")] == ["m.sub.dropout"]
    project(gradaudit_toml='[per-key-ignores]\n"m.sub" = ["GA7"]\n')
    assert [f["key"] for f in findings("x.yaml")] == ["m.lr"]
    project(gradaudit_toml='[per-key-ignores]\n"m" = ["GA1"]\n')
    assert len(findings("x.yaml")) == 2
    project(gradaudit_toml='[per-key-ignores]\n"x.yaml:m" = ["GA703"]\n')
    assert findings("x.yaml") == []
    assert len(findings("y.yaml")) == 2


def test_per_key_ignores_serve_json_which_has_no_comments(project: Project) -> None:
    root = project(gradaudit_toml='[per-key-ignores]\n"lr" = ["GA703"]\n')
    (root / "x.json").write_text('{"optimizer": "adamw", "lr": -1.0}', encoding="utf-8")
    assert codes("x.json") == []


def test_severity(project: Project) -> None:
    project(x=TEXT, gradaudit_toml='[severity]\nGA703 = "info"\nduplicate-key = "off"\n')
    found = findings("x.yaml")
    assert {f["severity"] for f in found if f["code"] == "GA703"} == {"info"}
    assert "GA701" not in {f["code"] for f in found}


def test_thresholds(project: Project) -> None:
    text = "optimizer: adamw\nlr: 1.0e-4\nbatch_size: 24\nnorm: batch\n"
    project(x=text)
    before = {f["severity"] for f in findings("--select", "GA301", "x.yaml")}
    project(gradaudit_toml="[rules.batch-norm-tiny-batch]\nwarning = 30\ninfo = 31\n")
    after = {f["severity"] for f in findings("--select", "GA301", "x.yaml")}
    assert after == {"warning"}
    assert before != after


def test_assume(project: Project) -> None:
    section = "  optimizer: adamw\n  lr: 1.0e-4\n  batch_size: 2\n"
    project(x=f"a:\n{section}b:\n{section}")
    assert codes("--select", "GA301", "x.yaml") == []
    project(gradaudit_toml='[assume]\nnorm = "batch"\n')
    assert [f["unit"] for f in findings("--select", "GA301", "x.yaml")] == ["a", "b"]
    project(gradaudit_toml='[assume.b]\nnorm = "batch"\n')
    assert [f["unit"] for f in findings("--select", "GA301", "x.yaml")] == ["b"]


def test_the_command_line_wins_over_what_settings_assume(project: Project) -> None:
    text = "optimizer: adamw\nlr: 1.0e-4\nbatch_size: 2\n"
    project(x=text, gradaudit_toml='[assume]\nnorm = "batch"\n')
    assert codes("--select", "GA301", "--assume", "norm=layer", "x.yaml") == []


def test_source_is_relative_to_the_settings_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(
        cfg__x="ranker:\n  optimizer: adamw\n  lr: 1.0e-4\n  batch_size: 2\n",
        cfg__gradaudit_toml='[source."x.yaml"]\nranker = ["../code/net.py"]\n',
    )
    (root / "code").mkdir()
    source = root / "code" / "net.py"
    source.write_text("from torch import nn\nnorm = nn.BatchNorm1d(8)\n", encoding="utf-8")
    assert codes("--select", "GA301", "cfg/x.yaml") == ["GA301"]
    monkeypatch.chdir(root / "cfg")
    assert codes("--select", "GA301", "x.yaml") == ["GA301"]
    source.unlink()
    ran = run_cli("check", "x.yaml")
    assert ran.code == 2
    assert "net.py" in ran.out


def test_extend_is_explicit_and_is_overridden(project: Project) -> None:
    project(
        gradaudit_toml='select = ["GA7"]\nignore = ["GA702"]\n[severity]\nGA701 = "info"\n'
        '[per-file-ignores]\n"y.yaml" = ["GA703"]\n',
        sub__gradaudit_toml='extend = "../gradaudit.toml"\nignore = ["GA703"]\n'
        '[severity]\nGA702 = "error"\n',
        sub__x=TEXT,
    )
    settings = load("sub/gradaudit.toml")
    assert settings.select == ["GA7"]
    assert settings.ignore == ["GA703"]
    assert settings.severity == {"GA701": "info", "GA702": "error"}
    assert settings.per_file_ignores == {"y.yaml": ["GA703"]}
    assert codes("sub/x.yaml") == ["GA701", "GA702"]


def test_a_chain_of_extends(project: Project) -> None:
    project(
        a_toml='fail-on = "error"\n', b_toml='extend = "a.toml"\n', c_toml='extend = "b.toml"\n'
    )
    assert load("c.toml").fail_on == "error"


def test_the_closest_file_wins_alone(project: Project) -> None:
    project(
        gradaudit_toml='ignore = ["GA701"]\n',
        sub__gradaudit_toml='ignore = ["GA702"]\n',
        x=TEXT, sub__x=TEXT, sub__deep__x=TEXT,
    )  # fmt: skip
    assert codes("x.yaml") == ["GA702", "GA703"]
    assert codes("sub/x.yaml") == ["GA701", "GA703"]
    assert codes("sub/deep/x.yaml") == ["GA701", "GA703"]


def test_pyproject(project: Project) -> None:
    project(
        pyproject_toml='[project]\nname = "x"\n[tool.gradaudit]\nignore = ["GA701"]\n',
        sub__pyproject_toml='[project]\nname = "y"\n',
        x=TEXT, sub__x=TEXT,
    )  # fmt: skip
    assert codes("x.yaml") == ["GA702", "GA703"]
    assert codes("sub/x.yaml") == ["GA702", "GA703"]  # one without our table is passed over


def test_gradaudit_toml_wins_over_pyproject_beside_it(project: Project) -> None:
    project(
        pyproject_toml='[tool.gradaudit]\nignore = ["GA701"]\n',
        gradaudit_toml='ignore = ["GA702"]\n',
        x=TEXT,
    )
    assert codes("x.yaml") == ["GA701", "GA703"]


@pytest.mark.parametrize("text", ["tool = 3 # tool.gradaudit\n", "# tool.gradaudit\n[tool]\n"])
def test_a_pyproject_that_only_mentions_us(project: Project, text: str) -> None:
    project(pyproject_toml=text, x=TEXT)
    assert codes("x.yaml") == ["GA701", "GA702", "GA703"]


def test_config_is_for_every_file(project: Project) -> None:
    project(other_toml='ignore = ["GA701"]\n', gradaudit_toml='ignore = ["GA702"]\n', x=TEXT)
    assert codes("--config", "other.toml", "x.yaml") == ["GA702", "GA703"]
    ran = run_cli("check", "--config", "nowhere.toml", "x.yaml")
    assert ran.code == 2
    assert "nowhere.toml" in ran.err


def test_isolated_reads_none(project: Project) -> None:
    project(gradaudit_toml="this is no TOML", x=TEXT)
    assert codes("--isolated", "x.yaml") == ["GA701", "GA702", "GA703"]
    assert run_cli("check", "x.yaml").code == 2


def test_standard_input_takes_the_settings_of_its_name(project: Project) -> None:
    project(sub__gradaudit_toml='select = ["GA701"]\n')
    data = TEXT.encode()
    ran = run_cli("check", "--format", "concise", "--stdin-filename", "sub/x.yaml", "-", stdin=data)
    assert {"GA701"} == {code for code in RULES if code in ran.out}


def test_each_directory_is_looked_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradaudit import settings as module

    project(gradaudit_toml="", a__x=TEXT, a__y=TEXT)
    seen: list[str] = []
    look = module._in_folder

    def counted(folder: str) -> Settings | None:
        seen.append(folder)
        return look(folder)

    monkeypatch.setattr(module, "_in_folder", counted)
    finder = Finder()
    assert finder.for_file("a/x.yaml") is finder.for_file("a/y.yaml")
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("top", [".", "a", "a/", "./a"])
def test_a_walk_says_where_no_settings_are_and_no_others_are_missed(
    project: Project, monkeypatch: pytest.MonkeyPatch, top: str
) -> None:
    import gradaudit.settings as module

    project(a__x=TEXT, a__b__gradaudit_toml='ignore = ["GA701"]\n', a__b__c__y=TEXT)
    looked: list[str] = []
    look = module._in_folder

    def counted(folder: str) -> Settings | None:
        looked.append(Path(folder).name)
        return look(folder)

    monkeypatch.setattr(module, "_in_folder", counted)
    finder = Finder()
    files = [found.path for found in discover([top], finder.saw)]
    ignored = {Path(path).name: finder.for_file(path).ignore for path in files}
    assert (ignored["x.yaml"], ignored["y.yaml"]) == ([], ["GA701"])
    assert "b" in looked
    assert "a" not in looked
    assert "c" not in looked


def test_settings_are_refused_as_a_whole(project: Project) -> None:
    project(gradaudit_toml='ignore = ["GA701"]\nunknown-key = 1\n')
    with pytest.raises(BadSettings, match=r"gradaudit\.toml: unknown key `unknown-key`"):
        load("gradaudit.toml")


def test_settings_are_data_that_the_core_takes() -> None:
    settings = Settings()
    settings.ignore = ["GA703"]
    settings.severity = {"GA701": "warning"}
    result = audit_text(TEXT, Options(), settings)
    severities = {finding.rule.code: finding.severity for finding in result.findings}
    assert "GA703" not in severities
    assert severities["GA701"] == "warning"


def test_globs_stay_relative_to_the_file_that_wrote_them(project: Project) -> None:
    project(
        gradaudit_toml='[per-file-ignores]\n"legacy/*.yaml" = ["GA703"]\n',
        legacy__gradaudit_toml='extend = "../gradaudit.toml"\nignore = ["GA701"]\n',
        legacy__x=TEXT, other__x=TEXT,
    )  # fmt: skip
    assert codes("legacy/x.yaml") == ["GA702"]
    assert codes("other/x.yaml") == ["GA701", "GA702", "GA703"]


def test_an_empty_selection_is_no_selection(project: Project) -> None:
    project(x=TEXT)
    for words in (["--select", ""], ["--select", " , "], ["--ignore", ""]):
        assert run_cli("check", "x.yaml", *words).code == 2
