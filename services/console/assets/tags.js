// The tag browser: the tree opened level by level, the search as one types, live values.

import { follow, patch } from "./live.js";

const list = document.getElementById("list");
const search = document.getElementById("search");
const tree = document.querySelector(".tree");

let stop = () => {};
let request = 0;
// By how much the server's clock is ahead of ours, as its newest value says.
let ahead = 0;

// Live values of the rows that are there now.
function watch() {
  stop();
  stop = () => {};
  const table = list?.querySelector("table[data-run]");
  if (!table) return;
  const rows = new Map();
  for (const row of table.querySelectorAll("tr[data-tag]")) rows.set(Number(row.dataset.tag), row);
  if (rows.size === 0) return;
  const ids = [...rows.keys()].join(",");
  stop = follow(`/tags/live?run=${table.dataset.run}&ids=${ids}`, {
    message: (data) => {
      for (const change of JSON.parse(data)) show(rows.get(change.id), change);
    },
    // The console was started anew: our ids mean nothing to it.
    stale: () => location.reload(),
  });
}

function show(row, change) {
  if (!row) return;
  if (!row.querySelector(".value")) {
    // It had no value when the list was made.
    load(location.search, false);
    return;
  }
  const set = (name, text) => {
    const cell = row.querySelector(name);
    if (cell.textContent !== text) cell.textContent = text;
  };
  set(".value", change.value);
  row.querySelector(".value").title = change.exact;
  set(".unit", change.unit);
  set(".per-second", change.rate);
  set(".kind", change.kind);
  const badge = row.querySelector(".quality .badge");
  badge.dataset.state = change.state;
  badge.textContent = change.quality;
  row.querySelector(".age time").dataset.ms = change.time;
  ahead = Math.max(change.time - Date.now(), ahead - 1000);
}

function age(ms) {
  const seconds = Math.round((Date.now() + Math.max(0, ahead) - ms) / 1000);
  if (seconds < -1) return "in the future";
  if (seconds < 1) return "now";
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-ms]")) {
    const text = age(Number(time.dataset.ms));
    if (time.textContent !== text) time.textContent = text;
  }
}, 1000);

// Shows the list that `query` chooses; `remember` makes it an entry of the history.
async function load(query, remember) {
  const mine = ++request;
  let html;
  try {
    const answer = await fetch(`/tags/list${query}`);
    if (answer.status === 401 || answer.redirected) return location.assign(`/tags${query}`);
    html = await answer.text();
    if (!answer.ok) {
      const problem = new DOMParser().parseFromString(html, "text/html").querySelector("main p:nth-of-type(2)");
      list.innerHTML = '<p class="notice" data-state="bad" role="alert"></p>';
      list.firstChild.textContent = problem?.textContent ?? "The console can't answer that.";
      return;
    }
  } catch {
    return;
  }
  // Only the newest question is still of interest.
  if (mine !== request) return;
  patch(list, html);
  if (remember) history.pushState(null, "", `/tags${query}`);
  else history.replaceState(null, "", `/tags${query}`);
  mark();
  watch();
}

// The level of the tree that the list is of.
function mark() {
  const chosen = new URLSearchParams(location.search);
  const path = chosen.has("q") ? null : (chosen.get("path") ?? "");
  for (const link of tree.querySelectorAll("a.level")) {
    if (link.dataset.path === path) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// What lies below a level of the tree, when it is opened for the first time.
async function open(details) {
  if (details.querySelector(":scope > ul")) return;
  const answer = await fetch(`/tags/tree?path=${encodeURIComponent(details.dataset.path)}`);
  if (answer.ok && !details.querySelector(":scope > ul")) {
    details.insertAdjacentHTML("beforeend", await answer.text());
  }
}

async function more(link) {
  const answer = await fetch(link.href);
  if (!answer.ok) return;
  const item = link.closest("li");
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  const items = [...template.content.firstElementChild.children];
  item.replaceWith(...items);
  items[0]?.querySelector("a, summary")?.focus();
}

if (list) {
  let typing = 0;
  const input = search.elements.q;
  input.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const words = input.value.trim();
      load(words ? `?q=${encodeURIComponent(words)}` : "", false);
    }, 150);
  });
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    const words = input.value.trim();
    load(words ? `?q=${encodeURIComponent(words)}` : "", true);
  });
  addEventListener("keydown", (event) => {
    const typed = event.target.closest?.("input, textarea, select");
    if (event.key === "/" && !typed && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  });

  tree.addEventListener("toggle", (event) => event.target.open && open(event.target), true);
  tree.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.classList.contains("more")) return void more(link);
    input.value = "";
    load(new URL(link.href).search, true);
  });
  list.addEventListener("click", (event) => {
    const link = event.target.closest("a.page");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    load(new URL(link.href).search, true);
    list.scrollIntoView({ block: "start" });
  });
  addEventListener("popstate", () => {
    input.value = new URLSearchParams(location.search).get("q") ?? "";
    load(location.search, false);
  });
  // On a phone the tree would push the list off the screen.
  if (matchMedia("(max-width: 48rem)").matches) document.querySelector(".tree-frame").open = false;
  watch();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
