"""napari_uda: unsupervised domain adaptation for medical image segmentation.

Train a network on one kind of image, adapt it to another without labels, see where it is unsure:

    import napari_uda as uda
    run = uda.train("se_asa", source="ct", target="mr", run_dir="runs/ct2mr")
    prediction = uda.predict(run, "mr.nii.gz")
    scores = uda.evaluate(prediction, "mr_label.nii.gz")

Names are imported when they are first used: `import napari_uda` loads neither torch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_uda.core.version import __version__

_HOME = {
    "train": "api",
    "list_methods": "methods.listing",
    "list_recipes": "run.recipes",
    "build_config": "run.recipes",
    "predict": "inference.predict",
    "Prediction": "inference.predict",
    "adapt": "training.adapt",
    "AdaptConfig": "training.adapt_config",
    "Adaptation": "training.adapt",
    "select": "training.select",
    "translate": "inference.translate",
    "Translation": "inference.translate",
    "evaluate": "evaluation.report",
    "report": "evaluation.folder_report",
    "Scores": "evaluation.report",
    "surfaces": "evaluation.surfaces",
    "Surface": "evaluation.surfaces",
    "measure": "evaluation.measures",
    "Run": "run.run",
    "pack": "experiments.model_pack",
    "unpack": "experiments.model_pack",
    "Volume": "data.volume",
    "read_volume": "data.volume",
    "read_segmentation": "data.segmentation",
    "Segmentation": "data.segmentation",
    "list_cases": "inference.cases",
    "InputError": "core.errors",
    "show": "gui.kit.layers",
}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from napari_uda.api import train
    from napari_uda.core.errors import InputError
    from napari_uda.data.segmentation import Segmentation, read_segmentation
    from napari_uda.data.volume import Volume, read_volume
    from napari_uda.evaluation.folder_report import report
    from napari_uda.evaluation.measures import measure
    from napari_uda.evaluation.report import Scores, evaluate
    from napari_uda.evaluation.surfaces import Surface, surfaces
    from napari_uda.experiments.model_pack import pack, unpack
    from napari_uda.gui.kit.layers import show
    from napari_uda.inference.cases import list_cases
    from napari_uda.inference.predict import Prediction, predict
    from napari_uda.inference.translate import Translation, translate
    from napari_uda.methods.listing import list_methods
    from napari_uda.run.recipes import build_config, list_recipes
    from napari_uda.run.run import Run
    from napari_uda.training.adapt import Adaptation, adapt
    from napari_uda.training.adapt_config import AdaptConfig
    from napari_uda.training.select import select


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
