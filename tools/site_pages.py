"""Hook of mkdocs: pages of the site that are made from the repository, and their place in the navigation.

- `reference/`: one page per module, found by reading the folders of the package. Nothing is imported, and a module
  that moves needs no change here.
- `contributing.md` and `changelog.md`: the files at the root, with links that fit the site.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "napari_uda"
ORDER = (
    "core", "data", "networks", "losses", "uncertainty", "players", "methods", "run", "evaluation", "inference",
    "training", "experiments", "phantom", "convert", "cli",
)  # fmt: skip
"""Folders of the package in the order of the floors; others follow by name."""
LEFT_OUT = {"gui"}
"""The docks are no interface for programs; their code is read in the repository."""
ROOT_PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the API to the navigation."""
    assert config.nav is not None
    sections: list[Any] = [
        {"Overview": "reference/index.md"},
        {"Public API": "reference/public.md"},
    ]
    for folder, modules in _folders():
        pages: list[Any] = [f"reference/{folder}/index.md"]
        pages += [{_title(module): _page(module)} for module in modules]
        sections.append({folder: pages})
    top = [m for m in _modules(PACKAGE) if m.stem not in ("__init__", "__main__")]
    if top:
        sections.append({"top level": [{_title(module): _page(module)} for module in top]})
    config.nav.append({"API": sections})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""

    def add(uri: str, text: str) -> None:
        files.append(File.generated(config, uri, content=text))

    for uri, name in ROOT_PAGES.items():
        add(uri, _for_the_site((ROOT / name).read_text(encoding="utf-8"), files))
    add("reference/index.md", _overview())
    add("reference/public.md", _public())
    for folder, modules in _folders():
        add(f"reference/{folder}/index.md", _folder_page(folder, modules))
        for module in modules:
            add(_page(module), _module_page(module))
    for module in _modules(PACKAGE):
        if module.stem not in ("__init__", "__main__"):
            add(_page(module), _module_page(module))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would make a browser fetch something from another server."""
    fetched = [
        f"{file.relative_to(config.site_dir)}: {address}"
        for file in sorted(Path(config.site_dir).rglob("*"))
        if file.suffix in (".html", ".css")
        for address in fetched_from_elsewhere(file.read_text(encoding="utf-8"))
    ]
    if fetched:
        shown = "; ".join(fetched[:5])
        raise PluginError(
            f"the site must work without a network, but {len(fetched)} places load from elsewhere: {shown}"
        )


def fetched_from_elsewhere(text: str) -> list[str]:
    """Addresses of other servers that a browser loads by itself when it shows this HTML or CSS."""
    attributes = re.findall(
        r"<(?:img|script|iframe|source|video|audio|embed|object)\b[^>]*?(?:src|srcset|data)=[\"']?((?:https?:)?//[^\"'\s>]+)",
        text,
    )
    sheets = [
        tag_address
        for tag in re.findall(r"<link\b[^>]*>", text)
        if "canonical" not in tag
        for tag_address in re.findall(r"href=[\"']?((?:https?:)?//[^\"'\s>]+)", tag)
    ]
    styles = re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", text)
    return attributes + sheets + styles


def _folders() -> Iterator[tuple[str, list[Path]]]:
    """Folders with Python modules and their modules, in the order of the navigation."""
    found = [f for f in PACKAGE.iterdir() if f.is_dir() and f.name not in LEFT_OUT]

    def place(folder: Path) -> tuple[int, str]:
        known = folder.name in ORDER
        return (ORDER.index(folder.name) if known else len(ORDER), folder.name)

    for folder in sorted(found, key=place):
        modules = [m for m in folder.rglob("*.py") if m.name != "__init__.py"]
        if modules and (folder / "__init__.py").exists():
            yield folder.name, sorted(modules)


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.py"))


def _dotted(module: Path) -> str:
    parts = module.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _title(module: Path) -> str:
    return _dotted(module).removeprefix("napari_uda.").partition(".")[2] or module.stem


def _page(module: Path) -> str:
    inside = module.relative_to(PACKAGE).with_suffix(".md")
    return f"reference/{inside.as_posix()}"


def _summary(module: Path) -> str:
    """First sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _module_page(module: Path) -> str:
    name = _dotted(module)
    return f"# {name}\n\n::: {name}\n"


def _folder_page(folder: str, modules: list[Path]) -> str:
    lines = [f"# napari_uda.{folder}", "", _summary(PACKAGE / folder / "__init__.py"), ""]
    lines += ["| module | what it holds |", "|---|---|"]
    for module in modules:
        target = module.relative_to(PACKAGE / folder).with_suffix(".md").as_posix()
        what = _summary(module).replace("|", "\\|")
        lines.append(f"| [`{_dotted(module)}`]({target}) | {what} |")
    return "\n".join(lines) + "\n"


def _overview() -> str:
    lines = [
        "# API",
        "",
        "The [public API](public.md) is what `import napari_uda` offers, and all that scripts need. The pages "
        "below it describe the engine from the ground floor up, for those who extend it. They "
        "are made from the docstrings of the code.",
        "",
        "| folder | what it holds |",
        "|---|---|",
    ]
    for folder, _ in _folders():
        what = _summary(PACKAGE / folder / "__init__.py").replace("|", "\\|")
        lines.append(f"| [`napari_uda.{folder}`]({folder}/index.md) | {what} |")
    return "\n".join(lines) + "\n"


def _public() -> str:
    """Every public name at the place where it is defined, functions first."""
    names = _public_names()
    lines = ["# Public API", "", "```python", "import napari_uda as uda", "```", ""]
    for name in sorted(names, key=lambda name: name[0].isupper()):
        lines += [f"::: napari_uda.{name}", "    options:", "      show_root_heading: true"]
        lines += ["      show_root_toc_entry: true", "      show_root_full_path: false", ""]
    return "\n".join(lines) + "\n"


def _public_names() -> list[str]:
    """Public names in the order in which the package gives them to type checkers."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    found: list[str] = []
    for block in tree.body:
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test):
            for line in block.body:
                if isinstance(line, ast.ImportFrom):
                    found += [alias.asname or alias.name for alias in line.names]
    return found


def _for_the_site(text: str, files: Files) -> str:
    """A page of the root with links to pages of the site, and without links to files that it lacks."""

    def link(match: re.Match[str]) -> str:
        label, target = match[1], match[2]
        if "://" in target or target.startswith("#"):
            return match[0]
        page = {name: uri for uri, name in ROOT_PAGES.items()}.get(
            target, target.removeprefix("docs/")
        )
        known = files.get_file_from_path(page.partition("#")[0]) or page in ROOT_PAGES
        return f"[{label}]({page})" if known else f"{label} (`{target}`)"

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, text)
