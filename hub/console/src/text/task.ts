// Tasks in words: how one stands, what it is about, and the first line of both pages.

import type { CertificateCommand, Chance, Review, Task, TaskEntry, TaskState } from "../api/types";
import type { Fields } from "./filter";
import { count } from "./format";
import type { Part } from "./sentence";
import type { Word } from "./words";

const WORDS: Record<TaskState, Word> = {
  queued: { sign: "⏳", word: "queued", tone: "warn" },
  leased: { sign: "◐", word: "being worked on", tone: "alone" },
  publishing: { sign: "◐", word: "being published", tone: "alone" },
  proposed: { sign: "✓", word: "proposed", tone: "ok" },
  merged: { sign: "✓", word: "merged", tone: "ok" },
  closed: { sign: "–", word: "closed", tone: "unknown" },
  no_fix: { sign: "–", word: "no fix", tone: "unknown" },
  refused: { sign: "✕", word: "refused", tone: "down" },
  dead: { sign: "✕", word: "dead", tone: "down" },
  cancelled: { sign: "–", word: "cancelled", tone: "unknown" },
  held: { sign: "?", word: "needs a person", tone: "warn" },
  completed: { sign: "✓", word: "completed", tone: "ok" },
};

/** How a task stands; a state that this page does not know is told as it is. */
export const taskWord = (state: TaskState): Word => WORDS[state] ?? { sign: "·", word: state, tone: "plain" };

/** Something still happens to it by itself. */
export const isUnderWay = (task: Task): boolean => ["queued", "leased", "publishing", "held"].includes(task.state);

/** It ended without a pull request, so it may be tried again. */
export const mayBeRetried = (task: Task): boolean => ["no_fix", "refused", "dead", "cancelled"].includes(task.state);

/** What it is about, or why nothing came of it. */
export function gistOf(task: Task): string {
  if (task.codes.length > 0) return [task.codes.join(" "), task.message].filter((part) => part !== "").join(": ");
  if (task.proposal !== null) return `${task.proposal.category}: ${task.proposal.tool} in ${filesOf(task)}`;
  if (task.state === "leased") return task.phase === "" ? "an agent reads the log" : task.phase;
  return task.error_message ?? "";
}

/** Its files: the one, or how many. */
export function filesOf(task: Task): string {
  const files = task.proposal?.files ?? [];
  return files.length === 1 && files[0] !== undefined ? files[0].path : count(files.length, "file");
}

/** `#7` of a pull request's address. */
export const numberOf = (url: string): string => `#${url.split("/").pop() ?? ""}`;

export const TASK_FIELDS: Fields<Task> = {
  id: (task) => task.id,
  state: (task) => task.state,
  repository: (task) => task.repository,
  check: (task) => task.check,
  branch: (task) => task.branch,
  commit: (task) => task.commit,
  category: (task) => task.proposal?.category ?? null,
  tool: (task) => task.proposal?.tool ?? null,
  code: (task) => task.codes,
  attempts: (task) => task.attempts,
};

/** How all tasks stand; what needs a person comes first. */
export function tasksSentence(tasks: Task[]): Part[] {
  if (tasks.length === 0) return [{ text: "No failed check has become a task." }];
  const among = (...states: TaskState[]): number => tasks.filter((task) => states.includes(task.state)).length;
  const parts: Part[] = [];
  const say = (number: number, text: string, tone?: "ok" | "down" | "warn" | "alone"): void => {
    if (number === 0) return;
    if (parts.length > 0) parts.push({ text: "; " });
    parts.push(tone === undefined ? { text: `${number} ${text}` } : { text: `${number} ${text}`, tone });
  };
  say(among("refused", "dead"), "refused or given up: a person is needed", "down");
  say(among("held"), "held until a person agrees", "warn");
  say(among("proposed"), among("proposed") === 1 ? "pull request is open" : "pull requests are open", "ok");
  say(among("leased", "publishing"), "being worked on", "alone");
  say(among("queued"), "waiting", "warn");
  say(among("merged", "completed"), "merged", "ok");
  say(among("closed", "no_fix", "cancelled"), "ended without a repair");
  return [...parts, { text: "." }];
}

