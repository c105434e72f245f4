"""A plain Pulumi program: `floor:resources` resources, one after another, nothing patched."""

import pulumi
from pulumi.dynamic import Resource

from bench.floor.nothing import NothingProvider


class Nothing(Resource):
    """A resource behind which there is nothing."""

    def __init__(self, number: int) -> None:
        super().__init__(NothingProvider(), f"nothing-{number}", {"number": number, "value": "1"})


for each in range(pulumi.Config("floor").require_int("resources")):
    Nothing(each)
