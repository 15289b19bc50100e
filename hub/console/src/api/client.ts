// Asks the API, one function for each route that a page uses.
//
// Every failure becomes a `Failure` that says what failed, what still works and what to do; pages show it and never guess.
// Nothing is retried here: `stream.ts` decides when lists are read again.

import type { ActView, Audit, AuditCheck, BrainView, CalendarView, Certificate, ClusterView, Consumer, DecisionDetail, DecisionView, Delivery, DeploymentView, DomainView, ForecastView, Invite, List, Me, NodeView, PlacementView, PlanView, PolicyDetailView, PolicyView, ProblemBody, ReplayView, RolloutView, ScalingView, SeriesView, ShadowView, Task, User, Webhook } from "./types";
import { parse } from "./units";

/** Why an answer did not come, in words for people. */
export class Failure extends Error {
  constructor(
    /** The problem's stable code, or `unreachable` when nothing answered. */
    readonly code: string,
    /** What failed. */
    message: string,
    /** What still works and what to do. */
    readonly advice: string,
    /** The decision that refused it, if one did. */
    readonly decision: string | null = null,
  ) {
    super(message);
  }
}

/** What a page of another origin cannot send. */
const HEADERS = { "content-type": "application/json", "x-sentinel-csrf": "1" };

const ADVICE: Record<string, string> = {
  unauthorized: "Run `sentinel login` and open the link that it prints. Nodes go on working meanwhile.",
  not_found: "Check the name in the address, or go back to the list.",
  denied: "Nothing was changed. The clauses above say what would have to be different.",
  conflict: "Someone else changed it in between. Read it again and repeat.",
  unavailable: "What is on the page stays as it was. It is read again by itself.",
  too_large: "Ask for less: a shorter time range or a narrower filter.",
  internal: "What is on the page stays as it was. The server's log has the cause.",
};

/** The failure that a problem document describes. */
export function failureOf(what: string, status: number, body: Partial<ProblemBody> | null): Failure {
  const code = body?.code ?? (status === 401 ? "unauthorized" : status === 404 ? "not_found" : "internal");
  const detail = body?.detail ?? `the answer was HTTP ${status}`;
  const fields = (body?.errors ?? []).map((error) => `${error.pointer}: ${error.detail}`);
  return new Failure(code, [`${what}: ${detail}`, ...fields].join("; "), ADVICE[code] ?? "", body?.decision_id ?? null);
}

async function ask<T>(what: string, path: string, init: RequestInit = {}, read: "json" | "text" = "json"): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...init });
  } catch {
    throw new Failure(
      "unreachable",
      `${what}: no answer from ${location.host}`,
      "What is on the page stays, and grows older visibly. Nodes go on deciding. It is tried again by itself.",
    );
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => null);
    throw failureOf(what, answer.status, body as Partial<ProblemBody> | null);
  }
  const text = await answer.text();
  if (read === "text") return text as T;
  try {
    return parse(text) as T;
  } catch {
    return null as T; // 204, or a body that is not for programs
  }
}

function send<T>(what: string, path: string, body: unknown): Promise<T> {
  return ask<T>(what, path, { method: "POST", headers: HEADERS, body: JSON.stringify(body) });
}

const name = encodeURIComponent;

/** Every node, all pages of the list. */
export const nodes = (): Promise<NodeView[]> => all<NodeView>("cannot read the nodes", "/nodes");

export const node = (id: string): Promise<NodeView> => ask(`cannot read ${id}`, `/nodes/${name(id)}`);

/** One page of decisions, newest first. */
export function decisions(query: { node?: string; before?: string; limit?: number }): Promise<List<DecisionView>> {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return ask("cannot read the decisions", `/decisions?${search}`);
}

export const decision = (id: string): Promise<DecisionDetail> => ask(`cannot read decision ${id}`, `/decisions/${name(id)}`);

export const replay = (id: string): Promise<ReplayView> => ask(`cannot replay ${id}`, `/decisions/${name(id)}/replay`);

