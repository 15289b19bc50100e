// When one policy freezes changes: a week of local days, every freeze and maintenance window on a lane of its own.
//
// The server says where windows lie and when the next open slot is; here they are only laid out in the zone that the reader chose.

import * as api from "../api/client";
import type { CalendarRuleView, CalendarView } from "../api/types";
import { Glyph, Toned, Trouble } from "../parts/bits";
import { useFetched, useKept } from "../state/fetched";
import { setQuery, useRoute } from "../state/route";
import { serverNow } from "../state/use";
import { span } from "../text/format";
import type { Part } from "../text/sentence";
import { dayName, knowsZone, midnight, midnights, onDay, ownZone, zonedTime } from "../text/zone";

const WEEK_MS = 7 * 86_400_000;
const HOURS = [0, 6, 12, 18, 24];

/** What freezes say of the present, for the page's first line. */
export function frozen(view: CalendarView | null, zone: string, now_ms: number): Part[] {
  if (view === null || view.next_open === null || Date.parse(view.next_open) <= now_ms) return [];
  const rules = view.rules.filter((rule) => isFreeze(rule) && rule.mode === "enforce" && rule.active_until !== null);
  const names = rules.map((rule) => rule.rule).join(", ");
  return [
    { text: " Changes are " },
    { text: "frozen", tone: "warn" },
    { text: ` by ${names}; the next open slot is ${zonedTime(Date.parse(view.next_open), zone, now_ms)}, in ` },
    { text: span(Date.parse(view.next_open) - now_ms), live: true },
    { text: "." },
  ];
}

const isFreeze = (rule: CalendarRuleView): boolean => rule.kind === "change_freeze";

/** The calendar's zone and week, from the address. */
export function useWeek(): { zone: string; offset: number; from_ms: number } {
  const { query } = useRoute();
  const asked = query.get("z");
  const zone = asked !== null && knowsZone(asked) ? asked : ownZone();
  const offset = Math.max(-52, Math.min(52, Math.trunc(Number(query.get("w") ?? "0")) || 0));
  return { zone, offset, from_ms: midnight(serverNow() + offset * WEEK_MS, zone) };
}

/** The calendar as it was last read. */
export function useCalendar(generation: number | undefined, minute: number): { view: CalendarView | null; failure: api.Failure | null } {
  const { from_ms } = useWeek();
  const subject = `${generation} ${from_ms}`;
  // An hour more than a week: one of its days may be longer.
  const fetched = useFetched(`${subject} ${minute}`, () => (generation === undefined ? Promise.resolve(null) : api.calendar(generation, from_ms, from_ms + WEEK_MS + 3_600_000 * 2)));
  return { view: useKept(subject, fetched), failure: fetched.failure };
}

export function Calendar({ view, failure }: { view: CalendarView | null; failure: api.Failure | null }) {
  const { zone, offset, from_ms } = useWeek();
  if (view === null) return failure === null ? <p class="muted reading">Reading the freezes…</p> : <Trouble message={failure.message} advice={failure.advice} />;
  if (view.rules.length === 0) return <p class="muted">This bundle has no change freeze and no maintenance window: changes may run at any time.</p>;
  const now = serverNow();
  const days = midnights(from_ms, zone, 7);
  // A rule without a window in this week needs no lane, but one empty lane keeps the grid.
  const busy = view.rules.filter((rule) => rule.windows.length > 0);
  const drawn = busy.length > 0 ? busy : view.rules.slice(0, 1);
  const zones = [...new Set([ownZone(), "UTC", ...view.rules.map((rule) => rule.zone)])].filter(knowsZone);
  const week = (step: number): void => setQuery({ w: offset + step === 0 ? null : String(offset + step) });
  return (
    <>
      <div class="tools">
        <button type="button" onClick={() => week(-1)} aria-label="week before">‹</button>
        <button type="button" onClick={() => setQuery({ w: null })} disabled={offset === 0}>This week</button>
        <button type="button" onClick={() => week(1)} aria-label="week after">›</button>
        <label class="zone-choice">
          <span class="muted">Zone </span>
          <select value={zone} onChange={(event) => setQuery({ z: event.currentTarget.value === ownZone() ? null : event.currentTarget.value })}>
            {zones.map((one) => <option key={one} value={one}>{one}</option>)}
          </select>
        </label>
      </div>
      <div class="week" role="img" aria-label={`freezes from ${dayName(days[0] ?? 0, zone)} to ${dayName(days[6] ?? 0, zone)}, listed below`}>
        <div class="week-row week-head" aria-hidden="true">
          <span />
          <div class="week-hours">{HOURS.map((hour) => <span key={hour} style={{ left: `${(hour / 24) * 100}%` }}>{String(hour).padStart(2, "0")}</span>)}</div>
        </div>
        {days.slice(0, 7).map((day, index) => <Day key={day} day={day} next={days[index + 1] ?? day} rules={drawn} zone={zone} now={now} />)}
      </div>
      <ul class="plain week-rules">
        {view.rules.map((rule) => <Legend key={rule.rule} rule={rule} zone={zone} now={now} />)}
      </ul>
    </>
  );
}

