"""Argo CD's objects without Argo CD: how fields are joined, what would win over ours, and how a cluster is written."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.clients.access import Access, authority_text
from fleet.clients.argo_objects import secret_name, three_way, undeclared_alternatives
from fleet.clients.kubeconfig import open_client
from fleet.clients.remote import Manifest, RemoteError

NAMED = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"

MAPS: Any = st.recursive(
    st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
SPECS = st.dictionaries(st.sampled_from("abcd"), MAPS, max_size=3)


def application(spec: Any, **metadata: Any) -> Manifest:
    """Return an Application."""
    return {**NAMED, "metadata": {"name": "app", **metadata}, "spec": spec}


def test_a_join_keeps_what_is_not_ours_and_drops_what_was() -> None:
    """As server-side apply does where there is none: maps are joined, lists are one value."""
    before = application(
        {"source": {"chart": "web", "targetRevision": "1"}, "info": [1]}, labels={"ring": "a"}
    )
    wanted = application({"source": {"path": "web", "targetRevision": "2"}}, labels={"tier": "b"})
    live = application(
        {
            "source": {"chart": "web", "targetRevision": "1", "helm": {"skipCrds": True}},
            "info": [1, 2],
            "revisionHistoryLimit": 3,
        },
        labels={"ring": "a", "hand": "made"},
        annotations={"hand": "made"},
        finalizers=["theirs", "dropped"],
        resourceVersion="7",
    )
    before["metadata"]["finalizers"], wanted["metadata"]["finalizers"] = ["dropped", "ours"], ["ours"]

    assert three_way(before, wanted, live, finalizers=True) == application(
        {
            "source": {"path": "web", "targetRevision": "2", "helm": {"skipCrds": True}},
            "revisionHistoryLimit": 3,
        },
        labels={"tier": "b", "hand": "made"},
        annotations={"hand": "made"},
        finalizers=["ours", "theirs"],
    )


@given(before=SPECS, wanted=SPECS, live=SPECS)
def test_a_join_holds_all_that_is_wanted(before: Any, wanted: Any, live: Any) -> None:
    """Whatever was before and is live; joining once more changes nothing."""

    def holds(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return isinstance(whole, dict) and all(
                holds(whole.get(key), value) for key, value in part.items()
            )
        return bool(whole == part)

    joined = three_way(application(before), application(wanted), application(live))
    assert holds(joined["spec"], wanted)
    assert three_way(application(wanted), application(wanted), joined) == joined


@pytest.mark.parametrize(
    ("spec", "live", "found"),
    [
        ({"source": {}}, {"source": {}, "sources": [{}]}, [("spec", "sources")]),
        ({"sources": []}, {"source": {"chart": "a"}}, [("spec", "source")]),
        ({"source": {}}, {"sourceHydrator": {"drySource": {}}}, [("spec", "sourceHydrator")]),
        ({"source": {}}, {"source": {}, "sources": []}, []),
        (
            {"destination": {"name": "a"}},
            {"destination": {"name": "a", "server": "https://b"}},
            [("spec", "destination", "server")],
        ),
        ({"project": "a"}, {"sources": [{}]}, []),
    ],
)
def test_what_argo_cd_would_read_in_place_of_ours(spec: Any, live: Any, found: Any) -> None:
    """Only where something of ours is declared in that place, and something else is set there."""
    assert list(undeclared_alternatives(application(spec), application(live))) == found


def test_a_cluster_is_named_as_argo_cd_names_it() -> None:
    """Names as Argo CD 3.6 gives them (FNV-1a of the address)."""
    assert secret_name("https://kubernetes.default.svc") == "cluster-kubernetes.default.svc-3396314289"


def kubeconfig(user: dict[str, Any], **cluster: Any) -> str:
    """Return a kubeconfig of one context."""
    return json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://api.test:6443/", **cluster}}],
            "users": [{"name": "u", "user": user}],
        }
    )


def test_a_kubeconfig_becomes_what_argo_cd_takes() -> None:
    """A token or a certificate, and the CA; and it comes back as a kubeconfig of the same."""
    authority = b64encode(PEM.encode()).decode()
    text = kubeconfig({"token": "s3cr3t"}, **{"certificate-authority-data": authority})
    access = Access.of_kubeconfig(text, "of tenant `acme`")

    assert access.server == "https://api.test:6443"
    assert access.argocd_config() == {
        "bearerToken": "s3cr3t",
        "tlsClientConfig": {"insecure": False, "caData": authority},
    }
    assert Access.of_kubeconfig(access.kubeconfig(), "of us") == access
    assert "s3cr3t" not in repr(access)
    pair = Access.of_kubeconfig(
        kubeconfig({"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}), "of us"
    )
    assert pair.argocd_config()["tlsClientConfig"] == {
        "insecure": False,
        "certData": "Y2VydA==",
        "keyData": "a2V5",
    }


def test_an_unverified_server_has_no_authority() -> None:
    """Argo CD's client refuses both at once."""
    text = kubeconfig({}, **{"certificate-authority-data": "Q0E=", "insecure-skip-tls-verify": True})

    assert Access.of_kubeconfig(text, "of us").argocd_config() == {"tlsClientConfig": {"insecure": True}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "it is no YAML"),
        ("- a", "it is no kubeconfig"),
        ("{}", "it has no `current-context`"),
        ('{"current-context": "x"}', "it has no context `x`"),
        (
            kubeconfig({"auth-provider": {"name": "gcp"}}),
            "`auth-provider`.*\nhelp: .*service account's token",
        ),
        (kubeconfig({"tokenFile": "/token"}), "`tokenFile` is a file\nhelp: .*--flatten"),
        (kubeconfig({}, **{"certificate-authority": "/ca"}), "`certificate-authority` is a file"),
        (kubeconfig({}, server=None), "its cluster has no `server`"),
    ],
)
def test_what_gives_argo_cd_nothing_is_refused(text: str, words: str) -> None:
    """In one line that says whose it is, and what would do; never with the text itself."""
    with pytest.raises(RemoteError, match=f"cannot use kubeconfig of tenant `acme`: .*{words}"):
        Access.of_kubeconfig(text, "of tenant `acme`")


def test_a_token_gives_access_by_itself() -> None:
    """As to a tenant through the platform, whose path stays; the CA is PEM or Base64."""
    url = "https://platform.test/kubernetes/project/ai/virtualcluster/acme"
    access = Access.of_token(f"{url}/", "s3cr3t", PEM)

    assert access.server == url
    assert (
        access.authority
        == b64encode(PEM.encode()).decode()
        == Access.of_token(url, "", access.authority).authority
    )
    assert authority_text(access.authority) == PEM == authority_text(PEM)


def test_a_kubeconfig_of_one_line_is_no_path() -> None:
    """JSON needs no line break."""
    client, server = open_client(kubeconfig({"token": "s3cr3t"}).replace("\n", ""), None, 1.0)
    client.close()

    assert server.url == "https://api.test:6443"
