"""Rules on the training's Python source: what they see, and loops that they must not accuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import SAMPLE, run_cli
from training_snippets import HEADER, snippets

from gradaudit.audit import FileResult, audit_source
from gradaudit.evidence.python_source import read_training
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

SNIPPETS = snippets()
BY_NAME = {name: text for name, _, text in SNIPPETS}
FACTS = ("loss", "clip", "late", "schedule")
CODES = {"GA109", "GA215", "GA306", "GA506"}


def shown_by(text: str) -> dict[str, int]:
    """How many of each fact a text shows."""
    code = read_training(Source("train.py", text))
    found: list[list[Any]] = [
        code.undivided, code.scaled_clips, code.late_clips, code.schedules,
    ]  # fmt: skip
    return {fact: len(shown) for fact, shown in zip(FACTS, found, strict=True)}


@pytest.mark.parametrize(("name", "expected", "text"), SNIPPETS, ids=[s[0] for s in SNIPPETS])
def test_each_loop_shows_its_fault_and_no_other(name: str, expected: set[str], text: str) -> None:
    assert shown_by(text) == {fact: int(fact in expected) for fact in FACTS}


def test_most_loops_are_sound() -> None:
    assert sum(not expected for _, expected, _ in SNIPPETS) >= 40
    assert len(BY_NAME) == len(SNIPPETS)


SECOND = "        F.mse_loss(model.b(x), y).backward()\n        opt_b.step()\n"
BROKEN = [
    ("divided in place", "        loss = loss / accum\n", "", "loss"),
    ("divided by an augmented assignment", "loss /= accum", "pass", "loss"),
    ("divided inside the scale", "loss / accum", "loss", "loss"),
    ("multiplied by the inverse", "weight * F", "F", "loss"),
    ("divided only where it accumulates", "loss = loss / args.steps", "pass", "loss"),
    ("divided by a helper that is given the loss", "scale_for_step(", "(", "loss"),
    ("a helper given the loss afterwards", "normalise(loss)", "loss.mean()", "loss"),
    ("the criterion is told the count", ", accumulation)\n        l", ")\n        l", "loss"),
    ("summed over samples", 'reduction="sum"', 'reduction="mean"', "loss"),
    ("gradients divided by hand", "p.grad /= k", "print(p.grad.norm())", "loss"),
    ("gradients divided by a method", "p.grad.data.div_(k)", "pass", "loss"),
    ("divided in place by a method", "        loss.div_(k)\n", "", "loss"),
    ("divided by a hook", "p.register_hook(lambda gradient: gradient / k)", "pass", "loss"),
    ("steps of one sequence", "retain_graph=True", "", "loss"),
    ("the norm alone is wanted", "math.inf", "1.0", "clip"),
    ("the rate is divided instead", "args.lr / args.k", "args.lr", "loss"),
    ("Accelerate by hand", "accelerator.backward(loss)", "loss.backward()", "loss"),
    ("emptied at every step", "optimizer.zero_grad()\n        loss", "loss", None),
    ("count of one", "ACCUM = 1", "ACCUM = 4", "loss"),
    ("tasks, not micro-batches", "n_tasks", "accum_steps", "loss"),
    ("tokens of all micro-batches", ", num_items_in_batch=batch.total", "", "loss"),
    ("unknown objective", "compute_loss(model, batch)", "model(**batch).loss", "loss"),
    ("a local variable called F", "    from mine import functional as F\n", "", "loss"),
    ("unscaled before the clip", "        scaler.unscale_(optimizer)\n", "", "clip"),
    ("unscaled under the same condition", "            scaler.unscale_(optimizer)\n", "", "clip"),
    ("clip where there is no scaler", "scaler is None", "args.clip", "clip"),
    ("scaler turned off", ", enabled=False", "", "clip"),
    ("scaler of another kind", "Passthrough()", "torch.amp.GradScaler()", "clip"),
    ("helper that is given the scaler", "prepare_gradients(scaler, ", "log_norms(", "clip"),
    ("threshold times the scale", " * scaler.get_scale()", "", "clip"),
    ("two scalers, each unscaled", "        scaler_g.unscale_(opt_g)\n", "", "clip"),
    ("native scaler of timm", "                self._scaler.unscale_(optimizer)\n", "", "clip"),
    ("clip before the second of two losses", SECOND, "", "late"),
    ("multiplied by the processes", " * accelerator.num_processes", "", "schedule"),
    ("stepped by hand", "step_scheduler_with_optimizer=False", "", "schedule"),
    ("batches are split", "split_batches=True", "", "schedule"),
    ("the official script, length unless told",
     "args.max_train_steps = args.epochs * len(loader)", "raise ValueError", "schedule"),
    ("length of the loader before it is split", "    schedule = get_scheduler",
     "    loader = accelerator.prepare(loader)\n    schedule = get_scheduler", "schedule"),
]  # fmt: skip
"""A sound loop, what of it is broken, and the fact that it must then show (None: still none)."""


@pytest.mark.parametrize(("name", "old", "new", "fact"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_sound_loop_that_is_broken_is_seen(
    name: str, old: str, new: str, fact: str | None
) -> None:
    """So that each stays silent for the reason that its name gives."""
    text = BY_NAME[name].replace(old, new)
    assert text != BY_NAME[name]
    if name == "divided only where it accumulates":
        text = text.replace("        if args.steps > 1:\n            pass\n", "")
    assert shown_by(text) == {other: int(other == fact) for other in FACTS}


MENDED = {
    "loss": [("scale(loss)", "scale(loss / 4)"), (" loss.backward()", " (loss / 4).backward()")],
    "clip": [("clip_grad_", "unscale_and_clip_grad_")],
    "late": [(".step(", ".look(")],
    "schedule": [("accelerator.prepare(", "accelerator.check(")],
}
"""For each fact, what mends every loop that shows it."""


@pytest.mark.parametrize("fact", FACTS)
def test_a_faulty_loop_without_its_fault_is_not_seen(fact: str) -> None:
    faulty = [text for _, expected, text in SNIPPETS if fact in expected]
    assert len(faulty) >= 2
    for text in faulty:
        for old, new in MENDED[fact]:
            text = text.replace(old, new)
        assert shown_by(text)[fact] == 0


def judged(tmp_path: Path, python: str, config: str) -> FileResult:
    script = tmp_path / "train.py"
    script.write_text(python, encoding="utf-8")
    options = Options()
    options.sources = [(None, str(script))]
    return audit_source(Source("config.yaml", config), options, Settings())


def only(tmp_path: Path, name: str, config: str) -> Finding | None:
    found = [f for f in judged(tmp_path, BY_NAME[name], config).findings if f.rule.code in CODES]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("optimizer", "severity", "words"),
    [
        ("sgd", "warning", "a learning rate 4 times higher"),
        ("adamw", "info", "the factor cancels"),
        ("adam", "info", "weighs 4 times less"),
        ("lars", "info", "the factor cancels"),
    ],
)
def test_the_optimiser_decides_what_an_undivided_loss_does(
    tmp_path: Path, optimizer: str, severity: str, words: str
) -> None:
    config = (
        f"optimizer: {optimizer}\nlearning_rate: 1.0e-4\nweight_decay: 1.0e-4\naccum_steps: 4\n"
    )
    finding = only(tmp_path, "classic fault", config)
    assert finding is not None
    assert (finding.severity, finding.confidence) == (severity, "high")
    assert words in " ".join(finding.why)
    assert "`(loss / accum_steps).backward()`" in finding.no_fix


def test_the_source_names_the_optimiser_where_the_config_does_not(tmp_path: Path) -> None:
    finding = only(tmp_path, "fault in a class", "learning_rate: 1.0e-4\nbatch_size: 8\n")
    assert finding is not None
    assert "Under AdamW" in finding.why[0]
    unknown = only(tmp_path, "classic fault", "learning_rate: 1.0e-4\nbatch_size: 8\n")
    assert unknown is not None
    assert "not known here" in unknown.why[0]


def test_the_clip_of_the_config_is_said_to_cut_sooner(tmp_path: Path) -> None:
    config = "optimizer: adamw\nlearning_rate: 1.0e-4\naccum_steps: 4\nclip_grad_norm: 2.0\n"
    finding = only(tmp_path, "classic fault", config)
    assert finding is not None
    assert "The clip at 2 cuts where 2 / 4 would have." in finding.why


def test_a_config_that_accumulates_nothing_has_nothing_to_divide(tmp_path: Path) -> None:
    config = "optimizer: sgd\nlearning_rate: 0.1\ngradient_accumulation_steps: 1\n"
    assert only(tmp_path, "classic fault", config) is None
    assert only(tmp_path, "fault with a literal count", config) is not None  # the code says 8


def test_what_a_library_reduces_is_said_to_be_uncertain(tmp_path: Path) -> None:
    config = "optimizer: sgd\nlearning_rate: 0.1\n"
    finding = only(tmp_path, "fault with a named condition", config)
    assert finding is not None
    assert finding.confidence == "low"
    assert "`outputs.loss` is reduced is not followed" in finding.evidence[0]


def test_the_lines_to_write_keep_the_scaler_and_the_sum(tmp_path: Path) -> None:
    config = "optimizer: sgd\nlearning_rate: 0.1\n"
    finding = only(tmp_path, "fault with a scaler", config)
    assert finding is not None
    assert "`scaler.scale(loss / k).backward()`" in finding.no_fix
    both = only(tmp_path, "fault in both branches of mixed precision", config)
    assert both is not None
    assert "write `loss = loss / k`" in both.no_fix
    inline = BY_NAME["fault with a scaler"].replace("scale(loss)", "scale(loss + loss)")
    (found,) = read_training(Source("t.py", inline)).undivided
    assert found.loss == "loss + loss"


@pytest.mark.parametrize(
    ("precision", "fires"),
    [("fp16-mixed", True), ("bf16-mixed", False), ("fp32", False), ("", True)],
)
def test_a_scaler_is_off_where_the_config_needs_none(
    tmp_path: Path, precision: str, fires: bool
) -> None:
    config = "optimizer: sgd\nlearning_rate: 0.1\nclip_grad_norm: 2.0\n"
    config += f"precision: {precision}\n" if precision else ""
    finding = only(tmp_path, "clip of a published U-Net", config)
    assert (finding is not None) is fires
    if finding is not None:
        assert finding.confidence == "medium"  # `enabled=amp`: the file does not tell
        assert "a threshold of 2 cuts their norm at 3.05e-5" in finding.why[0]


def test_a_scaler_from_elsewhere_is_less_sure(tmp_path: Path) -> None:
    config = "optimizer: adamw\nlearning_rate: 1.0e-4\n"
    finding = only(tmp_path, "clip of an official example", config)
    assert finding is not None
    assert finding.confidence == "medium"
    assert finding.no_fix.endswith("write `self.scaler.unscale_(self.optimizer)` above the clip")


def test_a_late_unscale_is_pointed_at(tmp_path: Path) -> None:
    finding = only(tmp_path, "unscaled too late", "optimizer: sgd\nlearning_rate: 0.1\n")
    assert finding is not None
    assert "too late" in finding.related[1].message


@pytest.mark.parametrize(("processes", "severity"), [(8, "warning"), (1, None), (None, "info")])
def test_processes_decide_what_a_prepared_schedule_does(
    tmp_path: Path, processes: int | None, severity: str | None
) -> None:
    config = "optimizer: adamw\nlearning_rate: 1.0e-4\n"
    config += f"world_size: {processes}\n" if processes else ""
    finding = only(tmp_path, "steps of one process", config)
    assert (finding.severity if finding else None) == severity
    if finding is not None:
        assert "`args.max_steps * accelerator.num_processes`" in finding.no_fix
        assert ("1/8 of the training" in finding.message) is (processes == 8)


def test_a_split_loader_is_told_apart(tmp_path: Path) -> None:
    config = "optimizer: adamw\nlearning_rate: 1.0e-4\nworld_size: 4\n"
    finding = only(tmp_path, "length of a loader that is split already", config)
    assert finding is not None
    assert finding.related[0].message == "the length of a split loader"


CONFIG = "optimizer: sgd\nlearning_rate: 0.1\ngradient_accumulation_steps: 4\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loss.backward()", "loss.backward()  # gradaudit: ignore[GA306] tuned to the sum"),
        ("loss.backward()", "# gradaudit: ignore\n        loss.backward()"),
        (HEADER, f"# gradaudit: ignore-file[GA3]\n{HEADER}"),
    ],
)
def test_a_comment_in_the_source_silences_there(tmp_path: Path, old: str, new: str) -> None:
    text = BY_NAME["classic fault"].replace(old, new)
    result = judged(tmp_path, text, CONFIG)
    assert not result.findings
    assert result.suppressed == 1


def test_a_comment_elsewhere_in_the_source_does_not(tmp_path: Path) -> None:
    text = BY_NAME["classic fault"] + "# gradaudit: ignore[GA306]\nx = '# gradaudit: ignore-file'\n"
    result = judged(tmp_path, text, CONFIG)
    assert [finding.rule.code for finding in result.findings] == ["GA306"]


def test_the_config_silences_the_whole_and_only_what_is_there(tmp_path: Path) -> None:
    comment = "# gradaudit: ignore-file[GA306]\n"
    assert not judged(tmp_path, BY_NAME["classic fault"], comment + CONFIG).findings
    stale = judged(tmp_path, BY_NAME["divided in place"], comment + CONFIG)
    assert [finding.rule.code for finding in stale.findings] == ["GA002"]
    unread = audit_source(Source("c.yaml", comment + CONFIG), Options(), Settings())
    assert not unread.findings  # the rule did not run


def test_a_finding_stands_under_the_config_and_lies_in_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gradaudit.toml").write_text('[source."*.yaml"]\none = ["train.py"]\n')
    Path("train.py").write_text(BY_NAME["classic fault"])
    unit = "  optimizer: sgd\n  learning_rate: 0.1\n"
    Path("c.yaml").write_text(f"one:\n{unit}two:\n{unit}")
    ran = run_cli("check", "c.yaml", "--format", "json")
    assert ran.code == 1
    (file,) = json.loads(ran.out)["files"]
    (finding,) = file["findings"]
    assert file["path"] == "c.yaml"
    assert (finding["path"], finding["unit"], finding["key"]) == ("train.py", "one", None)
    line = Path("train.py").read_text().splitlines()[finding["line"] - 1]
    assert line[finding["column"] - 1 : finding["end_column"] - 1] == "loss.backward()"
    assert finding["fix"] is None
    fixed = run_cli("fix", "c.yaml")
    assert "write `(loss / accum_steps).backward()`" in " ".join(fixed.out.split())
    assert Path("train.py").read_text() == BY_NAME["classic fault"]


def test_two_configs_of_one_file_each_have_their_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(BY_NAME["classic fault"])
    for name, optimizer in (("a.yaml", "sgd"), ("b.yaml", "adamw")):
        Path(name).write_text(f"optimizer: {optimizer}\nlearning_rate: 1.0e-4\n")
    ran = run_cli("check", "a.yaml", "b.yaml", "--source", "train.py", "--format", "json")
    found = [file["findings"][0] for file in json.loads(ran.out)["files"]]
    assert [finding["severity"] for finding in found] == ["warning", "info"]
    assert {finding["path"] for finding in found} == {"train.py"}


def test_the_sample_training_divides_and_does_not_scale(in_root: Path) -> None:
    result = json.loads(run_cli("check", SAMPLE, "--format", "json").out)
    assert not CODES & {f["code"] for file in result["files"] for f in file["findings"]}
    text = Path("sample_configs/priority_net.py").read_text(encoding="utf-8")
    assert shown_by(text) == {"loss": 0, "clip": 0, "late": 0, "schedule": 0}
    broken = text.replace(
        "loss_fn(*model(strain), target) / accumulation", "loss_fn(*model(strain), target)"
    )
    (found,) = read_training(Source("p.py", broken)).undivided
    assert found.count == "accumulation"


def test_a_file_that_is_nested_too_deep_still_has_its_layers() -> None:
    chain = "if a == 0:\n    pass\n" + "elif a == 1:\n    pass\n" * 900
    code = read_training(Source("t.py", f"{HEADER}nn.BatchNorm1d(4)\na = 1\n{chain}"))
    assert [layer.kind for layer in code.norms] == ["batch"]
    assert not code.undivided


def test_a_long_file_is_read_in_one_pass() -> None:
    """Twenty clips of a function are looked at, however many there are."""
    clip = "        nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
    text = BY_NAME["unscaled too late"].replace(clip, clip * 2000)
    assert len(read_training(Source("t.py", text)).scaled_clips) == 20
