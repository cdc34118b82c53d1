"""The screens, as someone looked at them. `--inline-snapshot=fix` rewrites them: look again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from inline_snapshot import snapshot
from support import SAMPLE, run_cli

from gradaudit.findings import Place
from gradaudit.render.frame import Mark, frame
from gradaudit.render.layout import clean, display_width, plain, wrap
from gradaudit.rules import load
from gradaudit.rules.docs import parse
from gradaudit.source import Source

Write = Callable[[str], Path]


def test_two_places_across_files_and_the_fix_as_a_diff(in_root: Path) -> None:
    assert run_cli("check", SAMPLE, "--select", "GA301").out == snapshot("""\
warning[GA301]: BatchNorm sees 6 samples at a time; below 16 its statistics may
  be unreliable
  --> sample_configs/enhanced_training.yaml:46:15
      priority_net, batch-norm-tiny-batch, medium confidence
   |
46 |   batch_size: 6                       # scenarios; fits the 12 GB card (v4…
   |               ^ 6 samples a micro-batch
   |
   ::: sample_configs/priority_net.py:52:30
   |
52 |             blocks += [conv, nn.BatchNorm1d(width), nn.ReLU()]
   |                              --------------
   |                              takes its statistics from one micro-batch, one
   |                              of 2 such layers
   |
   = why: Mean and variance of each channel come from 6 samples (times the
          positions of a convolution; after pooling or a linear layer from these
          6 values alone): they change from batch to batch, and with them every
          gradient. Accumulation does not help: each micro-batch is normalised
          alone.
   = known: read from sample_configs/priority_net.py, without importing it
   = next: Where memory forbids a larger batch: SyncBatchNorm across devices, or
           GroupNorm.
   = fix: (recommended) raise `batch_size` from 6 to 24
   |
46 -   batch_size: 6                       # scenarios; fits the 12 GB card (v4…
46 +   batch_size: 24                       # scenarios; fits the 12 GB card (v…
   |
     · memory for activations x 4
     · the batch of an optimiser step grows from 6 to 24 a device
     · steps an epoch / 4: whatever is counted in steps lasts 4 x as many epochs
     · review the learning rate (8e-5): a batch this much larger often takes a
       higher one

Found 1 warning in 1 file.
1 finding has a fix: `gradaudit fix sample_configs/enhanced_training.yaml
  --select GA301` shows it, `--write` applies it.
""")


def test_the_same_at_sixty_columns(in_root: Path) -> None:
    assert run_cli("check", SAMPLE, "--select", "GA301", columns=60).out == snapshot("""\
warning[GA301]: BatchNorm sees 6 samples at a time; below 16
  its statistics may be unreliable
  --> sample_configs/enhanced_training.yaml:46:15
      priority_net, batch-norm-tiny-batch, medium confidence
   |
46 |   batch_size: 6                       # scenarios; fit…
   |               ^ 6 samples a micro-batch
   |
   ::: sample_configs/priority_net.py:52:30
   |
