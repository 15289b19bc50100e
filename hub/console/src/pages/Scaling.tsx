// The deployments that the hub scales: what the load asks for, what a forecast adds, and why one is held.

import * as api from "../api/client";
import type { ScalingView } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { serverNow, useTick } from "../state/use";
import { csv } from "../text/fields";
import { clockTime } from "../text/format";
import { loadText, scalingOf, scalingSentence } from "../text/placement";
import { deploymentName } from "../text/rollout";

/** The hub measures each of them every few seconds. */
const READ_EVERY_MS = 5_000;

const number = (value: number | null) => (value === null ? <span class="none">—</span> : <span class="num">{value}</span>);

const COLUMNS: Column<ScalingView>[] = [
  { id: "target", head: "Deployment", width: 210, cell: (one) => <b class="cut" title={one.query}>{deploymentName(one.target)}</b> },
  { id: "state", head: "State", width: 150, cell: (one) => <Sign word={scalingOf(one)} /> },
  { id: "present", head: "Replicas", about: "wanted of the cluster now", width: 80, right: true, cell: (one) => number(one.present) },
  { id: "desired", head: "Desired", about: "the larger of the two beside it, within the bounds; fewer only after fewer have done for long enough", width: 80, right: true, cell: (one) => <span class={one.present !== one.desired ? "tone-warn" : undefined}>{number(one.desired)}</span> },
  { id: "reactive", head: "By load", about: "replicas that the measured load needs by itself", width: 80, right: true, cell: (one) => number(one.reactive) },
  { id: "floor", head: "Forecast floor", about: "replicas for the load that is expected once new ones are ready; never a reason for fewer", width: 110, right: true, cell: (one) => (one.forecast ? number(one.floor) : <span class="muted">off</span>) },
  { id: "load", head: "Load", about: "measured, and what one replica should have", width: 130, right: true, cell: (one) => <span class="num">{loadText(one.load_milli)}<span class="unit"> of {loadText(one.target_milli)} each</span></span> },
  { id: "bounds", head: "Bounds", width: 80, right: true, cell: (one) => <span class="num">{one.min}<span class="unit"> to </span>{one.max}</span> },
  { id: "why", head: "Why", about: "why so many, or why it is held", least: 220, cell: (one) => <span class={one.detail === "" ? "cut" : "cut tone-warn"} title={one.detail === "" ? one.why : one.detail}>{one.detail === "" ? one.why : one.detail}</span> },
  { id: "at", head: "Measured", width: 100, cell: (one) => (one.measured_at === null ? <span class="none">—</span> : <time class="num" dateTime={one.measured_at}>{clockTime(one.measured_at, serverNow())}</time>) },
];

export function Scaling() {
  const now = useTick();
  const fetched = useFetched(`scaling ${Math.floor(now / READ_EVERY_MS)}`, api.scaling);
  const all = useKept("scaling", fetched);
  return (
    <div class="page">
      {all === null ? null : <Sentence parts={scalingSentence(all)} />}
      <div class="tools">
        <a href="/workloads">Workloads</a>
        <a href="/placement">Placement</a>
        <span class="space" />
        <Export
          name="sentinel-scaling"
          csv={() => csv(["deployment", "present", "desired", "reactive", "forecast_floor", "load_milli", "expected_milli", "why", "held"], (all ?? []).map((one) => [deploymentName(one.target), one.present, one.desired, one.reactive, one.floor, one.load_milli, one.expected_milli, one.why, one.detail]))}
          json={() => ({ items: all })}
        />
        <CopyCli command="sentinel scaling list -o wide" />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {all === null ? null : (
        <Table label="scaled deployments" keys columns={COLUMNS} rows={all} keyOf={(one) => deploymentName(one.target)} heights={[32, 250]}>
          <Empty command="sentinel scaling set CLUSTER/NAMESPACE/NAME --min 1 --max 8 --target-milli 50000 --query 'sum(rate(http_requests_total{deployment=&quot;$workload&quot;}[1m]))' --reason 'follows its load'">Have one scaled by its load:</Empty>
        </Table>
      )}
    </div>
  );
}
