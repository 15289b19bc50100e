// Where the page is: the address holds the whole state of the view, so every view can be sent to someone.
//
// Paths: `/` fleet, `/nodes/NAME`, `/decisions`, `/decisions/NODE/EPOCH/SEQ`, `/plans`, `/plans/ID`, `/brains`, `/clusters`, `/workloads`, `/placement`, `/scaling`, `/rollouts`, `/rollouts/ID`,
// `/policies`, `/policies/GENERATION`, `/tasks`, `/tasks/ID`, `/access`, `/audit`, `/integrations`, `/setup`. Everything else of a view is in the query.

import { useEffect, useReducer } from "preact/hooks";

export type Route =
  | { page: "fleet" }
  | { page: "node"; name: string }
  | { page: "decisions" }
  | { page: "decision"; id: string }
  | { page: "plans" }
  | { page: "plan"; id: string }
  | { page: "brains" }
  | { page: "policies"; generation: string | null }
  | { page: "tasks" }
  | { page: "task"; id: string }
  | { page: "clusters" }
  | { page: "workloads" }
  | { page: "placement" }
  | { page: "scaling" }
  | { page: "rollouts" }
  | { page: "rollout"; id: string }
  | { page: "access" }
  | { page: "audit" }
  | { page: "integrations" }
  | { page: "setup" }
  | { page: "nowhere"; path: string };

/** The page that a path names. */
export function routeOf(path: string): Route {
  const [first = "", second = "", ...rest] = path.split("/").filter((part) => part !== "").map(decode);
  if (rest.length === 0) {
    if (first === "") return { page: "fleet" };
    if (first === "nodes") return second === "" ? { page: "fleet" } : { page: "node", name: second };
    if (first === "decisions") return second === "" ? { page: "decisions" } : { page: "decision", id: second };
    if (first === "tasks") return second === "" ? { page: "tasks" } : { page: "task", id: second };
    if (first === "plans") return second === "" ? { page: "plans" } : { page: "plan", id: second };
    if (first === "policies") return { page: "policies", generation: second === "" ? null : second };
    if (second === "" && (first === "brains" || first === "access" || first === "audit" || first === "integrations" || first === "setup")) return { page: first };
    if (first === "rollouts") return second === "" ? { page: "rollouts" } : { page: "rollout", id: second };
    if (second === "" && (first === "clusters" || first === "workloads" || first === "placement" || first === "scaling")) return { page: first };
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

export const policyPath = (generation: number): string => `/policies/${generation}`;
export const nodePath = (name: string): string => `/nodes/${encodeURIComponent(name)}`;
export const taskPath = (id: string): string => `/tasks/${encodeURIComponent(id)}`;
/** The page of a decision; without dots, because servers take a path with a dot for a file. */
export const decisionPath = (id: string): string => `/decisions/${id.split(".").map(encodeURIComponent).join("/")}`;

export const planPath = (id: string): string => `/plans/${encodeURIComponent(id)}`;
/** Where a deployment would go now. */
export const placementPath = (deployment: string): string => `/placement?deployment=${encodeURIComponent(deployment)}`;
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
