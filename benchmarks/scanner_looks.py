"""A data folder as five other scanners would have shown it: fixed changes of appearance, the anatomy untouched.

    python benchmarks/scanner_looks.py FOLDER OUT

Writes OUT/<look>/images and OUT/<look>/labels, where FOLDER has labels, for each of the five looks. Nothing in them
is random between two calls. They are for scores of finished networks alone; training code must not know them, and a
test sees to it that it does not.

    napari-uda predict RUN OUT/bias/images --out PREDICTIONS
    napari-uda evaluate PREDICTIONS OUT/bias/labels --out SCORES
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import write_volume

Image = NDArray[np.float64]
"""`(Z, Y, X)` in [0, 1]: 0.5th to 99.5th percentile of the volume."""

_AIR = 0.05
_BRIGHTEST = 1000


def gamma(image: Image) -> Image:
    """Dark tissue as bright as its root: another contrast, no order of grey values changed."""
    return np.sqrt(image)


def turned(image: Image) -> Image:
    """Bright tissue dark and dark tissue bright, as in another sequence; air stays dark."""
    return np.where(image > _AIR, 1 + _AIR - image, image)


def bias(image: Image) -> Image:
    """Brightness that falls from 1.6 to 0.4 times across the field of view, from corner to corner of a slice."""
    rows, columns = (np.linspace(0, 1, side) for side in image.shape[1:])
    across = (rows[:, None] + columns[None]) / 2
    return np.clip(image * (1.6 - 1.2 * across), 0, 1)


def coarse(image: Image) -> Image:
    """Blurred within each slice by a Gaussian with a standard deviation of 1.2 pixels."""
    return ndimage.gaussian_filter(image, (0, 1.2, 1.2), mode="nearest")


def noisy(image: Image) -> Image:
    """Rician noise: the magnitude of a complex signal with a standard deviation of 0.08 in both parts."""
    real, imaginary = np.random.default_rng(0).normal(0, 0.08, (2, *image.shape))
    return np.clip(np.hypot(image + real, imaginary), 0, 1)


LOOKS: dict[str, Callable[[Image], Image]] = {
    look.__name__: look for look in (gamma, turned, bias, coarse, noisy)
}


def shown_by(look: Callable[[Image], Image], array: NDArray[np.generic]) -> NDArray[np.int16]:
    """Grey values `(Z, Y, X)` in a look, from 0 to 1000."""
    low, high = np.percentile(array, (0.5, 99.5))
    image = np.clip((array.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    return np.rint(look(image) * _BRIGHTEST).astype(np.int16)


def main() -> int:
    """Write the five folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    cases = DataFolder.open(given.folder).cases
    for name, look in LOOKS.items():
        for case in cases:
            volume = case.read_image()
            out = given.out / name / "images" / f"{case.name}.nii.gz"
            write_volume(out, volume.with_array(shown_by(look, volume.array)))
            if case.label is not None:
                (given.out / name / "labels").mkdir(exist_ok=True)
                shutil.copy(case.label, given.out / name / "labels" / case.label.name)
        if (names := given.folder / "dataset.json").is_file():
            shutil.copy(names, given.out / name)
        print(f"{given.out / name}: {len(cases)} volumes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
