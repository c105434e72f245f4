"""YAML text as plain data whose every value knows where it stands.

Owns the reading of YAML. Scalars follow the YAML 1.2 core rules (`no`, `on`, `0123`, `1_000`, `12:30:45` and dates are
text), keys are text and unique, anchors expand within a limit, merge keys and tags of other languages are refused.
It never judges what the data means. Positions cost nothing until somebody asks: they are looked up in the node tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, overload

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.definition.pasted import DOCUMENT_START, quote_templates, space_indent
from fleet.definition.places import Keys, dotted
from fleet.definition.spot import Spot
from fleet.definition.text import BREAK, REFUSED, Source
from fleet.errors import Location, Problem, Severity

MAX_DEPTH: Final = 100
MAX_ALIASED_NODES: Final = 10_000

_TAG: Final = "tag:yaml.org,2002:"
_STR: Final = f"{_TAG}str"
_NULL: Final = f"{_TAG}null"
_BOOL: Final = f"{_TAG}bool"
_INT: Final = f"{_TAG}int"
_FLOAT: Final = f"{_TAG}float"
_MAP: Final = f"{_TAG}map"
_SEQ: Final = f"{_TAG}seq"

_CORE: Final = re.compile(
    r"(?P<null>~|null|Null|NULL)"
    r"|(?P<bool>true|True|TRUE|false|False|FALSE)"
    # A leading zero keeps a number text: it is octal to some readers and decimal to others.
    r"|(?P<int>[-+]?(?:0|[1-9][0-9]{0,17})|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15})"
    r"|(?P<float>[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,2})?)"
)
_CORE_TAGS: Final = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}
_CORE_FIRST: Final = frozenset("~nNtTfF-+.0123456789")

# Text to YAML 1.2 and to us, something else to readers of YAML 1.1, such as the platform.
AMBIGUOUS: Final = re.compile(
    r"[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|[-+]?0[0-9]+|[-+]?[0-9][0-9]*_[0-9_]*"
)
_AMBIGUOUS_ANYWHERE: Final = re.compile(
    rf"[:\-\[,{{][ \t]+(?:{AMBIGUOUS.pattern})[ \t]*(?:$|[,\]}}#])", re.MULTILINE
)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One YAML document: plain data, and the nodes that say where each part of it stands.

    `base` is how reports begin its paths; `first` is the line of the file at which its part of the text begins. A
    `broken` one has errors in its text: it counts as there, and what it says is not looked into.
    """

    source: Source
    data: Any
    node: Node
    first: int = 0
    base: str = ""
    broken: bool = False

    def _node(self, path: Keys, *, key: bool) -> tuple[Node, bool]:
        """Return the node at `path`, or of its closest ancestor, and whether it is the exact one."""
        node, key_node = self.node, None
        for part in path:
            found = _child(node, part)
            if found is None:
                return (key_node or node, False)
            key_node, node = found
        return (key_node if key and key_node is not None else node, True)

    def _span(self, path: Keys, *, key: bool) -> tuple[int, int, int]:
        node, exact = self._node(path, key=key)
        start, end = node.start_mark, node.end_mark
        line, column = start.line + self.first, start.column
        if not exact and isinstance(node, (MappingNode, SequenceNode)):
            return (
                line,
                column,
                max(1, len(self.source.line(line).rstrip()) - column if not node.flow_style else 1),
            )
        if (line, column) in self.source.original_length:
            return (line, column, self.source.original_length[(line, column)])
        if end.line == start.line:
            return (line, column, max(1, end.column - column))
        return (line, column, max(1, len(self.source.line(line).rstrip()) - column))

    @overload
    def locate(self, path: Keys = (), *, key: bool = False, at: None = None) -> Location: ...

    @overload
    def locate(self, path: Keys = (), *, key: bool = False, at: Spot | None = None) -> Location | None: ...

    def locate(self, path: Keys = (), *, key: bool = False, at: Spot | None = None) -> Location | None:
        """Return where the value at `path` (or its key) stands, or its closest ancestor.

        With `at` return that place inside the scalar, as far as its line goes, and None where the file shows it in
        another form.
        """
        if at is None:
            return self.source.location(*self._span(path, key=key))
        node, exact = self._node(path, key=False)
        if not exact or not isinstance(node, ScalarNode) or node.value != at.text:
            return None
        span = at.among(self._pieces(node))
        return self.source.location(*span) if span is not None and self.source.shows(*span) else None

    def _pieces(self, node: ScalarNode) -> Iterator[tuple[int, int, str]]:
        """Yield what the file shows of a scalar's text: the line, the column and the text of each of its lines."""
        first, column = node.start_mark.line + self.first, node.start_mark.column
        last, end = node.end_mark.line + self.first, node.end_mark.column
        if (first, column) in self.source.original_length:
            last, end = first, column + self.source.original_length[(first, column)]
        elif node.style in {"|", ">"}:
            first, column = first + 1, 0
        elif node.style:
            column, end = column + 1, end - 1
        for number in range(first, last + 1):
            begin = column if number == first else 0
            shown = self.source.line(number)[begin : end if number == last else None]
            if shown.strip(" "):
                yield number, begin + len(shown) - len(shown.lstrip(" ")), shown.strip(" ")

    def related(self, path: Keys = (), *, key: bool = False) -> tuple[tuple[str, Location], ...]:
        """Return what a template rendered for it, where that differs."""
        return self.source.related(*self._span(path, key=key))

    def holds(self, path: Keys) -> bool:
        """Return whether something was written at exactly this path."""
        data = self.data
        for part in path:
            if not (
                part in data
                if isinstance(data, dict)
                else isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data)
            ):
                return False
            data = data[part]
        return True

    def raw(self, path: Keys) -> str:
        """Return the scalar at `path` as it was typed."""
        node, exact = self._node(path, key=False)
        return str(node.value) if exact and isinstance(node, ScalarNode) else ""

    def name(self, path: Keys = ()) -> str:
        """Return the dotted place for a report; `spec` is left out, as everything stands there."""
        return dotted(self.base, path[1:] if self.base and path[:1] == ("spec",) else path)

    def hide(self, path: Keys) -> None:
        """Keep the scalar at `path` out of every excerpt."""
        node, exact = self._node(path, key=False)
        if not exact or not isinstance(node, ScalarNode):
            return
        start, end = node.start_mark, node.end_mark
        for line in range(start.line, max(end.line, start.line) + 1):
            text = self.source.line(line + self.first)
            begin = start.column if line == start.line else len(text) - len(text.lstrip())
            stop = end.column if line == end.line else len(text)
            if begin < stop:
                spans = self.source.hidden.setdefault(line + self.first, [])
                if (begin, stop) not in spans:
                    spans.append((begin, stop))

    def scalars(self, path: Keys = ()) -> Iterator[tuple[Keys, ScalarNode]]:
        """Yield every scalar at or below `path` with its own path."""
        node, exact = self._node(path, key=False)
        if exact:
            yield from _scalars(node, path)

    def ambiguous(self, path: Keys) -> Iterator[tuple[Keys, str]]:
        """Yield the unquoted scalars below `path` that another YAML reader takes for something else."""
        if not _AMBIGUOUS_ANYWHERE.search(self.source.text):
            return
        for where, node in self.scalars(path):
            if not node.style and node.tag == _STR and AMBIGUOUS.fullmatch(node.value):
                yield where, node.value


