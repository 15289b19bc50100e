// The fleet: who is connected, who works alone, who is not known, with the age of what is shown.
//
// Rows are grouped by site and stay in one order, so that the eye finds a node where it was. Order and filter of a large fleet
// are worked out once a second; the values in sight are always the newest.

import { useRef } from "preact/hooks";

import type { GpuView } from "../api/types";
import { Age, Device, Empty, Live, Num, Sentence, Sign, Toned } from "../parts/bits";
import { arrange, type Column, Table, useMedia } from "../parts/Table";
import { Columns, CopyCli, Export, FilterBox } from "../parts/Tools";
import { decisionPath, nodePath, setQuery, useRoute } from "../state/route";
import type { State } from "../state/store";
import { clock, current, serverNow, useTick, useVersion } from "../state/use";
import { type Freshness, freshness } from "../text/age";
import { csv, type FleetRow, fleetRow, NODE_FIELDS } from "../text/fields";
import { parseFilter, valuesOf, withTerm } from "../text/filter";
import { count, human, span } from "../text/format";
import { fleetSentence } from "../text/sentence";
import { authorityMeans, authorityTone, clockTone, clockWord, linkOf, outcomeOf, stateOf, verdictOf } from "../text/words";

const DEFAULT_COLUMNS = ["name", "state", "age", "gpus", "policy", "backlog", "authority", "last"];
/** A fleet from this size on is ordered once a second instead of at every change. */
const LARGE = 500;

export function Fleet() {
  const { query } = useRoute();
  const now = useTick();
  const version = useVersion();
  const state = current();
  const newest = newestGeneration(state);
  const filterText = query.get("q") ?? "";
  const sort = query.get("sort");
  const shown = query.get("cols")?.split(",") ?? DEFAULT_COLUMNS;
  // Without room the state goes without its age, see the style sheet.
  const roomy = useMedia("(min-width: 1400px)");
  const columns = COLUMNS.filter((column, index) => index === 0 || shown.includes(column.id)).map((column) => (column.id === "state" && !roomy ? { ...column, width: 136 } : column));

  const filter = parseFilter(filterText, NODE_FIELDS);
  const order = useOrder(`${filterText} ${sort} ${newest} ${state.nodes.size > LARGE ? Math.floor(now / 1_000) : version}`, () => {
    const rows = [...state.nodes.values()].map((row) => fleetRow(row, newest, clock()));
    const kept = filter.ok ? rows.filter(filter.test) : rows;
    kept.sort((a, b) => (a.row.view.name < b.row.view.name ? -1 : 1));
    return arrange(kept, COLUMNS, sort, (one) => one.row.view.site).map((one) => one.row.view.name);
  });
  const rows = order.flatMap((name) => {
    const row = state.nodes.get(name);
    return row === undefined ? [] : [fleetRow(row, newest, clock())];
  });
  const all = [...state.nodes.values()].map((row) => row.view);

  if (!state.nodes_read) return <p class="muted reading">Reading the fleet…</p>;
  return (
    <div class="page filling">
      <Sentence parts={fleetSentence(all, serverNow())} />
      <div class="tools">
        <FilterBox value={filterText} problem={filter.ok ? null : filter.problem} example="state=working_alone gpu.temperature>80" onChange={(q) => setQuery({ q })} />
        <Facets text={filterText} state={state} />
        <span class="space" />
        <Columns all={COLUMNS} shown={shown} onChange={(ids) => setQuery({ cols: ids.join(",") === DEFAULT_COLUMNS.join(",") ? null : ids.join(",") })} />
        <Export name="sentinel-nodes" csv={() => fleetCsv(rows, columns)} json={() => ({ items: rows.map((one) => one.row.view) })} />
        <CopyCli command="sentinel get nodes -o wide" />
      </div>
      <Table
        label="nodes by site"
        fill
        keys
        columns={columns}
        rows={rows}
        keyOf={(one) => one.row.view.name}
        hrefOf={(one) => nodePath(one.row.view.name)}
        groupOf={(one) => one.row.view.site}
        groupHead={siteHead}
        sort={sort}
        onSort={(by) => setQuery({ sort: by })}
        heights={[32, 112]}
      >
        {all.length === 0 ? (
          <Empty command="sentinel token create">No node has joined. This prints the line to type on a new one:</Empty>
        ) : (
          <Empty>
            No node of {all.length} matches. <a href="/">Show all</a>
          </Empty>
        )}
      </Table>
    </div>
  );
}

function newestGeneration(state: State): number {
  for (const policy of state.policies.values()) if (policy.active) return policy.generation;
  return Math.max(0, ...[...state.nodes.values()].map((row) => row.view.policy_generation));
}

