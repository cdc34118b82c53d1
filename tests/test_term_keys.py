"""From a measured term to the key of its weight, and back into the file once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradaudit.__main__ import main
from gradaudit.audit import audit_source
from gradaudit.options import Options
from gradaudit.plan.term_keys import find_key
from gradaudit.settings import Settings
from gradaudit.source import Source


class TestAWeightUnderANameThatMakesNoLoss:
    """`depth_weight` is found by the term's name and the number that it was measured with."""

    TEXT = (
        "# mine\noptimizer: adamw   # as in the paper\nlearning_rate: 1.0e-3\n"
        "depth_weight: 0.5     # of the depth head\nmodel: {depth: 4}\n"
    )

    def entries(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = [
            {"kind": "optimizer", "class": "AdamW"},
            {"kind": "term", "name": "ce", "role": "primary"},
            {"kind": "term", "name": "depth", "role": "auxiliary"},
        ]
        for step in range(1, 41):
            found.append({"kind": "step", "step": step, "events": "ZBS", "learning_rate": [1e-3]})
            found.append({"kind": "terms", "step": step, "terms": [
                {"name": "ce", "weight": 1.0, "gradient_norm": 1.0},
                {"name": "depth", "weight": 0.5, "gradient_norm": 8.0}]})  # fmt: skip
        return found

    def test_twice_is_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        header = {"kind": "header", "schema": 1, "source": "dryrun", "rank": 0, "world_size": 1}
        (tmp_path / "record").mkdir()
        lines = [json.dumps(line) for line in [header, *self.entries()]]
        (tmp_path / "record" / "rank-0.jsonl").write_text("\n".join(lines) + "\n")
        config = tmp_path / "c.yaml"
        config.write_bytes(self.TEXT.encode())
        words = ["fix", str(config), "--record", str(tmp_path / "record"), "--write",
                 "--select", "GA961"]  # fmt: skip
        main(words)
        said = " ".join(capsys.readouterr().out.split())
        assert "lower `depth_weight` by the measured norms" in said
        assert "not fixed" not in said
        once = config.read_bytes()
        assert once == self.TEXT.replace("0.5 ", "0.042 ").encode()
        main(words)
        assert config.read_bytes() == once
        assert "Nothing to fix" in capsys.readouterr().out

    def test_a_key_that_is_no_weight_is_left(self) -> None:
        options = Options()
        text = self.TEXT.replace("depth_weight: 0.5", "other: 0.5")
        unit = audit_source(Source("c.yaml", text), options, Settings()).units[0]
        assert find_key(unit, "depth", 0.5) is None
        assert find_key(unit, "depth", 4.0) is not None  # the number that was measured with
