// Days and times of day in a named zone, for calendars.
//
// The zone data is the browser's. Where a window lies is the server's to say; here instants are only laid out on local days, which
// are 23, 24 or 25 hours long (and a few odd ones else).

const DAY_MS = 86_400_000;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string): Intl.DateTimeFormat {
  let found = formats.get(zone);
  if (found === undefined) {
    found = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
    formats.set(zone, found);
  }
  return found;
}

/** The reader's own zone. */
export const ownZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Whether the browser knows a zone. */
export function knowsZone(zone: string): boolean {
  try {
    format(zone);
    return true;
  } catch {
    return false;
  }
}

/** What a clock in the zone shows, written as if it were UTC: milliseconds since 1970. */
function shown(at_ms: number, zone: string): number {
  const part: Record<string, number> = {};
  for (const { type, value } of format(zone).formatToParts(at_ms)) part[type] = Number(value);
  return Date.UTC(part["year"] ?? 0, (part["month"] ?? 1) - 1, part["day"] ?? 1, part["hour"] ?? 0, part["minute"] ?? 0, part["second"] ?? 0);
}

/** The first instant of the local day in which `at_ms` lies. */
export function midnight(at_ms: number, zone: string): number {
  const day = Math.floor(shown(at_ms, zone) / DAY_MS) * DAY_MS;
  let at = at_ms - (shown(at_ms, zone) - day);
  at -= ((at % 1_000) + 1_000) % 1_000;
  // A change of the clock between midnight and `at_ms` has moved it; once corrected it stays, except where there is no midnight.
  at += day - shown(at, zone);
  return at;
}

/** The midnights of so many days from that of `from_ms` on, and the one after the last. */
export function midnights(from_ms: number, zone: string, days: number): number[] {
  const found = [midnight(from_ms, zone)];
  while (found.length <= days) found.push(midnight((found[found.length - 1] ?? 0) + DAY_MS + DAY_MS / 6, zone));
  return found;
}

/** `Tue 24 Nov`. */
export function dayName(at_ms: number, zone: string): string {
  const day = new Date(shown(at_ms, zone));
  return `${DAYS[day.getUTCDay()]} ${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]}`;
}

/** `22:00`, or `Tue 24 Nov 22:00` when it is not on the day of `now_ms`. */
export function zonedTime(at_ms: number, zone: string, now_ms: number): string {
  const time = new Date(shown(at_ms, zone)).toISOString().slice(11, 16);
  return midnight(at_ms, zone) === midnight(now_ms, zone) ? time : `${dayName(at_ms, zone)} ${time}`;
}

/** A stretch of a day, in hundredths of its length. */
export interface Stretch {
  left: number;
  width: number;
}

/** The part of a window that lies on the day between two midnights; null if none does. */
export function onDay(start_ms: number, end_ms: number, day_ms: number, next_ms: number): Stretch | null {
  const from = Math.max(start_ms, day_ms);
  const to = Math.min(end_ms, next_ms);
  if (from >= to) return null;
  const share = (at: number): number => ((at - day_ms) / (next_ms - day_ms)) * 100;
  return { left: share(from), width: share(to) - share(from) };
}