/** The values since a wall time, milliseconds since 1970. */
/** Values of a node; `until_ms`, the number of points and one quantity narrow it. */
export const series = (id: string, since_ms: number, only: { until_ms?: number; points?: number; quantity?: string } = {}): Promise<SeriesView> => {
  const more = Object.entries(only).map(([key, value]) => `&${key}=${encodeURIComponent(value)}`);
  return ask(`cannot read the values of ${id}`, `/series?node=${name(id)}&since_ms=${since_ms}${more.join("")}`);
};

export const policies = (): Promise<PolicyView[]> => all<PolicyView>("cannot read the policies", "/policies");

export const policy = (generation: number): Promise<PolicyDetailView> => ask(`cannot read what generation ${generation} decided`, `/policies/${generation}`);

/** The freezes between two wall times, milliseconds since 1970. */
export const calendar = (generation: number, from_ms: number, to_ms: number): Promise<CalendarView> =>
  ask(`cannot read the freezes of generation ${generation}`, `/policies/${generation}/calendar?from=${new Date(from_ms).toISOString()}&to=${new Date(to_ms).toISOString()}`);

/** What the active bundle's rules count of the nodes, and whose turn it is. */
export const domains = (): Promise<DomainView[]> => all<DomainView>("cannot read the domains", "/domains");

/** One page of plans, newest first. */
export function plans(query: { state?: string; before?: string; limit?: number }): Promise<List<PlanView>> {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return ask("cannot read the plans", `/action-plans?${search}`);
}

export const plan = (id: string): Promise<PlanView> => ask(`cannot read plan ${id}`, `/action-plans/${name(id)}`);

/** Its life, in the words of `sentinel why`. */
export const planExplanation = (id: string): Promise<string> => ask(`cannot read the life of plan ${id}`, `/action-plans/${name(id)}/explanation`, {}, "text");

/** What policy would say of each step now; nothing changes by asking. */
export const planShadow = (id: string): Promise<ShadowView> => send(`cannot judge plan ${id}`, `/action-plans/${name(id)}/shadow`, {});

export const planSay = (id: string, verb: "approve" | "retry" | "deny" | "cancel", reason: string): Promise<PlanView> =>
  send(`cannot ${verb} plan ${id}`, `/action-plans/${name(id)}/${verb}`, verb === "deny" || verb === "cancel" ? { reason } : {});

/** Every brain with every verb that it is graded for. */
export const brains = (): Promise<BrainView[]> => all<BrainView>("cannot read the brains", "/brains");

/** How the embedded brain expects a device to go on; null while it knows too little. */
export const forecast = (node: string, device: string): Promise<ForecastView | null> =>
  ask<ForecastView>(`cannot read the forecast of ${node}/${device}`, `/forecast?node=${name(node)}&device=${name(device)}`).catch((failure: unknown) => {
    if (failure instanceof Failure && failure.code === "not_found") return null;
    throw failure;
  });

/** The clusters, each asked how it is. */
export const clusters = (): Promise<ClusterView[]> => all<ClusterView>("cannot read the clusters", "/clusters");

/** The deployments of all clusters. */
export const workloads = (): Promise<DeploymentView[]> => all<DeploymentView>("cannot read the workloads", "/deployments");

/** Where a demand would go now, in the words of the query; nothing is reserved by asking. */
export const placement = (query: URLSearchParams): Promise<PlacementView> => ask("cannot say where it would go", `/placement?${query}`);

/** The deployments that the hub scales by their load. */
export const scaling = (): Promise<ScalingView[]> => all<ScalingView>("cannot read what is scaled", "/scaling");

export const rollouts = (): Promise<RolloutView[]> => all<RolloutView>("cannot read the rollouts", "/rollouts");

export const rollout = (id: string): Promise<RolloutView> => ask(`cannot read rollout ${id}`, `/rollouts/${name(id)}`);

export const tellRollout = (id: string, verb: string, reason: string): Promise<RolloutView> => send(`cannot ${verb} rollout ${id}`, `/rollouts/${name(id)}/${verb}`, { reason });

export const hold = (id: string, reason: string): Promise<ActView> => send(`cannot hold ${id}`, `/nodes/${name(id)}/hold`, { reason });

export const release = (id: string, reason: string): Promise<ActView> => send(`cannot release ${id}`, `/nodes/${name(id)}/release`, { reason });

