// Asks once before something is said to a plan: a sentence with the consequences and, where it ends the plan, a reason.

import { useEffect, useRef, useState } from "preact/hooks";

import * as api from "../api/client";
import type { PlanView } from "../api/types";
import { go, planPath } from "../state/route";

export type PlanVerb = "approve" | "deny" | "cancel" | "retry";

const WORDS: Record<PlanVerb, { title: string; consequences: string; verb: string; asksWhy: boolean }> = {
  approve: { title: "Approve this plan?", consequences: "You stand behind it from now on. Each step is judged again at its moment, and its node has the last word.", verb: "Approve", asksWhy: false },
  deny: { title: "Deny this plan?", consequences: "Nothing of it runs any more; what it did and can be taken back is.", verb: "Deny", asksWhy: true },
  cancel: { title: "Cancel this plan?", consequences: "It ends; what it did and can be taken back is.", verb: "Cancel the plan", asksWhy: true },
  retry: { title: "Try the same again?", consequences: "A new plan of yours with the same steps is judged from the beginning.", verb: "Try again", asksWhy: false },
};

export function AskPlan({ plan, verb, close }: { plan: PlanView; verb: PlanVerb; close: () => void }) {
  const words = WORDS[verb];
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [failure, setFailure] = useState<api.Failure | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const missing = words.asksWhy && reason.trim() === "";
  const submit = (event: Event): void => {
    event.preventDefault();
    if (missing || busy) return;
    setBusy(true);
    api.planSay(plan.id, verb, reason.trim()).then(
      (answer) => {
        dialog.current?.close();
        if (answer.id !== plan.id) go(planPath(answer.id));
      },
      (problem: unknown) => {
        setBusy(false);
        setFailure(problem instanceof api.Failure ? problem : new api.Failure("internal", String(problem), ""));
      },
    );
  };
  return (
    <dialog ref={dialog} class="ask" onClose={close} aria-labelledby="ask-plan-title">
      <form onSubmit={submit}>
        <h2 id="ask-plan-title">{words.title}</h2>
        <p>{plan.steps.map((step) => step.summary).join(", then ")}</p>
        <p class="muted">{words.consequences}</p>
        {words.asksWhy ? (
          <label>
            Reason, kept in the journal
            <input type="text" value={reason} required maxLength={500} autofocus onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
        ) : null}
        {failure === null ? null : (
          <p role="alert">
            <span class="tone-down">✕ {failure.message}.</span> <span class="muted">{failure.advice}</span>
          </p>
        )}
        <p class="buttons">
          <button type="button" class="quiet" onClick={() => dialog.current?.close()}>Leave it</button>
          <button type="submit" disabled={missing || busy}>{words.verb}</button>
        </p>
      </form>
    </dialog>
  );
}
