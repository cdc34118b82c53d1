"""Python configs: read without running them, and never guessed."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import run_cli

from gradaudit.audit import FileResult, audit_source
from gradaudit.discover import Target, discover
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source, Unreadable
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain
from gradaudit.syntax.python_marks import looks_like_config
from gradaudit.syntax.python_reader import UNKNOWN, UPDATE, bases, imported_names
from gradaudit.syntax.tree import (
    Alias,
    Mapping,
    Node,
    Scalar,
    Sequence,
    Tree,
    entries,
    path_of,
    resolve,
    walk,
)

MMDET_2 = """\
_base_ = [
    '../_base_/models/faster_rcnn_r50_fpn.py',
    '../_base_/default_runtime.py'
]
data_root = 'data/kühe/'  # Kühe und Kälber
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.4, 57.12, 57.38], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', img_scale=(1333, 800), keep_ratio=True),
    dict(type='Normalize', **img_norm_cfg),
]
model = dict(
    pretrained=None,
    backbone=dict(depth=101, norm_cfg=dict(type='BN', requires_grad=True), norm_eval=True),
    roi_head=dict(bbox_head=dict(
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=10.0))))
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=2,
    train=dict(ann_file=data_root + 'train.json', pipeline=train_pipeline))
lr = 0.02 / 8
optimizer = dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(policy='step', warmup='linear', warmup_iters=500, warmup_ratio=1.0 / 1000,
                 step=[8, 11])
runner = dict(type='EpochBasedRunner', max_epochs=12)
fp16 = dict(loss_scale=512.)
"""

MMENGINE = """\
_base_ = './faster-rcnn_r50_fpn_1x_coco.py'
max_epochs = 300
base_lr = 4e-3
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=base_lr, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1), 'norm': {'decay_mult': 0}}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0e-5, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=base_lr * 0.05, begin=max_epochs // 2,
         end=max_epochs, T_max=max_epochs // 2, by_epoch=True, convert_to_iter_based=True)]
train_dataloader = dict(batch_size=32, num_workers=10, dataset=_base_.train_dataset)
auto_scale_lr = dict(base_batch_size=16 * 8, enable=False)
"""

NEW_STYLE = """\
from mmengine.config import read_base
from torch.optim import AdamW as Optimiser
from mmdet.models import (ResNet, nn)

with read_base():
    from .._base_.default_runtime import *
    from .retinanet_r50 import model, optim_wrapper as wrapper
    from mmdet.configs._base_.schedules.schedule_1x import *

