// The words and signs of states, verdicts and outcomes: each state has a sign and a word, never a colour alone.

import type { Action, Authority, ClockError, ClockState, FaultView, NodeView, PlanState, Verdict } from "../api/types";
import { delay, human } from "./format";

/** A colour token's name. */
export type Tone = "ok" | "alone" | "warn" | "down" | "unknown" | "plain";

/** A sign, a word and the tone that both have. */
export interface Word {
  sign: string;
  word: string;
  tone: Tone;
}

/** How a node stands; that it is shut out, a quarantine or a person's hold comes before the link. */
export function stateOf(node: Pick<NodeView, "state" | "held_by" | "quarantined" | "shut_out">): Word {
  if (node.shut_out !== undefined) return { sign: "▲", word: "shut out", tone: "down" };
  if (node.quarantined !== null) return { sign: "▲", word: "quarantined", tone: "down" };
  if (node.held_by !== null) return { sign: "⏸", word: `held by ${node.held_by}`, tone: "warn" };
  return linkOf(node.state);
}

/** How a node stands with its hub. */
export function linkOf(state: NodeView["state"]): Word {
  switch (state) {
    case "connected":
      return { sign: "●", word: "connected", tone: "ok" };
    case "working_alone":
      return { sign: "◐", word: "working alone", tone: "alone" };
    case "down":
      return { sign: "✕", word: "down", tone: "down" };
    case "unknown":
      return { sign: "○", word: "unknown", tone: "unknown" };
  }
}

/** A verdict; a shadow rule's verdict did not count. */
export function verdictOf(verdict: Verdict, shadow = false): Word {
  if (shadow) return { sign: "◌", word: `shadow: ${verdictOf(verdict).word}`, tone: "unknown" };
  switch (verdict) {
    case "allow":
      return { sign: "✓", word: "allowed", tone: "ok" };
    case "clamp":
      return { sign: "⇥", word: "clamped", tone: "warn" };
    case "hold":
      return { sign: "⏳", word: "held", tone: "warn" };
    case "require_approval":
      return { sign: "?", word: "needs approval", tone: "warn" };
    case "deny":
      return { sign: "✕", word: "denied", tone: "down" };
  }
}

/** Where a plan stands. */
export function planStateOf(state: PlanState): Word {
  const word = state.replaceAll("_", " ");
  switch (state) {
    case "completed":
      return { sign: "✓", word, tone: "ok" };
    case "held":
      return { sign: "⏳", word, tone: "warn" };
    case "awaiting_approval":
      return { sign: "?", word: "needs approval", tone: "warn" };
    case "rolling_back":
    case "rolled_back":
      return { sign: "↶", word, tone: "warn" };
    case "rollback_failed":
    case "failed":
    case "rejected":
      return { sign: "✕", word, tone: "down" };
    case "expired":
    case "cancelled":
    case "superseded":
      return { sign: "–", word, tone: "unknown" };
    default:
      return { sign: "▸", word, tone: "alone" };
  }
}

/** Where a step of a plan stands. */
export function stepStateOf(state: string): Word {
  const word = state.replaceAll("_", " ");
  switch (state) {
    case "done":
      return { sign: "✓", word, tone: "ok" };
    case "waiting":
      return { sign: "…", word, tone: "unknown" };
    case "failed":
    case "stuck":
      return { sign: "✕", word, tone: "down" };
    case "undone":
    case "undoing":
    case "undo_intending":
    case "undo_probing":
      return { sign: "↶", word, tone: "warn" };
    default:
      return { sign: "▸", word, tone: "alone" };
  }
}

/** Whether a prediction came true; nothing for a plan that is not over or claims nothing. */
export function cameTrueOf(text: string | undefined): Word | null {
  if (text === undefined || text === "") return null;
  if (text === "true") return { sign: "✓", word: "came true", tone: "ok" };
  if (text === "false") return { sign: "✕", word: "did not come true", tone: "down" };
  return { sign: "○", word: text, tone: "unknown" };
}

