// The policies: which bundle is in force, how far it has come, what its rules decided, when changes are frozen, and its text.

import * as api from "../api/client";
import type { PolicyDetailView, PolicyView, RuleCountsView, RuleView, Verdict, VerdictCounts } from "../api/types";
import { Copy, Digest, Empty, Fact, Glyph, Sentence, Toned, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched, useKept } from "../state/fetched";
import { nodePath, policyPath, useRoute } from "../state/route";
import { serverNow, useStore, useTick, useVersion, current } from "../state/use";
import { clockTime, count, span } from "../text/format";
import type { Part } from "../text/sentence";
import { type Tone, verdictOf } from "../text/words";
import { Calendar, frozen, useCalendar, useWeek } from "./Calendar";
import { Domains, useDomains } from "./Domains";

/** Counts are read again this often: each reading costs the hub some thousand decisions. */
const COUNT_EVERY_MS = 15_000;

export function Policies({ generation: named }: { generation: string | null }) {
  const { query } = useRoute();
  const tick = useTick();
  useVersion();
  const read = useStore((state) => state.policies_read);
  const policies = [...current().policies.values()].sort((a, b) => b.generation - a.generation);
  // The query is how addresses named a generation before it had a page.
  const asked = named ?? query.get("g");
  const shown = policies.find((policy) => String(policy.generation) === asked) ?? policies.find((policy) => policy.active) ?? policies[0];
  const { zone } = useWeek();
  // A node's own page knows its bundle, and not the fleet's decisions.
  const at_hub = useStore((state) => state.hello?.from === "hub");
  const generation = at_hub ? shown?.generation : undefined;
  const counted = useFetched(`${generation} ${Math.floor(tick / COUNT_EVERY_MS)}`, () => (generation === undefined ? Promise.resolve(null) : api.policy(generation)));
  const detail = useKept<PolicyDetailView>(String(generation), counted);
  const calendar = useCalendar(generation, Math.floor(tick / 60_000));
  const counts = useDomains(shown?.active === true ? generation : undefined, tick);
  if (!read) return <p class="muted reading">Reading the policies…</p>;
  if (shown === undefined) {
    return (
      <div class="page">
        <Sentence parts={[{ text: "No bundle has been published." }]} />
        <Empty command="sentinel policy publish --starter">Nodes without a bundle observe and take no action. This publishes one to begin with:</Empty>
      </div>
    );
  }
  return (
    <div class="page">
      <Sentence parts={[...sentence(policies.find((policy) => policy.active) ?? shown), ...(shown.active ? frozen(calendar.view, zone, serverNow()) : [])]} />
      {policies.length < 2 ? null : (
        <div class="tools" role="group" aria-label="generations">
          {policies.slice(0, 12).map((policy) => (
            <a key={policy.generation} class="button" aria-current={policy === shown ? "true" : undefined} href={policyPath(policy.generation)}>
              g{policy.generation} {policy.active ? <span class="muted">active</span> : null}
            </a>
          ))}
        </div>
      )}
      {asked !== null && String(shown.generation) !== asked ? <p class="note tone-warn">Generation {asked} is not kept here; this is generation {shown.generation}.</p> : null}
      <dl class="facts">
        <Fact name="Name">{shown.name}</Fact>
        <Fact name="Generation">{shown.generation} <Toned tone={shown.active ? "ok" : "unknown"}>{shown.active ? "active" : "replaced"}</Toned></Fact>
        <Fact name="Signed"><time dateTime={shown.issued_at} title={shown.issued_at}>{clockTime(shown.issued_at, serverNow())}</time> <span class="muted">{span(serverNow() - Date.parse(shown.issued_at))} ago</span></Fact>
        <Fact name="Digest"><Digest value={shown.digest} /></Fact>
        {detail === null || detail.published_by === null ? null : <Fact name="Published by">{detail.published_by}</Fact>}
        <Fact name="Active on">{shown.nodes} <span class="muted">of {count(shown.nodes_total, "node")}</span></Fact>
        <Fact name="Rules">{shown.rules.length} <span class="muted">{modes(shown.rules)}</span></Fact>
      </dl>
      <Spread policy={shown} />

      {at_hub ? (
        <>
          <h2>Decisions</h2>
          {detail !== null ? <Decided detail={detail} /> : counted.failure === null ? <p class="muted">Counting…</p> : <Trouble message={counted.failure.message} advice={counted.failure.advice} />}
        </>
      ) : null}

      <h2>Rules</h2>
      <Table label="rules" columns={detail === null ? RULES : COUNTED} rows={rows(shown, detail)} keyOf={(rule) => rule.id} heights={[32, 100]} keys>
        <p class="empty muted">This bundle has no rule.</p>
      </Table>

      {at_hub && shown.active ? (
        <>
          <h2>Turns</h2>
          <Domains domains={counts.domains} failure={counts.failure} />
        </>
      ) : null}

      {at_hub ? (
        <>
          <h2>Freezes</h2>
          <Calendar view={calendar.view} failure={calendar.failure} />
        </>
      ) : null}

      <h2>Text</h2>
      <div class="tools">
        <Copy text={shown.text}>Copy text</Copy>
        <CopyCli command="sentinel get policies -o yaml" />
      </div>
      <pre class="numbered" tabIndex={0} aria-label="text of the bundle">
        {shown.text.replace(/\n$/, "").split("\n").map((line, index) => (
          <span key={index} class="code-line">{line}{"\n"}</span>
        ))}
      </pre>
    </div>
  );
}

