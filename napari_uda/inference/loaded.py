"""A run with its weights in memory: read once, used for as many volumes as there are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from napari_uda.core.errors import InputError
from napari_uda.core.precision import choose_device, choose_precision
from napari_uda.data.provenance import ModelOrigin
from napari_uda.run.checkpoint import first_misfit, load_method_weights
from napari_uda.run.outline import build_from, check_fits
from napari_uda.run.run import Run, remedy
from napari_uda.uncertainty.view_vote import ViewVote

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import torch

    from napari_uda.inference.averaging import Network
    from napari_uda.inference.backend import Backend
    from napari_uda.methods.base import Method


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run whose network stands ready on a device.

    Attributes:
        run: the run.
        method: its trained method, in evaluation mode.
        vote: its vote on reliability.
        device: where the weights are.
        bf16: whether the run's precision means bfloat16 there.
        weights_sha256: checksum of the weights file, as `sha256sum` gives it.
        network: what predicts in the place of `method.predict` (`for_prediction`); None for that itself.
    """

    run: Run
    method: Method[Any]
    vote: ViewVote
    device: torch.device
    bf16: bool
    weights_sha256: str = ""
    network: Network | None = None

    @property
    def predict(self) -> Network:
        """Slices to logits: the network for prediction where there is one, else the method itself."""
        return self.network or self.method.predict

    @property
    def origin(self) -> ModelOrigin:
        """What its results say of it."""
        place = self.run.place.resolve()
        return ModelOrigin(
            self.run.name,
            self.weights_sha256,
            date=self.run.created[:10],
            path=str(place),
        )

    @classmethod
    def load(
        cls,
        run: Run | str | os.PathLike[str],
        device: str = "auto",
        *,
        weights: Path | None = None,
    ) -> Self:
        """Read the weights of a run.

        Args:
            run: run folder, or an opened run.
            device: cpu, cuda, ...; auto takes the first GPU when there is one.
            weights: another of its weights files than the one that predicts.

        Raises:
            InputError: for a folder that is no trained run, weights that do not fit its settings, or a
                device that torch does not see.
        """
        opened = run if isinstance(run, Run) else Run.open(run)
        where = choose_device(device)
        config, facts = opened.config, opened.facts
        file = weights or opened.weights_file()
        check_fits(file, opened.path, config, facts)
        method = build_from(config, facts)
        tensors, bank = load_method_weights(file)
        try:
            method.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(
                f"{file} does not fit the run's settings ({first_misfit(error)}); "
                f"{remedy(opened.path, 'use the version that trained it')}"
            ) from error
        method = method.eval().place(where)
        vote = ViewVote(config.method.reliability, bank).to(where)
        bf16 = choose_precision(config.precision, where) == "bf16"
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(opened, method, vote, where, bf16, digest)

    def for_prediction(self, backend: Backend = "auto", *, adapted: bool = False) -> Self:
        """The same with a network that is made for prediction, and knows the weights as they are now.

        Args:
            backend: what computes: torch, openvino, or auto, which takes OpenVINO where it is installed and a
                CPU computes.
            adapted: whether the weights are others than the run's by now; no file is kept of the network then.

        Raises:
            InputError: OpenVINO was asked for, and it is not installed, cannot compute there or not this network.
        """
        from napari_uda.inference.backend import prepare_network

        settings = self.run.config.model_dump(mode="json", include={"method", "segmentor"})
        computed = "" if adapted else json.dumps([self.weights_sha256, settings], sort_keys=True)
        network = prepare_network(
            self.method, backend, self.device, bf16=self.bf16, checksum=computed
        )
        return replace(self, network=network)

    @staticmethod
    def of(run: LoadedRun | Run | str | os.PathLike[str], device: str = "auto") -> LoadedRun:
        """The run as it is when its weights are in memory already, else loaded onto `device`."""
        return run if isinstance(run, LoadedRun) else LoadedRun.load(run, device)
