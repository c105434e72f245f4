"""What a user may write: the documents of a fleet definition as typed, frozen models.

Pure. Field descriptions are the reference documentation (`docs/reference/definitions.md` and `fleet schema` are
generated from them). Defaults live here and nowhere else. `load` reads files into these models and resolves them
into a `Fleet`; `desired` plans from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    StrictBool,
    StrictInt,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from fleet import names

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
DottedName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
TemplatePrefix = Annotated[str, Field(pattern=r"^([a-z0-9][-a-z0-9.]*)?$", max_length=63)]
ProjectPrefix = Annotated[str, Field(pattern=r"^([a-z0-9][-a-z0-9]*)?$", max_length=40)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")]
ChartVersion = Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$")]
Duration = Annotated[str, Field(pattern=r"^(\d+h)?(\d+m)?(\d+s)?$", min_length=2)]
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")]


class Model(BaseModel):
    """Base of all documents: frozen, camelCase in YAML, unknown fields refused.

    `noun` is how reports name it: "`gpu` is not a field of a tenant". `elsewhere` says where fields belong that are
    looked for here in vain.
    """

    noun: ClassVar[str] = "this block"
    elsewhere: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, defer_build=True
    )


class Adopt(StrEnum):
    """What `create` does with an object that exists and does not carry this stack's mark."""

    NEVER = "Never"
    IF_SAME = "IfSame"
    ALWAYS = "Always"


class Target(StrEnum):
    """Where an application runs; the values are exactly those that the platform's validator accepts."""

    TENANT = "vCluster"
    HOST = "host"

    @classmethod
    def _missing_(cls, value: object) -> Target | None:
        """Read a target in any case: the article and the platform's own documentation write `vcluster`."""
        folded = value.lower() if isinstance(value, str) else value
        return next((target for target in cls if target.lower() == folded), None)


