// One node: how it stands, what it may still do, its values over time with its decisions, its workloads.
//
// The same page is the agent's own page; there the values are of now, and it only reads: a person acts at the node's socket.

import { useEffect, useReducer, useRef, useState } from "preact/hooks";

import * as api from "../api/client";
import type { DecisionView, FaultView, GpuView, NeighbourView, NodeView, WorkloadView } from "../api/types";
import { chartRows, type ChartRow, linesOf } from "../chart/rows";
import { addSample, lineKey, RANGES, rangeOf, type Series, seriesOf, trim, type Zoom, zoomOf } from "../chart/series";
import { Stack } from "../chart/Stack";
import { Ask } from "../parts/Ask";
import { Age, Copy, Device, Empty, Fact, Num, Sentence, Sign, Toned, Trouble } from "../parts/bits";
import { useKeys } from "../parts/keys";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export } from "../parts/Tools";
import { decisionPath, policyPath, setQuery, useRoute } from "../state/route";
import { standing } from "../state/standing";
import { onReread, onSample } from "../state/stream";
import type { Row } from "../state/store";
import { change, clock, current, serverNow, useStore, useTick } from "../state/use";
import { ageNow, type Freshness, shownAs } from "../text/age";
import { csv } from "../text/fields";
import { clockTime, human, span } from "../text/format";
import { nodeSentence } from "../text/sentence";
import { toneOf } from "../text/severity";
import { authorityMeans, authorityTone, capsText, clockErrorText, clockTone, clockWord, faultTone, stateOf } from "../text/words";
import { ownZone } from "../text/zone";
import { DECISION_COLUMNS } from "./Decisions";

export function Node({ name }: { name: string }) {
  useTick();
  const row = useStore((state) => state.nodes.get(name));
  const read = useStore((state) => state.nodes_read);
  const [failure, setFailure] = useState<api.Failure | null>(null);
  useEffect(() => {
    const ask = (): void => {
      const asked_at = clock();
      api.node(name).then(
        (item) => {
          change({ kind: "node", item, asked_at });
          setFailure(null);
        },
        (error: unknown) => setFailure(error instanceof api.Failure ? error : null),
      );
    };
    ask();
    return onReread(ask);
  }, [name]);
  if (row === undefined) {
    if (failure !== null) return <div class="page"><Trouble message={failure.message} advice={failure.advice} /></div>;
    return <p class="muted reading">{read ? `Looking for ${name}…` : `Reading ${name}…`}</p>;
  }
  return <Shown row={row} />;
}

function Shown({ row }: { row: Row }) {
  const { view } = row;
  const from = useStore((state) => state.hello?.from ?? "hub");
  const now = clock();
  const age_ms = ageNow(row.age_ms, row.heard_at, now);
  const fresh = shownAs(view.state, age_ms, row.cadence_ms);
  // What the sentence says already is not said twice.
  const reasons = standing(current(), row).reasons.filter((reason) => !/^(is (held|quarantined|shut out)|its journal)/.test(reason.text));
  return (
    <div class="page">
      <Sentence parts={nodeSentence(view, serverNow(), age_ms, from)} />
      {reasons.length === 0 ? null : (
        <ul class="reasons" aria-label="what needs a look">
          {reasons.map((reason) => (
            <li key={reason.text} class={`tone-${toneOf(reason.level)}`}>
              <span aria-hidden="true">{reason.level === "broken" ? "▲" : reason.level === "attention" ? "△" : "○"} </span>
              <span class="unseen">{reason.level}: </span>
              {reason.text}
            </li>
          ))}
        </ul>
      )}
      <Actions view={view} from={from} />
      {view.told_by !== undefined ? null : <Charts view={view} />}
      <h2>State</h2>
      {view.told_by !== undefined ? <Told row={row} by={view.told_by} age_ms={age_ms} fresh={fresh} /> : <Facts row={row} age_ms={age_ms} fresh={fresh} />}
      {view.gpus.length === 0 ? null : (
        <>
          <h2>GPUs</h2>
          <Table label="GPUs" columns={gpuColumns(fresh)} rows={view.gpus} keyOf={(gpu) => gpu.id} heights={[32, 56]} />
        </>
      )}
      <h2>Workloads</h2>
      <Table label="workloads" columns={workloadColumns(fresh)} rows={view.workloads} keyOf={(one) => one.id} heights={[32, 56]}>
        <Empty>This node supervises no process. A [[workload]] in its configuration file names one.</Empty>
      </Table>
      <h2>Last decisions</h2>
      <LastDecisions view={view} />
      {(view.faults ?? []).length === 0 ? null : (
        <>
          <h2 id="faults">Faults</h2>
          <ol class="faults" aria-label="faults of its devices">
            {(view.faults ?? []).map((fault) => <FaultItem key={`${fault.device} ${fault.code}`} fault={fault} />)}
          </ol>
        </>
      )}
      {(view.neighbours ?? []).length === 0 ? null : (
        <>
          <h2>Its site</h2>
          <Table label="the other members of its site" columns={NEIGHBOURS} rows={view.neighbours ?? []} keyOf={(one) => one.name} heights={[32, 56]} />
        </>
      )}
    </div>
  );
}

