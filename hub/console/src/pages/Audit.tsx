// Who did what: the hub's own journal, newest first, and whether it is whole.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { AuditCheck, Audit as Row } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export } from "../parts/Tools";
import { useFetched } from "../state/fetched";
import { serverNow } from "../state/use";
import { csv } from "../text/fields";
import { clockTime } from "../text/format";
import type { Part } from "../text/sentence";
import type { Word } from "../text/words";

const PAGE = 200;

function resultOf(row: Row): Word {
  return row.result === "done" ? { sign: "✓", word: "done", tone: "ok" } : { sign: "✕", word: row.code ?? "refused", tone: "down" };
}

/** Why, and the facts that explain it, in one line. */
function detailOf(row: Row): string {
  const facts = row.details.map(([name, value]) => `${name} ${value}`);
  return [row.detail, row.reason, ...facts].filter((part) => part !== undefined && part !== "").join("; ");
}

const COLUMNS: Column<Row>[] = [
  { id: "at", head: "Time", width: 116, cell: (row) => <time class="num" dateTime={row.at} title={row.at}>{clockTime(row.at, serverNow())}</time> },
  { id: "who", head: "Who", width: 140, cell: (row) => <b>{row.who}</b> },
  { id: "via", head: "Through", width: 92, cell: (row) => <span title={row.address ?? undefined}>{row.via}</span> },
  { id: "verb", head: "What", width: 200, cell: (row) => <span class="cut" title={row.verb}>{row.verb}</span> },
  { id: "target", head: "On what", width: 180, cell: (row) => <span class="cut" title={row.target}>{row.target}</span> },
  { id: "result", head: "Result", width: 120, cell: (row) => <Sign word={resultOf(row)} /> },
  { id: "detail", head: "Why", least: 160, cell: (row) => <span class="cut" title={detailOf(row)}>{detailOf(row)}</span> },
  { id: "id", head: "Id", width: 120, cell: (row) => <span class="mono">{row.id}</span> },
];

/** Whether the record is whole, in a few words. */
function standing(check: AuditCheck | null): Part[] {
  if (check === null) return [];
  if (!check.ok) return [{ text: " The record is not whole.", tone: "down" }];
  const signed = check.checkpoint === null ? "" : `; signed up to ${check.checkpoint.entry}, and the nodes keep it`;
  return [{ text: ` Its ${check.entries} entries are whole${signed}.` }];
}

export function Audit() {
  const [result, setResult] = useState("");
  const [older, setOlder] = useState<{ of: string; items: Row[]; cursor: string | null }>({ of: "", items: [], cursor: null });
  const [failure, setFailure] = useState<api.Failure | null>(null);
  const query = { limit: PAGE, ...(result === "" ? {} : { result }) };
  const fetched = useFetched(`audits ${result}`, () => api.audits(query));
  const more = older.of === result ? older : { of: result, items: [], cursor: null };
  const cursor = more.items.length > 0 ? more.cursor : (fetched.value?.next_cursor ?? null);
  const rows = [...(fetched.value?.items ?? []), ...more.items];
  const read = (): void => {
    if (cursor === null) return;
    api.audits({ ...query, before: cursor }).then(
      (list) => setOlder({ of: result, items: [...more.items, ...list.items], cursor: list.next_cursor ?? null }),
      (problem: unknown) => setFailure(problem instanceof api.Failure ? problem : null),
    );
  };
  const check = useFetched("audit check", api.auditCheck).value;
  const trouble = failure ?? fetched.failure;
  return (
    <div class="page filling">
      <Sentence parts={[{ text: "What people and programs did here, and what they were refused." }, ...standing(check)]} />
      <div class="tools">
        <select aria-label="result" value={result} onChange={(event) => setResult(event.currentTarget.value)}>
          <option value="">done and refused</option>
          <option value="done">done</option>
          <option value="refused">refused</option>
        </select>
        <span class="space" />
        <Export name="sentinel-audit" csv={() => csv(["at", "who", "via", "address", "verb", "target", "result", "detail", "id"], rows.map((row) => [row.at, row.who, row.via, row.address ?? "", row.verb, row.target, row.result, detailOf(row), row.id]))} json={() => ({ items: rows })} />
        <CopyCli command="sentinel audit list" />
      </div>
      {check === null ? null : check.breaks.filter((found) => found.accepted_by === null).map((found) => (
        <Trouble key={found.first_bad} message={found.detail} advice={`If you know why: sentinel audit accept --reason "…". Everything from ${found.first_bad} on is in doubt until then.`} />
      ))}
      {trouble === null ? null : <Trouble message={trouble.message} advice={trouble.advice} />}
      {fetched.value === null ? null : (
        <Table label="audit" fill columns={COLUMNS} rows={rows} keyOf={(row) => row.id} heights={[32, 120]}>
          <Empty>Nothing of this kind has happened.</Empty>
        </Table>
      )}
      {cursor === null ? null : (
        <p class="foot">
          <button type="button" class="quiet" onClick={read}>Read older ones</button>
        </p>
      )}
    </div>
  );
}
