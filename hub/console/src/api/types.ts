// The JSON that the hub and the agent answer with, as `wire/src/api.rs` writes it.
//
// Shapes only: what a word means is said in `text/words.ts`. Times are RFC 3339 texts, spans are milliseconds named `_ms`.

export type NodeState = "connected" | "working_alone" | "unknown" | "down";
export type Verdict = "allow" | "clamp" | "hold" | "require_approval" | "deny";
export type Authority = "full" | "reversible" | "protective" | "observe";
export type ClockState = "steady" | "stepped" | "behind_floor";
export type Unit =
  | "milli_celsius"
  | "milliwatt"
  | "basis_points"
  | "milli"
  | "bytes"
  | "bytes_per_second"
  | "milli_per_second"
  | "milliseconds"
  | "megahertz"
  | "count"
  | "flag";

export interface List<T> {
  items: T[];
  next_cursor?: string;
}

export type ClockError = "not_compared" | { within_ms: number };

export interface GpuView {
  id: string;
  model: string;
  simulated: boolean;
  temperature_mc: number | null;
  power_mw: number | null;
  power_cap_mw: number | null;
  used_bp: number | null;
  /** Least and greatest power cap that it may be asked for, in milliwatts. */
  power_caps_mw?: [number, number] | null;
  /** The firmware profile that bounds it. */
  profile?: string | null;
}

export interface WorkloadView {
  id: string;
  pid: number | null;
  memory_bytes: number | null;
  cpu_bp: number | null;
  restarts: number | null;
}

export interface DecisionView {
  id: string;
  node: string;
  epoch: number;
  seq: number;
  at: string;
  action: string;
  target: string;
  summary: string;
  verdict: Verdict;
  rule: string;
  connected: boolean;
  digest: string;
  outcome: string;
  outcome_detail?: string | null;
}

/** How far a cut goes: this node alone, its site, the hub for everybody, or nobody can tell. */
export type Isolation = "node" | "site" | "hub" | "unknown";

/** Another member of a node's site, as the node last heard of it. */
export interface NeighbourView {
  name: string;
  site: string;
  in_touch: boolean;
  age_ms: number | null;
  reach: "direct" | "carried" | "alone";
  rtt_us: number;
  lost_per_mille: number;
  generation: number;
  via?: string;
  hops: number;
  uplink: "unmetered" | "metered";
  authority?: NodeView["authority"];
  /** Carried packets do not fit into the local path to it; absent on an older agent. */
  too_narrow?: boolean;
  carried_bytes: number;
}

/** A fault of a device, once for as long as it lasts. */
export interface FaultView {
  device: string;
  code: string;
  severity: "info" | "low" | "medium" | "high" | "critical";
  meaning: string;
  next: string;
  advice: string;
  evidence: string;
  count: number;
  since: string;
  at: string;
  epoch: number;
  seq: number;
  over_at?: string;
}

export interface NodeView {
  name: string;
  site: string;
  state: NodeState;
  state_since: string | null;
  last_seen: string | null;
  age_ms: number | null;
  policy_generation: number;
  policy_digest: string;
  policy_age_ms: number;
  backlog_entries: number;
  authority: Authority;
  next_authority_in_ms: number | null;
  certificate_ends: string | null;
  rejoins: number;
  clock: ClockState;
  /** By how much it may differ from the hub's. */
  clock_error?: ClockError | null;
  held_by: string | null;
  /** Absent on an older hub. */
  labels?: Record<string, string>;
  unhealthy?: string | null;
  /** What is not as it should be, one sentence each; absent on an older hub. */
  findings?: string[];
  /** The neighbour that carries its session with the hub; absent on its own path. */
  via?: string;
  /** How far a cut goes, as the node itself sees it. */
  isolation?: Isolation;
  /** Who carries it, from the node to the hub; absent on its own path and on an older hub. */
  path?: string[];
  /** The node that tells of it, where neither it nor the hub does. */
  told_by?: string;
  /** The other members of its site, by its own word. */
  neighbours?: NeighbourView[];
  waits_for_turn?: boolean;
  /** The token that two people opened; absent where none is open. */
  break_glass?: { number: number; kinds: string[]; targets: string[]; until: string; left_ms: number; approvers: string[] };
  quarantined: string | null;
  /** Shut out by a person, and why; absent where it is not. */
  shut_out?: string;
  epoch: number;
  produced: number;
  stored: number;
  journal_bytes: number;
  journal_limit_bytes: number;
  journal_ok: boolean;
  unrecorded_actions: number;
  telemetry_interval_ms: number;
  version: string;
  gpus: GpuView[];
  workloads: WorkloadView[];
  cpu_used_bp: number | null;
  memory_used_bp: number | null;
  last_decision: DecisionView | null;
  last_decisions: DecisionView[];
  /** Of the recent past, open ones first; only in the answer for a single node, and absent on an older hub. */
  faults?: FaultView[];
}

