"""What a hub takes and gives, as the hub's OpenAPI document names it. Words of a later hub arrive as they are."""

# Written by `generate.py` from the hub's OpenAPI document: change that, not this.

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from ._model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView(Model):
    """One route, and who may use it."""

    #: Whether an admin may.
    admin: bool
    #: HTTP method.
    method: str
    #: Whether an operator may.
    operator: bool
    #: Path with names in braces.
    path: str
    #: The permission; `open` for everybody, `known` for everybody who has come in.
    permission: str
    #: Whether the system may.
    system: bool
    #: Whether a viewer may.
    viewer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView(Model):
    """What a plan's sender says of the future."""

    #: What kind of statement.
    class_: str
    #: The claimed probability.
    confidence: float
    #: How far it looks ahead.
    horizon_seconds: float
    #: The sender's id of the prediction.
    prediction: str


#: a plan's id
PlanId: TypeAlias = str


#: an entry: OWNER.EPOCH.SEQ
DecisionId: TypeAlias = str


#: Where a plan stands. The order is part of the stored format: add at the end only.
PlanState: TypeAlias = (
    Literal["received", "validated", "decided", "held", "awaiting_approval", "scheduled", "leased", "executing", "verifying", "rolling_back",
    "completed", "rolled_back", "rollback_failed", "rejected", "expired", "cancelled", "superseded", "failed"]
)


#: a command's id
CommandId: TypeAlias = str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectView(Model):
    """An expected effect."""

    #: By how much, in the quantity's unit.
    delta: int
    #: Of which device; the target's own if absent.
    device: str | None = None
    #: Name of the quantity, for example `gpu.temperature`.
    metric: str
    #: By when after the step was carried out.
    within_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationView(Model):
    """What was seen of an expected effect."""

    #: After.
    after: int
    #: Before.
    before: int
    #: It was enough.
    is_met: bool


