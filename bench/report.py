"""The figures for people: a table of 80 columns for terminals, and the tables of `bench/README.md`.

`python -m bench.report bench/results.json` writes the tables between the markers of the README, so that no figure is
typed by hand.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import results
from bench.results import Record

README: Final = Path(__file__).with_name("README.md")
BEGIN: Final = "<!-- figures: written by `python -m bench.report` -->"
END: Final = "<!-- end of figures -->"
WIDTH: Final = 80
_SHORT: Final[Mapping[str, str]] = {
    "plain floor: up": "floor up",
    "plain floor: preview --refresh": "floor preview -r",
    "plain floor: preview": "floor preview",
    "plain floor: destroy": "floor destroy",
    "kubectl apply --server-side": "kubectl apply",
    "kubectl diff --server-side": "kubectl diff",
    "ApplicationSet controller": "ApplicationSet",
    "PyYAML's C loader": "C loader",
    "raw LIST calls": "raw LISTs",
}


def table(records: Iterable[Record]) -> str:
    """Return the records as a table of 80 columns."""
    head = f"{'N':>5} {'DELIVERY':<8} {'CASE':<8} {'SECONDS':>7} {'+-':>4} {'MIB':>4} {'REQUESTS':>8}"
    lines = [f"{head} {'BESIDE':<15} {'SECONDS':>7} {'RATIO':>5}"]
    for each in records:
        reference = _SHORT.get(each["reference"], each["reference"])
        ours = (
            f"{each['tenants']:>5} {each.get('delivery', ''):<8} {each['case']:<8} {_number(each['seconds']):>7}"
            f" {_percent(each.get('spread')):>4} {_number(each.get('peak_memory_mib'), 0):>4}"
        )
        beside = (
            f"{reference[:15]:<15} {_number(each['reference_seconds']):>7} {_number(each['ratio'], 2):>5}"
        )
        lines.append(f"{ours} {each.get('api_requests', '-'):>8} {beside}")
        if words := each.get("failed"):
            lines.append(f"{'':>15}failed: {words}")
    return "\n".join(line[:WIDTH] for line in lines)


def markdown(records: Sequence[Record]) -> str:
    """Return the records as the tables of the README."""
    parts = [f"Measured on {machine(records)}. {_quiet(records)}\n"] if records else []
    for delivery, title in (
        ("direct", "Direct delivery"),
        ("platform", "Platform delivery"),
        ("", "Without a cluster"),
    ):
        found = [each for each in records if each.get("delivery", "") == delivery]
        if found:
            parts += [f"### {title}\n", _of_delivery(found), ""]
            parts += [text for table in (_waves(found), _growth(found)) if table for text in (table, "")]
    return "\n".join(parts).rstrip() + "\n"


def _quiet(records: Sequence[Record]) -> str:
    """Return whether the machine had something else to do."""
    busiest = max((each.get("load", 0.0) for each in records), default=0.0)
    if busiest < 1:
        return "Nothing else ran beside it."
    return f"**The machine was busy before (load {busiest:g}): CPU seconds say more than seconds.**"


def _of_delivery(records: Sequence[Record]) -> str:
    columns = (
        *("case", "tenants", "objects", "seconds", "spread", "memory MiB", "CPU s", "requests"),
        *("beside it", "its seconds", "its CPU s", "ratio", "runs"),
    )
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|--:" * 7 + "|---" + "|--:" * 4 + "|"]
    for each in sorted(records, key=lambda one: (list(results.CASES).index(one["case"]), one["tenants"])):
        cells = (
            results.CASES[each["case"]],
            each["tenants"],
            each.get("resources") or "",
            _number(each["seconds"]) if not each.get("failed") else f"`{each['failed']}`",
            _percent(each.get("spread")),
            _number(each.get("peak_memory_mib"), 0),
            _number(each.get("cpu_s")),
            each.get("api_requests", ""),
            each["reference"],
            _number(each["reference_seconds"]),
            _number(each.get("reference_cpu_s")),
            _number(each["ratio"], 2),
            each["runs"],
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    states = {
        each["tenants"]: each["state_bytes"] / each["resources"]
        for each in records
        if each.get("state_bytes") and each.get("resources")
    }
    if states:
        sizes = ", ".join(f"{size:,.0f} at {tenants:,}" for tenants, size in sorted(states.items()))
        lines += ["", f"State, bytes a resource: {sizes}."]
    return "\n".join(lines)


def _waves(records: Sequence[Record]) -> str:
    """Return how far the waves of each rollout were when."""
    lines = []
    for each in records:
        waves = [
            f"{wave['wave']} ({wave['tenants']}) {wave['written_s']} to {wave['live_s']}"
            for wave in each.get("waves", ())
        ]
        if waves:
            lines.append(f"| {each['tenants']} | {_number(each['deploy_seconds'])} | {', '.join(waves)} |")
    head = "| tenants | `up` until all are live | waves (tenants): seconds of the rollout, first written to all live |"
    return "\n".join([head, "|--:|--:|---|", *lines]) if lines else ""


def _growth(records: Sequence[Record]) -> str:
    """Return how the seconds grow with the tenants: by what factor from one size to the next."""
    seconds = {(each["case"], each["tenants"]): each["seconds"] for each in records if each["seconds"]}
    # Not all cases are measured at the same sizes.
    steps = sorted(
        {
            (one, two)
            for wanted in results.CASES
            for one, two in itertools.pairwise(sorted(size for case, size in seconds if case == wanted))
            if two >= 5 * one
        }
    )
    if not steps:
        return ""
    head = "| growth | " + " | ".join(f"{one:,} to {two:,} tenants" for one, two in steps) + " |"
    lines = [head, "|---" * (len(steps) + 1) + "|"]
    for case in results.CASES:
        factors = [
            f"x {seconds[case, two] / seconds[case, one]:.1f}"
            if (case, one) in seconds and (case, two) in seconds
            else ""
            for one, two in steps
        ]
        if any(factors):
            lines.append(f"| {case} | " + " | ".join(factors) + " |")
    return "\n".join(lines)


def machine(records: Sequence[Record] = ()) -> str:
    """Return the machine of the records, or this one."""
    for each in records:
        if found := each.get("machine"):
            return str(found)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}"
    )


def rewrite(readme: Path, records: Sequence[Record]) -> None:
    """Write the tables between the markers of the README.

    Raises:
        ValueError: it has no markers.
    """
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no lines `{BEGIN}` and `{END}`")
    readme.write_text(f"{head}{BEGIN}\n\n{markdown(records)}\n{END}{tail}", encoding="utf-8")


def _number(value: Any, digits: int = 1) -> str:
    if value is None:
        return "-"
    if digits == 1 and value >= 100:
        digits = 0
    if digits == 1 and value < 1:
        digits = 2
    return f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f}%"


def main() -> None:
    """Write the README's tables and print the one for terminals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--readme", type=Path, default=README)
    given = parser.parse_args()
    records = json.loads(given.results.read_text(encoding="utf-8"))
    rewrite(given.readme, records)
    print(table(records))


if __name__ == "__main__":
    main()