/** How one stands. */
export function taskSentence(task: Task): Part[] {
  const check: Part[] = [{ text: `Check ${task.check} of ${task.repository}` }];
  const url = task.pull_request;
  switch (task.state) {
    case "queued":
      // What must wait says why: a freeze, a budget, a forge that is away.
      if (task.codes.length > 0) return [...check, { text: ` failed and waits: ${task.codes.join(" ")}`, tone: "warn" }, { text: "." }];
      return [...check, { text: " failed and waits for an agent", tone: "warn" }, { text: "." }];
    case "leased":
      return [...check, { text: " failed; an agent works on it", tone: "alone" }, { text: "." }];
    case "held":
      return [...check, { text: ` failed; its repair in ${filesOf(task)} waits for a person: ${task.codes.join(" ")}`, tone: "warn" }, { text: "." }];
    case "completed":
      return [{ text: `Task ${task.check} is done.` }];
    case "publishing":
      return [...check, { text: ` failed and is repaired in ${filesOf(task)}; the pull request is being opened.` }];
    case "proposed":
      return [...check, { text: " failed; its repair is proposed: ", tone: "ok" }, ...pull(url), { text: "." }];
    case "merged":
      return [...check, { text: " failed; its repair is merged: ", tone: "ok" }, ...pull(url), { text: "." }];
    case "closed":
      return [...check, { text: " failed; its repair was closed: " }, ...pull(url), { text: "." }];
    case "cancelled":
      return [...check, { text: " failed; a person stopped the task." }];
    case "no_fix":
    case "refused":
    case "dead":
      return [...check, { text: ` failed and is not repaired: ${task.codes.join(" ")}`, tone: task.state === "no_fix" ? "unknown" : "down" }, { text: "." }];
    default:
      return [...check, { text: ` failed; the task is ${String(task.state)}.` }];
  }
}

function pull(url: string | null): Part[] {
  return url === null ? [] : [{ text: numberOf(url), href: url }];
}

/** The five stations of a task, in order. */
export interface Station {
  name: string;
  word: Word;
  text: string;
  href?: string;
  at: string | null;
}

/** What became of its pull request, as calibration counts it. */
function outcomeWord(task: Task): Word | null {
  switch (task.outcome) {
    case null:
    case undefined:
      return null;
    case "merged":
      return { sign: "✓", word: "merged", tone: "ok" };
    case "closed":
      return { sign: "–", word: "closed", tone: "unknown" };
    default:
      return { sign: "✕", word: task.outcome, tone: "down" };
  }
}

const OUTCOMES: Record<NonNullable<Task["outcome"]>, string> = {
  merged: "the repair is in; later ones of its kind are surer",
  red: "its own checks are red at our commit; later ones of its kind are less sure",
  reverted: "it was merged and taken back; later ones of its kind are less sure",
  rejected: "somebody closed it with a no; later ones of its kind are less sure",
  closed: "closed without a word, which says little",
};

/** What an outcome means for later repairs. */
const outcomeText = (task: Task): string => (task.outcome === null ? "" : (OUTCOMES[task.outcome] ?? ""));

/** `74 % at least; 85 % of such repairs are merged (12 outcomes)`. */
export function chanceText(chance: Chance): string {
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  return `${percent(chance.at_least)} at least; ${percent(chance.mean)} of such repairs are merged (${count(chance.outcomes, "outcome")})`;
}

const DONE: Word = { sign: "✓", word: "done", tone: "ok" };

const CHECKS: Record<Review["checks"], Word> = {
  unknown: { sign: "…", word: "not seen yet", tone: "unknown" },
  pending: { sign: "◐", word: "running", tone: "alone" },
  green: { sign: "✓", word: "green", tone: "ok" },
  red: { sign: "✕", word: "red", tone: "down" },
};

/** What the forge's own checks say of our commit. */
export const checksWord = (checks: Review["checks"]): Word => CHECKS[checks] ?? { sign: "·", word: checks, tone: "plain" };

/** How an open pull request stands: a draft until its checks are green, or in a person's hands. */
export function reviewWord(task: Task): Word {
  if (task.review === null || task.state !== "proposed") return DONE;
  if (task.review.stopped_by !== null) return { sign: "‖", word: "stopped", tone: "warn" };
  if (task.review.checks === "red") return { sign: "✕", word: "checks are red", tone: "down" };
  return task.review.is_draft ? { sign: "◐", word: "draft", tone: "alone" } : { sign: "✓", word: "ready", tone: "ok" };
}

