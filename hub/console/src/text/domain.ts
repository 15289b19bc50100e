// Domains in words: their names, whose turn it is, and what windows have left.

import type { DomainView, TurnView, WindowView } from "../api/types";
import { fineSpan, span } from "./format";
import type { Part } from "./sentence";

/** The name that `sentinel get domains` gives it: `rack:r7`, `fleet`. */
export function domainName({ domain, value }: Pick<DomainView, "domain" | "value">): string {
  return domain === "fleet" ? domain : `${domain.split(":")[0]}:${value}`;
}

/** What a member does with its turn, after its name. */
export function turnText({ acts, for_ms }: Pick<TurnView, "acts" | "for_ms">): string {
  const since = for_ms === null ? "" : ` for ${for_ms < 60_000 ? fineSpan(for_ms) : span(for_ms)}`;
  return acts ? `acts${since}` : `has its turn${since}`;
}

/** `three-an-hour 3 of 3 in 1 h 00 min, next in 12 min 00 s`. */
export function windowText({ rule, given, limit, window_ms, free_in_ms }: WindowView): string {
  return `${rule} ${given} of ${limit} in ${span(window_ms)}${free_in_ms === null ? "" : `, next in ${span(free_in_ms)}`}`;
}

/** Whether a window gives no turn now. */
export const isFull = (window: WindowView): boolean => window.given >= window.limit;

/** What stands out, above the table. */
export function turnsSentence(domains: DomainView[]): Part[] {
  const waiting = new Set(domains.flatMap((domain) => domain.waiting)).size;
  const having = new Set(domains.flatMap((domain) => domain.turns.map((turn) => turn.node))).size;
  if (having === 0 && waiting === 0) return [{ text: "No node has its turn, and none waits." }];
  const nodes = (number: number): string => `${number} ${number === 1 ? "node" : "nodes"}`;
  return [
    { text: having === 0 ? "No node has its turn; " : `${nodes(having)} ${having === 1 ? "has its" : "have their"} turn; ` },
    waiting === 0 ? { text: "none waits." } : { text: `${nodes(waiting)} ${waiting === 1 ? "waits" : "wait"}.`, tone: "warn" },
  ];
}
