// The tab's title: which page it is, and before that how many nodes are broken, so that a tab in the background says it too.

import { useEffect } from "preact/hooks";

import { standings } from "../state/standing";
import { current, useTick } from "../state/use";
import { titled } from "../text/severity";

export function Title({ name }: { name: string }) {
  // Once a second is soon enough for a title, and a fleet of ten thousand is not counted at each event.
  useTick();
  const broken = [...standings(current()).values()].filter((standing) => standing.level === "broken").length;
  const title = titled(name, broken);
  useEffect(() => {
    document.title = title;
  }, [title]);
  return null;
}
