"""The house as DESIGN has it: which room may import which, how large a room may be, what is installed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import HERE

SHARED = {"__init__", "schemas", "common"}  # by the parsers
TOOLS = sorted(
    f"facts.{path.stem}" for path in HERE.glob("lookingglass/facts/*.py") if path.stem not in SHARED
)
# A module imports those behind it only; every module of ours has a place here.
ORDER = [
    "tinytracer",
    *(
        f"lookingglass.{name}"
        for name in (
            *(
                "command_line",
                "diagnosis",
                "trying",
                "reaching",
                "judging",
                "inspecting",
                "findings",
                "migrating",
                "starting",
                "machine",
                "reloading",
                "serving",
                "workers",
                "connections",
                "tasks",
                "messages",
                "page",
                "form",
                "pasted",
                "openapi",
                "metrics",
                "notices",
                "frozen",
                "about",
                "frames",
                "side_by_side",
                "ready",
                "asking",
                "several_answers",
                "answers",
                "views",
                "panels",
                "downloads",
                "negotiation",
                "comparisons",
                "hop_changes",
                "route_changes",
                "alignment",
            ),
            *(
                "several",
                "glass",
                "questions",
                "patience",
                "aiming",
                "configuration",
                "whitelist",
                "templates",
                "probing",
                "reading",
            ),
            "documents",
            *("journal", "turnstile", "results", "visitors"),
            *("guard", "limits", "waiting", "stores", "in_sqlite", "in_redis", "sharing", "store", "cabinet"),
            *(
                "registry",
                "finished",
                "runs",
                "children",
                "spawning",
                "sources",
                "complaints",
                "output",
                "names",
            ),
            *("roll", "watcher", "loop", "kernel", "targets"),
            *("pictures.board", "pictures", "pictures.alone", "pictures.verdicts"),
            *("pictures.paths", "pictures.graph", "pictures.communities", "pictures.neighbors"),
            *("pictures.hops", "pictures.ping", "pictures.kinds"),
            *("pictures.axis", "pictures.markup", "pictures.values"),
            *("facts", *TOOLS, "facts.schemas", "facts.common", "cures", "resources", "neutral"),
            *("origins", "urls", "themes", "headers", "tallies", "problems"),
        )
    ),
    "rfc8522",
    "commands",
]
ENTRIES = 26  # at the root
MODULE = 450  # lines
FUNCTION = 45  # lines
FILES = [
    HERE / "tinytracer.py",
    HERE / "rfc8522.py",
    HERE / "commands.py",
    *HERE.glob("lookingglass/**/*.py"),
]


def name_of(path: Path) -> str:
    parts = path.relative_to(HERE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Yield the names of our modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in ORDER)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in below if name in ORDER)
            if node.module in ORDER and not all(name in ORDER for name in below):
                yield node.module


def constants(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names in capitals that a statement assigns to, each with its value or with that of all."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return
    first = node.targets[0] if isinstance(node, ast.Assign) else node.target
    pairs = [(first, node.value)]
    if isinstance(first, ast.Tuple):
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(first.elts)
        pairs = [*zip(first.elts, values, strict=True)]
    for name, value in pairs:
        if isinstance(name, ast.Name) and name.id.isupper():
            yield name.id, value


def test_every_module_has_a_place_in_the_order() -> None:
    names = {name_of(path) for path in FILES} - {"lookingglass"}
    assert names == set(ORDER)


def test_contributing_names_every_module_once_in_this_order() -> None:
    lines = (HERE / "CONTRIBUTING.md").read_text().splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    named = [
        Path(name).stem for cell in cells for name in re.findall(r"`([\w/]+(?:\.py|facts/|pictures/))`", cell)
    ]
    packages = ("lookingglass.facts.", "lookingglass.pictures.")  # which have one row
    rows = [name for name in ORDER if not name.startswith(packages)]
    assert named == [name.rpartition(".")[2] for name in rows]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_downwards(path: Path) -> None:
    name = name_of(path)
    place = ORDER.index(name) if name in ORDER else -1
    assert [each for each in imported(path) if ORDER.index(each) <= place] == []


@pytest.mark.parametrize(("package", "users"), [("waitress", 3), ("webob", 4), ("prometheus_client", 1)])
def test_libraries_are_used_in_few_rooms(package: str, users: int) -> None:
    found = [path for path in FILES if f"from {package}" in path.read_text()]
    assert 0 < len(found) <= users


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_and_functions_fit_on_a_screen(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MODULE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > FUNCTION} == {}


def test_a_name_means_one_thing_in_all_rooms() -> None:
    """Parsers have the words of their tools, and pictures measures of their own."""
    meanings: dict[str, set[str]] = {}
    for path in FILES:
        if {"facts", "pictures"} & {*path.parts}:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                meanings.setdefault(node.name, set()).add(path.name)
            for name, value in constants(node):
                meanings.setdefault(name, set()).add(ast.dump(value))
    assert [name for name, found in meanings.items() if len(found) > 1] == []


def test_root_fits_on_a_screen() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True, check=True).stdout
    assert len({name.partition("/")[0] for name in listed.splitlines()}) <= ENTRIES


@pytest.mark.slow
def test_nothing_of_ours_has_another_name_after_an_installation(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", HERE, clone], check=True)
    subprocess.run([*pip, "--target", tmp_path / "site", clone], check=True, capture_output=True)
    installed = {name for name in os.listdir(tmp_path / "site") if not name.endswith(".dist-info")}
    assert installed == {"bin", "share", "tinytracer.py", "commands.py", "rfc8522.py", "lookingglass"}
    assert [each.name for each in (tmp_path / "site" / "share").rglob("*.*")] == ["tinytracer.1"]
    for name in (
        "html/index.html",
        "config.schema.json",
        "config.json.template",
        "routers/frr.json",
        "routers/birdlg",
    ):
        assert (tmp_path / "site" / "lookingglass" / name).is_file()
