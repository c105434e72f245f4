"""Faults on request: requests that fail, hang or lose their answer, agents that never connect. Thread-safe."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """What happens to a request."""

    RATE_LIMIT = "rate-limit"
    """429 with the edge's HTML, and `Retry-After` where the fault has one."""
    BAD_GATEWAY = "bad-gateway"
    """502 (or `status`) with the edge's HTML."""
    FORBIDDEN = "forbidden"
    """403, code 7."""
    HANG = "hang"
    """No answer at all."""
    RESET = "reset"
    """The connection is cut."""
    SLOW = "slow"
    """The usual answer, `delay_s` later."""
    CUT_STREAM = "cut-stream"
    """A stream whose last part is an error."""
    ERROR = "error"
    """The API's own error with `code` and `message`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next `times` requests (to all of them: None) with that method and path.

    `path` is a regular expression that is looked for in the path. With `after` the request is carried out first
    and only its answer is lost.
    """

    kind: FaultKind
    times: int | None = 1
    method: str = ""
    path: str = ""
    after: bool = False
    retry_after_s: int | None = None
    delay_s: float = 1.0
    status: int = 502
    code: int = 14
    message: str = "injected by the stand-in"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Fault:
        """Return the fault that a JSON object describes.

        Raises:
            ValueError: it describes none.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"a fault has no `{unknown[0]}`")
        try:
            fault = cls(**{**data, "kind": FaultKind(data.get("kind", ""))})
            re.compile(fault.path)
        except (TypeError, re.error) as error:
            raise ValueError(str(error)) from error
        return fault

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is meant."""
        return (not self.method or self.method == method) and re.search(self.path, path) is not None


class Faults:
    """What is to fail at present."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._silent: frozenset[str] = frozenset()
        self._failing: Mapping[str, str] = {}

    def add(self, *faults: Fault) -> None:
        """Let these happen as well."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._faults, self._silent, self._failing = [], frozenset(), {}

    def take(self, method: str, path: str) -> Fault | None:
        """Return what happens to a request, counting it."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fault.matches(method, path):
                    continue
                if fault.times is not None:
                    left = fault.times - 1
                    self._faults[index : index + 1] = [replace(fault, times=left)] if left else []
                return fault
            return None

    def silence_agents(self, names: Iterable[str]) -> None:
        """Let the agents of these clusters never connect (`*` is every one), and all others again."""
        with self._lock:
            self._silent = frozenset(names)

    def fail_reconciliation(self, messages: Mapping[str, str]) -> None:
        """Let the reconciliation of these clusters (`*` is every one) fail with a message, and all others pass."""
        with self._lock:
            self._failing = dict(messages)

    def is_silent(self, cluster: str) -> bool:
        """Return whether a cluster's agent is not to connect."""
        with self._lock:
            return bool(self._silent & {cluster, "*"})

    def failure(self, cluster: str) -> str:
        """Return the message with which a cluster's reconciliation is to fail, "" when it is not."""
        with self._lock:
            return self._failing.get(cluster) or self._failing.get("*") or ""

    def describe(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        with self._lock:
            return {
                "requests": [asdict(fault) for fault in self._faults],
                "silentAgents": sorted(self._silent),
                "failingReconciliations": dict(self._failing),
            }
