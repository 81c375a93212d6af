"""Whether what more pairs add ends: three forms of a curve against the number of pairs, chosen by cross-validation.

With n pairs, a straight line is a + b log2(n), a broken line a + b min(log2(n), c), which is level from 2^c pairs on
(linear-plateau: Anderson and Nelson 1975), and a power law a - b n^-k (Hestness et al. 2017, equation 2, of a score in
the place of a loss). All are linear in a and b for given c or k, which is sought on a grid (variable projection, Golub and
Pereyra 1973): a fit has no start that it could depend on, and those of all resamples are one product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optical_mteb.scores.significance import Array
from optical_mteb.study.analysis import Curve, Estimate, estimate

FORMS = ("straight", "broken", "power")

FEWEST = 5
"""Numbers of pairs that a choice needs: a form of three parameters is fitted to all but one of them."""

RESAMPLES = 500
"""Resamples of a curve that forms are fitted to."""

_GRID = 61
_EXPONENTS = (0.05, 4.0)


@dataclass(frozen=True)
class Fit:
    """A form of the curve.

    Attributes:
        form: One of `FORMS`.
        error: Root mean squared error in predicting the mean of each number of pairs, but the first and the last, from
            those of the others.
        parameter: Pairs at which a broken line bends, or the exponent of a power law; None for a straight line.
        chosen: Share of the resamples in which this form predicts best.
    """

    form: str
    error: float
    parameter: Estimate | None
    chosen: float


def fit_forms(curve: Curve) -> list[Fit]:
    """The three forms, fitted to a curve of at least `FEWEST` numbers of pairs.

    The best in leave-one-out cross-validation over the inner numbers of pairs comes first.
    """
    # The first column is the curve itself, the others are resamples of it.
    means = np.column_stack([curve.values, curve.resampled[:, :RESAMPLES]])
    designs = {form: _designs(form, curve.doublings) for form in FORMS}
    errors = np.stack([_held_out_errors(bases, means) for _, bases in designs.values()])
    best = errors[:, 1:].argmin(axis=0)
    found = []
    for place, (form, (parameters, bases)) in enumerate(designs.items()):
        sought = None
        if form != "straight":
            at = parameters[_residuals(bases, means).argmin(axis=0)]
            sought = estimate(float(at[0]), at[1:])
        found.append(Fit(form, float(errors[place, 0]), sought, float((best == place).mean())))
    return sorted(found, key=lambda fit: fit.error)


def _designs(form: str, doublings: Array) -> tuple[Array, list[Array]]:
    """The parameters of the grid, and for each the columns that a and b multiply, `[p, 2]`."""
    if form == "straight":
        parameters, columns = np.zeros(1), [doublings]
    elif form == "broken":
        bends = np.linspace(doublings[1], doublings[-1], _GRID)
        parameters, columns = 2**bends, [np.minimum(doublings, bend) for bend in bends]
    else:
        parameters = np.geomspace(*_EXPONENTS, _GRID)
        columns = [2 ** (-exponent * doublings) for exponent in parameters]
    return parameters, [np.column_stack([np.ones(len(doublings)), column]) for column in columns]


def _residuals(bases: list[Array], means: Array) -> Array:
    """Sums of squares that the least-squares fits leave, `[grid, curves]`."""
    return np.stack([((means - basis @ (np.linalg.pinv(basis) @ means)) ** 2).sum(axis=0) for basis in bases])


def _held_out_errors(bases: list[Array], means: Array) -> Array:
    """Root mean squared errors of predictions from all other numbers of pairs, `[curves]`; both ends are always kept."""
    inner = range(1, len(means) - 1)
    squares = np.zeros(means.shape[1])
    for place in inner:
        kept = np.arange(len(means)) != place
        left = _residuals([basis[kept] for basis in bases], means[kept])
        predicted = np.stack([basis[place] @ (np.linalg.pinv(basis[kept]) @ means[kept]) for basis in bases])
        # Parameters that fit the others alike may differ in what they predict: their mean counts.
        best = left <= left.min(axis=0) + 1e-9 * means[kept].var(axis=0)
        squares += ((predicted * best).sum(axis=0) / best.sum(axis=0) - means[place]) ** 2
    errors: Array = np.sqrt(squares / len(inner))
    return errors
