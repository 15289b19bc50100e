// Whose turn it is: what the active bundle's rules count of the nodes, who acts, who waits, and what windows have left.
//
// The hub counts and gives turns; here they are only shown, as of a few seconds ago.

import * as api from "../api/client";
import type { DomainView } from "../api/types";
import { Empty, Toned, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { useFetched, useKept } from "../state/fetched";
import { nodePath } from "../state/route";
import { domainName, isFull, turnsSentence, turnText, windowText } from "../text/domain";
import type { Tone } from "../text/words";

/** Domains are read again this often: the hub tells its nodes of its counts about as often. */
const READ_EVERY_MS = 3_000;
/** Names in one cell; more are counted. */
const NAMES = 6;

/** The domains as they were last read; `tick` is the page's clock. */
export function useDomains(generation: number | undefined, tick: number): { domains: DomainView[] | null; failure: api.Failure | null } {
  const fetched = useFetched(`${generation} ${Math.floor(tick / READ_EVERY_MS)}`, () => (generation === undefined ? Promise.resolve(null) : api.domains()));
  return { domains: useKept(String(generation), fetched), failure: fetched.failure };
}

export function Domains({ domains, failure }: { domains: DomainView[] | null; failure: api.Failure | null }) {
  if (domains === null) return failure === null ? <p class="muted reading">Reading the domains…</p> : <Trouble message={failure.message} advice={failure.advice} />;
  if (domains.length === 0) {
    return (
      <Empty command="sentinel policy explain blast_radius">
        No rule of this bundle lets nodes act one after the other. A blast_radius, or a rate_limit with the key global, cluster or site, does once nodes have joined that it counts. This tells how to write one:
      </Empty>
    );
  }
  return (
    <>
      <p class="note">{turnsSentence(domains).map((part, index) => ("sim" in part ? null : <Toned key={index} tone={part.tone ?? "plain"}>{part.text}</Toned>))}</p>
      <Table label="domains" columns={COLUMNS} rows={domains} keyOf={domainName} heights={[32, 120]} />
    </>
  );
}

const COLUMNS: Column<DomainView>[] = [
  { id: "domain", head: "Domain", width: 160, cell: (domain) => <b>{domainName(domain)}</b> },
  { id: "members", head: "Members", about: "nodes that share the label and are not denied", width: 84, right: true, cell: (domain) => <span class="num">{domain.members}</span> },
  { id: "unhealthy", head: "Unhealthy", about: "members that are away, or say that they are not healthy", width: 92, right: true, cell: (domain) => <Count number={domain.unhealthy} tone="down" /> },
  { id: "touched", head: "Touched", about: "healthy members that act, have their turn, or have not yet said how they stand", width: 84, right: true, cell: (domain) => <Count number={domain.in_flight} tone="warn" /> },
  { id: "faulty", head: "Newly faulty", about: "members that became unhealthy in the last five minutes", width: 104, right: true, cell: (domain) => <Count number={domain.newly_faulty} tone="down" /> },
  {
    id: "turn",
    head: "Turn",
    about: "members that act or may act now",
    width: 240,
    cell: (domain) => (domain.gives_turns ? <Names names={domain.turns.map((turn) => turn.node)} after={(index) => turnText(domain.turns[index] ?? { acts: false, for_ms: null })} /> : <span class="muted">◌ only tried out</span>),
  },
  { id: "waiting", head: "Waiting", about: "members that wait for their turn, in the order of waiting", least: 160, cell: (domain) => <Names names={domain.waiting} /> },
  {
    id: "windows",
    head: "In window",
    about: "turns that rules have given in their windows",
    width: 300,
    cell: ({ windows }) => {
      const text = windows.map(windowText).join("; ");
      return windows.length === 0 ? <span class="none">—</span> : <span class="cut" title={text}><Toned tone={windows.some(isFull) ? "warn" : "plain"}>{text}</Toned></span>;
    },
  },
];

/** A number that stands out unless it is zero. */
function Count({ number, tone }: { number: number; tone: Tone }) {
  return number === 0 ? <span class="num muted">0</span> : <span class={`num tone-${tone}`}>{number}</span>;
}

/** Nodes with their pages, the first few of them. */
function Names({ names, after }: { names: string[]; after?: (index: number) => string }) {
  if (names.length === 0) return <span class="none">—</span>;
  return (
    <span class="cut" title={names.join(", ")}>
      {names.slice(0, NAMES).map((name, index) => (
        <span key={name}>
          {index === 0 ? "" : ", "}
          <a href={nodePath(name)}>{name}</a>
          {after === undefined ? null : <span class="muted"> {after(index)}</span>}
        </span>
      ))}
      {names.length > NAMES ? <span class="muted"> and {names.length - NAMES} more</span> : null}
    </span>
  );
}
