"""A stack's settings file, `stacks/Pulumi.<stack>.yaml`: which definition a stack has, and with which values.

Read for the commands that need no Pulumi; Pulumi itself hands the same config to the program.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fleet import names
from fleet.definition.findings import Findings, suggest
from fleet.definition.shapes import MAPPING, TEXT, wrong_type
from fleet.definition.source import Document, parse
from fleet.definition.text import Source, read_text
from fleet.errors import DefinitionError, Problem, errors_of

# Where a project's stacks have their files (`stackConfigDir`).
STACKS: Final = Path("stacks")
# A shorter text is a word like any other: to hide it wherever it stands would hide half of everything else.
_SHORTEST: Final = 6
_PREFIX: Final = "Pulumi."
_SUFFIX: Final = ".yaml"
_DEFINITION: Final = f"{names.CONFIG_NAMESPACE}:definition"


def stack_names(folder: Path) -> list[str]:
    """Return the stacks that have a settings file in a folder, in order."""
    known = (file.name for file in folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    return sorted(name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in known)


def definition_folder(config: Mapping[str, Any], stack: str) -> Path:
    """Return the definition folder that a stack's config names, below the project's: by default its own."""
    return Path(config.get(_DEFINITION) or STACKS / stack)


def stack_config(folder: Path, stack: str) -> dict[str, Any]:
    """Return the config of a stack as its file holds it, encrypted values included; `fleet:values` as a mapping.

    Raises:
        DefinitionError: there is no such file, or it does not hold what a stack's file holds.
    """
    path = folder / f"{_PREFIX}{stack}{_SUFFIX}"
    if not path.is_file():
        message = f"there is no stack `{stack}` here, since there is no `{path}`"
        problem = Problem(
            "unreadable-file", message, help=suggest(stack, stack_names(folder), "name one with `--stack`")
        )
        raise DefinitionError((problem,))
    text = read_text(path, str(path))
    if isinstance(text, Problem):
        raise DefinitionError((text,))
    documents, problems = parse(Source(str(path), text))
    broken = tuple(problem for problem in errors_of(problems) if problem.code != "empty-file")
    if broken:
        raise DefinitionError(broken)
    findings = Findings()
    config = _config_in(documents[0], findings) if documents else {}
    if findings.problems:
        raise DefinitionError(tuple(findings.problems))
    return config


def _config_in(document: Document, findings: Findings) -> dict[str, Any]:
    if not isinstance(document.data, Mapping):
        wrong_type(findings, document, (), document.data, MAPPING)
        return {}
    config = document.data.get("config")
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        wrong_type(findings, document, ("config",), config, MAPPING)
        return {}
    found = {key: value for key, value in config.items() if value is not None}
    if not isinstance(found.get(_DEFINITION, ""), str):
        wrong_type(findings, document, ("config", _DEFINITION), found[_DEFINITION], TEXT)
    if names.CONFIG_VALUES in found:
        found[names.CONFIG_VALUES] = _unpacked(found[names.CONFIG_VALUES])
        if not isinstance(found[names.CONFIG_VALUES], Mapping):
            wrong_type(
                findings, document, ("config", names.CONFIG_VALUES), found[names.CONFIG_VALUES], MAPPING
            )
    return found


def _unpacked(value: Any) -> Any:
    """Return an object as Pulumi reads it: `pulumi config set` without `--path` keeps JSON as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def is_encrypted(value: Any) -> bool:
    """Return whether a value of a stack's file has an encrypted part."""
    if not isinstance(value, Mapping):
        return isinstance(value, list) and any(map(is_encrypted, value))
    return value.keys() == {"secure"} or any(map(is_encrypted, value.values()))


def encrypted_texts(written: Any, plain: Any) -> list[str]:
    """Return the texts in `plain` that stand encrypted in the stack's file, as `written` has it."""
    if isinstance(written, Mapping) and written.keys() == {"secure"}:
        return list(_texts(plain))
    if isinstance(written, Mapping) and isinstance(plain, Mapping):
        pairs = [(written[key], plain[key]) for key in written.keys() & plain.keys()]
    elif isinstance(written, list) and isinstance(plain, list):
        pairs = list(zip(written, plain, strict=False))
    else:
        return []
    return [text for pair in pairs for text in encrypted_texts(*pair)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
    else:
        yield str(value)


def secret_words(secrets: Iterable[str]) -> frozenset[str]:
    """Return secrets and each of their lines, which may stand apart, but for what is too short to be told by it."""
    found = {word for secret in secrets for word in (secret, *map(str.strip, secret.splitlines()))}
    return frozenset(word for word in found if len(word) >= _SHORTEST)
