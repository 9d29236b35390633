"""The training loop: an iterator of `Progress` that the CLI, the viewer and the tests all drive."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from napari_uda.core import distributed
from napari_uda.core.errors import Cancelled, InputError, NotFiniteError, ran_out_of_memory
from napari_uda.core.precision import choose_device, choose_precision
from napari_uda.core.runtime import Runtime
from napari_uda.core.schedule import poly
from napari_uda.core.setting_paths import by_path
from napari_uda.core.words import number_of
from napari_uda.data.batches import TrainingData
from napari_uda.methods.base import Method
from napari_uda.methods.registry import build_method, method_class
from napari_uda.networks.trial import try_network
from napari_uda.run import checkpoint
from napari_uda.run.folder import StopRequest
from napari_uda.run.history import VALIDATION
from napari_uda.run.log import kept_log
from napari_uda.run.outline import check_fits
from napari_uda.run.run import NOT_FINITE_AT, Run, read_config
from napari_uda.training.checks import check_norm, check_size, check_validation
from napari_uda.training.findings import Findings, data_found, tell
from napari_uda.training.heartbeat import Heartbeat
from napari_uda.training.load import load_training_data
from napari_uda.training.no_harm import is_checked, judge_end
from napari_uda.training.previews import Previews
from napari_uda.training.same_data import check_same_data, refuse_moved_folders
from napari_uda.training.start import take_over, vote_of_new_run
from napari_uda.training.validation import INCONSISTENCY as INCONSISTENCY_SCALAR
from napari_uda.training.validation import best_so_far, inconsistency, score, validation_dice
from napari_uda.uncertainty.view_vote import ViewVote

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from napari_uda.run.config import RunConfig

logger = logging.getLogger(__name__)

_BY_STRENGTH: tuple[StopRequest, ...] = ("", "save", "discard")


@dataclass(frozen=True)
class Progress:
    """State of a run after a step.

    Attributes:
        step: steps done.
        total: steps of the run.
        seconds: training time so far, earlier sessions included.
        scalars: losses of the last logged step by name.
        stopped: whether this is the last word because the stop event was set.
    """

    step: int
    total: int
    seconds: float
    scalars: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False


def train_run(
    run: Run,
    *,
    stop: threading.Event | None = None,
    force: bool = False,
    findings: Findings = "warn",
    say: Callable[[str], None] | None = None,
) -> Iterator[Progress]:
    """Train a new run, or continue one from its newest checkpoint.

    Batch, augmentation and views of a step depend on (settings, seed, step) alone, so a run that
    was stopped or killed ends with the same weights, bit for bit, as one that was not.

    Whoever watches the run folder can ask for previews and for a stop (`RunFolder`); neither changes
    what the steps compute.

    Args:
        run: the run folder with its settings.
        stop: when set, the loop saves and returns after the current step.
        force: whether to begin although another machine seems to train the run.
        findings: what to do with what is odd in the data of a run that begins: warn, refuse to train, or
            log it in the run's `log.txt` alone.
        say: is told in a sentence what was found on each side, before the first step.

    Yields:
        One `Progress` per step.

    Raises:
        InputError: for data or settings that cannot be used, when another process trains the run, or when
            memory runs out; the last checkpoint is kept.
        FloatingPointError: when a loss is not finite; the last checkpoint is kept.
        Cancelled: when the run folder holds a request to discard; nothing is saved then.
    """
    leader = distributed.rank() == 0
    handler = run.log_handler() if leader else logging.NullHandler()
    handler.setLevel(logging.INFO)
    try:
        with kept_log(handler), Heartbeat(run, active=leader, force=force) as heartbeat:
            try:
                yield from _train(run, stop, leader, heartbeat, findings, say)
            except (GeneratorExit, Cancelled):
                raise
            except BaseException as error:
                logger.info("ended after step %d: %s", heartbeat.step, error)
                if leader:
                    with suppress(InputError):  # on a full disk, say what failed first
                        run.event("failed", **_failure(error, heartbeat.step))
                if ran_out_of_memory(error):
                    raise InputError(_memory_ran_out(run, heartbeat.step)) from error
                raise
            finally:
                if leader:  # and nobody else's, as it would be where the heartbeat is refused
                    shutil.rmtree(run.cache, ignore_errors=True)
    finally:
        handler.close()


def _failure(error: BaseException, step: int) -> dict[str, Any]:
    """What the event says: why, and which step a loss that was not finite belongs to."""
    reason = {"reason": f"{type(error).__name__}: {error}"}
    return {**reason, NOT_FINITE_AT: step} if isinstance(error, FloatingPointError) else reason


def _memory_ran_out(run: Run, step: int) -> str:
    return (
        f"memory ran out after step {step} of {run.path}; its last checkpoint is kept: close other "
        "programs and resume it, or train a new run with a smaller --batch-size or --data.size"
    )


@dataclass(frozen=True, eq=False)
class _Session:
    """What training holds between two steps, on one rank."""

    run: Run
    method: Method[Any]
    vote: ViewVote
    data: TrainingData
    runtime: Runtime
    optimizers: Mapping[str, torch.optim.Optimizer]
    done: int
    """Steps of earlier sessions."""

    @classmethod
    def begin(
        cls,
        run: Run,
        runtime: Runtime,
        *,
        leader: bool,
        findings: Findings,
        say: Callable[[str], None] | None,
    ) -> _Session:
        """Read the data and build the method, with its first weights or those of the newest checkpoint."""
        config = run.config
        data = _load_data(run, leader, findings)
        if leader:
            for sentence in data_found(data, config.data.patient_pattern):
                logger.info("%s", sentence)
                if say is not None:
                    say(sentence)
        check_validation(config, has_held_out=bool(data.held_out))
        pair = checkpoint.newest(run.checkpoints)
        if pair is not None:
            check_fits(pair[1], run.path, config, data.facts)
        method = build_method(
            config.method,
            config.segmentor,
            neighbours=data.facts.grid.neighbours,
            num_classes=data.facts.num_classes,
            seed=config.seed,
            pretrained=pair is None,  # or the file of ImageNet weights would be needed for ever
        )
        size = data.facts.grid.size
        check_size(size, method.segmentor)
        check_norm(config, method.segmentor, size)
        if pair is None:
            try_network(method.segmentor, config.segmentor.name, size)
        # A new run takes the vote's spectra from its source, or from the run it starts from; a resumed
        # one has them in its checkpoint.
        if pair is None:
            checkpoint.refuse_damaged(run.checkpoints)
            given = take_over(method, config.init) if config.init is not None else None
            vote = vote_of_new_run(method, data, config.init, given)
        else:
            _, bank = checkpoint.load_method_weights(pair[1])
            vote = ViewVote(config.method.reliability, bank)
        # optimisers are built on the device and before their states are restored
        method.place(runtime.device).train()
        optimizers = method.optimizers()
        runtime.attach(optimizers)
        done = checkpoint.resume(run.checkpoints, method, optimizers) if pair else 0
        session = cls(run, method, vote.to(runtime.device), data, runtime, optimizers, done)
        if pair is None and leader and is_checked(run, data.facts):
            checkpoint.save_weights(run.checkpoints / checkpoint.START, session.weights(), 0)
        return session

    def weights(self) -> dict[str, Tensor]:
        """What a weights file holds."""
        return {**self.method.state_dict(), checkpoint.AMPLITUDE_BANK: self.vote.amplitude_bank}

    def save(self, done: int) -> None:
        """Write the pair that resumes the run after `done` steps.

        Raises:
            NotFiniteError: if a weight is NaN or infinite; the checkpoint before is kept.
        """
        weights = self.weights()
        name = checkpoint.first_not_finite(weights)
        if name:
            raise NotFiniteError(
                f"after step {done} the weights of {name} are not finite (NaN or infinity), so they are "
                "not saved; resume from the checkpoint before with a lower learning rate"
            )
        checkpoint.save(self.run.checkpoints, weights, self.optimizers, done)

    def judge(self) -> dict[str, str]:
        """Compare the end of a run without source data with its start, and keep in its facts which one predicts.

        Returns:
            What the event at its end says of that.
        """
        facts = self.data.facts
        if (
            not is_checked(self.run, facts)
            or not (self.run.checkpoints / checkpoint.START).exists()
        ):
            return {}
        found = judge_end(self.run, self.method, self.data, self.runtime)
        self.run.write_facts(facts.model_copy(update={"outcome": found}))
        return {"no_change": found.no_change} if found.no_change else {}

    def validate(self, done: int, seconds: float) -> None:
        """Score the held-out cases, and keep the weights if the settings select by them."""
        dice = validation_dice(self.method, self.data, self.runtime.device)
        scores, rule = {VALIDATION: dice}, self.run.config.select
        if rule == "consistency":
            scores |= {INCONSISTENCY_SCALAR: inconsistency(self.method, self.data, self.runtime)}
        best = best_so_far(self.run)
        self.run.log(done, seconds, scores)
        logger.info("Dice of the held-out cases after step %d: %.4f", done, dice)
        if rule != "last" and score(scores) > best:
            checkpoint.save_weights(self.run.checkpoints / checkpoint.BEST, self.weights(), done)


def _train(
    run: Run,
    stop: threading.Event | None,
    leader: bool,
    heartbeat: Heartbeat,
    findings: Findings,
    say: Callable[[str], None] | None,
) -> Iterator[Progress]:
    config = run.config
    runtime = build_runtime(config)
    heartbeat.device = runtime.device
    session = _Session.begin(run, runtime, leader=leader, findings=findings, say=say)
    done = heartbeat.step = session.done
    skipped = run.skipped_steps()
    _wait_for_all()  # nobody rewinds or saves while another rank still reads the checkpoint
    if leader:
        run.rewind(done)
        _say_what_differs(run, runtime.device)
        kind, threads = "resumed" if done else "started", torch.get_num_threads()
        run.event(kind, step=done, device=str(runtime.device), threads=threads)
    logger.info("%s on %s, step %d of %d", config.method.name, runtime.device, done, config.steps)
    logger.info(
        "labels of the target that the method was given: %s", session.data.facts.target_supervision
    )
    before, began = run.seconds(), time.monotonic()
    previews = Previews(run, session.method, session.vote, session.data, runtime)

    scalars: dict[str, float] = {}
    steps = take_steps(
        *(session.method, session.data, runtime, config.method.lr_power),
        start=done,
        skipped=skipped,
    )
    for done, losses in steps:
        # All ranks do the same step and decide on the same request; rank 0 alone writes.
        seconds = before + time.monotonic() - began
        last = done == config.steps
        heartbeat.step = done
        asked = "save" if stop is not None and stop.is_set() else heartbeat.stop_request
        request = _strongest(asked)
        if request == "discard" and not last:
            logger.info("discarded on request after step %d", done)
            if leader:
                run.event("discarded", step=done)
            raise Cancelled(f"cancelled on request at step {done}; nothing was saved")
        stopping = request != "" and not last
        logging_now = last or done % config.log_every == 0
        if stopping or logging_now:
            scalars = _mean_over_ranks(losses)  # all ranks take part in the mean
        if leader:  # a stop adds no line and no score, or a resumed run would differ
            if logging_now:
                run.log(done, seconds, scalars)
            previews.after_step(done, heartbeat.preview_request)
            if config.validate_every and (last or done % config.validate_every == 0):
                session.validate(done, seconds)
            if stopping or last or done % config.save_every == 0:
                session.save(done)
        if stopping:
            logger.info("stopped and saved after step %d", done)
            if leader:
                run.event("stopped", step=done)
            yield Progress(done, config.steps, seconds, scalars, stopped=True)
            return
        yield Progress(done, config.steps, seconds, scalars)
    judged = session.judge() if leader else {}
    logger.info("finished after step %d", done)
    if leader:
        run.event("finished", step=done, **judged)
    _wait_for_all()


def _say_what_differs(run: Run, device: torch.device) -> None:
    """Say what a run that goes on computes with, if that is not what it computed with before.

    Sums are taken in another order then: each step is as right as before, but not the same bit for bit.
    """
    sessions = [event for event in run.events() if event.get("event") in ("started", "resumed")]
    if not sessions:
        return
    before = sessions[-1]
    differences = []
    kind = str(before.get("device", device)).partition(":")[0]
    if kind != device.type:
        differences.append(f"on {device.type} instead of {kind}")
    threads, now = before.get("threads"), torch.get_num_threads()
    if device.type == kind == "cpu" and isinstance(threads, int) and threads != now:
        differences.append(f"with {number_of(now, 'thread')} instead of {threads}")
    if differences:
        logger.warning(
            "the run goes on %s: its numbers will not be the same bit for bit as without the stop",
            " and ".join(differences),
        )


def build_runtime(config: RunConfig) -> Runtime:
    """The runtime that a run's settings ask for."""
    device = choose_device(config.device)
    if config.deterministic and device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return Runtime(
        device,
        precision=choose_precision(config.precision, device),
        clip_norm=config.clip_norm,
        seed=config.seed,
        steps=config.steps,
    )


