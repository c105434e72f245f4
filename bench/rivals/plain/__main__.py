"""A plain dynamic-provider program: the class in the program itself, so stored by value, and a GET for each read."""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult


class ObjectProvider(ResourceProvider):
    """One Kubernetes object."""

    # Stored by value: what is imported at the top of the program would not come along.
    def _client(self) -> Any:
        from lightkube import Client  # noqa: PLC0415

        return Client(field_manager="plain")

    def _object(self, props: Any) -> Any:
        from lightkube.generic_resource import create_namespaced_resource  # noqa: PLC0415

        manifest = props["manifest"]
        group, _, version = manifest["apiVersion"].rpartition("/")
        kind = create_namespaced_resource(group, version, manifest["kind"], manifest["kind"].lower() + "s")
        return kind(manifest)

    def create(self, props: Any) -> CreateResult:
        """Apply the object."""
        self._client().apply(self._object(props))
        return CreateResult(props["manifest"]["metadata"]["name"], dict(props))

    def read(self, id_: str, props: Any) -> ReadResult:
        """Get the object."""
        wanted = self._object(props)
        live = self._client().get(type(wanted), wanted.metadata.name, namespace=wanted.metadata.namespace)
        return ReadResult(id_, {"manifest": {**props["manifest"], "spec": live.get("spec")}})

    def diff(self, _id: str, olds: Any, news: Any) -> DiffResult:
        """Compare the manifests."""
        return DiffResult(changes=olds["manifest"] != news["manifest"])

    def update(self, _id: str, _olds: Any, news: Any) -> UpdateResult:
        """Apply the object."""
        self._client().apply(self._object(news), force=True)
        return UpdateResult(dict(news))

    def delete(self, _id: str, props: Any) -> None:
        """Delete the object."""
        found = self._object(props)
        self._client().delete(type(found), found.metadata.name, namespace=found.metadata.namespace)


class Object(Resource):
    """One Kubernetes object."""

    def __init__(self, manifest: Any) -> None:
        super().__init__(ObjectProvider(), manifest["metadata"]["name"], {"manifest": manifest})


for each in json.loads(Path(pulumi.Config("plain").require("manifests")).read_text(encoding="utf-8")):
    Object(each)
