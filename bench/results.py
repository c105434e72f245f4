"""The results: a list of records in a JSON file, one for each case, size, delivery and reference."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Record = dict[str, Any]

# In the order of the table.
CASES: Final[Mapping[str, str]] = {
    "up": "`pulumi up` from nothing",
    "preview": "no-op `pulumi preview` with live read",
    "change": "one line of a template for all tenants: `preview` + `up`",
    "drift": "5 % of the tenants edited by hand, put back by `up`",
    "add": "one tenant added, `up`",
    "remove": "one tenant removed, `up`",
    "destroy": "`pulumi destroy`",
    "validate": "`fleet validate`",
    "render": "`fleet render`",
    "status": "`fleet status`",
    "shards": "`fleet shards up`, four shards, from nothing",
    "rollback": "`fleet rollout` whose canary breaks: taken back",
    "rollout": "`fleet rollout` in three waves",
    "plain": "the plain dynamic-provider program itself, `up`",
}


def record(
    case: str,
    tenants: int,
    samples: Sequence[float],
    *,
    reference: str = "",
    reference_samples: Sequence[float] = (),
    **more: Any,
) -> Record:
    """Return the record of a case: medians of what was measured, side by side, and their ratio."""
    seconds, beside = median(samples), median(reference_samples)
    return {
        "case": case,
        "tenants": tenants,
        "seconds": seconds,
        "spread": spread(samples),
        "reference": reference,
        "reference_seconds": beside,
        "reference_spread": spread(reference_samples),
        "ratio": round(seconds / beside, 3) if seconds and beside else None,
        "runs": len(samples),
        "samples": [round(each, 3) for each in samples],
        "reference_samples": [round(each, 3) for each in reference_samples],
        **{name: value for name, value in more.items() if value is not None},
    }


def median(samples: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return round(statistics.median(samples), 3) if samples else None


def spread(samples: Sequence[float]) -> float | None:
    """Return how far apart the samples are, as a part of their median; None of fewer than two."""
    return round((max(samples) - min(samples)) / statistics.median(samples), 3) if len(samples) > 1 else None


def key(found: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a record is about."""
    return found["case"], found["tenants"], found.get("delivery", ""), found.get("reference", "")


def load(path: Path) -> list[Record]:
    """Return the records of a file, none where there is no file."""
    if not path.exists():
        return []
    found: list[Record] = json.loads(path.read_text(encoding="utf-8"))
    return found


def merge(path: Path, records: Iterable[Record]) -> None:
    """Put records into a file, each in the place of the one that was about the same, or about it and nothing beside."""
    new = list(records)
    alone = {(*key(each)[:-1], "") for each in new}
    merged = {key(each): each for each in (*(old for old in load(path) if key(old) not in alone), *new)}
    order = list(CASES)
    ordered = sorted(
        merged.values(),
        key=lambda each: (
            each["tenants"],
            each.get("delivery", ""),
            order.index(each["case"]),
            each["reference"],
        ),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
