// Which charts a node's page has, from which lines, and what is drawn with them.

import type { DecisionView, GpuView, RuleView, Unit } from "../api/types";
import { human, scaleOf } from "../text/format";
import { verdictOf } from "../text/words";
import type { Limit, PlotLine } from "./plot";
import type { Line, Series } from "./series";

export interface ChartRow {
  id: string;
  title: string;
  unit: Unit;
  /** The unit's name beside the title. */
  unitName: string;
  height: number;
  /** Keys of the series, in order; `lines` has one for each. */
  keys: string[];
  lines: (PlotLine & { device: string; short: string })[];
  range: (min: number | null, max: number | null) => [number, number];
}

const share = (): [number, number] => [0, 100];

/** The charts for a node with these GPUs. */
export function chartRows(gpus: Pick<GpuView, "id" | "simulated">[]): ChartRow[] {
  const gpuLine = (gpu: Pick<GpuView, "id">, index: number, dashed = false) => ({
    label: dashed ? `${gpu.id} cap` : gpu.id,
    short: dashed ? "cap" : gpu.id,
    device: gpu.id,
    colour: (index % 6) + 1,
    dashed,
  });
  const hostLine = (label: string, index: number) => ({ label, short: label, device: "node", colour: index + 1, dashed: false });
  const rows: ChartRow[] = [];
  if (gpus.length > 0) {
    rows.push({
      id: "temperature",
      title: "GPU temperature",
      unit: "milli_celsius",
      unitName: "°C",
      height: 124,
      keys: gpus.map((gpu) => `${gpu.id}/gpu.temperature`),
      lines: gpus.map((gpu, index) => gpuLine(gpu, index)),
      range: (min, max) => [Math.floor(((min ?? 40) - 4) / 10) * 10, Math.ceil(((max ?? 80) + 4) / 10) * 10],
    });
    rows.push({
      id: "power",
      title: "GPU power and cap",
      unit: "milliwatt",
      unitName: "W",
      height: 124,
      keys: [...gpus.map((gpu) => `${gpu.id}/gpu.power`), ...gpus.map((gpu) => `${gpu.id}/gpu.power_cap`)],
      lines: [...gpus.map((gpu, index) => gpuLine(gpu, index)), ...gpus.map((gpu, index) => gpuLine(gpu, index, true))],
      range: (_, max) => [0, Math.ceil(((max ?? 100) * 1.15) / 50) * 50],
    });
  }
  rows.push(
    { id: "cpu", title: "CPU used", unit: "basis_points", unitName: "%", height: 80, keys: ["node/cpu.used"], lines: [hostLine("node", 0)], range: share },
    { id: "memory", title: "Memory used", unit: "basis_points", unitName: "%", height: 80, keys: ["node/memory.used"], lines: [hostLine("node", 0)], range: share },
    {
      id: "pressure",
      title: "Pressure, some waiting",
      unit: "basis_points",
      unitName: "%",
      height: 92,
      keys: ["node/pressure.cpu.some", "node/pressure.memory.some", "node/pressure.io.some"],
      lines: ["cpu", "memory", "io"].map(hostLine),
      range: (_, max) => [0, Math.max(5, Math.ceil(((max ?? 0) * 1.15) / 5) * 5)],
    },
  );
  return rows;
}

/** The lines of a row in the series; undefined where the node does not report one. */
export const linesOf = (row: ChartRow, series: Series): (Line | undefined)[] => row.keys.map((key) => series.lines.get(key));

/** A threshold on a quantity that a rule's line for people names, for example `gpu.temperature > 85 °C for 3 s`. */
const THRESHOLD = /\b(gpu\.temperature)\b(?: of \S+)?\s*(?:>=?|above|over)\s*(\d+(?:\.\d+)?)\s*°C/i;

/** Limits that the active rules put on a row's quantity. */
export function limitsOf(row: ChartRow, rules: RuleView[]): Limit[] {
  if (row.id !== "temperature") return [];
  return rules.flatMap((rule) => {
    const found = rule.mode === "off" ? null : THRESHOLD.exec(rule.text);
    return found === null ? [] : [{ value: Number(found[2]), label: `${rule.id} ${found[2]} °C${rule.mode === "shadow" ? ", shadow" : ""}` }];
  });
}

/** Names for the cap lines that a rule put in force: the last power decision of a GPU, if it still holds. */
export function capNames(row: ChartRow, gpus: Pick<GpuView, "id" | "power_cap_mw">[], decisions: DecisionView[]): Map<number, string> {
  const names = new Map<number, string>();
  if (row.id !== "power") return names;
  gpus.forEach((gpu, index) => {
    const last = decisions.findLast((one) => one.target === gpu.id && one.action.includes("power_cap") && (one.outcome === "applied" || one.outcome === "verified"));
    // Axis first, then one line of power for each GPU, then the caps.
    if (last?.action === "power_cap") names.set(1 + gpus.length + index, `${gpu.id} cap ${human(gpu.power_cap_mw, "milliwatt")}, ${last.rule}`);
  });
  return names;
}

/** A decision's tick: its place, its sign and its tone. */
export interface Mark {
  at_ms: number;
  items: DecisionView[];
  sign: string;
  tone: string;
}

/** Ticks of decisions in time order; those closer than `apart_ms` share one. */
export function marksOf(decisions: DecisionView[], apart_ms: number): Mark[] {
  const marks: Mark[] = [];
  for (const item of [...decisions].sort((a, b) => Date.parse(a.at) - Date.parse(b.at))) {
    const at_ms = Date.parse(item.at);
    const last = marks.at(-1);
    if (last !== undefined && at_ms - last.at_ms < apart_ms) {
      last.items.push(item);
      continue;
    }
    const word = verdictOf(item.verdict);
    marks.push({ at_ms, items: [item], sign: word.sign, tone: word.tone });
  }
  return marks;
}

/** A line's value at an index in the unit of people. */
export function valueAt(line: Line | undefined, index: number | null): number | null {
  if (line === undefined) return null;
  const value = index === null ? line.values.at(-1) : line.values[index];
  return value ?? null;
}

/** The divisor that turns a line's values into the unit of people. */
export const divisorOf = (line: Line): number => scaleOf(line.unit);
