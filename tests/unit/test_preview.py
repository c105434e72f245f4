"""The engine's preview as a summary: what a reviewer sees, what is kept from them, and what no name can break."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pulumi.runtime import rpc
from rich.console import Console

from fleet.definition.stack import encrypted_texts
from fleet.names import Kind
from fleet.report.differences import KNOWN_LATER, MASK, SIGNATURE, UNKNOWN, differences, hidden, masked
from fleet.report.markdown import block, code, html_code, markdown_table
from fleet.report.preview import Preview, failed, preview_of, unpacked_steps
from fleet.report.preview_formats import (
    LEAST,
    LIMIT,
    marker,
    preview_diff,
    preview_json,
    preview_markdown,
    preview_table,
)
from fleet.report.preview_risks import risks_of
from tests.unit.previews import Engine, application, line, record, urn

GOLDEN = Path(__file__).parents[1] / "golden" / "preview"
Check = Callable[[Path, str], None]
# What a pull request must not be told by the name of a tenant or the words of an error.
HOSTILE = (
    "a|b `x` @person #1 </details><script>alert(1)</script> <!-- [l](http://e.com) *b* \u202eback ```\n\n# h"
)
MD = MarkdownIt("commonmark", {"html": True}).enable("table")


def day() -> Engine:
    """Return the preview of a day: a tenant comes, one goes, one is moved, all get another version, one has drifted."""
    engine = Engine()
    engine.guard(
        record(
            {"alpha": line("d1"), "beta": line("d1"), "gamma": line("d1"), "delta": line("d1")},
            protected=["alpha"],
            limits={"delete": {"share": 30}, "change": {"tenants": 10}},
        ),
        record(
            {"alpha": line("d2"), "beta": line("d2"), "gamma": line("d2", "r2"), "epsilon": line("d2")},
            protected=["alpha"],
            retired=["beta"],
            approve=[{"delete": ["delta"], "reason": "INC-7"}],
            limits={"delete": {"tenants": 1}, "change": {"tenants": 10}},
        ),
        opened={"change": ["beta"]},
    )
    connector = {"manifest": {"metadata": {"name": "main"}}, "data": {"server": "https://one", "token": MASK}}
    there = {**connector, "data": {"server": "https://two", "token": MASK}}
    fingerprints = ({"fingerprints": {"token": "aaaa1111"}}, {"fingerprints": {"token": "bbbb2222"}})
    engine.add(Kind.CONNECTOR, "main", {**connector, **fingerprints[0]}, {**there, **fingerprints[1]})
    needs = (urn(Kind.CONNECTOR, "main"),)
    for name in ("alpha", "beta", "gamma"):
        engine.add(Kind.TENANT, name, {"manifest": {}}, {"manifest": {}}, needs=needs)
    values = {"helm": {"values": "a: 1\nb: 2\nc: 3\n"}}, {"helm": {"values": "a: 1\nb: 20\nc: 3\n"}}
    engine.add(
        Kind.APPLICATION, "alpha-metrics", application("alpha", "1.0.0"), application("alpha", "1.1.0")
    )
    engine.add(
        Kind.APPLICATION,
        "beta-metrics",
        application("beta", "1.0.0", **values[0]),
        application("beta", "1.0.0", **values[1]),
    )
    engine.add(
        Kind.APPLICATION,
        "gamma-metrics",
        application("gamma", "0.9.0"),
        application("gamma", "1.1.0"),
        recorded=application("gamma", "1.0.0"),
    )
    engine.add(Kind.TENANT, "delta", {"manifest": {}}, None, needs=needs)
    engine.add(Kind.APPLICATION, "delta-metrics", application("delta", "1.0.0"), None)
    epsilon = {"manifest": {"metadata": {"name": "epsilon", "labels": {"a.b/c": "d"}}}, "apiKey": MASK}
    engine.add(Kind.TENANT, "epsilon", None, epsilon, needs=needs)
    engine.add(Kind.APPLICATION, "epsilon-metrics", None, application("epsilon", "1.1.0"))
    engine.add(Kind.FLEET_READY, "small", {"observed": "1"}, {"observed": UNKNOWN})
    engine.said("warning", "the platform layer is not up\nhelp: bring it up")
    return engine


def shown(engine: Engine) -> Preview:
    """Return the preview of what the engine printed."""
    return preview_of(unpacked_steps(engine.printed()), "fleet", "dev")


def many(count: int, *, spec: str = "x") -> Engine:
    """Return a preview that gives very many tenants another version."""
    engine, names = Engine(), [f"t{number:04d}" for number in range(count)]
    engine.guard(record({name: line("d1") for name in names}), record({name: line("d2") for name in names}))
    for name in names:
        old, new = application(name, "1.0.0"), application(name, "1.1.0", values=[spec] * 5)
        engine.add(Kind.APPLICATION, f"{name}-metrics", old, new)
    return engine


def test_the_comment_of_a_day(golden: Check) -> None:
    """Counts, what to look at, the reach beside the guards, versions by tenant, and a fold-out for each tenant."""
    golden(GOLDEN / "day.md", preview_markdown(shown(day()), full_diff="dev.diff"))


def test_the_whole_diff_and_the_table_of_a_day(golden: Check) -> None:
    """The file has every tenant, the terminal the versions and what to look at."""
    console = Console(width=100, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(preview_table(shown(day())))

    golden(GOLDEN / "day.diff", preview_diff(shown(day())))
    golden(GOLDEN / "day.txt", "\n".join(row.rstrip() for row in captured.get().splitlines()) + "\n")


def test_a_preview_as_json(golden: Check) -> None:
    """Programs get the same facts."""
    golden(GOLDEN / "day.json", json.dumps(preview_json(shown(day())), indent=2, ensure_ascii=False) + "\n")


def test_the_order_of_the_steps_changes_nothing() -> None:
    """The engine works on several resources at once: the same preview is the same text, byte for byte."""
    expected = preview_markdown(shown(day()))
    for seed in range(5):
        engine = day()
        refreshes = [step for step in engine.steps if step["op"] == "refresh"]
        others = [step for step in engine.steps if step["op"] != "refresh"]
        random.Random(seed).shuffle(refreshes)
        random.Random(seed).shuffle(others)
        engine.steps = [*refreshes, *others]

        assert preview_markdown(shown(engine)) == expected


def test_nothing_to_do_is_said_in_one_line() -> None:
    """What stays the same has no matrix and no fold-out."""
    engine = Engine()
    engine.guard(record({"alpha": line("d1")}), record({"alpha": line("d1")}))
    engine.add(Kind.APPLICATION, "alpha-metrics", application("alpha", "1"), application("alpha", "1"))
    found = shown(engine)

    assert not found.differs
    assert preview_markdown(found) == (
        "<!-- fleet preview: fleet/dev -->\n### Preview of `fleet/dev`: no changes\n\n"
        "| create | update | replace | delete | same |\n| --- | --- | --- | --- | --- |\n| 0 | 0 | 0 | 0 | 3 |\n\n"
    )


def test_a_refusal_is_the_comment(golden: Check) -> None:
    """The guard's own words, once, and the same marker: it takes the place of the last comment."""
    engine = Engine()
    words = "this run would delete 3 of 4 tenants, `guards.delete` allows 1 (30%): `a`, `b`, `c`\nhelp: put them back"
    for _ in range(2):
        engine.said("error", f"Exception calling application: {words}", urn(Kind.FLEET_GUARD, "guard"))
    engine.said("error", "preview failed")
    found = shown(engine)

    assert not found.ok
    golden(GOLDEN / "refused.md", preview_markdown(found))


