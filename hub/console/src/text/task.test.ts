import { describe, expect, it } from "vitest";

import type { Task } from "../api/types";
import { plain } from "./sentence";
import { checksWord, gistOf, isAsItMust, ordersOf, reviewText, reviewWord, stationsOf, taskSentence, tasksSentence } from "./task";

const TASK: Task = {
  id: "01a2301d-4cee-7703-98f2-1eca81cdfef5",
  state: "proposed",
  source: "forge",
  repository: "bot/hello",
  commit: "8a4db596efed0d1fbb954eb9f33c7f35e0a0f84c",
  check: "lint",
  branch: "main",
  log_url: "http://forge/log",
  priority: "normal",
  attempts: 1,
  agent_name: null,
  phase: "",
  progress: 0,
  codes: [],
  error_message: null,
  proposal: {
    certificate: "c",
    fixer: "ruff-check 0.17.6",
    files: [{ path: "app.py", added: 0, removed: 2 }],
    category: "lint",
    tool: "ruff",
    fingerprint: "f",
    branch: "patchbot/lint/f",
  },
  pull_request: "http://forge/bot/hello/pulls/7",
  correlation_id: null,
  message: "`os` imported but unused",
  chance: { at_least: 0.74, mean: 0.85, outcomes: 0 },
  outcome: null,
  review: { checks: "pending", is_draft: true, merge_wanted: false, stopped_by: null },
  delivery: "d",
  created_at: "2026-12-01T05:39:16.334Z",
  updated_at: "2026-12-01T05:39:16.692Z",
};

describe("tasks", () => {
  it("says of all tasks first what needs a person", () => {
    const of = (...states: Task["state"][]): string => plain(tasksSentence(states.map((state) => ({ ...TASK, state }))));
    expect(of()).toBe("No failed check has become a task.");
    expect(of("proposed", "dead", "queued")).toBe("1 refused or given up: a person is needed; 1 pull request is open; 1 waiting.");
    expect(of("held", "merged", "merged")).toBe("1 held until a person agrees; 2 merged.");
  });

  it("says of one task where it stands, and why it is no fix", () => {
    expect(plain(taskSentence(TASK))).toBe("Check lint of bot/hello failed; its repair is proposed: #7.");
    const none: Task = { ...TASK, state: "no_fix", proposal: null, pull_request: null, codes: ["no_fixer"], message: "test: 1 != 2" };
    expect(plain(taskSentence(none))).toBe("Check lint of bot/hello failed and is not repaired: no_fixer.");
    expect(gistOf(none)).toBe("no_fixer: test: 1 != 2");
  });

  it("leads from prediction to outcome, and claims nothing that has not come", () => {
    const words = (task: Task): string[] => stationsOf(task).map((one) => `${one.name} ${one.word.word}`);
    expect(words(TASK)).toEqual(["Prediction none", "Failure done", "Fix done", "Pull request draft", "Outcome not yet"]);
    expect(words({ ...TASK, state: "merged", outcome: "reverted", correlation_id: "p-1" })[4]).toBe("Outcome reverted");
    expect(words({ ...TASK, state: "leased", proposal: null, pull_request: null }).slice(2)).toEqual(["Fix not yet", "Pull request not yet", "Outcome not yet"]);
  });

  it("shows a pull request as a draft until its checks are green, and who has the next word", () => {
    const of = (review: Partial<NonNullable<Task["review"]>>): Task => ({ ...TASK, review: { checks: "green", is_draft: false, merge_wanted: false, stopped_by: null, ...review } });
    const shown = (task: Task): string => `${reviewWord(task).word}: ${reviewText(task)}`;
    expect(shown(of({ checks: "unknown", is_draft: true }))).toBe("draft: a draft until its checks are green");
    expect(shown(of({}))).toBe("ready: waits for a person to merge it");
    expect(shown(of({ merge_wanted: true }))).toBe("ready: merged without a person, as its owner wishes and if policy agrees");
    expect(shown(of({ checks: "red", is_draft: true }))).toBe("checks are red: its own checks are red at our commit: a person decides");
    expect(shown(of({ stopped_by: "ada" }))).toBe("stopped: stopped by ada: nothing is done by itself");
    expect(reviewText({ ...of({}), state: "merged" })).toBe("");
    expect(checksWord("red").tone).toBe("down");
    const reverted = stationsOf({ ...of({}), state: "merged", outcome: "reverted" });
    expect(reverted.map((one) => one.word.word).slice(3)).toEqual(["done", "reverted"]);
    expect(reverted[4]?.text).toContain("taken back");
  });

  it("tells what people ordered, and not what the hub did", () => {
    const entry = (verb: string, details: [string, string][]): NonNullable<Task["history"]>[number] => ({ id: verb, at: "2026-12-01T05:39:16.334Z", who: "forge", via: "forge", verb, reason: "", details });
    const orders = ordersOf({ ...TASK, history: [entry("task.create", []), entry("task.stop", [["by", "ada"]]), entry("task.resume", [["by", "eve"]]), entry("task.approve", [])] });
    expect(orders.map((order) => `${order.who} ${order.what}`)).toEqual(["ada stopped it", "eve let it go on", "forge agreed to it"]);
  });

  it("says of a task that must wait what for", () => {
    expect(plain(taskSentence({ ...TASK, state: "queued", codes: ["frozen"], proposal: null, pull_request: null, review: null }))).toBe("Check lint of bot/hello failed and waits: frozen.");
  });

  it("knows that the check before and each canary must fail", () => {
    const ran = (phase: "reproduce" | "check" | "canary", passed: boolean): boolean => isAsItMust({ phase, passed, argv: [], status: 0, wall_ms: 1 });
    expect([ran("reproduce", false), ran("check", true), ran("canary", false)]).toEqual([true, true, true]);
    expect([ran("reproduce", true), ran("check", false), ran("canary", true)]).toEqual([false, false, false]);
  });
});
