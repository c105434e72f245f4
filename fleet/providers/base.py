"""Pulumi's six verbs, written out once.

Providers have no attributes: Pulumi stores them as a reference to their class, so class paths, type tokens and
property keys are a wire format that older state is read back by. They meet property bags only, never definitions.

A live object is ours when it carries this stack's mark (label `fleet/owner`). Server-side apply forces conflicts for
an object that is ours or that the definition adopts, and only there: a hand edit makes the editing tool own the field,
and putting the field back means to take it over again. Nothing is ever forced on an object that just appeared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, Final

from pulumi.dynamic import (
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)

from fleet import names
from fleet.bags import is_packed, packed, unpacked
from fleet.clients.kubernetes import Manifest, Ref, labels_of
from fleet.providers.home import ClusterHome, Home
from fleet.providers.projection import differences, project_manifest
from fleet.providers.session import Refused, Session, Settings, configure, session, wait_until

Bag = dict[str, Any]

# An input that nobody declares: a read sets it for an object that somebody deletes, so that it shows as a difference.
DELETION: Final = "deletionTimestamp"

_PROVIDER_KEY: Final = "__provider"


def _as_carried(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Return a verb that takes bags as the engine carries them, and gives them back in the form in which they came."""

    @wraps(verb)
    def carried(self: FleetProvider, *given: Any) -> Any:
        result = verb(self, *(unpacked(each) if isinstance(each, Mapping) else each for each in given))
        if is_packed(given[-1]):
            for name in ("outs", "inputs"):
                if bag := getattr(result, name, None):
                    setattr(result, name, packed(bag, given[-1]))
        return result

    return carried


class FleetProvider(ResourceProvider):
    """What all our providers share: configuration, `check` and a `diff` over declared keys. No network in either."""

    def __init_subclass__(cls) -> None:
        """Let every verb of a subclass see bags of plain data, whoever calls it."""
        for verb in ("diff", "create", "read", "update", "delete"):
            if verb in cls.__dict__:
                setattr(cls, verb, _as_carried(cls.__dict__[verb]))

    # The pickle of a provider without attributes is a class reference: nothing in it is secret.
    serialize_as_secret_always = False

    keys: ClassVar[tuple[str, ...]]
    """The properties that a definition decides; a change of another one alone changes nothing live."""

    @property
    def compared(self) -> tuple[str, ...]:
        """Return the properties that `diff` compares."""
        return self.keys

    def configure(self, req: ConfigureRequest) -> None:
        """Take the stack's config for the process-wide session."""
        configure(Settings.read(req.config.get))
        # The first moment in the provider process that is ours; it needs the classes of this module.
        from fleet.providers import serving  # noqa: PLC0415

        serving.install()

    def check(self, _olds: Bag, news: Bag) -> CheckResult:
        """Accept the inputs as they are, unknown values included."""
        return CheckResult(news, [])

    @_as_carried
    def diff(self, _id: str, olds: Bag, news: Bag) -> DiffResult:
        """Compare what the last read or write left with what is wanted."""
        self.allow(olds, news)
        pairs = [(key, self.identity(olds, key), self.identity(news, key)) for key in self.keys]
        replaced = [key for key, old, new in pairs if None not in (old, new) and old != new]
        changed = [key for key in self.compared if _plain(olds.get(key)) != _plain(news.get(key))]
        # Another identity is another object: it is created first, and what used the old one moves before that goes.
        return DiffResult(changes=bool(changed), replaces=replaced, delete_before_replace=False)

    def allow(self, olds: Bag, news: Bag) -> None:
        """Raise `Refused` where the change must not happen this way."""

    def identity(self, bag: Bag, key: str) -> Any:
        """Return the part of a property that cannot change without replacing the object, None where there is none."""
        return None