/** Keeps what `make` gave until `stamp` changes. */
function useOrder(stamp: string, make: () => string[]): string[] {
  const kept = useRef<{ stamp: string; order: string[] } | null>(null);
  if (kept.current?.stamp !== stamp) kept.current = { stamp, order: make() };
  return kept.current.order;
}

const STATES = ["connected", "working_alone", "unknown", "down"] as const;

function Facets({ text, state }: { text: string; state: State }) {
  const chosen = valuesOf(text, "state");
  const tally = new Map<string, number>();
  for (const row of state.nodes.values()) tally.set(row.view.state, (tally.get(row.view.state) ?? 0) + 1);
  const toggle = (name: string): void => {
    const next = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name];
    setQuery({ q: withTerm(text, "state", next.length === 0 ? null : `state=${next.join("|")}`) });
  };
  return (
    <div class="facets" role="group" aria-label="filter by state">
      {STATES.map((name) => {
        const word = linkOf(name);
        const number = tally.get(name) ?? 0;
        return (
          <button key={name} type="button" class="facet" aria-pressed={chosen.includes(name)} title={`only ${word.word}`} onClick={() => toggle(name)}>
            <span class={number === 0 ? "muted" : `tone-${word.tone}`}>
              <span aria-hidden="true">{word.sign}</span> <span class="num">{number}</span> <span class="facet-word">{word.word}</span>
            </span>
          </button>
        );
      })}
    </div>
  );
}

function siteHead(site: string, rows: FleetRow[]) {
  const away = rows.filter((one) => one.row.view.state !== "connected").length;
  return (
    <>
      {site} <span class="muted">{count(rows.length, "node")}{away === 0 ? "" : `, ${away} not connected`}</span>
    </>
  );
}

const fresh = (one: FleetRow): Freshness => freshness(one.age_ms, one.row.cadence_ms);
const hottest = (one: FleetRow): number | null => one.row.view.gpus.reduce<number | null>((most, gpu) => (gpu.temperature_mc === null ? most : Math.max(most ?? gpu.temperature_mc, gpu.temperature_mc)), null);

const COLUMNS: Column<FleetRow>[] = [
  { id: "name", head: "Node", width: 128, by: (one) => one.row.view.name, cell: (one) => <a class="strong" href={nodePath(one.row.view.name)}>{one.row.view.name}</a> },
  { id: "state", head: "State", width: 192, by: (one) => STATES.indexOf(one.row.view.state), cell: (one) => <StateCell one={one} /> },
  { id: "age", head: "Data age", about: "how long ago anything of this node arrived", width: 96, right: true, by: (one) => one.age_ms, cell: (one) => <Age age_ms={one.age_ms} fresh={fresh(one)} /> },
  { id: "gpus", head: "GPU temperature and power", about: "sorted by the hottest", width: 392, by: hottest, cell: (one) => <Gpus gpus={one.row.view.gpus} fresh={fresh(one)} /> },
  { id: "cpu", head: "CPU", width: 72, right: true, by: (one) => one.row.view.cpu_used_bp, cell: (one) => <Num value={one.row.view.cpu_used_bp} unit="basis_points" fresh={fresh(one)} /> },
  { id: "memory", head: "Memory", width: 76, right: true, by: (one) => one.row.view.memory_used_bp, cell: (one) => <Num value={one.row.view.memory_used_bp} unit="basis_points" fresh={fresh(one)} /> },
  { id: "workloads", head: "Workloads", width: 180, cell: (one) => <Workloads one={one} /> },
  { id: "policy", head: "Policy", about: "generation of its active bundle", width: 64, by: (one) => one.row.view.policy_generation, cell: (one) => <Generation one={one} /> },
  { id: "backlog", head: "Backlog", about: "entries that it made and the hub has not stored, as last heard", width: 72, right: true, by: (one) => one.row.view.backlog_entries, cell: (one) => <Backlog entries={one.row.view.backlog_entries} /> },
  { id: "authority", head: "Authority", about: "what the age of its policy still lets it do", width: 92, by: (one) => one.row.view.authority, cell: (one) => <Toned tone={authorityTone(one.row.view.authority)} title={authorityMeans(one.row.view.authority)}>{one.row.view.authority}</Toned> },
  { id: "clock", head: "Clock", width: 110, by: (one) => one.row.view.clock, cell: (one) => <Toned tone={clockTone(one.row.view.clock)}>{clockWord(one.row.view.clock)}</Toned> },
  { id: "version", head: "Version", width: 90, by: (one) => one.row.view.version, cell: (one) => one.row.view.version },
  { id: "last", head: "Last decision", least: 150, about: "and how long ago it was made", by: (one) => one.row.view.last_decision?.at ?? null, cell: (one) => <Last one={one} /> },
];

