// A MOCK of the hub's and the agent's API, for working on the console and for looking at its pages. It is not part of the
// product, decides nothing and proves nothing about the real servers; its data is invented.
//
//   node dev/mock.mjs [--port 7480] [--nodes 6] [--from hub|node] [--login] [--dist]
//
// `--dist` also serves the built console with the content security policy that the real servers send. `--login` asks for a
// session; the code is `mock`. Control by `POST /mock/cut|heal|heat|silence?node=edge-03`.

import { createServer } from "node:http";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const flag = (name, usual) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? usual : (process.argv[at + 1] ?? usual);
};
const has = (name) => process.argv.includes(`--${name}`);
const PORT = Number(flag("port", "7480"));
const NODES = Number(flag("nodes", "6"));
const FROM = flag("from", "hub");
const LOGIN = has("login");
const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const CSP = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

const digest = (text) => createHash("sha256").update(text).digest("hex");
const iso = (ms) => new Date(ms).toISOString();

// A small seeded generator, so that two runs look alike.
let seed = 4711;
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const around = (value, spread) => value + (random() - 0.5) * spread;

const CLUSTERS = [
  { name: "demo", kubeconfig: "/var/lib/kube/demo", context: "", namespace: "", labels: [], prometheus: "http://127.0.0.1:9090", registered_at: iso(Date.now() - 7_200_000), status: "ready", version: "v1.36.3", missing_permissions: [], detail: "" },
  { name: "lab", kubeconfig: "/var/lib/kube/lab", context: "lab", namespace: "", labels: [], prometheus: null, registered_at: iso(Date.now() - 90_000), status: "forbidden", version: "v1.36.3", missing_permissions: ["create pods/eviction", "patch nodes"], detail: "2 verbs are missing" },
];
const WORKLOADS = [
  { cluster: "demo", namespace: "default", name: "web", status: "running", wanted: 7, ready: 7, updated: 7, image: "registry.example/web:1", revision: 4 },
  { cluster: "demo", namespace: "default", name: "web-canary", status: "running", wanted: 2, ready: 2, updated: 2, image: "registry.example/web:2", revision: 1 },
  { cluster: "lab", namespace: "train", name: "fine-tune", status: "scaling", wanted: 4, ready: 3, updated: 4, image: "registry.example/train:9", revision: 1 },
];
const placed = (name, others) => ({ name, agent: name, is_chosen: false, why_not: [], model: "A100", domain: "r7", free_cpu_milli: 30_500, free_memory_mib: 122_880, free_gpus: 4, free_gpu_milli: 4_250, ...others });
const PLACEMENT = {
  demand: "2 GPUs of A100, 4 cores, 16 GiB", replicas: 2, cluster: "demo", nodes: ["gpu-1", "gpu-3"], price_micros_per_h: 10_640_000, why: "",
  clusters: [
    { name: "demo", is_chosen: true, why_not: "", told_ms_ago: 1_800, nodes: [placed("gpu-1", { is_chosen: true }), placed("gpu-3", { is_chosen: true, domain: "r8" }), placed("gpu-2", {}), placed("gpu-4", { free_gpus: 1, free_gpu_milli: 1_400, why_not: ["1 GPU of A100 is free, 2 are asked for"] }), placed("gpu-5", { model: "L40S", why_not: ["it has L40S, A100 is asked for", "it is cordoned"] })] },
    { name: "lab", is_chosen: false, why_not: "its nodes could not be read: forbidden", told_ms_ago: null, nodes: [] },
  ],
};
const scaled = (name, others) => ({ target: { cluster: "demo", namespace: "default", name }, min: 1, max: 12, target_milli: 50_000, query: `sum(rate(requests_total{workload="${name}"}[1m]))`, forecast: true, present: 7, desired: 7, reactive: 5, floor: 7, why: "the load is as it should be", load_milli: 236_000, expected_milli: 401_500, autoscaler: null, detail: "", measured_at: iso(Date.now() - 4_000), set_by: "ann", ...others });
const SCALING = [
  scaled("web", {}),
  scaled("api", { present: 3, desired: 6, reactive: 6, floor: 4, load_milli: 288_400, expected_milli: 210_000, why: "the load needs more" }),
  scaled("batch", { present: 4, desired: 4, reactive: null, floor: 2, load_milli: null, expected_milli: 61_000, why: "nothing is measured, so nothing is taken away", detail: "Prometheus at http://127.0.0.1:9090 does not answer" }),
  scaled("shop", { forecast: false, autoscaler: "shop", present: 2, desired: null, reactive: null, floor: null, expected_milli: null, why: "left to autoscaler shop" }),
];
const spread = (low, high, samples) => ({ samples, quantiles: Array.from({ length: 21 }, (_, at) => low + ((high - low) * (at / 20) ** 2)) });
const rollout = (id, others) => ({
  id, target: { cluster: "demo", namespace: "default", name: "web" }, image: "web:2", from_image: "web:1", phase: "analysing", step: 2, steps: 4, why: "12 of 30 samples are there", ready: 9, start_replicas: 7,
  deadline: iso(Date.now() + 140_000), finished: false, started_at: iso(Date.now() - 60_000), started_by: "ann", weight: 20,
  plan: ["20 % of the replicas, 20 % of the traffic", "compare for 120 s", "100 % of the replicas, 100 % of the traffic", "compare for 120 s"],
  analysis: {
    at: iso(Date.now() - 2_000), verdict: "inconclusive", next: "wait", why: "12 of 30 samples are there", score: null, guards: [],
    metrics: [{ name: "latency", outcome: "no_data", why: "12 independent samples, 30 are needed", critical: true, baseline: spread(0.011, 0.018, 12), canary: spread(0.011, 0.019, 12), effective: [12, 12], still_needed: 18, shift: null, interval: null, tolerated: null, p: null, wealth: [1.4, 50] }],
  },
  ...others,
});
const ROLLOUTS = [
  rollout("019f0000-0000-7000-8000-000000000002", {}),
  rollout("019f0000-0000-7000-8000-000000000001", {
    image: "web:slow", phase: "rolled_back", finished: true, deadline: null, ready: 7, weight: 20, why: "everything is as it was: latency is worse: +0.024 where 0.0062 is tolerated",
    analysis: {
      at: iso(Date.now() - 600_000), verdict: "abort", next: "roll_back", why: "latency is worse: +0.024 where 0.0062 is tolerated", score: 0, guards: [],
      metrics: [{ name: "latency", outcome: "fail", why: "the whole 98 % interval of the shift is beyond what is tolerated", critical: true, baseline: spread(0.011, 0.018, 31), canary: spread(0.033, 0.052, 31), effective: [31, 31], still_needed: 0, shift: 0.0242, interval: [0.0221, 0.0263], tolerated: 0.0062, p: 1.4e-9, wealth: [312, 50] }],
    },
  }),
];

