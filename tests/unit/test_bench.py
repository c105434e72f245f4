"""The harness of the benchmarks: what it measures with must be as it says, or no figure means anything."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import report, results, rollouts
from bench.definitions import (
    CHANGED_TEMPLATE,
    Names,
    change_template,
    definition,
    tenant_name,
    write_definition,
)
from bench.measure import CommandError, measure
from bench.rivals.applicationsets import application_sets
from bench.stacks import UnexpectedError, counts, expect
from fleet.definition.load import load
from fleet.desired.objects import Desired
from fleet.desired.plan import plan
from fleet.desired.rollout import moves
from fleet.names import Kind

TENANTS = 12
RUN = """\
Resources:
    + 17 created
    ~ 2 updated
    - 1 deleted
    4 unchanged

Duration: 1s
"""


def files_of(folder: Path) -> dict[Path, bytes]:
    """Return every file of a folder with its content."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planned(folder: Path) -> tuple[Desired, ...]:
    """Return the plan of a definition, which must be sound."""
    loaded = load(folder, {})
    assert loaded.problems == ()
    assert loaded.fleet is not None
    found = plan(loaded.fleet)
    assert found.problems == ()
    return found.objects


def name_of(manifest: Mapping[str, Any]) -> str:
    """Return the name of an object."""
    return str(manifest["metadata"]["name"])


def test_the_fleet_depends_on_its_seed_alone(tmp_path):
    """Two fleets of one seed are the same files, another seed is another fleet."""
    for name, seed in (("one", 4), ("two", 4), ("other", 5)):
        write_definition(tmp_path / name, TENANTS, delivery="direct", seed=seed)

    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert files_of(tmp_path / "one") != files_of(tmp_path / "other")


def test_a_larger_fleet_begins_with_the_smaller_one():
    """The first tenants are the same at every size, so that sizes can be compared."""
    small, large = (
        dict(definition(size, delivery="direct", names=Names(), seed=4)) for size in (TENANTS, 5 * TENANTS)
    )

    assert small.items() <= large.items()


@pytest.mark.parametrize(
    ("delivery", "kinds"),
    [
        ("direct", {Kind.CLUSTER_REGISTRATION: 1, Kind.ARGO_APPLICATION: 3}),
        ("platform", {Kind.TENANT: 1, Kind.APPLICATION: 3}),
    ],
)
def test_the_fleet_is_valid_and_has_four_objects_a_tenant(tmp_path, delivery, kinds):
    """Without a warning, too; the variety that real fleets have is in it."""
    write_definition(tmp_path, TENANTS, delivery=delivery)

    objects = planned(tmp_path)
    for kind, each in kinds.items():
        assert len([one for one in objects if one.kind is kind]) == each * TENANTS
    text = "".join(path.read_text() for path in (tmp_path / "tenants").iterdir())
    assert {"class: standard", "class: gpu", "class: batch"} <= set(re.findall(r"class: \w+", text))
    assert "parameters" in text
    assert "inline" in text


def test_the_change_is_one_line_that_reaches_every_tenant(tmp_path):
    """One application of each tenant is another one after it; a second change takes it back."""
    write_definition(tmp_path, TENANTS, delivery="direct")
    before, files = planned(tmp_path), files_of(tmp_path)

    change_template(tmp_path)

    (path,) = (path for path, content in files_of(tmp_path).items() if content != files[path])
    old, new = (text.decode().splitlines() for text in (files[path], files_of(tmp_path)[path]))
    assert path.stem == CHANGED_TEMPLATE
    assert sum(one != two for one, two in zip(old, new, strict=True)) == 1
    changed = [two.tenant for one, two in zip(before, planned(tmp_path), strict=True) if one != two]
    assert len({tenant for tenant in changed if tenant}) == TENANTS
    change_template(tmp_path)
    assert files_of(tmp_path) == files


def test_application_sets_make_exactly_the_applications(tmp_path):
    """Filling each element into its template gives the manifests that the fleet plans, and no others."""
    write_definition(tmp_path, TENANTS, delivery="direct")
    wanted = [
        dict(each.properties["manifest"]) for each in planned(tmp_path) if each.kind is Kind.ARGO_APPLICATION
    ]

    made = []
    for found in application_sets(wanted, "argocd"):
        text = json.dumps(found["spec"]["template"])
        for element in found["spec"]["generators"][0]["list"]["elements"]:
            filled = text
            for key, value in element.items():
                filled = filled.replace(f"{{{{ .{key} }}}}", json.dumps(value)[1:-1])
            made.append(json.loads(filled))

    plain = json.loads(json.dumps(wanted))
    for each in plain:
        del each["metadata"]["namespace"]
    assert sorted(made, key=name_of) == sorted(
        ({"metadata": each["metadata"], "spec": each["spec"]} for each in plain), key=name_of
    )


