"""The stacks of a sharded fleet: one for each shard, made from the stack that holds the fleet's config.

That stack, the base, has no resources while the fleet is sharded: it is where the config is written. Pulumi copies it,
since only Pulumi can hand an encrypted value from the key of one stack to that of another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet import names
from fleet.definition.source import parse_value
from fleet.definition.stack import stack_config
from fleet.desired.shards import Shard, shards_of
from fleet.engine import ask
from fleet.refused import Refused

FOLDER: Final = Path("stacks")
SHARD_KEY: Final = f"{names.CONFIG_NAMESPACE}:shard"
# Of a big fleet's state.
_LONG_S: Final = 600.0

Config = dict[str, Any]


class NotSoError(Refused):
    """The stacks are not as the command needs them: nothing is wrong with the command itself."""


@dataclass(frozen=True, slots=True)
class ShardStack:
    """A shard and its stack."""

    shard: Shard
    name: str

    @property
    def is_platform(self) -> bool:
        """Return whether it is the one that belongs to no tenant."""
        return self.shard.position is None


def stacks_of(base: str, count: int) -> tuple[ShardStack, ...]:
    """Return the stacks of a fleet of that many shards, the platform layer's first."""
    return tuple(ShardStack(shard, shard.stack(base)) for shard in shards_of(count))


def is_shard_of(base: str, name: str) -> bool:
    """Return whether a stack bears the name of a shard of the base."""
    return bool(re.fullmatch(rf"{re.escape(base)}-({names.PLATFORM_SHARD}|[1-9]\d*)", name))


def base_config(base: str) -> Config:
    """Return the config of the base as its file holds it.

    Raises:
        DefinitionError: it has no such file.
        Refused: it is a shard itself.
    """
    config = stack_config(FOLDER, base)
    if SHARD_KEY in config:
        raise Refused(
            f"stack `{base}` is itself a shard: its config has `{SHARD_KEY}`",
            "name the stack that the shards are made from with `--stack`",
        )
    return config


def held() -> dict[str, int]:
    """Return how many resources each stack of the project holds.

    Raises:
        Refused: Pulumi cannot tell.
    """
    text = ask(
        "stack", "ls", "--json", what="`pulumi stack ls` failed", cure="log in to the backend of the stacks"
    )
    return {each["name"].rpartition("/")[2]: int(each.get("resourceCount") or 0) for each in json.loads(text)}


def refuse_others(base: str, stacks: Sequence[ShardStack], holding: Mapping[str, int]) -> None:
    """Refuse where the fleet is deployed in other stacks than these: as a whole, or as another number of shards.

    Raises:
        NotSoError: with all that hold something.
    """
    found = [
        f"stack `{name}` holds {_resources(count)}{' of the whole fleet' if name == base else ''}"
        for name, count in sorted(holding.items())
        if count and (name == base or is_shard_of(base, name)) and name not in {each.name for each in stacks}
    ]
    for each in stacks:
        deployed = shard_in_file(each.name) if holding.get(each.name) else None
        if deployed == names.MOVED_SHARD:
            found.append(f"stack `{each.name}` is being moved")
        elif deployed not in (None, each.shard.value) and not each.is_platform:
            found.append(f"stack `{each.name}` is shard `{deployed}`")
    if found:
        count = len(stacks) - 1
        raise NotSoError(
            "\n".join([f"the fleet is not deployed as {count} shards:", *(f"  {line}" for line in found)]),
            f"move it with `fleet shards move --stack {base} --shards {count}`, which deletes nothing",
        )


def prepare(base: str, stacks: Sequence[ShardStack], holding: Mapping[str, int], jobs: int) -> list[str]:
    """Make the stacks that there are not, give each the base's config and its shard; return the names of new ones.

    Raises:
        Refused: Pulumi cannot do it.
    """
    if base not in holding:
        raise Refused(
            f"there is no stack `{base}`, whose config the shards have", f"run `pulumi stack init {base}`"
        )
    wanted = read_config(base)
    provider = secrets_provider(base)
    missing = [each for each in stacks if each.name not in holding]

    def one(stack: ShardStack) -> None:
        if stack in missing:
            pulumi("stack", "init", stack.name, "--copy-config-from", base, "--no-select", *provider)
        _give_config(base, stack, wanted)

    side_by_side(one, stacks, jobs)
    return [each.name for each in missing]


def side_by_side(work: Callable[[Any], object], items: Iterable[Any], jobs: int) -> list[Any]:
    """Return what the work gives for each item, in order; some of them are worked on at once."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return list(pool.map(work, items))


def read_config(stack: str) -> Config:
    """Return the config of a stack with its secrets in plain text: to compare, never to show."""
    text = pulumi("config", "--show-secrets", "--json", "--stack", stack)
    return {key: (each.get("value"), each.get("secret")) for key, each in json.loads(text).items()}


def secrets_provider(base: str) -> tuple[str, ...]:
    """Return the option by which a new stack encrypts as the base does, nothing where it does by default."""
    path = FOLDER / f"Pulumi.{base}.yaml"
    settings = parse_value(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not isinstance(settings, Mapping):
        return ()
    if named := settings.get("secretsprovider"):
        return ("--secrets-provider", str(named))
    return ("--secrets-provider", "passphrase") if settings.get("encryptionsalt") else ()


def shard_in_file(stack: str) -> str | None:
    """Return what the file of a stack says is its shard, None where it says nothing or is not there."""
    path = FOLDER / f"Pulumi.{stack}.yaml"
    found = stack_config(FOLDER, stack).get(SHARD_KEY) if path.is_file() else None
    return None if found is None else str(found)


def _give_config(base: str, stack: ShardStack, wanted: Config) -> None:
    found = read_config(stack.name)
    shard = found.pop(SHARD_KEY, (None, None))[0]
    if found != wanted:
        pulumi("config", "cp", "--stack", base, "--dest", stack.name)
        if surplus := sorted(set(found) - set(wanted)):
            pulumi("config", "rm-all", "--stack", stack.name, *surplus)
    if shard != stack.shard.value:
        give_shard(stack.name, stack.shard.value)


def give_shard(stack: str, value: str) -> None:
    """Write what a stack's config says is its shard.

    Raises:
        Refused: Pulumi cannot do it.
    """
    pulumi("config", "set", "--stack", stack, SHARD_KEY, value)


def pulumi(*arguments: str) -> str:
    """Return what a `pulumi` command printed that has nothing live to do with.

    Raises:
        Refused: it failed.
    """
    what = " ".join(("pulumi", *arguments[:2]))
    return ask(
        *arguments,
        what=f"`{what}` failed",
        cure="its passphrase or key must be at hand, and the folder the project's",
        timeout_s=_LONG_S,
    )


def _resources(count: int) -> str:
    return f"{count} resource{'s' if count != 1 else ''}"