export interface BundleRef {
  generation: number;
  digest: string;
}

/** An action's kind: a bare word, or a word with its parameters. */
export type ActionKind =
  | "release_power_cap"
  | "restart"
  | "unthrottle"
  | "unlock_clocks"
  | "cordon"
  | "uncordon"
  | "drain"
  | "reset_gpu"
  | "reboot"
  | { lock_clocks: { max_mhz: number } }
  | { power_cap: { milliwatts: number } }
  | { throttle: { share_bp: number } }
  | { notify: { message: string } };

export interface Action {
  target: string;
  kind: ActionKind;
}

export type Origin =
  | { rule: { rule: string } }
  | { cleared: { rule: string } }
  | { command: { id: string; who: string; reason: string } }
  | { local: { who: string; reason: string } }
  | { plan: { id: string; plan: string; step: number; undo: boolean; brain: boolean; who: string; reason: string } }
  | { fault: { code: string } };

export interface Observed {
  series: { device: string; quantity: string };
  value: number | null;
  age_ms: number | null;
  held_ms: number;
}

export interface Clause {
  rule: string;
  kind: string;
  what: string;
  op: string;
  observed: number | null;
  limit: number | null;
  unit: Unit;
  age_ms: number | null;
  holds: boolean;
  verdict: Verdict;
  shadow: boolean;
  counterfactual: string;
}

export interface Decision {
  inputs: {
    at: { mono: number; wall: string };
    origin: Origin;
    wanted: Action;
    bundle: BundleRef;
    policy_age_ms: number;
    connected: boolean;
    clock: ClockState;
    journal_ok: boolean;
    held_by: string | null;
    hub_epoch: number;
    readings: Observed[];
    facts: { rule: string; name: string; value: number }[];
  };
  judgement: {
    verdict: Verdict;
    rule: string;
    granted: Action | null;
    retry_after_ms: number | null;
    valid_for_ms: number;
    authority: Authority;
    clauses: Clause[];
    rejected: { action: Action; because: string }[];
  };
}

export interface OutcomeView {
  at: string;
  state: string;
  before: number | null;
  after: number | null;
  probed: boolean;
  detail: string;
}

export interface DecisionDetail {
  summary: DecisionView;
  prev: string;
  decision: Decision;
  outcomes: OutcomeView[];
  explanation: string;
}

export interface ReplayView {
  id: string;
  identical: boolean;
  bundle: BundleRef;
  recorded: string;
  recomputed: string;
  differences: string[];
}

export interface LineView {
  device: string;
  quantity: string;
  unit: Unit;
  simulated: boolean;
  values: (number | null)[];
  /** The lowest of the samples of each time, where a time stands for several; absent where it is one. */
  low?: (number | null)[];
}

export interface SeriesView {
  node: string;
  at_ms: number[];
  lines: LineView[];
  decisions: DecisionView[];
  cuts: [number, number | null][];
}

export interface RuleView {
  id: string;
  kind: string;
  mode: string;
  text: string;
}

export interface PolicyView {
  generation: number;
  digest: string;
  name: string;
  issued_at: string;
  active: boolean;
  nodes: number;
  nodes_total: number;
  rules: RuleView[];
  text: string;
}

/** How often each verdict was given. */
export type VerdictCounts = Record<Verdict, number>;

