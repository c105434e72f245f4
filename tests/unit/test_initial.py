"""A new fleet repository: sound as it is, for every delivery and hosting, and never over what is there."""

from __future__ import annotations

import itertools
import json
import re
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
import typer

from fleet.definition.load import load
from fleet.definition.model import Delivery
from fleet.desired.plan import plan
from fleet.desired.writer import write
from fleet.errors import format_report
from fleet.init_cli import environments_of
from fleet.initial.repository import Choices, Hosting, project_of, repository, requirement_of
from fleet.new_files import refuse_unless_empty, write_new
from fleet.refused import Refused

ROOT = Path(__file__).parents[2]


def choices(delivery: Delivery = Delivery.PLATFORM, hosting: Hosting = Hosting.SELF_HOSTED) -> Choices:
    return Choices(
        project="my-fleet",
        delivery=delivery,
        hosting=hosting,
        environments=("dev", "prod"),
        requirement="./wheels/fleet-0.1.0-py3-none-any.whl",
    )


@pytest.mark.parametrize(("delivery", "hosting"), list(itertools.product(Delivery, Hosting)))
def test_a_new_repository_passes_its_own_checks(tmp_path: Path, delivery: Delivery, hosting: Hosting) -> None:
    """Every stack is valid without a warning and renders; its README names every credential that it refers to."""
    texts = repository(choices(delivery, hosting))
    write_new(tmp_path, texts)

    for stack in ("dev", "prod"):
        loaded = load(tmp_path / "stacks" / stack, {})
        assert loaded.problems == (), format_report(loaded.problems)
        assert loaded.fleet is not None
        planned = plan(loaded.fleet)
        assert planned.problems == (), format_report(planned.problems)
        rendered = write(planned)
        assert {"acme-cert-manager", "acme-prometheus"} <= set(re.findall(r"acme-[a-z-]+", rendered)), (
            rendered
        )
        for key in set(re.findall(r"config: ([a-z]\w+)", "".join(texts.values()))):
            assert f"pulumi config set --stack {stack} --secret fleet:{key}\n" in texts["README.md"]


def test_its_project_is_this_ones() -> None:
    """What Pulumi reads differs in name and description alone, so that a fix here is not forgotten there."""
    texts = repository(choices())
    assert texts["__main__.py"] == (ROOT / "__main__.py").read_text(encoding="utf-8")
    ours = (ROOT / "Pulumi.yaml").read_text(encoding="utf-8")
    assert texts["Pulumi.yaml"].splitlines()[2:] == ours.splitlines()[2:]


def test_what_is_in_the_way_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    """A repository's own `.git` is not; with force, what lacks is added and no file changes."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")

    with pytest.raises(Refused, match=r"is not empty: `README.md`, `notes.txt`; nothing was written"):
        refuse_unless_empty(tmp_path, "")
    assert sorted(each.name for each in tmp_path.iterdir()) == [".git", "README.md", "notes.txt"]

    assert write_new(tmp_path, repository(choices())) == {"README.md"}
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "stacks/prod/fleet.yaml").is_file()


@pytest.mark.parametrize("given", ["", "dev,Prod", "dev,../x", "dev," + "x" * 41])
def test_an_environment_without_a_usable_name_is_refused(given: str) -> None:
    """It becomes the name of a stack, of a folder and of a fleet."""
    with pytest.raises(typer.BadParameter):
        environments_of(given)


@pytest.mark.parametrize(
    ("folder", "project"), [("My Fleet", "my-fleet"), ("fleet_2", "fleet-2"), ("...", "fleet")]
)
def test_a_project_is_named_after_its_folder(folder: str, project: str) -> None:
    """As near as Pulumi takes it."""
    assert project_of(folder) == project


class _Installed(Distribution):
    def __init__(self, origin: Any) -> None:
        self.origin = origin

    @property
    def version(self) -> str:
        return "1.2.3"

    def read_text(self, filename: str) -> str | None:
        return None if self.origin is None else json.dumps(self.origin)

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "./wheels/fleet-1.2.3-py3-none-any.whl"),
        ({"url": "file:///home/me/fleet", "dir_info": {}}, "./wheels/fleet-1.2.3-py3-none-any.whl"),
        (
            {"url": "https://git.example.com/fleet", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "fleet @ git+https://git.example.com/fleet@abc",
        ),
    ],
)
def test_the_program_is_found_again_where_it_came_from(origin: Any, expected: str) -> None:
    """By its commit, or as a wheel beside: no name that an index could have something else under."""
    assert requirement_of(_Installed(origin)) == expected
