// What leaves the hub: who hears of everything that arrives, how far each is behind, and what became of webhooks' deliveries.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { Consumer, Delivery } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched } from "../state/fetched";
import { serverNow } from "../state/use";
import { clockTime } from "../text/format";
import type { Word } from "../text/words";

const HOOK = "webhook:";

function standing(consumer: Consumer): Word {
  if (consumer.up === null) return { sign: "○", word: "not tried yet", tone: "plain" };
  return consumer.up ? { sign: "●", word: "up", tone: "ok" } : { sign: "✕", word: "away", tone: "down" };
}

function stateOf(delivery: Delivery): Word {
  if (delivery.state === "delivered") return { sign: "✓", word: "delivered", tone: "ok" };
  return delivery.state === "pending" ? { sign: "◐", word: "pending", tone: "warn" } : { sign: "✕", word: "dead", tone: "down" };
}

/** Why a delivery is where it is, in one line. */
function whyOf(delivery: Delivery): string {
  const next = delivery.next_try === null ? "" : `again at ${clockTime(delivery.next_try, serverNow())}`;
  return [delivery.error, next].filter((part) => part !== "").join("; ");
}

export function Integrations() {
  const [asked, setAsked] = useState(0);
  const [chosen, setChosen] = useState<string | null>(null);
  const [failure, setFailure] = useState<api.Failure | null>(null);
  const fetched = useFetched(`consumers ${asked}`, api.consumers);
  const consumers = fetched.value ?? [];
  const hooks = consumers.filter((one) => one.name.startsWith(HOOK)).map((one) => one.name.slice(HOOK.length));
  const hook = chosen ?? hooks[0] ?? null;
  const again = (event?: string): void => {
    if (hook === null) return;
    api.resend(hook, event).then(
      () => {
        setFailure(null);
        setAsked(asked + 1);
      },
      (problem: unknown) => setFailure(problem instanceof api.Failure ? problem : new api.Failure("internal", String(problem), "")),
    );
  };
  const away = consumers.filter((one) => one.up === false).length;
  const columns: Column<Consumer>[] = [
    { id: "name", head: "Name", least: 150, cell: (one) => <b>{one.name}</b> },
    { id: "state", head: "State", width: 130, cell: (one) => <Sign word={standing(one)} /> },
    { id: "lag", head: "Behind", about: "entries that are durable here and not there", width: 92, right: true, cell: (one) => <span class="num">{one.lag_entries ?? "–"}</span> },
    { id: "for", head: "For", about: "how long the oldest of them has been durable here", width: 92, right: true, cell: (one) => <span class="num">{one.lag_seconds === null ? "–" : `${Math.round(one.lag_seconds)} s`}</span> },
    { id: "delivered", head: "Delivered", about: "since the hub started", width: 104, right: true, cell: (one) => <span class="num">{one.delivered}</span> },
    { id: "target", head: "Where", least: 180, cell: (one) => <span class="cut" title={one.target}>{one.target}</span> },
    { id: "error", head: "Why not", least: 140, cell: (one) => <span class="cut" title={one.error ?? undefined}>{one.error ?? ""}</span> },
  ];
  return (
    <div class="page">
      <Sentence parts={[{ text: away === 0 ? "What leaves the hub, and how far each receiver is behind." : `${away} of ${consumers.length} receivers are away; what they miss waits here.` }]} />
      <div class="tools">
        <button type="button" class="quiet" onClick={() => setAsked(asked + 1)}>Look again</button>
        <span class="space" />
        <CopyCli command="sentinel get consumers -o wide" />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {failure === null ? null : <Trouble message={failure.message} advice={failure.advice} />}
      {fetched.value === null ? null : (
        <Table label="consumers" columns={columns} rows={consumers} keyOf={(one) => one.name} heights={[32, 140]}>
          <Empty command="sentinel webhook add NAME https://HOST/PATH">Nobody hears of events. This sends them somewhere:</Empty>
        </Table>
      )}
      {hook === null ? null : <Deliveries key={`${hook} ${asked}`} hook={hook} hooks={hooks} choose={setChosen} again={again} />}
    </div>
  );
}

function Deliveries({ hook, hooks, choose, again }: { hook: string; hooks: string[]; choose: (hook: string) => void; again: (event?: string) => void }) {
  const fetched = useFetched(`deliveries ${hook}`, () => api.deliveries(hook));
  const columns: Column<Delivery>[] = [
    { id: "at", head: "Time", width: 116, cell: (one) => <time class="num" dateTime={one.at} title={one.at}>{clockTime(one.at, serverNow())}</time> },
    { id: "state", head: "State", width: 120, cell: (one) => <Sign word={stateOf(one)} /> },
    { id: "type", head: "Type", least: 180, cell: (one) => <span class="cut" title={one.type}>{one.type}</span> },
    { id: "tries", head: "Tries", width: 70, right: true, cell: (one) => <span class="num">{one.attempts}</span> },
    { id: "status", head: "Status", width: 80, right: true, cell: (one) => <span class="num">{one.status ?? "–"}</span> },
    { id: "why", head: "Why", least: 160, cell: (one) => <span class="cut" title={whyOf(one)}>{whyOf(one)}</span> },
    { id: "do", head: "Change", width: 120, cell: (one) => (one.state === "dead" ? <button type="button" class="quiet" onClick={() => again(one.event)}>Send again</button> : null) },
  ];
  return (
    <>
      <div class="tools">
        <select aria-label="webhook" value={hook} onChange={(event) => choose(event.currentTarget.value)}>
          {hooks.map((one) => (
            <option key={one} value={one}>{one}</option>
          ))}
        </select>
        <button type="button" class="quiet" onClick={() => again()}>Send all dead letters again</button>
        <span class="space" />
        <CopyCli command={`sentinel webhook deliveries ${hook}`} />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {fetched.value === null ? null : (
        <Table label="deliveries" columns={columns} rows={fetched.value} keyOf={(one) => `${one.state} ${one.event}`} heights={[32, 140]}>
          <Empty>Nothing was sent to {hook} yet.</Empty>
        </Table>
      )}
    </>
  );
}
