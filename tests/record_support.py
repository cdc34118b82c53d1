"""Records for tests: JSON lines in short, written out as the recorder does."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradaudit.audit import FileResult, audit_source
from gradaudit.evidence.record import Record
from gradaudit.evidence.record_reader import read_record
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

HEADER = {
    "kind": "header", "schema": 1, "source": "probe", "rank": 0, "world_size": 1, "pid": 1,
    "torch": "2.13.0", "python": "3.11.7", "device": "cpu", "program": "train.py",
    "steps_asked": 100, "skip_steps": 0, "started": "2026-11-27T20:00:00+00:00",
}  # fmt: skip
BY_RANK = ("pre_clip_norm", "post_clip_norm")
"""In an example of several ranks these are lists: an item a rank. `layer_norms` may be lists of
lists."""


def entries_of(text: str) -> list[dict[str, Any]]:
    """The objects of a rule's example: an indented line goes on."""
    joined: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and joined:
            joined[-1] += line
        elif line.strip():
            joined.append(line)
    return [json.loads(line) for line in joined]


def spread(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps with `to` and `every` as single ones; a later line replaces the same step."""
    whole: dict[tuple[str, int, int], dict[str, Any]] = {}
    rest = []
    for entry in entries:
        if entry["kind"] not in ("step", "terms"):
            rest.append(entry)
            continue
        entry = dict(entry)
        first, last = entry["step"], entry.pop("to", entry["step"])
        for number in range(first, last + 1, entry.pop("every", 1)):
            key = (entry["kind"], entry.get("optimizer", 0), number)
            whole[key] = {**deepcopy(entry), "step": number}
    return rest + [whole[key] for key in sorted(whole, key=lambda key: (key[2], key[0], key[1]))]


def write_record(
    folder: Path, entries: list[dict[str, Any]], ranks: int = 1, **header: Any
) -> Path:
    """Write the files of a record and return their directory."""
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        lines = [{**HEADER, "rank": rank, "world_size": ranks, **header}]
        for entry in spread(entries):
            own = deepcopy(entry)
            for name in BY_RANK:
                if isinstance(own.get(name), list) and len(own[name]) == ranks:
                    own[name] = own[name][rank]
            norms = own.get("layer_norms")
            if ranks > 1 and norms and isinstance(norms[0], list):
                own["layer_norms"] = norms[rank]
            lines.append(own)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"rank-{rank}.jsonl").write_text(text, encoding="utf-8")
    return folder


def record_of(entries: list[dict[str, Any]], ranks: int = 1, **header: Any) -> Record:
    with TemporaryDirectory() as folder:
        record = read_record(str(write_record(Path(folder), entries, ranks, **header)))
    record.directory = "DIR"
    return record


def example_record(text: str) -> Record:
    """The second part of a rule's example."""
    head, _, lines = text.partition("\n")
    ranks = int(head.split()[3]) if " of " in head else 1
    return record_of(entries_of(lines), ranks)


def audit_recorded(
    config: str, record: Record, options: Options | None = None, settings: Settings | None = None
) -> FileResult:
    options = options or Options()
    options.record = record
    result = audit_source(Source("example.yaml", config), options, settings or Settings())
    graded_as_declared(result, settings)
    return result


def graded_as_declared(result: FileResult, settings: Settings | None = None) -> None:
    """No finding, borne out or withdrawn, has a severity that its rule does not declare; but for
    what the settings set."""
    for finding in [*result.findings, *(finding for finding, _ in result.withdrawn)]:
        if settings is None or finding.rule.code not in settings.severity:
            assert finding.severity in finding.rule.severities, finding.rule.code


ADAMW = "optimizer: adamw\nlearning_rate: 1.0e-3\n"
SGD = "optimizer: sgd\nlearning_rate: 0.1\n"


def optimizer(name: str = "AdamW", index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "kind": "optimizer", "optimizer": index, "class": name,
        "module": f"torch.optim.{name.lower()}", "layers": ["a.weight", "b.weight"],
        "shapes": [[4, 4], [4, 4]], "dtypes": {"torch.float32": 2}, **more,
    }  # fmt: skip


def steps(
    norms: list[float], clip: float | None = None, rate: float = 1e-3, index: int = 0, **more: Any
) -> list[dict[str, Any]]:
    found = []
    for number, norm in enumerate(norms, 1):
        entry = {
            "kind": "step", "optimizer": index, "step": number, "learning_rate": [rate],
            "events": "ZBS" if clip is None else "ZBCS", "backward_calls": 1,
            "pre_clip_norm": norm, "post_clip_norm": norm if clip is None else min(norm, clip),
            "layer_norms": [norm * 0.8, norm * 0.6],
        }  # fmt: skip
        if clip is not None:
            entry["clips"] = [{"what": "norm", "clip_norm": clip, "pre_clip_norm": norm,
                               "covered": 2, "of": 2, "with_gradient": 2}]  # fmt: skip
        found.append({**entry, **more})
    return found


def lognormal(count: int, middle: float = 1.0, spread: float = 0.3, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [round(middle * draw.lognormvariate(0, spread), 6) for _ in range(count)]


def terms(count: int, norms: dict[str, float], weights: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "kind": "terms",
            "step": number,
            "terms": [
                {"name": name, "weight": weights[name], "gradient_norm": norm,
                 "active": norm > 0}
                for name, norm in norms.items()
            ],
        }
        for number in range(1, count + 1)
    ]  # fmt: skip


def codes(config: str, record: Record, **more: Any) -> dict[str, Finding]:
    return {f.rule.code: f for f in audit_recorded(config, record, **more).findings}


def clip_config(optimizer_name: str, rate: str, threshold: str) -> str:
    return f"optimizer: {optimizer_name}\nlearning_rate: {rate}\ngradient_clip_norm: {threshold}\n"
