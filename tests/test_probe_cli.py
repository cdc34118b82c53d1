"""`gradaudit probe` as a user runs it: what it ends, what it leaves, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from probe_support import (
    LOOP,
    PYTHON,
    ROOT,
    TRAINING,
    environment,
    error_of,
    needs,
    probe,
    probe_command,
    read,
)  # fmt: skip
from support import run_cli

from gradaudit.probe.prepared import isolating_flag
from gradaudit.probe.tail import Progress, Seen, Tail
from gradaudit.render.live import facts_of, time_text


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    (tmp_path / "loop.py").write_text(LOOP, encoding="utf-8")
    return tmp_path


# what needs no torch


def test_python_that_cannot_be_reached() -> None:
    assert isolating_flag(["python", "-I", "train.py"]) == "-I"
    assert isolating_flag(["/usr/bin/python3.12", "-uE", "-m", "train"]) == "-E"
    assert isolating_flag(["env", "A=1", "python3", "-W", "error", "-S", "train.py"]) == "-S"
    assert isolating_flag(["python", "train.py", "-I", "-E", "-S"]) == ""
    assert isolating_flag(["python", "-m", "train", "-S"]) == ""
    assert isolating_flag(["python", "-mtrain", "-S"]) == ""
    assert isolating_flag(["python", "-c", "pass", "-E"]) == ""
    assert isolating_flag(["torchrun", "-E", "train.py"]) == ""
    assert isolating_flag([]) == ""


def test_an_empty_directory_of_the_users_is_left(tmp_path: Path) -> None:
    """One that we made, with those above it, is not, where nothing was recorded."""
    (tmp_path / "mine").mkdir()
    for output in ("mine", "made/for/it"):
        assert probe(tmp_path, "-o", output, "--", PYTHON, "-c", "pass").code == 2
    assert os.listdir(tmp_path) == ["mine"]
    assert os.listdir(tmp_path / "mine") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--", PYTHON, "-E", "train.py"], "run the command without -E"),
        (["--", "no-such-command"], "no-such-command: no such command"),
        (["--", "./train.py"], "./train.py: is a script, not a command; run it with `python"),
        (["--config", "no.yaml", "--", "true"], "--config no.yaml: no such file"),
        (["--cwd", "there", "--", PYTHON, "train.py"], "name it by its full path"),
        (["--", PYTHON, "-c", "pass"], "never imported torch"),
        (["--", PYTHON, "-c", "1 / 0"], "failed with exit code 1 before its first optimizer step"),
        (["--", "sh", "-c", "kill -9 $$"], "was ended by signal 9"),
        (["--", "env", "-u", "PYTHONPATH", PYTHON, "-c", "pass"], "PYTHONPATH"),
        (["-o", "full", "--", "true"], "holds a record already"),
        (["--unit", "main", "--", "true"], "is recorded: add --config"),
        (["--config", "c.yaml", "--unit", "mian", "--", "touch", "rank"], "no unit `mian`"),
        (["--config", "bad.yaml", "--", "touch", "rank"], "bad.yaml: cannot be read: line 2: "),
    ],
)
def test_what_cannot_be_recorded_is_said_in_one_line(
    tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "rank-0.jsonl").touch()
    (tmp_path / "c.yaml").write_text("optimizer: adamw\nlr: 0.001\n", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("lr: [1\nfoo: }2\n", encoding="utf-8")
    ran = probe(tmp_path, *words)
    assert ran.code == 2
    assert says in error_of(ran)
    left = sorted(p.name for p in tmp_path.rglob("*") if "rank" in p.name or ".state" in p.name)
    assert left == ["rank-0.jsonl"]


def test_without_torch_the_mend_names_the_python(tmp_path: Path) -> None:
    (tmp_path / "no_torch.py").write_text(
        "import sys\nsys.path[:] = [p for p in sys.path if 'site-' not in p]\nimport torch\n",
        encoding="utf-8",
    )
    ran = probe(tmp_path, "--", PYTHON, "no_torch.py")
    assert ran.code == 2
    assert "ModuleNotFoundError" in ran.err
    assert "needs torch in the environment of the command" in error_of(ran)
    assert f"`{PYTHON} -m pip install torch`" in error_of(ran)


def test_the_words_of_the_command_are_its_own(tmp_path: Path) -> None:
    program = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open('told', 'w'))"
    words = ["--set", "a=1", "b=2", "--steps", "3", "--help", "--", "-x"]
    probe(tmp_path, PYTHON, "-c", program, *words, KEPT="1", GRADAUDIT_PROBE_STEPS="no")
    told, environ = json.loads((tmp_path / "told").read_text())
    assert told == words
    assert environ["KEPT"] == "1"
    assert environ["PYTHONPATH"].split(os.pathsep)[1:] == [str(ROOT)]
    assert environ["GRADAUDIT_PROBE_STEPS"] == "100"


def test_the_shadowed_sitecustomize_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.shadowed = __file__\n")
    shim = ROOT / "gradaudit" / "probe" / "shim"
    program = "import sys; print(sys.shadowed, sys.modules['sitecustomize'].__file__)"
    for more in ({}, {"GRADAUDIT_PROBE_DIR": str(tmp_path / "gone")}):
        given = environment(PYTHONPATH=f"{shim}{os.pathsep}{tmp_path}", **more)
        ran = subprocess.run(
            [PYTHON, "-c", program], env=given, capture_output=True, text=True, check=True
        )
        assert ran.stdout.split() == [str(tmp_path / "sitecustomize.py")] * 2
        assert ran.stderr == ""


def test_help() -> None:
    ran = run_cli("probe", "--help")
    assert ran.code == 0
    assert "--skip-steps" in ran.out


def test_a_record_is_read_while_it_grows(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path), wanted=10)
    assert tail.read().recorded == 0
    path = tmp_path / "rank-0.jsonl"
    steps = []
    for number, norm in enumerate((2.0, 0.5, "nan"), 1):
        clips = [{"what": "norm", "clip_norm": 1.0}]
        steps.append(
            {
                "kind": "step", "optimizer": 0, "step": number, "time": number * 2.0,
                "pre_clip_norm": norm, "clips": clips, "skipped": False, "backward_calls": 4,
            }
        )  # fmt: skip
    text = "".join(json.dumps(step) + "\n" for step in steps)
    path.write_text(text[:-20], encoding="utf-8")
    assert tail.read().recorded == 2
    path.write_text(text, encoding="utf-8")
    seen = tail.read()
    one = seen.optimizers[0]
    assert (seen.recorded, seen.steps, one.clips, one.clipped) == (3, 3, 3, 1)
    assert seen.seconds_left == 14.0
    assert facts_of(seen) == "norm nan  clipped 33 %  about 14 s left"
    assert [time_text(s) for s in (80, 240, 9000)] == ["80 s", "4 min", "2.5 h"]


def test_the_bar_speaks_of_every_optimizer_and_waits_for_the_slowest() -> None:
    fast = Progress(done=40, times=[float(n) for n in range(40)], norms=[2.0], clipped=3, clips=4)
    slow = Progress(done=8, times=[5.0 * n for n in range(8)], norms=[0.25])
    seen = Seen(100, {1: slow, 0: fast})
    assert seen.steps == 8
    assert seen.seconds_left == 92 * 5.0
    assert facts_of(seen) == "norm 2 | 0.25  clipped 75 % | -  about 8 min left"
    slow.times = slow.times[:2]
    assert seen.seconds_left is None


def test_no_time_left_is_not_said() -> None:
    """It would stand as the last line of a run that has ended."""
    seen = Seen(100, {0: Progress(done=97, times=[0.01 * n for n in range(97)])})
    assert facts_of(seen) == ""


# real runs


@pytest.mark.torch
@needs("torch")
def test_a_run_is_ended_and_nothing_after_it_happens(tmp_path: Path) -> None:
    """Not its `finally`, not the next line of the script around it; no worker stays."""
    script = tmp_path / "train.sh"
    script.write_text(
        f'"{PYTHON}" "{TRAINING}/plain.py" "{tmp_path}/kept" "{tmp_path}"\ntouch next\n'
    )
    ran = probe(tmp_path, "--exit-zero", "--steps", "5", "-o", "record", "--", "sh", str(script))
    assert ran.code == 0, ran.err
    record = read(tmp_path / "record" / "rank-0.jsonl")
    assert record.column("step") == [1, 2, 3, 4, 5]
    assert record.stop is not None
    assert record.stop["why"] == "steps"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["record", "train.sh"]
    assert [p.name for p in (tmp_path / "record").iterdir()] == ["rank-0.jsonl"]
    assert "5 of AdamW (steps 1 to 5)" in ran.out
    assert "at 0.5: acted at 5 of 5 steps" in ran.out
    assert "backward called 2 times a step" in ran.out
    assert "step 1" in ran.out  # the command's own
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False)
    assert str(tmp_path) not in listed.stdout


@pytest.mark.torch
@needs("torch")
def test_steps_are_skipped_and_files_are_listed(loop: Path) -> None:
    works = """torch.save(step, "a.pt")
    open("b.txt", "a").close()
    if step == 5:
        os.remove("b.txt")
        torch.load("a.pt")
    time.sleep"""
    (loop / "loop.py").write_text("import os" + LOOP.replace("time.sleep", works), encoding="utf-8")
    ran = probe(loop, "--steps", "4", "--skip-steps", "6", "-o", "r", "--", PYTHON, "loop.py", "0")
    assert ran.code == 0, ran.err
    record = read(loop / "r" / "rank-0.jsonl")
    assert record.column("step") == [7, 8, 9, 10]
    assert record.header["skip_steps"] == 6
    assert [(f["operation"], f["path"], f["step"], f["via"]) for f in record.files] == [
        ("write", "a.pt", 1, "torch.save"),
        ("write", "b.txt", 1, "open"),
        ("delete", "b.txt", 6, "os.remove"),
        ("read", "a.pt", 6, "torch.load"),
    ]
    assert "wrote a.pt, b.txt\n" in ran.out
    assert "deleted b.txt\n" in ran.out
    assert "read a.pt\n" in ran.out
    assert not (loop / "ended").exists()


@pytest.mark.torch
@needs("torch")
def test_the_exit_code_judges_the_run_beside_its_config(loop: Path) -> None:
    """As `check` does: the file says one clip, the program another."""
    (loop / "c.yaml").write_text("optimizer: sgd\nlearning_rate: 0.1\nclip_norm: 5.0\n")
    words = ("--steps", "30", "--config", "c.yaml", "-o", "r", "--", PYTHON, "loop.py", "0")
    ran = probe(loop, *words)
    assert ran.code == 1, ran.err
    assert "GA902" in ran.out
    assert "c.yaml:3:12" in ran.out
    (loop / "c.yaml").write_text("optimizer: sgd\nlearning_rate: 0.1\nclip_norm: 0.5\n")
    assert probe(loop, *words).code == 2  # there is a record in r
    words = (*words[:4], "-o", "r2", *words[6:])
    ran = probe(loop, *words)
    assert "GA902" not in ran.out
    assert probe(loop, "--exit-zero", *words[:4], "-o", "r3", *words[6:]).code == 0


@pytest.mark.torch
@needs("torch")
def test_a_directory_of_its_own(loop: Path) -> None:
    words = ("--steps", "3", "--cwd", "apart", "--", PYTHON, str(loop / "loop.py"), "0")
    ran = probe(loop, *words)
    assert ran.code == 0, ran.err
    (record,) = (loop / ".gradaudit" / "probe").iterdir()
    assert read(record / "rank-0.jsonl").column("step") == [1, 2, 3]
    assert (loop / ".gradaudit" / ".gitignore").read_text() == "*\n"
    assert (loop / "apart").is_dir()


@pytest.mark.torch
@needs("torch")
def test_a_script_that_ends_or_fails_before_the_last_step(loop: Path) -> None:
    ran = probe(loop, "--exit-zero", "--steps", "500", "-o", "r1", "--", PYTHON, "loop.py", "0")
    assert ran.code == 0, ran.err
    assert "the program ended by itself, 500 steps were asked for" in ran.out
    assert "400 of SGD (steps 1 to 400)" in ran.out
    assert (loop / "ended").exists()
    (loop / "loop.py").write_text(LOOP.replace("time.sleep", "step > 6 and no_such_name"))
    ran = probe(loop, "-o", "r2", "--", PYTHON, "loop.py", "0")
    assert ran.code == 2
    assert "NameError: name 'no_such_name'" in ran.err
    assert error_of(ran) == "the command failed with exit code 1 after 8 recorded steps"
    record = read(loop / "r2" / "rank-0.jsonl")
    assert record.stop is not None
    assert record.stop["why"] == "error"
    assert len(record.steps) == 8


@pytest.mark.torch
@needs("torch")
def test_no_optimizer_step(tmp_path: Path) -> None:
    ran = probe(tmp_path, "--", PYTHON, "-c", "import torch")
    assert ran.code == 2
    assert "never stepped an optimizer of torch.optim" in error_of(ran)


@pytest.mark.torch
@needs("torch")
def test_ctrl_c_ends_with_what_was_recorded(loop: Path) -> None:
    command = probe_command("-o", "r", "--", PYTHON, "loop.py", "0.05")
    running = subprocess.Popen(
        command, cwd=loop, env=environment(PYTHONPATH=str(ROOT)), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 120
    path = loop / "r" / "rank-0.jsonl"
    while time.monotonic() < until and not (path.exists() and '"step"' in path.read_text()):
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "ending after the current step" in err
    assert "interrupted" in out
    record = read(path)
    assert record.stop is not None
    assert record.stop["why"] == "interrupted"
    assert record.stop["steps"] == len(record.steps)
    assert not (loop / "ended").exists()


@pytest.mark.torch
@needs("torch")
def test_the_command_ends_with_a_probe_that_is_told_to_end(loop: Path) -> None:
    running = subprocess.Popen(
        probe_command("-o", "r", "--", PYTHON, str(loop / "loop.py"), "0.05"), cwd=loop,
        env=environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 120
    while time.monotonic() < until and not (loop / "r" / "rank-0.jsonl").exists():
        time.sleep(0.1)
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert b"gradaudit: ended by a signal; the record is in r: `gradaudit check --record r" in err
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False)
    assert str(loop / "loop.py") not in listed.stdout


@pytest.mark.torch
@needs("torch")
def test_a_fault_of_the_recorder_ends_the_run(loop: Path) -> None:
    """The training itself would go on, and for days: nothing would end it any more."""
    faults = "\nimport gradaudit_recorder.steps as s\ns.norms_of = None\nfor step in"
    (loop / "loop.py").write_text(LOOP.replace("\nfor step in", faults), encoding="utf-8")
    ran = probe(loop, "-o", "r", "--", PYTHON, "loop.py", "0.05")
    assert ran.code == 2
    assert "the recorder failed in _step_begins" in error_of(ran)
    assert not (loop / "ended").exists()


@pytest.mark.torch
@needs("torch")
def test_phases_and_forked_trainings(tmp_path: Path) -> None:
    """Several optimizers one after the other, in a process that is a fork."""
    (tmp_path / "phases.py").write_text(
        """
