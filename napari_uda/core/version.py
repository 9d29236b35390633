"""The version of the package, written here once, and the commit of a clone."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"


def installed_version(package: str) -> str:
    """Version of another installed package; "" if none of that name is installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow for `import napari_uda`

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit(package: Path = Path(__file__).parents[1]) -> str:
    """Commit of the clone that a package runs from, ending in `-dirty` where files differ from it.

    Returns:
        40 hexadecimal digits and perhaps `-dirty`; "" for a package that was installed without its clone, and
        where git cannot tell.
    """
    import subprocess

    clone = package.parent
    if not (clone / ".git").exists():
        return ""
    command = ["git", "-C", str(clone), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        said = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
