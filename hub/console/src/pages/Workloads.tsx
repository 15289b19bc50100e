// The deployments of all clusters: replicas wanted and ready, and what runs.

import * as api from "../api/client";
import type { DeploymentView } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { placementPath, setQuery, useRoute } from "../state/route";
import { useTick } from "../state/use";
import { csv } from "../text/fields";
import { deploymentName, workloadOf, workloadsSentence } from "../text/rollout";

/** Workloads are read again this often, from the clusters themselves. */
const READ_EVERY_MS = 5_000;

const COLUMNS: Column<DeploymentView>[] = [
  { id: "name", head: "Deployment", width: 240, cell: (one) => <a class="cut" href={placementPath(deploymentName(one))} title={`${deploymentName(one)}: where it would go now`}>{one.namespace}/{one.name}</a>, by: deploymentName },
  { id: "status", head: "State", width: 130, cell: (one) => <Sign word={workloadOf(one)} />, by: (one) => one.status },
  { id: "ready", head: "Ready", width: 90, right: true, cell: (one) => <span class={one.ready < one.wanted ? "num tone-warn" : "num"}>{one.ready}<span class="unit"> of {one.wanted}</span></span>, by: (one) => one.ready - one.wanted },
  { id: "updated", head: "Updated", about: "replicas of the newest revision", width: 90, right: true, cell: (one) => <span class="num">{one.updated}</span>, by: (one) => one.updated },
  { id: "image", head: "Image", least: 180, cell: (one) => <span class="cut" title={one.image}>{one.image}</span>, by: (one) => one.image },
  { id: "revision", head: "Revision", width: 84, right: true, cell: (one) => (one.revision === null ? <span class="none">—</span> : <span class="num">{one.revision}</span>), by: (one) => one.revision },
];

export function Workloads() {
  const now = useTick();
  const { query } = useRoute();
  const fetched = useFetched(`workloads ${Math.floor(now / READ_EVERY_MS)}`, api.workloads);
  const workloads = useKept("workloads", fetched);
  return (
    <div class="page">
      {workloads === null ? null : <Sentence parts={workloadsSentence(workloads)} />}
      <div class="tools">
        <a href="/scaling">Scaling</a>
        <a href="/placement">Placement</a>
        <a href="/rollouts">Rollouts</a>
        <a href="/clusters">Clusters</a>
        <span class="space" />
        <Export
          name="sentinel-workloads"
          csv={() => csv(["cluster", "namespace", "name", "status", "wanted", "ready", "updated", "image"], (workloads ?? []).map((one) => [one.cluster, one.namespace, one.name, one.status, one.wanted, one.ready, one.updated, one.image]))}
          json={() => ({ items: workloads })}
        />
        <CopyCli command="sentinel get workloads" />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {workloads === null ? null : (
        <Table
          label="workloads"
          keys
          columns={COLUMNS}
          rows={[...workloads].sort((left, right) => (left.cluster < right.cluster ? -1 : left.cluster > right.cluster ? 1 : 0))}
          keyOf={deploymentName}
          hrefOf={(one) => placementPath(deploymentName(one))}
          groupOf={(one) => one.cluster}
          sort={query.get("sort")}
          onSort={(sort) => setQuery({ sort })}
          heights={[32, 130]}
        >
          <Empty command="sentinel deploy CLUSTER/NAMESPACE/NAME --image IMAGE --replicas 4 --reason 'first'">Create one, or register a cluster that runs some:</Empty>
        </Table>
      )}
    </div>
  );
}
