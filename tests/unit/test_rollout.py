"""Rollouts: who is in which wave, which version each tenant has, and what waits for whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.definition.fleet import Fleet, Rollout, Tenant
from fleet.definition.model import Credential
from fleet.definition.rollout import RolloutSpec
from fleet.desired.objects import Desired, Key, Plan
from fleet.desired.plan import plan
from fleet.desired.rollout import matrix, moves, planned_waves, stopped
from fleet.errors import Severity
from fleet.names import Kind
from tests.unit import fleets
from tests.unit.fleets import chart_spec, connector, located, parameter, template, use

RUN_AI = template("run-ai", chart_spec("run-ai", revision="2.20.0"))
OPERATOR = template(
    "operator",
    chart_spec("operator", revision="{{ .Values.version }}"),
    parameter("version", "v1.0.0"),
    parameter("token", "", type="password"),
)
KUBECONFIG = Credential(config="kubeconfig")


def rollout(name: str = "tuesday", before: Any = None, **spec: Any) -> Rollout:
    """Return a rollout of Run:ai to 2.21.0; spec as in YAML."""
    data = {"template": "run-ai", "to": {"version": "2.21.0"}, "waves": [{"name": "all"}]} | spec
    data |= {"from": before} if before else {}
    return Rollout(
        name=name,
        path=f"rollouts.{name}",
        locate=located(f"rollouts/{name}.yaml"),
        spec=RolloutSpec.model_validate(data, by_alias=True),
    )


def tenant(name: str, ring: str | None = None, *, direct: bool = False, **more: Any) -> Tenant:
    """Return a tenant with both applications."""
    applications = (
        use("run-ai", template="run-ai"),
        use("operator", template="operator", parameters={"version": "v1.1.0"}),
    )
    given: dict[str, Any] = {
        "labels": {"ring": ring} if ring else {},
        **({"kubeconfig": KUBECONFIG} if direct else {}),
    }
    return fleets.tenant(name, *applications, **given, **more)


def fleet(tenants: Iterable[Tenant], *rollouts: Rollout, direct: bool = False) -> Fleet:
    """Return a fleet with these tenants and rollouts."""
    made = fleets.fleet(
        delivery="direct" if direct else "platform",
        tenants=tenants,
        templates=[RUN_AI, OPERATOR],
        connectors=[connector("akuity-prod")],
    )
    return dataclasses.replace(made, rollouts={each.name: each for each in rollouts})


def waves_of(of: Fleet, name: str = "tuesday") -> dict[str, tuple[str, ...]]:
    return {each.wave.name: each.tenants for each in planned_waves(of.rollouts[name], of)}


def by_key(of: Plan) -> dict[Key, Desired]:
    return {each.key: each for each in of.objects}


def deployed(of: Plan, name: str, application: str = "run-ai") -> str:
    """Return the version of a tenant's application that a plan deploys."""
    for each in of.objects:
        if each.kind is Kind.APPLICATION and each.name == f"{name}-{application}":
            return str(each.properties["spec"]["source"]["targetRevision"])
        if (
            each.kind is Kind.ARGO_APPLICATION
            and each.tenant == name
            and each.properties["application"] == application
        ):
            return str(each.properties["manifest"]["spec"]["source"]["targetRevision"])
    raise AssertionError(name)


def written(of: Plan) -> dict[str, list[Any]]:
    """Return what a plan writes of each tenant: everything but the order in which that happens."""
    found: dict[str, list[Any]] = {}
    for each in of.objects:
        if each.tenant is not None:
            found.setdefault(each.tenant, []).append((each.kind, each.name, each.properties))
    return found


CANARIES: list[dict[str, Any]] = [
    {"name": "canary", "selector": {"ring": "canary"}},
    {"name": "named", "tenants": ["echo", "delta"]},
    {"name": "rest"},
]
SOME = [tenant("alpha", "canary"), *map(tenant, ("bravo", "charlie", "delta", "echo"))]


