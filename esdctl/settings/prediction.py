"""What a denoiser is trained to predict: the one list of the types that we know."""

from typing import Literal, get_args

# The noise (Ho et al. 2020), or the velocity (Salimans & Ho 2022).
PredictionType = Literal["epsilon", "v_prediction"]

PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)
