"""Go templates as the platform renders them: text/template with the Sprig and Helm functions, held against real Helm.

Pure: no clock, no randomness, no files, environment or network reach a template. `gotpl` is the engine and this is the
only module that knows it. What it does not settle is settled here:

- A budget per text, counted in work and never in time, so that the same template fails on every machine: iterations,
  function calls, nesting, output, and the size of every value that passes through a function. `gotpl` counts the first
  four; sizes are counted by a guard around each function, before the call where the result can be far larger than the
  arguments (`repeat`, `until`, `indent`, `printf`, ...).
- `missingkey=zero`, and `<no value>` becomes nothing, as in Helm. A field of nothing is an error, as in Go.
- What two runs answer differently is refused: the clock, random values, new keys and certificates, salted hashes, the
  network and `lookup`. `date` and its kin use UTC, the zone of the platform's container.
- `keys` and `values` come sorted by key, where Go gives any order.
- `toYaml`, `fromYaml`, `fromJson` and `toToml` are ours, byte for byte those of Helm (numbers that are parsed become
  floats, as in Go); only the words of a parse error under `Error` differ.
- Refused: `env`, `expandenv`, `call`, `toYamlPretty`, and `printf` with `%s` of a map or list that holds more than
  strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache, wraps
from itertools import takewhile
from typing import Any, Final, TypeAlias

from gotpl import (
    BudgetExceededError,
    ContextFunction,
    Environment,
    ExecutionBudget,
    FunctionResult,
    SandboxPolicy,
    SandboxViolationError,
    Template,
    TemplateError,
    TemplateExecutionError,
    TemplateSyntaxError,
)
from gotpl.exts.helm import HelmExtension
from gotpl.funcs.sprig import dates, text_func_map
from gotpl.parse.nodes import (
    ActionNode,
    BlockNode,
    DotNode,
    FieldNode,
    IdentifierNode,
    IfNode,
    ListNode,
    NilNode,
    NumberNode,
    ParenthesizedNode,
    ParsedTemplate,
    PipeNode,
    RangeNode,
    StringNode,
    TemplateCallNode,
    TermNode,
    TextNode,
    VariableNode,
    WithNode,
)
from gotpl.parse.parser import parse_template
from gotpl.runtime.values import UNTYPED_NIL

from fleet.clients.values import format_as_go, parse_values
from fleet.desired.toml import to_toml

OPEN: Final = "{{"

MAX_SOURCE: Final = 100_000
MAX_OUTPUT: Final = 1_000_000
MAX_ITERATIONS: Final = 10_000
MAX_CALLS: Final = 100_000
MAX_DEPTH: Final = 50
MAX_WORK: Final = 2_000_000
MAX_VALUE: Final = 200_000
# What `include` and `tpl` write is counted when they return it, so each may write less.
MAX_ITERATIONS_INCLUDED: Final = 1_000
MAX_WIDTH: Final = 1_000

NOT_DETERMINISTIC: Final = frozenset(
    """
    now ago randAlpha randAlphaNum randAscii randBytes randInt randNumeric shuffle uuidv4 bcrypt htpasswd encryptAES
    genPrivateKey genCA genCAWithKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey
    getHostByName lookup
    """.split()
)
NOT_AVAILABLE: Final = frozenset(("env", "expandenv", "call", "toYamlPretty"))
# A text that may change the values it is given; another text must not see that.
_MUTATING: Final = frozenset(
    ("set", "unset", "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite", "tpl")
)


class GoTemplateError(Exception):
    """A text that cannot be rendered: what the engine says, and where in the text (1-based, 0 where it cannot say)."""

    def __init__(self, code: str, message: str, line: int = 0, column: int = 0, help: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.column = column
        self.help = help

    def __str__(self) -> str:
        """Return the message with its place in the text."""
        return f"line {self.line}, column {self.column}: {self.message}" if self.line else self.message


@dataclass(frozen=True, slots=True)
class FieldUse:
    """A field that a text reads from the root, like `.Values.a.b`: its path, and its place in the text."""

    path: tuple[str, ...]
    line: int
    column: int

    def __str__(self) -> str:
        """Return the field as it is written."""
        return "." + ".".join(self.path)


class _RefusalError(TemplateExecutionError):
    """A call that is not carried out; carries the problem's code through the engine."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- budget -----------------------------------------------------------------------------------------------------------

