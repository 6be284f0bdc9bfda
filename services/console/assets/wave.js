// A waveform and its spectrum.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { follow, patch } from "./live.js";

const page = document.getElementById("wave");
const box = document.getElementById("signal");
const SHORTEST = 0.02;
const LONGEST = 3600 * 1000;

// What is looked at, in milliseconds; the newest block when it is live.
const view = { live: true, from: 0, to: 0 };
let chart = null;
let plots = [];
let request = 0;
let waiting = 0;
let stop = () => {};

function query(more = {}) {
  const parameters = new URLSearchParams({ topic: page.dataset.topic, ...more });
  if (page.dataset.key) parameters.set("key", page.dataset.key);
  if (!view.live) {
    // Nanoseconds: a block may be shorter than a millisecond.
    parameters.set("from", nanos(view.from));
    parameters.set("to", nanos(view.to));
  }
  return parameters;
}

function nanos(ms) {
  const whole = Math.floor(ms);
  return String(BigInt(whole) * 1000000n + BigInt(Math.round((ms - whole) * 1e6)));
}

async function load() {
  clearTimeout(waiting);
  const mine = ++request;
  let answer;
  try {
    answer = await fetch(`/wave/data?${query({ points: Math.max(100, box.clientWidth) })}`);
  } catch {
    if (mine === request) later(3000);
    return;
  }
  if (mine !== request) return;
  if (answer.status === 401) return location.reload();
  if (!answer.ok) return tell([await problem(answer)], "bad");
  chart = await answer.json();
  if (mine !== request) return;
  Object.assign(view, { from: chart.from, to: chart.to });
  tell(chart.notices, "warn");
  draw();
  links();
}

async function problem(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.querySelector("main h1 + p")?.textContent ?? `The console answered ${answer.status}.`;
}

function later(ms) {
  clearTimeout(waiting);
  waiting = setTimeout(load, ms);
}

function tell(notices, state) {
  document.getElementById("notices").replaceChildren(
    ...notices.map((text) => {
      const notice = document.createElement("p");
      notice.className = "notice";
      notice.dataset.state = state;
      notice.textContent = text;
      return notice;
    }),
  );
}

// A new block is shown, one per second at most.
function listen() {
  stop();
  stop = () => {};
  if (!view.live || !page.dataset.id) return;
  let first = true;
  stop = follow(`/tags/live?run=${page.dataset.run}&ids=${page.dataset.id}`, {
    message: () => {
      if (!first) later(300);
      first = false;
    },
    stale: () => location.reload(),
  });
}

// Drawing

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function faded(hex, alpha) {
  return `${hex}${Math.round(alpha * 255).toString(16).padStart(2, "0")}`;
}

function short(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e12 || size < 1e-4) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(6)));
}

const two = (number) => String(number).padStart(2, "0");

function clock(ms) {
  const time = new Date(ms);
  const millis = String(Math.floor(((ms % 1000) + 1000) % 1000)).padStart(3, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${millis}`;
}

// Milliseconds since the beginning of what is shown: the time itself is below.
function ticks(self, values) {
  return values.map((ms) => short(Number((ms - view.from).toFixed(6))));
}

function splits(self, axis, low, high, step) {
  const all = [];
  for (let at = 0; at <= high - view.from; at += step) if (view.from + at >= low) all.push(view.from + at);
  return all;
}

function axes(font, x, y) {
  const line = { stroke: color("line"), width: 1 };
  const shared = { font, labelFont: font, stroke: color("muted"), grid: line, ticks: line, labelSize: 22 };
  const size = (self, values) =>
    16 + 0.62 * parseFloat(font) * Math.max(3, ...(values ?? [""]).map((v) => String(v).length));
  return [
    { ...shared, ...x },
    { ...shared, size, label: y || undefined, values: (self, values) => values.map(short) },
  ];
}

function draw() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${Math.round(0.8 * rem)}px ${getComputedStyle(document.body).fontFamily}`;
  const held = document.activeElement;
  for (const plot of plots) plot.destroy();
  plots = [signal(font), spectrum(font)].filter(Boolean);
  held?.focus({ preventScroll: true });
  describe();
}

function signal(font) {
  const stroke = color("series-1");
  const single = chart.step === 1;
  const series = [{}, { stroke, width: 1.25, points: { show: single && chart.t.length < box.clientWidth / 8, size: 5 } }];
  const data = [chart.t, chart.hi];
  if (!single) {
    series.push({ stroke, width: 1.25, points: { show: false } });
    data.push(chart.lo);
  }
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: Math.max(220, Math.min(innerHeight * 0.38, 800)),
      ms: 1,
      series,
      bands: single ? [] : [{ series: [1, 2], fill: faded(stroke, 0.35) }],
      scales: { x: { time: false, auto: false, min: view.from, max: view.to } },
      legend: { show: false },
      axes: axes(font, { values: ticks, splits, label: "ms", space: 5.5 * parseFloat(font) }, chart.unit),
      cursor: { drag: { x: true, y: false, setScale: false } },
      hooks: { setSelect: [selected], draw: [gaps], setCursor: [(self) => describe(self)] },
    },
    data,
    box,
  );
  touch(plot);
  return plot;
}

