"""The z-loss: a penalty on a softmax's normaliser, which is no task, and no third coordinate."""

from __future__ import annotations

import pytest
from record_support import ADAMW, codes, lognormal, optimizer, record_of, steps, terms
from support import audit_text

from gradaudit.plan.model import LossTerm


def terms_of(text: str) -> dict[str, LossTerm]:
    (unit,) = audit_text(ADAMW + text).units
    return {term.setting.last_key: term for term in unit.loss_terms}


@pytest.mark.parametrize(
    "key",
    ["z_loss_weight", "z_loss_coef", "router_z_loss_coef", "moe_z_loss_coeff", "moe_zloss_weight"],
)
def test_keys_of_a_z_loss_are_auxiliary(key: str) -> None:
    found = terms_of(f"ce_weight: 1.0\n{key}: 1.0e-4\n")
    assert found[key].role == "auxiliary"
    assert found["ce_weight"].role == "primary"


def test_a_z_loss_in_a_section_of_weights() -> None:
    found = terms_of("loss_weights:\n  ce: 1.0\n  z_loss: 1.0e-4\n  router_z: 1.0e-3\n")
    assert {name: term.role for name, term in found.items()} == {
        "ce": "primary", "z_loss": "auxiliary", "router_z": "auxiliary",
    }  # fmt: skip


def test_the_third_coordinate_is_none() -> None:
    for text in (
        "ce_weight: 1.0\nx_loss_weight: 1.0\ny_loss_weight: 1.0\nz_loss_weight: 2.0\n",
        "loss_weights:\n  ce: 1.0\n  x: 1.0\n  y: 1.0\n  z: 1.0\n",
        "loss_weights:\n  ce: 1.0\n  x_loss: 1.0\n  y_loss: 1.0\n  z_loss: 1.0\n",
    ):
        assert "auxiliary" not in {term.role for term in terms_of(text).values()}


@pytest.mark.parametrize("name", ["z_loss", "router_z_loss"])
def test_one_that_leads_as_measured_is_said(name: str) -> None:
    config = f"{ADAMW}ce_weight: 1.0\n{name}_weight: 1.0\n"
    measured = terms(40, {"ce": 1.0, name: 9.0}, {"ce": 1.0, name: 1.0})
    found = codes(config, record_of([optimizer(), *steps(lognormal(60)), *measured]))
    assert found["GA961"].key == f"{name}_weight"
    assert found["GA961"].fix is not None


def test_measured_coordinates_are_none() -> None:
    names = {"ce": 1.0, "x_loss": 1.0, "y_loss": 1.0, "z_loss": 9.0}
    measured = terms(40, names, dict.fromkeys(names, 1.0))
    assert "GA961" not in codes(ADAMW, record_of([optimizer(), *steps(lognormal(60)), *measured]))
