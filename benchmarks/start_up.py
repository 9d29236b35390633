"""Time what should answer at once, here and in another checkout, in turns: seconds of CPU time of new processes.

python benchmarks/start_up.py --base ../napari_uda_95e2373 [--repeats 5]
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from checkouts import in_turns, print_table, run_in

COMMANDS = {
    "import napari_uda": ("-c", "import napari_uda"),
    **{
        f"napari-uda {words}": ("-m", "napari_uda", *words.split())
        for words in ("--help", "predict --help", "methods", "recipes", "train --help")
    },
}


def measure(checkout: Path) -> dict[str, float]:
    taken = {}
    for name, command in COMMANDS.items():
        with contextlib.suppress(RuntimeError):  # a command that the other checkout has not
            taken[name] = run_in(checkout, command)[0]
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="the other checkout")
    parser.add_argument("--repeats", type=int, default=5, help="processes of each side")
    options = parser.parse_args()
    base = options.base.resolve()
    print_table("start-up", base, in_turns(base, measure, options.repeats))


if __name__ == "__main__":
    main()
