// The palette: type a few letters of a page, a node, a decision or a verb, and press enter.

import { useEffect, useRef, useState } from "preact/hooks";

import { decisionPath, go, nodePath } from "../state/route";
import { nextTheme } from "../state/theme";
import { current } from "../state/use";
import { verdictOf, stateOf } from "../text/words";
import { copyText } from "./bits";

interface Choice {
  name: string;
  note: string;
  run: () => void;
}

const MOST = 12;

/** Choices in whose text the letters occur in order; whole words first. */
export function matching<T extends { name: string; note: string }>(choices: T[], letters: string): T[] {
  const wanted = letters.trim().toLowerCase();
  if (wanted === "") return choices;
  const scored = choices.flatMap((choice) => {
    const text = `${choice.name} ${choice.note}`.toLowerCase();
    const at = text.indexOf(wanted);
    if (at >= 0) return [{ choice, score: at }];
    let from = 0;
    for (const letter of wanted.replaceAll(" ", "")) {
      from = text.indexOf(letter, from) + 1;
      if (from === 0) return [];
    }
    return [{ choice, score: 1_000 + from }];
  });
  return scored.sort((a, b) => a.score - b.score).map(({ choice }) => choice);
}

function choices(): Choice[] {
  const state = current();
  const place = (name: string, path: string, note: string): Choice => ({ name, note, run: () => go(path) });
  return [
    place("Fleet", "/", "page  g f"),
    place("Decisions", "/decisions", "page  g d"),
    place("Workloads", "/workloads", "page  g w"),
    place("Rollouts", "/rollouts", "page  g r"),
    place("Clusters", "/clusters", "page  g c"),
    place("Policies", "/policies", "page  g p"),
    place("Tasks", "/tasks", "page  g t"),
    ...[...state.nodes.values()].map(({ view }) => place(view.name, nodePath(view.name), `node  ${view.site}  ${stateOf(view).word}`)),
    ...state.decisions.slice(0, 100).map((one) => place(one.id, decisionPath(one.id), `${verdictOf(one.verdict).word}  ${one.summary}`)),
    { name: "Theme", note: "dark, light, system", run: () => void nextTheme() },
    { name: "Copy address of this view", note: "link", run: () => void copyText(location.href) },
  ];
}

export function Palette({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [letters, setLetters] = useState("");
  const [at, setAt] = useState(0);
  useEffect(() => dialog.current?.showModal(), []);
  const found = matching(choices(), letters).slice(0, MOST);
  const run = (choice: Choice | undefined): void => {
    if (choice === undefined) return;
    dialog.current?.close();
    choice.run();
  };
  const press = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setAt(Math.min(Math.max(at + (event.key === "ArrowDown" ? 1 : -1), 0), found.length - 1));
    }
    if (event.key === "Enter") {
      event.preventDefault();
      run(found[at]);
    }
  };
  return (
    <dialog ref={dialog} class="palette" onClose={close} aria-label="palette" onClick={(event) => (event.target === dialog.current ? dialog.current?.close() : undefined)}>
      <input
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={`palette-${at}`}
        placeholder="Go to a page, a node, a decision"
        spellcheck={false}
        autocomplete="off"
        value={letters}
        onInput={(event) => {
          setLetters(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={press}
      />
      <ul id="palette-list" role="listbox" aria-label="found">
        {found.map((choice, index) => (
          <li key={choice.name + choice.note} id={`palette-${index}`} role="option" aria-selected={index === at} onClick={() => run(choice)} onMouseMove={() => setAt(index)}>
            <span>{choice.name}</span> <span class="muted">{choice.note}</span>
          </li>
        ))}
        {found.length === 0 ? <li class="muted">Nothing has these letters.</li> : null}
      </ul>
    </dialog>
  );
}
