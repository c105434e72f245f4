"""Runs over all stacks of a sharded fleet: in order, side by side, and one report of all.

The platform layer comes first and goes last. An `up` previews every stack before it touches any of them, so that a
refusal of one keeps all as they are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fleet.engine import Failure, Runs
from fleet.sharding.printed import Printed
from fleet.sharding.stacks import ShardStack

Told = Callable[[str, str], object]
"""What takes a line of progress: the stack's name, and the line."""

_SHOWN: Final = 50


class Result(StrEnum):
    """How a stack's run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackReport:
    """What became of one stack."""

    stack: ShardStack
    result: Result
    counts: Counter[str] = field(default_factory=Counter)
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    deleted: tuple[tuple[str, str], ...] = ()
    """Kind and name of what it deleted, or would."""

    def with_later(self, later: StackReport) -> StackReport:
        """Return this report and that of a second run of the same stack as one."""
        return StackReport(
            stack=self.stack,
            result=later.result,
            # What stayed the same did so in both.
            counts=self.counts
            + Counter({key: count for key, count in later.counts.items() if key != "same"}),
            failures=(*self.failures, *later.failures),
            seconds=self.seconds + later.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of all stacks by one command, in the order of the stacks."""

    command: str
    base: str
    stacks: tuple[StackReport, ...]
    seconds: float
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Return whether every stack's run has succeeded."""
        return all(each.result is Result.SUCCEEDED for each in self.stacks)

    @property
    def counts(self) -> Counter[str]:
        """Return how many resources were created, updated, ... in all stacks."""
        return sum((each.counts for each in self.stacks), Counter())

    @property
    def changes(self) -> int:
        """Return how many resources differ, or were changed."""
        return sum(count for word, count in self.counts.items() if word not in ("same", "error"))

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "command": self.command,
            "stack": self.base,
            "ok": self.ok,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 1),
            "counts": dict(sorted(self.counts.items())),
            "failures": [
                {"stack": each.stack.name, "resource": failure.resource, "message": failure.message}
                for each in self.stacks
                for failure in each.failures
            ],
            "stacks": [
                {
                    "stack": each.stack.name,
                    "shard": each.stack.shard.value,
                    "result": each.result,
                    "seconds": round(each.seconds, 1),
                    "counts": dict(sorted(each.counts.items())),
                }
                for each in self.stacks
            ],
        }

    def as_lines(self) -> list[str]:
        """Return the report as text: failures with their messages first, then a line for each stack and for all."""
        lines = []
        told: dict[tuple[str, str], list[str]] = {}
        for each in self.stacks:
            for failure in each.failures:
                told.setdefault((failure.resource, failure.message), []).append(each.stack.name)
        # What is wrong with the definition, every stack says.
        for (resource, message), stacks in list(told.items())[:_SHOWN]:
            where = f"{', '.join(stacks)}: {resource}" if resource else ", ".join(stacks)
            lines += [f"{where}:", *(f"  {line}" for line in message.splitlines())]
        if len(told) > _SHOWN:
            lines.append(f"and {len(told) - _SHOWN} more")
        lines += [""] if lines else []
        rows = [(each.stack.name, str(each.result), each.counts, each.seconds) for each in self.stacks]
        result = "interrupted" if self.interrupted else "succeeded" if self.ok else "failed"
        rows.append(("all", result, self.counts, self.seconds))
        width = max(len(name) for name, *_ in rows)
        lines += [
            f"{name:<{width}}  {how:<11}  {seconds:6.1f} s  {words_of(counts)}".rstrip()
            for name, how, counts, seconds in rows
        ]
        return lines


def words_of(counts: Counter[str]) -> str:
    """Return counts in words."""
    words = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced"}
    words |= {"error": "failed", "same": "unchanged"}
    return ", ".join(f"{counts[key]} {word}" for key, word in words.items() if counts[key])


