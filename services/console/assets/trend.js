// The chart of one or several tags: from the database and the log, zoomed, live.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { follow } from "./live.js";

const page = document.getElementById("trend");
const box = document.getElementById("chart");
const tags = [...page.querySelectorAll(".chip")].map((chip) => chip.dataset.tag);
const SECOND = 1000;
const SHORTEST = 10;
const LONGEST = 400 * 86400 * SECOND;
// More axes than this leave no room for the chart.
const MAX_AXES = 4;

// What is looked at: a stretch up to now of `span` milliseconds, or a fixed one.
const view = { live: true, span: 15 * 60 * SECOND, from: 0, to: 0 };
let chart = null;
let plot = null;
let stop = () => {};
let request = 0;
let waiting = 0;
let axes = "unit";
const hidden = new Set();

// Asking and following

function query() {
  const parameters = new URLSearchParams();
  for (const tag of tags) parameters.append("tag", tag);
  if (view.live) parameters.set("last", `${Math.max(SECOND, Math.round(view.span))}ms`);
  else {
    parameters.set("from", iso(view.from));
    parameters.set("to", iso(view.to));
  }
  return parameters;
}

function iso(ms) {
  return new Date(ms).toISOString();
}

async function load() {
  clearTimeout(waiting);
  const mine = ++request;
  const parameters = query();
  parameters.set("points", Math.max(100, Math.round(box.clientWidth / 1.5)));
  let answer;
  try {
    answer = await fetch(`/trend/data?${parameters}`);
  } catch {
    if (mine === request) later(3000);
    return;
  }
  if (mine !== request) return;
  if (answer.status === 401) return location.reload();
  if (!answer.ok) return tell([await problem(answer)], "bad");
  chart = await answer.json();
  if (mine !== request) return;
  tell(chart.notices, "warn");
  for (const line of chart.tags) {
    line.raw = !line.lo;
    // The chart wants one value at a time: those of one moment stand a microsecond apart.
    for (let at = 1; at < line.t.length; at++) {
      if (line.t[at] <= line.t[at - 1]) line.t[at] = line.t[at - 1] + 0.001;
    }
  }
  if (view.live) {
    view.to = chart.to;
    view.from = chart.to - view.span;
  }
  draw();
  listen();
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
  const target = document.getElementById("notices");
  target.replaceChildren(
    ...notices.map((text) => {
      const notice = document.createElement("p");
      notice.className = "notice";
      notice.dataset.state = state;
      notice.textContent = text;
      return notice;
    }),
  );
}

function listen() {
  stop();
  stop = () => {};
  if (!view.live) return;
  const parameters = new URLSearchParams();
  for (const tag of tags) parameters.append("tag", tag);
  parameters.set("since", chart.next.join(","));
  let begun = false;
  stop = follow(`/trend/live?${parameters}`, {
    message: (data) => {
      const news = JSON.parse(data);
      // A connection that begins anew begins where it began before: ask for everything again.
      if (news.gap || (news.number === 0 && begun)) return later(0);
      begun = true;
      add(news);
    },
  });
}

function add(news) {
  view.to = news.now;
  view.from = news.now - view.span;
  let full = false;
  news.tags.forEach((added, index) => {
    const line = chart.tags[index];
    added.t.forEach((t, at) => put(line, t, added.v[at], added.q[at]));
    for (const state of added.states) {
      const last = line.states.at(-1);
      if (!last || last[1] !== state[1] || last[2] !== state[2]) line.states.push(state);
    }
    line.count += added.t.length;
    forget(line);
    full ||= line.raw && line.t.length > 3 * box.clientWidth;
  });
  show();
  // So many that the server makes an envelope of them.
  if (full) later(0);
}

