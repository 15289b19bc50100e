// The first line of each page: its question answered as a sentence with live values.
//
// A sentence is a list of parts, so that `sim` can stand as a tag and a state can have its tone; `plain` gives the same words
// for screen readers and tests. The trace is quoted, never computed again: what is said stands in the decision.

import type { Action, Clause, DecisionDetail, DecisionView, NodeView } from "../api/types";
import { clockTime, count, fineSpan, human, span } from "./format";
import { isolationText, type Standing, standingOf } from "./severity";
import { actionText, outcomeOf, type Tone, verdictOf } from "./words";

/** A stretch of a sentence: words, perhaps with a tone or a link; or the `sim` tag. */
export type Part = { text: string; tone?: Tone; href?: string; live?: boolean } | { sim: true };

export const plain = (parts: Part[]): string => parts.map((part) => ("sim" in part ? "(sim)" : part.text)).join("");

/** The words without their running numbers: a screen reader hears a sentence again only when this changes. */
export const gist = (parts: Part[]): string => parts.map((part) => ("sim" in part ? "(sim)" : part.live === true ? "…" : part.text)).join("");

const NAMED = 3;

/** How the fleet stands: who is broken and why, how many are connected, and who is not, for how long. */
export function fleetSentence(nodes: NodeView[], now_ms: number, standings: Map<string, Standing> = new Map()): Part[] {
  if (nodes.length === 0) return [{ text: "No node has joined yet." }];
  const connected = nodes.filter((node) => node.state === "connected").length;
  const all = connected === nodes.length;
  const broken = nodes.flatMap((node) => {
    const reasons = (standings.get(node.name) ?? standingOf(node, null)).reasons.filter((reason) => reason.level === "broken");
    return reasons.length === 0 ? [] : [{ node, reasons }];
  });
  const parts: Part[] = [];
  for (const { node, reasons } of broken.slice(0, NAMED)) {
    const more = reasons.length === 1 ? "" : ` (and ${reasons.length - 1} more)`;
    parts.push({ text: node.name, href: `/nodes/${node.name}` }, { text: ` ${reasons[0]?.text ?? ""}${more}`, tone: "down" }, { text: "; " });
  }
  if (broken.length > NAMED) parts.push({ text: `${broken.length - NAMED} more are broken`, tone: "down" }, { text: "; " });
  const start = parts.length === 0 ? "All" : "all";
  parts.push({ text: all ? `${start} ${count(nodes.length, "node")} connected` : `${connected} of ${count(nodes.length, "node")} connected`, tone: all && broken.length === 0 ? "ok" : "plain" });
  const alone = nodes.filter((node) => node.state === "working_alone");
  for (const node of alone.slice(0, NAMED)) {
    parts.push({ text: "; " }, { text: node.name, href: `/nodes/${node.name}` }, { text: " has worked alone", tone: "alone" });
    parts.push(...lasting(node, now_ms), ...waiting(node));
  }
  if (alone.length > NAMED) parts.push({ text: `; ${alone.length - NAMED} more work alone`, tone: "alone" });
  parts.push(...tally(nodes, "down", "down", "down"), ...tally(nodes, "unknown", "unknown", "unknown"));
  const held = nodes.filter((node) => node.held_by !== null).length;
  if (held > 0) parts.push({ text: `; ${held} held by a person`, tone: "warn" });
  return [...parts, { text: "." }];
}

function tally(nodes: NodeView[], state: NodeView["state"], word: string, tone: Tone): Part[] {
  const those = nodes.filter((node) => node.state === state);
  const [first] = those;
  if (first === undefined) return [];
  if (those.length === 1) return [{ text: "; " }, { text: first.name, href: `/nodes/${first.name}` }, { text: ` is ${word}`, tone }];
  return [{ text: `; ${those.length} are ${word}`, tone }];
}

function lasting(node: NodeView, now_ms: number): Part[] {
  return node.state_since === null ? [] : [{ text: " for " }, { text: span(now_ms - Date.parse(node.state_since)), live: true }];
}

function waiting(node: NodeView): Part[] {
  return node.backlog_entries === 0 ? [] : [{ text: " and has " }, { text: `${node.backlog_entries} ${node.backlog_entries === 1 ? "entry" : "entries"} waiting`, live: true }];
}

const waits = (entries: number): string => (entries === 1 ? "1 entry waits" : `${entries} entries wait`);

