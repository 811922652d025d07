// What the rating page knows at the moment, what it keeps in the browser, and the making of elements.
// It knows neither the server nor what raters do.

export const $ = (id) => document.getElementById(id);
export const all = (selector) => [...document.querySelectorAll(selector)];

export class Refused extends Error {} // by the server: what was sent isn't right
export class InUse extends Error {} // the name, in another window
export class Gone extends Error {} // the rater has gone on to something else

export let me = null; // {name, session}
export let sets = [];
export let queue = []; // of {path, body, before, tried}
export let at = null; // what is shown: {set, subject, current, shown}
export let behind = null; // what was shown before
export let ahead = null; // what comes next, loaded beforehand: {from, subject, ready}
export let again = false; // whether skipped answers are gone through
export let view = null; // changes whenever something else is shown
export let trouble = ""; // why the server can't be spoken to
export let loading = false;
export let confirmed = false; // whether anything was saved in this window

/** Change some of it; every module sees the new values. */
export function put(changes) {
  if ("me" in changes) me = changes.me;
  if ("sets" in changes) sets = changes.sets;
  if ("queue" in changes) queue = changes.queue;
  if ("at" in changes) at = changes.at;
  if ("behind" in changes) behind = changes.behind;
  if ("ahead" in changes) ahead = changes.ahead;
  if ("again" in changes) again = changes.again;
  if ("view" in changes) view = changes.view;
  if ("trouble" in changes) trouble = changes.trouble;
  if ("loading" in changes) loading = changes.loading;
  if ("confirmed" in changes) confirmed = changes.confirmed;
}

// What a browser keeps. It may refuse to.

export function keep(place, key, value) {
  try {
    if (value === null) window[place].removeItem(`rate-${key}`);
    else window[place].setItem(`rate-${key}`, JSON.stringify(value));
  } catch {
    // The page works without; only a reload forgets.
  }
}

export function kept(place, key) {
  try {
    return JSON.parse(window[place].getItem(`rate-${key}`));
  } catch {
    return null;
  }
}

/** Where something of this rater is kept. Another store's actions must not be sent to this one, though both have one address. */
export const own = (what) => `${what}-${me.store}-${me.name}`;

// Elements

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const capital = (text) => text[0].toUpperCase() + text.slice(1);

export function say(text) {
  $("said").textContent = text;
}

export function show(section) {
  for (const id of ["entrance", "sets", "subject", "end"]) $(id).hidden = id !== section;
  $("top").hidden = section === "entrance";
  $("bar").hidden = section === "entrance";
  // Elsewhere the bar tells what is saved, and at the end takes back.
  document.body.classList.toggle("plain", section !== "subject");
  $("levels").hidden = $("questions").hidden = $("on").hidden = section !== "subject";
  $("tools").hidden = section === "sets";
  for (const button of all("#tools button:not([data-tool=undo])")) button.hidden = section !== "subject";
  say("");
  $("progress").hidden = $("counts").hidden = section === "sets";
  for (const button of all("[data-menu=jsonl], [data-menu=csv]")) button.hidden = section === "sets";
  for (const button of all("[data-menu=sets]")) button.hidden = sets.length < 2 || section === "sets";
  $("menu").open = false;
}

export function focusOn(heading) {
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

/** What goes wrong with one action is told, and the next one is done all the same. */
export function stay(error) {
  if (error instanceof Gone) return;
  say(error.message);
  if (!(error instanceof Refused)) console.error(error);
}
