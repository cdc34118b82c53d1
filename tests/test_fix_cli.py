"""`gradaudit fix`: the sample's repair to the letter, and what is promised of every repair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, SAMPLE, run_cli

Write = Callable[[str], Path]


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample with its source and settings in a directory of its own."""
    for name in ("enhanced_training.yaml", "priority_net.py", "gradaudit.toml"):
        shutil.copy(ROOT / "sample_configs" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "enhanced_training.yaml"


def changed_lines(before: bytes, after: bytes) -> list[tuple[int, bytes, bytes]]:
    old, new = before.split(b"\n"), after.split(b"\n")
    assert len(old) == len(new)
    return [(n, a, b) for n, (a, b) in enumerate(zip(old, new, strict=True), 1) if a != b]


RECOMMENDED = {
    "batch_size": (b"6", b"24"),
    "calib_max_weight": (b"2.50", b"0.70"),
    "calib_range_weight": (b"2.00", b"0.70"),
    "min_variance_weight": (b"10.0", b"0.70"),
}
SPECULATIVE = {
    "gradient_clip_norm": (b"2.0", b"5.0"),
    "uncertainty_weight": (b"0.35", b"0.10"),
}


def assert_only(before: bytes, after: bytes, wanted: dict[str, tuple[bytes, bytes]]) -> None:
    """Exactly these values of priority_net changed, and no byte beside them."""
    changes = changed_lines(before, after)
    assert len(changes) == len(wanted)
    for _, old, new in changes:
        key = old.split(b":")[0].strip().decode()
        was, becomes = wanted[key]
        assert old.replace(b": " + was, b": " + becomes, 1) == new


def test_the_diff_is_shown_and_nothing_written(sample: Path) -> None:
    before = sample.read_bytes()
    ran = run_cli("fix", "enhanced_training.yaml")
    assert ran.code == 1
    assert sample.read_bytes() == before
    assert "-  calib_max_weight: 2.50 " in ran.out
    assert "+  calib_max_weight: 0.70 " in ran.out
    assert "memory for activations x 4" in ran.out
    assert "review the learning rate" in ran.out
    assert "`gradaudit fix enhanced_training.yaml --write` applies" in ran.out


def test_write_takes_safe_and_recommended_fixes(sample: Path) -> None:
    before = sample.read_bytes()
    assert run_cli("fix", "enhanced_training.yaml", "--write").code == 0
    assert_only(before, sample.read_bytes(), RECOMMENDED)
    left = run_cli("check", "enhanced_training.yaml", "--format", "concise").out
    assert "info[GA401] priority_net: auxiliary weights add up to 2.75, 3.1 times" in left
    assert "warning" not in left


def test_unsafe_adds_the_rest_of_the_prescription(sample: Path) -> None:
    before = sample.read_bytes()
    ran = run_cli("fix", "enhanced_training.yaml", "--unsafe", "--write")
    assert ran.code == 0
    assert_only(before, sample.read_bytes(), {**RECOMMENDED, **SPECULATIVE})
    assert "no gain was measured" in " ".join(ran.out.split())


def test_safe_only_leaves_a_training_as_it_is(sample: Path) -> None:
    before = sample.read_bytes()
    ran = run_cli("fix", "enhanced_training.yaml", "--safe-only", "--write")
    assert ran.code == 1
    assert sample.read_bytes() == before
    assert "Without `--safe-only` there are more." in ran.out


@pytest.mark.parametrize("level", [[], ["--unsafe"]])
def test_a_second_fix_changes_nothing(sample: Path, level: list[str]) -> None:
    run_cli("fix", "enhanced_training.yaml", "--write", *level)
    once = sample.read_bytes()
    ran = run_cli("fix", "enhanced_training.yaml", "--write", *level)
    assert ran.code == 0
    assert sample.read_bytes() == once
    assert "Nothing to fix." in ran.out


def test_the_repaired_sample_is_what_the_tool_makes(sample: Path) -> None:
    run_cli("fix", "enhanced_training.yaml", "--write")
    assert sample.read_bytes() == (ROOT / "sample_configs/repaired_training.yaml").read_bytes()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_the_files_own_ways_survive(
    sample: Path, ending: str, mark: bytes, last: bool, tmp_path: Path
) -> None:
    text = sample.read_bytes().replace(b"\n", ending.encode())
    if not last:
        text = text.rstrip()
    sample.write_bytes(mark + text)
    assert run_cli("fix", "enhanced_training.yaml", "--write").code == 0
    assert_only(mark + text, sample.read_bytes(), RECOMMENDED)


BAD = "optimizer: adamw\nlearning_rate: 1e-4  # why\nbatch_size: 32\n"


def test_standard_input_gives_the_repaired_text_on_standard_output(config: Write) -> None:
    config("")
    ran = run_cli("fix", "-", "--write", stdin=BAD.encode())
    assert ran.out == BAD.replace("1e-4", "1.0e-4")
    assert "Fixed 1 finding in 1 file." in ran.err
    same = run_cli("fix", "-", "--write", stdin=b"optimizer: adamw\n")
    assert same.out == "optimizer: adamw\n"


def test_suppressed_findings_are_never_fixed(config: Write) -> None:
    path = config(BAD.replace("# why", "# gradaudit: ignore[GA702] OmegaConf loads it"))
    before = path.read_bytes()
    assert run_cli("fix", "config.yaml", "--write").code == 0
    assert path.read_bytes() == before


def test_what_cannot_be_done_safely_is_refused_with_the_reason(config: Write) -> None:
    path = config("optimizer: adamw\nlearning_rate: &rate 1e-4\nencoder_rate: *rate\n")
    before = path.read_bytes()
    ran = run_cli("fix", "config.yaml", "--write")
    assert ran.code == 1
    assert path.read_bytes() == before
    assert "not fixed: config.yaml:2: GA702" in ran.out
    assert "*rate" in ran.out


def test_duplicate_keys_lose_the_one_that_loses(config: Write) -> None:
    path = config("optimizer: adamw\nlr: 0.1  # old\nbatch_size: 4\nlr: 0.001  # new\n")
    assert run_cli("fix", "config.yaml", "--write").code == 0
    assert path.read_text() == "optimizer: adamw\nbatch_size: 4\nlr: 0.001  # new\n"


def test_an_unwritable_file_is_a_problem_and_nothing_is_lost(config: Write) -> None:
    path = config(BAD)
    path.chmod(0o444)
    ran = run_cli("fix", "config.yaml", "--write")
    assert ran.code == 2
    assert path.read_text() == BAD
    assert list(path.parent.iterdir()) == [path]


def test_only_the_values_change_in_many_styles(config: Write) -> None:
    text = (
        "{optimizer: adamw, 'learning_rate': 1e-4, \"eps\": 1E-8,   # odd\n"
        "  nested: {adam_epsilon: 1e-6}, list: [1e-3, {lr: 5e-5}]}"
    )
    path = config(text)
    run_cli("fix", "config.yaml", "--write", "--select", "GA702")
    assert path.read_text() == text.replace("1e-4", "1.0e-4").replace("1E-8", "1.0E-8").replace(
        "1e-6", "1.0e-6"
    ).replace("5e-5", "5.0e-5")


def test_json_configs_stay_json(config: Write) -> None:
    config("")
    path = Path("ds.json")
    text = '{\n  "optimizer": {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}},\n  "gradient_clip_norm": -2.0\n}'  # noqa: E501
    path.write_text(text)
    run_cli("fix", "ds.json", "--write", "--unsafe")
    assert path.read_text() == text.replace("-2.0", "2.0")


def test_the_sample_is_left_alone_by_the_tests() -> None:
    assert "batch_size: 6 " in (ROOT / SAMPLE).read_text()
