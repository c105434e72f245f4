"""Versions as charts have them: which of two is the older. Pure.

Semantic versions, as Helm reads them: a leading `v` says nothing, parts that lack are zero, a pre-release is older than
its release (`2.21.0-rc.1` < `2.21`), what follows a `+` does not count. Leading zeros, which calendars bring, are read
over. Anything else, a commit or a range, is no version to compare.
"""

from __future__ import annotations

import re
from typing import Final

from semver import Version

_ZEROS: Final = re.compile(r"(?<![\w.-])0+(?=\d)|(?<=\.)0+(?=\d)")


def parse_version(text: str) -> Version | None:
    """Return a version that can be compared, None where the text is none."""
    number, dash, rest = text.strip().removeprefix("v").partition("-")
    number, plus, build = number.partition("+")
    if plus:
        rest = f"{build}{dash}{rest}"
    plain = f"{_ZEROS.sub('', number)}{plus or dash}{rest}"
    try:
        return Version.parse(plain, optional_minor_and_patch=True)
    except ValueError:
        return None


def is_below(text: str, bound: str) -> bool | None:
    """Return whether a version is older than a bound; None where one of them cannot be compared."""
    version, limit = parse_version(text), parse_version(bound)
    return None if version is None or limit is None else version < limit
