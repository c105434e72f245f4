"""`kubectl` with the same objects: a file for each tenant, applied from the client's side one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.measure import Measured, measure
from bench.scene import ARGO, Scene
from fleet import names as permanent

NAME = "kubectl apply --server-side"
DIFF = "kubectl diff --server-side"

_SERVERS_OWN = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


def live_manifests(scene: Scene, namespace: str) -> list[dict[str, Any]]:
    """Return the objects of a fleet in a namespace of Argo CD, as manifests: registrations and projects first."""
    clusters = {"labelSelector": "argocd.argoproj.io/secret-type=cluster"}
    with scene.api() as api:
        secrets, _ = api.items(f"/api/v1/namespaces/{namespace}/secrets", **clusters)
        found = [{"apiVersion": "v1", "kind": "Secret", **each} for each in secrets]
        for kind, plural in (("AppProject", "appprojects"), ("Application", "applications")):
            listed, _ = api.items(f"{ARGO}/namespaces/{namespace}/{plural}")
            found += [{**each, "apiVersion": "argoproj.io/v1alpha1", "kind": kind} for each in listed]
    return [_manifest(each) for each in found]


def moved(manifests: Iterable[Mapping[str, Any]], namespace: str) -> list[dict[str, Any]]:
    """Return manifests in another namespace."""
    return [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in manifests]


def write_files(folder: Path, manifests: Sequence[Mapping[str, Any]]) -> None:
    """Write manifests as their owner would: one file for each tenant, and one for what all share."""
    folder.mkdir(parents=True, exist_ok=True)
    by_tenant: dict[str, list[Mapping[str, Any]]] = {}
    for each in manifests:
        labels = each["metadata"].get("labels") or {}
        by_tenant.setdefault(labels.get(permanent.TENANT_NAME_LABEL, "fleet"), []).append(each)
    for tenant, of_tenant in by_tenant.items():
        text = yaml.dump_all(of_tenant, Dumper=yaml.CSafeDumper, sort_keys=False)
        (folder / f"{'0' if tenant == 'fleet' else '1'}-{tenant}.yaml").write_text(text, encoding="utf-8")


def apply(scene: Scene, folder: Path) -> Measured:
    """Return what it takes to apply the files of a folder."""
    return _kubectl(scene, folder, "apply", "--server-side", "-f", str(folder))


def diff(scene: Scene, folder: Path) -> Measured:
    """Return what it takes to compare the files of a folder with the live objects, when nothing differs."""
    return _kubectl(scene, folder, "diff", "--server-side", "-f", str(folder))


def _kubectl(scene: Scene, folder: Path, *arguments: str) -> Measured:
    program = scene.program("kubectl")
    # Its cache of what the server has is warm in practice, and of this sandbox alone here.
    home = scene.folder / "kubectl-home"
    home.mkdir(exist_ok=True)
    env = {
        "KUBECONFIG": str(scene.sandbox.control_plane.kubeconfig),
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
    }
    log = folder.with_name(f"{folder.name}-{arguments[0]}.log")
    return measure([program, *arguments], cwd=folder, env=env, log=log)


def _manifest(live: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in live["metadata"].items() if name not in _SERVERS_OWN}
    kept = {name: value for name, value in live.items() if name not in ("metadata", "status")}
    return {"apiVersion": kept.pop("apiVersion"), "kind": kept.pop("kind"), "metadata": metadata, **kept}