def preview(base: str, stacks: Sequence[ShardStack], runs: Runs, jobs: int, told: Told) -> Report:
    """Return what would change in every stack: nothing is touched."""
    began = time.monotonic()
    found = _together(("preview",), stacks, runs, jobs, told)
    return _report("preview", base, found, began, runs)


def up(base: str, stacks: Sequence[ShardStack], runs: Runs, jobs: int, told: Told) -> Report:
    """Bring the platform layer up and then the shards, once the previews of all have succeeded.

    What the platform layer no longer needs is still used by the shards until they are up: it is deleted after them.
    """
    began = time.monotonic()
    previews = _together(("preview",), stacks, runs, jobs, told)
    if any(each.result is not Result.SUCCEEDED for each in previews):
        # Nothing was touched, so nothing was created either, whatever the previews counted.
        found = [
            each
            if each.failures
            else StackReport(stack=each.stack, result=Result.NOT_RUN, seconds=each.seconds)
            for each in previews
        ]
        return _report("up", base, found, began, runs)
    update = ("up", "--yes", "--skip-preview")
    layer, shards = stacks[0], stacks[1:]
    late = previews[0].deleted
    exclude = [word for kind, name in late for word in ("--exclude", f"**:{kind}::{name}")]
    first = _one((*update, *exclude), layer, runs, told)
    if first.result is not Result.SUCCEEDED:
        return _report("up", base, [first, *map(_not_run, shards)], began, runs)
    found = _together(update, shards, runs, jobs, told)
    if late and all(each.result is Result.SUCCEEDED for each in found):
        first = first.with_later(_one(update, layer, runs, told))
    elif late:
        first = StackReport(
            stack=layer,
            result=Result.FAILED,
            counts=first.counts,
            seconds=first.seconds,
            failures=(
                Failure("", f"{len(late)} objects stay until all shards are up: shards still use them"),
            ),
        )
    return _report("up", base, [first, *found], began, runs)


def destroy(base: str, stacks: Sequence[ShardStack], runs: Runs, jobs: int, told: Told) -> Report:
    """Destroy the shards and, once all of them are gone, the platform layer."""
    began = time.monotonic()
    command = ("destroy", "--yes", "--skip-preview")
    shards = [each for each in stacks if not each.is_platform]
    found = _together(command, shards, runs, jobs, told)
    gone = all(each.result is Result.SUCCEEDED for each in found)
    layers = [each for each in stacks if each.is_platform]
    first = [_one(command, each, runs, told) if gone else _not_run(each) for each in layers]
    return _report("destroy", base, [*first, *found], began, runs)


def _together(
    command: tuple[str, ...], stacks: Sequence[ShardStack], runs: Runs, jobs: int, told: Told
) -> list[StackReport]:
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return list(pool.map(lambda stack: _one(command, stack, runs, told), stacks))


def _one(command: tuple[str, ...], stack: ShardStack, runs: Runs, told: Told) -> StackReport:
    began, printed = time.monotonic(), Printed()

    def take(line: str) -> None:
        if news := printed.take(line):
            told(stack.name, news)

    code = runs.run(*command, "--stack", stack.name, told=take)
    if code is None:
        return _not_run(stack)
    failures = printed.failures
    if code and not failures:
        failures = (Failure("", f"`pulumi {command[0]}` ended with exit code {code}"),)
    ended = Result.FAILED if code else Result.SUCCEEDED
    return StackReport(
        stack=stack,
        # Pulumi ends with 0 when it has left the rest undone because it was told to.
        result=Result.INTERRUPTED if runs.interrupted else ended,
        counts=printed.counts,
        failures=failures if code else (),
        seconds=time.monotonic() - began,
        deleted=tuple(dict.fromkeys(printed.deleted)),
    )


def _not_run(stack: ShardStack) -> StackReport:
    return StackReport(stack=stack, result=Result.NOT_RUN)


def _report(command: str, base: str, found: Sequence[StackReport], began: float, runs: Runs) -> Report:
    return Report(
        command=command,
        base=base,
        stacks=tuple(found),
        seconds=time.monotonic() - began,
        interrupted=runs.interrupted,
    )