/** A fault with what it means, what shows it and what comes next. */
function FaultItem({ fault }: { fault: FaultView }) {
  const open = fault.over_at === undefined;
  const tone = faultTone(fault);
  return (
    <li>
      <p class={`tone-${tone}`}>
        <span aria-hidden="true">{tone === "down" ? "▲" : tone === "warn" ? "△" : "○"} </span>
        {fault.severity}: {fault.code} on {fault.device}
        {fault.count > 1 ? <span class="muted num" title={`since ${fault.since}`}> ×{fault.count}</span> : null}
      </p>
      <dl class="facts">
        <Fact name="Means">{fault.meaning}</Fact>
        <Fact name="Seen"><time dateTime={fault.at} title={fault.at}>{clockTime(fault.at, serverNow())}</time></Fact>
        <Fact name="Evidence"><code>{fault.evidence}</code></Fact>
        <Fact name={open ? "Next" : "Over"}>{open ? fault.advice : <time dateTime={fault.over_at}>{clockTime(fault.over_at ?? fault.at, serverNow())}</time>}</Fact>
      </dl>
    </li>
  );
}

/** How a neighbour reaches the hub, in words. */
function reachText(one: NeighbourView): { text: string; tone: "ok" | "warn" | "alone" | "unknown" } {
  if (!one.in_touch) return { text: one.age_ms === null ? "never heard" : "out of touch", tone: "unknown" };
  if (one.too_narrow === true) return { text: "path too small to carry", tone: "warn" };
  if (one.reach === "direct") return { text: one.uplink === "metered" ? "reaches the hub, at a price" : "reaches the hub", tone: "ok" };
  return one.reach === "carried" ? { text: `carried by ${one.via ?? "another"}`, tone: "warn" } : { text: "works alone", tone: "alone" };
}

const NEIGHBOURS: Column<NeighbourView>[] = [
  { id: "name", head: "Node", width: 120, by: (one) => one.name, cell: (one) => one.name },
  { id: "reach", head: "Hub", width: 220, by: (one) => reachText(one).text, cell: (one) => <Toned tone={reachText(one).tone}>{reachText(one).text}</Toned> },
  { id: "age", head: "Heard", about: "how long ago anything came from it", width: 96, right: true, by: (one) => one.age_ms, cell: (one) => <Age age_ms={one.age_ms} fresh={one.in_touch ? "fresh" : "gone"} /> },
  { id: "rtt", head: "Round trip", width: 96, right: true, by: (one) => one.rtt_us, cell: (one) => (one.in_touch ? <span class="num">{(one.rtt_us / 1_000).toFixed(1)} <span class="unit">ms</span></span> : <span class="none">–</span>) },
  { id: "loss", head: "Lost", about: "share of the packets to it", width: 76, right: true, by: (one) => one.lost_per_mille, cell: (one) => <span class="num">{(one.lost_per_mille / 10).toFixed(1)} <span class="unit">%</span></span> },
  { id: "policy", head: "Policy", width: 76, right: true, by: (one) => one.generation, cell: (one) => <span class="num">{one.generation === 0 ? "–" : one.generation}</span> },
  { id: "carried", head: "Carried for it", width: 120, right: true, by: (one) => one.carried_bytes, cell: (one) => <Num value={one.carried_bytes} unit="bytes" /> },
];

/** What a node knows of another member of its site: the rest only that one and the hub know. */
function Told({ row, by, age_ms, fresh }: { row: Row; by: string; age_ms: number | null; fresh: Freshness }) {
  const { view } = row;
  return (
    <dl class="facts">
      <Fact name="State"><Sign word={stateOf(view)} /></Fact>
      <Fact name="Heard by">{by} <Age age_ms={age_ms} fresh={fresh} /></Fact>
      <Fact name="Policy">{view.policy_generation === 0 ? "none" : `generation ${view.policy_generation}`}</Fact>
      <Fact name="Authority" title={authorityMeans(view.authority)}>
        <Toned tone={authorityTone(view.authority)}>{view.authority}</Toned>
      </Fact>
    </dl>
  );
}

