// What the console knows: one state for all pages, changed only by `reduce`, from lists and from the one stream.
//
// `reduce` reads no clock: `at` is the page's own running clock in milliseconds (`performance.now()`), the only clock that
// ages are measured by. Rows are replaced, not changed, so that a view can compare by identity.
//
// Invariant: a list that was asked for before an event arrived never undoes that event.
// Read next: `stream.ts` (who calls `reduce`), `use.ts` (who reads the state), `../text/age.ts`.

import type { DecisionView, GpuView, Hello, NodeView, PolicyView, Sample, StreamEvent, WorkloadView } from "../api/types";
import { firstCadence, nextCadence } from "../text/age";

/** A node and when it was heard. */
export interface Row {
  view: NodeView;
  /** The page's clock when `age_ms` was true. */
  heard_at: number;
  /** How old the node's last frame was then. */
  age_ms: number | null;
  /** Learned time between arrivals of samples. */
  cadence_ms: number;
  /** The page's clock at the last event of this node; 0 before any. */
  event_at: number;
  /** The node's wall clock at the newest sample shown. */
  sample_at_ms: number;
  /** The page's clock when that sample came. */
  sample_heard_at: number;
}

export type Link = "connecting" | "live" | "lost" | "unauthorized";

export interface State {
  link: Link;
  /** The page's clock when the stream last said anything. */
  link_at: number;
  /** The page's clock when the link took its present state. */
  link_since: number;
  hello: Hello | null;
  /** The server's wall clock, and the page's clock when it was heard. */
  server: { now_ms: number; at: number } | null;
  nodes: Map<string, Row>;
  nodes_read: boolean;
  /** Newest first, bounded. */
  decisions: DecisionView[];
  /** Where the API goes on after the decisions that were read; null when there are no older ones. */
  older: string | null;
  policies: Map<number, PolicyView>;
  policies_read: boolean;
  /** What the last reading of lists failed with. */
  failure: { message: string; advice: string } | null;
}

export type Change =
  | { kind: "event"; event: StreamEvent }
  | { kind: "link"; link: Link }
  | { kind: "nodes"; items: NodeView[]; asked_at: number }
  | { kind: "node"; item: NodeView; asked_at: number }
  | { kind: "decisions"; items: DecisionView[]; older?: string | null }
  | { kind: "policies"; items: PolicyView[] }
  | { kind: "failed"; message: string; advice: string };

/** Enough for every view of "last" decisions; the decisions page pages through the API beyond it. */
export const MAX_DECISIONS = 500;

export function emptyState(): State {
  return {
    link: "connecting",
    link_at: 0,
    link_since: 0,
    hello: null,
    server: null,
    nodes: new Map(),
    nodes_read: false,
    decisions: [],
    older: null,
    policies: new Map(),
    policies_read: false,
    failure: null,
  };
}

/** Takes one change in. */
export function reduce(state: State, change: Change, at: number): void {
  switch (change.kind) {
    case "event":
      state.link_at = at;
      return reduceEvent(state, change.event, at);
    case "link":
      if (state.link !== change.link) state.link_since = at;
      state.link = change.link;
      return;
    case "nodes": {
      const named = new Set(change.items.map((item) => item.name));
      for (const [name, row] of state.nodes) if (!named.has(name) && row.event_at < change.asked_at) state.nodes.delete(name);
      for (const item of change.items) takeListed(state, item, change.asked_at, at);
      takeDecisions(state, change.items.flatMap(decisionsOf));
      state.nodes_read = true;
      state.failure = null;
      return;
    }
    case "node":
      takeListed(state, change.item, change.asked_at, at);
      takeDecisions(state, decisionsOf(change.item));
      return;
    case "decisions":
      takeDecisions(state, change.items);
      if (change.older !== undefined) state.older = change.older;
      return;
    case "policies":
      state.policies = new Map(change.items.map((item) => [item.generation, item]));
      state.policies_read = true;
      return;
    case "failed":
      state.failure = { message: change.message, advice: change.advice };
      return;
  }
}

function reduceEvent(state: State, event: StreamEvent, at: number): void {
  switch (event.event) {
    case "hello":
      state.hello = event.data;
      state.server = { now_ms: Date.parse(event.data.now), at };
      if (state.link !== "live") state.link_since = at;
      state.link = "live";
      return;
    case "tick":
      state.server = { now_ms: Date.parse(event.data.now), at };
      return;
    case "node":
      takeNode(state, event.data, at, at);
      takeDecisions(state, decisionsOf(event.data));
      return;
    case "decision":
      takeDecisions(state, [event.data]);
      takeLast(state, event.data);
      return;
    case "sample":
      return takeSample(state, event.data, at);
    case "policy":
      // A new active bundle takes the mark from the one before.
      if (event.data.active) for (const [key, policy] of state.policies) if (policy.active) state.policies.set(key, { ...policy, active: false });
      state.policies.set(event.data.generation, event.data);
      return;
    case "reset":
      // `stream.ts` reads the lists again; what is shown stays and ages until they come.
      return;
  }
}

