"""All operators, in the order of the table."""

from __future__ import annotations

from .across import ACROSS
from .batch import BATCH
from .files import FILES
from .model import Operator
from .optimiser import OPTIMISER
from .precision import PRECISION
from .rates import RATES

OPERATORS: list[Operator] = [*RATES, *OPTIMISER, *BATCH, *PRECISION, *FILES, *ACROSS]
