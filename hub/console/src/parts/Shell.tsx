// What is around every page: the top bar with the link's age, the navigation, the keyboard, the palette and the help.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { go, type Route, useRoute } from "../state/route";
import { restartStream } from "../state/stream";
import { nextTheme, theme } from "../state/theme";
import { useStore, useTick } from "../state/use";
import { span } from "../text/format";
import { KEYS, typing } from "./keys";
import { Palette } from "./Palette";

/** An age of the link beyond which the chip warns: servers tick more often than this. */
const QUIET_MS = 20_000;

const PLACES: { page: Route["page"][]; path: string; name: string; key: string }[] = [
  { page: ["fleet", "node"], path: "/", name: "Fleet", key: "f" },
  { page: ["decisions", "decision"], path: "/decisions", name: "Decisions", key: "d" },
  { page: ["plans", "plan"], path: "/plans", name: "Plans", key: "l" },
  { page: ["brains"], path: "/brains", name: "Brains", key: "b" },
  { page: ["workloads", "placement", "scaling"], path: "/workloads", name: "Workloads", key: "w" },
  { page: ["rollouts", "rollout"], path: "/rollouts", name: "Rollouts", key: "r" },
  { page: ["clusters"], path: "/clusters", name: "Clusters", key: "c" },
  { page: ["policies"], path: "/policies", name: "Policies", key: "p" },
  { page: ["tasks", "task"], path: "/tasks", name: "Tasks", key: "t" },
  { page: ["access"], path: "/access", name: "Access", key: "a" },
  { page: ["audit"], path: "/audit", name: "Audit", key: "u" },
  { page: ["integrations"], path: "/integrations", name: "Integrations", key: "i" },
];
/** Places that a node's own page does not have. */
const OF_HUB = ["/plans", "/brains", "/workloads", "/rollouts", "/clusters", "/tasks", "/access", "/audit", "/integrations"];

export function Shell({ children }: { children: ComponentChildren }) {
  const { route } = useRoute();
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  useGlobalKeys(route, () => setPalette(true), () => setHelp(true));
  return (
    <>
      <a class="skip" href="#content" onClick={() => document.getElementById("content")?.focus()}>
        Skip to the content
      </a>
      <header class="bar">
        <a class="brand" href="/">
          <svg viewBox="0 0 16 16" width="20" height="20" aria-hidden="true">
            <path d="M1 9.5h3.4l2-6 3 9.5 2-6H15" />
          </svg>
          Sentinel
        </a>
        <Where />
        <span class="space" />
        <LinkChip />
        <button type="button" class="quiet find" onClick={() => setPalette(true)} title="palette: ctrl k">
          <span class="wide-only">Go to </span>
          <kbd>ctrl k</kbd>
        </button>
        <ThemeButton />
        <button type="button" class="quiet wide-only" onClick={() => setHelp(true)} aria-label="keys" title="keys: ?">
          <kbd>?</kbd>
        </button>
      </header>
      <div class="body">
        <Navigation route={route} />
        <main id="content" tabIndex={-1}>
          <Banner />
          {children}
        </main>
      </div>
      {palette ? <Palette close={() => setPalette(false)} /> : null}
      {help ? <Help close={() => setHelp(false)} /> : null}
    </>
  );
}

function useGlobalKeys(route: Route, openPalette: () => void, openHelp: () => void): void {
  const chord = useRef(0);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        return openPalette();
      }
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (typing(event)) {
        if (event.key === "Escape" && event.target instanceof HTMLInputElement) event.target.blur();
        return;
      }
      const afterG = event.timeStamp - chord.current < 1_200;
      chord.current = event.key === "g" ? event.timeStamp : 0;
      const place = afterG ? PLACES.find((one) => one.key === event.key) : undefined;
      if (place !== undefined) return go(place.path);
      if (event.key === "?") return openHelp();
      if (event.key === "/") {
        const filter = document.querySelector<HTMLInputElement>("input[type=search]");
        if (filter === null) return undefined;
        event.preventDefault();
        return filter.focus();
      }
      if (event.key === "Escape" && document.querySelector("dialog[open]") === null) {
        if (route.page === "node") go("/");
        if (route.page === "decision") go("/decisions");
        if (route.page === "plan") go("/plans");
        if (route.page === "rollout") go("/rollouts");
        if (route.page === "placement" || route.page === "scaling") go("/workloads");
      }
      return undefined;
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [route]);
}

