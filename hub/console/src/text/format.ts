// Numbers, spans and times as people read them.
//
// `figure` gives the same digits as `human` in `wire/src/reading.rs` (cut off, never rounded up: 84.96 must not read as 85),
// apart into value and unit, because units are shown muted. Nothing here reads a clock.

import type { Unit } from "../api/types";

/** A value and its unit; `unit` is empty for plain counts. */
export interface Figure {
  value: string;
  unit: string;
}

const BYTES: [number, string][] = [
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
];

function scaled(value: number, divisor: number, unit: string): Figure {
  const sign = value < 0 ? "-" : "";
  const tenths = Math.floor((Math.abs(value) * 10) / divisor);
  const whole = Math.floor(tenths / 10);
  return { value: tenths % 10 === 0 ? `${sign}${whole}` : `${sign}${whole}.${tenths % 10}`, unit };
}

function bytes(value: number, per: string): Figure {
  const step = BYTES.find(([size]) => Math.abs(value) >= size);
  return step ? scaled(value, step[0], step[1] + per) : { value: String(value), unit: `B${per}` };
}

/** A value of the API in the unit that people read. */
export function figure(value: number, unit: Unit): Figure {
  switch (unit) {
    case "milli_celsius":
      return scaled(value, 1_000, "°C");
    case "milliwatt":
      return scaled(value, 1_000, "W");
    case "basis_points":
      return scaled(value, 100, "%");
    case "milli":
      return scaled(value, 1_000, "");
    case "bytes":
      return bytes(value, "");
    case "bytes_per_second":
      return bytes(value, "/s");
    case "milli_per_second":
      return scaled(value, 1_000, "/s");
    case "milliseconds":
      // Hours as seconds are hard to read: from a minute on, in their two largest parts.
      return Math.abs(value) < 60_000 ? scaled(value, 1_000, "s") : { value: `${value < 0 ? "-" : ""}${span(Math.abs(value))}`, unit: "" };
    case "megahertz":
      return { value: String(value), unit: "MHz" };
    case "count":
      return { value: String(value), unit: "" };
    case "flag":
      return { value: value === 0 ? "no" : "yes", unit: "" };
  }
}

/** The same as one text; `—` for a missing value. */
export function human(value: number | null | undefined, unit: Unit): string {
  if (value === null || value === undefined) return "—";
  const { value: digits, unit: name } = figure(value, unit);
  return name === "" ? digits : `${digits} ${name}`;
}

/** How much one unit for people is in the API's unit: 80 °C is 80,000 thousandths. */
export function scaleOf(unit: Unit): number {
  switch (unit) {
    case "milli_celsius":
    case "milliwatt":
    case "milli":
    case "milli_per_second":
    case "milliseconds":
      return 1_000;
    case "basis_points":
      return 100;
    default:
      return 1;
  }
}

/** A span in its two largest parts: `0 s`, `12 s`, `2 min 14 s`, `3 h 05 min`, `2 d 4 h`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/** A short span with tenths below ten seconds, for hold times and ages of inputs: `0.8 s`, `5 s`, `2 min 14 s`. */
export function fineSpan(milliseconds: number): string {
  if (milliseconds < 10_000) {
    const { value } = scaled(Math.max(0, milliseconds), 1_000, "s");
    return `${value} s`;
  }
  return span(milliseconds);
}

/** A delay, in milliseconds below a second: `42 ms`, `9.1 s`. */
export const delay = (milliseconds: number): string => (milliseconds < 1_000 ? `${Math.max(0, Math.round(milliseconds))} ms` : fineSpan(milliseconds));

const two = (number: number): string => String(number).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A time of day in the reader's zone, with the date in front when it is not the day of `now`. */
export function clockTime(at: string | number, now: number): string {
  const time = new Date(at);
  // Beyond all calendars the API writes `unix-ms:…`, which some engines would take for a date.
  if (String(at).startsWith("unix-ms:") || Number.isNaN(time.getTime())) return String(at);
  const day = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  if (time.toDateString() === new Date(now).toDateString()) return day;
  return `${time.getDate()} ${MONTHS[time.getMonth()]} ${day}`;
}

/** `1 node`, `6 nodes`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** The first twelve digits of a digest, as the CLI prints it. */
export const short = (digest: string): string => digest.slice(0, 12);
