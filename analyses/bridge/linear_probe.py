"""A linear probe: linear discriminant analysis with a ridge, which few units in many dimensions do no harm."""

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_limits
from torch import Tensor

from ...tasks import NO_TOKEN, top_token

SHRINKAGE = 0.1  # what is added to all variances within a label, as a share of the states' mean variance


def as_array(states: Float[Tensor, "query d_model"]) -> Float[np.ndarray, "query d_model"]:
    """States as numpy takes them; in half precision, which probes cannot be computed in, as single."""
    return (states.float() if states.dtype.itemsize < 4 else states).cpu().numpy()


def fit_probe(states: Float[np.ndarray, "query d_model"], labels: Int[np.ndarray, " query"]) -> LinearDiscriminantAnalysis:
    """A linear probe; with one thread, since numpy's threads would compete with torch's and slow both."""
    ridge = SHRINKAGE * float(states.var(axis=0).mean()) or 1.0
    probe = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_WithRidge(ridge))
    with threadpool_limits(1, user_api="blas"), config_context(assume_finite=True, skip_parameter_validation=True):
        return probe.fit(states, labels)


def said_by(probe: LinearDiscriminantAnalysis, states: Float[np.ndarray, "query d_model"]) -> Int[np.ndarray, " query"]:
    """The label that a probe finds strictly more likely than every other, or −1 where there is none, see `top_token`."""
    scores = probe.decision_function(states)
    if scores.ndim == 1:  # of two labels: how much more likely the second is
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    top = top_token(torch.from_numpy(scores)).numpy()
    return np.where(top == NO_TOKEN, NO_TOKEN, probe.classes_[top])


class _WithRidge(BaseEstimator):
    """A class's covariance plus a ridge, so that fewer units than dimensions, or only one state for each label, do no harm.

    scikit-learn's shrinkage is relative to the variance within a class, which is zero where the state is an embedding.
    """

    def __init__(self, ridge: float) -> None:
        self.ridge = ridge

    def fit(self, states: Float[np.ndarray, "query d_model"]) -> "_WithRidge":
        centred = states - states.mean(axis=0)
        self.covariance_ = centred.T @ centred / len(states) + self.ridge * np.eye(states.shape[1], dtype=states.dtype)
        return self
