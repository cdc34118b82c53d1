"""`check --since REV`: what the change brought in, in real repositories."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from git_support import commit, git, write
from support import run_cli

from gradaudit import audit
from gradaudit.source import Source

GOOD = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 32\n"
TEXT_RATE = "optimizer: adamw\nlearning_rate: 1e-4\nbatch_size: 32\n"
"""One warning: GA702 at `learning_rate`."""

HIGH_RATE = "optimizer: adamw\nlearning_rate: 50.0\nbatch_size: 32\n"
"""One error, of whoever inherits it: GA201."""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    top = tmp_path / "repo"
    top.mkdir()
    monkeypatch.chdir(top)
    git("init", "-q", "-b", "main")
    return top


def since(*words: str, rev: str = "HEAD", code: int = 1) -> dict[str, Any]:
    ran = run_cli("check", *words, "--since", rev, "--format", "json")
    assert ran.code == code, ran.out + ran.err
    return dict(json.loads(ran.out))


def codes(document: dict[str, Any]) -> list[str]:
    return [finding["code"] for file in document["files"] for finding in file["findings"]]


def test_what_was_there_before_is_counted_and_not_shown() -> None:
    commit(a_yaml=TEXT_RATE)
    write("a.yaml", "# moved\n\n" + TEXT_RATE + "weight_decay: 1e-2\n")
    found = since("a.yaml")
    assert [f["key"] for f in found["files"][0]["findings"]] == ["weight_decay"]
    assert found["summary"]["earlier"] == 1
    assert found["summary"]["warnings"] == 1
    ran = run_cli("check", "a.yaml", "--since", "HEAD")
    assert "Found 1 warning in 1 file (1 earlier finding not shown)." in ran.out
    assert "GA702" in ran.out
    markdown = run_cli("check", "a.yaml", "--since", "HEAD", "--format", "markdown")
    assert "1 earlier finding not shown" in markdown.out
    concise = run_cli("check", "a.yaml", "--since", "HEAD", "--format", "concise")
    assert concise.out.count("GA702") == 1


def test_nothing_new_is_clean() -> None:
    commit(a_yaml=TEXT_RATE)
    ran = run_cli("check", "--since", "HEAD")
    assert ran.code == 0
    assert ran.out == "No findings in 1 file (1 earlier finding not shown).\n"


def test_the_field_is_there_only_with_the_option() -> None:
    commit(a_yaml=GOOD)
    assert since("a.yaml", code=0)["summary"]["earlier"] == 0
    plain = json.loads(run_cli("check", "a.yaml", "--format", "json").out)
    assert "earlier" not in plain["summary"]


def test_new_and_renamed_files_report_all() -> None:
    commit(a_yaml=TEXT_RATE)
    git("mv", "a.yaml", "b.yaml")
    write("c.yaml", TEXT_RATE)
    found = since()
    assert codes(found) == ["GA702", "GA702"]
    assert found["summary"]["earlier"] == 0


def test_a_value_that_is_worse_in_the_same_way_is_no_news_but_a_graver_one_is() -> None:
    commit(a_yaml="optimizer: adamw\nlearning_rate: 2.0e-2\n")
    before = codes(json.loads(run_cli("check", "a.yaml", "--format", "json").out))
    assert before == ["GA201"]
    write("a.yaml", "optimizer: adamw\nlearning_rate: 3.0e-2\n")
    assert codes(since("a.yaml", code=0)) == []
    write("a.yaml", "optimizer: adamw\nlearning_rate: 50.0\n")
    found = since("a.yaml")
    assert codes(found) == ["GA201"]
    assert found["files"][0]["findings"][0]["severity"] == "error"


def test_one_more_of_the_same_kind_is_one_more() -> None:
    two = "g:\n  learning_rate: 1e-4\nd:\n  learning_rate: {}\n"
    commit(a_yaml=two.format("1.0e-4"))
    write("a.yaml", two.format("1e-4"))
    (finding,) = since("a.yaml")["files"][0]["findings"]
    assert finding["key"] == "d.learning_rate"


def test_a_training_that_was_renamed_is_the_same_one() -> None:
    two = (
        "{}:\n  optimizer: adamw\n  learning_rate: 1e-4\n  epochs: 5\n"
        "critic:\n  optimizer: adamw\n  learning_rate: 2.0e-4\n  epochs: 9\n"
    )
    commit(a_yaml=two.format("generator"))
    write("a.yaml", two.format("gen"))
    found = since("a.yaml", code=0)
    assert found["summary"]["earlier"] == 1


def test_a_fault_in_a_base_that_changed_is_of_this_change() -> None:
    commit(base_yaml=GOOD, a_yaml="_base_: base.yaml\nepochs: 3\n")
    write("base.yaml", HIGH_RATE)
    found = since("a.yaml")
    (finding,) = found["files"][0]["findings"]
    assert (finding["code"], finding["path"]) == ("GA201", "base.yaml")


def test_the_bases_of_the_revision_are_read_and_not_those_of_today() -> None:
    commit(base_yaml=HIGH_RATE, a_yaml="_base_: base.yaml\nepochs: 3\n")
    write("new_base.yaml", HIGH_RATE)
    write("a.yaml", "_base_: new_base.yaml\nepochs: 4\n")
    Path("base.yaml").unlink()
    found = since("a.yaml", code=0)
    assert found["summary"]["earlier"] == 1


def test_a_base_that_was_deleted_is_noticed_though_the_leaf_is_as_it_was() -> None:
    commit(base_yaml=GOOD, a_yaml="_base_: base.yaml\nlearning_rate: 1e-4\n")
    Path("base.yaml").unlink()
    assert codes(since("a.yaml", code=0)) == ["GA705"]


def test_what_did_not_change_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    commit(base_yaml=TEXT_RATE, a_yaml="_base_: base.yaml\nlearning_rate: 1e-4\n", b_yaml=TEXT_RATE)
    write("b.yaml", TEXT_RATE + "epochs: 4\n")
    seen: list[str] = []

    def audit_source(source: Source, *rest: Any) -> audit.FileResult:
        seen.append(source.path)
        return original(source, *rest)

    original = audit.audit_source
    monkeypatch.setattr("gradaudit.since.audit_source", audit_source)
    assert run_cli("check", "--since", "HEAD").code == 0
    assert seen == ["./b.yaml"]


def test_line_ends_that_git_converted_are_no_change_in_what_is_found() -> None:
    commit(a_yaml=TEXT_RATE)
    write("a.yaml", TEXT_RATE.replace("\n", "\r\n"))
    assert since("a.yaml", code=0)["summary"]["earlier"] == 1


def test_a_file_that_did_not_parse_then() -> None:
    commit(a_yaml="a: [1\n")
    assert since("a.yaml", code=0)["summary"]["earlier"] == 1
    write("a.yaml", TEXT_RATE)
    assert codes(since("a.yaml")) == ["GA702"]


def test_a_file_that_was_binary_then_or_is_now() -> None:
    Path("a.yaml").write_bytes(b"\x00\x01\xff\xfe")
    commit()
    write("a.yaml", TEXT_RATE)
    assert codes(since("a.yaml")) == ["GA702"]
    commit()
    Path("a.yaml").write_bytes(b"\x00\x01\xff\xfe")
    assert codes(since("a.yaml")) == ["GA001"]


def test_a_file_that_was_a_directory_or_a_link_then() -> None:
    commit(a_yaml__b_yaml=TEXT_RATE, real_yaml=TEXT_RATE)
    os.symlink("real.yaml", "link.yaml")
    git("add", "-A")
    git("commit", "-q", "-m", "link")
    Path("link.yaml").unlink()
    write("link.yaml", TEXT_RATE + "epochs: 3\n")
    assert since("link.yaml", code=0)["summary"]["earlier"] == 1
    Path("a.yaml/b.yaml").unlink()
    Path("a.yaml").rmdir()
    write("a.yaml", TEXT_RATE)
    assert codes(since("a.yaml")) == ["GA702"]


def test_names_with_blanks_and_letters_of_any_language() -> None:
    write("sub dir/größe 配置.yaml", TEXT_RATE)
    commit()
    write("sub dir/größe 配置.yaml", "# x\n" + TEXT_RATE)
    assert since("sub dir", code=0)["summary"]["earlier"] == 1


def test_from_a_directory_below_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    commit(conf__a_yaml=TEXT_RATE)
    monkeypatch.chdir("conf")
    write("a.yaml", "# x\n" + TEXT_RATE)
    assert since("a.yaml", code=0)["summary"]["earlier"] == 1
    monkeypatch.chdir("..")
    assert since("conf/../conf/a.yaml", code=0)["summary"]["earlier"] == 1


def test_the_merge_base_is_what_a_pull_request_is_held_against() -> None:
    """What main got since then is not of this branch; `main...` finds the base by itself."""
    base = commit(a_yaml=GOOD)
    git("checkout", "-q", "-b", "topic")
    commit(a_yaml=GOOD + "weight_decay: 1e-2\n")
    git("checkout", "-q", "main")
    commit(a_yaml=TEXT_RATE + "weight_decay: 1e-2\n")
    git("update-ref", "refs/remotes/origin/main", "main")
    git("checkout", "-q", "topic")
    assert codes(since("a.yaml", rev="origin/main", code=0)) == []
    assert codes(since("a.yaml", rev=base)) == ["GA702"]
    assert codes(since("a.yaml", rev="origin/main...")) == ["GA702"]
    assert codes(since("a.yaml", rev="origin/main...topic")) == ["GA702"]


def test_python_sources_are_those_of_the_revision() -> None:
    commit(a_yaml=GOOD.replace("32", "4"), net_py="import torch.nn as nn\nx = nn.GroupNorm(1, 2)\n")
    write("net.py", "import torch.nn as nn\nx = nn.BatchNorm1d(2)\n")
    assert codes(since("a.yaml", "--source", "net.py")) == ["GA301"]


def test_standard_input_needs_a_place() -> None:
    commit(a_yaml=TEXT_RATE)
    ran = run_cli("check", "-", "--since", "HEAD", stdin=TEXT_RATE.encode())
    assert ran.code == 2
    assert "--stdin-filename" in ran.err
    ran = run_cli(
        "check", "-", "--stdin-filename", "a.yaml", "--since", "HEAD", stdin=TEXT_RATE.encode()
    )
    assert ran.code == 0


@pytest.mark.parametrize(
    ("rev", "said"),
    [
        ("nosuch", "no revision `nosuch`"),
        ("HEAD~9", "no revision `HEAD~9`"),
        ("", "`` is no revision"),
        ("HEAD:a.yaml", "no revision"),
        ("HEAD..HEAD", "`A...B`, with three dots"),
        ("HEAD...nosuch", "no revision `nosuch`"),
        ("a\nb", "no revision"),
    ],
)
def test_a_revision_that_is_none(rev: str, said: str) -> None:
    commit(a_yaml=TEXT_RATE)
    ran = run_cli("check", "a.yaml", "--since", rev)
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err


def test_a_revision_is_never_an_option_of_git() -> None:
    commit(a_yaml=TEXT_RATE)
    ran = run_cli("check", "a.yaml", "--since=--upload-pack=x")
    assert ran.code == 2
    assert "`--upload-pack=x` is no revision" in ran.err


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.yaml", TEXT_RATE)
    for path in ("a.yaml", "."):
        ran = run_cli("check", path, "--since", "HEAD")
        assert ran.code == 2
        assert "is in no git repository" in ran.err


def test_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit(a_yaml=TEXT_RATE)
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = run_cli("check", "a.yaml", "--since", "HEAD")
    assert ran.code == 2
    assert "git is not found: install it" in ran.err


def test_a_repository_without_a_commit() -> None:
    write("a.yaml", TEXT_RATE)
    ran = run_cli("check", "a.yaml", "--since", "HEAD")
    assert ran.code == 2
    assert "no revision `HEAD` in" in ran.err
    assert "which has no commit yet" in ran.err


def test_a_shallow_clone_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(a_yaml=GOOD)
    commit(a_yaml=TEXT_RATE)
    url = Path.cwd().as_uri()
    git("clone", "-q", "--depth", "1", url, str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    ran = run_cli("check", "a.yaml", "--since", "origin/topic")
    assert ran.code == 2
    assert "`git fetch origin topic` first" in ran.err
    assert "fetch-depth: 0" in ran.err


def test_a_hook_of_another_repository_does_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(a_yaml=TEXT_RATE)
    other = tmp_path / "other"
    other.mkdir()
    git("init", "-q", cwd=other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert since("a.yaml", code=0)["summary"]["earlier"] == 1


def test_a_linked_worktree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(a_yaml=TEXT_RATE)
    git("worktree", "add", "-q", str(tmp_path / "tree"))
    monkeypatch.chdir(tmp_path / "tree")
    write("a.yaml", "# x\n" + TEXT_RATE)
    assert since("a.yaml", code=0)["summary"]["earlier"] == 1


def test_a_submodule_is_held_against_the_commit_that_it_had(tmp_path: Path) -> None:
    sub = tmp_path / "sub"
    sub.mkdir()
    git("init", "-q", cwd=sub)
    (sub / "b.yaml").write_text(TEXT_RATE)
    git("add", "-A", cwd=sub)
    git("commit", "-q", "-m", "x", cwd=sub)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(sub), "lib")
    commit(a_yaml=TEXT_RATE)
    git("tag", "then")
    write("lib/b.yaml", "# x\n" + TEXT_RATE)
    write("a.yaml", "# x\n" + TEXT_RATE)
    assert since(".", rev="then", code=0)["summary"]["earlier"] == 2


def test_many_files_on_several_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(120):
        write(f"c{number}.yaml", TEXT_RATE)
    commit()
    for number in range(120):
        write(f"c{number}.yaml", "# x\n" + TEXT_RATE)
    write("c7.yaml", "# x\n" + TEXT_RATE + "weight_decay: 1e-2\n")
    monkeypatch.setattr("gradaudit.cli.parallel._processors", lambda: 3)
    ran = run_cli("check", "--since", "HEAD")
    assert ran.code == 1
    assert "Found 1 warning in 1 of 120 files (120 earlier findings not shown)." in ran.out


def test_a_plain_check_asks_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    commit(a_yaml=TEXT_RATE)
    monkeypatch.setenv("PATH", "")
    assert run_cli("check", "a.yaml").code == 1


def test_a_partial_clone_fetches_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(a_yaml=TEXT_RATE)
    commit(a_yaml=TEXT_RATE + "epochs: 3\n")
    git("config", "uploadpack.allowFilter", "true")
    url = Path.cwd().as_uri()
    git("clone", "-q", "--filter=blob:none", url, str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    ran = run_cli("check", "a.yaml", "--since", "HEAD~1")
    assert ran.code == 2
    assert "git has no object" in ran.out


def test_a_python_source_that_changed_is_noticed_though_the_config_is_as_it_was() -> None:
    commit(
        a_yaml=GOOD.replace("32", "4"),
        gradaudit_toml='[source."a.yaml"]\nmain = ["net.py"]\n',
        net_py="import torch.nn as nn\nx = nn.BatchNorm1d(2)\n",
    )
    os.rename("gradaudit_toml", "gradaudit.toml")
    assert since("a.yaml", code=0)["summary"]["earlier"] == 1
    commit(net_py="x = 1\n")
    write("net.py", "import torch.nn as nn\nx = nn.BatchNorm1d(2)\n")
    assert codes(since("a.yaml")) == ["GA301"]


def test_a_repository_inside_that_has_no_such_revision_is_said() -> None:
    commit(a_yaml=TEXT_RATE)
    git("tag", "then")
    for name in ("b", "c"):
        write(f"lib/{name}.yaml", TEXT_RATE)
    git("init", "-q", cwd="lib")
    git("add", "-A", cwd="lib")
    git("commit", "-q", "-m", "x", cwd="lib")
    found = since(".", rev="then", code=2)
    assert [problem["path"] for problem in found["problems"]] == ["./lib/b.yaml", "./lib/c.yaml"]
    assert "no revision `then` in " in found["problems"][0]["message"]
    assert found["summary"]["earlier"] == 1


def test_what_to_type_next_says_that_a_fix_takes_all() -> None:
    commit(a_yaml=TEXT_RATE)
    write("a.yaml", TEXT_RATE + "weight_decay: 1e-2\n")
    ran = run_cli("check", "a.yaml", "--since", "HEAD")
    assert ran.out.endswith("`fix` takes earlier findings too.\n")


def test_a_repository_of_another_user_is_refused_in_gits_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit(a_yaml=TEXT_RATE)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    ran = run_cli("check", "a.yaml", "--since", "HEAD")
    assert ran.code == 2
    assert "git: fatal: detected dubious ownership" in ran.err


def test_a_git_that_is_no_repository_is_passed_over() -> None:
    commit(a_yaml=TEXT_RATE, sub__b_yaml=TEXT_RATE)
    Path("sub/.git").mkdir()
    write("sub/a.yaml", TEXT_RATE)
    found = since("sub")
    assert [finding["path"] for file in found["files"] for finding in file["findings"]] == [
        "sub/a.yaml"
    ]
    assert found["summary"]["earlier"] == 1