/** What is waited for, or who has the next word. */
export function reviewText(task: Task): string {
  const { review } = task;
  if (review === null || task.state !== "proposed") return "";
  if (review.stopped_by !== null) return `stopped by ${review.stopped_by}: nothing is done by itself`;
  if (review.checks === "red") return "its own checks are red at our commit: a person decides";
  if (review.is_draft) return "a draft until its checks are green";
  return review.merge_wanted ? "merged without a person, as its owner wishes and if policy agrees" : "waits for a person to merge it";
}

const ORDERS: Record<string, string> = {
  "task.stop": "stopped it",
  "task.resume": "let it go on",
  "task.retry": "wants another try",
  "task.approve": "agreed to it",
  "task.cancel": "cancelled it",
  "task.taken-over": "pushed to its branch",
};

/** What a person ordered, at the forge or here. */
export interface Order {
  id: string;
  at: string;
  who: string;
  what: string;
  reason: string;
}

/** What people ordered, oldest first. */
export function ordersOf(task: Task): Order[] {
  return (task.history ?? []).flatMap((entry) => {
    const what = ORDERS[entry.verb];
    if (what === undefined) return [];
    const by = entry.details.find(([name]) => name === "by")?.[1];
    return [{ id: entry.id, at: entry.at, who: by ?? entry.who, what, reason: entry.reason }];
  });
}

const WAITS: Word = { sign: "…", word: "not yet", tone: "unknown" };

/** Prediction, failure, fix, pull request, outcome: what is known of each. */
export function stationsOf(task: Task): Station[] {
  const entry = (verb: string): TaskEntry | undefined => task.history?.filter((one) => one.verb === verb).pop();
  const at = (verb: string): string | null => entry(verb)?.at ?? null;
  const ended = ["merged", "closed"].includes(task.state);
  const over = !isUnderWay(task);
  const fix = (): Pick<Station, "word" | "text"> => {
    if (task.proposal !== null) return { word: DONE, text: `${task.proposal.fixer} in ${filesOf(task)}` };
    return over ? { word: taskWord(task.state), text: gistOf(task) } : { word: WAITS, text: gistOf(task) };
  };
  const stations: Station[] = [
    {
      name: "Prediction",
      word: task.correlation_id === null ? { sign: "–", word: "none", tone: "unknown" } : DONE,
      text: task.correlation_id ?? "nobody predicted this failure",
      at: null,
    },
    { name: "Failure", word: DONE, text: `${task.check} on ${task.commit.slice(0, 12)}`, at: task.created_at, ...(task.log_url === "" ? {} : { href: task.log_url }) },
    { name: "Fix", ...fix(), at: at("task.propose") },
  ];
  if (task.pull_request !== null) {
    const text = [numberOf(task.pull_request), reviewText(task)].filter((part) => part !== "").join(": ");
    stations.push({ name: "Pull request", word: reviewWord(task), text, href: task.pull_request, at: at("task.ready") ?? at("task.publish") });
  }
  else stations.push({ name: "Pull request", word: over ? { sign: "–", word: "none", tone: "unknown" } : WAITS, text: over ? task.codes.join(" ") : "", at: null });
  const outcome = outcomeWord(task);
  stations.push({ name: "Outcome", word: outcome !== null ? outcome : ended ? taskWord(task.state) : over && task.pull_request === null ? { sign: "–", word: "none", tone: "unknown" } : WAITS, text: outcomeText(task), at: at("task.outcome") });
  return stations;
}

const PHASES: Record<CertificateCommand["phase"], string> = {
  reproduce: "before",
  fix: "repair",
  fix_again: "repair again: no further change",
  check: "after",
  canary: "after, with one file as it was",
  sibling: "another check",
};

/** Why a command was run. */
export const phaseText = (command: CertificateCommand): string => (command.canary === undefined ? PHASES[command.phase] : `after, with ${command.canary} as it was`);

/** Whether a command ended as it must: the check before and each canary fail, everything else passes. */
export const isAsItMust = (command: CertificateCommand): boolean => command.passed !== (command.phase === "reproduce" || command.phase === "canary");
