// A node's word and its reasons, for every kind of trouble that the console knows.

import { describe, expect, it } from "vitest";

import type { GpuView, NodeView, RuleView } from "../api/types";
import { heatOf, standingOf, temperatureLimit, titled } from "./severity";

const gpu = (temperature_mc: number | null, power_cap_mw = 350_000): GpuView => ({ id: "gpu0", model: "L40S", simulated: true, temperature_mc, power_mw: 80_000, power_cap_mw, used_bp: 0, power_caps_mw: [100_000, 350_000], profile: null }) as GpuView;
const node = (change: Partial<NodeView>): NodeView =>
  ({ name: "edge-03", state: "connected", quarantined: null, findings: [], gpus: [gpu(60_000)], journal_ok: true, last_decision: null, unrecorded_actions: 0, held_by: null, authority: "full", clock: "steady", ...change }) as NodeView;
const rule = (text: string, mode = "enforce"): RuleView => ({ id: "hot", kind: "threshold", mode, text }) as RuleView;

describe("severity", () => {
  it("takes the lowest limit of the rules in force", () => {
    const rules = [rule("gpu.temperature > 85 °C for 3 s: power_cap"), rule("gpu.temperature of gpu0 above 80.5 °C"), rule("gpu.temperature > 60 °C", "shadow"), rule("memory.used > 90 %")];
    expect(temperatureLimit(rules)).toBe(80_500);
    expect(temperatureLimit([])).toBeNull();
  });

  it("says which number is over its limit, which is near it, and which is not known", () => {
    expect(heatOf(gpu(101_000), 85_000)).toBe("broken");
    expect(heatOf(gpu(85_000), 85_000)).toBe("attention");
    expect(heatOf(gpu(60_000), 85_000)).toBe("ok");
    expect(heatOf(gpu(null), 85_000)).toBe("unknown");
    expect(heatOf(gpu(101_000), null)).toBe("ok");
  });

  it("is the worst of the reasons, and the reasons are text", () => {
    const check = (change: Partial<NodeView>, level: string, text: string): void => {
      const standing = standingOf(node(change), 85_000);
      expect([standing.level, standing.reasons[0]?.text ?? ""]).toEqual([level, text]);
    };
    check({}, "ok", "");
    check({ gpus: [gpu(101_000)] }, "broken", "gpu0 is at 101 °C, above its limit of 85 °C, and not capped");
    check({ gpus: [gpu(101_000, 200_000)] }, "broken", "gpu0 is at 101 °C, above its limit of 85 °C, capped to 200 W");
    check({ gpus: [gpu(60_000, 200_000)] }, "attention", "gpu0 is capped to 200 W");
    check({ quarantined: "two histories", held_by: "ann" }, "broken", "is quarantined: two histories");
    check({ shut_out: "denied: stolen" }, "broken", "is shut out: denied: stolen");
    check({ findings: ["protection is held"] }, "broken", "is not well: protection is held");
    check({ journal_ok: false }, "broken", "its journal accepts nothing, so only protective actions run");
    check({ last_decision: { summary: "gpu0 power_cap to 220 W", outcome: "failed" } as NodeView["last_decision"] }, "broken", "gpu0 power_cap to 220 W failed");
    check({ held_by: "ann" }, "attention", "is held by ann");
    check({ authority: "observe" }, "attention", "may only act as observe");
    check({ state: "unknown", gpus: [] }, "unknown", "is unknown");
    // A node that works alone is the product at work; what it measured last is no news.
    check({ state: "working_alone", gpus: [gpu(101_000)] }, "ok", "");
  });

  it("stands in the tab's title", () => {
    expect(titled("Fleet", 0)).toBe("Fleet · Sentinel");
    expect(titled("Fleet", 2)).toBe("(2) Fleet · Sentinel");
  });
});
