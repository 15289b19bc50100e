import { describe, expect, it } from "vitest";

import type { DecisionDetail, DomainView, NodeView, Unit, Verdict } from "../api/types";
import { firstCadence, freshness, nextCadence, shownAs } from "./age";
import { domainName, isFull, turnsSentence, turnText, windowText } from "./domain";
import { csv, csvField } from "./fields";
import { parseFilter, valuesOf, withTerm } from "./filter";
import { clockTime, delay, fineSpan, human, span } from "./format";
import { decisionSentence, fleetSentence, gist, margin, nodeSentence, plain } from "./sentence";
import { actionText, capsText, clockErrorText, faultTone, stateOf, verdictOf } from "./words";
import { dayName, knowsZone, midnight, midnights, onDay, zonedTime } from "./zone";

describe("format", () => {
  it("reads as the hub's own texts do", () => {
    // The table of `human` in wire/src/reading.rs.
    const cases: [number, Unit, string][] = [
      [91_000, "milli_celsius", "91 °C"],
      [91_540, "milli_celsius", "91.5 °C"],
      [84_960, "milli_celsius", "84.9 °C"],
      [-500, "milli_celsius", "-0.5 °C"],
      [220_000, "milliwatt", "220 W"],
      [9_350, "basis_points", "93.5 %"],
      [2 ** 30, "bytes", "1 GiB"],
      [1_288_490_188, "bytes", "1.1 GiB"],
      [512, "bytes_per_second", "512 B/s"],
      [1, "flag", "yes"],
      [1_500, "milli", "1.5"],
      [40_003, "count", "40003"],
      [21_600_000, "milliseconds", "6 h 00 min"],
      [810, "milliseconds", "0.8 s"],
    ];
    for (const [value, unit, text] of cases) expect(human(value, unit)).toBe(text);
    expect(human(null, "count")).toBe("—");
  });

  it("gives spans in their two largest parts", () => {
    const cases: [number, string][] = [
      [-5, "0 s"],
      [0, "0 s"],
      [59_999, "59 s"],
      [134_000, "2 min 14 s"],
      [3 * 3_600_000 + 5 * 60_000, "3 h 05 min"],
      [52 * 3_600_000, "2 d 4 h"],
      [720 * 3_600_000, "30 d"],
    ];
    for (const [ms, text] of cases) expect(span(ms)).toBe(text);
    expect(fineSpan(810)).toBe("0.8 s");
    expect(fineSpan(5_000)).toBe("5 s");
    expect(delay(42)).toBe("42 ms");
    expect(delay(9_120)).toBe("9.1 s");
  });

  it("gives the date only of another day, and bad times as they are", () => {
    const now = new Date(2026, 10, 24, 12, 5, 0).getTime();
    expect(clockTime(new Date(2026, 10, 24, 12, 1, 7).toISOString(), now)).toBe("12:01:07");
    expect(clockTime(new Date(2026, 10, 3, 2, 1, 7).toISOString(), now)).toBe("3 Nov 02:01:07");
    expect(clockTime("unix-ms:99", now)).toBe("unix-ms:99");
  });
});

describe("age", () => {
  it("is grey after 3 missed intervals and gone after 10", () => {
    const check = (age_ms: number | null, expected: string): void => expect(freshness(age_ms, 1_000)).toBe(expected);
    check(0, "fresh");
    check(3_000, "fresh");
    check(3_001, "stale");
    check(10_000, "stale");
    check(10_001, "gone");
    check(null, "gone");
  });

  it("learns blocks, and never learns silence", () => {
    // Before the first gap is seen: five samples in one block, so that nothing is grey between two of them.
    let cadence = firstCadence(1_000);
    expect(cadence).toBe(5_000);
    expect(freshness(4_900, cadence)).toBe("fresh");
    // Ten samples in one block of ten seconds: the gaps inside are not a cadence.
    cadence = nextCadence(cadence, 10_000, 1_000);
    expect(cadence).toBe(10_000);
    expect(nextCadence(cadence, 3, 1_000)).toBe(10_000);
    expect(nextCadence(cadence, 600_000, 1_000)).toBe(10_000);
    for (let round = 0; round < 40; round += 1) cadence = nextCadence(cadence, 1_000, 1_000);
    expect(cadence).toBeLessThan(1_010);
  });
});

