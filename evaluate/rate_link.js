// Speaks to the server (rating_app.py). What a rater does is an action in a queue, sent in order, one at a time. It leaves the queue
// when the server confirmed it; its nonce lets it be sent again without being counted twice. The queue lies in sessionStorage, too.

import { $, Gone, InUse, Refused, at, capital, confirmed, keep, me, own, put, queue, say, trouble } from "/rate_state.js";
import { enterAgain, showProgress, takeBack } from "/rate_entry.js";
import { restore } from "/rate_ways.js";

const RETRY_MS = 1000;
const LIMIT_MS = 10_000; // a request without an answer for so long is sent again
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export const waiting = new Map(); // nonce -> who waits for the answer

// Speaking with the server

function nonce() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The answer to one request, which is sent until the server gives one. Throws Refused, InUse, and Gone once it isn't `wanted`. */
export async function call(path, body = null, { wanted = () => true, read = (response) => response.json() } = {}) {
  for (;;) {
    if (!wanted()) throw new Gone();
    const session = me?.session;
    const options = { cache: "no-store", headers: session ? { "X-Session": session } : {} };
    if (body) {
      const json = { ...options.headers, "Content-Type": "application/json" };
      Object.assign(options, { method: "POST", keepalive: true, headers: json, body: JSON.stringify(body) });
    }
    let response, told;
    try {
      response = await fetch(path, { ...options, signal: AbortSignal.timeout(LIMIT_MS) });
      told = await (response.ok ? read(response) : response.json());
    } catch {
      [response, told] = [null, { error: "the server doesn't answer" }];
    }
    if (!wanted()) throw new Gone();
    if (response?.ok) {
      setTrouble("");
      return told;
    }
    const what = told.hint ? `${told.error} (${told.hint})` : told.error;
    if (told.code === "in_use") {
      if (path === "/api/enter") throw new InUse(what);
      if (session === me?.session) await takeBack(told.error);
      continue; // under the new session
    }
    if (told.code === "enter") {
      if (session === me?.session) enterAgain(what);
      throw new Gone();
    }
    if (response?.status === 400 || response?.status === 413) {
      setTrouble("");
      throw new Refused(what);
    }
    setTrouble(what);
    await pause(RETRY_MS);
  }
}

function setTrouble(text) {
  if (text && !trouble && at) say(text === "the server doesn't answer" ? "The server doesn't answer. Nothing is lost." : text);
  if (!text && trouble) say("The server answers again.");
  put({ trouble: text });
  showSaved();
}

export function showSaved() {
  const state = trouble ? "away" : queue.length ? "saving" : confirmed ? "saved" : "";
  const count = queue.length > 1 ? ` (${queue.length} wait)` : "";
  const problem = queue.length ? `Not saved: ${trouble}, trying again${count}` : capital(`${trouble}, trying again`);
  const texts = { away: problem, saving: "Saving", saved: "Saved", "": "" };
  $("saved").dataset.state = state;
  $("saved").textContent = texts[state];
}

export function enqueue(path, body, more = {}) {
  queue.push({ path, body: { ...body, nonce: nonce() }, tried: false, ...more });
  keepQueue();
  pump();
  return queue.at(-1);
}

export function keepQueue() {
  if (me) keep("sessionStorage", own("queue"), queue.length ? queue : null);
  showSaved();
}

let pumping = null;

/** Done when everything is sent, or nobody is there any more. */
export function pump() {
  if (!queue.length || !me) return Promise.resolve();
  pumping ??= empty();
  return pumping;
}

async function empty() {
  const rater = me;
  try {
    while (queue.length && me === rater) {
      const action = queue[0];
      action.tried = true;
      keepQueue();
      let told = null;
      try {
        told = await call(action.path, action.body, { wanted: () => me === rater });
        put({ confirmed: true });
      } catch (error) {
        if (!(error instanceof Refused)) return;
        say(`Not saved: ${error.message}`);
        if (at?.subject.position === action.body.position) restore(action);
      }
      queue.shift();
      keepQueue();
      if (told) showProgress(action.body.set, told.progress);
      waiting.get(action.body.nonce)?.(told);
      waiting.delete(action.body.nonce);
    }
  } finally {
    pumping = null;
  }
  if (queue.length && me) pump();
}

export async function flushed(wanted) {
  await pump();
  if (queue.length || !wanted()) throw new Gone();
}
