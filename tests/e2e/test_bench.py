"""The benchmarks run: a small fleet is measured beside the floor, and the records say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e


def test_a_small_fleet_is_measured_beside_the_floor(tmp_path: Path) -> None:
    """One run of two tenants: records with figures, a table of 80 columns, and no folder left behind."""
    path = tmp_path / "results.json"
    command = ["-m", "bench", "--tenants", "2", "--cases", "up", "--rivals", "floor", "--runs", "1"]

    done = subprocess.run(
        [sys.executable, *command, "--results", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (record,) = json.loads(path.read_text())
    assert (record["case"], record["tenants"], record["delivery"]) == ("up", 2, "direct")
    # Two registrations, six Applications, two projects and the gate.
    assert (record["resources"], record["runs"], record["reference"]) == (11, 1, "plain floor: up")
    assert record["ratio"] == pytest.approx(record["seconds"] / record["reference_seconds"], abs=0.001)
    assert record["api_requests_by_verb"]["APPLY"] == 10
    assert min(record[key] for key in ("peak_memory_mib", "state_bytes", "cpu_s")) > 0
    lines = done.stdout.splitlines()
    assert "floor up" in lines[-1]
    assert max(map(len, lines)) <= 80
    folder = done.stderr.split(" measuring in ")[1].split(",")[0]
    assert not Path(folder).exists()
