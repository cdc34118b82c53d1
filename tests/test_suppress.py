"""Comments that silence findings: where they reach, what they name, when they are stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import audit_text, run_cli

from gradaudit.audit import FileResult, audit_source
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

Write = Callable[[str], Path]


def found(result: FileResult) -> list[tuple[str, int]]:
    """(code, line) of what is reported, but for the comments themselves."""
    return [(f.rule.code, f.place.line) for f in result.findings if f.rule.code != "GA002"]


def stale(result: FileResult) -> list[tuple[str, int]]:
    return [(f.message, f.place.line) for f in result.findings if f.rule.code == "GA002"]


# Each line with a fault: GA703 wherever a rate is negative.
PLAIN = "optimizer: adamw\nlr: -1.0\nbatch_size: 32\n"


def test_the_fault_itself() -> None:
    assert found(audit_text(PLAIN)) == [("GA703", 2)]


@pytest.mark.parametrize(
    "comment",
    [
        "# gradaudit: ignore[GA703]",
        "# gradaudit: ignore[GA703] the paper has it so",
        "#gradaudit:ignore[GA703]",
        "#  gradaudit:  ignore[GA703]",
        "# gradaudit: ignore[ga703]",
        "# gradaudit: ignore[value-out-of-domain]",
        "# gradaudit: ignore[Value-Out-Of-Domain]",
        "# gradaudit: ignore[GA7]",
        "# gradaudit: ignore[GA]",
        "# gradaudit: ignore[ALL]",
        "# gradaudit: ignore[GA101, GA703]",
        "# gradaudit: ignore",
        "# chosen on purpose  # gradaudit: ignore[GA703]",
    ],
)
def test_on_the_line_and_on_the_line_above(comment: str) -> None:
    on_the_line = audit_text(PLAIN.replace("-1.0", f"-1.0  {comment}"))
    above = audit_text(PLAIN.replace("lr:", f"{comment}\nlr:"))
    for result in (on_the_line, above):
        assert found(result) == []
        assert stale(result) == []
        assert result.suppressed == 1


@pytest.mark.parametrize(
    "comment",
    [
        "# gradaudit ignore[GA703]",
        "# gradaudit: ignored[GA703]",
        "# gradaudit: disable[GA703]",
        "# gradaudit: ignore[GA101]",
        "# gradaudit: ignore[GA30]",
        "# gradaudit: ignore[out-of-domain]",
    ],
)
def test_what_is_no_suppression_of_this_rule(comment: str) -> None:
    assert found(audit_text(PLAIN.replace("-1.0", f"-1.0  {comment}"))) == [("GA703", 2)]


def test_the_line_above_may_be_some_comments_and_blank_lines_away() -> None:
    text = "optimizer: adamw\n# gradaudit: ignore[GA703]\n\n# why: see the paper\nlr: -1.0\n"
    assert found(audit_text(text)) == []


def test_a_comment_reaches_no_further_than_its_line() -> None:
    text = "optimizer: adamw\n# gradaudit: ignore[GA703]\nbatch_size: 32\nlr: -1.0\n"
    assert found(audit_text(text)) == [("GA703", 4)]
    text = "optimizer: adamw\nlr: -1.0\nbatch_size: 32  # gradaudit: ignore[GA703]\n"
    assert found(audit_text(text)) == [("GA703", 2)]


SECTIONS = """\
first:
  optimizer: adamw
  lr: -1.0
  deep:
    dropout: 3.0
second:
  optimizer: adamw
  lr: -1.0
