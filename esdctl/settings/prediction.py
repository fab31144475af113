"""What a denoiser is trained to predict: the one list of the types that we know."""

from typing import Literal

# The noise (Ho et al. 2020), the velocity of a discrete process (Salimans & Ho 2022), or that of a
# flow (Lipman et al. 2023), which is no user's choice: a flow's networks predict nothing else.
PredictionType = Literal["epsilon", "v_prediction", "flow_prediction"]

FLOW: PredictionType = "flow_prediction"
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
