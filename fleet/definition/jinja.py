"""Definition files written as Jinja2 templates: text in, YAML text and a map of its lines out.

Owns Jinja2. Templates run in its sandbox with every name strict, see `config` (the stack's values) and `data` (the
data files), and may include files of the definition folder. What they compute is bounded, random numbers and the
clock are out of reach: the same folder and values always give the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from jinja2 import (
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    nodes,
)
from jinja2.exceptions import SecurityError
from jinja2.loaders import FunctionLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fleet.definition.findings import listing, nearest
from fleet.definition.text import Origin, Source
from fleet.errors import Location, Problem

MAX_OUTPUT: Final = 50_000_000
MAX_STEPS: Final = 500_000

# Control characters are not YAML, so a mark can neither be meant by an author nor survive into the text.
_MARK: Final = re.compile("\x01([0-9]+)\x02")

_RAW: Final = "put Go templates between `{% raw %}` and `{% endraw %}`"

Reader = Callable[[str], str | None]


class _TooMuchError(Exception):
    """A template computes more than a definition ever needs."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with a budget."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, read: Reader) -> None:
        super().__init__(
            undefined=StrictUndefined,
            loader=FunctionLoader(read),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
            cache_size=0,
        )
        self.steps = 0
        del self.filters["random"]
        del self.globals["lipsum"]

    def tick(self) -> str:
        """Count one step of a loop or macro."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _TooMuchError(f"loops take more than {MAX_STEPS} steps")
        return ""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return the result of an operator, unless it would be enormous."""
        sizes = [len(side) for side in (left, right) if isinstance(side, (str, list, tuple))]
        factors = [side for side in (left, right) if isinstance(side, int)]
        if operator == "*" and sizes and factors and sizes[0] * factors[0] > MAX_STEPS:
            raise _TooMuchError("a repetition is too long")
        if operator == "**" and len(factors) == 2 and abs(factors[0]).bit_length() * abs(factors[1]) > 4096:
            raise _TooMuchError("a power is too large")
        if operator == "%" and isinstance(left, str) and re.search(r"%[^a-zA-Z%]*(?:\d{5}|\*)", left):
            raise _TooMuchError("a format is too wide")
        return super().call_binop(context, operator, left, right)

    def mark_lines(self, tree: nodes.Template) -> None:
        """Put a mark before everything that is printed, saying its line, and a tick into every loop and macro.

        Text whose value the template computes with (macros, `set` blocks, filter blocks) gets no marks: it would
        change. Its lines count as those of the expression that prints it.
        """
        _mark(tree)
        for node in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            call = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None, lineno=node.lineno)
            node.body.insert(0, nodes.ExprStmt(call, lineno=node.lineno))  # type: ignore[attr-defined]
        tree.set_environment(self)


def _mark(node: nodes.Node) -> None:
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, list) and value and isinstance(value[0], nodes.Stmt):
            body: list[nodes.Node] = []
            for child in value:
                if isinstance(child, nodes.Output):
                    child.nodes = _marked(child)
                elif isinstance(child, nodes.Include):
                    body.append(nodes.Output([_mark_of(child.lineno)], lineno=child.lineno))
                elif not isinstance(
                    child, (nodes.Macro, nodes.CallBlock, nodes.AssignBlock, nodes.FilterBlock)
                ):
                    _mark(child)
                elif isinstance(child, (nodes.CallBlock, nodes.FilterBlock)):
                    body.append(nodes.Output([_mark_of(child.lineno)], lineno=child.lineno))
                body.append(child)
            setattr(node, name, body)


def _mark_of(line: int) -> nodes.TemplateData:
    return nodes.TemplateData(f"\x01{line}\x02", lineno=line)


def _marked(output: nodes.Output) -> list[nodes.Expr]:
    marked: list[nodes.Expr] = []
    for part in output.nodes:
        if not isinstance(part, nodes.TemplateData):
            marked.extend((_mark_of(part.lineno), part))
            continue
        for number, piece in enumerate(part.data.splitlines(keepends=True)):
            marked.extend((_mark_of(part.lineno + number), nodes.TemplateData(piece, lineno=part.lineno)))
    return marked


