// One rollout: where it is and why, its steps, and the canary beside its baseline with everything that the verdict was made of.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { ActView, AnalysisView, MetricView, RolloutView } from "../api/types";
import { Spread } from "../chart/Spread";
import { Ask } from "../parts/Ask";
import { Fact, Sentence, Sign, Trouble } from "../parts/bits";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { serverNow, useTick } from "../state/use";
import { clockTime, span } from "../text/format";
import { commandsOf, deploymentName, effectText, measured, outcomeWord, phaseOf, rolloutSentence, samplesText, verdictWord } from "../text/rollout";
import { READ_EVERY_MS } from "./Rollouts";

export function Rollout({ id }: { id: string }) {
  const now = useTick();
  const [asked, setAsked] = useState<ReturnType<typeof commandsOf>[number] | null>(null);
  const [told, setTold] = useState(0);
  const fetched = useFetched(`rollout ${id} ${told} ${Math.floor(now / READ_EVERY_MS)}`, () => api.rollout(id));
  const rollout = useKept(id, fetched);
  if (rollout === null) return <div class="page">{fetched.failure === null ? <p class="muted reading">Reading the rollout…</p> : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}</div>;
  const run = (verb: string) => async (reason: string): Promise<ActView> => {
    const view = await api.tellRollout(id, verb, reason);
    setTold((times) => times + 1);
    return { command: null, status: "done", decision: null, clauses: [], detail: `it is ${phaseOf(view.phase).word}` };
  };
  return (
    <div class="page">
      <Sentence parts={rolloutSentence(rollout)} />
      <div class="tools">
        {commandsOf(rollout).map((command) => (
          <button key={command.verb} type="button" onClick={() => setAsked(command)}>
            {command.name}
          </button>
        ))}
        <span class="space" />
        <CopyCli command={`sentinel rollout status ${id} -w`} />
      </div>
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      <Halted rollout={rollout} />
      <Facts rollout={rollout} />
      <Steps rollout={rollout} />
      {rollout.analysis === null ? null : <Analysis analysis={rollout.analysis} />}
      {asked === null ? null : (
        <Ask title={`${asked.name}: ${deploymentName(rollout.target)}`} consequences={asked.follows} verb={asked.name} run={run(asked.verb)} close={() => setAsked(null)} />
      )}
    </div>
  );
}

/** Why it does not go on, and what would help; nothing while it does. */
function Halted({ rollout }: { rollout: RolloutView }) {
  const left = rollout.deadline === null ? null : Date.parse(rollout.deadline) - serverNow();
  const helps: Record<string, string> = {
    paused: "Resume goes on with this step.",
    gated: "Promote goes on without the gate.",
    holding: "Promote goes on although statistics could not decide; Abort takes everything back.",
    rolled_back: "The workload is as it was. Start another rollout when the image is better.",
    failed: "The new image runs on all replicas. Remove what is left of the rollout by hand.",
    rollback_failed: "Not everything is as it was. See the cluster, then retry the rollback.",
  };
  const help = helps[rollout.phase];
  if (help === undefined) return null;
  return (
    <div class="trouble" role="status">
      <p>
        <Sign word={phaseOf(rollout.phase)} /> {rollout.why}.
      </p>
      <p class="muted">
        {help}
        {left === null ? "" : ` Nobody decides within ${span(left)}: then it is taken back.`}
      </p>
    </div>
  );
}

function Facts({ rollout }: { rollout: RolloutView }) {
  const now = serverNow();
  return (
    <dl class="facts">
      <Fact name="Where">
        <Sign word={phaseOf(rollout.phase)} />
      </Fact>
      <Fact name="Image">
        {rollout.image} <span class="muted">before: {rollout.from_image}</span>
      </Fact>
      <Fact name="Ready replicas" title="of all parts together">
        <span class="num">{rollout.ready}</span> <span class="muted">never below {rollout.start_replicas}</span>
      </Fact>
      <Fact name="Traffic of the canary">{rollout.weight === null ? <span class="muted">follows replicas</span> : <span class="num">{rollout.weight}<span class="unit"> %</span></span>}</Fact>
      <Fact name="Started">
        <time dateTime={rollout.started_at}>{clockTime(rollout.started_at, now)}</time> <span class="muted">by {rollout.started_by}</span>
      </Fact>
      <Fact name="This phase ends">{rollout.deadline === null ? <span class="muted">it is over</span> : <span class="num">within {span(Date.parse(rollout.deadline) - now)}</span>}</Fact>
    </dl>
  );
}

function Steps({ rollout }: { rollout: RolloutView }) {
  if (rollout.plan.length === 0) return null;
  const promoted = ["promoting", "finishing", "completed"].includes(rollout.phase);
  return (
    <section aria-labelledby="steps">
      <h2 id="steps">Steps</h2>
      <ol class="steps">
        {rollout.plan.map((step, index) => {
          const here = index + 1 === rollout.step && !promoted && !rollout.finished;
          const passed = promoted || index + 1 < rollout.step;
          return (
            <li key={index} aria-current={here ? "step" : undefined} class={here ? "here" : passed ? "passed" : undefined}>
              <span class="glyph" aria-hidden="true">{passed ? "✓" : here ? "▸" : "·"}</span> {step}
              {here ? <span class="muted"> {phaseOf(rollout.phase).word}</span> : null}
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Analysis({ analysis }: { analysis: AnalysisView }) {
  return (
    <section aria-labelledby="compared">
      <h2 id="compared">Canary beside baseline</h2>
      <p class="note">
        <Sign word={verdictWord(analysis.verdict)} /> {analysis.why}
        {analysis.score === null ? "" : `; score ${measured(analysis.score)} of 100`}. <span class="muted">As of {clockTime(analysis.at, serverNow())}.</span>
      </p>
      {analysis.guards.map((guard) => (
        <p key={guard} class="note tone-down">
          ✕ {guard}
        </p>
      ))}
      {analysis.metrics.map((metric) => (
        <Metric key={metric.name} metric={metric} />
      ))}
    </section>
  );
}

function Metric({ metric }: { metric: MetricView }) {
  return (
    <div class="metric">
      <h3>
        {metric.name} <Sign word={outcomeWord(metric)} />
        {metric.critical ? <span class="muted"> decides alone</span> : null}
      </h3>
      <Spread name={metric.name} baseline={metric.baseline} canary={metric.canary} />
      <dl class="facts">
        <Fact name="Effect">{effectText(metric)}</Fact>
        <Fact name="Independent samples">{samplesText(metric)}</Fact>
        <Fact name="By chance" title="probability of so much by chance alone">{metric.p === null ? <span class="none">—</span> : <span class="num">p = {measured(metric.p)}</span>}</Fact>
        <Fact name="Early abort" title="bets against the canary that may be looked at at any time">
          {metric.wealth === null ? <span class="none">—</span> : <span class={metric.wealth[0] >= metric.wealth[1] ? "num tone-down" : "num"}>{measured(metric.wealth[0])} <span class="unit">of {measured(metric.wealth[1])}</span></span>}
        </Fact>
      </dl>
      <p class="muted">{metric.why}</p>
    </div>
  );
}
