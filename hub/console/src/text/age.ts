// How old a value is, and what that does to how it is shown.
//
// A value is fresh, then grey after 3 missed intervals, then `—` after 10. The interval is the node's own cadence: samples
// travel in blocks, so what is missed is a block. The cadence is learned from arrivals and bounded by 10 sampling intervals,
// so that a silent node can never teach the page that silence is normal. Before anything is learned a block of the usual length is
// assumed, so that nothing turns grey between the first two blocks. A node that is known to be cut off keeps its last values, grey.

export type Freshness = "fresh" | "stale" | "gone";

/** Missed intervals after which a value is grey, and after which it is no longer shown. */
export const STALE_AFTER = 3;
export const GONE_AFTER = 10;

/** How a value of this age is shown. */
export function freshness(age_ms: number | null, cadence_ms: number): Freshness {
  if (age_ms === null || age_ms > GONE_AFTER * cadence_ms) return "gone";
  return age_ms > STALE_AFTER * cadence_ms ? "stale" : "fresh";
}

/** The shortest interval that is shown as missed: below it, network and drawing delays look like faults. */
const SHORTEST_MS = 1_000;

/** Samples of a block, as agents send them while nothing is wrong: five seconds at one a second. */
const BLOCK_SAMPLES = 5;

/** The cadence before anything was learned. */
export function firstCadence(interval_ms: number): number {
  return BLOCK_SAMPLES * Math.max(interval_ms, SHORTEST_MS);
}

/** How a value of a node is shown: the last ones of a node that is away stay, grey, beside their age. */
export function shownAs(state: string, age_ms: number | null, cadence_ms: number): Freshness {
  const how = freshness(age_ms, cadence_ms);
  return how === "gone" && age_ms !== null && state !== "connected" ? "stale" : how;
}

/** The cadence after samples arrived `gap_ms` after the ones before; gaps below a quarter interval belong to one block. */
export function nextCadence(cadence_ms: number, gap_ms: number, interval_ms: number): number {
  const shortest = Math.max(interval_ms, SHORTEST_MS);
  if (gap_ms < shortest / 4) return cadence_ms;
  const longest = 10 * shortest;
  // An outage is not a cadence.
  if (gap_ms > 1.5 * longest) return cadence_ms;
  // Up at once, down slowly: a block that is late once does not flicker.
  const seen = Math.min(Math.max(gap_ms, shortest), longest);
  return seen > cadence_ms ? seen : Math.round(cadence_ms * 0.8 + seen * 0.2);
}

/** Age now of something that was `age_ms` old when it was heard. */
export function ageNow(age_ms: number | null, heard_at: number, now: number): number | null {
  return age_ms === null ? null : age_ms + Math.max(0, now - heard_at);
}
