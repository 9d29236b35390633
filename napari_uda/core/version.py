"""The version of the package: written here once."""

__version__ = "0.1.0"


def installed_version(package: str) -> str:
    """Version of another installed package; "" if none of that name is installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow for `import napari_uda`

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
