"use strict";
// The search page. Everything it shows comes in by textContent: text of documents stays text.

const PAGE = 10;
const DEPTH = 200;
const WAIT_MS = 180;
const OPERATORS = {
  number: ["=", "!=", "<", "<=", ">", ">="],
  date: [">=", "<", "=", "!=", "<=", ">"],
  string: ["=", "!="],
  strings: ["=", "!="],
  boolean: ["=", "!="],
};

const byId = (id) => document.getElementById(id);
const parts = Object.fromEntries(
  ["form", "query", "index", "ranking", "by", "mode", "filter", "builder", "field", "operator", "value", "add",
    "unlock", "key", "status", "problem", "results", "pages", "previous", "page", "next", "hit",
  ].map((id) => [id, byId(id)]));

let page = 0;
let timer = 0;
let running = null;
let fields = {};
let shown = null;

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

async function ask(path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem("lsr-key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it running?");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  if (answer.status === 401) parts.unlock.hidden = false;
  const error = new Error(found.detail || `The service answered ${answer.status}.`);
  error.hint = found.hint;
  error.id = found.request_id;
  throw error;
}

const address = () => `v1/indexes/${encodeURIComponent(parts.index.value)}`;

function state() {
  return {
    q: parts.query.value.trim(), index: parts.index.value, by: parts.by.value,
    mode: parts.mode.value, filter: parts.filter.value.trim(), page: page ? String(page + 1) : "",
  };
}