function rollouts(response, id) {
  if (id === undefined) return json(response, { items: ROLLOUTS });
  const found = ROLLOUTS.find((one) => one.id === id);
  return found === undefined ? problem(response, 404, "not_found", `there is no rollout ${id}`) : json(response, found);
}

const BUNDLE = `# The rules that the demo's agents decide by, alone or connected.
bundle: demo
authority:
  full_for: 6 h
  reversible_for: 72 h
  protective_for: 30 d
rules:
  - id: hot-gpu
    kind: threshold
    why: a GPU above 85 °C throttles by itself and ages faster; less power cools it
    quantity: gpu.temperature
    above: 85 °C
    for: 3 s
    clear_below: 78 °C
    then:
      - { action: power_cap, to: 220 W }
    undo_on_clear: true
    never_expires: true
  - id: leaking-workload
    kind: threshold
    quantity: workload.memory
    above: 200 MiB
    for: 2 s
    then: { action: restart }
  - id: cap-range
    kind: envelope
    selector: { kinds: [power_cap] }
    min: 100 W
    max: 350 W
`;

const RULES = [
  ["hot-gpu", "threshold", "enforce", "gpu.temperature of gpu > 85 °C for 3 s: power_cap to 220 W, else notify \"a GPU stays hot although its power was capped\""],
  ["leaking-workload", "threshold", "enforce", "workload.memory of workload > 200 MiB for 2 s: restart"],
  ["cap-range", "envelope", "enforce", "power_cap: 100 W..=350 W"],
  ["cap-cooldown", "cooldown", "enforce", "power_cap: 10 s after success, 10 s after failure, doubling up to 10 min"],
  ["restart-cooldown", "cooldown", "enforce", "restart: 10 s after success, 30 s after failure, doubling up to 1 h"],
  ["restart-budget", "budget", "enforce", "restart: at most 20 in 1 h for each target"],
  ["calm", "rate_limit", "shadow", "every action: at most 60 in 1 h for each node"],
].map(([id, kind, mode, text]) => ({ id, kind, mode, text }));