def _scalars(node: Node, path: Keys) -> Iterator[tuple[Keys, ScalarNode]]:
    if isinstance(node, ScalarNode):
        yield path, node
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*path, str(key.value)))
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            yield from _scalars(value, (*path, index))


def _child(node: Node, part: str | int) -> tuple[Node | None, Node] | None:
    """Return the key node (None in a list) and the value node of one step down."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key, value
    elif isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return None, node.value[part]
    return None


class _Composer:
    """Resolves scalars by the core rules and keeps nesting within what the C composer's stack can bear."""

    depth = 0

    def resolve(self, kind: type[Node], value: str, implicit: Any) -> str:
        """Return the tag of a node that has none written."""
        if kind is ScalarNode:
            if implicit[0]:
                if not value:
                    return _NULL
                if value[0] in _CORE_FIRST:
                    match = _CORE.fullmatch(value)
                    if match is not None:
                        return _CORE_TAGS[str(match.lastgroup)]
            return _STR
        return _MAP if kind is MappingNode else _SEQ

    def descend_resolver(self, parent: Node | None, _index: Any) -> None:
        """Refuse nesting beyond the limit: libyaml's composer recurses on the C stack."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = None if parent is None else parent.start_mark
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)

    def ascend_resolver(self) -> None:
        """Leave one level."""
        self.depth -= 1


if yaml.__with_libyaml__:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs do not export it

    class _Loader(_Composer, CParser):
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)

else:  # pragma: no cover  # PyYAML built without libyaml
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Loader(_Composer, Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)

        def dispose(self) -> None:
            """Do nothing: there is no C state to release."""


def _compose(text: str, nodes: list[Node]) -> yaml.MarkedYAMLError | None:
    """Add the documents of a text to `nodes`; return what stopped it."""
    loader = _Loader(text)
    try:
        while loader.check_node():  # type: ignore[no-untyped-call,unused-ignore]
            node = loader.get_node()  # type: ignore[no-untyped-call,unused-ignore]
            if node is not None:
                nodes.append(node)
    except yaml.MarkedYAMLError as error:
        return error
    finally:
        loader.dispose()  # type: ignore[no-untyped-call,unused-ignore]
    return None


# What the scanner says, what we say, and the help.
_ADVICE: Final = (
    (
        "mapping values are not allowed",
        "a second `:` stands where one value is expected",
        "quote the value, or check the indentation",
    ),
    ("unexpected end of stream", "a quoted text is not closed", "add the closing quote"),
    ("expected ',' or ']'", "a `[` is not closed", "separate the entries by `,` and close the list with `]`"),
    ("expected ',' or '}'", "a `{` is not closed", "separate the entries by `,` and close it with `}`"),
    (
        "expected '-' indicator",
        "something stands in a list that is not an entry",
        "begin every entry with `- `, at one indentation",
    ),
    (
        "expected <document start>",
        "text stands after the end of the document",
        "check the indentation, or begin a document with `---`",
    ),
    (
        "did not find expected key",
        "a line is not indented like the keys around it",
        "indent the keys of one mapping alike",
    ),
    (
        "could not find expected ':'",
        "a line is neither `key: value` nor a list entry",
        "add `:` and a value, or check the indentation",
    ),
    (
        "unknown escape character",
        "a double-quoted text holds an unknown escape",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (
        "undefined alias",
        "an alias (`*name`) has no anchor (`&name`) before it",
        "define the anchor, or quote the text",
    ),
    ("second occurrence", "an anchor is defined twice", "give each anchor its own name"),
    (
        "sequence entries are not allowed",
        "a list entry stands where one value is expected",
        "begin a list on its own line",
    ),
)


def _syntax_problem(error: yaml.MarkedYAMLError, source: Source, first: int) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + first, mark.column) if mark else (first, 0)
    if line >= len(source.lines) or (line == len(source.lines) - 1 and not source.line(line)):
        opening = error.context_mark
        line, column = (
            (opening.line + first, opening.column) if opening else (max(0, len(source.lines) - 1), 0)
        )
    words = f"{error.context or ''}: {error.problem or ''}"
    character = source.line(line)[column : column + 1]
    code, message, advice = "yaml-syntax", (error.problem or "this is not YAML").strip(), ""
    if "parsing a flow" in words and "expected ','" in words and error.context_mark:
        line, column = error.context_mark.line + first, error.context_mark.column
    if character == "\t" or "tab character" in words:
        code, message = "tab", "a tab stands where indentation is expected"
        advice = "indent with spaces; YAML forbids tabs there"
        column = max(0, source.line(line).find("\t"))
    elif "nested deeper" in words:
        code, advice = "yaml-too-large", "flatten the document"
    elif "cannot start any token" in words:
        message, advice = f"`{character}` cannot begin a value", f"quote the value: '{character}…'"
    elif source.line(line)[max(0, column - 1) :].lstrip("{").startswith(
        ("%", "-", "#")
    ) and "{" in source.line(line):
        message = "a template statement stands outside a text"
        advice = "put `{{ }}` into a quoted value; use a `*.yaml.j2` file for statements"
    else:
        for words_found, said, helped in _ADVICE:
            if words_found in words:
                message, advice = said, helped
                break
    location = source.location(line, column, 1)
    return Problem(code, message, location, help=advice, related=source.related(line, column, 1))


class _Stop(Exception):  # noqa: N818  # ends the building of one document; its problem is recorded already
    pass


class _Builder:
    """Makes plain data of one document's nodes, and lists what is wrong with them."""

    def __init__(self, source: Source, first: int, problems: list[Problem]) -> None:
        self.source = source
        self.first = first
        self.problems = problems
        self.seen: set[int] = set()
        self.open: set[int] = set()
        self.aliased = 0

    def build(self, node: Node, *, aliases: bool) -> Any:
        """Return the data of a node."""
        if aliases:
            self._count(node)
        if isinstance(node, ScalarNode):
            return node.value if node.tag is _STR else self._scalar(node)
        if isinstance(node, MappingNode):
            if node.tag is not _MAP:
                self._tag(node, _MAP)
            data: dict[str, Any] = {}
            for key, value in node.value:
                if type(key) is not ScalarNode or (key.tag is not _STR and key.tag == _NULL):
                    self._key(key)
                    continue
                name = key.value
                if name in data:
                    self._duplicate(node, key)
                    continue
                if name == "<<" and not key.style:
                    self._merge(key)
                    continue
                # The commonest leaf is handled here to save a call for every value of every tenant.
                if not aliases and type(value) is ScalarNode and value.tag is _STR:
                    data[name] = value.value
                else:
                    data[name] = self.build(value, aliases=aliases)
            if aliases:
                self.open.discard(id(node))
            return data
        if node.tag is not _SEQ:
            self._tag(node, _SEQ)
        entries = [self.build(value, aliases=aliases) for value in node.value]
        if aliases:
            self.open.discard(id(node))
        return entries

    def _add(
        self, code: str, message: str, node: Node, advice: str, *, also: tuple[str, Node] | None = None
    ) -> None:
        span = self._span(node)
        related = self.source.related(*span)
        if also is not None:
            related = ((also[0], self.source.location(*self._span(also[1]))), *related)
        self.problems.append(
            Problem(code, message, self.source.location(*span), help=advice, related=related)
        )

    def _span(self, node: Node) -> tuple[int, int, int]:
        start, end = node.start_mark, node.end_mark
        width = end.column - start.column if start.line == end.line else 1
        return (start.line + self.first, start.column, max(1, width))

    def _count(self, node: Node) -> None:
        if id(node) in self.seen:
            self.aliased += 1
            if id(node) in self.open:
                self._add("yaml-too-large", "an anchor holds itself", node, "write the value out")
                raise _Stop
            if self.aliased > MAX_ALIASED_NODES:
                message = f"aliases expand to more than {MAX_ALIASED_NODES} values"
                self._add(
                    "yaml-too-large", message, node, "write the values out, or share them by a TenantClass"
                )
                raise _Stop
        self.seen.add(id(node))
        if type(node) is not ScalarNode:
            self.open.add(id(node))

    def _scalar(self, node: ScalarNode) -> Any:
        tag, text = node.tag, node.value
        try:
            if tag == _STR:
                return text
            if tag == _NULL:
                return None
            if tag == _BOOL:
                return {"true": True, "false": False}[text.lower()]
            if tag == _INT:
                return int(text, 0)
            if tag == _FLOAT:
                return float(text)
        except (ValueError, KeyError):
            self._add("unknown-tag", f"`{text}` is not a value of the tag before it", node, "remove the tag")
            return None
        self._tag(node, _STR)
        return text

    def _tag(self, node: Node, usual: str) -> None:
        if node.tag != usual:
            shown = node.tag.replace(_TAG, "!!")
            self._add("unknown-tag", f"the tag `{shown}` means nothing here", node, "remove the tag")

    def _key(self, key: Node) -> None:
        if (
            type(key) is MappingNode
            and self.source.line(key.start_mark.line + self.first)[key.start_mark.column - 1 :][:2] == "{{"
        ):
            advice = "quote the value: '{{ … }}'"
            self._add("unquoted-template", "a template in an unquoted value is not valid YAML", key, advice)
            return
        self._add("bad-key", "a key must be a text", key, "write the key as plain or quoted text")

    def _duplicate(self, node: MappingNode, key: ScalarNode) -> None:
        before = next(other for other, _ in node.value if other.value == key.value)
        message = f"the key `{key.value}` is written twice in one mapping"
        self._add("duplicate-key", message, key, "keep one of the two", also=("first written here", before))

    def _merge(self, key: ScalarNode) -> None:
        advice = "share settings by a TenantClass, or repeat the keys (a plain alias `*name` for one value is fine)"
        self._add("merge-key", "merge keys (`<<`) are not part of YAML 1.2", key, advice)


