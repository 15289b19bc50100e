// A node's values over time: what the API gave, grown by the stream's samples, on one axis for all lines.
//
// A sample carries only the lines that changed: a line that it does not name keeps its value; `null` is a gap. A sample that is
// older than the axis' end cannot be added in place: the buffer says so and the page reads the series again.
// Where a time stands for several samples, a line has the highest as its value and the lowest beside it.
// Invariant: `at_ms` ascends strictly, and every line has as many values and lows.

import type { LineView, Sample, SeriesView, Unit } from "../api/types";

export interface Line {
  device: string;
  quantity: string;
  unit: Unit;
  simulated: boolean;
  values: (number | null)[];
  low: (number | null)[];
}

export interface Series {
  at_ms: number[];
  lines: Map<string, Line>;
  cuts: [number, number | null][];
}

export const lineKey = (line: Pick<LineView, "device" | "quantity">): string => `${line.device}/${line.quantity}`;

/** The buffer that an answer of the API fills. */
export function seriesOf(view: SeriesView): Series {
  return {
    at_ms: view.at_ms.slice(),
    lines: new Map(view.lines.map((line) => [lineKey(line), { ...line, values: line.values.slice(), low: (line.low ?? line.values).slice() }])),
    cuts: view.cuts.map(([from, to]) => [from, to]),
  };
}

/** Adds a sample; false if it lies before the end, so that the series has to be read again. */
export function addSample(series: Series, sample: Sample): boolean {
  const last = series.at_ms.at(-1);
  const values = new Map(sample.values);
  if (last !== undefined && sample.at_ms < last) return false;
  if (sample.at_ms === last) {
    for (const [key, value] of values) {
      const line = series.lines.get(key);
      if (line === undefined) continue;
      line.values[line.values.length - 1] = value;
      line.low[line.low.length - 1] = value;
    }
    return true;
  }
  series.at_ms.push(sample.at_ms);
  for (const [key, line] of series.lines) {
    const value = values.has(key) ? (values.get(key) ?? null) : (line.values.at(-1) ?? null);
    line.values.push(value);
    line.low.push(value);
  }
  return true;
}

/** Forgets what lies before `from_ms`. */
export function trim(series: Series, from_ms: number): void {
  let drop = 0;
  while (drop < series.at_ms.length && (series.at_ms[drop] ?? 0) < from_ms) drop += 1;
  // In blocks: one splice of many values instead of one for each sample.
  if (drop < 256) return;
  series.at_ms.splice(0, drop);
  for (const line of series.lines.values()) {
    line.values.splice(0, drop);
    line.low.splice(0, drop);
  }
}

/** Steps between samples that count as a gap: this many times the longer of the steps beside it. */
const GAP_STEPS = 3.5;

/** Places after which samples are missing: index `i` if there is a hole between `i` and `i + 1`. */
export function holes(at_ms: number[], interval_ms: number): number[] {
  const step = (index: number): number => {
    const before = at_ms[index - 1];
    const after = at_ms[index];
    return before === undefined || after === undefined ? 0 : after - before;
  };
  const found: number[] = [];
  for (let index = 1; index < at_ms.length; index += 1) {
    // Samples that were made coarser under pressure are far apart on purpose: their neighbours are too.
    const usual = Math.max(interval_ms, step(index - 1), step(index + 1));
    if (step(index) > GAP_STEPS * usual) found.push(index - 1);
  }
  return found;
}

/** The columns to draw: the axis, then the lines in order, then the lows of those in `banded`; with an empty point in every hole, so that no line crosses it. */
export function columns(series: Series, lines: (Line | undefined)[], interval_ms: number, scale: (line: Line) => number, banded: number[] = []): (number | null)[][] {
  const gaps = holes(series.at_ms, interval_ms);
  const stretch = <T,>(values: T[], fill: (index: number) => T): T[] => {
    if (gaps.length === 0) return values;
    const out: T[] = [];
    let from = 0;
    for (const gap of gaps) {
      for (let index = from; index <= gap; index += 1) out.push(values[index] as T);
      out.push(fill(gap));
      from = gap + 1;
    }
    for (let index = from; index < values.length; index += 1) out.push(values[index] as T);
    return out;
  };
  const axis = stretch(series.at_ms, (index) => ((series.at_ms[index] ?? 0) + (series.at_ms[index + 1] ?? 0)) / 2);
  const drawn = (line: Line | undefined, values: (number | null)[]): (number | null)[] => {
    if (line === undefined) return axis.map(() => null);
    const divisor = scale(line);
    const scaled = values.map((value) => (value === null ? null : value / divisor));
    return stretch<number | null>(scaled, () => null);
  };
  const highs = lines.map((line) => drawn(line, line?.values ?? []));
  const lows = banded.map((at) => drawn(lines[at], lines[at]?.low ?? []));
  return [axis, ...highs, ...lows];
}

/** Time ranges that can be chosen, by the word in the address. */
export const RANGES: Record<string, number> = {
  "2m": 120_000,
  "5m": 300_000,
  "15m": 900_000,
  "1h": 3_600_000,
  "6h": 21_600_000,
  "24h": 86_400_000,
};
export const DEFAULT_RANGE = "5m";

/** A part of the past that was marked by dragging. */
export interface Zoom {
  from_ms: number;
  to_ms: number;
}

/** The part that the address names, if it names one. */
export function zoomOf(from: string | null, to: string | null): Zoom | null {
  const [from_ms, to_ms] = [Number(from), Number(to)];
  return from !== null && to !== null && from_ms > 0 && to_ms > from_ms ? { from_ms, to_ms } : null;
}

/** Shorter parts than this show single samples only. */
const LEAST_ZOOM_MS = 10_000;

/** What dragging from one time to another marks, in whole milliseconds. */
export function zoomTo(from_ms: number, to_ms: number): Zoom {
  const middle = (from_ms + to_ms) / 2;
  const half = Math.max(to_ms - from_ms, LEAST_ZOOM_MS) / 2;
  return { from_ms: Math.floor(middle - half), to_ms: Math.ceil(middle + half) };
}

export const rangeOf = (word: string | null): { word: string; ms: number } => {
  const ms = word === null ? undefined : RANGES[word];
  return word !== null && ms !== undefined ? { word, ms } : { word: DEFAULT_RANGE, ms: RANGES[DEFAULT_RANGE] ?? 300_000 };
};