const START = Date.now() - 360_000;
const policies = [7, 6].map((generation) => ({
  generation,
  digest: digest(`bundle ${generation}`),
  name: "demo",
  issued_at: iso(START - (8 - generation) * 3_600_000),
  active: generation === 7,
  nodes: NODES - 1,
  nodes_total: NODES,
  rules: RULES,
  text: BUNDLE,
}));

// Failed checks that became tasks, one for each of some states.
const PROPOSAL = {
  certificate: digest("certificate"), fixer: "ruff-check 0.17.6", files: [{ path: "src/inference/batching/scheduler.py", added: 0, removed: 2 }],
  category: "lint", tool: "ruff", fingerprint: digest("failure"), branch: "patchbot/lint/0a1b2c3d4e",
};
const CERTIFICATE = {
  fixer: "ruff-check", fixer_version: "0.17.6", examined: [PROPOSAL.files[0].path], sandbox: "L3", network: "none", self_test: "77c1", agent: "patchbot/0.1.0/4711",
  public_key: digest("key"), base_tree: digest("base"), patched_tree: digest("patched"), patch: digest("patch"),
  commands: [["reproduce", 1, false], ["fix", 0, true], ["fix_again", 0, true], ["check", 0, true], ["canary", 1, false], ["sibling", 0, true]].map(([phase, status, passed], index) => ({
    phase, status, passed, wall_ms: 31 + index * 7, argv: ["ruff", phase === "sibling" ? "format" : "check", "--no-cache", "--force-exclude", ...(phase.startsWith("fix") ? ["--fix"] : []), PROPOSAL.files[0].path],
    ...(phase === "canary" ? { canary: PROPOSAL.files[0].path } : {}),
  })),
};
const TASKS = [
  ["leased", "unit tests", "acme/inference-gateway", {}],
  ["held", "lint", "acme/inference-gateway", { proposal: PROPOSAL, codes: ["low_confidence"], message: "`os` imported but unused", chance: { at_least: 0.66, mean: 0.78, outcomes: 9 } }],
  ["proposed", "lint", "acme/scheduler", { proposal: PROPOSAL, pull_request: "http://127.0.0.1:3000/acme/scheduler/pulls/12", message: "`os` imported but unused", chance: { at_least: 0.74, mean: 0.85, outcomes: 0 }, correlation_id: "prediction-4711", review: { checks: "pending", is_draft: true, merge_wanted: true, stopped_by: null } }],
  ["merged", "format", "acme/scheduler", { proposal: { ...PROPOSAL, category: "format", tool: "black" }, pull_request: "http://127.0.0.1:3000/acme/scheduler/pulls/11", outcome: "merged", review: { checks: "green", is_draft: false, merge_wanted: false, stopped_by: null } }],
  ["no_fix", "pytest", "acme/models", { codes: ["no_fixer"], message: "test_batching.py::test_order - assert [1, 2] == [2, 1]", error_message: "test pytest at tests/test_batching.py:41: assert [1, 2] == [2, 1]" }],
  ["refused", "lint", "acme/models", { proposal: PROPOSAL, codes: ["weakening(suppression)"], message: "line too long" }],
  ["dead", "format", "acme/console", { codes: ["lease_lost"], error_message: "its lease by `patchbot/0.1.0/17` was not extended" }],
].map(([state, check, repository, more], index) => ({
  id: `01a2301d-4cee-7703-98f2-${String(index).padStart(12, "0")}`, state, source: "forge", repository, commit: digest(`commit ${index}`).slice(0, 40), check, branch: "main",
  log_url: "http://127.0.0.1:3000/log", priority: "high", attempts: 1, agent_name: state === "leased" ? "patchbot/0.1.0/4711" : null, phase: "reproducing", progress: 0.5, codes: [],
  error_message: null, proposal: null, pull_request: null, correlation_id: null, message: "", chance: null, outcome: null, review: null, delivery: `delivery-${index}`,
  created_at: iso(Date.now() - index * 420_000), updated_at: iso(Date.now() - index * 400_000), ...more,
}));

