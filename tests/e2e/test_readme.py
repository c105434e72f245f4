"""The README's transcript, run as it stands."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import ROOT, Project
from tests.e2e.transcripts import play

pytestmark = pytest.mark.e2e


def test_the_transcript_of_the_readme_is_what_happens(walkthrough: Project) -> None:
    """Every command of the README prints what the README shows."""
    walkthrough.up()

    assert play(walkthrough, ROOT / "README.md") > 5
