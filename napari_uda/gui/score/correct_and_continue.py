"""From edited labels to more training: the corrected cases of a run as a data folder, for Train to start with."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.geometry import labels_volume, layer_volume, tag
from napari_uda.gui.kit.jobs import Report, reporting
from napari_uda.gui.kit.layers import EDITED, image_under, structure_names
from napari_uda.gui.kit.models import is_shipped, known_models
from napari_uda.gui.kit.preferences import last_folder


@dataclass(frozen=True, eq=False)
class CorrectedCase:
    """An edited prediction and the image that it lies on.

    Attributes:
        labels: the edited layer.
        image: of the same case and shape.
        run: name of the run that predicted it; "" where it is unknown.
        path: folder of that run as the layer knows it; "" where it does not.
    """

    labels: Labels
    image: Image
    run: str
    path: str = ""

    def run_folder(self) -> Path | None:
        """Where the run lies; looks at the disk: for a thread."""
        from napari_uda.run.run import run_name

        if self.path and Path(self.path).is_dir():
            return Path(self.path)
        found = [path for _, path in known_models() if run_name(path) == self.run]
        return found[0] if found else None

    def suggested_folder(self) -> Path:
        """Where a dialog begins: beside the user's run; nothing of theirs goes to the shipped one."""
        path = Path(self.path)
        return path.parent if self.path and not is_shipped(path) else Path(last_folder()).absolute()


def corrected_cases(viewer: ViewerModel, chosen: Layer | None) -> tuple[list[CorrectedCase], str]:
    """The edited predictions by the run of the chosen one, that first; or why there are none.

    Args:
        viewer: its layers.
        chosen: the prediction that is looked at.
    """
    own = {} if chosen is None else tag(chosen)
    if own.get("role") != EDITED:
        return [], "Edit a prediction first: its corrected labels are what the run learns from"
    edited = [
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels)
        and tag(layer).get("role") == EDITED
        and tag(layer).get("run") == own.get("run")
    ]
    edited.sort(key=lambda layer: layer is not chosen)
    found = []
    for layer in edited:
        image = image_under(viewer, layer, tag(layer).get("case"))
        if image is not None:
            model = tag(layer).get("model")
            path = str(model.get("path") or "") if isinstance(model, dict) else ""
            found.append(CorrectedCase(layer, image, str(tag(layer).get("run") or ""), path))
    if not found or found[0].labels is not chosen:
        return [], "The image of this case is not open; open it, for the run learns from both"
    return found, ""


def save_cases(
    folder: Path, cases: list[CorrectedCase], report: Report, stop: threading.Event
) -> Path | None:
    """Write the cases into a data folder; for a thread.

    Returns:
        Folder of the run that predicted them; None where nobody knows it.

    Raises:
        InputError: if the folder holds something else or cannot be written.
        Cancelled: when `stop` was set; the cases before are written whole.
    """
    from napari_uda.data.corrected import add_corrected_case

    run = cases[0].run_folder()
    modality, names = "", structure_names(cases[0].labels)
    if run is not None:
        modality, names = _known_of(run, names)
    for done, case in enumerate(cases):
        reporting(report, stop)(done, len(cases))
        labels = labels_volume(case.labels)
        add_corrected_case(folder, layer_volume(case.image), labels, names, modality)
    return run


def _known_of(run: Path, names: dict[int, str]) -> tuple[str, dict[int, str]]:
    """Modality of the run's target, and its structures where the layer names fewer."""
    from napari_uda.run.run import Run

    try:
        facts = Run.open(run).facts
    except InputError:  # Train will say what is wrong with it
        return "", names
    own = facts.names()
    return facts.target_modality, own if set(names) <= set(own) else names
