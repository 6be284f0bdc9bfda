// What every page does: the choice of theme, and fragments that change by themselves.

import { follow, patch } from "./live.js";

const THEMES = ["auto", "light", "dark"];
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };

function theme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const root = document.documentElement;
  const show = () => {
    const now = root.dataset.theme ?? "auto";
    button.textContent = NAMES[now];
    button.setAttribute("aria-label", `Colours: ${NAMES[now]}`);
    button.title = "Colours: as the system has them, light, or dark";
  };
  button.addEventListener("click", () => {
    const now = root.dataset.theme ?? "auto";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("updraft.theme", next);
    } catch {
      // It holds for this page then.
    }
    show();
    // Charts have to choose their colours again.
    root.dispatchEvent(new CustomEvent("theme"));
  });
  button.hidden = false;
  show();
}

theme();
// On a phone the pages are a row that scrolls.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
for (const fragment of document.querySelectorAll("[data-live]")) {
  follow(fragment.dataset.live, { message: (html) => patch(fragment, html) });
}
