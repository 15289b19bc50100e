// Where the page is: the address holds the whole state of the view, so every view can be sent to someone.
//
// Paths: `/` fleet, `/nodes/NAME`, `/decisions`, `/decisions/NODE/EPOCH/SEQ`, `/clusters`, `/workloads`, `/rollouts`, `/rollouts/ID`,
// `/policies`, `/access`, `/audit`, `/setup`. Everything else of a view is in the query.

import { useEffect, useReducer } from "preact/hooks";

export type Route =
  | { page: "fleet" }
  | { page: "node"; name: string }
  | { page: "decisions" }
  | { page: "decision"; id: string }
  | { page: "clusters" }
  | { page: "workloads" }
  | { page: "rollouts" }
  | { page: "rollout"; id: string }
  | { page: "policies" }
  | { page: "access" }
  | { page: "audit" }
  | { page: "setup" }
  | { page: "nowhere"; path: string };

/** The page that a path names. */
export function routeOf(path: string): Route {
  const [first = "", second = "", ...rest] = path.split("/").filter((part) => part !== "").map(decode);
  if (rest.length === 0) {
    if (first === "") return { page: "fleet" };
    if (first === "nodes") return second === "" ? { page: "fleet" } : { page: "node", name: second };
    if (first === "decisions") return second === "" ? { page: "decisions" } : { page: "decision", id: second };
    if (first === "rollouts") return second === "" ? { page: "rollouts" } : { page: "rollout", id: second };
    if (second === "" && (first === "clusters" || first === "workloads")) return { page: first };
    if (second === "" && (first === "policies" || first === "access" || first === "audit" || first === "setup")) return { page: first };
  }
  if (first === "decisions" && rest.length === 2) return { page: "decision", id: [second, ...rest].join(".") };
  return { page: "nowhere", path };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const nodePath = (name: string): string => `/nodes/${encodeURIComponent(name)}`;
/** The page of a decision; without dots, because servers take a path with a dot for a file. */
export const decisionPath = (id: string): string => `/decisions/${id.split(".").map(encodeURIComponent).join("/")}`;

export const rolloutPath = (id: string): string => `/rollouts/${encodeURIComponent(id)}`;

const listeners = new Set<() => void>();
const tell = (): void => {
  for (const listener of listeners) listener();
};

/** Goes to an address of this console. */
export function go(to: string): void {
  if (to === location.pathname + location.search) return;
  history.pushState(null, "", to);
  tell();
  window.scrollTo(0, 0);
}

/** Changes parts of the query in place; null or the empty text takes a part away. */
export function setQuery(parts: Record<string, string | null>): void {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(parts)) {
    if (value === null || value === "") query.delete(key);
    else query.set(key, value);
  }
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text === "" ? "" : `?${text}`));
  tell();
}

/** The route and the query, kept up to date. */
export function useRoute(): { route: Route; query: URLSearchParams } {
  const [, redraw] = useReducer<number, void>((n) => n + 1, 0);
  useEffect(() => {
    const listener = (): void => redraw();
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return { route: routeOf(location.pathname), query: new URLSearchParams(location.search) };
}

/** Follows links of this console without loading the page again. */
export function startRouting(): void {
  window.addEventListener("popstate", tell);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = event.target instanceof Element ? event.target.closest("a") : null;
    if (anchor === null || anchor.target !== "" || anchor.hasAttribute("download") || anchor.origin !== location.origin) return;
    if (anchor.hash !== "" && anchor.pathname === location.pathname) return;
    event.preventDefault();
    go(anchor.pathname + anchor.search);
  });
}
