"""Today's speed beside an earlier commit's: makes a checkout of it and runs the commands that compare, one after another.

    python benchmarks/compare.py --base 95e2373 [--repeats 5] [--rows start-up metrics] [--quick]

Each row is a command of its own, which is printed before its table; run one alone as it stands there. Every command has both
sides work in turns and prints medians and ratios. The checkout lies beside this one, as `napari_uda_COMMIT`, and stays there for
the next time. It works in this environment where its constraints name the same versions of what the package imports, and else
in one of its own, which is made first and takes minutes.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from checkouts import HERE

BENCHMARKS = Path(__file__).resolve().parent


def rows(base: Path, repeats: int, *, quick: bool) -> dict[str, list[str]]:
    """The commands by the names of their rows; `quick` has them work on little, to see that they do."""
    sides, often = ["--base", str(base)], ["--repeats", str(repeats)]
    smaller = ["--quick"] if quick else []
    volumes = ["--volumes", "4" if quick else "50", "--rounds", str(repeats)]
    steps = ["--steps", str(repeats), *(["--kinds", "se_asa, warm-up"] if quick else [])]
    found = {
        "start-up": ["start_up.py", *sides, *often],
        "metrics": ["metrics.py", *sides, *often, *smaller],
        "folder": ["steps.py", *sides, *volumes],
        "steps": ["steps.py", *sides, *steps],
        "predict": ["predict.py", *sides, *often, *smaller],
    }
    return {name: words for name, words in found.items() if (BENCHMARKS / words[0]).is_file()}


def checkout_of(commit: str) -> Path:
    """A checkout of a commit beside this one, made unless it is there.

    Raises:
        subprocess.CalledProcessError: if git does not know the commit.
    """
    named = subprocess.run(
        ["git", "-C", HERE, "rev-parse", "--short=7", f"{commit}^{{commit}}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    folder = HERE.parent / f"napari_uda_{named}"
    if not folder.exists():
        subprocess.run(
            ["git", "-C", HERE, "worktree", "add", "--detach", folder, named], check=True
        )
    return folder


def same_versions(base: Path) -> bool:
    """Whether the tested versions of what the package imports are those of this checkout, where both name one."""
    project = tomllib.loads((base / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported = {re.split(r"[^\w.-]", one)[0].lower() for one in project["dependencies"]}
    before, now = (_versions(checkout / "constraints.txt") for checkout in (base, HERE))
    return all(before[name] == now[name] for name in imported & before.keys() & now.keys())


def _versions(constraints: Path) -> dict[str, str]:
    lines = constraints.read_text(encoding="utf-8").lower().splitlines()
    pins = (line.partition("#")[0].strip().partition("==") for line in lines)
    return {name: version for name, equals, version in pins if equals}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, help="a commit, or the folder of a checkout")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each side")
    parser.add_argument("--rows", nargs="*", help="which rows; all when left out")
    parser.add_argument("--quick", action="store_true", help="small data, to see whether it works")
    options = parser.parse_args()
    given = Path(options.base)
    try:
        base = given.resolve() if given.is_dir() else checkout_of(options.base)
    except subprocess.CalledProcessError:
        parser.error(f"git has no commit {options.base!r}; give one of git log, or a checkout")
    found = rows(base, options.repeats, quick=options.quick)
    unknown = set(options.rows or []) - found.keys()
    if unknown:
        parser.error(f"unknown row {min(unknown)!r}; choose among {', '.join(found)}")
    if not same_versions(base) and not (base / ".venv" / "bin" / "python").exists():
        subprocess.run([base / "tools" / "make-venv", ".venv", "cluster"], check=True)
    failed = 0
    for name in options.rows or found:
        words = found[name]
        print(f"\n## {name}\n\n`{shlex.join(['python', f'benchmarks/{words[0]}', *words[1:]])}`\n")
        sys.stdout.flush()
        failed += bool(
            subprocess.run([sys.executable, BENCHMARKS / words[0], *words[1:]]).returncode
        )
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
