"""What a run of `pulumi` prints, as data: what it did, how often, and what failed with whose words.

Read from its text, since its log of events repeats every resource's whole state. It never decides whether a run has
succeeded: the exit code does.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from fleet.engine import STACK, TYPE, Failure, own_words, told

_DIAGNOSTICS: Final = "Diagnostics:"
_RESOURCES: Final = "Resources:"
_STEP: Final = re.compile(r"^ ?([-+~=<>!]{1,2}) +(?P<type>\S+) (?P<name>\S+) (?P<words>.*\S)\s*$")
_HEAD: Final = re.compile(r"^  (?P<type>\S+) \((?P<name>[^)]*)\):$")
_COUNT: Final = re.compile(r"^\s+(?:[-+~=<>!]{1,2} ?)?(?P<count>\d+) (?:to )?(?P<word>[a-z]+)$")
_UNCHANGED: Final = re.compile(r"(?P<count>\d+) unchanged$")
# What was done, whatever its tense.
_WORDS: Final = {
    "creat": "create",
    "updat": "update",
    "delet": "delete",
    "replac": "replace",
    "import": "import",
    "discard": "discard",
    "error": "error",
}
_UNFINISHED: Final = re.compile(r"^(?:\w+ing\b|refresh(?!.*\b(?:error|failed)\b))")


class Printed:
    """Takes the lines of one run, and keeps what they say."""

    def __init__(self) -> None:
        """Begin before the first line."""
        self.counts: Counter[str] = Counter()
        self.deleted: list[tuple[str, str]] = []
        self._section = ""
        self._resource = ""
        self._messages: dict[tuple[str, str], None] = {}
        self._message: list[str] | None = None

    def take(self, line: str) -> str | None:
        """Take a line; return it in short where it is news for somebody who watches, None where it is not."""
        if line in (_DIAGNOSTICS, _RESOURCES) or (line[:1].isalpha() and line.rstrip().endswith(":")):
            self._end_message()
            self._section, self._resource = line, ""
            if line == _RESOURCES:
                # Of a preview and the update after it the last word counts.
                self.counts.clear()
            return None
        if line.startswith("error: "):
            self._end_message()
            self._section, self._resource = "", ""
            self._message = [line.removeprefix("error: ")]
            return line
        if self._section == _DIAGNOSTICS:
            return self._take_diagnostic(line)
        if self._section == _RESOURCES:
            self._take_count(line)
            return None
        if self._message is not None and line.strip():
            self._message.append(line.rstrip())
            return line
        self._end_message()
        return self._take_step(line)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return what failed, each message once; the engine's own summary only where there is nothing else."""
        self._end_message()
        return told(Failure(*each) for each in self._messages)

    def _take_step(self, line: str) -> str | None:
        step = _STEP.match(line)
        if step is None or _UNFINISHED.match(step["words"]):
            return None
        kind, name = step["type"].removeprefix(TYPE), step["name"]
        if step["words"].startswith("delete") and step["type"].startswith(TYPE):
            self.deleted.append((kind, name))
        return f"{step[1]} {kind} {name} {step['words']}"

    def _take_count(self, line: str) -> None:
        if unchanged := _UNCHANGED.search(line):
            self.counts["same"] = int(unchanged["count"])
        elif count := _COUNT.match(line):
            word = next((word for stem, word in _WORDS.items() if count["word"].startswith(stem)), "")
            if word:
                self.counts[word] += int(count["count"])

    def _take_diagnostic(self, line: str) -> str | None:
        if head := _HEAD.match(line):
            self._end_message()
            of_stack = head["type"] == STACK
            self._resource = "" if of_stack else f"{head['type'].removeprefix(TYPE)} {head['name']}"
            return None
        text = line.strip()
        level, colon, message = text.partition(": ")
        if colon and level in ("error", "warning"):
            self._end_message()
            self._message = [own_words(message)] if level == "error" else None
            where = f"{self._resource}: " if self._resource else ""
            return f"{where}{text}" if level == "error" else None
        if self._message is not None and text:
            self._message.append(line.removeprefix("    ").rstrip())
        return None

    def _end_message(self) -> None:
        if self._message:
            self._messages[self._resource, "\n".join(self._message)] = None
        self._message = None