def test_a_wave_has_those_it_selects_and_the_last_one_the_rest():
    """Names keep their order; nobody is left out."""
    waves = waves_of(fleet(SOME, rollout(waves=CANARIES)))

    assert waves["canary"] == ("alpha",)
    assert waves["named"] == ("echo", "delta")
    assert sorted(waves["rest"]) == ["bravo", "charlie"]


def test_who_does_not_use_the_template_is_in_no_wave():
    """A tenant without the application is none of the rollout's."""
    bare = fleets.tenant("bare", use("operator", template="operator"))

    assert waves_of(fleet([tenant("alpha"), bare], rollout())) == {"all": ("alpha",)}


def test_percentages_are_of_the_fleet():
    """A share is about as large as it says, and waves of the same selection follow each other."""
    tenants = [tenant(f"t{number}") for number in range(400)]
    waves = [{"name": "a", "percentage": 10}, {"name": "b", "percentage": 40}, {"name": "c"}]
    found = {name: len(each) for name, each in waves_of(fleet(tenants, rollout(waves=waves))).items()}

    assert sum(found.values()) == 400
    assert 20 <= found["a"] <= 60
    assert 120 <= found["b"] <= 200


def test_count_is_exact():
    """So many, and another choice in another rollout."""
    tenants = [tenant(f"t{number}") for number in range(40)]
    waves = [{"name": "a", "count": 5}, {"name": "b"}]
    of = fleet(tenants, *(rollout(name, waves=waves, template=name) for name in ("run-ai", "operator")))

    assert len(waves_of(of, "run-ai")["a"]) == len(waves_of(of, "operator")["a"]) == 5
    assert set(waves_of(of, "run-ai")["a"]) != set(waves_of(of, "operator")["a"])


@pytest.mark.parametrize("direct", [False, True], ids=["platform", "direct"])
@pytest.mark.parametrize(
    ("spec", "moved"),
    [
        ({}, {"alpha", "delta", "echo", "bravo", "charlie"}),
        ({"upTo": "canary"}, {"alpha"}),
        ({"upTo": "named"}, {"alpha", "delta", "echo"}),
        ({"waves": [{**CANARIES[0], "pause": True}, *CANARIES[1:]]}, set()),
        ({"waves": [CANARIES[0], {**CANARIES[1], "pause": True}, CANARIES[2]]}, {"alpha"}),
    ],
    ids=["all", "up to the first", "up to the second", "paused before the first", "paused before the second"],
)
def test_open_waves_have_to_and_the_others_from(spec, moved, direct):
    """Both deliveries deploy what the waves say."""
    tenants = [dataclasses.replace(each, kubeconfig=KUBECONFIG if direct else None) for each in SOME]
    of = plan(fleet(tenants, rollout(**{"waves": CANARIES} | spec), direct=direct))

    assert {each.name for each in tenants if deployed(of, each.name) == "2.21.0"} == moved
    assert {each.name for each in tenants if deployed(of, each.name) == "2.20.0"} == {
        each.name for each in tenants
    } - moved


def test_a_changed_template_is_a_revision_of_its_own():
    """The one that the others use stays as it is, and a revision that nobody uses is not there."""
    some, done = (plan(fleet(SOME, rollout(waves=CANARIES, **spec))) for spec in ({"upTo": "canary"}, {}))
    none = plan(fleet(SOME))

    def templates(of: Plan) -> dict[str, Any]:
        return {each.name: each.properties for each in of.objects if each.kind is Kind.APPLICATION_TEMPLATE}

    (revision,) = templates(some).keys() - templates(none).keys()
    assert revision.startswith("run-ai-")
    assert templates(some)[revision]["manifest"]["metadata"]["name"] == f"fleet-{revision}"
    assert templates(some)["run-ai"] == templates(none)["run-ai"]
    assert templates(done) == templates(some)

    pinned = rollout(waves=CANARIES, before={"version": "2.21.0"}, to={"version": "2.22.0"})
    assert revision not in templates(plan(fleet(SOME, pinned)))


