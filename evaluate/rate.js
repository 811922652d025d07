// The page on which people rate: its menu, its keys and buttons, its start. It knows no model's name.

import { $, at, keep, kept, make, me, put, queue, say, show, stay } from "/rate_state.js";
import { call, flushed } from "/rate_link.js";
import { chooseSet, enter, leave } from "/rate_entry.js";
import { answerName, comment, commitDrafts, keepDrafts, select, valueName } from "/rate_view.js";
import { ask, goOn, look, open, rate, step, undo } from "/rate_ways.js";

const UNSEEN_MS = 2000; // a key pressed so long before a text was shown isn't about that text
let chain = Promise.resolve(); // what the rater did, in order

// The menu

async function download(form) {
  const { set } = at;
  const rater = me;
  const wanted = () => me === rater;
  commitDrafts();
  await flushed(wanted);
  const file = await call(`/api/export/${set.id}.${form}`, null, { wanted, read: (response) => response.blob() });
  const link = make("a", { href: URL.createObjectURL(file), download: `${set.kind}-${rater.name}.${form}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say("Exported.");
}

function help() {
  $("help").showModal();
}

const shortcuts = () => kept("localStorage", "shortcuts") !== false;

function showShortcuts() {
  $("shortcuts").textContent = `Keyboard shortcuts: ${shortcuts() ? "on" : "off"}`;
  document.body.classList.toggle("quiet", !shortcuts());
}

const MENU = {
  sets: chooseSet,
  jsonl: () => download("jsonl"),
  csv: () => download("csv"),
  shortcuts: () => {
    keep("localStorage", "shortcuts", !shortcuts());
    showShortcuts();
  },
  help,
  leave,
  first: () => look(at.set),
  skipped: async () => {
    put({ again: true });
    const { set } = at;
    const told = await call(`/api/next/${set.id}?after=0`);
    if (told.position !== null) await open(set.id, told.position);
  },
};

// Keys and buttons: all that rates goes through one chain, so that what is done fast is done in order.

const TOOLS = {
  undo,
  skip: () => rate("skip"),
  comment,
  previous: () => step(-1),
  next: () => step(1),
  on: () => goOn(),
};
const ABOUT_TEXT = new Set(["rate", "skip", "question", "comment"]);

function does(what, work) {
  const pressed = performance.now();
  chain = chain
    .then(() => {
      if (!at || (at.subject.position < 0 && what !== "undo")) return;
      if (ABOUT_TEXT.has(what) && at.shown - pressed > UNSEEN_MS) {
        return say("What you pressed before this text was there isn't counted.");
      }
      return work();
    })
    .catch(stay);
}

function arrows(by) {
  const place = at.current + by;
  if (place < 0 || place >= at.subject.answers.length) return;
  select(place, { follow: "focus" });
  const value = valueName(at.subject.answers[place].value);
  say(`Now ${answerName()}${value ? `, ${value.toLowerCase().replace(/[a-d]$/, (letter) => letter.toUpperCase())}` : ""}.`);
}

/** What a key does: [what, work], or null. */
function meaning(key, review) {
  const letters = { s: "skip", z: "undo", m: "comment", p: "previous", n: "next" };
  const tool = { ...letters, backspace: "undo", arrowleft: "previous", arrowright: "next" }[key];
  if (tool) return [tool, TOOLS[tool]];
  if (key === "?") return ["help", help];
  if (review) {
    if (key === "enter") return ["on", TOOLS.on];
    const question = { 1: "instruction", 2: "input", 3: "output", 4: "format" }[key];
    return question ? ["question", () => ask(question)] : null;
  }
  if (/^[a-d]$/.test(key)) return ["rate", () => rate(key.toUpperCase())];
  return { arrowup: ["arrows", () => arrows(-1)], arrowdown: ["arrows", () => arrows(1)] }[key] ?? null;
}

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.isComposing || document.querySelector("dialog[open]") || !at) return;
  if (target.matches("textarea")) {
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) {
      event.preventDefault();
      target.closest(".card").focus({ preventScroll: true });
    }
    return;
  }
  if (event.key === "Escape") $("menu").open = false;
  if (target.matches("input") || !shortcuts()) return;
  // Where letters aren't Latin, the place of the key counts.
  let key = event.key.toLowerCase();
  if (key.length === 1 && key > "~" && /^Key[A-Z]$/.test(event.code)) key = event.code[3].toLowerCase();
  if (event.ctrlKey || event.altKey || event.metaKey) {
    if (key !== "z" || event.altKey || event.shiftKey) return;
  }
  if (key === "enter" && target.closest("button, summary, a")) return;
  const found = meaning(key, at.set.kind === "review");
  if (!found || (at.subject.position < 0 && found[0] !== "undo" && found[0] !== "help")) return;
  if (found[0] === "arrows" && at.subject.answers.length < 2) return; // the page scrolls
  event.preventDefault();
  if (event.repeat && found[0] !== "arrows") return; // a key held down is pressed once
  if (found[0] === "help") help();
  else does(...found);
});

$("bar").addEventListener("mousedown", (event) => {
  // A click leaves the focus where it is, so that Enter and Space mean what they meant.
  if (event.target.closest("button") && !document.activeElement.matches("textarea")) event.preventDefault();
});

$("bar").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { level, question, value, tool } = button.dataset;
  if (level) does("rate", () => rate(level));
  else if (question) does("question", () => ask(question, value));
  else does(tool, TOOLS[tool]);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-menu]");
  if (!$("menu").contains(event.target) || button) $("menu").open = false;
  if (button) Promise.resolve(MENU[button.dataset.menu]()).catch(stay);
});

$("entering").addEventListener("submit", (event) => {
  event.preventDefault();
  enter($("name").value, null, false);
});
$("take-over").addEventListener("click", () => enter($("name").value, null, true));
$("another").addEventListener("click", () => {
  $("entrance-problem").hidden = true;
  $("name").value = "";
  $("name").focus();
});
$("taken").addEventListener("cancel", (event) => event.preventDefault());

window.addEventListener("pagehide", () => me && keepDrafts());
window.addEventListener("beforeunload", (event) => {
  if (queue.length) event.preventDefault();
});
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--bar", `${$("bar").offsetHeight}px`);
}).observe($("bar"));

// A tab that was duplicated has the session of the first: it must not rate beside it.

const TABS_MS = 200;
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("rate") : null;

function taken(session) {
  if (!tabs) return Promise.resolve(false);
  return new Promise((resolve) => {
    const hear = ({ data }) => data.have === session && resolve(true);
    tabs.addEventListener("message", hear);
    tabs.postMessage({ who: session });
    setTimeout(() => {
      tabs.removeEventListener("message", hear);
      resolve(false);
    }, TABS_MS);
  });
}

tabs?.addEventListener("message", ({ data }) => {
  if (me && data.who === me.session) tabs.postMessage({ have: me.session });
});

// The start: a reload goes on where it was.

showShortcuts();
const last = kept("sessionStorage", "me");
$("name").value = last?.name ?? kept("localStorage", "name") ?? "";
if (last) taken(last.session).then((there) => enter(last.name, there ? null : last.session, false));
else show("entrance");
