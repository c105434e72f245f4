"""The text of a vcluster.yaml: read and written as the platform's own parser reads and writes it.

The platform holds a tenant's values as YAML text and parses it with sigs.k8s.io/yaml: YAML 1.1 words (`no`, `on`,
`0123`), Go's number syntax, keys as strings, JSON types only. What is formatted here is read back there unchanged, and
what is parsed here means what it means there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

try:
    from yaml import CSafeDumper as _Dumper
    from yaml import CSafeLoader as _Loader
except ImportError:  # pragma: no cover  # PyYAML without libyaml: slower, same result
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Json: TypeAlias = Any

# An alias is one node in memory and many in the JSON that it stands for.
MAX_NODES: Final = 1_000_000
MAX_DEPTH: Final = 1_000

# Go reads an integer with base 0, else a float by this form; PyYAML wants a dot and a signed exponent in a float.
_INT = re.compile(r"[-+]?(0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
# PyYAML takes underscores alone for digits.
_NO_DIGITS = re.compile(r"[-+]?0[bBoOxX]_+\Z")
# What the Go emitter quotes though its own parser reads a string, for the sake of others.
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?\Z")
_MERGE: Final = "tag:yaml.org,2002:merge"
_MAP: Final = "tag:yaml.org,2002:map"
_SEQ: Final = "tag:yaml.org,2002:seq"
_STR: Final = "tag:yaml.org,2002:str"
_PLAIN: Final = "!plain"
_UINT64: Final = 2**64
_GO_PRECISION: Final = 6
_TRUE: Final = frozenset("y Y yes Yes YES on On ON true True TRUE".split())
_FALSE: Final = frozenset("n N no No NO off Off OFF false False FALSE".split())
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
# What numbers and infinities begin with.
_NUMERIC: Final = frozenset("+-.0123456789")
# A scalar that ends its line: with another of its style in its place the text is read alike but for it. A longer one
# might be too long for a key.
_WORD: Final = re.compile(
    r"""(?<=[:-]\ )
    (?:[A-Za-z0-9](?:[A-Za-z0-9\ ()._/+-]{0,500}[A-Za-z0-9()._/+-])?|'[\ -&(-~]{0,500}'|"[\ !\#-\[\]-~]{0,500}")$""",
    re.MULTILINE | re.VERBOSE,
)
_QUOTES: Final = frozenset("'\"")
# What no text has by chance; where one has it nevertheless, it has no outline.
_MARK: Final = "x-word-x"
MAX_OUTLINE_DEPTH: Final = 100
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


class _ValuesLoader(_Loader):
    """Scalars as Go reads them; every key a string. A fleet's preview and status read a text for each tenant."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._merged: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = {}
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        """Return the tag of a node that has none written: of every plain scalar one of ours, and never PyYAML's."""
        if kind is yaml.ScalarNode:
            return (_MERGE if value == "<<" else _PLAIN) if implicit[0] else _STR
        return _MAP if kind is yaml.MappingNode else _SEQ

    def descend_resolver(self, _parent: yaml.Node | None, _index: Any) -> None:
        """Refuse what nests too deep: PyYAML's C code composes it by recursion, without a limit, and crashes."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError

    def ascend_resolver(self) -> None:
        """Leave one level."""
        self._depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # as PyYAML has it
        """Return the data of a node; most are scalars, and take no detour."""
        if type(node) is yaml.ScalarNode and node.tag in (_PLAIN, _STR):
            return _scalar(node.value) if node.tag == _PLAIN else node.value
        return super().construct_object(node, deep=deep)

    def merged_pairs(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's pairs by key, `<<` resolved: own keys win, then the first source that has one.

        PyYAML's own way multiplies with nested merges; here each mapping is merged once.
        """
        known = self._merged.get(id(node))
        if known is not None:
            return known
        self._merged[id(node)] = {}
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        inherited: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(source, yaml.MappingNode):
                        raise ValueError(  # noqa: TRY004  # the text is wrong, not the caller
                            f"line {key.start_mark.line + 1}: `<<` merges maps and nothing else"
                        )
                    inherited = {**self.merged_pairs(source), **inherited}
            elif isinstance(key, yaml.ScalarNode):
                own[f"{key.tag} {key.value}"] = (key, value)
            else:
                raise ValueError(f"line {key.start_mark.line + 1}: a key is not a scalar")
        self._merged[id(node)] = {**inherited, **own}
        return self._merged[id(node)]


