// Outside, the API's numbers are in base units (`power_watts`); inside, this page counts as the hub does, in integers of small units, so
// that values compare exactly and one formatter serves readings, charts and rows. What is read passes here, by name, and nothing else does.

const THOUSANDTHS = 1_000;
const MILLIONTHS = 1_000_000;
const SHARE = 10_000;

/** Name in the API, name on this page, small units in a base unit. */
const NAMES: [string, string, number][] = [
  ["temperature_celsius", "temperature_mc", THOUSANDTHS],
  ["power_watts", "power_mw", THOUSANDTHS],
  ["power_cap_watts", "power_cap_mw", THOUSANDTHS],
  ["power_caps_watts", "power_caps_mw", THOUSANDTHS],
  ["used_ratio", "used_bp", SHARE],
  ["cpu_ratio", "cpu_bp", SHARE],
  ["cpu_used_ratio", "cpu_used_bp", SHARE],
  ["memory_used_ratio", "memory_used_bp", SHARE],
  ["age_seconds", "age_ms", THOUSANDTHS],
  ["policy_age_seconds", "policy_age_ms", THOUSANDTHS],
  ["next_authority_in_seconds", "next_authority_in_ms", THOUSANDTHS],
  ["telemetry_interval_seconds", "telemetry_interval_ms", THOUSANDTHS],
  ["rtt_seconds", "rtt_us", MILLIONTHS],
  ["hub_rtt_seconds", "hub_rtt_us", MILLIONTHS],
  ["lost_ratio", "lost_per_mille", THOUSANDTHS],
  ["left_seconds", "left_ms", THOUSANDTHS],
  ["ahead_seconds", "ahead_ms", THOUSANDTHS],
  ["in_seconds", "in_ms", THOUSANDTHS],
  ["by_seconds", "by_ms", THOUSANDTHS],
  ["within_seconds", "within_ms", THOUSANDTHS],
  ["horizon_seconds", "horizon_ms", THOUSANDTHS],
  ["window_seconds", "window_ms", THOUSANDTHS],
  ["free_in_seconds", "free_in_ms", THOUSANDTHS],
  ["for_seconds", "for_ms", THOUSANDTHS],
  ["chance", "chance_bp", SHARE],
  ["confidence", "confidence_bp", SHARE],
  ["claimed_ratio", "claimed_bp", SHARE],
  ["came_true_ratio", "came_true_bp", SHARE],
  ["base_rate", "base_rate_bp", SHARE],
  ["brier", "brier_bp", SHARE],
  ["skill", "skill_bp", SHARE],
  ["calibration_error", "calibration_error_bp", SHARE],
];
const INSIDE = new Map(NAMES.map(([outside, inside, per]) => [outside, { inside, per }]));

/** Reads JSON of the API. Fails as `JSON.parse` does. */
export function parse(text: string): unknown {
  return JSON.parse(text, (_, value: unknown) => {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    const object = value as Record<string, unknown>;
    for (const name of Object.keys(object)) {
      const known = INSIDE.get(name);
      if (known === undefined || !measured(object[name])) continue;
      object[known.inside] = small(object[name], known.per);
      delete object[name];
    }
    return object;
  });
}

type Measured = number | null | (number | null)[];

const isNumber = (value: unknown): boolean => value === null || typeof value === "number";

const measured = (value: unknown): value is Measured => isNumber(value) || (Array.isArray(value) && value.every(isNumber));

function small(value: Measured, per: number): Measured {
  if (value === null) return null;
  return typeof value === "number" ? Math.round(value * per) : value.map((one) => small(one, per) as number | null);
}