export interface RuleCountsView extends RuleView {
  why: string;
  owner: string;
  decided: VerdictCounts;
  would: VerdictCounts;
}

export interface PolicyNodeView {
  node: string;
  state: NodeState;
  has_it: boolean;
  generation: number;
  policy_age_ms: number;
  authority: Authority;
}

export interface PolicyDetailView {
  policy: PolicyView;
  published_by: string | null;
  nodes: PolicyNodeView[];
  decisions: {
    since: string | null;
    until: string | null;
    considered: number;
    cut: boolean;
    verdicts: VerdictCounts;
    shadow_would_refuse: number;
  };
  rules: RuleCountsView[];
}

export interface CalendarRuleView {
  rule: string;
  kind: string;
  mode: string;
  text: string;
  zone: string;
  windows: [string, string][];
  cut: boolean;
  active_until: string | null;
  next_start: string | null;
}

export interface CalendarView {
  generation: number;
  from: string;
  to: string;
  now: string;
  rules: CalendarRuleView[];
  next_open: string | null;
}

/** What nodes have in common, as the active bundle's rules count it. */
export interface DomainView {
  domain: string;
  value: string;
  members: number;
  unhealthy: number;
  in_flight: number;
  newly_faulty: number;
  gives_turns: boolean;
  turns: TurnView[];
  waiting: string[];
  windows: WindowView[];
}

export interface TurnView {
  node: string;
  acts: boolean;
  for_ms: number | null;
}

/** How many turns one rule has given in the window that ends now. */
export interface WindowView {
  rule: string;
  given: number;
  limit: number;
  window_ms: number;
  free_in_ms: number | null;
}

export interface ActView {
  command: string | null;
  status: string;
  decision: DecisionView | null;
  clauses: Clause[];
  detail: string;
}

export interface Hello {
  from: "hub" | "node";
  version: string;
  hub_epoch: number;
  now: string;
}

export interface Sample {
  node: string;
  at_ms: number;
  values: [string, number | null][];
}

/** One event of the stream. */
export type StreamEvent =
  | { event: "hello"; data: Hello }
  | { event: "node"; data: NodeView }
  | { event: "decision"; data: DecisionView }
  | { event: "sample"; data: Sample }
  | { event: "policy"; data: PolicyView }
  | { event: "reset" }
  | { event: "tick"; data: { now: string } };

export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  errors?: { pointer: string; detail: string }[];
  decision_id?: string;
}

/** Who asks. */
export interface Me {
  username: string;
  role: string;
  tenant: string | null;
  via: string;
  permissions: string[];
}

/** A person. */
export interface User {
  name: string;
  role: string;
  tenant: string | null;
  disabled: boolean;
  has_password: boolean;
  invited_until: string | null;
  sessions: number;
  created_at: string;
}

/** A person with the link that waits for them. */
export interface Invite extends User {
  url?: string;
}

/** What somebody caused at the hub, or was refused. */
export interface Audit {
  id: string;
  at: string;
  who: string;
  via: string;
  address: string | null;
  verb: string;
  target: string;
  reason: string;
  result: "done" | "refused";
  code?: string;
  detail?: string;
  details: [string, string][];
}

/** Where a node has proven that the journal is not the one that the hub signed. */
export interface JournalBreak {
  first_bad: string;
  detail: string;
  accepted_by: string | null;
  accepted_because: string | null;
}

/** Whether the hub's own journal is whole. */
export interface AuditCheck {
  ok: boolean;
  entries: number;
  detail: string;
  checkpoint: { entry: string; at: string } | null;
  breaks: JournalBreak[];
}

/** Where a task stands. */
export type TaskState = "queued" | "leased" | "publishing" | "held" | "completed" | "proposed" | "merged" | "closed" | "no_fix" | "refused" | "dead" | "cancelled";

/** A file that a patch changes. */
export interface ChangedFile {
  path: string;
  added: number;
  removed: number;
}

/** A patch that was proposed for a task. */
export interface Proposal {
  certificate: string;
  fixer: string;
  files: ChangedFile[];
  category: string;
  tool: string;
  fingerprint: string;
  branch: string;
}