"""


@pytest.mark.parametrize(
    "text",
    [
        SECTIONS.replace("first:", "first:  # gradaudit: ignore[GA703]"),
        SECTIONS.replace("first:", "# gradaudit: ignore[GA703]\nfirst:"),
    ],
)
def test_on_a_parent_key_it_covers_the_subtree(text: str) -> None:
    result = audit_text(text)
    assert [code for code, _ in found(result)] == ["GA703"]
    assert result.findings[0].unit == "second"
    assert result.suppressed == 2


def test_on_the_item_of_a_list_it_covers_its_first_line_only() -> None:
    text = "optimizer: adamw\nlr: -1.0\nitems:\n- dropout: 3.0  # gradaudit: ignore\n  x: 1\n"
    assert found(audit_text(text)) == [("GA703", 2)]


@pytest.mark.parametrize("where", ["first line", "last line", "beside a value"])
def test_ignore_file(where: str) -> None:
    comment = "# gradaudit: ignore-file[GA703]"
    text = {
        "first line": f"{comment}\n{SECTIONS}",
        "last line": f"{SECTIONS}{comment}\n",
        "beside a value": SECTIONS.replace("3.0", f"3.0 {comment}"),
    }[where]
    result = audit_text(text)
    assert found(result) == []
    assert result.suppressed == 3
    assert stale(result) == []


def test_ignore_file_without_codes_is_for_all() -> None:
    assert found(audit_text(f"# gradaudit: ignore-file\n{PLAIN}lr: 1e-4\n")) == []


@pytest.mark.parametrize(
    "line",
    [
        'note: "# gradaudit: ignore-file"',
        "note: '# gradaudit: ignore-file'",
        "note: a#gradaudit:ignore-file",
        "note: |\n  # gradaudit: ignore-file",
        "note: >-\n  text\n  # gradaudit: ignore-file\n\n",
        'note: "a\n  # gradaudit: ignore-file"',
        '"# gradaudit: ignore-file": 1',
    ],
)
def test_a_hash_inside_a_scalar_begins_no_comment(line: str) -> None:
    result = audit_text(f"{line}\n{PLAIN}")
    assert [code for code, _ in found(result)] == ["GA703"]
    assert stale(result) == []


@pytest.mark.parametrize("scalar", ["note: |\n  text\n", "note: >\n  text\n\n", "note: 'text'\n"])
def test_a_comment_after_a_scalar_is_one(scalar: str) -> None:
    text = f"optimizer: adamw\n{scalar}# gradaudit: ignore[GA703]\nlr: -1.0\n"
    assert found(audit_text(text)) == []


def test_in_a_flow_mapping() -> None:
    text = "optimizer: {name: adamw, lr: -1.0}  # gradaudit: ignore[GA703]\nbatch_size: 32\n"
    assert found(audit_text(text)) == []
    text = "optimizer: {  # gradaudit: ignore[GA703]\n  name: adamw,\n  lr: -1.0,\n}\n"
    assert found(audit_text(text)) == []


def test_crlf_and_several_documents() -> None:
    text = PLAIN.replace("-1.0", "-1.0  # gradaudit: ignore[GA703]") + "---\n" + PLAIN
    assert found(audit_text(text.replace("\n", "\r\n"))) == [("GA703", 6)]


def test_json_has_no_comments() -> None:
    from gradaudit.audit import audit_source
    from gradaudit.source import Source

    text = '{"optimizer": "adamw", "lr": -1.0, "x": "# gradaudit: ignore-file"}'
    result = audit_source(Source("x.json", text), Options(), Settings())
    assert [code for code, _ in found(result)] == ["GA703"]


def test_a_stale_comment_is_reported_where_its_rule_ran() -> None:
    text = PLAIN.replace("-1.0", "1.0e-4  # gradaudit: ignore[GA703] once negative")
    result = audit_text(text)
    assert stale(result) == [("suppresses nothing: no GA703 here", 2)]
    assert result.findings[0].place.source.text[result.findings[0].place.start] == "#"


def test_a_stale_comment_is_no_matter_where_its_rule_did_not_run() -> None:
    # GA101 needs a clip norm and loss terms, which this file does not have.
    text = PLAIN.replace("-1.0", "1.0e-4  # gradaudit: ignore[GA101]")
    assert stale(audit_text(text)) == []
    text = PLAIN.replace("-1.0", "1.0e-4  # gradaudit: ignore[GA703]")
    options = Options()
    options.ignore = ["GA703"]
    assert stale(audit_text(text, options)) == []
    options = Options()
    options.select = ["GA1"]
    assert stale(audit_text(text, options)) == []


def test_a_comment_without_codes_is_never_stale() -> None:
    text = PLAIN.replace("-1.0", "1.0e-4  # gradaudit: ignore")
    assert stale(audit_text(text)) == []


def test_of_several_codes_the_one_that_is_not_needed_is_named() -> None:
    text = PLAIN.replace("-1.0", "-1.0  # gradaudit: ignore[GA701, GA703]")
    assert stale(audit_text(text)) == [("suppresses nothing: no GA701 here", 2)]


@pytest.mark.parametrize("word", ["ignor", "Ignore", "ignored", "disable"])
def test_a_word_that_is_none_of_ours_is_reported(word: str) -> None:
    text = PLAIN.replace("-1.0", f"1.0e-4  # gradaudit: {word}[GA703]")
    ((message, line),) = stale(audit_text(text))
    assert message.startswith(f"`{word}` is no word of gradaudit")
    assert ("did you mean `ignore`?" in message) is (word != "disable")
    assert line == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("GA999", "no rule is called 'GA999'"),
        ("batch-norm-tiny-batsh", "did you mean `batch-norm-tiny-batch`?"),
        ("E501", "no rule is called 'E501'"),
    ],
)
def test_a_code_that_no_rule_has_is_reported(code: str, words: str) -> None:
    text = PLAIN.replace("-1.0", f"-1.0  # gradaudit: ignore[GA703, {code}]")
    result = audit_text(text)
    assert found(result) == []
    ((message, line),) = stale(result)
    assert words in message
    assert line == 2


def test_stale_comments_can_be_switched_off() -> None:
    text = PLAIN.replace("-1.0", "1.0e-4  # gradaudit: ignore[GA703]")
    options = Options()
    options.ignore = ["GA002"]
    assert stale(audit_text(text, options)) == []
    settings = Settings()
    settings.severity = {"GA002": "off"}
    assert stale(audit_text(text, settings=settings)) == []
    settings.severity = {"GA002": "error"}
    assert [f.severity for f in audit_text(text, settings=settings).findings] == ["error"]


def test_findings_stay_in_file_order() -> None:
    text = "optimizer: adamw  # gradaudit: ignore[GA703]\nlr: -1.0\n"
    result = audit_text(text)
    assert [f.rule.code for f in result.findings] == ["GA002", "GA703"]


def test_a_finding_in_another_file_is_not_silenced_by_line_number(config: Write) -> None:
    """Only `ignore-file` reaches what is reported in the Python source of a model."""
    path = config(PLAIN.replace("-1.0", "-1.0  # gradaudit: ignore"))
    assert run_cli("check", path.name).code == 0


def test_suppressed_findings_are_never_fixed(config: Write) -> None:
    text = "optimizer: adamw\nlearning_rate: 1e-4  # gradaudit: ignore[GA702]\neps: 1e-8\n"
    path = config(text)
    ran = run_cli("fix", "--write", "--unsafe", path.name)
    assert ran.code == 0
    after = path.read_text(encoding="utf-8")
    assert "learning_rate: 1e-4  # gradaudit: ignore[GA702]" in after
    assert "eps: 1.0e-8" in after


def test_what_is_suppressed_is_counted(config: Write) -> None:
    path = config(PLAIN.replace("-1.0", "-1.0  # gradaudit: ignore[GA703]"))
    assert "(1 suppressed)" in run_cli("check", path.name).out
    assert '"suppressed": 1' in run_cli("check", "--format", "json", path.name).out


@pytest.mark.slow
def test_many_comments_and_findings_take_bounded_time() -> None:
    text = "optimizer: adamw\nx:\n" + "".join(
        f"  k{i}_lr: 1e-4  # gradaudit: ignore[GA702]\n" for i in range(20_000)
    )
    result = audit_text(text)
    assert found(result) == []
    assert result.suppressed == 20_000


JSONC = """{
  // gradaudit: ignore[GA703] for the test
  "lr": -1.0,
  "optimizer": "adamw",
  "weight_decay": -1.0, // gradaudit: ignore[GA703]
  /* gradaudit: ignore[GA703]
     on two lines */

  "momentum": -1.0,
  /* why */ /* gradaudit: ignore[GA703] */ "batch_size": -32,
  "section": { // gradaudit: ignore
    "lr": -2.0, "optimizer": "sgd",
    "x": "// gradaudit: ignore-file"
  },
  "last": 1
}
"""
TOML = """# gradaudit: ignore[GA703]
lr = -1.0
optimizer = "adamw"
batch_size = 32
weight_decay = -1.0 # why # gradaudit: ignore[GA703]
x = "# gradaudit: ignore-file"