// Where samples are missing.
function gaps(self) {
  const { ctx, bbox } = self;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = faded(color("warn-line"), 0.3);
  for (const [from, to] of chart.gaps) {
    const [x, end] = [self.valToPos(from, "x", true), self.valToPos(to, "x", true)];
    ctx.fillRect(Math.min(x, end), bbox.top, Math.max(2, Math.abs(end - x)), bbox.height);
  }
  ctx.restore();
}

function spectrum(font) {
  const target = document.getElementById("spectrum");
  const bins = document.getElementById("bins");
  const peaks = document.getElementById("peaks");
  const found = chart.spectrum;
  if (!found) {
    bins.textContent = "There are too few samples without a gap for a spectrum.";
    peaks.replaceChildren();
    return null;
  }
  bins.textContent =
    `Amplitude of ${found.samples.toLocaleString("en")} samples without a gap, Hann window, ${short(found.resolution)} Hz between bins.`;
  table(peaks, found.peaks);
  return new uPlot(
    {
      width: target.clientWidth,
      height: Math.max(200, Math.min(innerHeight * 0.32, 700)),
      series: [{}, { stroke: color("series-1"), fill: faded(color("series-1"), 0.18), width: 1.25, points: { show: false } }],
      scales: { x: { time: false }, y: { range: (self, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      legend: { show: false },
      axes: axes(font, { label: "Hz", values: (self, values) => values.map(short) }, chart.unit),
      cursor: { drag: { x: true, y: false } },
    },
    [found.f, found.a],
    target,
  );
}

function table(target, peaks) {
  const rows = peaks.map(
    ([frequency, amplitude], index) =>
      `<tr><td>${index + 1}</td><td class="number">${short(frequency)} Hz</td><td class="number">${short(amplitude)} <span></span></td></tr>`,
  );
  patch(
    target,
    `<table><caption class="muted small">Peaks</caption><thead><tr><th></th><th class="number">Frequency</th><th class="number">Amplitude</th></tr></thead><tbody>${rows.join("")}</tbody></table>`,
  );
  for (const unit of target.querySelectorAll("span")) unit.textContent = chart.unit;
}

function describe(self) {
  const parts = [
    `${clock(view.from)} to ${clock(view.to)}`,
    `${short(Number((view.to - view.from).toPrecision(4)))} ms`,
    chart.rate ? `${chart.rate} Hz, ${chart.type}` : "no samples here",
    `${chart.blocks} block${chart.blocks === 1 ? "" : "s"}`,
  ];
  if (chart.gaps.length > 0) {
    const missing = chart.gaps.reduce((sum, gap) => sum + gap[2], 0);
    parts.push(`${chart.gaps.length} gap${chart.gaps.length === 1 ? "" : "s"}, ${missing.toLocaleString("en")} samples missing`);
  }
  if (chart.step > 1) parts.push(`band: min to max of ${chart.step} samples`);
  if (view.live) parts.push("live");
  const at = self?.cursor.idx;
  if (at !== null && at !== undefined && chart.hi[at] !== null && chart.hi[at] !== undefined) {
    const [lo, hi] = [short(chart.lo[at]), short(chart.hi[at])];
    parts.push(`at ${clock(chart.t[at])}: ${lo === hi ? lo : `${lo} … ${hi}`} ${chart.unit}`);
  }
  document.getElementById("about").textContent = parts.join(" · ");
  document.querySelector('[data-do="live"]').setAttribute("aria-pressed", String(view.live));
}

// Moving about

function go(from, to) {
  const span = Math.min(LONGEST, Math.max(SHORTEST, to - from));
  const middle = (from + to) / 2;
  Object.assign(view, { live: false, from: middle - span / 2, to: middle + span / 2 });
  stop();
  stop = () => {};
  plots[0]?.setScale("x", { min: view.from, max: view.to });
  later(150);
}

function zoom(factor, at = 0.5) {
  const span = view.to - view.from;
  const fixed = view.from + span * at;
  go(fixed - span * factor * at, fixed + span * factor * (1 - at));
}

function move(share) {
  const by = (view.to - view.from) * share;
  go(view.from + by, view.to + by);
}

function live() {
  view.live = true;
  load();
  listen();
}

const ACTIONS = { in: () => zoom(0.5), out: () => zoom(2), left: () => move(-0.3), right: () => move(0.3), live };
const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", l: "live", L: "live", Home: "live" };

function selected(self) {
  const { left, width } = self.select;
  if (width < 4) return;
  const [from, to] = [self.posToVal(left, "x"), self.posToVal(left + width, "x")];
  self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  go(from, to);
}

function touch(plot) {
  const over = plot.over;
  const fingers = new Map();
  over.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const place = over.getBoundingClientRect();
      const at = Math.min(1, Math.max(0, (event.clientX - place.left) / place.width));
      if (event.shiftKey) return move(event.deltaY / place.width);
      zoom(Math.pow(1.0018, Math.max(-300, Math.min(300, event.deltaY))), at);
    },
    { passive: false },
  );
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") return;
    fingers.set(event.pointerId, event.clientX);
    over.setPointerCapture(event.pointerId);
  });
  over.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const place = over.getBoundingClientRect();
    const before = [...fingers.values()];
    fingers.set(event.pointerId, event.clientX);
    const after = [...fingers.values()];
    if (after.length === 1) return move((before[0] - after[0]) / place.width);
    const [was, is] = [Math.abs(before[0] - before[1]), Math.abs(after[0] - after[1])];
    if (was > 8 && is > 8) zoom(was / is, ((after[0] + after[1]) / 2 - place.left) / place.width);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    over.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
}

