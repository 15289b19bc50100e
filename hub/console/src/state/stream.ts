// The one stream of the page: opens it, keeps it open, and reads the lists whenever events may have been missed.
//
// After each `hello` and each `reset` the lists are read again, because what happened in between is not sent again. A refused
// stream does not say why to a script, so a list is asked instead: its problem tells a missing login from a server that is away.
// Invariant: there is never more than one EventSource.

import * as api from "../api/client";
import type { Sample, StreamEvent } from "../api/types";
import { change, clock, current } from "./use";

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

/** Opens the stream and keeps it open for as long as the page lives. */
export function startStream(): void {
  open();
  setInterval(() => {
    if (source !== null && current().link === "live" && clock() - current().link_at > SILENT_AFTER_MS) lost();
  }, 5_000);
}

/** Opens the stream now, for example after a login. */
export function restartStream(): void {
  wait_ms = FIRST_WAIT_MS;
  open();
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
  clearTimeout(retry);
  source?.close();
  const opened = new EventSource("/api/v1/stream");
  source = opened;
  const take = (message: MessageEvent<string>): void => {
    if (source === opened) receive(message.data);
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
    event = JSON.parse(text) as StreamEvent;
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
  if (current().link !== "unauthorized") change({ kind: "link", link: current().hello === null ? "connecting" : "lost" });
  void api.nodes().then(again, (failure: unknown) => {
    fail(failure);
    again();
  });
}

function again(): void {
  clearTimeout(retry);
  if (current().link === "unauthorized") return;
  // Half of the wait is random: a hub that comes back is not met by every open page at once.
  retry = setTimeout(open, wait_ms / 2 + Math.random() * (wait_ms / 2));
  wait_ms = Math.min(wait_ms * 2, LONGEST_WAIT_MS);
}

function fail(failure: unknown): void {
  if (!(failure instanceof api.Failure)) return;
  if (failure.code === "unauthorized") change({ kind: "link", link: "unauthorized" });
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
