"""The benchmarks run: a small fleet is measured beside the floor, and the records say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e


def bench(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], list[Any]]:
    """Return one run of the benchmarks, which must succeed, and its records."""
    path = folder / "results.json"
    command = [sys.executable, "-m", "bench", "--runs", "1", "--results", str(path), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done, json.loads(path.read_text())


def test_a_small_fleet_is_measured_beside_the_floor(tmp_path: Path) -> None:
    """One run of two tenants: records with figures, a table of 80 columns, and no folder left behind."""
    done, (record,) = bench(tmp_path, "--tenants", "2", "--cases", "up", "--rivals", "floor")

    assert (record["case"], record["tenants"], record["delivery"]) == ("up", 2, "direct")
    # Two registrations, six Applications, two projects, guard and gate.
    assert (record["resources"], record["runs"], record["reference"]) == (12, 1, "plain floor: up")
    assert record["ratio"] == pytest.approx(record["seconds"] / record["reference_seconds"], abs=0.001)
    assert record["api_requests_by_verb"]["APPLY"] == 10
    assert min(record[key] for key in ("peak_memory_mib", "state_bytes", "cpu_s")) > 0
    lines = done.stdout.splitlines()
    assert "floor up" in lines[-1]
    assert max(map(len, lines)) <= 80
    folder = done.stderr.split(" measuring in ")[1].split(",")[0]
    assert not Path(folder).exists()


@pytest.mark.argocd
def test_a_rollout_is_measured_wave_by_wave_and_so_is_one_that_is_taken_back(tmp_path: Path) -> None:
    """Before a real Argo CD: no wave begins before the one before it is live."""
    _, (back, through) = bench(tmp_path, "--tenants", "4", "--cases", "rollback", "rollout")

    assert (back["case"], through["case"]) == ("rollback", "rollout")
    assert back["seconds"] > back["gate_timeout_s"]
    assert through["reference"] == "Argo CD alone, all at once"
    waves = through["waves"]
    assert (waves[0]["wave"], waves[-1]["wave"]) == ("canary", "rest")
    assert sum(wave["tenants"] for wave in waves) == 4
    assert [wave["live_s"] for wave in waves] == sorted(wave["live_s"] for wave in waves)
