"""Files of other tools: skipped in a directory, and named they are said to hold no training."""

from __future__ import annotations

import pytest

from gradaudit.audit import FileResult, audit_source
from gradaudit.options import Options
from gradaudit.render.summary import Summary, Tally
from gradaudit.settings import Settings
from gradaudit.source import Source

FOREIGN = {
    "deploy.yaml": "apiVersion: v1\nkind: ConfigMap\ndata: {lr: '0.1', optimizer: adam}\n",
    "ci.yml": "on: [push]\njobs: {train: {env: {LR: '0.1', BATCH_SIZE: '8', OPTIMIZER: sgd}}}\n",
    "docker-compose.yml": (
        "services:\n  api: {image: x, environment: {BATCH_SIZE: '16', LEARNING_RATE: '0.0001'}}\n"
    ),
    "api.yaml": "openapi: 3.0.3\npaths: {}\nx: {lr: 5.0, batch_size: 8, optimizer: sgd}\n",
    "sweep.yaml": (
        "program: train.py\nmethod: bayes\nmetric: {name: loss}\n"
        "parameters: {learning_rate: {min: 1e-5, max: 1.0}, optimizer: adam, lr: 1e-4}\n"
    ),
    "config.json": '{"architectures": ["A"], "model_type": "bert", "dropout": 7, "lr": 3}',
    "dbt_project.yml": "config-version: 2\nmodel-paths: [models]\nvars: {batch_size: 5, lr: 9}\n",
    "tokenizer.json": (
        '{"added_tokens": [], "pre_tokenizer": null,'
        ' "model": {"vocab": {"lr": 5, "optimizer": 11, "dropout": 9}}}'
    ),
}
"""What each holds looks like a training to who reads the names of keys alone."""


def audited(name: str, text: str, named: bool) -> FileResult:
    return audit_source(Source(name, text), Options(), Settings(), named)


@pytest.mark.parametrize("name", FOREIGN)
def test_in_a_directory_it_is_skipped(name: str) -> None:
    result = audited(name, FOREIGN[name], named=False)
    assert result.skipped
    assert not result.findings


@pytest.mark.parametrize("name", FOREIGN)
def test_named_it_is_said_that_nothing_was_judged(name: str) -> None:
    result = audited(name, FOREIGN[name], named=True)
    assert not result.skipped
    assert not result.findings
    assert Summary([Tally(result)], []).silent == [name]


@pytest.mark.parametrize(
    "text",
    [
        "world: {seed: 42, gravity: 9.8}\n",
        "model: x\nmax_model_len: 8192\nseed: 0\n",
        "model: {path: best.pth, batch_size: 8, precision: fp16}\n",
        "player: {momentum: 0.9}\n",
    ],
)
def test_a_seed_or_a_batch_alone_is_no_training(text: str) -> None:
    result = audited("x.yaml", text, named=True)
    assert Summary([Tally(result)], []).silent == ["x.yaml"]
    assert audited("x.yaml", text, named=False).skipped


@pytest.mark.parametrize(
    "text",
    [
        "services: {trainer: {optimizer: adam, lr: 0.1, batch_size: 3}}\n",
        "name: x\nkind: run\noptimizer: adam\nlr: 0.1\nbatch_size: 3\n",
        "gradient_clip: -1\n",
    ],
)
def test_a_training_stays_one(text: str) -> None:
    assert not Summary([Tally(audited("x.yaml", text, named=True))], []).silent


def test_comments_as_keys_may_be_written_more_than_once() -> None:
    text = '{"_comment": "a", "lr": 0.1, "optimizer": "sgd", "_comment": "b", "//": 1, "//": 2}'
    assert "GA701" not in {finding.rule.code for finding in audited("x.json", text, True).findings}
    twice = text.replace("//", "seed")
    assert "GA701" in {finding.rule.code for finding in audited("x.json", twice, True).findings}
