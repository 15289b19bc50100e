"""The repository's Locust file against a real hub, for some seconds: it runs, and nothing that it asks for fails."""

import csv
import os
import pathlib
import subprocess
import sys

from conftest import Running

LOCUSTFILE = pathlib.Path(__file__).parents[3] / "testbed" / "bench" / "locustfile.py"


def test_people_read_a_hub(hub: Running, node: str, tmp_path: pathlib.Path) -> None:
    command: list[str | pathlib.Path] = [sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless", "-u", "5", "-r", "5", "-t", "5s"]
    command += ["--csv", tmp_path / "run", "--only-summary"]
    ran = subprocess.run(command, env=os.environ | {"SENTINEL_CONTEXT": str(hub.context)}, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    with open(tmp_path / "run_stats.csv", newline="") as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert int(rows["Aggregated"]["Failure Count"]) == 0, ran.stderr
    assert {"/api/v1/nodes?limit=50", "/api/v1/policies"} <= rows.keys()