/** Signs in by name and password. */
export const enter = (username: string, password: string): Promise<unknown> => send("cannot sign in", "/login", { username, password });

/** Sets a password by a one-time link, and signs in; the name counts for the first person only. */
export const setUp = (code: string, username: string, password: string): Promise<unknown> =>
  send("cannot set the password", "/auth/setup", username === "" ? { code, password } : { code, name: username, password });

export const logout = (): Promise<unknown> => send("cannot sign out", "/auth/logout", {});

/** Who asks, and what they may do. */
export const me = (): Promise<Me> => ask("cannot read who you are", "/auth/me");

export const users = (): Promise<User[]> => all<User>("cannot read the people", "/users");

export const invite = (username: string, role: string): Promise<Invite> => send(`cannot add ${username}`, "/users", { name: username, role });

export const newLink = (username: string): Promise<Invite> => send(`cannot make a link for ${username}`, `/users/${name(username)}/invite`, {});

export const changeUser = (username: string, what: { role?: string; disabled?: boolean }): Promise<User> =>
  ask(`cannot change ${username}`, `/users/${name(username)}`, { method: "PATCH", headers: HEADERS, body: JSON.stringify(what) });

export const removeUser = (username: string): Promise<User> => ask(`cannot remove ${username}`, `/users/${name(username)}`, { method: "DELETE", headers: HEADERS });

/** One page of what people and programs caused, newest first. */
export function audits(query: { who?: string; result?: string; before?: string; limit?: number }): Promise<List<Audit>> {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return ask("cannot read the audit", `/audits?${search}`);
}

/** Whether the hub's own journal is whole, and the one that it signed. */
export const auditCheck = (): Promise<AuditCheck> => ask("cannot check the audit", "/audits/verify");

/** Failed checks that became tasks, newest first. */
export const tasks = (): Promise<Task[]> => ask("cannot read the tasks", "/tasks?limit=1000");

/** One task with its history. */
export const task = (id: string): Promise<Task> => ask(`cannot read task ${id}`, `/tasks/${name(id)}`);

/** The proof of a task's patch. */
export const certificate = (id: string): Promise<Certificate> => ask(`cannot read the certificate of task ${id}`, `/tasks/${name(id)}/certificate`);

export const cancelTask = (id: string, reason: string): Promise<unknown> => send(`cannot cancel task ${id}`, `/tasks/${name(id)}/cancel`, { reason });

export const approveTask = (id: string, reason: string): Promise<unknown> => send(`cannot approve task ${id}`, `/tasks/${name(id)}/approve`, { reason });

export const retryTask = (id: string, reason: string): Promise<unknown> => send(`cannot try task ${id} again`, `/tasks/${name(id)}/retry`, { reason });

/** Who hears of everything that arrives, and how far each is behind. */
export const consumers = (): Promise<Consumer[]> => all<Consumer>("cannot read the integrations", "/consumers");

export const webhooks = (): Promise<Webhook[]> => all<Webhook>("cannot read the webhooks", "/webhooks");

export const deliveries = (hook: string): Promise<Delivery[]> => all<Delivery>(`cannot read the deliveries of ${hook}`, `/webhooks/${name(hook)}/deliveries`);

/** Sends what was given up again: one event, or all of them. */
export const resend = (hook: string, event?: string): Promise<Webhook> =>
  send(`cannot send again to ${hook}`, `/webhooks/${name(hook)}/resend`, event === undefined ? {} : { event });

export const login = (code: string): Promise<unknown> => send("cannot sign in", "/login", { code });

async function all<T>(what: string, path: string): Promise<T[]> {
  const items: T[] = [];
  let after: string | undefined;
  // 100 pages is far more than the largest fleet needs; it bounds a server that repeats itself.
  for (let page = 0; page < 100; page += 1) {
    const list: List<T> = await ask(what, after === undefined ? path : `${path}?after=${name(after)}`);
    items.push(...list.items);
    if (list.next_cursor === undefined || list.next_cursor === null || list.items.length === 0) break;
    after = list.next_cursor;
  }
  return items;
}
