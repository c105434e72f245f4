"""The provider process's one connection: client, live cache, and the clocks that its threads share.

Pulumi hands the stack's config to every provider by `configure`; the connection is made by the first verb that needs
one, so that a preview of a new stack needs none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.clients.live import DEFAULT_MAX_MISSING, Live

# For all tenants that one run deletes together: longer waits are the business of what the tenants depend on.
DELETE_BUDGET_S: Final = 120.0
RELEASE_TIMEOUT_S: Final = 300.0
FIRST_PAUSE_S: Final = 1.0
LAST_PAUSE_S: Final = 5.0


class Refused(Exception):  # noqa: N818  # it is no failure: the program declines, and says the way out
    """An action that would touch what this stack does not own, or break what depends on it."""

    def __init__(self, message: str, help: str = "") -> None:  # noqa: A002  # the word that every report of ours uses
        """Take what is refused and the way out."""
        super().__init__(f"{message}\nhelp: {help}" if help else message)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the stack's config says about the connection."""

    kubeconfig: str | None = None
    context: str | None = None
    max_missing: int = DEFAULT_MAX_MISSING
    release_timeout_s: float = RELEASE_TIMEOUT_S

    @classmethod
    def read(cls, get: Callable[[str], Any]) -> Settings:
        """Return the settings from a config's `get`.

        Raises:
            Refused: a number that is none.
        """
        return cls(
            kubeconfig=get("fleet:kubeconfig") or None,
            context=get("fleet:context") or None,
            max_missing=int(_number(get, "fleet:maxMissing", DEFAULT_MAX_MISSING)),
            release_timeout_s=_number(get, "fleet:releaseTimeout", RELEASE_TIMEOUT_S),
        )


def _number(get: Callable[[str], Any], key: str, default: float) -> float:
    value = get(key)
    try:
        return default if value in (None, "") else float(value)
    except (TypeError, ValueError) as error:
        raise Refused(f"`{key}` is not a number", f"run `pulumi config set {key} {default:g}`") from error


class Session:
    """One client, its live cache, and the deadline that all deletions of tenants share."""

    def __init__(
        self, kubernetes: Kubernetes, settings: Settings, *, delete_budget_s: float = DELETE_BUDGET_S
    ) -> None:
        """Take the client and the settings."""
        self.kubernetes = kubernetes
        self.settings = settings
        self.live = Live(kubernetes, max_missing=settings.max_missing)
        self._delete_budget_s = delete_budget_s
        self._delete_deadline: float | None = None
        self._lock = threading.Lock()

    def delete_deadline(self) -> float:
        """Return when waiting for deleted tenants ends: a budget that starts with the first deletion of the run."""
        with self._lock:
            if self._delete_deadline is None:
                self._delete_deadline = time.monotonic() + self._delete_budget_s
            return self._delete_deadline

    def objects(self, api_version: str, kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return a kind's live objects for a waiting thread: fresh, and shared with the other waiting ones."""
        return self.live.poll(api_version, kind, namespace, max_age_s=FIRST_PAUSE_S / 2)


class _Connection:
    """Holds the process's session; replaced as a whole when the settings change, which only tests do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.settings = Settings()
        self.session: Session | None = None


_CONNECTION: Final = _Connection()


def configure(settings: Settings) -> None:
    """Set what the next session connects to; the same settings keep the one there is."""
    with _CONNECTION.lock:
        if settings != _CONNECTION.settings:
            _CONNECTION.settings, _CONNECTION.session = settings, None


def use(session: Session | None) -> None:
    """Put a session in place of the one that config would make; for tests."""
    with _CONNECTION.lock:
        _CONNECTION.session = session


def session() -> Session:
    """Return the process's session, connecting on the first call.

    Raises:
        RemoteError: the kubeconfig cannot be used.
        Refused: likewise, with settings that may not be the stack's latest.
    """
    with _CONNECTION.lock:
        if _CONNECTION.session is None:
            settings = _CONNECTION.settings
            _CONNECTION.session = Session(_connect(settings), settings)
        return _CONNECTION.session


def _connect(settings: Settings) -> Kubernetes:
    try:
        return Kubernetes.connect(settings.kubeconfig, settings.context)
    except RemoteError as error:
        if settings.kubeconfig is None and settings.context is None:
            raise
        # Pulumi refreshes and destroys with the config that the last update recorded, unless the program runs first.
        raise Refused(f"{error}; where the last update had other settings, add `--run-program`") from error


def wait_until(done: Callable[[], bool], deadline: float) -> bool:
    """Ask until the answer is yes or the deadline has passed, at growing intervals; return the last answer.

    Failures that may pass are no answer; once the deadline has passed, and for others at once, they are raised.
    """
    pause = FIRST_PAUSE_S
    while True:
        try:
            if done():
                return True
        except RemoteError as error:
            if not error.transient or time.monotonic() >= deadline:
                raise
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LAST_PAUSE_S)
