// What raters do with an instruction, and the way from one to the next.

import {
  $, Gone, Refused, again, ahead, all, at, behind, focusOn, keep, loading, own, put, queue, say, sets, show, trouble, view,
} from "/rate_state.js";
import { call, enqueue, flushed, keepQueue, waiting } from "/rate_link.js";
import { openCount, showProgress } from "/rate_entry.js";
import { answerName, commitDrafts, draw, firstOpen, keepDraft, mark, select } from "/rate_view.js";

const QUESTIONS = ["instruction", "input", "output"];
const QUESTION_NAMES = {
  instruction: "Valid task",
  input: "Input appropriate",
  output: "Output acceptable",
  format: "Right format",
};
const FORMATS = ["right", "partly", "wrong"];
const OPEN = { instruction: null, input: null, output: null, format: null };

// Going from instruction to instruction

/** Load a subject and show it. */
export async function open(id, position, answer = null, said = "") {
  const set = sets.find((one) => one.id === id);
  const mine = Symbol("open");
  put({ view: mine });
  const wanted = () => view === mine;
  slowly(wanted);
  try {
    await flushed(wanted);
    const subject = await call(`/api/subject/${id}/${position}`, null, { wanted });
    showProgress(id, subject.progress);
    draw(set, subject, answer, said);
  } finally {
    if (wanted()) put({ loading: false });
  }
}

function slowly(wanted) {
  put({ loading: true });
  setTimeout(() => loading && wanted() && !trouble && say("Loading the next instruction."), 600);
}

export async function begin(set, said = "") {
  const mine = Symbol("begin");
  put({ again: false, view: mine });
  const wanted = () => view === mine;
  await flushed(wanted);
  const told = await call(`/api/next/${set.id}?after=0`, null, { wanted });
  showProgress(set.id, told.progress);
  if (told.position === null || !openCount(told.progress)) finish(set);
  else await open(set.id, told.position, null, said);
}

export async function look(set) {
  put({ again: true });
  await open(set.id, 0);
}

/** The next instruction with something left to rate. */
export async function goOn(said = "") {
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
    if (wanted()) put({ loading: false });
  }
}

/** Load what comes after the present subject, so that going on takes no time. */
export function lookAhead() {
  const { set, subject } = at;
  const mine = { from: subject.position, subject: null, ready: null };
  put({ ahead: mine });
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

export async function step(by) {
  const position = at.subject.position + by;
  if (position < 0) return say("This is the first instruction.");
  if (position >= at.subject.of) return say("This is the last instruction.");
  commitDrafts();
  if (ahead?.from === at.subject.position && ahead.subject?.position === position) return draw(at.set, ahead.subject, null, "");
  await open(at.set.id, position);
}

function finish(set) {
  const { done, total, skipped } = set.progress;
  if (at?.set === set && at.subject.position >= 0) put({ behind: at });
  const nothing = { position: -1, of: set.subjects, answers: [] };
  put({ view: Symbol("end"), at: { set, subject: nothing, current: 0, shown: performance.now() } });
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

// What raters do

export function send(answer, value) {
  const body = { set: at.set.id, position: at.subject.position, answer: answer.key, value, comment: answer.draft };
  const before = { value: answer.value, comment: answer.comment };
  [answer.value, answer.comment] = [value, answer.draft];
  keepDraft(answer);
  if (ahead?.subject?.position === at.subject.position) put({ ahead: null });
  enqueue("/api/rate", body, { before });
}

export function restore(action) {
  const answer = at.subject.answers.find((one) => one.key === action.body.answer);
  if (!answer) return;
  Object.assign(answer, action.before);
  answer.draft = action.body.comment;
  keepDraft(answer);
  mark();
}

/** Give the current answer a level or skip it, and go on. */
export async function rate(value) {
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

export function ask(question, value) {
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

export async function undo() {
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
