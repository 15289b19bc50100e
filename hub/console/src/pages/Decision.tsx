// One decision: the sentence, every comparison that was made, what else was considered, and what came of it.
//
// Nothing is judged again here: rows are the recorded trace. `replay` asks the server to recompute it and compares bytes.

import { useEffect, useState } from "preact/hooks";

import * as api from "../api/client";
import type { Clause, DecisionDetail, OutcomeView, ReplayView, Unit } from "../api/types";
import { Copy, Device, Digest, Fact, Num, Sentence, Sign, Toned, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched } from "../state/fetched";
import { nodePath, planPath } from "../state/route";
import { serverNow, useStore } from "../state/use";
import { clockTime, delay, fineSpan, human, short, span } from "../text/format";
import { decisionSentence, margin } from "../text/sentence";
import { actionText, authorityMeans, authorityTone, clockTone, clockWord, outcomeOf, verdictOf } from "../text/words";

export function Decision({ id }: { id: string }) {
  // A new outcome comes as an event: it changes the key, and the detail is read again.
  const outcome = useStore((state) => state.decisions.find((one) => one.id === id)?.outcome ?? "");
  const { value: detail, failure } = useFetched(`${id} ${outcome}`, () => api.decision(id));
  const [kept, keep] = useState<DecisionDetail | null>(null);
  useEffect(() => {
    if (detail !== null) keep(detail);
  }, [detail]);
  const shown = detail ?? (kept?.summary.id === id ? kept : null);
  if (shown === null) return failure === null ? <p class="muted reading">Reading {id}…</p> : <div class="page"><Trouble message={failure.message} advice={failure.advice} /></div>;
  return <Shown key={id} detail={shown} />;
}

function Shown({ detail }: { detail: DecisionDetail }) {
  const { summary, decision, outcomes } = detail;
  const { inputs, judgement } = decision;
  const simulated = useStore((state) => state.nodes.get(summary.node)?.view.gpus.some((gpu) => gpu.id === summary.target && gpu.simulated) ?? false);
  return (
    <div class="page">
      <Sentence parts={decisionSentence(detail, simulated, serverNow())} />
      <dl class="facts">
        <Fact name="Verdict"><Sign word={verdictOf(judgement.verdict)} /></Fact>
        <Fact name="Outcome"><Sign word={outcomeOf(summary.outcome)} /></Fact>
        <Fact name="Determined by">{judgement.rule}</Fact>
        <Fact name="Wanted"><Device id={inputs.wanted.target} simulated={simulated} />{actionText(inputs.wanted).slice(inputs.wanted.target.length)}</Fact>
        <Fact name="Asked by"><Asked detail={detail} /></Fact>
        <Fact name="Made">{inputs.connected ? "connected" : <Toned tone="alone">alone</Toned>}</Fact>
        <Fact name="Policy"><a href={`/policies?g=${inputs.bundle.generation}`}>generation {inputs.bundle.generation}</a>, proof {fineSpan(inputs.policy_age_ms)} old</Fact>
        <Fact name="Authority" title={authorityMeans(judgement.authority)}><Toned tone={authorityTone(judgement.authority)}>{judgement.authority}</Toned></Fact>
        <Fact name="Clock"><Toned tone={clockTone(inputs.clock)}>{clockWord(inputs.clock)}</Toned></Fact>
        <Fact name="Journal">{inputs.journal_ok ? "accepts entries" : <Toned tone="down">accepts nothing</Toned>}</Fact>
        {judgement.retry_after_ms === null ? null : <Fact name="Asked again in">{fineSpan(judgement.retry_after_ms)}</Fact>}
        {inputs.held_by === null ? null : <Fact name="Held by">{inputs.held_by}</Fact>}
      </dl>
      <div class="tools">
        <a class="button" href={nodePath(summary.node)}>Open {summary.node}</a>
        <CopyCli command={`sentinel why ${summary.id}`} />
        <Copy text={detail.explanation}>Copy explanation</Copy>
      </div>

      <h2>Clauses</h2>
      <Table label="clauses" columns={CLAUSES} rows={judgement.clauses.map((clause, index) => ({ clause, index }))} keyOf={(one) => String(one.index)} heights={[32, 76]}>
        <p class="empty muted">No rule compared anything.</p>
      </Table>
      {judgement.clauses.filter((clause) => clause.counterfactual !== "").map((clause, index) => (
        <p key={index} class="note"><span class="muted">{clause.shadow ? "◌ " : ""}{clause.rule}{clause.shadow ? ", only tried out" : ""}:</span> {clause.counterfactual}</p>
      ))}

      <h2>Rejected alternatives</h2>
      {judgement.rejected.length === 0 ? <p class="muted">None was considered.</p> : (
        <ul class="plain">
          {judgement.rejected.map((one, index) => (
            <li key={index}><span class="tone-unknown" aria-hidden="true">– </span>{actionText(one.action)}: <span class="muted">{one.because}</span></li>
          ))}
        </ul>
      )}

      <h2>What happened next</h2>
      {outcomes.length === 0 ? <p class="muted">{judgement.granted === null ? "Nothing ran." : "No outcome has come yet."}</p> : (
        <Table label="outcomes" columns={outcomeColumns(detail)} rows={outcomes.map((outcome, index) => ({ outcome, index }))} keyOf={(one) => String(one.index)} heights={[32, 76]} />
      )}

      <h2>Record</h2>
      <Record detail={detail} />

      <h2>Explanation</h2>
      <pre tabIndex={0} aria-label="explanation, the same bytes as sentinel why prints">{detail.explanation}</pre>

      <details class="raw">
        <summary>Raw JSON</summary>
        <pre tabIndex={0}>{JSON.stringify(detail, null, 2)}</pre>
      </details>
    </div>
  );
}

