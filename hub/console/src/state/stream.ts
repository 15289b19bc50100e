// The one stream of the browser: the tab that leads opens it and keeps it open, every tab reads its lists whenever events may have been
// missed. It is closed when the page is hidden for good, so that a closed tab never holds a place at the hub.
//
// After each `hello` and each `reset` the lists are read again, because what happened in between is not sent again. A refused
// stream does not say why to a script, so a list is asked instead: its problem tells a missing login from a server that is away.
// Invariant: there is never more than one EventSource in a browser that has locks. Read next: `shared.ts` (who leads).

import * as api from "../api/client";
import { parse } from "../api/units";
import type { Sample, StreamEvent } from "../api/types";
import { type Channel, type Locks, Shared, type Told } from "./shared";
import { change, clock, current, serverNow } from "./use";

/** First wait before a stream that ended is opened again; doubled up to the longest. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** No event for so long means that the path is dead although nobody said so; servers tick at least every 15 s. */
const SILENT_AFTER_MS = 45_000;

const NAMES = ["hello", "node", "decision", "sample", "policy", "reset", "tick"] as const;

let source: EventSource | null = null;
let wait_ms = FIRST_WAIT_MS;
let retry: ReturnType<typeof setTimeout> | undefined;
const sampleListeners = new Set<(sample: Sample) => void>();
const rereadListeners = new Set<() => void>();

const locks: Locks | null = typeof navigator !== "undefined" && "locks" in navigator ? (navigator.locks as Locks) : null;
const channel: Channel | null = typeof BroadcastChannel === "undefined" ? null : (new BroadcastChannel("sentinel-stream") as Channel);
const shared = new Shared(locks, channel, {
  lead: open,
  yield: close,
  hear,
  asked: (told) => (told.kind === "restart" ? restartStream() : sayHello()),
});

/** Takes part in the browser's stream for as long as the page is shown or may be again. */
export function startStream(): void {
  shared.join();
  addEventListener("pagehide", () => shared.leave());
  addEventListener("pageshow", (event) => {
    if (event.persisted) shared.join();
  });
  setInterval(() => {
    if (source !== null && current().link === "live" && clock() - current().link_at > SILENT_AFTER_MS) lost();
  }, 5_000);
}

/** Opens the stream now, for example after a login; in another tab, if that one has it. */
export function restartStream(): void {
  wait_ms = FIRST_WAIT_MS;
  if (shared.leads) open();
  else shared.say({ kind: "restart" });
}

/** What the leading tab has told. */
function hear(told: Told): void {
  if (told.kind === "event") return receive(told.text);
  if (told.kind === "link") change({ kind: "link", link: told.link });
}

/** A tab that has just come is told what the stream said at its beginning, with the time of now. */
function sayHello(): void {
  const { hello, link } = current();
  if (link === "unauthorized") shared.say({ kind: "link", link });
  if (hello === null || link !== "live") return;
  const data = { ...hello, now: new Date(serverNow()).toISOString() };
  shared.say({ kind: "event", text: JSON.stringify({ event: "hello", data }) });
}

function close(): void {
  clearTimeout(retry);
  source?.close();
  source = null;
}

/** Calls back with every sample as it comes; charts draw them. */
export function onSample(listener: (sample: Sample) => void): () => void {
  sampleListeners.add(listener);
  return () => sampleListeners.delete(listener);
}

/** Calls back when events may have been missed. */
export function onReread(listener: () => void): () => void {
  rereadListeners.add(listener);
  return () => rereadListeners.delete(listener);
}

function open(): void {
  close();
  const opened = new EventSource("/api/v1/stream");
  source = opened;
  const take = (message: MessageEvent<string>): void => {
    if (source !== opened) return;
    receive(message.data);
    shared.say({ kind: "event", text: message.data });
  };
  opened.onmessage = take;
  for (const name of NAMES) opened.addEventListener(name, take as EventListener);
  opened.onerror = () => {
    if (source !== opened) return;
    lost();
  };
}

function receive(text: string): void {
  let event: StreamEvent;
  try {
    event = parse(text) as StreamEvent;
  } catch {
    return;
  }
  change({ kind: "event", event });
  if (event.event === "hello") wait_ms = FIRST_WAIT_MS;
  if (event.event === "hello" || event.event === "reset") void reread();
  if (event.event === "sample") for (const listener of sampleListeners) listener(event.data);
}

function lost(): void {
  source?.close();
  source = null;
  if (current().link !== "unauthorized") linked(current().hello === null ? "connecting" : "lost");
  void api.nodes().then(again, (failure: unknown) => {
    fail(failure);
    again();
  });
}

/** How the stream stands, here and in the other tabs. */
function linked(link: "connecting" | "lost" | "unauthorized"): void {
  change({ kind: "link", link });
  if (shared.leads) shared.say({ kind: "link", link });
}

function again(): void {
  clearTimeout(retry);
  if (current().link === "unauthorized" || !shared.leads) return;
  // Half of the wait is random: a hub that comes back is not met by every open page at once.
  retry = setTimeout(open, wait_ms / 2 + Math.random() * (wait_ms / 2));
  wait_ms = Math.min(wait_ms * 2, LONGEST_WAIT_MS);
}

function fail(failure: unknown): void {
  if (!(failure instanceof api.Failure)) return;
  if (failure.code === "unauthorized") linked("unauthorized");
  else change({ kind: "failed", message: failure.message, advice: failure.advice });
}

async function reread(): Promise<void> {
  const asked_at = clock();
  const reads = [
    api.nodes().then((items) => change({ kind: "nodes", items, asked_at })),
    api.decisions({ limit: 100 }).then((list) => change({ kind: "decisions", items: list.items, older: list.next_cursor ?? null })),
    api.policies().then((items) => change({ kind: "policies", items })),
  ];
  for (const result of await Promise.allSettled(reads)) if (result.status === "rejected") fail(result.reason);
  for (const listener of rereadListeners) listener();
}
