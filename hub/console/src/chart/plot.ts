// One chart of the stack on a canvas: lines with the band of their lowest and highest samples, dashed caps and limits, hatched cut spans,
// a line for each decision. Names on it have a halo in the colour of the ground, so that a line behind them never makes them unreadable.
//
// All charts of a page share one time axis and one hover line (uPlot's sync); dragging marks a part of the past. The drawing knows nothing of nodes or rules: it is
// given lines, marks and spans. Colours are the style sheet's tokens, read when the chart is made; a new theme makes new charts.

import uPlot from "uplot";

export interface PlotLine {
  label: string;
  /** Index into the palette of the style sheet: `--s1` to `--s6`. */
  colour: number;
  dashed: boolean;
}

export interface Limit {
  value: number;
  label: string;
}

/** What is drawn over and under the lines; read at each drawing. */
export interface Overlay {
  cuts: [from_ms: number, to_ms: number | null][];
  marks: { at_ms: number; tone: string }[];
  limits: Limit[];
  /** Name at the right end of a line, by its index; for caps. */
  names: Map<number, string>;
  now_ms: number;
}

export interface PlotOptions {
  lines: PlotLine[];
  height: number;
  /** Whether the time axis has its labels here: the lowest chart of the stack. */
  times: boolean;
  range: (min: number | null, max: number | null) => [number, number];
  overlay: () => Overlay;
  /** What the time axis spans now. */
  window: () => [from_ms: number, to_ms: number];
  onHover: (index: number | null, left: number) => void;
  /** A part was marked by dragging. */
  onZoom: (from_ms: number, to_ms: number) => void;
}

/** Which lines have a band: those that measure something; a cap is what it is. */
export const bandedOf = (lines: PlotLine[]): number[] => lines.flatMap((line, at) => (line.dashed ? [] : [at]));

/** Shorter drags than this are clicks that slipped. */
const LEAST_DRAG_PIXELS = 8;

/** Space for the labels of the value axis, the same in every chart, so that times stand above each other. */
export const AXIS_WIDTH = 44;
export const RIGHT_PAD = 20;
export const TIMES_HEIGHT = 24;

