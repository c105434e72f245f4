"""YAML that we write: deterministic, safe in every YAML 1.1 reader, and without a secret."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.clients.values import MAX_NODES, format_as_go, format_values, parse_values
from fleet.definition.model import Credential
from fleet.desired.plan import plan
from fleet.desired.toml import to_toml
from fleet.desired.writer import to_yaml, write
from tests.unit.fleets import small_fleet

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT
JSON = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_values_are_read_back_unchanged(data):
    """Any JSON data survives as text."""
    assert parse_values(format_values(data)) == data
    assert parse_values(format_as_go(data)) == data


@given(st.dictionaries(TEXT, st.lists(SCALARS) | SCALARS))
def test_values_are_read_back_by_a_yaml_11_parser(data):
    """A parser of YAML 1.1 that is not ours reads the same."""
    assert yaml.safe_load(format_values(data)) == data


@pytest.mark.parametrize(
    "trap", [*"no on Y n 0123 08 0o17 1e3 1_000 1.10 null ~ << = 1:30 2024-01-01".split(), ""]
)
def test_strings_that_look_like_something_else_are_quoted(trap):
    """A string stays one, whatever it looks like."""
    assert format_values({"a": trap}) == f"a: '{trap}'\n"


def test_several_lines_are_a_block_scalar():
    """Text of several lines can be read and compared."""
    assert format_values({"a": "x\n  y: 1\n"}) == "a: |\n  x\n    y: 1\n"


def test_keys_keep_their_order():
    """What belongs together stays together."""
    assert (
        format_values({"b": 1, "a": {"z": [1, {"x": 2}], "c": {}}})
        == "b: 1\na:\n  z:\n  - 1\n  - x: 2\n  c: {}\n"
    )


def test_equal_parts_are_written_out():
    """No anchor appears because two parts happen to be one object."""
    part = {"x": 1}

    assert format_values({"a": part, "b": part}) == "a:\n  x: 1\nb:\n  x: 1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 2, column 1: did not find expected node content"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        ("a: !secret x", "line 1, column 4: could not determine a constructor for the tag '!secret'"),
        (
            "a: !!set {x}",
            "line 1, column 4: could not determine a constructor for the tag 'tag:yaml.org,2002:set'",
        ),
        ("[a]: b", "line 1: a key is not a scalar"),
        ("<<: [1]", "line 1: `<<` merges maps and nothing else"),
        ("a: .inf", "`.inf` has no place in JSON"),
        ("a: \x00", "unacceptable character #x0000: control characters are not allowed"),
    ],
)
def test_bad_text_is_one_value_error(text, message):
    """What is wrong is said with its place, as one kind of error."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared whole
        parse_values(text)

    assert str(caught.value) == message


def test_aliases_cannot_explode():
    """A few lines that stand for a billion values are refused, by aliases and by merges."""
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10))

    with pytest.raises(ValueError, match=f"more than {MAX_NODES} values"):
        parse_values(f"l0: &l0 x\n{levels}")

    merges = "".join(f"l{i}: &l{i} {{<<: [{', '.join([f'*l{i - 1}'] * 10)}]}}\n" for i in range(1, 30))
    assert parse_values(f"l0: &l0 {{a: 1}}\n{merges}")["l29"] == {"a": 1}


def test_deep_nesting_is_a_value_error():
    """A text that nests too deep is refused without a Python error."""
    with pytest.raises(ValueError, match=r"deep|expected"):
        parse_values("[" * 50_000 + "]" * 50_000)


def test_data_that_is_not_json_is_refused():
    """Nothing is written that JSON cannot hold."""
    for bad in (float("nan"), float("inf"), {1, 2}, object()):
        with pytest.raises(ValueError, match=r".+"):
            format_values({"a": bad})


def test_credentials_are_marks():
    """A credential shows where it comes from, and a plain one shows nothing."""
    data = {
        "a": Credential(config="argocdToken"),
        "b": [Credential(env="TOKEN")],
        "c": Credential(file="token.txt"),
        "d": Credential.model_validate({"value": "hunter2"}),
    }

    assert to_yaml(data) == "a: <config:argocdToken>\nb:\n- <env:TOKEN>\nc: <file:token.txt>\nd: <value>\n"


def test_written_plan_holds_no_secret_and_loads():
    """The whole plan is YAML, document by document, and no secret is in it."""
    text = write(plan(small_fleet()))

    documents = list(yaml.safe_load_all(text))
    assert "hunter2" not in text
    assert [document["kind"] for document in documents if document["kind"] == "Secret"] == ["Secret"] * 2
    assert text.count("\n# ") + 1 == len(documents)


def test_written_plan_leaves_out_what_is_no_object_of_ours():
    """A project that is only referred to and the gate are not printed."""
    kinds = [document["kind"] for document in yaml.safe_load_all(write(plan(small_fleet())))]

    assert kinds.count("Project") == 1
    assert "FleetReady" not in kinds


def test_tenant_is_written_with_its_values_as_text():
    """What the platform stores is what is shown."""
    documents = yaml.safe_load_all(write(plan(small_fleet())))
    acme = next(item for item in documents if item["kind"] == "VirtualClusterInstance")

    values = parse_values(acme["spec"]["template"]["helmRelease"]["values"])
    assert values["integrations"] == {"argoCD": {"enabled": True, "connector": "akuity-prod"}}


@pytest.mark.parametrize("value", [[None], [1, {"a": [None]}]])
def test_toml_has_no_word_for_nothing(value):
    """A list that holds nothing is refused."""
    with pytest.raises(ValueError, match="no word"):
        to_toml({"a": value})
