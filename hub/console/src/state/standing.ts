// How every node stands now, by the state that the console has: one reading for the first line, the rows and the tab.

import { ageNow, freshness } from "../text/age";
import { type Standing, standingOf, temperatureLimit } from "../text/severity";
import type { Row, State } from "./store";
import { clock } from "./use";

/** The limit of each generation; rules of a generation never change. */
const limits = new Map<number, number | null>();

/** The lowest temperature that the rules of a node's bundle act on. */
export function limitOf(state: State, generation: number): number | null {
  const known = limits.get(generation);
  if (known !== undefined) return known;
  const policy = state.policies.get(generation);
  if (policy === undefined) return null;
  const limit = temperatureLimit(policy.rules);
  limits.set(generation, limit);
  return limit;
}

export function standing(state: State, row: Row): Standing {
  const { view } = row;
  const late = view.state === "connected" && state.link === "live" && freshness(ageNow(row.age_ms, row.heard_at, clock()), row.cadence_ms) !== "fresh";
  return standingOf(view, limitOf(state, view.policy_generation), late);
}

export function standings(state: State): Map<string, Standing> {
  return new Map([...state.nodes].map(([name, row]) => [name, standing(state, row)]));
}