function Facts({ row, age_ms, fresh }: { row: Row; age_ms: number | null; fresh: Freshness }) {
  const { view } = row;
  const newest = useStore((state) => [...state.policies.values()].find((policy) => policy.active)?.generation ?? null);
  const passed = clock() - row.heard_at;
  const drift = newest !== null && newest !== view.policy_generation;
  const next = view.next_authority_in_ms === null ? null : Math.max(0, view.next_authority_in_ms - (view.state === "connected" ? 0 : passed));
  const full = view.journal_limit_bytes === 0 ? 0 : (100 * view.journal_bytes) / view.journal_limit_bytes;
  return (
    <dl class="facts">
      <Fact name="State"><Sign word={stateOf(view)} /></Fact>
      <Fact name="As of" title={view.last_seen ?? undefined}>
        {view.last_seen === null ? <span class="none">never heard</span> : <span class="num">{clockTime(serverNow() - (age_ms ?? 0), serverNow())}</span>} <span class="muted">age</span> <Age age_ms={age_ms} fresh={fresh} />
      </Fact>
      <Fact name="Sync backlog" title={`epoch ${view.epoch}: made up to ${view.produced}, stored up to ${view.stored}`}>
        {view.backlog_entries === 0 ? "0" : <Toned tone="alone">{view.backlog_entries}</Toned>} <span class="unit">entries</span> <span class="muted num">{view.stored} of {view.produced} stored</span>
      </Fact>
      <Fact name="Policy" title={view.policy_digest}>
        {view.policy_generation === 0 ? "none" : <a href={policyPath(view.policy_generation)}>generation {view.policy_generation}</a>}
        {drift ? <Toned tone="warn"> ≠ {newest}</Toned> : null} <span class="muted num">proof {span(view.policy_age_ms + (view.state === "connected" ? 0 : passed))} old</span>
      </Fact>
      <Fact name="Authority" title={authorityMeans(view.authority)}>
        <Toned tone={authorityTone(view.authority)}>{view.authority}</Toned> <span class="muted num">{next === null ? "the last step" : `next step in ${span(next)}`}</span>
      </Fact>
      <Fact name="Certificate" title={view.certificate_ends ?? undefined}><Certificate view={view} /></Fact>
      <Fact name="Clock"><Toned tone={clockTone(view.clock)}>{clockWord(view.clock)}</Toned><span class="muted">{clockErrorText(view.clock_error)}</span></Fact>
      <Fact name="Journal" title={`epoch ${view.epoch}`}>
        {view.journal_ok ? null : <Toned tone="down">accepts nothing </Toned>}
        <Num value={view.journal_bytes} unit="bytes" /> <span class="muted num">of {human(view.journal_limit_bytes, "bytes")}, {full < 1 ? "<1" : Math.floor(full)} %</span>
      </Fact>
      {view.unrecorded_actions === 0 ? null : <Fact name="Not yet recorded"><Toned tone="warn">{view.unrecorded_actions} protective actions</Toned></Fact>}
      <Fact name="Healthy">
        {(view.findings ?? []).length > 0 ? (
          <Toned tone="down">no: {(view.findings ?? []).join("; ")}</Toned>
        ) : view.state !== "connected" ? (
          <span class="none">not reported</span>
        ) : view.unhealthy == null ? (
          "yes"
        ) : (
          <Toned tone="down">no: {view.unhealthy}</Toned>
        )}
        {view.waits_for_turn === true ? <Toned tone="warn"> an action waits for its turn</Toned> : null}
      </Fact>
      {view.break_glass === undefined ? null : (
        <Fact name="Break-glass" title={`token ${view.break_glass.number} by ${view.break_glass.approvers.join(" and ")}`}>
          <Toned tone="warn">open for {view.break_glass.kinds.join(", ")}</Toned> <span class="muted num">{span(Math.max(0, view.break_glass.left_ms - passed))} left</span>
        </Fact>
      )}
      {Object.keys(view.labels ?? {}).length === 0 ? null : (
        <Fact name="Labels">{Object.entries(view.labels ?? {}).map(([name, value]) => `${name}=${value}`).join(", ")}</Fact>
      )}
      <Fact name="Sampling">every {human(view.telemetry_interval_ms, "milliseconds")}</Fact>
      <Fact name="Version">{view.version}</Fact>
    </dl>
  );
}

