"""Evaluation of a run directory: its best epoch and its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cache import CacheReader
from stages.devices import use_device
from stages.lift.config import EvaluateConfig
from stages.lift.errors import RunMissing
from stages.lift.evaluation import Evaluation, evaluate_models, evaluation_splits
from stages.lift.feed.levels import sampling_backend
from stages.lift.feed.samples import store_name
from stages.lift.feed.windows import windowing_of
from stages.lift.refined_evaluation import refinement_notes
from stages.lift.runs.checkpoints import LoadedRun, load_run
from stages.lift.runs.rundir import METRICS_FILE, write_json
from stages.lift.sources import selection_notes, sources_of

_MEANS = ("frame_wise", "action_wise")


def evaluate_run(
    run: LoadedRun | Path | str,
    reader: CacheReader,
    config: EvaluateConfig | None = None,
    *,
    progress: Callable[[Evaluation], None] | None = None,
) -> dict[str, Evaluation]:
    """Evaluates a trained run on every split asked for and writes its `metrics.json`.

    Returns the evaluations by split, of the weights that `config.weights` names. The metrics have
    the means of the last epoch beside them, as `last`, if `config.also_last` and the run has come
    to its end. Raises `StoreMismatch` if the store is not of the kind that the run was trained on,
    unless the difference is named in `config.allow`; what was allowed is written into the metrics.
    """
    config = config or EvaluateConfig()
    if not isinstance(run, LoadedRun):
        run = load_run(run, weights=config.weights)
    data = run.config.data
    if config.keypoint_source:
        data = data.model_copy(update={"keypoint_source": config.keypoint_source})
    run.require_fit(reader, keypoint_source=data.keypoint_source, allow=config.allow)
    last = _last_epoch(run) if config.also_last else None
    models = [run.model, *([last.model] if last and last is not run else [])]
    evaluations, last_metrics = {}, {}
    for split in config.splits or evaluation_splits(reader, data):
        found = evaluate_models(
            models,
            reader,
            split,
            config,
            data=data,
            level_names=run.level_names,
            windowing=windowing_of(run.description.lifter, data),
        )
        evaluations[split] = found[0]
        last_metrics[split] = {name: found[-1].metrics[name] for name in _MEANS}
        if progress:
            progress(evaluations[split])
    sources = sources_of(reader, data.keypoint_source, data.context if run.level_names else None)
    notes = [
        *selection_notes(run.config),
        *refinement_notes(config),
        *sources.pop("notes"),
        *_velocity_notes(config),
    ]
    write_json(
        run.run_dir / METRICS_FILE,
        {
            "epoch": run.epoch,
            "weights": run.weights,
            "seed": run.config.seed,
            "lifter": run.description.lifter.name,
            "num_parameters": run.description.num_parameters,
            "store": store_name(reader),
            **sources,
            "notes": notes,
            "context": data.context if run.level_names else None,
            "sampling_backend": sampling_backend(
                reader, run.level_names, use_device(config.device)
            ),
            "evaluate": config.model_dump(mode="json"),
            "splits": {name: evaluation.metrics for name, evaluation in evaluations.items()},
            "last": last and {"epoch": last.epoch, "splits": last_metrics},
        },
    )
    return evaluations


def _last_epoch(run: LoadedRun) -> LoadedRun | None:
    """Returns the run with the weights of its last epoch; None before its end."""
    try:
        last = load_run(run.run_dir, weights="last")
    except RunMissing:
        return None
    return run if last.epoch == run.epoch else last


def _velocity_notes(config: EvaluateConfig) -> list[str]:
    if config.velocity == "clips":
        return []
    return ["MPJVE is over concatenated frames: steps from one clip into the next count, too."]
