"""Whatever a record holds, the audit says something and every output can be written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_support import audit_recorded, record_of

from gradaudit.plan.recorded import as_config
from gradaudit.render.json import check_document
from gradaudit.render.layout import display_width, plain
from gradaudit.render.record import record_lines
from gradaudit.render.report import render_report
from gradaudit.render.summary import Summary, Tally
from gradaudit.rules import load

RULES = load()
CONFIG = """optimizer: adamw
learning_rate: 1.0e-3
batch_size: 8
gradient_accumulation_steps: 2
gradient_clip_norm: 1.0
precision: bf16-mixed
warmup_steps: 5
loss_weights:
  ce: 1.0
  mse: 1.0
  calibration: 6.0
  variance: 9.0
"""

odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, "nan", "inf", "-inf", 0, 0.0, -1.0, 1e-30, 1e30, 3, 0.7, 1.0, "x", []]
)
rates = st.lists(odd, max_size=3)
layers = st.integers(0, 4)
clips = st.lists(
    st.fixed_dictionaries(
        {"what": st.sampled_from(["norm", "value", "with_norm", "fsdp", "?"])},
        optional={
            "clip_norm": odd, "clip_value": odd, "pre_clip_norm": odd, "covered": odd, "of": odd,
            "with_gradient": odd, "unscaled": st.booleans(),
        },
    ),
    max_size=2,
)  # fmt: skip
steps = st.fixed_dictionaries(
    {"kind": st.just("step"), "optimizer": st.integers(0, 1), "step": st.integers(1, 60)},
    optional={
        "to": st.integers(1, 140), "events": st.text("ZBUCSLK", max_size=6),
        "backward_calls": odd, "learning_rate": rates, "pre_clip_norm": odd,
        "post_clip_norm": odd, "clips": clips, "with_gradient": odd,
        "layer_norms": st.lists(odd, max_size=5),
        "layer_norms_are": st.sampled_from(["local", "global"]),
        "batch_norm": st.lists(
            st.fixed_dictionaries({"mode": st.sampled_from(["train", "eval"]), "batch": odd}),
            max_size=2,
        ),
        "update_ratio": st.lists(odd, max_size=5), "weight_norms": st.lists(odd, max_size=5),
        "autocast": st.lists(st.fixed_dictionaries({"dtype": st.just("float16")}), max_size=1),
        "loss_scale": odd, "unscaled": st.booleans(), "skipped": st.booleans(),
        "closure_calls": odd, "stale_gradients": odd,
        "non_finite": st.lists(st.just("a.weight"), max_size=2),
    },
)  # fmt: skip
optimizers = st.fixed_dictionaries(
    {"kind": st.just("optimizer"), "optimizer": st.integers(0, 1)},
    optional={
        "class": st.sampled_from(["AdamW", "SGD", "Mine", "LBFGS", ""]),
        "module": st.sampled_from(["torch.optim.x", "mine"]),
        "groups": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "tensors": odd, "learning_rate": odd, "initial_learning_rate": odd,
                    "weight_decay": odd, "eps": odd, "betas": st.lists(odd, max_size=2),
                },
            ),
            max_size=2,
        ),
        "layers": st.lists(st.sampled_from(["a.weight", "b\x1b[31m", "größe"]), max_size=4),
        "shapes": st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4),
        "dtypes": st.just({"torch.bfloat16": 4}), "not_in_optimizer": st.just(["c"]),
        "batch_norm_layers": odd, "bias_before_batch_norm": st.lists(odd, max_size=2),
        "sharded": st.booleans(), "replicas": st.lists(st.integers(1, 2), max_size=4),
    },
)  # fmt: skip
terms = st.fixed_dictionaries(
    {
        "kind": st.just("terms"),
        "step": st.integers(1, 9),
        "to": st.integers(1, 60),
        "terms": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["ce", "mse", "calibration", "variance", "new"])},
                optional={"weight": odd, "gradient_norm": odd, "active": st.booleans()},
            ),
            max_size=4,
            unique_by=lambda term: str(term["name"]),
        ),
    }
)
notes = st.fixed_dictionaries(
    {
        "kind": st.just("note"),
        "topic": st.sampled_from(["fsdp1", "zero", "x"]),
        "text": st.just("t"),
    }
)
three = st.lists(odd, max_size=4)
dry_run = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("batch_norm_noise"), "layers": st.lists(
            st.fixed_dictionaries({}, optional={"layer": odd, "noise": odd}) | odd, max_size=3)}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("batch_size_bias"), "micro_batch": odd, "large": odd, "cosine": three},
        optional={"cosine_frozen_norm": three},
    ),
    st.fixed_dictionaries(
        {"kind": st.just("noise"), "low": odd, "high": odd, "micro_batch": odd},
        optional={"noise_scale": odd, "lower_bound_only": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"kind": st.just("frozen"), "names": st.lists(st.just("mse") | odd, max_size=3),
         "cosines": st.lists(st.lists(three | odd, max_size=3) | odd, max_size=3)}
    ),
)  # fmt: skip
records = st.lists(st.one_of(steps, steps, optimizers, terms, notes, dry_run), max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records, st.integers(1, 2))
def test_whatever_a_record_holds_every_output_can_be_written(
    entries: list[dict[str, Any]], ranks: int
) -> None:
    record = record_of(entries, ranks)
    for config in (CONFIG, as_config(record)):
        result = audit_recorded(config, record)
        for finding in result.findings:
            assert finding.severity in RULES[finding.rule.code].severities
            assert finding.message
        for line in record_lines(result, 80):
            text = plain(line)
            assert text.isprintable()
            assert display_width(text) <= 80
        document = json.loads(check_document([result], Summary([Tally(result)], [])))
        assert document["schema"] == 1
        assert render_report(result, command="gradaudit report c.yaml").startswith("# Training")
