"""The `pulumi` program, as the commands of `fleet` start it: in the project's folder, for one stack.

No secret passes through its arguments or its environment, and none that it prints is shown.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Final

from fleet.refused import Refused

# Without intermediate checkpoints the state is written once, at the end, and not anew around every step. A run that is
# killed forgets what it did; the next one adopts it by its mark. A value of the user's own comes first.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "PULUMI_SKIP_CHECKPOINTS": "true",
    "PULUMI_SKIP_UPDATE_CHECK": "true",
}
ANSWER_S: Final = 60.0


def environment() -> dict[str, str]:
    """Return the environment that `pulumi` is started in: this process's own, with our defaults below it."""
    return {**ENVIRONMENT, **os.environ}


def ask(*arguments: str, what: str, cure: str, timeout_s: float = ANSWER_S) -> str:
    """Return what a `pulumi` command that changes nothing printed; `what` and `cure` are for the message of a failure.

    Raises:
        Refused: it did not start, failed, or gave no answer in time; with Pulumi's words.
    """
    command = ["pulumi", *arguments, "--non-interactive"]
    try:
        done = subprocess.run(  # noqa: S603 — the user's own program, found on PATH as the user finds it
            command,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no answer within {timeout_s:g} s"
        raise Refused(f"{what}: {reason}", cure) from None
    if done.returncode:
        raise Refused(f"{what}: {' '.join(done.stderr.split()).removeprefix('error: ')}", cure)
    return done.stdout
