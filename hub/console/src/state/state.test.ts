import { describe, expect, it } from "vitest";

import { failureOf } from "../api/client";
import type { DecisionView, GpuView, NodeView, PolicyView } from "../api/types";
import { scales } from "../chart/Band";
import { unstretched } from "../chart/Stack";
import { capNames, chartRows, limitsOf, marksOf } from "../chart/rows";
import { addSample, columns, holes, rangeOf, type Series, seriesOf, trim } from "../chart/series";
import { matching } from "../parts/Palette";
import { arrange, inSight } from "../parts/Table";
import { decisionPath, planPath, routeOf } from "./route";
import { emptyState, MAX_DECISIONS, reduce, type State } from "./store";

const gpu = (more: Partial<GpuView> = {}): GpuView => ({ id: "gpu0", model: "Sim", simulated: true, temperature_mc: 45_000, power_mw: 80_000, power_cap_mw: 350_000, used_bp: 0, ...more });

const node = (name: string, more: Partial<NodeView> = {}): NodeView => ({
  name, site: "berlin", state: "connected", state_since: null, last_seen: null, age_ms: 200, policy_generation: 7, policy_digest: "", policy_age_ms: 0, backlog_entries: 0, authority: "full", next_authority_in_ms: null,
  certificate_ends: null, rejoins: 0, clock: "steady", held_by: null, quarantined: null, epoch: 1, produced: 0, stored: 0, journal_bytes: 0, journal_limit_bytes: 0, journal_ok: true, unrecorded_actions: 0,
  telemetry_interval_ms: 1_000, version: "", gpus: [gpu()], workloads: [], cpu_used_bp: null, memory_used_bp: null, last_decision: null, last_decisions: [], ...more,
});

const decision = (seq: number, more: Partial<DecisionView> = {}): DecisionView => ({
  id: `edge-01.1.${seq}`, node: "edge-01", epoch: 1, seq, at: new Date(seq * 1_000).toISOString(), action: "power_cap", target: "gpu0", summary: "", verdict: "allow", rule: "hot-gpu", connected: true, digest: "", outcome: "pending", ...more,
});

const policy = (generation: number, active: boolean): PolicyView => ({ generation, active, digest: "", name: "demo", issued_at: "", nodes: 0, nodes_total: 1, rules: [], text: "" });

function started(...names: string[]): State {
  const state = emptyState();
  reduce(state, { kind: "nodes", items: names.map((name) => node(name)), asked_at: 5 }, 10);
  return state;
}

