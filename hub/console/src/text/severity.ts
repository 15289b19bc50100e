// How a node stands, in one word that every page uses: broken, attention, unknown or ok; and why, as text.
//
// The word is the worst of the reasons. Nothing is guessed: a reason is what the node or the hub has said, or a value beside the
// limit that a rule in force puts on it. `unknown` is no data, and never counts as well.
//
// Read next: `sentence.ts` (the first line), `../pages/Fleet.tsx` (rows and numbers), `../parts/Title.tsx` (the tab).

import type { GpuView, Isolation, NodeView, RuleView } from "../api/types";
import { human } from "./format";
import type { Tone } from "./words";

export type Severity = "broken" | "attention" | "unknown" | "ok";

/** Worst first. */
export const SEVERITIES: Severity[] = ["broken", "attention", "unknown", "ok"];

export interface Reason {
  level: Severity;
  text: string;
}

export interface Standing {
  level: Severity;
  /** Worst first; empty when all is well. */
  reasons: Reason[];
}

export const toneOf = (level: Severity): Tone => ({ broken: "down", attention: "warn", unknown: "unknown", ok: "plain" })[level] as Tone;

/** Within this share of a limit a value needs attention. */
const NEAR = 0.95;

/** A threshold on the temperature of GPUs in a rule's line for people, for example `gpu.temperature > 85 °C for 3 s`. */
const THRESHOLD = /\bgpu\.temperature\b(?: of \S+)?\s*(?:>=?|above|over)\s*(\d+(?:\.\d+)?)\s*°C/i;

/** The lowest temperature that a rule in force acts on, in thousandths of a degree; null where no rule does. */
export function temperatureLimit(rules: RuleView[]): number | null {
  const limits = rules.flatMap((rule) => {
    const found = rule.mode === "enforce" ? THRESHOLD.exec(rule.text) : null;
    return found === null ? [] : [1_000 * Number(found[1])];
  });
  return limits.length === 0 ? null : Math.min(...limits);
}

/** How a GPU's temperature stands to its limit. */
export function heatOf(gpu: Pick<GpuView, "temperature_mc">, limit_mc: number | null): Severity {
  if (gpu.temperature_mc === null) return "unknown";
  if (limit_mc === null) return "ok";
  return gpu.temperature_mc > limit_mc ? "broken" : gpu.temperature_mc >= NEAR * limit_mc ? "attention" : "ok";
}

/** How far a cut goes, as the end of a sentence about the node. */
export function isolationText(isolation: Isolation): string {
  switch (isolation) {
    case "node":
      return "has lost its own path; its site still reaches the hub";
    case "site":
      return "is of a site that is cut off";
    case "hub":
      return "finds the hub away, for everybody";
    case "unknown":
      return "is cut off, and nobody is in touch who could tell how far the cut goes";
  }
}

/** Whether a GPU may draw less than its device allows. */
export const isCapped = (gpu: GpuView): boolean => gpu.power_cap_mw !== null && gpu.power_caps_mw != null && gpu.power_cap_mw < gpu.power_caps_mw[1];

/** How a node stands. `limit_mc` is what the rules of its bundle say of temperature; `late`: its values are not of now although it is connected. */
export function standingOf(node: NodeView, limit_mc: number | null, late = false): Standing {
  const reasons: Reason[] = [];
  const add = (level: Severity, text: string): void => void reasons.push({ level, text });
  const away = node.state !== "connected";
  if (node.shut_out !== undefined) add("broken", `is shut out: ${node.shut_out}`);
  if (node.quarantined !== null) add("broken", `is quarantined: ${node.quarantined}`);
  for (const finding of node.findings ?? []) add("broken", `is not well: ${finding}`);
  // What a node that is away measured last is no news; what it does about it cannot be seen from here.
  if (!away) for (const gpu of node.gpus) addHeat(gpu, limit_mc, add);
  if (!node.journal_ok && !away) add("broken", "its journal accepts nothing, so only protective actions run");
  const last = node.last_decision;
  if (last !== null && (last.outcome === "failed" || last.outcome === "not_verified")) add("broken", `${last.summary} ${last.outcome.replace("_", " ")}`);
  if (node.unrecorded_actions > 0) add("attention", `${node.unrecorded_actions} protective actions are not recorded yet`);
  if (node.held_by !== null) add("attention", `is held by ${node.held_by}`);
  if (node.authority !== "full") add("attention", `may only act as ${node.authority}`);
  if (node.clock !== "steady") add("attention", "its clock is doubtful");
  if (node.via !== undefined) add("attention", `is carried by ${(node.path ?? [node.via]).join(" and ")}`);
  if (node.isolation !== undefined) add("attention", isolationText(node.isolation));
  if (node.state === "down") add("attention", "is down");
  if (late) add("attention", "its values are late");
  if (node.state === "unknown") add("unknown", "is unknown");
  reasons.sort((a, b) => SEVERITIES.indexOf(a.level) - SEVERITIES.indexOf(b.level));
  return { level: reasons[0]?.level ?? "ok", reasons };
}

function addHeat(gpu: GpuView, limit_mc: number | null, add: (level: Severity, text: string) => void): void {
  const capped = isCapped(gpu);
  const cap = capped ? `, capped to ${human(gpu.power_cap_mw, "milliwatt")}` : "";
  const at = `${gpu.id} is at ${human(gpu.temperature_mc, "milli_celsius")}`;
  switch (heatOf(gpu, limit_mc)) {
    case "broken":
      return add("broken", `${at}, above its limit of ${human(limit_mc, "milli_celsius")}${capped ? cap : ", and not capped"}`);
    case "attention":
      return add("attention", `${at}, near its limit of ${human(limit_mc, "milli_celsius")}${cap}`);
    default:
      if (capped) add("attention", `${gpu.id} is capped to ${human(gpu.power_cap_mw, "milliwatt")}`);
  }
}

/** The tab's title, with how many nodes are broken before it. */
export const titled = (name: string, broken: number): string => `${broken === 0 ? "" : `(${broken}) `}${name} · Sentinel`;
