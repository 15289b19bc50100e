// A node's values over time: what the API gave, grown by the stream's samples, on one axis for all lines.
//
// A sample carries only the lines that changed: a line that it does not name keeps its value; `null` is a gap. A sample that is
// older than the axis' end cannot be added in place: the buffer says so and the page reads the series again.
// Invariant: `at_ms` ascends strictly and every line has as many values.

import type { LineView, Sample, SeriesView, Unit } from "../api/types";

export interface Line {
  device: string;
  quantity: string;
  unit: Unit;
  simulated: boolean;
  values: (number | null)[];
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
    lines: new Map(view.lines.map((line) => [lineKey(line), { ...line, values: line.values.slice() }])),
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
      if (line !== undefined) line.values[line.values.length - 1] = value;
    }
    return true;
  }
  series.at_ms.push(sample.at_ms);
  for (const [key, line] of series.lines) line.values.push(values.has(key) ? (values.get(key) ?? null) : (line.values.at(-1) ?? null));
  return true;
}

/** Forgets what lies before `from_ms`. */
export function trim(series: Series, from_ms: number): void {
  let drop = 0;
  while (drop < series.at_ms.length && (series.at_ms[drop] ?? 0) < from_ms) drop += 1;
  // In blocks: one splice of many values instead of one for each sample.
  if (drop < 256) return;
  series.at_ms.splice(0, drop);
  for (const line of series.lines.values()) line.values.splice(0, drop);
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

/** The columns to draw: the axis, then the lines in order, with an empty point in every hole so that no line crosses it. */
export function columns(series: Series, lines: (Line | undefined)[], interval_ms: number, scale: (line: Line) => number): (number | null)[][] {
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
  const rest = lines.map((line) => {
    if (line === undefined) return axis.map(() => null);
    const divisor = scale(line);
    const values = line.values.map((value) => (value === null ? null : value / divisor));
    return stretch<number | null>(values, () => null);
  });
  return [axis, ...rest];
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

export const rangeOf = (word: string | null): { word: string; ms: number } => {
  const ms = word === null ? undefined : RANGES[word];
  return word !== null && ms !== undefined ? { word, ms } : { word: DEFAULT_RANGE, ms: RANGES[DEFAULT_RANGE] ?? 300_000 };
};
