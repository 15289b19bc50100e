// Every decision, newest first, as the stream brings them; older ones are read from the API page by page.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { DecisionView } from "../api/types";
import { Device, Empty, Live, Sentence, Sign, Toned, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export, FilterBox } from "../parts/Tools";
import { decisionPath, nodePath, setQuery, useRoute } from "../state/route";
import { newestFirst } from "../state/store";
import { current, serverNow, useStore, useTick } from "../state/use";
import { csv, DECISION_FIELDS } from "../text/fields";
import { parseFilter, valuesOf } from "../text/filter";
import { clockTime } from "../text/format";
import { decisionsSentence } from "../text/sentence";
import { outcomeOf, verdictOf } from "../text/words";

/** Whether a device of a node is simulated, as far as the page knows. */
export function isSimulated(node: string, device: string): boolean {
  return current().nodes.get(node)?.view.gpus.some((gpu) => gpu.id === device && gpu.simulated) ?? false;
}

export const DECISION_COLUMNS: Column<DecisionView>[] = [
  { id: "at", head: "Time", width: 116, cell: (one) => <time class="num" dateTime={one.at} title={one.at}>{clockTime(one.at, serverNow())}</time> },
  { id: "node", head: "Node", width: 96, cell: (one) => <a href={nodePath(one.node)}>{one.node}</a> },
  { id: "verdict", head: "Verdict", width: 128, cell: (one) => <Sign word={verdictOf(one.verdict)} /> },
  { id: "summary", head: "What", cell: (one) => <What one={one} /> },
  { id: "outcome", head: "Outcome", width: 124, cell: (one) => <Live text={one.outcome}><Sign word={outcomeOf(one.outcome)} /></Live> },
  { id: "rule", head: "Rule", width: 144, cell: (one) => one.rule },
  { id: "link", head: "Made", width: 94, cell: (one) => (one.connected ? <span class="muted">connected</span> : <Toned tone="alone">alone</Toned>) },
  { id: "id", head: "Id", width: 116, cell: (one) => <a class="mono" href={decisionPath(one.id)}>{one.id}</a> },
];

function What({ one }: { one: DecisionView }) {
  const rest = one.summary.startsWith(`${one.target} `) ? one.summary.slice(one.target.length) : ` ${one.summary}`;
  return (
    <span class="cut" title={one.outcome_detail ?? one.summary}>
      <Device id={one.target} simulated={isSimulated(one.node, one.target)} />
      {rest}
    </span>
  );
}

interface Older {
  /** The cursor that these pages began at. */
  start: string | null;
  items: DecisionView[];
  cursor: string | null;
  busy: boolean;
  failure: api.Failure | null;
}

export function Decisions() {
  const { query } = useRoute();
  useTick();
  const live = useStore((state) => state.decisions);
  const read = useStore((state) => state.nodes_read);
  const cursor = useStore((state) => state.older);
  const [older, setOlder] = useState<Older>({ start: cursor, items: [], cursor, busy: false, failure: null });
  // After a reset the newest were read again: older pages are asked for from there on.
  const pages: Older = older.start === cursor ? older : { start: cursor, items: [], cursor, busy: false, failure: null };
  const text = query.get("q") ?? "";
  const filter = parseFilter(text, DECISION_FIELDS);
  const known = new Map([...pages.items, ...live].map((one) => [one.id, one]));
  const all = [...known.values()].sort(newestFirst);
  const rows = filter.ok ? all.filter(filter.test) : all;
  const [only] = valuesOf(text, "node");

  const more = (): void => {
    if (pages.cursor === null) return;
    setOlder({ ...pages, busy: true, failure: null });
    api.decisions({ before: pages.cursor, limit: 200 }).then(
      (list) => setOlder({ ...pages, items: [...pages.items, ...list.items], cursor: list.next_cursor ?? null, busy: false, failure: null }),
      (failure: unknown) => setOlder({ ...pages, busy: false, failure: failure instanceof api.Failure ? failure : null }),
    );
  };

  if (!read) return <p class="muted reading">Reading the decisions…</p>;
  return (
    <div class="page filling">
      <Sentence parts={decisionsSentence(rows, pages.cursor !== null)} />
      <div class="tools">
        <FilterBox value={text} problem={filter.ok ? null : filter.problem} example="node=edge-03 verdict=deny|hold" onChange={(q) => setQuery({ q })} />
        <span class="space" />
        <Export name="sentinel-decisions" csv={() => csv(["at", "node", "id", "verdict", "summary", "outcome", "rule", "connected"], rows.map((one) => [one.at, one.node, one.id, one.verdict, one.summary, one.outcome, one.rule, one.connected]))} json={() => ({ items: rows })} />
        <CopyCli command={only === undefined ? "sentinel get decisions" : `sentinel get decisions --node ${only}`} />
      </div>
      {pages.failure === null ? null : <Trouble message={pages.failure.message} advice={pages.failure.advice} />}
      <Table label="decisions" fill keys columns={DECISION_COLUMNS} rows={rows} keyOf={(one) => one.id} hrefOf={(one) => decisionPath(one.id)} heights={[32, 76]}>
        {all.length === 0 ? <Empty command="sentinel demo heat edge-03/gpu0">No decision has been made. In the demo, this drives a GPU hot until a rule acts:</Empty> : <Empty>No decision of those read matches.</Empty>}
      </Table>
      {pages.cursor === null ? null : (
        <p class="foot">
          <button type="button" class="quiet" disabled={pages.busy} onClick={more}>
            {pages.busy ? "Reading…" : "Read older ones"}
          </button>
        </p>
      )}
    </div>
  );
}
