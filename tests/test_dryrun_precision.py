"""Autocast, loss scaling and several devices: the dry run trains as the config says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support import audit_text

torch = pytest.importorskip("torch")

from dry_support import DEVICE, batches, tiny, training, two_losses  # noqa: E402
from torch import nn  # noqa: E402

from gradaudit.probe.batches import join  # noqa: E402
from gradaudit.probe.dryrun import run_dry  # noqa: E402
from gradaudit.probe.gradients import products, read_terms, weighted_sum  # noqa: E402
from gradaudit.probe.loss_scale import loss_scale_of  # noqa: E402
from gradaudit.probe.precision import Precision, precision_of  # noqa: E402
from gradaudit.probe.protocol import DryRunError, Training  # noqa: E402
from gradaudit.probe.recipe import Recipe, recipe_of  # noqa: E402
from gradaudit.probe.self_check import HALF_TOLERANCE  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ADAMW = "optimizer: adamw\nlearning_rate: 0.01\nbatch_size: 6\n"


def recipe(more: str) -> Recipe:
    return recipe_of(audit_text(ADAMW + more).units[0])


def run(made: Training, how: Recipe, steps: int = 12) -> list[Any]:
    lines: list[Any] = []
    torch.manual_seed(0)
    run_dry(made, how, steps=steps, seed=0, device=DEVICE, write=lines.append, about={})
    return lines


def only(lines: list[Any], kind: str) -> list[Any]:
    return [line for line in lines if line["kind"] == kind]


def steps_of(lines: list[Any]) -> list[Any]:
    return only(lines, "step")


def plain_loop(precision: str, clip: float, steps: int) -> nn.Module:
    """The loop as torch's documentation has it, with nothing of gradaudit in it."""
    made = training()
    model = made.model.train()
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    fp16 = precision == "fp16-mixed"
    dtype = torch.float16 if fp16 else torch.bfloat16
    scaler = torch.amp.GradScaler("cpu", enabled=fp16)
    for x, y in batches(200)[:steps]:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            terms = two_losses(model, (x, y))
        loss = sum(weight * tensor for tensor, weight in terms.values())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
    return model