function Certificate({ view }: { view: NodeView }) {
  if (view.certificate_ends === null) return <span class="none">unknown</span>;
  const left = Date.parse(view.certificate_ends) - serverNow();
  return (
    <>
      {left <= 0 ? <Toned tone="warn">ended {span(-left)} ago; it rejoins by its node key</Toned> : <span class="num">{span(left)} left</span>}
      {view.rejoins === 0 ? null : <span class="muted"> rejoined {view.rejoins}×</span>}
    </>
  );
}

function Actions({ view, from }: { view: NodeView; from: "hub" | "node" }) {
  const [asking, ask] = useState<"hold" | "release" | null>(null);
  const away = view.state !== "connected" ? ` ${view.name} is not connected: the command waits an hour for it and then expires. At the node itself it works at once.` : "";
  return (
    <div class="tools">
      {from === "node" ? (
        <Copy text={`sentinel ${view.held_by === null ? "hold" : "release"} ${view.name} --local --reason "…"`}>Copy the command that {view.held_by === null ? "holds" : "releases"} it</Copy>
      ) : view.held_by === null ? (
        <button type="button" onClick={() => ask("hold")}>Hold</button>
      ) : (
        <button type="button" onClick={() => ask("release")}>Release</button>
      )}
      <CopyCli command={`sentinel describe node ${view.name}${from === "node" ? " --local" : ""}`} />
      <a class="button" href={`/decisions?q=${encodeURIComponent(`node=${view.name}`)}`}>All its decisions</a>
      {asking === "hold" ? (
        <Ask
          title={`Hold ${view.name}?`}
          consequences={`Its rules go on judging, but what they want is answered with “held” and written down instead of done, until a person releases it. Rules marked never_expires, such as over-temperature, still act.${away}`}
          verb={`Hold ${view.name}`}
          run={(reason) => api.hold(view.name, reason)}
          close={() => ask(null)}
        />
      ) : null}
      {asking === "release" ? (
        <Ask title={`Release ${view.name}?`} consequences={`Its rules act again at once where their conditions hold.${away}`} verb={`Release ${view.name}`} run={(reason) => api.release(view.name, reason)} close={() => ask(null)} />
      ) : null}
    </div>
  );
}

/** The node's values: read once for the time range, grown by the stream, read again when something was missed. */
function useSeries(view: NodeView, range_ms: number, zoom: Zoom | null): { series: Series | null; version: number; failure: api.Failure | null } {
  const series = useRef<Series | null>(null);
  const [version, redraw] = useReducer<number, void>((n) => n + 1, 0);
  const [failure, setFailure] = useState<api.Failure | null>(null);
  useEffect(() => {
    let gone = false;
    let soon: ReturnType<typeof setTimeout> | undefined;
    const read = (): void => {
      clearTimeout(soon);
      soon = undefined;
      const asked = zoom === null ? api.series(view.name, Math.floor(serverNow() - range_ms)) : api.series(view.name, zoom.from_ms, { until_ms: zoom.to_ms });
      asked.then(
        (answer) => {
          if (gone) return;
          series.current = seriesOf(answer);
          change({ kind: "decisions", items: answer.decisions });
          setFailure(null);
          redraw();
        },
        (error: unknown) => gone || setFailure(error instanceof api.Failure ? error : null),
      );
    };
    // Samples that came late fill the past: once they have stopped, the past is read again.
    const readSoon = (): void => {
      soon ??= setTimeout(read, 1_000);
    };
    let drawing = false;
    const stopSamples = onSample((sample) => {
      // A part of the past does not grow.
      if (series.current === null || sample.node !== view.name || zoom !== null) return;
      const known = sample.values.every(([key]) => series.current?.lines.has(key) === true || !CHARTED.test(key));
      if (!known || !addSample(series.current, sample)) readSoon();
      trim(series.current, serverNow() - range_ms - 60_000);
      if (drawing) return;
      drawing = true;
      setTimeout(() => {
        drawing = false;
        if (!gone) redraw();
      }, 150);
    });
    read();
    const stopReread = onReread(read);
    return () => {
      gone = true;
      clearTimeout(soon);
      stopSamples();
      stopReread();
    };
    // A change of state begins or ends a cut span.
  }, [view.name, range_ms, view.state, zoom?.from_ms, zoom?.to_ms]);
  return { series: series.current, version, failure };
}

