"""The Akuity API stand-in: routes, messages, errors and phases of the Akuity Platform's REST API, on 127.0.0.1.

It is no part of the Akuity Platform and holds none of its code; it does what is documented and observed of it.
What it had to choose for itself is listed in `docs/reference/akuity-stand-in.md`. It shares no HTTP and no message
code with `fleet.clients`, which is tested against it.
"""

from __future__ import annotations

from fleet.sandbox.akuity.faults import Fault, FaultKind
from fleet.sandbox.akuity.observer import ApiObserver, Observation, Observer, Target, kubeconfigs
from fleet.sandbox.akuity.process import AkuityProcess
from fleet.sandbox.akuity.server import StandIn
from fleet.sandbox.akuity.state import InstanceSeed, Settings, World

__all__ = [
    "AkuityProcess",
    "ApiObserver",
    "Fault",
    "FaultKind",
    "InstanceSeed",
    "Observation",
    "Observer",
    "Settings",
    "StandIn",
    "Target",
    "World",
    "kubeconfigs",
]
