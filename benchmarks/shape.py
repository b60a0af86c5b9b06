"""The shape of the product as figures: lines, rooms and floors, names that exist twice, complexity; it runs nothing.

A room is a direct child of a package: a module or a sub-folder. An arrow says that one room imports another; floors
are the length of the longest chain of them; arrows within a circle point upward. The simulator is left out of what
is said of the product.

    python benchmarks/shape.py [--root FOLDER]... [--json] [--lists]
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

Arrows = dict[str, set[str]]
_CONTAINER = re.compile(
    r"(dict|set|frozenset|defaultdict|OrderedDict|Counter|Mapping|MutableMapping)\[str\b"
)
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler)
_SMALL = 60  # lines


class Module:
    """One file of Python, read and parsed."""

    def __init__(self, name: str, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        self.name = name
        self.path = path
        self.is_package = path.name == "__init__.py"
        self.lines = len(text.splitlines())
        self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))
        self.code = len(_code_lines(self))

    def imports(self, known: set[str]) -> set[str]:
        """Return the modules of ours that it imports, wherever in the file."""
        found = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in known else node.module)
        return (found & known) - {self.name}


def _code_lines(module: Module) -> set[int]:
    """Return the lines that hold code: neither empty, nor a comment, nor a docstring."""
    with tokenize.open(module.path) as file:
        tokens = [t for t in tokenize.generate_tokens(file.readline) if t.type not in _NO_CODE]
    lines = {n for t in tokens if t.string for n in range(t.start[0], t.end[0] + 1)}
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def read(root: Path, folder: str) -> dict[str, Module]:
    """Return the modules below a folder of a checkout, by their dotted names."""
    modules = {}
    for path in sorted((root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path)
    return modules


def complexity(function: ast.AST, *, with_operators: bool = False) -> int:
    """Return McCabe's number as ruff counts it; with operators: what `and`, `or`, `… if …` and comprehensions add."""
    total = 1
    for node in ast.walk(function):
        if isinstance(node, _BRANCHES) or (node is not function and isinstance(node, _FUNCTION)):
            total += 1
        elif isinstance(node, (ast.Try, ast.TryStar)):
            total += bool(node.orelse)
        elif isinstance(node, ast.Match):
            total += len(node.cases) - _is_wildcard(node.cases[-1])
        elif with_operators and isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif with_operators and isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
        elif with_operators and isinstance(node, ast.IfExp):
            total += 1
    return total


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def _is_wildcard(case: ast.match_case) -> bool:
    return isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and not case.guard


