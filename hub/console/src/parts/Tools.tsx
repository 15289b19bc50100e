// The row of tools above a table: filter, column chooser, export, copy as CLI.

import { useEffect, useRef, useState } from "preact/hooks";

import { Copy, save } from "./bits";

export interface FilterBoxProps {
  value: string;
  problem: string | null;
  example: string;
  onChange: (text: string) => void;
}

/** The filter: what was typed goes into the address a moment later, so that each view can be sent to someone. */
export function FilterBox({ value, problem, example, onChange }: FilterBoxProps) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  useEffect(() => {
    if (value !== sent.current) setText(value);
    sent.current = value;
  }, [value]);
  useEffect(() => {
    if (text === sent.current) return undefined;
    const timer = setTimeout(() => {
      sent.current = text;
      onChange(text);
    }, 120);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <>
      <div class="filter">
        <input
          type="search"
          aria-label="filter"
          aria-invalid={problem !== null}
          aria-describedby="filter-problem"
          placeholder={`filter: ${example}`}
          spellcheck={false}
          autocomplete="off"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <kbd class="wide-only" aria-hidden="true">/</kbd>
      </div>
      <p id="filter-problem" class={problem === null ? "unseen" : "problem tone-warn"} role="status">
        {problem === null ? "" : `${problem}. Nothing is hidden meanwhile.`}
      </p>
    </>
  );
}

export interface ChooserProps {
  all: { id: string; head: string }[];
  shown: string[];
  onChange: (shown: string[]) => void;
}

/** Which columns are shown. */
export function Columns({ all, shown, onChange }: ChooserProps) {
  return (
    <Menu name="Columns">
      {all.map((column, index) => (
        <label key={column.id}>
          <input
            type="checkbox"
            checked={shown.includes(column.id)}
            // The first one names the row.
            disabled={index === 0}
            onChange={() => onChange(all.map((one) => one.id).filter((id) => (id === column.id ? !shown.includes(id) : shown.includes(id))))}
          />{" "}
          {column.head}
        </label>
      ))}
    </Menu>
  );
}

/** What is in sight after filtering, as a file. */
export function Export({ name, csv, json }: { name: string; csv: () => string; json: () => unknown }) {
  return (
    <Menu name="Export">
      <button type="button" onClick={() => save(`${name}.csv`, "text/csv", csv())}>
        CSV, the columns shown
      </button>
      <button type="button" onClick={() => save(`${name}.json`, "application/json", `${JSON.stringify(json(), null, 2)}\n`)}>
        JSON, everything
      </button>
    </Menu>
  );
}

/** The command that shows the same. */
export function CopyCli({ command }: { command: string }) {
  return (
    <Copy text={command} title={command}>
      Copy as CLI
    </Copy>
  );
}

function Menu({ name, children }: { name: string; children: preact.ComponentChildren }) {
  const details = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const leave = (event: Event): void => {
      if (details.current !== null && details.current.open && event.target instanceof Node && !details.current.contains(event.target)) details.current.open = false;
    };
    document.addEventListener("pointerdown", leave);
    document.addEventListener("focusin", leave);
    return () => {
      document.removeEventListener("pointerdown", leave);
      document.removeEventListener("focusin", leave);
    };
  }, []);
  return (
    <details
      ref={details}
      class="menu"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || details.current === null) return;
        details.current.open = false;
        details.current.querySelector("summary")?.focus();
        event.stopPropagation();
      }}
    >
      <summary>{name}</summary>
      <div class="menu-list">{children}</div>
    </details>
  );
}
