"""The rules on the schedule: every boundary, every false positive that they name."""

from __future__ import annotations

import pytest
from support import audit_text

from gradaudit.audit import audit_source
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

STRICT = Options()
STRICT.profile = "strict"


def found(code: str, text: str, options: Options | None = None) -> list[Finding]:
    return [f for f in audit_text(text, options).findings if f.rule.code == code]


def python(code: str, text: str) -> list[Finding]:
    result = audit_source(Source("config.py", text), Options(), Settings())
    return [f for f in result.findings if f.rule.code == code]


def said(code: str, text: str) -> list[tuple[str, str]]:
    return [(f.severity, f.confidence) for f in found(code, text)]


MM = (
    "default_scope = 'mmdet'\n"
    "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02))\n"
)
HF = "per_device_train_batch_size: 8\nlr_scheduler_type: cosine\nlearning_rate: 2.0e-5\n"
NEOX = (
    '"train_micro_batch_size_per_gpu": 4\n"pipe_parallel_size": 1\n"lr_decay_style": "cosine"\n'
    '"optimizer": {"type": "Adam", "params": {"lr": 0.0006}}\n'
)


class TestMinLearningRate:
    CODE = "GA207"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("min_lr: 1.0e-3", [("error", "high")]),
            ("min_lr: 1.0e-4", []),
            ("min_lr: 0.0", []),
            ("min_lr: null", []),
            ("min_lr: 1.0e-3\nlr_scheduler: constant", []),
            ("min_lr: 1.0e-3\nlr_scheduler: CyclicLR", []),
            ("min_lr: 1.0e-3\nlr_scheduler: noam", []),
            ("min_lr: 1.0e-3\nlr_scheduler: ReduceLROnPlateau", [("warning", "high")]),
            ("min_lr: 1.0e-3\nencoder: {lr: 5.0e-5}", [("warning", "medium")]),
            ("min_lr: 1.0e-3\nhead: {lr: 1.0e-2}", []),
        ],
    )
    def test_generic(self, text: str, expected: list[tuple[str, str]]) -> None:
        assert said(self.CODE, f"optimizer: adamw\nlr: 1.0e-4\n{text}\n") == expected

    def test_a_base_rate_may_be_scaled(self) -> None:
        text = "optimizer: adamw\nbase_lr: 5.0e-6\nmin_lr: 1.0e-5\n"
        assert said(self.CODE, text) == [("warning", "medium")]

    def test_frameworks(self) -> None:
        assert found(self.CODE, NEOX + '"min_lr": 0.006\n')
        assert not found(self.CODE, NEOX + '"min_lr": 0.00006\n')
        kwargs = "lr_scheduler_kwargs: {min_lr: 1.0e-4}\n"
        assert found(self.CODE, HF + kwargs)
        assert not found(self.CODE, HF + kwargs.replace("e-4", "e-6"))


class TestWarmupMissing:
    CODE = "GA208"
    BAD = (
        "optimizer: adamw\nlearning_rate: 1.0e-3\nglobal_batch_size: 8192\nwarmup_steps: 0\n"
        "max_steps: 9000\n"
    )

    def test_bad(self) -> None:
        assert said(self.CODE, self.BAD) == [("info", "medium")]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("8192", "4095"),
            ("1.0e-3", "2.9e-4"),
            ("warmup_steps: 0", "warmup_steps: 1"),
            ("warmup_steps: 0", ""),
            ("warmup_steps: 0", "warmup_steps: 0\nwarmup_ratio: 0.1"),
            ("adamw", "radam"),
            ("adamw", "prodigy"),
            ("adamw", "muon"),
            ("adamw", "sgd"),
            ("max_steps", "lr_scheduler: OneCycleLR\nmax_steps"),
            ("max_steps", "lr_scheduler: inverse_sqrt\nmax_steps"),
            ("max_steps", "ppo: {clip_range: 0.2}\nmax_steps"),
            ("max_steps", "num_rays: 4096\nmax_steps"),
        ],
    )
    def test_not_reported(self, old: str, new: str) -> None:
        assert not found(self.CODE, self.BAD.replace(old, new))

    def test_boundaries(self) -> None:
        assert found(self.CODE, self.BAD.replace("8192", "4096").replace("1.0e-3", "3.0e-4"))
        sgd = self.BAD.replace("adamw", "sgd")
        assert found(self.CODE, sgd.replace("1.0e-3", "0.8"))
        assert not found(self.CODE, sgd.replace("1.0e-3", "0.79"))

    def test_a_default_of_none_counts(self) -> None:
        text = HF.replace("2.0e-5", "1.0e-3") + "gradient_accumulation_steps: 512\n"
        options = Options()
        options.assume = {"world_size": "8"}
        (finding,) = found(self.CODE, text, options)
        assert finding.key == "learning_rate"
        assert not found(self.CODE, text + "warmup_ratio: 0.03\n", options)