def test_the_next_rollout_begins_where_the_last_one_ended():
    """A finished rollout that becomes the `from` of the next one changes nobody."""
    waves = [{**CANARIES[0], "pause": True}, *CANARIES[1:]]
    next_one = rollout(before={"version": "2.21.0"}, to={"version": "2.22.0"}, waves=waves)

    assert written(plan(fleet(SOME, next_one))) == written(plan(fleet(SOME, rollout(waves=CANARIES))))


def test_a_rollout_to_what_the_template_says_can_be_removed():
    """When the template itself says what `to` says, each tenant names it again."""
    newer = template("run-ai", chart_spec("run-ai", revision="2.21.0"))
    of = fleet(SOME, rollout(waves=CANARIES, before={"version": "2.20.0"}))
    of = dataclasses.replace(of, templates={**of.templates, "run-ai": newer})
    without = dataclasses.replace(of, rollouts={})

    assert written(plan(of)) == written(plan(without))


def test_parameters_lie_over_those_of_tenants():
    """A rollout of values; the tenants keep the template and everything else that they say."""
    of = plan(
        fleet(SOME, rollout(template="operator", to={"parameters": {"version": "v2.0.0"}}, waves=CANARIES))
    )

    assert {deployed(of, each.name, "operator") for each in SOME} == {"v2.0.0"}
    assert not [each for each in of.objects if each.name.startswith("operator-")]


def test_another_template_can_be_the_revision():
    """What cannot be said by a version or values is a template of its own."""
    new = template("run-ai-3", chart_spec("run-ai-next", revision="3.0.0"))
    of = fleet(SOME, rollout(to={"template": "run-ai-3"}, waves=CANARIES, upTo="canary"))
    of = dataclasses.replace(of, templates={**of.templates, "run-ai-3": new})

    assert deployed(plan(of), "alpha") == "3.0.0"
    assert deployed(plan(of), "bravo") == "2.20.0"
    assert matrix(of)["tuesday"]["canary"] == {"alpha": "run-ai-3 3.0.0"}
    assert matrix(of)["tuesday"]["named"]["echo"] == "run-ai 2.20.0"


def test_the_matrix_says_what_each_tenant_has():
    """Wave by wave, in the words of the release; a password is never in it."""
    to = {"parameters": {"version": "v2.0.0", "token": "hunter2"}}
    of = fleet(SOME, rollout(template="operator", to=to, waves=CANARIES, upTo="canary"))

    assert matrix(of)["tuesday"]["canary"] == {"alpha": "token=(hidden) version=v2.0.0"}
    (alpha, *_) = moves(of.rollouts["tuesday"], of)
    assert (alpha.before, alpha.after) == ("token=(hidden) version=v1.1.0", alpha.version)
    assert "hunter2" not in str([each.properties for each in plan(of).objects if "Rollout" in each.kind])
    assert by_key(plan(of))[Kind.FLEET_READY, "test"].properties["rollouts"] == matrix(of)


def test_a_stop_of_one_run_comes_before_the_definition():
    """After a wave, or before the first; what is not there is an error."""
    of = fleet(SOME, rollout(waves=CANARIES))

    assert deployed(plan(stopped(of, {"tuesday": "canary"})), "bravo") == "2.20.0"
    assert deployed(plan(stopped(of, {"tuesday": ""})), "alpha") == "2.20.0"
    for stops in ({"friday": ""}, {"tuesday": "canaries"}):
        with pytest.raises(LookupError, match=r"there is no rollout|has no wave"):
            stopped(of, stops)


def gates(of: Plan) -> list[Desired]:
    return [each for each in of.objects if each.kind is Kind.ROLLOUT_WAVE]


