"""What a clip compared with its threshold decides whether it acted, and which threshold is advised.

One call may be given the tensors of two optimizers, take another norm than the 2-norm, or be made
for each tensor by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from record_support import (
    SGD,
    audit_recorded,
    clip_config,
    codes,
    lognormal,
    optimizer,
    record_of,
    steps,
    write_record,
)
from support import run_cli

from gradaudit.evidence.compared import SECOND, compared
from gradaudit.evidence.record import Clip, Step
from gradaudit.plan.measured import Measured
from gradaudit.probe.tail import Tail
from gradaudit.render.record import _clip_text
from gradaudit.render.recorded import figures_of

COUNT = 120


def clip(norm: float | None, limit: float | str = 0.48, **more: Any) -> dict[str, Any]:
    return {
        "what": "norm", "clip_norm": limit, "norm_type": 2.0, "pre_clip_norm": norm,
        "covered": 2, "of": 2, "with_gradient": 2, **more,
    }  # fmt: skip


def run(
    own: list[float], clips: list[list[dict[str, Any]]], index: int = 0, **more: Any
) -> list[dict[str, Any]]:
    events = "ZB" + "C" * len(clips[0]) + "S"
    lines = steps(own, index=index, rate=0.1, events=events, **more)
    return [{**line, "clips": calls} for line, calls in zip(lines, clips, strict=True)]


def measured_of(entries: list[dict[str, Any]], config: str = SGD) -> Measured:
    return audit_recorded(config, record_of(entries)).units[0].measured[0]


def shown(entries: list[dict[str, Any]], threshold: float) -> str:
    return _clip_text(figures_of(measured_of(entries, clip_config("sgd", "0.1", str(threshold)))))


JOINT = [norm * 1.4 for norm in lognormal(COUNT, 0.4, 0.1)]
OWN = lognormal(COUNT, 0.4, 0.1)


def joint() -> list[dict[str, Any]]:
    calls = [[clip(norm, with_gradient=4)] for norm in JOINT]
    both = [run(OWN, calls, index) for index in (0, 1)]
    return [optimizer("SGD"), optimizer("Muon", index=1), *both[0], *both[1]]


def test_a_clip_over_two_optimizers_is_judged_by_the_norm_of_both() -> None:
    above = sum(norm > 0.48 for norm in JOINT)
    assert above > 100 > sum(norm > 0.48 for norm in OWN)
    found = codes(clip_config("sgd", "0.1", "0.48"), record_of(joint()))["GA931"]
    assert f"acts on {above} of {COUNT} steps" in found.message
    assert "the norm of all 4 tensors that it was given" in found.evidence[0]
    assert f"acted at {above} of {COUNT} steps" in shown(joint(), 0.48)


def test_the_threshold_that_is_advised_is_of_that_norm_too(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(clip_config("sgd", "0.1", "0.48"))
    run_cli("fix", str(config), "--record", str(write_record(tmp_path / "r", joint())), "--write")
    value = float(config.read_text().split()[-1])
    assert value == pytest.approx(sorted(JOINT)[108], rel=0.02)


@pytest.mark.parametrize(("order", "norm", "acts"), [("inf", 0.12, False), (1.0, 18.0, True)])
def test_a_clip_by_another_norm(order: float | str, norm: float, acts: bool) -> None:
    calls = [[clip(norm + 0.001 * n, 0.3, norm_type=order)] for n in range(COUNT)]
    entries = [optimizer("SGD"), *run([0.8] * COUNT, calls)]
    text = shown(entries, 0.3)
    assert f"acted at {COUNT if acts else 0} of {COUNT} steps" in text
    assert ("the largest entry of" if order == "inf" else "the 1-norm of") in text
    assert ("GA931" in codes(clip_config("sgd", "0.1", "0.3"), record_of(entries))) == acts


def test_calls_for_each_tensor_give_no_share_and_no_threshold(tmp_path: Path) -> None:
    calls = [[clip(0.6, covered=1, with_gradient=1), clip(0.3, covered=1, with_gradient=1)]] * COUNT
    entries = [optimizer("SGD"), *run(lognormal(COUNT, 0.7), calls)]
    text = clip_config("sgd", "0.1", "0.48")
    assert not {"GA931", "GA932"} & set(codes(text, record_of(entries)))
    assert "2 calls a step, each with a norm of its own" in shown(entries, 0.48)
    config = tmp_path / "c.yaml"
    config.write_text(text)
    run_cli("fix", str(config), "--record", str(write_record(tmp_path / "r", entries)), "--write")
    assert config.read_text() == text


def test_a_call_that_only_measures_is_not_the_clip() -> None:
    """An infinite threshold before the real one: usual for logging."""
    calls = [[clip(norm, "inf"), clip(norm, 0.5)] for norm in JOINT]
    measured = measured_of([optimizer("SGD"), *run(JOINT, calls)])
    assert measured.optimizer.clip_norm == 0.5
    assert sum(measured.compared.acted) == sum(norm > 0.5 for norm in JOINT)


def test_the_share_is_of_the_threshold_that_acted() -> None:
    norms = [0.5 + 0.01 * n for n in range(COUNT)]
    entries = [optimizer("SGD"), *run(norms, [[clip(norm, 0.1)] for norm in norms])]
    text = shown(entries, 1.0)
    assert text.startswith(f"at 1 in the file, at 0.1 in the run: 0.1 acted at {COUNT} of {COUNT}")
    assert text.endswith("; 1 would have at 69")


@pytest.mark.parametrize(
    ("events", "more", "said"),
    [
        ("ZCBS", {}, "called out of order"),
        ("ZBCUS", {"unscaled": False}, "with the loss scale in it"),
        ("ZBCS", {"with_gradient": 0, "covered": 0}, "no tensor that has a gradient"),
    ],
)
def test_a_clip_that_missed_the_gradient_has_no_share(
    events: str, more: dict[str, Any], said: str
) -> None:
    lines = run([0.8] * COUNT, [[clip(0.8, 0.1, **more)]] * COUNT)
    text = shown([optimizer("SGD"), *({**line, "events": events} for line in lines)], 0.1)
    assert said in text
    assert "%" not in text


def test_a_clip_of_a_part_acts_on_that() -> None:
    calls = [[clip(0.3, 0.5, covered=1, with_gradient=1)]] * COUNT
    text = shown([optimizer("SGD"), *run([0.8] * COUNT, calls)], 0.5)
    assert f"acted at 0 of {COUNT} steps" in text
    assert "the norm of 1 of 2 tensors" in text


def test_the_bar_counts_what_the_clip_compared(tmp_path: Path) -> None:
    calls = [[clip(norm, with_gradient=4)] for norm in JOINT]
    lines = [{**line, "time": line["step"], "skipped": False} for line in run(OWN, calls)]
    (tmp_path / "rank-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    one = Tail(str(tmp_path), wanted=COUNT).read().optimizers[0]
    assert one.norms == OWN
    assert (one.clipped, one.clips) == (sum(norm > 0.48 for norm in JOINT), COUNT)


def test_an_advised_threshold_lies_in_its_interval() -> None:
    """Two digits of a narrow interval can lie outside it."""
    norms = [round(1.307 + 0.001 * (n % 10), 4) for n in range(COUNT)]
    norms = [norm if n % 5 else norm + 0.03 for n, norm in enumerate(norms)]
    calls = [[clip(norm, 0.5)] for norm in norms]
    found = codes(
        clip_config("sgd", "0.1", "0.5"), record_of([optimizer("SGD"), *run(norms, calls)])
    )["GA931"]
    assert found.fix is not None
    words = found.fix.notes[0].replace("to", "").split()
    value, low, high = float(words[0]), float(words[-2]), float(words[-1])
    assert low <= value <= high


VALUE = {"what": "value", "clip_value": 0.05, "covered": 2, "of": 2, "with_gradient": 2}


def test_a_norm_after_a_clip_by_value_is_called_so() -> None:
    calls = [[VALUE, clip(norm / 4, 0.05)] for norm in OWN]
    entries = [optimizer("SGD"), *run(OWN, calls)]
    measured = measured_of(entries)
    assert measured.compared.what == "the norm after the clip by value"
    assert measured.clip_norms == [norm / 4 for norm in OWN]
    found = codes(clip_config("sgd", "0.1", "0.05"), record_of(entries))["GA931"]
    assert "It is the norm after the clip by value" in found.evidence[0]
    assert found.fix is not None
    assert "measured norms (the norm after the clip by value)" in found.fix.notes[0]


def test_a_clip_by_value_that_comes_later_or_misses_is_not_named() -> None:
    later = [[clip(norm), VALUE] for norm in OWN]
    missed = [[{**VALUE, "covered": 0}, clip(norm)] for norm in OWN]
    for calls in (later, missed):
        assert measured_of([optimizer("SGD"), *run(OWN, calls)]).compared.what == ""


def test_a_clip_by_value_before_that_of_a_part_or_another_norm() -> None:
    part = [[VALUE, clip(0.3, covered=1, with_gradient=1)]] * COUNT
    what = measured_of([optimizer("SGD"), *run(OWN, part)]).compared.what
    assert what == "the norm of 1 of 2 tensors after the clip by value"
    other = [[VALUE, clip(0.3, norm_type="inf")]] * COUNT
    what = measured_of([optimizer("SGD"), *run(OWN, other)]).compared.what
    assert what == "the largest entry of the gradient after the clip by value"


def test_behind_a_looser_clip_by_norm_no_threshold_is_known(tmp_path: Path) -> None:
    """A trainer's at 5 and then the script's at 1: no norm that this one sees is above 5."""
    norms = lognormal(COUNT, 7.4, 1.0)
    calls = [[clip(norm, 5.0), clip(min(norm, 5.0), 1.0)] for norm in norms]
    entries = [optimizer("SGD"), *run(norms, calls)]
    measured = measured_of(entries)
    assert measured.compared.why_not == SECOND
    assert measured.clip_norms == []
    assert SECOND in shown(entries, 1.0)
    config = tmp_path / "c.yaml"
    config.write_text(text := clip_config("sgd", "0.1", "1.0"))
    run_cli("fix", str(config), "--record", str(write_record(tmp_path / "r", entries)), "--write")
    assert config.read_text() == text


def test_a_looser_clip_by_norm_that_comes_later_never_acts() -> None:
    calls = [[clip(norm, 0.4), clip(min(norm, 0.4), 5.0)] for norm in OWN]
    measured = measured_of([optimizer("SGD"), *run(OWN, calls)])
    assert (measured.compared.what, measured.compared.why_not) == ("", "")
    assert measured.clip_norms == OWN


def test_a_measuring_call_beside_the_clip_of_a_part_is_no_second_clip() -> None:
    calls = [[clip(0.3, 0.5, covered=1, with_gradient=1), clip(0.8, "inf")]] * COUNT
    measured = measured_of([optimizer("SGD"), *run([0.8] * COUNT, calls)])
    assert measured.compared.why_not == ""
    assert measured.compared.what == "the norm of 1 of 2 tensors"
    assert measured.clip_norms == [0.3] * COUNT


def test_calls_that_only_measure_are_no_clip() -> None:
    one = [clip(norm, "inf", covered=1, with_gradient=1) for norm in (0.6, 0.3)]
    measured = measured_of([optimizer("SGD"), *run(OWN, [one] * COUNT)])
    assert (measured.compared.what, measured.compared.why_not) == ("", "")
    assert measured.clip_norms == OWN
    assert measured.compared.acted == []


def mixed() -> list[Step]:
    """Four steps whose clips were given other numbers of the tensors, none oftener than another."""
    return [
        Step(n, "ZBCS", pre_clip_norm=3.0, clips=[Clip("norm", 1.0, 2.0, part, 10, part)])
        for n, part in enumerate((6, 7, 8, 9), 1)
    ]


def test_of_words_as_common_the_first_is_said_in_every_process() -> None:
    assert compared(mixed()).what == "the norm of 6 of 10 tensors"
    code = "import test_compared as t; print(t.compared(t.mixed()).what)"
    root = Path(__file__).parents[1]
    paths = os.pathsep.join([str(root), str(root / "tests")])
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
        ).stdout.strip()
        for seed in ("7", "8")
    }  # fmt: skip
    assert said == {"the norm of 6 of 10 tensors"}


def test_a_norm_that_is_no_number_is_no_step_at_which_the_clip_did_not_act() -> None:
    clips = [[clip(0.5)]] * 30 + [[clip(None)]] * 10
    lines = run([0.5] * 30 + [0.5] * 10, clips)
    for line in lines[30:]:
        line["pre_clip_norm"] = line["post_clip_norm"] = "nan"
        line["clips"] = [clip("nan")]  # type: ignore[arg-type]
    assert "acted at 30 of 30 steps" in shown(lines, 0.48)


def test_the_screen_names_a_clip_by_value_beside_the_files_norm() -> None:
    lines = run([0.5] * 30, [[{"what": "value", "clip_value": 0.1}]] * 30)
    assert "none by norm was called, but one by value, at 0.1" in shown(lines, 0.48)
