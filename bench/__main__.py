"""`python -m bench`: measure a seeded fleet beside the floor and the rivals, and merge the records into a file."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import results, rollouts
from bench.definitions import DELIVERIES
from bench.lifecycle import DAY, RIVALS, SHARDED, Lifecycle
from bench.recorder import OFFLINE, Choice
from bench.report import machine, table
from bench.scene import Scene, say
from fleet.sandbox import toolchain

TOOLS: Final = (
    "etcd",
    "kube-apiserver",
    "pulumi",
    "pulumi-language-python",
    "helm",
    "argocd",
    "redis-server",
    "kubectl",
)
QUICK: Final = ("up", "preview", "change", "destroy", "validate", "render", "status")


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure a seeded fleet of N tenants with three applications each, in one run with the plain floor"
        " and the rivals. Records are merged into the results file after every case; progress goes to stderr.",
    )
    parser.add_argument("--tenants", type=int, nargs="+", default=[100], metavar="N", help="how many (100)")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=[*results.CASES],
        default=[*results.CASES],
        metavar="CASE",
        help=f"any of: {', '.join(results.CASES)} (all). `up` happens with any"
        f" but {', '.join((*OFFLINE, SHARDED, *rollouts.CASES))}",
    )
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=RIVALS,
        default=[*RIVALS],
        metavar="RIVAL",
        help=f"any of: {', '.join(RIVALS)} (all)",
    )
    parser.add_argument("--delivery", choices=[*DELIVERIES, "both"], default="direct")
    parser.add_argument("--runs", type=int, default=3, help="medians are over so many (3)")
    parser.add_argument("--results", type=Path, default=Path("bench/results.json"), metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="leave out what the file has with as many runs")
    parser.add_argument(
        "--quick", action="store_true", help="one run of the main cases, the floor alone beside"
    )
    parser.add_argument("--keep", action="store_true", help="keep the working folder, with all logs")
    return parser.parse_args()


def main() -> int:
    """Measure and return the exit code."""
    # In the background of a script it is ignored, and by all that is started there: then the engine, which ends its
    # plugins by it, waits five seconds in each command before it kills them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = arguments()
    runs, cases, rivals = given.runs, frozenset(given.cases), frozenset(given.rivals)
    if given.quick:
        runs, cases, rivals = 1, cases & set(QUICK), rivals & {"floor"}
    needed = [name for name in TOOLS if name != "kubectl" or "kubectl" in rivals]
    toolchain.ensure(needed)
    began, load = time.monotonic(), round(os.getloadavg()[0], 2)
    deliveries = DELIVERIES if given.delivery == "both" else (given.delivery,)
    folder = Path(tempfile.mkdtemp(prefix="fleet-bench-"))
    say(f"measuring in {folder}, on {machine()}")
    for tenants in given.tenants:
        choices = {}
        for number, delivery in enumerate(deliveries):
            # They are the same files for both, but for a few lines.
            wanted = cases - set(OFFLINE) if number else cases
            if given.resume:
                wanted -= _measured(given.results, tenants, delivery, runs)
            choices[delivery] = Choice(wanted, rivals, runs, given.results, load)
        days = {
            delivery: choice for delivery, choice in choices.items() if choice.wants(*DAY, *OFFLINE, SHARDED)
        }
        if days:
            # A store of its own for each size: nothing of one weighs on the next.
            with Scene(folder / str(tenants), given.keep, "applicationset" in rivals) as scene:
                for delivery, choice in days.items():
                    Lifecycle(scene=scene, choice=choice, tenants=tenants, delivery=delivery).measure_all()
        direct = choices.get("direct")
        if direct and direct.wants(*rollouts.CASES):
            rollouts.Rollouts(choice=direct, tenants=tenants, delivery="direct").measure_all(
                folder, keep=given.keep
            )
    if not given.keep:
        shutil.rmtree(folder)
    say(f"done after {time.monotonic() - began:.0f} s")
    asked = [
        each
        for each in results.load(given.results)
        if each["tenants"] in given.tenants and each["case"] in cases
    ]
    print(table(asked))
    return 0


def _measured(path: Path, tenants: int, delivery: str, runs: int) -> set[str]:
    """Return the cases that a file of results has, with as many runs."""
    return {
        each["case"]
        for each in results.load(path)
        if each["tenants"] == tenants
        and each.get("delivery", "") in ("", delivery)
        and (each["runs"] >= runs or each.get("failed"))
    }


assert {*DAY, *OFFLINE, SHARDED, *rollouts.CASES} == {*results.CASES}

if __name__ == "__main__":
    sys.exit(main())
