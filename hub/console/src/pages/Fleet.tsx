// The fleet: who is connected, who works alone, who is not known, with the age of what is shown.
//
// What is broken stands first, across sites; the other rows are grouped by site and stay in one order, so that the eye finds a node where
// it was. A GPU has its last quarter of an hour and a bar against the limit of the rules in force; of a node that is cut off the last
// values stay, grey. Order and filter of a large fleet are worked out once a second; the values in sight are always the newest.

import { useRef } from "preact/hooks";

import type { GpuView } from "../api/types";
import { Age, Device, Empty, Live, Num, Sentence, Sign, Toned } from "../parts/bits";
import { Meter, Spark } from "../parts/Spark";
import { arrange, type Column, Table, useMedia } from "../parts/Table";
import { Columns, CopyCli, Export, FilterBox } from "../parts/Tools";
import { decisionPath, nodePath, setQuery, useRoute } from "../state/route";
import { useSparks } from "../state/sparks";
import { limitOf, standing, standings } from "../state/standing";
import type { Row, State } from "../state/store";
import { clock, current, serverNow, useTick, useVersion } from "../state/use";
import { type Freshness, shownAs } from "../text/age";
import { csv, type FleetRow, fleetRow, NODE_FIELDS } from "../text/fields";
import { parseFilter, valuesOf, withTerm } from "../text/filter";
import { count, human, span } from "../text/format";
import { fleetSentence } from "../text/sentence";
import { heatOf, type Standing, toneOf } from "../text/severity";
import { authorityMeans, authorityTone, clockTone, clockWord, linkOf, outcomeOf, stateOf, verdictOf } from "../text/words";