function historyOf(task) {
  const entry = (seq, verb, who, reason, details) => ({ id: `@hub.1.${seq}`, at: task.created_at, who, via: who === "forge" ? "forge" : "remediation", verb, reason, details });
  const all = [
    entry(41, "task.create", "forge", "", [["repository", task.repository], ["check", task.check]]),
    entry(42, "task.lease", "patchbot/0.1.0/4711", "", [["epoch", "1"], ["attempt", "1"]]),
  ];
  if (task.proposal !== null) all.push(entry(43, "task.propose", "patchbot/0.1.0/4711", task.message, [["fixer", task.proposal.fixer], ["gates", "passed"], ["policy", task.state === "held" ? "require_approval by rule sure" : "allow"]]));
  if (task.pull_request !== null) all.push(entry(44, "task.publish", "forge", "", [["pull_request", task.pull_request]]));
  if (task.outcome !== null) all.push(entry(45, "task.outcome", "forge", "", [["outcome", task.outcome]]));
  return all;
}

const SITES = ["berlin", "lagos", "osaka"];
const nodes = new Map();
const series = new Map();
const decisions = new Map();
const hot = new Set();
const silent = new Set();

for (let index = 1; index <= NODES; index += 1) {
  const name = `edge-${String(index).padStart(NODES > 99 ? 5 : 2, "0")}`;
  nodes.set(name, {
    name,
    site: NODES > 99 ? `site-${String(index % 40).padStart(2, "0")}` : SITES[(index - 1) % 3],
    state: "connected",
    state_since: iso(START),
    last_seen: iso(Date.now()),
    age_ms: 0,
    policy_generation: 7,
    policy_digest: policies[0].digest,
    policy_age_ms: 4_000,
    backlog_entries: 0,
    authority: "full",
    next_authority_in_ms: 21_596_000,
    certificate_ends: iso(Date.now() + 23.4 * 3_600_000),
    rejoins: index === 5 ? 1 : 0,
    clock: index === 4 ? "stepped" : "steady",
    held_by: null,
    quarantined: null,
    epoch: 1,
    produced: 40 + index,
    stored: 40 + index,
    journal_bytes: 1_900_000 + index * 71_000,
    journal_limit_bytes: 67_108_864,
    journal_ok: true,
    unrecorded_actions: 0,
    telemetry_interval_ms: 1_000,
    version: "0.1.0",
    gpus: [0, 1].map((gpu) => ({ id: `gpu${gpu}`, model: "Sim L40S", simulated: true, temperature_mc: 45_000, power_mw: 81_000, power_cap_mw: 350_000, used_bp: 300, power_caps_mw: [100_000, 350_000], profile: "nvidia-l40s" })),
    workloads: [{ id: "workload:train", pid: 40_000 + index, memory_bytes: 61_000_000, cpu_bp: 700, restarts: 0 }],
    cpu_used_bp: 900,
    memory_used_bp: 4_100,
    last_decision: null,
    last_decisions: [],
  });
}

const KEYS = ["gpu0/gpu.temperature", "gpu0/gpu.power", "gpu0/gpu.power_cap", "gpu1/gpu.temperature", "gpu1/gpu.power", "gpu1/gpu.power_cap", "node/cpu.used", "node/memory.used", "node/pressure.cpu.some", "node/pressure.memory.some", "node/pressure.io.some"];
const UNITS = { temperature: "milli_celsius", power: "milliwatt", power_cap: "milliwatt" };
const unitOf = (key) => UNITS[key.split(".").at(-1)] ?? "basis_points";

/** One step of invented physics, and the values after it. */
function step(node, at_ms) {
  node.gpus.forEach((gpu, index) => {
    const heated = hot.has(`${node.name}/gpu${index}`);
    const cap = gpu.power_cap_mw / 1_000;
    const power = Math.min(cap, heated ? 348 : 82 + 6 * Math.sin(at_ms / 40_000 + node.name.length));
    const target = heated ? 30 + power * 0.21 : 45 + (power - 82) * 0.1;
    const before = gpu.temperature_mc / 1_000;
    gpu.power_mw = Math.round(around(power, 3) * 1_000);
    gpu.temperature_mc = Math.round(before + (target - before) * 0.12) * 1_000 + Math.round(around(0, 600));
    gpu.used_bp = heated ? 9_800 : 400;
  });
  node.cpu_used_bp = Math.max(0, Math.round(around(900 + 500 * Math.sin(at_ms / 30_000), 400)));
  node.memory_used_bp = Math.round(around(4_100, 40));
  node.workloads[0].memory_bytes = Math.round(around(61_000_000, 400_000));
  const [a, b] = node.gpus;
  return [a.temperature_mc, a.power_mw, a.power_cap_mw, b.temperature_mc, b.power_mw, b.power_cap_mw, node.cpu_used_bp, node.memory_used_bp, Math.max(0, Math.round(around(120, 200))), 0, Math.max(0, Math.round(around(30, 90)))];
}

