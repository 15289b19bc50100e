// People: who may come in, with which role, and links for those who are to come.
//
// The hub decides who may change what; here it is only asked, and its refusals are shown as they are.

import { useState } from "preact/hooks";

import * as api from "../api/client";
import type { Invite, User } from "../api/types";
import { Copy, Empty, Sentence, Sign, Trouble } from "../parts/bits";
import { type Column, Table } from "../parts/Table";
import { CopyCli } from "../parts/Tools";
import { useFetched } from "../state/fetched";
import { serverNow } from "../state/use";
import { clockTime } from "../text/format";
import type { Word } from "../text/words";

const ROLES = ["viewer", "operator", "admin"];

function stateOf(user: User): Word {
  if (user.disabled) return { sign: "✕", word: "closed", tone: "down" };
  if (user.invited_until !== null) return { sign: "◌", word: "invited", tone: "warn" };
  return user.has_password ? { sign: "●", word: "active", tone: "ok" } : { sign: "○", word: "no password", tone: "plain" };
}

export function Access() {
  const [asked, setAsked] = useState(0);
  const [failure, setFailure] = useState<api.Failure | null>(null);
  const [link, setLink] = useState<Invite | null>(null);
  const me = useFetched("me", api.me);
  const manages = me.value?.permissions.includes("users:manage") ?? false;
  // Whoever may not see the others is not refused for opening this page.
  const fetched = useFetched(`users ${manages} ${asked}`, () => (manages ? api.users() : Promise.resolve(null)));

  const ask = (work: Promise<User | Invite>): void => {
    work.then(
      (user) => {
        setFailure(null);
        setLink("url" in user ? user : null);
        setAsked(asked + 1);
      },
      (problem: unknown) => setFailure(problem instanceof api.Failure ? problem : new api.Failure("internal", String(problem), "")),
    );
  };

  const who = me.value === null ? [] : [{ text: `You are ${me.value.username}, ` }, { text: me.value.role }, { text: "." }];
  const columns: Column<User>[] = [
    { id: "name", head: "Name", least: 140, cell: (user) => <b>{user.name}</b> },
    { id: "role", head: "Role", width: 150, cell: (user) => <RoleBox user={user} change={(role) => ask(api.changeUser(user.name, { role }))} /> },
    { id: "state", head: "State", width: 130, cell: (user) => <Sign word={stateOf(user)} /> },
    { id: "sessions", head: "Sessions", about: "browsers and command lines that are logged in", width: 92, right: true, cell: (user) => <span class="num">{user.sessions}</span> },
    { id: "since", head: "Since", width: 116, cell: (user) => <time class="num" dateTime={user.created_at} title={user.created_at}>{clockTime(user.created_at, serverNow())}</time> },
    {
      id: "do",
      head: "Change",
      width: 260,
      cell: (user) => (
        <span class="buttons">
          <button type="button" class="quiet" onClick={() => ask(api.newLink(user.name))}>New link</button>
          <button type="button" class="quiet" onClick={() => ask(api.changeUser(user.name, { disabled: !user.disabled }))}>{user.disabled ? "Open" : "Close"}</button>
          <button type="button" class="quiet" onClick={() => ask(api.removeUser(user.name))}>Remove</button>
        </span>
      ),
    },
  ];
  return (
    <div class="page filling">
      <Sentence parts={who.length === 0 ? [{ text: "People." }] : who} />
      <div class="tools">
        <button type="button" class="quiet" onClick={() => void api.logout().finally(() => location.reload())}>Sign out</button>
        <span class="space" />
        <CopyCli command="sentinel get users" />
      </div>
      {manages ? <Add add={(name, role) => ask(api.invite(name, role))} /> : null}
      {link?.url === undefined ? null : (
        <p class="note" role="status">
          {link.name} chooses a password with this link, once: <code class="command">{link.url}</code> <Copy text={link.url}>copy</Copy>
        </p>
      )}
      {failure === null ? null : <Trouble message={failure.message} advice={failure.advice} />}
      {fetched.failure === null ? null : <Trouble message={fetched.failure.message} advice={fetched.failure.advice} />}
      {fetched.value === null ? null : (
        <Table label="people" fill columns={columns} rows={fetched.value} keyOf={(user) => user.name} heights={[40, 120]}>
          <Empty command="sentinel user create NAME --role viewer">Nobody has an account. This makes one:</Empty>
        </Table>
      )}
    </div>
  );
}

function RoleBox({ user, change }: { user: User; change: (role: string) => void }) {
  return (
    <select aria-label={`role of ${user.name}`} value={user.role} onChange={(event) => change(event.currentTarget.value)}>
      {ROLES.map((role) => (
        <option key={role} value={role}>{role}</option>
      ))}
    </select>
  );
}

function Add({ add }: { add: (name: string, role: string) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("viewer");
  const send = (event: Event): void => {
    event.preventDefault();
    add(name, role);
    setName("");
  };
  return (
    <form class="tools" onSubmit={send}>
      <input type="text" aria-label="name of the new person" placeholder="name" required minLength={3} maxLength={50} value={name} onInput={(event) => setName(event.currentTarget.value)} />
      <select aria-label="role of the new person" value={role} onChange={(event) => setRole(event.currentTarget.value)}>
        {ROLES.map((one) => (
          <option key={one} value={one}>{one}</option>
        ))}
      </select>
      <button type="submit">Invite</button>
    </form>
  );
}
