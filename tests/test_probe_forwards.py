"""Which forwards a step is of: several optimizers on one, and one that has forwards of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe_support import assert_faithful, needs, read, run_both, run_recorded

pytestmark = [pytest.mark.torch, needs("torch")]


@pytest.mark.parametrize("kind", ["joint", "two"])
def test_optimizers_that_step_on_one_forward_all_know_it(
    tmp_path: Path, device: str, kind: str
) -> None:
    """In one backward, or in two of which the second comes after the first one's step."""
    both = run_both(tmp_path, device, "shared.py", kind)
    assert_faithful(both)
    for index in (0, 1):
        seen = both.record.steps_of(index)
        assert [step["batch_norm"] for step in seen] == [
            [{"mode": "train", "batch": 6 + at % 2, "calls": 1, "synced_over": 1}]
            for at in range(12)
        ]
        assert all(step["autocast"] == [{"device": device, "dtype": "bfloat16"}] for step in seen)
        assert {step["backward_calls"] for step in seen} == {1}
        assert {len(step["backward_roots"]) for step in seen} == {1}
    apart = both.record.steps_of(2)
    assert all(not step["batch_norm"] and "autocast" not in step for step in apart)
    assert {step["backward_calls"] for step in apart} == {1}


def test_a_clip_of_no_optimizers_tensors_is_told_of_each(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "shared.py", "joint")
    for index in (0, 1, 2):
        for step in both.record.steps_of(index)[1:]:
            assert step["events"].count("C") == len(step["clips"]) == 1


def test_a_region_of_autocast_that_stays_open_is_that_of_all(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "shared.py", "two", "open")
    assert_faithful(both)
    wanted = [{"device": device, "dtype": "bfloat16"}]
    assert all(step["autocast"] == wanted for step in both.record.all_steps)


def test_optimizers_that_step_inside_a_backward_are_of_it(tmp_path: Path, device: str) -> None:
    both = run_both(tmp_path, device, "inside.py")
    assert_faithful(both)
    for index in range(6):
        seen = both.record.steps_of(index)
        assert {step["events"] for step in seen[1:]} == {"ZBCS"}
        assert {step["backward_calls"] for step in seen} == {1}
        assert [step["backward_roots"] for step in seen] == [
            [both.near(loss)] for loss in both.kept["losses"]
        ]
        assert all(step["batch_norm"][0]["batch"] == 6 for step in seen)
        assert all(step["autocast"] for step in seen)


SCHEDULERS = """
import warnings
import torch
warnings.simplefilter("always")
model = torch.nn.Linear(2, 2)
kinds = torch.optim.lr_scheduler
for made in (
    lambda o: kinds.StepLR(o, 1),
    lambda o: kinds.ReduceLROnPlateau(o),
    lambda o: kinds.SequentialLR(o, [kinds.ConstantLR(o), kinds.ExponentialLR(o, 0.9)], [2]),
    lambda o: kinds.CosineAnnealingWarmRestarts(o, 2),
):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = made(optimizer)
    for step in range(4):
        with warnings.catch_warnings(record=True) as caught:
            scheduler.step(*([1.0] if type(scheduler) is kinds.ReduceLROnPlateau else []))
        files = [one.filename for one in caught]
        assert not any("gradaudit_recorder" in file for file in files), files
        assert step or type(scheduler) is not kinds.StepLR or files == [__file__]
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
"""


def test_a_scheduler_is_seen_and_warns_in_the_name_of_the_script(tmp_path: Path) -> None:
    """Programs choose by module which warnings they see."""
    run_recorded(tmp_path, SCHEDULERS)
    record = read(tmp_path / "record" / "rank-0.jsonl")
    for index in range(4):
        assert [step["events"].count("L") for step in record.steps_of(index)] == [1] * 4
