// The last quarter of an hour of the GPUs that are in sight: read once, and again each minute, a few nodes at a time.
//
// A fleet's rows come and go as one scrolls, so a node is asked about only while its row is drawn. What was read stays, and is shown
// until the next reading; the newest value of a row is the stream's, not this.

import { useEffect, useReducer } from "preact/hooks";

import * as api from "../api/client";
import { serverNow } from "./use";

/** What a spark line spans. */
export const SPARK_MS = 15 * 60_000;
/** Points of a spark line; it is that many pixels wide at most. */
const POINTS = 96;
/** How long a reading is good: a point is ten seconds wide. */
const FRESH_MS = 60_000;
/** Nodes that are asked about at once: the first rows are there soon, and a hub is not met by a whole screen. */
const AT_ONCE = 2;

/** The band of one GPU over time. */
export interface Band {
  at_ms: number[];
  high: (number | null)[];
  low: (number | null)[];
}

interface Kept {
  read_at: number;
  asked: boolean;
  bands: Map<string, Band>;
}

const kept = new Map<string, Kept>();
const waiting: string[] = [];
const listeners = new Map<string, Set<() => void>>();
let asking = 0;

/** The bands of a node's GPUs by id; empty until they are read. */
export function useSparks(node: string): Map<string, Band> {
  const [, redraw] = useReducer<number, void>((n) => n + 1, 0);
  useEffect(() => {
    const own = listeners.get(node) ?? new Set();
    listeners.set(node, own);
    own.add(redraw as () => void);
    want(node);
    const timer = setInterval(() => want(node), FRESH_MS);
    return () => {
      clearInterval(timer);
      own.delete(redraw as () => void);
      if (own.size === 0) listeners.delete(node);
    };
  }, [node]);
  return kept.get(node)?.bands ?? NONE;
}

const NONE = new Map<string, Band>();

function want(node: string): void {
  const one = kept.get(node) ?? { read_at: -Infinity, asked: false, bands: NONE };
  kept.set(node, one);
  if (one.asked || performance.now() - one.read_at < FRESH_MS) return;
  one.asked = true;
  waiting.push(node);
  next();
}

function next(): void {
  while (asking < AT_ONCE) {
    const node = waiting.shift();
    if (node === undefined) return;
    const one = kept.get(node);
    if (one === undefined) continue;
    if (!listeners.has(node)) {
      // Scrolled away before its turn came.
      one.asked = false;
      continue;
    }
    asking += 1;
    void api
      .series(node, Math.floor(serverNow() - SPARK_MS), { points: POINTS, quantity: "gpu.temperature" })
      .then((view) => {
        // A server that is older sends every line.
        const lines = view.lines.filter((line) => line.quantity === "gpu.temperature");
        one.bands = new Map(lines.map((line) => [line.device, { at_ms: view.at_ms, high: line.values, low: line.low ?? line.values }]));
      })
      // A row without a spark line says as much as a message in each row would.
      .catch(() => undefined)
      .finally(() => {
        one.asked = false;
        one.read_at = performance.now();
        asking -= 1;
        for (const listener of listeners.get(node) ?? []) listener();
        next();
      });
  }
}
