"""How far a fix can be trusted: safe where the run stays as it is or could not have started,
recommended where a reference or a measurement speaks for it."""

from __future__ import annotations

import pytest
from test_rules import audit, of

from gradaudit.findings import Finding, Fix
from gradaudit.fix.splice import apply, splices
from gradaudit.options import Options

BASE = "optimizer: adamw\nlearning_rate: 1.0e-4\n"
TRAINER = "output_dir: x\nper_device_train_batch_size: 8\nlogging_steps: 1\n"


def found(code: str, text: str, path: str = "example.yaml") -> Finding:
    (finding,) = of(audit(text, path=path), code)
    return finding


def fix_of(code: str, text: str, path: str = "example.yaml") -> Fix:
    fix = found(code, text, path).fix
    assert fix is not None
    return fix


def fixed(code: str, text: str, path: str = "example.yaml") -> str:
    edits = fix_of(code, text, path).edits
    return apply(text, [splice for edit in edits for splice in splices(edit)])


@pytest.mark.parametrize(
    ("betas", "after"),
    [
        ("[0.999, 0.9]", "[0.9, 0.999]"),
        ("[0.98, 0.90]", "[0.90, 0.98]"),
        ("[0.999,  5e-1]", "[5e-1,  0.999]"),
        ("[0.9, 0.5]", None),
        ("[0.97, 0.9]", None),
    ],
)
def test_betas_are_swapped_where_that_is_a_published_pair(betas: str, after: str | None) -> None:
    text = BASE + f"betas: {betas}  # both\n"
    if after is None:
        finding = found("GA601", text)
        assert finding.fix is None
        assert "one is mistyped" in finding.no_fix
        return
    assert fix_of("GA601", text).applicability == "recommended"
    assert fixed("GA601", text) == text.replace(betas, after)


def test_betas_in_two_keys_are_swapped_and_one_alone_is_not() -> None:
    text = BASE + "adam_beta1: 0.999  # first\nadam_beta2: 0.90\n"
    after = BASE + "adam_beta1: 0.90  # first\nadam_beta2: 0.999\n"
    assert fixed("GA601", text) == after
    assert found("GA601", BASE + "pair: &p [0.999, 0.9]\nbetas: *p\n").fix is None
    alone = TRAINER + "learning_rate: 1.0e-4\nadam_beta1: 0.9999\n"
    assert found("GA601", alone).fix is None  # beta2 is the framework's default


@pytest.mark.parametrize(
    ("optimizer", "after", "applicability"),
    [
        ("torch.optim.Adam", "torch.optim.AdamW", "recommended"),
        ("'torch.optim.Adam'", "'torch.optim.AdamW'", "recommended"),
        ("adam", "adamw", "speculative"),
        ("Adam", "AdamW", "speculative"),
        ("nadam", None, ""),
        ("adam_custom", None, ""),
    ],
)
def test_adam_with_the_decay_of_adamw(
    optimizer: str, after: str | None, applicability: str
) -> None:
    text = f"optimizer: {optimizer}  # first try\nlearning_rate: 1.0e-3\nweight_decay: 0.05\n"
    if after is None:
        assert all(finding.fix is None for finding in of(audit(text), "GA605"))
        return
    assert fix_of("GA605", text).applicability == applicability
    assert fixed("GA605", text) == text.replace(optimizer, after)


def test_adamw_is_no_way_out_where_its_decay_would_be_too_strong() -> None:
    text = "optimizer: torch.optim.Adam\nlearning_rate: 1.0e-3\nweight_decay: 20.0\n"
    assert found("GA605", text).fix is None


def test_eps_of_pure_fp16() -> None:
    text = BASE + "precision: 16-true\nadam_epsilon: {}\n"
    fix = fix_of("GA604", text.format("1.0e-8"))
    assert fix.applicability == "recommended"
    assert fixed("GA604", text.format("1.0e-8")) == text.format("1.0e-4")


@pytest.mark.parametrize(
    ("keys", "groups", "channels", "after", "applicability"),
    [
        (("num_groups", "num_channels"), 32, 48, 16, "safe"),
        (("num_groups", "num_channels"), 12, 32, 4, "safe"),
        (("num_groups", "num_channels"), 32, 45, None, ""),
        (("norm_num_groups", "model_channels"), 32, 48, 16, "recommended"),
    ],
)
def test_groups_that_divide(
    keys: tuple[str, str], groups: int, channels: int, after: int | None, applicability: str
) -> None:
    section = "unet" if "model" in keys[1] else "norm_cfg"
    text = BASE + f"{section}:\n  {keys[0]}: {groups}\n  {keys[1]}: {channels}\n"
    if after is None:
        assert found("GA309", text).no_fix == "no number of groups divides both 32 and 45"
        return
    assert fix_of("GA309", text).applicability == applicability
    assert fixed("GA309", text) == text.replace(f": {groups}\n", f": {after}\n")


