"""
Writes constraints.txt: the exact version of everything that running, testing and building needs.

Run by `make lock` with the oldest Python that the project supports, since newer ones need fewer backports. Only names and
versions are written, no addresses: every machine asks its own package registry.
"""

import json
import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make lock`: the exact version of everything, for .venv. Do not edit; change pyproject.toml instead.\n"


def main() -> None:
    """Resolve the newest versions that fit pyproject.toml, without installing them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], "pip"]
    for group in project["dependency-groups"].values():
        wanted += group
    # The builder has it only where the machine has no Node, so no resolve would find it everywhere.
    source = (ROOT / "hatch_build.py").read_text()
    wanted.append(source.split('NODE_REQUIREMENT = "', 1)[1].split('"', 1)[0])
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        pip = [f"{directory}/bin/python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        report = f"{directory}/report.json"
        subprocess.run([*pip, "--dry-run", "--ignore-installed", "--report", report, *wanted], check=True)
        installed = json.loads(Path(report).read_text())["install"]
    pins = sorted(f"{item['metadata']['name'].lower().replace('_', '-')}=={item['metadata']['version']}" for item in installed)
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(pins) + "\n")
    print(f"constraints.txt: {len(pins)} packages")


if __name__ == "__main__":
    main()