function put(line, t, v, q) {
  if (line.raw) {
    let at = line.t.length;
    while (at > 0 && line.t[at - 1] > t) at--;
    const own = at > 0 && line.t[at - 1] === t ? t + 0.001 : t;
    line.t.splice(at, 0, own);
    line.v.splice(at, 0, v);
    line.q.splice(at, 0, q);
    return;
  }
  const middle = chart.from + (Math.floor((t - chart.from) / chart.width) + 0.5) * chart.width;
  let at = line.t.length - 1;
  while (at >= 0 && line.t[at] > middle) at--;
  if (at >= 0 && line.t[at] === middle) {
    line.v[at] = v;
    line.q[at] = Math.max(line.q[at], q);
    if (v !== null) {
      line.lo[at] = line.lo[at] === null ? v : Math.min(line.lo[at], v);
      line.hi[at] = line.hi[at] === null ? v : Math.max(line.hi[at], v);
    }
    return;
  }
  line.t.splice(at + 1, 0, middle);
  for (const [name, value] of [["v", v], ["lo", v], ["hi", v], ["q", q]]) {
    line[name].splice(at + 1, 0, value);
  }
}

// One point before the stretch stays, so that the line reaches its edge.
function forget(line) {
  let old = 0;
  while (old + 1 < line.t.length && line.t[old + 1] < view.from) old++;
  if (old < 50) return;
  for (const name of ["t", "v", "q", "lo", "hi"]) line[name]?.splice(0, old);
}

// Drawing

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function faded(hex, alpha) {
  return `${hex}${Math.round(alpha * 255).toString(16).padStart(2, "0")}`;
}

function scale(index) {
  const line = chart.tags[index];
  if (axes === "one") return "y";
  if (axes === "norm") return "norm";
  return axes === "unit" && line.unit ? `unit ${line.unit}` : `tag ${index}`;
}

// What is drawn of a line's values: themselves, or their place between smallest and largest.
function drawn(line) {
  const all = line.lo ? [line.v, line.lo, line.hi] : [line.v];
  if (axes !== "norm") return all;
  const [low, high] = extremes(line);
  const size = high > low ? high - low : 1;
  return all.map((values) => values.map((v) => (v === null ? null : (v - low) / size)));
}

function extremes(line) {
  let [low, high] = [Infinity, -Infinity];
  line.t.forEach((t, at) => {
    if (t < view.from || t > view.to || line.v[at] === null) return;
    low = Math.min(low, line.lo?.[at] ?? line.v[at]);
    high = Math.max(high, line.hi?.[at] ?? line.v[at]);
  });
  return [low, high];
}

function data() {
  const tables = chart.tags.map((line) => [line.t, ...drawn(line)]);
  if (tables.every((table) => table[0].length === 0)) return [[], ...tables.flatMap((t) => t.slice(1))];
  return uPlot.join(tables);
}

function series() {
  const all = [{}];
  const bands = [];
  chart.tags.forEach((line, index) => {
    const stroke = color(`series-${(index % 8) + 1}`);
    const shared = { scale: scale(index), show: !hidden.has(index), points: { show: false } };
    const paths = line.steps ? uPlot.paths.stepped({ align: 1 }) : undefined;
    const points = line.raw && line.t.length < box.clientWidth / 12 ? { show: true, size: 5 } : { show: false };
    all.push({ ...shared, label: line.name, stroke, width: 1.75, paths, points });
    if (line.raw) return;
    const edge = { ...shared, stroke: faded(stroke, 0.35), width: 1, paths };
    bands.push({ series: [all.length + 1, all.length], fill: faded(stroke, 0.22) });
    all.push({ ...edge, label: `${line.name} min` }, { ...edge, label: `${line.name} max` });
  });
  return { all, bands };
}

function yAxes(font) {
  const known = new Map();
  chart.tags.forEach((line, index) => {
    const key = scale(index);
    // A text has no height.
    if (line.t.length === 0 && line.states.length > 0) return;
    if (!hidden.has(index) && !known.has(key)) known.set(key, { line, index });
  });
  let side = 0;
  return [...known].slice(0, MAX_AXES).map(([key, { line, index }]) => {
    const alone = axes === "own" || (axes === "unit" && !line.unit);
    const stroke = alone && known.size > 1 ? color(`series-${(index % 8) + 1}`) : color("muted");
    const place = side++ % 2 === 0 ? 3 : 1;
    return {
      scale: key,
      side: place,
      font,
      stroke,
      label: axes === "norm" ? "share of the range" : line.unit || undefined,
      labelFont: font,
      labelSize: 22,
      size: (self, values) => 16 + 0.62 * parseFloat(font) * Math.max(3, ...(values ?? [""]).map((v) => String(v).length)),
      values: (self, ticks) => ticks.map(short),
      grid: { show: side === 1, stroke: color("line"), width: 1 },
      ticks: { stroke: color("line"), width: 1 },
    };
  });
}

