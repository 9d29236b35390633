"""What the package looks like from outside: rooms, files, lines, functions, and who imports whom.

usage: python tools/house.py [CHECKOUT]      prints two tables; another checkout to compare with

The second one has a line for each file of methods: its lines of code without blank lines, comments and
docstrings, and the modules that no other method imports. A room is a folder of Python files, or a module at the
top of the package. A circle is a set of rooms that import each other, directly or over others; imports for type
checkers and inside functions count.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

PACKAGE = "napari_uda"


class Function(NamedTuple):
    """A function and its length, from its first decorator or `def` to its last line."""

    name: str
    lines: int


def room_of(path: Path, package: Path) -> str:
    """Folder of a file below the package, or the name of a module at its top."""
    parts = path.relative_to(package).with_suffix("").parts
    return "/".join(parts[:-1]) if len(parts) > 1 else parts[0]


def functions_of(tree: ast.AST, where: str) -> list[Function]:
    """Every function and method of a file."""
    return [
        Function(f"{where}:{node.name}", node.end_lineno - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]


def imported_modules(tree: ast.AST) -> set[str]:
    """Dotted names inside the package that a file imports; of `from a import b` both `a` and `a.b`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if f"{name}.".startswith(f"{PACKAGE}.")}


def circles_of(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Largest sets of rooms from each of which every other one can be reached."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for room in arrows.get(waiting.pop(), set()) - seen:
                seen.add(room)
                waiting.append(room)
        return seen

    reach = {room: reached(room) for room in arrows}
    found = {
        frozenset({other for other in ways if room in reach.get(other, set())})
        for room, ways in reach.items()
        if room in ways
    }
    return sorted((set(circle) for circle in found if len(circle) > 1), key=len, reverse=True)


def lines_of_code(text: str) -> int:
    """Lines but for blank ones, comments and docstrings."""
    said = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return sum(
        1 for at, line in lines if line.strip() and line.strip()[0] != "#" and at not in said
    )


def method_files(package: Path) -> dict[str, tuple[int, list[str]]]:
    """Lines of code of each file in `methods` that defines some, from long to short, and its own modules.

    These are the modules of the package that no other of the files imports.
    """
    imported: dict[str, set[str]] = {}
    code: dict[str, int] = {}
    for path in sorted((package / "methods").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.stem not in ("__init__", "base", "listing", "registry"):
            code[path.stem] = lines_of_code(text)
            modules = imported_modules(ast.parse(text))
            imported[path.stem] = {
                name.removeprefix(f"{PACKAGE}.")
                for name in modules
                if (package.parent / f"{name.replace('.', '/')}.py").is_file()
            }
    found = {}
    for name in sorted(code, key=lambda name: -code[name]):
        others = set().union(*(modules for other, modules in imported.items() if other != name))
        found[name] = code[name], sorted(imported[name] - others)
    return found


def print_methods(package: Path) -> None:
    """A line for each file of methods."""
    print(f"\n{'method':<18}{'lines of code':>14}  modules that no other method imports")
    for name, (lines, modules) in method_files(package).items():
        print(f"{name:<18}{lines:>14}  {' '.join(modules)}")


def main(checkout: Path) -> None:
    """Print the tables of one checkout."""
    package = checkout / PACKAGE
    files = sorted(package.rglob("*.py"))
    rooms = {path: room_of(path, package) for path in files}
    room_of_module = {}
    for path, room in rooms.items():
        dotted = ".".join((PACKAGE, *path.relative_to(package).with_suffix("").parts))
        room_of_module[dotted.removesuffix(".__init__")] = room

    lines: dict[str, int] = defaultdict(int)
    count: dict[str, int] = defaultdict(int)
    functions: dict[str, list[Function]] = defaultdict(list)
    arrows: dict[str, set[str]] = defaultdict(set)
    for path, room in rooms.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines[room] += len(text.splitlines())
        count[room] += 1
        functions[room] += functions_of(tree, path.relative_to(package).as_posix())
        known = {room_of_module[name] for name in imported_modules(tree) if name in room_of_module}
        arrows[room] |= known - {room}

    print(
        f"{'room':<18}{'files':>6}{'lines':>7}{'functions':>11}{'mean':>6}{'longest':>9}  imports"
    )
    for room in sorted(lines):
        lengths = [function.lines for function in functions[room]] or [0]
        mean = sum(lengths) / len(lengths)
        print(
            f"{room:<18}{count[room]:>6}{lines[room]:>7}{len(functions[room]):>11}{mean:>6.1f}"
            f"{max(lengths):>9}  {' '.join(sorted(arrows[room]))}"
        )
    every = [function for found in functions.values() for function in found]
    longest = max(every, key=lambda function: function.lines)
    gui = [path for path in files if rooms[path].split("/")[0] == "gui"]
    gui_lines = sum(n for room, n in lines.items() if room.split("/")[0] == "gui")
    print(
        f"\n{len(lines)} rooms, {len(files)} files, {sum(lines.values())} lines; "
        f"gui: {len(gui)} files, {gui_lines} lines\n"
        f"{len(every)} functions, {sum(f.lines for f in every) / len(every):.1f} lines on average, "
        f"the longest {longest.name} with {longest.lines}\n"
        f"{len([p for p in files if p.parent == package])} modules at the top; "
        f"{sum(map(len, arrows.values()))} arrows between rooms; circles: "
        f"{'; '.join(' '.join(sorted(c)) for c in circles_of(arrows)) or 'none'}"
    )
    print_methods(package)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