function Asked({ detail }: { detail: DecisionDetail }) {
  const { origin } = detail.decision.inputs;
  if ("rule" in origin) return <>rule {origin.rule.rule}</>;
  if ("cleared" in origin) return <>rule {origin.cleared.rule}, cleared</>;
  if ("command" in origin) return <span title={`command ${origin.command.id}`}>{origin.command.who}, through the hub: “{origin.command.reason}”</span>;
  if ("plan" in origin) return <a href={planPath(origin.plan.plan)} title={origin.plan.reason}>{origin.plan.undo ? "taken back: " : ""}step {origin.plan.step + 1} of a plan of {origin.plan.who}</a>;
  if ("fault" in origin) return <>the ladder against faults, because of {origin.fault.code}</>;
  return <>{origin.local.who}, at the node: “{origin.local.reason}”</>;
}

interface ClauseRow {
  clause: Clause;
  index: number;
}

const CLAUSES: Column<ClauseRow>[] = [
  { id: "verdict", head: "Verdict", width: 150, cell: ({ clause }) => <Sign word={verdictOf(clause.verdict, clause.shadow)} /> },
  { id: "clause", head: "Clause", cell: ({ clause }) => <span class="cut" title={clause.what}>{clause.what}</span> },
  { id: "observed", head: "Observed", width: 110, right: true, cell: ({ clause }) => (clause.observed === null ? (clause.holds ? <span class="none" title="there is none yet">—</span> : <Toned tone="warn">missing</Toned>) : <Num value={clause.observed} unit={clause.unit} />) },
  { id: "op", head: "", width: 52, cell: ({ clause }) => <span class={clause.holds ? "" : "muted"} title={clause.holds ? "holds" : "does not hold"}>{clause.op}<span class="unseen">{clause.holds ? " holds" : " does not hold"}</span></span> },
  { id: "limit", head: "Limit", width: 110, cell: ({ clause }) => <Num value={clause.limit} unit={clause.unit} /> },
  { id: "margin", head: "Margin", width: 100, right: true, cell: ({ clause }) => <span class="num muted">{margin(clause)}</span> },
  { id: "clause-age", head: "Age", about: "how old the observed value was", width: 88, right: true, cell: ({ clause }) => <span class="num muted">{clause.age_ms === null ? "" : fineSpan(clause.age_ms)}</span> },
  { id: "rule", head: "Rule", width: 220, cell: ({ clause }) => <span class="cut" title={`${clause.rule}, ${clause.kind}`}>{clause.rule} {clause.kind === clause.rule ? null : <span class="muted">{clause.kind}</span>}</span> },
];

