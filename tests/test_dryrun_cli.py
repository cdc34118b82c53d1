"""`gradaudit dryrun` as a user runs it: on the sample, into a record, into a fix."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from gradaudit.__main__ import main
from gradaudit.cli.dryrun import HOW_TO_GET_TORCH

SAMPLES = Path(__file__).resolve().parent.parent / "sample_configs"
CONFIG = "enhanced_training.yaml"
torch_only = [pytest.mark.torch, pytest.mark.slow]
TWO_STEPS_AN_EPOCH = ["--set", "priority_net.learning_rate=2e-3", "--assume", "steps_per_epoch=2"]


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (CONFIG, "priority_net.py"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "priority_net", raising=False)
    return tmp_path


def dryrun(*words: str) -> int:
    return main(["dryrun", CONFIG, "--entry", "priority_net.py:build", *words])


def test_without_torch_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sample: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert dryrun() == 2
    said = capsys.readouterr()
    assert said.err == f"gradaudit: error: {HOW_TO_GET_TORCH}\n"
    assert "pip install torch" in said.err
    assert not said.out


class TestUsage:
    pytestmark = torch_only

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--entry", "priority_net:nothing"], "has no `nothing`"),
            (["--entry", "gone.py:build"], "holds 4 trainings: say which is measured with --unit"),
            (["--unit", "priority_nut"], "has no unit `priority_nut`; did you mean"),
            (["--entry", "gone.py:build", "--unit", "priority_net"], "there is no such file"),
        ],
    )
    def test_messages(
        self, words: list[str], said: str, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert dryrun(*words) == 2
        assert said in capsys.readouterr().err

    def test_files_that_cannot_be_read(
        self, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (sample / "broken.yaml").write_text("a: [1\n")
        for name, said in (
            ("broken.yaml", "cannot be read: line"), ("gone.yaml", "No such file"),
        ):  # fmt: skip
            assert main(["dryrun", name, "--entry", "priority_net.py:build"]) == 2
            assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory in which it ran once, and its screen at 80 columns."""
    folder = tmp_path_factory.mktemp("sample")
    for name in (CONFIG, "priority_net.py"):
        shutil.copy(SAMPLES / name, folder / name)
    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen):
        patch.chdir(folder)
        patch.setattr("sys.path", [*sys.path])
        patch.delitem(sys.modules, "priority_net", raising=False)
        patch.setenv("COLUMNS", "80")
        assert dryrun("--steps", "60", "-o", "record", *TWO_STEPS_AN_EPOCH) == 1
    return folder, screen.getvalue()