/** How much a brain may do without a person. */
export function tierOf(tier: string, name: string): Word {
  const tone: Tone = tier === "T3" ? "ok" : tier === "T2" ? "alone" : tier === "T1" ? "warn" : "unknown";
  const sign = tier === "T3" ? "●" : tier === "T2" ? "◐" : tier === "T1" ? "?" : "○";
  return { sign, word: `${tier} ${name}`, tone };
}

/** What came of an action. */
export function outcomeOf(outcome: string): Word {
  switch (outcome) {
    case "verified":
      return { sign: "✓", word: "verified", tone: "ok" };
    case "applied":
      return { sign: "✓", word: "applied", tone: "plain" };
    case "not_verified":
      return { sign: "!", word: "not verified", tone: "warn" };
    case "failed":
      return { sign: "✕", word: "failed", tone: "down" };
    case "unknown":
      return { sign: "○", word: "unknown", tone: "unknown" };
    case "dropped":
      return { sign: "–", word: "dropped", tone: "warn" };
    case "pending":
      return { sign: "…", word: "pending", tone: "unknown" };
    case "none":
      return { sign: "–", word: "nothing ran", tone: "unknown" };
    default:
      return { sign: "·", word: outcome.replaceAll("_", " "), tone: "plain" };
  }
}

const AUTHORITY: Record<Authority, { tone: Tone; means: string }> = {
  full: { tone: "plain", means: "whatever the bundle grants" },
  reversible: { tone: "warn", means: "nothing irreversible or disruptive" },
  protective: { tone: "warn", means: "protective actions only" },
  observe: { tone: "down", means: "rules marked never_expires, and nothing else" },
};

export const authorityTone = (step: Authority): Tone => AUTHORITY[step].tone;
export const authorityMeans = (step: Authority): string => AUTHORITY[step].means;

const CLOCK: Record<ClockState, { tone: Tone; word: string }> = {
  steady: { tone: "plain", word: "steady" },
  stepped: { tone: "warn", word: "stepped" },
  behind_floor: { tone: "down", word: "behind its floor" },
};

export const clockWord = (clock: ClockState): string => CLOCK[clock].word;
/** What is known of its difference from the hub's clock, after the word; empty if nothing was told. */
export function clockErrorText(error: ClockError | null | undefined): string {
  if (error === null || error === undefined) return "";
  return error === "not_compared" ? ", not compared with the hub's since the start" : `, ± ${delay(error.within_ms)} to the hub's`;
}

/** Which power caps a GPU may be asked for; the first above the second is none. */
export function capsText(caps: [number, number] | null | undefined): string {
  if (caps === null || caps === undefined) return "—";
  const [least, greatest] = caps;
  return least > greatest ? "nothing" : `${human(least, "milliwatt")} to ${human(greatest, "milliwatt")}`;
}

export const clockTone = (clock: ClockState): Tone => CLOCK[clock].tone;

/** How a fault is shown: one that is over is no longer bad. */
export function faultTone(fault: Pick<FaultView, "severity" | "over_at">): Tone {
  if (fault.over_at !== undefined || fault.severity === "info") return "plain";
  return fault.severity === "critical" || fault.severity === "high" ? "down" : "warn";
}

/** An action as the CLI and the journal write it: `gpu0 power_cap to 220 W`. */
export function actionText({ target, kind }: Action): string {
  if (typeof kind === "string") return `${target} ${kind}`;
  if ("power_cap" in kind) return `${target} power_cap to ${human(kind.power_cap.milliwatts, "milliwatt")}`;
  if ("throttle" in kind) return `${target} throttle to ${human(kind.throttle.share_bp, "basis_points")} of a core`;
  if ("lock_clocks" in kind) return `${target} lock_clocks to ${human(kind.lock_clocks.max_mhz, "megahertz")}`;
  return `${target} notify "${kind.notify.message}"`;
}
