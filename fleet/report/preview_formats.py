"""A preview as text: Markdown for a pull request, within its limit; a whole diff; JSON; a table. Pure.

The same preview gives the same text, byte for byte. Words of others stand in code only (`report.markdown`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.report.formats import short_version
from fleet.report.markdown import block, code, html_code, markdown_table
from fleet.report.preview import CREATE, DELETE, OPS, REPLACE, SAME, UPDATE, Change, Preview
from fleet.report.preview_risks import Risk, reach_of, risks_of
from fleet.verdict import DELETE as GONE
from fleet.verdict import REREGISTER

# GitHub takes no longer comment; GitLab takes more.
LIMIT: Final = 65_536
# Less would not hold what stands above the fold-outs.
LEAST: Final = 16_384
# What a matrix shows before it is cut, and a list of names on a terminal.
COLUMNS: Final = 6
NAMES: Final = 10
# Of one name, one version, one line of a diff and one message, in a comment; the file with the whole diff has it all.
NAME_LENGTH: Final = 120
VERSION_LENGTH: Final = 40
LINE_LENGTH: Final = 300
MESSAGE_LENGTH: Final = 12_000
# A fold-out that does not fit is cut where at least this much of it does.
_WORTH: Final = 600
# Kept for the sentence that says what was cut.
_RESERVE: Final = 300
_PAST: Final = {CREATE: "to create", UPDATE: "to update", REPLACE: "to replace", DELETE: "to delete"}


@dataclass(frozen=True, slots=True)
class _Size:
    """How much stands above the fold-outs: rows of the matrix, names of a list, characters of the warnings."""

    rows: int
    names: int
    words: int


# The first that leaves a quarter of the comment to the fold-outs.
_SIZES: Final = (_Size(60, NAMES, MESSAGE_LENGTH), _Size(20, 5, 2_000), _Size(5, 1, 200), _Size(0, 0, 0))


@dataclass(frozen=True, slots=True)
class Section:
    """The changes of one tenant, or of what belongs to none (`tenant` is empty)."""

    tenant: str
    note: str
    changes: tuple[Change, ...]

    @property
    def title(self) -> str:
        """Return what happens, counted."""
        counts = {op: sum(each.op == op for each in self.changes) for op in OPS}
        return ", ".join(f"{count} {_PAST[op]}" for op, count in counts.items() if count)

    def as_lines(self) -> list[str]:
        """Return the diff of all of it."""
        return [line for each in self.changes for line in each.as_lines()]


def marker(preview: Preview) -> str:
    """Return the line by which CI finds the comment of a stack again; nobody sees it."""
    name = f"{preview.project}/{preview.stack}".replace(">", "")
    return f"<!-- fleet preview: {name} -->"


def headline(preview: Preview) -> str:
    """Return the preview in a few words."""
    if not preview.ok:
        return "failed"
    if not preview.differs:
        return "no changes"
    return ", ".join(f"{preview.counts[op]} {_PAST[op]}" for op in OPS if preview.counts[op])


def sections_of(preview: Preview) -> list[Section]:
    """Return the changes by tenant: what is everybody's first, then what goes, is registered anew, changes, is new."""
    move = preview.move
    by_tenant: dict[str, list[Change]] = {}
    for each in preview.changes:
        by_tenant.setdefault(each.tenant, []).append(each)

    def note(tenant: str) -> str:
        if tenant in move.tenants[GONE]:
            return "deleted"
        if tenant in move.tenants[REREGISTER]:
            return "registered anew"
        return "new" if tenant in preview.after - preview.before else ""

    ranks = {"deleted": 1, "registered anew": 2, "": 3, "new": 4}
    found = [Section(tenant, note(tenant), tuple(changes)) for tenant, changes in by_tenant.items()]
    return sorted(found, key=lambda each: (ranks[each.note] if each.tenant else 0, each.tenant))


def versions_of(preview: Preview) -> list[Change]:
    """Return the applications that change, appear or go, by tenant and name."""
    found = [each for each in preview.changes if each.is_application]
    return sorted(found, key=lambda each: (each.tenant, each.application))


def version_words(change: Change) -> tuple[str, str]:
    """Return the version that an application has and the one it gets, `-` where there is none."""
    return short_version(change.old_version), short_version(change.new_version)


