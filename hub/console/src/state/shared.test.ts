// Tabs of one browser: one leads, the others hear it, and one of them leads when it goes.

import { expect, it } from "vitest";

import { type Channel, type Locks, Shared, type Told } from "./shared";

/** A browser's lock: one holder, the others in order of asking. */
function browser(): { locks: Locks; tab: () => { shared: Shared; heard: string[] } } {
  const queue: { held: () => Promise<void>; signal: AbortSignal }[] = [];
  let busy = false;
  const next = (): void => {
    if (busy) return;
    const first = queue.shift();
    if (first === undefined) return;
    if (first.signal.aborted) return next();
    busy = true;
    void first.held().then(() => {
      busy = false;
      next();
    });
  };
  const locks: Locks = {
    request: (_, { signal }, held) => {
      queue.push({ held, signal });
      next();
      return Promise.resolve();
    },
  };
  const channels: Channel[] = [];
  const tab = (): { shared: Shared; heard: string[] } => {
    const heard: string[] = [];
    const channel: Channel = {
      onmessage: null,
      postMessage: (data: Told) => {
        for (const other of channels) if (other !== channel) other.onmessage?.({ data });
      },
    };
    channels.push(channel);
    const shared = new Shared(locks, channel, {
      lead: () => heard.push("lead"),
      yield: () => heard.push("yield"),
      hear: (told) => heard.push(told.kind),
      asked: (told) => heard.push(`asked ${told.kind}`),
    });
    return { shared, heard };
  };
  return { locks, tab };
}

it("has one stream however many tabs are open, and passes it on", async () => {
  const { tab } = browser();
  const tabs = Array.from({ length: 8 }, tab);
  for (const { shared } of tabs) shared.join();
  expect(tabs.filter(({ shared }) => shared.leads).length).toBe(1);
  const [first, second] = tabs;
  first?.shared.say({ kind: "event", text: "{}" });
  expect(second?.heard.at(-1)).toBe("event");
  expect(first?.heard.slice(0, 2)).toEqual(["lead", "asked ask"]);
  first?.shared.leave();
  await Promise.resolve();
  await Promise.resolve();
  expect(first?.heard.at(-1)).toBe("yield");
  expect(tabs.map(({ shared }) => shared.leads)).toEqual([false, true, false, false, false, false, false, false]);
  // A tab that came back from the history takes part again, behind the others.
  first?.shared.join();
  expect(first?.shared.leads).toBe(false);
});

it("is never given to a tab that has gone while it waited", async () => {
  const { tab } = browser();
  const [first, gone, third] = [tab(), tab(), tab()];
  for (const { shared } of [first, gone, third]) shared.join();
  gone.shared.leave();
  first.shared.leave();
  await Promise.resolve();
  await Promise.resolve();
  expect([gone.shared.leads, third.shared.leads]).toEqual([false, true]);
});

it("is each tab's own where the browser has no locks", () => {
  const heard: string[] = [];
  const alone = new Shared(null, null, { lead: () => heard.push("lead"), yield: () => heard.push("yield"), hear: () => undefined, asked: () => undefined });
  alone.join();
  alone.leave();
  expect(heard).toEqual(["lead", "yield"]);
});
