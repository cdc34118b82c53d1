"""Where the record of a dry run goes: a directory that is there, taken, shared or left."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from ending_support import CTRL_C, SCRIPT, WORDS, dryrun, folder_of_a_run, lines_of
from probe_support import PYTHON, ROOT, begun, environment, until_begun

from gradaudit.__main__ import main
from gradaudit.evidence.record_reader import BadRecord, read_record

pytestmark = [pytest.mark.torch, pytest.mark.slow]
folder = pytest.fixture(folder_of_a_run)


@pytest.mark.parametrize("call", [0, 1, 9], ids=["in build", "in a pass", "and is ended"])
def test_a_training_that_changes_the_directory_does_not_take_the_record_along(
    folder: Path, call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Hydra does. What is named is named as seen from where the command was given."""
    (folder / "runs").mkdir()
    what = "os.chdir('runs')" + f"; {CTRL_C}" * (call == 9)
    text = SCRIPT.format(what=what, call=call)
    if not call:
        text = text.replace("    torch.manual_seed(0)", "    os.chdir('runs')")
    (folder / f"moves_{call}.py").write_text(text)
    assert main(["dryrun", "c.yaml", "--entry", f"moves_{call}.py:build", *WORDS[4:]]) == 0
    assert "record" in capsys.readouterr().out
    assert len(lines_of(folder)["step"]) == (4 if call == 9 else 6)
    assert os.listdir(folder / "runs") == []
    assert Path.cwd() == folder


def test_a_taken_directory_is_said_before_anything_is_built(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "record").mkdir()
    (folder / "record" / "rank-0.jsonl").write_text("of a probe")
    (folder / "mine.py").write_text("raise ValueError('a model that takes minutes to load')")
    assert main(WORDS) == 2
    assert "record: holds a record already" in capsys.readouterr().err


def test_an_empty_directory_of_the_users_is_left(folder: Path) -> None:
    """Mounted, shared or with rights of its own, perhaps."""
    (folder / "record").mkdir()
    assert dryrun(folder, "raise ValueError('mine')", 7) == 2
    assert os.listdir(folder / "record") == []


def test_of_a_longer_path_what_was_made_is_removed(folder: Path) -> None:
    (folder / "runs").mkdir()
    assert dryrun(folder, "raise ValueError('mine')", 7, "-o", "runs/today/first/") == 2
    assert os.listdir(folder / "runs") == []


def test_a_dry_run_that_is_killed_leaves_what_is_no_record(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.py").write_text(
        SCRIPT.format(call=7, what="os.kill(os.getpid(), signal.SIGKILL)")
    )
    words = ["dryrun", "c.yaml", "--entry", "mine.py:build", "--steps", "6", "-o", "record"]
    command = [PYTHON, "-m", "gradaudit", *words]
    given = environment(PYTHONPATH=os.pathsep.join([str(ROOT)]))
    assert subprocess.run(command, env=given, check=False).returncode == -signal.SIGKILL
    with pytest.raises(BadRecord, match="record: holds no whole record: a dry run is still"):
        read_record("record")
    (folder / "record" / "unfinished.jsonl").write_text("half a li")  # as far as it was written
    capsys.readouterr()
    (folder / "mine.py").write_text(SCRIPT.format(call=0, what="pass"))
    assert main(words) == 0  # into the same directory, which holds no record
    said = " ".join(capsys.readouterr().err.split())
    assert "record/unfinished.jsonl is of a dry run that was killed before its end" in said
    assert os.listdir("record") == ["rank-0.jsonl"]
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "steps", "steps": 6}]


def test_of_two_dry_runs_at_once_into_one_directory_the_second_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would write into one file: the record of the first would be the second's, or none."""
    waits = """
        open('begun', 'w').close()
        while not os.path.exists('go'):
            __import__('time').sleep(0.05)
    """
    (folder / "mine.py").write_text(SCRIPT.format(what=waits, call=9))
    first = subprocess.Popen(
        [PYTHON, "-m", "gradaudit", *WORDS], env=environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until_begun(first, folder)
        assert dryrun(folder, "pass", 0) == 2
        said = capsys.readouterr().err
        assert "record: another probe or dry run is writing its record there; name another" in said
        assert sorted(os.listdir("record")) == [".gradaudit-held", "unfinished.jsonl"]
    finally:
        (folder / "go").touch()
        out, _ = first.communicate(timeout=60)
    assert first.returncode == 0, out
    assert lines_of(folder)["stop"] == [{"kind": "stop", "why": "steps", "steps": 6}]
    assert dryrun(folder, "pass", 0) == 2
    assert "record: holds a record already" in capsys.readouterr().err


def test_into_the_directory_of_a_probe_that_runs_no_dry_run_writes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor the other way round: the probe would read the lines of the dry run as its own."""
    first = begun(folder, "-o", "record")
    try:
        assert dryrun(folder, "pass", 0) == 2
        said = capsys.readouterr().err
        assert "record: another probe or dry run is writing its record there" in said
        assert "rank-0.jsonl" not in os.listdir("record")
    finally:
        (folder / "go").touch()
        first.communicate(timeout=60)


def test_a_record_that_a_probe_began_meanwhile_is_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = "__import__('pathlib').Path('record/rank-0.jsonl').write_text('of a probe')"
    assert dryrun(folder, probe, 9) == 2
    assert "record: holds a record already" in capsys.readouterr().err
    assert (folder / "record" / "rank-0.jsonl").read_text() == "of a probe"
    assert os.listdir("record") == ["rank-0.jsonl"]


@pytest.mark.parametrize("output", ["taken", "taken/deeper/still"])
def test_a_file_is_no_directory_for_a_record(
    folder: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").write_text("mine")
    for words in ([*WORDS[:-1], output], ["probe", "-o", output, "--", PYTHON, "-c", "pass"]):
        assert main(words) == 2
        said = f"--output {output}: taken is a file; it takes a directory"
        assert said in capsys.readouterr().err
    assert (folder / "taken").read_text() == "mine"
