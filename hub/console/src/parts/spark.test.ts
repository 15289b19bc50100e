// The shape of spark lines: bands, gaps and the box around them.

import { expect, it } from "vitest";

import { bandPath, boxOf } from "./Spark";

const band = { at_ms: [0, 10, 20, 30], high: [10, 20, null, 30], low: [5, 20, null, 25] };

it("draws a band, and leaves a gap where nothing was measured", () => {
  const path = bandPath(band, 0, 30, [0, 30], 30, 30);
  expect(path).toBe("M0.0,20.0L10.0,10.0L10.0,10.0L0.0,25.0ZM30.0,0.0L30.0,5.0Z");
});

it("leaves a gap where samples are missing", () => {
  const at_ms = [0, 10, 20, 30, 400];
  const flat = { at_ms, high: at_ms.map(() => 1), low: at_ms.map(() => 1) };
  expect(bandPath(flat, 0, 400, [0, 2], 400, 2).match(/M/g)?.length).toBe(2);
});

it("holds the limit in sight, and does not blow noise up", () => {
  expect(boxOf(band, 85, 10)).toEqual([5, 85]);
  expect(boxOf({ at_ms: [0], high: [50], low: [50] }, null, 10)).toEqual([45, 55]);
});