def preview_markdown(preview: Preview, *, limit: int = LIMIT, full_diff: str = "") -> str:
    """Return the comment of a pull request, of at most `limit` characters; `full_diff` is the file that has all."""
    if not preview.ok:
        return _text([*_title(preview), *_failure(preview, min(MESSAGE_LENGTH, limit // 2 - 2_000))])
    for size in _SIZES:
        head = _text([*_title(preview), *_summary(preview, size)])
        if _length(head) <= 3 * limit // 4:
            break
    return head + _text(_folded(sections_of(preview), limit - _length(head), full_diff))


def preview_diff(preview: Preview) -> str:
    """Return the whole diff, of all tenants and uncut."""
    lines = []
    for failure in preview.failures:
        lines += [
            f"error: {failure.resource}: {failure.message}"
            if failure.resource
            else f"error: {failure.message}"
        ]
    for section in sections_of(preview):
        named = f"tenant {section.tenant}" if section.tenant else "shared by all tenants"
        note = f" ({section.note})" if section.note else ""
        lines += [f"# {named}{note}: {section.title}", *section.as_lines(), ""]
    return _text(lines)


def preview_json(preview: Preview) -> dict[str, Any]:
    """Return the preview as JSON data."""
    return {
        "project": preview.project,
        "stack": preview.stack,
        "ok": preview.ok,
        "differs": preview.differs,
        "counts": {op: preview.counts[op] for op in (*OPS, SAME)},
        "risks": [risk.as_json() for risk in risks_of(preview)] if preview.ok else [],
        "reach": {
            "touched": len(preview.touched),
            "tenants": len(preview.before | preview.after),
            "kinds": [each.as_json() for each in reach_of(preview)],
        },
        "versions": [
            {
                "tenant": each.tenant,
                "application": each.application,
                "op": each.op,
                "from": each.old_version or None,
                "to": each.new_version or None,
            }
            for each in versions_of(preview)
        ],
        "changes": [
            {
                "op": each.op,
                "kind": each.kind,
                "name": each.name,
                "tenant": each.tenant or None,
                "differences": [] if each.op == DELETE else [found.as_json() for found in each.differences],
            }
            for section in sections_of(preview)
            for each in section.changes
        ],
        "failures": [{"resource": each.resource, "message": each.message} for each in preview.failures],
        "warnings": list(preview.warnings),
    }


def preview_table(preview: Preview) -> RenderableType:
    """Return the preview for a terminal: versions by tenant, how far it reaches, what to look at."""
    if not preview.ok:
        return Group(*(Text(line, style="red") for line in _failure_lines(preview)))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("TENANT", "APPLICATION", "FROM", "TO"):
        table.add_column(column, overflow="fold")
    for each in versions_of(preview):
        table.add_row(*(Text(cell) for cell in (each.tenant, each.application, *version_words(each))))
    reach = [
        f"{each.kind}: {each.tenants}{f' ({each.share})' if each.share else ''}, {_allowed(each.allowed)}"
        for each in reach_of(preview)
        if each.tenants
    ]
    risks = [
        Text(
            f"look at: {risk.message}: {', '.join(risk.names[:NAMES])}{_more(risk.names, NAMES)}",
            style="yellow",
            overflow="fold",
        )
        for risk in risks_of(preview)
    ]
    last = Text(f"{preview.project}/{preview.stack}: {headline(preview)}", style="bold")
    return Group(
        *([table] if table.rows else []), *(Text(f"tenants, {line}") for line in reach), *risks, last
    )


def _title(preview: Preview) -> list[str]:
    stack = code(f"{preview.project}/{preview.stack}")
    return [marker(preview), f"### Preview of {stack}: {headline(preview)}", ""]


def _failure(preview: Preview, length: int) -> list[str]:
    lines = [_cut(line, 3 * LINE_LENGTH) for line in _failure_lines(preview)]
    return ["It was refused or could not be made; nothing was touched.", "", *_block(lines, length)]


def _block(lines: Sequence[str], length: int) -> list[str]:
    words = "\n".join(lines)
    return block([*words[:length].split("\n"), "..."] if len(words) > length else lines)


def _summary(preview: Preview, size: _Size) -> list[str]:
    """Return what stands above the fold-outs."""
    counts = [str(preview.counts[op]) for op in (*OPS, SAME)]
    lines = [*markdown_table((*OPS, SAME), [counts]), ""]
    risks = risks_of(preview)
    if risks:
        lines += ["**Look at**", "", *(_risk(risk, size) for risk in risks), ""]
    if preview.differs or risks:
        lines += [*_reach(preview), "", *_matrix(versions_of(preview), size)]
    if preview.warnings:
        words = [_cut(line, 3 * LINE_LENGTH) for each in preview.warnings for line in each.split("\n")]
        title = f"<details><summary>warnings: {len(preview.warnings)}</summary>"
        lines += [title, "", *_block(words, size.words), "", "</details>", ""]
    return lines


def _failure_lines(preview: Preview) -> list[str]:
    lines: list[str] = []
    for failure in preview.failures:
        lines += [f"{failure.resource}:"] if failure.resource else []
        indent = "  " if failure.resource else ""
        lines += [f"{indent}{line}" for line in failure.message.splitlines()]
    return lines


def _risk(risk: Risk, size: _Size) -> str:
    named = ", ".join(code(_cut(name, NAME_LENGTH)) for name in risk.names[: size.names])
    return f"- **{risk.message}**: {named}{_more(risk.names, size.names)}"


def _more(found: Sequence[str], shown: int) -> str:
    return f" and {len(found) - shown} more" if len(found) > shown else ""


def _reach(preview: Preview) -> list[str]:
    total = len(preview.before | preview.after)
    touched = len(preview.touched)
    share = f" ({100 * touched / total:.0f}%)" if total else ""
    rows = [[each.kind, str(each.tenants), each.share or "-", each.allowed] for each in reach_of(preview)]
    return [
        f"**Reach**: {touched} of {total} tenant{'' if total == 1 else 's'}{share}",
        "",
        *markdown_table(("tenants", "number", "share", "the guards allow"), rows),
    ]


def _allowed(words: str) -> str:
    return words if words in ("no limit", "not counted") else f"the guards allow {words}"


def _matrix(changes: Sequence[Change], size: _Size) -> list[str]:
    """Return the tenants with their applications, and of each the version it has and the one it gets."""
    if not changes:
        return []
    cells: dict[str, dict[str, str]] = {}
    for each in changes:
        cells.setdefault(each.tenant, {})[each.application] = _cell(each)
    applications = sorted({each.application for each in changes})
    columns, rows = applications[:COLUMNS], list(cells)[: size.rows]
    found = [
        "**Versions**",
        "",
        *markdown_table(
            ("tenant", *map(code, columns)),
            [[code(tenant), *(cells[tenant].get(name, "") for name in columns)] for tenant in rows],
        ),
        "",
    ]
    cut = [
        f"{len(whole) - len(shown)} more {noun}s"
        for whole, shown, noun in ((cells, rows, "tenant"), (applications, columns, "application"))
        if len(whole) > len(shown)
    ]
    return [*found, f"and {' and '.join(cut)}, in the diffs below.", ""] if cut else found


def _cell(change: Change) -> str:
    old, new = (code(_cut(version, VERSION_LENGTH)) for version in version_words(change))
    if change.op == CREATE:
        return f"new: {new}"
    if change.op == DELETE:
        return f"{old} &rarr; removed"
    return f"{old} &rarr; {new}" if old != new else f"{old}, otherwise changed"


def _folded(sections: Sequence[Section], room: int, full_diff: str) -> Iterator[str]:
    """Yield the fold-outs that there is room for, in their order, and what was left out."""
    where = f" The whole diff is in {code(full_diff)}." if full_diff else ""
    left = room - _RESERVE - _length(where)
    for position, section in enumerate(sections):
        fold = _fold(section, [_cut(line, LINE_LENGTH) for line in section.as_lines()])
        if _length(_text(fold)) > left:
            shortened = list(_shortened(section, left))
            yield from shortened
            missing = len(sections) - position - bool(shortened)
            how = "the last one is cut and " if shortened else ""
            yield f"**A comment has no room for all**: {how}{missing} of {len(sections)} are left out.{where}"
            return
        yield from fold
        left -= _length(_text(fold))
    if sections and full_diff:
        yield where.strip()


def _fold(section: Section, lines: Sequence[str]) -> list[str]:
    named = f"tenant {html_code(section.tenant)}" if section.tenant else "shared by all tenants"
    note = f", {section.note}" if section.note else ""
    head = f"<details><summary>{named}{note}: {section.title}</summary>"
    return [head, "", *block(lines, "diff"), "", "</details>", ""]


def _shortened(section: Section, room: int) -> Iterable[str]:
    """Return a fold-out with as many of its lines as there is room for, nothing where that is hardly any."""
    lines = [_cut(line, LINE_LENGTH) for line in section.as_lines()]
    kept: list[str] = []
    # Where the longest run of backticks is among what is left out, the fences are only longer than they need be.
    left = room - _length(_text(_fold(section, ["", f"... and {len(lines)} more lines"]))) - 2 * LINE_LENGTH
    for line in lines:
        left -= _length(line) + 1
        if left < 0:
            break
        kept.append(line)
    if sum(map(len, kept)) < _WORTH:
        return ()
    return _fold(section, [*kept, f"... and {len(lines) - len(kept)} more lines"])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


def _length(text: str) -> int:
    """Return the length as GitHub may count it: in units of UTF-16, never fewer than characters."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
