import { expect, test } from "vitest";
import { parse } from "./units";

test("base units outside are small units inside, wherever they stand", () => {
  const node = { age_seconds: 0.25, gpus: [{ temperature_celsius: 84.5, power_caps_watts: [100, 350.001], used_ratio: 0.9999, power_watts: null }] };
  expect(parse(JSON.stringify({ items: [node] }))).toEqual({
    items: [{ age_ms: 250, gpus: [{ temperature_mc: 84_500, power_caps_mw: [100_000, 350_001], used_bp: 9_999, power_mw: null }] }],
  });
});

test("other values of the same name stay as they are", () => {
  expect(parse('{"confidence":{"at_least":0.5},"chance":"low","labels":{"site":"1"}}')).toEqual({ confidence: { at_least: 0.5 }, chance: "low", labels: { site: "1" } });
});