_work: ContextVar[list[int]] = ContextVar("work")


def _charge(amount: int) -> None:
    left = _work.get()
    left[0] -= amount
    if left[0] < 0:
        raise _RefusalError("template-budget", f"the template does too much work: more than {MAX_WORK} steps")


def _size(value: object) -> int:
    """Return how much a value stands for, counted as a tree: a part that is shared counts each time it is printed."""
    size, stack = 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, Mapping):
            size += len(item)
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            size += len(item)
            stack.extend(item)
        if size > MAX_VALUE:
            raise _RefusalError("template-budget", f"a value grows beyond {MAX_VALUE} characters")
    return size


def _guarded(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """Return the function with its arguments and its result counted, and its growth judged before it is called."""
    estimate, maps, engine = _ESTIMATES.get(name), _MAPS.get(name), name in _ENGINE

    @wraps(function)
    def call(*arguments: Any) -> object:
        if not engine:
            arguments = tuple(None if argument is UNTYPED_NIL else argument for argument in arguments)
        if maps is not None and not all(isinstance(argument, Mapping) for argument in arguments[maps]):
            raise TypeError("an argument that has to be a map is none")
        _charge(1 + sum(_size(argument) for argument in arguments))
        if estimate is not None:
            try:
                expected = estimate(*arguments)
            except (TypeError, ValueError, AttributeError):
                expected = 0  # wrong arguments: the function itself says so
            if expected > MAX_VALUE:
                raise _RefusalError("template-budget", f"a value grows beyond {MAX_VALUE} characters")
            _charge(max(0, expected))
        result = function(*arguments)
        _charge(_size(result.value if isinstance(result, FunctionResult) else result))
        return result

    return call


def _guarded_in_context(function: ContextFunction) -> ContextFunction:
    implementation = function.sync
    if implementation is None:  # pragma: no cover  # `include` and `tpl` both have one
        return function
    return ContextFunction(sync=_guarded_context_call(implementation), capabilities=function.capabilities)


def _guarded_context_call(function: Callable[..., object]) -> Callable[..., object]:
    @wraps(function)
    def call(context: object, *arguments: Any) -> object:
        _charge(1 + sum(_size(argument) for argument in arguments))
        result = function(context, *arguments)
        _charge(_size(result.value if isinstance(result, FunctionResult) else result))
        return result

    return call


def _steps(start: int, stop: int, step: int) -> int:
    return abs(stop - start) // max(1, abs(step))


def _seq_steps(*parameters: int) -> int:
    if len(parameters) == 3:
        return _steps(parameters[0], parameters[2], parameters[1]) * 20
    return _steps(parameters[0] if len(parameters) == 2 else 1, parameters[-1], 1) * 20


def _printf_width(form: str, *arguments: object) -> int:
    starred = "*" in form and any(isinstance(item, int) and abs(item) > MAX_WIDTH for item in arguments)
    wide = any(
        len(digits) > 5 or int(digits) > MAX_WIDTH for digits in re.findall(r"%[^a-zA-Z%]*?(\d+)", form)
    )
    precise = any(
        len(digits) > 5 or int(digits) > MAX_WIDTH for digits in re.findall(r"%[^a-zA-Z%]*?\.(\d+)", form)
    )
    return MAX_VALUE + 1 if starred or wide or precise else 0


def _indented(spaces: int, text: str) -> int:
    return max(0, spaces) * (text.count("\n") + 1) + len(text)


def _regex_cost(pattern: str, text: str, *rest: object) -> int:
    # The engine is linear, but in Python; a counted repetition is written out when the pattern is compiled.
    repeats = 1
    for digits in re.findall(r"\{(?:\d*,)?(\d+)", pattern):
        repeats *= max(1, int(digits[:6]))
    replacement = sum(len(item) for item in rest if isinstance(item, str))
    _charge(len(pattern) * min(repeats, MAX_WORK) * (len(text) + 100) // 2)
    return (len(text) + 1) * replacement


_ESTIMATES: Final[Mapping[str, Callable[..., int]]] = {
    "until": lambda count: abs(count) * 10,
    "untilStep": lambda start, stop, step: _steps(start, stop, step) * 10,
    "seq": _seq_steps,
    "repeat": lambda count, text: max(0, count) * len(text),
    "indent": _indented,
    "nindent": _indented,
    "replace": lambda old, new, text: (text.count(old) + 1) * len(new),
    "join": lambda separator, items: len(separator) * len(items),
    "wrapWith": lambda width, separator, text: len(separator) * (len(text) // max(1, width) + 1),
    "printf": _printf_width,
    "uniq": lambda items: len(items) ** 2 // 10,
    "mustUniq": lambda items: len(items) ** 2 // 10,
    "without": lambda items, *omitted: len(items) * len(omitted),
    "derivePassword": lambda *_: MAX_VALUE // 2,
    **{
        f"{must}{name}": _regex_cost
        for must in ("regex", "mustRegex")
        for name in ("Match", "FindAll", "Find", "ReplaceAll", "ReplaceAllLiteral", "Split")
    },
}


# --- functions --------------------------------------------------------------------------------------------------------


def _no_clock() -> Any:
    raise _RefusalError("template-not-deterministic", "the current time is different at each run")


def _in_zone(zone: str) -> str:
    return "UTC" if zone == "Local" else zone


# The engine's own functions (`print`, `index`, ...). It has no public list of them.
_ENGINE: Final[Mapping[str, Callable[..., object]]] = dict(Template("")._runtime_functions)  # noqa: SLF001


def _date(layout: str, value: object) -> str:
    return dates.date_in_zone(layout, value, "UTC", clock=_no_clock)


def _date_in_zone(layout: str, value: object, zone: str) -> str:
    return dates.date_in_zone(layout, value, _in_zone(zone), clock=_no_clock)


def _must_to_date(layout: str, value: str) -> object:
    # The engine's own takes the machine's zone for a text that names none.
    return dates._parse_go_time(layout, value, UTC)  # noqa: SLF001


def _to_date(layout: str, value: str) -> object:
    try:
        return _must_to_date(layout, value)
    except ValueError:
        return datetime(1, 1, 1, tzinfo=UTC)


def _html_date(value: object) -> str:
    return dates.date_in_zone("2006-01-02", value, "UTC", clock=_no_clock)


def _html_date_in_zone(value: object, zone: str) -> str:
    return dates.date_in_zone("2006-01-02", value, _in_zone(zone), clock=_no_clock)


def _to_yaml(value: object) -> str:
    try:
        return format_as_go(value).removesuffix("\n")
    except ValueError:
        return ""


def _must_to_yaml(value: object) -> str:
    return format_as_go(value).removesuffix("\n")


def _from_yaml(text: str) -> dict[str, object]:
    try:
        data = parse_values(text)
    except ValueError as error:
        return {"Error": str(error)}
    found = _floats({} if data is None else data)
    return found if isinstance(found, dict) else {"Error": "the text is no map"}


def _from_yaml_array(text: str) -> list[object]:
    try:
        data = parse_values(text)
    except ValueError as error:
        return [str(error)]
    found = _floats([] if data is None else data)
    return found if isinstance(found, list) else ["the text is no list"]


def _from_json(text: str) -> dict[str, object]:
    try:
        found = _floats(json.loads(text))
    except ValueError as error:
        return {"Error": str(error)}
    return found if isinstance(found, dict) else {} if found is None else {"Error": "the text is no map"}


def _from_json_array(text: str) -> list[object]:
    try:
        found = _floats(json.loads(text))
    except ValueError as error:
        return [str(error)]
    return found if isinstance(found, list) else [] if found is None else ["the text is no list"]


def _floats(data: Any) -> Any:
    """Return parsed data with each number a float, as Go's decoder gives them."""
    if isinstance(data, dict):
        return {key: _floats(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_floats(value) for value in data]
    return float(data) if isinstance(data, int) and not isinstance(data, bool) else data


def _to_toml(value: object) -> str:
    try:
        return _must_to_toml(value)
    except (ValueError, TypeError) as error:
        return str(error)


def _must_to_toml(value: object) -> str:
    if not isinstance(value, Mapping):
        raise TypeError("only a map can be TOML")
    return to_toml(value)


def _printf(form: str, *arguments: object) -> object:
    verbs = [verb for verb in _VERB.findall(form) if verb != "%"]
    for place, argument in enumerate(arguments):
        if isinstance(argument, Mapping | list | tuple) and verbs[place : place + 1] == ["s"]:
            if "*" in form or "[" in form or not all(isinstance(leaf, str) for leaf in _leaves(argument)):
                raise _RefusalError(
                    "template-unsupported", "`%s` of this value is not supported; use `%v` or `toJson`"
                )
            arguments = (*arguments[:place], _ENGINE["print"](argument), *arguments[place + 1 :])
    written = _ENGINE["printf"](form, *arguments)
    return written.replace("(<nil>=<no value>)", "(<nil>)") if isinstance(written, str) else written


def _leaves(data: Any) -> Iterator[object]:
    if isinstance(data, Mapping | list | tuple):
        for item in data.values() if isinstance(data, Mapping) else data:
            yield from _leaves(item)
    else:
        yield data


def _sorted_keys(*maps: dict[str, object]) -> list[str]:
    return [key for item in maps for key in sorted(item)]


def _sorted_values(item: dict[str, object]) -> list[object]:
    return [item[key] for key in sorted(item)]


_VERB: Final = re.compile(r"%[-+# 0]*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?(\w|%)")

_OVERRIDES: Final[Mapping[str, Callable[..., object]]] = {
    "date": _date,
    "dateInZone": _date_in_zone,
    "date_in_zone": _date_in_zone,
    "htmlDate": _html_date,
    "htmlDateInZone": _html_date_in_zone,
    "toDate": _to_date,
    "mustToDate": _must_to_date,
    "durationRound": text_func_map(clock=_no_clock)["durationRound"],
    "keys": _sorted_keys,
    "values": _sorted_values,
    "toYaml": _to_yaml,
    "mustToYaml": _must_to_yaml,
    "fromYaml": _from_yaml,
    "fromYamlArray": _from_yaml_array,
    "fromJson": _from_json,
    "fromJsonArray": _from_json_array,
    "toToml": _to_toml,
    "mustToToml": _must_to_toml,
    "printf": _printf,
}

# Which arguments have to be maps; the engine takes anything that answers like one.
_MAPS: Final[Mapping[str, slice]] = {
    **dict.fromkeys(("hasKey", "get", "set", "unset", "pick", "omit", "values"), slice(0, 1)),
    **dict.fromkeys(("keys", "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite"), slice(0, None)),
    "pluck": slice(1, None),
    "dig": slice(-1, None),
}


def _refusing(name: str) -> Callable[..., object]:
    def call(*_: object) -> object:
        raise _RefusalError("template-not-deterministic", f"`{name}` answers differently at each run")

    return call


def _functions() -> dict[str, Callable[..., object]]:
    known = {**_ENGINE, **HelmExtension().functions, **_OVERRIDES}
    found: dict[str, Callable[..., object]] = {}
    for name, function in known.items():
        if name in NOT_AVAILABLE:
            continue
        if name in NOT_DETERMINISTIC:
            found[name] = _refusing(
                name
            )  # reached only through `tpl`; elsewhere it is found before rendering
            continue
        if isinstance(function, ContextFunction):
            found[name] = _guarded_in_context(function)
        else:
            found[name] = _guarded(name, function)
    return found


_FUNCTIONS: Final = _functions()
_CAPABILITIES: Final = ("render-associated", "render-dynamic-source")
_INCLUDING: Final = frozenset(("include", "tpl"))
# The engine evaluates these itself, to stop at the first answer.
_LOGICAL: Final = frozenset(("and", "or"))


@lru_cache(maxsize=1024)
def _environment(called: frozenset[str]) -> Environment:
    """Return an environment that holds the functions a text calls and no other.

    The engine copies its functions at every rendering, and most texts call none or two of two hundred. A text that
    renders another one (`tpl`) may call any.
    """
    including = bool(called & _INCLUDING)
    functions = (
        _FUNCTIONS if "tpl" in called else {name: _FUNCTIONS[name] for name in sorted(called - _LOGICAL)}
    )
    return Environment(
        functions=functions,
        missing_key="zero",
        sandbox=SandboxPolicy.strict(
            allow_functions=functions,
            allow_context_capabilities=_CAPABILITIES,
            allow_attributes=("Major", "Minor", "Patch"),
            allow_methods=("Prerelease", "Metadata", "Original", "Compare"),
            max_template_chars=MAX_SOURCE,
        ),
        budget=ExecutionBudget(
            max_output_chars=MAX_OUTPUT,
            max_iterations=MAX_ITERATIONS_INCLUDED if including else MAX_ITERATIONS,
            max_template_depth=MAX_DEPTH,
            max_function_calls=MAX_CALLS,
        ),
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A function called with constants, values or what other functions return."""

    function: Callable[..., object]
    arguments: tuple[Piece, ...]


Piece: TypeAlias = str | int | tuple[str, ...] | Call
"""A constant, the path of a value below `.Values`, or a call."""

# Functions whose result is a text wherever their arguments are texts and numbers.
_TEXTUAL: Final = frozenset(
    """
    b64enc default indent lower nindent nospace printf quote replace squote toString trim trimPrefix trimSuffix trunc
    upper
    """.split()
)
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,8}")
# What is longer is the engine's, which counts what it writes.
_SHORT: Final = 10_000


# --- reading a text ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scan:
    """What a text uses, found without rendering it: functions and fields from the root, in the order they stand.

    `reads` are the paths below `.Values` whose values alone make the result, None where it may depend on any other.
    `pieces` are its literal texts and what is put between them, None where that is more than `render_pieces` knows.
    """

    functions: tuple[tuple[str, int, int], ...]
    fields: tuple[FieldUse, ...]
    reads: tuple[tuple[str, ...], ...] | None
    pieces: tuple[Piece, ...] | None


@lru_cache(maxsize=4096)
def scan(text: str) -> Scan:
    """Return what a text uses.

    Raises:
        GoTemplateError: the text is no template.
    """
    try:
        parsed = parse_template(text, name="template", functions=_FUNCTIONS)
    except (TemplateError, RecursionError) as error:
        raise _converted(error) from None
    walk = _Walk(text)
    walk.list(parsed.root, root=True)
    for definition in parsed.definitions:
        walk.list(definition.body, root=False)
    return Scan(tuple(walk.functions), tuple(walk.fields), walk.reads(), _pieces(parsed))


def _pieces(parsed: ParsedTemplate) -> tuple[Piece, ...] | None:
    found: list[Piece] = []
    for node in parsed.root.nodes:
        if isinstance(node, TextNode):
            found.append(node.text)
            continue
        piece = _piped(node.pipeline) if isinstance(node, ActionNode) else None
        if not isinstance(piece, tuple | Call):
            return None
        found.append(piece)
    return tuple(found)


def _piped(pipe: PipeNode) -> Piece | None:
    """Return what a pipeline writes, None where it does more than look up values and call functions of texts."""
    if pipe.declarations:
        return None
    found: Piece | None = None
    for place, command in enumerate(pipe.commands):
        first, *rest = command.arguments
        if isinstance(first, IdentifierNode):
            arguments = [_argument(term) for term in rest] + ([found] if place else [])
            given = tuple(each for each in arguments if each is not None)
            if first.name not in _TEXTUAL or len(given) < len(arguments):
                return None
            found = Call(_FUNCTIONS[first.name], given)
        elif place or rest:
            return None
        else:
            found = _argument(first)
    return found


def _argument(term: TermNode) -> Piece | None:
    if isinstance(term, FieldNode) and term.fields[0] == "Values":
        return term.fields[1:]
    if isinstance(term, ParenthesizedNode) and not term.fields:
        return _piped(term.pipeline)
    if isinstance(term, NumberNode) and _DECIMAL.fullmatch(term.text):
        return int(term.text)
    return term.value if isinstance(term, StringNode) else None


class _Walk:
    """A walk over a parsed text that knows where `.` still is the root."""

    def __init__(self, text: str) -> None:
        self.encoded = text.encode()
        self.functions: list[tuple[str, int, int]] = []
        self.fields: list[FieldUse] = []
        self.hands_on_root = False

    def reads(self) -> tuple[tuple[str, ...], ...] | None:
        paths = dict.fromkeys(field.path for field in self.fields)
        if self.hands_on_root or any(path[0] != "Values" or len(path) == 1 for path in paths):
            return None
        return tuple(path[1:] for path in paths)

    def place(self, offset: int) -> tuple[int, int]:
        before = self.encoded[:offset].decode(errors="replace")
        return before.count("\n") + 1, len(before) - before.rfind("\n")

    def list(self, nodes: ListNode | None, *, root: bool) -> None:
        for node in nodes.nodes if nodes is not None else ():
            if isinstance(node, ActionNode | IfNode | WithNode | RangeNode | BlockNode | TemplateCallNode):
                self.pipe(node.pipeline, root=root)
            if isinstance(node, IfNode | WithNode | RangeNode):
                self.list(node.body, root=root and isinstance(node, IfNode))
                self.list(node.else_body, root=root)
            elif isinstance(node, BlockNode):
                self.list(node.body, root=False)

    def pipe(self, pipe: PipeNode | None, *, root: bool) -> None:
        for command in pipe.commands if pipe is not None else ():
            first = command.arguments[0]
            if isinstance(first, NilNode):
                raise GoTemplateError("template-syntax", "nil is not a command", *self.place(first.start))
            below = takewhile(lambda term: isinstance(term, StringNode), command.arguments[2:])
            literals = tuple(term.value for term in below if isinstance(term, StringNode))
            indexed = isinstance(first, IdentifierNode) and first.name == "index"
            for place, term in enumerate(command.arguments):
                self.term(term, literals if indexed and place == 1 else (), root=root)

    def term(self, term: TermNode, below: tuple[str, ...], *, root: bool) -> None:
        if isinstance(term, IdentifierNode):
            self.functions.append((term.name, *self.place(term.start)))
        elif isinstance(term, ParenthesizedNode):
            self.pipe(term.pipeline, root=root)
        elif isinstance(term, DotNode):
            self.hands_on_root |= root
        elif isinstance(term, VariableNode) and term.name == "$" and not term.fields:
            self.hands_on_root = True
        elif (
            isinstance(term, FieldNode | VariableNode)
            and term.fields
            and self.is_root(term, dot_is_root=root)
        ):
            self.fields.append(FieldUse(term.fields + below, *self.place(term.start)))

    @staticmethod
    def is_root(term: FieldNode | VariableNode, *, dot_is_root: bool) -> bool:
        return dot_is_root if isinstance(term, FieldNode) else term.name == "$"


@lru_cache(maxsize=4096)
def _compiled(text: str) -> tuple[Template, bool]:
    """Return the compiled text, and whether rendering it may change the values that it is given."""
    if len(text) > MAX_SOURCE:
        raise GoTemplateError("template-budget", f"the text is longer than {MAX_SOURCE} characters")
    used = scan(text)
    for name, line, column in used.functions:
        if name in NOT_DETERMINISTIC:
            raise GoTemplateError(
                "template-not-deterministic",
                f"`{name}` answers differently at each run",
                line,
                column,
                "make it a parameter: a preview that is never empty teaches people not to read previews",
            )
    called = frozenset(name for name, _, _ in used.functions)
    try:
        return _environment(called).from_string(text), bool(called & _MUTATING)
    except (TemplateError, RecursionError) as error:
        raise _converted(error) from None


# --- rendering --------------------------------------------------------------------------------------------------------


def render_text(text: str, values: Mapping[str, Any]) -> str:
    """Return a text rendered with `.Values`; one without `{{` is returned as it is.

    Raises:
        GoTemplateError: what is wrong with it, and where.
    """
    if OPEN not in text:
        return text
    template, mutates = _compiled(text)
    if mutates:
        values = _copied(values)
    token = _work.set([MAX_WORK])
    try:
        return template.render({"Values": values}).replace("<no value>", "")
    except (
        TemplateError,
        RecursionError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        OSError,
    ) as error:
        raise _converted(error) from error
    finally:
        _work.reset(token)


class _UnsureError(Exception):
    pass


def render_pieces(pieces: tuple[Piece, ...], values: Mapping[str, Any]) -> str | None:
    """Return a text rendered from its pieces, as `render_text` does; None where only the engine can tell.

    It can where every value is a text and every function returns one, which needs nothing of the engine but joining.
    """
    token = _work.set([MAX_WORK])
    try:
        joined = "".join([piece if type(piece) is str else _written(piece, values) for piece in pieces])
    except Exception:  # noqa: BLE001  # whatever it is, the engine says it in its own way
        return None
    finally:
        _work.reset(token)
    return joined.replace("<no value>", "") if len(joined) < _SHORT else None


def _written(piece: Piece, values: Mapping[str, Any]) -> str:
    found: Any
    if type(piece) is Call:
        given = [each if type(each) in (str, int) else _written(each, values) for each in piece.arguments]
        found = piece.function(*given)
    else:
        found = values
        for part in piece if type(piece) is tuple else ():
            if type(found) is not dict:
                raise _UnsureError
            found = found.get(part)
    if type(found) is not str:
        raise _UnsureError
    return found


def check_text(text: str) -> None:
    """Check a text without rendering it.

    Raises:
        GoTemplateError: it is no template, or uses what no template of a fleet may use.
    """
    if OPEN in text:
        _compiled(text)


def function_names() -> Iterator[str]:
    """Yield the name of every function that a template may call."""
    yield from sorted(set(_FUNCTIONS) - NOT_DETERMINISTIC)


def _copied(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(value) for value in data] if isinstance(data, list | tuple) else data


def _converted(error: Exception) -> GoTemplateError:
    """Return the engine's error as ours: its own words without its wrapping, the place inside the text."""
    line, column = getattr(error, "line", None) or 0, getattr(error, "column", None) or 0
    if isinstance(error, TemplateSyntaxError):
        message = re.sub(r"^template:\d+:\d+: ", "", str(error)).replace("'", "`")
        unknown = re.fullmatch(r"function `(\w+)` not defined", message)
        if unknown and unknown[1] in NOT_AVAILABLE:
            return GoTemplateError(
                "template-syntax",
                f"`{unknown[1]}` is not available to templates",
                line,
                column,
                "make it a parameter",
            )
        near = get_close_matches(unknown[1], list(function_names()), n=1) if unknown else []
        return GoTemplateError(
            "template-syntax", message, line, column, f"did you mean `{near[0]}`?" if near else ""
        )
    if isinstance(error, RecursionError):
        return GoTemplateError(
            "template-budget", f"the template nests deeper than {MAX_DEPTH} levels", line, column
        )
    if isinstance(error, _RefusalError):
        return GoTemplateError(error.code, error.message, line, column)
    if isinstance(error, BudgetExceededError):
        return GoTemplateError("template-budget", _budget_words(error.message), line, column)
    message = (
        error.message if isinstance(error, TemplateExecutionError) else str(error) or type(error).__name__
    )
    if isinstance(error, SandboxViolationError):
        field = re.fullmatch(r"\w+ '([^']+)' is not allowed", message)
        message = (
            f"no field `{field[1]}` here: the value before it is missing or no map" if field else message
        )
    message = re.sub(r"^function '(?:fail|required)' failed: ", "", message)
    message = re.sub(r"^function '(\w+)' failed: ", r"`\1`: ", message)
    return GoTemplateError("template-failed", message, line, column)


def _budget_words(message: str) -> str:
    label = message.partition(" budget")[0]
    return {
        "iteration": f"the template loops more than {MAX_ITERATIONS} times",
        "output character": f"the template writes more than {MAX_OUTPUT} characters",
        "function-call": f"the template calls functions more than {MAX_CALLS} times",
        "template-depth": f"the template calls templates deeper than {MAX_DEPTH} levels",
    }.get(label, message)
