"""The article's own documents load as they are printed."""

from __future__ import annotations

import re
from collections import Counter

from fleet.definition.load import load
from fleet.definition.model import Target
from fleet.desired.plan import plan
from fleet.errors import errors_of, format_report

FLEET = """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: article}
spec:
  defaults: {project: ai-tenants, owner: {team: platform}, cluster: loft-cluster}
---
apiVersion: fleet/v1
kind: Tenant
metadata: {name: acme}
spec:
  vcluster: {file: vcluster.yaml}
"""

# How the documents begin, and the file that each is put into.
BEGINNINGS = {
    "apiVersion: v1": "connector.yaml",
    "spec:": "cluster.yaml",
    "kind: ArgoCDApplicationTemplate": "template.yaml",
    "integrations:": "vcluster.yaml",
}


def documents_of(article: str) -> list[tuple[str, str]]:
    """Return every YAML document of the article with the name of its file."""
    lines = article.splitlines()
    found: list[tuple[str, list[str]]] = []
    taking = False
    for number, line in enumerate(lines):
        beginning = next((text for text in BEGINNINGS if line == text), None)
        if beginning is not None and not taking:
            found.append((BEGINNINGS[beginning], [line]))
            taking = True
        elif taking and (re.match(r"[\s\xa0]|[a-zA-Z]+:( |$)", line) or _goes_on(lines, number)):
            found[-1][1].append(line)
        else:
            taking = False
    return [(file, "\n".join(text).rstrip() + "\n") for file, text in found]


def _goes_on(lines: list[str], number: int) -> bool:
    """Return whether an empty line is one inside of a document: the next one is indented."""
    following = lines[number + 1] if number + 1 < len(lines) else ""
    return not lines[number] and following[:1] in {" ", "\xa0"}


def test_articles_documents_load_verbatim(tmp_path, reference):
    """Nothing of the article is an error, and each correction for the real platform is one warning."""
    article = reference("seed-article.txt").read_text(encoding="utf-8")
    documents = documents_of(article)
    for index, (file, text) in enumerate(documents):
        name = file if file == "vcluster.yaml" else f"{index}-{file}"
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "fleet.yaml").write_text(FLEET, encoding="utf-8")

    loaded = load(tmp_path)

    assert [file for file, _ in documents] == [
        "connector.yaml",
        "cluster.yaml",
        "template.yaml",
        "template.yaml",
        "cluster.yaml",
        "vcluster.yaml",
    ]
    assert errors_of(loaded.problems) == (), format_report(loaded.problems)
    assert Counter(problem.code for problem in loaded.problems) == {
        "no-break-space": 6,
        "plain-credential": 1,
        "insecure": 1,
        "connector-namespace": 1,
        "bare-cluster-block": 1,
        "unquoted-template": 2,
        "argocd-enabled": 1,
        "application-name": 1,
    }
    fleet = loaded.fleet
    assert fleet is not None
    assert plan(fleet).problems == ()
    assert fleet.clusters["loft-cluster"].connector == "akuity-prod"
    assert sorted(fleet.templates) == ["cert-manager", "prometheus"]
    tenant = fleet.tenants["acme"]
    assert tenant.connector == "akuity-prod"
    assert tenant.values == {}
    assert [(item.name, item.use.target) for item in tenant.applications] == [
        ("cert-manager", Target.TENANT),
        ("prometheus", Target.HOST),
    ]
    akuity = fleet.connectors["akuity-prod"].spec.akuity
    assert akuity is not None
    assert (akuity.agent.size, akuity.agent.repo_server.replicas) == ("medium", 1)
    helm = fleet.templates["cert-manager"].spec["source"]["helm"]["values"]
    assert helm == "crds:\n  enabled: {{ .Values.installCRDs }}\n"
    assert fleet.templates["cert-manager"].spec["source"]["targetRevision"] == "{{ .Values.version }}"
