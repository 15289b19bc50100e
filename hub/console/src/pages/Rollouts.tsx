// Rollouts that are under way and the last finished ones.

import * as api from "../api/client";
import type { RolloutView } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { rolloutPath } from "../state/route";
import { serverNow, useTick } from "../state/use";
import { clockTime } from "../text/format";
import { deploymentName, phaseOf, rolloutsSentence, verdictWord } from "../text/rollout";

/** Rollouts are read again this often: the hub looks at each every other second. */
export const READ_EVERY_MS = 2_000;

const COLUMNS: Column<RolloutView>[] = [
  { id: "target", head: "Deployment", width: 200, cell: (one) => <a class="cut" href={rolloutPath(one.id)}>{deploymentName(one.target)}</a> },
  { id: "phase", head: "Where", width: 140, cell: (one) => <Sign word={phaseOf(one.phase)} /> },
  { id: "step", head: "Step", width: 64, right: true, cell: (one) => (one.steps === 0 ? <span class="none">—</span> : <span class="num">{one.step}<span class="unit">/{one.steps}</span></span>) },
  { id: "image", head: "Image", width: 200, cell: (one) => <span class="cut" title={`${one.from_image} → ${one.image}`}>{one.image} <span class="muted">from {one.from_image}</span></span> },
  { id: "weight", head: "Traffic", about: "traffic that the canary should have; without a figure it follows replicas", width: 72, right: true, cell: (one) => (one.weight === null ? <span class="muted">replicas</span> : <span class="num">{one.weight}<span class="unit"> %</span></span>) },
  { id: "verdict", head: "Compared", width: 124, cell: (one) => (one.analysis === null ? <span class="none">—</span> : <Sign word={verdictWord(one.analysis.verdict)} />) },
  { id: "ready", head: "Ready", about: "ready replicas of all parts; there are never fewer than at the start", width: 80, right: true, cell: (one) => <span class={one.ready < one.start_replicas ? "num tone-down" : "num"}>{one.ready}<span class="unit"> ≥ {one.start_replicas}</span></span> },
  { id: "why", head: "Why", least: 160, cell: (one) => <span class="cut" title={one.why}>{one.why}</span> },
  { id: "started", head: "Started", width: 150, cell: (one) => <span class="cut"><time class="num" dateTime={one.started_at}>{clockTime(one.started_at, serverNow())}</time> <span class="muted">by {one.started_by}</span></span> },
];

export function Rollouts() {
  const now = useTick();
  const fetched = useFetched(`rollouts ${Math.floor(now / READ_EVERY_MS)}`, api.rollouts);
  const rollouts = useKept("rollouts", fetched);
  return (
    <div class="page">
      {rollouts === null ? null : <Sentence parts={rolloutsSentence(rollouts)} />}
      <div class="tools">
        <a href="/workloads">Workloads</a>
        <a href="/clusters">Clusters</a>
        <span class="space" />
        <CopyCli command="sentinel get rollouts" />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {rollouts === null ? null : (
        <Table label="rollouts" keys columns={COLUMNS} rows={rollouts} keyOf={(one) => one.id} hrefOf={(one) => rolloutPath(one.id)} heights={[32, 170]}>
          <Empty command="sentinel rollout start CLUSTER/NAMESPACE/NAME --image IMAGE --reason 'a newer image'">Start one:</Empty>
        </Table>
      )}
    </div>
  );
}