class Credential(Model):
    """A credential by reference; a plain value works and warns.

    Written as `{config: key}` (encrypted Pulumi stack config, namespace `fleet`), `{env: NAME}`, `{file: path}`, or
    as a plain string, which the loader turns into `value`.
    """

    noun: ClassVar[str] = "a credential"

    config: str | None = Field(None, description="Key in the stack's encrypted config, namespace `fleet`.")
    env: str | None = Field(None, description="Name of an environment variable.")
    file: str | None = Field(
        None, description="Path of a file, relative to the definition folder or absolute."
    )
    value: SecretStr | None = Field(None, description="The credential itself; works and warns.")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("config", "env", "file", "value") if getattr(self, key) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "one-of",
                "a credential is exactly one of `config`, `env`, `file`",
                {"help": "write `{config: KEY}`"},
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of both forms: a reference, or plain text."""
        schema = handler(core_schema)
        return {"anyOf": [schema, {"type": "string"}]}


class Metadata(Model):
    """Name, labels and annotations of a document."""

    noun: ClassVar[str] = "metadata"

    name: Name = Field(description="Name, a DNS label; what other documents refer to.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels, written to the live object.")
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description="Annotations, written to the live object; `fleet/adopt` (Never, IfSame, Always) and "
        "`fleet/acknowledge` (changes with fleet-wide consequences, by commas) are read by us.",
    )


class Owner(Model):
    """Who owns a tenant on the platform: a user or a team, by resource name."""

    noun: ClassVar[str] = "an owner"

    user: str | None = Field(None, description="Resource name of a platform user (not an e-mail address).")
    team: str | None = Field(None, description="Resource name of a platform team.")

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if (self.user is None) == (self.team is None):
            raise PydanticCustomError(
                "one-of",
                "an owner is exactly one of `user`, `team`",
                {"help": "write `{team: NAME}` or `{user: NAME}`"},
            )
        return self


class Chart(Model):
    """The vCluster chart of a tenant."""

    noun: ClassVar[str] = "a chart"

    version: ChartVersion = Field(
        "0.35.0", description="Chart version; 0.35.0 is the first with the Argo CD blocks."
    )
    repo: str | None = Field(None, description="Chart repository; the platform's own when left out.")


class ApplicationUse(Model):
    """One application of a tenant or class."""

    noun: ClassVar[str] = "an application"

    name: Name = Field(
        description="Name within the tenant; live it is `<tenant>-<name>`, unique in its project."
    )
    display_name: str | None = Field(
        None, description="Name shown in the platform; `<name> (<tenant>)` by default."
    )
    target: Target = Field(
        Target.TENANT,
        description="`vCluster`: inside the tenant, visible to it. `host`: on the control plane cluster, unseen.",
    )
    template: DottedName | None = Field(
        None, description="Name of an ArgoCDApplicationTemplate of this definition."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Values for the template's parameters."
    )
    inline: dict[str, Any] | None = Field(
        None, description="An Argo CD ApplicationSpec instead of a template."
    )


class Decommission(StrEnum):
    """How a tenant is removed in direct delivery."""

    ORDERED = "ordered"
    FORCE = "force"


class TenantSettings(Model):
    """What a class and a tenant have in common; the class is merged under the tenant."""

    noun: ClassVar[str] = "a tenant class"
    elsewhere: ClassVar[Mapping[str, str]] = {
        "kubeconfig": "each tenant has a cluster of its own: give it in the Tenant",
        "decommission": "a tenant is given up one by one: write it in the Tenant",
    }

    display_name: str | None = Field(None, description="Name shown in the platform.")
    project: Name | None = Field(
        None, description="Platform project; from `Fleet.spec.defaults` when left out."
    )
    owner: Owner | None = Field(None, description="Owner on the platform; it mints an access key from it.")
    cluster: Name | None = Field(
        None, description="Control plane cluster; cannot change after the tenant exists."
    )
    connector: Name | None = Field(None, description="Argo CD connector of the tenant.")
    chart: Chart | None = Field(None, description="vCluster chart.")
    vcluster: dict[str, Any] = Field(
        default_factory=dict,
        description="vcluster.yaml inline, or `{file: path}` relative to the file that says so; keys beside `file` are "
        "merged over it.",
    )
    applications: list[ApplicationUse] = Field(
        default_factory=list, description="Applications; class and tenant lists merge by name."
    )


class TenantSpec(TenantSettings):
    """A tenant: one definition for its infrastructure and its applications."""

    noun: ClassVar[str] = "a tenant"
    elsewhere: ClassVar[Mapping[str, str]] = {}

    tenant_class: Name | None = Field(
        None, alias="class", description="TenantClass whose settings lie under these."
    )
    kubeconfig: Credential | None = Field(
        None,
        description="Direct delivery: kubeconfig of the tenant's own cluster; `vcluster` and `chart` mean nothing "
        "then. Without it the tenant is a virtual cluster of the platform, reached through `spec.platform.server` of "
        "the Fleet.",
    )
    decommission: Decommission = Field(
        Decommission.ORDERED,
        description="Direct delivery, when the tenant is removed: `ordered` waits until its applications, agent and "
        "registration are gone; `force` gives up what a cluster that no longer answers would hold back, and says what "
        "it leaves behind. With `force` no `up` waits for the tenant to be ready either.",
    )


class Delivery(StrEnum):
    """Who wires tenants to Argo CD."""

    PLATFORM = "platform"
    DIRECT = "direct"


class Platform(Model):
    """The vCluster Platform installation."""

    noun: ClassVar[str] = "the platform settings"

    namespace: Name = Field(
        names.DEFAULT_PLATFORM_NAMESPACE,
        description="Namespace of the platform; connectors are Secrets in it.",
    )
    project_prefix: ProjectPrefix | None = Field(
        None,
        description="Prefix of project namespaces; asked from the platform when left out (`p-` offline).",
    )
    server: Url | None = Field(
        None,
        description="Direct delivery: URL of the platform, through which tenants without `kubeconfig` are reached.",
    )
    ca_data: str | None = Field(None, description="Direct delivery: CA certificate of `server`.")
    access_key: Credential | None = Field(
        None, description="Direct delivery: access key of the platform, with `server`."
    )


class Templates(Model):
    """Naming of application templates on the platform."""

    noun: ClassVar[str] = "the template settings"

    prefix: TemplatePrefix = Field(
        "fleet-",
        description="Put before every template name; keeps clear of the names that the platform ships.",
    )


class Gate(Model):
    """The readiness gate at the end of an `up`."""

    noun: ClassVar[str] = "the gate"

    timeout: Duration = Field(
        "15m", description="How long `up` waits for all tenants, as `1h`, `15m`, `90s`."
    )


class Defaults(Model):
    """Settings for every tenant that neither it nor its class gives."""

    noun: ClassVar[str] = "the defaults"

    project: Name | None = Field(None, description="Platform project.")
    owner: Owner | None = Field(None, description="Owner on the platform.")
    cluster: Name | None = Field(None, description="Control plane cluster.")
    connector: Name | None = Field(None, description="Argo CD connector.")
    chart: Chart = Field(default_factory=lambda: Chart.model_validate({}), description="vCluster chart.")


class FleetSpec(Model):
    """The environment: how and where the fleet lives."""

    noun: ClassVar[str] = "a fleet"

    delivery: Delivery = Field(
        Delivery.PLATFORM,
        description="`platform`: vCluster Platform wires tenants to Argo CD. `direct`: we do, on any Kubernetes.",
    )
    platform: Platform = Field(
        default_factory=lambda: Platform.model_validate({}), description="The platform."
    )
    templates: Templates = Field(
        default_factory=lambda: Templates.model_validate({}), description="Template naming."
    )
    defaults: Defaults = Field(
        default_factory=lambda: Defaults.model_validate({}), description="Tenant defaults."
    )
    gate: Gate = Field(default_factory=lambda: Gate.model_validate({}), description="Readiness gate.")
    adopt: Adopt = Field(
        Adopt.NEVER,
        description="Objects that exist without this stack's mark: refuse them (Never), take them when equal (IfSame), "
        "take them (Always). A document's annotation `fleet/adopt` overrides it.",
    )


class ApiKey(Model):
    """An Akuity API key."""

    noun: ClassVar[str] = "an API key"

    id: Credential = Field(description="Key id.")
    secret: Credential = Field(description="Key secret.")


class RepoServer(Model):
    """Sizing of the agent's repo-server."""

    noun: ClassVar[str] = "a repo-server"

    replicas: StrictInt | None = Field(None, ge=1, description="Replicas.")
    memory: Quantity | None = Field(None, description="Memory, set as request and limit.")


