"""Training of a lifter from a store: resumable, chosen on the validation split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from cache import CacheReader
from lifter.config import LifterConfig
from stages.devices import use_device
from stages.lift.config import TrainConfig
from stages.lift.feed.levels import level_names, sampling_backend
from stages.lift.feed.residency import Placement
from stages.lift.feed.rundata import check_splits, open_data
from stages.lift.feed.windows import windowing_of
from stages.lift.fit.averages import WeightAverage
from stages.lift.fit.epoch import EpochReport, run_epoch
from stages.lift.fit.optimizer import ParameterGroup, build_optimizer, group_parameters
from stages.lift.fit.step import TrainStep
from stages.lift.fit.validation import validate
from stages.lift.processes.world import ALONE, World
from stages.lift.progress import Clock, Report, TrainProgress, loading, mean_wait_fraction
from stages.lift.runs.checkpoints import RunDescription, build_model, versions
from stages.lift.runs.identity import describe
from stages.lift.runs.recording import Recording
from stages.lift.runs.state import TrainState
from stages.lift.sources import selection_notes
from stages.lift.torch_settings import torch_settings


@dataclass(frozen=True)
class TrainSummary:
    """The end of a training run."""

    run_dir: Path
    num_epochs: int
    best_epoch: int
    best_mpjpe_mm: float | None  # of the validation split; None if it was not consulted
    num_parameters: int
    dropped_rows: Mapping[str, Mapping[str, int]]
    resumed_from: int | None  # epochs that were already finished
    seconds: float
    placement: Placement | None  # where the maps were; None if nothing was left to do
    wait_fraction: float  # of the time of all training steps spent waiting for batches

    @property
    def up_to_date(self) -> bool:
        """Whether nothing was left to do."""
        return self.placement is None

    def feeding(self) -> str:
        """Returns in one line where the maps were and how long training waited for batches."""
        maps = f"{self.placement.line()}; " if self.placement else ""
        return f"{maps}{100 * self.wait_fraction:.1f} % of the training time spent waiting for data"


def train(
    config: TrainConfig,
    lifter_config: LifterConfig,
    reader: CacheReader,
    run_dir: Path | str,
    *,
    progress: Report | None = None,
    world: World = ALONE,
) -> TrainSummary:
    """Trains a lifter, or goes on where the run directory stopped, and returns a summary.

    The same arguments give the same weights, bit for bit, however often the process is killed, on
    one type of machine with one set of versions and one number of processes. Only
    `config.data.validation_split` is consulted to choose the best epoch.

    The processes of a `world` train one run: `config.batch_size` rows in every step, each process
    those whose maps it owns (`LiftData`). Loss and weights are those of one process, to float
    rounding, as far as no drop path or context dropout is drawn. The process that leads writes
    the files and reports; each returns the summary, with the placement of its own maps.

    Raises:
        EmptySplit: no usable rows to train on or to choose the best epoch on.
        RunMismatch: the directory holds another run, or another process trains in it.
        NotFiniteLoss: the loss became NaN or infinite; the last saved epoch stays.
        DoesNotFit: `config.residency` names a memory that is too small for the maps.
        LiftError: a configuration that does not fit the store.
        RunWriteError: the directory cannot be written.
    """
    run_dir = Path(run_dir)
    check_splits(config, reader)
    recording = Recording(run_dir, world)
    with recording.held(), torch_settings(config.threads, tf32=config.precision == "tf32"):
        training = _Training(config, lifter_config, reader, run_dir, recording, world)
        return training.run(progress if world.leads else None)


def planned_groups(
    config: TrainConfig, lifter_config: LifterConfig, reader: CacheReader
) -> list[ParameterGroup]:
    """Returns the parameter groups that `train` will have; raises as `train` does, before it."""
    check_splits(config, reader)
    use_device(config.device)
    names = level_names(lifter_config, reader)
    model = build_model(lifter_config, describe(reader, config.data, names))
    return group_parameters(model, config)


class _Training:
    """One run: the data, the state and the files."""

    def __init__(
        self,
        config: TrainConfig,
        lifter_config: LifterConfig,
        reader: CacheReader,
        run_dir: Path,
        recording: Recording,
        world: World,
    ) -> None:
        self.config, self.run_dir, self.recording = config, run_dir, recording
        self.device = use_device(world.device_name(config.device))
        if world.size > 1 and self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # streams and events are of the current one
        torch.manual_seed(config.seed)
        names = level_names(lifter_config, reader)
        trained_on = describe(reader, config.data, names)
        model = build_model(lifter_config, trained_on).to(self.device)
        self.data = open_data(
            config,
            reader,
            names,
            self.device,
            windowing=windowing_of(lifter_config, config.data),
            world=world,
        )
        self.steps_per_epoch = -(-len(self.data.training) // config.batch_size)
        steps = config.steps or config.epochs * self.steps_per_epoch
        self.num_epochs = -(-steps // self.steps_per_epoch)
        self.num_steps = self.num_epochs * self.steps_per_epoch
        average = None if config.ema is None else WeightAverage(model, decay=config.ema)
        self.state = TrainState(model, build_optimizer(model, config), average)
        self.train_step = TrainStep(
            self.state,
            config,
            self.device,
            all_valid=self.data.training.all_valid,
            world=world,
        )
        groups = group_parameters(model, config)
        self.description = RunDescription(
            train=config,
            lifter=lifter_config,
            trained_on=trained_on,
            num_parameters=sum(p.numel() for p in model.parameters()),
            parameter_groups={group.name: group.num_parameters for group in groups},
            learning_rates={group.name: group.lr for group in groups},
            notes=tuple(selection_notes(config)),
            dropped_rows=self.data.dropped_rows,
            processes=world.size,
            sampling_backend=sampling_backend(reader, names, self.device),
            versions=versions(),
        )

    def run(self, progress: Report | None) -> TrainSummary:
        began = time.perf_counter()
        state, config, recording = self.state, self.config, self.recording
        resumed_from = state.epoch if recording.start(self.description, state) else None
        placement = None
        if state.epoch < self.num_epochs or not recording.is_finished():
            recording.begin_log(state.history)
            placement = self._place_maps(progress)
            clock = Clock(steps_done=state.epoch * self.steps_per_epoch, num_steps=self.num_steps)
            while state.epoch < self.num_epochs:
                self._epoch(clock, placement, progress)
                if state.epoch % config.save_every == 0 or state.epoch == self.num_epochs:
                    recording.save_state(state)
            recording.finish(state)
        assert state.best_epoch is not None
        return TrainSummary(
            run_dir=self.run_dir,
            num_epochs=self.num_epochs,
            best_epoch=state.best_epoch,
            best_mpjpe_mm=state.best_mpjpe_mm,
            num_parameters=self.description.num_parameters,
            dropped_rows=self.description.dropped_rows,
            resumed_from=resumed_from,
            seconds=time.perf_counter() - began,
            placement=placement,
            wait_fraction=mean_wait_fraction(state.history),
        )

    def _place_maps(self, progress: Report | None) -> Placement:
        epoch = self.state.epoch

        def report(placement: Placement, loaded: float) -> None:
            if progress:
                progress(loading(placement, loaded, epoch=epoch, num_epochs=self.num_epochs))

        passes = self.num_epochs - epoch
        return self.data.place(self.config, self.device, passes=passes, report=report)

    def _epoch(self, clock: Clock, placement: Placement, progress: Report | None) -> None:
        state = self.state
        number = state.epoch + 1
        first_step = state.epoch * self.steps_per_epoch
        result = None
        for result in run_epoch(
            self.train_step,
            self.data.training,
            steps_per_epoch=self.steps_per_epoch,
            num_steps=self.num_steps,
        ):
            if progress and not result.ended:
                progress(self._report(number, result, clock, placement))
        assert result is not None
        assert result.ended
        state.epoch = number
        validation_mm = self._validate(number)
        is_best = self._keep_best(number, validation_mm)
        entry = {
            "epoch": number,
            "step": first_step + result.steps,
            "loss_mm": result.loss_mm,
            "validation_mpjpe_mm": validation_mm,
            "best": is_best,
            "lr": result.lr,
            "samples_per_s": round(result.samples_per_s, 1),
            "wait_fraction": round(result.wait_fraction, 4),
            "maps_on": placement.place,
            "sampling_backend": self.description.sampling_backend,
            "elapsed_s": round(clock.elapsed_s(), 3),
        }
        state.history.append(entry)
        self.recording.add(entry)
        if progress:
            progress(self._report(number, result, clock, placement))

    def _report(
        self, epoch: int, result: EpochReport, clock: Clock, placement: Placement
    ) -> TrainProgress:
        step = (epoch - 1) * self.steps_per_epoch + result.steps
        history = reversed(self.state.history)
        validated = next((one for one in history if one["validation_mpjpe_mm"] is not None), None)
        return TrainProgress(
            epoch=epoch,
            num_epochs=self.num_epochs,
            fraction=step / self.num_steps,
            loss_mm=result.loss_mm,
            validation_mpjpe_mm=validated and validated["validation_mpjpe_mm"],
            is_best=bool(validated and validated["best"]),
            lr=result.lr,
            samples_per_s=result.samples_per_s,
            wait_fraction=result.wait_fraction,
            eta_s=clock.eta_s(step),
            epoch_ended=result.ended,
            maps=placement.line(),
            loaded=None,
        )

    def _validate(self, epoch: int) -> float | None:
        data, config = self.data.validation, self.config
        if data is None or (epoch % config.eval_every and epoch != self.num_epochs):
            return None
        return validate(self.state, data, config, self.device)

    def _keep_best(self, epoch: int, validation_mm: float | None) -> bool:
        state = self.state
        if self.config.select == "last":
            is_best = epoch == self.num_epochs
        else:
            is_best = validation_mm is not None and (
                state.best_mpjpe_mm is None or validation_mm < state.best_mpjpe_mm
            )
        if is_best:
            state.best_epoch, state.best_mpjpe_mm = epoch, validation_mm
            self.recording.keep_best(state)
        return is_best