function record(name, at_ms, values) {
  const kept = series.get(name) ?? { at_ms: [], values: KEYS.map(() => []), cuts: [] };
  kept.at_ms.push(at_ms);
  values.forEach((value, index) => kept.values[index].push(value));
  series.set(name, kept);
}

function decide(name, at_ms, wanted, connected = nodes.get(name).state === "connected") {
  const node = nodes.get(name);
  node.produced += 2;
  if (node.state === "connected") node.stored = node.produced;
  else node.backlog_entries += 2;
  const seq = node.produced - 1;
  const id = `${name}.1.${seq}`;
  const view = {
    id, node: name, epoch: 1, seq, at: iso(at_ms), action: wanted.action, target: wanted.target, summary: wanted.summary,
    verdict: wanted.verdict, rule: wanted.rule, connected, digest: digest(id), outcome: wanted.outcome,
    ...(wanted.outcome === "verified" ? { outcome_detail: "the temperature fell below 80 °C after 9 s" } : {}),
  };
  decisions.set(id, { view, wanted });
  node.last_decision = view;
  return view;
}

const CAP = { action: "power_cap", target: "gpu0", summary: "gpu0 power_cap to 220 W", verdict: "allow", rule: "hot-gpu", outcome: "verified" };
const REST = [
  { action: "restart", target: "workload:train", summary: "workload:train restart", verdict: "allow", rule: "leaking-workload", outcome: "applied" },
  { action: "restart", target: "workload:train", summary: "workload:train restart", verdict: "hold", rule: "restart-cooldown", outcome: "none" },
  { action: "power_cap", target: "gpu1", summary: "gpu1 power_cap to 350 W", verdict: "clamp", rule: "cap-range", outcome: "verified" },
  { action: "power_cap", target: "gpu0", summary: "gpu0 power_cap to 50 W", verdict: "deny", rule: "cap-range", outcome: "none" },
  { action: "release_power_cap", target: "gpu0", summary: "gpu0 release_power_cap", verdict: "allow", rule: "hot-gpu", outcome: "failed" },
];

function detail({ view, wanted }) {
  const kind = view.action === "power_cap" ? { power_cap: { milliwatts: 1_000 * Number.parseInt(view.summary.match(/(\d+) W/)?.[1] ?? "220", 10) } } : view.action;
  const runs = view.verdict === "allow" || view.verdict === "clamp";
  const memory = view.action === "restart";
  const clause = (rule, kindOf, what, op, observed, limit, unit, more = {}) => ({ rule, kind: kindOf, what, op, observed, limit, unit, age_ms: null, holds: true, verdict: "allow", shadow: false, counterfactual: "", ...more });
  const clauses = [
    memory
      ? clause("leaking-workload", "threshold", "workload.memory of workload:train", ">", 221_249_536, 209_715_200, "bytes", { age_ms: 240 })
      : clause("hot-gpu", "threshold", `gpu.temperature of ${view.target}`, ">", 91_400, 85_000, "milli_celsius", { age_ms: 810 }),
    clause("authority", "authority", "authority at policy age", ">=", 24_000, 21_600_000, "milliseconds"),
    clause("cap-range", "envelope", `${view.action} of ${view.target}`, "in", 220_000, 350_000, "milliwatt"),
    clause("cap-cooldown", "cooldown", `since the last ${view.action} of ${view.target}`, ">=", 64_200, 10_000, "milliseconds"),
    clause("calm", "rate_limit", "actions in 1 h", "<=", 61, 60, "count", { holds: false, verdict: "hold", shadow: true, counterfactual: "would pass with actions in 1 h <= 60, in 14 min" }),
  ];
  if (!runs) clauses.push(clause(view.rule, view.rule === "cap-range" ? "envelope" : "cooldown", view.rule === "cap-range" ? "power_cap of gpu0" : "since the last restart of workload:train", ">=", view.rule === "cap-range" ? 50_000 : 6_400, view.rule === "cap-range" ? 100_000 : 10_000, view.rule === "cap-range" ? "milliwatt" : "milliseconds", { holds: false, verdict: view.verdict, counterfactual: view.rule === "cap-range" ? "would pass with power_cap of gpu0 >= 100 W" : "would pass 3.6 s later" }));
  const at = Date.parse(view.at);
  const failed = view.outcome === "failed";
  const outcomes = !runs ? [] : [
    { at: iso(at + 42), state: failed ? "failed" : "applied", before: memory ? 40_003 : 350_000, after: failed ? null : memory ? 41_877 : 220_000, probed: false, detail: failed ? "the probe did not answer within 1 s" : memory ? "the process runs again with pid 41877" : "read back 220 W" },
    ...(view.outcome === "verified" ? [{ at: iso(at + 9_120), state: "verified", before: null, after: null, probed: false, detail: "gpu.temperature of gpu0 fell below 80 °C after 9.1 s" }] : []),
  ];
  return {
    summary: view,
    prev: digest(`${view.id} before`),
    decision: {
      inputs: {
        at: { mono: at - START, wall: view.at }, origin: wanted.verdict === "deny" ? { command: { id: "00".repeat(16), who: "admin", reason: "try a very low cap" } } : { rule: { rule: memory ? "leaking-workload" : "hot-gpu" } },
        wanted: { target: view.target, kind }, bundle: { generation: 7, digest: policies[0].digest }, policy_age_ms: 24_000, connected: view.connected, clock: "steady", journal_ok: true, held_by: null, hub_epoch: 1,
        readings: [{ series: { device: view.target, quantity: memory ? "workload.memory" : "gpu.temperature" }, value: 91_400, age_ms: 810, held_ms: 5_000 }], facts: [{ rule: "cap-cooldown", name: "since_ms", value: 64_200 }],
      },
      judgement: {
        verdict: view.verdict, rule: view.rule, granted: runs ? { target: view.target, kind } : null, retry_after_ms: view.verdict === "hold" ? 3_600 : null, valid_for_ms: 5_000, authority: "full", clauses,
        rejected: memory ? [] : [{ action: { target: view.target, kind: { notify: { message: "a GPU stays hot although its power was capped" } } }, because: "the first alternative was granted" }],
      },
    },
    outcomes,
    explanation: `${view.id}  ${view.at}  ${view.summary}  ${view.verdict.toUpperCase()}\n  decided ${view.connected ? "connected" : "alone"} by generation 7, proof 24 s old\n${clauses.map((one) => `  ${one.holds ? "holds" : "fails"}  ${one.rule.padEnd(18)} ${one.what}`).join("\n")}\n`,
  };
}