describe("a node that is away", () => {
  it("keeps its last values, grey, beside their age", () => {
    expect(shownAs("working_alone", 600_000, 5_000)).toBe("stale");
    expect(shownAs("unknown", null, 5_000)).toBe("gone");
    expect(shownAs("connected", 600_000, 5_000)).toBe("gone");
    expect(shownAs("connected", 1_000, 5_000)).toBe("fresh");
  });
});

interface Item {
  name: string;
  state: string;
  temperature: (string | number)[];
  drift: boolean;
}

const FIELDS = {
  name: (item: Item) => item.name,
  state: (item: Item) => item.state,
  "gpu.temperature": (item: Item) => item.temperature,
  drift: (item: Item) => item.drift,
};

describe("filter", () => {
  const items: Item[] = [
    { name: "edge-01", state: "connected", temperature: [45, 91.5], drift: false },
    { name: "edge-02", state: "working_alone", temperature: [], drift: true },
  ];
  const check = (text: string, expected: string): void => {
    const filter = parseFilter(text, FIELDS);
    expect(filter.ok ? items.filter(filter.test).map((item) => item.name).join(" ") : filter.problem, text).toBe(expected);
  };

  it("keeps the rows for which every term holds", () => {
    check("", "edge-01 edge-02");
    check("state=connected", "edge-01");
    check("state!=connected", "edge-02");
    check("state=connected|working_alone", "edge-01 edge-02");
    check("name~02", "edge-02");
    check("gpu.temperature>80", "edge-01");
    check("gpu.temperature<80 state=connected", "edge-01");
    check("gpu.temperature>=91.5,drift=false", "edge-01");
    check("drift=true", "edge-02");
    check("alone", "edge-02");
    check("EDGE", "edge-01 edge-02");
    check("state=connected 02", "");
  });

  it("says what is wrong instead of hiding everything", () => {
    check("stat=connected", "no field `stat`; fields are name, state, gpu.temperature, drift");
    check("state=", "`state=` needs a value, for example state=edge-03");
    check("gpu.temperature>warm", "`warm` in `gpu.temperature>warm` is not a number");
  });

  it("exchanges one term and leaves the others", () => {
    expect(withTerm("edge state=down gpu.temperature>80", "state", "state=connected|down")).toBe("edge gpu.temperature>80 state=connected|down");
    expect(withTerm("state=down", "state", null)).toBe("");
    expect(valuesOf("a state=connected|down", "state")).toEqual(["connected", "down"]);
    expect(valuesOf("state!=down", "state")).toEqual([]);
  });
});

describe("export", () => {
  it("quotes what has to be quoted, and runs nothing in a spreadsheet", () => {
    expect(csvField('say "hi", you')).toBe('"say ""hi"", you"');
    expect(csvField("=1+1")).toBe("'=1+1");
    expect(csvField(-5)).toBe("-5");
    expect(csv(["a", "b"], [["x", null]])).toBe("a,b\r\nx,\r\n");
  });
});

const NOW = Date.parse("2026-11-24T12:05:00Z");

export function node(name: string, more: Partial<NodeView> = {}): NodeView {
  return {
    name, site: "berlin", state: "connected", state_since: "2026-11-24T12:00:00Z", last_seen: "2026-11-24T12:05:00Z", age_ms: 100, policy_generation: 7, policy_digest: "00", policy_age_ms: 1_000,
    backlog_entries: 0, authority: "full", next_authority_in_ms: 1_000, certificate_ends: null, rejoins: 0, clock: "steady", held_by: null, quarantined: null, epoch: 1, produced: 4, stored: 4,
    journal_bytes: 1, journal_limit_bytes: 10, journal_ok: true, unrecorded_actions: 0, telemetry_interval_ms: 1_000, version: "0.1.0", gpus: [], workloads: [], cpu_used_bp: null, memory_used_bp: null,
    last_decision: null, last_decisions: [], ...more,
  };
}

