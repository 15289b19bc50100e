// The clusters that the hub knows: whether it reaches them, and which verbs its credentials lack.

import * as api from "../api/client";
import type { ClusterView } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { serverNow, useTick } from "../state/use";
import { clockTime } from "../text/format";
import { clusterOf, clustersSentence } from "../text/rollout";

/** Clusters are asked again this often: each answer is a call to every API server. */
const READ_EVERY_MS = 10_000;

const COLUMNS: Column<ClusterView>[] = [
  { id: "name", head: "Cluster", width: 150, cell: (cluster) => <b>{cluster.name}</b> },
  { id: "status", head: "State", width: 150, cell: (cluster) => <Sign word={clusterOf(cluster)} /> },
  { id: "version", head: "Version", width: 100, cell: (cluster) => (cluster.version === "" ? <span class="none">—</span> : <span class="num">{cluster.version}</span>) },
  { id: "missing", head: "Missing verbs", about: "what its credentials do not allow and the hub needs", width: 190, cell: (cluster) => (cluster.missing_permissions.length === 0 ? <span class="muted">none</span> : <span class="cut tone-warn" title={cluster.missing_permissions.join(", ")}>{cluster.missing_permissions.join(", ")}</span>) },
  { id: "prometheus", head: "Prometheus", about: "where the numbers come from that canaries are judged by", width: 200, cell: (cluster) => (cluster.prometheus === null ? <span class="muted">none: canaries are judged by the health of their pods</span> : <span class="cut" title={cluster.prometheus}>{cluster.prometheus}</span>) },
  { id: "source", head: "Credentials", least: 160, cell: (cluster) => <span class="cut" title={cluster.kubeconfig}>{cluster.kubeconfig}</span> },
  { id: "since", head: "Registered", width: 130, cell: (cluster) => <time class="num" dateTime={cluster.registered_at}>{clockTime(cluster.registered_at, serverNow())}</time> },
];

export function Clusters() {
  const now = useTick();
  const fetched = useFetched(`clusters ${Math.floor(now / READ_EVERY_MS)}`, api.clusters);
  const clusters = useKept("clusters", fetched);
  return (
    <div class="page">
      {clusters === null ? null : <Sentence parts={clustersSentence(clusters)} />}
      <div class="tools">
        <a href="/workloads">Workloads</a>
        <a href="/placement">Placement</a>
        <a href="/rollouts">Rollouts</a>
        <span class="space" />
        <CopyCli command="sentinel get clusters" />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {clusters === null ? null : (
        <Table label="clusters" columns={COLUMNS} rows={clusters} keyOf={(cluster) => cluster.name} heights={[32, 150]}>
          <Empty command="sentinel cluster add NAME --kubeconfig FILE">Register one, and the hub scales and rolls out what runs there:</Empty>
        </Table>
      )}
    </div>
  );
}
