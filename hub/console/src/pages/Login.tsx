// Coming in: by name and password, by a one-time link, or for the first time by a link that lets one choose a password.
//
// `#login=CODE` is traded for a session cookie, `/setup#code=CODE` for a password; both codes are taken out of the address at once.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import * as api from "../api/client";
import { Copy } from "../parts/bits";
import { go } from "../state/route";
import { restartStream } from "../state/stream";

const LOGIN_CODE = /^#login=(.+)$/;
const SETUP_CODE = /^#code=(.+)$/;

/** The code of a one-time link, if the page was opened by one; it is taken out of the address at once. */
export function takeCode(): string | null {
  const code = LOGIN_CODE.exec(location.hash)?.[1] ?? null;
  if (code !== null) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

/** The code of a link that lets one choose a password. */
export function takeSetupCode(): string | null {
  if (location.pathname !== "/setup") return null;
  const code = SETUP_CODE.exec(location.hash)?.[1] ?? new URLSearchParams(location.search).get("code");
  if (code !== null) history.replaceState(null, "", location.pathname);
  return code;
}

/** Trades a code for a session. */
export async function signIn(code: string): Promise<api.Failure | null> {
  return settled(api.login(code));
}

async function settled(asked: Promise<unknown>): Promise<api.Failure | null> {
  try {
    await asked;
    return null;
  } catch (failure) {
    return failure instanceof api.Failure ? failure : new api.Failure("internal", String(failure), "");
  }
}

export function Login({ failure }: { failure: api.Failure | null }) {
  useEffect(() => {
    // A link opened in another window signs this one in too: they share the cookie.
    const back = (): void => {
      if (document.visibilityState === "visible") restartStream();
    };
    document.addEventListener("visibilitychange", back);
    return () => document.removeEventListener("visibilitychange", back);
  }, []);
  const [refused, setRefused] = useState(failure);
  useEffect(() => setRefused(failure), [failure]);
  const enter = async (fields: Fields): Promise<void> => {
    const problem = await settled(api.enter(fields.name, fields.password));
    setRefused(problem);
    if (problem === null) restartStream();
  };
  return (
    <Front title="Sign in." failure={refused}>
      <Form verb="Sign in" submit={enter} known />
      <p class="muted">
        No account yet? An administrator makes one: <code class="command">sentinel user create NAME</code>
      </p>
      <p class="muted">
        Where the hub’s context file is, <code class="command">sentinel login</code> <Copy text="sentinel login">copy</Copy> prints a link that signs this browser in once.{" "}
        <button type="button" class="quiet" onClick={restartStream}>
          I have opened it: try again
        </button>
      </p>
    </Front>
  );
}

/** The first person, or an invited one, chooses a password. */
export function Setup({ code }: { code: string | null }) {
  const [refused, setRefused] = useState<api.Failure | null>(null);
  if (code === null) {
    return (
      <Front title="This page is opened by a link." failure={null}>
        <p>The hub prints one at its start while nobody has an account; an administrator makes one for everybody else.</p>
        <p>
          <a href="/">Sign in</a>
        </p>
      </Front>
    );
  }
  const choose = async (fields: Fields): Promise<void> => {
    const problem = await settled(api.setUp(code, fields.name, fields.password));
    setRefused(problem);
    if (problem !== null) return;
    go("/");
    restartStream();
  };
  return (
    <Front title="Choose a password." failure={refused}>
      <Form verb="Come in" submit={choose} known={false} />
      <p class="muted">Whoever was invited has a name already and may leave it empty. A password has at least 8 characters.</p>
    </Front>
  );
}

function Front({ title, failure, children }: { title: string; failure: api.Failure | null; children: ComponentChildren }) {
  return (
    <main class="login" id="content">
      <svg viewBox="0 0 16 16" width="32" height="32" aria-hidden="true">
        <path d="M1 9.5h3.4l2-6 3 9.5 2-6H15" />
      </svg>
      <h1 class="sentence">{title}</h1>
      {failure === null ? null : (
        <p role="alert">
          <span class="tone-down">✕ {failure.message}.</span>
        </p>
      )}
      {children}
    </main>
  );
}

interface Fields {
  name: string;
  password: string;
}

function Form({ verb, submit, known }: { verb: string; submit: (fields: Fields) => Promise<void>; known: boolean }) {
  const [fields, setFields] = useState<Fields>({ name: "", password: "" });
  const [busy, setBusy] = useState(false);
  const send = (event: Event): void => {
    event.preventDefault();
    setBusy(true);
    void submit(fields).finally(() => setBusy(false));
  };
  const take = (part: keyof Fields) => (event: { currentTarget: HTMLInputElement }): void => setFields({ ...fields, [part]: event.currentTarget.value });
  return (
    <form class="enter" onSubmit={send}>
      <label>
        Name
        <input type="text" name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required={known} value={fields.name} onInput={take("name")} />
      </label>
      <label>
        Password
        <input type="password" name="password" autocomplete={known ? "current-password" : "new-password"} required minLength={known ? 1 : 8} value={fields.password} onInput={take("password")} />
      </label>
      <button type="submit" disabled={busy}>
        {busy ? "Wait…" : verb}
      </button>
    </form>
  );
}