class _PlainDumper(_Dumper):
    """Every scalar goes out as the text and in the style that its representer chose; no tags, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: equal parts are written out, never as anchor and alias."""
        return True


class _ValuesDumper(_PlainDumper):
    """What people read: keys in their order, lines unbroken, single quotes."""


class _GoDumper(_PlainDumper):
    """What sigs.k8s.io/yaml writes: keys sorted, long lines folded, double quotes."""


def _scalar(text: str) -> str | int | float | bool | None:
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in _NUMERIC:
        return text
    digits = text.replace("_", "")
    if _INT.match(digits):
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        # Python reads no decimal number of thousands of digits.
        with suppress(ValueError):
            number = int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
            if -_UINT64 // 2 <= number < _UINT64:
                return number
    if _FLOAT.match(digits):
        # What no integer holds is a decimal fraction, in whichever base it was; what no float holds either is a text.
        fraction = float(digits)
        return fraction if math.isfinite(fraction) else text
    if _INFINITE.match(text):
        raise ValueError(f"`{text}` has no place in JSON")
    return text


def _construct_scalar(_: _ValuesLoader, node: yaml.ScalarNode) -> str | int | float | bool | None:
    return _scalar(str(node.value))


def _construct_mapping(loader: _ValuesLoader, node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in loader.merged_pairs(node).values():
        key: Hashable = loader.construct_object(key_node, deep=True)
        found[key if isinstance(key, str) else _key(key)] = loader.construct_object(value_node, deep=True)
    return found


def _construct_sequence(loader: _ValuesLoader, node: yaml.SequenceNode) -> list[Any]:
    found = []
    # No comprehension, which is one more call of a stack that deep nesting fills.
    for each in node.value:
        found.append(loader.construct_object(each, deep=True))  # noqa: PERF401
    return found


def _key(value: Hashable) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


_SCALAR_TAGS: Final = ("null", "bool", "int", "float", "merge", "timestamp")
# Nothing else has a place in JSON: sets, ordered maps, binary and tags of a user's own are refused.
_ValuesLoader.yaml_constructors = {
    _MAP: _construct_mapping,
    _SEQ: _construct_sequence,
    _STR: lambda loader, node: str(loader.construct_scalar(node)),
    **dict.fromkeys((_PLAIN, *(f"tag:yaml.org,2002:{name}" for name in _SCALAR_TAGS)), _construct_scalar),
    None: _Loader.yaml_constructors[None],
}


def parse_values(text: str) -> Json:
    """Return the data of a YAML text as the platform reads it: JSON types, keys as strings; None for an empty text.

    The texts of a fleet's tenants differ in few words: one outline is parsed for all of them.

    Raises:
        ValueError: the text is not one YAML document, or stands for more than `MAX_NODES` values.
    """
    outline, words = _apart(text)
    data = _outlined(outline)
    return _parsed(text) if data is None else _filled(data, words)[0]


class _Place(NamedTuple):
    """Where a word goes in an outline: its number."""

    number: int


@lru_cache(maxsize=512)
def _outlined(text: str) -> list[Json] | None:
    """Return the data of an outline in a list, with places for words; None where words may decide how it is read."""
    # Where a word is gone, another could begin before it.
    if _MARK in text or _apart(text)[0] != text:
        return None
    numbers = count()
    try:
        data = _parsed(
            _WORD.sub(lambda found: _in_place_of(found[0], f"{_MARK}{next(numbers)}{_MARK}"), text)
        )
        # In a list, since None is the data of an empty text.
        return [_with_places(data, 0)]
    except ValueError:
        return None


def _apart(text: str) -> tuple[str, list[str]]:
    """Return the outline of a text, and the words that it is without."""
    words: list[str] = []

    def emptied(found: re.Match[str]) -> str:
        words.append(found[0])
        return _in_place_of(found[0], "x")

    return _WORD.sub(emptied, text), words


def _in_place_of(word: str, other: str) -> str:
    """Return another word in the same style: text may go on after a plain one, and not after a quoted one."""
    return f"{word[0]}{other}{word[0]}" if word[0] in _QUOTES else other


def _with_places(data: Json, depth: int) -> Json:
    match data:
        case str() if _MARK in data:
            # A word that became a part of a text, of several lines for instance, is not read by itself.
            return _Place(int(data.removeprefix(_MARK).removesuffix(_MARK)))
        case dict() | list() if depth > MAX_OUTLINE_DEPTH:
            raise ValueError("nested too deep")
        case dict() if _MARK in "".join(data):
            raise ValueError("a word in a key")
        case dict():
            return {key: _with_places(value, depth + 1) for key, value in data.items()}
        case list():
            return [_with_places(each, depth + 1) for each in data]
    return data


def _filled(outline: Json, words: Sequence[str]) -> Json:
    kind = type(outline)
    if kind is dict:
        return {key: _filled(value, words) for key, value in outline.items()}
    if kind is list:
        return [_filled(each, words) for each in outline]
    if kind is _Place:
        word = words[outline.number]
        return word[1:-1] if word[0] in _QUOTES else _scalar(word)
    return outline


def _parsed(text: str) -> Json:
    try:
        data = yaml.load(text, Loader=_ValuesLoader)  # noqa: S506  # a safe loader with narrower scalars
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ValueError(reason) from error
    _check_size(data)
    return data


def _check_size(data: Any) -> None:
    count, stack = 0, [data]
    while stack:
        value = stack.pop()
        count += 1
        if count > MAX_NODES:
            raise ValueError(f"aliases stand for more than {MAX_NODES} values")
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _is_text(value: str) -> bool:
    """Return whether a plain scalar of this text is a string to every YAML 1.1 reader, Go's included."""
    digits = value.replace("_", "")
    return not (
        value in _NULL
        or value in _TRUE
        or value in _FALSE
        or value == "<<"
        or _INT.match(digits)
        or _NO_DIGITS.match(value)
        or _FLOAT.match(digits)
        or _INFINITE.match(value)
        or _BASE_60.match(value)
        or _TIMESTAMP.match(value)
    )


def _plain(dumper: _PlainDumper, text: str, style: str | None = None) -> yaml.ScalarNode:
    return dumper.represent_scalar(_PlainDumper.DEFAULT_SCALAR_TAG, text, style=style)


def _represent_str(dumper: _ValuesDumper, value: str) -> yaml.ScalarNode:
    lines = value.strip("\n")
    quoted = not _is_text(value) or value == "="
    return _plain(dumper, value, ("|" if lines else '"') if "\n" in value else "'" if quoted else None)


def _represent_str_as_go(dumper: _GoDumper, value: str) -> yaml.ScalarNode:
    return _plain(dumper, value, "|" if "\n" in value else None if _is_text(value) else '"')


def _represent_float(dumper: _ValuesDumper, value: float) -> yaml.ScalarNode:
    if not math.isfinite(value):
        raise ValueError(f"`{value}` has no place in JSON")
    return _plain(dumper, repr(value))


def _represent_float_as_go(dumper: _GoDumper, value: float) -> yaml.ScalarNode:
    if not math.isfinite(value):
        raise ValueError(f"`{value}` has no place in JSON")
    return _plain(dumper, format_float(value))


def format_float(value: float) -> str:
    """Return a float as it comes out of Go's JSON and then its YAML: whole as an integer, else like `%g`."""
    if value.is_integer() and abs(value) < _UINT64:
        return str(int(value))
    digits = Decimal(repr(value)).normalize().as_tuple()
    exponent = len(digits.digits) + int(digits.exponent) - 1
    if -4 <= exponent < _GO_PRECISION:
        return repr(value)
    mantissa = "".join(map(str, digits.digits))
    fraction = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
    return f"{'-' if digits.sign else ''}{mantissa[0]}{fraction}e{exponent:+03}"


def _represent_mapping(dumper: _PlainDumper, value: Mapping[str, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping(_MAP, value.items())


def _represent_mapping_as_go(dumper: _GoDumper, value: Mapping[str, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping(_MAP, sorted(value.items()))


def _represent_sequence(dumper: _PlainDumper, value: Sequence[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence(_SEQ, value)


_PlainDumper.yaml_implicit_resolvers = {}
_PlainDumper.yaml_multi_representers = {}
_PlainDumper.yaml_representers = {}
_PlainDumper.add_representer(None, _Dumper.represent_undefined)  # type: ignore[arg-type]  # for the rest
_PlainDumper.add_representer(type(None), lambda dumper, _: _plain(dumper, "null"))
_PlainDumper.add_representer(bool, lambda dumper, value: _plain(dumper, str(value).lower()))
_PlainDumper.add_representer(int, lambda dumper, value: _plain(dumper, str(value)))
_PlainDumper.add_multi_representer(list, _represent_sequence)
_PlainDumper.add_multi_representer(tuple, _represent_sequence)
_ValuesDumper.add_representer(str, _represent_str)
_ValuesDumper.add_multi_representer(str, _represent_str)
_ValuesDumper.add_representer(float, _represent_float)
_ValuesDumper.add_representer(dict, _represent_mapping)
_ValuesDumper.add_multi_representer(Mapping, _represent_mapping)  # type: ignore[type-abstract]  # any mapping
_GoDumper.add_representer(str, _represent_str_as_go)
_GoDumper.add_multi_representer(str, _represent_str_as_go)
_GoDumper.add_representer(float, _represent_float_as_go)
_GoDumper.add_representer(dict, _represent_mapping_as_go)
_GoDumper.add_multi_representer(Mapping, _represent_mapping_as_go)  # type: ignore[type-abstract]  # any mapping


def format_values(data: Json, *, sort_keys: bool = False) -> str:
    """Return JSON data as YAML text: block style, keys in their order, several lines as a block scalar.

    The text depends on the data alone, and the platform's parser reads exactly that data from it. With `sort_keys` it
    does not depend on the order of keys either: Pulumi's engine keeps none, so what is written live must not.

    Raises:
        ValueError: the data holds something that JSON cannot.
    """
    return _dump(_sorted(data) if sort_keys else data, _ValuesDumper, 2**31 - 1)


def format_as_go(data: Json) -> str:
    """Return JSON data as sigs.k8s.io/yaml writes it, which is what `toYaml` gives in a template.

    Raises:
        ValueError: the data holds something that JSON cannot.
    """
    return _dump(data, _GoDumper, 80)


def _sorted(data: Json) -> Json:
    if isinstance(data, Mapping):
        return {key: _sorted(data[key]) for key in sorted(data)}
    return [_sorted(item) for item in data] if isinstance(data, list | tuple) else data


def _dump(data: Json, dumper: type[_PlainDumper], width: int) -> str:
    try:
        text: str = yaml.dump(
            data, Dumper=dumper, default_flow_style=False, allow_unicode=True, width=width, sort_keys=False
        )
    except (yaml.YAMLError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ValueError(reason) from error
    # libyaml ends a document that its last scalar leaves open.
    return text.removesuffix("...\n")