/** How one node stands and what it may still do. */
export function nodeSentence(node: NodeView, now_ms: number, age_ms: number | null, from: "hub" | "node"): Part[] {
  const parts: Part[] = [{ text: node.name }];
  const other = from === "node" ? "the hub" : "us";
  switch (node.state) {
    case "connected":
      parts.push({ text: node.via === undefined ? " is connected" : ` is connected via ${(node.path ?? [node.via]).join(" and ")}`, tone: node.via === undefined ? "ok" : "warn" }, ...lasting(node, now_ms));
      // A neighbour knows that it is connected, and no more.
      if (node.told_by !== undefined) parts.push({ text: `, says ${node.told_by}` });
      else parts.push({ text: node.backlog_entries === 0 ? " and the hub has every entry" : ` and ${waits(node.backlog_entries)} for the hub` });
      break;
    case "working_alone":
      parts.push({ text: ` works alone`, tone: "alone" }, ...lasting(node, now_ms), { text: `, deciding without ${other} by policy generation ${node.policy_generation}` });
      if (node.isolation !== undefined) parts.push({ text: `; it ${isolationText(node.isolation)}`, tone: "warn" });
      if (node.backlog_entries > 0) parts.push({ text: "; " }, { text: waits(node.backlog_entries), live: true }, { text: " for the hub" });
      break;
    case "unknown":
      parts.push({ text: " is unknown", tone: "unknown" }, ...lasting(node, now_ms), { text: ": what it does now cannot be said" });
      break;
    case "down":
      parts.push({ text: " is down", tone: "down" }, ...lasting(node, now_ms), { text: ": it said that it stops" });
      break;
  }
  if (node.state !== "connected" && from === "hub" && age_ms !== null) parts.push({ text: "; the values are " }, { text: `${span(age_ms)} old`, live: true });
  if (node.shut_out !== undefined) parts.push({ text: `; shut out: ${node.shut_out}`, tone: "down" });
  if (node.quarantined !== null) parts.push({ text: `; quarantined: ${node.quarantined}`, tone: "down" });
  if (node.held_by !== null) parts.push({ text: `; held by ${node.held_by}`, tone: "warn" });
  if (!node.journal_ok) parts.push({ text: "; its journal accepts nothing, so only protective actions run", tone: "down" });
  return [...parts, { text: "." }];
}

/** What was decided, on what, when and because of what: the decision in one sentence. */
export function decisionSentence(detail: DecisionDetail, simulated: boolean, now_ms: number): Part[] {
  const { summary, decision } = detail;
  const { inputs, judgement } = decision;
  const parts: Part[] = [{ text: summary.node, href: `/nodes/${summary.node}` }];
  if (!inputs.connected) parts.push({ text: ", " }, { text: "alone", tone: "alone" }, { text: "," });
  const action = judgement.granted ?? inputs.wanted;
  const sim: Part[] = simulated ? [{ text: " " }, { sim: true }] : [];
  const before = detail.outcomes.find((outcome) => outcome.before !== null)?.before ?? null;
  if (judgement.granted !== null) {
    parts.push({ text: " " }, ...doing(action, sim, before, summary.outcome));
  } else {
    const word = judgement.verdict === "deny" ? "refused" : judgement.verdict === "hold" ? "held back" : "did not do without approval";
    parts.push({ text: " " }, { text: word, tone: verdictOf(judgement.verdict).tone }, { text: ` ${actionText(action).slice(action.target.length + 1)} on ${action.target}` }, ...sim);
  }
  parts.push({ text: ` at ${clockTime(summary.at, now_ms)}` }, ...because(detail));
  return [...parts, { text: "." }];
}

const TENSE: Record<string, (verb: string, done: string) => string> = {
  pending: (verb) => `decided to ${verb}`,
  failed: (verb) => `tried to ${verb}`,
  dropped: (verb) => `decided to ${verb}`,
  unknown: (verb) => `began to ${verb}`,
};

