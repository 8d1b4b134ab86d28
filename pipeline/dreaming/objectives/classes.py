"""Classes: more of one of the things that a network tells apart.

The head tells the classes at each place where it can, so that a class grows where the picture
already suggests it, as a thing with a place, rather than everywhere, as a pattern.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.dreaming.objectives.objective import Measure, Objective
from dreamreel.pipeline.networks.heads import Head

# What is climbed at a place: the class's log-probability, and this share of its logit, which still
# pulls where the probability is nearly 1.
LOGIT_SHARE = 0.1
# In units of what is climbed: a place that lags another by so much climbs 1 / e as far.
SPREAD = 2.0


def of_class(head: Head, number: int, name: str) -> Objective:
    """The objective that climbs the class of that `number` and `name`, as `head` tells it.

    It is the soft maximum over the places, `SPREAD` wide: the more a place suggests the class, the
    further it climbs. The response is the mean of the class's logit, smoothly cut off at 0.
    """

    def logits(activation: Tensor) -> Tensor:
        return head.at_places(activation).float()

    def scores(found: Tensor) -> Tensor:
        own = found[:, number : number + 1]
        return own - found.logsumexp(1, keepdim=True) + LOGIT_SHARE * own

    def suggested(activation: Tensor) -> Tensor:
        return (scores(logits(activation)) / SPREAD).exp()

    def soft_maximum(activation: Tensor, mean: Tensor | None) -> Tensor:
        assert mean is not None
        return SPREAD * suggested(activation) / mean.clamp_min(torch.finfo(torch.float32).tiny)

    def response(activation: Tensor, mean: Tensor | None = None) -> Tensor:
        return F.softplus(logits(activation)[:, number : number + 1])

    def whole(activation: Tensor) -> Tensor:
        return scores(head.of_whole(activation).float()).flatten(1).sum(1)

    return Objective(f"class:{name}", Measure(soft_maximum, suggested), Measure(response), whole)
