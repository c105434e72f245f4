"""Places: how reports find and name the parts of what was written, also where several documents make one thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleet.definition.spot import Spot
from fleet.errors import Location

Keys = tuple[str | int, ...]


class Placed(Protocol):
    """Something that can say where a path of it stands, and what a template made of that."""

    def locate(self, path: Keys = (), *, key: bool = False, at: Spot | None = None) -> Location | None:
        """Return the span of the value at `path` (of its key with `key=True`), or of its closest ancestor.

        With `at`, a place inside the text at `path`, return that place itself: None where no file shows it as it is.
        """

    def related(self, path: Keys = (), *, key: bool = False) -> tuple[tuple[str, Location], ...]:
        """Return the further places that explain the first one."""

    def holds(self, path: Keys) -> bool:
        """Return whether something was written at exactly this path."""

    def raw(self, path: Keys) -> str:
        """Return the scalar at `path` as it was typed, or nothing."""

    def name(self, path: Keys = ()) -> str:
        """Return the dotted place for a report."""

    def hide(self, path: Keys) -> None:
        """Keep the scalar at `path` out of every excerpt."""


def dotted(base: str, path: Keys) -> str:
    """Return a path as reports write it: `tenants.acme.applications[0].target`."""
    text = base
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def value_at(data: Any, path: Keys) -> Any:
    """Return what stands at a path of plain data, None where nothing does."""
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A part of a document, seen as a whole of its own; `at` replaces the document's name for it.

    `rename` maps a path of the view to the path that was written, for parts that users may write in two forms.
    """

    document: Placed
    prefix: Keys = ()
    at: str | None = None
    rename: Mapping[Keys, Keys] = field(default_factory=dict)

    def _full(self, path: Keys) -> Keys:
        for length in range(len(path), 0, -1):
            if path[:length] in self.rename:
                return self.prefix + self.rename[path[:length]] + path[length:]
        return self.prefix + path

    def locate(self, path: Keys = (), *, key: bool = False, at: Spot | None = None) -> Location | None:
        """Return where the value at `path` stands, or its closest ancestor; with `at` that place inside it."""
        return self.document.locate(self._full(path), key=key, at=at)

    def related(self, path: Keys = (), *, key: bool = False) -> tuple[tuple[str, Location], ...]:
        """Return what a template rendered for it, where that differs."""
        return self.document.related(self._full(path), key=key)

    def holds(self, path: Keys) -> bool:
        """Return whether something was written at exactly this path."""
        return self.document.holds(self._full(path))

    def raw(self, path: Keys) -> str:
        """Return the scalar at `path` as it was typed."""
        return self.document.raw(self._full(path))

    def name(self, path: Keys = ()) -> str:
        """Return the dotted place for a report."""
        return self.document.name(self._full(path)) if self.at is None else dotted(self.at, path)

    def hide(self, path: Keys) -> None:
        """Keep the scalar at `path` out of every excerpt."""
        self.document.hide(self._full(path))

    def below(self, *path: str | int, rename: Mapping[Keys, Keys] | None = None) -> View:
        """Return the view of a part of this one."""
        at = None if self.at is None else dotted(self.at, path)
        return View(self.document, self._full(path), at, rename or {})


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Several views of one thing, the strongest first: each path stands where the first of them wrote it."""

    views: tuple[Placed, ...]

    def _view(self, path: Keys) -> Placed:
        return next((view for view in self.views if view.holds(path)), self.views[0])

    def locate(self, path: Keys = (), *, key: bool = False, at: Spot | None = None) -> Location | None:
        """Return where the value at `path` stands, or its closest ancestor; with `at` that place inside it."""
        return self._view(path).locate(path, key=key, at=at)

    def related(self, path: Keys = (), *, key: bool = False) -> tuple[tuple[str, Location], ...]:
        """Return what a template rendered for it, where that differs."""
        return self._view(path).related(path, key=key)

    def holds(self, path: Keys) -> bool:
        """Return whether any of them wrote something at exactly this path."""
        return any(view.holds(path) for view in self.views)

    def raw(self, path: Keys) -> str:
        """Return the scalar at `path` as it was typed."""
        return self._view(path).raw(path)

    def name(self, path: Keys = ()) -> str:
        """Return the dotted place for a report."""
        return self._view(path).name(path)

    def hide(self, path: Keys) -> None:
        """Keep the scalar at `path` out of every excerpt, whoever wrote it."""
        for view in self.views:
            view.hide(path)
