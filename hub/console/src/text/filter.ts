// The filter's language: terms that must all hold, the same words as in the JSON.
//
//   state=working_alone site=berlin|paris gpu.temperature>80 backlog>0 train
//
// A term is `key OP value` with `=`, `!=`, `~` (contains), `<`, `<=`, `>`, `>=`, or a bare word that is looked for in every
// text of the row. `|` separates alternatives, quotes keep blanks, terms are separated by blanks or commas.
// A mistake is an answer that names the term, never an empty table.

/** What a field of a row holds; several values match if one of them does. */
export type FieldValue = string | number | boolean | null | (string | number)[];

/** The fields of a row, by the name that people write. */
export type Fields<T> = Record<string, (row: T) => FieldValue>;

/** A filter that was understood, or why not. */
export type Filter<T> = { ok: true; terms: number; test: (row: T) => boolean } | { ok: false; problem: string };

type Test<T> = (row: T) => boolean;

const TERM = /^([a-z][a-z0-9_.]*)(!=|<=|>=|=|~|<|>)(.*)$/i;

/** Reads a filter's text against the fields that rows have. */
export function parseFilter<T>(text: string, fields: Fields<T>): Filter<T> {
  const tests: Test<T>[] = [];
  for (const word of words(text)) {
    const term = TERM.exec(word);
    if (term === null) {
      tests.push(anywhere(word.replaceAll('"', "").toLowerCase(), fields));
      continue;
    }
    const [, key = "", operator = "", raw = ""] = term;
    const read = fields[key];
    if (read === undefined) return { ok: false, problem: `no field \`${key}\`; fields are ${Object.keys(fields).join(", ")}` };
    const value = raw.replaceAll('"', "");
    if (value === "") return { ok: false, problem: `\`${key}${operator}\` needs a value, for example ${key}${operator}${operator.includes("<") || operator.includes(">") ? "80" : "edge-03"}` };
    const compare = comparison(operator, value);
    if (compare === null) return { ok: false, problem: `\`${value}\` in \`${word}\` is not a number` };
    tests.push((row) => compare(read(row)));
  }
  return { ok: true, terms: tests.length, test: (row) => tests.every((test) => test(row)) };
}

/** The text with the term for `key` replaced by `term`, or without it when `term` is null. */
export function withTerm(text: string, key: string, term: string | null): string {
  const kept = words(text).filter((word) => TERM.exec(word)?.[1] !== key);
  return (term === null ? kept : [...kept, term]).join(" ");
}

/** The values that `key=` has in the text; empty when it has none. */
export function valuesOf(text: string, key: string): string[] {
  for (const word of words(text)) {
    const term = TERM.exec(word);
    if (term?.[1] === key && term[2] === "=") return (term[3] ?? "").split("|");
  }
  return [];
}

function words(text: string): string[] {
  return text.match(/(?:"[^"]*"?|[^\s,"])+/g) ?? [];
}

function anywhere<T>(word: string, fields: Fields<T>): Test<T> {
  const reads = Object.values(fields);
  return (row) => reads.some((read) => listed(read(row)).some((value) => typeof value === "string" && value.toLowerCase().includes(word)));
}

function listed(value: FieldValue): (string | number | boolean | null)[] {
  return Array.isArray(value) ? value : [value];
}

function comparison(operator: string, value: string): ((field: FieldValue) => boolean) | null {
  const choices = value.split("|").map((choice) => choice.toLowerCase());
  const equal = (field: string | number | boolean | null): boolean =>
    choices.some((choice) => (typeof field === "number" ? field === Number.parseFloat(choice) : String(field ?? "none").toLowerCase() === choice));
  switch (operator) {
    case "=":
      return (field) => listed(field).some(equal);
    case "!=":
      return (field) => !listed(field).some(equal);
    case "~":
      return (field) => listed(field).some((one) => choices.some((choice) => String(one ?? "").toLowerCase().includes(choice)));
  }
  const limit = Number.parseFloat(value);
  if (Number.isNaN(limit)) return null;
  const holds = (number: number): boolean =>
    operator === "<" ? number < limit : operator === "<=" ? number <= limit : operator === ">" ? number > limit : number >= limit;
  return (field) => listed(field).some((one) => typeof one === "number" && holds(one));
}