/** How likely a repair is to be merged, from what became of earlier ones. */
export interface Chance {
  at_least: number;
  mean: number;
  outcomes: number;
}

/** One line of a task's history: an entry of the hub's journal. */
export interface TaskEntry {
  id: string;
  at: string;
  who: string;
  via: string;
  verb: string;
  reason: string;
  details: [string, string][];
}

/** How a pull request of ours stands at its forge. */
export interface Review {
  /** What the forge's own checks say of our commit. */
  checks: "unknown" | "pending" | "green" | "red";
  /** Nobody is asked to look at it before they are green. */
  is_draft: boolean;
  /** The repository's owner wants it merged without a person. */
  merge_wanted: boolean;
  /** Who stopped it, or took its branch over. */
  stopped_by: string | null;
}

/** A failed check on its way to a pull request. */
export interface Task {
  id: string;
  state: TaskState;
  source: string;
  repository: string;
  commit: string;
  check: string;
  branch: string;
  log_url: string;
  priority: "low" | "normal" | "high";
  attempts: number;
  agent_name: string | null;
  phase: string;
  progress: number;
  codes: string[];
  error_message: string | null;
  proposal: Proposal | null;
  pull_request: string | null;
  correlation_id: string | null;
  message: string;
  chance: Chance | null;
  outcome: "merged" | "red" | "reverted" | "rejected" | "closed" | null;
  /** Null before its pull request is open. */
  review: Review | null;
  delivery: string;
  created_at: string;
  updated_at: string;
  /** Of one task alone, oldest first. */
  history?: TaskEntry[];
}

/** A command of a repair. */
export interface CertificateCommand {
  phase: "reproduce" | "fix" | "fix_again" | "check" | "canary" | "sibling";
  argv: string[];
  status: number;
  passed: boolean;
  wall_ms: number;
  canary?: string;
}

/** The proof of a patch. */
export interface Certificate {
  fixer: string;
  fixer_version: string;
  commands: CertificateCommand[];
  examined: string[];
  sandbox: string;
  network: string;
  self_test: string;
  agent: string;
  public_key: string;
  base_tree: string;
  patched_tree: string;
  patch: string;
}

/** Somebody who hears of everything that arrives. */
export interface Consumer {
  name: string;
  target: string;
  up: boolean | null;
  lag_entries: number | null;
  lag_seconds: number | null;
  delivered: number;
  failures: number;
  error: string | null;
}

/** Where events are sent. */
export interface Webhook {
  name: string;
  url: string;
  types: string[];
  created_at: string;
  delivered: number;
  pending: number;
  dead: number;
  dropped: number;
  next_try?: string;
}

/** One event on its way to one webhook. */
export interface Delivery {
  event: string;
  type: string;
  state: "delivered" | "pending" | "dead";
  attempts: number;
  at: string;
  status: number | null;
  error: string;
  next_try: string | null;
}

export type PlanState =
  | "received"
  | "validated"
  | "decided"
  | "held"
  | "awaiting_approval"
  | "scheduled"
  | "leased"
  | "executing"
  | "verifying"
  | "rolling_back"
  | "completed"
  | "rolled_back"
  | "rollback_failed"
  | "rejected"
  | "expired"
  | "cancelled"
  | "superseded"
  | "failed";

export interface EffectView {
  metric: string;
  device?: string;
  delta: number;
  within_ms: number;
}

export interface PlanStepView {
  summary: string;
  verb: string;
  target: string;
  state: string;
  expected?: EffectView;
  observed?: { before: number; after: number; is_met: boolean };
  decision?: string;
  detail?: string;
}

export interface PlanView {
  id: string;
  state: PlanState;
  source: string;
  by_brain: boolean;
  reason: string;
  claim?: { prediction: string; class: string; confidence_bp: number; horizon_ms: number };
  created: string;
  not_after: string;
  since: string;
  deadline?: string;
  detail: string;
  came_true?: string;
  interfered?: string;
  retry_of?: string;
  approved_by?: string[];
  approvals_needed: number;
  steps: PlanStepView[];
}

export interface ShadowView {
  runs: boolean;
  steps: { summary: string; verdict: Verdict; rule: string; because: string; until?: string }[];
}

