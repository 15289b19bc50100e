// The policies: which bundle is in force, how far it has come, its rules, and its text as a person wrote it.

import type { PolicyView, RuleView } from "../api/types";
import { Copy, Digest, Empty, Fact, Sentence, Toned } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { nodePath, useRoute } from "../state/route";
import { serverNow, useStore, useTick, useVersion, current } from "../state/use";
import { clockTime, count, span } from "../text/format";
import type { Part } from "../text/sentence";
import type { Tone } from "../text/words";

export function Policies() {
  const { query } = useRoute();
  useTick();
  useVersion();
  const read = useStore((state) => state.policies_read);
  const policies = [...current().policies.values()].sort((a, b) => b.generation - a.generation);
  const asked = query.get("g");
  const shown = policies.find((policy) => String(policy.generation) === asked) ?? policies.find((policy) => policy.active) ?? policies[0];
  if (!read) return <p class="muted reading">Reading the policies…</p>;
  if (shown === undefined) {
    return (
      <div class="page">
        <Sentence parts={[{ text: "No bundle has been published." }]} />
        <Empty command="sentinel policy publish bundle.yaml">Nodes without a bundle observe and take no action. This publishes one:</Empty>
      </div>
    );
  }
  return (
    <div class="page">
      <Sentence parts={sentence(policies.find((policy) => policy.active) ?? shown)} />
      {policies.length < 2 ? null : (
        <div class="tools" role="group" aria-label="generations">
          {policies.slice(0, 12).map((policy) => (
            <a key={policy.generation} class="button" aria-current={policy === shown ? "true" : undefined} href={policy.active ? "/policies" : `/policies?g=${policy.generation}`}>
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
        <Fact name="Active on">{shown.nodes} <span class="muted">of {count(shown.nodes_total, "node")}</span></Fact>
        <Fact name="Rules">{shown.rules.length} <span class="muted">{modes(shown.rules)}</span></Fact>
      </dl>
      <Spread policy={shown} />

      <h2>Rules</h2>
      <Table label="rules" columns={RULES} rows={shown.rules} keyOf={(rule) => rule.id} heights={[32, 76]} keys>
        <p class="empty muted">This bundle has no rule.</p>
      </Table>

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

const RULES: Column<RuleView>[] = [
  { id: "rule", head: "Rule", width: 190, cell: (rule) => <b>{rule.id}</b> },
  { id: "mode", head: "Mode", width: 104, cell: (rule) => <Toned tone={MODE[rule.mode]?.tone ?? "plain"}><span aria-hidden="true">{MODE[rule.mode]?.sign ?? "·"} </span>{rule.mode}</Toned> },
  { id: "kind", head: "Kind", width: 140, cell: (rule) => <span class="muted">{rule.kind}</span> },
  { id: "text", head: "What it says", cell: (rule) => <span class="cut" title={rule.text}>{rule.text}</span> },
];

function modes(rules: RuleView[]): string {
  const tally = (mode: string): number => rules.filter((rule) => rule.mode === mode).length;
  return ["enforce", "shadow", "off"].filter((mode) => tally(mode) > 0).map((mode) => `${tally(mode)} ${mode}`).join(", ");
}