function Where() {
  const { route } = useRoute();
  const hello = useStore((state) => state.hello);
  const site = useStore((state) => (route.page === "node" ? (state.nodes.get(route.name)?.view.site ?? null) : null));
  const place = hello?.from === "node" ? "this node's own page" : "hub";
  return (
    <span class="where muted">
      <span class="wide-only">{hello === null ? "" : place}</span>
      {route.page === "node" ? <b>{site === null ? null : <span class="wide-only">{site} / </span>}{route.name}</b> : null}
      {route.page === "plan" ? <b class="mono">{route.id.slice(0, 8)}</b> : null}
      {route.page === "decision" ? <b class="mono">{route.id}</b> : null}
    </span>
  );
}

/** Whether this page still hears its server, and how long ago it last did. */
function LinkChip() {
  const now = useTick();
  const link = useStore((state) => state.link);
  const at = useStore((state) => state.link_at);
  const since = useStore((state) => state.link_since);
  const quiet = now - at;
  if (link === "live") {
    return (
      <span class={`chip ${quiet > QUIET_MS ? "tone-warn" : "tone-ok"}`} title="how long ago this page last heard from its server">
        <span aria-hidden="true">● </span>
        {quiet > QUIET_MS ? "quiet " : "live "}
        <span class="num">{span(quiet)}</span>
      </span>
    );
  }
  if (link === "unauthorized") return <span class="chip tone-warn">? signed out</span>;
  return (
    <span class="chip tone-down" role="status">
      <span aria-hidden="true">✕ </span>
      {link === "lost" ? `no link for ${span(now - since)}` : "connecting"}
    </span>
  );
}

function ThemeButton() {
  const [chosen, setChosen] = useState(theme);
  return (
    <button type="button" class="quiet" onClick={() => setChosen(nextTheme())} title={`theme: ${chosen}; click for the next`}>
      <span aria-hidden="true">{chosen === "dark" ? "◗" : chosen === "light" ? "◖" : "◐"}</span>
      <span class="wide-only"> {chosen}</span>
      <span class="unseen">theme</span>
    </button>
  );
}

function Navigation({ route }: { route: Route }) {
  const hello = useStore((state) => state.hello);
  const nodes = useStore((state) => (state.nodes_read ? state.nodes.size : null));
  const only = useStore((state) => (state.hello?.from === "node" ? ([...state.nodes.keys()][0] ?? null) : null));
  const generation = useStore((state) => [...state.policies.values()].find((policy) => policy.active)?.generation ?? null);
  const figure: Record<string, string> = { Fleet: nodes === null ? "" : String(nodes), Policies: generation === null ? "" : `g${generation}` };
  return (
    <nav aria-label="pages">
      <ul>
        {PLACES.filter((place) => hello?.from !== "node" || !OF_HUB.includes(place.path)).map((place) => {
          const here = place.page.includes(route.page);
          const own = place.path === "/" && only !== null;
          return (
            <li key={place.path}>
              <a href={place.path} aria-current={here ? "page" : undefined}>
                {own ? "Node" : place.name} <span class="muted num">{own ? "" : (figure[place.name] ?? "")}</span>
              </a>
            </li>
          );
        })}
      </ul>
      {hello === null ? null : (
        <p class="about muted" title={hello.from === "node" ? undefined : `incarnation ${hello.hub_epoch}`}>
          {hello.from === "node" ? "agent" : "hub"} {hello.version}
        </p>
      )}
    </nav>
  );
}

/** Says once, above the page, that what is below no longer grows. */
function Banner() {
  const link = useStore((state) => state.link);
  const failure = useStore((state) => state.failure);
  const known = useStore((state) => state.nodes_read);
  if (link !== "lost" && !(link === "connecting" && failure !== null) && !(failure !== null && !known)) return null;
  return (
    <div class="banner" role="status">
      <p>
        <span class="tone-down">✕ {failure?.message ?? `no answer from ${location.host}`}.</span> <span class="muted">{failure?.advice ?? "What is below stays and grows older visibly. It is tried again by itself."}</span>
      </p>
      <button type="button" onClick={restartStream}>
        Try now
      </button>
    </div>
  );
}

function Help({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="help" onClose={close} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl>
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p class="muted">Filter: key=value, !=, ~ contains, &lt; &gt;, | between alternatives, bare words anywhere. Example: state=working_alone gpu.temperature&gt;80</p>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}
