"""Credentials by reference: what a property bag says of one, and the text that it stands for in this process.

State holds where a credential comes from, never what it is, so that a rotated one touches no resource.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleet import names
from fleet.providers.refused import Refused

_STALE = "a refresh has the config of the last update: where it was set since, add `--run-program`"


def resolve(reference: Mapping[str, Any], config: Callable[[str], Any]) -> str:
    """Return the credential of a reference: `{"config": KEY}`, `{"env": NAME}`, `{"file": PATH}` or `{"value": TEXT}`.

    A relative path is one below the project's folder, where Pulumi starts its providers.

    Raises:
        Refused: there is none; no value is ever in the message.
    """
    if key := reference.get("config"):
        name = f"{names.CONFIG_NAMESPACE}:{key}"
        text = config(name)
        if text in (None, ""):
            raise Refused(
                f"the stack's config has no `{name}`", f"run `pulumi config set --secret {name}`; {_STALE}"
            )
        return str(text)
    if variable := reference.get("env"):
        found = os.environ.get(variable)
        if not found:
            raise Refused(f"the environment variable `{variable}` is not set", f"export `{variable}`")
        return found
    if path := reference.get("file"):
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Refused(
                f"the file `{path}` cannot be read: {reason}", "make it readable to this process"
            ) from error
    if isinstance(reference.get("value"), str):
        return str(reference["value"])
    raise Refused(f"a credential is given by {', '.join(sorted(reference)) or 'nothing'}, which is no way to")


__all__ = ["resolve"]