// Six minutes of history before the first request.
const third = [...nodes.keys()][2];
if (NODES <= 99) {
  const all = [...nodes.keys()];
  for (let index = 0; index < 40; index += 1) decide(all[index % all.length], START - 4_000_000 + index * 90_000, index % 3 === 0 ? CAP : REST[index % REST.length]);
  for (let at = START; at < Date.now(); at += 1_000) {
    const since = at - START;
    if (third !== undefined && since === 130_000) hot.add(`${third}/gpu0`);
    if (third !== undefined && since === 155_000) {
      decide(third, at, CAP, false);
      nodes.get(third).gpus[0].power_cap_mw = 220_000;
    }
    if (third !== undefined && since === 180_000) decide(third, at, REST[0], false);
    if (third !== undefined && since === 184_000) decide(third, at, REST[1], false);
    for (const [name, node] of nodes) {
      // A hole: the node was switched off for half a minute.
      if (name === third && since > 70_000 && since < 95_000) continue;
      record(name, at, step(node, at));
    }
  }
  const names = [...nodes.keys()];
  if (third !== undefined) {
    series.get(third).cuts.push([START + 120_000, START + 225_000]);
    REST.slice(2).forEach((wanted, index) => decide(names[(index + 4) % names.length], Date.now() - 90_000 + index * 20_000, wanted));
    for (const [name, node] of nodes) node.last_decision = newest(name)[0] ?? null;
  }
} else {
  for (const node of nodes.values()) step(node, Date.now());
}

function newest(name) {
  return [...decisions.values()].map(({ view }) => view).filter((view) => name === undefined || view.node === name).sort((a, b) => (a.at < b.at ? 1 : -1));
}

const watchers = new Set();
const tell = (event) => {
  const text = `data: ${JSON.stringify(event)}\n\n`;
  for (const watcher of watchers) watcher.write(text);
};

const hears = (node) => node.state === "connected" && !silent.has(node.name);

setInterval(() => {
  const now = Date.now();
  const many = NODES > 99;
  for (const [name, node] of nodes) {
    if (many && random() > 0.1) continue;
    const values = step(node, now);
    if (!many) record(name, now, values);
    if (FROM === "hub" && !hears(node)) continue;
    node.last_seen = iso(now);
    tell({ event: "sample", data: { node: name, at_ms: now, values: KEYS.map((key, index) => [key, values[index]]) } });
  }
}, 1_000);
setInterval(() => tell({ event: "tick", data: { now: iso(Date.now()) } }), 5_000);