import os, torch
def train():
    for phase in range(40):
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(4):
            optimizer.zero_grad()
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()
    open("ended", "w").close()
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    train()
    os._exit(0)
""",
        encoding="utf-8",
    )
    ran = probe(tmp_path, "--steps", "6", "-o", "r", "--", PYTHON, "phases.py")
    assert ran.code == 0, ran.err
    record = read(tmp_path / "r" / "rank-0.jsonl")
    numbers = [optimizer["optimizer"] for optimizer in record.optimizers]
    assert numbers == list(range(len(numbers)))
    assert len(record.all_steps) == 5 * 6  # five times what was asked of one
    assert not (tmp_path / "ended").exists()


@pytest.mark.torch
@pytest.mark.slow
@needs("torch")
def test_torchrun_is_ended_with_all_its_ranks(tmp_path: Path) -> None:
    launcher = [PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2",
                "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]  # fmt: skip
    words = [*launcher, str(TRAINING / "ddp.py"), str(tmp_path / "kept")]
    ran = probe(tmp_path, "--steps", "4", "-o", "r", "--", *words)
    assert ran.code == 0, ran.err
    for rank in range(2):
        record = read(tmp_path / "r" / f"rank-{rank}.jsonl")
        assert record.column("step") == [1, 2, 3, 4]
        assert record.stop is not None
        assert record.stop["why"] == "steps"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


@pytest.mark.torch
@pytest.mark.slow
@needs("lightning")
def test_lightning_saves_no_checkpoint_at_the_stop(tmp_path: Path) -> None:
    """It saves one on every exception, KeyboardInterrupt and SystemExit: the stop is none."""
    words = [PYTHON, str(TRAINING / "lit.py"), str(tmp_path / "kept"), "automatic", str(tmp_path)]
    ran = probe(tmp_path, "--steps", "4", "-o", "r", "--", *words)
    assert ran.code == 0, ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