function doing({ target, kind }: Action, sim: Part[], before: number | null, outcome: string): Part[] {
  const verb = (word: string, done: string): string => (TENSE[outcome] ?? ((_: string, past: string) => past))(word, done);
  const end: Part[] =
    outcome === "failed" ? [{ text: " and failed", tone: "down" }] : outcome === "dropped" ? [{ text: " and dropped it", tone: "warn" }] : outcome === "unknown" ? [{ text: ", with unknown outcome", tone: "unknown" }] : [];
  if (kind === "release_power_cap") return [{ text: `${verb("release", "released")} the power cap of ${target}` }, ...sim, ...end];
  if (kind === "restart") return [{ text: `${verb("restart", "restarted")} ${target}` }, ...sim, ...end];
  if (kind === "unlock_clocks") return [{ text: `${verb("release", "released")} the clock of ${target}` }, ...sim, ...end];
  if (kind === "cordon") return [{ text: `${verb("cordon", "cordoned")} ${target}` }, ...sim, ...end];
  if (kind === "uncordon") return [{ text: `${verb("uncordon", "uncordoned")} ${target}` }, ...sim, ...end];
  if (kind === "drain") return [{ text: `${verb("drain", "drained")} ${target}` }, ...sim, ...end];
  if (kind === "reset_gpu") return [{ text: `${verb("reset", "reset")} ${target}` }, ...sim, ...end];
  if (kind === "reboot") return [{ text: `${verb("restart the machine", "restarted the machine")}` }, ...sim, ...end];
  if (kind === "unthrottle") return [{ text: `${verb("unthrottle", "unthrottled")} ${target}` }, ...sim, ...end];
  if ("power_cap" in kind) {
    const from = before === null ? "" : ` from ${human(before, "milliwatt")}`;
    return [{ text: `${verb("cap", "capped")} ${target}` }, ...sim, { text: `${from} to ${human(kind.power_cap.milliwatts, "milliwatt")}` }, ...end];
  }
  if ("lock_clocks" in kind) return [{ text: `${verb("lock the clock of", "locked the clock of")} ${target}` }, ...sim, { text: ` to ${human(kind.lock_clocks.max_mhz, "megahertz")}` }, ...end];
  if ("throttle" in kind) return [{ text: `${verb("throttle", "throttled")} ${target}` }, ...sim, { text: ` to ${human(kind.throttle.share_bp, "basis_points")} of a core` }, ...end];
  return [{ text: `${verb("notify", "notified")} "${kind.notify.message}" about ${target}` }, ...sim, ...end];
}

function because({ decision: { inputs, judgement } }: DecisionDetail): Part[] {
  const { origin } = inputs;
  if (judgement.granted === null) {
    const stop = judgement.clauses.find((clause) => clause.rule === judgement.rule && clause.verdict === judgement.verdict && !clause.shadow);
    return [{ text: `, by rule ${judgement.rule}${stop === undefined ? "" : `: ${stop.counterfactual === "" ? clauseText(stop) : stop.counterfactual}`}` }];
  }
  if ("command" in origin) return [{ text: `, because ${origin.command.who} asked for it: ${origin.command.reason}` }];
  if ("local" in origin) return [{ text: `, because ${origin.local.who} asked for it at the node: ${origin.local.reason}` }];
  if ("plan" in origin) {
    const { plan, step, undo, who, reason } = origin.plan;
    return [{ text: undo ? ", to take back step " : ", as step " }, { text: `${step + 1} of plan ${plan.slice(0, 8)}`, href: `/plans/${plan}` }, { text: ` of ${who}: ${reason}` }];
  }
  if ("fault" in origin) return [{ text: `, because of ${origin.fault.code}` }];
  const rule = "rule" in origin ? origin.rule.rule : origin.cleared.rule;
  const said = judgement.clauses.find((clause) => clause.rule === rule && clause.observed !== null && clause.limit !== null);
  if (said === undefined) return [{ text: "cleared" in origin ? `, because ${rule} has cleared` : `, because of rule ${rule}` }];
  const held = inputs.readings.find((reading) => said.what.includes(reading.series.quantity))?.held_ms ?? 0;
  return [{ text: `, because ${clauseText(said)}${held > 0 ? ` for ${fineSpan(held)}` : ""}` }];
}

/** A clause's comparison with units: `91 °C > 85 °C`. */
export function clauseText(clause: Clause): string {
  return `${human(clause.observed, clause.unit)} ${clause.op} ${human(clause.limit, clause.unit)}`;
}

/** How far what was seen is from the limit, with its sign; empty where there is no distance. */
export function margin(clause: Clause): string {
  if (clause.observed === null || clause.limit === null || clause.unit === "flag" || clause.op === "in" || clause.op === "=") return "";
  const distance = clause.observed - clause.limit;
  return `${distance > 0 ? "+" : distance < 0 ? "−" : "±"}${human(Math.abs(distance), clause.unit)}`;
}

/** What the list of decisions amounts to. */
export function decisionsSentence(items: DecisionView[], more: boolean): Part[] {
  if (items.length === 0) return [{ text: "No decision has been made yet." }];
  const alone = items.filter((item) => !item.connected).length;
  const ran = items.filter((item) => item.verdict === "allow" || item.verdict === "clamp").length;
  const failed = items.filter((item) => outcomeOf(item.outcome).tone === "down").length;
  const parts: Part[] = [{ text: `${more ? "The last " : ""}${count(items.length, "decision")}: ${ran} ran, ${items.length - ran} did not` }];
  if (alone > 0) parts.push({ text: "; " }, { text: `${alone} made alone`, tone: "alone" });
  if (failed > 0) parts.push({ text: "; " }, { text: `${failed} failed`, tone: "down" });
  return [...parts, { text: "." }];
}