class TestTwoUnits:
    CODE = "GA209"
    HEAD = "optimizer: adamw\nlearning_rate: 1.0e-4\nmax_steps: 10000\n"

    @pytest.mark.parametrize(
        ("text", "times"),
        [
            ("warmup_steps: 1000\nwarmup_ratio: 0.03", 1),
            ("warmup_steps: 1000\nwarmup_epochs: 3", 1),
            ("warmup_epochs: 1\nwarmup_ratio: 0.03", 1),
            ("warmup_steps: 1000\nwarmup_ratio: 0.1", 0),
            ("warmup_steps: 0\nwarmup_ratio: 0.03", 0),
            ("warmup_steps: 1000\nwarmup_ratio: 0.0", 0),
            ("warmup_steps: 1000\nscheduler: {warmup_ratio: 0.03}", 0),
            ("warmup_steps: 1000\nwarmup_epochs: 3\nsteps_per_epoch: 333", 0),
        ],
    )
    def test_generic(self, text: str, times: int) -> None:
        assert said(self.CODE, f"{self.HEAD}{text}\n") == [("warning", "medium")] * times

    def test_a_ratio_of_mmcv_is_a_start_factor(self) -> None:
        text = f"{self.HEAD}lr_config: {{warmup: linear, warmup_iters: 500, warmup_ratio: 0.001}}\n"
        assert not found(self.CODE, text)

    def test_what_transformers_takes_depends_on_its_release(self) -> None:
        (finding,) = found(self.CODE, HF + "warmup_steps: 100\nwarmup_ratio: 0.03\n")
        assert finding.message.endswith("transformers 4 takes the steps, transformers 5 the ratio")
        assert (finding.severity, finding.confidence) == ("warning", "high")
        assert not found(self.CODE, HF + "warmup_steps: 0\nwarmup_ratio: 0.03\n")

    def test_axolotl_and_nemo_refuse(self) -> None:
        axolotl = (
            "base_model: a/b\nmicro_batch_size: 2\ndatasets:\n  - path: x\n    type: alpaca\n"
            "learning_rate: 0.0002\nwarmup_steps: 10\n"
        )
        assert not found(self.CODE, axolotl)
        assert said(self.CODE, axolotl + "warmup_ratio: 0.1\n") == [("error", "high")]
        nemo = (
            "exp_manager: {name: x}\ntrainer: {max_steps: 1000}\nmodel:\n"
            "  train_ds: {batch_size: 8}\n  optim:\n    name: adamw\n    lr: 0.001\n"
            "    sched: {name: CosineAnnealing, warmup_steps: 100, warmup_ratio: WARM}\n"
        )
        assert said(self.CODE, nemo.replace("WARM", "0.02")) == [("error", "high")]
        assert not found(self.CODE, nemo.replace("WARM", "null"))


class TestFraction:
    CODE = "GA210"

    @pytest.mark.parametrize(
        ("text", "times"),
        [
            ("warmup_steps: 0.03", 1),
            ("warmup_steps: 0.999", 1),
            ("warmup_steps: 1", 0),
            ("warmup_steps: 0", 0),
            ("warmup_ratio: 0.03", 0),
        ],
    )
    def test_transformers(self, text: str, times: int) -> None:
        assert said(self.CODE, f"{HF}{text}\n") == [("info", "high")] * times
        llama = f"{HF}stage: sft\nfinetuning_type: lora\n{text}\n"
        assert len(found(self.CODE, llama)) == times

    def test_elsewhere_the_domain_has_it(self) -> None:
        text = "optimizer: adamw\nlearning_rate: 1.0e-4\nwarmup_steps: 0.03\n"
        assert not found(self.CODE, text)
        assert found("GA703", text)


