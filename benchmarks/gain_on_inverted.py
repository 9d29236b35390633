"""What each method gains on a tiny pair whose target is `-x` of other phantom subjects, as a Markdown table.

    python benchmarks/gain_on_inverted.py [--steps 200] [--methods advent cyclegan ...]

The pair is that of `tests/methods/test_gain.py`: two labelled subjects, two others with reversed grey values,
32 x 32 pixels, no augmentation, one source run that all start from or are compared with. Each method trains
for as many steps, in the stages of `cpu_small` shortened with them, with its rates and networks as small as in
the tests; nothing is chosen by what comes out. One line per method; the command ends with the names of those that gain less than 10 Dice.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from gain_cases import reversed_pair
from tiny_cases import trained_method

from napari_uda.methods.registry import METHODS
from napari_uda.run.recipes import build_config

_WANTED = 10.0
_STAGES = ("warmup_steps", "translation_steps", "supervised_steps")


def shortened(name: str, steps: int) -> dict[str, int]:
    """The stages of a method in so many steps, as large a share of them as with `cpu_small`."""
    config = build_config(name, recipe="cpu_small")
    stages = {key: getattr(config.method, key, 0) for key in _STAGES}
    return {key: round(value * steps / config.steps) for key, value in stages.items() if value}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    adapting = [name for name, kind in METHODS.items() if kind.family != "bounds"]
    parser.add_argument("--methods", nargs="+", default=adapting, choices=adapting)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gain_on_inverted_") as folder:
        pair = reversed_pair(Path(folder))
        before = pair.dice(trained_method(pair.start))
        print(f"source network: {before:.1f} Dice\n\n| method | steps | Dice | gain | CPU |")
        print("|---|---|---|---|---|", flush=True)
        poor = []
        for name in options.methods:
            steps = options.steps if METHODS[name].learns else 1
            began = time.process_time()
            method = {"method": shortened(name, steps)}
            dice = pair.dice(pair.adapted(name, Path(folder) / name, steps=steps, **method))
            seconds = time.process_time() - began
            if dice - before < _WANTED:
                poor.append(name)
            row = f"| `{name}` | {steps} | {dice:.1f} | {dice - before:+.1f} | {seconds:.0f} s |"
            print(row, flush=True)
    print(f"\nbelow {_WANTED:+.0f}: {', '.join(poor) or 'none'}")


if __name__ == "__main__":
    main()
