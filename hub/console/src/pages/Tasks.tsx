// Failed checks that became tasks, newest first.
//
// The stream tells nothing of tasks, so the list is asked for again while the page is looked at.

import * as api from "../api/client";
import type { Task } from "../api/types";
import { Empty, Live, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli, Export, FilterBox } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { setQuery, taskPath, useRoute } from "../state/route";
import { serverNow, useTick } from "../state/use";
import { csv } from "../text/fields";
import { parseFilter } from "../text/filter";
import { clockTime } from "../text/format";
import { gistOf, numberOf, TASK_FIELDS, tasksSentence, taskWord } from "../text/task";

/** Milliseconds after which tasks are asked for again. */
export const AGAIN_MS = 3_000;

const COLUMNS: Column<Task>[] = [
  { id: "at", head: "Time", width: 116, cell: (task) => <time class="num" dateTime={task.created_at} title={task.created_at}>{clockTime(task.created_at, serverNow())}</time> },
  { id: "state", head: "State", width: 150, cell: (task) => <Live text={task.state}><Sign word={taskWord(task.state)} /></Live> },
  { id: "repository", head: "Repository", width: 180, cell: (task) => <span class="cut" title={`${task.repository} ${task.branch}`}>{task.repository}</span> },
  { id: "check", head: "Check", width: 140, cell: (task) => <span class="cut" title={task.check}>{task.check}</span> },
  { id: "what", head: "What", least: 160, cell: (task) => <span class="cut" title={task.error_message ?? gistOf(task)}>{gistOf(task)}</span> },
  { id: "pull", head: "Pull request", width: 104, cell: (task) => (task.pull_request === null ? <span class="none">—</span> : <a href={task.pull_request}>{numberOf(task.pull_request)}</a>) },
  { id: "attempts", head: "Tries", width: 56, right: true, cell: (task) => <span class="num">{task.attempts}</span> },
  { id: "id", head: "Id", width: 116, cell: (task) => <a class="mono" href={taskPath(task.id)} title={task.id}>{task.id.slice(-12)}</a> },
];

export function Tasks() {
  const { query } = useRoute();
  const round = Math.floor(useTick() / AGAIN_MS);
  const fetched = useFetched(`tasks ${round}`, () => api.tasks());
  const all = useKept("tasks", fetched);
  const text = query.get("q") ?? "";
  const filter = parseFilter(text, TASK_FIELDS);
  const { failure } = fetched;
  if (all === null) return failure === null ? <p class="muted reading">Reading the tasks…</p> : <div class="page"><Trouble message={failure.message} advice={failure.advice} /></div>;
  const rows = filter.ok ? all.filter(filter.test) : all;
  return (
    <div class="page filling">
      <Sentence parts={tasksSentence(rows)} />
      <div class="tools">
        <FilterBox value={text} problem={filter.ok ? null : filter.problem} example="state=proposed repository~app" onChange={(q) => setQuery({ q })} />
        <span class="space" />
        <Export name="sentinel-tasks" csv={() => csv(["created_at", "id", "state", "repository", "check", "commit", "what", "pull_request", "attempts"], rows.map((task) => [task.created_at, task.id, task.state, task.repository, task.check, task.commit, gistOf(task), task.pull_request, task.attempts]))} json={() => ({ items: rows })} />
        <CopyCli command="sentinel get tasks" />
      </div>
      {failure === null ? null : <Trouble message={failure.message} advice={failure.advice} />}
      <Table label="tasks" fill keys columns={COLUMNS} rows={rows} keyOf={(task) => task.id} hrefOf={(task) => taskPath(task.id)} heights={[32, 100]}>
        {all.length === 0 ? <Empty command="sentinel-hub run --forges FILE">Tasks come from webhooks of a forge that the hub knows. The demo has one with --with-forge; a hub reads them from a file:</Empty> : <Empty>No task of these matches.</Empty>}
      </Table>
    </div>
  );
}
