"""What differs between two property bags of a resource, by path and as text; secrets are masked on the way in. Pure.

The engine masks what it knows to be secret. What it still marks is masked here, and of two values of one path, one of
which is secret, both are.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.definition.stack import secret_words

# The engine's own mask, and its protocol: a mapping with this key is a secret, an asset or a value not yet known.
MASK: Final = "[secret]"
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
KNOWN_LATER: Final = "[known after up]"
# Hashes of secrets, by which a change of one shows; it is said, and the hash is not.
_FINGERPRINTS: Final = ("fingerprint", "fingerprints")
# The provider's class and our mark: the same in every resource of a stack.
_LEFT_OUT: Final = frozenset({"__provider", "owner"})
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})

Path = tuple[str, ...]


class Absent:
    """Stands for the value of a property that is not there."""

    def __repr__(self) -> str:
        return "-"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One property that differs: its path in words, and its values before and after, `ABSENT` where there is none."""

    path: str
    before: Any
    after: Any

    def as_lines(self) -> list[str]:
        """Return it as the lines of a diff; of a text of several lines only those that differ and one around them."""
        if isinstance(self.before, str) and isinstance(self.after, str) and "\n" in self.before + self.after:
            return [f"  {self.path}:", *_text_lines(self.before, self.after)]
        lines = []
        if not isinstance(self.before, Absent):
            lines.append(f"- {self.path}: {written(self.before)}")
        if not isinstance(self.after, Absent):
            other = ", another one" if self.before == self.after == MASK else ""
            lines.append(f"+ {self.path}: {written(self.after)}{other}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data, without what is not there."""
        values = {"before": self.before, "after": self.after}
        return {
            "path": self.path,
            **{key: value for key, value in values.items() if not isinstance(value, Absent)},
        }


def masked(value: Any) -> Any:
    """Return a value as the engine printed it, with what is marked as secret or is not yet known replaced by words."""
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            return MASK
        return {str(key): masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return KNOWN_LATER if value == UNKNOWN else value


def hidden(data: Any, secrets: Iterable[str]) -> Any:
    """Return data in which no text holds any of these words: what the engine does not know to be secret."""
    words = sorted(secret_words(secrets), key=len, reverse=True)
    if not words:
        return data
    pattern = re.compile("|".join(map(re.escape, words)))

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(MASK, value)
        if isinstance(value, Mapping):
            return {hide(key): hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [hide(item) for item in value]
        # YAML makes a number of a word of digits.
        return MASK if not isinstance(value, bool) and str(value) in words else value

    return hide(data)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return what differs between two masked bags, in the order of the paths; an empty one is a resource not there."""
    return tuple(_between(_bag(before), _bag(after), ()))


def clean(text: str) -> str:
    """Return a text without what shows as nothing or as something else: controls, marks of direction."""
    return "".join(
        letter
        if letter in "\n\t" or unicodedata.category(letter) not in _INVISIBLE
        else f"\\u{ord(letter):04x}"
        for letter in text
    )


def written(value: Any) -> str:
    """Return a value as one line."""
    if value in (MASK, KNOWN_LATER):
        return str(value)
    return clean(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _bag(bag: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in bag.items() if key not in _LEFT_OUT}


def _between(before: Any, after: Any, path: Path) -> Iterator[Difference]:
    if before == after:
        return
    if MASK in (before, after) or (path and path[0] in _FINGERPRINTS and not _both_mappings(before, after)):
        secret = [ABSENT if isinstance(value, Absent) else MASK for value in (before, after)]
        yield Difference(_words(path), *secret)
        return
    parts = _parts(before), _parts(after)
    alike = type(before) is type(after)
    if any(part is not None for part in parts) and (alike or ABSENT in (before, after)):
        old, new = ({} if part is None else part for part in parts)
        if not (old or new):
            yield Difference(_words(path), before, after)
        for key in sorted({*old, *new}, key=_in_order):
            yield from _between(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
        return
    yield Difference(_words(path), before, after)


def _both_mappings(before: Any, after: Any) -> bool:
    return all(isinstance(value, Mapping | Absent) for value in (before, after))


def _parts(value: Any) -> dict[str, Any] | None:
    """Return the parts of a value by what they are compared by, None where it has none."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, list):
        return None
    named = [item.get("name") if isinstance(item, Mapping) else None for item in value]
    if value and all(isinstance(name, str) for name in named) and len(set(named)) == len(named):
        return {f"[{name}]": item for name, item in zip(named, value, strict=True)}
    return {f"[{number}]": item for number, item in enumerate(value)}


def _in_order(key: str) -> tuple[int, int, str]:
    """Return what keys are sorted by: the items of a list by number."""
    number = key[1:-1] if key.startswith("[") else ""
    return (1, int(number), "") if number.isdigit() else (0, 0, key)


def _words(path: Path) -> str:
    words = ""
    for part in path:
        if part.startswith("["):
            words += clean(part)
        elif _PLAIN_KEY.fullmatch(part):
            words += f"{'.' if words else ''}{part}"
        else:
            words += f"[{written(part)}]"
    return words


def _text_lines(before: str, after: str) -> Iterator[str]:
    found: Sequence[str] = list(
        difflib.unified_diff(clean(before).splitlines(), clean(after).splitlines(), n=1, lineterm="")
    )
    for line in found[2:]:
        yield line if line.startswith("@@") else f"{line[:1]}     {line[1:]}".rstrip()
