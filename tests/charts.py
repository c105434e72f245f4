"""Charts that tests alone need, beside those of `examples/charts`."""

from __future__ import annotations

from pathlib import Path

from fleet.sandbox.argocd import ArgoCD


def publish_waiting(argocd: ArgoCD, folder: Path) -> None:
    """Publish the chart `waiting`: a pod that never finishes before everything else, a sync that waits for ever."""
    chart = folder / "waiting"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: waiting\nversion: 1.0.0\n")
    (chart / "templates" / "hook.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: hook\n"
        "  annotations: {argocd.argoproj.io/hook: PreSync, sandbox.fleet/pod: never}\n"
        "spec:\n  restartPolicy: Never\n  containers: [{name: hook, image: hook}]\n"
    )
    (chart / "templates" / "rest.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rest}\n"
    )
    argocd.publish(chart, "1.0.0")