class Agent(Model):
    """The Akuity agent installed in each tenant. A change of `size` re-registers every tenant of the connector."""

    noun: ClassVar[str] = "an agent"

    size: Literal["small", "medium", "large"] = Field("medium", description="Agent size.")
    namespace: Name = Field(
        "akuity", description="Direct delivery: namespace that the agent is installed in, in each tenant."
    )
    repo_server: RepoServer = Field(
        default_factory=lambda: RepoServer.model_validate({}), description="Repo-server sizing."
    )


class Akuity(Model):
    """An Akuity-hosted Argo CD instance."""

    noun: ClassVar[str] = "the Akuity block"

    organization_id: str = Field(min_length=1, description="Akuity organisation id.")
    instance_id: str = Field(min_length=1, description="Akuity Argo CD instance id.")
    server: Url = Field(
        "https://akuity.cloud",
        description="Direct delivery: URL of the Akuity API (EU: `https://eu.akuity.cloud`).",
    )
    ca_data: str | None = Field(None, description="Direct delivery: CA certificate of `server`.")
    api_key: ApiKey = Field(description="API key; needs Argo CD cluster get, create, update and delete.")
    agent: Agent = Field(
        default_factory=lambda: Agent.model_validate({}), description="Agent installed in tenants."
    )


class ArgoKubernetes(Model):
    """The Kubernetes API of the cluster that a self-hosted Argo CD runs in."""

    noun: ClassVar[str] = "the Kubernetes block"

    kubeconfig: Credential | None = Field(
        None, description="Kubeconfig of that cluster; the stack's own when left out."
    )


class ConnectorSpec(Model):
    """An Argo CD or Akuity endpoint with its credentials."""

    noun: ClassVar[str] = "a connector"

    server: Url = Field(description="URL of the Argo CD API.")
    display_name: str | None = Field(None, description="Name shown in the platform.")
    token: Credential | None = Field(None, description="Argo CD API token.")
    username: Credential | None = Field(None, description="User name, with `password`, instead of a token.")
    password: Credential | None = Field(None, description="Password of `username`.")
    namespace: Name | None = Field(
        None, description="Namespace of a self-hosted Argo CD; `argocd` when left out."
    )
    ca_data: str | None = Field(None, description="CA certificate of the server.")
    insecure: StrictBool = Field(default=False, description="Skip TLS verification; warns.")
    akuity: Akuity | None = Field(None, description="Present when Argo CD is hosted by Akuity.")
    kubernetes: ArgoKubernetes | None = Field(
        None,
        description="Direct delivery: Argo CD's objects are written by the Kubernetes API of its cluster; by the REST "
        "API at `server` when left out. Not with `akuity`.",
    )

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.token is None and (self.username is None or self.password is None):
            raise PydanticCustomError(
                "missing-field",
                "the connector has no login",
                {"help": "give `token`, or `username` and `password`"},
            )
        return self


class ControlPlaneClusterSpec(Model):
    """Argo CD on an existing control plane cluster, for applications with `target: host`."""

    noun: ClassVar[str] = "a control plane cluster"

    connector: Name | None = Field(
        None,
        description="Connector for host applications; without one the cluster is known and left as it is.",
    )
    kubeconfig: Credential | None = Field(
        None,
        description="Direct delivery: kubeconfig that Argo CD reaches the cluster with, for host applications.",
    )
    in_cluster: StrictBool = Field(
        default=False,
        description="Direct delivery, instead of `kubeconfig`: the self-hosted Argo CD runs in this very cluster.",
    )


