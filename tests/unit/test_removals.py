"""What this stack has deleted itself is known to be gone, also to the run after one that was killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Ref
from fleet.providers.removals import Removals

SERVER = "https://platform.example.com"
ACME = Ref("management.loft.sh/v1", "VirtualClusterInstance", "p-ai", "acme")


def test_a_later_process_knows_what_was_deleted(tmp_path: Path) -> None:
    """Nothing of the first one is left but its notes."""
    Removals(tmp_path).note("fleet.dev", SERVER, ACME)

    assert Removals(tmp_path).knows("fleet.dev", SERVER, ACME)


def test_a_note_is_about_one_object_of_one_stack_in_one_system(tmp_path: Path) -> None:
    """Another stack, server or object of the same name is not meant."""
    Removals(tmp_path).note("fleet.dev", SERVER, ACME)
    later = Removals(tmp_path)

    assert not later.knows("fleet.prod", SERVER, ACME)
    assert not later.knows("fleet.dev", "https://other.example.com", ACME)
    assert not later.knows("fleet.dev", SERVER, Ref(ACME.api_version, ACME.kind, "p-other", "acme"))


def test_what_was_made_again_is_no_more_known_to_be_gone(tmp_path: Path) -> None:
    """Its absence counts from then on."""
    first = Removals(tmp_path)
    first.note("fleet.dev", SERVER, ACME)
    Removals(tmp_path).forget("fleet.dev", SERVER, ACME)

    assert not Removals(tmp_path).knows("fleet.dev", SERVER, ACME)


def test_a_note_that_was_cut_off_is_none(tmp_path: Path) -> None:
    """Its process was killed while it wrote; the notes before it stand."""
    Removals(tmp_path).note("fleet.dev", SERVER, ACME)
    (file,) = tmp_path.iterdir()
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole + whole.strip().replace("acme", "glo"), encoding="utf-8")
    later = Removals(tmp_path)

    assert later.knows("fleet.dev", SERVER, ACME)
    assert not later.knows("fleet.dev", SERVER, Ref(ACME.api_version, ACME.kind, "p-ai", "glo"))


def test_notes_grow_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted long ago says nothing about what is missing today."""
    Removals(tmp_path).note("fleet.dev", SERVER, ACME)
    (file,) = tmp_path.iterdir()
    now = time.time()
    monkeypatch.setattr("fleet.providers.removals.time.time", lambda: now + 30 * 24 * 3600)

    assert not Removals(tmp_path).knows("fleet.dev", SERVER, ACME)
    assert not file.exists()


def test_notes_are_the_users_own(tmp_path: Path) -> None:
    """Names of tenants are nobody else's business."""
    Removals(tmp_path / "removed").note("fleet.dev", SERVER, ACME)
    (file,) = (tmp_path / "removed").iterdir()

    assert file.stat().st_mode & 0o077 == 0
    assert (tmp_path / "removed").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """The guard stands as without notes."""
    tmp_path.chmod(0o500)
    Removals(tmp_path).note("fleet.dev", SERVER, ACME)

    assert not Removals(tmp_path).knows("fleet.dev", SERVER, ACME)