const aged = (node) => ({ ...node, age_ms: Math.max(0, Date.now() - Date.parse(node.last_seen)) });
const control = {
  cut(node) {
    node.state = "working_alone";
    node.state_since = iso(Date.now());
    series.get(node.name)?.cuts.push([Date.now(), null]);
  },
  heal(node) {
    node.state = "connected";
    node.state_since = iso(Date.now());
    node.backlog_entries = 0;
    node.stored = node.produced;
    const last = series.get(node.name)?.cuts.at(-1);
    if (last !== undefined) last[1] ??= Date.now();
  },
  heat: (node) => void hot.add(`${node.name}/gpu0`),
  silence: (node) => void silent.add(node.name),
  decide: (node) => tell({ event: "decision", data: decide(node.name, Date.now(), CAP) }),
};

const json = (response, body, status = 200) => {
  response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json", "content-security-policy": CSP });
  response.end(JSON.stringify(body));
};
const problem = (response, status, code, text) => json(response, { type: "about:blank", title: code, status, detail: text, code }, status);

const body = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString() || "{}");
};

const counts = (deny, allow = 0) => ({ allow, clamp: 0, hold: 0, require_approval: 0, deny });

const detailOf = (policy) => ({
  policy,
  published_by: "admin",
  nodes: [],
  decisions: { since: iso(Date.now() - 3_600_000), until: iso(Date.now()), considered: 12, cut: false, verdicts: { ...counts(1, 9), clamp: 2 }, shadow_would_refuse: 1 },
  rules: policy.rules.map((rule) => ({ ...rule, why: "", owner: "", decided: counts(0, 3), would: counts(2, 1) })),
});

const calendarOf = (policy, search) => {
  const hour = Math.floor(Date.now() / 3_600_000) * 3_600_000;
  const end = iso(hour + 7_200_000);
  return {
    generation: policy.generation,
    from: search.get("from"),
    to: search.get("to"),
    now: iso(Date.now()),
    rules: [{ rule: "launch-freeze", kind: "change_freeze", mode: "enforce", text: "restart: not during the launch (UTC)", zone: "UTC", windows: [[iso(hour), end]], cut: false, active_until: end, next_start: null }],
    next_open: end,
  };
};

const server = createServer((request, response) => {
  answer(request, response).catch((error) => problem(response, 500, "internal", String(error)));
});