function StateCell({ one }: { one: FleetRow }) {
  const { view } = one.row;
  const word = stateOf(view);
  return (
    <span class="line">
      <Live text={word.word}>
        <Sign word={word} />
      </Live>
      {(view.findings ?? []).length === 0 ? null : (
        <span class="tone-down" title={(view.findings ?? []).join("\n")}>▲ {(view.findings ?? []).length}</span>
      )}
      {view.state_since === null ? null : <span class="muted num since">{span(serverNow() - Date.parse(view.state_since))}</span>}
    </span>
  );
}

/** As many GPUs as fit; of more the hottest two, and how many are left out. */
function Gpus({ gpus, fresh: how }: { gpus: GpuView[]; fresh: Freshness }) {
  if (gpus.length === 0) return <span class="none">no GPU</span>;
  const shown = gpus.length <= 2 ? gpus : [...gpus].sort((a, b) => (b.temperature_mc ?? -1) - (a.temperature_mc ?? -1)).slice(0, 2);
  return (
    <span class="gpus">
      {shown.map((gpu) => (
        <span key={gpu.id} class="gpu" title={`${gpu.model}${gpu.simulated ? ", simulated" : ""}; cap ${human(gpu.power_cap_mw, "milliwatt")}`}>
          <Device id={gpu.id} simulated={gpu.simulated} />
          <span class="right">
            <Num value={gpu.temperature_mc} unit="milli_celsius" fresh={how} />
          </span>
          <span class="right">
            <Num value={gpu.power_mw} unit="milliwatt" fresh={how} />
          </span>
        </span>
      ))}
      {gpus.length > shown.length ? <span class="muted">+{gpus.length - shown.length}</span> : null}
    </span>
  );
}

function Workloads({ one }: { one: FleetRow }) {
  const { workloads } = one.row.view;
  if (workloads.length === 0) return <span class="none">none</span>;
  return (
    <span class="line">
      {workloads.map((workload) => (
        <span key={workload.id}>
          {workload.id.replace("workload:", "")} <Num value={workload.memory_bytes} unit="bytes" fresh={fresh(one)} />
        </span>
      ))}
    </span>
  );
}

function Generation({ one }: { one: FleetRow }) {
  const generation = one.row.view.policy_generation;
  if (generation === 0) return <span class="none">none</span>;
  return one.drift ? (
    <Toned tone="warn" title="another generation than the newest one">
      <span aria-hidden="true">≠ </span>g{generation} <span class="unseen">drift</span>
    </Toned>
  ) : (
    <Live text={`g${generation}`} />
  );
}

function Backlog({ entries }: { entries: number }) {
  return entries === 0 ? <span class="muted">0</span> : <Toned tone="alone">{entries}</Toned>;
}

function Last({ one }: { one: FleetRow }) {
  const last = one.row.view.last_decision;
  if (last === null) return <span class="none">none yet</span>;
  const outcome = outcomeOf(last.outcome);
  return (
    <a class="line last" href={decisionPath(last.id)} title={`${last.summary}: ${verdictOf(last.verdict).word}, ${outcome.word}, by rule ${last.rule}`}>
      <Live text={last.id}>
        <Sign word={verdictOf(last.verdict)} only />
      </Live>
      <span class="cut">{last.summary}</span>
      {outcome.tone === "down" || outcome.tone === "warn" ? <Sign word={outcome} only /> : null}
      <span class="muted num since">{span(serverNow() - Date.parse(last.at))}</span>
    </a>
  );
}

const CELLS: Record<string, (one: FleetRow) => string | number | null> = {
  name: (one) => one.row.view.name,
  state: (one) => one.row.view.state,
  age: (one) => (one.age_ms === null ? null : Math.round(one.age_ms)),
  gpus: (one) => one.row.view.gpus.map((gpu) => `${gpu.id}${gpu.simulated ? " (sim)" : ""} ${human(gpu.temperature_mc, "milli_celsius")} ${human(gpu.power_mw, "milliwatt")}`).join("; "),
  cpu: (one) => human(one.row.view.cpu_used_bp, "basis_points"),
  memory: (one) => human(one.row.view.memory_used_bp, "basis_points"),
  workloads: (one) => one.row.view.workloads.map((workload) => workload.id).join("; "),
  policy: (one) => one.row.view.policy_generation,
  backlog: (one) => one.row.view.backlog_entries,
  authority: (one) => one.row.view.authority,
  clock: (one) => one.row.view.clock,
  version: (one) => one.row.view.version,
  last: (one) => one.row.view.last_decision?.summary ?? null,
};

function fleetCsv(rows: FleetRow[], columns: Column<FleetRow>[]): string {
  return csv(
    ["site", ...columns.map((column) => (column.id === "age" ? "age_ms" : column.id))],
    rows.map((one) => [one.row.view.site, ...columns.map((column) => CELLS[column.id]?.(one) ?? null)]),
  );
}
