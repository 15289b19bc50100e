// Signing in by a one-time link: `#login=CODE` is traded for a session cookie and taken out of the address.

import { useEffect } from "preact/hooks";

import * as api from "../api/client";
import { Copy } from "../parts/bits";
import { restartStream } from "../state/stream";

const CODE = /^#login=(.+)$/;

/** The code of a one-time link, if the page was opened by one; it is taken out of the address at once. */
export function takeCode(): string | null {
  const code = CODE.exec(location.hash)?.[1] ?? null;
  if (code !== null) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

/** Trades a code for a session. */
export async function signIn(code: string): Promise<api.Failure | null> {
  try {
    await api.login(code);
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
  return (
    <main class="login" id="content">
      <svg viewBox="0 0 16 16" width="32" height="32" aria-hidden="true">
        <path d="M1 9.5h3.4l2-6 3 9.5 2-6H15" />
      </svg>
      <h1 class="sentence">Sign in with a one-time link.</h1>
      {failure === null ? null : (
        <p role="alert">
          <span class="tone-down">✕ {failure.message}.</span>
        </p>
      )}
      <p>Where the hub’s context file is, this prints a link that signs this browser in:</p>
      <p>
        <code class="command">sentinel login</code> <Copy text="sentinel login">copy</Copy>
      </p>
      <p class="muted">There is no password. Nodes go on deciding and the command line goes on working meanwhile.</p>
      <p>
        <button type="button" onClick={restartStream}>
          I have opened it: try again
        </button>
      </p>
    </main>
  );
}
