"""The page of a fleet, as text: what it holds, what it may not, and whether its colours can be read."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from fleet.readiness.agents import AgentState
from fleet.readiness.argo import ArgoState
from fleet.report.page import LONGEST, html_of
from fleet.report.rows import ApplicationRow, FleetStatus, TenantRow

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
APPLICATIONS = ("cert-manager", "gpu-operator", "monitoring", "run-ai")
VOID = {"meta", "link", "input", "br", "img", "hr"}


def fleet_of(count: int) -> FleetStatus:
    """Return a fleet of that many tenants: every twentieth fails, every tenth is behind, one in fifty says nothing."""
    tenants = []
    for number in range(count):
        rows = []
        for name in APPLICATIONS:
            looked = NOW - timedelta(seconds=20 + number % 60)
            state = ArgoState("Synced", "Healthy", "2.21.0", current=True, reconciled_at=looked)
            if name == "run-ai" and number % 20 == 3:
                words = f"sync Failed: Deployment/run-ai-{number}: exceeded quota: gpu, used: 8, limited: 8"
                state = replace(
                    state, sync="OutOfSync", health="Degraded", live="2.20.0", current=False, failed=words
                )
            elif name == "run-ai" and number % 10 == 5:
                state = replace(
                    state, health="Progressing", live="2.20.0", current=False, waiting="Progressing"
                )
            elif name == "monitoring" and number % 50 == 7:
                state = ArgoState(waiting="Argo CD has not reported on it yet")
            rows.append(
                ApplicationRow(
                    application=name,
                    name=f"t{number:04}-{name}",
                    target="host" if name == "monitoring" else "vCluster",
                    version="2.21.0",
                    argo=state,
                    reason=state.failed or state.waiting,
                )
            )
        tenants.append(
            TenantRow(
                tenant=f"t{number:04}",
                namespace="p-ai",
                labels={"ring": ("canary", "early", "main")[number % 3]},
                phase="Ready",
                reasons=(),
                applications=tuple(rows),
                agent=AgentState("0.5.88", "Healthy", NOW),
            )
        )
    return FleetStatus(fleet="prod", at=NOW, tenants=tuple(tenants))


class Page(HTMLParser):
    """Every element of a page with its attributes, and the text of all; it has to be well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last one."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take text; scripts and styles are none."""
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_needs_nothing_beside_itself() -> None:
    """No address in it leads anywhere, and its own policy forbids that one did."""
    text = html_of(fleet_of(30))
    page = Page(text)

    assert not re.findall(r"https?://|//[a-z]|@import|url\(", text)
    addresses = [
        value for _, each in page.elements for key, value in each.items() if key in ("src", "href", "action")
    ]
    assert [each for each in addresses if not (each or "").startswith(("#", "data:,"))] == []
    (policy,) = (each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert (policy or "").startswith("default-src 'none';")


def test_failures_come_first_with_their_messages() -> None:
    """Before anything that is only waited for; beyond twenty they are folded, none is left out."""
    text = Page(html_of(fleet_of(1000))).text

    words = re.findall(r"(t\d{4}) run-ai \((failed|waiting)\)", text)
    assert [state for _, state in words] == ["failed"] * 50 + ["waiting"] * 100
    assert "t0003 run-ai (failed): sync Failed: Deployment/run-ai-3: exceeded quota" in text
    assert "\n150 more\n" in text


def test_words_of_others_are_text_and_never_part_of_the_page() -> None:
    """An error message of a chart is written by anybody."""
    evil = '</li><script>alert("x")</script><img src=x onerror=alert(1)>'
    (tenant,) = fleet_of(1).tenants
    row = replace(tenant.applications[0], reason=evil, argo=replace(tenant.applications[0].argo, failed=evil))
    status = replace(
        fleet_of(1), tenants=(replace(tenant, applications=(row,)),), notes=(evil,), problems=(evil,)
    )

    page = Page(html_of(status))

    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert evil in page.text


def test_a_very_long_message_keeps_its_end() -> None:
    """Causes stand there."""
    (tenant,) = fleet_of(1).tenants
    long = f"sync Failed: {'x' * 5000}: no such image"
    row = replace(tenant.applications[0], reason=long, argo=replace(tenant.applications[0].argo, failed=long))
    text = html_of(replace(fleet_of(1), tenants=(replace(tenant, applications=(row,)),)))

    assert "no such image" in text
    assert "x" * LONGEST not in text


def test_a_table_that_a_screen_reader_reads() -> None:
    """Rows and columns have heads, fields have labels, and a colour is never alone in what it says."""
    page = Page(html_of(fleet_of(3)))

    assert page.all("html") == [{"lang": "en"}]
    scopes = [each.get("scope") for each in page.all("th")]
    assert None not in scopes
    assert {each.get("for", "wrapped") for each in page.all("label")} == {"wrapped"}
    assert len(page.all("label")) == len(page.all("select")) + len(page.all("input"))
    assert [each["role"] for each in page.all("div") if each.get("role")] == ["region"]
    assert "✓" in page.text
    assert "Synced, Healthy, looked 20s ago" in page.text


def test_a_fleet_without_tenants_has_a_page() -> None:
    """And one in which all is well says so."""
    good = replace(fleet_of(1), tenants=(replace(fleet_of(1).tenants[0], agent=None),))

    assert "no tenant to show" in Page(html_of(replace(fleet_of(0)))).text
    assert "everything is as wanted" in Page(html_of(good)).text


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme: int) -> None:
    """By 4.5 to 1 at least, as WCAG asks, in both colour schemes."""
    blocks = re.findall(r":root \{(.*?)\}", html_of(fleet_of(1)), re.DOTALL)
    colours: dict[str, str] = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[scheme]))
    pairs: list[tuple[str, str]] = [
        (f"{each}-text", each) for each in ("live", "waiting", "failed", "unknown")
    ]
    pairs += [(text, behind) for text in ("text", "soft", "link") for behind in ("page", "panel")]

    def contrast(pair: tuple[str, str]) -> float:
        high, low = sorted((_luminance(colours[each]) for each in pair), reverse=True)
        return (high + 0.05) / (low + 0.05)

    weak: dict[Any, float] = {pair: contrast(pair) for pair in pairs if contrast(pair) < 4.5}
    assert weak == {}
