"""Train on labelled CT, adapt to unlabelled MR, and see what the adaptation brought.

    python examples/adapt_ct_to_mr.py --out ct_to_mr
    python examples/adapt_ct_to_mr.py --out ct_to_mr --source MY_CT --target MY_MR

Source and target are data folders: `images/<case>.nii.gz` and, for the source, `labels/<case>.nii.gz`. On the sample
data it takes a few minutes on two CPU cores. Labels of the target are never used for training; where there are
some, the results are scored with them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari_uda as uda

SAMPLES = Path(__file__).resolve().parents[1] / "sample_data"


def main() -> None:
    """Two runs, one starting from the other, and the scores of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SAMPLES / "ct", help="labelled data folder")
    parser.add_argument(
        "--target", type=Path, default=SAMPLES / "mr", help="data folder to adapt to"
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for runs and results")
    parser.add_argument("--steps", type=int, help="steps of each run, instead of the recipe's")
    given = parser.parse_args()
    # `demo` is a recipe for tiny volumes on a CPU; `napari-uda recipes` lists others
    common = {
        "source": given.source,
        "target": given.target,
        "recipe": "demo",
        "augment": {"intensity": "gin_ipa"},
        **({"steps": given.steps} if given.steps else {}),
    }
    runs = given.out / "runs"
    before = uda.train("source_only", run_dir=runs / "source_only", **common)
    after = uda.train("se_asa", init=before.path, run_dir=runs / "se_asa", **common)

    for run in (before, after):
        scores = []
        for image in sorted((given.target / "images").glob("*.nii.gz")):
            prediction = uda.predict(run, image)
            prediction.save(given.out / "predictions" / run.path.name)
            label = given.target / "labels" / image.name
            if label.exists():
                scores.append(uda.evaluate(prediction, label))
        if scores:
            print(f"\n{run.path.name}, on the volumes that se_asa saw without their labels")
            print(uda.Scores.join(scores).table())
    print(f"\nlabels, entropy and reliability of every volume: {given.out / 'predictions'}")


if __name__ == "__main__":
    main()