def test_the_rollout_is_valid_and_has_every_tenant_in_one_of_three_waves(tmp_path):
    """Two of a hundred are the canary, about a quarter come early."""
    tenants = [tenant_name(number) for number in range(100)]
    rollouts.write_fleet(tmp_path, tenants, "https://charts.example.com", "argocd")
    before = planned(tmp_path)

    rollouts.set_rollout(tmp_path, f"{{version: {rollouts.TO}, parameters: {{image: '{rollouts.BROKEN}'}}}}")

    changed = [
        each for each in planned(tmp_path) if each.kind is Kind.ARGO_APPLICATION and each not in before
    ]
    assert len(changed) == len(tenants)
    fleet = load(tmp_path, {}).fleet
    assert fleet is not None
    found = list(moves(fleet.rollouts[rollouts.FLEET], fleet))
    assert sorted(each.tenant for each in found) == tenants
    sizes = Counter(each.wave for each in found)
    assert sizes["canary"] == rollouts.CANARIES
    assert 10 < sizes["early"] < 40 < sizes["rest"]


def test_a_command_is_measured_with_its_children(tmp_path):
    """Memory and processor time of a grandchild count; so does the time that it takes."""
    child = "import time; kept = bytearray(80_000_000); time.sleep(1.2)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    taken = measure([sys.executable, "-c", parent], cwd=tmp_path, env=os.environ, log=tmp_path / "log")

    assert taken.seconds >= 1.2
    assert taken.peak_memory_mib >= 76
    assert taken.cpu_s > 0


def test_a_command_that_fails_is_no_measurement(tmp_path):
    """Its last words are in the message."""
    command = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]

    with pytest.raises(CommandError, match=r"(?s)exit code 3.*no room"):
        measure(command, cwd=tmp_path, env=os.environ, log=tmp_path / "log")


def test_a_run_must_do_what_is_measured(tmp_path):
    """The numbers of a run are read from its summary, and others than the wanted ones stop the benchmark."""
    taken = measure(["cat"], cwd=tmp_path, env=os.environ, log=tmp_path / "log")
    run = type(taken)(1.0, 1.0, 1.0, RUN)

    assert counts(RUN) == {"create": 17, "update": 2, "delete": 1, "replace": 0, "unchanged": 4}
    assert expect(run, "up", create=17, update=2, delete=1) is run
    with pytest.raises(UnexpectedError, match="add: wanted"):
        expect(run, "add", create=17, update=2)


def test_records_are_merged_by_what_they_are_about(tmp_path):
    """A new record takes the place of the one about the same, or about it and nothing beside; others stay."""
    path = tmp_path / "results.json"

    results.merge(path, [results.record("up", 10, [9.0])])
    results.merge(
        path, [results.record("up", 10, [3.0, 1.0, 2.0], reference="floor", reference_samples=[4.0])]
    )
    results.merge(path, [results.record("preview", 10, [1.0])])
    results.merge(path, [results.record("up", 10, [8.0], reference="floor", reference_samples=[4.0])])

    up, preview = results.load(path)
    assert (up["seconds"], up["ratio"], up["runs"], up["spread"]) == (8.0, 2.0, 1, None)
    assert (preview["case"], preview["reference"], preview["ratio"]) == ("preview", "", None)
    assert results.record("up", 1, [3.0, 1.0, 2.0])["seconds"] == 2.0
    assert results.record("up", 1, [3.0, 1.0, 2.0])["spread"] == 1.0


RECORDS = [
    results.record(
        "up",
        tenants,
        [seconds],
        reference="plain floor: preview --refresh",
        reference_samples=[seconds * 2],
        delivery="direct",
        resources=4 * tenants,
        state_bytes=4000 * tenants,
        api_requests=123456,
        peak_memory_mib=1234.5,
    )
    for tenants, seconds in ((10, 2.0), (1000, 123.4))
]


def test_the_readme_gets_its_figures_between_the_markers(tmp_path):
    """Twice as well as once, with the text around them untouched; the committed README has the markers."""
    readme = tmp_path / "README.md"
    readme.write_text(report.README.read_text(encoding="utf-8"), encoding="utf-8")

    report.rewrite(readme, RECORDS)
    once = readme.read_text(encoding="utf-8")
    report.rewrite(readme, RECORDS)

    assert readme.read_text(encoding="utf-8") == once
    assert "| `pulumi up` from nothing | 1000 | 4000 | 123 |" in once
    assert "| up | x 61.7 |" in once
    assert "1,000 at 10, 1,000 at 1,000" in once
    assert once.startswith(report.README.read_text(encoding="utf-8").partition(report.BEGIN)[0])
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        report.rewrite(readme, RECORDS)


def test_the_waves_of_a_rollout_are_told():
    """How many tenants each has, and when it was written and live."""
    waves = [
        {"wave": "canary", "tenants": 2, "written_s": 4, "live_s": 5},
        {"wave": "rest", "tenants": 98, "written_s": 6, "live_s": 60},
    ]
    record = results.record("rollout", 100, [61.4], delivery="direct", waves=waves, deploy_seconds=54.0)

    told = report.markdown([record])

    assert "| 100 | 54.0 | canary (2) 4 to 5, rest (98) 6 to 60 |" in told


def test_the_table_fits_a_terminal():
    """80 columns, with the largest figures, too."""
    failed = results.record(
        "plain", 5000, [], delivery="direct", failed="RecursionError: maximum recursion depth"
    )

    lines = report.table([*RECORDS, failed]).splitlines()

    assert max(map(len, lines)) <= 80
    assert "RecursionError" in lines[-1]
    assert Path(report.README).name == "README.md"