/** Widths where there is room. */
const ROOMY: Record<string, { width: number }> = { name: { width: 128 }, state: { width: 210 }, gpus: { width: 640 } };
const DEFAULT_COLUMNS = ["name", "state", "age", "gpus", "cpu", "memory", "policy", "last"];
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
  // With room the state has its age, and the lines of GPUs are longer; without, see the style sheet.
  const roomy = useMedia("(min-width: 1700px)");
  const columns = COLUMNS.filter((column, index) => index === 0 || shown.includes(column.id)).map((column) => ({ ...column, ...(roomy ? ROOMY[column.id] : undefined) }));

  const filter = parseFilter(filterText, NODE_FIELDS);
  const order = useOrder(`${filterText} ${sort} ${newest} ${state.nodes.size > LARGE ? Math.floor(now / 1_000) : version}`, () => {
    const rows = [...state.nodes.values()].map((row) => rowOf(row, newest, state));
    const kept = filter.ok ? rows.filter(filter.test) : rows;
    kept.sort((a, b) => (a.row.view.name < b.row.view.name ? -1 : 1));
    return arrange(kept, COLUMNS, sort, groupOf).map((one) => one.row.view.name);
  });
  const rows = order.flatMap((name) => {
    const row = state.nodes.get(name);
    return row === undefined ? [] : [rowOf(row, newest, state)];
  });
  const all = [...state.nodes.values()].map((row) => row.view);

  if (!state.nodes_read) return <p class="muted reading">Reading the fleet…</p>;
  return (
    <div class="page filling">
      <Sentence parts={fleetSentence(all, serverNow(), standings(state))} />
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
        groupOf={groupOf}
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

/** What the page adds to a row: how it stands, and the limit that its rules put on temperature. */
type Shown = FleetRow & { standing: Standing; limit_mc: number | null };

const rowOf = (row: Row, newest: number, state: State): Shown => ({ ...fleetRow(row, newest, clock()), standing: standing(state, row), limit_mc: limitOf(state, row.view.policy_generation) });

/** The group of what is broken, before every site: no site's name begins with a space. */
const BROKEN = " broken";
const groupOf = (one: Shown): string => (one.standing.level === "broken" ? BROKEN : one.row.view.site);

function siteHead(site: string, rows: Shown[]) {
  if (site === BROKEN) {
    return (
      <span class="tone-down">
        <span aria-hidden="true">▲ </span>broken <span class="muted">{count(rows.length, "node")}, of all sites</span>
      </span>
    );
  }
  const away = rows.filter((one) => one.row.view.state !== "connected").length;
  return (
    <>
      {site} <span class="muted">{count(rows.length, "node")}{away === 0 ? "" : `, ${away} not connected`}</span>
    </>
  );
}

const fresh = (one: FleetRow): Freshness => shownAs(one.row.view.state, one.age_ms, one.row.cadence_ms);
const hottest = (one: FleetRow): number | null => one.row.view.gpus.reduce<number | null>((most, gpu) => (gpu.temperature_mc === null ? most : Math.max(most ?? gpu.temperature_mc, gpu.temperature_mc)), null);

const COLUMNS: Column<Shown>[] = [
  { id: "name", head: "Node", width: 96, by: (one) => one.row.view.name, cell: (one) => <a class="strong" href={nodePath(one.row.view.name)}>{one.row.view.name}</a> },
  { id: "state", head: "State", width: 132, by: (one) => STATES.indexOf(one.row.view.state), cell: (one) => <StateCell one={one} /> },
  { id: "age", head: "Data age", about: "how long ago anything of this node arrived", width: 96, right: true, by: (one) => one.age_ms, cell: (one) => <Age age_ms={one.age_ms} fresh={fresh(one)} /> },
  { id: "gpus", head: "GPU temperature and power", about: "sorted by the hottest", width: 500, by: hottest, cell: (one) => <Gpus one={one} /> },
  { id: "cpu", head: "CPU", width: 64, right: true, by: (one) => one.row.view.cpu_used_bp, cell: (one) => <Share value={one.row.view.cpu_used_bp} fresh={fresh(one)} /> },
  { id: "memory", head: "Memory", width: 76, right: true, by: (one) => one.row.view.memory_used_bp, cell: (one) => <Share value={one.row.view.memory_used_bp} fresh={fresh(one)} /> },
  { id: "workloads", head: "Workloads", width: 180, cell: (one) => <Workloads one={one} /> },
  { id: "policy", head: "Policy", about: "generation of its active bundle", width: 56, by: (one) => one.row.view.policy_generation, cell: (one) => <Generation one={one} /> },
  { id: "backlog", head: "Backlog", about: "entries that it made and the hub has not stored, as last heard", width: 72, right: true, by: (one) => one.row.view.backlog_entries, cell: (one) => <Backlog entries={one.row.view.backlog_entries} /> },
  { id: "authority", head: "Authority", about: "what the age of its policy still lets it do", width: 92, by: (one) => one.row.view.authority, cell: (one) => <Toned tone={authorityTone(one.row.view.authority)} title={authorityMeans(one.row.view.authority)}>{one.row.view.authority}</Toned> },
  { id: "clock", head: "Clock", width: 110, by: (one) => one.row.view.clock, cell: (one) => <Toned tone={clockTone(one.row.view.clock)}>{clockWord(one.row.view.clock)}</Toned> },
  { id: "version", head: "Version", width: 90, by: (one) => one.row.view.version, cell: (one) => one.row.view.version },
  { id: "last", head: "Last decision", least: 196, about: "and how long ago it was made", by: (one) => one.row.view.last_decision?.at ?? null, cell: (one) => <Last one={one} /> },
];

function StateCell({ one }: { one: Shown }) {
  const { view } = one.row;
  // Who holds it stands among the reasons; a long name would push them out of sight.
  const whole = stateOf(view);
  const word = whole.word.startsWith("held by ") ? { ...whole, word: "held" } : whole;
  const { level, reasons } = one.standing;
  return (
    <span class="line">
      <Live text={word.word}>
        <Sign word={word} />
      </Live>
      {level !== "broken" && level !== "attention" ? null : (
        <span class={`tone-${toneOf(level)}`} title={reasons.map((reason) => reason.text).join("\n")}>
          <span aria-hidden="true">{level === "broken" ? "▲" : "△"} </span>
          <span class="num">{reasons.length}</span>
          <span class="unseen"> {level}: {reasons.map((reason) => reason.text).join("; ")}</span>
        </span>
      )}
      {view.state_since === null ? null : <span class="muted num since">{span(serverNow() - Date.parse(view.state_since))}</span>}
    </span>
  );
}

/** A share of the whole, with its bar. */
function Share({ value, fresh: how }: { value: number | null; fresh: Freshness }) {
  return (
    <span class="metered">
      <Num value={value} unit="basis_points" fresh={how} />
      <Meter share={value === null || how === "gone" ? null : value / 10_000} tone={how === "fresh" ? "alone" : "unknown"} />
    </span>
  );
}

/** As many GPUs as fit; of more the hottest two, and how many are left out. */
function Gpus({ one }: { one: Shown }) {
  const { gpus, name } = one.row.view;
  const bands = useSparks(name);
  const how = fresh(one);
  if (gpus.length === 0) return <span class="none">no GPU</span>;
  const shown = gpus.length <= 2 ? gpus : [...gpus].sort((a, b) => (b.temperature_mc ?? -1) - (a.temperature_mc ?? -1)).slice(0, 2);
  return (
    <span class="gpus">
      {shown.map((gpu) => (
        <span key={gpu.id} class="gpu" title={`${gpu.model}${gpu.simulated ? ", simulated" : ""}; cap ${human(gpu.power_cap_mw, "milliwatt")}`}>
          <Device id={gpu.id} simulated={gpu.simulated} />
          <Spark band={bands.get(gpu.id)} limit={one.limit_mc} now_ms={serverNow()} stale={how !== "fresh"} label={`${gpu.id}, 15 minutes`} />
          <Heat gpu={gpu} limit_mc={one.limit_mc} fresh={how} />
          <span class="right">
            <Num value={gpu.power_mw} unit="milliwatt" fresh={how} />
          </span>
        </span>
      ))}
      {gpus.length > shown.length ? <span class="muted">+{gpus.length - shown.length}</span> : null}
    </span>
  );
}

/** A temperature with its bar against the limit; the number itself says when it is over it or near it. */
function Heat({ gpu, limit_mc, fresh: how }: { gpu: GpuView; limit_mc: number | null; fresh: Freshness }) {
  const level = how === "fresh" ? heatOf(gpu, limit_mc) : "unknown";
  const share = gpu.temperature_mc === null || limit_mc === null || how === "gone" ? null : gpu.temperature_mc / limit_mc;
  return (
    <span class={`metered right tone-${level === "unknown" ? "plain" : toneOf(level)}`}>
      {level === "broken" ? <span aria-hidden="true">▲ </span> : null}
      <Num value={gpu.temperature_mc} unit="milli_celsius" fresh={how} />
      <Meter share={share} tone={level === "ok" ? "ok" : toneOf(level)} />
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

function fleetCsv(rows: Shown[], columns: Column<Shown>[]): string {
  return csv(
    ["site", ...columns.map((column) => (column.id === "age" ? "age_ms" : column.id))],
    rows.map((one) => [one.row.view.site, ...columns.map((column) => CELLS[column.id]?.(one) ?? null)]),
  );
}
