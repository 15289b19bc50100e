// A node's charts: one above the other on one time axis, with one hover line, the decisions above them and the cuts through all.
//
// The left gutter is legend and read-out in one: it shows the last values, or those under the hover line. The canvas is drawn
// when samples came and once a second as the axis moves; Preact only draws the gutter and the ticks.

import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";

import type { DecisionView, NodeView, RuleView } from "../api/types";
import { Glyph, Sim } from "../parts/bits";
import { decisionPath } from "../state/route";
import { onTheme } from "../state/theme";
import { serverNow } from "../state/use";
import { clockTime, figure, span } from "../text/format";
import { verdictOf } from "../text/words";
import { AXIS_WIDTH, bandedOf, type Overlay, plot, RIGHT_PAD } from "./plot";
import { capNames, type ChartRow, divisorOf, limitsOf, linesOf, type Mark, marksOf, valueAt } from "./rows";
import { columns, holes, type Series, type Zoom, zoomTo } from "./series";

export interface StackProps {
  node: NodeView;
  rows: ChartRow[];
  series: Series;
  /** Grows with each sample. */
  version: number;
  decisions: DecisionView[];
  rules: RuleView[];
  range_ms: number;
  /** The part of the past that is shown; null: what is now, and moves. */
  zoom: Zoom | null;
  onZoom: (zoom: Zoom | null) => void;
}

/** What the time axis spans. */
function spanOf({ zoom, range_ms }: Pick<StackProps, "zoom" | "range_ms">): [from_ms: number, to_ms: number] {
  const now_ms = serverNow();
  return zoom === null ? [now_ms - range_ms, now_ms] : [zoom.from_ms, zoom.to_ms];
}

interface Hover {
  /** Index into the series, or null when nothing is hovered. */
  index: number | null;
  /** Pixels from the left of the plot area. */
  left: number;
}

const NO_HOVER: Hover = { index: null, left: -1 };
/** Ticks nearer to each other than this share one. */
const MARK_PIXELS = 18;

export function Stack(props: StackProps) {
  const { node, rows, series, version, decisions, zoom, onZoom } = props;
  const box = useRef<HTMLDivElement>(null);
  const plots = useRef<Map<string, uPlot>>(new Map());
  const latest = useRef(props);
  latest.current = props;
  const [hover, setHover] = useState<Hover>(NO_HOVER);
  const [width, setWidth] = useState(800);
  const [themed, setThemed] = useState(0);
  const now_ms = serverNow();
  const [from_ms, to_ms] = spanOf(props);
  const range_ms = to_ms - from_ms;

  useEffect(() => onTheme(() => setThemed((n) => n + 1)), []);
  useEffect(() => {
    const host = box.current;
    if (host === null) return undefined;
    const observer = new ResizeObserver(() => {
      const area = host.querySelector<HTMLElement>(".plot");
      if (area === null) return;
      setWidth(area.clientWidth - AXIS_WIDTH - RIGHT_PAD);
      for (const u of plots.current.values()) u.setSize({ width: area.clientWidth, height: u.height });
    });
    observer.observe(host);
    return () => observer.disconnect();
  }, []);

  const shape = rows.map((row) => `${row.id}:${row.keys.join(",")}`).join(";");
  useEffect(() => {
    const made = new Map<string, uPlot>();
    rows.forEach((row, at) => {
      const host = box.current?.querySelector<HTMLElement>(`[data-chart="${row.id}"]`);
      if (host === undefined || host === null) return;
      made.set(
        row.id,
        plot(host, {
          lines: row.lines,
          height: row.height,
          times: at === rows.length - 1,
          range: row.range,
          window: () => spanOf(latest.current),
          onZoom: (from, to) => latest.current.onZoom(zoomTo(from, to)),
          overlay: () => overlayOf(latest.current, row),
          onHover: (index, left) => setHover((before) => (before.index === index && before.left === left ? before : { index: left < 0 ? null : index, left })),
        }),
      );
    });
    plots.current = made;
    return () => {
      for (const u of made.values()) u.destroy();
      made.clear();
    };
  }, [shape, themed]);

  const gaps = holes(series.at_ms, node.telemetry_interval_ms);
  useEffect(() => {
    for (const row of rows) {
      const u = plots.current.get(row.id);
      if (u === undefined) continue;
      u.setData(columns(series, linesOf(row, series), node.telemetry_interval_ms, divisorOf, bandedOf(row.lines)) as uPlot.AlignedData);
    }
  }, [version, shape, themed, range_ms, zoom?.from_ms, zoom === null ? Math.floor(now_ms / 1_000) : 0]);

  // The drawn columns have one point more for each hole before the hovered place.
  const index = hover.index === null ? null : unstretched(hover.index, gaps);
  const at_ms = index === null ? null : (series.at_ms[index] ?? null);
  const marks = marksOf(
    decisions.filter((one) => Date.parse(one.at) >= from_ms && Date.parse(one.at) <= to_ms),
    (MARK_PIXELS / Math.max(width, 1)) * range_ms,
  );
  const place = (time: number): string => `${(100 * (time - from_ms)) / range_ms}%`;
  const last_ms = series.at_ms.at(-1);
  // Of a node that is cut off the newest values are of then, and the page says of when.
  const as_of = node.state !== "connected" && zoom === null && last_ms !== undefined ? `as of ${clockTime(last_ms, now_ms)}` : zoom === null ? "now" : `until ${clockTime(to_ms, now_ms)}`;
  return (
    <div ref={box} class="stack" onMouseLeave={() => setHover(NO_HOVER)} onDblClick={() => onZoom(null)}>
      <div class="chart-row lane-row">
        <div class="gutter">
          <b>Decisions</b> <span class="muted num">{at_ms === null ? as_of : clockTime(at_ms, now_ms)}</span>
        </div>
        <div class="lane">
          <div class="lane-area">
            {series.cuts.filter(([from, to]) => (to ?? now_ms) > from_ms && from < to_ms).map(([from, to]) => (
              <span key={from} class="cut-span" style={{ left: place(Math.max(from, from_ms)), right: `${100 - Number.parseFloat(place(Math.min(to ?? now_ms, to_ms)))}%` }} title={`cut off ${clockTime(from, now_ms)} for ${span((to ?? now_ms) - from)}`}>
                <span class={(from + (to ?? now_ms)) / 2 > to_ms - range_ms / 2 ? "to-right" : undefined}>cut off {span((to ?? now_ms) - from)}</span>
              </span>
            ))}
            {hover.index === null ? null : <span class="hover-line" style={{ left: `${hover.left}px` }} />}
            {marks.map((mark) => (
              <Tick key={mark.items[0]?.id} mark={mark} left={place(mark.at_ms)} now_ms={now_ms} />
            ))}
          </div>
        </div>
      </div>
      {rows.map((row) => (
        <div key={row.id} class="chart-row">
          <Gutter row={row} node={node} series={series} index={index} />
          <div class="plot" data-chart={row.id} role="img" aria-label={`${row.title} over time; press t for the table`} />
        </div>
      ))}
    </div>
  );
}