COSINE = (
    "optimizer: adamw\nlr: 1.0e-4\nepochs: 100\n"
    "scheduler:\n  type: CosineAnnealingLR\n  T_max: 50\n"
)


class TestEndsEarly:
    CODE = "GA211"

    @pytest.mark.parametrize(
        ("calls", "times"),
        [
            (10, 1),      # ten half waves: it ends at the peak
            (20, 0),      # five: at the lowest rate
            (33, 0),      # nearly three
            (50, 1),
            (70, 1),
            (90, 0),      # below 5 % of the peak
            (95, 0),
            (100, 0),
            (1000, 0),    # GA212's
        ],
    )  # fmt: skip
    def test_the_cosine_climbs(self, calls: int, times: int) -> None:
        text = COSINE.replace("T_max: 50", f"T_max: {calls}")
        assert said(self.CODE, text) == [("warning", "medium")] * times

    def test_where_it_ends(self) -> None:
        (finding,) = found(self.CODE, COSINE)
        assert "ends after 50 of 100 epochs" in finding.message
        assert "ends at 0.0001, 100 % of the peak rate" in finding.message
        (finding,) = found(self.CODE, COSINE.replace("T_max: 50", "T_max: 70\n  eta_min: 1.0e-5"))
        assert "4.5e-5, 45 % of the peak rate" in finding.message

    def test_a_known_interval_makes_it_sure(self) -> None:
        assert said(self.CODE, COSINE + "  interval: epoch\n") == [("warning", "high")]

    def test_steps_per_epoch_that_cannot_be(self) -> None:
        assert found(self.CODE, COSINE + "steps_per_epoch: -5\n")

    def test_hydra(self) -> None:
        text = (
            "# @package _global_\n"
            "trainer: {_target_: lightning.pytorch.trainer.Trainer, max_epochs: 100}\n"
            "model:\n  optimizer: {_target_: torch.optim.AdamW, lr: 0.001}\n  scheduler:\n"
            "    _target_: torch.optim.lr_scheduler.CosineAnnealingLR\n"
            "    T_max: ${trainer.max_epochs}\n"
        )
        assert not found(self.CODE, text)
        (finding,) = found(self.CODE, text.replace("${trainer.max_epochs}", "10"))
        assert finding.key == "model.scheduler.T_max"

    def test_by_steps(self) -> None:
        steps = COSINE.replace("epochs: 100", "max_steps: 1000")
        assert not found(self.CODE, steps)  # 50 may be epochs
        assert found(self.CODE, steps.replace("T_max: 50", "T_max: 500"))
        assert not found(self.CODE, steps.replace("T_max: 50", "T_max: 100"))
        per_step = steps.replace("T_max: 50", "T_max: 100\n  interval: step")
        assert said(self.CODE, per_step) == [("warning", "high")]

    @pytest.mark.parametrize("name", ["CosineAnnealingWarmRestarts", "CyclicLR", "wsd", "StepLR"])
    def test_other_schedules(self, name: str) -> None:
        assert not found(self.CODE, COSINE.replace("CosineAnnealingLR", name))

    def test_after_a_warmup(self) -> None:
        text = COSINE.replace("T_max: 50", "T_max: 80") + "warmup_epochs: 20\n"
        assert not found(self.CODE, text)
        (finding,) = found(self.CODE, text.replace("T_max: 80", "T_max: 50"))
        assert finding.fix is None
        assert finding.no_fix
        # What the warm-up is worth in epochs is not known.
        assert not found(self.CODE, text.replace("warmup_epochs: 20", "warmup_steps: 20"))

    def test_an_end_that_may_come_before(self) -> None:
        assert not found(self.CODE, COSINE + "max_steps: 500000\n")
        assert not found(self.CODE, COSINE + "max_steps: ${steps}\n")
        assert found(self.CODE, COSINE + "max_steps: -1\n")

    def test_what_stays_at_zero(self) -> None:
        text = NEOX + '"train_iters": 100000\n"lr_decay_iters": 80000\n'
        (finding,) = found(self.CODE, text)
        assert "the last 20 % of the training changes no weight" in finding.message
        assert finding.fix is not None
        assert not found(self.CODE, text.replace("80000", "95000"))
        assert found(self.CODE, text.replace("80000", "94999"))
        assert not found(self.CODE, text + '"min_lr": 0.00006\n')  # as GPT-3
        assert not found(self.CODE, text.replace('"cosine"', '"constant"'))

    def test_lightning(self) -> None:
        text = (
            "seed_everything: 1\ntrainer: {max_epochs: 100, accelerator: gpu}\n"
            "model: {class_path: m.M}\ndata: {class_path: d.D}\n"
            "optimizer:\n  class_path: torch.optim.AdamW\n  init_args: {lr: 0.001}\n"
            "lr_scheduler:\n  class_path: torch.optim.lr_scheduler.CosineAnnealingLR\n"
            "  init_args: {T_max: 10}\n"
        )
        assert said(self.CODE, text) == [("warning", "medium")]
        assert not found(self.CODE, text.replace("T_max: 10", "T_max: 100"))

    def test_basicsr_calls_it_every_step(self) -> None:
        text = (
            "model_type: SRModel\nnetwork_g: {type: EDSR}\n"
            "datasets: {train: {batch_size_per_gpu: 4}}\n"
            "train:\n  total_iter: 200000\n  optim_g: {type: AdamW, lr: 1.0e-3}\n"
            "  scheduler: {type: TrueCosineAnnealingLR, T_max: 100000, eta_min: 1.0e-7}\n"
        )
        assert said(self.CODE, text) == [("warning", "high")]
        assert not found(self.CODE, text.replace("T_max: 100000", "T_max: 200000"))


