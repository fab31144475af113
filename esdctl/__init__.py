"""esdctl removes a concept from a Stable Diffusion model and measures that it is gone.

The house, from the top down; imports go down only:

    cli            commands: build a plan, call, show
    evaluation     classifiers, unlearning and retain accuracy
    esd            the ESD algorithm: objective, trajectories, trainer, run folder
    sampling       prompts x seeds -> pictures on disk
    models         Stable Diffusion in memory
    diffusion      schedule, DDIM, guidance: tensors and callables only
    checkpoints    Stable Diffusion and its deltas as files
    datasets       prompts and the names of UnlearnCanvas
    settings       flag > environment > YAML > preset > default
    storage        the only place that writes to disk
    progress, errors

``pocket`` holds the embedded model's files and the script that makes them.
"""

__version__ = "0.1.0"