export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Makes a chart in `host`. */
export function plot(host: HTMLElement, options: PlotOptions): uPlot {
  const muted = token("--muted");
  const grid = { stroke: token("--grid"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const hatch = hatching(token("--hatch"));
  return new uPlot(
    {
      ms: 1,
      width: Math.max(host.clientWidth, 120),
      height: options.height + (options.times ? TIMES_HEIGHT : 0),
      padding: [8, RIGHT_PAD, options.times ? 0 : 8, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        sync: { key: "node", scales: ["x", null] },
        points: { size: 6, width: 1.5 },
      },
      scales: { x: { time: true, range: () => options.window() }, y: { range: (_, min, max) => options.range(min, max) } },
      axes: [
        { show: true, stroke: muted, grid, ticks: { show: false }, font, gap: 4, size: options.times ? TIMES_HEIGHT : 0, splits: (_, __, min, max) => timeSplits(min, max, host.clientWidth), values: options.times ? times : () => [] },
        { stroke: muted, grid, ticks: { show: false }, font, gap: 6, size: AXIS_WIDTH, space: 28, values: (_, splits) => splits.map((value) => String(value)) },
      ],
      series: [{}, ...options.lines.map((line) => seriesOf(line)), ...bandedOf(options.lines).map((at) => lowOf(options.lines[at] as PlotLine))],
      bands: bandedOf(options.lines).map((at, band) => ({ series: [1 + at, 1 + options.lines.length + band], fill: `${token(`--s${options.lines[at]?.colour ?? 1}`)}40` })),
      hooks: {
        setSelect: [
          (u) => {
            const { left, width } = u.select;
            if (width < LEAST_DRAG_PIXELS) return;
            options.onZoom(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
        drawClear: [(u) => drawUnder(u, options.overlay(), hatch)],
        draw: [(u) => drawOver(u, options, muted)],
        setCursor: [(u) => options.onHover(u.cursor.idx ?? null, u.cursor.left ?? -1)],
      },
    },
    [[], ...options.lines.map(() => []), ...bandedOf(options.lines).map(() => [])],
    host,
  );
}

function seriesOf(line: PlotLine): uPlot.Series {
  return {
    label: line.label,
    stroke: token(`--s${line.colour}`),
    width: line.dashed ? 1 : 1.5,
    spanGaps: false,
    points: { show: false },
    ...(line.dashed ? { dash: [5, 4] } : {}),
  };
}

/** The lower edge of a band, which is not drawn by itself. */
function lowOf(line: PlotLine): uPlot.Series {
  return { label: `${line.label} low`, stroke: "transparent", width: 0, spanGaps: false, points: { show: false } };
}

const STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400].map((seconds) => seconds * 1_000);
/** Room for a time with its distance to the next. */
const TIME_PIXELS = 76;

/** Round times of the reader's zone, as many as fit. */
export function timeSplits(min: number, max: number, width: number): number[] {
  const fit = Math.max(1, Math.floor(width / TIME_PIXELS));
  const step = STEPS_MS.find((one) => (max - min) / one <= fit) ?? 86_400_000;
  const zone = new Date(max).getTimezoneOffset() * 60_000;
  const first = Math.ceil((min - zone) / step) * step + zone;
  const splits: number[] = [];
  for (let at = first; at <= max; at += step) splits.push(at);
  return splits;
}

function times(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  const two = (number: number): string => String(number).padStart(2, "0");
  return splits.map((at) => {
    const time = new Date(at);
    const minute = `${two(time.getHours())}:${two(time.getMinutes())}`;
    return step < 60_000 ? `${minute}:${two(time.getSeconds())}` : minute;
  });
}

/** A pattern of thin slanted lines. */
function hatching(colour: string): CanvasPattern | null {
  const tile = document.createElement("canvas");
  const size = Math.round(8 * devicePixelRatio);
  tile.width = size;
  tile.height = size;
  const context = tile.getContext("2d");
  if (context === null) return null;
  context.strokeStyle = colour;
  context.lineWidth = devicePixelRatio;
  context.beginPath();
  for (const shift of [-size, 0, size]) {
    context.moveTo(shift, size);
    context.lineTo(shift + size, 0);
  }
  context.stroke();
  return context.createPattern(tile, "repeat");
}

function drawUnder(u: uPlot, overlay: Overlay, hatch: CanvasPattern | null): void {
  if (hatch === null) return;
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.fillStyle = hatch;
  for (const [from, to] of overlay.cuts) {
    const start = Math.max(left, u.valToPos(from, "x", true));
    const end = Math.min(left + width, u.valToPos(to ?? overlay.now_ms, "x", true));
    if (end > start) u.ctx.fillRect(start, top, end - start, height);
  }
  u.ctx.restore();
}

function drawOver(u: uPlot, options: PlotOptions, muted: string): void {
  const overlay = options.overlay();
  const { left, top, width, height } = u.bbox;
  const ratio = devicePixelRatio;
  const { ctx } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.lineWidth = ratio;
  for (const mark of overlay.marks) {
    const x = Math.round(u.valToPos(mark.at_ms, "x", true)) + 0.5;
    ctx.strokeStyle = token(`--${mark.tone}`);
    ctx.globalAlpha = 0.45;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.fillStyle = muted;
  ctx.textBaseline = "bottom";
  for (const limit of overlay.limits) {
    const y = Math.round(u.valToPos(limit.value, "y", true)) + 0.5;
    if (y < top || y > top + height) continue;
    ctx.strokeStyle = muted;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + width, y);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.textAlign = "left";
    write(ctx, limit.label, left + 4 * ratio, y - top > 12 * ratio ? y - ratio : y + 14 * ratio);
  }
  ctx.textAlign = "right";
  const taken: Place[] = [];
  for (const [index, name] of overlay.names) drawName(u, index, name, taken);
  ctx.restore();
}

/** Writes a text over whatever is drawn, with a halo of the ground. */
function write(ctx: CanvasRenderingContext2D, text: string, x: number, y: number): void {
  ctx.save();
  ctx.strokeStyle = token("--bg");
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.lineJoin = "round";
  ctx.setLineDash([]);
  ctx.strokeText(text, x, y);
  ctx.restore();
  ctx.fillText(text, x, y);
}

interface Place {
  x: number;
  y: number;
}

/** Names a line at its right end, above it where there is room, and beside a name that is there already. */
function drawName(u: uPlot, index: number, name: string, taken: Place[]): void {
  const column = u.data[index];
  const axis = u.data[0];
  if (column === undefined || axis === undefined) return;
  let at = column.length - 1;
  while (at >= 0 && (column[at] ?? null) === null) at -= 1;
  const value = column[at];
  if (at < 0 || value === undefined || value === null) return;
  const { left, top, width } = u.bbox;
  const ratio = devicePixelRatio;
  const line = u.valToPos(value, "y", true);
  const y = line - top > 14 * ratio ? line - ratio : line + 14 * ratio;
  let x = Math.min(u.valToPos(axis[at] ?? 0, "x", true), left + width) - 4 * ratio;
  for (const place of taken) if (Math.abs(place.y - y) < 12 * ratio) x = Math.min(x, place.x);
  write(u.ctx, name, x, y);
  taken.push({ x: x - u.ctx.measureText(name).width - 16 * ratio, y });
}
