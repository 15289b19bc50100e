// Something that is asked of the API for one page, read again whenever events may have been missed.

import { useEffect, useRef, useState } from "preact/hooks";

import { Failure } from "../api/client";
import { onReread } from "./stream";

export interface Fetched<T> {
  value: T | null;
  failure: Failure | null;
}

/** Asks when `key` changes and after each reset; an older answer never replaces a newer one. */
export function useFetched<T>(key: string, ask: () => Promise<T>): Fetched<T> {
  const [state, setState] = useState<Fetched<T> & { key: string }>({ key, value: null, failure: null });
  useEffect(() => {
    let newest = 0;
    let gone = false;
    const read = (): void => {
      newest += 1;
      const mine = newest;
      const settle = (value: T | null, failure: Failure | null): void => {
        if (gone || mine !== newest) return;
        setState((before) => ({ key, value: value ?? (before.key === key ? before.value : null), failure }));
      };
      ask().then(
        (value) => settle(value, null),
        (error: unknown) => settle(null, error instanceof Failure ? error : new Failure("internal", String(error), "")),
      );
    };
    read();
    const stop = onReread(read);
    return () => {
      gone = true;
      stop();
    };
  }, [key]);
  return state.key === key ? state : { value: null, failure: null };
}

/** The last answer that came for `subject`, shown on while a newer one is on its way. */
export function useKept<T>(subject: string, fetched: Fetched<T | null>): T | null {
  const kept = useRef<{ subject: string; value: T } | null>(null);
  if (fetched.value !== null) kept.current = { subject, value: fetched.value };
  return kept.current?.subject === subject ? kept.current.value : null;
}