52 |             blocks += [conv, nn.BatchNorm1d(width), nn…
   |                              --------------
   |                takes its statistics from one
   |                micro-batch, one of 2 such layers
   |
   = why: Mean and variance of each channel come from 6
          samples (times the positions of a convolution;
          after pooling or a linear layer from these 6
          values alone): they change from batch to batch,
          and with them every gradient. Accumulation does
          not help: each micro-batch is normalised alone.
   = known: read from sample_configs/priority_net.py,
            without importing it
   = next: Where memory forbids a larger batch:
           SyncBatchNorm across devices, or GroupNorm.
   = fix: (recommended) raise `batch_size` from 6 to 24
   |
46 -   batch_size: 6                       # scenarios; fit…
46 +   batch_size: 24                       # scenarios; fi…
   |
     · memory for activations x 4
     · the batch of an optimiser step grows from 6 to 24 a
       device
     · steps an epoch / 4: whatever is counted in steps
       lasts 4 x as many epochs
     · review the learning rate (8e-5): a batch this much
       larger often takes a higher one

Found 1 warning in 1 file.
1 finding has a fix: `gradaudit fix
  sample_configs/enhanced_training.yaml --select GA301`
  shows it, `--write` applies it.
""")


def test_one_cause_one_frame_with_evidence(in_root: Path) -> None:
    ran = run_cli(
        "check", SAMPLE, "--select", "GA1,GA4", "--observed-grad-norm", "28.9",
        "--observed-epoch", "3", "--unit", "priority_net", columns=100,
    )  # fmt: skip
    assert ran.out == snapshot("""\
warning[GA101]: 28.9 at epoch 3 is the norm before clipping, 14 times the threshold 2: that step's
  gradient was scaled by 0.069
  --> sample_configs/enhanced_training.yaml:85:23
      priority_net, clip-norm-too-tight, medium confidence
   |
79 |   min_variance_weight: 10.0
   |                        ---- the heaviest term: 62 % of the sum of weights
...
85 |   gradient_clip_norm: 2.0             # total norm, all parameters
   |                       ^^^ clipped 28.9 to 2
   |
   = why: `clip_grad_norm_` returns the norm before clipping, and that is what trainers log: a
          reported norm above the threshold is what a working clip looks like, not a clip that
          failed. Under AdamW a scale that is the same at every step cancels, because the gradient
          is divided by its own running size: as long as every step is clipped, the threshold hardly
          matters; clipping only rare spikes limits how much they weigh in that size. Raising the
          threshold cannot lower the norm.
   = known: given: gradient norm 28.9 at epoch 3, taken as the pre-clip norm
   = known: the learning rate at epoch 3 was 2.77e-5 if the scheduler steps per epoch, up to 4.08e-5
            if it steps per batch: 35 % to 51 % of the peak 8e-5, still in the warm-up
   = next: Measure the pre-clip norm over 100 steps after the warm-up and report median, p90 and
           maximum: one number, or an epoch's mean, says little about a series with spikes. Log the
           gradient norm of each loss term too: is it `min_variance`? Lower that weight first; then
           set the threshold to p90.
   = also: warning[GA401] line 79: auxiliary weights add up to 15.15, 17 times the primary ones
           (0.9); `min_variance` alone has 10
   = also: warning[GA402] line 79: 7 terms are summed as they are; `min_variance` has 14 times the
           median weight, 62 % of the sum
   = also: warning[GA403] line 79: `min_variance` has weight 10, 14 times the largest primary
           weight: if it is a hinge, its gradient jumps
   = fix: (recommended) lower `calib_max_weight`, `calib_range_weight` and `min_variance_weight` to
          0.70
   |
73 -   calib_max_weight: 2.50              # Nov 15 increased from 0.75 (3.3× stronger!)
73 +   calib_max_weight: 0.70              # Nov 15 increased from 0.75 (3.3× stronger!)
74 -   calib_range_weight: 2.00            # Nov 15 increased from 0.45 (4.4× stronger!)
74 +   calib_range_weight: 0.70            # Nov 15 increased from 0.45 (4.4× stronger!)
79 -   min_variance_weight: 10.0
79 +   min_variance_weight: 0.70
   |
     · 0.70 is the largest primary weight, `ranking`; other weights stay
     · changes the objective: compare the task's own metric before and after
   = fix: (speculative) raise `gradient_clip_norm` from 2.0 to 5.0
   |
85 -   gradient_clip_norm: 2.0             # total norm, all parameters
85 +   gradient_clip_norm: 5.0             # total norm, all parameters
   |
     · 5 is the smallest customary threshold that is at least a fifth of the sum of the weights,
       16.05
     · it cannot lower the reported norm, and no gain was measured over 8 seeds
       (docs/measurements.md)

Found 4 warnings in 1 file.
1 finding has a fix: `gradaudit fix sample_configs/enhanced_training.yaml --select GA1,GA4` shows
  it, `--write` applies it.
1 more with `--unsafe`: they may help; measure first.
""")


def test_concise(in_root: Path) -> None:
    assert run_cli("check", SAMPLE, "--format", "concise", columns=60).out == snapshot("""\
sample_configs/enhanced_training.yaml:46:15: warning[GA301] [*] priority_net: BatchNorm sees 6 samples at a time; below 16 its statistics may be unreliable
sample_configs/enhanced_training.yaml:46:15: warning[GA303] [*] priority_net: `ranking` compares at most 15 pairs of 6 samples
sample_configs/enhanced_training.yaml:46:15: warning[GA304] [*] priority_net: `calib_mean`, `calib_max`, `calib_range` and `min_variance` take a statistic of 6 samples
sample_configs/enhanced_training.yaml:64:23: info[GA704] [*] priority_net: `uncertainty_weight` was raised 3.5 times, from 0.1 to 0.35, its own comment says
sample_configs/enhanced_training.yaml:73:21: info[GA704] [*] priority_net: `calib_max_weight` was raised 3.3 times, from 0.75 to 2.5, its own comment says
sample_configs/enhanced_training.yaml:74:23: info[GA704] [*] priority_net: `calib_range_weight` was raised 4.4 times, from 0.45 to 2, its own comment says
sample_configs/enhanced_training.yaml:79:24: warning[GA401] [*] priority_net: auxiliary weights add up to 15.15, 17 times the primary ones (0.9); `min_variance` alone has 10
sample_configs/enhanced_training.yaml:79:24: warning[GA402] priority_net: 7 terms are summed as they are; `min_variance` has 14 times the median weight, 62 % of the sum
sample_configs/enhanced_training.yaml:79:24: warning[GA403] priority_net: `min_variance` has weight 10, 14 times the largest primary weight: if it is a hinge, its gradient jumps
sample_configs/enhanced_training.yaml:85:23: warning[GA101] [*] priority_net: clip norm 2 is tight for 7 summed loss terms whose weights add up to 16.05
Found 7 warnings, 3 infos in 1 file.
4 findings have a fix: `gradaudit fix
  sample_configs/enhanced_training.yaml` shows them,
  `--write` applies them.
4 more with `--unsafe`: they may help; measure first.
""")


def test_markdown(in_root: Path) -> None:
    assert run_cli("check", SAMPLE, "--format", "markdown", "--select", "GA301").out == snapshot("""\
## gradaudit

Found 1 warning in 1 file.

### `sample_configs/enhanced_training.yaml`

| | line | rule | finding |
|---|---|---|---|
| ⚠️ | 46 | [GA301](https://gradaudit.github.io/gradaudit/rules/batch-norm-tiny-batch/ "batch-norm-tiny-batch, in sample_configs/enhanced_training.yaml") | `priority_net`: BatchNorm sees 6 samples at a time; below 16 its statistics may be unreliable |

<details><summary>GA301: why, and what to do</summary>

- Mean and variance of each channel come from 6 samples (times the positions of a convolution; after pooling or a linear layer from these 6 values alone): they change from batch to batch, and with them every gradient. Accumulation does not help: each micro-batch is normalised alone.
- read from sample\\_configs/priority\\_net.py, without importing it

**recommended**: raise `batch_size` from 6 to 24

```diff
-  batch_size: 6                       # scenarios; fits the 12 GB card (v4 segments are 8 s)
+  batch_size: 24                       # scenarios; fits the 12 GB card (v4 segments are 8 s)
```

- memory for activations x 4
- the batch of an optimiser step grows from 6 to 24 a device
- steps an epoch / 4: whatever is counted in steps lasts 4 x as many epochs
- review the learning rate (8e-5): a batch this much larger often takes a higher one

</details>

1 finding has a fix: `gradaudit fix sample_configs/enhanced_training.yaml --select GA301` shows it, `--write` applies it.
""")


def test_clean(config: Write) -> None:
    config("optimizer: adamw\nlearning_rate: 1.0e-4\n")
    assert run_cli("check", "config.yaml").out == snapshot("No findings in 1 file.\n")


def test_nothing_to_judge(config: Write) -> None:
    config("name: x\n")
    assert run_cli("check").out == snapshot("No training config found (1 other file skipped).\n")


def test_unparsable(config: Write) -> None:
    config("optimizer:\n  lr: 1.0e-4\n\tmomentum: 0.9\n")
    assert run_cli("check", "config.yaml").out == snapshot("""\
error[GA001]: not valid YAML: found a tab character that violates indentation
  (while scanning a plain scalar, begun on line 2); YAML does not allow a tab as
  indentation: use spaces
 --> config.yaml:3:1  unparsable-file
  |
3 |     momentum: 0.9
  | ^^^^ here
  |
  = why: Nothing in this file was judged, and nothing in it will be edited.

Found 1 error in 1 file.
""")


def test_a_missing_file(config: Write) -> None:
    config("optimizer: adamw\n")
    assert run_cli("check", "confg.yaml").out == snapshot(
        "error: confg.yaml: no such file or directory; did you mean config.yaml?\n"
    )


def test_duplicate_key_with_both_places(config: Write) -> None:
    config("SOLVER:\n  BASE_LR: 0.05\n  WARMUP: 1\n\n\n  BASE_LR: 0.1  # scaled\n")
    assert run_cli("check", "config.yaml").out == snapshot("""\
error[GA701]: `BASE_LR` is written twice; PyYAML silently keeps this one
 --> config.yaml:6:3  duplicate-key
  |
2 |   BASE_LR: 0.05
  |   ------- this one is lost
...
6 |   BASE_LR: 0.1  # scaled
  |   ^^^^^^^ this one is used
  |
  = why: PyYAML keeps the last of two equal keys; ruamel.yaml and OmegaConf
         refuse the file.
  = next: Decide which of the two values is meant, and delete the other.
  = fix: (recommended) delete the first `BASE_LR`, which loses
  |
2 -   BASE_LR: 0.05
  |
    · a run that PyYAML loads stays as it is; look which of the two is meant,
      because nothing recalls the other afterwards

Found 1 error in 1 file.
1 finding has a fix: `gradaudit fix config.yaml` shows it, `--write` applies it.
""")


def test_fix_of_the_sample(in_root: Path) -> None:
    assert run_cli("fix", SAMPLE).out == snapshot("""\
--- sample_configs/enhanced_training.yaml
+++ sample_configs/enhanced_training.yaml
@@ -43,7 +43,7 @@
   weight_decay: 1.0e-4
   betas: [0.9, 0.999]
 \n\
-  batch_size: 6                       # scenarios; fits the 12 GB card (v4 segments are 8 s)
+  batch_size: 24                       # scenarios; fits the 12 GB card (v4 segments are 8 s)
   epochs: 80
   warmup_epochs: 6
   warmup_start_factor: 0.02           # 1.6e-6 in the first epoch
@@ -70,13 +70,13 @@
   #   → watch the gradient norm in epochs 1-5
   #   → revert if rank correlation drops below 0.78
   calib_mean_weight: 0.30
-  calib_max_weight: 2.50              # Nov 15 increased from 0.75 (3.3× stronger!)
-  calib_range_weight: 2.00            # Nov 15 increased from 0.45 (4.4× stronger!)
+  calib_max_weight: 0.70              # Nov 15 increased from 0.75 (3.3× stronger!)
+  calib_range_weight: 0.70            # Nov 15 increased from 0.45 (4.4× stronger!)
 \n\
   # Against collapse to a constant: w * relu(0.5 - var(pred) / var(target)).
   # ⚠ the denominator is the variance of this batch
   # Nov 15: was hard-coded in the trainer, now a key
-  min_variance_weight: 10.0
+  min_variance_weight: 0.70
   variance_floor: 1.0e-6              # of the denominator
 \n\
   # --- stability ---

GA301, GA303, GA304 (recommended): raise `batch_size` from 6 to 24
  · memory for activations x 4
  · the batch of an optimiser step grows from 6 to 24 a device
  · steps an epoch / 4: whatever is counted in steps lasts 4 x as many epochs
  · review the learning rate (8e-5): a batch this much larger often takes a
    higher one
GA401 (recommended): lower `calib_max_weight`, `calib_range_weight` and
  `min_variance_weight` to 0.70
  · 0.70 is the largest primary weight, `ranking`; other weights stay
  · changes the objective: compare the task's own metric before and after

Would fix 4 findings in 1 file.
Left: 2 infos.
`gradaudit fix sample_configs/enhanced_training.yaml --write` applies the diff
  above.
1 more with `--unsafe`: they may help; measure before you keep them.
""")


def test_show(config: Write) -> None:
    config(
        "model:\n  norm: BN\noptimizer: {name: AdamW, lr: 1e-4}\n"
        "batch_size: ${data.batch}\nloss_weights: {ce: 1.0, kl: 0.1}\nmax_grad_norm: 0\n"
    )
    out = run_cli("show", "config.yaml", "--assume", "world_size=8").out
    plan, _, missing = out.partition("    not judged\n")
    assert plan == snapshot("""\
config.yaml
  dialect generic (any training config): no framework's dialect is certain: keys
    are read by their names (nearest: lightning-hydra, 2 of 10)
  read by a loader that is not known: `1e-4` may be text

  main
    clip_norm      off     written, line 6, max_grad_norm; off (0)
    norm           batch   written, line 2, model.norm
    optimizer      adamw   written, line 3, optimizer.name
    learning_rate  0.0001  written, line 3, optimizer.lr; '1e-4' is text to
                     PyYAML
    world_size     8       assumed
    micro_batch    ?       not known: ${data.batch}: there is no `data.batch` in
                     what the file is made of

    loss terms
    ce  1         primary      line 5
    kl  0.1       unknown      line 5

""")
    assert "GA302: micro_batch, accumulation unknown\n" in missing
    assert "clip_norm" not in missing, "off is not unknown"


def test_verbose_says_what_could_not_be_judged(config: Write) -> None:
    config("optimizer: adamw\nlearning_rate: 1.0e-4\n")
    assert run_cli("check", "config.yaml", "--verbose", "--select", "GA3").out == snapshot("""\
config.yaml: main: not judged: GA301 (norm and micro_batch unknown)
config.yaml: main: not judged: GA302 (norm and micro_batch and accumulation
  unknown)
config.yaml: main: not judged: GA303, GA304 (micro_batch and loss_terms unknown)
No findings in 1 file.
""")


def of_family(screen: str, prefix: str) -> str:
    """Only one family: a new rule elsewhere is no reason to look at this screen again."""
    return next(part for part in screen.split("\n\n") if part.startswith(prefix))


def test_rules_in_a_narrow_terminal() -> None:
    assert of_family(run_cli("rules", columns=60).out, "GA0") == snapshot("""\
GA0  The file and the tool
  GA001  error    unparsable-file
         The file cannot be read or parsed, so nothing in it
         is judged.
  GA002  info     unused-suppression
         A suppression comment suppresses nothing.\
""")
    out = run_cli("rules", columns=80).out
    assert of_family(out, "GA0") == snapshot("""\
GA0  The file and the tool
  GA001  error    unparsable-file
         The file cannot be read or parsed, so nothing in it is judged.
  GA002  info     unused-suppression
         A suppression comment suppresses nothing.\
""")
    assert "`gradaudit explain CODE` says more of one." in out.splitlines()[-3:]


def test_rules_in_a_wide_terminal() -> None:
    """What they say begins in one column; which, the longest name decides."""
    first, second = of_family(run_cli("rules", columns=160).out, "GA0").splitlines()[1:]
    assert " ".join(first.split()) == (
        "GA001 error unparsable-file The file cannot be read or parsed, so nothing in it is judged."
    )
    assert first.index("The file cannot") == second.index("A suppression comment")


@pytest.mark.parametrize("width", [60, 80, 119, 120, 140, 200])
def test_rules_fit_and_cut_nothing(width: int) -> None:
    for words in ([], ["GA2", "GA3"], ["--symptom", "loss"], ["--dialect", "axolotl"]):
        out = run_cli("rules", *words, columns=width).out
        assert all(display_width(line) <= width for line in out.splitlines())
        said = " ".join(out.partition("\nWith an option")[0].split())
        listed = [rule for rule in load().values() if rule.code in said]
        assert len(listed) > 5
        assert all(parse(rule).title in said for rule in listed)


def test_rules_of_a_dialect() -> None:
    assert run_cli("rules", "GA5,batch-norm-tiny-batch", "--dialect", "axolotl").out == snapshot("""\
axolotl: 5 of 7 rules can judge its files, 2 of them with an option or another
file.

GA5  Precision
  GA502  error    fp16-and-bf16
         fp16 and bf16 are both on.
  GA504  info     bf16-updates-vanish  strict
         Weights are kept in bf16 and updated by less than bf16 can add.
  GA505  warning  fp16-for-bf16-model
         A model that was pretrained in bf16 and outgrows fp16 is trained in
         fp16.

With an option, which says what the files do not
  GA301  batch-norm-tiny-batch: norm by `--source` or `--assume`
  GA506  clip-of-scaled-gradients: the training loop in Python by `--source`

Cannot: no key says these settings, or none that gradaudit reads
  GA501  fp16-without-loss-scaling: grad_scaler
  GA503  loss-scale-out-of-range: loss_scale or loss_scale_power or
         loss_scale_window

Most of these can be stated by `--assume`: not loss_terms, and not where files
are compared.

`gradaudit explain CODE` says more of one.
Those marked strict run with `--profile strict` or by name.
""")
    assert run_cli("rules", "GA3", "--dialect", "timm", columns=140).out == snapshot("""\
timm: 5 of 12 rules can judge its files, 2 of them with an option or another file.

GA3  Batch and normalisation
  GA301  warning  batch-norm-tiny-batch                BatchNorm takes its statistics from fewer than 16 samples.
  GA302  warning  accumulation-cannot-cure-batch-norm  Gradients are accumulated over micro-batches that are too small for BatchNorm.
  GA308  warning  batch-norm-momentum                  BatchNorm's running statistics are those of the last batches, or still those of the
                                                       start.

With an option, which says what the files do not
  GA305  batch-product-mismatch: world_size by `--assume`
  GA306  accumulated-loss-undivided: the training loop in Python by `--source`

Cannot: no key says these settings, or none that gradaudit reads
  GA303  pairwise-loss-tiny-batch: loss_terms
  GA304  batch-statistic-penalty-tiny-batch: loss_terms
  GA307  last-batch-of-one: dataset_size
  GA309  group-norm-groups: norm_groups; norm_channels
  GA310  deep-without-residual: depth; residual
  GA311  deep-post-norm-without-warmup: depth; pre_norm
  GA312  init-std-too-large: init_std

Most of these can be stated by `--assume`: not loss_terms, and not where files are compared.

`gradaudit explain CODE` says more of one.
""")


def test_rules_that_all_judge() -> None:
    assert run_cli("rules", "GA701", "--dialect", "vits").out == snapshot("""\
vits: 1 of 1 rule can judge its files.

GA7  Names, types and values in the file
  GA701  error    duplicate-key
         The same key stands twice in one mapping.

`gradaudit explain CODE` says more of one.
""")


def test_a_long_summary_is_wrapped(config: Write) -> None:
    config(
        "optimizer: adamw\nlearning_rate: 0.5\nnorm: batch\nwarmup_epochs: 50\nepochs: 100\n"
        "batch_size: 4  # gradaudit: ignore\n"
    )
    out = run_cli("check", "config.yaml", "--min-confidence", "high", columns=60).out
    assert out == snapshot("""\
No findings in 1 file
  (1 suppressed, 2 below the confidence asked for).
""")


def test_explain() -> None:
    assert run_cli("explain", "GA205").out == snapshot("""\
GA205 warmup-start-factor
The factor that the warm-up starts from is no start: above 1, negative, or
hardly below 1.
error or info; confidence high; no fix; needs `warmup_start_factor`

Why it hurts
The rate begins at factor x learning rate. Above 1 the training starts at its
highest rate, below 0 it climbs the loss; torch's `LinearLR` refuses both. From
0.5 on there is hardly any warm-up.

Symptoms
  - loss is nan
  - loss spikes
  - training ends with an error, or never starts

Bad
    optimizer: adamw
    learning_rate: 1.0e-4
    warmup_epochs: 5
    warmup_start_factor: 2.0

Good
    optimizer: adamw
    learning_rate: 1.0e-4
    warmup_epochs: 5
    warmup_start_factor: 0.02

How to tell on your own run
Print the learning rate of the first step.

Fix
None: 2.0 may be 0.02, 0.2 or 2 %.

Thresholds
  - info = 0.5: from this factor on (below 1) there is hardly a warm-up.

Known false positives
Some frameworks call the number that they divide by a factor; there, 10 is
right.

How to silence it
On the line, the line above, or the section's key; or in gradaudit.toml:
    # gradaudit: ignore[GA205] the reason
    ignore = ["GA205"]

References
  - https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html
""")


def marked(text: str, start: int, end: int, label: str, width: int) -> list[str]:
    mark = Mark(Place(Source("c.yaml", text), start, end), label, True, "error")
    return [plain(line) for line in frame([mark], 1, width)]


def test_a_place_behind_wide_characters_is_underlined_where_it_stands() -> None:
    text = "名前: 値  # 説明\n"
    assert marked(text, 4, 5, "here", 60) == ["  |", "1 | 名前: 値  # 説明", "  |       ^^ here"]


def test_a_place_far_to_the_right_is_brought_into_view() -> None:
    text = "key: [" + "1, " * 60 + "9e9]\n"
    lines = marked(text, text.index("9e9"), text.index("9e9") + 3, "big", 60)
    assert all(display_width(line) <= 60 for line in lines)
    assert lines[1].startswith("1 | …1, 1")
    assert lines[1][lines[2].index("^") :].startswith("9e9")


def test_a_tab_is_four_columns_and_a_control_character_never_acts() -> None:
    assert marked("a:\t1\x1b[31m\n", 3, 4, "x", 60)[1:] == [
        "1 | a:    1\N{REPLACEMENT CHARACTER}[31m",
        "  |       ^ x",
    ]
    assert clean("a\u202eb\x07") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_screen(width: int, in_root: Path) -> None:
    for words in (["check", SAMPLE], ["fix", SAMPLE, "--unsafe"], ["show", SAMPLE]):
        for line in run_cli(*words, columns=width).out.splitlines():
            one_word = len(line.split()) < 2  # a path is not cut
            of_diff = words[0] == "fix" and line[:1] in "+- @"
            assert one_word or of_diff or display_width(line) <= width, line


def test_wrap_keeps_words_whole() -> None:
    assert wrap("aa bbb a-very-long-path/that/is/copied c", 10, "- ") == [
        "- aa bbb",
        "  a-very-long-path/that/is/copied",
        "  c",
    ]