function Day({ day, next, rules, zone, now }: { day: number; next: number; rules: CalendarRuleView[]; zone: string; now: number }) {
  const today = now >= day && now < next;
  return (
    <div class={today ? "week-row today" : "week-row"}>
      <span class="week-day">{dayName(day, zone)}</span>
      <div class="week-lanes">
        {rules.map((rule) => (
          <div key={rule.rule} class="week-lane">
            {rule.windows.map(([start, end]) => {
              const place = onDay(Date.parse(start), Date.parse(end), day, next);
              if (place === null) return null;
              const title = `${rule.rule}: ${zonedTime(Date.parse(start), zone, day)} to ${zonedTime(Date.parse(end), zone, day)}`;
              return <span key={start} class={`week-span ${look(rule)}`} title={title} style={{ left: `${place.left}%`, width: `${place.width}%` }} />;
            })}
          </div>
        ))}
        {today ? <span class="week-now" title="now" style={{ left: `${((now - day) / (next - day)) * 100}%` }} /> : null}
      </div>
    </div>
  );
}

function look(rule: CalendarRuleView): string {
  return `${isFreeze(rule) ? "freeze" : "open"} ${rule.mode === "enforce" ? "" : "tried"}`;
}

function Legend({ rule, zone, now }: { rule: CalendarRuleView; zone: string; now: number }) {
  const until = rule.active_until === null ? null : Date.parse(rule.active_until);
  const next = rule.next_start === null ? null : Date.parse(rule.next_start);
  return (
    <li>
      <span class={`week-key ${look(rule)}`} aria-hidden="true" /> <b>{rule.rule}</b>{" "}
      <span class="muted">{isFreeze(rule) ? "freeze" : "maintenance window"}{rule.mode === "enforce" ? "" : `, ${rule.mode}`}, written in {rule.zone}:</span>{" "}
      {until !== null ? (
        <Toned tone={isFreeze(rule) ? "warn" : "ok"}><Glyph sign={isFreeze(rule) ? "⏸" : "✓"} /> active until {zonedTime(until, zone, now)}, for {span(until - now)}</Toned>
      ) : next === null ? (
        <span>none within 400 days</span>
      ) : (
        <span>next begins {zonedTime(next, zone, now)}, in {span(next - now)}</span>
      )}
      {until !== null && next !== null ? <span class="muted">; the next after it begins {zonedTime(next, zone, now)}</span> : null}
      <ul class="unseen">
        {rule.windows.map(([start, end]) => <li key={start}>{zonedTime(Date.parse(start), zone, 0)} to {zonedTime(Date.parse(end), zone, 0)}</li>)}
      </ul>
      {rule.cut ? <span class="muted"> More windows lie in this week than are drawn.</span> : null}
    </li>
  );
}