def before(of: Plan, key: Key) -> set[Key]:
    """Return everything that is done before an object."""
    objects, found, left = by_key(of), set[Key](), [key]
    while left:
        for each in objects[left.pop()].depends_on:
            if each not in found:
                found.add(each)
                left.append(each)
    return found


@pytest.mark.parametrize("direct", [False, True], ids=["platform", "direct"])
def test_a_wave_waits_for_the_gate_of_the_one_before(direct):
    """Each gate looks at its wave, the fleet's own comes after all of them, and what is not open has none."""
    tenants = [dataclasses.replace(each, kubeconfig=KUBECONFIG if direct else None) for each in SOME]
    of = plan(fleet(tenants, rollout(waves=CANARIES, upTo="named"), direct=direct))

    assert [each.name for each in gates(of)] == ["tuesday.canary", "tuesday.named"]
    canary, named = gates(of)
    assert canary.properties["versions"] == {"alpha": "2.21.0"}
    kind = Kind.ARGO_APPLICATION if direct else Kind.TENANT
    for each in of.objects:
        if each.kind is not kind or (direct and each.properties["application"] != "run-ai"):
            continue
        gated = {gate for gate in before(of, each.key) if gate[0] is Kind.ROLLOUT_WAVE}
        assert gated == ({canary.key} if each.tenant in ("delta", "echo") else set())
    assert {canary.key, named.key} <= set(of.objects[-1].depends_on)
    if direct:
        assert canary.properties["applications"] == {"akuity-prod": {"test-alpha-run-ai": "alpha"}}
    else:
        assert canary.properties["tenants"] == {"p-ai-tenants": ["alpha"]}
        assert set(canary.properties["sources"]["p-ai-tenants"]) == {"alpha-run-ai", "alpha-operator"}


def test_only_so_many_are_changed_at_once():
    """Each part of a wave waits for the gate of the last one; the whole wave bakes, and shares one budget."""
    tenants = [tenant(f"t{number}") for number in range(5)]
    wave = {"name": "all", "maxUnavailable": 2, "maxFailures": 1, "bake": "10m"}
    of = plan(fleet(tenants, rollout(waves=[wave])))

    assert [(each.name, len(each.properties["versions"])) for each in gates(of)] == [
        ("tuesday.all.2", 2),
        ("tuesday.all.4", 4),
        ("tuesday.all", 5),
    ]
    assert [each.properties["bakeSeconds"] for each in gates(of)] == [0, 0, 600]
    assert {each.properties["maxFailures"] for each in gates(of)} == {1}


def test_a_window_stands_before_its_wave():
    """It is asked once for each release, whoever is in the wave."""
    waves = [CANARIES[0], {**CANARIES[1], "windows": ["Mon-Fri 09:00-16:00"]}, CANARIES[2]]
    of, more = (plan(fleet(each, rollout(waves=waves))) for each in (SOME, [*SOME, tenant("new", "canary")]))
    other = plan(fleet(SOME, rollout(waves=waves, to={"version": "2.22.0"})))

    key = (Kind.ROLLOUT_WINDOW, "tuesday.named")
    window = by_key(of)[key]
    assert window.depends_on == ((Kind.ROLLOUT_WAVE, "tuesday.canary"),)
    assert {each.name for each in of.objects if each.kind is Kind.TENANT and key in before(of, each.key)} == {
        "bravo",
        "charlie",
        "delta",
        "echo",
    }
    assert window.properties == by_key(more)[key].properties != by_key(other)[key].properties


def test_who_displaces_another_in_a_counted_wave_is_known_to_its_gate():
    """The gate has who is in later waves, so that its preview can refuse to send somebody back."""
    tenants = [tenant(f"t{number}") for number in range(6)]
    of = plan(fleet(tenants, rollout(waves=[{"name": "a", "count": 2}, {"name": "b"}])))

    first = gates(of)[0].properties
    assert first["count"] == 2
    assert {*first["later"], *first["versions"]} == {each.name for each in tenants}


