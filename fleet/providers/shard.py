"""What a stack's shard means to its state: a stack that has become another shard would delete the tenants it holds."""

from __future__ import annotations

from typing import Final

from fleet import names
from fleet.providers.base import Bag
from fleet.refused import Refused

_KEY: Final = f"{names.CONFIG_NAMESPACE}:shard"


def refuse_resharding(olds: Bag, news: Bag) -> None:
    """Refuse a `shard` that is not the one which the stack was deployed as; neither bag has one of a whole fleet.

    The platform layer is the same whatever the number of shards beside it.
    """
    held, wanted = olds.get("shard"), news.get("shard")
    if held == wanted or _is_platform(held, wanted):
        return
    holds = f"shard `{held}` of its fleet" if held else "its whole fleet"
    back = f"run `pulumi config set {_KEY} {held}`" if held else f"run `pulumi config rm {_KEY}`"
    raise Refused(
        f"this stack holds {holds}, and its config {f'says `{_KEY}: {wanted}`' if wanted else f'has no `{_KEY}`'}:"
        " what belongs elsewhere then would be deleted, with all that runs in it",
        f"{back}, and change the number of shards with `fleet shards move`, which deletes nothing",
    )


def _is_platform(*shards: object) -> bool:
    return all(str(shard).startswith(f"{names.PLATFORM_SHARD}/") for shard in shards)
