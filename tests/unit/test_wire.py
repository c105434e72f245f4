"""Property bags as the engine carries them: maps as text, and back in the form in which they came."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.dynamic import DiffResult, ReadResult, UpdateResult

from fleet.bags import packed, unpacked
from fleet.providers import wire
from fleet.providers.base import Bag, FleetProvider
from fleet.providers.wire import Secret

MANIFEST = {"kind": "Thing", "metadata": {"name": "a"}, "spec": {"replicas": 2, "words": "grün"}}
TEXT = '{"kind":"Thing","metadata":{"name":"a"},"spec":{"replicas":2,"words":"grün"}}'


class Whole(FleetProvider):
    """Says what it was given, and adds a property of its own."""

    keys = ("manifest",)

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return it as it is live."""
        assert isinstance(props["manifest"], dict)
        return ReadResult(id_, {**props, "objects": {"a": 1}}, props)

    def update(self, _id: str, olds: Bag, news: Bag) -> UpdateResult:
        """Return what is new."""
        assert isinstance(olds["manifest"], dict)
        return UpdateResult({**news})


class TestForm:
    """A provider sees plain data, and the engine what it has carried before, whoever serves the verb."""

    def test_texts_come_back_as_texts(self) -> None:
        """What the provider adds, too."""
        read = Whole().read("a", {"manifest": TEXT, "owner": "p.s"})

        assert read.inputs == {"manifest": TEXT, "owner": "p.s"}
        assert read.outs == {"manifest": TEXT, "owner": "p.s", "objects": '{"a":1}'}

    def test_maps_of_an_earlier_state_come_back_as_maps(self) -> None:
        """A refresh would show them as changed."""
        bag = {"manifest": MANIFEST, "owner": "p.s"}

        assert Whole().read("a", dict(bag)).inputs == bag
        assert Whole().update("a", {"manifest": MANIFEST}, {"manifest": TEXT}).outs == {"manifest": TEXT}

    def test_the_forms_do_not_differ(self) -> None:
        """A state of before shows no change in the first preview."""
        diff: DiffResult = Whole().diff("a", {"manifest": MANIFEST}, {"manifest": TEXT})

        assert diff.changes is False
        assert (
            Whole().diff("a", {"manifest": TEXT}, {"manifest": {**MANIFEST, "kind": "Other"}}).changes is True
        )

    def test_what_differs_goes_in_the_form_of_before(self) -> None:
        """On the messages as in a bag."""
        earlier = wire.to_struct({"owner": "p.s"})
        wire._fill(earlier.fields, {"manifest": MANIFEST})  # as a state of before has it
        live = {"manifest": {**MANIFEST, "kind": "Other"}, "owner": "p.s"}

        kept = wire.changed(earlier, wire.to_bag(earlier), live)
        texts = wire.changed(wire.to_struct({"manifest": MANIFEST}), {"manifest": MANIFEST}, live)

        assert kept.fields["manifest"].struct_value.fields["kind"].string_value == "Other"
        assert texts.fields["manifest"].string_value == TEXT.replace("Thing", "Other")


@pytest.mark.parametrize(
    ("bag", "carried"),
    [
        ({"manifest": MANIFEST}, {"manifest": TEXT}),
        ({"values": {"b": 1, "a": [True, 1.5]}}, {"values": '{"a":[true,1.5],"b":1}'}),
        ({"spec": {"left": None, "kept": [None, {"left": None}]}}, {"spec": '{"kept":[null,{}]}'}),
        ({"cluster": "loft-cluster", "access": {}}, {"cluster": "loft-cluster", "access": "{}"}),
    ],
)
def test_maps_of_plain_data_are_carried_as_text(bag: dict[str, Any], carried: dict[str, Any]) -> None:
    """The same text for the same data; what is null in a map does not exist."""
    assert packed(bag) == carried
    assert packed(unpacked(carried)) == carried
    assert packed(wire.to_bag(wire.to_struct(bag))) == carried


def test_a_secret_is_never_within_a_text() -> None:
    """The engine encrypts what is marked, and nothing else."""
    struct = wire.to_struct({"values": {"password": Secret("xyzzy")}, "manifest": MANIFEST})

    assert struct.fields["manifest"].string_value == TEXT
    marked = struct.fields["values"].struct_value.fields["password"].struct_value
    assert marked.fields[wire.SIGNATURE].string_value == wire.SECRET


@pytest.mark.parametrize("text", ["{not: json}", "[1]", "plain", ""])
def test_a_text_that_is_no_object_stays_one(text: str) -> None:
    """As a tenant's `vcluster.yaml` that somebody has broken by hand."""
    assert unpacked({"values": text}) == {"values": text}
