"""Holds the rules of docs/architecture.md and the house style, so that a broken rule is a failing test."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "tallystream"

# A layer, and the layers that it may import: cli → local → {engine, web} → datapoints → ports → core.
LAYERS = {
    "core": {"core"},
    "ports": {"core", "ports"},
    "datapoints": {"core", "ports"},
    "engine": {"core", "ports", "datapoints", "engine"},
    "web": {"core", "ports", "datapoints", "web"},
    "testing": {"core", "ports", "aws", "testing"},
    "local": {"core", "ports", "datapoints", "engine", "web", "local"},
    "aws": {"core", "ports", "datapoints", "engine", "web", "aws"},
    "cli": {"core", "ports", "datapoints", "engine", "web", "local", "aws", "cli"},
}

# What the core may use: nothing here touches a file, a socket, a clock, a thread, a log or chance.
CORE_IMPORTS = {
    *{"__future__", "abc", "array", "ast", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses"},
    *{
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "graphlib",
        "hashlib",
        "heapq",
        "ipaddress",
        "itertools",
        "json",
        "keyword",
    },
    *{"math", "numbers", "operator", "re", "string", "struct", "sys", "textwrap", "tomllib", "types", "typing", "unicodedata"},
    *{"urllib.parse", "warnings"},
    *{"msgspec", "pybase64", "tallystream"},
    "zoneinfo",  # reads the time zone database, which is data like the tables of unicodedata
}
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "models.py", "manager.py", "common.py", "misc.py"}
LINES_MAX = 500
TEST_LINES_MAX = 800  # tables of cases are long, and easy to read
SLEEPS_ALLOWED = {"tests/waiting.py"}  # where waiting for a condition is written down once


class Import(NamedTuple):
    path: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def tracked_files() -> list[Path]:
    """Return what is, or is about to be, in git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def modules(directory: Path) -> list[Path]:
    found = sorted(directory.rglob("*.py"))
    assert found, f"no Python files under {directory}"
    return found


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[Import]:
    """Yield every import of a file, those inside of functions too."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: relative import; write the whole name"
            assert node.module is not None
            yield Import(path, node.lineno, node.module)
            # `from tallystream import web` imports the layer web; __version__ is a text that all may have.
            if node.module == "tallystream":
                layers = (alias.name for alias in node.names if alias.name != "__version__")
                yield from (Import(path, node.lineno, f"tallystream.{layer}") for layer in layers)


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    """Yield line, dotted name and node of every call of a plain or dotted name."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def test_imports_point_one_way() -> None:
    wrong = []
    for path in modules(SOURCE):
        layer = layer_of(path)
        if layer == "__init__":
            continue
        assert layer in LAYERS, f"{path.relative_to(ROOT)}: no layer of docs/architecture.md is called {layer!r}"
        for found in imports(path):
            top, _, rest = found.module.partition(".")
            if top == "tallystream" and rest and rest.split(".")[0] not in LAYERS[layer]:
                wrong.append(str(found))
    assert wrong == [], f"cli → local → {{engine, web}} → ports → core; against it: {wrong}"


def test_core_imports_nothing_that_acts() -> None:
    def is_allowed(module: str) -> bool:
        return module in CORE_IMPORTS or module.split(".", maxsplit=1)[0] in CORE_IMPORTS

    wrong = [str(found) for path in modules(SOURCE / "core") for found in imports(path) if not is_allowed(found.module)]
    assert wrong == [], "the core is pure: pass what it needs as an argument"


def test_core_asks_no_clock_and_opens_nothing() -> None:
    wrong = []
    for path in modules(SOURCE / "core"):
        for line, name, _ in calls(path):
            if name in {"open", "input", "print"} or name.split(".")[-1] in CLOCKS:
                wrong.append(f"{path.relative_to(ROOT)}:{line} calls {name}()")
    assert wrong == [], "the core is pure: now_ms and data are arguments"


def test_aws_packages_are_imported_in_aws_alone() -> None:
    wrong = [
        str(found)
        for path in modules(SOURCE)
        if layer_of(path) != "aws"
        for found in imports(path)
        if found.module.split(".")[0] in {"boto3", "botocore"}
    ]
    assert wrong == [], "a local install has no boto3"


def test_the_package_imports_only_what_it_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project.get("optional-dependencies", {}).values() for each in extra),
    ]
    required = {found[0].replace("-", "_") for requirement in wanted if (found := re.match(r"[\w.-]+", requirement))}
    known = required | sys.stdlib_module_names | {"tallystream"}
    wrong = [str(found) for path in modules(SOURCE) for found in imports(path) if found.module.partition(".")[0] not in known]
    assert wrong == [], "add it to pyproject.toml and docs/dependencies.md, and run `make lock`"


