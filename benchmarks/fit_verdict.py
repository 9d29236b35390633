"""How often the verdict "does this model fit this image?" is right: runs of several anatomies and modalities, tried on each other.

    python benchmarks/fit_verdict.py DATA [--out DIR] [--seed 1000] [--list]

DATA holds `mscmr/bssfp`, `mscmr/lge`, `mscmr/lge_val`, `chaos_t2` (data folders), `btcv_label_maps` and
`samples/*.nii.gz`; phantoms are made. Small runs are trained into DIR (about 20 minutes on one core; those
that are there are used again) and then segment images that fit (of the domain they were trained for, held
out of training, or those of the target that a run was adapted to) and images that do not: another anatomy,
another modality than both of the run's domains, and fitting images whose header or values were spoiled.
A source run on the modality of a target that it was not adapted to is neither, and counted apart.

Prints a table: pairs, how many were flagged (not "fits"), and Wilson's 95 % interval. `--list` names the
pairs that were judged wrong. Exit code 1 when fewer than 95 % of the misfits or more than 5 % of the fits
were flagged.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_uda.api import build_config, iterate, new_run
from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import Volume, read_volume
from napari_uda.inference.fit import Fit
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.phantom import write_phantom
from napari_uda.run.run import Run

FIT, APART = "fits", "source run, modality it was not adapted to"
HEART = {"myocardium": 1, "left ventricle": 2, "right ventricle": 3}
BELLY = {"liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4}
AUGMENTED = {"intensity": "gin_ipa"}
SPOILED = 3
"""Fitting images of each run whose headers and values are spoiled in every way."""
OTHERS = 4
"""Images of each other domain that each run is tried on."""
WANTED, ALLOWED = 0.95, 0.05


@dataclass(frozen=True)
class Plan:
    """A run to train: its data, and the domains that it is tried on.

    Attributes:
        name: of the run folder.
        method: of training.
        source: domain with labels.
        target: domain that it is adapted to, or "".
        seed: of training.
        names: structure names where the data folder has none.
        held_out: share of the source that is held out.
        misfits: kind to domains; `APART` is among the kinds.
    """

    name: str
    method: str
    source: str
    target: str = ""
    seed: int = 0
    names: dict[str, int] | None = None
    held_out: float = 0.0
    misfits: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Pair:
    """A run and an image: what kind of pair it is, whether it is of a patient, and what spoils it first."""

    run: str
    kind: str
    volume: Volume
    real: bool
    spoil: Callable[[Volume], Volume] = lambda volume: volume


ANATOMY, MODALITY = "another anatomy", "another modality than both"
CUT = "another anatomy, cut to the field of view"
_BSSFP = (
    (ANATOMY, ("chaos_t2", "abdominal/mr")),
    (CUT, ("chaos_t2",)),
    (APART, ("mscmr/lge_val", "samples/ct")),
)
_LGE = (
    (ANATOMY, ("chaos_t2", "abdominal/mr")),
    (CUT, ("chaos_t2",)),
    (MODALITY, ("samples/ct", "cardiac/ct")),
)
_CHAOS = ((ANATOMY, ("mscmr/bssfp", "mscmr/lge", "cardiac/mr")), (APART, ("painted/ct",)))
PLANS = (
    Plan("heart_ct2mr", "advent", "cardiac/ct", "cardiac/mr",
         misfits=((ANATOMY, ("abdominal/mr", "chaos_t2")),)),
    Plan("heart_mr", "source_only", "cardiac/mr",
         misfits=((ANATOMY, ("abdominal/mr", "chaos_t2")), (APART, ("cardiac/ct",)))),
    Plan("belly_mr2ct", "advent", "abdominal/mr", "abdominal/ct",
         misfits=((ANATOMY, ("cardiac/ct", "mscmr/bssfp", "mscmr/lge")),)),
    Plan("bssfp_0", "source_only", "mscmr/bssfp", seed=0, names=HEART, held_out=0.25, misfits=_BSSFP),
    Plan("bssfp_1", "source_only", "mscmr/bssfp", seed=1, names=HEART, held_out=0.25, misfits=_BSSFP),
    Plan("bssfp_2", "source_only", "mscmr/bssfp", seed=2, names=HEART, held_out=0.25, misfits=_BSSFP),
    Plan("bssfp2lge_0", "advent", "mscmr/bssfp", "mscmr/lge", seed=0, names=HEART, misfits=_LGE),
    Plan("bssfp2lge_1", "adaptsegnet", "mscmr/bssfp", "mscmr/lge", seed=1, names=HEART, misfits=_LGE),
    Plan("chaos_0", "source_only", "chaos_t2", seed=0, names=BELLY, held_out=0.3, misfits=_CHAOS),
    Plan("chaos_1", "source_only", "chaos_t2", seed=1, names=BELLY, held_out=0.3, misfits=_CHAOS),
    Plan("painted2chaos", "advent", "painted/ct", "chaos_t2",
         misfits=((ANATOMY, ("mscmr/bssfp", "mscmr/lge", "cardiac/mr")),)),
)  # fmt: skip


class Domains:
    """The images of each domain: real ones of DATA, phantoms to train on and fresh ones to try."""

    def __init__(self, data: Path, out: Path, seed: int) -> None:
        self.data, self.out, self.seed = data, out, seed
        for name in ("cardiac", "abdominal", "painted"):
            subjects = 12 if name == "painted" else 10
            for folder, with_seed in (("phantoms", 0), (f"fresh_{seed}", seed)):
                if not (out / folder / name).exists():
                    maps = data / "btcv_label_maps" if name == "painted" else None
                    anatomy = "cardiac" if name == "cardiac" else "abdominal"
                    write_phantom(
                        out / folder / name, anatomy=anatomy, subjects=subjects, size=96,
                        seed=with_seed, from_labels=maps,
                    )  # fmt: skip

    def is_real(self, domain: str) -> bool:
        """Whether its images are of patients."""
        return domain.partition("/")[0] not in {"cardiac", "abdominal", "painted"}

    def folder(self, domain: str) -> Path:
        """What a run trains on."""
        return self.data / domain if self.is_real(domain) else self.out / "phantoms" / domain

    def images(self, domain: str, names: Sequence[str] = ()) -> Iterator[Volume]:
        """Images to try, the named cases only; phantoms are others than those in training."""
        if domain == "samples/ct":
            for path in sorted((self.data / "samples").glob("example_ct*.nii.gz")):
                yield read_volume(path)
            return
        folder = self.folder(domain)
        if not self.is_real(domain):
            folder = self.out / f"fresh_{self.seed}" / domain
        for case in DataFolder.open(folder).cases:
            if not names or case.name in names:
                yield case.read_image()


def train(plan: Plan, domains: Domains) -> Run:
    """The run of a plan, trained unless it is there."""
    path = domains.out / "runs" / plan.name
    if (path / "checkpoints" / "last.safetensors").exists():
        return Run.open(path)
    data: dict[str, object] = {"source": str(domains.folder(plan.source)), "size": 64}
    data["validation_fraction"] = plan.held_out
    if plan.target:
        data["target"] = str(domains.folder(plan.target))
    if plan.names:
        data["labels"] = plan.names
    real = domains.is_real(plan.target or plan.source)
    config = build_config(
        plan.method,
        recipe="cpu_small",
        data=data,
        steps=600 if plan.target and real else 400,
        seed=plan.seed,
        device="cpu",
        **({"augment": AUGMENTED} if plan.target else {}),
    )
    with new_run(path, config) as run:
        for _ in iterate(run):
            pass
    return run


def pairs(plan: Plan, domains: Domains, run: Run) -> Iterator[Pair]:
    """All images that a run is tried on."""
    home = plan.target or plan.source
    assert run.facts.source is not None
    held_out = run.facts.source.validation if not plan.target and domains.is_real(home) else ()
    fitting = list(domains.images(home, held_out))
    if home == "mscmr/lge":
        fitting += domains.images("mscmr/lge_val")
    real = domains.is_real(home)
    for volume in fitting:
        yield Pair(plan.name, FIT, volume, real)
    for volume in fitting[:SPOILED]:
        for kind, spoil in SPOILS.items():
            yield Pair(plan.name, kind, volume, real, spoil)
        mapping = run.facts.prediction_intensity
        if mapping.mode == "window":
            yield Pair(plan.name, "wrong units: CT that begins at 0", volume, real, _raised)
    for kind, others in plan.misfits:
        for domain in others:
            for volume in list(domains.images(domain))[:OTHERS]:
                cut = {"spoil": _middle} if kind == CUT else {}
                yield Pair(plan.name, kind, volume, domains.is_real(domain), **cut)


def _scaled(factor: float) -> Callable[[Volume], Volume]:
    return lambda volume: replace(
        volume, affine=volume.affine @ np.diag([factor, factor, factor, 1.0])
    )


def _flipped(axis: int) -> Callable[[Volume], Volume]:
    """The voxels the other way round under the same header, along a canonical axis."""

    def flip(volume: Volume) -> Volume:
        turned = volume.orientation
        array = turned.invert(np.flip(turned.apply(volume.array), axis))
        return volume.with_array(np.ascontiguousarray(array))

    return flip


def _middle(volume: Volume) -> Volume:
    """As much of the middle as the cardiac images show: 96 x 144 x 144 mm."""
    whole = volume.canonical()
    counts = (round(mm / side) for mm, side in zip((96, 144, 144), whole.spacing_mm, strict=True))
    starts = ((have - count) // 2 for have, count in zip(whole.array.shape, counts, strict=True))
    inside = tuple(
        slice(start, have - start) for start, have in zip(starts, whole.array.shape, strict=True)
    )
    return replace(whole, array=np.ascontiguousarray(whole.array[inside]))


def _raised(volume: Volume) -> Volume:
    return volume.with_array(volume.array.astype(np.int32) + 1024)


def _inverted(volume: Volume) -> Volume:
    low, high = int(volume.array.min()), int(volume.array.max())
    return volume.with_array((low + high - volume.array.astype(np.int32)).astype(np.int16))


SPOILS: dict[str, Callable[[Volume], Volume]] = {
    "wrong units: m for mm": _scaled(0.001),
    "wrong units: cm for mm": _scaled(0.1),
    "spacing times 10": _scaled(10),
    "flipped head to foot": _flipped(0),
    "flipped front to back": _flipped(1),
    "flipped left to right": _flipped(2),
    "inverted": _inverted,
    "constant": lambda volume: volume.with_array(np.full_like(volume.array, 100)),
}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / count + square / count / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def judge_all(domains: Domains, listed: bool) -> dict[tuple[str, bool], list[bool]]:
    """For every kind and whether the images are real: was each pair flagged?"""
    flagged: dict[tuple[str, bool], list[bool]] = defaultdict(list)
    for plan in PLANS:
        print(plan.name, file=sys.stderr)
        loaded = LoadedRun.load(train(plan, domains), "cpu")
        for pair in pairs(plan, domains, loaded.run):
            # 100 times the pixels: once without the views is enough
            vote = pair.kind != "spacing times 10"
            try:
                fit = predict(loaded, pair.spoil(pair.volume), reliability=vote).fit
            except InputError as error:  # refused, as a spacing of 80 mm is
                fit = Fit("does not fit", (str(error),))
            flagged[pair.kind, pair.real].append(fit.verdict != "fits")
            if listed and (fit.verdict != "fits") == (pair.kind == FIT):
                print(f"{pair.run}, {pair.volume.name}, {pair.kind}: {fit}", file=sys.stderr)
    return flagged


def table(flagged: dict[tuple[str, bool], list[bool]]) -> str:
    """One row a kind, and the sums, as Markdown."""
    lines = [
        "| pairs | all | of patients | flagged | share | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    kinds = list(dict.fromkeys(kind for kind, _ in flagged))
    misfits = [kind for kind in kinds if kind not in (FIT, APART)]
    rows = [(FIT, [FIT]), *((kind, [kind]) for kind in misfits), ("**all misfits**", misfits)]
    for title, members in [*rows, (APART, [APART])]:
        real = [hit for kind in members for hit in flagged.get((kind, True), [])]
        every = real + [hit for kind in members for hit in flagged.get((kind, False), [])]
        if every:
            low, high = wilson(sum(every), len(every))
            share = sum(every) / len(every)
            lines.append(
                f"| {title} | {len(every)} | {len(real)} | {sum(every)} | {share:.1%} | {low:.1%} to {high:.1%} |"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument(
        "--out", type=Path, help="folder for phantoms and runs; a temporary one if left out"
    )
    parser.add_argument("--seed", type=int, default=1000, help="of the fresh phantoms")
    parser.add_argument("--list", action="store_true", help="name the pairs that were judged wrong")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        domains = Domains(given.data, given.out or Path(temporary), given.seed)
        flagged = judge_all(domains, given.list)
    print(table(flagged))
    alarms = [hit for (kind, _), hits in flagged.items() if kind == FIT for hit in hits]
    misfits = [
        hit for (kind, _), hits in flagged.items() if kind not in (FIT, APART) for hit in hits
    ]
    good = sum(misfits) >= WANTED * len(misfits) and sum(alarms) <= ALLOWED * len(alarms)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