@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed"])
def test_the_weights_are_those_of_a_plain_loop_under_autocast(precision: str) -> None:
    """Bit by bit, with a measurement before each step; and not those of full precision."""
    more = f"precision: {precision}\ngradient_clip_norm: 0.5\n"
    made, full = training(), training()
    lines = run(made, recipe(more))
    run(full, recipe("gradient_clip_norm: 0.5\n"))
    real = plain_loop(precision, 0.5, 12)
    for ours, theirs in zip(made.model.parameters(), real.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    pairs = zip(made.model.parameters(), full.model.parameters(), strict=True)
    assert any(not torch.equal(ours, theirs) for ours, theirs in pairs)
    dtype = "bfloat16" if precision == "bf16-mixed" else "float16"
    (about,) = only(lines, "trajectory")
    assert about["autocast"] == dtype
    assert all(s["autocast"] == [{"device": "cpu", "dtype": dtype}] for s in steps_of(lines))
    assert about["self_check"] < 1e-5 < about["rounding"] < HALF_TOLERANCE
    assert ("U" in steps_of(lines)[0]["events"]) is (precision == "fp16-mixed")


def test_norms_under_a_loss_scale_are_those_without_it() -> None:
    found = []
    for more in ("precision: fp16-mixed\nloss_scale: 128\n", "precision: fp32\n"):
        lines = run(training(dropout=0.0), recipe(more), 1)
        (terms,), (step,) = only(lines, "terms"), steps_of(lines)
        norms = [term["gradient_norm"] for term in terms["terms"]]
        found.append([*norms, terms["total_norm"], step["pre_clip_norm"], step["post_clip_norm"]])
    assert found[0] == pytest.approx(found[1], rel=0.01)


def loud(factor: float) -> Training:
    """Gradients so large that fp16 overflows at the first loss scales."""
    made = training(norm=False, dropout=0.0)
    made.losses = lambda model, batch: {"mse": (two_losses(model, batch)["mse"][0] * factor, 1.0)}
    return made


def test_steps_that_the_scaler_skips_are_counted_and_change_nothing() -> None:
    made = loud(30.0)
    before = copy.deepcopy([p.detach() for p in made.model.parameters()])
    lines = run(made, recipe("precision: fp16-mixed\n"), 12)
    steps = steps_of(lines)
    (about,) = only(lines, "trajectory")
    skipped = [step["skipped"] for step in steps]
    assert skipped[0]
    assert not skipped[-1]
    assert about["skipped"] == sum(skipped)
    assert [step["loss_scale"] for step in steps[:2]] == [65536.0, 32768.0]
    assert about["loss_scale"] == 65536.0 / 2 ** sum(skipped)
    assert [step["events"][-1] for step in steps] == ["K" if s else "S" for s in skipped]
    assert len(only(lines, "terms")) == 12 - sum(skipped)
    run(made2 := loud(30.0), recipe("precision: fp16-mixed\n"), 1)
    for now, then in zip(made2.model.parameters(), before, strict=True):
        assert torch.equal(now.detach(), then)
    (line,) = only(lines, "frozen")
    assert line["batches"] > 2


def test_a_fixed_loss_scale_stays() -> None:
    unit = audit_text(ADAMW + "precision: fp16-mixed\nloss_scale: 128\n").units[0]
    scale = loss_scale_of(unit)
    assert scale is not None
    assert (scale.initial, scale.fixed) == (128, True)
    lines = run(training(), recipe("precision: fp16-mixed\nloss_scale: 128\n"), 4)
    assert {step["loss_scale"] for step in steps_of(lines)} == {128.0}


def test_a_gradient_that_no_scale_makes_finite_ends_the_run() -> None:
    made = training(norm=False, dropout=0.0)

    def losses(model: nn.Module, batch: Any) -> dict[str, Any]:
        loss = two_losses(model, batch)["mse"][0]
        if loss.requires_grad:
            loss.register_hook(lambda grad: grad * float("nan"))
        return {"mse": (loss, 1.0)}

    made.losses = losses
    lines = run(made, recipe("precision: fp16-mixed\n"), 100)
    (about,) = only(lines, "trajectory")
    assert "is not finite, though the loss is, at a loss scale of" in about["stopped"]
    assert about["steps"] < 70


def test_a_forward_pass_beyond_float16_says_where_it_ends() -> None:
    made = training(norm=False, dropout=0.0)
    made.losses = lambda model, batch: {
        "mse": (model(batch[0] * 3e4).mul(1e3).square().mean(), 1.0)
    }
    with pytest.raises(DryRunError, match=r"step 1: term `mse` is nan.*beyond 65,504"):
        run(made, recipe("precision: fp16-mixed\n"))


def test_a_forgotten_term_of_one_percent_is_seen_under_autocast() -> None:
    """Below what rounding to bfloat16 makes: the check is made in full precision."""
    made = training()

    def total(model: nn.Module, batch: Any) -> Any:
        terms = two_losses(model, batch)
        return terms["mse"][0] * 1.01 + 3.0 * terms["calib"][0]

    made.total = total
    with pytest.raises(DryRunError, match="do not add up to `total`"):
        run(made, recipe("precision: bf16-mixed\n"))


def test_a_model_that_runs_in_half_precision_only_is_checked_as_well_as_can_be() -> None:
    def refuse(module: nn.Module, inputs: Any, out: Any) -> None:
        if out.dtype != torch.bfloat16:
            raise RuntimeError("only support fp16 and bf16 data type")

    model = tiny(norm=False, dropout=0.0)
    model.register_forward_hook(refuse)
    made = Training(model, batches(60), two_losses)
    lines = run(made, recipe("precision: bf16-mixed\n"))
    (about,) = only(lines, "trajectory")
    assert about["unchecked"] == "only support fp16 and bf16 data type"
    assert len(steps_of(lines)) == 12


def test_a_mean_over_samples_in_bfloat16_is_no_coupling() -> None:
    """Its value is rounded to 0.4 %: how terms treat samples is measured in full precision."""
    made = training(norm=False, dropout=0.0)
    made.losses = lambda model, batch: {"l1": (model(batch[0]).abs().mean(), 1.0)}
    (line,) = only(run(made, recipe("precision: bf16-mixed\n"), 3), "term")
    assert line["samples"] == "mean"
    (noise,) = only(run(made, recipe("precision: bf16-mixed\n"), 3), "noise")
    assert "refused" not in noise


def residual(width: int) -> nn.Module:
    block = nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
    )  # fmt: skip
    block.register_forward_hook(lambda module, inputs, out: torch.relu(out + inputs[0]))
    return block


