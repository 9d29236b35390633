"""Adapt where the source data cannot go: only a trained run travels to the target.

    python examples/source_free.py --out source_free
    python examples/source_free.py --out source_free --run MY_RUN --target MY_MR

The first site trains on its labelled volumes and hands its run folder on. It holds weights and a few numbers, such
as how large each structure is, but no image. The second site adapts it to its own volumes, all of them together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari_uda as uda

SAMPLES = Path(__file__).resolve().parents[1] / "sample_data"


def main() -> None:
    """What each of the two sites does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SAMPLES / "ct", help="labelled data folder")
    parser.add_argument(
        "--target", type=Path, default=SAMPLES / "mr", help="data folder to adapt to"
    )
    parser.add_argument("--run", type=Path, help="a trained run; leaves the first site out")
    parser.add_argument("--out", type=Path, required=True, help="new folder for runs and results")
    parser.add_argument("--steps", type=int, help="steps of each run, instead of the recipe's")
    given = parser.parse_args()
    common = {"recipe": "cpu_small", **({"steps": given.steps} if given.steps else {})}

    # the first site
    handed_on = given.run
    if handed_on is None:
        handed_on = given.out / "first_site"
        uda.train("source_only", source=given.source, run_dir=handed_on, **common)

    # the second site: no source is given, and none is read. The network must be the run's own.
    start = uda.Run.open(handed_on)
    network = {**start.config.segmentor.model_dump(), "weights": None}  # the run brings them
    slices = {"size": start.config.data.size, "neighbours": start.config.data.neighbours}
    adapted = uda.train(
        "sfda",
        target=given.target,
        init=handed_on,
        run_dir=given.out / "second_site",
        segmentor=network,
        data=slices,
        **common,
    )
    for image in sorted((given.target / "images").glob("*.nii.gz")):
        before = uda.predict(start, image, reliability=False)
        after = uda.predict(adapted, image, reliability=False)
        after.save(given.out / "predictions")
        was, now = before.volumes_ml(), after.volumes_ml()
        change = ", ".join(f"{name} {was[name]:.0f} -> {now[name]:.0f} mL" for name in was)
        entropy = f"entropy {before.entropy.mean():.3f} -> {after.entropy.mean():.3f}"
        print(f"{before.case}: {entropy}, {change}")
        label = given.target / "labels" / image.name
        if (
            label.exists()
        ):  # low entropy is not accuracy, so look at the scores where there are labels
            for name, prediction in (("before", before), ("after", after)):
                dice = uda.evaluate(prediction, label).means("dice")["mean"]
                print(f"  mean Dice {name}: {dice:.3f}")


if __name__ == "__main__":
    main()
