// Two distributions on one axis: the range of all values as a line, the middle half as a bar, the median as a tick, with a table twin.

import type { Distribution } from "../api/types";
import { measured } from "../text/rollout";

const WIDTH = 400;
const ROW = 28;
const LEFT = 76;
const RIGHT = 12;
/** Which of the 21 quantiles: smallest, quarter, middle, three quarters, largest. */
const AT = [0, 5, 10, 15, 20] as const;

export function Spread({ name, baseline, canary }: { name: string; baseline: Distribution; canary: Distribution }) {
  const rows = [
    { side: "baseline", of: baseline, tone: "unknown" },
    { side: "canary", of: canary, tone: "alone" },
  ];
  const values = rows.flatMap(({ of }) => of.quantiles);
  if (values.length === 0) return <p class="muted">Neither side has a value yet.</p>;
  const low = Math.min(...values);
  const high = Math.max(...values);
  const x = (value: number): number => LEFT + ((value - low) / (high - low || 1)) * (WIDTH - LEFT - RIGHT);
  const height = rows.length * ROW + 20;
  return (
    <figure class="spread">
      <svg viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={`${name}: ${rows.map(({ side, of }) => `${side} ${text(of)}`).join("; ")}`}>
        <line class="axis" x1={LEFT} x2={WIDTH - RIGHT} y1={rows.length * ROW + 0.5} y2={rows.length * ROW + 0.5} />
        <text class="bound" x={LEFT} y={height - 4}>{measured(low)}</text>
        <text class="bound" x={WIDTH - RIGHT} y={height - 4} text-anchor="end">{measured(high)}</text>
        {rows.map(({ side, of, tone }, index) => {
          const y = index * ROW + ROW / 2;
          const [least, quarter, middle, three, most] = AT.map((at) => of.quantiles[at]);
          return (
            <g key={side} class={`side tone-${tone}`}>
              <text class="side-name" x={0} y={y + 4}>{side}</text>
              {least === undefined || quarter === undefined || middle === undefined || three === undefined || most === undefined ? (
                <text class="bound" x={LEFT} y={y + 4}>no value yet</text>
              ) : (
                <>
                  <line class="range" x1={x(least)} x2={x(most)} y1={y} y2={y} />
                  <rect class="half" x={x(quarter)} y={y - 7} width={Math.max(1, x(three) - x(quarter))} height={14} />
                  <line class="median" x1={x(middle)} x2={x(middle)} y1={y - 10} y2={y + 10} />
                </>
              )}
            </g>
          );
        })}
      </svg>
      <figcaption class="muted">
        {rows.map(({ side, of }, index) => (
          <span key={side}>
            {index === 0 ? "" : " · "}
            {side}: {text(of)}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function text(of: Distribution): string {
  const [least, quarter, middle, three, most] = AT.map((at) => of.quantiles[at]);
  if (least === undefined || quarter === undefined || middle === undefined || three === undefined || most === undefined) return "no value yet";
  return `median ${measured(middle)}, half within ${measured(quarter)} to ${measured(three)}, all within ${measured(least)} to ${measured(most)}, ${of.samples} samples`;
}
