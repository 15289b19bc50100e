// One plan: where it stands and why, each step with what was expected and what was seen, the forecast behind it, and its whole life.
//
// Nothing is judged here: what policy would say now is asked of the hub, and what was said is in its journal.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { PlanStepView, PlanView, ShadowView } from "../api/types";
import { Band } from "../chart/Band";
import { AskPlan, type PlanVerb } from "../parts/AskPlan";
import { Copy, Empty, Fact, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { decisionPath, nodePath, planPath } from "../state/route";
import { serverNow, useTick } from "../state/use";
import { clockTime, span } from "../text/format";
import type { Part } from "../text/sentence";
import { cameTrueOf, planStateOf, stepStateOf, verdictOf } from "../text/words";
import { effectText } from "./Plans";

const BEAT_MS = 2_000;
const OVER = ["completed", "rolled_back", "rollback_failed", "rejected", "expired", "cancelled", "superseded", "failed"];

export function Plan({ id }: { id: string }) {
  const beat = Math.floor(useTick() / BEAT_MS);
  const fetched = useFetched(`plan ${id} ${beat}`, () => api.plan(id));
  const plan = useKept(id, fetched);
  const { failure } = fetched;
  if (plan === null) return failure === null ? <p class="muted reading">Reading the plan…</p> : <div class="page"><Trouble message={failure.message} advice={failure.advice} /></div>;
  return <Shown plan={plan} />;
}

function sentence(plan: PlanView): Part[] {
  const { word, tone } = planStateOf(plan.state);
  const what = plan.steps.map((step) => step.summary).join(", then ");
  return [{ text: `${plan.source} wants ${what}: ` }, { text: word, tone }, { text: plan.detail === "" ? "." : `, ${plan.detail}.` }];
}

function Shown({ plan }: { plan: PlanView }) {
  const [asks, setAsks] = useState<PlanVerb | null>(null);
  const isOver = OVER.includes(plan.state);
  const truth = cameTrueOf(plan.came_true);
  const [node, device] = (plan.steps[0]?.target ?? "").split("/");
  return (
    <div class="page">
      <Sentence parts={sentence(plan)} />
      <p class="note">{plan.reason}</p>
      <dl class="facts">
        <Fact name="State"><Sign word={planStateOf(plan.state)} /></Fact>
        <Fact name="Since"><time class="num" dateTime={plan.since}>{clockTime(plan.since, serverNow())}</time></Fact>
        <Fact name="Sent by">{plan.by_brain ? <a href="/brains">{plan.source}</a> : plan.source}</Fact>
        {isOver ? null : <Fact name="Ends at the latest"><time class="num" dateTime={plan.not_after}>{clockTime(plan.not_after, serverNow())}</time></Fact>}
        {plan.deadline === undefined ? null : <Fact name="Goes on by"><time class="num" dateTime={plan.deadline}>{clockTime(plan.deadline, serverNow())}</time></Fact>}
        {plan.claim === undefined ? null : <Fact name="Claims" title={`prediction ${plan.claim.prediction}`}><span class="num">{Math.floor(plan.claim.confidence_bp / 100)}</span><span class="unit"> % sure, over {span(plan.claim.horizon_ms)}</span></Fact>}
        {truth === null ? null : <Fact name="Prediction"><Sign word={truth} /></Fact>}
        {plan.interfered === undefined ? null : <Fact name="Interfered"><a class="mono" href={decisionPath(plan.interfered)}>{plan.interfered}</a></Fact>}
        {plan.approvals_needed === 0 ? null : <Fact name="Approvals">{(plan.approved_by ?? []).length} of {plan.approvals_needed}{(plan.approved_by ?? []).length === 0 ? "" : `: ${(plan.approved_by ?? []).join(", ")}`}</Fact>}
        {plan.retry_of === undefined ? null : <Fact name="Tries again"><a class="mono" href={planPath(plan.retry_of)}>{plan.retry_of.slice(0, 8)}</a></Fact>}
      </dl>
      <div class="tools">
        {plan.state === "awaiting_approval" ? <button type="button" onClick={() => setAsks("approve")}>Approve</button> : null}
        {plan.state === "awaiting_approval" || plan.state === "held" ? <button type="button" class="quiet" onClick={() => setAsks("deny")}>Deny</button> : null}
        {isOver ? <button type="button" class="quiet" onClick={() => setAsks("retry")}>Try again</button> : <button type="button" class="quiet" onClick={() => setAsks("cancel")}>Cancel</button>}
        {node === undefined || node.includes(":") ? null : <a class="button" href={nodePath(node)}>Open {node}</a>}
        <CopyCli command={`sentinel why ${plan.id}`} />
        <Copy text={plan.id}>Copy id</Copy>
      </div>
      {asks === null ? null : <AskPlan plan={plan} verb={asks} close={() => setAsks(null)} />}

      <h2>Steps</h2>
      <Table label="steps" columns={STEPS} rows={plan.steps.map((step, index) => ({ step, index }))} keyOf={(one) => String(one.index)} heights={[32, 144]} />

      {node === undefined || device === undefined || !(device.startsWith("gpu") || device.startsWith("fs:")) ? null : (
        <>
          <h2>What the embedded brain expects of {plan.steps[0]?.target}</h2>
          <Band node={node} device={device} />
        </>
      )}

      <h2>What policy would say now</h2>
      <Shadow id={plan.id} state={plan.state} />

      <h2>Its life</h2>
      <Life id={plan.id} since={plan.since} />
    </div>
  );
}

interface StepRow {
  step: PlanStepView;
  index: number;
}

const STEPS: Column<StepRow>[] = [
  { id: "number", head: "", width: 36, cell: ({ index }) => <span class="num muted">{index + 1}</span> },
  { id: "state", head: "State", width: 140, cell: ({ step }) => <Sign word={stepStateOf(step.state)} /> },
  { id: "what", head: "What", least: 180, cell: ({ step }) => <span class="cut" title={step.summary}>{step.summary}</span> },
  { id: "expected", head: "Expected", width: 260, cell: ({ step }) => <span class="cut muted">{effectText(step)?.expected ?? "nothing"}</span> },
  { id: "seen", head: "Seen", width: 190, cell: ({ step }) => <Seen step={step} /> },
  { id: "decision", head: "Its node decided", width: 132, cell: ({ step }) => (step.decision === undefined ? <span class="none">—</span> : <a class="mono" href={decisionPath(step.decision)}>{step.decision}</a>) },
  { id: "detail", head: "Why", width: 200, cell: ({ step }) => <span class="cut" title={step.detail}>{step.detail}</span> },
];

function Seen({ step }: { step: PlanStepView }) {
  const effect = effectText(step);
  if (effect === null || step.observed === undefined) return <span class="none">—</span>;
  const enough = step.observed.is_met;
  return <span class={`num tone-${enough ? "ok" : "warn"}`}>{effect.seen} {enough ? "✓" : "not enough"}</span>;
}

function Shadow({ id, state }: { id: string; state: string }) {
  const { value, failure } = useFetched<ShadowView>(`shadow ${id} ${state}`, () => api.planShadow(id));
  if (failure !== null) return <p class="muted">{failure.message}</p>;
  if (value === null) return <p class="muted">Asking…</p>;
  return (
    <ul class="plain">
      {value.steps.map((step, index) => (
        <li key={index}>
          <Sign word={verdictOf(step.verdict)} /> <span class="muted">{step.because === "" ? `by ${step.rule}` : step.because}</span>
        </li>
      ))}
    </ul>
  );
}

function Life({ id, since }: { id: string; since: string }) {
  const fetched = useFetched(`life ${id} ${since}`, () => api.planExplanation(id));
  const text = useKept(id, fetched);
  if (text === null) return fetched.failure === null ? <p class="muted">Reading…</p> : <Empty>{fetched.failure.message}.</Empty>;
  return <pre tabIndex={0} aria-label="life of the plan, as sentinel why prints it">{text}</pre>;
}