class TestSample:
    """One dry run under the protocol of docs/measurements.md, read and applied."""

    pytestmark = torch_only

    def test_causes_are_named_in_measured_order(self, ran: tuple[Path, str]) -> None:
        screen = ran[1]
        order = [screen.index(f"{place}. `{name}`") for place, name in
                 enumerate(("min_variance", "calib_range"), 1)]  # fmt: skip
        assert order == sorted(order)
        text = " ".join(screen.split())
        assert "add up to their sum's and to the script's own loss" in text
        assert "noise scale: none, BatchNorm couples" in text
        assert "clip threshold: none" in text
        assert all(len(line) <= 80 for line in screen.splitlines() if "/" not in line)

    def test_a_record_is_never_overwritten(
        self, ran: tuple[Path, str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(ran[0])
        monkeypatch.setattr("sys.path", [*sys.path])
        before = (ran[0] / "record" / "rank-0.jsonl").read_bytes()
        assert dryrun("--steps", "1", "-o", "record", *TWO_STEPS_AN_EPOCH) == 2
        assert "record: holds a record already; name another" in capsys.readouterr().err
        assert (ran[0] / "record" / "rank-0.jsonl").read_bytes() == before

    def test_the_record_is_whole(self, ran: tuple[Path, str]) -> None:
        text = (ran[0] / "record" / "rank-0.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        kinds = [line["kind"] for line in lines]
        assert kinds[0] == "header"
        assert kinds[-1] == "stop"
        assert kinds.count("terms") == kinds.count("step") == 60
        for kind in ("trajectory", "frozen", "noise", "batch_norm_noise", "batch_size_bias",
                     "rate_test"):  # fmt: skip
            assert kinds.count(kind) == 1
        (about,) = [line for line in lines if line["kind"] == "trajectory"]
        assert about["warmup_steps"] == 12
        assert about["total_checked"]
        rates = [line["learning_rate"][0] for line in lines if line["kind"] == "step"]
        assert rates[0] == pytest.approx(0.02 * 2e-3)
        assert max(rates) == pytest.approx(2e-3)

    def test_fix_writes_the_weights_and_nothing_else(
        self,
        ran: tuple[Path, str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        sample = ran[0]
        monkeypatch.chdir(sample)
        words = ["fix", CONFIG, "--record", "record", "--unit", "priority_net", "--write",
                 "--select", "GA401,GA402,GA961", "--exit-zero"]  # fmt: skip
        before = (sample / CONFIG).read_text().splitlines()
        assert main(words) == 0
        assert "by the measured norms" in " ".join(capsys.readouterr().out.split())
        after = (sample / CONFIG).read_text().splitlines()
        changed = {
            old.split(":")[0].strip(): (value(old), value(new))
            for old, new in zip(before, after, strict=True)
            if old != new
        }
        assert {"calib_max_weight", "calib_range_weight", "min_variance_weight"} <= set(changed)
        assert not {"ranking_weight", "mse_weight"} & set(changed)
        assert all(old > new >= 0.01 * old for old, new in changed.values())
        assert main(words) == 0  # the same record is not applied twice
        assert (sample / CONFIG).read_text().splitlines() == after


def value(line: str) -> float:
    return float(line.split(":")[1].split("#")[0])


@pytest.mark.torch
@pytest.mark.slow
def test_a_run_that_fails_leaves_no_record_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again, once the script is mended."""
    script = (
        "import torch\nfrom gradaudit.probe.protocol import Training\n"
        "def build(config):\n"
        "    def losses(model, batch):\n"
        "        return {'mse': (model(batch).square().mean() / FACTOR, 1.0)}\n"
        "    return Training(torch.nn.Linear(2, 1), [torch.ones(4, 2)] * 4, losses)\n"
    )
    (tmp_path / "c.yaml").write_text("optimizer: sgd\nlearning_rate: 0.1\nmax_steps: 9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    words = ["dryrun", "c.yaml", "--entry", "mine_too.py:build", "--steps", "3", "-o", "record"]
    for factor, code in ((0, 2), (10, 0)):  # of another length: no old bytecode is taken
        (tmp_path / "mine_too.py").write_text(script.replace("FACTOR", f"torch.tensor({factor}.0)"))
        assert main(words) == code
        assert (tmp_path / "record").exists() is (code == 0)
    assert "step 1: term `mse` is" in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.slow
def test_precision_model_leaves_autocast_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(
        "optimizer: sgd\nlearning_rate: 0.1\nmax_steps: 9\nprecision: bf16-mixed\n"
    )
    (tmp_path / "mine_also.py").write_text(
        "import torch\nfrom gradaudit.probe.protocol import Training\n"
        "def build(config):\n"
        "    return Training(torch.nn.Linear(2, 1), [torch.ones(4, 2)] * 4,\n"
        "        lambda model, batch: {'mse': (model(batch).square().mean(), 1.0)})\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    words = [
        "dryrun",
        "c.yaml",
        "--entry",
        "mine_also.py:build",
        "--steps",
        "2",
        "--format",
        "json",
    ]
    for more, expected in (([], "bfloat16"), (["--precision", "model"], None)):
        assert main([*words, *more]) == 0
        assert json.loads(capsys.readouterr().out)["summary"]["about"]["autocast"] == expected


@pytest.mark.torch
@pytest.mark.slow
def test_the_config_is_handed_over_as_its_framework_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bases, overrides, types and the unit's section."""
    (tmp_path / "base.yaml").write_text("train: {learning_rate: 0.5, width: 3, name: x}\n")
    (tmp_path / "c.yaml").write_text(
        "_base_: base.yaml\ntrain:\n  optimizer: sgd\n  learning_rate: 0.1\n  width: 4\n"
    )
    (tmp_path / "mine.py").write_text(
        "import json\n"
        "def build(config):\n"
        "    with open('seen.json', 'w') as file:\n"
        "        json.dump({'whole': config, 'unit': config.unit}, file)\n"
        "    raise ValueError('seen')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert main(["dryrun", "c.yaml", "--entry", "mine.py:build", "--set", "train.width=7"]) == 2
    assert "mine.py:build failed: ValueError: seen (mine.py:5)" in capsys.readouterr().err
    seen: dict[str, Any] = json.loads((tmp_path / "seen.json").read_text())
    assert seen["whole"]["train"]["learning_rate"] == 0.1
    assert seen["whole"]["train"]["width"] == 7
    assert seen["whole"]["train"]["name"] == "x"
    assert seen["unit"] in (seen["whole"], seen["whole"]["train"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "x"], "--output is of a measurement, which needs your training: add --entry"),
        (["--device", "cpu"], "--device is of a measurement"),
        (["--seed", "0"], "--seed is of a measurement"),
        (["--precision", "config"], "--precision is of a measurement"),
        (["--exit-zero"], "--exit-zero is of a measurement"),
        (["--steps", "100", "--exit-zero"], "--steps and --exit-zero are of a measurement"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    words: list[str], said: str, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an entry, also where it says the default: who gives it expects a measurement."""
    assert main(["dryrun", CONFIG, *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert not told.out


class TestAskedInVain:
    """What the command line asks of the file and nobody can do: measured at the old value it would
    look as if it changed nothing."""

    pytestmark = torch_only
    words = pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--set", "priority_net.learning_rat=5"], "no such key; did you mean `learning_rate`"),
            (["--assume", "world_sise=2"], "--assume world_sise: no such setting; did you mean"),
            (["--assume", "world_size=two"], "--assume world_size=two: takes a number"),
        ],
    )

    @words
    def test_nothing_is_measured(
        self, words: list[str], said: str, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert dryrun("--steps", "2", *words) == 2
        told = capsys.readouterr()
        assert said in told.err
        assert not told.out
        assert not (sample / ".gradaudit").exists()

    @words
    def test_nothing_is_simulated(
        self, words: list[str], said: str, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["dryrun", CONFIG, *words]) == 2
        told = capsys.readouterr()
        assert said in told.err
        assert told.err.count("\n") == 1, "four units, one message"
        assert not told.out

    def test_the_json_of_a_simulation_says_it_itself(
        self, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["--set", "priority_net.learning_rat=5"]
        assert main(["dryrun", CONFIG, "--format", "json", *words]) == 2
        told = capsys.readouterr()
        assert "no such key" in json.loads(told.out)["units"][0]["problems"][0]
        assert not told.err


class TestWithoutEntry:
    pytestmark = torch_only

    def test_it_says_first_that_nothing_was_measured(
        self, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["dryrun", CONFIG, "--unit", "priority_net"]) == 0
        said = capsys.readouterr().out
        assert said.startswith("simulated from the config alone: no gradient was computed\n")
        assert not (sample / ".gradaudit").exists()
        assert main(["dryrun", CONFIG, "--unit", "priority_net", "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["source"] == "simulated"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--unit", "nobody"], "has no unit `nobody`"),
        ],
    )
    def test_messages(
        self, words: list[str], said: str, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["dryrun", CONFIG, *words]) == 2
        assert said in capsys.readouterr().err

    def test_json_of_a_measurement_is_json_whatever_the_script_prints(
        self, sample: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        script = sample / "priority_net.py"
        script.write_text(script.read_text() + "\nprint('imported')\n")
        assert dryrun("--format", "json", "--steps", "3", *TWO_STEPS_AN_EPOCH) == 0
        said = capsys.readouterr()
        assert "imported" in said.err
        document = json.loads(said.out)
        assert (document["source"], document["unit"]) == ("dryrun", "priority_net")
        summary = document["summary"]
        assert summary["about"]["steps"] == 3
        assert {term["name"] for term in summary["terms"]} >= {"mse", "ranking"}
        assert Path(document["record"], "rank-0.jsonl").is_file()
