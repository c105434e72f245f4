"""Prepared: a tree of texts looked through once, to be rendered for thousands of tenants.

What no value can change is made once and is the same object in every result: results are read, never changed. A text is
rendered once for all tenants for which it reads the same values. Nothing here depends on what was rendered before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from fleet.desired.gotemplate import (
    OPEN,
    FieldUse,
    GoTemplateError,
    Piece,
    check_text,
    render_pieces,
    render_text,
    scan,
)

Path: TypeAlias = tuple[str | int, ...]
Errors: TypeAlias = list[tuple[Path, GoTemplateError]]

# Empty means something there, or is a part of data that Argo CD hands on as it is.
_MEANT: Final = frozenset({"automated", "valuesObject", "ignoreDifferences", "patches", "env"})
_EMPTY: Final[tuple[Any, ...]] = (None, "", {}, [])
_MISSING: Final = object()
_SCALARS: Final = (bool, int, type(None))


class Text:
    """One text with what it was rendered to so far, and the fields that it reads (none where it does not parse)."""

    __slots__ = ("_pieces", "_reads", "_rendered", "fields", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._rendered: dict[tuple[object, ...], str | GoTemplateError] = {}
        self._reads: tuple[Path, ...] | None = None
        self._pieces: tuple[Piece, ...] | None = None
        self.fields: tuple[FieldUse, ...] = ()
        try:
            check_text(text)
        except GoTemplateError:
            return  # rendering says what is wrong
        found = scan(text)
        self._reads, self._pieces, self.fields = found.reads, found.pieces, found.fields

    def render(self, values: Mapping[str, Any]) -> str | GoTemplateError:
        """Return the text rendered with `.Values`, or why it cannot be."""
        key = _key(self._reads, values) if self._reads is not None else None
        if key is None:
            return self._once(values)
        found = self._rendered.get(key)
        if found is None:
            found = self._rendered[key] = self._once(values)
        return found

    def _once(self, values: Mapping[str, Any]) -> str | GoTemplateError:
        joined = render_pieces(self._pieces, values) if self._pieces is not None else None
        if joined is not None:
            return joined
        try:
            return render_text(self.text, values)
        except GoTemplateError as error:
            return error


def _key(reads: tuple[Path, ...], values: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Return the values at the paths, so that equal keys mean equal results; None where only the engine can tell."""
    found: list[object] = []
    for path in reads:
        value: Any = values
        for part in path:
            if type(value) is not dict:
                return None
            value = value.get(part, _MISSING)
        kind = type(value)
        if kind is str or value is _MISSING:
            found.append(value)
        elif kind in _SCALARS:
            found.append((kind, value))
        else:
            return None
    return tuple(found)


class Texts:
    """The texts of one plan: the same text is rendered once, wherever it stands."""

    def __init__(self) -> None:
        self._known: dict[str, Text] = {}

    def of(self, text: str) -> Text:
        """Return the text with what it was rendered to so far."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = Text(text)
        return found


class _Leaf:
    """A text with values in it."""

    __slots__ = ("path", "text")

    def __init__(self, path: Path, text: Text) -> None:
        self.path = path
        self.text = text

    def render(self, values: Mapping[str, Any], errors: Errors) -> str:
        found = self.text.render(values)
        if isinstance(found, str):
            return found
        errors.append((self.path, found))
        return self.text.text


class _Map:
    """A map of which some parts are rendered; each with whether it is left out where it comes out empty."""

    __slots__ = ("fixed", "parts")

    def __init__(self, fixed: dict[str, Any], parts: list[tuple[str, _Part, bool]]) -> None:
        self.fixed = fixed
        self.parts = parts

    def render(self, values: Mapping[str, Any], errors: Errors) -> dict[str, Any]:
        found = self.fixed.copy()
        for key, part, optional in self.parts:
            value = part.render(values, errors)
            if optional and value in _EMPTY:
                del found[key]
            else:
                found[key] = value
        return found


class _List:
    """A list of which some parts are rendered."""

    __slots__ = ("fixed", "parts")

    def __init__(self, fixed: list[Any], parts: list[tuple[int, _Part]]) -> None:
        self.fixed = fixed
        self.parts = parts

    def render(self, values: Mapping[str, Any], errors: Errors) -> list[Any]:
        found = self.fixed.copy()
        for index, part in self.parts:
            found[index] = part.render(values, errors)
        return found


_Part: TypeAlias = _Leaf | _Map | _List


def _shape(data: Any, path: Path, texts: Texts | None, *, tidy: bool) -> Any:
    """Return what is rendered of data as a part, or the data itself where nothing is."""
    if isinstance(data, str):
        return _Leaf(path, texts.of(data)) if texts is not None and OPEN in data else data
    if isinstance(data, Mapping):
        fixed: dict[str, Any] = {}
        parts: list[tuple[str, _Part, bool]] = []
        for key, value in data.items():
            optional = tidy and key not in _MEANT
            fixed[key] = shape = _shape(value, (*path, key), texts, tidy=optional)
            if isinstance(shape, _Part):
                parts.append((key, shape, optional))
            elif optional and shape in _EMPTY:
                del fixed[key]
        return _Map(fixed, parts) if parts else fixed
    if isinstance(data, list | tuple):
        shapes = [_shape(value, (*path, index), texts, tidy=tidy) for index, value in enumerate(data)]
        rendered = [(index, shape) for index, shape in enumerate(shapes) if isinstance(shape, _Part)]
        return _List(shapes, rendered) if rendered else shapes
    return data


class Prepared:
    """A tree to be rendered many times. With `tidy` what Argo CD's server drops is left out (`without_empty`)."""

    def __init__(self, source: Any, texts: Texts, path: Path = (), *, tidy: bool = False) -> None:
        self._shape = _shape(source, path, texts, tidy=tidy)

    def render(self, values: Mapping[str, Any], errors: Errors) -> Any:
        """Return the tree rendered with `.Values`; adds the errors by path, a string that fails stays as it is."""
        return self._shape.render(values, errors) if isinstance(self._shape, _Part) else self._shape


def render_tree(data: Any, values: Mapping[str, Any]) -> tuple[Any, Errors]:
    """Return a tree with each of its strings rendered, and the errors by path; a string that fails stays as it is."""
    errors: Errors = []
    return Prepared(data, Texts()).render(values, errors), errors


def without_empty(data: Any) -> Any:
    """Return a spec without what Argo CD's server drops because it says nothing: it would differ for ever."""
    return _shape(data, (), None, tidy=True)


def open_texts(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield every text of a tree that holds an action, with its path."""
    if isinstance(data, str):
        if OPEN in data:
            yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from open_texts(value, (*path, key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from open_texts(value, (*path, index))
