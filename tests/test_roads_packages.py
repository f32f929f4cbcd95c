"""The one file, the wheel and the sdist: built, held against what they promise, installed, started, asked."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import tinytracer
from lookingglass import command_line
from tests.roads import WSGIREF
from tests.support import HERE, V1, Server, build_pyz, configuration, free_port, read_until

BARE = ["-I", "-S"]  # a Python that sees nothing installed
LARGEST = 360 * 1024
MANUAL = HERE / "examples" / "deploy" / "tinytracer.1"
PARTS = {  # of the one file
    *("LICENSE", "webob/__init__.py", "waitress/__init__.py", "cgi.py"),
    *("lookingglass/html/index.html", "lookingglass/config.json.template"),
    *("lookingglass/config.schema.json", "lookingglass/routers/frr.json", "lookingglass/routers/birdlg"),
}


def pythons() -> dict[str, str]:
    """Return the supported Pythons of this machine by their version."""
    found: dict[str, str] = {}
    for version in ("3.11", "3.12", "3.13", "3.14"):
        choices = [
            f"python{version}",
            *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")),
        ]
        for each in choices:
            argv = [each, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            try:
                told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
            except (OSError, subprocess.CalledProcessError):
                continue
            if told.strip() == version:
                found[version] = each
    return found


def start(argv: list[str], folder: Path) -> Server:
    port = free_port()
    environ = {"PYTHONPATH": "", "HOME": str(folder)}
    server = Server([*argv, "--listen", f"127.0.0.1:{port}"], port, environ, cwd=folder)
    server.wait_until_ready()
    return server


def ask_a_fresh_installation(server: Server) -> None:
    try:
        assert "<form" in server.get("/")[2].decode()
        assert server.get("/script.js")[0] == 200
        commands = [each["command"] for each in server.json(f"{V1}/cmd")["data"]["commands"]]
        assert "show route" in commands
        status, _, body = server.get(f"{V1}/show/route/127.0.0.1")
        assert status == 200
        assert "127.0.0.1" in json.loads(body)["data"]["output"][0]
    finally:
        server.stop()
    assert server.process.returncode == 0


def run(folder: Path, *argv: str) -> str:
    """Run a program that has to succeed, and return what it has printed."""
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


# --- one file


@pytest.mark.parametrize("python", pythons().values(), ids=pythons())
def test_one_file_serves_at_once_in_an_empty_folder(pyz: Path, tmp_path: Path, python: str) -> None:
    ask_a_fresh_installation(start([python, *BARE, str(pyz)], tmp_path))


@pytest.mark.parametrize("path", ["./tinytracer.pyz", "tinytracer.pyz", "../{folder}//tinytracer.pyz"])
def test_one_file_starts_by_any_path(pyz: Path, path: str) -> None:
    argv = [sys.executable, *BARE, path.format(folder=pyz.parent.name)]
    ask_a_fresh_installation(start(argv, pyz.parent))


def test_one_file_is_a_program(pyz: Path) -> None:
    ask_a_fresh_installation(start([f"./{pyz.name}"], pyz.parent))


def test_one_file_writes_a_configuration_checks_it_and_pings_live(pyz: Path, tmp_path: Path) -> None:
    program = [sys.executable, *BARE, str(pyz)]
    run(tmp_path, *program, "init")
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "targets": {"deny": []}}))
    run(tmp_path, *program, "check")
    server = start(program, tmp_path)
    try:
        with server.begin(f"{V1}/ping/127.0.0.1", "text/plain") as connection:
            read_until(connection, rb"icmp_seq=1 ")
            assert server.children()  # it has not ended yet
            read_until(connection, rb"0% packet loss")
    finally:
        server.stop()


def test_one_file_is_imported_by_a_wsgi_server(pyz: Path, tmp_path: Path) -> None:
    port = free_port()
    environ = {"PYTHONPATH": str(pyz), "TINYTRACER_CONFIG": str(configuration(tmp_path))}
    server = Server([sys.executable, "-S", "-c", WSGIREF, str(port)], port, environ, cwd=tmp_path)
    try:
        server.wait_until_ready()
        assert "<form" in server.get("/")[2].decode()
        assert server.json(f"{V1}/true")["status"] == "success"
    finally:
        server.stop()


def test_one_file_is_small_and_holds_everything(pyz: Path) -> None:
    assert pyz.stat().st_size <= LARGEST
    inside = set(zipfile.ZipFile(pyz).namelist())
    assert inside >= PARTS
    licences = {name.partition("-")[0].lower() for name in inside if "licen" in name.lower() and "-" in name}
    assert licences == {"webob", "waitress", "legacy_cgi"}


def test_one_file_is_the_same_wherever_and_whenever_it_is_built(pyz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    before = os.umask(0o077)
    try:
        again = build_pyz(folder, TZ="Asia/Tokyo", LC_ALL="C")
    finally:
        os.umask(before)
    assert again.read_bytes() == pyz.read_bytes()


def test_code_of_the_one_file_is_that_of_the_source_line_by_line(pyz: Path) -> None:
    """So a traceback leads to the right place; what has no effect is left out."""
    inside = zipfile.ZipFile(pyz)
    for path in (HERE / "lookingglass").rglob("*.py"):
        name = path.relative_to(HERE).as_posix()
        source, packed = path.read_text(), inside.read(name).decode()
        assert source.count("\n") == packed.count("\n"), name
        assert shape_of(source) == shape_of(packed), name


def test_code_of_the_one_file_means_what_that_of_its_parts_does(pyz: Path) -> None:
    """Those of the libraries as well: what is left out has no effect, and no string has changed."""
    inside, parts = zipfile.ZipFile(pyz), pyz.parent.parent / "pyz"
    names = [path.relative_to(parts).as_posix() for path in parts.rglob("*.py")]
    assert {"cgi.py", "webob/request.py", "waitress/task.py", "lookingglass/glass.py"} <= {*names}
    for name in names:
        assert meaning((parts / name).read_text()) == meaning(inside.read(name).decode()), name
    for path in (parts / "lookingglass" / "routers").glob("*.json"):
        packed = inside.read(path.relative_to(parts).as_posix())
        assert json.loads(packed) == json.loads(path.read_text())


def meaning(text: str) -> str:
    """Return code without docstrings and annotations, and apart from where it stands."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [Bare().visit(each) for each in node.body if not is_empty(each)] or [ast.Pass()]
    return ast.dump(tree)


