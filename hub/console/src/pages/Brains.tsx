// Brains: how far each is trusted, what that rests on, why it changed; and what the embedded one expects of a device.

import * as api from "../api/client";
import type { BinView, BrainView } from "../api/types";
import { Band } from "../chart/Band";
import { Empty, Fact, Sentence, Sign, Trouble } from "../parts/bits";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { setQuery, useRoute } from "../state/route";
import { serverNow, useStore, useTick } from "../state/use";
import { clockTime, count, human } from "../text/format";
import type { Part } from "../text/sentence";
import { tierOf } from "../text/words";

const BEAT_MS = 5_000;
/** Evidence at which a tier is lost, in hundredths. */
const ALARM = 4_000;

function sentence(brains: BrainView[]): Part[] {
  const free = brains.filter((brain) => brain.tier === "T2" || brain.tier === "T3");
  const names = free.map((brain) => `${brain.brain} (${brain.verb}, ${brain.tier})`).join(", ");
  if (brains.length === 0) return [{ text: "No brain has predicted anything yet." }];
  return free.length === 0
    ? [{ text: `No brain acts without a person; ${count(brains.length, "record")} of claims and outcomes.` }]
    : [{ text: `${count(free.length, "brain")} may act without a person within policy: ${names}.` }];
}

export function Brains() {
  const beat = Math.floor(useTick() / BEAT_MS);
  const fetched = useFetched(`brains ${beat}`, api.brains);
  const brains = useKept("brains", fetched);
  const { failure } = fetched;
  if (brains === null) return failure === null ? <p class="muted reading">Reading the brains…</p> : <div class="page"><Trouble message={failure.message} advice={failure.advice} /></div>;
  return (
    <div class="page">
      <Sentence parts={sentence(brains)} />
      <div class="tools"><CopyCli command="sentinel get brains" /></div>
      {brains.length === 0 ? <Empty command="sentinel demo grow edge-01/gpu0">A record begins with a brain's first plan. In the demo, this makes the embedded one foresee heat within minutes:</Empty> : null}
      {brains.map((brain) => <Record key={`${brain.brain}/${brain.verb}`} brain={brain} />)}
      <h2>What the embedded brain expects</h2>
      <Forecasts />
    </div>
  );
}

function Record({ brain }: { brain: BrainView }) {
  const { scores } = brain;
  return (
    <section class="brain">
      <h2>{brain.brain} <span class="muted">{brain.verb}</span></h2>
      <dl class="facts">
        <Fact name="Tier"><Sign word={tierOf(brain.tier, brain.tier_name)} /></Fact>
        <Fact name="Since"><time class="num" dateTime={brain.since}>{clockTime(brain.since, serverNow())}</time></Fact>
        <Fact name="Model">{brain.model === "" ? "—" : brain.model}</Fact>
        <Fact name="Outcomes" title={`${brain.censored} of ${brain.predictions} could not be told`}><span class="num">{scores?.outcomes ?? 0}</span><span class="unit"> of {brain.predictions} predictions</span></Fact>
        {scores === undefined ? null : (
          <>
            <Fact name="Came true"><span class="num">{human(scores.base_rate_bp, "basis_points")}</span></Fact>
            <Fact name="Brier" title="mean squared distance between claim and outcome; 0 is best"><span class="num">{(scores.brier_bp / 10_000).toFixed(3)}</span></Fact>
            <Fact name="Skill" title="how much better than always claiming the base rate"><span class="num">{scores.skill_bp === undefined ? "—" : human(scores.skill_bp, "basis_points")}</span></Fact>
            <Fact name="Calibration error"><span class="num">{human(scores.calibration_error_bp, "basis_points")}</span></Fact>
          </>
        )}
        <Fact name="Evidence that it claims too much" title="1 is none; at 40 the tier is lost"><span class={`num ${brain.evidence_over >= ALARM / 4 ? "tone-warn" : ""}`}>{(brain.evidence_over / 100).toFixed(1)}</span><span class="unit"> of 40</span></Fact>
      </dl>
      {brain.next_tier_lacks === undefined ? null : <p class="note"><span class="muted">Next tier:</span> {brain.next_tier_lacks}</p>}
      {scores === undefined ? null : <Reliability bins={scores.bins} name={`${brain.brain} ${brain.verb}`} />}
      <h3>Why its tier changed</h3>
      {brain.changes.length === 0 ? <p class="muted">It never did.</p> : (
        <ul class="plain">
          {[...brain.changes].reverse().map((change, index) => (
            <li key={index}><time class="num muted" dateTime={change.at}>{clockTime(change.at, serverNow())}</time> {change.from} → {change.to} <span class="muted">{change.why}</span></li>
          ))}
        </ul>
      )}
    </section>
  );
}

const SIDE = 200;
const PAD = 30;
/** Room for the last label and half of the largest mark. */
const END = 18;

/** Claims against what came true: on the line, they are as good as they say. */
function Reliability({ bins, name }: { bins: BinView[]; name: string }) {
  const place = (bp: number): number => PAD + (bp / 10_000) * (SIDE - PAD - END);
  const height = (bp: number): number => SIDE - place(bp);
  const most = Math.max(...bins.map((bin) => bin.weight), 1);
  return (
    <figure class="reliability">
      <figcaption class="muted">Claimed against came true; on the line, claims are as good as they say.</figcaption>
      <svg viewBox={`0 0 ${SIDE} ${SIDE}`} role="img" aria-label={`reliability of ${name}: ${bins.map((bin) => `claimed ${human(bin.claimed_bp, "basis_points")}, came true ${human(bin.came_true_bp, "basis_points")}`).join("; ")}`}>
        {[0, 5_000, 10_000].map((bp) => (
          <g key={bp}>
            <line class="grid" x1={place(0)} x2={place(10_000)} y1={height(bp)} y2={height(bp)} />
            <text x={PAD - 5} y={height(bp) + 4} text-anchor="end">{bp / 100}</text>
            <text x={place(bp)} y={SIDE - PAD + 16} text-anchor="middle">{bp / 100} %</text>
          </g>
        ))}
        <line class="limit" x1={place(0)} y1={height(0)} x2={place(10_000)} y2={height(10_000)} />
        {bins.map((bin, index) => (
          <circle key={index} class="bin" cx={place(bin.claimed_bp)} cy={height(bin.came_true_bp)} r={3 + 5 * Math.sqrt(bin.weight / most)}>
            <title>{`claimed ${human(bin.claimed_bp, "basis_points")}, came true ${human(bin.came_true_bp, "basis_points")}, weight ${(bin.weight / 100).toFixed(1)}`}</title>
          </circle>
        ))}
      </svg>
    </figure>
  );
}

/** The forecast of one GPU, chosen among all that the page knows. */
function Forecasts() {
  const { query } = useRoute();
  const nodes = useStore((state) => state.nodes);
  const all = [...nodes.values()].flatMap(({ view }) => view.gpus.map((gpu) => `${view.name}/${gpu.id}`)).sort();
  const asked = query.get("device") ?? "";
  const chosen = all.includes(asked) ? asked : all[0];
  if (chosen === undefined) return <Empty>No node has a GPU.</Empty>;
  const [node = "", device = ""] = chosen.split("/");
  return (
    <>
      <div class="tools">
        <select aria-label="device" value={chosen} onChange={(event) => setQuery({ device: event.currentTarget.value })}>
          {all.map((one) => <option key={one} value={one}>{one}</option>)}
        </select>
      </div>
      <Band key={chosen} node={node} device={device} />
    </>
  );
}