def mlp(depth: int) -> tuple[nn.Module, Any]:
    layers = [part for _ in range(depth) for part in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(32, 64)


def cnn(depth: int) -> tuple[nn.Module, Any]:
    body = [residual(16) for _ in range(depth)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 64)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), *body, *head), torch.randn(8, 3, 16, 16)


def transformer(depth: int) -> tuple[nn.Module, Any]:
    layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    return nn.Sequential(encoder, nn.Linear(64, 64)), torch.randn(4, 16, 64)


def six_losses(model: nn.Module, x: Any) -> dict[str, Any]:
    out = model(x).float().reshape(-1, 64)
    label = torch.arange(len(out)) % 64
    terms = {"ce": (nn.functional.cross_entropy(out, label), 1.0)}
    for k in range(5):
        pair = (out[:, k * 7 % 64] - out[:, (k * 11 + 3) % 64]).square().mean()
        terms[f"aux{k}"] = (pair if k % 2 else 0.1 * (k + 1) * out.var(0).mean(), 1.0)
    return terms


@pytest.mark.parametrize(
    ("make", "depth"),
    [(mlp, 4), (mlp, 16), (cnn, 2), (cnn, 8), (transformer, 2), (transformer, 12)],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_of_a_sum_of_gradients(make: Any, depth: int, dtype: Any) -> None:
    """What `HALF_TOLERANCE` rests on: at most a half of it, and far more than in float32."""
    torch.manual_seed(0)
    model, x = make(depth)
    with torch.autocast("cpu", dtype=dtype):
        terms = read_terms(six_losses(model, x))
    scale = 1024.0 if dtype == torch.float16 else 1.0
    found = products(terms, list(model.parameters()), [weighted_sum(terms)], scale=scale)
    largest = max(found.total_norm, *(found.norm(i) for i in range(6)))
    bits = 8 if dtype == torch.float16 else 1
    assert 1e-4 < found.difference[0] / largest * bits < HALF_TOLERANCE / 2


def test_precisions_that_are_the_builders_are_said() -> None:
    for name, said in (
        ("bf16", "no weight is in it"), ("fp8", "precision fp8 is not reproduced"),
    ):  # fmt: skip
        how = Recipe("adamw", {"lr": 1e-2}, precision=name)
        (about,) = only(run(training(), how, 2), "trajectory")
        assert any(said in note for note in about["notes"]), about["notes"]
        assert about["autocast"] is None


def test_a_device_without_autocast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no torch.bfloat16 autocast on meta"):
        precision_of("bf16-mixed", None, torch.device("meta"))
    assert precision_of("fp32", None, DEVICE).name == Precision(DEVICE).name == ""


# --- several devices ---


def test_devices_are_averaged_as_one_large_batch() -> None:
    """Without BatchNorm and dropout two devices with three micro-batches are one batch of six."""
    ends = []
    for more, size in (("world_size: 2\ngradient_accumulation_steps: 3\n", 1), ("", 6)):
        made = training(norm=False, dropout=0.0)
        made.losses = lambda model, batch: {"mse": two_losses(model, batch)["mse"]}
        some = batches(60)
        made.batches = some if size == 1 else [join(some[at : at + 6]) for at in range(0, 60, 6)]
        lines = run(made, recipe(more), 8)
        ends.append([p.detach() for p in made.model.parameters()])
        step = steps_of(lines)[0]
        assert step["backward_calls"] == (3 if size == 1 else 1)  # of one device, as a probe has it
    for first, second in zip(*ends, strict=True):
        assert torch.allclose(first, second, atol=1e-6)


def test_buffers_are_those_of_the_first_device() -> None:
    """DDP hands every device the running statistics of the first, and each has its own batch's."""
    made = training(dropout=0.0)
    run(made, recipe("world_size: 2\n"), 1)
    norm = made.model[1]
    assert int(norm.num_batches_tracked) == 1
    alone = tiny(dropout=0.0)
    alone(batches(1)[0][0])
    assert torch.equal(norm.running_mean, alone[1].running_mean)


@pytest.mark.parametrize(
    ("more", "ranks", "said"),
    [
        ("world_size: 2\n", 2, "2 devices: each step takes 2 micro-batches"),
        ("world_size: 2\nnorm: sync_batch\n", 1, "SyncBatchNorm takes its statistics from all"),
        ("world_size: 64\n", 1, "one process stands for 64 (more than 8 would make each step 64"),
    ],
)
def test_what_is_done_about_devices_is_said(more: str, ranks: int, said: str) -> None:
    lines = run(training(), recipe(more), 2)
    (about,) = only(lines, "trajectory")
    assert about["ranks"] == ranks
    assert any(said in note for note in about["notes"]), about["notes"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed"])
def test_autocast_on_a_gpu(precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    lines: list[Any] = []
    how = recipe(f"precision: {precision}\nworld_size: 2\n")
    run_dry(
        training(), how, steps=12, seed=0, device=torch.device("cuda"), write=lines.append,
        about={},
    )  # fmt: skip
    (about,) = only(lines, "trajectory")
    assert about["autocast"] == ("bfloat16" if precision == "bf16-mixed" else "float16")
    assert about["self_check"] < 1e-4
    assert about["steps"] == 12
    assert only(lines, "rate_test")


def test_a_small_weight_on_a_large_term_is_measured_where_it_trains() -> None:
    """The term alone overflows float16 at this loss scale; weight x term does not."""
    made = loud(1.0)
    made.losses = lambda model, batch: {
        "mse": (two_losses(model, batch)["mse"][0], 1.0),
        "large": (two_losses(model, batch)["mse"][0] * 1e6, 1e-6),
    }
    lines = run(made, recipe("precision: fp16-mixed\nloss_scale: 1024\n"))
    assert not any(step["skipped"] for step in steps_of(lines))
    measured = only(lines, "terms")
    assert len(measured) == 12
    for one in measured:
        first, second = (term["gradient_norm"] for term in one["terms"])
        assert second == pytest.approx(first, rel=1e-2)
    assert only(lines, "frozen")[0]["batches"] > 2


def test_overflows_at_the_first_steps_do_not_spare_the_self_check() -> None:
    made = loud(30.0)
    made.total = lambda model, batch: 2 * made.losses(model, batch)["mse"][0]
    with pytest.raises(DryRunError, match="do not add up to `total`"):
        run(made, recipe("precision: fp16-mixed\n"))


def test_where_every_step_overflows_no_rate_was_tried() -> None:
    lines = run(loud(30.0), recipe("precision: fp16-mixed\nloss_scale: 1.0e9\n"), 3)
    assert only(lines, "rate_test") == []
    (note,) = [note for note in only(lines, "note") if note["topic"] == "rate_test"]
    assert "overflow at this loss scale" in note["text"]
    (about,) = only(lines, "trajectory")
    assert about["self_check"] is not None  # made in full precision, whatever the loss scale


def test_sparse_gradients_are_unscaled_too() -> None:
    model = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten(), nn.Linear(24, 1))
    data = [(torch.randint(0, 50, (6, 3)), torch.randn(6, 1)) for _ in range(60)]
    made = Training(
        model, data, lambda m, b: {"mse": (nn.functional.mse_loss(m(b[0]), b[1]), 1.0)},
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )  # fmt: skip
    assert only(run(made, recipe("precision: fp16-mixed\n")), "rate_test")


def test_float16_weights_under_a_scaler_are_refused_with_the_way_out() -> None:
    made = training(norm=False)
    made.model.half()
    with pytest.raises(DryRunError, match="leave them in float32, or say `--precision model`"):
        run(made, recipe("precision: fp16-mixed\n"))
