"""`fleet preview` on the real engine: what a pull request is told of a day's change, and of one that is refused."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, ROOT, SECRETS, Project, data_of
from tests.e2e.fleets import TENANT, Small, small_fleet
from tests.e2e.transcripts import play

pytestmark = pytest.mark.e2e

# A secret that a Jinja2 file makes into a label: nothing of the engine's knows it for one.
RENDERED = "plain-rendered-word-0123456789"


@pytest.fixture
def small(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Small]:
    """A deployed fleet of four tenants."""
    with small_fleet(sandbox, client, tmp_path, "dev") as found:
        yield found


def preview(small: Small, *options: str, **more: str) -> tuple[int, str, str]:
    """Return the exit code of `fleet preview --stack dev`, its stdout and its stderr; `more` is for its environment."""
    done = subprocess.run(
        ["fleet", "preview", "--stack", "dev", *options],
        cwd=small.project.folder,
        env={**small.project.environment, **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not [value for value in (*SECRETS.values(), RENDERED) if value in done.stdout + done.stderr]
    return done.returncode, done.stdout, done.stderr


def test_what_a_pull_request_is_told(small: Small) -> None:
    """A tenant more, another version, one tenant less and a hand at a tenant: each is seen, the secret is not."""
    code, text, _ = preview(small, "--markdown", "--exit-code")
    assert (code, text.splitlines()[0]) == (0, "<!-- fleet preview: fleet/dev -->")
    assert "no changes" in text

    small.project.run("pulumi", "config", "set", "--secret", "--path", "fleet:values.word", secret=RENDERED)
    text = TENANT.format(name="epsilon", ring="{{ config.word }}")
    (small.folder / "tenants" / "epsilon.yaml.j2").write_text(text, encoding="utf-8")
    small.tenant("delta").unlink()
    small.edit("template.yaml", "1.0.0", "1.1.0")
    small.edit("fleet.yaml", "argocdToken", "akuityApiKeyId")
    small.project.client.patch(
        Ref(PLATFORM, "VirtualClusterInstance", "p-small", "beta"), {"metadata": {"labels": {"ring": "hand"}}}
    )
    whole = small.project.folder / "dev.diff"
    code, text, _ = preview(small, "--markdown", "--exit-code", "--full-diff", "dev.diff")

    assert code == 2
    assert "### Preview of `fleet/dev`: 2 to create, 8 to update, 2 to delete" in text
    assert "- **deletes 1 tenant with everything in them**: `delta`" in text
    assert "- **updates a connector that 5 of 5 tenants use**: `small`" in text
    assert "- **puts back 1 object changed or removed since the last run**: `Tenant beta`" in text
    assert "**Reach**: 5 of 5 tenants (100%)" in text
    assert "| delete | 1 | 25% | 1 (30%) |" in text
    assert "| `alpha` | `1.0.0` &rarr; `1.1.0` |" in text
    assert "| `delta` | `1.0.0` &rarr; removed |" in text
    assert "| `epsilon` | new: `1.1.0` |" in text
    assert '- manifest.metadata.labels.ring: "hand"\n+ manifest.metadata.labels.ring: "dev"' in text
    assert "+ fingerprints.token: [secret], another one" in text
    written = whole.read_text(encoding="utf-8")
    assert "@@ create Tenant epsilon @@" in written
    assert "+ manifest.metadata.labels.ring: [secret]" in written
    assert not [value for value in (*SECRETS.values(), RENDERED) if value in written]

    assert preview(small, "--markdown", "--full-diff", "dev.diff") == (0, text, "")
    code, printed, _ = preview(small, "--format", "json")
    assert (code, json.loads(printed)["counts"]) == (
        0,
        {"create": 2, "update": 8, "replace": 0, "delete": 2, "same": 5},
    )

    # In state it is encrypted, and stays so when a hand's edit is put back.
    epsilon = Ref(PLATFORM, "VirtualClusterInstance", "p-small", "epsilon")
    for _ in range(2):
        small.project.up()
        assert RENDERED not in small.project.state()
        assert small.project.steps() == set()
        assert data_of(small.project.client.get(epsilon))["metadata"]["labels"]["ring"] == RENDERED
        small.project.client.patch(epsilon, {"metadata": {"labels": {"ring": "hand"}}})


def test_what_a_pull_request_is_told_of_a_refusal(small: Small) -> None:
    """A guard's breach, a bad definition and an engine that cannot begin each end with 1 and the reason as Markdown."""
    for name in ("beta", "gamma", "delta"):
        small.tenant(name).unlink()
    code, text, _ = preview(small, "--markdown")
    assert code == 1
    assert re.search(r"^  this run would delete 3 of 4 tenants, .*allows 1 \(30%\)", text, re.MULTILINE)
    assert "- {delete: [beta, delta, gamma]}" in text

    small.tenant("beta").write_text("kind: Tennant\n", encoding="utf-8")
    code, text, _ = preview(small, "--markdown")
    assert code == 1
    assert text.startswith("<!-- fleet preview: fleet/dev -->\n### Preview of `fleet/dev`: failed\n")
    assert "--> tenants/beta.yaml:1:7" in text

    code, text, said = preview(small, PULUMI_CONFIG_PASSPHRASE="wrong")
    assert (code, text) == (1, "")
    assert "incorrect passphrase" in said
    code, text, _ = preview(small, "--markdown", PULUMI_BACKEND_URL="file:///nowhere")
    assert code == 1
    assert "### Preview of `fleet/dev`: failed" in text


def test_the_transcript_of_the_guide_is_what_happens(walkthrough: Project) -> None:
    """Every command of `docs/ci.md` prints what it shows."""
    walkthrough.up()

    assert play(walkthrough, ROOT / "docs" / "ci.md") == 8
