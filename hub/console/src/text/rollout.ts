// Words for clusters, their workloads and their rollouts. Numbers are quoted, never computed again.

import type { ClusterView, DeploymentRef, DeploymentView, MetricView, RolloutView } from "../api/types";
import { count } from "./format";
import type { Part } from "./sentence";
import type { Word } from "./words";

export const deploymentName = (of: DeploymentRef): string => `${of.cluster}/${of.namespace}/${of.name}`;

/** How a cluster is. */
export function clusterOf(cluster: ClusterView): Word {
  switch (cluster.status) {
    case "ready":
      return { sign: "●", word: "ready", tone: "ok" };
    case "forbidden":
      return { sign: "▲", word: "verbs are missing", tone: "warn" };
    case "not_ready":
      return { sign: "▲", word: "not ready", tone: "warn" };
    case "unreachable":
      return { sign: "○", word: "cannot be read", tone: "unknown" };
  }
}

/** How a workload is. */
export function workloadOf(workload: DeploymentView): Word {
  switch (workload.status) {
    case "running":
    case "completed":
      return { sign: "●", word: workload.status, tone: "ok" };
    case "failed":
      return { sign: "✕", word: "failed", tone: "down" };
    case "unknown":
      return { sign: "○", word: "unknown", tone: "unknown" };
    default:
      return { sign: "⇥", word: workload.status, tone: "warn" };
  }
}

/** Where a rollout is. */
export function phaseOf(phase: string): Word {
  const word = phase.replaceAll("_", " ");
  switch (phase) {
    case "completed":
      return { sign: "✓", word, tone: "ok" };
    case "rolled_back":
      return { sign: "⇤", word, tone: "warn" };
    case "failed":
    case "rollback_failed":
      return { sign: "✕", word, tone: "down" };
    case "paused":
      return { sign: "⏸", word, tone: "warn" };
    case "gated":
    case "holding":
      return { sign: "?", word, tone: "warn" };
    case "rolling_back":
      return { sign: "⇤", word, tone: "warn" };
    default:
      return { sign: "⇥", word, tone: "alone" };
  }
}

/** What a comparison said. */
export function verdictWord(verdict: string): Word {
  if (verdict === "pass") return { sign: "✓", word: "as good", tone: "ok" };
  if (verdict === "abort") return { sign: "✕", word: "worse", tone: "down" };
  return { sign: "?", word: "not known yet", tone: "unknown" };
}

export function outcomeWord(metric: MetricView): Word {
  if (metric.outcome === "pass") return { sign: "✓", word: "as good", tone: "ok" };
  if (metric.outcome === "fail") return { sign: "✕", word: "worse", tone: "down" };
  return { sign: "○", word: "no data", tone: "unknown" };
}