describe("sentences", () => {
  it("say how the fleet stands", () => {
    const alone = node("edge-03", { state: "working_alone", state_since: "2026-11-24T12:02:46Z", backlog_entries: 3 });
    const check = (nodes: NodeView[], expected: string): void => expect(plain(fleetSentence(nodes, NOW))).toBe(expected);
    check([], "No node has joined yet.");
    check([node("edge-01"), node("edge-02")], "All 2 nodes connected.");
    check([node("edge-01"), alone], "1 of 2 nodes connected; edge-03 has worked alone for 2 min 14 s and has 3 entries waiting.");
    check([node("edge-01", { state: "down" }), node("edge-02", { held_by: "ada" })], "1 of 2 nodes connected; edge-01 is down; 1 held by a person.");
    const hot = { findings: ["hot-gpu: gpu.temperature of gpu0 is above 80 °C; its action is held back by reflexes", "gpu1 is not there"] };
    check([node("edge-01"), node("edge-03", hot)], "edge-03 is not well: hot-gpu: gpu.temperature of gpu0 is above 80 °C; its action is held back by reflexes (and 1 more); all 2 nodes connected.");
    check(["a", "b", "c", "d"].map((name) => node(name, { findings: ["x"] })), "a is not well: x; b is not well: x; c is not well: x; 1 more are broken; all 4 nodes connected.");
    check(["a", "b", "c", "d", "e"].map((name) => node(name, { state: "unknown" })), "0 of 5 nodes connected; 5 are unknown.");
  });

  it("are spoken again only when their wording changes", () => {
    const at = (ms: number): string => gist(fleetSentence([node("edge-03", { state: "working_alone" })], ms));
    expect(at(NOW)).toBe(at(NOW + 60_000));
    expect(at(NOW)).not.toBe(gist(fleetSentence([node("edge-03")], NOW)));
  });

  it("say how a node stands", () => {
    expect(plain(nodeSentence(node("edge-01"), NOW, 0, "hub"))).toBe("edge-01 is connected for 5 min 00 s and the hub has every entry.");
    expect(plain(nodeSentence(node("edge-03", { state: "working_alone", backlog_entries: 2 }), NOW, 4_000, "node"))).toBe("edge-03 works alone for 5 min 00 s, deciding without the hub by policy generation 7; 2 entries wait for the hub.");
    expect(plain(nodeSentence(node("edge-03", { state: "unknown" }), NOW, 90_000, "hub"))).toContain("; the values are 1 min 30 s old");
    expect(plain(nodeSentence(node("edge-03", { state: "working_alone", isolation: "site" }), NOW, 0, "node"))).toContain("; it is of a site that is cut off");
    expect(plain(nodeSentence(node("edge-03", { via: "edge-04", path: ["edge-04", "edge-05"] }), NOW, 0, "hub"))).toContain("edge-03 is connected via edge-04 and edge-05");
    expect(plain(nodeSentence(node("edge-04", { told_by: "edge-03" }), NOW, 0, "node"))).toContain("edge-04 is connected for 5 min 00 s, says edge-03");
  });

  const detail = (verdict: Verdict, outcome: string): DecisionDetail => {
    const runs = verdict === "allow" || verdict === "clamp";
    const wanted = { target: "gpu0", kind: { power_cap: { milliwatts: 220_000 } } };
    const clause = { rule: "hot-gpu", kind: "threshold", what: "gpu.temperature of gpu0", op: ">", observed: 91_000, limit: 85_000, unit: "milli_celsius" as const, age_ms: 800, holds: true, verdict: "allow" as const, shadow: false, counterfactual: "" };
    return {
      summary: { id: "edge-03.1.9", node: "edge-03", epoch: 1, seq: 9, at: new Date(2026, 10, 24, 12, 1, 7).toISOString(), action: "power_cap", target: "gpu0", summary: "gpu0 power_cap to 220 W", verdict, rule: runs ? "hot-gpu" : "cap-cooldown", connected: false, digest: "aa", outcome },
      prev: "bb",
      decision: {
        inputs: { at: { mono: 1, wall: "" }, origin: { rule: { rule: "hot-gpu" } }, wanted, bundle: { generation: 7, digest: "cc" }, policy_age_ms: 1, connected: false, clock: "steady", journal_ok: true, held_by: null, hub_epoch: 1, readings: [{ series: { device: "gpu0", quantity: "gpu.temperature" }, value: 91_000, age_ms: 800, held_ms: 5_000 }], facts: [] },
        judgement: { verdict, rule: runs ? "hot-gpu" : "cap-cooldown", granted: runs ? wanted : null, retry_after_ms: null, valid_for_ms: 5_000, authority: "full", clauses: [clause, ...(runs ? [] : [{ ...clause, rule: "cap-cooldown", kind: "cooldown", verdict, holds: false, counterfactual: "would pass 4 s later" }])], rejected: [] },
      },
      outcomes: runs ? [{ at: "", state: outcome, before: 350_000, after: 220_000, probed: false, detail: "" }] : [],
      explanation: "",
    };
  };

  it("say what was decided, and because of what", () => {
    const today = new Date(2026, 10, 24, 12, 5, 0).getTime();
    const check = (verdict: Verdict, outcome: string, expected: string): void => expect(plain(decisionSentence(detail(verdict, outcome), true, today))).toBe(expected);
    check("allow", "verified", "edge-03, alone, capped gpu0 (sim) from 350 W to 220 W at 12:01:07, because 91 °C > 85 °C for 5 s.");
    check("allow", "pending", "edge-03, alone, decided to cap gpu0 (sim) from 350 W to 220 W at 12:01:07, because 91 °C > 85 °C for 5 s.");
    check("allow", "failed", "edge-03, alone, tried to cap gpu0 (sim) from 350 W to 220 W and failed at 12:01:07, because 91 °C > 85 °C for 5 s.");
    check("hold", "none", "edge-03, alone, held back power_cap to 220 W on gpu0 (sim) at 12:01:07, by rule cap-cooldown: would pass 4 s later.");
    check("deny", "none", "edge-03, alone, refused power_cap to 220 W on gpu0 (sim) at 12:01:07, by rule cap-cooldown: would pass 4 s later.");
  });

  it("name the plan that asked", () => {
    const one = detail("allow", "verified");
    one.decision.inputs.origin = { plan: { id: "c", plan: "0198f00dbeef", step: 0, undo: false, brain: true, who: "embedded", reason: "it grows hot" } };
    const parts = decisionSentence(one, true, Date.parse(one.summary.at));
    expect(plain(parts)).toContain(", as step 1 of plan 0198f00d of embedded: it grows hot.");
    expect(parts.find((part) => "href" in part && part.href === "/plans/0198f00dbeef")).toBeDefined();
  });

  it("give the margin with its sign", () => {
    const [clause] = detail("allow", "verified").decision.judgement.clauses;
    if (clause === undefined) throw new Error("the decision has a clause");
    expect(margin(clause)).toBe("+6 °C");
    expect(margin({ ...clause, observed: 84_000 })).toBe("−1 °C");
    expect(margin({ ...clause, observed: null })).toBe("");
  });
});

