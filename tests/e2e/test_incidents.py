"""Incidents that others had, on a fleet of ours: nothing is deleted, and one clear message says why the run stopped.

Each test names the report it answers. What a test does to the definition is undone before the next one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.processes import wait_until
from fleet.sandbox.sandbox import Sandbox
from tests.contract.faults import proxy
from tests.e2e.conftest import PLATFORM, live_objects, restricted_kubeconfig
from tests.e2e.fleets import PREVIEW, TENANT, TENANTS, Small, small_fleet
from tests.e2e.refusals import GOLDEN, Check

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def deployed(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """The fleet of all tests here."""
    folder = tmp_path_factory.mktemp("incidents")
    with (
        Kubernetes.connect(str(sandbox.kubeconfig)) as client,
        small_fleet(sandbox, client, folder, "incidents") as small,
    ):
        yield small
        assert small.project.steps() == set()


@pytest.fixture
def small(deployed: Small) -> Iterator[Small]:
    """The fleet as it was deployed, and as it must still be afterwards."""
    deployed.write()
    before = live_objects(deployed.project.client)
    yield deployed
    deployed.write()
    assert live_objects(deployed.project.client) == before


def test_listing_fails(small: Small, sandbox: Sandbox, tmp_path: Path, golden: Check) -> None:
    """argo-cd#18480: the list of clusters failed, was taken for empty, and every application was deleted."""
    with proxy(sandbox.control_plane.endpoint()) as faulty:
        # An answer that nobody repeats, so that the test takes seconds; those that are repeated end alike.
        faulty.fail("GET", r"/virtualclusterinstances(\?|$)", status=404, reason="NotFound", times=10_000)
        through = replace(
            small.project,
            environment={**small.project.environment, "KUBECONFIG": faulty.kubeconfig(tmp_path)},
        )
        said = replace(small, project=through).refused(of="Tenant")
    golden(GOLDEN / "incident-listing-fails.txt", said)


def test_permission_lost(small: Small, sandbox: Sandbox, tmp_path: Path, golden: Check) -> None:
    """pulumi-github#255: the token lost its permission, which was read as absence of everything."""
    denied = tmp_path / "kubeconfig"
    denied.write_text(restricted_kubeconfig(sandbox), encoding="utf-8")
    as_nobody = replace(small.project, environment={**small.project.environment, "KUBECONFIG": str(denied)})
    said = replace(small, project=as_nobody).refused(of="Tenant")
    golden(GOLDEN / "incident-permission-lost.txt", said)


def test_directory_emptied(small: Small, golden: Check) -> None:
    """argo-cd#18780, applicationset#560: the files of all tenants were gone, and so were their applications."""
    shutil.rmtree(small.folder / "tenants")
    golden(GOLDEN / "incident-directory-emptied.txt", small.refused())


def test_definition_emptied(small: Small, golden: Check) -> None:
    """The same with the whole folder, as a failed checkout leaves it."""
    shutil.rmtree(small.folder)
    small.folder.mkdir()
    golden(GOLDEN / "incident-definition-emptied.txt", small.refused(of="Stack"))


def test_small_edit_of_the_generator(small: Small, golden: Check) -> None:
    """argo-cd#9227: one edited line of what generates the tenants, and none was generated any more."""
    shutil.rmtree(small.folder / "tenants")
    (small.folder / "data").mkdir()
    data = small.folder / "data" / "tenants.json"
    data.write_text(json.dumps([{"name": name, "ring": "prod"} for name in TENANTS]), encoding="utf-8")
    generator = "{% for item in data.tenants if item.ring == 'RING' %}\n---\n" + TENANT.format(
        name="{{ item.name }}", ring="{{ item.ring }}"
    )
    file = small.folder / "tenants.yaml.j2"
    file.write_text(generator.replace("RING", "prod") + "{% endfor %}\n", encoding="utf-8")
    assert {op for op, _, _ in small.project.changes()} == {"update"}, "the same tenants, generated"

    file.write_text(generator.replace("RING", "production") + "{% endfor %}\n", encoding="utf-8")
    golden(GOLDEN / "incident-generator-edited.txt", small.refused())


