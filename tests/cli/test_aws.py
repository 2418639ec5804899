"""`tally aws`: what it prints, and where."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tallystream.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tally.toml"
    assert CliRunner().invoke(main, ["init", str(path)]).exit_code == 0
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["aws", *map(str, arguments)])


def test_the_template_alone_is_on_standard_output(config: Path) -> None:
    result = run("template", "--config", config, "--batch-window", 7)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["Resources"]["CountSource"]["Properties"]["MaximumBatchingWindowInSeconds"] == 7
    assert 'tally: warning: alarm "donations-low": left out; ' in result.stderr


def test_the_template_goes_to_a_file(config: Path, tmp_path: Path) -> None:
    written = tmp_path / "stack.json"
    result = run("template", "--config", config, "--output", written)
    assert (result.exit_code, result.stdout) == (0, "")
    assert written.read_text(encoding="utf-8") == run("template", "--config", config).stdout


def test_a_file_that_cannot_be_written_is_told(config: Path, tmp_path: Path) -> None:
    result = run("template", "--config", config, "--output", tmp_path / "missing" / "stack.json")
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory; mend that" in result.stderr


def test_a_definition_that_aws_cannot_count_is_refused(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('# event_id = "id"', 'event_id = "id"'), encoding="utf-8")
    result = run("template", "--config", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "stream.event_id" in result.stderr


def test_the_cost_is_a_bill_with_its_assumptions(config: Path) -> None:
    result = run("cost", "--config", config, "--events-per-second", 100)
    assert result.exit_code == 0
    bill, _, assumptions = result.stdout.partition("\n\nassuming:\n")
    lines = [line.split() for line in bill.splitlines()]
    assert {line[0] for line in lines} == {"service", "Kinesis", "Lambda", "DynamoDB", "CloudWatch", "total"}
    assert float(lines[-1][-1].replace(",", "")) == pytest.approx(sum(float(line[-1]) for line in lines[1:-1]), abs=0.1)
    assert "- 100 events/s day and night" in assumptions


def test_prices_that_are_not_known_are_told(config: Path) -> None:
    result = run("cost", "--config", config, "--events-per-second", 1, "--region", "mars-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no prices of mars-1 are known; choose one of us-east-1" in result.stderr


def test_the_package_is_written_and_told(config: Path, tmp_path: Path) -> None:
    written = tmp_path / "package.zip"
    result = run("package", "--config", config, "--arch", "x86_64", "--output", written)
    assert result.exit_code == 0
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert result.stdout.endswith(f" files, {written.stat().st_size:,} bytes, sha256 {digest}\n")
