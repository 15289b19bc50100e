// Where work would go now, and what every node says to it. The question stands in the address.

import * as api from "../api/client";
import type { ClusterPlacementView, NodePlacementView, PlacementView } from "../api/types";
import { Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { nodePath, setQuery, useRoute } from "../state/route";
import { useTick } from "../state/use";
import { span } from "../text/format";
import { ASKED, askedOf, clusterSays, nodeSays, placementCommand, placementSentence } from "../text/placement";

/** The hub keeps what nodes have free up to date; this often it is asked again. */
const READ_EVERY_MS = 5_000;

type Line = NodePlacementView & { cluster: ClusterPlacementView };

const COLUMNS: Column<Line>[] = [
  { id: "node", head: "Node", width: 170, cell: (line) => <a class="cut" href={nodePath(line.agent)} title={`agent ${line.agent}`}>{line.name}</a> },
  { id: "says", head: "Says", about: "whether it goes there, and for each node why not", least: 260, cell: (line) => <span class="cut" title={line.why_not.join("; ")}><Sign word={nodeSays(line)} /></span> },
  { id: "model", head: "GPUs", width: 110, cell: (line) => (line.model === "" ? <span class="muted">none</span> : <span class="cut">{line.model}</span>) },
  { id: "free", head: "Free", about: "GPUs of which nothing is taken, and what is free of all together", width: 160, right: true, cell: (line) => <span class="num">{line.free_gpus}<span class="unit"> whole, {line.free_gpu_milli / 1_000} in all</span></span> },
  { id: "cpu", head: "Free CPU", width: 90, right: true, cell: (line) => <span class="num">{line.free_cpu_milli / 1_000}<span class="unit"> cores</span></span> },
  { id: "memory", head: "Free memory", width: 110, right: true, cell: (line) => <span class="num">{(line.free_memory_mib / 1_024).toFixed(1)}<span class="unit"> GiB</span></span> },
  { id: "domain", head: "Domain", about: "what fails together with it", width: 110, cell: (line) => (line.domain === "" ? <span class="none">—</span> : <span class="cut">{line.domain}</span>) },
];

export function Placement() {
  const now = useTick();
  const { query } = useRoute();
  const asked = askedOf(query);
  const subject = asked === null ? "" : asked.toString();
  const fetched = useFetched<PlacementView | null>(`placement ${subject} ${Math.floor(now / READ_EVERY_MS)}`, () => (asked === null ? Promise.resolve(null) : api.placement(asked)));
  const view = useKept(`placement ${subject}`, fetched);
  const lines = view === null ? [] : view.clusters.flatMap((cluster) => cluster.nodes.map((node): Line => ({ ...node, cluster })));
  return (
    <div class="page">
      {view === null ? <h1 class="sentence">{asked === null ? "What is to be placed? Nothing is reserved by asking." : "…"}</h1> : <Sentence parts={placementSentence(view)} />}
      <div class="tools">
        <a href="/workloads">Workloads</a>
        <a href="/clusters">Clusters</a>
        <span class="space" />
        <CopyCli command={placementCommand(asked)} />
      </div>
      {asked?.has("deployment") === true ? (
        <p class="muted">
          {asked.get("deployment")} as it is. <a href="/placement">Ask for something else</a>
        </p>
      ) : (
        <Question query={query} />
      )}
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {view === null ? null : (
        <>
          {view.clusters.filter((cluster) => cluster.nodes.length === 0).map((cluster) => (
            <p key={cluster.name}>
              <b>{cluster.name}</b> <Sign word={clusterSays(cluster)} />
            </p>
          ))}
          <Table label="nodes" columns={COLUMNS} rows={lines} keyOf={(line) => `${line.cluster.name}/${line.name}`} groupOf={(line) => line.cluster.name} groupHead={(name, rows) => <Head name={name} cluster={rows[0]?.cluster} />} heights={[32, 190]}>
            <Empty command="sentinel cluster add NAME --kubeconfig FILE">No node of a cluster is known. Register a cluster:</Empty>
          </Table>
        </>
      )}
    </div>
  );
}

function Head({ name, cluster }: { name: string; cluster: ClusterPlacementView | undefined }) {
  return (
    <>
      {name} {cluster === undefined ? null : <Sign word={clusterSays(cluster)} />} {cluster === undefined || cluster.told_ms_ago === null ? null : <span class="muted num">nodes as of {span(cluster.told_ms_ago)} ago</span>}
    </>
  );
}

function Question({ query }: { query: URLSearchParams }) {
  return (
    <form class="question" onSubmit={(event) => event.preventDefault()} aria-label="what is to be placed">
      {ASKED.map(({ id, name, example, digits }) => (
        <label key={id}>
          <span class="muted">{name}</span>
          <input type="text" inputMode={digits ? "numeric" : undefined} value={query.get(id) ?? ""} placeholder={example} onChange={(event) => setQuery({ [id]: event.currentTarget.value })} />
        </label>
      ))}
      <label class="check">
        <input type="checkbox" checked={query.get("gang") === "true"} onChange={(event) => setQuery({ gang: event.currentTarget.checked ? "true" : null })} />
        <span>all together, in one domain, or none</span>
      </label>
    </form>
  );
}
