// Words for where work goes and how it is scaled. Reasons are quoted from the hub, never made up again.

import type { ClusterPlacementView, NodePlacementView, PlacementView, ScalingView } from "../api/types";
import { count, human } from "./format";
import { deploymentName } from "./rollout";
import type { Part } from "./sentence";
import type { Word } from "./words";

/** What a person may ask of placement: name in the query, words beside the field, an example. */
export const ASKED: { id: string; name: string; example: string; digits: boolean }[] = [
  { id: "gpus", name: "GPUs", example: "1", digits: true },
  { id: "gpu_share", name: "or a share of one, in thousandths", example: "250", digits: true },
  { id: "models", name: "models", example: "A100,L40S", digits: false },
  { id: "cpu_milli", name: "CPU, thousandths of a core", example: "4000", digits: true },
  { id: "memory_mib", name: "memory, MiB", example: "16384", digits: true },
  { id: "replicas", name: "replicas", example: "2", digits: true },
  { id: "labels", name: "labels of the node", example: "zone=a", digits: false },
  { id: "cluster", name: "cluster", example: "any", digits: false },
];

/** What is asked, of a page's query: a deployment, or the words that are filled in. Null: nothing yet. */
export function askedOf(query: URLSearchParams): URLSearchParams | null {
  const asked = new URLSearchParams();
  const deployment = query.get("deployment") ?? "";
  if (deployment !== "") {
    asked.set("deployment", deployment);
    return asked;
  }
  for (const { id } of ASKED) {
    const value = (query.get(id) ?? "").trim();
    if (value !== "") asked.set(id, value);
  }
  if (query.get("gang") === "true") asked.set("gang", "true");
  return asked.size === 0 ? null : asked;
}

const FLAGS: Record<string, string> = { gpus: "--gpus", gpu_share: "--gpu-share", models: "--gpu-model", cpu_milli: "--cpu", memory_mib: "--memory", replicas: "--replicas", labels: "--node-label", cluster: "--cluster" };
/** What is a list in the query and a flag for each on the command line. */
const LISTS = ["models", "labels"];

/** The same question on the command line. */
export function placementCommand(asked: URLSearchParams | null): string {
  const words = ["sentinel placement explain"];
  for (const [key, value] of asked ?? []) {
    if (key === "deployment") words.push(value);
    else if (key === "gang") words.push("--gang");
    else for (const one of LISTS.includes(key) ? value.split(",") : [value]) words.push(`${FLAGS[key] ?? key} ${one}`);
  }
  return words.join(" ");
}

/** Money in an hour, from millionths. */
export const priceText = (micros: number): string => `${(micros / 1_000_000).toFixed(2)} an hour`;

/** The first line of the page. */
export function placementSentence(view: PlacementView): Part[] {
  const what = `${count(view.replicas, "replica")} of ${view.demand}`;
  if (view.cluster === null) return [{ text: `${what} would go nowhere`, tone: "warn", live: true }, { text: `: ${view.why}.` }];
  const price = view.price_micros_per_h === null ? "" : `, for ${priceText(view.price_micros_per_h)}`;
  return [{ text: `${what} would go to ` }, { text: `${view.cluster} on ${view.nodes.join(", ")}`, tone: "ok", live: true }, { text: `${price}.` }];
}

/** What a node says. */
export function nodeSays(node: NodePlacementView): Word {
  if (node.is_chosen) return { sign: "✓", word: "it goes here", tone: "ok" };
  if (node.why_not.length === 0) return { sign: "●", word: "it could", tone: "plain" };
  return { sign: "✕", word: node.why_not.join("; "), tone: "warn" };
}

/** The head of a cluster's rows. */
export function clusterSays(cluster: ClusterPlacementView): Word {
  if (cluster.is_chosen) return { sign: "✓", word: "chosen", tone: "ok" };
  if (cluster.why_not !== "") return { sign: "✕", word: cluster.why_not, tone: "warn" };
  return { sign: "●", word: "it could", tone: "plain" };
}

/** Whether there are as many replicas as there should be, and what holds it if not. */
export function scalingOf(one: ScalingView): Word {
  if (one.autoscaler !== null) return { sign: "⏸", word: `left to ${one.autoscaler}`, tone: "unknown" };
  if (one.detail !== "") return { sign: "⏳", word: "held", tone: "warn" };
  if (one.present === null || one.desired === null) return { sign: "○", word: "not measured yet", tone: "unknown" };
  if (one.present === one.desired) return { sign: "●", word: "as wanted", tone: "ok" };
  return one.present < one.desired ? { sign: "⇥", word: "growing", tone: "alone" } : { sign: "⇤", word: "shrinking", tone: "alone" };
}

/** A load as its query gives it. */
export const loadText = (milli: number | null): string => human(milli, "milli");

/** The first line of the list: what is held first. */
export function scalingSentence(all: ScalingView[]): Part[] {
  if (all.length === 0) return [{ text: "The hub scales nothing yet." }];
  const held = all.filter((one) => one.detail !== "" && one.autoscaler === null);
  const moving = all.filter((one) => one.detail === "" && one.autoscaler === null && one.present !== null && one.desired !== null && one.present !== one.desired);
  const [first] = held;
  if (first !== undefined) return [{ text: `${held.length} of ${count(all.length, "deployment")} ${held.length === 1 ? "is" : "are"} held`, tone: "warn", live: true }, { text: `: ${deploymentName(first.target)}, ${first.detail}.` }];
  if (moving.length > 0) return [{ text: `${moving.length} of ${count(all.length, "deployment")} ${moving.length === 1 ? "follows its" : "follow their"} load now`, live: true }, { text: "." }];
  return [{ text: all.length === 1 ? "The deployment has the replicas that its load needs" : `All ${all.length} deployments have the replicas that their load needs`, tone: "ok" }, { text: "." }];
}
