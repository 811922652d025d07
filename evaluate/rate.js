// The page on which people rate. It speaks the interface of rating_app.py, and knows no model's name.
//
// Everything a rater does is an action in a queue, sent in order, one at a time. An action leaves the queue when the server
// confirmed it; its nonce lets it be sent again without being counted twice. The queue lies in sessionStorage too, by rater.

const RETRY_MS = 1000;
const LIMIT_MS = 10_000; // a request without an answer for so long is sent again
const UNSEEN_MS = 2000; // a key pressed so long before a text was shown isn't about that text
const QUESTIONS = ["instruction", "input", "output"];
const QUESTION_NAMES = {
  instruction: "Valid task",
  input: "Input appropriate",
  output: "Output acceptable",
  format: "Right format",
};
const FORMATS = ["right", "partly", "wrong"];
const OPEN = { instruction: null, input: null, output: null, format: null };

const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class Refused extends Error {} // by the server: what was sent isn't right
class InUse extends Error {} // the name, in another window
class Gone extends Error {} // the rater has gone on to something else

let me = null; // {name, session}
let sets = [];
let queue = []; // of {path, body, before, tried}
let at = null; // what is shown: {set, subject, current, shown}
let behind = null; // what was shown before
let ahead = null; // what comes next, loaded beforehand: {from, subject, ready}
let again = false; // whether skipped answers are gone through
let view = null; // changes whenever something else is shown
let trouble = ""; // why the server can't be spoken to
let loading = false;
let confirmed = false; // whether anything was saved in this window
let chain = Promise.resolve(); // what the rater did, in order
const waiting = new Map(); // nonce -> who waits for the answer

// What a browser keeps. It may refuse to.

function keep(place, key, value) {
  try {
    if (value === null) window[place].removeItem(`rate-${key}`);
    else window[place].setItem(`rate-${key}`, JSON.stringify(value));
  } catch {
    // The page works without; only a reload forgets.
  }
}

function kept(place, key) {
  try {
    return JSON.parse(window[place].getItem(`rate-${key}`));
  } catch {
    return null;
  }
}

/** Where something of this rater is kept. Another store's actions must not be sent to this one, though both have one address. */
const own = (what) => `${what}-${me.store}-${me.name}`;

// Elements

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function say(text) {
  $("said").textContent = text;
}

