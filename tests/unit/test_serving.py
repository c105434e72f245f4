"""The provider process's verbs: the real process, with ours and with the SDK's own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto import provider_pb2_grpc

from fleet.names import Kind
from fleet.providers import serving, wire
from fleet.providers.resources import RESOURCES, FleetResource
from tests.contract.faults import Proxy

MANIFEST = {
    "apiVersion": "v1",
    "kind": "Thing",
    "metadata": {"name": "a"},
    "spec": {"replicas": 2, "on": True},
}
TEMPLATE = {
    **RESOURCES[Kind.APPLICATION_TEMPLATE].reference(),
    "manifest": MANIFEST,
    "owner": "p.s",
    "adopt": "Never",
}
CLUSTER = {
    **RESOURCES[Kind.CONTROL_PLANE_CLUSTER].reference(),
    "manifest": {**MANIFEST, "spec": {"argoCD": {"connector": "b"}}},
    "owner": "p.s",
}

CALLS = 16
WAIT_S = 20.0


@contextmanager
def process(**environment: str) -> Iterator[provider_pb2_grpc.ResourceProviderStub]:
    """Yield a connection to a dynamic provider's process, as the engine starts it."""
    command = [sys.executable, "-m", "pulumi.dynamic"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **environment}) as running:
        assert running.stdout is not None
        try:
            with grpc.insecure_channel(f"127.0.0.1:{int(running.stdout.readline())}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                stub.Configure(proto.ConfigureRequest(args=Struct()))
                yield stub
        finally:
            running.kill()


@pytest.fixture(scope="module")
def ours() -> Iterator[Any]:
    """Yield a process that has loaded one of our providers, and so serves by our verbs."""
    with process() as stub:
        stub.Check(proto.CheckRequest(news=wire.to_struct(TEMPLATE)))
        yield stub


@pytest.fixture(scope="module")
def theirs() -> Iterator[Any]:
    """Yield a process that serves by the SDK's verbs."""
    with process(**{serving.SWITCH: "1"}) as stub:
        yield stub


def changed(bag: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a bag with another manifest."""
    return {**bag, "manifest": {**bag["manifest"], **more}}


BAGS = {
    "the same": (TEMPLATE, TEMPLATE),
    "with an output": ({**TEMPLATE, "mark": "p.s"}, TEMPLATE),
    "changed": (TEMPLATE, changed(TEMPLATE, spec={"replicas": 3})),
    "another name": (TEMPLATE, changed(TEMPLATE, metadata={"name": "b"})),
    "a property of no interest": (TEMPLATE, {**TEMPLATE, "adopt": "Always"}),
    "one less": (TEMPLATE, {key: value for key, value in TEMPLATE.items() if key != "owner"}),
    "unknown": (TEMPLATE, {**TEMPLATE, "manifest": wire.UNKNOWN}),
    "nothing changed since the registration": ({**CLUSTER, "registration": "b"}, CLUSTER),
}


@pytest.mark.parametrize(("olds", "news"), BAGS.values(), ids=BAGS)
def test_a_diff_says_what_the_sdks_says(ours, theirs, olds, news) -> None:
    """With and without differences, whatever is in the bags."""
    request = proto.DiffRequest(id="a", olds=wire.to_struct(olds), news=wire.to_struct(news))

    assert ours.Diff(request) == theirs.Diff(request)


def test_a_refusal_reaches_the_preview_where_nothing_else_differs(ours, theirs) -> None:
    """What was written last counts, not only what is there now."""
    olds = {**CLUSTER, "registration": "a"}
    request = proto.DiffRequest(id="a", olds=wire.to_struct(olds), news=wire.to_struct(CLUSTER))
    words = []
    for stub in (ours, theirs):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Diff(request)
        words.append(caught.value.details())

    assert words[0] == words[1]
    assert "changing its connector from `a` to `b`" in words[0]


@pytest.mark.parametrize(
    "bag", [TEMPLATE, {**TEMPLATE, "manifest": {"spec": {"left": None, "kept": [None, 1.5]}}}]
)
def test_a_check_gives_what_the_sdks_gives(ours, theirs, bag) -> None:
    """Nulls in maps are dropped, those in lists stay."""
    struct = wire.to_struct(bag)
    if "spec" in bag["manifest"] and "left" in bag["manifest"]["spec"]:
        struct.fields["manifest"].struct_value.fields["spec"].struct_value.fields["left"].null_value = 0
    request = proto.CheckRequest(olds=struct, news=struct)

    assert ours.Check(request) == theirs.Check(request)


def test_the_gate_of_nothing_is_made_and_read_as_by_the_sdk(ours, theirs) -> None:
    """Outputs, inputs and id are the same from both."""
    gate: type[FleetResource] = RESOURCES[Kind.FLEET_READY]
    bag = {
        **gate.reference(),
        "waitFor": "nothing",
        "delivery": "direct",
        "tenants": {},
        "timeoutSeconds": 1,
        "notReady": {},
        "more": [1, {"a": True}],
    }
    answers = []
    for stub in (ours, theirs):
        made = stub.Create(proto.CreateRequest(properties=wire.to_struct(bag)))
        read = stub.Read(proto.ReadRequest(id=made.id, properties=made.properties, inputs=made.properties))
        news = wire.to_struct({**bag, "digest": "b"})
        again = stub.Update(proto.UpdateRequest(id=made.id, olds=made.properties, news=news))
        answers.append((made, read, again))

    assert answers[0] == answers[1]


def test_calls_that_wait_for_a_server_do_not_hold_up_others(tmp_path: Path) -> None:
    """The SDK's server has four threads: the fifth call would wait until one of the first has its answer."""
    together = threading.Barrier(CALLS)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            together.wait(WAIT_S)
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        kubeconfig = Proxy(f"http://127.0.0.1:{server.server_port}").kubeconfig(tmp_path)
        with process(KUBECONFIG=kubeconfig) as stub:
            # The first call loads the provider. Objects of one place would share a LIST.
            stub.Check(proto.CheckRequest(news=wire.to_struct(TEMPLATE)))
            bags = [changed(TEMPLATE, metadata={"name": "a", "namespace": f"n{n}"}) for n in range(CALLS)]
            calls = [
                stub.Read.future(proto.ReadRequest(id="a", properties=wire.to_struct(bag))) for bag in bags
            ]
            said = [str(call.exception(WAIT_S)) for call in calls]
        server.shutdown()

    assert all("cannot list" in each for each in said), said
    assert not together.broken


def test_our_verbs_take_the_place_of_the_sdks() -> None:
    """Should the SDK change the methods, nothing would be served by ours, and nobody would see it but here."""
    program = """
import importlib.util, sys
import grpc
grpc.server = lambda *_, **__: sys.exit()
spec = importlib.util.find_spec("pulumi.dynamic.__main__")
main = sys.modules["__main__"] = importlib.util.module_from_spec(spec)
try:
    spec.loader.exec_module(main)
except SystemExit:
    pass
from fleet.providers import serving
serving.install()
print(all(getattr(main.DynamicResourceProviderServicer, verb).__code__ is ours.__code__ for verb, ours in serving.OURS))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.stdout, done.stderr) == ("True\n", "")
