"""Objectives on a layer's activation: more of it, of its deviations, of its diversity."""

from torch import Tensor

from dreamreel.pipeline.dreaming.objectives.objective import Measure, Objective

TINY = 1e-6  # floor of a feature vector's length, as a divisor


def half_squares(activation: Tensor, mean: Tensor | None = None) -> Tensor:
    """Half the sum of squares over the channels of `activation` (N, C, h, w), minus `mean` if
    given: (N, 1, h, w), float32."""
    values = activation.float()
    if mean is not None:
        values = values - mean
    return values.square().sum(1, keepdim=True) / 2


def mean_square(activation: Tensor, mean: Tensor | None = None) -> Tensor:
    """The mean square over the channels of `activation` (N, C, h, w): (N, 1, h, w), float32."""
    return activation.float().square().mean(1, keepdim=True)


def sums(activation: Tensor, mean: Tensor | None = None) -> Tensor:
    """The sum over the channels of `activation` (N, C, h, w): (N, 1, h, w), float32."""
    return activation.float().sum(1, keepdim=True)


def sizes_and_squares(activation: Tensor, mean: Tensor | None = None) -> Tensor:
    """The sum of |a| + a² over the channels of `activation` (N, C, h, w): (N, 1, h, w), float32."""
    values = activation.float()
    return (values.abs() + values.square()).sum(1, keepdim=True)


def unit_vectors(activation: Tensor) -> Tensor:
    """`activation` (N, C, h, w) with each place's feature vector scaled to length 1."""
    values = activation.float()
    return values / values.norm(dim=1, keepdim=True).clamp_min(TINY)


def away_from_mean(activation: Tensor, mean: Tensor | None) -> Tensor:
    """Minus the dot product of each place's unit vector with their `mean`: (N, 1, h, w). Climbing
    it turns the places away from what they have in common."""
    assert mean is not None
    return -(unit_vectors(activation) * mean).sum(1, keepdim=True)


def squared_deviation(activation: Tensor, mean: Tensor | None) -> Tensor:
    """The squared distance of each place's unit vector from their `mean`: (N, 1, h, w). Its mean
    over the places is their variance: 0 where all are alike, at most 1."""
    assert mean is not None
    return (unit_vectors(activation) - mean).square().sum(1, keepdim=True)


# More of whatever is there: DeepDream's own objective (Mordvintsev et al., Inceptionism, 2015).
L2 = Objective("l2", Measure(half_squares), Measure(mean_square))

# The mean activation, as lessons and class pictures climb it: weak responses grow as fast as strong
# ones. The response is that of L2, which is never below 0.
MEAN = Objective("mean", Measure(sums), Measure(mean_square))

# |a| + a², the objective of cnn-vis (Johnson, 2015): weak responses grow too, strong ones faster.
CNN_VIS = Objective("cnn_vis", Measure(sizes_and_squares), Measure(mean_square))

# More of what sets each place apart: the mean over the places does not count. Zooms climb it: under
# L2, a picture that feeds on its own dream ends as one pattern. The response is that of L2, because
# the controller of a zoom holds how strongly it is dreamed; variety has a controller of its own.
DEVIATION = Objective("deviation", Measure(half_squares, Tensor.float), Measure(mean_square))

# Features that differ from place to place.
DIVERSITY = Objective(
    "diversity", Measure(away_from_mean, unit_vectors), Measure(squared_deviation, unit_vectors)
)
