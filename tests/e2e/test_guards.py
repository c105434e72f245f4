"""The guards at work: a run that breaches one ends before anything is touched; an approval opens them once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, live_objects
from tests.e2e.fleets import PREVIEW, TENANT, TENANTS, UP, Small, small_fleet
from tests.e2e.refusals import GOLDEN, Check

pytestmark = pytest.mark.e2e


@pytest.fixture
def small(sandbox: Sandbox, client: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """A small fleet, deployed."""
    with small_fleet(sandbox, client, tmp_path_factory.mktemp("guards"), "guards") as small:
        yield small


def suggested(said: str) -> str:
    """Return the approval that a refusal asks for."""
    (line,) = re.findall(r"^ +- (\{.*\})$", said, re.MULTILINE)
    return str(line)


def tenants(small: Small) -> set[str]:
    """Return the live tenants of the fleet."""
    kind = "VirtualClusterInstance"
    return {item["metadata"]["name"] for item in small.project.client.list(PLATFORM, kind, "p-small")}


def test_a_day_with_guards(small: Small, golden: Check) -> None:
    """Changed, deleted, approved, retired, protected: every run is within the guards or ends before it begins."""
    limits = "change: {tenants: 2}, delete: {tenants: 1}"

    # The limits themselves are no change of a tenant; they hold from here on.
    small.guards(f"{{{limits}}}")
    small.project.up()
    assert small.project.steps() == set()

    # One line of a template reaches all four; approved as it is, it passes.
    small.edit("template.yaml", "targetRevision: 1.0.0", "targetRevision: 1.1.0")
    said = small.refused(*PREVIEW)
    golden(GOLDEN / "guards-template.txt", said)
    assert small.refused() == said, "an `up` without a preview ends likewise"
    approvals = [suggested(said)]
    small.guards(f"{{{limits}, approve: [{approvals[0]}]}}")
    small.project.up()
    assert small.project.steps() == set()

    # Two files are lost.
    for name in ("beta", "gamma"):
        small.tenant(name).unlink()
    said = small.refused()
    golden(GOLDEN / "guards-delete.txt", said)
    approvals.append(suggested(said))
    small.guards(f"{{{limits}, approve: [{', '.join(approvals)}]}}")
    small.project.up()
    assert tenants(small) == {"alpha", "delta"}

    # Nobody may go without having been retired, and one is protected.
    protected = "requireRetirement: true, protected: {selector: {ring: prod}}"
    small.guards(f"{{{limits}, {protected}}}")
    small.project.up()
    small.tenant("delta").unlink()
    golden(GOLDEN / "guards-retirement.txt", small.refused())
    destroy = ("pulumi", "destroy", "--yes", "--non-interactive")
    assert "protect" in small.project.run(*destroy, check=False)
    assert tenants(small) == {"alpha", "delta"}, "destroy is refused as a whole"

    retired = small.folder / "retired"
    retired.mkdir()
    (retired / "delta.yaml").write_text(TENANT.format(name="delta", ring="dev"), encoding="utf-8")
    assert small.project.changes() == set()
    small.project.up()
    (retired / "delta.yaml").unlink()
    small.project.up()
    assert tenants(small) == {"alpha"}

    small.tenant("alpha").rename(small.folder / "retired" / "alpha.yaml")
    small.project.up()
    (small.folder / "retired" / "alpha.yaml").unlink()
    small.guards(f"{{{limits}}}")
    golden(GOLDEN / "guards-protected.txt", small.refused())


def test_what_a_failed_run_left_undone_counts_again(small: Small) -> None:
    """Deletions come last: a run that fails before them is let through once, not once more with others."""
    small.guards("{delete: {tenants: 1}, change: {tenants: 2}}")
    small.project.up()

    # Somebody else's object is in the way of a new tenant, so that the run fails before anything is deleted.
    ref = Ref(PLATFORM, "VirtualClusterInstance", "p-small", "taken")
    metadata = {"name": ref.name, "namespace": ref.namespace}
    chart = {"helmRelease": {"chart": {"name": "vcluster", "version": "0.35.0"}}}
    spec = {"owner": {"team": "platform"}, "clusterRef": {"cluster": "loft-cluster"}, "template": chart}
    small.project.client.apply({"apiVersion": PLATFORM, "kind": ref.kind, "metadata": metadata, "spec": spec})
    small.tenant("beta").unlink()
    small.edit("tenants/gamma.yaml", "ring: dev", "ring: test")
    taken = small.tenant("taken")
    taken.write_text(TENANT.format(name="taken", ring="dev"), encoding="utf-8")
    assert "was not made by this stack" in small.project.run(*UP, check=False)
    assert tenants(small) == {*TENANTS, "taken"}

    # The way is free again, and another tenant is lost: both would go by one run.
    small.project.client.delete(ref)
    deadline = time.monotonic() + 60
    while "taken" in {name for _, _, name in live_objects(small.project.client)}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    small.tenant("delta").unlink()
    said = small.refused(*PREVIEW)
    assert "delete 2 of" in said
    assert "(of which 1 are left of an earlier run" in said

    # What was let through may be finished, and then there is room for the next.
    small.tenant("delta").write_text(TENANT.format(name="delta", ring="dev"), encoding="utf-8")
    small.project.up()
    assert tenants(small) == {"alpha", "gamma", "delta", "taken"}
    small.tenant("delta").unlink()
    small.project.up()
    assert tenants(small) == {"alpha", "gamma", "taken"}