class TestOutlasts:
    CODE = "GA212"
    BAD = "optimizer: adamw\nlr: 1.0e-4\nmax_steps: 10000\nlr_decay_iters: 40000\n"

    @pytest.mark.parametrize(
        ("old", "new", "times"),
        [
            ("40000", "40000", 1),
            ("40000", "12501", 1),
            ("40000", "12500", 0),
            ("10000", "1000", 0),
            ("10000", "1001", 1),
            ("optimizer", "lr_scheduler: wsd\noptimizer", 0),
            ("max_steps: 10000", "epochs: 10", 0),
            ("max_steps: 10000", "max_steps: 10000\nepochs: 3", 1),
        ],
    )
    def test_generic(self, old: str, new: str, times: int) -> None:
        text = self.BAD.replace(old, new)
        assert said(self.CODE, text) == [("warning", "medium")] * times

    def test_by_epochs(self) -> None:
        text = COSINE.replace("T_max: 50", "T_max: 200")
        (finding,) = found(self.CODE, text)
        assert "5e-5, 50 % of the peak rate" in finding.message
        # So many calls may well be steps.
        assert not found(self.CODE, text.replace("T_max: 200", "T_max: 5000"))
        assert found(self.CODE, text.replace("T_max: 200", "T_max: 5000\n  interval: epoch"))
        per_epoch = text.replace("T_max: 200", "T_max: 500") + "steps_per_epoch: 5\n"
        assert not found(self.CODE, per_epoch)

    def test_mmengine(self) -> None:
        text = MM + (
            "train_cfg = dict(max_epochs=100)\n"
            "param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0, begin=10, end=300)]\n"
        )
        (finding,) = python(self.CODE, text)
        assert finding.message.endswith("the training for 100 epochs: its last 67 % never happens")
        assert not python(self.CODE, text.replace("=100", "=300"))
        assert not python(self.CODE, text.replace("=100", "=400"))
        (finding,) = python("GA211", text.replace("=100", "=400"))
        assert "the last 25 % of the training changes no weight" in finding.message
        assert not python(
            "GA211", text.replace("=100", "=400").replace("eta_min=0", "eta_min=1e-6")
        )

    def test_gpt_neox(self) -> None:
        text = NEOX + '"train_iters": 10000\n"lr_decay_iters": 320000\n'
        assert found(self.CODE, text)
        assert not found(self.CODE, text.replace("320000", "10000"))