function show(section) {
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

function focusOn(heading) {
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

// Speaking with the server

function nonce() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The answer to one request, which is sent until the server gives one. Throws Refused, InUse, and Gone once it isn't `wanted`. */
async function call(path, body = null, { wanted = () => true, read = (response) => response.json() } = {}) {
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
  trouble = text;
  showSaved();
}

function showSaved() {
  const state = trouble ? "away" : queue.length ? "saving" : confirmed ? "saved" : "";
  const count = queue.length > 1 ? ` (${queue.length} wait)` : "";
  const problem = queue.length ? `Not saved: ${trouble}, trying again${count}` : capital(`${trouble}, trying again`);
  const texts = { away: problem, saving: "Saving", saved: "Saved", "": "" };
  $("saved").dataset.state = state;
  $("saved").textContent = texts[state];
}

function enqueue(path, body, more = {}) {
  queue.push({ path, body: { ...body, nonce: nonce() }, tried: false, ...more });
  keepQueue();
  pump();
  return queue.at(-1);
}

function keepQueue() {
  if (me) keep("sessionStorage", own("queue"), queue.length ? queue : null);
  showSaved();
}

let pumping = null;

/** Done when everything is sent, or nobody is there any more. */
function pump() {
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
        confirmed = true;
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

async function flushed(wanted) {
  await pump();
  if (queue.length || !wanted()) throw new Gone();
}

// Entering, leaving

async function enter(name, session, takeOver) {
  $("entrance-problem").hidden = true;
  for (const button of all("#entrance button")) button.disabled = true;
  try {
    const slow = setTimeout(() => {
      show("entrance");
      entranceProblem("The server doesn't answer yet, trying again.");
    }, 1500);
    const told = await call("/api/enter", { name, session, take_over: takeOver }).finally(() => clearTimeout(slow));
    $("entrance-problem").hidden = true;
    me = { name: told.name, session: told.session, store: told.store };
    sets = told.sets;
    keep("sessionStorage", "me", me);
    keep("localStorage", "name", me.name);
    queue = kept("sessionStorage", own("queue")) ?? [];
    confirmed = false;
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
  [me, at, behind, ahead, view, again, trouble, queue] = [null, null, null, null, Symbol("out"), false, "", []];
  for (const done of waiting.values()) done(null);
  waiting.clear();
  show("entrance");
  document.title = "Rating";
  $("entrance-problem").hidden = true;
  focusOn($("entrance-heading"));
}

/** The session isn't known any more; what isn't saved yet waits under the rater's name. */
function enterAgain(what) {
  const [name, left] = [me.name, queue.length];
  keepDrafts();
  goOut();
  $("name").value = name;
  const lost = left ? ` Not saved yet: ${left}. That is sent once you enter as ${name} again.` : "";
  entranceProblem(`${what}.${lost}`);
}

let taking = null;

/** Done when the rater took the name back. Throws Gone when they didn't want it. */
function takeBack(what) {
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

async function leave() {
  const rater = me;
  keepDrafts();
  if (queue.length && trouble) {
    say("Not left: some ratings aren't saved yet.");
    return;
  }
  await flushed(() => me === rater);
  const loaded = ahead?.ready;
  ahead = null;
  await loaded; // no request of this session is to come after its end
  await call("/api/leave", {}, { wanted: () => me === rater });
  keep("sessionStorage", "me", null);
  keep("sessionStorage", own("place"), null);
  goOut();
}

// Sets

async function chooseSet() {
  commitDrafts();
  [at, view] = [null, Symbol("sets")];
  const mine = view;
  const wanted = () => view === mine;
  await flushed(wanted);
  try {
    sets = (await call("/api/enter", { name: me.name, session: me.session, take_over: false }, { wanted })).sets;
  } catch (error) {
    if (!(error instanceof InUse)) throw error;
    await takeBack(error.message);
    return chooseSet();
  }
  listSets(me.name);
}

function listSets(heading) {
  [at, behind, ahead, view] = [null, null, null, Symbol("sets")];
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

function showProgress(id, progress) {
  const set = sets.find((one) => one.id === id);
  if (!set) return;
  set.progress = progress;
  if (at && at.set !== set) return;
  $("progress").max = progress.total;
  $("progress").value = progress.done;
  $("counts").textContent = counted(set.kind, progress);
}

const openCount = ({ done, total, skipped }) => total - done - skipped;

// Going from instruction to instruction

/** Load a subject and show it. */
async function open(id, position, answer = null, said = "") {
  const set = sets.find((one) => one.id === id);
  const mine = (view = Symbol("open"));
  const wanted = () => view === mine;
  slowly(wanted);
  try {
    await flushed(wanted);
    const subject = await call(`/api/subject/${id}/${position}`, null, { wanted });
    showProgress(id, subject.progress);
    draw(set, subject, answer, said);
  } finally {
    if (wanted()) loading = false;
  }
}

function slowly(wanted) {
  loading = true;
  setTimeout(() => loading && wanted() && !trouble && say("Loading the next instruction."), 600);
}

async function begin(set, said = "") {
  again = false;
  const mine = (view = Symbol("begin"));
  const wanted = () => view === mine;
  await flushed(wanted);
  const told = await call(`/api/next/${set.id}?after=0`, null, { wanted });
  showProgress(set.id, told.progress);
  if (told.position === null || !openCount(told.progress)) finish(set);
  else await open(set.id, told.position, null, said);
}

async function look(set) {
  again = true;
  await open(set.id, 0);
}

/** The next instruction with something left to rate. */
async function goOn(said = "") {
  const { set, subject } = at;
  commitDrafts();
  const mine = view;
  const wanted = () => view === mine;
  slowly(wanted);
  try {
    const next = ahead?.from === subject.position ? ahead : null;
    if (next) await next.ready;
    if (!wanted()) return;
    if (next?.subject) return draw(set, next.subject, null, said);
    await flushed(wanted);
    const told = await call(`/api/next/${set.id}?after=${subject.position + 1}`, null, { wanted });
    showProgress(set.id, told.progress);
    const round = again && told.position > subject.position;
    if (told.position === null || (!openCount(told.progress) && !round)) finish(set);
    else await open(set.id, told.position, null, said);
  } finally {
    if (wanted()) loading = false;
  }
}

/** Load what comes after the present subject, so that going on takes no time. */
function lookAhead() {
  const { set, subject } = at;
  const mine = (ahead = { from: subject.position, subject: null, ready: null });
  const wanted = () => ahead === mine && at?.subject === subject;
  mine.ready = (async () => {
    try {
      await flushed(wanted);
      const told = await call(`/api/next/${set.id}?after=${subject.position + 1}`, null, { wanted });
      // Where only this one is left, or skipped ones, it is decided when it is time.
      if (told.position === null || told.position === subject.position || !openCount(told.progress)) return;
      const found = await call(`/api/subject/${set.id}/${told.position}`, null, { wanted });
      if (wanted()) mine.subject = found;
    } catch (error) {
      if (!(error instanceof Gone || error instanceof Refused)) throw error;
    }
  })();
}

async function step(by) {
  const position = at.subject.position + by;
  if (position < 0) return say("This is the first instruction.");
  if (position >= at.subject.of) return say("This is the last instruction.");
  commitDrafts();
  if (ahead?.from === at.subject.position && ahead.subject?.position === position) return draw(at.set, ahead.subject, null, "");
  await open(at.set.id, position);
}

function finish(set) {
  const { done, total, skipped } = set.progress;
  if (at?.set === set && at.subject.position >= 0) behind = at;
  view = Symbol("end");
  at = { set, subject: { position: -1, of: set.subjects, answers: [] }, current: 0, shown: performance.now() };
  keep("sessionStorage", own("place"), null);
  show("end");
  $("title").textContent = set.title;
  showProgress(set.id, set.progress);
  document.title = "All done - Rating";
  const what = set.kind === "review" ? "instances" : "answers";
  $("end-heading").textContent = skipped ? "Only skipped ones are left" : "All done. Thank you!";
  const rated = `You have ${set.kind === "review" ? "reviewed" : "rated"} ${done} of ${total} ${what}`;
  $("end-text").textContent = skipped ? `${rated}; ${skipped} ${skipped === 1 ? "is" : "are"} skipped.` : `${rated}. All is saved.`;
  $("end-skipped").hidden = !skipped;
  focusOn($("end-heading"));
}

// What is shown of a subject

function looksLikeCode(text) {
  return /```|~~~|(^|\n)( {2,}|\t)\S/.test(text);
}

/** A text as plain text, with a button for the rest of a long one. */
function plain(found, part) {
  const { set, subject } = at;
  const text = make("div", { className: "text", dir: "auto", textContent: found.text });
  if (!found.text.trim()) {
    text.textContent = found.text ? "Only white space." : "Empty.";
    text.classList.add("none");
    return [text];
  }
  text.classList.toggle("code", looksLikeCode(found.text));
  if (!found.more) return [text];
  const rest = `Show all (${found.more.toLocaleString("en")} more characters)`;
  const button = make("button", { type: "button", className: "all", textContent: rest });
  button.onclick = async () => {
    const wanted = () => at?.subject === subject;
    button.disabled = true;
    try {
      text.textContent = (await call(`/api/text/${set.id}/${subject.position}/${part}`, null, { wanted })).text;
      text.tabIndex = -1;
      text.focus({ preventScroll: true });
      button.remove();
    } catch (error) {
      button.disabled = false;
      stay(error);
    }
  };
  return [text, button];
}

function given(heading, note, ...texts) {
  const title = make("h2", { textContent: heading });
  if (note) title.append(make("span", { className: "note", textContent: ` ${note}` }));
  return make("section", { className: "given" }, title, ...texts);
}

function draw(set, subject, key, said) {
  if (at && at.subject.position >= 0 && at.set === set) behind = at;
  view = Symbol("subject");
  loading = false;
  at = { set, subject, current: 0, shown: performance.now() };
  const review = set.kind === "review";
  const drafts = kept("sessionStorage", own("drafts")) ?? {};
  const texts = [make("div", { className: "instruction" }, ...plain(subject.instruction, "instruction"))];
  if (subject.input) texts.push(given("Input", "", ...plain(subject.input, "input")));
  else if (review) texts.push(given("Input", "", make("div", { className: "text none", textContent: "No input." })));
  subject.references.forEach((text, place) => {
    const note = place ? "" : "Other answers can be as good.";
    const name = place ? "Another accepted answer" : "One accepted answer";
    texts.push(given(name, note, ...plain(text, `reference-${place}`)));
  });
  subject.answers.forEach((answer, place) => {
    answer.draft = drafts[draftKey(answer)] ?? answer.comment;
    texts.push(card(answer, place));
  });
  show("subject");
  document.body.classList.toggle("review", review);
  $("levels").hidden = review;
  $("questions").hidden = $("on").hidden = !review;
  $("title").textContent = set.title;
  showProgress(set.id, set.progress);
  $("texts").replaceChildren(...texts);
  const place = `${review ? "Instance" : "Instruction"} ${subject.position + 1} of ${subject.of}`;
  $("subject-heading").textContent = place;
  document.title = `${place} - Rating`;
  const asked = subject.answers.findIndex((answer) => answer.key === key);
  at.current = asked >= 0 ? asked : Math.max(0, firstOpen(0));
  mark();
  keepPlace();
  focusOn($("subject-heading"));
  say(said || (review ? "" : `Now ${answerName()}.`));
  lookAhead();
}

function card(answer, place) {
  const review = at.set.kind === "review";
  const id = `answer-${place + 1}`;
  const name = review ? "Output" : `Answer ${place + 1} of ${at.subject.answers.length}`;
  const now = make("span", { className: "now", textContent: "Rate this one" });
  const badge = make("span", { className: "badge" });
  const head = make("div", { className: "head" }, make("h2", { id, textContent: name }), ...(review ? [] : [now]), badge);
  const box = make("textarea", { id: `comment-${place + 1}`, maxLength: 2000, rows: 2, value: answer.draft, dir: "auto" });
  const about = review ? "Comment" : `Comment on answer ${place + 1}`;
  const hint = make("p", { className: "note", textContent: "Saved with the rating. Ctrl+Enter or Esc: back to rating." });
  const comment = make("div", { className: "comment" }, make("label", { htmlFor: box.id, textContent: about }), box, hint);
  const made = make("article", { className: "card", tabIndex: 0 }, head, ...plain(answer.text, `answer-${answer.key}`), comment);
  made.setAttribute("aria-labelledby", id);
  made.addEventListener("focusin", () => select(place));
  made.addEventListener("click", () => select(place));
  box.addEventListener("input", () => {
    answer.draft = box.value;
    keepDraft(answer);
  });
  box.addEventListener("blur", () => {
    if (!made.isConnected || !at?.subject.answers.includes(answer)) return; // another subject is drawn
    if (answer.value !== null) commitComment(answer);
    mark();
  });
  return made;
}

function answerName() {
  return `answer ${at.current + 1} of ${at.subject.answers.length}`;
}

function valueName(value) {
  return value === "skip" ? "Skipped" : typeof value === "string" ? `Rated ${value}` : "";
}

/** Let cards and buttons show what is so. */
function mark() {
  const cards = all("#texts .card");
  const review = at.set.kind === "review";
  at.subject.answers.forEach((answer, place) => {
    const one = cards[place];
    if (place === at.current && !review) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
    const badge = one.querySelector(".badge");
    badge.textContent = valueName(answer.value);
    badge.hidden = !badge.textContent;
    if (/^[A-D]$/.test(answer.value)) badge.dataset.level = answer.value;
    else delete badge.dataset.level;
    const comment = one.querySelector(".comment");
    comment.hidden = !answer.draft && !comment.contains(document.activeElement);
  });
  const value = at.subject.answers[at.current]?.value ?? null;
  for (const button of all("#levels button")) button.setAttribute("aria-pressed", String(button.dataset.level === value));
  for (const button of all("#questions button")) {
    const { question, value: meant } = button.dataset;
    const is = value === "skip" ? null : (value?.[question] ?? null);
    button.setAttribute("aria-pressed", String(is === meant || is === { yes: true, no: false }[meant]));
  }
}

function select(place, { follow = false } = {}) {
  if (!at) return;
  const before = at.current;
  at.current = place;
  if (before !== place) {
    mark();
    keepPlace();
  }
  if (!follow) return;
  const cards = all("#texts .card");
  const one = cards[place];
  if (follow === "focus" || cards.includes(document.activeElement?.closest(".card"))) one.focus({ preventScroll: true });
  const room = window.innerHeight - $("bar").offsetHeight;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  one.scrollIntoView({ block: one.offsetHeight > room ? "start" : "nearest", behavior: calm ? "instant" : "smooth" });
}

function keepPlace() {
  const { set, subject, current } = at;
  const answer = subject.answers[current]?.key;
  if (answer) keep("sessionStorage", own("place"), { set: set.id, position: subject.position, answer });
}

/** The first answer from `from` on, going round, without a value; else, where skipped ones are gone through, the next of them. */
function firstOpen(from) {
  const { answers } = at.subject;
  const places = answers.map((_, step) => (from + step) % answers.length);
  const open = places.find((place) => answers[place].value === null);
  if (open !== undefined) return open;
  return again ? answers.findIndex((answer, place) => place >= from && answer.value === "skip") : -1;
}

// What raters do

function send(answer, value) {
  const body = { set: at.set.id, position: at.subject.position, answer: answer.key, value, comment: answer.draft };
  const before = { value: answer.value, comment: answer.comment };
  [answer.value, answer.comment] = [value, answer.draft];
  keepDraft(answer);
  if (ahead?.subject?.position === at.subject.position) ahead = null;
  enqueue("/api/rate", body, { before });
}

function restore(action) {
  const answer = at.subject.answers.find((one) => one.key === action.body.answer);
  if (!answer) return;
  Object.assign(answer, action.before);
  answer.draft = action.body.comment;
  keepDraft(answer);
  mark();
}

/** Give the current answer a level or skip it, and go on. */
async function rate(value) {
  const place = at.current;
  const answer = at.subject.answers[place];
  send(answer, value);
  mark();
  const what = at.set.kind === "review" ? "Instance" : `Answer ${place + 1}`;
  const said = `${what} ${value === "skip" ? "skipped" : `rated ${value}`}.`;
  const next = at.set.kind === "review" ? -1 : firstOpen(place + 1);
  if (next >= 0) {
    select(next, { follow: true });
    say(`${said} Now ${answerName()}.`);
  } else await goOn(`${said} Now the next ${at.set.kind === "review" ? "instance" : "instruction"}.`);
}

function ask(question, value) {
  const answer = at.subject.answers[0];
  const said = { ...OPEN, ...(answer.value === "skip" ? {} : answer.value) };
  if (question === "format") {
    const following = FORMATS[(FORMATS.indexOf(said.format) + 1) % FORMATS.length];
    said.format = value === undefined ? following : value === said.format ? null : value;
  } else {
    const is = value === undefined ? said[question] !== true : value === "yes";
    if (is === said[question]) return;
    said[question] = is;
  }
  send(answer, said);
  mark();
  const meant = { true: "yes", false: "no", null: "not answered" }[said[question]] ?? said[question];
  const open = QUESTIONS.filter((name) => said[name] === null).length;
  const left = open ? `${open} ${open === 1 ? "question" : "questions"} left.` : "All answered. Enter: next.";
  say(`${QUESTION_NAMES[question]}: ${meant}. ${left}`);
}

async function undo() {
  const id = at.set.id;
  const last = queue.at(-1);
  let position, key;
  if (last && !last.tried && last.path === "/api/rate" && last.body.set === id) {
    // It was never sent.
    queue.pop();
    keepQueue();
    ({ position, answer: key } = last.body);
    const seen = [at, behind].find((one) => one?.set.id === id && one.subject.position === position);
    if (seen) {
      const answer = seen.subject.answers.find((one) => one.key === key);
      Object.assign(answer, last.before, { draft: last.before.comment });
      if (seen === at) {
        const place = at.subject.answers.indexOf(answer);
        all("#texts .card")[place].querySelector("textarea").value = answer.draft;
        keepDraft(answer);
        select(place, { follow: true });
        mark();
        return say(undone());
      }
      draw(seen.set, seen.subject, key, "");
      return say(undone());
    }
  } else {
    const mine = view;
    if (trouble) say("Undo waits for the server.");
    const action = enqueue("/api/undo", { set: id });
    const told = await new Promise((done) => waiting.set(action.body.nonce, done));
    if (view !== mine || !told) return;
    if (!told.undone || told.position === null) return say("There is nothing to take back.");
    ({ position, answer: key } = told);
  }
  await open(id, position, key);
  say(undone());
}

function undone() {
  const { value } = at.subject.answers[at.current];
  const name = at.set.kind === "review" ? "this instance" : answerName();
  const now = value === null ? "isn't rated now" : value === "skip" ? "is skipped now" : `is ${value} now`;
  return `Taken back: ${name} ${value && typeof value === "object" ? "is as it was before" : now}.`;
}

// Comments

const draftKey = (answer) => `${at.set.id}/${at.subject.position}/${answer.key}`;

function keepDraft(answer) {
  const drafts = kept("sessionStorage", own("drafts")) ?? {};
  if (answer.draft === answer.comment) delete drafts[draftKey(answer)];
  else drafts[draftKey(answer)] = answer.draft;
  keep("sessionStorage", own("drafts"), Object.keys(drafts).length ? drafts : null);
}

function keepDrafts() {
  at?.subject.answers.forEach(keepDraft);
}

function commitComment(answer) {
  if (at && me && at.subject.answers.includes(answer) && answer.draft !== answer.comment) send(answer, answer.value);
}

/** Before a subject is left: comments are saved, also without a rating. */
function commitDrafts() {
  at?.subject.answers.forEach(commitComment);
}

function comment() {
  const box = all("#texts .card")[at.current].querySelector(".comment");
  box.hidden = false;
  box.querySelector("textarea").focus();
}

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
    again = true;
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

/** What goes wrong with one action is told, and the next one is done all the same. */
function stay(error) {
  if (error instanceof Gone) return;
  say(error.message);
  if (!(error instanceof Refused)) console.error(error);
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