def test_the_usual_label_smoothing_but_not_for_preferences() -> None:
    text = BASE + "label_smoothing: 0.9\n"
    assert fix_of("GA407", text).applicability == "recommended"
    assert fixed("GA407", text) == text.replace("0.9", "0.1")


@pytest.mark.parametrize(
    ("fp16", "after"),
    [
        (("1e9", ""), ("0", "")),
        (("1e9", "initial_scale_power: 16"), ("0", "initial_scale_power: 16")),
        (("1e9", "initial_scale_power: 3"), None),  # GA805 would speak of it
        (("1e9", "initial_scale_power: 40"), None),  # GA503 would again
        (("1e9", "loss_scale_window: 2"), None),
        (("0", "initial_scale_power: 40"), ("0", "initial_scale_power: 16")),
    ],
)
def test_a_dynamic_loss_scale(fp16: tuple[str, str], after: tuple[str, str] | None) -> None:
    text = (
        "train_micro_batch_size_per_gpu: 8\ngradient_clipping: 1.0\n"
        "optimizer: {type: AdamW, params: {lr: 1.0e-4}}\n"
        "fp16:\n  enabled: true\n  loss_scale: %s\n  %s\n"
    )
    if after is None:
        assert found("GA503", text % fp16).fix is None
        return
    assert fix_of("GA503", text % fp16).applicability == "recommended"
    assert fixed("GA503", text % fp16) == text % after
    assert of(audit(text % after), "GA503") == []


def test_a_static_scale_of_another_framework_is_left() -> None:
    finding = found("GA503", BASE + "mixed_precision: fp16\nloss_scale: 1.0e+9\n")
    assert finding.fix is None
    assert "a dynamic scale finds it" in finding.no_fix


def test_the_sense_of_a_momentum_is_known_where_torch_reads_the_file() -> None:
    text = "optimizer: sgd\nlearning_rate: 0.1\nbn_momentum: 0.99\n"
    assert fix_of("GA308", "# torch\n" + text).applicability == "recommended"
    assert fix_of("GA308", text).applicability == "speculative"


def test_an_average_is_shortened_by_default_only_where_it_is_known_not_to_ramp() -> None:
    text = BASE + "max_steps: 5000\nema_decay: 0.9999\n"
    assert fix_of("GA620", text).applicability == "speculative"
    known = text + "ema_warmup: false\n"
    assert fix_of("GA620", known).applicability == "recommended"
    assert fix_of("GA620", known + "pretrained: true\n").applicability == "speculative"


@pytest.mark.parametrize(
    ("interval", "length", "after"),
    [
        ("step", "epochs: 100", "epoch"),
        ("'step'", "epochs: 100", "'epoch'"),
        ("epoch", "max_steps: 100", "step"),
    ],
)
def test_a_schedule_counted_in_the_other_unit(interval: str, length: str, after: str) -> None:
    text = (
        BASE + f"{length}\nscheduler:\n  type: CosineAnnealingLR\n  T_max: 100\n"
        f"  interval: {interval}  # often\n"
    )
    if interval == "epoch" and not of(audit(text), "GA213"):
        pytest.skip("a number as small may be of epochs")
    assert fix_of("GA213", text).applicability == "recommended"
    assert fixed("GA213", text) == text.replace(f"interval: {interval}", f"interval: {after}")


def test_a_seed() -> None:
    text = BASE + "seed: null\n"
    options = Options()
    options.extend_select = ["GA625"]
    (finding,) = of(audit(text, options), "GA625")
    assert finding.fix is not None
    assert finding.fix.applicability == "recommended"
    assert [edit.new for edit in finding.fix.edits] == ["42"]


def test_a_rate_to_start_from_is_never_taken_by_default() -> None:
    full = "optimizer: adamw\nlearning_rate: 0.005\nfinetuning_type: full\n"
    lora = "optimizer: adamw\nlearning_rate: 0.008\nlora_r: 16\nlora_alpha: 32\n"
    for code, text, rate in (("GA218", full, "2.0e-5"), ("GA219", lora, "2.0e-4")):
        fix = fix_of(code, text)
        assert fix.applicability == "speculative"
        assert [edit.new for edit in fix.edits] == [rate]
        assert found(code, text + "min_lr: 1.0e-3\n").fix is None  # the floor would be the peak
    assert found("GA218", full.replace("adamw", "lion").replace("0.005", "0.0005")).fix is None
    low = found("GA219", lora.replace("0.008", "1.0e-7"))
    assert low.fix is None


@pytest.mark.parametrize(
    ("line", "applicability"),
    [
        ("weight_decay: 1e-4", "safe"),
        ("made_up: 1e-4", "recommended"),
        ("made_up: 1.5e4", "recommended"),
        ("revision: 12e45", "speculative"),
        ("revision: 12E45", "speculative"),
    ],
)
def test_text_that_is_a_number_for_sure_or_perhaps(line: str, applicability: str) -> None:
    assert fix_of("GA702", BASE + line + "\n").applicability == applicability