const CHARTED = /^(gpu\d+\/gpu\.(temperature|power|power_cap)|node\/(cpu\.used|memory\.used|pressure\..*\.some))$/;

function Charts({ view }: { view: NodeView }) {
  const { query } = useRoute();
  const range = rangeOf(query.get("range"));
  const table = query.get("view") === "table";
  const zoom = zoomOf(query.get("from"), query.get("to"));
  const zoomInto = (to: Zoom | null): void => setQuery({ from: to === null ? null : String(to.from_ms), to: to === null ? null : String(to.to_ms) });
  const { series, version, failure } = useSeries(view, range.ms, zoom);
  const decisions = useStore((state) => state.decisions).filter((one) => one.node === view.name);
  const rules = useStore((state) => state.policies.get(view.policy_generation)?.rules) ?? [];
  const rows = chartRows(view.gpus);
  const toggle = (): void => setQuery({ view: table ? null : "table" });
  useKeys({ t: toggle });
  return (
    <section aria-label="values over time">
      <div class="tools">
        <h2>Values</h2>
        <div class="facets" role="group" aria-label="time range">
          {Object.keys(RANGES).map((word) => (
            <button key={word} type="button" class="facet" aria-pressed={zoom === null && word === range.word} onClick={() => setQuery({ range: word === "5m" ? null : word, from: null, to: null })}>
              {word.replace(/([a-z])/, " $1").replace(" m", " min")}
            </button>
          ))}
        </div>
        {zoom === null ? (
          <span class="muted wide-only">drag to zoom</span>
        ) : (
          <button type="button" onClick={() => zoomInto(null)} title="back to now; a double click on a chart does the same">
            {clockTime(zoom.from_ms, serverNow())} to {clockTime(zoom.to_ms, serverNow())} <span aria-hidden="true">✕</span>
          </button>
        )}
        <span class="space" />
        <span class="muted wide-only" title="the zone of this browser; the API gives UTC">times in {ownZone()}</span>
        <button type="button" class="quiet" aria-pressed={table} title="charts or table: t" onClick={toggle}>
          {table ? "Charts" : "Table"} <kbd class="wide-only">t</kbd>
        </button>
        {series === null ? null : <Export name={`sentinel-${view.name}`} csv={() => seriesCsv(series)} json={() => ({ node: view.name, at_ms: series.at_ms, lines: [...series.lines.values()], cuts: series.cuts })} />}
      </div>
      {failure === null ? null : <Trouble message={failure.message} advice={failure.advice} />}
      {series === null ? (failure === null ? <p class="muted reading" style={{ minHeight: `${stackHeight(rows)}px` }}>Reading the values…</p> : null) : table ? (
        <Twin rows={rows} series={series} />
      ) : (
        <Stack node={view} rows={rows} series={series} version={version} decisions={decisions.slice().reverse()} rules={rules} range_ms={range.ms} zoom={zoom} onZoom={zoomInto} />
      )}
    </section>
  );
}

/** About how high the charts will be, so that what stands below them does not jump when they come. */
const stackHeight = (rows: ChartRow[]): number => rows.reduce((sum, row) => sum + row.height + 1, 84);

/** The same values as a table, newest first. */
function Twin({ rows, series }: { rows: ChartRow[]; series: Series }) {
  const lines = rows.flatMap((row) => linesOf(row, series).flatMap((line, at) => (line === undefined ? [] : [{ line, row, label: row.lines[at]?.label ?? line.device }])));
  const columns: Column<number>[] = [
    { id: "at", head: "Time", width: 132, cell: (index) => <span class="num">{clockTime(series.at_ms[index] ?? 0, serverNow())}</span> },
    ...lines.map(({ line, row, label }) => ({
      id: lineKey(line),
      head: line.device === "node" ? `${row.title.split(",")[0]}${row.lines.length > 1 ? ` ${label}` : ""}` : `${line.device} ${row.id === "power" ? (label.endsWith("cap") ? "cap" : "power") : row.id}`,
      about: `${lineKey(line)}${line.simulated ? ", simulated" : ""}`,
      width: 142,
      right: true,
      cell: (index: number) => <Num value={line.values[index]} unit={line.unit} />,
    })),
  ];
  const order = series.at_ms.map((_, index) => index).reverse();
  return (
    <>
      {lines.some(({ line }) => line.simulated) ? <p class="note muted">Simulated devices: {[...new Set(lines.filter(({ line }) => line.simulated).map(({ line }) => line.device))].join(", ")}.</p> : null}
      <div class="twin">
        <Table label="values over time" fill columns={columns} rows={order} keyOf={(index) => String(series.at_ms[index])} heights={[32, 32]} />
      </div>
    </>
  );
}

