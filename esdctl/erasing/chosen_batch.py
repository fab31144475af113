"""A batch that is left to the machine, chosen once a run and kept in its record."""

from dataclasses import replace

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.batches import largest_batch, with_batch
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.batch_size import fastest_batch
from esdctl.erasing.esd.prepare import Prepared
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder, open_run
from esdctl.progress import Reporter
from esdctl.storage.atomic import write_json


def with_chosen_batch(
    plan: ErasePlan,
    run: RunFolder,
    ready: Prepared,
    schedule: Schedule,
    reporter: Reporter,
    processes: int = 1,
) -> ErasePlan:
    """The plan with numbers for batch, steps and rate; a resumed run finds its batch in its folder.

    Args:
        plan: of the run.
        run: has its record already.
        ready, schedule: what is trained; nothing of it is changed.
        reporter: told what was chosen.
        processes: how many share a batch; one that the machine chooses is so many times larger, up
            to the largest that may be chosen for one.

    Raises:
        DeviceError: by the caller's ``memory_errors``, where not even one latent fits.
    """
    config = plan.config
    if isinstance(config.batch_size, int):
        return plan
    size = run.chosen_batch_size()
    if size is None:
        chosen = processes * choose_batch(config, ready, schedule, reporter)
        chosen = max(processes, min(chosen, largest_batch(config)))
        config = with_batch(config, chosen, plan.lr_batch)
    else:
        config = with_batch(config, size, plan.lr_batch)
    if size is None:
        _, record = open_run(run.path)
        numbers = {key: getattr(config, key) for key in ("batch_size", "iterations", "lr")}
        computed = record.get("computed")
        before = computed if isinstance(computed, dict) else {}
        write_json(run.record, {**record, "computed": {**before, **numbers}})
    return replace(plan, config=config)


def choose_batch(
    config: TrainConfig, ready: Prepared, schedule: Schedule, reporter: Reporter
) -> int:
    """The batch that is named; by measurement where it is left to the machine, ``auto``.

    Where nothing is named at all, only a CUDA device is measured; elsewhere a batch gains little.

    Raises:
        DeviceError: by the caller's ``memory_errors``, where not even one latent fits.
    """
    if isinstance(config.batch_size, int):
        return config.batch_size
    if config.batch_size is None and ready.student.device.type != "cuda":
        return 1
    return fastest_batch(ready.student, schedule, ready.embeddings, config, ready.latent, reporter)