function sentence(policy: PolicyView): Part[] {
  if (policy.nodes_total === 0) return [{ text: `Generation ${policy.generation} of ${policy.name} waits for nodes; none has joined yet.` }];
  const all = policy.nodes === policy.nodes_total;
  return [
    { text: `Generation ${policy.generation} of ${policy.name} is active on ` },
    { text: all ? `all ${count(policy.nodes_total, "node")}` : `${policy.nodes} of ${count(policy.nodes_total, "node")}`, tone: all ? "ok" : "warn" },
    { text: `, signed ${clockTime(policy.issued_at, serverNow())}.` },
  ];
}

/** Who has this generation, and who has another one. */
function Spread({ policy }: { policy: PolicyView }) {
  const nodes = [...current().nodes.values()].map((row) => row.view).sort((a, b) => (a.name < b.name ? -1 : 1));
  const others = nodes.filter((node) => node.policy_generation !== policy.generation);
  if (nodes.length === 0 || !policy.active || others.length === 0) return null;
  return (
    <p class="note">
      <span class="muted">Another generation on: </span>
      {others.slice(0, 24).map((node, index) => (
        <span key={node.name}>
          {index === 0 ? "" : ", "}
          <a href={nodePath(node.name)}>{node.name}</a> <span class="muted">g{node.policy_generation}{node.state === "connected" ? "" : `, ${node.state.replace("_", " ")}`}</span>
        </span>
      ))}
      {others.length > 24 ? <span class="muted"> and {others.length - 24} more</span> : null}
    </p>
  );
}

const MODE: Record<string, { sign: string; tone: Tone }> = { enforce: { sign: "✓", tone: "ok" }, shadow: { sign: "◌", tone: "unknown" }, off: { sign: "–", tone: "unknown" } };

type RuleRow = RuleView & Partial<Pick<RuleCountsView, "why" | "owner" | "decided" | "would">>;

function rows(policy: PolicyView, detail: PolicyDetailView | null): RuleRow[] {
  return detail === null ? policy.rules : detail.rules;
}

const RULES: Column<RuleRow>[] = [
  { id: "rule", head: "Rule", width: 180, cell: (rule) => <b title={[rule.why, rule.owner === undefined || rule.owner === "" ? "" : `owner: ${rule.owner}`].filter((text) => text !== undefined && text !== "").join("; ")}>{rule.id}</b> },
  { id: "mode", head: "Mode", width: 104, cell: (rule) => <Toned tone={MODE[rule.mode]?.tone ?? "plain"}><span aria-hidden="true">{MODE[rule.mode]?.sign ?? "·"} </span>{rule.mode}</Toned> },
  { id: "kind", head: "Kind", width: 140, cell: (rule) => <span class="muted">{rule.kind}</span> },
  { id: "text", head: "What it says", cell: (rule) => <span class="cut" title={rule.text}>{rule.text}</span> },
];

const COUNTED: Column<RuleRow>[] = [
  ...RULES,
  {
    id: "decided",
    head: "Decided",
    about: "stored decisions that the rule determined, or wanted when none objected; for a rule that is tried out, what it would have said",
    width: 210,
    cell: (rule) => (rule.mode === "shadow" ? <Tally counts={rule.would} shadow /> : <Tally counts={rule.decided} />),
  },
];

const VERDICTS: Verdict[] = ["allow", "clamp", "hold", "require_approval", "deny"];

/** How often each verdict was given; those that never were are left out. */
function Tally({ counts, shadow = false, words = false }: { counts: VerdictCounts | undefined; shadow?: boolean; words?: boolean }) {
  const given = VERDICTS.filter((verdict) => (counts?.[verdict] ?? 0) > 0);
  if (counts === undefined || given.length === 0) return <span class="none">—</span>;
  return (
    <span class="tally">
      {shadow ? <span class="muted">◌ would </span> : null}
      {given.map((verdict) => {
        const { sign, word, tone } = verdictOf(verdict);
        return (
          <span key={verdict} class={`tone-${shadow ? "unknown" : tone}`} title={shadow ? `would have ${word} ${counts[verdict]}` : `${word} ${counts[verdict]}`}>
            <Glyph sign={sign} /> <span class="num">{counts[verdict]}</span>
            {words ? <span> {word}</span> : <span class="unseen"> {word}</span>}
          </span>
        );
      })}
    </span>
  );
}

/** What stored decisions say of this policy. */
function Decided({ detail }: { detail: PolicyDetailView }) {
  const { considered, cut, since, verdicts, shadow_would_refuse } = detail.decisions;
  if (considered === 0) return <p class="muted">{cut ? "None of the newest 10,000 decisions was made by this generation." : "No stored decision was made by this generation."}</p>;
  return (
    <>
      <p class="note">
        <Tally counts={verdicts} words />
      </p>
      <p class="note muted">
        {count(considered, "decision")} {considered === 1 ? "was" : "were"} made by this generation{since === null ? "" : ` since ${clockTime(since, serverNow())}`}{cut ? "; older ones are stored and not counted here" : ", all that are stored"}.
        {shadow_would_refuse === 0 ? "" : ` ${shadow_would_refuse} of those that ran ${shadow_would_refuse === 1 ? "would" : "would each"} have been refused by a rule that is only tried out, by its own count of what it would have let run.`}
      </p>
    </>
  );
}

function modes(rules: RuleView[]): string {
  const tally = (mode: string): number => rules.filter((rule) => rule.mode === mode).length;
  return ["enforce", "shadow", "off"].filter((mode) => tally(mode) > 0).map((mode) => `${tally(mode)} ${mode}`).join(", ");
}