// The link in the browser's bar, the downloads and the list of blocks: of the same stretch.
async function links() {
  const parameters = query();
  history.replaceState(null, "", `/wave?${parameters}`);
  const stretch = { from: nanos(view.from), to: nanos(view.to) };
  document.getElementById("csv").href = `/wave/raw?${query({ ...stretch, format: "csv" })}`;
  document.getElementById("bin").href = `/wave/raw?${query({ ...stretch, format: "bin" })}`;
  const mine = request;
  const answer = await fetch(`/wave?${parameters}`);
  if (!answer.ok || mine !== request) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("blocks");
  if (fresh) patch(document.getElementById("blocks"), fresh.innerHTML);
}

function start() {
  const asked = new URLSearchParams(location.search);
  const moment = (text) => (/^-?\d+$/.test(text) ? Number(text) / (text.length > 15 ? 1e6 : 1) : Date.parse(text));
  if (asked.has("from") && asked.has("to")) {
    Object.assign(view, { live: false, from: moment(asked.get("from")), to: moment(asked.get("to")) });
  } else if (asked.has("at")) {
    const at = moment(asked.get("at"));
    Object.assign(view, { live: false, from: at - 500, to: at + 500 });
  }
  const tools = document.getElementById("tools");
  tools.hidden = false;
  tools.addEventListener("click", (event) => {
    const name = event.target.closest("[data-do]")?.dataset.do;
    if (name && chart) ACTIONS[name]();
  });
  box.addEventListener("keydown", (event) => {
    const name = KEYS[event.key];
    if (!name || !chart || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    ACTIONS[name]();
  });
  const again = () => chart && draw();
  document.documentElement.addEventListener("theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = 0;
  new ResizeObserver(() => {
    if (!chart || box.clientWidth === width) return;
    width = box.clientWidth;
    draw();
  }).observe(box);
  load();
  listen();
}

start();
