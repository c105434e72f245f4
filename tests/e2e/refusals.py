"""What a run that is refused says, comparable with a golden file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.e2e.conftest import Project

GOLDEN = Path(__file__).parents[1] / "golden" / "refusals"
Check = Callable[[Path, str], None]


def refusal(project: Project, *command: str, of: str = "Stack", alike: Iterable[str] = ()) -> str:
    """Return what a command that must fail says of one resource, without what differs from run to run.

    The engine asks about several resources at once, so how many of them fail before it stops differs, too: of those
    whose names are `alike` any one stands for all, as `NAME`.
    """
    printed = project.run(*(command or ("pulumi", "preview", "--non-interactive")), check=False)
    assert printed.endswith("exit code 1"), printed
    assert "Traceback" not in printed, printed
    _, found, diagnostics = printed.partition("Diagnostics:\n")
    assert found, printed
    diagnostics = re.split(r"\n(?:Resources|Outputs|Duration|Policies)\b", diagnostics)[0]
    said = {
        part.partition(":\n")[0]: part.partition(":\n")[2].rstrip()
        for part in re.split(r"^  (?=pulumi)", diagnostics, flags=re.MULTILINE)[1:]
    }
    for name in alike:
        said = {resource: text.replace(name, "NAME") for resource, text in said.items()}
    texts = {text for resource, text in said.items() if of in resource}
    assert len(texts) == 1, texts
    (text,) = texts
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    # Whether the engine says a failure of the preview once or twice depends on which of its parts is faster.
    text = text.replace(str(project.folder), "PROJECT").replace("Preview failed: ", "")
    parts = re.split(r"^ *(?=error: )", text, flags=re.MULTILINE)
    said_once = dict.fromkeys(part.strip() for part in parts if part.strip())
    return "\n".join(line.rstrip() for line in "\n    ".join(said_once).splitlines()) + "\n"