#: Where one step stands. The order is part of the stored format: add at the end only.
StepState: TypeAlias = (
    Literal["waiting", "intending", "acting", "probing", "verifying", "done", "failed", "undo_intending", "undoing", "undo_probing", "undone",
    "stuck"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStepView(Model):
    """A step and what became of it so far."""

    #: The command that carried it out last.
    command: CommandId | None = None
    #: The node's decision on it.
    decision: DecisionId | None = None
    #: For people.
    detail: str | None = None
    #: What should come of it.
    expected: EffectView | None = None
    #: What was seen of that.
    observed: ObservationView | None = None
    #: The parameters.
    params: dict[str, str]
    #: Where it stands.
    state: StepState
    #: In words: `edge-03/gpu0 power_cap to 280 W`.
    summary: str
    #: The target, as text.
    target: str
    #: The verb.
    verb: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView(Model):
    """A plan and what became of it so far."""

    #: How many approvals it needs.
    approvals_needed: int
    #: Who approved it.
    approved_by: list[str] | None = None
    #: No person sent it.
    by_brain: bool
    #: For a claim whose plan is over: `true`, `false`, or why it cannot be told.
    came_true: str | None = None
    #: What its sender says of the future.
    claim: ClaimView | None = None
    #: What it belongs to.
    correlation_id: str
    #: When it was received.
    created: datetime
    #: When that ends at the latest; absent for a plan that is over.
    deadline: datetime | None = None
    #: Why it stands there, for people: a freeze says until when.
    detail: str
    #: Its id.
    id: PlanId
    #: The decision that acted on a target while an effect was looked for.
    interfered: DecisionId | None = None
    #: The sender's own id of it.
    key: str
    #: When it ends at the latest.
    not_after: datetime
    #: Why.
    reason: str
    #: The plan that it tries again.
    retry_of: PlanId | None = None
    #: Since when it stands where it stands.
    since: datetime
    #: Who sent it, in words.
    source: str
    #: Where it stands.
    state: PlanState
    #: The nearest of the original's seven words for that.
    status: str
    #: Its steps.
    steps: list[PlanStepView]
    #: Whose budget.
    tenant: str


PostActionPlansBodyClaim = TypedDict("PostActionPlansBodyClaim", {
    #: What kind of statement.
    "class": str,
    #: The claimed probability.
    "confidence": float,
    #: How far it looks ahead.
    "horizon_seconds": float,
    #: The sender's id of the prediction.
    "prediction": str,
})


class PostActionPlansBodyDecisionsExpected(TypedDict):
    """What should come of it."""

    #: By how much, in the quantity's unit.
    delta: int
    #: Of which device; the target's own if absent.
    device: NotRequired[str]
    #: Name of the quantity, for example `gpu.temperature`.
    metric: str
    #: By when after the step was carried out.
    within_seconds: float


class PostActionPlansBodyDecisionsSafety(TypedDict):
    """How often at most."""

    #: At most this many …
    rate_limit: int
    #: … in this span: `5m`, `1h`.
    window: str


class PostActionPlansBodyDecisions(TypedDict):
    """One step of a submitted plan."""

    #: What should come of it.
    expected: NotRequired[PostActionPlansBodyDecisionsExpected | None]
    #: The verb's parameters: texts, numbers or truth values.
    params: NotRequired[dict[str, str]]
    #: How often at most.
    safety: NotRequired[PostActionPlansBodyDecisionsSafety | None]
    #: What it is done to.
    target: dict[str, str]
    #: How long after the plan was made it may begin, in seconds; the default if absent.
    ttl: NotRequired[int | None]
    #: The verb's name.
    verb: str


class PostActionPlansBody(TypedDict):
    """Somebody submits a plan."""

    #: What its sender says of the future.
    claim: NotRequired[PostActionPlansBodyClaim | None]
    #: What it belongs to.
    correlation_id: NotRequired[str]
    #: What is to be done, in this order.
    decisions: list[PostActionPlansBodyDecisions]
    #: The sender's own id of it: sent again, it is the same plan.
    key: NotRequired[str]
    #: When it ends at the latest.
    not_after: NotRequired[str | None]
    #: Why. Not empty.
    reason: str
    #: Ignored: who sends a plan follows from the login. Accepted because the original's clients send it.
    source: NotRequired[str | None]
    #: Whose budget.
    tenant: NotRequired[str]


class PostActionPlansIdCancelBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


class PostActionPlansIdDenyBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


#: The unit that a quantity is counted in.
Unit: TypeAlias = (
    Literal["milli_celsius", "milliwatt", "basis_points", "milli", "bytes", "bytes_per_second", "milli_per_second", "milliseconds", "megahertz",
    "count", "flag"]
)


#: How a question was answered. Ordered: the worst of all rules wins.
Verdict: TypeAlias = Literal["allow", "clamp", "hold", "require_approval", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause(Model):
    """One compared pair of the trace: what was seen, against what limit."""

    #: How old what was seen was, in milliseconds.
    age_ms: int | None
    #: What would have to be different, for people, found by this same comparison; empty when it passed.
    counterfactual: str
    #: Whether the comparison is true.
    holds: bool
    #: The rule's kind, for example `threshold`, `cooldown`, `rate_limit`.
    kind: str
    #: Against what.
    limit: int | None
    #: What was seen; `None` for missing data.
    observed: int | None
    #: How it was compared: `>`, `<`, `<=`, `>=`, `=`, `in`.
    op: str
    #: The rule it belongs to; `authority`, `hold`, `journal` and `device` are the built-in ones.
    rule: str
    #: The rule is only tried out: its verdict did not count.
    shadow: bool
    #: The unit of both.
    unit: Unit
    #: What this clause alone says of the wanted action.
    verdict: Verdict
    #: What was compared, for people: `gpu.temperature of gpu0`, `restarts in 1 h`.
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowStepView(Model):
    """What policy would say of one step now."""

    #: Why, and what would change it.
    because: str
    #: Every comparison.
    clauses: list[Clause]
    #: The rule that gave it, or the tier of the brain that sent the plan.
    rule: str
    #: In words.
    summary: str
    #: For a hold, when it is worth asking again.
    until: datetime | None = None
    #: The answer.
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowView(Model):
    """What policy would say of each step now. Nothing was changed by asking."""

    #: Which plan.
    id: PlanId
    #: Every step would run now.
    runs: bool
    #: For each step.
    steps: list[ShadowStepView]


#: a BLAKE3 hash
Digest: TypeAlias = str


#: The incarnation of an agent's journal. It grows by at least one whenever the journal could not be carried on (quarantined, emptied, restored from a
#: copy), so that no (epoch, seq) is ever used for two payloads.
Epoch: TypeAlias = int


#: A node's name, which is also its identity: the last part of `spiffe://<trust-domain>/agent/<name>`. A DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9`
#: and `-`, with no `-` at either end. It holds no dot, so that [`DecisionId`] can be split at dots.
AgentId: TypeAlias = str


#: The place of an entry in one epoch of one agent's journal. The first is 1; 0 means "none yet".
Seq: TypeAlias = int


#: A part of a node: `node`, `cpu3`, `gpu0`, `disk:sda`, `fs:/var`, `net:eth0`, `sensor:k10temp`, `workload:train`. 1 to 128 printable ASCII
#: characters without space, comma or quote. The part before the digits or the colon is its class ([`DeviceId::class`]), which rules select by.
DeviceId: TypeAlias = str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView(Model):
    """A decision in a list."""

    #: Name of the wanted action, for example `power_cap`.
    action: str
    #: When, by the node's wall clock.
    at: datetime
    #: Whether the node had a session with the hub.
    connected: bool
    #: Digest of the entry's bytes.
    digest: Digest
    #: Epoch of its entry.
    epoch: Epoch
    #: `node.epoch.seq`.
    id: DecisionId
    #: Whose.
    node: AgentId
    #: The latest outcome's word, `pending` while none has come, `none` if nothing runs.
    outcome: str
    #: The latest outcome's detail.
    outcome_detail: str | None = None
    #: The rule that determined it.
    rule: str
    #: Place of its entry.
    seq: Seq
    #: What runs (or was wanted, if nothing runs), in words: `gpu0 power_cap to 220 W`.
    summary: str
    #: On what.
    target: DeviceId
    #: The answer.
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ActView(Model):
    """What came of a request to act."""

    #: For a denial: the clauses that determined it.
    clauses: list[Clause]
    #: The command; absent at a node's own socket.
    command: CommandId | None
    #: The decision, once the node has made it.
    decision: DecisionView | None
    #: For people.
    detail: str
    #: `done`, `denied` (by the node or already by the hub), `waiting` (nothing heard within `wait_ms`), `refused` (expired, fenced, called off),
    #: `cancelled`.
    status: str
    #: While it waits: until when it may be brought to its node.
    until: datetime | None = None


class PostActionsBody(TypedDict):
    """A person or program wants something done."""

    #: Which action, by name.
    action: str
    #: To what; `node` if absent.
    device: NotRequired[str]
    #: Where.
    node: str
    #: Its parameters as text, for example `to` = `220 W`.
    params: NotRequired[dict[str, str]]
    #: Why. Not empty.
    reason: str
    #: How long the command may wait for the node.
    valid_for_seconds: NotRequired[float]
    #: How long the answer may wait for the outcome.
    wait_seconds: NotRequired[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediationAgentCapabilities(Model):
    """What the hub tells: RemediationAgentCapabilities."""

    max_concurrent_tasks: int
    supported_failure_types: list[str] | None = None
    supported_tasks: list[str]
    timeout_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediationAgent(Model):
    """What the hub tells: RemediationAgent."""

    capabilities: RemediationAgentCapabilities
    created_at: str
    description: str | None = None
    failed_tasks: int
    health_score: float
    id: str
    last_heartbeat: str
    name: str
    status: str
    successful_tasks: int
    total_tasks: int
    updated_at: str
    version: str


class PostAgentsBodyCapabilities(TypedDict):
    """`PostAgentsBodyCapabilities` as it travels."""

    max_concurrent_tasks: NotRequired[int]
    supported_failure_types: NotRequired[list[str] | None]
    supported_tasks: list[str]
    timeout_seconds: NotRequired[int]


class PostAgentsBody(TypedDict):
    """`PostAgentsBody` as it travels."""

    capabilities: PostAgentsBodyCapabilities
    configuration: NotRequired[Any]
    description: NotRequired[str | None]
    name: str
    version: str


class PatchAgentsIdBodyCapabilities(TypedDict):
    """`PatchAgentsIdBodyCapabilities` as it travels."""

    max_concurrent_tasks: NotRequired[int]
    supported_failure_types: NotRequired[list[str] | None]
    supported_tasks: list[str]
    timeout_seconds: NotRequired[int]


class PatchAgentsIdBody(TypedDict):
    """`PatchAgentsIdBody` as it travels."""

    capabilities: NotRequired[PatchAgentsIdBodyCapabilities | None]
    configuration: NotRequired[Any]
    description: NotRequired[str | None]
    status: NotRequired[str | None]
    trust_key: NotRequired[str | None]
    version: NotRequired[str | None]


class PostAgentsIdHeartbeatBody(TypedDict):
    """`PostAgentsIdHeartbeatBody` as it travels."""

    active_tasks: NotRequired[int]
    health_score: float


#: What a person or program is at the hub. Later roles hold what earlier ones do.
Role: TypeAlias = Literal["viewer", "operator", "admin", "system"]


#: One thing that somebody may do. A permission is `subject:verb`. Names and holders of the first twenty are those of the original system; the rest
#: are ours.
Permission: TypeAlias = (
    Literal["workloads:read", "workloads:write", "workloads:delete", "deployments:read", "deployments:create", "deployments:scale",
    "deployments:rollback", "deployments:delete", "plans:read", "plans:execute", "plans:approve", "policies:read", "policies:write",
    "policies:delete", "clusters:read", "clusters:manage", "audits:read", "users:manage", "roles:manage", "system:admin", "nodes:read",
    "nodes:act", "nodes:manage", "tasks:read", "tasks:manage", "tasks:lease", "integrations:read", "integrations:manage"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTokenView(Model):
    """A program's token, without its secret."""

    #: When it was made.
    created_at: datetime
    #: Until when it lasts.
    ends: datetime
    #: Its id.
    id: str
    #: What it is for.
    name: str
    #: Who made it.
    owner: str
    #: Its role.
    role: Role
    #: The only permissions that it holds; empty for all of the role.
    scope: list[Permission]
    #: When it was last used, to within some minutes.
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiTokenView(Model):
    """A new token: the secret is shown once and not kept."""

    #: When it was made.
    created_at: datetime
    #: Until when it lasts.
    ends: datetime
    #: Its id.
    id: str
    #: What it is for.
    name: str
    #: Who made it.
    owner: str
    #: Its role.
    role: Role
    #: The only permissions that it holds; empty for all of the role.
    scope: list[Permission]
    #: The token.
    token: str
    #: When it was last used, to within some minutes.
    used_at: datetime | None


class PostApiTokensBody(TypedDict):
    """A program's token that is to be made."""

    #: How many days it lasts: 1 to 365.
    days: NotRequired[int]
    #: What it is for: 1 to 63 of a-z, 0-9 and -.
    name: str
    #: The role; at most that of whoever makes it.
    role: Role
    #: The only permissions of that role that it holds; empty for all.
    scope: NotRequired[list[Permission]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRef(Model):
    """One document as a change wrote it."""

    #: BLAKE3 of its stored record; zero for a document that was removed.
    digest: Digest
    #: Its id within the kind.
    id: str
    #: Its kind, for example `plan`.
    kind: str
    #: Its revision; the first is 1.
    revision: int


#: Through what somebody reached the hub. The order is part of the stored format: add at the end only.
Via: TypeAlias = Literal["hub", "api", "console", "agent", "brain", "forge", "cluster", "remediation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView(Model):
    """One entry of the hub's own journal: what somebody caused, or was refused."""

    #: From which network address.
    address: str | None
    #: When.
    at: datetime
    #: Stable code of a refusal.
    code: str | None = None
    #: Why it was refused, with the way out.
    detail: str | None = None
    #: Facts that explain it, in order.
    details: list[tuple[str, str]]
    #: Documents that were written with it.
    documents: list[DocumentRef]
    #: Its place in the journal.
    id: DecisionId
    #: Why.
    reason: str
    #: `done` or `refused`.
    result: str
    #: On what.
    target: str
    #: What: subject and verb, for example `policy.publish`.
    verb: str
    #: Through what.
    via: Via
    #: Who.
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalBreakView(Model):
    """The hub's own journal is not the one that was signed."""

    #: When they did.
    accepted_at: datetime | None
    #: Why they did.
    accepted_because: str | None
    #: Who has accepted it; nobody yet if absent.
    accepted_by: str | None
    #: What it means, for people.
    detail: str
    #: Digest of that entry.
    digest: Digest
    #: The first entry that is known to be missing or another one.
    first_bad: DecisionId
    #: When it did.
    found_at: datetime
    #: The last entry that was signed.
    signed: DecisionId
    #: When it was signed.
    signed_at: datetime
    #: The agent that gave the signature back first.
    witness: AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointView(Model):
    """The end of the hub's own journal, as the hub signed it."""

    #: When it was signed.
    at: datetime
    #: Its digest.
    digest: Digest
    #: The last entry.
    entry: DecisionId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheckView(Model):
    """Whether the hub's own journal is whole."""

    #: Where agents have proven that the journal is not the one that was signed, oldest first.
    breaks: list[JournalBreakView]
    #: The end of the journal that was signed last; agents keep it.
    checkpoint: CheckpointView | None
    #: What is wrong, for people.
    detail: str
    #: How many there are.
    entries: int
    #: The first one that is missing, or does not continue the one before it.
    first_bad: DecisionId | None
    #: Every entry is there once and continues the one before it, and no agent holds a signature that says otherwise, unless a person has accepted
    #: that.
    ok: bool


class PostAuditsAcceptBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensView(Model):
    """What a program acts with after a login."""

    #: Bearer token of the API, a JWT.
    access_token: str
    #: How long the access token is good for, in seconds.
    expires_in: int
    #: Gives the next pair, once.
    refresh_token: str
    #: Always `bearer`.
    token_type: str


class PostAuthLoginBody(TypedDict):
    """A name and a password."""

    #: The password.
    password: str
    #: The name.
    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeView(Model):
    """Who asks, and what they may do."""

    #: Everything that they may do.
    permissions: list[Permission]
    #: Their role.
    role: Role
    #: The tenant that they belong to.
    tenant: str | None
    #: Their name.
    username: str
    #: Through what they ask.
    via: Via


class PostAuthRefreshBody(TypedDict):
    """A refresh token."""

    #: The token; each can be used once.
    refresh_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserView(Model):
    """A person."""

    #: When it was made.
    created_at: datetime
    #: The account is closed.
    disabled: bool
    #: A password is set.
    has_password: bool
    #: A link waits for them until then.
    invited_until: datetime | None
    #: The name.
    name: str
    #: The role.
    role: Role
    #: Sessions that are open.
    sessions: int
    #: The tenant that they belong to.
    tenant: str | None


class PostAuthSetupBody(TypedDict):
    """A one-time link's code, with what its holder chooses."""

    #: The code of the link.
    code: str
    #: The name; only for the first person, an invited one has theirs.
    name: NotRequired[str | None]
    #: The password: 8 to 256 characters.
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChangeView(Model):
    """A change of tier."""

    #: When.
    at: datetime
    #: The tier before.
    from_: str
    #: The tier since.
    to: str
    #: Why, for people.
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBinView(Model):
    """One bin of the reliability plot."""

    #: The share that came true.
    came_true_ratio: float
    #: The mean claim.
    claimed_ratio: float
    #: Weight of its outcomes, in hundredths.
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainScoresView(Model):
    """How good a brain's claims were."""

    #: The share that came true.
    base_rate: float
    #: The reliability plot: at most ten bins of equal count, by claim.
    bins: list[ReliabilityBinView]
    #: Mean squared distance between claim and outcome, in ten-thousandths.
    brier: float
    #: Mean distance between claim and share that came true.
    calibration_error: float
    #: As many equally weighted outcomes would say as much, in hundredths.
    effective: int
    #: Outcomes that count.
    outcomes: int
    #: How much better than always claiming the base rate; absent where all outcomes are alike.
    skill: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainView(Model):
    """One brain with one verb. Chances and shares are in hundredths of a percent."""

    #: Its name, as its plans have it.
    brain: str
    #: Of them, those that could not be told: nothing ran, nothing could be seen, or our own action interfered.
    censored: int
    #: The last changes of tier, oldest first.
    changes: list[TierChangeView]
    #: Evidence that it claims too much, in hundredths: 100 is none, 4,000 takes the tier away.
    evidence_over: int
    #: Evidence that it claims too little, in hundredths; it only informs.
    evidence_under: int
    #: The version of the model that answers now; empty before its first prediction.
    model: str
    #: What keeps it from the next tier; absent at the highest one, or when the next outcome may bring it.
    next_tier_lacks: str | None = None
    #: Predictions whose outcome is known, or is known to be unknown.
    predictions: int
    #: How good its claims were; absent before the first outcome.
    scores: BrainScoresView | None = None
    #: Since when.
    since: datetime
    #: `T0` to `T3`.
    tier: str
    #: What that lets it do, in one word: shadow, advise, bounded, full.
    tier_name: str
    #: What it wants done, for example `power_cap`.
    verb: str


class PostBrainsBrainVerbTierBody(TypedDict):
    """A person sets what a brain may do with a verb."""

    #: Why; it is journaled.
    reason: str
    #: `T0` to `T3`.
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassSentView(Model):
    """What became of a break-glass token on one of the nodes that a hub sent it to."""

    #: The command that carried it, for the record.
    command: CommandId | None = None
    #: For people.
    detail: str
    #: Which node.
    node: AgentId
    #: `done`, `refused`, `waiting`, or `unreached`: it was not sent.
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView(Model):
    """A cluster, for people."""

    #: The context of that file; the current one if empty.
    context: str
    #: What is wrong; empty if nothing is.
    detail: str
    #: Where its credentials come from: a file on the hub, or `in-cluster`.
    kubeconfig: str
    #: Its labels: (name, value).
    labels: list[tuple[str, str]]
    #: Verbs that its credentials do not allow and the hub needs.
    missing_permissions: list[str]
    #: Its name.
    name: str
    #: Namespace of deployments that name none.
    namespace: str
    #: What an hour costs there, in millionths of the currency: of a GPU of a model, of a core (`cpu`), of a GiB (`memory`).
    prices: dict[str, int]
    #: Address of its Prometheus.
    prometheus: str | None
    #: Since when it is registered.
    registered_at: datetime
    #: `ready`, `not_ready`, `forbidden` or `unreachable`.
    status: str
    #: Its version; empty while it was not reached.
    version: str


class PostClustersBody(TypedDict):
    """What registers a cluster."""

    #: Which context of it.
    context: NotRequired[str]
    #: A kubeconfig file on the hub's machine; absent for the service account of the pod that the hub runs in.
    kubeconfig: NotRequired[str | None]
    #: Its labels.
    labels: NotRequired[list[list[str]]]
    #: Our name for it.
    name: str
    #: Namespace of deployments that name none.
    namespace: NotRequired[str]
    #: What an hour costs there, in millionths of the currency: of a GPU of a model, of a core (`cpu`), of a GiB (`memory`).
    prices: NotRequired[dict[str, int]]
    #: Address of the Prometheus that knows its workloads, such as `http://prometheus.internal:9090`.
    prometheus: NotRequired[str | None]


class PostCommandsIdCancelBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerView(Model):
    """How one consumer of everything that arrives stands."""

    #: Entries delivered since the hub started.
    delivered: int
    #: Why the last try failed; `None` after one that did not.
    error: str | None
    #: Tries that failed since the hub started.
    failures: int
    #: Entries that are durable here and not there; `None` for one that follows no journal.
    lag_entries: int | None
    #: How long the oldest of them has been durable here.
    lag_seconds: float | None
    #: Its name: `kafka`, `otlp-logs`, `webhook:NAME`.
    name: str
    #: Where what it is sent goes.
    target: str
    #: Whether what is sent arrives; `None` before the first try.
    up: bool | None


#: Milliseconds on an agent's (or hub's) own time line, which only ever moves forward. The shell makes it from the boot clock and carries it over
#: restarts, so a budget or a cooldown written before a crash still means the same after it. Two machines' values are not comparable.
Mono: TypeAlias = int


@dataclass(frozen=True, slots=True, kw_only=True)
class Now(Model):
    """The one clock input of every core: both times, taken together by the shell."""

    #: Orders, measures, expires.
    mono: Mono
    #: For people.
    wall: datetime


#: A bundle's number. It only ever grows; an agent that has stored a floor refuses anything below it.
Generation: TypeAlias = int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRef(Model):
    """Names one bundle."""

    #: BLAKE3 of the payload bytes.
    digest: Digest
    #: Its number.
    generation: Generation


#: What an agent believes of its wall clock.
ClockState: TypeAlias = Literal["steady", "stepped", "behind_floor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Model):
    """One number that a rule judged besides readings: a count in a window, a time since, a limit of the device."""

    #: Which of the rule's numbers, for example `count`, `since_ms`, `failures`.
    name: str
    #: The rule that asked for it, or `device` for what a device reports of itself.
    rule: str
    #: The number.
    value: int


#: The incarnation of a hub's store. It grows when the hub finds that it was restored from an older copy; agents follow the highest they have seen and
#: refuse commands under a lower one.
HubEpoch: TypeAlias = int


class OriginRuleRule(TypedDict):
    """`OriginRuleRule` as it travels."""

    #: The rule's id.
    rule: str


class OriginRule(TypedDict):
    """A rule of the active bundle."""

    rule: OriginRuleRule


class OriginClearedCleared(TypedDict):
    """`OriginClearedCleared` as it travels."""

    #: The rule's id.
    rule: str


class OriginCleared(TypedDict):
    """The same rule, after its condition cleared: the undo of what it did."""

    cleared: OriginClearedCleared


class OriginCommandCommand(TypedDict):
    """`OriginCommandCommand` as it travels."""

    #: The command's id.
    id: CommandId
    #: Why, in their words.
    reason: str
    #: Who asked.
    who: str


class OriginCommand(TypedDict):
    """A person or program, through the hub."""

    command: OriginCommandCommand


class OriginLocalLocal(TypedDict):
    """`OriginLocalLocal` as it travels."""

    #: Why, in their words.
    reason: str
    #: Who asked, as the socket's peer credentials say.
    who: str


class OriginLocal(TypedDict):
    """A person at the node's own socket."""

    local: OriginLocalLocal


class OriginPlanPlan(TypedDict):
    """`OriginPlanPlan` as it travels."""

    #: No person sent the plan.
    brain: bool
    #: The command's id.
    id: CommandId
    #: Which plan.
    plan: PlanId
    #: Why, in the plan's words.
    reason: str
    #: Which of its steps, from 0.
    step: int
    #: It takes back what the step did.
    undo: bool
    #: Who sent it.
    who: str


class OriginPlan(TypedDict):
    """A step of a plan, through the hub: taken and judged like any command."""

    plan: OriginPlanPlan


class OriginFaultFault(TypedDict):
    """`OriginFaultFault` as it travels."""

    #: Which fault: `xid 79`.
    code: str


class OriginFault(TypedDict):
    """The agent's own ladder against faults."""

    fault: OriginFaultFault


#: Who wants an action. The order is part of the wire format: add at the end only.
Origin: TypeAlias = OriginRule | OriginCleared | OriginCommand | OriginLocal | OriginPlan | OriginFault


#: what is measured, as in the list of quantities
Quantity: TypeAlias = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series(Model):
    """One line of measurements: this quantity of this device."""

    #: Which part of the node.
    device: DeviceId
    #: What of it.
    quantity: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(Model):
    """A reading as a decision saw it."""

    #: How old it was, in milliseconds; `None` when there never was one.
    age_ms: int | None
    #: For how long the rule's condition had held, in milliseconds.
    held_ms: int
    #: What was measured.
    series: Series
    #: The value, or `None` when the sensor could not say.
    value: int | None


class ActionKindPowerCapPowerCap(TypedDict):
    """`ActionKindPowerCapPowerCap` as it travels."""

    #: The limit, in thousandths of a watt.
    milliwatts: int


class ActionKindPowerCap(TypedDict):
    """Limit a GPU's power."""

    power_cap: ActionKindPowerCapPowerCap


class ActionKindThrottleThrottle(TypedDict):
    """`ActionKindThrottleThrottle` as it travels."""

    #: Share of one core in hundredths of a percent, 100..=10,000.
    share_bp: int


class ActionKindThrottle(TypedDict):
    """Leave a process only this share of one core (cgroup `cpu.max` where there is one, else a lower priority)."""

    throttle: ActionKindThrottleThrottle


class ActionKindNotifyNotify(TypedDict):
    """`ActionKindNotifyNotify` as it travels."""

    #: What to tell them.
    message: str


class ActionKindNotify(TypedDict):
    """Tell people, and change nothing."""

    notify: ActionKindNotifyNotify


class ActionKindLockClocksLockClocks(TypedDict):
    """`ActionKindLockClocksLockClocks` as it travels."""

    #: The greatest clock, MHz.
    max_mhz: int


class ActionKindLockClocks(TypedDict):
    """Keep a GPU's SM clock at or below this."""

    lock_clocks: ActionKindLockClocksLockClocks


#: What to do. The order is part of the wire format: add at the end only.
ActionKind: TypeAlias = (
    Literal["release_power_cap", "restart", "unthrottle", "unlock_clocks", "cordon", "uncordon", "drain", "reset_gpu", "reboot"] |
    ActionKindPowerCap | ActionKindThrottle | ActionKindNotify | ActionKindLockClocks
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Model):
    """What to do, to what."""

    #: What.
    kind: ActionKind
    #: To which part of the node.
    target: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs(Model):
    """Everything that a judgement depends on besides the bundle."""

    #: When.
    at: Now
    #: The bundle it was judged by.
    bundle: BundleRef
    #: What the agent believed of its wall clock.
    clock: ClockState
    #: Whether a session with a hub was up.
    connected: bool
    #: The other numbers, in the order of the bundle's rules.
    facts: list[Fact]
    #: The person who holds the node, if one does.
    held_by: str | None
    #: The highest hub epoch the agent had seen.
    hub_epoch: HubEpoch
    #: Whether the journal accepted entries.
    journal_ok: bool
    #: Who wants it.
    origin: Origin
    #: How old the proof of the bundle's freshness was, in milliseconds of running time.
    policy_age_ms: int
    #: The readings that the origin's rule looked at.
    readings: list[Observed]
    #: What is wanted.
    wanted: Action


#: What an agent may still do at the age of its policy. Ordered from everything to nothing.
Authority: TypeAlias = Literal["full", "reversible", "protective", "observe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative(Model):
    """Something that was considered and not done."""

    #: What.
    action: Action
    #: Why not.
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(Model):
    """The answer to [`Inputs`]."""

    #: The step of the authority ladder in force.
    authority: Authority
    #: Every comparison made, in order.
    clauses: list[Clause]
    #: What runs: the wanted action, or a clamped one. `None` unless the verdict runs.
    granted: Action | None
    #: What else was considered.
    rejected: list[Alternative]
    #: For a hold, how long until it is worth asking again, in milliseconds.
    retry_after_ms: int | None
    #: The rule that gave it, or the rule that wanted the action when all allow.
    rule: str
    #: How long the grant may wait for its turn, in milliseconds from [`Inputs::at`]. Later it must be judged again.
    valid_for_ms: int
    #: The worst verdict of all enforcing rules.
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Model):
    """One judgement and everything it was made from."""

    #: What was known.
    inputs: Inputs
    #: What followed.
    judgement: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeView(Model):
    """One outcome."""

    #: Read back after.
    after: int | None
    #: When.
    at: datetime
    #: Before.
    before: int | None
    #: For people.
    detail: str
    #: Found by a probe after a crash.
    probed: bool
    #: The word.
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionDetail(Model):
    """Everything about one decision."""

    #: Inputs and judgement.
    decision: Decision
    #: The explanation that `why` prints.
    explanation: str
    #: What came of it, oldest first.
    outcomes: list[OutcomeView]
    #: The entry before it in the chain.
    prev: Digest
    #: As in the list.
    summary: DecisionView


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView(Model):
    """The result of recomputing a decision."""

    #: The bundle it was recomputed with.
    bundle: BundleRef
    #: Where they differ, for people; empty when identical.
    differences: list[str]
    #: Which.
    id: DecisionId
    #: The recomputed judgement has the same bytes.
    identical: bool
    #: Digest of the recomputed one.
    recomputed: Digest
    #: Digest of the recorded judgement.
    recorded: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView(Model):
    """A deployment, for people."""

    #: Which cluster.
    cluster: str
    #: What of it is not as the hub's last change left it, each with the field manager that changed it.
    drift: list[str]
    #: Image of its first container.
    image: str
    #: Its name.
    name: str
    #: In which namespace.
    namespace: str
    #: Replicas that are ready.
    ready: int
    #: Its revision.
    revision: int | None
    #: `running`, `scaling`, `updating`, `pending`, `failed` or `unknown`.
    status: str
    #: `training`, `inference` or `batch`; empty where nobody has said.
    type: str
    #: Replicas of the newest revision.
    updated: int
    #: Replicas that are wanted.
    wanted: int


class ChangeOutcomeAcceptedAccepted(TypedDict):
    """`ChangeOutcomeAcceptedAccepted` as it travels."""

    #: For people.
    detail: str


class ChangeOutcomeAccepted(TypedDict):
    """The cluster has taken it; its pods follow."""

    accepted: ChangeOutcomeAcceptedAccepted


class ChangeOutcomeRefusedRefused(TypedDict):
    """`ChangeOutcomeRefusedRefused` as it travels."""

    #: For people, with the way out.
    reason: str


class ChangeOutcomeRefused(TypedDict):
    """The cluster did not do it."""

    refused: ChangeOutcomeRefusedRefused


class ChangeOutcomeUnknownUnknown(TypedDict):
    """`ChangeOutcomeUnknownUnknown` as it travels."""

    #: For people.
    reason: str


class ChangeOutcomeUnknown(TypedDict):
    """The answer was lost: it may have happened. Read the deployment before anything else."""

    unknown: ChangeOutcomeUnknownUnknown


#: What came of a change.
ChangeOutcome: TypeAlias = ChangeOutcomeAccepted | ChangeOutcomeRefused | ChangeOutcomeUnknown


class PostDeploymentsClusterNamespaceNameBodyChangeCreateCreate(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangeCreateCreate` as it travels."""

    #: Its image.
    image: str
    #: Its replicas.
    replicas: int


class PostDeploymentsClusterNamespaceNameBodyChangeCreate(TypedDict):
    """Make it."""

    create: PostDeploymentsClusterNamespaceNameBodyChangeCreateCreate


class PostDeploymentsClusterNamespaceNameBodyChangeScaleScale(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangeScaleScale` as it travels."""

    #: How many.
    replicas: int


class PostDeploymentsClusterNamespaceNameBodyChangeScale(TypedDict):
    """Another number of replicas; 0 is a number."""

    scale: PostDeploymentsClusterNamespaceNameBodyChangeScaleScale


class PostDeploymentsClusterNamespaceNameBodyChangeRestartRestart(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangeRestartRestart` as it travels."""

    #: Marks this restart: the same mark again does nothing.
    mark: str


class PostDeploymentsClusterNamespaceNameBodyChangeRestart(TypedDict):
    """Replace all pods."""

    restart: PostDeploymentsClusterNamespaceNameBodyChangeRestartRestart


class PostDeploymentsClusterNamespaceNameBodyChangeRollBackRollBack(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangeRollBackRollBack` as it travels."""

    #: Its number; 0 for the one before the newest.
    revision: int


class PostDeploymentsClusterNamespaceNameBodyChangeRollBack(TypedDict):
    """Go back to a revision."""

    roll_back: PostDeploymentsClusterNamespaceNameBodyChangeRollBackRollBack


class PostDeploymentsClusterNamespaceNameBodyChangeSetImageSetImage(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangeSetImageSetImage` as it travels."""

    #: The image.
    image: str


class PostDeploymentsClusterNamespaceNameBodyChangeSetImage(TypedDict):
    """Another image."""

    set_image: PostDeploymentsClusterNamespaceNameBodyChangeSetImageSetImage


class PostDeploymentsClusterNamespaceNameBodyChangeDeployDeployDemand(TypedDict):
    """What each takes and demands of its node."""

    #: CPU in thousandths of a core.
    cpu_milli: NotRequired[int]
    #: All replicas or none, and all of them in one topology domain.
    gang: NotRequired[bool]
    #: Instead of whole ones a share of one GPU, in thousandths: 1 to 999; 0 for none.
    gpu_share: NotRequired[int]
    #: Whole GPUs.
    gpus: NotRequired[int]
    #: Labels that the node must carry: (name, value).
    labels: NotRequired[list[list[str]]]
    #: Memory in MiB.
    memory_mib: NotRequired[int]
    #: GPU models (SKUs) of which one will do; none: any will do.
    models: NotRequired[list[str]]


class PostDeploymentsClusterNamespaceNameBodyChangeDeployDeploy(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangeDeployDeploy` as it travels."""

    #: What each takes and demands of its node.
    demand: PostDeploymentsClusterNamespaceNameBodyChangeDeployDeployDemand
    #: The extended resource that counts its GPUs there; empty without GPUs.
    gpu_resource: str
    #: Its image.
    image: str
    #: What kind of work it is; empty: not said.
    kind: str
    #: The only nodes that will do; empty for any.
    nodes: list[str]
    #: Its replicas.
    replicas: int


class PostDeploymentsClusterNamespaceNameBodyChangeDeploy(TypedDict):
    """Make it where it was placed."""

    deploy: PostDeploymentsClusterNamespaceNameBodyChangeDeployDeploy


class PostDeploymentsClusterNamespaceNameBodyChangePinPin(TypedDict):
    """`PostDeploymentsClusterNamespaceNameBodyChangePinPin` as it travels."""

    #: Their names; empty for any.
    nodes: list[str]


class PostDeploymentsClusterNamespaceNameBodyChangePin(TypedDict):
    """Let its pods run on these nodes only."""

    pin: PostDeploymentsClusterNamespaceNameBodyChangePinPin


PostDeploymentsClusterNamespaceNameBodyChange: TypeAlias = (
    Literal["delete"] | PostDeploymentsClusterNamespaceNameBodyChangeCreate | PostDeploymentsClusterNamespaceNameBodyChangeScale |
    PostDeploymentsClusterNamespaceNameBodyChangeRestart | PostDeploymentsClusterNamespaceNameBodyChangeRollBack |
    PostDeploymentsClusterNamespaceNameBodyChangeSetImage | PostDeploymentsClusterNamespaceNameBodyChangeDeploy |
    PostDeploymentsClusterNamespaceNameBodyChangePin
)


class PostDeploymentsClusterNamespaceNameBody(TypedDict):
    """A change of a deployment as it is asked for."""

    #: What.
    change: PostDeploymentsClusterNamespaceNameBodyChange
    #: Why; it is journaled.
    reason: str


class PostDeploymentsClusterNamespaceNameRollbackBody(TypedDict):
    """What takes a deployment back."""

    reason: str
    #: The revision before the newest without.
    revision: NotRequired[int | None]


class PostDeploymentsClusterNamespaceNameScaleBody(TypedDict):
    """What scales a deployment."""

    reason: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView(Model):
    """A member of a domain that may touch it, or does."""

    #: An action that stops somebody's work is under way.
    acts: bool
    #: For how long it has had its turn; `None` if it acts without one.
    for_seconds: float | None
    #: Which.
    node: AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowView(Model):
    """What one rule has given in its window."""

    #: In how long there is room for one more; `None` if there is now, or if that depends on who has a turn.
    free_in_seconds: float | None
    #: Turns given in the window that ends now.
    given: int
    #: At most so many.
    limit: int
    #: The rule.
    rule: str
    #: The window's length.
    window_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainView(Model):
    """What nodes have in common, as rules of kind `blast_radius` and rates over nodes count it."""

    #: The domain as rules name it: `rack`, `site`, or one by name, `rack:r7`.
    domain: str
    #: Whether a rule in mode enforce counts it, so that its members need a turn.
    gives_turns: bool
    #: Healthy members that are being touched, have their turn, or have not yet said how they stand.
    in_flight: int
    #: Nodes that share it and are not denied.
    members: int
    #: Members that became unhealthy in the last five minutes.
    newly_faulty: int
    #: Members that have their turn or act without one.
    turns: list[TurnView]
    #: Members that are away, or say that they are not healthy.
    unhealthy: int
    #: Which: the label's value that its members share.
    value: str
    #: Members that wait for their turn, in the order of waiting.
    waiting: list[AgentId]
    #: How many turns rules have given in their windows.
    windows: list[WindowView]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView(Model):
    """An entry in a list."""

    #: When, by the node's wall clock.
    at: datetime
    #: Digest of its bytes.
    digest: Digest
    #: Epoch.
    epoch: Epoch
    #: `decision`, `outcome`, `event` or `gap`.
    kind: str
    #: Whose.
    node: AgentId
    #: Digest of the entry before it.
    prev: Digest
    #: Place.
    seq: Seq
    #: One line for people.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent(Model):
    """Something that arrived (CloudEvents 1.0)."""

    #: What the entry says.
    data: Any
    datacontenttype: Literal["application/json"]
    #: The same for the same entry, whoever delivers it.
    id: str
    #: Where to go on after it.
    sentinelcursor: str
    #: Whose journal: `/nodes/NAME`, or `/hub`.
    source: str
    specversion: Literal["1.0"]
    #: The entry.
    subject: str
    #: When, by the clock of whoever made the entry: RFC 3339.
    time: str
    #: What kind of thing, with a version.
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenView(Model):
    """A limit that is foreseen."""

    #: It will have been reached by then …
    by_seconds: float
    #: … with this chance …
    chance: float
    #: … counted from so many past errors at that distance.
    errors: int
    #: It is expected to be reached after this time.
    in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastPointView(Model):
    """A forecast at one distance."""

    #: How far ahead.
    ahead_seconds: float
    #: Above this lie 5 % of values.
    high: int
    #: Below this lie 5 % of values.
    low: int
    #: Below this lies half of them.
    middle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastView(Model):
    """How what the embedded brain watches of a device goes on: the temperature of a GPU, the use of a file system."""

    #: End of the readings that it rests on, by the node's clock.
    at: datetime
    #: Of which device.
    device: DeviceId
    #: The limit, if it is foreseen.
    foreseen: ForeseenView | None = None
    #: The value that must not be reached: where the rules in force act.
    limit: int
    #: Of which node.
    node: AgentId
    #: The measured distances ahead, in order.
    points: list[ForecastPointView]
    #: What.
    quantity: Quantity
    #: In what unit the values are.
    unit: Unit


class PostLoginBodyCode(TypedDict):
    """A link."""

    #: The code after `#login=`.
    code: str


class PostLoginBody(TypedDict):
    """A person."""

    #: The password.
    password: str
    #: The name.
    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLinkView(Model):
    """A one-time link."""

    #: When it ends if nobody opens it.
    ends: datetime
    #: The whole link.
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassView(Model):
    """A break-glass token that is open on a node."""

    #: Who signed it.
    approvers: list[str]
    #: The kinds of action that it is for, by name.
    kinds: list[str]
    #: For how much longer it is open.
    left_seconds: float
    #: Which node.
    node: AgentId
    #: Its number.
    number: int
    #: Why; only in the answer to its opening: later the journal tells it.
    reason: str | None = None
    #: Devices or classes of devices that it is for; all if empty.
    targets: list[str]
    #: When it is over, by the node's wall clock; it counts down by running time.
    until: datetime


class ClockErrorWithinMs(TypedDict):
    """By at most so many milliseconds."""

    within_ms: int


#: By how much a node's wall clock may differ from its hub's.
ClockError: TypeAlias = Literal["not_compared"] | ClockErrorWithinMs


#: What should be done about a fault. The order is part of the wire format: add at the end only.
NextStep: TypeAlias = (
    Literal["record", "restart_work", "drain_and_reset", "drain_and_reboot", "reset_when_idle", "check_link", "update_software", "inspect",
    "ask_person", "follow_driver"]
)


#: How bad a fault is. The order is part of the wire format: add at the end only.
Severity: TypeAlias = Literal["info", "low", "medium", "high", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultView(Model):
    """A fault of a device, once for as long as it lasts."""

    #: The same as a sentence's end.
    advice: str
    #: When it was seen last.
    at: datetime
    #: Its short name: `xid 79`, `oom`, `fs error`.
    code: str
    #: How often it was seen.
    count: int
    #: Which device: `gpu0`, `node`, `pci:0000:17:00`.
    device: DeviceId
    #: The entry that says so: its epoch.
    epoch: Epoch
    #: The line or value that shows it, as seen last.
    evidence: str
    #: What it means.
    meaning: str
    #: What should be done, as a word.
    next: NextStep
    #: When the device was well again; `None`: it is not, as far as is known.
    over_at: datetime | None = None
    #: Its place.
    seq: Seq
    #: How bad.
    severity: Severity
    #: When it was seen first, as far as the entries go that were looked through.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuView(Model):
    """A GPU's latest values."""

    #: Its id on the node.
    id: DeviceId
    #: What it is.
    model: str
    #: Power cap in force.
    power_cap_watts: float | None
    #: The power caps that it may be asked for, least and greatest.
    power_caps_watts: tuple[float, float] | None
    #: Power.
    power_watts: float | None
    #: The profile that bounds it, for example `nvidia-l40s`; none if there is none of its model.
    profile: str | None
    #: A program plays it.
    simulated: bool
    #: Core temperature.
    temperature_celsius: float | None
    #: Utilisation.
    used_ratio: float | None


#: How far a cut goes, by what a node and its neighbours see.
Isolation: TypeAlias = Literal["node", "site", "unknown", "hub"]


#: How an agent stands with the hub. The order is part of the wire format: add at the end only.
Reach: TypeAlias = Literal["direct", "carried", "alone"]


#: What traffic to the hub costs. Ordered: the cheaper way is taken. The order is part of the wire format: add at the end only.
Uplink: TypeAlias = Literal["unmetered", "metered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourView(Model):
    """A neighbour, as a node sees it."""

    #: How long ago something came from it; `None`: never.
    age_seconds: float | None
    #: What that age still lets it do.
    authority: Authority | None = None
    #: Bytes of those.
    carried_bytes: int
    #: Packets that were carried for it since this node's start.
    carried_packets: int
    #: A session by way of it was lost although the hub had answered by way of it: it is tried last for a while.
    doubted: bool
    #: Packets of it that were dropped, because it had its share, was not known well enough, or is behind too small a path.
    dropped_packets: int
    #: The generation of the policy that it says it holds; 0: none.
    generation: int
    #: How many neighbours stand between it and the hub.
    hops: int
    #: It knows that the hub itself is away.
    hub_away: bool
    #: The round trip of its own session with the hub, in microseconds; 0 without one.
    hub_rtt_seconds: float
    #: Whether there is a session with it. What else is said of one that is out of touch is what it said last.
    in_touch: bool
    #: Packets to it that were lost, of a thousand.
    lost_ratio: float
    #: Its name.
    name: AgentId
    #: Age of its policy's proof of freshness; told of one that has no session with the hub.
    policy_age_seconds: float | None = None
    #: How it says that it stands with the hub.
    reach: Reach
    #: The round trip to it, in microseconds.
    rtt_seconds: float
    #: Its site; empty before it has said so.
    site: str
    #: Carried packets of full size do not fit into the local path to it: neither carries the other.
    too_narrow: bool
    #: What traffic to the hub costs at the end of its way.
    uplink: Uplink
    #: The neighbour that carries it, if one does.
    via: AgentId | None = None


#: The four words for a node.
NodeState: TypeAlias = Literal["connected", "working_alone", "unknown", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadView(Model):
    """A supervised process's latest values."""

    #: CPU as a share of one core.
    cpu_ratio: float | None
    #: Its id on the node.
    id: DeviceId
    #: Resident memory in bytes.
    memory_bytes: int | None
    #: Its process id, if it runs.
    pid: int | None
    #: Restarts.
    restarts: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView(Model):
    """A node, as of `last_seen`."""

    #: How long ago that was, by the answering process's own clock.
    age_seconds: float | None
    #: What the age of its policy still lets it do.
    authority: Authority
    #: Entries that it has made and the hub has not stored.
    backlog_entries: int
    #: The break-glass token that is open on it; a hub knows it of connected nodes.
    break_glass: GlassView | None = None
    #: End of its certificate.
    certificate_ends: datetime | None
    #: What it believes of its wall clock.
    clock: ClockState
    #: By how much that clock may differ from the hub's; `None`: it has not told since the hub's start.
    clock_error: ClockError | None = None
    #: Node-wide CPU use.
    cpu_used_ratio: float | None
    #: Present epoch of its journal.
    epoch: Epoch
    #: Faults of its devices in the recent past, open ones first; only in the answer for a single node.
    faults: list[FaultView] | None = None
    #: What is not as it should be, one sentence each: broken limits, protection that is held back, parts that do not work. Of a node that is away,
    #: what it said last.
    findings: list[str]
    #: GPUs, with their latest values.
    gpus: list[GpuView]
    #: The person who holds it.
    held_by: str | None
    #: How far a cut goes, as the node sees it; only the node itself says so, and only while its own path does not work.
    isolation: Isolation | None = None
    #: Bytes that its journal occupies.
    journal_bytes: int
    #: Bytes that it may occupy.
    journal_limit_bytes: int
    #: Whether the journal accepts entries.
    journal_ok: bool
    #: What it has in common with others, for rules that select by it and domains that are counted by it.
    labels: dict[str, str]
    #: Its last decision, for the fleet table.
    last_decision: DecisionView | None
    #: Its last five, newest first; only in the answer for a single node.
    last_decisions: list[DecisionView]
    #: The last frame of it that the hub received; on the node itself, now.
    last_seen: datetime | None
    #: Node-wide memory use.
    memory_used_ratio: float | None
    #: Its name.
    name: AgentId
    #: The other members of its site as it last heard of them; only the node itself says so.
    neighbours: list[NeighbourView] | None = None
    #: When the next, lower step comes if nothing fresh arrives.
    next_authority_in_seconds: float | None
    #: The same, and who carries that one: from the node to the hub, two at most.
    path: list[AgentId] | None = None
    #: Age of the proof that this bundle is fresh.
    policy_age_seconds: float
    #: Digest of its active bundle.
    policy_digest: Digest
    #: Generation of its active bundle.
    policy_generation: Generation
    #: Last entry that it is known to have made.
    produced: Seq
    #: Quarantined by the hub itself, and why.
    quarantined: str | None
    #: How often it had to rejoin by its node key.
    rejoins: int
    #: Shut out by a person, and why.
    shut_out: str | None = None
    #: Its site.
    site: str
    #: How it stands with the hub.
    state: NodeState
    #: Since when.
    state_since: datetime | None
    #: Last entry of that epoch that the hub holds.
    stored: Seq
    #: Milliseconds between telemetry samples.
    telemetry_interval_seconds: float
    #: The node that tells of it, if neither it nor the hub does: what a neighbour says of another is what it heard of it, and the rest is not known.
    told_by: AgentId | None = None
    #: Why it is not healthy by its own word.
    unhealthy: str | None
    #: Protective actions not yet recorded.
    unrecorded_actions: int
    #: Version of its program.
    version: str
    #: The neighbour of its site that carries its session with the hub, while its own path does not.
    via: AgentId | None = None
    #: An action of it waits until it is its turn in a domain.
    waits_for_turn: bool
    #: Supervised processes, with their latest values.
    workloads: list[WorkloadView]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityView(Model):
    """How a node stands at the door, after somebody has changed it."""

    #: Who decided it.
    by: str | None
    #: Its name.
    name: AgentId
    #: Why it is shut out.
    reason: str | None
    #: Its new name, if it was renamed.
    renamed_to: AgentId | None
    #: When.
    since: datetime | None
    #: Its site.
    site: str
    #: `open`, `denied`, `quarantined`, `removed` or `renamed`.
    state: str


class PostNodesNameAllowBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


class PostNodesNameDenyBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


class PostNodesNameHoldBody(TypedDict):
    """A person takes a node into their own hands, or gives it back."""

    #: Why. Not empty.
    reason: str
    #: How long it may wait for a node that is away; an hour if absent.
    valid_for_seconds: NotRequired[float | None]
    #: How long the answer may wait for the node; if absent half a minute for a connected node, and not at all for another.
    wait_seconds: NotRequired[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView(Model):
    """A join token. It is shown once and not kept."""

    #: Where agents reach the hub: `HOST:PORT`, UDP.
    address: str
    #: Pin of the hub's CA.
    ca_pin: str
    #: When it ends.
    ends: datetime
    #: The whole line to type on the new node.
    join_line: str
    #: The token.
    token: str


class PostNodesNameRejoinBody(TypedDict):
    """Give a node's name and history to a machine with other keys."""

    #: Why. Not empty.
    reason: str
    #: How long the token can be used.
    ttl_seconds: NotRequired[float]


class PostNodesNameReleaseBody(TypedDict):
    """A person takes a node into their own hands, or gives it back."""

    #: Why. Not empty.
    reason: str
    #: How long it may wait for a node that is away; an hour if absent.
    valid_for_seconds: NotRequired[float | None]
    #: How long the answer may wait for the node; if absent half a minute for a connected node, and not at all for another.
    wait_seconds: NotRequired[float | None]


class PostNodesNameRemoveBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


class PostNodesNameRenameBody(TypedDict):
    """Give a node another name."""

    #: Why. Not empty.
    reason: str
    #: The new name.
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlacementView(Model):
    """What a node says."""

    #: The name that an agent on it has, whether there is one or not.
    agent: str
    #: What fails together with it.
    domain: str
    #: Free CPU in thousandths of a core.
    free_cpu_milli: int
    #: What is free of all GPUs together, in thousandths of one.
    free_gpu_milli: int
    #: GPUs of which nothing is taken.
    free_gpus: int
    #: Free memory in MiB.
    free_memory_mib: int
    #: It goes there.
    is_chosen: bool
    #: Model of its GPUs.
    model: str
    #: Its name.
    name: str
    #: Why it cannot; empty if it can.
    why_not: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlacementView(Model):
    """What a cluster says."""

    #: It goes there.
    is_chosen: bool
    #: Its name.
    name: str
    #: What every node says: those that it goes to first, then those that could.
    nodes: list[NodePlacementView]
    #: How long ago it told its nodes, in milliseconds.
    told_ms_ago: int | None
    #: Why not; empty if it does.
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementView(Model):
    """Where something would go."""

    #: The cluster that it would go to; absent: nowhere.
    cluster: str | None
    #: What every cluster says.
    clusters: list[ClusterPlacementView]
    #: What each replica takes and demands, in words.
    demand: str
    #: The nodes there.
    nodes: list[str]
    #: What it would cost in an hour, in millionths of the currency; absent where nobody has said what things cost there.
    price_micros_per_h: int | None
    #: How many replicas.
    replicas: int
    #: Why nowhere; empty if somewhere.
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView(Model):
    """A rule in a list."""

    #: Its id.
    id: str
    #: Its kind.
    kind: str
    #: `enforce`, `shadow` or `off`.
    mode: str
    #: One line for people.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView(Model):
    """The active bundle, and how far it has come."""

    #: It is the newest.
    active: bool
    #: Its digest.
    digest: Digest
    #: Its number.
    generation: Generation
    #: When it was signed.
    issued_at: datetime
    #: Its name, from the text.
    name: str
    #: Nodes on which it is active.
    nodes: int
    #: All nodes.
    nodes_total: int
    #: Its rules.
    rules: list[RuleView]
    #: The text as a person wrote it.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishView(Model):
    """A bundle was published."""

    #: What it is now.
    bundle: BundleRef
    #: All nodes that should get it.
    nodes_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleProblem(Model):
    """One thing that is wrong with a bundle's text."""

    #: Column, from 1; 0 if it has no place.
    column: int
    #: The field, for example `rules[2].for`.
    field: str
    #: Line, from 1; 0 if it has no place.
    line: int
    #: What is wrong, and what would be right.
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView(Model):
    """What is wrong with a bundle's text, or nothing."""

    #: What is wrong.
    errors: list[BundleProblem]
    #: Its indicators, one line for people each; absent from older hubs.
    indicators: list[str]
    #: Its meters, the same.
    meters: list[str]
    #: It can be published.
    ok: bool
    #: Its rules, if it can be read.
    rules: list[RuleView]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesView(Model):
    """Role documents were accepted."""

    #: The hub has a key of the beacon role in force; absent from older hubs.
    signs_beacons: bool | None = None
    #: The hub has a key that alone may sign bundles; absent from older hubs.
    signs_bundles: bool | None = None
    #: Version of the newest.
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedView(Model):
    """One stored decision that a draft would have made otherwise."""

    #: Name of the wanted action.
    action: str
    #: When, by the node's wall clock.
    at: datetime
    #: Which.
    id: DecisionId
    #: As the draft decides it.
    new: Verdict
    #: Whose.
    node: AgentId
    #: As it was decided.
    old: Verdict
    #: The rule that determined the draft's verdict.
    rule: str
    #: On what.
    target: DeviceId
    #: What differs, for people.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyDraftView(Model):
    """Something that only a draft would have wanted, once or again and again. The readings are those of the day: what the draft's action would
    have changed, they do not show.
    """

    #: Name of the wanted action.
    action: str
    #: When for the first time, by the node's wall clock.
    at: datetime
    #: The rule that determines the verdict, or whose number is not known.
    by: str
    #: Where.
    node: AgentId
    #: The first reading that it came from.
    reading: Observed | None
    #: The draft's rule that would have wanted it.
    rule: str
    #: On what.
    target: DeviceId
    #: Why, for people.
    text: str
    #: How often.
    times: int
    #: The rule would have taken back what it had done.
    undo: bool
    #: When for the last time; the same if it was wanted once.
    until: datetime
    #: What the draft would have said; absent where it asks for a number that was not recorded.
    verdict: Verdict | None
    #: The action in full, for people.
    wanted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedReadingsView(Model):
    """Stored readings that a draft and the policy in force were shown, each with a count of its own of what had run."""

    #: Generations of the policies that were in force at the nodes, which the draft was compared with; 0 where there was none.
    compared_with: list[Generation]
    #: Gaps between them; what had held before one begins anew after it.
    gaps: int
    #: Nodes with stored readings.
    nodes: int
    #: Which of them this hub does not have, and what stood for them; absent if it has all.
    replaced: str | None = None
    #: Samples.
    samples: int
    #: Samples 10 s or more after the one before: rules that ask how long something held see nothing there.
    sparse: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateView(Model):
    """What a draft would have decided otherwise."""

    #: Decisions that were compared.
    considered: int
    #: Why not everything since then was looked at, and the way out; absent if everything was.
    cut: str | None = None
    #: How many of them would come out otherwise.
    differ: int
    #: The decisions that would come out otherwise, oldest first; at most 500.
    items: list[SimulatedView]
    #: How many more could not be compared: unreadable, or the draft asks for a number that was not recorded with them.
    not_replayable: int
    #: What the draft would have wanted of the stored readings, and the policy in force would not, oldest first; at most 500.
    only_draft: list[OnlyDraftView]
    #: How many of them there are.
    only_draft_total: int
    #: Which readings that is about.
    readings: SimulatedReadingsView
    #: From when on decisions were compared.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCountsView(Model):
    """How often each verdict was given."""

    #: As wanted.
    allow: int
    #: Within narrower limits.
    clamp: int
    #: No.
    deny: int
    #: Not now.
    hold: int
    #: Not without a person.
    require_approval: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCountsView(Model):
    """Decisions that were made by one policy and are stored."""

    #: How many.
    considered: int
    #: Older ones are stored and were not counted.
    cut: bool
    #: What a rule that is only tried out would have refused, and ran.
    shadow_would_refuse: int
    #: The oldest of them.
    since: datetime | None
    #: The newest of them.
    until: datetime | None
    #: By verdict.
    verdicts: VerdictCountsView


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyNodeView(Model):
    """How one node stands to a policy."""

    #: What the age of its policy still lets it do.
    authority: Authority
    #: Generation that it judges by.
    generation: Generation
    #: It judges by this policy.
    has_it: bool
    #: Which node.
    node: AgentId
    #: Age of the proof that this one is fresh.
    policy_age_seconds: float
    #: How it stands with the hub.
    state: NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCountsView(Model):
    """A rule, and what it decided."""

    #: Decisions that it determined, or wanted when none objected, by verdict.
    decided: VerdictCountsView
    #: Its id.
    id: str
    #: Its kind.
    kind: str
    #: `enforce`, `shadow` or `off`.
    mode: str
    #: Who answers for it.
    owner: str
    #: One line for people.
    text: str
    #: The reason that its author gave.
    why: str
    #: For a rule that is only tried out: what it said of the decisions that it saw, by its own count of what it would have let run.
    would: VerdictCountsView


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDetailView(Model):
    """One policy in full."""

    #: What stored decisions say of it.
    decisions: PolicyCountsView
    #: Every node that should have it, by name.
    nodes: list[PolicyNodeView]
    #: As in the list.
    policy: PolicyView
    #: Who published it at this hub; absent if that is not known.
    published_by: str | None
    #: Its rules in the order of the text, with what they decided.
    rules: list[RuleCountsView]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarRuleView(Model):
    """The windows of one rule."""

    #: When the window that covers the present ends.
    active_until: datetime | None
    #: More windows lie in that time than are listed.
    cut: bool
    #: `change_freeze` or `maintenance_window`.
    kind: str
    #: `enforce`, `shadow` or `off`.
    mode: str
    #: When the next one begins, if one does within 400 days.
    next_start: datetime | None
    #: The rule.
    rule: str
    #: One line for people.
    text: str
    #: Windows that touch the time that is shown: `[from, to)`, ascending, those that touch joined.
    windows: list[tuple[datetime, datetime]]
    #: IANA name of the zone in which its times were written.
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarView(Model):
    """When changes are frozen, and when they may run."""

    #: Beginning of the time that is shown.
    from_: datetime
    #: Of which policy.
    generation: Generation
    #: When no freeze that counts covers the present any more; absent if none does now.
    next_open: datetime | None
    #: As of when `active_until`, `next_start` and `next_open` are.
    now: datetime
    #: Every freeze and maintenance window, in the order of the rules.
    rules: list[CalendarRuleView]
    #: Its end.
    to: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleView(Model):
    """A role with what it may do."""

    #: Its name.
    name: Role
    #: What it may do.
    permissions: list[Permission]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution(Model):
    """What was measured of one side."""

    #: Smallest to largest in 20 equal parts: 21 values, or none.
    quantiles: list[float]
    #: How many values.
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView(Model):
    """What one metric says."""

    #: What was measured of the baseline.
    baseline: Distribution
    #: And of the canary.
    canary: Distribution
    #: Whether its failure alone takes the canary back.
    critical: bool
    #: Independent samples of both.
    effective: tuple[int, int]
    #: The 98 % interval of that.
    interval: tuple[float, float] | None
    #: Its name.
    name: str
    #: `pass`, `fail` or `no_data`.
    outcome: str
    #: Probability of so much by chance.
    p: float | None
    #: How much larger the canary is.
    shift: float | None
    #: Samples of each side that are missing before anything can be said.
    still_needed: int
    #: Up to which shift nothing is said.
    tolerated: float | None
    #: What bets against the canary have made of 1, and from which on it is taken back at any time.
    wealth: tuple[float, float] | None
    #: Why, in one sentence.
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisView(Model):
    """What a comparison of a canary with its baseline said."""

    #: When.
    at: datetime
    #: Guards that fired.
    guards: list[str]
    #: Metric by metric.
    metrics: list[MetricView]
    #: What may be done next: `advance`, `extend`, `wait`, `hold` or `roll_back`.
    next: str
    #: Share of the known weight that passes, of 100.
    score: float | None
    #: `pass`, `inconclusive` or `abort`.
    verdict: str
    #: Why, in one sentence.
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRef(Model):
    """A deployment of a cluster."""

    #: Which cluster.
    cluster: str
    #: Its name.
    name: str
    #: In which namespace.
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView(Model):
    """A rollout, for people."""

    #: What the last comparison said.
    analysis: AnalysisView | None
    #: When the phase is left at the latest.
    deadline: datetime | None
    #: Nothing more happens to it.
    finished: bool
    #: The image that was there before.
    from_image: str
    #: Its id.
    id: str
    #: The image that it brings.
    image: str
    #: Where it is, such as `analysing`, `completed` or `rolled_back`.
    phase: str
    #: Its steps in few words.
    plan: list[str]
    #: Ready replicas of all its parts, as last observed.
    ready: int
    #: Replicas at its start: there are never fewer ready ones.
    start_replicas: int
    #: When it was started.
    started_at: datetime
    #: Who started it.
    started_by: str
    #: The step, from 1.
    step: int
    #: How many steps there are.
    steps: int
    #: Of which deployment.
    target: DeploymentRef
    #: Traffic that the canary should have, in percent; absent where traffic follows replicas.
    weight: int | None
    #: Why it is where it is.
    why: str


class PostRolloutsBodySpecAnalysisErrors(TypedDict):
    """Failed and all requests, asked the same way."""

    #: Failed requests.
    failed: str
    #: All requests.
    total: str


class PostRolloutsBodySpecAnalysisMetrics(TypedDict):
    """One metric. In its query `$workload` stands for the deployment of the part that is asked about and `$namespace` for its namespace."""

    #: Whether its failure alone takes the canary back.
    critical: NotRequired[bool]
    #: Which way is worse.
    direction: str
    #: A canary whose median is on the wrong side of this is taken back at once.
    hard_limit: NotRequired[float | None]
    #: Distance of two samples, in milliseconds.
    interval_ms: NotRequired[int]
    #: Fewest independent samples of each side.
    min_n: NotRequired[int]
    #: Its name.
    name: str
    #: What missing data means.
    nodata: NotRequired[str]
    #: PromQL that gives one series.
    query: str
    #: A shift up to this is too small to matter, in the metric's own unit.
    tolerated: NotRequired[float]
    #: A shift up to this part of the baseline's median is too small to matter, in hundredths of a percent.
    tolerated_bp: NotRequired[int]
    #: How much of the beginning is left out, in milliseconds.
    warm_up_ms: NotRequired[int]
    #: How much it counts in the score.
    weight: NotRequired[float]


class PostRolloutsBodySpecAnalysis(TypedDict):
    """How the canary is judged in steps that analyse."""

    #: How often it is looked at; more often in short steps, so that there are several looks.
    check_every_ms: NotRequired[int]
    #: Failed and all requests, asked the same way.
    errors: NotRequired[PostRolloutsBodySpecAnalysisErrors | None]
    #: A fresh group of the old image, of the canary's size, is what the canary is compared with.
    fresh_baseline: NotRequired[bool]
    #: Checks of one step that may fail; one more rolls back.
    max_failures: NotRequired[int]
    #: What is compared, asked of the cluster's Prometheus.
    metrics: NotRequired[list[PostRolloutsBodySpecAnalysisMetrics]]
    #: Lowest health score that passes, in hundredths of a percent. Source: the original's 0.8.
    min_health_bp: NotRequired[int]
    #: How long missing data is waited for; twice the step without.
    no_data_deadline_ms: NotRequired[int | None]


class PostRolloutsBodySpecDeadlines(TypedDict):
    """How long each phase may last."""

    #: Until what the rollout added is removed; then it has failed, with the new image running.
    finish_ms: NotRequired[int]
    #: Until a person decides about what statistics could not; then it is rolled back.
    hold_ms: NotRequired[int]
    #: Until a gate is opened or a person goes on; then it is rolled back.
    pause_ms: NotRequired[int]
    #: Until all replicas run the new image; then it is rolled back.
    promote_ms: NotRequired[int]
    #: Until everything is as it was; then a person is called.
    roll_back_ms: NotRequired[int]
    #: Until a step is really there; then it is rolled back. Source: `progressDeadline` of others.
    set_ms: NotRequired[int]


class PostRolloutsBodySpecRouteHttpRouteHttpRoute(TypedDict):
    """`PostRolloutsBodySpecRouteHttpRouteHttpRoute` as it travels."""

    #: The service of the baseline: it gets as much as the canary, as far as there is enough. Without one the canary is compared with the workload.
    baseline: NotRequired[str | None]
    #: The service of the canary.
    canary: str
    #: Name of the route.
    name: str
    #: The service of the workload.
    stable: str


class PostRolloutsBodySpecRouteHttpRoute(TypedDict):
    """Weights of a Gateway API HTTPRoute, in every rule that names both services."""

    http_route: PostRolloutsBodySpecRouteHttpRouteHttpRoute


class PostRolloutsBodySpecRouteServiceService(TypedDict):
    """`PostRolloutsBodySpecRouteServiceService` as it travels."""

    #: Name of the service.
    name: str


class PostRolloutsBodySpecRouteService(TypedDict):
    """The selector of a service: either side gets everything."""

    service: PostRolloutsBodySpecRouteServiceService


class PostRolloutsBodySpecStepsSetSet(TypedDict):
    """`PostRolloutsBodySpecStepsSetSet` as it travels."""

    #: Replicas of the canary, of those at the start; at least one.
    replicas: int
    #: Traffic of the canary; where traffic follows replicas it is not looked at.
    weight: int


class PostRolloutsBodySpecStepsSet(TypedDict):
    """So much of the start runs the new image and gets so much of the traffic, in percent."""

    set: PostRolloutsBodySpecStepsSetSet


class PostRolloutsBodySpecStepsWaitWait(TypedDict):
    """`PostRolloutsBodySpecStepsWaitWait` as it travels."""

    #: How long.
    ms: int


class PostRolloutsBodySpecStepsWait(TypedDict):
    """Waits."""

    wait: PostRolloutsBodySpecStepsWaitWait


class PostRolloutsBodySpecStepsGateGate(TypedDict):
    """`PostRolloutsBodySpecStepsGateGate` as it travels."""

    #: Its name.
    name: str


class PostRolloutsBodySpecStepsGate(TypedDict):
    """Waits until a gate is opened from outside."""

    gate: PostRolloutsBodySpecStepsGateGate


class PostRolloutsBodySpecStepsAnalyseAnalyse(TypedDict):
    """`PostRolloutsBodySpecStepsAnalyseAnalyse` as it travels."""

    #: For how long.
    ms: int


class PostRolloutsBodySpecStepsAnalyse(TypedDict):
    """Compares the canary with the baseline."""

    analyse: PostRolloutsBodySpecStepsAnalyseAnalyse


PostRolloutsBodySpecSteps: TypeAlias = (
    Literal["pause"] | PostRolloutsBodySpecStepsSet | PostRolloutsBodySpecStepsWait | PostRolloutsBodySpecStepsGate |
    PostRolloutsBodySpecStepsAnalyse
)


class PostRolloutsBodySpec(TypedDict):
    """Everything at once, instead of the words above."""

    #: How the canary is judged in steps that analyse.
    analysis: NotRequired[PostRolloutsBodySpecAnalysis]
    #: How long each phase may last.
    deadlines: NotRequired[PostRolloutsBodySpecDeadlines]
    #: The image to run.
    image: str
    #: Where traffic is divided, unless it follows replicas.
    route: NotRequired[PostRolloutsBodySpecRouteHttpRoute | PostRolloutsBodySpecRouteService | None]
    #: The steps; none: all replicas at once, one after the other, without a canary.
    steps: NotRequired[list[PostRolloutsBodySpecSteps]]
    #: How traffic is divided between old and new.
    traffic: NotRequired[Literal["replicas", "weights", "selector"]]


class PostRolloutsBodyTarget(TypedDict):
    """A deployment of a cluster."""

    #: Which cluster.
    cluster: str
    #: Its name.
    name: str
    #: In which namespace.
    namespace: str


class PostRolloutsBody(TypedDict):
    """What starts a rollout: an image with a strategy in few words, or every step."""

    #: How long each size is analysed, in milliseconds; 3 minutes without.
    analyse_ms: NotRequired[int | None]
    #: First size of a canary, in percent; 10 without.
    first_percent: NotRequired[int | None]
    #: The image; with `spec` it stands there.
    image: NotRequired[str | None]
    reason: str
    #: Of `blue_green`: the service whose selector is switched.
    service: NotRequired[str | None]
    #: Everything at once, instead of the words above.
    spec: NotRequired[PostRolloutsBodySpec | None]
    #: How much a canary grows, in points; 10 without.
    step_percent: NotRequired[int | None]
    #: `canary` (the default), `rolling` or `blue_green`.
    strategy: NotRequired[str | None]
    #: A deployment of a cluster.
    target: PostRolloutsBodyTarget


class PostRolloutsIdVerbBody(TypedDict):
    """Something that a rollout is told."""

    #: Of `open`: which gate.
    gate: NotRequired[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingView(Model):
    """A deployment that the hub scales, for people."""

    #: The cluster's own autoscaler, to which it is left.
    autoscaler: str | None
    #: Replicas that there should be.
    desired: int | None
    #: What could not be read; empty if all was.
    detail: str
    #: The load that is expected by the time when new replicas are ready.
    expected_milli: int | None
    #: Replicas that the expected load needs, whatever the bounds are: a floor, never a reason for fewer.
    floor: int | None
    #: A forecast is a floor.
    forecast: bool
    #: The measured load, in thousandths.
    load_milli: int | None
    #: Most replicas.
    max: int
    #: When it was measured last.
    measured_at: datetime | None
    #: Fewest replicas.
    min: int
    #: Replicas that are wanted now; absent while that is not known.
    present: int | None
    #: What its Prometheus is asked.
    query: str
    #: Replicas that the measured load needs by itself, whatever the bounds are.
    reactive: int | None
    #: Who has set it.
    set_by: str
    #: Which.
    target: DeploymentRef
    #: Load that one replica should have, in thousandths.
    target_milli: int
    #: Why so many.
    why: str


class PostScalingClusterNamespaceNameBody(TypedDict):
    """`PostScalingClusterNamespaceNameBody` as it travels."""

    forecast: NotRequired[bool]
    query: str
    reason: str
    spec: dict[str, Any]
    start_ms: NotRequired[int]
    trouble: NotRequired[str]


class PostScalingClusterNamespaceNameRemoveBody(TypedDict):
    """A reason, and nothing else."""

    #: Why. Not empty.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineView(Model):
    """One line of a chart."""

    #: Of which device.
    device: DeviceId
    #: The lowest of the samples of each time; absent where each time is one sample.
    low: list[int | None] | None = None
    #: What.
    quantity: Quantity
    #: A program plays the device.
    simulated: bool
    #: In what unit.
    unit: Unit
    #: One value for each time; `None` is a gap. Where a time stands for several samples, the highest of them.
    values: list[int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView(Model):
    """Values over time, one axis for all of them."""

    #: Wall times of the samples, milliseconds since 1970, ascending.
    at_ms: list[int]
    #: Spans in which the node was cut off: (from, to) in milliseconds since 1970; `to` is `None` while it lasts.
    cuts: list[tuple[int, int | None]]
    #: Decisions in that time, oldest first.
    decisions: list[DecisionView]
    #: The lines.
    lines: list[LineView]
    #: Whose.
    node: AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSize(Model):
    """How large a build is run."""

    #: Things that it does at once.
    concurrency: int
    #: Cores that it asks for.
    cpus: int
    #: Memory that it asks for, in GiB.
    memory_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeView(Model):
    """The size that a build should have."""

    #: Where the answer was out of the bounds and was changed, in words.
    adjusted: list[str]
    #: Cache that is worth having, in GiB.
    cache_gib: int
    #: How sure the brain says it is. Nothing here rests on it.
    confidence: float
    #: Joins the answer to the run that follows it.
    id: str
    #: Which pipeline.
    pipeline: str
    #: Why, in the brain's own words.
    rationale: str
    #: The size, within the bounds.
    size: BuildSize


class PostSizingBodyLast(TypedDict):
    """The size of its last run that went well."""

    #: Things that it does at once.
    concurrency: int
    #: Cores that it asks for.
    cpus: int
    #: Memory that it asks for, in GiB.
    memory_gib: int


class PostSizingBody(TypedDict):
    """A build whose size is wanted."""

    #: The size of its last run that went well.
    last: NotRequired[PostSizingBodyLast | None]
    #: No less memory than this, in GiB.
    least_memory_gib: NotRequired[int | None]
    #: No more than this at once.
    most_concurrency: NotRequired[int | None]
    #: The most memory that any step of it was seen to use, in bytes.
    peak_memory_bytes: NotRequired[int | None]
    #: Which pipeline, for example `acme/shop test`.
    pipeline: str
    #: How long a step of it takes on average.
    step_seconds: NotRequired[float | None]
    #: How many steps it has.
    steps: NotRequired[int | None]
    #: What builds it, for example `cargo`; may be left out.
    tool: NotRequired[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(Model):
    """The brain has it."""

    #: The brain's id of the run.
    id: str


class PostSizingRunsBodySize(TypedDict):
    """How large it was run."""

    #: Things that it does at once.
    concurrency: int
    #: Cores that it asks for.
    cpus: int
    #: Memory that it asks for, in GiB.
    memory_gib: int


class PostSizingRunsBodySteps(TypedDict):
    """A step of a build that ran."""

    #: When it began.
    began: str
    #: Share of one core that it used.
    cpu_ratio: NotRequired[float]
    #: Exit status.
    exit: int
    #: Its name.
    name: str
    #: The most memory that it used, in bytes.
    peak_memory_bytes: NotRequired[int]
    #: Read from disks, in bytes.
    read_bytes: NotRequired[int]
    #: How long it took.
    took_seconds: float
    #: Written to disks, in bytes.
    written_bytes: NotRequired[int]


class PostSizingRunsBody(TypedDict):
    """A build that ran."""

    #: When it began.
    began: str
    #: The branch of that.
    branch: str
    #: The commit that it built.
    commit: str
    #: Its number there.
    number: int
    #: Whether it went well.
    ok: bool
    #: Which pipeline.
    pipeline: str
    #: How large it was run.
    size: PostSizingRunsBodySize
    #: Its steps, at most 1,000.
    steps: NotRequired[list[PostSizingRunsBodySteps]]
    #: How long it took.
    took_seconds: float
    #: What built it.
    tool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Model):
    """What the hub tells: Task."""

    agent_id: str | None = None
    agent_name: str | None = None
    attempts: int
    branch: str | None = None
    check: str
    codes: list[Any]
    commit: str
    completed_at: str | None = None
    created_at: str
    duration_ms: int | None = None
    error_message: str | None = None
    id: str
    log_url: str | None = None
    progress: float
    pull_request: Any = None
    repository: str
    retry_count: int
    source: str
    started_at: str | None = None
    state: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    task_type: str
    timeout_seconds: int
    updated_at: str


class PostTasksBody(TypedDict):
    """`PostTasksBody` as it travels."""

    context: NotRequired[Any]
    correlation_id: NotRequired[str | None]
    task_type: str
    timeout_seconds: NotRequired[int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTasksAgentIdQueueAnswer(Model):
    """What the hub tells: GetTasksAgentIdQueueAnswer."""

    active_task_ids: list[str]
    active_tasks: int
    queue_depth: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTasksPolicyAnswer(Model):
    """What the hub tells: GetTasksPolicyAnswer."""

    chances: list[dict[str, Any]]
    open_pull_requests: int
    repository: str
    steps: list[dict[str, Any]]
    #: What .patchbot.toml of the default branch says; null where no forge is known that has the repository.
    wishes: dict[str, Any] | None = None


class PatchTasksIdBody(TypedDict):
    """`PatchTasksIdBody` as it travels."""

    artifacts: NotRequired[Any]
    error_message: NotRequired[str | None]
    metrics: NotRequired[Any]
    progress: NotRequired[float | None]
    result: NotRequired[Any]
    status: NotRequired[str | None]


class PostTasksIdApproveBody(TypedDict):
    """`PostTasksIdApproveBody` as it travels."""

    reason: NotRequired[str]


#: Why a command was run.
Phase: TypeAlias = Literal["reproduce", "fix", "fix_again", "check", "canary", "sibling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Model):
    """One command that was run."""

    #: Program and arguments.
    argv: list[str]
    #: The file put back as it was, for a canary.
    canary: str | None = None
    #: Folder in the repository, empty for its root.
    folder: str
    #: Digest of what it wrote.
    output: str
    #: True when the check found nothing wrong.
    passed: bool
    #: Why.
    phase: Phase
    #: Exit status.
    status: int
    #: Wall-clock time in milliseconds.
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Model):
    """One changed file of a patch: path, mode, the digest of what was there, and what is there now."""

    #: Digest of the file before, hexadecimal.
    base: str
    #: `100644` or `100755`, as git writes it.
    mode: str
    #: Path in the repository, with `/`.
    path: str
    #: The file afterwards. Patches are text: a file that is not UTF-8 is never changed here.
    text: str


#: How much the sandbox holds back. Names as published to the hub.
Level: TypeAlias = Literal["L0", "L3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(Model):
    """A repair and its proof."""

    #: Who signs.
    agent: str
    #: Digest of the tree that was repaired.
    base_tree: str
    #: True when every canary was caught.
    canary_caught: bool
    #: What was run.
    commands: list[Command]
    #: Files that the check was seen to look at.
    examined: list[str]
    #: The patch.
    files: list[Change]
    #: The failure's fingerprint.
    fingerprint: str
    #: Which fixer.
    fixer: str
    #: What it says its version is.
    fixer_version: str
    #: Network of the sandbox: always `none`.
    network: str
    #: Digest of the patch.
    patch: str
    #: Digest of the repaired tree.
    patched_tree: str
    #: Public key of the agent, hexadecimal.
    public_key: str
    #: Level of the sandbox.
    sandbox: Level
    #: [`SCHEMA`].
    schema: int
    #: Names the self-test that proved it.
    self_test: str
    #: Ed25519 over the JSON of all members above with an empty signature, hexadecimal.
    signature: str
    #: True when the check's silence is judged by what it printed, not by its status.
    silent: bool
    #: The task, or empty for a repair by hand.
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKeyView(Model):
    """A key that signs access tokens, or has signed them until lately."""

    #: Until when tokens of a former key are accepted.
    accepted_until: datetime | None
    #: The algorithm of its tokens.
    algorithm: str
    #: Its id, the `kid` of its tokens.
    id: str
    #: Since when it has.
    made_at: datetime
    #: The public key: 32 bytes of Ed25519 in base64url without padding.
    public_key: str
    #: Whether it signs new tokens.
    signs: bool


class PostTokenKeysRotateBody(TypedDict):
    """A new key is to sign access tokens."""

    #: Why.
    reason: str
    #: The present key is in wrong hands: its tokens are worth nothing at once, and everybody refreshes.
    stolen: NotRequired[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenView(Model):
    """A join token as it is listed: never the token itself."""

    #: Who made it.
    by: str
    #: When it ends.
    ends: datetime
    #: The beginning of its hash, by which it is revoked.
    id: str
    #: What it is for.
    label: str | None
    #: When it was made.
    made: datetime
    #: The node's name that it is for; the joining node's wish if absent.
    name: AgentId | None
    #: The site that it is for.
    site: str
    #: `open`, `used` or `ended`.
    state: str
    #: Whoever joins with it becomes the node of that name, which is there.
    takes_over: bool
    #: Who used it.
    used_by: AgentId | None
    #: Uses that are left: one or none.
    uses_left: int


class PostTokensBody(TypedDict):
    """Make a join token."""

    #: What it is for, in a few words.
    label: NotRequired[str | None]
    #: The node's name; made by the hub if absent.
    name: NotRequired[str | None]
    #: The node's site.
    site: NotRequired[str]
    #: How long it can be used.
    ttl_seconds: NotRequired[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteView(Model):
    """A person as they stand after a change, with the link that waits for them."""

    #: When it was made.
    created_at: datetime
    #: The account is closed.
    disabled: bool
    #: A password is set.
    has_password: bool
    #: A link waits for them until then.
    invited_until: datetime | None
    #: The name.
    name: str
    #: The role.
    role: Role
    #: Sessions that are open.
    sessions: int
    #: The tenant that they belong to.
    tenant: str | None
    #: The link, shown once; absent where a password was given.
    url: str | None = None


class PostUsersBody(TypedDict):
    """A person that is to be added."""

    #: The name: 3 to 50 letters, digits, `-`, `_`, `.` or `@`.
    name: str
    #: The password; without it the answer has a link with which they choose one.
    password: NotRequired[str | None]
    #: The role.
    role: Role
    #: The tenant.
    tenant: NotRequired[str | None]


class PatchUsersNameBody(TypedDict):
    """A change of a person's account; what is absent stays."""

    #: Whether the account is closed.
    disabled: NotRequired[bool | None]
    #: The new password.
    password: NotRequired[str | None]
    #: The new role.
    role: NotRequired[Role | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochView(Model):
    """One epoch of a node's journal."""

    #: Its chain holds.
    chain_ok: bool
    #: How many are there.
    count: int
    #: Which.
    epoch: Epoch
    #: The first entry that is there.
    first: Seq
    #: Digest of the last one.
    head: Digest
    #: The last entry that is there.
    last: Seq
    #: How many were there before the first one, and were removed.
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyView(Model):
    """A node's journal against the hub's store."""

    #: As of when the node's numbers are.
    as_of: datetime | None
    #: Every link of every epoch's chain holds, and its end is the end that the node reports.
    chain_ok: bool
    #: What is not right, for people.
    detail: str
    #: Entries that are stored twice.
    double: int
    #: One row for each epoch.
    epochs: list[EpochView]
    #: Entries that it made and that were never stored.
    missing: int
    #: Whose.
    node: AgentId
    #: Entries that the node says it made, over all epochs that it knows of.
    produced: int
    #: Entries of it that were stored, and were removed to make room or because they were old.
    removed: int
    #: Entries of it that are stored, counted one by one.
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookView(Model):
    """An outgoing webhook."""

    #: When it was made; events from then on are sent.
    created_at: datetime
    #: Deliveries that were given up and are kept.
    dead: int
    #: Deliveries that came through.
    delivered: int
    #: Dead letters that had to give way to newer ones.
    dropped: int
    #: What people call it.
    name: str
    #: When the next try is.
    next_try: datetime | None = None
    #: Deliveries that wait for another try.
    pending: int
    #: Its secret, as Standard Webhooks writes it: shown when it is made and when it is replaced, and never else.
    secret: str | None = None
    #: How often its secret was replaced, and 1.
    secret_version: int
    #: Which types of events; empty for every one.
    types: list[str]
    #: Where events go, without the query, which may hold a secret.
    url: str


class PostWebhooksBody(TypedDict):
    """Body of `POST webhooks`."""

    #: What people call it: 1 to 63 lower-case letters, digits or `-`.
    name: str
    #: Which types of events: `dev.sentinel.hub.*` for all that begin so; empty for every one.
    types: NotRequired[list[str]]
    #: Where events go.
    url: str


#: How a delivery stands.
DeliveryState: TypeAlias = Literal["delivered", "pending", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView(Model):
    """One event on its way to one webhook."""

    #: When it was last tried.
    at: datetime
    #: Tries so far.
    attempts: int
    #: Why it failed; empty if it did not.
    error: str
    #: Id of the event, which is the delivery's `webhook-id` too.
    event: str
    #: When it is tried again.
    next_try: datetime | None
    #: How it stands.
    state: DeliveryState
    #: Status of the last answer; `None` if there was none.
    status: int | None
    #: Its type.
    type: str


class PostWebhooksNameResendBody(TypedDict):
    """Body of `POST webhooks/NAME/resend`."""

    #: Id of an event; all dead letters if there is none.
    event: NotRequired[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadMetricView(Model):
    """The newest that a workload told of one series by OTLP."""

    #: When it was told.
    at: datetime
    #: `gauge`, `counter` or `histogram`.
    kind: str
    #: Its labels, those of its resource with them.
    labels: dict[str, str]
    #: Its name.
    metric: str
    #: Its unit, in UCUM; empty where the workload named none.
    unit: str
    #: The value of a gauge, what was added to a counter, the mean of what was measured.
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PostWorkloadsAnswer(Model):
    """What the hub tells: PostWorkloadsAnswer."""

    image: str
    name: str
    plan: dict[str, Any]
    resources: dict[str, Any]
    type: str


class PostWorkloadsBodyResourcesGpu(TypedDict):
    """GPUs."""

    #: Whole ones.
    count: NotRequired[int]
    #: Instead, a share of one in thousandths.
    share: NotRequired[int]
    #: Its model; any without.
    sku: NotRequired[str]


class PostWorkloadsBodyResources(TypedDict):
    """What each replica takes."""

    #: CPU, such as `2` or `500m`.
    cpu: NotRequired[str]
    #: GPUs.
    gpu: NotRequired[PostWorkloadsBodyResourcesGpu | None]
    #: Memory, such as `4Gi` or `512Mi`.
    memory: NotRequired[str]


class PostWorkloadsBody(TypedDict):
    """A workload as the original's clients send it, with our additions. It becomes a plan of one step, `deploy`."""

    #: The cluster; without, the hub chooses.
    cluster: NotRequired[str | None]
    #: All replicas or none, in one topology domain.
    gang: NotRequired[bool]
    #: Its image.
    image: str
    #: Its name.
    name: str
    #: The namespace; `default` without.
    namespace: NotRequired[str | None]
    #: Labels that its nodes must carry, as NAME=VALUE.
    node_labels: NotRequired[list[str]]
    #: Why; it is kept with the plan.
    reason: NotRequired[str]
    #: How many replicas; 1 without.
    replicas: NotRequired[int]
    #: What each replica takes.
    resources: NotRequired[PostWorkloadsBodyResources]
    #: `training`, `inference` or `batch`.
    type: NotRequired[str]
