// One task: prediction, failure, fix, pull request and outcome on one page, with the proof and everything that happened.
//
// Nothing is concluded here: stations are the task and the hub's journal, commands are the signed certificate.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { Certificate, CertificateCommand, ChangedFile, Task as View, TaskEntry } from "../api/types";
import { Copy, Digest, Fact, Sentence, Sign, Toned, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { serverNow, useTick } from "../state/use";
import { clockTime, delay } from "../text/format";
import {
  chanceText,
  checksWord,
  isAsItMust,
  isUnderWay,
  mayBeRetried,
  type Order,
  ordersOf,
  phaseText,
  reviewText,
  reviewWord,
  type Station,
  stationsOf,
  taskSentence,
  taskWord,
} from "../text/task";
import { AGAIN_MS } from "./Tasks";

export function Task({ id }: { id: string }) {
  const [asked, ask] = useState(0);
  const round = Math.floor(useTick() / AGAIN_MS);
  const fetched = useFetched(`task ${id} ${round} ${asked}`, () => api.task(id));
  const task = useKept(id, fetched);
  const { failure } = fetched;
  if (task === null) return failure === null ? <p class="muted reading">Reading task {id}…</p> : <div class="page"><Trouble message={failure.message} advice={failure.advice} /></div>;
  return <Shown task={task} failure={failure} again={() => ask(asked + 1)} />;
}

const time = (at: string | null) => (at === null ? <span class="none">—</span> : <time class="num" dateTime={at} title={at}>{clockTime(at, serverNow())}</time>);

const STATIONS: Column<Station>[] = [
  { id: "name", head: "Station", width: 110, cell: (one) => <b>{one.name}</b> },
  { id: "state", head: "State", width: 150, cell: (one) => <Sign word={one.word} /> },
  { id: "text", head: "What", least: 160, cell: (one) => (one.href === undefined ? <span class="cut" title={one.text}>{one.text}</span> : <a class="cut" href={one.href} title={one.href}>{one.text}</a>) },
  { id: "at", head: "Time", width: 116, cell: (one) => time(one.at) },
];

const FILES: Column<ChangedFile>[] = [
  { id: "path", head: "File", least: 160, cell: (file) => <code class="cut" title={file.path}>{file.path}</code> },
  { id: "added", head: "Added", width: 80, right: true, cell: (file) => <span class="num">+{file.added}</span> },
  { id: "removed", head: "Removed", width: 80, right: true, cell: (file) => <span class="num">−{file.removed}</span> },
];

const HISTORY: Column<TaskEntry>[] = [
  { id: "at", head: "Time", width: 116, cell: (entry) => time(entry.at) },
  { id: "who", head: "Who", width: 180, cell: (entry) => <span class="cut" title={`${entry.who} through ${entry.via}`}>{entry.who}</span> },
  { id: "verb", head: "What", width: 140, cell: (entry) => entry.verb },
  { id: "detail", head: "Details", least: 160, cell: (entry) => <span class="cut" title={detailOf(entry)}>{detailOf(entry)}</span> },
  { id: "id", head: "Entry", width: 120, cell: (entry) => <span class="mono">{entry.id}</span> },
];

const detailOf = (entry: TaskEntry): string => [entry.reason, ...entry.details.map(([name, value]) => `${name} ${value}`)].filter((part) => part !== "").join("; ");

function Shown({ task, failure, again }: { task: View; failure: api.Failure | null; again: () => void }) {
  const history = (task.history ?? []).map((entry, index) => ({ entry, index }));
  return (
    <div class="page">
      <Sentence parts={taskSentence(task)} />
      {failure === null ? null : <Trouble message={failure.message} advice={failure.advice} />}
      <dl class="facts">
        <Fact name="State"><Sign word={taskWord(task.state)} /></Fact>
        <Fact name="Repository">{task.repository}</Fact>
        <Fact name="Branch">{task.branch === "" ? <span class="none" title="the event did not name it">—</span> : task.branch}</Fact>
        <Fact name="Commit"><Digest value={task.commit} /></Fact>
        <Fact name="Priority">{task.priority}</Fact>
        <Fact name="Tries"><span class="num">{task.attempts}</span> <span class="unit">of 3</span></Fact>
        {task.chance === null ? null : <Fact name="Chance" title="from what became of earlier repairs; decided on is the lower bound">{chanceText(task.chance)}</Fact>}
        {task.agent_name === null ? null : <Fact name="Agent">{task.agent_name}</Fact>}
        {task.codes.length === 0 ? null : <Fact name="Codes"><Toned tone={task.state === "no_fix" ? "unknown" : "down"}>{task.codes.join(" ")}</Toned></Fact>}
      </dl>
      {task.message === "" ? null : <p class="note">{task.message}</p>}
      {task.error_message === null || task.error_message === task.message ? null : <p class="note">{task.error_message}</p>}
      <div class="tools">
        {task.state === "held" ? <Reasoned key="approve" verb="Publish it" consequences="The pull request is opened although policy wants a person for it." run={(reason) => api.approveTask(task.id, reason)} done={again} /> : null}
        {isUnderWay(task) ? <Reasoned key="cancel" verb="Cancel the task" consequences="The agent loses its right to write; nothing is published." run={(reason) => api.cancelTask(task.id, reason)} done={again} /> : null}
        {mayBeRetried(task) ? <Reasoned key="retry" verb="Try it again" consequences="The task waits for an agent once more, with its tries counted from none." run={(reason) => api.retryTask(task.id, reason)} done={again} /> : null}
        <CopyCli command={`sentinel why ${task.id}`} />
        <Copy text={task.id}>Copy id</Copy>
      </div>

      <h2>From prediction to outcome</h2>
      <Table label="stations" columns={STATIONS} rows={stationsOf(task)} keyOf={(one) => one.name} heights={[32, 76]} />

      {task.review === null ? null : <Reviewed task={task} />}

      {task.proposal === null ? null : <Proof task={task} />}

      <h2>What happened</h2>
      <Table label="history" columns={HISTORY} rows={history.map(({ entry }) => entry)} keyOf={(entry) => entry.id} heights={[32, 100]}>
        <p class="empty muted">The journal's entries of this task have left by age.</p>
      </Table>

      <details class="raw">
        <summary>Raw JSON</summary>
        <pre tabIndex={0}>{JSON.stringify(task, null, 2)}</pre>
      </details>
    </div>
  );
}

const ORDERS: Column<Order>[] = [
  { id: "at", head: "Time", width: 116, cell: (order) => time(order.at) },
  { id: "who", head: "Who", width: 180, cell: (order) => <span class="cut" title={order.who}>{order.who}</span> },
  { id: "what", head: "What", least: 160, cell: (order) => <span class="cut" title={order.reason}>{[order.what, order.reason].filter((part) => part !== "").join(": ")}</span> },
];

/** The pull request at its forge: what its checks say, who has the next word, and what people ordered. */
function Reviewed({ task }: { task: View }) {
  const { review } = task;
  const orders = ordersOf(task);
  if (review === null) return null;
  return (
    <>
      <h2>Pull request</h2>
      <dl class="facts">
        <Fact name="Stands"><Sign word={task.state === "proposed" ? reviewWord(task) : taskWord(task.state)} /></Fact>
        <Fact name="Checks" title="what the forge's own checks said of our commit when they were last looked at"><Sign word={checksWord(review.checks)} /></Fact>
        <Fact name="Merge" title="auto_merge of .patchbot.toml, and what policy says to it">{review.merge_wanted ? "without a person, if policy agrees" : "by a person"}</Fact>
        {review.stopped_by === null ? null : <Fact name="Stopped by"><Toned tone="warn">{review.stopped_by}</Toned></Fact>}
      </dl>
      {reviewText(task) === "" ? null : <p class="note muted">Now: {reviewText(task)}.</p>}
      {orders.length === 0 ? null : <Table label="orders" columns={ORDERS} rows={orders} keyOf={(order) => order.id} heights={[32, 76]} />}
    </>
  );
}

function Proof({ task }: { task: View }) {
  const { value, failure } = useFetched(`certificate ${task.id} ${task.proposal?.certificate ?? ""}`, () => api.certificate(task.id));
  return (
    <>
      <h2>Patch</h2>
      <Table label="files" columns={FILES} rows={task.proposal?.files ?? []} keyOf={(file) => file.path} heights={[32, 76]} />
      <h2>Proof</h2>
      {failure === null ? null : <Trouble message={failure.message} advice={failure.advice} />}
      {value === null ? null : <Proven certificate={value} task={task} />}
    </>
  );
}

function Proven({ certificate, task }: { certificate: Certificate; task: View }) {
  return (
    <>
      <Table label="commands" columns={COMMANDS} rows={certificate.commands.map((command, index) => ({ command, index }))} keyOf={(one) => String(one.index)} heights={[32, 100]} />
      <dl class="facts">
        <Fact name="Fixer">{certificate.fixer} {certificate.fixer_version}</Fact>
        <Fact name="Looked at">{certificate.examined.join(", ")}</Fact>
        <Fact name="Sandbox" title={`self-test ${certificate.self_test}`}>{certificate.sandbox}, network {certificate.network}</Fact>
        <Fact name="Signed by" title={certificate.agent}><Digest value={certificate.public_key} /></Fact>
        <Fact name="Certificate"><Digest value={task.proposal?.certificate ?? ""} /></Fact>
        <Fact name="Fingerprint"><Digest value={task.proposal?.fingerprint ?? ""} /></Fact>
      </dl>
      <p class="note muted">
        Anybody runs it again: <code>sentinel task certificate {task.id} &gt; FILE; sentinel-patchbot verify-cert FILE --repo PATH</code>
      </p>
    </>
  );
}

const COMMANDS: Column<{ command: CertificateCommand; index: number }>[] = [
  { id: "why", head: "When", width: 230, cell: ({ command }) => <span class="cut" title={phaseText(command)}>{phaseText(command)}</span> },
  { id: "result", head: "Result", width: 130, cell: ({ command }) => <Sign word={{ sign: isAsItMust(command) ? "✓" : "✕", word: `${command.passed ? "passes" : "fails"} (${command.status})`, tone: isAsItMust(command) ? "ok" : "down" }} /> },
  { id: "argv", head: "Command", least: 160, cell: ({ command }) => <code class="cut" title={command.argv.join(" ")}>{command.argv.join(" ")}</code> },
  { id: "took", head: "Took", width: 80, right: true, cell: ({ command }) => <span class="num">{delay(command.wall_ms)}</span> },
];

/** Asks once, with the consequences, for a reason. */
function Reasoned({ verb, consequences, run, done }: { verb: string; consequences: string; run: (reason: string) => Promise<unknown>; done: () => void }) {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const [failure, setFailure] = useState<api.Failure | null>(null);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (reason.trim() === "") return;
    run(reason.trim()).then(
      () => {
        setOpen(false);
        done();
      },
      (problem: unknown) => setFailure(problem instanceof api.Failure ? problem : new api.Failure("internal", String(problem), "")),
    );
  };
  if (!open) return <button type="button" onClick={() => setOpen(true)}>{verb}…</button>;
  return (
    <form class="tools" onSubmit={submit}>
      <label>
        {consequences} Reason, kept in the journal:{" "}
        <input type="text" value={reason} required maxLength={500} autofocus onInput={(event) => setReason(event.currentTarget.value)} />
      </label>
      <button type="submit" disabled={reason.trim() === ""}>{verb}</button>
      <button type="button" class="quiet" onClick={() => setOpen(false)}>Leave it</button>
      {failure === null ? null : <span role="alert" class="tone-down">✕ {failure.message}</span>}
    </form>
  );
}
