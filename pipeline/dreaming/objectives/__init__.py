"""Objectives by name. A new one is a file here and an entry in `OBJECTIVES`."""

from dreamreel.pipeline.dreaming.objectives.activations import DEVIATION, DIVERSITY, L2
from dreamreel.pipeline.dreaming.objectives.objective import Objective

OBJECTIVES: dict[str, Objective] = {one.name: one for one in (L2, DEVIATION, DIVERSITY)}