def _unmark(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the text without marks, and for each of its lines the 0-based template line of its first mark.

    A line without a mark continues what the mark before it printed.
    """
    lines: list[str] = []
    line_of: list[int] = []
    current = 1
    for line in text.split("\n"):
        marks = list(_MARK.finditer(line))
        # A mark before the first character says the line better than one that an earlier line left open.
        here = next((int(mark[1]) for mark in marks if _follows(line, mark.end())), current)
        if marks and not _MARK.sub("", line[: marks[0].start()]).strip():
            current = here
        line_of.append(current - 1)
        lines.append(_MARK.sub("", line))
        if marks:
            current = int(marks[-1][1])
    return "\n".join(lines), tuple(line_of)


def _follows(line: str, at: int) -> bool:
    """Return whether text, not another mark, follows at a place of a line."""
    return at < len(line) and line[at] != "\x01"


def _line_in(traceback: TracebackType | None, file: str) -> int | None:
    """Return the last line of the template that a traceback passed through."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _joined(pieces: Iterator[str]) -> str:
    """Return all that a template prints, as long as that has a limit."""
    taken: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_OUTPUT:
            raise _TooMuchError(f"the result is longer than {MAX_OUTPUT} characters")
        taken.append(piece)
    return "".join(taken)


def render(
    source: Source, values: Mapping[str, Any], data: Mapping[str, Any], read: Reader
) -> Source | Problem:
    """Return the rendered text of a template, or what is wrong with it.

    `values` are visible as `config`, `data` as `data`; `read` gives the text of an included file of the folder, or
    None where there is none.
    """
    environment = _Environment(read)
    lines = tuple(source.lines)

    def problem(code: str, message: str, line: int | None, advice: str = "") -> Problem:
        number = min(max((line or 1) - 1, 0), len(lines) - 1)
        text = lines[number]
        # The last word that the message names is the one that is missing; it is pointed at where the line has it.
        word = re.findall(r"`(\w+)`", message)[-1:]
        found = re.search(rf"\b{word[0]}\b", text) if word else None
        start, length = found.span() if found else (len(text) - len(text.lstrip()), len(text.strip()))
        length = length - start if found else length
        return Problem(code, message, source.location(number, start, max(1, length)), help=advice)

    try:
        tree = environment.parse(source.text, source.file, source.file)
        environment.mark_lines(tree)
        template = environment.template_class.from_code(
            environment, environment.compile(tree, source.file, source.file), environment.make_globals(None)
        )
        rendered = _joined(template.generate(config=values, data=data))
    except TemplateSyntaxError as error:
        if error.filename not in {None, source.file}:
            return Problem(
                "jinja-syntax", _sentence(error.message), Location(str(error.filename), error.lineno)
            )
        go = re.search(r"\{\{-?\s*[.$]", lines[min(max(error.lineno - 1, 0), len(lines) - 1)])
        return problem("jinja-syntax", _sentence(error.message), error.lineno, _RAW if go else "")
    except UndefinedError as error:
        where = _line_in(error.__traceback__, source.file)
        missing = re.search(r"'([^']+)' is undefined|has no attribute '([^']+)'", error.message or "")
        name = "" if missing is None else missing[1] or missing[2]
        message = f"`{name}` is not defined" if name else _sentence(error.message)
        return problem("jinja-undefined", message, where, _undefined_advice(name, source.text, values, data))
    except TemplateNotFound as error:
        line = _line_in(error.__traceback__, source.file)
        message = f"`{error.name}` is not a file of the definition folder"
        return problem("jinja-include", message, line, "name a file relative to the definition folder")
    except (_TooMuchError, RecursionError, MemoryError, OverflowError) as error:
        said = str(error) if isinstance(error, _TooMuchError) else "it calls itself without end"
        if isinstance(error, OverflowError):
            said = _sentence(str(error))
        line = _line_in(error.__traceback__, source.file)
        return problem(
            "jinja-too-large", f"the template does not come to an end: {said}", line, "bound the loop"
        )
    except SecurityError as error:
        line = _line_in(error.__traceback__, source.file)
        return problem("jinja-error", _sentence(str(error)), line, "use only plain values and filters")
    except TemplateError as error:
        line = _line_in(error.__traceback__, source.file)
        return problem("jinja-error", _sentence(error.message), line)
    except Exception as error:  # noqa: BLE001  # an expression may raise anything; the line is what helps
        return problem("jinja-error", _sentence(str(error)), _line_in(error.__traceback__, source.file))
    text, line_of = _unmark(rendered)
    return Source(source.file, text, Origin(lines, line_of))


def _sentence(message: str | None) -> str:
    """Return Jinja2's words as a message of ours."""
    words = " ".join((message or "the template cannot be rendered").split()).rstrip(".")
    words = re.sub(r"'([^']*)'", r"`\1`", words)
    return words[:1].lower() + words[1:]


def _undefined_advice(name: str, text: str, values: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return where a name that is missing could come from, told apart by how the template asks for it."""
    if name == "Values":
        return _RAW
    if f"config.{name}" in text:
        close = nearest(name, values)
        holds = f"`config` holds {listing(sorted(values)) or 'nothing'}"
        return f"did you mean `config.{close}`?" if close else f"give the stack a value `{name}`; {holds}"
    if f"data.{name}" in text:
        close = nearest(name, data)
        holds = f"`data` holds {listing(sorted(data)) or 'nothing'}"
        return f"did you mean `data.{close}`?" if close else f"add a file `data/{name}.yaml`; {holds}"
    return "`config` (the stack's values) and `data` (the data files) are in scope"
