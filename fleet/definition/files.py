"""The files of a definition folder: which of them count, their documents, and the data and texts that they name.

Reads files, and nothing outside of the folder. It never judges what a document says.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fleet.definition.findings import Findings, nearest
from fleet.definition.places import View
from fleet.definition.shapes import MAPPING, wrong_type
from fleet.definition.source import Document, parse
from fleet.definition.text import Source, read_text
from fleet.errors import Location, Problem

SUFFIXES: Final = (".yaml", ".yml")
TEMPLATE_SUFFIXES: Final = (".yaml.j2", ".yml.j2")
DATA_FOLDER: Final = "data"


class Files:
    """The files of a folder, each read and parsed once."""

    def __init__(self, folder: Path, values: Mapping[str, Any], findings: Findings) -> None:
        self.folder = folder
        self.findings = findings
        self._root = Path(os.path.realpath(folder))
        self._values = values
        self._parsed: dict[str, tuple[Document, ...]] = {}
        self._data: dict[str, Any] | None = None
        self._listed: list[str] = []
        self._values_files: set[str] = set()
        if not folder.is_dir():
            findings.problems.append(
                Problem("unreadable-file", f"there is no folder `{folder.name}`", Location(folder.name))
            )
            return
        self._walk(str(folder), "", frozenset({self._root}))

    def _walk(self, folder: str, below: str, above: frozenset[Path]) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._unreadable(below or ".", error)
            return
        for entry in entries:
            file = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith(".") or file == DATA_FOLDER:
                continue
            relevant = entry.name.endswith((*SUFFIXES, *TEMPLATE_SUFFIXES))
            try:
                folder_like = entry.is_dir()
                if not folder_like and not relevant:
                    continue
                if entry.is_symlink() and not self._inside(Path(entry.path), file):
                    continue
                if folder_like:
                    real = Path(os.path.realpath(entry.path))
                    if real not in above:
                        self._walk(entry.path, file, above | {real})
                elif stat.S_ISREG(entry.stat().st_mode):
                    self._listed.append(file)
            except OSError as error:
                self._unreadable(file, error)

    def _unreadable(self, file: str, error: OSError) -> None:
        words = (error.strerror or "unknown reason").lower()
        self.findings.problems.append(
            Problem("unreadable-file", f"`{file}` cannot be read: {words}", Location(file))
        )

    def _inside(self, path: Path, file: str) -> bool:
        if Path(os.path.realpath(path)).is_relative_to(self._root):
            return True
        self.findings.problems.append(
            Problem(
                "outside-folder",
                f"`{file}` leads out of the definition folder",
                Location(file),
                help="copy the file into the folder",
            )
        )
        return False

    def documents(self) -> list[tuple[str, tuple[Document, ...]]]:
        """Return the documents of every file, in the order of the files' names."""
        return [(file, self._documents(file)) for file in self._listed]

    def _documents(self, file: str) -> tuple[Document, ...]:
        if file not in self._parsed:
            self._parsed[file] = ()
            text = read_text(self.folder / file, file)
            source: Source | Problem = text if isinstance(text, Problem) else Source(file, text)
            if isinstance(source, Source) and file.endswith(TEMPLATE_SUFFIXES):
                from fleet.definition import jinja  # noqa: PLC0415  # Jinja2 takes longer to import than many files to read

                source = jinja.render(source, self._values, self._data_files(), self._include)
            if isinstance(source, Problem):
                self.findings.problems.append(source)
            else:
                documents, problems = parse(source)
                self._parsed[file] = tuple(documents)
                self.findings.problems.extend(problems)
        return self._parsed[file]

    def _include(self, name: str) -> str | None:
        path = Path(os.path.realpath(self.folder / name))
        if not path.is_relative_to(self._root) or not path.is_file():
            return None
        text = read_text(path, name)
        return text if isinstance(text, str) else None

    def _data_files(self) -> dict[str, Any]:
        """Return the data files by stem."""
        if self._data is not None:
            return self._data
        self._data = {}
        folder = self.folder / DATA_FOLDER
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in entries:
            file = f"{DATA_FOLDER}/{path.name}"
            if (
                path.suffix not in {*SUFFIXES, ".json"}
                or path.name.startswith(".")
                or not self._inside(path, file)
            ):
                continue
            if path.stem in self._data:
                message = f"two data files are both `data.{path.stem}`"
                self.findings.problems.append(
                    Problem("duplicate-document", message, Location(file), help="rename one")
                )
                continue
            self._data[path.stem] = self._data_file(path, file)
        return self._data

    def _data_file(self, path: Path, file: str) -> Any:
        text = read_text(path, file)
        if isinstance(text, Problem):
            self.findings.problems.append(text)
            return None
        if path.suffix == ".json":
            try:
                return json.loads(text)
            except ValueError as error:
                at = error if isinstance(error, json.JSONDecodeError) else None
                where = Location(file, at.lineno if at else 1, at.colno if at else 1)
                message = f"this is not JSON: {at.msg.lower() if at else 'a number is too long'}"
                self.findings.problems.append(Problem("yaml-syntax", message, where))
                return None
        documents, problems = parse(Source(file, text))
        self.findings.problems.extend(problems)
        if len(documents) > 1:
            self.findings.error(
                "not-a-document", "a data file holds one document", documents[1], help="split the file"
            )
        return documents[0].data if documents else None

    def values_of(self, named_in: str, path: str, where: View, at: tuple[str | int, ...]) -> Document | None:
        """Return the document of a vcluster.yaml, named relative to the file that names it."""
        file = self.resolve(named_in, path)
        if file is None or not Path(os.path.realpath(self.folder / file)).is_relative_to(self._root):
            message = f"`{path}` leads out of the definition folder"
            self.findings.error("outside-folder", message, where, at, help="copy the file into the folder")
            return None
        if not (self.folder / file).is_file():
            beside = {name for name in self._listed if name.endswith(SUFFIXES)}
            close = nearest(file, beside)
            near = os.path.relpath(close, PurePosixPath(named_in).parent) if close else ""
            advice = f"did you mean `{near}`?" if near else "the path is relative to the file that names it"
            self.findings.error("unreadable-file", f"there is no file `{file}`", where, at, help=advice)
            return None
        documents = self._documents(file)
        if not documents:
            return None
        first = documents[0]
        if file not in self._values_files:
            self._values_files.add(file)
            if len(documents) > 1:
                self.findings.error(
                    "not-a-document", "a vcluster.yaml holds one document", documents[1], help="split it"
                )
            if not isinstance(first.data, Mapping):
                wrong_type(self.findings, first, (), first.data, MAPPING)
        return first if isinstance(first.data, Mapping) and not first.broken else None

    @staticmethod
    def resolve(named_in: str, path: str) -> str | None:
        """Return a path that a file names, relative to the folder, or None where it leads out of it."""
        joined = os.path.normpath(str(PurePosixPath(named_in).parent / path))
        return None if joined.startswith(("..", "/")) else PurePosixPath(joined).as_posix()
