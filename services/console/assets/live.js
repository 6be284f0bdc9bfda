// Live values: streams of Server-Sent Events, and putting what they bring into the page.

// Follows the stream at `url`. `handlers` are functions by event name; "message" is the default.
// The stream is closed while the page is hidden: a browser opens only six connections to a host.
// Returns a function that ends it.
export function follow(url, handlers) {
  let source = null;
  let retry = 0;

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(url);
    source.onopen = () => connection(url, true);
    for (const [event, handler] of Object.entries(handlers)) {
      source.addEventListener(event, (message) => handler(message.data));
    }
    source.addEventListener("ended", () => location.reload());
    source.onerror = () => {
      connection(url, false);
      // The browser tries again by itself unless the answer was an error.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        retry = setTimeout(probe, 2000);
      }
    };
  }

  // Whoever is signed out gets the sign-in page; all else may be over soon.
  async function probe() {
    try {
      const answer = await fetch(url, { method: "HEAD", headers: { accept: "text/event-stream" } });
      if (answer.status === 401) return location.reload();
    } catch {
      // No answer at all: the next try will tell.
    }
    open();
  }

  function close() {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  }

  function visibility() {
    if (document.hidden) close();
    else open();
  }

  document.addEventListener("visibilitychange", visibility);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return () => {
    document.removeEventListener("visibilitychange", visibility);
    removeEventListener("pagehide", close);
    removeEventListener("pageshow", open);
    close();
    lost.delete(url);
  };
}

// Streams without a connection.
const lost = new Set();

function connection(url, stands) {
  if (stands) lost.delete(url);
  else lost.add(url);
  const notice = document.getElementById("connection");
  if (notice) notice.hidden = lost.size === 0;
  document.documentElement.toggleAttribute("data-stale", lost.size > 0);
}

// Makes the content of `target` what `html` says, touching only what differs: focus, selection and
// transitions stay. Children with the same `id` are recognised wherever they stand.
export function patch(target, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  children(target, template.content);
}

function children(old, fresh) {
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let kept = at;
    if (wanted.id && (!at || at.id !== wanted.id)) {
      kept = [...old.children].find((child) => child.id === wanted.id) ?? null;
      if (kept) old.insertBefore(kept, at);
    } else if (at && at.id && wanted.id !== at.id) {
      kept = null;
    }
    if (kept && kept.nodeName === wanted.nodeName) {
      node(kept, wanted);
      at = kept.nextSibling;
    } else {
      old.insertBefore(wanted, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function node(old, wanted) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  // What a script draws into, or a person has open or typed, is not the server's to change.
  if (wanted.hasAttribute("data-keep")) return;
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const own = name === "open" && old.nodeName === "DETAILS";
    if (!wanted.hasAttribute(name) && !own) old.removeAttribute(name);
  }
  children(old, wanted);
}

// Posts a form's fields to `path` with this session's token; for what is not a form of its own.
export function post(path, fields) {
  const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
  return fetch(path, {
    method: "POST",
    headers: { "x-csrf-token": csrf },
    body: new URLSearchParams(fields),
  });
}
