// Binds views to the state: one store, notified at most ten times a second, and one clock that ticks each second.
//
// Components select what they need and are drawn again only when that changed by identity; so a fleet of ten thousand rows
// costs what is on the screen.

import { useEffect, useReducer, useRef } from "preact/hooks";

import { type Change, emptyState, reduce, type State } from "./store";

const NOTIFY_EVERY_MS = 100;

let state = emptyState();
const listeners = new Set<() => void>();
let pending = false;
let version = 0;

/** The page's running clock. */
export const clock = (): number => performance.now();

/** Takes a change in now; views hear of it within a tenth of a second. */
export function change(what: Change): void {
  reduce(state, what, clock());
  version += 1;
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    for (const listener of listeners) listener();
  }, NOTIFY_EVERY_MS);
}

/** The state as it is now, for handlers. */
export const current = (): State => state;

/** The version of the state; it grows with each change. */
export const useVersion = (): number => useStore(() => version);

/** The selected part of the state, kept up to date. */
export function useStore<T>(select: (state: State) => T): T {
  const [, redraw] = useReducer<number, void>((n) => n + 1, 0);
  const selected = select(state);
  const last = useRef({ select, selected });
  last.current = { select, selected };
  useEffect(() => {
    const listener = (): void => {
      if (!Object.is(last.current.select(state), last.current.selected)) redraw();
    };
    listeners.add(listener);
    listener();
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return selected;
}

const ticking = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

/** Draws the caller again each second and gives the page's clock. */
export function useTick(): number {
  const [, redraw] = useReducer<number, void>((n) => n + 1, 0);
  useEffect(() => {
    const tick = (): void => redraw();
    ticking.add(tick);
    timer ??= setInterval(() => {
      for (const one of ticking) one();
    }, 1_000);
    return () => {
      ticking.delete(tick);
      if (ticking.size === 0) {
        clearInterval(timer);
        timer = undefined;
      }
    };
  }, []);
  return clock();
}

/** The server's wall clock now, as well as it is known; the reader's own clock before the first word from it. */
export function serverNow(at: number = clock()): number {
  return state.server === null ? Date.now() : state.server.now_ms + (at - state.server.at);
}