def take_steps(
    method: Method[Any],
    data: TrainingData,
    runtime: Runtime,
    lr_power: float,
    *,
    start: int = 0,
    skipped: Collection[int] = (),
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The steps of a method in memory: what `train` and `adapt` have in common.

    Args:
        method: in training mode, its optimisers attached to `runtime`.
        data: slices that the batches are drawn from.
        runtime: says how many steps the run has.
        lr_power: learning rates fall as (1 - step/steps) to this power.
        start: steps done already.
        skipped: steps, counted from 0, in which nothing is learnt.

    Yields:
        Steps done, and what the last of them logs.
    """
    for step in range(start, runtime.steps):
        runtime.step = step
        runtime.set_learning_rates(poly(step, runtime.steps, lr_power))
        if step in skipped:
            if step + 1 == runtime.steps:
                with runtime.autocast():
                    method.after_last_step(data, runtime)
            yield step + 1, {}
            continue
        # (settings, seed, step) decide everything from here on, so that a resumed run is the same run
        with runtime.autocast():
            method.before_step(data, runtime)
        batch = data.batch(step, runtime.device, choose=method.choose_slices)
        with runtime.autocast():
            losses = method.step(batch, runtime)
            if step + 1 == runtime.steps:
                method.after_last_step(data, runtime)
        yield step + 1, losses


def _load_data(run: Run, leader: bool, findings: Findings) -> TrainingData:
    config = run.config
    run_known = run.known_facts()
    if run_known:
        refuse_moved_folders(run)
    if leader:  # what a killed process left, or somebody else put there
        shutil.rmtree(run.cache, ignore_errors=True)
        checkpoint.finish_renaming(run.checkpoints)  # a run may have no step left that would save
    _wait_for_all()  # every rank looks for data.json before rank 0 writes it
    data = load_training_data(
        config,
        method_class(config.method.name),
        cache=run.cache,
        known=run_known,
        # a run that goes on was told when it began
        on_checked=None if run_known else partial(tell, findings=findings, aloud=leader),
    )
    if run_known:
        check_same_data(run, run_known, data.facts)
        files = {**run_known.files, **data.facts.files}
        data = replace(data, facts=data.facts.model_copy(update={"files": files}))
    if leader:
        run.write_facts(data.facts)
        _keep_new_places(run)
    return data


def _keep_new_places(run: Run) -> None:
    """Write the settings of a run that was opened with other ones, such as the folders of today."""
    stored = read_config(run.config_file)
    if stored != run.config:
        before, after = by_path(stored), by_path(run.config)
        changes = {
            path: str(new) if isinstance(new, Path) else new
            for path, new in after.items()
            if new != before.get(path)
        }
        run.write_config(run.config)
        run.event("changed", settings=changes)
        logger.info("settings changed: %s", changes)


def _strongest(request: StopRequest) -> StopRequest:
    """The strongest request of any rank: all ranks stop after the same step, in the same way."""
    if not distributed.is_distributed():
        return request
    votes = torch.tensor(
        [float(_BY_STRENGTH.index(request))]
    )  # on the CPU: gloo talks there beside nccl
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return _BY_STRENGTH[int(votes.item())]


def _mean_over_ranks(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """The logged scalars as of the whole batch."""
    if not losses or not distributed.is_distributed():
        return {name: float(value) for name, value in losses.items()}
    values = torch.stack([value.detach().float().reshape(()) for value in losses.values()])
    dist.all_reduce(values)
    return dict(zip(losses, (values / distributed.world_size()).tolist(), strict=True))


def _wait_for_all() -> None:
    if distributed.is_distributed():
        dist.barrier()