describe("the state", () => {
  it("keeps an event that is newer than the list it was in", () => {
    const state = started("edge-01", "edge-02");
    reduce(state, { kind: "event", event: { event: "node", data: node("edge-01", { state: "working_alone" }) } }, 20);
    reduce(state, { kind: "nodes", items: [node("edge-01")], asked_at: 15 }, 25);
    expect(state.nodes.get("edge-01")?.view.state).toBe("working_alone");
    expect([...state.nodes.keys()]).toEqual(["edge-01"]);
    reduce(state, { kind: "nodes", items: [node("edge-01")], asked_at: 30 }, 35);
    expect(state.nodes.get("edge-01")?.view.state).toBe("connected");
  });

  it("measures age by its own clock, from what the answer said", () => {
    const state = started("edge-01");
    expect(state.nodes.get("edge-01")).toMatchObject({ heard_at: 10, age_ms: 200 });
    reduce(state, { kind: "event", event: { event: "sample", data: { node: "edge-01", at_ms: 1_000, values: [["gpu0/gpu.temperature", 91_000]] } } }, 50);
    expect(state.nodes.get("edge-01")).toMatchObject({ heard_at: 50, age_ms: 0 });
  });

  it("takes values from samples, gaps too, and never from late ones", () => {
    const state = started("edge-01");
    const temperature = (): number | null | undefined => state.nodes.get("edge-01")?.view.gpus[0]?.temperature_mc;
    const sample = (at_ms: number, value: number | null): void => reduce(state, { kind: "event", event: { event: "sample", data: { node: "edge-01", at_ms, values: [["gpu0/gpu.temperature", value]] } } }, 60);
    sample(2_000, 91_000);
    expect(temperature()).toBe(91_000);
    sample(1_000, 50_000);
    expect(temperature()).toBe(91_000);
    sample(3_000, null);
    expect(temperature()).toBe(null);
    expect(state.nodes.get("edge-01")?.view.gpus[0]?.power_mw).toBe(80_000);
  });

  it("merges decisions: the latest telling wins, newest first, bounded", () => {
    const state = started("edge-01");
    for (let seq = 1; seq <= MAX_DECISIONS + 5; seq += 1) reduce(state, { kind: "event", event: { event: "decision", data: decision(seq) } }, 20);
    expect(state.decisions).toHaveLength(MAX_DECISIONS);
    expect(state.decisions[0]?.seq).toBe(MAX_DECISIONS + 5);
    reduce(state, { kind: "event", event: { event: "decision", data: decision(MAX_DECISIONS, { outcome: "verified" }) } }, 21);
    expect(state.decisions).toHaveLength(MAX_DECISIONS);
    expect(state.decisions[5]?.outcome).toBe("verified");
    // A new outcome of an older decision does not make it the last one.
    expect(state.nodes.get("edge-01")?.view.last_decision?.seq).toBe(MAX_DECISIONS + 5);
    expect(state.nodes.get("edge-01")?.view.last_decisions).toHaveLength(5);
  });

  it("orders one node's decisions by its journal, whatever its clock said", () => {
    const state = started("edge-01");
    reduce(state, { kind: "decisions", items: [decision(2, { at: "1999-01-01T00:00:00.000Z" }), decision(1)] }, 20);
    expect(state.decisions.map((one) => one.seq)).toEqual([2, 1]);
  });

  it("has one active bundle", () => {
    const state = started("edge-01");
    reduce(state, { kind: "policies", items: [policy(7, true)] }, 20);
    reduce(state, { kind: "event", event: { event: "policy", data: policy(8, true) } }, 21);
    expect([...state.policies.values()].filter((one) => one.active).map((one) => one.generation)).toEqual([8]);
  });

  it("knows since when the link is as it is", () => {
    const state = emptyState();
    reduce(state, { kind: "event", event: { event: "hello", data: { from: "hub", version: "0", hub_epoch: 1, now: "2026-11-24T12:00:00Z" } } }, 10);
    expect(state).toMatchObject({ link: "live", link_since: 10, link_at: 10 });
    reduce(state, { kind: "link", link: "lost" }, 40);
    reduce(state, { kind: "link", link: "lost" }, 50);
    expect(state).toMatchObject({ link: "lost", link_since: 40, link_at: 10 });
  });
});

const series = (at_ms: number[], values: (number | null)[]): Series =>
  seriesOf({ node: "edge-01", at_ms, lines: [{ device: "gpu0", quantity: "gpu.temperature", unit: "milli_celsius", simulated: true, values }], decisions: [], cuts: [] });