# gradaudit: ignore[GA703]
[section]
optimizer = "sgd"
lr = -2.0
[section.below]
weight_decay = -1.0
[other]
optimizer = "sgd"
lr = -3.0
batch_size = 32
"""


def in_format(text: str, path: str) -> FileResult:
    return audit_source(Source(path, text), Options(), Settings())


def test_in_json_with_comments() -> None:
    result = in_format(JSONC, "c.jsonc")
    assert found(result) == []
    assert stale(result) == []
    assert found(in_format(JSONC.replace("gradaudit:", "gradaudit"), "c.jsonc"))
    bare = JSONC.replace("//", "#").replace("/*", "#")
    assert in_format(bare, "c.jsonc").findings[0].rule.code == "GA001"


def test_in_json_a_whole_file_and_a_stale_one() -> None:
    text = (
        '{ /* gradaudit: ignore-file[GA703] */\n"lr": -1.0, "optimizer": "adamw", "batch_size": 1}'
    )
    assert found(in_format(text, "c.json")) == []
    text = '{"lr": 1e-4, // gradaudit: ignore[GA703]\n"optimizer": "adamw"}'
    ((message, line),) = stale(in_format(text, "c.json"))
    assert ("suppresses nothing" in message, line) == (True, 1)


def test_in_toml_with_a_table_for_its_whole_body() -> None:
    result = in_format(TOML, "c.toml")
    assert found(result) == [("GA703", 16)]
    assert stale(result) == []
    text = "# gradaudit: ignore-file\n" + TOML
    assert found(in_format(text, "c.toml")) == []
