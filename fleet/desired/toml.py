"""TOML as Go's BurntSushi encoder writes it, which is what `toToml` gives in a template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


def to_toml(data: Mapping[str, Any]) -> str:
    """Return a map as TOML: keys sorted, plain values before tables, tables indented by their depth.

    Raises:
        ValueError: a list holds nothing, which TOML has no word for.
    """
    text = "".join(f"{line}\n" for line in table_lines(data, ()))
    return text.removeprefix("\n")


def table_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table, those of the tables below it last."""
    indent = "  " * len(path)
    below = []
    for key, value in sorted(table.items()):
        if value is None:
            continue
        if isinstance(value, Mapping) or is_tables(value):
            below.append((key, value))
        else:
            yield f"{indent}{quoted_key(key)} = {inline(value)}"
    for key, value in below:
        inner = (*path, key)
        name = ".".join(map(quoted_key, inner))
        several = not isinstance(value, Mapping)
        for item in value if several else (value,):
            if several or len(inner) == 1:
                yield ""
            yield f"{indent}[[{name}]]" if several else f"{indent}[{name}]"
            yield from table_lines(item, inner)


def is_tables(value: Any) -> bool:
    """Return whether a value is a list of tables and nothing else."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def inline(value: Any) -> str:
    """Return a value as it stands on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return number(value)
        case int():
            return str(value)
        case str():
            return quoted(value)
        case Mapping():
            return (
                "{"
                + ", ".join(f"{quoted_key(key)} = {inline(item)}" for key, item in sorted(value.items()))
                + "}"
            )
        case list() | tuple():
            return "[" + ", ".join(map(inline, value)) + "]"
    raise ValueError("TOML has no word for nothing in a list")


def number(value: float) -> str:
    """Return a float, recognisable as one."""
    text = repr(value)
    return text.replace("e+", "e") if "e" in text else text


def quoted_key(key: str) -> str:
    """Return a key, quoted where it has to be."""
    return key if BARE_KEY.match(key) else quoted(key)


def quoted(text: str) -> str:
    """Return a basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")