def functions(module: Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Give each function and method with the name that it has in its module."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (*_FUNCTION, ast.ClassDef)):
                yield f"{prefix}{child.name}", child
                yield from below(child, f"{prefix}{child.name}.")
            else:
                yield from below(child, prefix)

    for name, node in below(module.tree, ""):
        if isinstance(node, _FUNCTION):
            yield name, node


def rooms(package: str, modules: dict[str, Module]) -> Arrows:
    """Return the rooms of a package, each with those that it imports."""
    arrows: Arrows = {}
    for name, module in modules.items():
        if name.startswith(f"{package}."):
            room = name.split(".")[2]
            targets = {
                target.split(".")[2]
                for target in module.imports(set(modules))
                if target.startswith(f"{package}.")
            }
            arrows.setdefault(room, set()).update(targets - {room})
    return arrows


def floors(arrows: Arrows) -> tuple[int, int]:
    """Return the length of the longest chain, and how many arrows are part of a circle."""

    @cache
    def reached(room: str) -> frozenset[str]:
        seen: set[str] = set()
        waiting = [room]
        while waiting:
            new = arrows[waiting.pop()] - seen
            seen |= new
            waiting.extend(new)
        return frozenset(seen)

    def height(room: str, above: frozenset[str] = frozenset()) -> int:
        below = {r for r in arrows[room] - above if room not in reached(r)}
        return 1 + max((height(r, above | {room}) for r in below), default=0)

    upward = sum(room in reached(r) for room, others in arrows.items() for r in others)
    return max(map(height, arrows), default=0), upward


def twice(places: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that stand in two places or more, with the places."""
    found = defaultdict(list)
    for name, place in places:
        found[name].append(place)
    return {name: where for name, where in sorted(found.items()) if len(where) > 1}


def containers(modules: Iterable[Module]) -> list[str]:
    """Return the attributes of classes that hold something for each of many strings, such as generations."""
    found = []
    for module in modules:
        for owner in module.nodes:
            if isinstance(owner, ast.ClassDef):
                found += [f"{module.name}:{owner.name}.{name}" for name in _held(owner)]
    return found


def _held(owner: ast.ClassDef) -> Iterator[str]:
    for node in ast.walk(owner):
        target: ast.expr
        if isinstance(node, ast.AnnAssign):
            target, kind = node.target, node.annotation
        elif isinstance(node, ast.Assign):
            target, kind = node.targets[0], node.value
        else:
            continue
        if (node in owner.body or _is_own(target)) and _CONTAINER.match(ast.unparse(kind)):
            yield ast.unparse(target).removeprefix("self.")


def _is_own(target: ast.AST) -> bool:
    return (
        isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    )


def calls(modules: Iterable[Module], *names: str) -> list[str]:
    """Return where functions of these names are called."""
    return [
        f"{module.name}:{node.lineno}"
        for module in modules
        for node in module.nodes
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) in names or getattr(node.func, "attr", None) in names)
    ]


def undocumented(modules: Iterable[Module]) -> list[str]:
    """Return public classes and functions, and modules, without a docstring."""
    found = []
    for module in modules:
        if not ast.get_docstring(module.tree):
            found.append(module.name)
        for name, node in functions(module):
            is_public = not any(part.startswith("_") for part in name.split("."))
            if is_public and not ast.get_docstring(node):
                found.append(f"{module.name}:{name}")
    return found


def untold(tests: Iterable[Module]) -> list[str]:
    """Return the tests that do not say what they promise."""
    return [
        f"{module.name}:{name}"
        for module in tests
        for name, node in functions(module)
        if name.rpartition(".")[2].startswith("test_") and not ast.get_docstring(node)
    ]


def measure(root: Path) -> tuple[dict[str, int | str], dict[str, object]]:
    """Return the figures of a checkout, and the lists behind them."""
    every, tests = read(root, "reconciler"), read(root, "tests")
    product = {n: m for n, m in every.items() if not n.startswith("reconciler.simulator")}
    engine = [m for n, m in product.items() if n.startswith("reconciler.engine")]
    figures: dict[str, int | str] = {}
    lists: dict[str, object] = {}

    def count(title: str, found: dict[str, list[str]] | list[str]) -> None:
        figures[title], lists[title] = len(found), found

    figures["files"] = len(product)
    figures["lines"] = sum(m.lines for m in product.values())
    figures["lines of code"] = sum(m.code for m in product.values())
    sizes, code = Counter[str](), Counter[str]()
    for name, module in every.items():
        package = name.split(".")[1] if "." in name else "reconciler"
        sizes[package] += module.lines
        code[package] += module.code
    for package in sorted(sizes):
        figures[f"lines of {package} (code)"] = f"{sizes[package]} ({code[package]})"
    for package in ("engine", "workspace"):
        arrows = rooms(f"reconciler.{package}", product)
        longest, upward = floors(arrows)
        total = sum(map(len, arrows.values()))
        figures[f"{package}: rooms, floors, arrows, upward"] = (
            f"{len(arrows)}, {longest}, {total}, {upward}"
        )
        lists[f"{package}: arrows"] = {room: sorted(arrows[room]) for room in sorted(arrows)}
    importers = defaultdict(list)
    for name, module in product.items():
        for target in module.imports(set(product)):
            importers[target].append(name)
    plain = [m for m in product.values() if not m.is_package]
    count(
        "modules imported by exactly one other",
        [f"{n} <- {by[0]}" for n, by in sorted(importers.items()) if len(by) == 1],
    )
    count(f"modules below {_SMALL} lines", [m.name for m in plain if m.lines < _SMALL])
    count(
        "class names twice",
        twice(
            (node.name, m.name)
            for m in product.values()
            for node in m.nodes
            if isinstance(node, ast.ClassDef)
        ),
    )
    count("module names twice", twice((n.rpartition(".")[2], n) for n in product))
    known = [(f"{m.name}:{name}", node) for m in engine for name, node in functions(m)]
    for title, with_operators in (("as ruff counts", False), ("with operators", True)):
        ranked = sorted((-complexity(n, with_operators=with_operators), name) for name, n in known)
        figures[f"engine: highest complexity, {title}"] = -ranked[0][0]
        lists[f"engine: highest complexity, {title}"] = [f"{-n} {name}" for n, name in ranked[:12]]
    count(
        "engine: returns `int | None`",
        [name for name, n in known if n.returns and ast.unparse(n.returns) == "int | None"],
    )
    count("engine: containers keyed by a string", containers(engine))
    count("calls of step, advance", calls(product.values(), "step", "advance"))
    count("places where a Record is made", calls(product.values(), "Record"))
    count("public, without a docstring", undocumented(product.values()))
    count("tests without a docstring", untold(tests.values()))
    return figures, lists


def main() -> None:
    """Print one column of figures for each checkout, and the lists behind them if asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", action="append", type=Path, help="a checkout; may be given twice")
    parser.add_argument("--json", action="store_true", help="figures and lists as one document")
    parser.add_argument("--lists", action="store_true", help="the lists behind the figures, too")
    asked = parser.parse_args()
    roots = asked.root or [Path(__file__).parents[1]]
    found = [measure(root) for root in roots]
    if asked.json:
        documents = [{"figures": figures, "lists": lists} for figures, lists in found]
        print(json.dumps(documents if asked.root and asked.root[1:] else documents[0], indent=1))
        return
    for title in dict.fromkeys(title for figures, _ in found for title in figures):
        print(f"{title:<46}" + "".join(f"{figures.get(title, '')!s:>18}" for figures, _ in found))
    if asked.lists:
        for title, values in found[-1][1].items():
            print(f"\n{title}:")
            rows = values.items() if isinstance(values, dict) else values
            for row in rows if isinstance(rows, Iterable) else ():
                print("  ", f"{row[0]}: {', '.join(row[1])}" if isinstance(row, tuple) else row)


if __name__ == "__main__":
    main()
