"""When a tenant and its applications are ready: judged from live objects, for the gate and for `fleet status` alike.

Pure. `argo` holds Argo CD's truth about one application, `tenants` the platform's about a tenant, `agents` Akuity's
about an agent.
"""

from fleet.readiness.argo import judge_argo, source_digest
from fleet.readiness.tenants import judge

__all__ = ["judge", "judge_argo", "source_digest"]
