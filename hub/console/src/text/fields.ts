// The words that filters, column choosers and exports use for the parts of a row, and the commands that show the same.
//
// Names follow the API's JSON; numbers are in the units that people read, so that `gpu.temperature>80` means degrees.

import type { DecisionView, NodeView } from "../api/types";
import type { Row } from "../state/store";
import { ageNow } from "./age";
import type { Fields } from "./filter";

/** What a filter of the fleet sees: a node, and what the page adds. */
export interface FleetRow {
  row: Row;
  /** Age of its data in milliseconds. */
  age_ms: number | null;
  /** Its bundle is not the newest one. */
  drift: boolean;
}

/** Rows for filters, with ages as of `now` on the page's clock. */
export function fleetRow(row: Row, newest_generation: number, now: number): FleetRow {
  return { row, age_ms: ageNow(row.age_ms, row.heard_at, now), drift: newest_generation > 0 && row.view.policy_generation !== newest_generation };
}

const present = (values: (number | null)[], scale: number): number[] => values.filter((value) => value !== null).map((value) => value / scale);
const view = (read: (node: NodeView) => string | number | boolean | null | (string | number)[]) => (one: FleetRow) => read(one.row.view);

export const NODE_FIELDS: Fields<FleetRow> = {
  name: view((node) => node.name),
  site: view((node) => node.site),
  state: view((node) => [node.state, ...(node.held_by === null ? [] : ["held"]), ...(node.quarantined === null ? [] : ["quarantined"]), ...(node.shut_out === undefined ? [] : ["shut out"])]),
  age: (one) => (one.age_ms === null ? null : one.age_ms / 1_000),
  "gpu.temperature": view((node) => present(node.gpus.map((gpu) => gpu.temperature_mc), 1_000)),
  "gpu.power": view((node) => present(node.gpus.map((gpu) => gpu.power_mw), 1_000)),
  "gpu.power_cap": view((node) => present(node.gpus.map((gpu) => gpu.power_cap_mw), 1_000)),
  cpu: view((node) => present([node.cpu_used_bp], 100)),
  memory: view((node) => present([node.memory_used_bp], 100)),
  workload: view((node) => node.workloads.map((workload) => workload.id.replace("workload:", ""))),
  policy_generation: view((node) => node.policy_generation),
  drift: (one) => one.drift,
  backlog_entries: view((node) => node.backlog_entries),
  authority: view((node) => node.authority),
  held_by: view((node) => node.held_by),
  clock: view((node) => node.clock),
  version: view((node) => node.version),
  verdict: view((node) => node.last_decision?.verdict ?? null),
  rule: view((node) => node.last_decision?.rule ?? null),
};

export const DECISION_FIELDS: Fields<DecisionView> = {
  id: (one) => one.id,
  node: (one) => one.node,
  action: (one) => one.action,
  target: (one) => one.target,
  verdict: (one) => one.verdict,
  rule: (one) => one.rule,
  outcome: (one) => one.outcome,
  connected: (one) => one.connected,
  summary: (one) => one.summary,
};

/** A text as one CSV field; a leading sign that a spreadsheet would run as a formula is made harmless. */
export function csvField(value: string | number | boolean | null): string {
  const text = value === null ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** A table as CSV (RFC 4180). */
export function csv(header: string[], rows: (string | number | boolean | null)[][]): string {
  return [header, ...rows].map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n";
}
