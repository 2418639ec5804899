"""
The functions' package: a zip of what the handlers import and nothing else, the same bytes from the same input.

In it are those of our own modules that the handlers reach by their imports, the libraries that these need, as wheels for
Lambda's Python and processor, the definition, and the program that starts our own runtime. boto3 is not in it: Lambda has it,
and it alone would be over the 15 MB that we allow ourselves.
"""

import ast
import hashlib
import importlib.metadata
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

import tallystream
from tallystream.aws.function import DEFINITION
from tallystream.aws.template_function import PYTHON, WRAPPER, Architecture
from tallystream.core.definition import Definition
from tallystream.core.errors import TallystreamError

BYTES_MAX: Final = 15_000_000
_ENTRIES: Final = ("tallystream.aws.handlers", "tallystream.aws.runtime")
_PAGES_ENTRY: Final = "tallystream.aws.pages"
_PROVIDED: Final = frozenset({"boto3", "botocore"})  # by Lambda
_SOURCE: Final = Path(tallystream.__file__).parent
_MACHINES: Final[Mapping[Architecture, str]] = {"arm64": "aarch64", "x86_64": "x86_64"}
_GLIBC: Final = ("2014", "_2_17", "_2_28", "_2_34")  # Lambda's Amazon Linux 2023 has glibc 2.34
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say
_FILE_MODE: Final = 0o100644
_PROGRAM_MODE: Final = 0o100755

# Lambda starts it with the stock runtime's command line, which ours falls back to.
_WRAPPER_TEXT: Final = """\
#!/bin/sh
export PYTHONPATH="$LAMBDA_TASK_ROOT${PYTHONPATH:+:$PYTHONPATH}"
exec "$1" -m tallystream.aws.runtime "$@"
"""


class PackageError(TallystreamError):
    """The package cannot be built; the message says what is missing."""


class Target(NamedTuple):
    """What the package is to run on."""

    architecture: Architecture = "arm64"
    python: str = PYTHON


class Package(NamedTuple):
    """A package, ready to be uploaded."""

    data: bytes
    files: int

    @property
    def sha256(self) -> str:
        """The hash of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def build_package(definition: Definition, target: Target, *, pages: bool = False) -> Package:
    """
    Build the functions' package. Wheels come from the package registry that pip is set up with.

    The versions are those that are installed here, so that what was tried on this machine is what runs.

    Args:
        definition: what is counted.
        target: what it is to run on.
        pages: with the web application and its pages, for the pages function.

    Raises:
        PackageError: pip has no wheels, the pages are not built, or the package is too large.
    """
    modules = imported_modules((*_ENTRIES, _PAGES_ENTRY) if pages else _ENTRIES)
    files = {path.relative_to(_SOURCE.parent).as_posix(): path.read_bytes() for path in modules.values()}
    files |= _wheel_files(tuple(_requirements(modules.values())), target)
    # What is only told and never counted by: alarms and channels are the template's.
    counted = msgspec.structs.replace(definition, browser=None, alarms=(), channels=(), mutes=())
    files[DEFINITION] = msgspec.json.encode(counted)
    files[WRAPPER] = _WRAPPER_TEXT.encode()
    if pages:
        files |= _static_files()
    package = Package(_zip(files), len(files))
    if len(package.data) > BYTES_MAX:
        raise PackageError(f"the package has {len(package.data):,} bytes, and at most {BYTES_MAX:,} are wanted; report this")
    return package


def _static_files() -> dict[str, bytes]:
    """Return the built pages."""
    static = _SOURCE / "web" / "static"
    if not (static / "index.html").is_file():
        raise PackageError("the pages are not built; run `make setup`, or install the package")
    return {
        path.relative_to(_SOURCE.parent).as_posix(): path.read_bytes()
        for path in sorted(static.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def imported_modules(entries: Iterable[str]) -> dict[str, Path]:
    """Return our modules that some of them import, directly or not, and those themselves: name → file."""
    found: dict[str, Path] = {}
    left = list(entries)
    assert all(map(_module_path, left)), f"one of {left} is no module"
    while left:
        name = left.pop()
        path = _module_path(name)
        if name in found or path is None:
            continue
        found[name] = path
        left += [each for each in _imports(path) if each.partition(".")[0] == "tallystream"]
        left += [name.rpartition(".")[0]] if "." in name else []
    return found


def _module_path(name: str) -> Path | None:
    """Return the file of one of our modules; None where a name is not a module but something in one."""
    path = _SOURCE.parent.joinpath(*name.split("."))
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def _imports(path: Path) -> Iterator[str]:
    """Yield the names that a file imports; of `from a import b` both a and a.b, which may be a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unused = {id(node) for block in ast.walk(tree) if _is_for_types(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _requirements(paths: Iterable[Path]) -> list[str]:
    """Return the libraries that files import, as pip wants them, with the versions that are installed."""
    tops = {name.partition(".")[0] for path in paths for name in _imports(path)}
    wanted = tops - sys.stdlib_module_names - _PROVIDED - {"tallystream"}
    distributions = importlib.metadata.packages_distributions()
    names = {distribution for top in wanted for distribution in distributions[top]}
    return sorted(f"{name}=={importlib.metadata.version(name)}" for name in names)


@cache
def _wheel_files(requirements: tuple[str, ...], target: Target) -> dict[str, bytes]:
    """Return the files of wheels, and of those that they require: the code that runs, and the licences."""
    machine = _MACHINES[target.architecture]
    platforms = [f"--platform=manylinux{glibc}_{machine}" for glibc in _GLIBC]
    with tempfile.TemporaryDirectory() as directory:
        installed = {each.name: each.version for each in importlib.metadata.distributions()}
        constraints = Path(directory) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in installed.items() if name != "tallystream"))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}", *platforms]
        there = [f"--constraint={constraints}", f"--dest={directory}"]
        done = subprocess.run([*command, *there, *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing"]
            raise PackageError(
                f"pip found no wheels of {', '.join(requirements)} for Python {target.python} on {machine}: {said[-1]}\n"
                f"mend it so that this works: pip download {' '.join([*command[6:], *requirements])}"
            )
        files: dict[str, bytes] = {}
        for wheel in sorted(Path(directory).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                files |= {name: archive.read(name) for name in archive.namelist() if _is_wanted(name)}
    return files


def _is_wanted(name: str) -> bool:
    if ".dist-info/" in name:
        return "licen" in name.lower() and not name.endswith("/")
    return not name.endswith(("/", ".pyi", ".pxd", ".c", ".h", "py.typed")) and "/tests/" not in name


def _zip(files: Mapping[str, bytes]) -> bytes:
    """Return a zip in which nothing tells when, where or by which version of zlib it was made: so, not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = (_PROGRAM_MODE if name == WRAPPER else _FILE_MODE) << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()