describe("words", () => {
  it("put a quarantine and a hold before the link", () => {
    expect(stateOf(node("a", { state: "working_alone" })).word).toBe("working alone");
    expect(stateOf(node("a", { held_by: "ada" })).word).toBe("held by ada");
    expect(stateOf(node("a", { held_by: "ada", quarantined: "cloned" })).sign).toBe("▲");
    expect(stateOf(node("a", { shut_out: "denied: stolen" })).word).toBe("shut out");
    expect(verdictOf("deny", true).word).toBe("shadow: denied");
  });

  it("shows an open fault by how bad it is, and one that is over no longer", () => {
    expect(faultTone({ severity: "critical" })).toBe("down");
    expect(faultTone({ severity: "medium" })).toBe("warn");
    expect(faultTone({ severity: "info" })).toBe("plain");
    expect(faultTone({ severity: "high", over_at: "2026-12-01T12:00:00Z" })).toBe("plain");
  });

  it("write actions as the journal does", () => {
    expect(actionText({ target: "gpu0", kind: { power_cap: { milliwatts: 220_000 } } })).toBe("gpu0 power_cap to 220 W");
    expect(actionText({ target: "gpu0", kind: { lock_clocks: { max_mhz: 1_200 } } })).toBe("gpu0 lock_clocks to 1200 MHz");
    expect(actionText({ target: "node", kind: "drain" })).toBe("node drain");
    expect(actionText({ target: "workload:train", kind: { throttle: { share_bp: 5_000 } } })).toBe("workload:train throttle to 50 % of a core");
    expect(actionText({ target: "workload:train", kind: "restart" })).toBe("workload:train restart");
  });
});

describe("what a node says of its parts", () => {
  it("is told in words", () => {
    expect(capsText([100_000, 350_000])).toBe("100 W to 350 W");
    expect(capsText([400_000, 350_000])).toBe("nothing");
    expect(capsText(null)).toBe("—");
    expect(clockErrorText({ within_ms: 12 })).toBe(", ± 12 ms to the hub's");
    expect(clockErrorText("not_compared")).toBe(", not compared with the hub's since the start");
    expect(clockErrorText(undefined)).toBe("");
  });
});

