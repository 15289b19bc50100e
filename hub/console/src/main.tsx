// Starts the console: the same build on the hub and on each node's own page.
//
// Read next: `state/stream.ts` (what it knows), `parts/Shell.tsx` (what is around each page), `pages/`.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";

import "uplot/dist/uPlot.min.css";
import "./style.css";
import type { Failure } from "./api/client";
import { Access } from "./pages/Access";
import { Audit } from "./pages/Audit";
import { Clusters } from "./pages/Clusters";
import { Decision } from "./pages/Decision";
import { Decisions } from "./pages/Decisions";
import { Fleet } from "./pages/Fleet";
import { Integrations } from "./pages/Integrations";
import { Login, Setup, signIn, takeCode, takeSetupCode } from "./pages/Login";
import { Node } from "./pages/Node";
import { Brains } from "./pages/Brains";
import { Placement } from "./pages/Placement";
import { Plan } from "./pages/Plan";
import { Plans } from "./pages/Plans";
import { Policies } from "./pages/Policies";
import { Rollout } from "./pages/Rollout";
import { Rollouts } from "./pages/Rollouts";
import { Scaling } from "./pages/Scaling";
import { Workloads } from "./pages/Workloads";
import { Task } from "./pages/Task";
import { Tasks } from "./pages/Tasks";
import { Empty } from "./parts/bits";
import { Shell } from "./parts/Shell";
import { Title } from "./parts/Title";
import { startRouting, useRoute } from "./state/route";
import { restartStream, startStream } from "./state/stream";
import { applyTheme, theme } from "./state/theme";
import { useStore } from "./state/use";

function App({ first, setup }: { first: Failure | null; setup: string | null }) {
  const link = useStore((state) => state.link);
  const { route } = useRoute();
  const [refused, setRefused] = useState(first);
  useEffect(() => {
    // A one-time link opened in a page that is open already changes only the part after `#`.
    const entered = (): void => {
      const code = takeCode();
      if (code === null) return;
      void signIn(code).then((failure) => {
        setRefused(failure);
        restartStream();
      });
    };
    window.addEventListener("hashchange", entered);
    return () => window.removeEventListener("hashchange", entered);
  }, []);
  if (route.page === "setup") return <Setup code={setup} />;
  if (link === "unauthorized") return <Login failure={refused} />;
  return (
    <Shell>
      <Title name={titleOf(route)} />
      <Page />
    </Shell>
  );
}

function Page() {
  const { route } = useRoute();
  const own = useStore((state) => (state.hello?.from === "node" ? ([...state.nodes.keys()][0] ?? null) : null));
  switch (route.page) {
    case "fleet":
      // A node's own page has a fleet of one.
      return own === null ? <Fleet /> : <Node key={own} name={own} />;
    case "node":
      return <Node key={route.name} name={route.name} />;
    case "decisions":
      return <Decisions />;
    case "decision":
      return <Decision id={route.id} />;
    case "plans":
      return <Plans />;
    case "plan":
      return <Plan key={route.id} id={route.id} />;
    case "brains":
      return <Brains />;
    case "clusters":
      return <Clusters />;
    case "workloads":
      return <Workloads />;
    case "placement":
      return <Placement />;
    case "scaling":
      return <Scaling />;
    case "rollouts":
      return <Rollouts />;
    case "rollout":
      return <Rollout key={route.id} id={route.id} />;
    case "policies":
      return <Policies generation={route.generation} />;
    case "tasks":
      return <Tasks />;
    case "task":
      return <Task key={route.id} id={route.id} />;
    case "access":
      return <Access />;
    case "audit":
      return <Audit />;
    case "integrations":
      return <Integrations />;
    case "setup":
      return null;
    case "nowhere":
      return (
        <div class="page">
          <h1 class="sentence">There is no page {route.path}.</h1>
          <Empty>
            Go to the <a href="/">fleet</a>, the <a href="/decisions">decisions</a> or the <a href="/policies">policies</a>.
          </Empty>
        </div>
      );
  }
}

function titleOf(route: ReturnType<typeof useRoute>["route"]): string {
  switch (route.page) {
    case "fleet":
      return "Fleet";
    case "node":
      return route.name;
    case "decisions":
      return "Decisions";
    case "decision":
      return route.id;
    case "plans":
      return "Plans";
    case "plan":
      return `Plan ${route.id.slice(0, 8)}`;
    case "brains":
      return "Brains";
    case "clusters":
      return "Clusters";
    case "workloads":
      return "Workloads";
    case "placement":
      return "Placement";
    case "scaling":
      return "Scaling";
    case "rollouts":
      return "Rollouts";
    case "rollout":
      return "Rollout";
    case "policies":
      return route.generation === null ? "Policies" : `Policy ${route.generation}`;
    case "tasks":
    case "task":
      return "Tasks";
    case "access":
      return "Access";
    case "audit":
      return "Audit";
    case "integrations":
      return "Integrations";
    case "setup":
      return "Welcome";
    case "nowhere":
      return "No such page";
  }
}

async function start(): Promise<void> {
  applyTheme(theme());
  startRouting();
  const code = takeCode();
  const refused = code === null ? null : await signIn(code);
  const setup = takeSetupCode();
  startStream();
  const root = document.getElementById("app");
  if (root !== null) render(<App first={refused} setup={setup} />, root);
}

void start();