def test_an_engine_that_prints_no_json_is_a_failure() -> None:
    """What it said instead is the reason, and stands in the comment as code."""
    text = preview_markdown(failed("fleet", "dev", "error: incorrect passphrase for @you\n"))

    assert "```\nincorrect passphrase for @you\n```" in text


def test_what_was_removed_by_hand_is_drift() -> None:
    """The engine finds it gone and only creates it: that it was there is known from what the last run left."""
    engine = Engine()
    engine.guard(record({"a": line("1")}), record({"a": line("1")}))
    bag = application("a", "1")
    engine.add(Kind.APPLICATION, "a-metrics", None, bag, recorded=bag)
    found = shown(engine)

    assert [(each.op, each.name) for each in found.drift] == [("delete", "a-metrics")]
    assert [risk.names for risk in risks_of(found)] == [("Application a-metrics",)]


def test_replacements_count_once_and_are_flagged() -> None:
    """Of a replacement the engine prints three steps."""
    engine = Engine()
    old, new = {"manifest": {"name": "a"}}, {"manifest": {"name": "b"}}
    for op in ("create-replacement", "replace", "delete-replaced"):
        engine.add(Kind.PROJECT, "p", None if op == "create-replacement" else old, new, op=op)
    found = shown(engine)

    assert {op: count for op, count in found.counts.items() if count and op != "same"} == {"replace": 1}
    assert [risk.code for risk in risks_of(found)] == ["replace"]


