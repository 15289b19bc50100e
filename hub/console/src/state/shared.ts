// One stream for all tabs of a browser: the tab that holds the lock has it, and says to the others what it hears.
//
// A browser opens six connections to a server at most, so a stream for each tab would leave the seventh hanging for ever. The lock is
// the browser's own: it passes on by itself when a tab is closed or crashes. A page that is hidden for good gives it back at once.
// Where a browser has no locks or channels, each tab is alone and has a stream of its own.
//
// Invariant: at any time at most one tab leads. Read next: `stream.ts` (what leading means).

/** What tabs tell each other. */
export type Told = { kind: "event"; text: string } | { kind: "link"; link: "connecting" | "lost" | "unauthorized" } | { kind: "ask" } | { kind: "restart" };

/** The part of the browser's lock manager that is used here. */
export interface Locks {
  request(name: string, options: { signal: AbortSignal }, held: () => Promise<void>): Promise<unknown>;
}

/** The part of a channel between tabs that is used here. */
export interface Channel {
  postMessage(told: Told): void;
  onmessage: ((message: { data: Told }) => void) | null;
}

/** What a tab does when it leads, and with what the others say. */
export interface Part {
  /** From now on the stream is this tab's to open. */
  lead(): void;
  /** It is not any more. */
  yield(): void;
  /** The leading tab has said something. */
  hear(told: Told): void;
  /** Another tab asks the leading one. */
  asked(told: Told): void;
}

const NAME = "sentinel-stream";

export class Shared {
  private leading = false;
  private waiting: AbortController | null = null;
  private release: (() => void) | null = null;

  constructor(
    private readonly locks: Locks | null,
    private readonly channel: Channel | null,
    private readonly part: Part,
  ) {
    if (channel !== null) channel.onmessage = ({ data }) => this.take(data);
  }

  /** Whether the stream is this tab's. */
  get leads(): boolean {
    return this.leading;
  }

  /** Takes part: leads as soon as nobody else does, and until then hears what the leading tab hears. */
  join(): void {
    if (this.waiting !== null || this.leading) return;
    if (this.locks === null || this.channel === null) return this.begin();
    const waiting = new AbortController();
    this.waiting = waiting;
    const held = (): Promise<void> =>
      new Promise((release) => {
        this.release = release;
        this.begin();
      });
    this.locks.request(NAME, { signal: waiting.signal }, held).catch(() => {
      // Called off by `leave`: there is nothing to give back.
    });
    this.channel.postMessage({ kind: "ask" });
  }

  /** Takes no part any more: the page is hidden for good, or frozen. */
  leave(): void {
    this.waiting?.abort();
    this.waiting = null;
    if (this.leading) this.part.yield();
    this.leading = false;
    this.release?.();
    this.release = null;
  }

  /** Says something to the other tabs. */
  say(told: Told): void {
    this.channel?.postMessage(told);
  }

  private begin(): void {
    this.leading = true;
    this.part.lead();
  }

  private take(told: Told): void {
    const isQuestion = told.kind === "ask" || told.kind === "restart";
    if (isQuestion && this.leading) this.part.asked(told);
    if (!isQuestion && !this.leading) this.part.hear(told);
  }
}