function takeListed(state: State, view: NodeView, asked_at: number, at: number): void {
  const row = state.nodes.get(view.name);
  if (row !== undefined && row.event_at >= asked_at) {
    // Newer events are kept; only what no event carries is taken from the answer.
    const { faults } = view;
    if (view.last_decisions.length > 0 || faults !== undefined) {
      const last_decisions = view.last_decisions.length > 0 ? view.last_decisions : row.view.last_decisions;
      const told = faults === undefined ? { last_decisions } : { last_decisions, faults };
      state.nodes.set(view.name, { ...row, view: { ...row.view, ...told } });
    }
  } else {
    takeNode(state, view, at, 0);
  }
}

function takeNode(state: State, view: NodeView, at: number, event_at: number): void {
  const row = state.nodes.get(view.name);
  const shown = row !== undefined && view.last_decisions.length === 0 ? { ...view, last_decisions: row.view.last_decisions } : view;
  // Only the answer for a single node tells of faults.
  const kept = shown.faults === undefined && row?.view.faults !== undefined ? { ...shown, faults: row.view.faults } : shown;
  state.nodes.set(view.name, {
    view: kept,
    heard_at: at,
    age_ms: view.age_ms,
    cadence_ms: row === undefined ? firstCadence(view.telemetry_interval_ms) : Math.max(row.cadence_ms, firstCadence(view.telemetry_interval_ms)),
    event_at: Math.max(event_at, row?.event_at ?? 0),
    sample_at_ms: row?.sample_at_ms ?? 0,
    sample_heard_at: row?.sample_heard_at ?? 0,
  });
}

function takeSample(state: State, sample: Sample, at: number): void {
  const row = state.nodes.get(sample.node);
  // A late sample belongs to the charts only: the newest value stays.
  if (row === undefined || sample.at_ms < row.sample_at_ms) return;
  const gap_ms = row.sample_at_ms === 0 ? 0 : at - row.sample_heard_at;
  state.nodes.set(sample.node, {
    ...row,
    view: withSample(row.view, new Map(sample.values)),
    heard_at: at,
    age_ms: 0,
    event_at: at,
    sample_at_ms: sample.at_ms,
    sample_heard_at: at,
    cadence_ms: nextCadence(row.cadence_ms, gap_ms, row.view.telemetry_interval_ms),
  });
}

function withSample(view: NodeView, values: Map<string, number | null>): NodeView {
  const latest = (key: string, before: number | null): number | null => (values.has(key) ? (values.get(key) ?? null) : before);
  const gpu = (one: GpuView): GpuView => ({
    ...one,
    temperature_mc: latest(`${one.id}/gpu.temperature`, one.temperature_mc),
    power_mw: latest(`${one.id}/gpu.power`, one.power_mw),
    power_cap_mw: latest(`${one.id}/gpu.power_cap`, one.power_cap_mw),
    used_bp: latest(`${one.id}/gpu.used`, one.used_bp),
  });
  const workload = (one: WorkloadView): WorkloadView => ({
    ...one,
    pid: latest(`${one.id}/workload.pid`, one.pid),
    memory_bytes: latest(`${one.id}/workload.memory`, one.memory_bytes),
    cpu_bp: latest(`${one.id}/workload.cpu`, one.cpu_bp),
    restarts: latest(`${one.id}/workload.restarts`, one.restarts),
  });
  return {
    ...view,
    gpus: view.gpus.map(gpu),
    workloads: view.workloads.map(workload),
    cpu_used_bp: latest("node/cpu.used", view.cpu_used_bp),
    memory_used_bp: latest("node/memory.used", view.memory_used_bp),
  };
}

const decisionsOf = (view: NodeView): DecisionView[] => (view.last_decision === null ? view.last_decisions : [view.last_decision, ...view.last_decisions]);

/** Merges decisions into the list; the latest telling of one wins. */
function takeDecisions(state: State, items: DecisionView[]): void {
  if (items.length === 0) return;
  const merged = new Map(state.decisions.map((item) => [item.id, item]));
  for (const item of items) merged.set(item.id, item);
  state.decisions = [...merged.values()].sort(newestFirst).slice(0, MAX_DECISIONS);
}

/** Makes a decision of the stream the last of its node, unless it is an older one with a new outcome. */
function takeLast(state: State, item: DecisionView): void {
  const row = state.nodes.get(item.node);
  if (row === undefined) return;
  const before = row.view.last_decision;
  const last_decision = before === null || newestFirst(item, before) <= 0 ? item : before;
  const last_decisions = [item, ...row.view.last_decisions.filter((one) => one.id !== item.id)].sort(newestFirst).slice(0, 5);
  state.nodes.set(item.node, { ...row, view: { ...row.view, last_decision, last_decisions } });
}

/** Newest first; on one node by its journal's order, which no clock can change. */
export function newestFirst(a: DecisionView, b: DecisionView): number {
  if (a.node === b.node) return b.epoch - a.epoch || b.seq - a.seq;
  return a.at < b.at ? 1 : a.at > b.at ? -1 : a.node < b.node ? -1 : 1;
}
