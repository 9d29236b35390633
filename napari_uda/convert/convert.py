"""From the files of a public data set to data folders, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from napari_uda.convert.layout import Domain, FoundCase, layout
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import check_new_folder, shown, whole_folder
from napari_uda.core.suggestions import what_to_choose
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Placement, write_volume


def convert(
    name: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: bool = False,
    domains: Sequence[str] = (),
    ignore_label_geometry: bool = False,
    placement: Placement = "auto",
    on_progress: Callable[[int, int], None] | None = None,
    stop: Event | None = None,
) -> list[Path]:
    """Write a public data set as data folders `out/<domain>`, or `out/<domain>/train` and `.../test`.

    Images keep their voxel values, type and geometry; label maps become uint8 with the values of the
    layout's YAML file. Everything is made in a hidden folder beside `out` that takes its name at the
    end, so `out` appears whole or not at all. One case at a time is in memory.

    Args:
        name: a layout of `LAYOUTS`.
        source: folder of the release as downloaded and unpacked.
        out: new or empty folder.
        split: write the training and test cases of the papers into folders of their own; a domain
            without a split that ships stays whole.
        domains: write these alone; () writes all that are there.
        ignore_label_geometry: take the image's place in space for a label map of the same shape.
        placement: which of sform and qform is trusted where a NIfTI file has both.
        on_progress: called with cases done and cases in all, after each.
        stop: when set, conversion ends after the current case and leaves nothing behind.

    Returns:
        The data folders written.

    Raises:
        InputError: unknown layout or domain, no such release in `source`, a case without its label map,
            a damaged file, an unknown label code, different grids, or an `out` that is not empty.
        Cancelled: `stop` was set.
    """
    known = layout(name)
    source, out = Path(source), Path(out)
    unknown = [domain for domain in domains if domain not in known.domains]
    if unknown:
        raise InputError(
            f"{name} has no domain {unknown[0]!r}; {what_to_choose(unknown[0], known.domains)}"
        )
    _check_places(source, out)
    found = [
        case for case in known.find_cases(name, source) if not domains or case.domain in domains
    ]
    if not found:
        raise InputError(
            f"{shown(source)}: holds no case of {', '.join(domains)}; name other domains or leave them out"
        )
    _check_names(found)
    folders = _folders(found, known.domains, split)
    total = sum(len(cases) for cases in folders.values())
    done = 0
    with whole_folder(out) as staging:
        for folder, cases in folders.items():
            domain = known.domains[cases[0].domain]
            for case in cases:
                if stop is not None and stop.is_set():
                    raise Cancelled("conversion was stopped; nothing was written")
                _write_case(staging / folder, case, domain, ignore_label_geometry, placement)
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            write_dataset_json(staging / folder, domain.labels, domain.modality)
    return [out / folder for folder in folders]


def _check_places(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise InputError(
            f"{shown(source)}: there is no such folder; give the folder of the unpacked release"
        )
    check_new_folder(out)


def _check_names(found: Sequence[FoundCase]) -> None:
    seen: set[tuple[str, str]] = set()
    for case in found:
        if (case.domain, case.name) in seen:
            raise InputError(
                f"case {case.name} was found twice; keep one copy of the release in SOURCE"
            )
        seen.add((case.domain, case.name))


def _folders(
    found: Sequence[FoundCase], domains: dict[str, Domain], split: bool
) -> dict[Path, list[FoundCase]]:
    """The cases of each folder to write, as paths below `out`."""
    folders: dict[Path, list[FoundCase]] = {}
    present = [name for name in domains if any(case.domain == name for case in found)]
    if split and all(domains[name].split is None for name in present):
        raise InputError(
            f"no split into training and test cases is known for {', '.join(present)}; leave --split out and set data.validation_fraction instead"
        )
    for name in present:
        cases = sorted((case for case in found if case.domain == name), key=lambda case: case.name)
        parts = domains[name].split
        if parts is None or not (split or parts.given):
            folders[Path(name)] = cases
            continue
        for case in cases:
            part = parts.part_of(case.key)
            if part is None:
                raise InputError(
                    f"case {case.name} is in neither part of the known split; leave --split out or remove the case"
                )
            if part != "left_out":
                folders.setdefault(Path(name) / part, []).append(case)
        missing = [part for part in ("train", "test") if Path(name) / part not in folders]
        if split and missing:
            keys = ", ".join(getattr(parts, missing[0]))
            raise InputError(
                f"none of the {missing[0]} cases of {name} ({keys}) was found in SOURCE; add them or leave --split out"
            )
    if not folders:
        raise InputError(
            "SOURCE holds only cases that neither training nor testing uses; add the others"
        )
    return dict(sorted(folders.items()))


def _write_case(
    folder: Path,
    case: FoundCase,
    domain: Domain,
    ignore_label_geometry: bool,
    placement: Placement,
) -> None:
    image, codes = case.read(placement)
    image = image.in_one_place()  # whoever reads the folder shall not have to choose again
    labels = codes.with_array(domain.to_labels(codes.array, case.label))
    if ignore_label_geometry and labels.array.shape == image.array.shape:
        labels = image.with_array(labels.array)
    try:
        labels = on_grid_of(labels, image)
    except InputError as error:
        hint = (
            ", or pass --ignore-label-geometry if only the header of the label map is wrong"
            if labels.array.shape == image.array.shape
            else ""
        )
        raise InputError(f"{error}{hint}") from error
    write_volume(folder / "images" / f"{case.name}.nii.gz", image)
    write_volume(folder / "labels" / f"{case.name}.nii.gz", image.with_array(labels.array))
