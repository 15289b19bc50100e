// A spark line: the band of lowest and highest values of a quarter of an hour, its limit as a line across, and nothing else.

import type { Band } from "../state/sparks";
import { SPARK_MS } from "../state/sparks";

const HEIGHT = 20;

/** Paths of a band in a box of `width` times `height`; gaps stay gaps. */
export function bandPath(band: Band, from_ms: number, span_ms: number, [least, most]: [number, number], width: number, height: number): string {
  const x = (at: number): string => (((at - from_ms) / span_ms) * width).toFixed(1);
  const y = (value: number): string => (height - ((value - least) / Math.max(most - least, 1)) * height).toFixed(1);
  const pieces: string[] = [];
  let run: number[] = [];
  const close = (): void => {
    if (run.length > 0) {
      const up = run.map((index) => `${x(band.at_ms[index] ?? 0)},${y(band.high[index] ?? 0)}`);
      const back = run.toReversed().map((index) => `${x(band.at_ms[index] ?? 0)},${y(band.low[index] ?? band.high[index] ?? 0)}`);
      pieces.push(`M${[...up, ...back].join("L")}Z`);
    }
    run = [];
  };
  const step = medianStep(band.at_ms);
  band.at_ms.forEach((at, index) => {
    const before = band.at_ms[index - 1];
    if (band.high[index] === null || (before !== undefined && at - before > 3.5 * step)) close();
    if (band.high[index] !== null && at >= from_ms) run.push(index);
  });
  close();
  return pieces.join("");
}

function medianStep(at_ms: number[]): number {
  const steps = at_ms.slice(1).map((at, index) => at - (at_ms[index] ?? at));
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 1_000;
}

/** What the box spans: the values with their limit, and at least ten degrees, so that noise stays flat. */
export function boxOf(band: Band, limit: number | null, least_span: number): [number, number] {
  const values = [...band.high, ...band.low].filter((value) => value !== null);
  const low = Math.min(...values, limit ?? Infinity);
  const high = Math.max(...values, limit ?? -Infinity);
  const room = Math.max(0, least_span - (high - low)) / 2;
  return [low - room, high + room];
}

export function Spark({ band, limit, now_ms, stale, label }: { band: Band | undefined; limit: number | null; now_ms: number; stale: boolean; label: string }) {
  // The box is there before its values are, so that nothing moves when they come.
  if (band === undefined || band.high.every((value) => value === null)) return <svg class="spark" viewBox={`0 0 96 ${HEIGHT}`} aria-hidden="true" />;
  const box = boxOf(band, limit, 10_000);
  const y = limit === null ? null : HEIGHT - 1 - ((limit - box[0]) / (box[1] - box[0])) * (HEIGHT - 2);
  return (
    <svg class={stale ? "spark old" : "spark"} viewBox={`0 0 96 ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      {y === null ? null : <line class="spark-limit" x1="0" x2="96" y1={y} y2={y} />}
      <path d={bandPath(band, now_ms - SPARK_MS, SPARK_MS, box, 96, HEIGHT - 2)} transform="translate(0 1)" />
    </svg>
  );
}

/** A bar of a value against its limit, or against the whole. */
export function Meter({ share, tone }: { share: number | null; tone: string }) {
  if (share === null) return null;
  return (
    <span class={`meter tone-${tone}`} aria-hidden="true">
      <span style={{ width: `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(1)}%` }} />
    </span>
  );
}
