// Who rates, and what: entering, taking over, leaving, the list of sets.

import {
  $, Gone, InUse, Refused, ahead, all, at, capital, focusOn, keep, kept, make, me, own, put, queue, say, sets, show, stay,
  trouble, view,
} from "/rate_state.js";
import { call, flushed, pump, showSaved, waiting } from "/rate_link.js";
import { commitDrafts, keepDrafts } from "/rate_view.js";
import { begin, look, open } from "/rate_ways.js";

// Entering, leaving

export async function enter(name, session, takeOver) {
  $("entrance-problem").hidden = true;
  for (const button of all("#entrance button")) button.disabled = true;
  try {
    const slow = setTimeout(() => {
      show("entrance");
      entranceProblem("The server doesn't answer yet, trying again.");
    }, 1500);
    const told = await call("/api/enter", { name, session, take_over: takeOver }).finally(() => clearTimeout(slow));
    $("entrance-problem").hidden = true;
    put({ me: { name: told.name, session: told.session, store: told.store }, sets: told.sets, confirmed: false });
    keep("sessionStorage", "me", me);
    keep("localStorage", "name", me.name);
    put({ queue: kept("sessionStorage", own("queue")) ?? [] });
    showSaved();
    pump();
    $("who").textContent = me.name;
    const place = kept("sessionStorage", own("place"));
    if (place && sets.some((set) => set.id === place.set)) {
      try {
        return await open(place.set, place.position, place.answer);
      } catch (error) {
        if (!(error instanceof Refused)) throw error; // the server has other sets by now
      }
    }
    if (sets.length === 1) await begin(sets[0], told.known ? `Welcome back, ${me.name}.` : "");
    else listSets(told.known ? `Welcome back, ${me.name}` : `Welcome, ${me.name}`);
  } catch (error) {
    if (error instanceof Gone) return;
    if (!(error instanceof Refused || error instanceof InUse)) throw error;
    if (me) return stay(error);
    show("entrance");
    $("name").value = name;
    entranceProblem(error.message, error instanceof InUse);
  } finally {
    for (const button of all("#entrance button")) button.disabled = false;
  }
}

function entranceProblem(text, inUse = false) {
  $("entrance-text").textContent = capital(text);
  $("in-use").hidden = !inUse;
  $("entrance-problem").hidden = false;
}

function goOut() {
  put({ me: null, at: null, behind: null, ahead: null, view: Symbol("out"), again: false, trouble: "", queue: [] });
  for (const done of waiting.values()) done(null);
  waiting.clear();
  show("entrance");
  document.title = "Rating";
  $("entrance-problem").hidden = true;
  focusOn($("entrance-heading"));
}

/** The session isn't known any more; what isn't saved yet waits under the rater's name. */
export function enterAgain(what) {
  const [name, left] = [me.name, queue.length];
  keepDrafts();
  goOut();
  $("name").value = name;
  const lost = left ? ` Not saved yet: ${left}. That is sent once you enter as ${name} again.` : "";
  entranceProblem(`${what}.${lost}`);
}

let taking = null;

/** Done when the rater took the name back. Throws Gone when they didn't want it. */
export function takeBack(what) {
  taking ??= new Promise((resolve, reject) => {
    const rater = me;
    $("taken-text").textContent = `${what}.`;
    $("take-back").onclick = async () => {
      try {
        rater.session = (await call("/api/enter", { name: rater.name, session: rater.session, take_over: true })).session;
        keep("sessionStorage", "me", rater);
        resolve();
      } catch (error) {
        $("taken-text").textContent = error.message;
        return;
      }
      $("taken").close();
    };
    $("give-up").onclick = () => {
      $("taken").close();
      goOut();
      $("name").value = "";
      keep("sessionStorage", "me", null);
      reject(new Gone());
    };
    $("taken").showModal();
  }).finally(() => (taking = null));
  return taking;
}

export async function leave() {
  const rater = me;
  keepDrafts();
  if (queue.length && trouble) {
    say("Not left: some ratings aren't saved yet.");
    return;
  }
  await flushed(() => me === rater);
  const loaded = ahead?.ready;
  put({ ahead: null });
  await loaded; // no request of this session is to come after its end
  await call("/api/leave", {}, { wanted: () => me === rater });
  keep("sessionStorage", "me", null);
  keep("sessionStorage", own("place"), null);
  goOut();
}

// Sets

export async function chooseSet() {
  commitDrafts();
  put({ at: null, view: Symbol("sets") });
  const mine = view;
  const wanted = () => view === mine;
  await flushed(wanted);
  try {
    const told = await call("/api/enter", { name: me.name, session: me.session, take_over: false }, { wanted });
    put({ sets: told.sets });
  } catch (error) {
    if (!(error instanceof InUse)) throw error;
    await takeBack(error.message);
    return chooseSet();
  }
  listSets(me.name);
}

function listSets(heading) {
  put({ at: null, behind: null, ahead: null, view: Symbol("sets") });
  keep("sessionStorage", own("place"), null);
  show("sets");
  $("title").textContent = "";
  document.title = "Rating";
  $("sets-heading").textContent = heading;
  const rows = sets.map((set) => {
    const { done, total } = set.progress;
    const name = done >= total ? "Look again" : done || set.progress.skipped ? "Go on" : "Begin";
    const button = make("button", { type: "button", className: "main", textContent: name });
    button.setAttribute("aria-label", `${name}: ${set.title}`);
    button.onclick = () => (done >= total ? look(set) : begin(set)).catch(stay);
    const bar = make("progress", { max: total, value: done });
    bar.setAttribute("aria-label", `Progress: ${set.title}`);
    const about = `${set.subjects.toLocaleString("en")} ${set.kind === "review" ? "instances" : "instructions"}. `;
    const heading = make("h2", { textContent: set.title });
    return make("li", {}, heading, bar, make("p", { textContent: about + counted(set.kind, set.progress) }), button);
  });
  $("sets-list").replaceChildren(...rows);
  focusOn($("sets-heading"));
}

function counted(kind, { done, total, skipped, seconds_left: left }) {
  const number = (count) => count.toLocaleString("en");
  const parts = [`${number(done)} of ${number(total)} ${kind === "review" ? "reviewed" : "answers rated"}`];
  if (skipped) parts.push(`${number(skipped)} skipped`);
  if (left !== null && done < total) parts.push(`about ${duration(left)} left`);
  return parts.join(", ");
}

function duration(seconds) {
  const minutes = Math.max(1, Math.round(seconds / 60));
  if (minutes < 90) return `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

export function showProgress(id, progress) {
  const set = sets.find((one) => one.id === id);
  if (!set) return;
  set.progress = progress;
  if (at && at.set !== set) return;
  $("progress").max = progress.total;
  $("progress").value = progress.done;
  $("counts").textContent = counted(set.kind, progress);
}

export const openCount = ({ done, total, skipped }) => total - done - skipped;
