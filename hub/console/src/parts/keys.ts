// The keyboard: single keys as in k9s, never while someone types or a dialog is open.

import { useEffect, useRef } from "preact/hooks";

export type Keys = Record<string, () => void>;

/** Whether a key press belongs to something that is being typed into. */
export function typing(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest("dialog[open]") !== null) return true;
  return target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT" || (target.tagName === "INPUT" && (target as HTMLInputElement).type !== "checkbox");
}

/** Calls the handler of a key while the caller is on the page. A link or button that has the focus keeps its own enter. */
export function useKeys(keys: Keys): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
      const focused = event.target instanceof Element && event.target.closest("a,button,summary") !== null;
      if (event.key === "Enter" && focused) return;
      const handler = latest.current[event.key];
      if (handler === undefined) return;
      event.preventDefault();
      handler();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
}

/** Every key, for the help. */
export const KEYS: [key: string, does: string][] = [
  ["ctrl k", "palette: go anywhere, do anything"],
  ["/", "filter"],
  ["j  k", "next row, row before"],
  ["enter", "open the row"],
  ["esc", "leave the filter, close, or go up"],
  ["t", "charts or table"],
  ["g f", "fleet"],
  ["g d", "decisions"],
  ["g l", "plans"],
  ["g b", "brains"],
  ["g w", "workloads"],
  ["g r", "rollouts"],
  ["g c", "clusters"],
  ["g p", "policies"],
  ["g t", "tasks"],
  ["?", "this list"],
];