def test_two_rollouts_in_opposite_orders_cross_on_the_platform_alone():
    """With direct delivery each moves applications of its own."""
    waves = [[{"name": "a", "tenants": [name]}, {"name": "b"}] for name in ("alpha", "bravo")]
    several = [
        rollout("one", waves=waves[0]),
        rollout("two", template="operator", to={"parameters": {"version": "v2.0.0"}}, waves=waves[1]),
    ]

    for direct in (False, True):
        tenants = [dataclasses.replace(each, kubeconfig=KUBECONFIG if direct else None) for each in SOME]
        codes = [each.code for each in plan(fleet(tenants, *several, direct=direct)).problems]
        assert codes == ([] if direct else ["rollout-crossing"])
    same = [
        several[0],
        dataclasses.replace(
            several[1], spec=several[1].spec.model_copy(update={"waves": several[0].spec.waves})
        ),
    ]
    assert not plan(fleet(SOME, *same)).problems


def test_a_wave_of_nobody_is_a_warning_and_no_gate():
    """The one after it begins at once."""
    of = plan(fleet(SOME, rollout(waves=[{"name": "none", "selector": {"ring": "none"}}, {"name": "all"}])))

    assert [(each.code, each.severity) for each in of.problems] == [("wave-empty", Severity.WARNING)]
    assert [each.name for each in gates(of)] == ["tuesday.all"]


# Properties, over any fleet and any waves.

NAMES = st.sets(st.from_regex(r"[a-z]{1,3}", fullmatch=True), min_size=1, max_size=12)
RINGS = st.sampled_from([None, "a", "b"])


@st.composite
def tenants_of(draw: st.DrawFn, names: Iterable[str], *, direct: bool) -> list[Tenant]:
    return [tenant(name, draw(RINGS), direct=direct) for name in sorted(names)]


@st.composite
def wave_lists(draw: st.DrawFn, *, counted: bool = True) -> list[dict[str, Any]]:
    """Return some waves; the last one has the rest."""
    share = st.fixed_dictionaries({"percentage": st.integers(1, 33)})
    ring = st.fixed_dictionaries({"selector": st.fixed_dictionaries({"ring": st.sampled_from(["a", "b"])})})
    count = st.fixed_dictionaries({"count": st.integers(1, 4)})
    narrowed = st.builds(lambda one, other: one | other, share, ring)
    kinds = [share, ring, narrowed, *([count] if counted else [])]
    chosen = draw(st.lists(st.one_of(*kinds), max_size=3))
    size = st.one_of(st.none(), st.integers(1, 3))
    return [
        {"name": f"w{index}", **wave, **({"maxUnavailable": limit} if (limit := draw(size)) else {})}
        for index, wave in enumerate([*chosen, {}])
    ]


@st.composite
def cases(draw: st.DrawFn, *, counted: bool = True) -> Fleet:
    direct = draw(st.booleans())
    tenants = draw(tenants_of(draw(NAMES), direct=direct))
    return fleet(tenants, rollout(waves=draw(wave_lists(counted=counted))), direct=direct)


def stops_of(of: Fleet) -> list[str]:
    """Return every place where the rollout can stop: before the first wave, and after each."""
    return ["", *(each.name for each in of.rollouts["tuesday"].spec.waves)]


def place_of(of: Fleet) -> dict[str, int]:
    """Return the number of each tenant's wave, from 1 on."""
    waves = planned_waves(of.rollouts["tuesday"], of)
    return {name: index for index, each in enumerate(waves, 1) for name in each.tenants}


PROPERTY = settings(max_examples=40, deadline=None)


@PROPERTY
@given(cases())
def test_every_tenant_is_in_exactly_one_wave(of):
    """None is skipped and none is twice there."""
    waves = planned_waves(of.rollouts["tuesday"], of)

    assert sorted(name for each in waves for name in each.tenants) == sorted(of.tenants)