describe("series", () => {
  it("grow by samples; what a sample does not name stays", () => {
    const kept = series([1_000], [45_000]);
    expect(addSample(kept, { node: "edge-01", at_ms: 2_000, values: [] })).toBe(true);
    expect(addSample(kept, { node: "edge-01", at_ms: 3_000, values: [["gpu0/gpu.temperature", null]] })).toBe(true);
    expect(addSample(kept, { node: "edge-01", at_ms: 2_500, values: [] })).toBe(false);
    expect(kept.lines.get("gpu0/gpu.temperature")?.values).toEqual([45_000, 45_000, null]);
    expect(kept.at_ms).toEqual([1_000, 2_000, 3_000]);
  });

  it("have a hole where samples are missing, not where they were made coarser", () => {
    expect(holes([0, 1_000, 2_000, 30_000, 31_000], 1_000)).toEqual([2]);
    expect(holes([0, 1_000, 11_000, 21_000, 31_000], 1_000)).toEqual([]);
    expect(holes([], 1_000)).toEqual([]);
  });

  it("are drawn with an empty point in each hole, and hovered by their own index", () => {
    const kept = series([0, 1_000, 30_000, 31_000], [1_000, 2_000, 3_000, 4_000]);
    const [axis, line] = columns(kept, [...kept.lines.values()], 1_000, () => 1_000);
    expect(axis).toEqual([0, 1_000, 15_500, 30_000, 31_000]);
    expect(line).toEqual([1, 2, null, 3, 4]);
    const gaps = holes(kept.at_ms, 1_000);
    expect([0, 1, 3, 4].map((index) => unstretched(index, gaps))).toEqual([0, 1, 2, 3]);
  });

  it("forget in blocks what is out of sight", () => {
    const times = Array.from({ length: 600 }, (_, index) => index * 1_000);
    const kept = series(times, times.map(() => 1));
    trim(kept, 100_000);
    expect(kept.at_ms).toHaveLength(600);
    trim(kept, 400_000);
    expect(kept.at_ms[0]).toBe(400_000);
    expect(kept.lines.get("gpu0/gpu.temperature")?.values).toHaveLength(200);
  });

  it("have ranges by word, and a usual one", () => {
    expect(rangeOf("1h")).toEqual({ word: "1h", ms: 3_600_000 });
    expect(rangeOf("7y").word).toBe("5m");
  });
});

describe("charts", () => {
  const rows = chartRows([{ id: "gpu0", simulated: true }, { id: "gpu1", simulated: true }]);
  const [temperature, power] = rows;
  if (temperature === undefined || power === undefined) throw new Error("a node with GPUs has these rows");

  it("draw the limits that the rules' own lines name", () => {
    const rule = (text: string, mode = "enforce") => ({ id: "hot-gpu", kind: "threshold", mode, text });
    expect(limitsOf(temperature, [rule("gpu.temperature of gpu > 85 °C for 3 s: power_cap to 220 W")])).toEqual([{ value: 85, label: "hot-gpu 85 °C" }]);
    expect(limitsOf(temperature, [rule("gpu.temperature of gpu > 85 °C: notify", "off"), rule("memory.used of node > 97 %: notify")])).toEqual([]);
    expect(limitsOf(power, [rule("gpu.temperature of gpu > 85 °C: notify")])).toEqual([]);
  });

  it("name a cap by the rule that set it, until it is released", () => {
    const gpus = [gpu({ power_cap_mw: 220_000 }), gpu({ id: "gpu1" })];
    const set = decision(1, { outcome: "verified" });
    expect([...capNames(power, gpus, [set])]).toEqual([[3, "gpu0 cap 220 W, hot-gpu"]]);
    expect([...capNames(power, gpus, [set, decision(2, { action: "release_power_cap", outcome: "applied" })])]).toEqual([]);
  });

  it("share a tick when decisions lie too near", () => {
    const marks = marksOf([decision(3), decision(1), decision(100)], 5_000);
    expect(marks.map((mark) => mark.items.map((item) => item.seq))).toEqual([[1, 3], [100]]);
  });

  it("are fewer without GPUs", () => {
    expect(chartRows([]).map((row) => row.id)).toEqual(["cpu", "memory", "pressure"]);
  });
});

describe("tables", () => {
  it("sort inside groups, with what is missing last in both directions", () => {
    const rows = [
      { site: "b", value: 1 },
      { site: "a", value: null },
      { site: "a", value: 2 },
      { site: "a", value: 3 },
    ];
    const columns = [{ id: "value", head: "", cell: () => null, by: (row: (typeof rows)[number]) => row.value }];
    const check = (sort: string | null, expected: unknown[]): void => expect(arrange(rows, columns, sort, (row) => row.site).map((row) => row.value)).toEqual(expected);
    check("value", [2, 3, null, 1]);
    check("-value", [3, 2, null, 1]);
    check(null, [null, 2, 3, 1]);
  });

  it("draw what is in sight and keep the height of the rest", () => {
    const heights = Array.from({ length: 10_000 }, () => 32);
    const [from, to, before, after] = inSight(heights, 32_000, 640);
    expect([from, to]).toEqual([988, 1_032]);
    expect(before + (to - from) * 32 + after).toBe(320_000);
    expect(inSight([], 0, 640)).toEqual([0, 0, 0, 0]);
  });
});