describe("domains", () => {
  const rack = (with_: Partial<DomainView>): DomainView => ({ domain: "rack", value: "r7", members: 12, unhealthy: 1, in_flight: 0, newly_faulty: 0, gives_turns: true, turns: [], waiting: [], windows: [], ...with_ });

  it("have the names that the command line gives them", () => {
    const cases: [string, string, string][] = [
      ["rack", "r7", "rack:r7"],
      ["rack:r7", "r7", "rack:r7"],
      ["fleet", "all", "fleet"],
      ["cluster", "", "cluster:"],
    ];
    for (const [domain, value, name] of cases) expect(domainName({ domain, value })).toBe(name);
  });

  it("tell whose turn it is and what windows have left", () => {
    expect(turnText({ acts: true, for_ms: 1_200 })).toBe("acts for 1.2 s");
    expect(turnText({ acts: true, for_ms: null })).toBe("acts");
    expect(turnText({ acts: false, for_ms: 90_000 })).toBe("has its turn for 1 min 30 s");
    const window = { rule: "three-an-hour", given: 3, limit: 3, window_ms: 3_600_000, free_in_ms: 720_000 };
    expect(windowText(window)).toBe("three-an-hour 3 of 3 in 1 h 00 min, next in 12 min 00 s");
    expect(isFull(window)).toBe(true);
    expect(isFull({ ...window, given: 2, free_in_ms: null })).toBe(false);
    expect(windowText({ ...window, given: 2, free_in_ms: null })).toBe("three-an-hour 2 of 3 in 1 h 00 min");
  });

  it("say in one line who acts and who waits, each node once", () => {
    const line = (domains: DomainView[]): string => turnsSentence(domains).map((part) => ("sim" in part ? "" : part.text)).join("");
    const turn = { node: "edge-01", acts: true, for_ms: 1 };
    expect(line([rack({})])).toBe("No node has its turn, and none waits.");
    expect(line([rack({ turns: [turn] }), rack({ domain: "fleet", turns: [turn], waiting: ["edge-02"] })])).toBe("1 node has its turn; 1 node waits.");
    expect(line([rack({ waiting: ["edge-02", "edge-03"] })])).toBe("No node has its turn; 2 nodes wait.");
    expect(line([rack({ turns: [turn, { ...turn, node: "edge-02" }] })])).toBe("2 nodes have their turn; none waits.");
  });
});

describe("zone", () => {
  const at = (text: string): number => Date.parse(text);

  it("finds the midnights of a week, also where the clock changes", () => {
    const week = midnights(at("2026-10-22T15:00:00Z"), "Europe/Berlin", 7);
    expect(week.map((day) => new Date(day).toISOString().slice(0, 13))).toEqual(["2026-10-21T22", "2026-10-22T22", "2026-10-23T22", "2026-10-24T22", "2026-10-25T23", "2026-10-26T23", "2026-10-27T23", "2026-10-28T23"]);
    const hours = midnights(at("2026-03-28T12:00:00Z"), "America/New_York", 1);
    expect((hours[1] ?? 0) - (hours[0] ?? 0)).toBe(24 * 3_600_000);
    // The evening of a day whose morning had another offset.
    expect(midnight(at("2026-10-25T20:00:00Z"), "Europe/Berlin")).toBe(at("2026-10-24T22:00:00Z"));
    expect(midnight(at("2026-03-29T20:00:00Z"), "Europe/Berlin")).toBe(at("2026-03-28T23:00:00Z"));
  });

  it("names days and times in the zone", () => {
    expect(dayName(at("2026-11-24T23:30:00Z"), "Asia/Tokyo")).toBe("Wed 25 Nov");
    expect(zonedTime(at("2026-11-24T22:00:00Z"), "UTC", at("2026-11-24T20:00:00Z"))).toBe("22:00");
    expect(zonedTime(at("2026-11-25T22:00:00Z"), "UTC", at("2026-11-24T20:00:00Z"))).toBe("Wed 25 Nov 22:00");
    expect(knowsZone("Mars/Base")).toBe(false);
  });

  it("lays a window out on the days that it touches", () => {
    const [day, next] = [at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z")];
    expect(onDay(at("2026-11-23T22:00:00Z"), at("2026-11-24T06:00:00Z"), day, next)).toEqual({ left: 0, width: 25 });
    expect(onDay(at("2026-11-24T18:00:00Z"), at("2026-11-26T06:00:00Z"), day, next)).toEqual({ left: 75, width: 25 });
    expect(onDay(next, next + 1, day, next)).toBeNull();
  });
});
