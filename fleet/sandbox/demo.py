"""The demonstration: the walkthrough's fleet on a sandbox, by the commands that a user would type.

It runs nothing that the README does not show; each command is printed before it runs.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
from pathlib import Path

from fleet.sandbox.processes import SandboxError
from fleet.sandbox.sandbox import Sandbox

STACK = "walkthrough"
DEFINITION = Path("examples/01-walkthrough")
# Stand-ins for credentials: the sandbox has no Argo CD that would check them.
CREDENTIALS = ("argocdToken", "akuityApiKeyId", "akuityApiKeySecret")


def run_demo() -> None:
    """Start the sandbox, deploy the walkthrough on it, print its status and what to try next.

    Raises:
        SandboxError: this is not the project's folder, or a command failed; its own output stands above.
    """
    if not (Path("Pulumi.yaml").is_file() and DEFINITION.is_dir()):
        raise SandboxError(
            f"there is no `Pulumi.yaml` with `{DEFINITION}` here; run it in the project's folder"
        )
    sandbox = Sandbox.default()
    sandbox.up()
    environment = {**os.environ, **sandbox.env()}
    prepare_stack(environment)
    run(environment, "pulumi", "up", "--yes", "--stack", STACK)
    run(environment, "fleet", "status", "--stack", STACK)
    print(NEXT, file=sys.stderr)


def prepare_stack(environment: dict[str, str]) -> None:
    """Make the demonstration's stack unless it is there, with its config and random stand-in credentials."""
    if succeeds(environment, "pulumi", "stack", "select", STACK):
        return
    # Settings of a sandbox that is gone: encrypted by its passphrase, of no use to anybody.
    Path("stacks", f"Pulumi.{STACK}.yaml").unlink(missing_ok=True)
    run(environment, "pulumi", "stack", "init", STACK)
    run(environment, "pulumi", "config", "set", "fleet:definition", str(DEFINITION))
    # This sandbox has no Argo CD that would report on applications.
    run(environment, "pulumi", "config", "set", "fleet:waitFor", "tenants")
    for key in CREDENTIALS:
        run(
            environment,
            "pulumi",
            "config",
            "set",
            "--secret",
            f"fleet:{key}",
            secret=secrets.token_urlsafe(24),
        )


def run(environment: dict[str, str], *command: str, secret: str | None = None) -> None:
    """Print and run a command; a secret goes to its standard input, never to its arguments.

    Raises:
        SandboxError: it failed.
    """
    print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run(command, env=environment, input=secret, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"`{shlex.join(command)}` failed with exit code {done.returncode}")


def succeeds(environment: dict[str, str], *command: str) -> bool:
    """Return whether a command succeeds; its output is dropped."""
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


NEXT = """
The sandbox is running. Next, in a shell of your own:

  eval "$(.venv/bin/fleet sandbox env)"     # the sandbox's kubeconfig, tools and Pulumi backend
  pulumi preview                            # empty: everything is as defined
  kubectl edit virtualclusterinstance -n p-ai-tenants acme   # change something by hand
  pulumi preview                            # shows exactly that; `pulumi up` puts it back
  $EDITOR examples/01-walkthrough/templates/prometheus.yaml  # one line: targetRevision
  pulumi preview --diff                     # one template, one application per tenant it reaches
  fleet status --stack walkthrough

`make demo-down` stops the sandbox and leaves no process."""