function seriesCsv(series: Series): string {
  const lines = [...series.lines.values()];
  return csv(
    ["at", ...lines.map((line) => `${lineKey(line)} [${line.unit}]${line.simulated ? " (sim)" : ""}`)],
    series.at_ms.map((at, index) => [new Date(at).toISOString(), ...lines.map((line) => line.values[index] ?? null)]),
  );
}

function gpuColumns(fresh: Freshness): Column<GpuView>[] {
  return [
    { id: "gpu", head: "GPU", width: 104, cell: (gpu) => <Device id={gpu.id} simulated={gpu.simulated} /> },
    { id: "model", head: "Model", cell: (gpu) => gpu.model },
    { id: "temperature", head: "Temperature", width: 110, right: true, cell: (gpu) => <Num value={gpu.temperature_mc} unit="milli_celsius" fresh={fresh} /> },
    { id: "power", head: "Power", width: 96, right: true, cell: (gpu) => <Num value={gpu.power_mw} unit="milliwatt" fresh={fresh} /> },
    { id: "cap", head: "Cap", width: 96, right: true, cell: (gpu) => <Num value={gpu.power_cap_mw} unit="milliwatt" fresh={fresh} /> },
    { id: "used", head: "Used", width: 96, right: true, cell: (gpu) => <Num value={gpu.used_bp} unit="basis_points" fresh={fresh} /> },
    { id: "caps", head: "May be capped to", about: "what the device accepts, within the firmware profile of its model", width: 160, right: true, cell: (gpu) => <span class="num" title={gpu.profile ? `profile ${gpu.profile}` : "no profile of this model"}>{capsText(gpu.power_caps_mw)}</span> },
  ];
}

function workloadColumns(fresh: Freshness): Column<WorkloadView>[] {
  return [
    { id: "workload", head: "Workload", cell: (one) => one.id.replace("workload:", "") },
    { id: "pid", head: "Pid", width: 110, right: true, cell: (one) => (one.pid === null ? <Toned tone="down">not running</Toned> : <Num value={one.pid} unit="count" fresh={fresh} />) },
    { id: "memory", head: "Memory", width: 110, right: true, cell: (one) => <Num value={one.memory_bytes} unit="bytes" fresh={fresh} /> },
    { id: "cpu", head: "CPU", about: "share of one core", width: 96, right: true, cell: (one) => <Num value={one.cpu_bp} unit="basis_points" fresh={fresh} /> },
    { id: "restarts", head: "Restarts", width: 96, right: true, cell: (one) => <Num value={one.restarts} unit="count" fresh={fresh} /> },
  ];
}

/** The same decision again and again is one row with a count. */
export function folded(decisions: DecisionView[]): { decision: DecisionView; times: number }[] {
  const rows: { decision: DecisionView; times: number }[] = [];
  for (const decision of decisions) {
    const last = rows.at(-1);
    const same = last !== undefined && last.decision.summary === decision.summary && last.decision.verdict === decision.verdict && last.decision.outcome === decision.outcome && last.decision.rule === decision.rule;
    if (same) last.times += 1;
    else rows.push({ decision, times: 1 });
  }
  return rows;
}

function LastDecisions({ view }: { view: NodeView }) {
  const lasts = view.last_decisions.length > 0 ? view.last_decisions : current().decisions.filter((one) => one.node === view.name).slice(0, 5);
  const rows = folded(lasts);
  const times = new Map(rows.map(({ decision, times }) => [decision.id, times]));
  const columns = DECISION_COLUMNS.filter((column) => column.id !== "node").map((column) =>
    column.id !== "summary"
      ? column
      : {
          ...column,
          cell: (one: DecisionView) => (
            <span class="line">
              {column.cell(one)}
              {(times.get(one.id) ?? 1) > 1 ? <span class="muted num" title="the same, one after the other">×{times.get(one.id)}</span> : null}
            </span>
          ),
        },
  );
  return (
    <Table label="last decisions" keys columns={columns} rows={rows.map(({ decision }) => decision)} keyOf={(one) => one.id} hrefOf={(one) => decisionPath(one.id)} heights={[32, 76]}>
      <Empty command={`sentinel act ${view.name}/gpu0 power_cap to=220W --reason "try it"`}>It has made no decision yet. A rule makes one when its condition holds, or a person by:</Empty>
    </Table>
  );
}