def test_a_connector_counts_those_behind_it_in_direct_delivery() -> None:
    """A tenant that reaches it through a project or a registration uses it, too; what waits behind a gate does not."""
    engine = Engine()
    bags = {"argocd": {"server": "a"}}, {"argocd": {"server": "b"}}
    engine.guard(record({"a": line("1"), "b": line("1")}), record({"a": line("1"), "b": line("1")}))
    engine.add(Kind.CONNECTOR, "main", *bags)
    engine.add(Kind.ARGO_PROJECT, "p", *bags, needs=(urn(Kind.CONNECTOR, "main"),))
    for tenant, needs in (("a", urn(Kind.ARGO_PROJECT, "p")), ("b", urn(Kind.ROLLOUT_WAVE, "w"))):
        bag = {"tenant": tenant, "application": "metrics", "manifest": {"spec": {}}}
        engine.add(Kind.ARGO_APPLICATION, f"fleet-{tenant}-metrics", bag, bag, needs=(needs,))
    engine.add(Kind.ROLLOUT_WAVE, "w", {}, {"x": 1}, needs=(urn(Kind.ARGO_PROJECT, "p"),))

    (risk,) = risks_of(shown(engine))
    assert risk.message == "updates a connector that 1 of 2 tenants use"


def test_secrets_stay_masked() -> None:
    """What the engine marks is masked, of two values both are, references stay, and a new secret shows by no hash."""
    secret = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "plain-secret"}
    before = masked(
        {"token": secret, "key": MASK, "access": {"config": "argocdToken"}, "fingerprint": "aaaa"}
    )
    after = masked(
        {"token": "plain-secret", "key": {"id": "plain-secret"}, "access": {"env": "T"}, "fingerprint": "bb"}
    )
    found = [text for each in differences(before, after) for text in each.as_lines()]

    assert found == [
        '- access.config: "argocdToken"',
        '+ access.env: "T"',
        "- fingerprint: [secret]",
        "+ fingerprint: [secret], another one",
        "- key: [secret]",
        "+ key: [secret], another one",
        "- token: [secret]",
        "+ token: [secret], another one",
    ]


def test_a_secret_within_a_text_of_json_is_hidden() -> None:
    """There it has other letters than by itself."""
    engine = Engine()
    engine.add(Kind.APPLICATION, "acme-metrics", None, application("acme", "1.0.0", words='a"b\nc secret'))

    found = hidden(unpacked_steps(engine.printed()), ['a"b\nc secret'])

    assert "c secret" in json.dumps(engine.printed())
    assert "c secret" not in json.dumps(found)


def test_secrets_that_were_rendered_into_text_are_hidden() -> None:
    """A secret among the values for Jinja2 files is plain text to the engine, alone or within another one."""
    written = {
        "environment": "dev",
        "deep": [{"password": {"secure": "v1:abc"}}],
        "key": {"secure": "v1:def"},
    }
    plain = {
        "environment": "dev",
        "deep": [{"password": "hunter22"}],
        "key": {"a": "one\ntwo words", "b": 654321},
    }
    secrets = encrypted_texts(written, plain)

    assert sorted(secrets) == ["654321", "hunter22", "one\ntwo words"]
    assert hidden({"hunter22": ["x hunter22y", "  two words", 654321, True, "dev"]}, secrets) == {
        MASK: [f"x {MASK}y", f"  {MASK}", MASK, True, "dev"]
    }
    assert encrypted_texts({"secure": "v1:all"}, plain) == ["dev", "hunter22", "one\ntwo words", "654321"]


def test_the_marks_are_those_of_the_protocol() -> None:
    """They are written out where nothing may import Pulumi."""
    assert (rpc._special_sig_key, rpc.UNKNOWN) == (SIGNATURE, UNKNOWN)
    assert masked({"a": [UNKNOWN]}) == {"a": [KNOWN_LATER]}


def test_a_long_preview_is_cut_from_its_end_and_says_so() -> None:
    """The comment fits, the summary is whole, the first tenants have their diffs, and the file is named."""
    found = shown(many(1_000))
    text = preview_markdown(found, full_diff="prod.diff")

    assert LIMIT - 2_000 < len(text) <= LIMIT
    assert "and 940 more tenants, in the diffs below." in text
    assert re.search(r"\*\*A comment has no room for all\*\*: .*\d+ of 1000 are left out\.", text)
    assert text.endswith("The whole diff is in `prod.diff`.\n")
    assert "t0000</code>: 1 to update" in text
    assert text.count("<details>") == text.count("</details>")
    assert preview_diff(found).count("@@ update Application t0999-metrics @@") == 1