/** What an outcome's values are counted in: an effect in the unit of the rule's reading, a read-back in the action's. */
function unitOf({ summary: { action }, decision: { inputs, judgement } }: DecisionDetail, state: string): Unit {
  if (state === "verified" || state === "not_verified") {
    const reading = inputs.readings[0];
    const clause = judgement.clauses.find((one) => reading !== undefined && one.what.startsWith(reading.series.quantity));
    return clause?.unit ?? "count";
  }
  if (action.includes("power_cap")) return "milliwatt";
  return action.includes("throttle") ? "basis_points" : "count";
}

interface OutcomeRow {
  outcome: OutcomeView;
  index: number;
}

function outcomeColumns(detail: DecisionDetail): Column<OutcomeRow>[] {
  const decided_ms = Date.parse(detail.summary.at);
  const value = (outcome: OutcomeView, one: number | null): string => human(one, unitOf(detail, outcome.state));
  return [
    { id: "at", head: "Time", width: 132, cell: ({ outcome }) => <time class="num" dateTime={outcome.at} title={outcome.at}>{clockTime(outcome.at, serverNow())}</time> },
    { id: "after-ms", head: "After", about: "time since the decision", width: 88, right: true, cell: ({ outcome }) => <span class="num muted">{delay(Date.parse(outcome.at) - decided_ms)}</span> },
    { id: "outcome", head: "Outcome", width: 150, cell: ({ outcome }) => <Sign word={outcomeOf(outcome.state)} /> },
    { id: "change", head: "Before → read back", width: 190, cell: ({ outcome }) => (outcome.before === null && outcome.after === null ? <span class="none">—</span> : <span class="num">{outcome.before === null ? null : `${value(outcome, outcome.before)} → `}{value(outcome, outcome.after)}</span>) },
    { id: "detail", head: "Detail", cell: ({ outcome }) => <span class="cut" title={outcome.detail}>{outcome.probed ? <Toned tone="warn">found by a probe after a restart; </Toned> : null}{outcome.detail}</span> },
  ];
}

function Record({ detail }: { detail: DecisionDetail }) {
  const { summary, decision, prev } = detail;
  const [replay, setReplay] = useState<{ busy: boolean; view: ReplayView | null; failure: api.Failure | null }>({ busy: false, view: null, failure: null });
  const run = (): void => {
    setReplay({ busy: true, view: null, failure: null });
    api.replay(summary.id).then(
      (view) => setReplay({ busy: false, view, failure: null }),
      (failure: unknown) => setReplay({ busy: false, view: null, failure: failure instanceof api.Failure ? failure : new api.Failure("internal", String(failure), "") }),
    );
  };
  return (
    <>
      <dl class="facts">
        <Fact name="Id"><code>{summary.id}</code></Fact>
        <Fact name="Digest of the entry"><Digest value={summary.digest} /></Fact>
        <Fact name="Entry before it"><Digest value={prev} /></Fact>
        <Fact name="Bundle"><Digest value={decision.inputs.bundle.digest} /> <span class="muted">generation {decision.inputs.bundle.generation}</span></Fact>
        <Fact name="Hub incarnation seen">{decision.inputs.hub_epoch}</Fact>
        <Fact name="Grant valid for">{span(decision.judgement.valid_for_ms)}</Fact>
      </dl>
      <div class="tools">
        <button type="button" disabled={replay.busy} onClick={run}>{replay.busy ? "Replaying…" : "Replay"}</button>
        <CopyCli command={`sentinel replay ${summary.id}`} />
        <span role="status">
          {replay.view === null ? null : replay.view.identical ? (
            <span class="tone-ok">✓ identical: recomputed from the recorded inputs, {short(replay.view.recomputed)}</span>
          ) : (
            <span class="tone-down">✕ differs: recorded {short(replay.view.recorded)}, recomputed {short(replay.view.recomputed)}</span>
          )}
        </span>
      </div>
      {replay.view === null || replay.view.differences.length === 0 ? null : <ul class="plain">{replay.view.differences.map((line) => <li key={line}>{line}</li>)}</ul>}
      {replay.failure === null ? null : <Trouble message={replay.failure.message} advice={replay.failure.advice} />}
    </>
  );
}
