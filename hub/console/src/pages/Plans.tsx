// Every plan, newest first: who wants what done, where it stands and why, what was expected and what was seen.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { PlanStepView, PlanView } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export, FilterBox } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { planPath, setQuery, useRoute } from "../state/route";
import { serverNow, useTick } from "../state/use";
import { csv } from "../text/fields";
import { type Fields, parseFilter } from "../text/filter";
import { clockTime, count, fineSpan, human } from "../text/format";
import type { Part } from "../text/sentence";
import { cameTrueOf, planStateOf } from "../text/words";

const PAGE = 200;
/** Plans are not in the stream: the page reads them again this often. */
const BEAT_MS = 2_000;

const PLAN_FIELDS: Fields<PlanView> = {
  id: (plan) => plan.id,
  state: (plan) => plan.state,
  by: (plan) => plan.source,
  brain: (plan) => plan.by_brain,
  target: (plan) => plan.steps.map((step) => step.target),
  verb: (plan) => plan.steps.map((step) => step.verb),
  reason: (plan) => plan.reason,
};

/** What a step should change and what was seen of it, in the metric's own unit. */
export function effectText({ expected, observed }: PlanStepView): { expected: string; seen: string } | null {
  if (expected === undefined) return null;
  const unit = expected.metric.startsWith("gpu.power") ? "milliwatt" : expected.metric.endsWith("temperature") ? "milli_celsius" : "count";
  const sign = expected.delta > 0 ? "+" : "";
  return {
    expected: `${expected.metric} ${sign}${human(expected.delta, unit)} within ${fineSpan(expected.within_ms)}`,
    seen: observed === undefined ? "—" : `${human(observed.before, unit)} → ${human(observed.after, unit)}`,
  };
}

function Effect({ plan }: { plan: PlanView }) {
  const step = plan.steps.find((one) => one.expected !== undefined);
  const effect = step === undefined ? null : effectText(step);
  if (effect === null) return <span class="none">—</span>;
  return (
    <span class="cut" title={`expected ${effect.expected}; seen ${effect.seen}`}>
      <span class="num">{effect.seen}</span> <span class="muted">{effect.expected}</span>
    </span>
  );
}

function What({ plan }: { plan: PlanView }) {
  const [first] = plan.steps;
  const more = plan.steps.length > 1 ? ` (+${plan.steps.length - 1})` : "";
  return <a class="cut" href={planPath(plan.id)} title={plan.reason}>{first === undefined ? plan.id : `${first.summary}${more}`}</a>;
}

function Truth({ plan }: { plan: PlanView }) {
  const word = cameTrueOf(plan.came_true);
  return word === null ? <span class="none">—</span> : <Sign word={word} />;
}

const COLUMNS: Column<PlanView>[] = [
  { id: "since", head: "Since", width: 116, cell: (plan) => <time class="num" dateTime={plan.since} title={plan.since}>{clockTime(plan.since, serverNow())}</time> },
  { id: "state", head: "State", width: 140, cell: (plan) => <Sign word={planStateOf(plan.state)} /> },
  { id: "by", head: "By", width: 150, cell: (plan) => <span class="cut" title={plan.source}>{plan.source}</span> },
  { id: "what", head: "What", width: 240, cell: (plan) => <What plan={plan} /> },
  { id: "effect", head: "Seen, of what was expected", width: 260, cell: (plan) => <Effect plan={plan} /> },
  { id: "truth", head: "Prediction", width: 132, cell: (plan) => <Truth plan={plan} /> },
  { id: "detail", head: "Why", least: 160, cell: (plan) => <span class="cut" title={plan.detail}>{plan.detail}</span> },
];

/** The first line: what waits for somebody, or what was done. */
function sentence(plans: PlanView[]): Part[] {
  const of = (state: string): PlanView[] => plans.filter((plan) => plan.state === state);
  const waiting = of("awaiting_approval");
  const held = of("held");
  const [first] = waiting;
  if (first !== undefined) {
    const rest = waiting.length > 1 ? `${count(waiting.length, "plan")} wait for a person, the newest: ` : "A plan waits for a person: ";
    return [{ text: rest }, { text: first.steps[0]?.summary ?? first.id, href: planPath(first.id) }, { text: `, sent by ${first.source}.` }];
  }
  const [one] = held;
  if (one !== undefined) return [{ text: `${count(held.length, "plan")} held`, tone: "warn" }, { text: `: ${one.detail}.` }];
  const broken = plans.filter((plan) => plan.state === "failed" || plan.state === "rollback_failed").length;
  const done = of("completed").length;
  return [{ text: `${count(done, "plan")} completed` }, broken === 0 ? { text: ", none failed." } : { text: `, ${broken} failed.`, tone: "down" }];
}

export function Plans() {
  const { query } = useRoute();
  const beat = Math.floor(useTick() / BEAT_MS);
  const [older, setOlder] = useState<{ items: PlanView[]; cursor: string | null } | null>(null);
  const [failure, setFailure] = useState<api.Failure | null>(null);
  const fetched = useFetched(`plans ${beat}`, () => api.plans({ limit: PAGE }));
  const page = useKept("plans", fetched);
  const text = query.get("q") ?? "";
  const filter = parseFilter(text, PLAN_FIELDS);
  const known = new Map([...(older?.items ?? []), ...(page?.items ?? [])].map((plan) => [plan.id, plan]));
  const all = [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  const rows = filter.ok ? all.filter(filter.test) : all;
  const cursor = older === null ? (page?.next_cursor ?? null) : older.cursor;
  const more = (): void => {
    if (cursor === null) return;
    api.plans({ before: cursor, limit: PAGE }).then(
      (list) => setOlder({ items: [...(older?.items ?? []), ...list.items], cursor: list.next_cursor ?? null }),
      (problem: unknown) => setFailure(problem instanceof api.Failure ? problem : null),
    );
  };
  const trouble = failure ?? fetched.failure;
  if (page === null) return trouble === null ? <p class="muted reading">Reading the plans…</p> : <div class="page"><Trouble message={trouble.message} advice={trouble.advice} /></div>;
  return (
    <div class="page filling">
      <Sentence parts={sentence(all)} />
      <div class="tools">
        <FilterBox value={text} problem={filter.ok ? null : filter.problem} example="state=held brain=true" onChange={(q) => setQuery({ q })} />
        <span class="space" />
        <Export name="sentinel-plans" csv={() => csv(["id", "state", "since", "by", "what", "expected", "seen", "came_true", "detail"], rows.map((plan) => { const effect = plan.steps[0] === undefined ? null : effectText(plan.steps[0]); return [plan.id, plan.state, plan.since, plan.source, plan.steps.map((step) => step.summary).join("; "), effect?.expected ?? "", effect?.seen ?? "", plan.came_true ?? "", plan.detail]; }))} json={() => ({ items: rows })} />
        <CopyCli command="sentinel plan list" />
      </div>
      {trouble === null ? null : <Trouble message={trouble.message} advice={trouble.advice} />}
      <Table label="plans" fill keys columns={COLUMNS} rows={rows} keyOf={(plan) => plan.id} hrefOf={(plan) => planPath(plan.id)} heights={[32, 144]}>
        {all.length === 0 ? <Empty command="sentinel demo grow edge-01/gpu0">No plan was sent. In the demo, this lets a load grow until the embedded brain foresees the heat:</Empty> : <Empty>No plan of those read matches.</Empty>}
      </Table>
      {cursor === null ? null : (
        <p class="foot">
          <button type="button" class="quiet" onClick={more}>Read older ones</button>
        </p>
      )}
    </div>
  );
}
