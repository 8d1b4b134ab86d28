"""Classes: more of one of the things that a network tells apart.

A class is climbed as a whole thing, in views of the picture at the size at which networks are
taught: there, a network knows what is a thing, and in a single place only its texture.
"""

import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.dreaming.objectives.objective import Measure, Objective
from dreamreel.pipeline.networks.heads import Head

# What is climbed: the class's log-probability, and this share of its logit, which still pulls where
# the probability is nearly 1.
LOGIT_SHARE = 0.1


def of_class(head: Head, number: int, name: str) -> Objective:
    """The objective that climbs the class of that `number` and `name`, as `head` tells it.

    The response is the mean of the class's logit over the places, smoothly cut off at 0.
    """

    def own(logits: Tensor) -> Tensor:
        return logits[:, number : number + 1]

    def score(logits: Tensor) -> Tensor:
        return own(logits) - logits.logsumexp(1, keepdim=True) + LOGIT_SHARE * own(logits)

    def at_places(activation: Tensor, mean: Tensor | None = None) -> Tensor:
        return score(head.at_places(activation).float())

    def whole(activation: Tensor) -> Tensor:
        return score(head.of_whole(activation).float())[:, 0]

    def response(activation: Tensor, mean: Tensor | None = None) -> Tensor:
        return F.softplus(own(head.at_places(activation).float()))

    return Objective(f"class:{name}", Measure(at_places), Measure(response), whole)