def is_empty(node: ast.stmt) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, ast.Pass)


class Bare(ast.NodeTransformer):
    """Assignments without annotations."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        return ast.Assign([node.target], node.value) if node.value else node


def shape_of(text: str) -> list[tuple[str, int]]:
    """Return what stands in which line, but for docstrings and annotations."""
    tree = ast.parse(text)
    gone: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.FunctionDef | ast.AnnAssign):
            hint = node.returns if isinstance(node, ast.FunctionDef) else node.annotation
            gone |= set(ast.walk(hint)) if hint else set()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            gone |= {node, node.value}
    kept = [node for node in ast.walk(tree) if node not in gone and hasattr(node, "lineno")]
    return sorted((type(node).__name__.removeprefix("Ann"), node.lineno) for node in kept)


def test_exit_status_of_the_one_file_counts(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    argv = [sys.executable, *BARE, str(pyz), "check"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "line 1" in done.stderr


# --- wheel and sdist


class Packages(NamedTuple):
    source: Path  # an unpacked sdist
    sdist: Path
    wheel: Path  # built from the sdist
    direct: Path  # built from the clone


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    run(folder, "git", "clone", "--quiet", str(HERE), "clone")
    build = [sys.executable, "-m", "build", "--outdir"]
    run(folder, *build, "dist", "clone")
    run(folder, *build, "direct", "--wheel", "clone")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    (wheel,) = (folder / "dist").glob("*.whl")
    return Packages(source, sdist, wheel, folder / "direct" / wheel.name)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_packages_are_well_formed(packages: Packages) -> None:
    run(HERE, sys.executable, "-m", "twine", "check", "--strict", str(packages.wheel), str(packages.sdist))
    run(HERE, sys.executable, "-m", "check_wheel_contents", str(packages.wheel))


@pytest.mark.slow
def test_sdist_builds_the_wheel_that_the_clone_builds(packages: Packages) -> None:
    ours = contents(packages.wheel)
    assert ours == contents(packages.direct)
    assert any(name.endswith("/share/man/man1/tinytracer.1") for name in ours)


@pytest.mark.slow
def test_sdist_brings_its_tests_and_passes_those_of_the_callable(packages: Packages) -> None:
    listed = run(HERE, "git", "ls-files").splitlines()
    missing = [name for name in listed if not (packages.source / name).exists()]
    assert [name for name in missing if not name.startswith(".")] == []
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    assert " passed" in run(packages.source, *pytest_, "test_tinytracer.py")


@pytest.mark.slow
def test_wheel_installs_and_runs(packages: Packages, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run(tmp_path, sys.executable, "-m", "venv", str(venv))
    run(tmp_path, str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", str(packages.wheel))
    work = tmp_path / "work"
    work.mkdir()
    for argv in ([venv / "bin" / "tinytracer"], [venv / "bin" / "python", "-m", "tinytracer"]):
        ask_a_fresh_installation(start([str(each) for each in argv], work))
    assert (venv / "share" / "man" / "man1" / "tinytracer.1").is_file()


@pytest.mark.slow
def test_set_up_in_a_clone_whose_path_has_a_space(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    run(tmp_path, "git", "clone", "--quiet", str(HERE), str(clone))
    for _ in range(2):
        run(clone, "make", "check")
    assert os.path.exists(clone / "config.json")


# --- the man page


def test_man_page_is_well_formed_and_names_every_action_and_option() -> None:
    shown = subprocess.run(
        ["man", "--warnings", "--local-file", str(MANUAL)],
        env={"PATH": os.environ["PATH"], "MANWIDTH": "200", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stderr == ""
    text = re.sub(r".\x08", "", shown.stdout)
    synopsis, _, actions = text.partition("ACTIONS")
    for act in tinytracer.ACTIONS:
        assert re.search(rf"^ +tinytracer \[?{act.__name__}\b", synopsis, re.MULTILINE)
        assert re.search(rf"^ +{act.__name__}\b", actions, re.MULTILINE)
        for name, settings in {**command_line.EVERY, **command_line.OPTIONS.get(act.__name__, {})}.items():
            shown_as = name if name.startswith("--") else settings["metavar"]
            assert re.search(rf"^ +tinytracer \[?{act.__name__}\b.*{shown_as}\b", synopsis, re.MULTILINE)
            assert name not in command_line.EVERY or f"\n       {name} " in actions
