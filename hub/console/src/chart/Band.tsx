// What a device did in the last minutes and how the embedded brain expects it to go on: a line, then a band of 90 %, and the limit.
//
// Drawn as SVG, since it is small and still: the line ends where the readings end, and the band begins there.

import * as api from "../api/client";
import type { ForecastView, Unit } from "../api/types";
import { Empty } from "../parts/bits";
import { useMedia } from "../parts/Table";
import { useFetched, useKept } from "../state/fetched";
import { serverNow, useTick } from "../state/use";
import { figure, human, scaleOf, span } from "../text/format";

const BEAT_MS = 5_000;
const PAST_MS = 5 * 60_000;
const WIDE = 960;
const NARROW = 360;
const HEIGHT = 200;
const LEFT = 36;
const BOTTOM = 22;
const TOP = 12;

interface Past {
  at_ms: number;
  value: number;
}

/** A picture's scales: milliseconds and values to pixels. */
export function scales(past: Past[], forecast: ForecastView, width: number): { x: (at_ms: number) => number; y: (value: number) => number; ticks: number[]; ends: [number, number] } {
  const now = Date.parse(forecast.at);
  const last = forecast.points[forecast.points.length - 1]?.ahead_ms ?? 60_000;
  const from = Math.min(now - last, past[0]?.at_ms ?? now - last);
  const values = [forecast.limit, ...past.map((one) => one.value), ...forecast.points.flatMap((point) => [point.low, point.high])];
  const step = scaleOf(forecast.unit) * niceStep((Math.max(...values) - Math.min(...values)) / scaleOf(forecast.unit));
  const low = Math.floor(Math.min(...values) / step) * step;
  const high = Math.max(low + step, Math.ceil(Math.max(...values) / step) * step);
  const ticks: number[] = [];
  for (let value = low; value <= high; value += step) ticks.push(value);
  return {
    x: (at_ms) => LEFT + ((at_ms - from) / (now + last - from)) * (width - LEFT - 8),
    y: (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM),
    ticks,
    ends: [from, now + last],
  };
}

function niceStep(range: number): number {
  return [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => range / step <= 5) ?? 1_000;
}

export function Band({ node, device }: { node: string; device: string }) {
  const beat = Math.floor(useTick() / BEAT_MS);
  const key = `${node}/${device}`;
  const fetched = useFetched(`forecast ${key} ${beat}`, async () => {
    const forecast = await api.forecast(node, device);
    if (forecast === null) return { forecast, past: [] };
    const series = await api.series(node, Math.floor(serverNow() - PAST_MS));
    const line = series.lines.find((one) => one.device === device && one.quantity === forecast.quantity);
    const past = series.at_ms.map((at_ms, index) => ({ at_ms, value: line?.values[index] ?? null }));
    return { forecast, past: past.filter((one): one is Past => one.value !== null) };
  });
  const shown = useKept(key, fetched);
  if (shown === null) return <p class="muted">{fetched.failure === null ? "Reading the forecast…" : fetched.failure.message}</p>;
  if (shown.forecast === null) return <Empty>The embedded brain knows too little of {key} yet: it needs minutes of readings that vary.</Empty>;
  return <Picture forecast={shown.forecast} past={shown.past} />;
}

function Picture({ forecast, past }: { forecast: ForecastView; past: Past[] }) {
  // Letters keep their size: a narrow screen gets a picture of its own, not a smaller one.
  const width = useMedia("(max-width: 719px)") ? NARROW : WIDE;
  const { x, y, ticks, ends } = scales(past, forecast, width);
  const now = Date.parse(forecast.at);
  const last = past[past.length - 1];
  const start = last === undefined ? [] : [{ ahead_ms: last.at_ms - now, low: last.value, middle: last.value, high: last.value }];
  const points = [...start, ...forecast.points];
  const path = (value: (point: (typeof points)[number]) => number, way = points): string => way.map((point) => `${x(now + point.ahead_ms).toFixed(1)},${y(value(point)).toFixed(1)}`).join(" ");
  const area = `${path((point) => point.high)} ${path((point) => point.low, [...points].reverse())}`;
  const { foreseen, unit, limit } = forecast;
  const said =
    foreseen === undefined
      ? `${human(limit, unit)} is not expected within ${span(forecast.points[forecast.points.length - 1]?.ahead_ms ?? 0)}.`
      : `${human(limit, unit)} is expected in about ${span(foreseen.in_ms)}: ${Math.floor(foreseen.chance_bp / 100)} % sure by ${span(foreseen.by_ms)}, from ${foreseen.errors} past errors.`;
  return (
    <figure class="band">
      <figcaption class={foreseen === undefined ? "muted" : "tone-warn"}>{said}</figcaption>
      <svg viewBox={`0 0 ${width} ${HEIGHT}`} class={width === NARROW ? "narrow" : undefined} role="img" aria-label={`${forecast.quantity} of ${forecast.node}/${forecast.device}: ${said}`}>
        {ticks.map((value) => (
          <g key={value}>
            <line class="grid" x1={LEFT} x2={width - 8} y1={y(value)} y2={y(value)} />
            <text x={LEFT - 6} y={y(value) + 4} text-anchor="end">{figure(value, unit).value}</text>
          </g>
        ))}
        <polygon class="spread" points={area} />
        <polyline class="middle" points={path((point) => point.middle)} />
        <polyline class="past" points={past.map((one) => `${x(one.at_ms).toFixed(1)},${y(one.value).toFixed(1)}`).join(" ")} />
        <line class="limit" x1={LEFT} x2={width - 8} y1={y(limit)} y2={y(limit)} />
        <text x={LEFT + 4} y={y(limit) - 4}>limit {human(limit, unit)}</text>
        <line class="now" x1={x(now)} x2={x(now)} y1={TOP} y2={HEIGHT - BOTTOM} />
        <text x={x(now)} y={HEIGHT - 6} text-anchor="middle">now</text>
        <text x={LEFT} y={HEIGHT - 6}>{`−${span(now - ends[0])}`}</text>
        <text x={width - 8} y={HEIGHT - 6} text-anchor="end">{`+${span(ends[1] - now)}`}</text>
      </svg>
      <Twin forecast={forecast} unit={unit} />
    </figure>
  );
}

/** The same as a table. */
function Twin({ forecast, unit }: { forecast: ForecastView; unit: Unit }) {
  return (
    <details>
      <summary class="muted">as a table</summary>
      <table class="small">
        <thead><tr><th>In</th><th>5 %</th><th>Half</th><th>95 %</th></tr></thead>
        <tbody>
          {forecast.points.map((point) => (
            <tr key={point.ahead_ms}><td>{span(point.ahead_ms)}</td><td>{human(point.low, unit)}</td><td>{human(point.middle, unit)}</td><td>{human(point.high, unit)}</td></tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
