// Dark, light or as the system says; the choice stays in this browser.

export type Theme = "system" | "dark" | "light";

const KEY = "sentinel-theme";
const ORDER: Theme[] = ["system", "dark", "light"];

export function theme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "dark" || kept === "light" ? kept : "system";
  } catch {
    return "system";
  }
}

/** Puts the theme in force; the style sheet does the rest. */
export function applyTheme(chosen: Theme): void {
  if (chosen === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = chosen;
  window.dispatchEvent(new Event("sentinel-theme"));
}

/** Goes to the next theme, keeps it and gives it. */
export function nextTheme(): Theme {
  const chosen = ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length] ?? "system";
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // A browser that keeps nothing still shows the theme until it is closed.
  }
  applyTheme(chosen);
  return chosen;
}

/** Calls back when colours may have changed. */
export function onTheme(listener: () => void): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  window.addEventListener("sentinel-theme", listener);
  system.addEventListener("change", listener);
  return () => {
    window.removeEventListener("sentinel-theme", listener);
    system.removeEventListener("change", listener);
  };
}