def test_everything_public_in_core_has_a_docstring() -> None:
    def public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield f"{prefix}.{node.name}", node
                if isinstance(node, ast.ClassDef):
                    yield from public(node.body, f"{prefix}.{node.name}")

    wrong = [
        name
        for path in modules(SOURCE / "core")
        for name, node in public(parse(path).body, path.stem)
        if ast.get_docstring(node) is None
    ]
    assert wrong == [], "say shapes, units, interval ends and errors in a docstring"


def test_every_module_says_what_it_is_for() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in modules(SOURCE)
        if path.read_text().strip() and not ast.get_docstring(parse(path))
    ]
    assert wrong == []


def test_modules_are_named_for_what_they_hold_and_are_short() -> None:
    files = [path for path in tracked_files() if path.suffix in {".py", ".ts", ".tsx"}]
    assert len(files) > 10
    assert [str(path) for path in files if path.name in FORBIDDEN_NAMES] == []
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines()))
        > (TEST_LINES_MAX if "tests" in path.parts else LINES_MAX)
    }
    assert long == {}, f"more than {LINES_MAX} lines ({TEST_LINES_MAX} of tests): split by what the parts are"


def test_tests_wait_for_conditions() -> None:
    wrong = []
    for path in modules(ROOT / "tests"):
        if str(path.relative_to(ROOT)) in SLEEPS_ALLOWED:
            continue
        for line, name, call in calls(path):
            # asyncio.sleep(0) only lets others run.
            yields = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
            if (name in {"time.sleep", "asyncio.sleep", "sleep"} and not yields) or name.endswith(".wait_for_timeout"):
                wrong.append(f"{path.relative_to(ROOT)}:{line} calls {name}()")
    assert wrong == [], "wait for a condition with tests.waiting.wait_until, never a guess"


def test_no_test_is_skipped() -> None:
    skips = re.compile(
        r"(?<!\w)(pytest\.(mark\.)?(skip|skipif|importorskip|xfail)|unittest\.skip\w*|\b(it|test|describe)\.(skip|only|todo))\b"
    )
    tests = [path for path in tracked_files() if "test" in path.as_posix() and path.suffix in {".py", ".ts", ".tsx"}]
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tests
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if skips.search(line)
    ]
    assert wrong == [], "a test runs or is deleted"


def text_files() -> list[tuple[Path, str]]:
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data:
            found.append((path, data.decode("utf-8")))
    assert len(found) > 20
    return found


def test_nothing_is_left_to_do() -> None:
    left = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path, text in text_files()
        if path.suffix in {".py", ".ts", ".tsx", ".css", ".html", ".md", ".toml", ".sql", ".sh", ""} and path.name != "LICENSE"
        for number, line in enumerate(text.splitlines(), 1)
        if left.search(line)
    ]
    assert wrong == []


def test_no_file_names_a_path_of_a_machine() -> None:
    paths = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp/[a-z])/?\w*")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}"
        for path, text in text_files()
        if path != Path(__file__)
        for number, line in enumerate(text.splitlines(), 1)
        if (found := paths.search(line))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [
        *("constraints.txt", "pyproject.toml", "dashboard/package-lock.json", "dashboard/package.json"),
        *("tests/aws/kinesalite/package-lock.json", "tests/aws/kinesalite/package.json"),
    ],
)
def test_lock_files_and_requirements_hold_no_addresses(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith("package-lock.json"):
        packages = json.loads(text)["packages"]
        assert len(packages) > 10
        assert '"resolved"' not in text
        assert [
            path for path, package in packages.items() if path and "integrity" not in package and not package.get("link")
        ] == []
    else:
        assert re.findall(r"https?://\S+|--(?:extra-)?index-url.*|--find-links.*", text) == []


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile(r"(?:pypi|pythonhosted|npmjs|yarnpkg|npmmirror)\.(?:org|com)", re.IGNORECASE)
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if path != Path(__file__) and hosts.search(line)
    ]
    assert wrong == []


def test_constraints_pin_every_requirement_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 20
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*", line)] == []


@pytest.mark.parametrize("package", ["aws", "core", "local", "web"])
def test_the_docstring_of_a_large_package_is_a_map_of_its_modules(package: str) -> None:
    directory = SOURCE / package
    told = ast.get_docstring(ast.parse((directory / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = set(re.findall(r"\b[a-z][a-z_]*\b", told))
    modules = {path.stem for path in directory.glob("*.py")} - {"__init__"}
    assert modules - named == set(), f"say in tallystream/{package}/__init__.py where they belong"
    gone = {name for name in named if "_" in name} - modules - {"now_ms"}
    assert gone == set(), f"tallystream/{package}/__init__.py names them, and they are gone"
