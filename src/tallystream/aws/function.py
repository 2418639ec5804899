"""What a function finds around it: the definition, beside the code, where `tally aws package` put it, and settings."""

import os
from pathlib import Path
from typing import Final

import msgspec

from tallystream.aws.rows import Layout
from tallystream.core.definition import Definition

DEFINITION: Final = "definition.json"
"""Where the definition is in the package: JSON of a Definition, which takes no TOML and no checks to read."""


def read_definition() -> Definition:
    """Return the definition of the package."""
    path = Path(os.environ["LAMBDA_TASK_ROOT"]) / DEFINITION
    return msgspec.json.decode(path.read_bytes(), type=Definition)


def read_layout() -> Layout:
    """Return how counters are spread over rows."""
    return Layout(
        groups_max=int(os.environ.get("TALLY_GROUPS_MAX") or Layout().groups_max),
        write_shards=int(os.environ.get("TALLY_WRITE_SHARDS") or Layout().write_shards),
    )