function remember(replace) {
  const url = new URL(location.href);
  url.search = new URLSearchParams(Object.entries(state()).filter(([, value]) => value));
  if (url.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
}

function recall() {
  const given = new URLSearchParams(location.search);
  parts.query.value = given.get("q") || "";
  parts.filter.value = given.get("filter") || "";
  parts.mode.value = given.get("mode") || "";
  parts.by.value = given.get("by") || ""; // describe() looks again when it has the choices
  if ([...parts.index.options].some((option) => option.value === given.get("index"))) {
    parts.index.value = given.get("index");
  }
  page = Math.min(DEPTH / PAGE, Math.max(1, parseInt(given.get("page"), 10) || 1)) - 1;
}

function offerLegs(legs) {
  const offered = legs.length > 1 ? ["", "hybrid", ...legs] : [""];
  const chosen = parts.by.value || new URLSearchParams(location.search).get("by") || "";
  parts.by.replaceChildren(...offered.map((leg) => new Option(leg || "default", leg)));
  parts.by.value = offered.includes(chosen) ? chosen : "";
  parts.ranking.hidden = legs.length < 2;
}

function tell(text, busy = false) {
  parts.status.textContent = text;
  parts.status.classList.toggle("busy", busy);
}

function showProblem(error) {
  parts.problem.textContent = [error.message, error.hint && `Hint: ${error.hint}`,
    error.id && `Request ${error.id}`].filter(Boolean).join("\n");
  parts.problem.hidden = false;
  parts.results.replaceChildren();
  parts.pages.hidden = true;
  tell("");
}

async function search(typed = false) {
  clearTimeout(timer);
  if (running) running.abort();
  const now = state();
  document.title = now.q ? `${now.q} - lsr search` : "lsr search";
  remember(typed);
  parts.problem.hidden = true;
  if (!now.q || !now.index) {
    parts.results.replaceChildren();
    parts.pages.hidden = true;
    tell(now.index ? "Type to search." : "");
    return;
  }
  const turn = new AbortController();
  running = turn;
  tell("Searching…", true);
  parts.results.classList.add("stale");
  parts.results.setAttribute("aria-busy", "true");
  const body = { query: now.q, limit: PAGE, offset: page * PAGE, depth: DEPTH, highlight: true };
  if (now.filter) body.filter = now.filter;
  if (now.by) body.mode = now.by;
  if (now.mode === "exact") body.exact = true;
  if (now.mode === "fast" && (!now.by || now.by === "sparse" || now.by === "hybrid")) {
    body.recall = 0.95;
  }
  const started = performance.now();
  try {
    const found = await ask(`${address()}/search`, body, turn.signal);
    show(found, now, performance.now() - started);
  } catch (error) {
    if (error.name === "AbortError") return;
    showProblem(error);
  }
  parts.results.classList.remove("stale");
  parts.results.removeAttribute("aria-busy");
}

function show(found, asked, roundTrip) {
  shown = asked;
  const first = page * PAGE;
  parts.results.replaceChildren(...found.hits.map(showHit));
  const stages = Object.entries(found.timings).map(([name, spent]) => `${name} ${spent.toFixed(1)}`);
  const count = found.total.value;
  if (count) {
    const total = found.total.relation === "gte" ? `at least ${count}` : String(count);
    const range = found.hits.length ? `${first + 1}–${first + found.hits.length} of ${total}`
      : `no more hits; there are ${total}`;
    tell(`${range} in ${found.took_ms.toFixed(1)} ms (${stages.join(", ")}; ${found.path}; `
      + `${roundTrip.toFixed(0)} ms with the way here)`);
  } else {
    tell(asked.filter ? "Nothing matches. Try it without the filter." : "Nothing matches.");
  }
  for (const warning of found.warnings) parts.status.append(` ${warning}.`);
  parts.pages.hidden = !count || (page === 0 && count <= PAGE);
  parts.page.textContent = `Page ${page + 1}`;
  parts.previous.disabled = page === 0;
  parts.next.disabled = first + PAGE >= count;
}

function marked(element, highlight, otherwise) {
  if (!highlight) {
    element.textContent = otherwise;
    return;
  }
  // Marks count characters; a string of JavaScript counts UTF-16 units.
  const text = Array.from(highlight.text);
  let at = 0;
  for (const [start, end] of highlight.marks) {
    element.append(text.slice(at, start).join(""), make("mark", text.slice(start, end).join("")));
    at = end;
  }
  element.append(text.slice(at).join(""));
}

function showHit(hit) {
  const item = parts.hit.content.cloneNode(true).firstElementChild;
  const parted = Object.fromEntries((hit.highlights || []).map((one) => [one.field, one]));
  marked(item.querySelector("h2"), parted.title, hit.title || hit.id);
  marked(item.querySelector(".snippet"), parted.text, (hit.text || "").slice(0, 240));
  const meta = item.querySelector(".meta");
  meta.append(make("b", hit.id), ` · ${hit.score.toFixed(3)}`);
  for (const [name, value] of Object.entries(hit.fields)) {
    meta.append(` · ${name}: ${Array.isArray(value) ? value.join(", ") : value}`);
  }
  const button = item.querySelector(".why");
  const panel = item.querySelector(".reasons");
  panel.id = `why-${hit.rank}`;
  button.setAttribute("aria-controls", panel.id);
  button.setAttribute("aria-label", `Why does ${hit.title || hit.id} match?`);
  button.addEventListener("click", () => toggle(hit, button, panel));
  return item;
}

async function toggle(hit, button, panel) {
  const opens = panel.hidden;
  panel.hidden = !opens;
  button.setAttribute("aria-expanded", String(opens));
  if (!opens || panel.childElementCount) return;
  panel.textContent = "Looking…";
  try {
    const asked = { query: shown.q, id: hit.id };
    if (shown.by) asked.mode = shown.by;
    if (shown.by === "hybrid") asked.depth = DEPTH;
    const why = await ask(`${address()}/explain`, asked);
    const byLeg = Object.entries(why.legs || {}).filter(([, leg]) => leg.terms.length);
    panel.replaceChildren(legs(hit), ...(byLeg.length
      ? byLeg.map(([leg, found]) => terms(found, leg)) : [terms(why)]));
  } catch (error) {
    panel.textContent = error.message;
  }
}

function table(caption, heads, rows) {
  const made = make("table");
  made.append(make("caption", caption));
  const head = make("tr");
  for (const [text, kind] of heads) {
    const cell = make("th", text, kind);
    cell.scope = "col";
    head.append(cell);
  }
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  body.append(...rows);
  made.append(top, body);
  return made;
}

function legs(hit) {
  const rows = Object.keys(hit.scores).map((leg) => {
    const row = make("tr");
    row.append(make("td", leg), make("td", `${hit.ranks[leg] ?? "–"}`, "number"),
      make("td", hit.scores[leg].toFixed(4), "number"));
    return row;
  });
  return table("Rank and score by leg", [["leg"], ["rank", "number"], ["score", "number"]], rows);
}

function terms(why, leg) {
  const most = Math.max(...why.terms.map((term) => term.product), 1e-9);
  const rows = why.terms.map((term) => {
    const row = make("tr");
    const share = make("td", undefined, "share");
    const bar = make("meter");
    bar.max = most;
    bar.value = term.product;
    bar.setAttribute("aria-label", `${term.token} gives ${term.product.toFixed(3)}`);
    share.append(bar);
    row.append(make("td", term.token), share, make("td", term.product.toFixed(3), "number"),
      make("td", `${term.query.toFixed(2)} × ${term.document.toFixed(2)}`, "number wide"));
    return row;
  });
  const caption = `${leg ? `${leg}: ` : ""}${why.terms.length} shared terms give ${why.score.toFixed(4)}`
    + (why.passage ? `, by passage ${why.passage.number + 1}` : "");
  return table(caption, [["term"], ["share"], ["product", "number"],
    ["query × document", "number wide"]], rows);
}

function turnTo(next) {
  const most = DEPTH / PAGE - 1;
  if (next < 0 || next > most || next === page) return;
  page = next;
  search().then(() => window.scrollTo(0, 0));
}

async function describe() {
  fields = {};
  parts.builder.hidden = true;
  if (!parts.index.value) return;
  const found = await ask(address());
  fields = found.fields;
  offerLegs(found.legs || []);
  parts.field.replaceChildren(...Object.keys(fields).map((name) => new Option(name, name)));
  parts.builder.hidden = Object.keys(fields).length === 0;
  offerOperators();
}

function offerOperators() {
  const kinds = OPERATORS[fields[parts.field.value]] || ["="];
  parts.operator.replaceChildren(...kinds.map((one) => new Option(one, one)));
}

function addCondition() {
  const kind = fields[parts.field.value];
  let value = parts.value.value.trim();
  if (!value) {
    parts.value.focus();
    return;
  }
  if (kind === "string" || kind === "strings") value = JSON.stringify(value);
  const name = /^[A-Za-z_][\w.-]*$/.test(parts.field.value) ? parts.field.value
    : `\`${parts.field.value.replaceAll("`", "``")}\``;
  const before = parts.filter.value.trim();
  const condition = `${name} ${parts.operator.value} ${value}`;
  parts.filter.value = before ? `(${before}) and ${condition}` : condition;
  parts.value.value = "";
  page = 0;
  search();
}

function move(step) {
  const hits = [...parts.results.children];
  if (!hits.length) return;
  const at = hits.findIndex((hit) => hit.contains(document.activeElement));
  const next = at < 0 ? (step > 0 ? 0 : hits.length - 1)
    : Math.min(hits.length - 1, Math.max(0, at + step));
  hits[next].focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const writes = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape" && writes) {
    event.preventDefault(); // a search field would forget what was typed
    event.target.blur();
    return;
  }
  if (event.key === "ArrowDown" && event.target === parts.query) {
    event.preventDefault();
    move(1);
    return;
  }
  if (writes) return;
  const actions = {
    "/": () => parts.query.select(),
    j: () => move(1),
    k: () => move(-1),
    n: () => parts.next.disabled || parts.pages.hidden || turnTo(page + 1),
    p: () => turnTo(page - 1),
    w: () => document.activeElement.closest?.(".hit")?.querySelector(".why").click(),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

async function begin() {
  tell("Loading…", true);
  try {
    const { indexes } = await ask("v1/indexes");
    parts.index.replaceChildren(...indexes.map((one) =>
      new Option(`${one.name} (${one.n_documents.toLocaleString("en")})`, one.name)));
    recall();
    await describe();
    await search(true);
  } catch (error) {
    showProblem(error);
  }
}

function later() {
  page = 0;
  clearTimeout(timer);
  timer = setTimeout(() => search(true), WAIT_MS);
}

parts.query.addEventListener("input", later);
parts.filter.addEventListener("input", later);
parts.by.addEventListener("change", () => { page = 0; search(); });
parts.mode.addEventListener("change", () => { page = 0; search(); });
parts.index.addEventListener("change", () => {
  page = 0;
  parts.filter.value = "";
  describe().then(() => search(), showProblem);
});
parts.field.addEventListener("change", offerOperators);
parts.add.addEventListener("click", addCondition);
parts.value.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    addCondition();
  }
});
parts.form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
parts.unlock.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("lsr-key", parts.key.value.trim());
  parts.key.value = "";
  parts.unlock.hidden = true;
  parts.problem.hidden = true;
  begin();
});
parts.previous.addEventListener("click", () => turnTo(page - 1));
parts.next.addEventListener("click", () => turnTo(page + 1));
document.addEventListener("keydown", onKey);
window.addEventListener("popstate", async () => {
  const before = parts.index.value;
  recall();
  if (parts.index.value !== before) await describe().catch(showProblem);
  search(true);
});
begin();