class TestUnit:
    CODE = "GA213"
    BAD = COSINE.replace("T_max: 50", "T_max: 100\n  interval: step")

    def test_epochs_called_by_step(self) -> None:
        assert said(self.CODE, self.BAD) == [("warning", "high")]
        assert not found(self.CODE, self.BAD.replace("interval: step", "interval: epoch"))
        assert not found(self.CODE, self.BAD.replace("  interval: step\n", ""))
        assert not found(self.CODE, self.BAD.replace("T_max: 100", "T_max: 99"))
        assert not found(self.CODE, self.BAD + "steps_per_epoch: 1\n")
        assert not found(self.CODE, self.BAD + "max_steps: 100\n")

    def test_it_alone_speaks(self) -> None:
        codes = [f.rule.code for f in audit_text(self.BAD + "steps_per_epoch: 500\n").findings]
        assert codes == [self.CODE]

    def test_steps_called_by_epoch(self) -> None:
        text = self.BAD.replace("epochs: 100", "epochs: 10\nmax_steps: 5000")
        text = text.replace("T_max: 100", "T_max: 5000").replace(
            "interval: step", "interval: epoch"
        )
        (finding,) = found(self.CODE, text)
        assert "the rate hardly moves" in finding.message

    def test_lightning_calls_by_epoch(self) -> None:
        text = (
            "seed_everything: 1\ntrainer: {max_steps: 50000, accelerator: gpu}\n"
            "model: {class_path: m.M}\ndata: {class_path: d.D}\n"
            "optimizer:\n  class_path: torch.optim.AdamW\n  init_args: {lr: 0.001}\n"
            "lr_scheduler:\n  class_path: torch.optim.lr_scheduler.CosineAnnealingLR\n"
            "  init_args: {T_max: 50000}\n"
        )
        assert said(self.CODE, text) == [("warning", "medium")]


class TestMilestones:
    CODE = "GA214"
    BAD = (
        "optimizer: sgd\nlr: 0.1\nepochs: 90\n"
        "scheduler: {type: MultiStepLR, milestones: [150, 250]}\n"
    )

    @pytest.mark.parametrize(
        ("milestones", "expected"),
        [
            ("[150, 250]", ["warning"]),
            ("[90, 120]", ["warning"]),
            ("[60, 91]", ["info"]),
            ("[60, 90]", []),           # the last one marks the end
            ("[90, 90]", ["warning"]),
            ("[60, 89]", []),
            ("[1000]", []),             # a constant rate
            ("[30000, 60000]", []),     # steps
            ("[-1, 200]", []),
            ("[a, b]", []),
            ("[]", []),
        ],
    )  # fmt: skip
    def test_generic(self, milestones: str, expected: list[str]) -> None:
        findings = found(self.CODE, self.BAD.replace("[150, 250]", milestones))
        assert [f.severity for f in findings] == expected

    def test_another_schedule_ignores_them(self) -> None:
        assert not found(self.CODE, self.BAD.replace("MultiStepLR", "CosineAnnealingLR"))

    def test_detectron2(self) -> None:
        text = (
            "MODEL: {META_ARCHITECTURE: GeneralizedRCNN}\nSOLVER:\n  IMS_PER_BATCH: 16\n"
            "  BASE_LR: 0.02\n  STEPS: (60000, 80000)\n  MAX_ITER: 20000\n"
        )
        assert said(self.CODE, text) == [("warning", "high")]
        assert not found(self.CODE, text.replace("20000", "90000"))
        assert [f.severity for f in found(self.CODE, text.replace("20000", "70000"))] == ["info"]
        cosine = text + "  LR_SCHEDULER_NAME: WarmupCosineLR\n"
        assert not found(self.CODE, cosine)

    def test_mmengine(self) -> None:
        text = MM + (
            "train_cfg = dict(max_epochs=12)\n"
            "param_scheduler = [\n"
            "    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),\n"
            "    dict(type='MultiStepLR', milestones=[27, 33], by_epoch=True)]\n"
        )
        (finding,) = python(self.CODE, text)
        assert (finding.severity, finding.confidence) == ("warning", "high")
        assert not python(self.CODE, text.replace("12", "36"))
        assert not python(self.CODE, text.replace("by_epoch=True", "by_epoch=False"))
        assert not python(self.CODE, text.replace("by_epoch=True", "by_epoch=True, begin=3"))

    def test_openpcdet(self) -> None:
        text = (
            "DATA_CONFIG: {_BASE_CONFIG_: a.yaml}\nOPTIMIZATION:\n  BATCH_SIZE_PER_GPU: 4\n"
            "  NUM_EPOCHS: 30\n  OPTIMIZER: adam\n  LR: 0.003\n  DECAY_STEP_LIST: [35, 45]\n"
        )
        assert said(self.CODE, text) == [("warning", "high")]
        assert not found(self.CODE, text.replace("OPTIMIZER: adam", "OPTIMIZER: adam_onecycle"))