function overlayOf(props: StackProps, row: ChartRow): Overlay {
  const { node, series, decisions, rules } = props;
  const now_ms = serverNow();
  const [from_ms, to_ms] = spanOf(props);
  return {
    cuts: series.cuts,
    marks: decisions.map((one) => ({ at_ms: Date.parse(one.at), tone: verdictOf(one.verdict).tone })).filter((mark) => mark.at_ms >= from_ms && mark.at_ms <= to_ms),
    limits: limitsOf(row, rules),
    names: capNames(row, node.gpus, decisions),
    now_ms,
  };
}

/** The index into the series of an index into the drawn columns. */
export function unstretched(index: number, gaps: number[]): number {
  let place = index;
  for (const gap of gaps) {
    if (place <= gap) break;
    place -= 1;
  }
  return place;
}

function Gutter({ row, node, series, index }: { row: ChartRow; node: NodeView; series: Series; index: number | null }) {
  const lines = linesOf(row, series);
  const main = row.lines.flatMap((line, at) => (line.dashed ? [] : [{ line, at }]));
  return (
    <div class="gutter">
      <b>
        {row.title} <span class="unit">{row.unitName}</span>
      </b>
      {lines.every((line) => line === undefined) ? <span class="none">not reported by this node</span> : null}
      {main.map(({ line, at }) => {
        const cap = row.lines.findIndex((one) => one.dashed && one.device === line.device);
        return lines[at] === undefined ? null : (
          <span key={line.label} class="reading-line">
            <span class={`swatch s${line.colour}`} aria-hidden="true" />
            <span class="reading-name">
              {main.length === 1 && line.device === "node" ? "" : line.short}
              {node.gpus.some((gpu) => gpu.id === line.device && gpu.simulated) ? <Sim /> : null}
            </span>
            <span class="num reading-value">
              {text(valueAt(lines[at], index), row)}
              {cap < 0 ? null : <span class="muted"> / {text(valueAt(lines[cap], index), row)}</span>}
            </span>
          </span>
        );
      })}
    </div>
  );
}

const text = (value: number | null, row: ChartRow): string => (value === null ? "—" : figure(value, row.unit).value);

function Tick({ mark, left, now_ms }: { mark: Mark; left: string; now_ms: number }) {
  const [open, setOpen] = useState(false);
  const [first] = mark.items;
  if (first === undefined) return null;
  const say = (one: DecisionView): string => `${clockTime(one.at, now_ms)} ${one.summary}: ${verdictOf(one.verdict).word}`;
  if (mark.items.length === 1) {
    return (
      <a class={`tick tone-${mark.tone}`} style={{ left }} href={decisionPath(first.id)} title={say(first)} aria-label={say(first)}>
        <Glyph sign={mark.sign} />
      </a>
    );
  }
  return (
    <span class="tick-group" style={{ left }} onKeyDown={(event) => event.key === "Escape" && setOpen(false)}>
      <button type="button" class={`tick tone-${mark.tone}`} aria-expanded={open} title={mark.items.map(say).join("\n")} aria-label={`${mark.items.length} decisions`} onClick={() => setOpen(!open)}>
        <Glyph sign={mark.sign} />
        <sub>{mark.items.length}</sub>
      </button>
      {open ? (
        <span class="tick-list">
          {mark.items.map((one) => (
            <a key={one.id} href={decisionPath(one.id)}>
              {say(one)}
            </a>
          ))}
        </span>
      ) : null}
    </span>
  );
}