class Parameter(Model):
    """One parameter of an application template, as the platform defines it."""

    noun: ClassVar[str] = "a parameter"

    variable: str = Field(min_length=1, description="Name in `.Values`; dots nest.")
    label: str | None = Field(None, description="Label in the platform's form.")
    description: str | None = Field(None, description="Explanation.")
    type: Literal["", "string", "multiline", "boolean", "number", "password"] = Field(
        "", description="Type of the value; string when empty, number is an integer."
    )
    options: list[str] = Field(default_factory=list, description="Allowed values.")
    min: StrictInt | None = Field(None, description="Least number.")
    max: StrictInt | None = Field(None, description="Greatest number.")
    required: StrictBool = Field(default=False, description="A value must be given, or be there by default.")
    default_value: str | None = Field(None, description="Default, always a string.")
    placeholder: str | None = Field(None, description="Placeholder in the platform's form.")
    validation: str | None = Field(None, description="Regular expression that the value must match.")
    invalidation: str | None = Field(None, description="Regular expression that the value must not match.")
    section: str | None = Field(None, description="Section in the platform's form.")


class TemplateBody(Model):
    """What becomes the Argo CD Application: metadata (labels, annotations) and its spec, strings may hold `{{ }}`."""

    noun: ClassVar[str] = "the template"

    metadata: dict[str, Any] = Field(default_factory=dict, description="Labels and annotations.")
    spec: dict[str, Any] = Field(description="Argo CD ApplicationSpec.")


class TemplateSpec(Model):
    """An application once, with parameters."""

    noun: ClassVar[str] = "an application template"

    display_name: str | None = Field(None, description="Name shown in the platform.")
    description: str | None = Field(None, description="Explanation.")
    owner: Owner | None = Field(None, description="Owner on the platform.")
    access: list[dict[str, Any]] | None = Field(None, description="Access rules, passed through.")
    parameters: list[Parameter] = Field(default_factory=list, description="Parameters.")
    template: TemplateBody = Field(description="The Argo CD Application.")


class TemplateMetadata(Metadata):
    """Metadata of an application template."""

    noun: ClassVar[str] = "metadata"

    name: DottedName = Field(
        description="Name, as tenants refer to it; the fleet's prefix is put before it live."
    )


class FleetDocument(Model):
    """The environment; exactly one in a definition."""

    noun: ClassVar[str] = "a Fleet document"

    api_version: Literal["fleet/v1"]
    kind: Literal["Fleet"]
    metadata: Metadata
    spec: FleetSpec = Field(default_factory=lambda: FleetSpec.model_validate({}))


class ConnectorDocument(Model):
    """An Argo CD or Akuity endpoint, its credentials by reference, agent and repo-server sizing."""

    noun: ClassVar[str] = "a Connector document"

    api_version: Literal["fleet/v1"]
    kind: Literal["Connector"]
    metadata: Metadata
    spec: ConnectorSpec


class ControlPlaneClusterDocument(Model):
    """An existing platform Cluster object (`metadata.name` names it) and the connector for its host applications."""

    noun: ClassVar[str] = "a ControlPlaneCluster document"

    api_version: Literal["fleet/v1"]
    kind: Literal["ControlPlaneCluster"]
    metadata: Metadata
    spec: ControlPlaneClusterSpec


class TenantClassDocument(Model):
    """Defaults shared by tenants: deep-merged under the tenant; lists of applications merge by name."""

    noun: ClassVar[str] = "a TenantClass document"

    api_version: Literal["fleet/v1"]
    kind: Literal["TenantClass"]
    metadata: Metadata
    spec: TenantSettings


class TenantDocument(Model):
    """A tenant: adding it onboards, removing it decommissions."""

    noun: ClassVar[str] = "a Tenant document"

    api_version: Literal["fleet/v1"]
    kind: Literal["Tenant"]
    metadata: Metadata
    spec: TenantSpec = Field(default_factory=lambda: TenantSpec.model_validate({}))


class TemplateDocument(Model):
    """The platform's own ArgoCDApplicationTemplate; unquoted `{{ .Values.x }}` is read too."""

    noun: ClassVar[str] = "an ArgoCDApplicationTemplate document"

    api_version: Literal["management.loft.sh/v1"]
    kind: Literal["ArgoCDApplicationTemplate"]
    metadata: TemplateMetadata
    spec: TemplateSpec


class ProjectDocument(Model):
    """The platform's own Project: declared here, it is created; only referred to, it is used as it is."""

    noun: ClassVar[str] = "a Project document"

    api_version: Literal["management.loft.sh/v1"]
    kind: Literal["Project"]
    metadata: Metadata
    spec: dict[str, Any] = Field(default_factory=dict, description="ProjectSpec, passed through.")


DOCUMENTS: Final[tuple[type[Model], ...]] = (
    FleetDocument,
    ConnectorDocument,
    ControlPlaneClusterDocument,
    TenantClassDocument,
    TenantDocument,
    TemplateDocument,
    ProjectDocument,
)
