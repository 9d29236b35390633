"""Score a folder of segmentations against reference labels, and find the volumes to look at first.

    python examples/score_a_folder.py --out scores
    python examples/score_a_folder.py --out scores --predictions MY_PREDICTIONS --labels MY_MR/labels

Predictions are `<case>_labels.nii.gz`, as `napari-uda predict` writes them, or `<case>.nii.gz`; labels are
`<case>.nii.gz`. Without `--predictions` the shipped model segments the sample volumes first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari_uda as uda

SAMPLES = Path(__file__).resolve().parents[1] / "sample_data"


def main() -> None:
    """Score every case, write tables, and list what was segmented worst."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", type=Path, help="folder of predicted labels")
    parser.add_argument("--labels", type=Path, default=SAMPLES / "mr" / "labels")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--protocol", default="recommended", help="how is scored, or a paper's way")
    given = parser.parse_args()
    predictions = given.predictions
    if predictions is None:
        predictions = given.out / "predictions"
        for image in sorted((SAMPLES / "mr" / "images").glob("*.nii.gz")):
            uda.predict(SAMPLES / "model", image, reliability=False).save(predictions)

    parts = []
    for label in sorted(given.labels.glob("*.nii.gz")):
        case = label.name.removesuffix(".nii.gz")
        files = [predictions / f"{case}_labels.nii.gz", predictions / label.name]
        file = next((one for one in files if one.exists()), None)
        if file is None:  # leaving a case out would improve the mean
            raise SystemExit(f"{predictions} has no prediction of {case}; segment that volume too")
        parts.append(uda.evaluate(file, label, case=case, protocol=given.protocol))
    if not parts:
        raise SystemExit(f"{given.labels} holds no <case>.nii.gz; give the folder of the labels")
    scores = uda.Scores.join(parts)
    scores.write(given.out)
    print(scores.table())

    scored = [row for row in scores.rows if row["dice"] == row["dice"]]  # NaN where undefined
    print("\nlook at these first, their Dice is lowest:")
    for row in sorted(scored, key=lambda row: row["dice"])[:3]:
        print(f"  {row['case']} {row['name']}: {row['dice']:.3f}")
    print(f"\nscores.csv, slices.csv and scores.json are in {given.out}")


if __name__ == "__main__":
    main()
