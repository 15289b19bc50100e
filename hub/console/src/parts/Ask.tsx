// Asks once before something acts: a sentence with the consequences, and a reason that goes into the journal.

import { useEffect, useRef, useState } from "preact/hooks";

import { Failure } from "../api/client";
import type { ActView } from "../api/types";
import { decisionPath } from "../state/route";
import { clauseText } from "../text/sentence";

export interface AskProps {
  title: string;
  /** What will happen, what will not, and how it ends. */
  consequences: string;
  verb: string;
  run: (reason: string) => Promise<ActView>;
  close: () => void;
}

type Step = { at: "asking" } | { at: "waiting" } | { at: "answered"; answer: ActView } | { at: "failed"; failure: Failure };

const STATUS: Record<string, string> = {
  done: "✓ done",
  denied: "✕ denied",
  waiting: "… sent; the node has not answered yet, and the command waits for it",
  refused: "✕ refused",
};

export function Ask({ title, consequences, verb, run, close }: AskProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [step, setStep] = useState<Step>({ at: "asking" });
  useEffect(() => dialog.current?.showModal(), []);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (reason.trim() === "" || step.at === "waiting") return;
    setStep({ at: "waiting" });
    run(reason.trim()).then(
      (answer) => setStep({ at: "answered", answer }),
      (error: unknown) => setStep({ at: "failed", failure: error instanceof Failure ? error : new Failure("internal", String(error), "") }),
    );
  };
  return (
    <dialog ref={dialog} class="ask" onClose={close} aria-labelledby="ask-title">
      <form onSubmit={submit}>
        <h2 id="ask-title">{title}</h2>
        <p>{consequences}</p>
        {step.at === "answered" ? (
          <Answer answer={step.answer} />
        ) : (
          <label>
            Reason, kept in the journal
            <input type="text" value={reason} required maxLength={500} autofocus onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
        )}
        {step.at === "failed" ? (
          <p role="alert">
            <span class="tone-down">✕ {step.failure.message}.</span> <span class="muted">{step.failure.advice}</span>
          </p>
        ) : null}
        <p class="buttons">
          <button type="button" class="quiet" onClick={() => dialog.current?.close()}>
            {step.at === "answered" ? "Close" : "Leave it"}
          </button>
          {step.at === "answered" ? null : (
            <button type="submit" disabled={reason.trim() === "" || step.at === "waiting"}>
              {step.at === "waiting" ? "Waiting for the node…" : verb}
            </button>
          )}
        </p>
      </form>
    </dialog>
  );
}

function Answer({ answer }: { answer: ActView }) {
  return (
    <div role="status">
      <p>
        {STATUS[answer.status] ?? answer.status}
        {answer.detail === "" ? null : <span class="muted">: {answer.detail}</span>}
      </p>
      {answer.clauses.map((clause, index) => (
        <p key={index} class="muted">
          {clause.rule}: {clause.what} {clauseText(clause)}
        </p>
      ))}
      {answer.decision === null ? null : (
        <p>
          <a href={decisionPath(answer.decision.id)}>{answer.decision.id}</a>
        </p>
      )}
    </div>
  );
}