class ObjectProvider(FleetProvider):
    """A live object of which this stack owns the declared fields.

    A subclass says where it lives, how a bag becomes a manifest and a live object a bag; the base decides whether it
    may be touched.
    """

    numerous: ClassVar[bool] = False
    """Whether there may be thousands: before a write, a LIST tells what exists, and not a GET each."""

    selector: ClassVar[Mapping[str, str]] = {}
    """Labels that narrow the LIST by which objects of this kind are read."""

    carried: ClassVar[tuple[str, ...]] = ("mark",)
    """Outputs that are no inputs: set by a write, carried over by `read`. `mark` is the mark that was written."""

    @property
    def compared(self) -> tuple[str, ...]:
        """Return what is declared, and whether somebody deletes the object: then it has to be made again."""
        return (*self.keys, DELETION)

    def home(self, current: Session, bag: Bag) -> Home:
        """Return where the object lives: by default in the control plane cluster."""
        return ClusterHome(current.kubernetes, current.live)

    def ref(self, bag: Bag) -> Ref:
        """Return what names the object."""
        return Ref.of(bag["manifest"])

    def narrowed(self, bag: Bag) -> Mapping[str, str]:
        """Return the labels that narrow the LIST by which this stack's objects of the kind are read."""
        return self.selector

    def exists(self, home: Home, ref: Ref) -> bool:
        """Return whether there is such an object, as a LIST of a moment ago shows it."""
        return (ref.namespace, ref.name) in home.live.recent(ref.api_version, ref.kind, ref.namespace)

    def encode(self, bag: Bag) -> Manifest:
        """Return the manifest to apply, without ownership mark."""
        manifest: Manifest = _plain(bag["manifest"])
        return manifest

    def tenant(self, bag: Bag) -> str | None:
        """Return the tenant that the object belongs to, if any."""
        return bag.get("tenant")

    def past(self, before: Bag) -> Manifest | None:
        """Return what was declared until now, for a home that cannot tell."""
        return before.get("manifest")

    def decode(self, bag: Bag, live: Manifest) -> Bag:
        """Return the live values of the properties that the bag declares, None for what was removed."""
        return {"manifest": project_manifest(bag["manifest"], live)}

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return the outputs of a write that are no inputs."""
        return {"mark": bag["owner"]}

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until nothing uses the object."""

    def after_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until it is gone, where that takes time."""

    def left(self, current: Session, bag: Bag, live: Manifest) -> Manifest | None:
        """Return what is left of this very object that is being deleted, None once it is gone.

        Few are waited for at a time: a LIST would read all that are left, again and again.
        """
        home = self.home(current, bag)
        found = home.get(self.ref(bag))
        if found is not None and found["metadata"]["uid"] == live["metadata"]["uid"]:
            return found
        home.live.gone(live)
        return None

    def remove(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Delete the object: this one, not another that took its name."""
        self.home(current, bag).remove(live)

    def create(self, props: Bag) -> CreateResult:
        """Write the object, after adopting or refusing one that exists."""
        current, bag = session(), declared(props)
        ref, home = self.ref(bag), self.home(current, bag)
        exists = not self.numerous or self.exists(home, ref)
        # Another one's that appears in between is not forced: its fields conflict.
        live = _settled(current, home, ref) if exists else None
        written = self.write(current, bag, live, force=live is not None and self.admit(bag, live))
        current.removals.forget(bag["owner"], home.live.server, ref)
        identifier = names.object_id(home.name, ref.api_version, ref.kind, ref.namespace, ref.name)
        return CreateResult(identifier, self.outs(bag, written))

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return the live state of the declared fields as outputs and inputs, so that drift is a property diff."""
        current, bag = session(), declared(props)
        ref, home = self.ref(bag), self.home(current, bag)
        # What a run that was killed has deleted is still in the state, and missing on purpose.
        mark = bag.get("mark") or bag.get("owner") or ""
        expected = current.removals.knows(mark, home.live.server, ref)
        live = home.read(ref, self.narrowed(bag), guarded=not expected)
        if live is None:
            return ReadResult("", {})
        return self.found(id_, bag, live)

    def found(self, id_: str, bag: Bag, live: Manifest) -> ReadResult:
        """Return the result of reading an object that exists."""
        session().recall.saw(self.tenant(bag))
        mark = labels_of(live).get(names.OWNER_LABEL)
        written = bag.get("mark", bag.get("owner"))
        if mark is not None and mark != written:
            raise Refused(
                f"{Ref.of(live)} is marked as owned by stack `{mark}`, this stack is `{written}`",
                f"put its label `{names.OWNER_LABEL}: {written}` back, or give it up with `pulumi state delete`",
            )
        seen = {**bag, **self.decode(bag, live), "owner": mark, DELETION: self.deletion(bag, live)}
        seen = {key: value for key, value in seen.items() if value is not None}
        return ReadResult(id_, seen, {key: value for key, value in seen.items() if key not in self.carried})

    def deletion(self, bag: Bag, live: Manifest) -> Any:
        """Return since when somebody deletes the object, None where nobody does."""
        return live["metadata"].get(DELETION)

    def update(self, _id: str, olds: Bag, news: Bag) -> UpdateResult:
        """Write the object again; fields that are no longer declared are removed by server-side apply.

        One that somebody deletes is made anew once it is gone.
        """
        current, bag, before = session(), declared(news), declared(olds)
        ref, home = self.ref(bag), self.home(current, bag)
        live = home.read(ref, self.narrowed(bag), guarded=False)
        if live is not None and self.deletion(bag, live):
            live = _settled(current, home, ref)
            force = live is not None and self.admit(bag, live)
        else:
            mark = None if live is None else labels_of(live).get(names.OWNER_LABEL)
            if live is not None and mark not in (None, bag["owner"], before.get("mark")):
                raise foreign(live)
            force = live is not None
        written = self.write(current, bag, live, force=force, before=before)
        current.removals.forget(bag["owner"], home.live.server, ref)
        return UpdateResult(self.outs(bag, written))

    def delete(self, _id: str, props: Bag) -> None:
        """Delete the object if it is ours; one that is gone already is fine."""
        current, bag = session(), declared(props)
        ref, home = self.ref(bag), self.home(current, bag)
        live = home.get(ref)
        if live is None:
            home.live.drop(ref)
            return
        self.end(current, bag, live)

    def end(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Delete this very object, as it was looked at, if it is ours."""
        ref, home = self.ref(bag), self.home(current, bag)
        mark, ours = labels_of(live).get(names.OWNER_LABEL), bag.get("mark", bag.get("owner"))
        if mark != ours:
            raise Refused(
                f"{ref} does not carry this stack's mark `{ours}`"
                f"{f' but `{mark}`' if mark else ''}: what this stack does not own, it does not touch",
                f"label it `{names.OWNER_LABEL}={ours}`, or give it up with `pulumi state delete`",
            )
        self.before_delete(current, bag, live)
        self.remove(current, bag, live)
        current.removals.note(str(ours), home.live.server, ref)
        home.live.drop(ref)
        self.after_delete(current, bag, live)

    def admit(self, bag: Bag, live: Manifest) -> bool:
        """Return whether applying may take fields over from their managers; raise where nothing may be written."""
        mark, adopt = labels_of(live).get(names.OWNER_LABEL), bag.get("adopt", "Never")
        if mark == bag["owner"] or adopt == "Always":
            return True
        if adopt == "IfSame" and mark is None:
            unlike = list(
                differences({key: bag.get(key) for key in self.keys if key != "owner"}, self.same(bag, live))
            )
            if not unlike:
                return False
            raise Refused(
                f"{Ref.of(live)} exists and differs from the definition in {_some(unlike)}",
                "make the definition equal to it, or take it over as it is with `adopt: Always`",
            )
        raise foreign(live)

    def same(self, bag: Bag, live: Manifest) -> Bag:
        """Return what an object must equal to be adopted by `IfSame`."""
        seen = {**bag, **self.decode(bag, live)}
        return {key: seen.get(key) for key in self.keys if key != "owner"}

    def write(
        self, current: Session, bag: Bag, live: Manifest | None, *, force: bool, before: Bag | None = None
    ) -> Manifest:
        """Write the manifest with this stack's mark, onto the very object that was looked at.

        `before` is the bag that it was written from, or read back as, until now.
        """
        manifest = self.encode(bag)
        metadata = manifest["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), names.OWNER_LABEL: bag["owner"]}
        past = None if before is None else self.past(before)
        return self.home(current, bag).put(manifest, live=live, force=force, before=past)

    def outs(self, bag: Bag, written: Manifest) -> Bag:
        """Return all outputs of a write: every input under its own name, and what the write gave."""
        return {**bag, **self.outputs(bag, written)}

    def identity(self, bag: Bag, key: str) -> Any:
        """Return group, kind, namespace and name."""
        manifest = bag.get(key)
        if key != "manifest" or not isinstance(manifest, Mapping):
            return None
        metadata = manifest.get("metadata") or {}
        group = str(manifest.get("apiVersion", "")).rpartition("/")[0]
        return group, manifest.get("kind"), metadata.get("namespace"), metadata.get("name")


def declared(props: Mapping[str, Any]) -> Bag:
    """Return a property bag as our own copy of plain data, without Pulumi's entry.

    Pulumi carries every number as a float: a whole one is an integer again, as Kubernetes types ask for.
    """
    return {key: _plain(value) for key, value in props.items() if key != _PROVIDER_KEY}


def refuse_unacknowledged(
    news: Bag, what: str, key: str, written: str, wanted: str, consequence: str
) -> None:
    """Refuse a change with consequences beyond its object, unless the definition acknowledges this very change.

    `written` is what this stack wrote last: the repair of a hand edit is no change of the definition.
    """
    change = f"{key}={wanted}"
    if written == wanted or change in (news.get("acknowledge") or ()):
        return
    raise Refused(
        f"{what}: changing its {key} from `{written}` to `{wanted}` {consequence}",
        f"acknowledge it with the annotation `{names.ACKNOWLEDGE_ANNOTATION}: {change}` of the document",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _settled(current: Session, home: Home, ref: Ref) -> Manifest | None:
    """Return the live object; one that is being deleted is waited for, since a write to it would go with it.

    All of a run share the time for that.
    """
    live = home.get(ref)
    if live is None or not live["metadata"].get(DELETION):
        return live

    def gone() -> bool:
        nonlocal live
        live = home.get(ref)
        return live is None or not live["metadata"].get(DELETION)

    deadline = current.deadline("deleted by others", current.settings.release_timeout_s)
    if not wait_until(gone, deadline) and live is not None:
        left = ", ".join(live["metadata"].get("finalizers") or ()) or "none"
        raise Refused(
            f"{ref} is still being deleted; its finalizers: {left}", "wait for its end and run again"
        )
    return live


def managers(live: Manifest) -> list[str]:
    """Return who has written fields of the object, by its managedFields."""
    fields = live["metadata"].get("managedFields") or ()
    return sorted({str(entry.get("manager")) for entry in fields if not entry.get("subresource")})


def foreign(live: Manifest) -> Refused:
    """Return the refusal of an object that this stack did not make."""
    mark = labels_of(live).get(names.OWNER_LABEL)
    owner = (
        f"is owned by stack `{mark}`"
        if mark
        else f"was not made by this stack, but by {_some(managers(live))}"
    )
    ways = "`adopt: Always`" if mark else "`adopt: IfSame` (when it equals the definition) or `adopt: Always`"
    return Refused(
        f"{Ref.of(live)} exists and {owner}",
        f"take it over with {ways}, as annotation `{names.ADOPT_ANNOTATION}` of the document or `adopt` of the Fleet,"
        " or give one of the two another name",
    )


def _some(items: list[str]) -> str:
    shown = [f"`{item}`" for item in items[:5]]
    return ", ".join(shown) + (f" and {len(items) - 5} more" if len(items) > 5 else "") or "nobody named"