def test_another_definition(small: Small, golden: Check) -> None:
    """argo-cd#18780: what was right somewhere else was rolled out here."""
    small.project.run("pulumi", "config", "set", "fleet:definition", "elsewhere")
    elsewhere = small.project.folder / "elsewhere"
    shutil.copytree(small.folder, elsewhere)
    for name in TENANTS:
        file = elsewhere / "tenants" / f"{name}.yaml"
        file.write_text(
            file.read_text(encoding="utf-8").replace(f"name: {name}", f"name: other-{name}"), encoding="utf-8"
        )
    try:
        golden(GOLDEN / "incident-another-definition.txt", small.refused())
    finally:
        small.project.run("pulumi", "config", "set", "fleet:definition", "small")
        shutil.rmtree(elsewhere)


def test_cluster_renamed(small: Small, golden: Check) -> None:
    """argo-cd#12958: a cluster got another name, and everything on it was created anew."""
    small.guards("{reregister: {tenants: 0}}")
    small.edit("cluster.yaml", "loft-cluster", "loft-cluster-2")
    small.edit("fleet.yaml", "cluster: loft-cluster", "cluster: loft-cluster-2")
    golden(GOLDEN / "incident-cluster-missing.txt", small.refused(of="Stack"))

    client = small.project.client
    renamed = {
        "apiVersion": PLATFORM,
        "kind": "Cluster",
        "metadata": {"name": "loft-cluster-2"},
        "spec": {"networkPeer": True},
    }
    client.apply(renamed)
    try:
        golden(GOLDEN / "incident-cluster-renamed.txt", small.refused())
        small.guards("")
        said = small.refused(*PREVIEW, of="Tenant")
        golden(GOLDEN / "incident-cluster-renamed-unguarded.txt", said)
    finally:
        # The platform takes its finalizer away in its own time.
        made = Ref(PLATFORM, "Cluster", None, "loft-cluster-2")
        client.delete(made)
        assert wait_until(lambda: client.get(made) is None, 30.0)


def test_template_deleted_while_in_use(small: Small, golden: Check) -> None:
    """The platform lets a template go that tenants refer to, and their applications break."""
    (small.folder / "template.yaml").unlink()
    golden(GOLDEN / "incident-template-deleted.txt", small.refused(of="Stack"))


def test_selector_that_matches_nothing(small: Small, golden: Check) -> None:
    """A misspelt label protected nobody, and nobody was told."""
    small.guards("{protected: {selector: {ring: production}}}")
    golden(GOLDEN / "incident-selector.txt", small.refused(of="Stack"))


def test_guards_dropped_with_what_they_guard(small: Small, golden: Check) -> None:
    """argo-cd#16838: the policy that should have held was changed together with what it should have held back."""
    small.guards("{delete: {tenants: 100, share: 100%}}")
    shutil.rmtree(small.folder / "tenants")
    golden(GOLDEN / "incident-guards-dropped.txt", small.refused())


def test_moving_is_no_deletion(small: Small) -> None:
    """argo-cd#16721: an application moved from one set to another, and its resources were deleted on the way."""
    moved = small.folder / "moved" / "deep"
    moved.mkdir(parents=True)
    for name in TENANTS:
        file = small.tenant(name)
        text = file.read_text(encoding="utf-8")
        head, _, application = text.partition("  applications:\n")
        (moved / file.name).write_text(f"{head}  class: all\n", encoding="utf-8")
        file.unlink()
    (small.folder / "class.yaml").write_text(
        "apiVersion: fleet/v1\nkind: TenantClass\nmetadata: {name: all}\nspec:\n  applications:\n"
        f"{application}",
        encoding="utf-8",
    )

    assert small.project.steps() == set()


def test_fleet_renamed(small: Small) -> None:
    """argo-cd#12958 again: another name of the whole is no other fleet, and the guard still knows what there is."""
    small.edit(
        "fleet.yaml", "metadata: {name: small}\nspec:\n  # An", "metadata: {name: large}\nspec:\n  # An"
    )
    assert small.project.changes() == set()

    shutil.rmtree(small.folder / "tenants")
    assert "delete 4 of 4 tenants" in small.refused()