async function answer(request, response) {
  const url = new URL(request.url, "http://mock");
  const parts = url.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  if (parts[0] === "mock") {
    const node = nodes.get(url.searchParams.get("node"));
    if (node === undefined || control[parts[1]] === undefined) return problem(response, 404, "not_found", "no such node or verb");
    control[parts[1]](node);
    tell({ event: "node", data: aged(node) });
    return json(response, { ok: true });
  }
  if (parts[0] !== "api") return file(url.pathname, response);
  if (parts[2] === "login") {
    const { code } = await body(request);
    if (code !== "mock") return problem(response, 401, "unauthorized", "this link was used before, or is older than 10 minutes: `sentinel login` prints a new one");
    response.writeHead(204, { "set-cookie": "mock=1; Path=/; HttpOnly; SameSite=Strict" });
    return response.end();
  }
  if (LOGIN && !(request.headers.cookie ?? "").includes("mock=1")) return problem(response, 401, "unauthorized", "there is no session: `sentinel login` prints a link that makes one");
  const [, , what, id, verb] = parts;
  if (what === "stream") {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    watchers.add(response);
    request.on("close", () => watchers.delete(response));
    return response.write(`data: ${JSON.stringify({ event: "hello", data: { from: FROM, version: "0.1.0", hub_epoch: FROM === "hub" ? 1 : 0, now: iso(Date.now()) } })}\n\n`);
  }
  if (what === "nodes") {
    if (id === undefined) return json(response, { items: [...nodes.values()].map(aged) });
    const node = nodes.get(id);
    if (node === undefined) return problem(response, 404, "not_found", `there is no node \`${id}\``);
    if (verb !== undefined) {
      const { reason } = await body(request);
      node.held_by = verb === "hold" ? "admin" : null;
      tell({ event: "node", data: aged(node) });
      return json(response, { command: null, status: "done", decision: null, clauses: [], detail: `${verb}: ${reason}` });
    }
    return json(response, { ...aged(node), last_decisions: newest(id).slice(0, 5) });
  }
  if (what === "decisions") {
    if (id !== undefined) {
      const found = decisions.get(id);
      if (found === undefined) return problem(response, 404, "not_found", `there is no decision \`${id}\``);
      if (verb === "replay") return json(response, { id, identical: true, bundle: { generation: 7, digest: policies[0].digest }, recorded: digest(`${id} judgement`), recomputed: digest(`${id} judgement`), differences: [] });
      return json(response, detail(found));
    }
    const limit = Number(url.searchParams.get("limit") ?? 50);
    const all = newest(url.searchParams.get("node") ?? undefined);
    const from = Number(url.searchParams.get("before") ?? 0);
    return json(response, { items: all.slice(from, from + limit), ...(from + limit < all.length ? { next_cursor: String(from + limit) } : {}) });
  }
  if (what === "clusters") return json(response, { items: CLUSTERS });
  if (what === "deployments") return json(response, { items: WORKLOADS });
  if (what === "placement") return json(response, PLACEMENT);
  if (what === "scaling") return json(response, { items: SCALING });
  if (what === "rollouts") return rollouts(response, id);
  if (what === "domains") {
    const rack = (value, others) => ({ domain: "rack", value, members: 12, unhealthy: 0, in_flight: 0, newly_faulty: 0, gives_turns: true, turns: [], waiting: [], windows: [], ...others });
    const [first, second, third] = [...nodes.keys()];
    const window = { rule: "three-an-hour", given: 3, limit: 3, window_ms: 3_600_000, free_in_ms: 720_000 };
    return json(response, {
      items: [
        rack("all", { domain: "fleet", members: nodes.size, waiting: [second], windows: [window] }),
        rack("r7", { unhealthy: 1, newly_faulty: 1, waiting: [second, third].filter((name) => name !== undefined) }),
        rack("r8", { in_flight: 1, turns: [{ node: first, acts: true, for_ms: 1_200 }] }),
      ],
    });
  }
  if (what === "policies" && id === undefined) return json(response, { items: policies });
  if (what === "policies") {
    const policy = policies.find((one) => String(one.generation) === id);
    if (policy === undefined) return problem(response, 404, "not_found", `there is no policy ${id}`);
    return json(response, verb === "calendar" ? calendarOf(policy, url.searchParams) : detailOf(policy));
  }
  if (what === "tasks") {
    if (id === undefined) return json(response, TASKS);
    const task = TASKS.find((one) => one.id === id);
    if (task === undefined) return problem(response, 404, "not_found", `there is no task \`${id}\``);
    if (verb === "certificate") return json(response, CERTIFICATE);
    if (verb !== undefined) return json(response, task);
    return json(response, { ...task, history: historyOf(task) });
  }
  if (what === "series") {
    const name = url.searchParams.get("node");
    const since = Number(url.searchParams.get("since_ms"));
    const kept = series.get(name) ?? { at_ms: [], values: KEYS.map(() => []), cuts: [] };
    const until = FROM === "hub" && nodes.get(name)?.state === "working_alone" ? Date.parse(nodes.get(name).last_seen) : Number.POSITIVE_INFINITY;
    const pick = kept.at_ms.flatMap((at, index) => (at >= since && at <= until ? [index] : []));
    return json(response, {
      node: name,
      at_ms: pick.map((index) => kept.at_ms[index]),
      lines: KEYS.map((key, line) => ({ device: key.split("/")[0], quantity: key.split("/")[1], unit: unitOf(key), simulated: key.startsWith("gpu"), values: pick.map((index) => kept.values[line][index]) })),
      decisions: newest(name).filter((view) => Date.parse(view.at) >= since).reverse(),
      cuts: kept.cuts.filter(([, to]) => to === null || to >= since),
    });
  }
  return problem(response, 404, "not_found", `there is no route ${url.pathname}`);
}

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

async function file(path, response) {
  if (!has("dist")) return problem(response, 404, "not_found", "start with --dist to serve the built console");
  const name = extname(path) === "" ? "index.html" : path.slice(1);
  if (name.includes("..")) return problem(response, 404, "not_found", "no such file");
  const bytes = await readFile(join(DIST, name)).catch(() => null);
  if (bytes === null) return problem(response, 404, "not_found", `there is no file ${path}`);
  response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream", "content-security-policy": CSP, "cache-control": "no-cache" });
  return response.end(bytes);
}

server.listen(PORT, "127.0.0.1", () => console.log(`mock api (${FROM}, ${NODES} nodes) http://127.0.0.1:${server.address().port}`));
