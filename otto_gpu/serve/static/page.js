"use strict";
// Everything that comes from the run is put in as text (textContent), never as HTML.

const byId = (id) => document.getElementById(id);
let health = { types: ["clicks"], targets: [], ts_unit: "ms", k: 20 };
let examples = [];
let asked = null; // what the lists on the page are the answer to

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

// ------------------------------------------------------------------------------------------------ the service
// integers beyond what a number holds stay the text that they are
const whole = (key, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value;

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The service does not answer.");
  }
  const told = JSON.parse(await answer.text(), whole);
  if (!answer.ok) throw new Error(told.error ?? `The service answered ${answer.status}.`);
  return told;
}

// ------------------------------------------------------------------------------------------------ times and ids
const PER_MS = { s: 1 / 1000, ms: 1, us: 1000, ns: 1e6 };

function shownTime(ts) {
  if (health.ts_unit === "text") return String(ts); // in a format of the log's own
  const ms = health.ts_unit === "iso" ? Date.parse(ts) : Number(ts) / PER_MS[health.ts_unit];
  return Number.isFinite(ms) ? new Date(ms).toISOString().slice(0, 19).replace("T", " ") : String(ts);
}

function givenTime(text) {
  if (health.ts_unit === "text") return text.trim() || null;
  const ms = Date.parse(text.trim().replace(" ", "T") + "Z");
  if (!Number.isFinite(ms)) return null;
  if (health.ts_unit === "iso") return new Date(ms).toISOString();
  return ms * PER_MS[health.ts_unit];
}

// 7 and "7" are one item to the service
const givenId = (text) => (/^-?(0|[1-9]\d{0,14})$/.test(text) ? Number(text) : text);

// ------------------------------------------------------------------------------------------------ the session
function row(event) {
  const aid = el("input", { class: "aid", "aria-label": "Item", required: true, autocomplete: "off", spellcheck: "false" });
  const type = el("select", { "aria-label": "Type" }, ...health.types.map((t) => el("option", { value: t }, t)));
  const time = el("input", { class: "time", "aria-label": "Time (UTC)", required: true, autocomplete: "off" });
  aid.value = event.aid;
  type.value = event.type;
  time.value = shownTime(event.ts);
  const made = el("li", {}, aid, type, time);
  const remove = el("button", { type: "button", "aria-label": "Remove this event", title: "Remove", onclick: () => { made.remove(); changed(); } }, "×");
  made.append(remove);
  const shown = time.value;
  made.read = () => {
    const ts = time.value === shown ? event.ts : givenTime(time.value); // what is shown leaves the milliseconds out
    time.setAttribute("aria-invalid", ts === null);
    if (ts === null) throw new Error(`"${time.value}" is no time: write it as 2022-08-28 21:59:42.`);
    return { ...event, aid: givenId(aid.value.trim()), ts, type: type.value }; // what else is known of an event stays
  };
  return made;
}

const rows = () => [...byId("events").children];

function changed() {
  byId("none").hidden = rows().length > 0;
  document.querySelector(".titles").hidden = rows().length === 0;
  document.body.classList.toggle("stale", asked !== null);
}

function fill(events) {
  byId("events").replaceChildren(...events.map(row));
  changed();
}

function add() {
  const last = rows().at(-1);
  let ts = null;
  if (last) {
    const ms = Date.parse(last.querySelector(".time").value.replace(" ", "T") + "Z") + 60000;
    ts = Number.isFinite(ms) ? givenTime(new Date(ms).toISOString().slice(0, -1)) : null;
  }
  ts ??= givenTime(new Date().toISOString().slice(0, 19));
  const made = row({ aid: "", type: health.types[0], ts });
  byId("events").append(made);
  changed();
  made.querySelector("input").focus();
}

// ------------------------------------------------------------------------------------------------ the lists
function reasonOf(item, sources) {
  if (!sources.length) return "popular item";
  const { source, rank, because } = sources[0];
  if (source === "history") return "in the session already";
  const key = because[0];
  const why = !key ? "" : ` · ${brought(item, key)}`;
  return `${source} #${rank}${why}`;
}

function brought(item, key) {
  if (key.matrix === null) return String(key.aid) === String(item) && key.in_history ? "in the session already" : `named before as ${key.aid}`;
  return `${key.in_history ? "because of" : "by way of"} ${key.aid} (${key.matrix})`;
}

function show(answer) {
  const notes = [];
  if (answer.cold) notes.push("The session has no item that the run knows: these are popular items, the same for everybody.");
  if (answer.unknown_items) notes.push(`${answer.unknown_items} of its events are of items that the run does not know; they were left out.`);
  byId("notes").textContent = notes.join(" ");
  byId("lists").replaceChildren(
    ...Object.entries(answer.reasons).map(([target, items]) =>
      el("section", { "aria-label": target },
        el("h3", {}, target),
        el("ol", {}, ...items.map((item) => el("li", {}, entry(target, item)))),
      ),
    ),
  );
}

function entry(target, { aid, rank, sources }) {
  return el("button", { type: "button", class: "item", title: "Why?", onclick: () => explain(target, aid) },
    el("span", { class: "place" }, rank),
    el("span", { class: "id" }, aid),
    el("span", { class: "reason" }, reasonOf(aid, sources)),
  );
}

