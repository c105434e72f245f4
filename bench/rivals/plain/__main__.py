"""A plain dynamic-provider program: the class in the program itself, so stored by value, and a GET for each read."""

import json
from pathlib import Path

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult


class ObjectProvider(ResourceProvider):
    """One Kubernetes object."""

    def _client(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        from lightkube import Client  # noqa: PLC0415  # stored by value: an import at the top would not come along

        return Client(field_manager="plain")

    def _object(self, props):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        from lightkube.generic_resource import create_namespaced_resource  # noqa: PLC0415

        manifest = props["manifest"]
        group, _, version = manifest["apiVersion"].rpartition("/")
        kind = create_namespaced_resource(group, version, manifest["kind"], manifest["kind"].lower() + "s")
        return kind(manifest)

    def create(self, props):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D102
        self._client().apply(self._object(props))
        return CreateResult(props["manifest"]["metadata"]["name"], dict(props))

    def read(self, id_, props):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D102
        wanted = self._object(props)
        live = self._client().get(type(wanted), wanted.metadata.name, namespace=wanted.metadata.namespace)
        return ReadResult(id_, {"manifest": {**props["manifest"], "spec": live.get("spec")}})

    def diff(self, _id, olds, news):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D102
        return DiffResult(changes=olds["manifest"] != news["manifest"])

    def update(self, _id, _olds, news):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D102
        self._client().apply(self._object(news), force=True)
        return UpdateResult(dict(news))

    def delete(self, _id, props):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D102
        found = self._object(props)
        self._client().delete(type(found), found.metadata.name, namespace=found.metadata.namespace)


class Object(Resource):
    """One Kubernetes object."""

    def __init__(self, manifest) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        super().__init__(ObjectProvider(), manifest["metadata"]["name"], {"manifest": manifest})


for each in json.loads(Path(pulumi.Config("plain").require("manifests")).read_text(encoding="utf-8")):
    Object(each)