export interface BinView {
  claimed_bp: number;
  came_true_bp: number;
  weight: number;
}

export interface BrainView {
  brain: string;
  verb: string;
  model: string;
  tier: "T0" | "T1" | "T2" | "T3";
  tier_name: string;
  since: string;
  predictions: number;
  censored: number;
  next_tier_lacks?: string;
  evidence_over: number;
  evidence_under: number;
  scores?: { outcomes: number; effective: number; base_rate_bp: number; brier_bp: number; skill_bp?: number; calibration_error_bp: number; bins: BinView[] };
  changes: { at: string; from: string; to: string; why: string }[];
}

export interface ForecastView {
  node: string;
  device: string;
  quantity: string;
  unit: Unit;
  at: string;
  limit: number;
  points: { ahead_ms: number; low: number; middle: number; high: number }[];
  foreseen?: { in_ms: number; by_ms: number; chance_bp: number; errors: number };
}

/** A Kubernetes cluster that the hub knows. */
export interface ClusterView {
  name: string;
  kubeconfig: string;
  context: string;
  namespace: string;
  labels: [string, string][];
  prometheus: string | null;
  registered_at: string;
  status: "ready" | "not_ready" | "forbidden" | "unreachable";
  version: string;
  missing_permissions: string[];
  detail: string;
}

/** A deployment of a cluster. */
export interface DeploymentView extends DeploymentRef {
  status: string;
  wanted: number;
  ready: number;
  updated: number;
  image: string;
  revision: number | null;
}

export interface DeploymentRef {
  cluster: string;
  namespace: string;
  name: string;
}

/** What was measured of one side: smallest to largest in 20 equal parts, or nothing. */
export interface Distribution {
  samples: number;
  quantiles: number[];
}

/** What one metric says of a canary. */
export interface MetricView {
  name: string;
  outcome: "pass" | "fail" | "no_data";
  why: string;
  critical: boolean;
  baseline: Distribution;
  canary: Distribution;
  effective: [number, number];
  still_needed: number;
  shift: number | null;
  interval: [number, number] | null;
  tolerated: number | null;
  p: number | null;
  wealth: [number, number] | null;
}

/** What a comparison of a canary with its baseline said. */
export interface AnalysisView {
  at: string;
  verdict: "pass" | "inconclusive" | "abort";
  next: string;
  why: string;
  score: number | null;
  guards: string[];
  metrics: MetricView[];
}

export interface RolloutView {
  id: string;
  target: DeploymentRef;
  image: string;
  from_image: string;
  phase: string;
  step: number;
  steps: number;
  why: string;
  ready: number;
  start_replicas: number;
  deadline: string | null;
  finished: boolean;
  started_at: string;
  started_by: string;
  weight: number | null;
  plan: string[];
  analysis: AnalysisView | null;
}

/** What a node says to a demand. */
export interface NodePlacementView {
  name: string;
  agent: string;
  is_chosen: boolean;
  /** Why it cannot; empty if it can. */
  why_not: string[];
  model: string;
  domain: string;
  free_cpu_milli: number;
  free_memory_mib: number;
  free_gpus: number;
  free_gpu_milli: number;
}

export interface ClusterPlacementView {
  name: string;
  is_chosen: boolean;
  why_not: string;
  told_ms_ago: number | null;
  nodes: NodePlacementView[];
}

/** Where something would go, and why not elsewhere. */
export interface PlacementView {
  demand: string;
  replicas: number;
  cluster: string | null;
  nodes: string[];
  price_micros_per_h: number | null;
  why: string;
  clusters: ClusterPlacementView[];
}

/** A deployment that the hub scales by its load. */
export interface ScalingView {
  target: DeploymentRef;
  min: number;
  max: number;
  target_milli: number;
  query: string;
  forecast: boolean;
  present: number | null;
  desired: number | null;
  /** Replicas that the measured load needs by itself, and the forecast's floor; bounds are not in them. */
  reactive: number | null;
  floor: number | null;
  why: string;
  load_milli: number | null;
  expected_milli: number | null;
  autoscaler: string | null;
  detail: string;
  measured_at: string | null;
  set_by: string;
}
