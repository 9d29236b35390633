"""Draw the pictures of the documentation: what `reading.py` and `tour.py` see on the sample data.

    tools/with-display .venv/bin/python tools/pictures.py [--only reading|tour|show|workbench ...]

Each picture is one that a tour takes of the whole window, so it shows what a person gets who does the same.
`show` takes the one of `napari-uda show`, of a prediction of the shipped model; `workbench` makes the animated one and those of the tutorial on correcting. Takes about a quarter of an hour, most of it for the training
that `tour.py` watches.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from napari_uda.gui.kit.files import MODEL, SAMPLES

TOOLS = Path(__file__).resolve().parent
IMAGES = TOOLS.parent / "docs" / "images"
TRAINING_SECONDS = 300  # curves need some steps, and previews a network that has learnt something
PICTURES = {
    "reading": {
        "workbench": "open_case_folder",
        "data": "the_worst_case_first",
        "segment": "side_by_side_the_panels",
        "score": "score_against_the_labels",
        "view": "linked_cuts",
        "measure": "measure_structures",
        "surfaces": "distances",
        "translate": "translated",
        "models": "models_with_their_cards",
    },
    "tour": {
        "new_run": "check_the_data",
        "train": f"{TRAINING_SECONDS}_s_of_training_watched",
    },
}
"""Picture of the documentation to the name of the tour's, by tour."""
ARGUMENTS = {
    "reading": ("--size", "1500x900"),
    "tour": ("--train-seconds", str(TRAINING_SECONDS)),
}


def main() -> int:
    """Go on the tours and keep what the documentation shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = (*PICTURES, "show", "workbench")
    parser.add_argument("--only", nargs="+", choices=every, default=list(every))
    IMAGES.mkdir(parents=True, exist_ok=True)
    codes = []
    for name in parser.parse_args().only:
        if name == "show":
            codes.append(show_prediction(IMAGES / "adapted.png"))
            continue
        command = [sys.executable, str(TOOLS / f"{name}.py")]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "tour"
            if name in PICTURES:
                command += ["--out", str(out), *ARGUMENTS[name]]
            codes.append(subprocess.run(command, check=False).returncode)
            for picture, words in PICTURES.get(name, {}).items():
                found = sorted(out.glob(f"[0-9][0-9]_{words}.png"))
                codes.append(int(not found))
                if found:
                    shutil.copy(found[0], IMAGES / f"{picture}.png")
                else:
                    print(f"{picture}: {name}.py has no picture {words}", file=sys.stderr)
    return max(codes)


def show_prediction(picture: Path) -> int:
    """Predict an MR with the shipped model, and show it as the tutorial does; returns the exit code."""
    command = [sys.executable, "-m", "napari_uda"]
    image = SAMPLES / "mr" / "images" / "mr_001.nii.gz"
    with tempfile.TemporaryDirectory() as folder:
        predict = [*command, "predict", str(MODEL), str(image), "--out", folder]
        code = subprocess.run(predict, check=False).returncode
        maps = sorted(map(str, Path(folder).glob("mr_001_*.nii.gz")))
        show = [*command, "show", str(image), *maps, "--screenshot", str(picture)]
        return code or subprocess.run(show, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