class TestPlateau:
    CODE = "GA216"
    BAD = (
        "optimizer: adamw\nlr: 1.0e-4\nscheduler: {type: ReduceLROnPlateau, patience: 10}\n"
        "early_stopping: {patience: 10}\n"
    )

    def test_boundaries(self) -> None:
        assert said(self.CODE, self.BAD) == [("warning", "medium")]
        assert not found(
            self.CODE, self.BAD.replace("Plateau, patience: 10", "Plateau, patience: 9")
        )
        assert not found(self.CODE, self.BAD.replace("early_stopping", "other"))
        assert not found(self.CODE, self.BAD.replace("ReduceLROnPlateau", "CosineAnnealingLR"))
        off = self.BAD.replace("{patience: 10}", "{enabled: false, patience: 10}")
        assert not found(self.CODE, off)

    def test_lightning(self) -> None:
        text = (
            "seed_everything: 1\ntrainer:\n  max_epochs: 100\n  callbacks:\n"
            "    - class_path: lightning.pytorch.callbacks.EarlyStopping\n"
            "      init_args: {monitor: val_loss, patience: 5}\n"
            "model: {class_path: m.M}\ndata: {class_path: d.D}\n"
            "optimizer:\n  class_path: torch.optim.AdamW\n  init_args: {lr: 0.001}\n"
            "lr_scheduler:\n  class_path: lightning.pytorch.cli.ReduceLROnPlateau\n"
            "  init_args: {monitor: val_loss, patience: 10}\n"
        )
        assert found(self.CODE, text)
        assert not found(self.CODE, text.replace("patience: 10", "patience: 2"))


class TestFewSteps:
    CODE = "GA217"

    @pytest.mark.parametrize(
        ("text", "times"),
        [
            ("max_steps: 99", 1),
            ("max_steps: 100", 0),
            ("max_steps: 21", 1),
            ("max_steps: 20", 0),
            ("epochs: 3\nsteps_per_epoch: 20", 1),
            ("epochs: 3\nsteps_per_epoch: 40", 0),
            ("epochs: 3", 0),
            ("epochs: 3\nsteps_per_epoch: 20\nmax_steps: 50000", 1),
        ],
    )
    def test_generic(self, text: str, times: int) -> None:
        text = f"optimizer: adamw\nlr: 1.0e-4\n{text}\n"
        assert len(found(self.CODE, text, STRICT)) == times
        assert not found(self.CODE, text)

    def test_transformers(self) -> None:
        assert found(self.CODE, HF + "max_steps: 50\n", STRICT)
        assert not found(self.CODE, HF + "num_train_epochs: 3\n", STRICT)

    def test_epochs_that_give_way_to_max_steps_end_nothing(self) -> None:
        text = HF + "num_train_epochs: 1\nmax_steps: {}\n"
        options = Options()
        options.profile = "strict"
        options.assume = {"steps_per_epoch": "50"}
        assert not found(self.CODE, text.format(5000), options)
        assert found(self.CODE, text.format(-1), options)


class TestLists:
    """The kind of setting that is a list of numbers."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("[30, 60]", (30, 60)),
            ("(30, 60)", (30, 60)),
            ("'30,60'", (30, 60)),
            ("[30.5, 60]", (30.5, 60)),
            ("30", (30,)),
            ("[30, x]", None),
            ("(30, 60", None),
            ("[]", None),
            ("[30, 1.0e+99]", None),
        ],
    )
    def test_milestones(self, text: str, value: tuple[float, ...] | None) -> None:
        config = f"optimizer: sgd\nlr: 0.1\nscheduler: {{milestones: {text}}}\n"
        if text.startswith("("):
            config = f"optimizer: sgd\nlr: 0.1\nscheduler:\n  milestones: {text}\n"
        (unit,) = audit_text(config).units
        setting = unit.get("milestones")
        assert (setting.value if setting else None) == value