describe("addresses", () => {
  it("name every page", () => {
    expect(routeOf("/")).toEqual({ page: "fleet" });
    expect(routeOf("/nodes/edge-03")).toEqual({ page: "node", name: "edge-03" });
    expect(routeOf("/decisions")).toEqual({ page: "decisions" });
    expect(routeOf("/decisions/edge-03.1.42")).toEqual({ page: "decision", id: "edge-03.1.42" });
    expect(routeOf(decisionPath("edge-03.1.42"))).toEqual({ page: "decision", id: "edge-03.1.42" });
    expect(routeOf("/plans")).toEqual({ page: "plans" });
    expect(routeOf(planPath("0198f"))).toEqual({ page: "plan", id: "0198f" });
    expect(routeOf("/brains")).toEqual({ page: "brains" });
    expect(routeOf("/policies")).toEqual({ page: "policies", generation: null });
    expect(routeOf("/policies/8")).toEqual({ page: "policies", generation: "8" });
    expect(routeOf("/policies/8/more").page).toBe("nowhere");
    expect(routeOf("/rollouts")).toEqual({ page: "rollouts" });
    expect(routeOf("/rollouts/019a-1")).toEqual({ page: "rollout", id: "019a-1" });
    expect(routeOf("/workloads")).toEqual({ page: "workloads" });
    expect(routeOf("/nodes/%E0%A4%A")).toEqual({ page: "node", name: "%E0%A4%A" });
    expect(routeOf("/else/where").page).toBe("nowhere");
  });
});

describe("the picture of a forecast", () => {
  it("holds the past, the band and the limit, and goes on where the readings end", () => {
    const at = "2026-12-01T06:00:00.000Z";
    const forecast = { node: "edge-01", device: "gpu0", quantity: "gpu.temperature", unit: "milli_celsius" as const, at, limit: 85_000, points: [{ ahead_ms: 60_000, low: 70_000, middle: 80_000, high: 92_000 }] };
    const { x, y, ticks, ends } = scales([{ at_ms: Date.parse(at) - 300_000, value: 52_000 }], forecast, 960);
    expect(ticks[0]).toBeLessThanOrEqual(52_000);
    expect(ticks[ticks.length - 1]).toBeGreaterThanOrEqual(92_000);
    expect(ends[1] - Date.parse(at)).toBe(60_000);
    expect(x(Date.parse(at))).toBeLessThan(x(ends[1]));
    expect(y(92_000)).toBeLessThan(y(70_000));
  });
});

describe("palette", () => {
  it("finds by letters in order, whole words first", () => {
    const choices = ["Fleet", "edge-03", "edge-13"].map((name) => ({ name, note: "" }));
    expect(matching(choices, "e03").map((one) => one.name)).toEqual(["edge-03"]);
    expect(matching(choices, "edge")).toHaveLength(2);
    expect(matching(choices, "zz")).toEqual([]);
  });
});

describe("failures", () => {
  it("say what failed and what to do", () => {
    const failure = failureOf("cannot read edge-09", 404, { code: "not_found", detail: "there is no node `edge-09`" });
    expect(failure.message).toBe("cannot read edge-09: there is no node `edge-09`");
    expect(failure.advice).toContain("go back to the list");
    expect(failureOf("x", 401, null).advice).toContain("sentinel login");
    expect(failureOf("x", 502, null).message).toBe("x: the answer was HTTP 502");
  });
});
