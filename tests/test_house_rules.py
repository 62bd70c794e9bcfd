"""The rules of the house, held by reading the code: imports, sizes, names."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("policy", "storage", "gateway")
# gateway -> storage -> policy: a package may import itself and what stands before it.
MAY_IMPORT = {"policy": {"policy"}, "storage": {"storage", "policy"}, "gateway": set(PACKAGES)}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported_packages(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = imported_packages(path) & {*PACKAGES, "tests"}
    assert ours <= MAY_IMPORT[package]


def test_policy_reads_no_file_no_clock_and_no_environment() -> None:
    """`policy` is pure: what a decision depends on is passed in."""
    outside = {
        "os",
        "io",
        "pathlib",
        "time",
        "socket",
        "asyncio",
        "subprocess",
        "importlib",
        "random",
        "tempfile",
    }
    for path in (ROOT / "policy").rglob("*.py"):
        assert not imported_packages(path) & outside, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"now", "utcnow", "today"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert not {"manager", "helper", "helpers", "util", "utils"} & set(path.stem.split("_"))


def test_top_level_folders_are_the_five() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line}
    assert folders - {".ci"} == {"gateway", "storage", "policy", "tests", "deploy"}