def test_one_tenant_that_is_too_long_is_cut_within() -> None:
    """A diff longer than a comment shows its beginning."""
    engine = Engine()
    engine.guard(record({}), record({"a": line("1")}))
    engine.add(Kind.APPLICATION, "a-metrics", None, application("a", "1", values=list(range(20_000))))
    text = preview_markdown(shown(engine))

    assert LIMIT - 3_000 < len(text) <= LIMIT
    assert re.search(r"^\.\.\. and \d+ more lines$", text, re.MULTILINE)
    assert "the last one is cut and 0 of 1 are left out" in text


def rendered(text: str) -> str:
    """Return Markdown as HTML."""
    return str(MD.render(text))


def outside_code(html: str) -> str:
    """Return HTML without what is code or a comment: where a name would call a person."""
    return re.sub(r"<code\b.*?</code>|<!--.*?-->", "", html, flags=re.DOTALL)


def test_words_of_others_stay_words() -> None:
    """No name and no message breaks a table, closes a fold-out, becomes HTML or calls a person."""
    engine = Engine()
    engine.guard(record({}), record({}, protected=[HOSTILE], approve=[{"delete": ["x"], "reason": HOSTILE}]))
    bag = {**application("a", HOSTILE), "tenant": HOSTILE, "note": HOSTILE, HOSTILE: {"x|`": 1}}
    engine.add(Kind.APPLICATION, HOSTILE, None, bag)
    engine.add(Kind.APPLICATION, "b", bag, {**bag, "tenant": "b", "note": HOSTILE * 2})
    engine.said("warning", HOSTILE)
    text = preview_markdown(shown(engine), full_diff=HOSTILE)
    refused = Engine()
    refused.said("error", HOSTILE)
    html = rendered(text)

    for page in (html, rendered(preview_markdown(shown(refused)))):
        assert "<script" not in page
        assert "@person" not in outside_code(page)
        assert "#1 " not in outside_code(page)
        assert "e.com" not in outside_code(page)
        assert "\u202e" not in page
        assert "<h1>" not in page
    assert html.count("<details>") == html.count("</details>") == 3
    rows = [row.count("<td") for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if "<td" in row]
    assert sorted(set(rows)) == [3, 4, 5]
    assert rendered(preview_markdown(shown(refused))).count("<pre>") == 1


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ab|`<>@&\\*_[]()!# \n\t~$\u202e\U0001f600")), max_size=60))
def test_code_holds_any_words(words: str) -> None:
    """In a line, a cell, a line of HTML or a block, all of it is code."""
    table = rendered("\n".join(markdown_table(["h", "i"], [[code(words), "last"]])))
    blocks = rendered("\n".join(block([words, "end"])))
    summary = rendered(f"<details><summary>{html_code(words)}</summary>\n\n</details>\n")

    assert table.count("<td>") == 2
    assert "<td>last</td>" in table
    assert re.search(r"<td><code>.*</code></td>\n<td>last", table, re.DOTALL)
    assert not re.search(r"[@<#]", re.sub(r"</?(table|thead|tbody|tr|th|td)>", "", outside_code(table)))
    assert re.fullmatch(r"<pre><code>.*end\n</code></pre>\n", blocks, re.DOTALL)
    assert summary.count("<summary><code>") == summary.count("</code></summary>") == 1


@settings(max_examples=15, deadline=None)
@given(
    st.integers(min_value=0, max_value=400),
    st.sampled_from(["x", "`" * 400, "\U0001f600" * 200, "|" * 300, "y\nz\n" * 100]),
    st.sampled_from([LEAST, LIMIT]),
)
def test_no_comment_is_longer_than_its_limit(count: int, spec: str, limit: int) -> None:
    """Whatever the words and however many, counted as GitHub may count them."""
    engine = many(count, spec=spec)
    for number in range(40):
        engine.said("warning", f"{number} {spec}")
    refused = Engine()
    refused.said("error", spec * 200)

    for found in (shown(engine), shown(refused)):
        text = preview_markdown(found, limit=limit, full_diff="d" * 100)
        assert len(text.encode("utf-16-le")) // 2 <= limit
        assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize("stack", ["dev", "a-->b"])
def test_the_marker_is_one_comment(stack: str) -> None:
    """CI finds a comment by its first line."""
    found = failed("fleet", stack, "no")

    assert marker(found).count("-->") == 1
    assert preview_markdown(found).splitlines()[0] == marker(found)


def test_lists_of_named_things_are_compared_by_name() -> None:
    """One more application at the front is one difference, not as many as there are."""
    before: Any = {"list": [{"name": "b", "v": 1}, {"name": "c", "v": 1}]}
    after: Any = {"list": [{"name": "a", "v": 1}, {"name": "b", "v": 1}, {"name": "c", "v": 2}]}

    assert [each.path for each in differences(before, after)] == ["list[a].name", "list[a].v", "list[c].v"]