async function recommend() {
  const button = document.querySelector(".primary");
  try {
    const body = { events: rows().map((r) => r.read()), k: Number(byId("k").value) };
    button.disabled = true;
    say("Asking …");
    const began = performance.now();
    const answer = await ask("/reasons", body);
    asked = body.events;
    document.body.classList.remove("stale");
    show(answer);
    say(`Answered in ${Math.round(performance.now() - began)} ms. Choose an item to see why it is there.`);
  } catch (error) {
    say(error.message, true);
  } finally {
    button.disabled = false;
  }
}

function say(text, wrong = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("wrong", wrong);
}

// ------------------------------------------------------------------------------------------------ one item
async function explain(target, aid) {
  const place = byId("reasons");
  byId("why-title").textContent = `${aid} in ${target}`;
  place.replaceChildren(el("p", { class: "soft" }, "Asking …"));
  if (!byId("why").open) byId("why").showModal();
  try {
    place.replaceChildren(...explained(await ask("/explain", { events: asked, aid, target }), target));
  } catch (error) {
    place.replaceChildren(el("p", {}, error.message));
  }
}

function explained(answer, target) {
  if (!answer.candidate) return [el("p", {}, "No source named it: it fills the list up, as one of the items with most events of late.")];
  const found = answer.targets[target];
  const seen = answer.in_history ? ` The session has it ${answer.in_history === 1 ? "once" : `${answer.in_history} times`} already.` : "";
  const parts = [el("p", {}, `No. ${found.place} of the session's candidates.${seen}`)];
  if (answer.sources.length) {
    parts.push(el("h3", {}, "Who named it"), el("ul", {}, ...answer.sources.map((s) => sourceOf(answer.aid, s))));
  }
  const votes = found.blend.filter((b) => b.weight).map((b) => `${b.group}: no. ${b.place} (weight ${b.weight})`);
  parts.push(el("h3", {}, "Who placed it"), el("p", {}, votes.join(", ")));
  if (found.features.length) parts.push(el("h3", {}, "What moved the models' score"), moved(found.features));
  else parts.push(el("p", { class: "soft" }, "This target has no models: the sources' order decides."));
  return parts;
}

function sourceOf(item, { source, rank, because }) {
  const made = el("li", {}, el("b", {}, source), ` #${rank}`);
  if (because.length) made.append(el("ul", { class: "small soft" }, ...because.map((key) => el("li", {}, keyOf(item, key)))));
  return made;
}

function keyOf(item, key) {
  const place = key.matrix === null ? "" : `, its neighbour no. ${key.place}`;
  return `${brought(item, key)}${place}: +${number(key.gain)}`;
}

function moved(features) {
  const most = Math.max(...features.map((f) => Math.abs(f.contribution)));
  return el("table", {},
    el("thead", {}, el("tr", {}, el("th", {}, "feature"), el("th", { class: "number" }, "value"), el("th", { class: "number" }, "moved by"), el("th", { class: "bar" }, ""))),
    el("tbody", {}, ...features.map((f) => {
      const bar = el("span", { class: f.contribution < 0 ? "down" : "up" });
      bar.style.width = `${Math.max((100 * Math.abs(f.contribution)) / most, 2)}%`;
      return el("tr", {},
        el("td", {}, el("div", {}, f.meaning), el("div", { class: "name soft" }, f.feature)),
        el("td", { class: "number" }, f.value === null ? "–" : number(f.value)),
        el("td", { class: "number" }, (f.contribution > 0 ? "+" : "−") + number(Math.abs(f.contribution))),
        el("td", { class: "bar", "aria-hidden": "true" }, bar),
      );
    })),
  );
}

const number = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 }));

// ------------------------------------------------------------------------------------------------ the beginning
async function begin() {
  byId("add").addEventListener("click", add);
  byId("clear").addEventListener("click", () => { byId("example").value = ""; fill([]); });
  byId("events").addEventListener("input", changed);
  byId("close").addEventListener("click", () => byId("why").close());
  byId("why").addEventListener("click", (event) => { if (event.target === byId("why")) byId("why").close(); });
  byId("session").addEventListener("submit", (event) => { event.preventDefault(); recommend(); });
  byId("example").addEventListener("change", (event) => {
    if (event.target.value === "") return;
    fill(examples[Number(event.target.value)].events);
    recommend();
  });
  try {
    health = await ask("/health");
    byId("run").textContent = `run ${health.run} · ${health.items.toLocaleString("en")} items · otto_gpu ${health.version}`;
    byId("k").value = health.k;
    byId("k").max = Math.max(health.k, health.limits.k);
    examples = (await ask("/examples?n=20")).sessions;
    const words = (e) => `session ${e.session}, ${e.events.length} event${e.events.length === 1 ? "" : "s"}`;
    byId("example").append(...examples.map((e, i) => el("option", { value: i }, words(e))));
    if (!examples.length) return changed();
    byId("example").value = "0";
    fill(examples[0].events);
    await recommend();
  } catch (error) {
    say(error.message, true);
  }
}

begin();