function short(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e12 || size < 1e-4) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(7)));
}

const two = (number) => String(number).padStart(2, "0");

function clock(ms, precise) {
  const time = new Date(Math.round(ms));
  const text = `${two(time.getHours())}:${two(time.getMinutes())}`;
  if (precise >= 60 * SECOND) return text;
  const seconds = `${text}:${two(time.getSeconds())}`;
  return precise >= SECOND ? seconds : `${seconds}.${String(Math.floor(((ms % 1000) + 1000) % 1000)).padStart(3, "0")}`;
}

function day(ms) {
  const time = new Date(ms);
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

function timeTicks(self, ticks, axis, space, step) {
  let before = "";
  return ticks.map((ms) => {
    if (step >= 86400 * SECOND) return day(ms);
    const date = day(ms);
    const text = date === before ? clock(ms, step) : `${clock(ms, step)}\n${date}`;
    before = date;
    return text;
  });
}

function draw() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${Math.round(0.8 * rem)}px ${getComputedStyle(document.body).fontFamily}`;
  const { all, bands } = series();
  const scales = { x: { time: true, min: view.from, max: view.to, auto: false } };
  chart.tags.forEach((line, index) => {
    scales[scale(index)] ??= { range: (self, low, high) => bounds(low, high) };
  });
  const options = {
    width: box.clientWidth,
    height: height(),
    ms: 1,
    series: all,
    bands,
    scales,
    legend: { show: false },
    axes: [
      {
        font,
        stroke: color("muted"),
        space: 5.5 * rem,
        size: 3.2 * rem,
        values: timeTicks,
        grid: { stroke: color("line"), width: 1 },
        ticks: { stroke: color("line"), width: 1 },
      },
      ...yAxes(font),
    ],
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
    hooks: {
      setSelect: [selected],
      setCursor: [legend],
      draw: [marks],
    },
  };
  plot?.destroy();
  box.querySelector(".uplot")?.remove();
  plot = new uPlot(options, data(), box);
  touch(plot.over);
  show();
}

function height() {
  return Math.max(240, Math.min(innerHeight * 0.55, 1100));
}

function bounds(low, high) {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  if (axes === "norm") return [-0.03, 1.03];
  const room = high > low ? (high - low) * 0.06 : Math.max(Math.abs(high) * 0.1, 0.5);
  return [low - room, high + room];
}

// Puts what is known now on the screen.
function show() {
  if (!plot) return;
  plot.batch(() => {
    plot.setData(data(), false);
    plot.setScale("x", { min: view.from, max: view.to });
    for (const key of Object.keys(plot.scales)) if (key !== "x") rescale(key);
  });
  legend();
  about();
  controls();
}

// Only what is on the screen decides how high the scale is.
function rescale(key) {
  let [low, high] = [null, null];
  if (axes !== "norm") {
    chart.tags.forEach((line, index) => {
      if (scale(index) !== key || hidden.has(index)) return;
      const [from, to] = extremes(line);
      if (!Number.isFinite(from)) return;
      low = low === null ? from : Math.min(low, from);
      high = high === null ? to : Math.max(high, to);
    });
  }
  const [min, max] = bounds(low, high);
  plot.setScale(key, { min, max });
}

// Stretches of bad or uncertain quality below the lines, and what texts said above them.
function marks(self) {
  const { ctx, bbox } = self;
  const ratio = devicePixelRatio;
  const thick = 5 * ratio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  let lane = 0;
  chart.tags.forEach((line, index) => {
    if (hidden.has(index)) return;
    if (line.q.some((q) => q > 0)) {
      const y = bbox.top + bbox.height - (lane + 1) * (thick + ratio);
      for (const [from, to, q] of stretches(line)) {
        const x = self.valToPos(from, "x", true);
        const width = Math.max(2 * ratio, self.valToPos(to, "x", true) - x);
        ctx.fillStyle = color(q === 2 ? "bad" : "warn-line");
        ctx.fillRect(x, y, width, thick);
        ctx.fillStyle = faded(color(q === 2 ? "bad" : "warn-line"), 0.08);
        ctx.fillRect(x, bbox.top, width, bbox.height);
      }
      lane++;
    }
  });
  texts(self, ctx, bbox, ratio);
  ctx.restore();
}

function stretches(line) {
  const found = [];
  line.q.forEach((q, at) => {
    if (q === 0) return;
    const last = found.at(-1);
    const to = line.raw ? (line.t[at + 1] ?? line.t[at]) : line.t[at] + chart.width / 2;
    const from = line.raw ? line.t[at] : line.t[at] - chart.width / 2;
    if (last && last[2] === q && from <= last[1]) last[1] = to;
    else found.push([from, to, q]);
  });
  return found;
}

function texts(self, ctx, bbox, ratio) {
  const size = 15 * ratio;
  let top = bbox.top + 2 * ratio;
  ctx.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  chart.tags.forEach((line, index) => {
    if (line.states.length === 0 || hidden.has(index)) return;
    const stroke = color(`series-${(index % 8) + 1}`);
    const kinds = [...new Set(line.states.map((state) => state[1]))];
    line.states.forEach(([from, text, quality], at) => {
      const x = Math.max(bbox.left, self.valToPos(from, "x", true));
      const to = line.states[at + 1]?.[0] ?? Math.min(view.to, Date.now() + SECOND);
      const end = Math.min(bbox.left + bbox.width, self.valToPos(to, "x", true));
      if (end <= x) return;
      ctx.fillStyle = quality > 0 ? faded(color("bad"), 0.3) : faded(stroke, 0.16 + 0.2 * (kinds.indexOf(text) % 3));
      ctx.fillRect(x, top, end - x - ratio, size);
      ctx.fillStyle = color("text");
      if (end - x > ctx.measureText(text).width + 6 * ratio) ctx.fillText(text, x + 3 * ratio, top + size / 2);
    });
    top += size + 2 * ratio;
  });
}

// Legend: the value under the cursor, or the newest one

function legend() {
  const target = document.getElementById("legend");
  if (target.children.length !== chart.tags.length) build(target);
  const time = plot?.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null;
  chart.tags.forEach((line, index) => {
    const item = target.children[index];
    item.querySelector(".value").textContent = `${value(line, time)}${line.unit ? ` ${line.unit}` : ""}`;
    item.querySelector(".more").textContent = more(line);
  });
}

function value(line, time) {
  if (line.states.length > 0 && line.t.length === 0) {
    const states = time === null ? line.states : line.states.filter((state) => state[0] <= time);
    return states.at(-1)?.[1] ?? "–";
  }
  let at = line.t.length - 1;
  if (time !== null) while (at >= 0 && line.t[at] > time) at--;
  else while (at > 0 && line.t[at] > view.to) at--;
  if (at < 0) return "–";
  const now = short(line.v[at]);
  return line.raw || time === null ? now : `${short(line.lo[at])} … ${short(line.hi[at])}`;
}

function more(line) {
  const [low, high] = extremes(line);
  const parts = [];
  if (Number.isFinite(low)) parts.push(`${short(low)} to ${short(high)}`);
  if (line.states.length > 0) parts.push(`${line.states.length.toLocaleString("en")} states`);
  if (line.raw && line.t.length === 0 && line.states.length > 0) return parts.join(" · ");
  if (line.raw) parts.push(`${line.count.toLocaleString("en")} values`);
  else parts.push(`band: min to max of ${line.count.toLocaleString("en")} values`);
  if (line.q.includes(2)) parts.push("bad quality marked red");
  else if (line.q.includes(1)) parts.push("uncertain quality marked yellow");
  if (line.states_cut) parts.push("older states left out");
  return parts.join(" · ");
}

function build(target) {
  target.replaceChildren(
    ...chart.tags.map((line, index) => {
      const item = document.createElement("div");
      item.className = "item";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button quiet";
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      button.title = line.tag;
      const swatch = document.createElement("span");
      swatch.className = `swatch series-${(index % 8) + 1}`;
      const same = chart.tags.filter((other) => other.name === line.name).length > 1;
      button.append(swatch, same ? `${line.parent.split("/").slice(-2).join("/")}/${line.name}` : line.name);
      button.addEventListener("click", () => {
        if (!hidden.delete(index)) hidden.add(index);
        button.setAttribute("aria-pressed", String(!hidden.has(index)));
        draw();
      });
      const value = document.createElement("span");
      value.className = "value number";
      const more = document.createElement("span");
      more.className = "more muted small number";
      item.append(button, value, more);
      return item;
    }),
  );
}

function about() {
  const span = view.to - view.from;
  const width = chart.tags.some((line) => !line.raw) ? ` One point stands for ${spell(chart.width)}.` : "";
  document.getElementById("about").textContent =
    `${day(view.from)} ${clock(view.from, 0)} to ${day(view.to)} ${clock(view.to, 0)}, ${spell(span)}${view.live ? ", live" : ""}.${width}`;
}

function spell(ms) {
  for (const [size, unit] of [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]]) {
    if (ms >= size) return `${Number((ms / size).toPrecision(3))} ${unit}`;
  }
  return `${Number(ms.toPrecision(3))} ms`;
}

// Moving about

function go(from, to) {
  let span = Math.min(LONGEST, Math.max(SHORTEST, to - from));
  const middle = (from + to) / 2;
  Object.assign(view, { live: false, span, from: middle - span / 2, to: middle + span / 2 });
  stop();
  stop = () => {};
  show();
  address();
  later(200);
}

function live(span) {
  Object.assign(view, { live: true, span: Math.min(LONGEST, Math.max(SECOND, span)) });
  address();
  load();
}

function zoom(factor, at = 0.5) {
  const span = view.to - view.from;
  if (view.live && at === 0.5) return live(span * factor);
  const fixed = view.from + span * at;
  go(fixed - span * factor * at, fixed + span * factor * (1 - at));
}

function move(share) {
  const by = (view.to - view.from) * share;
  go(view.from + by, view.to + by);
}

const ACTIONS = {
  in: () => zoom(0.5),
  out: () => zoom(2),
  left: () => move(-0.3),
  right: () => move(0.3),
  live: () => live(view.span),
};
const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", l: "live", L: "live", Home: "live" };

function selected(self) {
  const { left, width } = self.select;
  if (width < 4) return;
  const [from, to] = [self.posToVal(left, "x"), self.posToVal(left + width, "x")];
  self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  go(from, to);
}

function wheel(event) {
  event.preventDefault();
  const place = plot.over.getBoundingClientRect();
  const at = (event.clientX - place.left) / place.width;
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return move(event.deltaX / place.width);
  if (event.shiftKey) return move(event.deltaY / place.width);
  zoom(Math.pow(1.0018, Math.max(-300, Math.min(300, event.deltaY))), Math.min(1, Math.max(0, at)) || 0.0001);
}

// One finger moves, two zoom.
function touch(over) {
  const fingers = new Map();
  over.addEventListener("wheel", wheel, { passive: false });
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
    const at = ((after[0] + after[1]) / 2 - place.left) / place.width;
    if (was > 8 && is > 8) zoom(was / is, Math.min(1, Math.max(0.0001, at)));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    over.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
}

// The link in the browser's bar, and all that leads to the same stretch.
function address() {
  const parameters = query();
  history.replaceState(null, "", `/trend?${parameters}`);
  document.getElementById("csv").href = `/trend/csv?${parameters}`;
}

function controls() {
  document.querySelector('[data-do="live"]').setAttribute("aria-pressed", String(view.live));
  for (const link of page.querySelectorAll("a.last")) {
    const chosen = view.live && Math.abs(Number(link.dataset.ms) - view.span) < 1;
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const [name, ms] of [["from", view.from], ["to", view.to]]) {
    const input = document.getElementById(name);
    if (document.activeElement !== input) input.value = `${day(ms)}T${clock(ms, SECOND)}`;
  }
}

const UNITS = { ms: 1, s: 1000, m: 60000, h: 3600000, day: 86400000, days: 86400000, d: 86400000 };

function length(text) {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/.exec(text ?? "");
  return match && UNITS[match[2]] ? Number(match[1]) * UNITS[match[2]] : null;
}

// Adding a tag

function combobox() {
  const form = document.getElementById("add");
  if (!form) return;
  const input = form.elements.q;
  const offers = document.getElementById("offers");
  let asked = 0;
  let typing = 0;
  let at = -1;

  const close = () => {
    offers.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    at = -1;
  };
  const choose = (tag) => {
    const parameters = query();
    parameters.append("tag", tag);
    location.assign(`/trend?${parameters}`);
  };
  const point = (index) => {
    const items = [...offers.children];
    if (items.length === 0) return;
    at = (index + items.length) % items.length;
    items.forEach((item, n) => item.setAttribute("aria-selected", String(n === at)));
    input.setAttribute("aria-activedescendant", items[at].id);
    items[at].scrollIntoView({ block: "nearest" });
  };
  const search = async () => {
    const words = input.value.trim();
    const mine = ++asked;
    if (!words) return close();
    const answer = await fetch(`/tags/find?q=${encodeURIComponent(words)}`);
    if (!answer.ok || mine !== asked) return;
    const found = (await answer.json()).filter((offer) => !tags.includes(offer.tag));
    offers.replaceChildren(
      ...found.map((offer, index) => {
        const item = document.createElement("li");
        item.id = `offer-${index}`;
        item.setAttribute("role", "option");
        item.dataset.tag = offer.tag;
        const name = document.createElement("strong");
        name.textContent = offer.name;
        const parent = document.createElement("span");
        parent.className = "muted small";
        parent.textContent = `${offer.parent} · ${offer.value}`;
        item.append(name, parent);
        return item;
      }),
    );
    if (found.length === 0) {
      const none = document.createElement("li");
      none.className = "muted";
      none.textContent = "No tag has all of these words.";
      offers.append(none);
    }
    offers.hidden = false;
    input.setAttribute("aria-expanded", "true");
    at = -1;
  };
  input.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, 150);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (offers.hidden) search();
      else point(at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Escape") close();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const item = offers.children[Math.max(0, at)];
    if (!offers.hidden && item?.dataset.tag) choose(item.dataset.tag);
    else search();
  });
  offers.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const item = event.target.closest("li[data-tag]");
    if (item) choose(item.dataset.tag);
  });
  input.addEventListener("blur", close);
}

function start() {
  const asked = new URLSearchParams(location.search);
  if (asked.has("from")) {
    const moment = (text) => (/^-?\d+$/.test(text) ? Number(text) / (text.length > 15 ? 1e6 : 1) : Date.parse(text.length < 20 ? `${text}Z` : text));
    const [from, to] = [moment(asked.get("from")), asked.get("to") ? moment(asked.get("to")) : Date.now()];
    Object.assign(view, { live: false, from, to, span: to - from });
  } else {
    view.span = length(asked.get("last")) ?? view.span;
  }
  document.getElementById("tools").hidden = false;
  document.getElementById("tools").addEventListener("click", (event) => {
    const name = event.target.closest("[data-do]")?.dataset.do;
    if (name && chart) ACTIONS[name]();
  });
  box.addEventListener("keydown", (event) => {
    const name = KEYS[event.key];
    if (!name || !chart || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    ACTIONS[name]();
  });
  for (const link of page.querySelectorAll("a.last")) {
    link.dataset.ms = length(link.dataset.last);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      live(Number(link.dataset.ms));
    });
  }
  // What a person enters is of their time zone.
  document.getElementById("range").addEventListener("submit", (event) => {
    event.preventDefault();
    const { from, to } = event.target.elements;
    const [begin, end] = [Date.parse(from.value), Date.parse(to.value)];
    if (begin < end) go(begin, end);
    else tell(["The beginning must lie before the end."], "bad");
  });
  const select = document.getElementById("axes");
  select.addEventListener("change", () => {
    axes = select.value;
    if (chart) draw();
  });
  for (const link of page.querySelectorAll("a.remove")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const parameters = query();
      parameters.delete("tag", link.closest(".chip").dataset.tag);
      location.assign(`/trend?${parameters}`);
    });
  }
  const again = () => chart && draw();
  document.documentElement.addEventListener("theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = 0;
  new ResizeObserver(() => {
    if (!plot || box.clientWidth === width) return;
    width = box.clientWidth;
    plot.setSize({ width, height: height() });
  }).observe(box);
  load();
}

combobox();
if (box) start();