/** A measured value in four digits at most. */
export function measured(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

/** By how much the canary differs, with its interval and what would be too small to matter. */
export function effectText(metric: MetricView): string {
  if (metric.shift === null || metric.interval === null) return "not known yet";
  const [low, high] = metric.interval;
  const tolerated = metric.tolerated === null ? "" : `; up to ${measured(metric.tolerated)} is tolerated`;
  return `${metric.shift >= 0 ? "+" : ""}${measured(metric.shift)} (98 % between ${measured(low)} and ${measured(high)}${tolerated})`;
}

/** How far the samples are. */
export function samplesText(metric: MetricView): string {
  const [baseline, canary] = metric.effective;
  const there = `${canary} of the canary, ${baseline} of the baseline`;
  return metric.still_needed === 0 ? there : `${there}; ${metric.still_needed} more of each are needed`;
}

/** The first line of a rollout's page. */
export function rolloutSentence(rollout: RolloutView): Part[] {
  const word = phaseOf(rollout.phase);
  return [
    { text: deploymentName(rollout.target) },
    { text: ` ${rollout.finished ? "was taken" : "is being taken"} from ${rollout.from_image} to ${rollout.image}: ` },
    { text: word.word, tone: word.tone },
    { text: `, ${rollout.why}; ` },
    { text: `${rollout.ready} of at least ${rollout.start_replicas} replicas are ready`, tone: rollout.ready < rollout.start_replicas ? "down" : "plain", live: true },
    { text: "." },
  ];
}

/** The first line of the list. */
export function rolloutsSentence(rollouts: RolloutView[]): Part[] {
  const open = rollouts.filter((rollout) => !rollout.finished);
  const halted = open.filter((rollout) => ["paused", "gated", "holding"].includes(rollout.phase));
  const failed = rollouts.filter((rollout) => ["failed", "rollback_failed"].includes(rollout.phase));
  if (rollouts.length === 0) return [{ text: "Nothing has been rolled out yet." }];
  const parts: Part[] = [{ text: open.length === 0 ? "Nothing is being rolled out" : `${count(open.length, "rollout")} under way` }];
  if (halted.length > 0) parts.push({ text: `; ${halted.length === 1 ? "one waits" : `${halted.length} wait`} for a person`, tone: "warn" });
  if (failed.length > 0) parts.push({ text: `; ${count(failed.length, "rollout")} could not be finished`, tone: "down" });
  return [...parts, { text: "." }];
}

/** The first line of the workloads' page: the ones that are not as wanted first. */
export function workloadsSentence(workloads: DeploymentView[]): Part[] {
  if (workloads.length === 0) return [{ text: "No cluster runs a deployment that the hub can see." }];
  const short = workloads.filter((workload) => workload.ready < workload.wanted);
  if (short.length === 0) return [{ text: `All ${count(workloads.length, "deployment")} run as wanted`, tone: "ok" }, { text: "." }];
  const [first] = short;
  const parts: Part[] = [{ text: `${short.length} of ${count(workloads.length, "deployment")} ${short.length === 1 ? "has" : "have"} fewer ready replicas than wanted`, tone: "warn" }];
  if (first !== undefined) parts.push({ text: `: ${deploymentName(first)} has ${first.ready} of ${first.wanted}` });
  return [...parts, { text: "." }];
}

/** The first line of the clusters' page. */
export function clustersSentence(clusters: ClusterView[]): Part[] {
  if (clusters.length === 0) return [{ text: "The hub knows no cluster." }];
  const bad = clusters.filter((cluster) => cluster.status !== "ready");
  const [first] = bad;
  if (first === undefined) return [{ text: clusters.length === 1 ? "The cluster is ready" : `All ${clusters.length} clusters are ready`, tone: "ok" }, { text: "." }];
  return [{ text: `${bad.length} of ${count(clusters.length, "cluster")} not ready`, tone: "warn" }, { text: `: ${first.name}, ${first.detail === "" ? clusterOf(first).word : first.detail}.` }];
}

/** What a person may tell a rollout now: the verb, the button, and what follows from it. */
export function commandsOf(rollout: RolloutView): { verb: string; name: string; follows: string }[] {
  const forward = ["setting", "waiting", "analysing", "gated", "paused", "holding"].includes(rollout.phase);
  const all = [
    { verb: "promote", name: "Promote", when: forward && rollout.phase !== "setting", follows: "It goes on with the next step, whatever this one waits for." },
    { verb: "promote-fully", name: "Promote fully", when: forward, follows: "All steps that are left are left out, and every replica gets the new image." },
    { verb: "pause", name: "Pause", when: forward && rollout.phase !== "paused", follows: "It stays where it is until somebody goes on or its deadline takes it back." },
    { verb: "resume", name: "Resume", when: rollout.phase === "paused", follows: "It goes on with the step that was paused, from its beginning." },
    { verb: "abort", name: "Abort", when: forward || rollout.phase === "promoting", follows: "Everything is made as it was; capacity does not fall below what it was at the start." },
    { verb: "undo", name: "Undo", when: rollout.phase === "completed", follows: "A new rollout takes the image back that ran before, by the same steps." },
    { verb: "retry", name: "Retry the rollback", when: rollout.phase === "rollback_failed", follows: "Taking everything back is tried once more." },
  ];
  return all.filter((command) => command.when);
}
