// The smallest parts of every page: a number with its unit, an age, a word with its sign, the `sim` tag, a sentence.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import type { Unit } from "../api/types";
import type { Freshness } from "../text/age";
import { figure, human, short, span } from "../text/format";
import { gist, type Part, plain } from "../text/sentence";
import type { Tone, Word } from "../text/words";

/** A text that fades in for 150 ms when it changes, and not when it first appears. */
export function Live({ text, children }: { text: string; children?: ComponentChildren }) {
  const seen = useRef({ text, changes: 0 });
  if (seen.current.text !== text) seen.current = { text, changes: seen.current.changes + 1 };
  const { changes } = seen.current;
  return (
    <span key={changes} class={changes > 0 ? "fade" : undefined}>
      {children ?? text}
    </span>
  );
}

/** A value with its unit in muted text: grey when intervals were missed, `—` when it is too old to be shown. */
export function Num({ value, unit, fresh = "fresh" }: { value: number | null | undefined; unit: Unit; fresh?: Freshness }) {
  if (value === null || value === undefined) return <span class="none" title="not reported">—</span>;
  const text = human(value, unit);
  if (fresh === "gone") return <span class="none" title={`last value ${text}; too old to be shown`}>—</span>;
  const { value: digits, unit: name } = figure(value, unit);
  return (
    <span class={fresh === "stale" ? "num stale" : "num"} title={fresh === "stale" ? "no newer value for more than 3 intervals" : undefined}>
      <Live text={digits} />
      {name === "" ? null : <span class="unit">{` ${name}`}</span>}
    </span>
  );
}

/** How old something is; it is drawn again each second by the page around it. */
export function Age({ age_ms, fresh }: { age_ms: number | null; fresh: Freshness }) {
  if (age_ms === null) return <span class="none" title="never heard">—</span>;
  return <span class={fresh === "fresh" ? "num" : "num tone-warn"}>{span(age_ms)}</span>;
}

/** A sign; the two that many fonts draw as coloured pictures, or not at all, are drawn here. */
export function Glyph({ sign }: { sign: string }) {
  const path = DRAWN[sign];
  return (
    <span aria-hidden="true" class="glyph">
      {path === undefined ? (
        sign
      ) : (
        <svg viewBox="0 0 12 12" width="12" height="12">
          <path d={path} />
        </svg>
      )}
    </span>
  );
}

const DRAWN: Record<string, string> = {
  "⏳": "M2.5 1h7M2.5 11h7M3.5 1v2L6 6l2.5-3V1M3.5 11V9L6 6l2.5 3v2",
  "⏸": "M4 2v8M8 2v8",
};

/** A word with its sign in the tone of both. */
export function Sign({ word, only = false }: { word: Word; only?: boolean }) {
  return (
    <span class={`sign tone-${word.tone}`} title={only ? word.word : undefined}>
      <Glyph sign={word.sign} />
      <span class={only ? "unseen" : "word"}>{word.word}</span>
    </span>
  );
}

/** The tag beside every simulated device. */
export function Sim() {
  return (
    <span class="sim" title="simulated: a program plays this device">
      sim
    </span>
  );
}

/** A device's id, with its tag. */
export function Device({ id, simulated }: { id: string; simulated: boolean }) {
  return (
    <span class="device">
      {id}
      {simulated ? <Sim /> : null}
    </span>
  );
}

/** Words in a tone. */
export function Toned({ tone, children, title }: { tone: Tone; children: ComponentChildren; title?: string }) {
  return (
    <span class={`tone-${tone}`} title={title}>
      {children}
    </span>
  );
}

/** A page's first line. Screen readers hear it again when its wording changes, not each second. */
export function Sentence({ parts }: { parts: Part[] }) {
  const spoken = gist(parts);
  const [said, say] = useState("");
  useEffect(() => say(plain(parts)), [spoken]);
  return (
    <>
      <h1 class="sentence">
        {parts.map((part, index) => {
          if ("sim" in part) return <Sim key={index} />;
          const tone = part.tone === undefined || part.tone === "plain" ? undefined : `tone-${part.tone}`;
          if (part.href !== undefined) return <a key={index} href={part.href}>{part.text}</a>;
          return <span key={index} class={tone}>{part.text}</span>;
        })}
      </h1>
      <p class="unseen" role="status" aria-live="polite">
        {said}
      </p>
    </>
  );
}

/** Copies a text and says so. */
export function Copy({ text, children, title }: { text: string; children: ComponentChildren; title?: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 1_500);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button type="button" class="quiet" title={title ?? text} onClick={() => void copyText(text).then(() => setDone(true), () => setDone(false))}>
      {done ? "copied" : children}
    </button>
  );
}

/** Puts a text on the clipboard, also where the page is not a secure context. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A digest, short, whole in its title and when copied. */
export function Digest({ value }: { value: string }) {
  return (
    <Copy text={value} title={`${value} (click copies)`}>
      <code>{short(value)}</code>
    </Copy>
  );
}

/** A fact of a list of facts. */
export function Fact({ name, children, title }: { name: string; children: ComponentChildren; title?: string | undefined }) {
  return (
    <div class="fact" title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** What failed, what still works, what to do. */
export function Trouble({ message, advice }: { message: string; advice: string }) {
  return (
    <div class="trouble" role="alert">
      <p>
        <span class="glyph tone-down" aria-hidden="true">✕ </span>
        {message}
      </p>
      <p class="muted">{advice}</p>
    </div>
  );
}

/** Nothing is there yet, and the command that changes that. */
export function Empty({ children, command }: { children: ComponentChildren; command?: string }) {
  return (
    <div class="empty">
      <p>{children}</p>
      {command === undefined ? null : (
        <p>
          <code class="command">{command}</code> <Copy text={command}>copy</Copy>
        </p>
      )}
    </div>
  );
}

/** Saves a text as a file. */
export function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  URL.revokeObjectURL(url);
}
