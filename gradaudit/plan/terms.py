"""The terms of a loss as a dry run measured them, at the weights that the file has now."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

from gradaudit.dialects import GENERIC
from gradaudit.plan.loss_terms import role_of
from gradaudit.plan.measured import same
from gradaudit.plan.term_keys import find_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import Terms
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import LossTerm, Setting


@dataclass
class TermShare:
    """One term. share: mean of its gradient norm over the judged steps, over the sum of all terms'
    means. rms: root mean square over the steps at which it is active; active: their share.

    Norms are of weight x gradient. written: the file's weight. used: that of the run, where it was
    the same at every step. weight: the one that the norms are of.
    """

    name: str
    role: str
    weight: float | None
    setting: Setting | None
    active: float
    rms: float
    share: float = 0.0
    written: float | None = None
    used: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the file has another weight than the run."""
        return (
            self.written is not None and self.used is not None and not same(self.used, self.written)
        )

    @property
    def is_auxiliary(self) -> bool:
        return self.role in ("auxiliary", "regulariser")


def shares_of(measured: Measured, steps: list[Terms] | None = None) -> list[TermShare]:
    """What each term has of the gradient, after the warm-up or at the steps that are given.

    A weight that was changed in the file since scales the measured norm, which is exact: the
    gradient is linear in it. Where the file is the one that was measured, a weight that differs is
    not the run's, and the norms are those of the run.
    """
    steps = measured.settled_terms if steps is None else steps
    names = list(dict.fromkeys(name for step in measured.terms for name in step.names))
    own = _terms_of(names, measured)
    _add_unknown(own, measured)
    said = {line.get("name"): line.get("role") for line in measured.record.others.get("term", [])}
    beside = [_tokens(name) for name in names]
    means: list[float] = []
    found: list[TermShare] = []
    for name in names:
        term = own.get(name)
        norms: list[float] = []
        used = _used(measured, name)
        for step in steps:
            if name not in step.names:
                continue
            norm = step.norms[step.names.index(name)]
            if norm is not None and isfinite(norm) and norm > 0:
                norms.append(norm)
        factor, weight = 1.0, used
        if term is not None and used and measured.older:
            factor, weight = abs(term.weight / used), term.weight
        norms = [norm * factor for norm in norms if norm * factor > 0]
        count = len(steps) or 1
        means.append(sum(norms) / count)
        rms = sqrt(sum(norm * norm for norm in norms) / len(norms)) if norms else 0.0
        role = said.get(name) or (
            term.role if term is not None else role_of(_tokens(name), _ROLES, beside)
        )
        setting = term.setting if term is not None else None
        written = term.weight if term is not None else None
        active = len(norms) / count
        found.append(
            TermShare(name, role, weight, setting, active, rms, written=written, used=used)
        )
    total = sum(means)
    for share, mean in zip(found, means, strict=True):
        share.share = mean / total if total else 0.0
    return found


def balance_is_open(measured: Measured, most: float) -> bool:
    """Whether the weights of the loss are still to change, or have changed since the record: the
    norm of the whole is then another one. `most` is the share that auxiliary terms may have."""
    if not measured.terms:
        return False
    shares = shares_of(measured)
    if sum(share.share for share in shares if share.is_auxiliary) > most:
        return True
    return weights_changed(measured)


def norm_moved(measured: Measured) -> bool:
    """Whether the file has, or may have, other loss weights or another batch than the record.

    The measured terms tell of the weights. Where there are none, a file that was changed since
    and sums several terms may have changed them.
    """
    if measured.terms and weights_changed(measured):
        return True
    if not measured.older:
        return False
    seen, batch = measured.optimizer.batch_norm_batch, measured.unit.number("micro_batch")
    if seen is not None and batch is not None and batch != seen:
        return True
    return len(measured.unit.loss_terms) > 1 and not measured.terms


def weights_changed(measured: Measured) -> bool:
    """Whether the file was changed since and has another weight for a term than the run."""
    return bool(measured.older) and any(share.differs for share in shares_of(measured))


_ROLES: dict[str, str] = GENERIC["loss_terms"]["roles"]


def _tokens(name: str) -> tuple[str, ...]:
    return tuple(_plain(name).split("_"))


def _used(measured: Measured, name: str) -> float | None:
    """The weight that a term was measured with; None where it changed or is not known."""
    weights = {
        step.weights[step.names.index(name)] for step in measured.terms if name in step.names
    }
    return weights.pop() if len(weights) == 1 else None


def _terms_of(names: list[str], measured: Measured) -> dict[str, LossTerm]:
    """Measured name -> the file's term: of that name or key, else the only one left that shares
    all words with it. `uncertainty_bounds` is not `uncertainty` where that was measured, too; nor
    is a name of other words the run's where the file was not changed and has another number."""
    found = {}
    terms = measured.unit.loss_terms
    for name in names:
        wanted = _plain(name)
        for term in terms:
            if wanted in (term.name, term.setting.last_key.lower()):
                found[name] = term
                break
    left = [term for term in terms if term not in found.values()]
    for name in names:
        if name in found:
            continue
        words = set(_tokens(name))
        close = [t for t in left if words <= set(_tokens(t.name)) or set(_tokens(t.name)) <= words]
        used = _used(measured, name) if len(close) == 1 and not measured.older else None
        if len(close) == 1 and (used is None or same(used, close[0].weight)):
            found[name] = close[0]
    return found


def _add_unknown(found: dict[str, LossTerm], measured: Measured) -> None:
    """Terms whose weight stands under a name that makes no loss by itself: `depth_weight`."""
    for step in measured.terms[:1]:
        for name, weight in zip(step.names, step.weights, strict=True):
            if name not in found and weight:
                term = find_key(
                    measured.unit, name, weight, [_tokens(other) for other in step.names]
                )
                if term is not None:
                    found[name] = term


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