model.update(dict(backbone=dict(type=ResNet, depth=18), neck=dict(in_channels=[64, 128])))
model.backbone.norm_eval = False
model.bbox_head.loss_cls.loss_weight = 2.0
model['test_cfg'] = dict(nms_pre=1000)
wrapper.merge(dict(optimizer=dict(_delete_=True, type=Optimiser, lr=1e-4)))
train_dataloader = dict(batch_size=4, collate=nn.pad)
"""


def read(text: str) -> Tree:
    """The tree, after looking at what holds of every tree."""
    tree = parse(Source("config.py", text))
    seen: set[int] = set()
    for root in tree.roots:
        for node in walk(root):
            assert id(node) not in seen, "a node stands in two places"
            seen.add(id(node))
            assert 0 <= node.start <= node.end <= len(text)
            if node.parent is not None:
                path_of(node, tree)
            if type(node) is Alias:
                target = resolve(node)
                assert target is node.target
                assert id(target) in tree.aliased
            if type(node) is Scalar and node.tag == UNKNOWN:
                assert text[node.start : node.end] == node.value
    for root in tree.roots:
        for node in walk(root):
            if type(node) is Alias:
                assert id(node.target) in seen, "an alias leads out of the tree"
    assert {id(m) for m in tree.mappings} == {
        id(node) for root in tree.roots for node in walk(root) if type(node) is Mapping
    }
    return tree


def data(text: str) -> dict[str, object]:
    found = plain(read(text).roots[0])
    assert isinstance(found, dict)
    return dict(found)


def at(tree: Tree, *keys: str) -> Node:
    """The value in force at a path, aliases followed."""
    node = resolve(tree.roots[0])
    for key in keys:
        assert type(node) is Mapping
        node = resolve({name.value: value for name, value, _ in entries(node)}[key])
    return node


def is_unknown(text: str, *keys: str) -> bool:
    node = at(read(text), *keys)
    return type(node) is Scalar and node.tag == UNKNOWN


def audit(text: str, path: str = "config.py") -> FileResult:
    return audit_source(Source(path, text), Options(), Settings())


# Whole configs


def test_mmdet_2() -> None:
    tree = read(MMDET_2)
    assert tree.format == "python"
    found = data(MMDET_2)
    assert found["optimizer"] == {
        "type": "SGD", "lr": 0.0025, "momentum": 0.9, "weight_decay": 0.0001,
    }  # fmt: skip
    assert found["optimizer_config"] == {
        "_delete_": True, "grad_clip": {"max_norm": 35, "norm_type": 2},
    }  # fmt: skip
    assert found["data"] == {
        "samples_per_gpu": 2,
        "workers_per_gpu": 2,
        "train": {
            "ann_file": "data/kühe/train.json",
            "pipeline": [
                {"type": "LoadImageFromFile"},
                {"type": "Resize", "img_scale": [1333, 800], "keep_ratio": True},
                {
                    "type": "Normalize",
                    "mean": [123.675, 116.28, 103.53],
                    "std": [58.4, 57.12, 57.38],
                    "to_rgb": True,
                },
            ],
        },
    }
    assert [path for path, _ in bases(tree)] == [
        "../_base_/models/faster_rcnn_r50_fpn.py", "../_base_/default_runtime.py",
    ]  # fmt: skip


def test_mmengine() -> None:
    found = data(MMENGINE)
    assert found["train_cfg"] == {
        "type": "EpochBasedTrainLoop", "max_epochs": 300, "val_interval": 10,
    }  # fmt: skip
    wrapper = found["optim_wrapper"]
    assert isinstance(wrapper, dict)
    assert wrapper["optimizer"] == {
        "type": "AdamW", "lr": 0.004, "betas": [0.9, 0.999], "weight_decay": 0.05,
    }  # fmt: skip
    assert found["param_scheduler"] == [
        {"type": "LinearLR", "start_factor": 1e-5, "by_epoch": False, "begin": 0, "end": 1000},
        {
            "type": "CosineAnnealingLR", "eta_min": 0.0002, "begin": 150, "end": 300,
            "T_max": 150, "by_epoch": True, "convert_to_iter_based": True,
        },
    ]  # fmt: skip
    assert found["auto_scale_lr"] == {"base_batch_size": 128, "enable": False}
    assert is_unknown(MMENGINE, "train_dataloader", "dataset")
    assert [path for path, _ in bases(read(MMENGINE))] == ["./faster-rcnn_r50_fpn_1x_coco.py"]


def test_new_style() -> None:
    tree = read(NEW_STYLE)
    found = data(NEW_STYLE)
    assert found["model"] == {
        "backbone": {"type": "mmdet.models.ResNet", "depth": 18, "norm_eval": False},
        "neck": {"in_channels": [64, 128]},
        "bbox_head": {"loss_cls": {"loss_weight": 2.0}},
        "test_cfg": {"_delete_": True, "nms_pre": 1000},
    }
    assert found["wrapper"] == {
        "optimizer": {"_delete_": True, "type": "torch.optim.AdamW", "lr": 0.0001}
    }
    assert found["train_dataloader"] == {"batch_size": 4, "collate": "mmdet.models.nn.pad"}
    # What is put into the base's dict is told from what takes its place.
    assert at(tree, "model").tag == at(tree, "model", "backbone").tag == UPDATE
    assert at(tree, "train_dataloader").tag is None
    listed = bases(tree)
    assert [path for path, _ in listed] == [
        "../_base_/default_runtime.py", "retinanet_r50.py",
        "mmdet.configs._base_.schedules.schedule_1x",
    ]  # fmt: skip
    assert [imported_names(tree, node) for _, node in listed] == [
        None, {"model": "model", "optim_wrapper": "wrapper"}, None,
    ]  # fmt: skip
    assert NEW_STYLE[listed[0][1].start : listed[0][1].end] == (
        "from .._base_.default_runtime import *"
    )


def test_the_plan_of_a_config() -> None:
    (unit,) = audit(MMDET_2).units
    values = {name: setting.value for name, setting in unit.settings.items()}
    assert values["learning_rate"] == 0.0025
    assert values["optimizer"] == "sgd"
    assert values["micro_batch"] == 2
    assert values["clip_norm"] == 35
    assert values["epochs"] == 12


# Values


@pytest.mark.parametrize(
    ("expression", "text", "value"),
    [
        ("1e-5", "1.0e-05", 1e-5),
        ("-1e-3", "-0.001", -0.001),
        ("+.5", "0.5", 0.5),
        ("2**-4", "0.0625", 0.0625),
        ("0.02/8", "0.0025", 0.0025),
        ("16*2", "32", 32),
        ("(1 + 2) % 2 - 7 // 2", "-2", -2),
        ("0x10", "16", 16),
        ("1_000", "1000", 1000),
        ("1e16", "1.0e+16", 1e16),
        ("1e400", ".inf", math.inf),
        ("float('-inf')", "-.inf", -math.inf),
        ("int(1e3)", "1000", 1000),
        ("-0.0", "-0.0", -0.0),
        ("None", "null", None),
        ("True", "true", True),
        ("False", "false", False),
        ("'null'", "null", "null"),
        ("'1e-4'", "1e-4", "1e-4"),
        ("'a' \"b\"", "ab", "ab"),
        ("'a' + 'b'", "ab", "ab"),
        ("r'\\d'", "\\d", "\\d"),
        ("'''a\n# b'''", "a\n# b", "a\n# b"),
    ],
)
def test_scalars(expression: str, text: str, value: object) -> None:
    node = at(read(f"x = {expression}\n"), "x")
    assert type(node) is Scalar
    assert node.value == text
    assert node.style == ("'" if isinstance(value, str) else "")
    assert node.tag is None
    for yaml11 in (True, False):
        back = plain(node, yaml11)
        assert back == value
        assert type(back) is type(value)


@pytest.mark.parametrize(
    "expression",
    [
        "f()", "f'{a}'", "[i for i in range(3)]", "1 if a else 2", "a", "a.b", "_base_.lr",
        "{1, 2}", "lambda: 1", "b'x'", "1j", "...", "not 1", "1 < 2",
        "1 / 0", "2 ** 5000", "10 ** 300", "'a' * 3", "'%s' % 1", "(-1) ** 0.5", "True + 1",
        "[*a]", "{**a}", "dict(a)", "dict(*a)", "dict(**a)", "dict(a, lr=1)", "{a: 1}",
        "{'a': 1, **{'b': 2}}", "copy.deepcopy(b)", "os.environ['LR']", "0 or 1", "a[0]",
        "1e300 * 1e300 ** 2", "dict([('a', 1)])", "cfg.get('lr', 1)", "(x := 1)", "~1", "1 << 2",
    ],
)  # fmt: skip
def test_what_is_not_known_keeps_its_text(expression: str) -> None:
    text = f"_base_ = 'é.py'; ü = 'ü'; x = dict(y={expression}, z=1)\n"
    node = at(read(text), "x", "y")
    assert type(node) is Scalar
    assert (node.tag, node.style) == (UNKNOWN, "")
    assert node.value in (expression, expression[1:-1])  # `ast` leaves out brackets around it
    assert plain(at(read(text), "x", "z")) == 1


def test_spans_are_in_characters() -> None:
    text = (
        "größe = '日本𝄞'; лр = 1e-3; m = dict(ä='ü', lr=-0.02, k={'é': None, 'q': [1, 'ß']})\r\n"
        "y = 2"
    )
    tree = read(text)

    def spans(node: Node) -> dict[str, str]:
        assert type(node) is Mapping
        return {text[k.start : k.end]: text[v.start : v.end] for k, v in node.pairs}

    assert spans(tree.roots[0]) == {
        "größe": "'日本𝄞'",
        "лр": "1e-3",
        "m": "dict(ä='ü', lr=-0.02, k={'é': None, 'q': [1, 'ß']})",
        "y": "2",
    }
    assert spans(at(tree, "m")) == {
        "ä": "'ü'", "lr": "-0.02", "k": "{'é': None, 'q': [1, 'ß']}",
    }  # fmt: skip
    assert spans(at(tree, "m", "k")) == {"'é'": "None", "'q'": "[1, 'ß']"}


def test_a_name_that_python_normalises_has_its_own_span() -> None:
    text = "m = dict(ﬁx=1)\n"  # U+FB01, which Python reads as `fi`
    mapping = at(read(text), "m")
    assert type(mapping) is Mapping
    (key, value) = mapping.pairs[0]
    assert type(key) is Scalar
    assert (key.value, text[key.start : key.end], text[value.start : value.end]) == (
        "fix", "ﬁx", "1",
    )  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_python_ends_them(newline: str) -> None:
    text = newline.join(["a = 1", "b = '''x", "y'''", "c = [1,", "  2]", ""])
    tree = read(text)
    assert plain(tree.roots[0]) == {"a": 1, "b": "x\ny", "c": [1, 2]}
    node = at(tree, "c")
    assert text[node.start : node.end] == f"[1,{newline}  2]"


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def as_lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_lists(item) for item in value]
    return value


@given(st.dictionaries(st.from_regex(r"\A[a-zé_]{1,5}\Z"), LITERALS, max_size=4))
def test_literals_are_what_python_reads(values: dict[str, object]) -> None:
    values = {name: value for name, value in values.items() if name.isidentifier()}
    lines = []
    for name, value in values.items():
        text = repr(value).replace("inf", "1e999")
        try:
            assert as_lists(ast.literal_eval(text)) == as_lists(value)
        except (SyntaxError, AssertionError):  # a keyword as a name, `inf` in a text
            return
        lines.append(f"{name} = {text}\n")
    source = "".join(lines)
    try:
        ast.parse(source)
        source.encode()
    except (SyntaxError, ValueError):
        return
    for yaml11 in (True, False):
        assert plain(read(source).roots[0], yaml11) == {
            name: as_lists(value) for name, value in values.items()
        }


# Variables


def test_a_variable_is_an_alias() -> None:
    text = "lr = 0.02\nopt = dict(lr=lr)\n"
    mapping = at(read(text), "opt")
    assert type(mapping) is Mapping
    alias = mapping.pairs[0][1]
    assert type(alias) is Alias
    assert (alias.name, text[alias.start : alias.end]) == ("lr", "lr")
    target = resolve(alias)
    assert text[target.start : target.end] == "0.02"


def test_the_last_assignment_is_in_force_and_the_earlier_value_stays_where_it_was_used() -> None:
    text = "lr = 0.02\nopt = dict(lr=lr)\nlr = 0.1\nlr *= 2\n"
    assert data(text) == {"opt": {"lr": 0.02}, "lr": 0.2}
    tree = read(text)
    node = at(tree, "opt", "lr")
    assert text[node.start : node.end] == "0.02"
    assert path_of(node, tree) == (0, "opt", "lr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = dict(x=1)\na['x'] = 2\na['y'] = 3", {"a": {"x": 2, "y": 3}}),
        ("a = dict(x=dict(y=1))\na['x']['y'] = 2", {"a": {"x": {"y": 2}}}),
        ("a = dict(x=dict(y=1))\na.x.z = 2", {"a": {"x": {"y": 1, "z": 2}}}),
        ("k = 'x'\na = dict()\na[k] = 1", {"k": "x", "a": {"x": 1}}),
        ("a = [1, 2]\na[-1] = 3\na.append('x')", {"a": [1, 3, "x"]}),
        ("a = dict(x=1)\nb = a\nb['x'] = 2", {"a": {"x": 2}, "b": {"x": 2}}),
        ("a = dict(x=dict(y=1))\na.update(x=dict(z=2))", {"a": {"x": {"z": 2}}}),
        ("a = dict(x=1)\na.update(dict(y=2))\na.pop('x')", {"a": {"y": 2}}),
        ("a = dict(x=1, y=2)\ndel a['x']", {"a": {"y": 2}}),
        ("a = b = []\nb.append(1)", {"a": [1], "b": [1]}),
        ("a, b = 1, 'x'", {"a": 1, "b": "x"}),
        ("a, b = 1, 2\na, b = b, a", {"a": 2, "b": 1}),
        ("a = 1\ndel a", {}),
        ("a: float = 0.5\nb: int", {"a": 0.5}),
        ("a = dict(x=1, y=2)\nb = dict(a, y=3)", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("b = {**dict(x=1), **dict(x=2), 'y': 3}", {"b": {"x": 2, "y": 3}}),
        ("a = [1]\na = [a]\na = dict(q=a)", {"a": {"q": [[1]]}}),
        ("a = dict(x=dict(y=1))\nb = a['x']\na = 2", {"b": {"y": 1}, "a": 2}),
        ("a = dict(x=dict(y=1))\nb = a['x']\nc = a\na = 2",
         {"b": {"y": 1}, "c": {"x": {"y": 1}}, "a": 2}),
        ("import torch.nn as nn, math\na = nn.ReLU\nb = math.inf",
         {"a": "torch.nn.ReLU", "b": math.inf}),
        ("class Hook: pass\na = dict(type=Hook)", {"a": {"type": "Hook"}}),
        ("from copy import deepcopy\na = [1]\nb = len(a)\nprint(a)", {"a": [1], "b": "len(a)"}),
        ("'''Docs'''\n\ndef f(x):\n    y = 1\n", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_statements(text: str, expected: dict[str, object]) -> None:
    assert data(text) == expected


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("if debug:\n    a = dict(x=2)", "a"),
        ("for i in range(3):\n    a['x'] = i", "a"),
        ("while a.pop():\n    pass", "a"),
        ("try:\n    from x import y as a\nexcept ImportError:\n    a = None", "a"),
        ("with open('x') as a:\n    pass", "a"),
        ("match q:\n    case 1:\n        a.x = 1", "a"),
        ("for part in b:\n    part['y'] = 1", "b"),
        ("change(a)", "a"),
        ("c = change(a)", "a"),
        ("c = dict(y=change(other=[a]))", "a"),
        ("a.setdefault('y', 1)", "a"),
        ("a.update(other)", "a"),
        ("a.update(dict(y=1), z=2)", "a"),
        ("a.merge(dict(y=1))", "a"),
        ("a[f()] = 1", "a"),
        ("a['no']['y'] = 1", "a"),
        ("a.get('x').y = 1", "a"),
        ("a |= other", "a"),
        ("b += [1]", "b"),
        ("b.insert(0, 1)", "b"),
        ("b[5] = 1", "b"),
        ("b[0] = 1\nb.extend(c)", "b"),
        ("del b[0]", "b"),
        ("del a['no']", "a"),
        ("a = dict(a, x=2)\ndel a['x']", "a"),
        ("c = a.copy()\nc['x']['y'] = 1", "a"),
        ("c = b[0:1]\nc[0]['y'] = 1", "b"),
        ("c = dict(a)\na['y'] = 1", "c"),
        ("c = dict(z=b)\nchange(c)", "b"),
        ("exec('a = 1')", "a"),
        ("globals()['a'] = 1", "a"),
        ("c = (a := f())", "a"),
        ("a, *c = f()", "a"),
        ("a += f()", "a"),
        ("if debug:\n    a = dict(x=2)\nc = dict(z=a)", "c.z"),
    ],
)
def test_what_may_have_changed_is_not_known(text: str, keys: str) -> None:
    assert is_unknown(f"a = dict(x=dict(q=1))\nb = [dict(y=0)]\n{text}\n", *keys.split("."))


def test_what_an_alias_refers_to_is_unknown_with_it() -> None:
    text = "a = dict(lr=1)\nb = dict(opt=a)\nchange(a)\n"
    assert is_unknown(text, "b", "opt")


def test_what_was_read_before_a_change_stays_known() -> None:
    assert data("a = dict(lr=1)\nlr = a['lr']\nchange(a)\n")["lr"] == 1


def test_what_is_put_into_a_base() -> None:
    text = (
        "_base_ = ['a.py']\n"
        "_base_.lr = 0.1\n"
        "_base_.model.backbone.depth = 18\n"
        "_base_.optimizer = dict(type='SGD')\n"
        "_base_.optim_wrapper.update(dict(optimizer=dict(lr=1e-3)))\n"
        "_base_.data.train.pipeline.insert(0, 1)\n"
    )
    found = data(text)
    assert found["lr"] == 0.1
    assert found["model"] == {"backbone": {"depth": 18}}
    assert found["optimizer"] == {"_delete_": True, "type": "SGD"}
    assert found["optim_wrapper"] == {"optimizer": {"lr": 0.001}}
    assert is_unknown(text, "data")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a = _base_.train\na['x']['y'] = 1", "train"),
        ("a = dict(b=_base_.train)\na['b']['y'] = 1", "train"),
        ("_base_.pipe[2].scales = [1]", "pipe"),
        ("_base_.model.heads[0] = 1", "model.heads"),
        ("change(_base_.model.neck)", "model"),
        ("for p in _base_.pipe:\n    p.x = 1", "pipe"),
        ("del _base_.model", "model"),
        ("model = dict(x=1)\n_base_.model.x = 2", "model"),
        ("_base_.model.x = 2\nmodel = dict(y=1)", "model"),
        ("_base_.model = dict(x=2)\nmodel = dict(y=1)", "model"),
        ("_base_['lr'] *= 2", "lr"),
    ],
)
def test_what_is_changed_in_a_base_in_other_ways(text: str, keys: str) -> None:
    text = f"_base_ = ['a.py', 'b.py']\n{text}\nchange(_base_)\n"
    assert is_unknown(text, *keys.split("."))
    assert [path for path, _ in bases(read(text))] == ["a.py", "b.py"]


def test_a_value_of_the_file_wins_over_one_put_into_the_base() -> None:
    start = "_base_ = 'a.py'\n"
    assert data(start + "lr = 1\n_base_.lr = 2\n")["lr"] == 1
    assert data(start + "_base_.lr = 2\n_base_.lr = 3\n")["lr"] == 3
    assert data(start + "_base_.lr = 2\nlr = 4\n")["lr"] == 4


def test_names_of_a_base_are_not_known() -> None:
    start = "from mmengine.config import read_base\nwith read_base():\n    from .a import *\n"
    assert is_unknown(start + "b = dict(c=batch)\n", "b", "c")
    assert is_unknown(start + "change(model)\n", "model")
    assert is_unknown(start + "model.neck = other\n", "model", "neck")
    assert is_unknown(start + "model.neck.append(1)\n", "model")
    assert is_unknown(start + "a = dict()\nmodel.neck = a\n", "model", "neck")


def test_bases_in_other_forms() -> None:
    start = "with read_base():\n    "
    assert [p for p, _ in bases(read(start + "from . import a, b as c\n"))] == ["a.py", "b.py"]
    assert [p for p, _ in bases(read(start + "from ...x.y import *\n"))] == ["../../x/y.py"]
    assert [p for p, _ in bases(read("a = 'x.py'\n_base_ = [a, 'y.py']\n"))] == ["x.py", "y.py"]
    assert bases(read("a = 1\n")) == []
    ((text, node),) = bases(read("_base_ = [find()]\n"))
    assert (text, node.tag) == ("find()", UNKNOWN)


NAMES = st.sampled_from("abc")
PLACES = st.one_of(
    NAMES,
    st.builds("{}['{}']".format, NAMES, st.sampled_from("xy")),
    st.builds("{}['{}']['{}']".format, NAMES, st.sampled_from("xy"), st.sampled_from("xy")),
    st.builds("{}[{}]".format, NAMES, st.sampled_from((0, -1))),
)
EXPRESSIONS = st.recursive(
    PLACES | st.sampled_from(("1", "0.5", "'t'", "None", "dict()", "[]", "{'x': 2}", "f'{1}'")),
    lambda inner: st.one_of(
        st.builds("dict(x={}, y={})".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("dict({}, x={})".format, PLACES, inner),
        st.builds("{{**{}, 'y': {}}}".format, PLACES, inner),
        st.builds("{} + {}".format, inner, inner),
        st.builds("{}.copy()".format, PLACES),
        st.builds("list({})".format, PLACES),
        st.builds("deepcopy({})".format, PLACES),
        st.builds("touched({})".format, PLACES),
        st.builds("({} if {} else {})".format, inner, PLACES, inner),
        st.builds("[i for i in {}]".format, PLACES),
    ),
    max_leaves=4,
)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, PLACES, EXPRESSIONS),
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("{} = {} = {}".format, PLACES, NAMES, EXPRESSIONS),
    st.builds("{}, {} = {}, {}".format, NAMES, NAMES, EXPRESSIONS, EXPRESSIONS),
    st.builds("{} += {}".format, PLACES, EXPRESSIONS),
    st.builds("{}.update({})".format, PLACES, EXPRESSIONS),
    st.builds("{}.update(x={})".format, PLACES, EXPRESSIONS),
    st.builds("{}.append({})".format, PLACES, EXPRESSIONS),
    st.builds("{}.pop('{}')".format, PLACES, st.sampled_from("xy")),
    st.builds("{}.clear()".format, PLACES),
    st.builds("del {}".format, PLACES),
    st.builds("touched({})".format, PLACES),
    st.builds("if {}:\n    {} = {}".format, PLACES, PLACES, EXPRESSIONS),
    st.builds("for c in {}:\n    {} = {}".format, PLACES, PLACES, EXPRESSIONS),
)


def touched(value: object, depth: int = 0) -> object:
    """What a function of a config may do with what it is given."""
    if isinstance(value, dict) and depth < 5:
        for inner in list(value.values()):
            touched(inner, depth + 1)
        value["t"] = 1
    elif isinstance(value, list) and depth < 5:
        for inner in list(value):
            touched(inner, depth + 1)
        value.append(1)
    return value


def agrees(node: Node, value: object, depth: int = 0) -> bool:
    """Whether all that the tree says of a value is so; what is unknown says nothing."""
    node = resolve(node)
    if depth > 6 or (type(node) is Scalar and node.tag == UNKNOWN):
        return True
    if type(node) is Mapping:
        found = {key.value: inner for key, inner, _ in entries(node)}
        named = {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}
        return (
            isinstance(value, dict)
            and set(found) == set(named)
            and all(agrees(inner, named[key], depth + 1) for key, inner in found.items())
        )
    if type(node) is Sequence:
        return (
            isinstance(value, list)
            and len(value) == len(node.items)
            and all(agrees(*pair, depth + 1) for pair in zip(node.items, value, strict=True))
        )
    assert type(node) is Scalar
    read_back = plain(node)
    return type(read_back) is type(value) and read_back == value


@settings(max_examples=300)
@given(st.lists(STATEMENTS, min_size=1, max_size=7))
def test_nothing_is_guessed(statements: list[str]) -> None:
    """Against Python itself: what the tree says is what running the file gives."""
    start = ["from copy import deepcopy", "a = {'x': {'x': 1}, 'y': [0]}", "b = [a, {}]", "c = a"]
    names: dict[str, object] = {"touched": touched}
    done = []
    for statement in [*start, *statements]:
        try:
            exec(statement, names)
        except Exception:
            break  # of a file that fails there is nothing to say
        done.append(statement)
    names = {"touched": touched}  # a statement that failed may have done the half of it
    for good in done:
        exec(good, names)
    tree = read("\n".join(done) + "\n")
    root = tree.roots[0]
    assert type(root) is Mapping
    found = {key.value: value for key, value, _ in entries(root)}
    assert set(found) >= {name for name in "abc" if name in names}
    for name, node in found.items():
        value = resolve(node)
        unknown = type(value) is Scalar and value.tag == UNKNOWN
        assert unknown or (name in names and agrees(node, names[name])), "\n".join(done)


# What the rest of gradaudit does with them


def test_a_second_assignment_is_no_duplicate_key_but_a_literal_can_have_one() -> None:
    codes = [
        finding.rule.code
        for finding in audit("lr = 1\nlr = 2\na = dict(x=1)\na['x'] = 2\n").findings
    ]
    assert "GA701" not in codes
    twice = at(read("a = {'x': 1, 'x': 2}\n"), "a")
    assert type(twice) is Mapping
    assert [plain(value) for _, value in twice.pairs] == [1, 2]


def test_comments_suppress() -> None:
    text = (
        "text = '# gradaudit: ignore-file'\n"
        "optimizer = build(  # gradaudit: ignore[GA101]\n"
        "    '# gradaudit: ignore-file')\n"
        "optimizer = dict(type='SGD', lr=-1.0)  # gradaudit: ignore[GA703] meant\n"
        "data = dict(samples_per_gpu=2)\n"
    )
    result = audit(text)
    assert result.suppressed == 1
    assert "GA703" not in [finding.rule.code for finding in result.findings]
    assert "GA703" in [
        finding.rule.code for finding in audit(text.replace("[GA703]", "[GA101]")).findings
    ]
    below = "# gradaudit: ignore[GA703]\noptimizer = dict(\n    type='SGD',\n    lr=-1.0)\n"
    assert audit(below).suppressed == 1


def test_fix_refuses(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    text = "optimizer = dict(type='SGD', lr=0.1)\nwarmup_epochs = 50\nmax_epochs = 20\n"
    path.write_text(text)
    ran = run_cli("fix", "--write", str(path))
    assert "Python configs are checked, not edited" in " ".join(ran.out.split())
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("x = " + "[" * 100_000, "nested deeper than 200 levels", 1, None),
        ("x = " + "-" * 100_000 + "1", "too deeply nested", 1, None),
        ("a" + ".b" * 100_000 + " = 1", "too deeply nested", 1, None),
        ("x = [1]\n" + "x = [x]\n" * 300, "nested deeper than 200 levels", None, None),
        ("a = 1\nx = \0\n", "null bytes", None, None),
        ("a = 1\nbé = dict(lr 1)\n", "not valid Python: ", 2, 11),
        ("a = 1\nprint 'x'\n", "not valid Python: ", 2, 1),
        ("a = 1\n  b = 2\n", "not valid Python: unexpected indent", 2, None),
        ("a = '\ud800'\n", "lone surrogate", 1, 6),
        ("x = " + "9" * 5000, "not valid Python: ", 1, None),
        ("x = [" + "1," * 300_000 + "]", "256 K characters", 1, 1),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else str(value),
)  # fmt: skip
def test_bad_input(text: str, message: str, line: int | None, column: int | None) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(Source("config.py", text))
    assert message in caught.value.message
    assert line in (None, caught.value.line)
    assert column in (None, caught.value.column)


def test_an_unparsable_file_is_a_finding_with_its_line() -> None:
    (finding,) = audit("a = 1\nb = (\n").findings
    assert finding.rule.code == "GA001"
    assert (finding.place.line, finding.message) == (2, "not valid Python: '(' was never closed")


@pytest.mark.filterwarnings("error")
def test_python_warns_of_nothing() -> None:
    assert data("a = '\\d'\nb = 1 is 1\n")["a"] == "\\d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MMDET_2, True),
        (MMENGINE, True),
        (NEW_STYLE, True),
        ("# a\nmodel = dict(\n    type='A')\n", True),
        ("param_scheduler = [\n    # warm up\n    dict(type='A')]\n", True),
        ("import x\noptimizer={'type': 'SGD'}\r\n", True),
        ("def f():\n    model = dict(a=1)\n", False),
        ("import torch\nmodel = Net()\noptimizer = torch.optim.SGD(p)\n", False),
        ("my_model = dict(a=1)\n", False),
        ("if _base_ == 1:\n    pass\n_base_ == 2\n", False),
        ("# _base_ = 'x'\n", False),
        ("", False),
    ],
)
def test_configs_are_told_from_programs(text: str, expected: bool) -> None:
    assert looks_like_config(text) is expected


def test_discovery(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("ignored/\n")
    for name, text in {
        "config.py": MMDET_2,
        "program.py": "import torch\n\n\ndef f():\n    optimizer = dict(lr=1)\n",
        "late.py": "#" * 70_000 + "\nmodel = dict(a=1)\n",
        "binary.py": "\udcff\nmodel = dict(a=1)\n",
        "ignored/config.py": MMDET_2,
        ".hidden/config.py": MMDET_2,
        "plain.yaml": "a: 1\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))

    def names(*paths: Path) -> list[str]:
        found = list(discover([str(path) for path in paths]))
        assert all(isinstance(target, Target) for target in found)
        return [Path(target.path).relative_to(tmp_path).as_posix() for target in found]

    assert names(tmp_path) == ["binary.py", "config.py", "plain.yaml"]
    assert names(tmp_path / "program.py") == ["program.py"]  # what is named is always judged
    assert names(tmp_path / "ignored" / "config.py") == ["ignored/config.py"]


def test_ast_is_not_imported_for_other_files(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "a.yaml").write_text("optimizer: adamw\nlr: 1.0e-4\nbatch_size: 32\n")
    (tmp_path / "program.py").write_text("import torch\n")
    code = (
        "import sys\nfrom gradaudit.__main__ import main\nmain(['check', sys.argv[1]])\n"
        "assert not {'ast', 'tokenize'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=60
    )