@PROPERTY
@given(cases(counted=False), st.data())
def test_an_added_tenant_moves_nobody(of, data):
    """The others keep their waves."""
    names = data.draw(NAMES) - set(of.tenants)
    direct = of.spec.delivery == "direct"
    more = {each.name: each for each in data.draw(tenants_of(names, direct=direct))}
    grown = dataclasses.replace(of, tenants=dict(sorted({**of.tenants, **more}.items())))

    assert place_of(of).items() <= place_of(grown).items()


@PROPERTY
@given(cases(), st.data())
def test_nobody_outside_the_open_waves_changes(of, data):
    """Neither by beginning a rollout, nor by opening another wave, nor by going back from one."""
    none = written(plan(dataclasses.replace(of, rollouts={})))
    one, two = (data.draw(st.sampled_from(range(len(stops_of(of))))) for _ in range(2))
    first, second = (written(plan(stopped(of, {"tuesday": stops_of(of)[stop]}))) for stop in (one, two))
    low, high = sorted((one, two))

    for name, number in place_of(of).items():
        if number > one:
            assert first[name] == none[name]
        if not low < number <= high:
            assert first[name] == second[name]
        else:
            assert first[name] != second[name]


@PROPERTY
@given(cases())
def test_stopping_after_each_wave_moves_every_tenant_once(of):
    """Paused and resumed as often as there are waves, it comes to the same as in one run."""
    steps = [written(plan(stopped(of, {"tuesday": stop}))) for stop in stops_of(of)]

    for name in of.tenants:
        changes = [index for index in range(1, len(steps)) if steps[index][name] != steps[index - 1][name]]
        assert changes == [place_of(of)[name]]
    assert steps[-1] == written(plan(of))


@PROPERTY
@given(cases(), st.data())
def test_a_gate_that_refuses_stops_everything_after_it_and_nothing_before(of, data):
    """Whatever wave breaks, the engine has not begun a later one; the same plan then goes on from there."""
    planned = plan(of)
    stop = data.draw(st.sampled_from(gates(planned)))
    reached = carried_out(planned.objects, refusing=stop.key)
    resumed = carried_out(planned.objects, refusing=None)

    places = place_of(of)
    number = max(places[name] for name in stop.properties["versions"])
    kind = Kind.ARGO_APPLICATION if of.spec.delivery == "direct" else Kind.TENANT
    for each in planned.objects:
        if each.kind is kind and each.properties.get("application", "run-ai") == "run-ai":
            assert each.tenant is not None
            if places[each.tenant] < number or each.tenant in stop.properties["versions"]:
                assert each.key in reached
            else:
                assert each.key not in reached
    assert resumed == {each.key for each in planned.objects}


def carried_out(objects: Sequence[Desired], *, refusing: Key | None) -> set[Key]:
    """Return what an engine carries out that begins an object when all that it depends on are done."""
    done: set[Key] = set()
    for each in objects:
        if each.key != refusing and set(each.depends_on) <= done:
            done.add(each.key)
    return done


@PROPERTY
@given(cases())
def test_each_object_comes_after_those_it_depends_on(of):
    """The program declares them in this order."""
    seen: set[Key] = set()
    for each in plan(of).objects:
        assert set(each.depends_on) <= seen
        seen.add(each.key)


@PROPERTY
@given(cases())
def test_a_wave_never_changes_more_than_it_may_at_once(of):
    """Between two gates there are at most `maxUnavailable` tenants."""
    limits: Mapping[str, int | None] = {
        each.name: each.max_unavailable for each in of.rollouts["tuesday"].spec.waves
    }
    known: dict[str, int] = {}
    for gate in gates(plan(of)):
        wave, count = gate.properties["wave"], len(gate.properties["versions"])
        limit = limits[wave]
        if limit is not None:
            assert 0 < count - known.get(wave, 0) <= limit
        known[wave] = count