def parse(source: Source) -> tuple[list[Document], list[Problem]]:
    """Return every document of a source that can be read, and everything that is wrong with the text.

    After a syntax error reading goes on at the next `---`, so that one slip does not hide the others.
    """
    problems: list[Problem] = []
    documents: list[Document] = []
    refused = REFUSED.search(source.text)
    if refused is not None:
        return documents, [_refused(source, refused)]
    text = source.text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\xa0" in text:
        text = space_indent(source, text, problems)
    unquoted: set[int] = set()
    if "{{" in text:
        text, unquoted = quote_templates(source, text, problems)
    aliases = "*" in text and "&" in text
    first = 0
    lines: list[str] = []
    while True:
        nodes: list[Node] = []
        error = _compose(text, nodes)
        for node in nodes:
            if type(node) is ScalarNode and node.tag == _NULL and not node.value:
                continue
            builder = _Builder(source, first, problems)
            before = len(problems)
            try:
                data = builder.build(node, aliases=aliases)
            except _Stop:
                continue
            broken = len(problems) > before or any(
                node.start_mark.line <= line - first <= node.end_mark.line for line in unquoted
            )
            documents.append(Document(source, data, node, first, broken=broken))
        if error is None:
            break
        problems.append(_syntax_problem(error, source, first))
        lines = lines or text.split("\n")
        mark = error.problem_mark or error.context_mark
        stopped = first + (mark.line if mark else 0)
        following = next(
            (n for n in range(max(stopped, first + 1), len(lines)) if DOCUMENT_START.match(lines[n])), None
        )
        if following is None:
            break
        first, text = following, "\n".join(lines[following:])
    # A template may well have nothing to say for this stack.
    if not documents and not problems and source.origin is None:
        problems.append(_empty(source))
    return documents, problems


def _refused(source: Source, match: re.Match[str]) -> Problem:
    before = BREAK.split(source.text[: match.start()])
    span = (len(before) - 1, len(before[-1]), 1)
    message = f"the character U+{ord(match.group()):04X} is not allowed in YAML"
    advice = "remove the character, or write it as an escape in double quotes"
    return Problem("encoding", message, source.location(*span), help=advice, related=source.related(*span))


def _empty(source: Source) -> Problem:
    advice = "write a document into it, or remove the file"
    return Problem("empty-file", f"`{source.file}` holds no document", Location(source.file), help=advice)


def parse_value(text: str) -> Any:
    """Return the plain data of a YAML text that holds one document (None when it is empty).

    Raises:
        ValueError: The text is not such a document; the message is one line.
    """
    documents, problems = parse(Source("text", text))
    errors = [
        problem for problem in problems if problem.severity is Severity.ERROR and problem.code != "empty-file"
    ]
    if errors:
        where = errors[0].location
        raise ValueError(f"{errors[0].message}{f' (line {where.line})' if where else ''}")
    if len(documents) > 1:
        raise ValueError("more than one document")
    return documents[0].data if documents else None
