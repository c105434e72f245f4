"""What was measured of one size and delivery: samples by case, and the records that are made of them."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from bench import results
from bench.measure import Measured
from bench.report import machine
from bench.scene import say

# What needs no cluster, and so is the same for both deliveries.
OFFLINE: Final = ("validate", "render")


@dataclass(frozen=True)
class Choice:
    """What is measured: cases, rivals, how often, and where the records go."""

    cases: frozenset[str]
    rivals: frozenset[str]
    runs: int
    path: Path
    # What the machine did before anything was measured: with more than a little, seconds say nothing.
    load: float = 0.0

    def wants(self, *cases: str) -> bool:
        """Return whether any of the cases is asked for."""
        return any(case in self.cases for case in cases)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a reference took; the processor time of one that is no command of ours is not known."""

    seconds: float
    cpu_s: float | None = None

    @classmethod
    def of(cls, taken: Measured) -> Self:
        """Return what a command took."""
        return cls(taken.seconds, taken.cpu_s)


@dataclass
class Samples:
    """What was measured of one case, and of each of its references beside it."""

    ours: list[Measured] = field(default_factory=list)
    beside: dict[str, list[Beside]] = field(default_factory=lambda: defaultdict(list))
    requests: list[dict[str, int]] = field(default_factory=list)
    servers: list[dict[str, float]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Recorder:
    """Keeps what is measured of one size and delivery, and writes it after each sample."""

    choice: Choice
    tenants: int
    delivery: str
    resources: int = 0
    samples: dict[str, Samples] = field(default_factory=lambda: defaultdict(Samples))

    def take(self, case: str, taken: Measured) -> None:
        """Keep what a command took."""
        self.samples[case].ours.append(taken)
        say(f"  {case}: {taken.seconds:.1f} s, {taken.peak_memory_mib:.0f} MiB")
        self.write()

    def beside(self, case: str, reference: str, taken: Beside) -> None:
        """Keep what a reference took."""
        self.samples[case].beside[reference].append(taken)
        say(f"  {case}: {reference}: {taken.seconds:.1f} s")
        self.write()

    def write(self) -> None:
        """Write what was measured until now."""
        results.merge(self.choice.path, self.records())

    def records(self) -> list[results.Record]:
        """Return the records of what was measured until now, one for each case and reference."""
        found = []
        for case, samples in self.samples.items():
            if case not in self.choice.cases or not (samples.ours or samples.more.get("failed")):
                continue
            more = {
                "delivery": "" if case in OFFLINE else self.delivery,
                "resources": self.resources,
                **costs(samples.ours),
                **_requests(samples),
                **samples.more,
                "machine": machine(),
                "load": self.choice.load,
            }
            seconds = [each.seconds for each in samples.ours]
            for reference, beside in (samples.beside or {"": []}).items():
                known = [each.cpu_s for each in beside if each.cpu_s is not None]
                found.append(
                    results.record(
                        case,
                        self.tenants,
                        seconds,
                        reference=reference,
                        reference_samples=[each.seconds for each in beside],
                        reference_cpu_s=results.median(known),
                        **more,
                    )
                )
        return found


def bin_path(name: str) -> str:
    """Return the path of a program of this environment."""
    return str(Path(sys.executable).with_name(name))


def costs(taken: Sequence[Measured]) -> dict[str, Any]:
    """Return what measured commands cost beside their time: the median of processor time, the largest memory."""
    if not taken:
        return {}
    programs: dict[str, dict[str, float]] = {}
    for name, process in taken[-1].processes.items():
        if process.cpu_s >= 0.1:
            programs[name] = {"cpu_s": round(process.cpu_s, 2), "peak_rss_mib": round(process.peak_rss_mib)}
    return {
        "cpu_s": results.median([each.cpu_s for each in taken]),
        "peak_memory_mib": round(max(each.peak_memory_mib for each in taken), 1),
        "processes": programs,
    }


def _requests(samples: Samples) -> dict[str, Any]:
    if not samples.requests:
        return {}
    last = Counter(samples.requests[-1])
    found: dict[str, Any] = {"api_requests": last.total(), "api_requests_by_verb": dict(last)}
    if samples.servers:
        found["server_cpu_s"] = {name: round(value, 2) for name, value in samples.servers[-1].items()}
    return found
