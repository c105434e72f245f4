"""The settings file of a stack, as the commands without Pulumi read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.definition.stack import stack_config
from fleet.errors import DefinitionError

SECRET = "config:\n  fleet:argocdToken:\n    secure: v1:abc\n"


def stacks(folder: Path, text: str | bytes, stack: str = "dev") -> Path:
    (folder / f"Pulumi.{stack}.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", {}),
        ("encryptionsalt: v1:x\n", {}),
        ("config:\n", {}),
        ("config:\n  fleet:values:\n", {}),
        ("config:\n  fleet:definition: d\n", {"fleet:definition": "d"}),
        (SECRET, {"fleet:argocdToken": {"secure": "v1:abc"}}),
        ("config:\n  fleet:values: {environment: dev}\n", {"fleet:values": {"environment": "dev"}}),
        ('config:\n  fleet:values: \'{"environment":"dev"}\'\n', {"fleet:values": {"environment": "dev"}}),
    ],
    ids=["empty", "salt", "no config", "no values", "definition", "secret", "values", "values as JSON"],
)
def test_config_is_what_pulumi_would_read(tmp_path: Path, text: str, config: dict[str, object]) -> None:
    """Values set with and without `--path` are the same; an encrypted one stays as it is."""
    assert stack_config(stacks(tmp_path, text), "dev") == config


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("config: [1]\n", "wrong-type", 1),
        ("- config\n", "wrong-type", 1),
        ("config:\n  fleet:values: foo\n", "wrong-type", 2),
        ("config:\n  fleet:values: [a]\n", "wrong-type", 2),
        ("config:\n  fleet:definition: 3\n", "wrong-type", 2),
        ("config: [\n", "yaml-syntax", 2),
        (b"config: \xff\n", "encoding", 1),
    ],
)
def test_a_broken_file_is_a_problem_at_its_place(
    tmp_path: Path, text: str | bytes, code: str, line: int
) -> None:
    """The same report as for a definition, never a Python error."""
    with pytest.raises(DefinitionError) as caught:
        stack_config(stacks(tmp_path, text), "dev")

    (problem,) = caught.value.problems
    assert (problem.code, problem.location and problem.location.line) == (code, line)


def test_a_stack_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    """The stacks of the folder are those that have a file."""
    with pytest.raises(DefinitionError, match="did you mean `staging`"):
        stack_config(stacks(tmp_path, "", "staging"), "stagin")
