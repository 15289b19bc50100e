import { describe, expect, it } from "vitest";

import type { NodePlacementView, PlacementView, ScalingView } from "../api/types";
import { askedOf, clusterSays, loadText, nodeSays, placementCommand, placementSentence, scalingOf, scalingSentence } from "./placement";
import { plain } from "./sentence";

const node = (others: Partial<NodePlacementView>): NodePlacementView => ({
  name: "gpu-1", agent: "gpu-1", is_chosen: false, why_not: [], model: "A100", domain: "r7", free_cpu_milli: 8_000, free_memory_mib: 65_536, free_gpus: 2, free_gpu_milli: 2_500, ...others,
});
const view = (others: Partial<PlacementView>): PlacementView => ({
  demand: "1 GPU", replicas: 2, cluster: "lab", nodes: ["gpu-1", "gpu-2"], price_micros_per_h: 3_200_000, why: "", clusters: [], ...others,
});
const scaled = (others: Partial<ScalingView>): ScalingView => ({
  target: { cluster: "demo", namespace: "default", name: "web" }, min: 1, max: 8, target_milli: 50_000, query: "q", forecast: true, present: 3, desired: 3, reactive: 2, floor: 3,
  why: "the load is as it should be", load_milli: 91_500, expected_milli: 170_000, autoscaler: null, detail: "", measured_at: null, set_by: "ann", ...others,
});

describe("what is asked of placement", () => {
  it("stands in the address, and a deployment goes before words", () => {
    expect(askedOf(new URLSearchParams(""))).toBeNull();
    expect(askedOf(new URLSearchParams("gpus=&sort=x"))).toBeNull();
    expect(askedOf(new URLSearchParams("gpus=2&models=A100,L40S&gang=true&sort=x"))?.toString()).toBe("gpus=2&models=A100%2CL40S&gang=true");
    expect(askedOf(new URLSearchParams("gpus=2&deployment=lab/train/fine-tune"))?.toString()).toBe("deployment=lab%2Ftrain%2Ffine-tune");
  });

  it("is the same on the command line", () => {
    expect(placementCommand(null)).toBe("sentinel placement explain");
    expect(placementCommand(askedOf(new URLSearchParams("deployment=lab/train/fine-tune")))).toBe("sentinel placement explain lab/train/fine-tune");
    expect(placementCommand(askedOf(new URLSearchParams("gpus=2&models=A100,L40S&labels=zone=a&gang=true")))).toBe("sentinel placement explain --gpus 2 --gpu-model A100 --gpu-model L40S --node-label zone=a --gang");
  });
});

describe("what placement answers", () => {
  it("is one sentence", () => {
    expect(plain(placementSentence(view({})))).toBe("2 replicas of 1 GPU would go to lab on gpu-1, gpu-2, for 3.20 an hour.");
    expect(plain(placementSentence(view({ cluster: null, nodes: [], replicas: 1, why: "no node has 9 free GPUs" })))).toBe("1 replica of 1 GPU would go nowhere: no node has 9 free GPUs.");
  });

  it("is a reason for every node that cannot", () => {
    expect(nodeSays(node({ is_chosen: true })).tone).toBe("ok");
    expect(nodeSays(node({})).word).toBe("it could");
    expect(nodeSays(node({ why_not: ["1 GPU free, 2 are asked for", "cordoned"] }))).toEqual({ sign: "✕", word: "1 GPU free, 2 are asked for; cordoned", tone: "warn" });
    expect(clusterSays({ name: "lab", is_chosen: false, why_not: "its nodes are not known yet", told_ms_ago: null, nodes: [] }).word).toBe("its nodes are not known yet");
  });
});

describe("scaling", () => {
  it("says whether there are as many as there should be, and what holds them", () => {
    expect(scalingOf(scaled({})).word).toBe("as wanted");
    expect(scalingOf(scaled({ desired: 5 })).word).toBe("growing");
    expect(scalingOf(scaled({ desired: 2 })).word).toBe("shrinking");
    expect(scalingOf(scaled({ desired: null })).word).toBe("not measured yet");
    expect(scalingOf(scaled({ detail: "Prometheus does not answer" })).word).toBe("held");
    expect(scalingOf(scaled({ autoscaler: "web", detail: "x" })).word).toBe("left to web");
  });

  it("names what is held first", () => {
    expect(plain(scalingSentence([]))).toBe("The hub scales nothing yet.");
    expect(plain(scalingSentence([scaled({}), scaled({})]))).toBe("All 2 deployments have the replicas that their load needs.");
    expect(plain(scalingSentence([scaled({}), scaled({ desired: 5 })]))).toBe("1 of 2 deployments follows its load now.");
    expect(plain(scalingSentence([scaled({ desired: 5 }), scaled({ detail: "Prometheus does not answer" })]))).toBe("1 of 2 deployments is held: demo/default/web, Prometheus does not answer.");
  });

  it("shows loads as the query gives them", () => {
    expect(loadText(91_500)).toBe("91.5");
    expect(loadText(null)).toBe("—");
  });
});
