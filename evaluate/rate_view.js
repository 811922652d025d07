// What is shown of one instruction: its texts, its answers as cards, their comments. Texts only ever become text.

import { $, again, all, at, focusOn, keep, kept, make, me, own, put, say, show, stay } from "/rate_state.js";
import { call } from "/rate_link.js";
import { showProgress } from "/rate_entry.js";
import { lookAhead, send } from "/rate_ways.js";

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

export function draw(set, subject, key, said) {
  if (at && at.subject.position >= 0 && at.set === set) put({ behind: at });
  put({ view: Symbol("subject"), loading: false, at: { set, subject, current: 0, shown: performance.now() } });
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

export function answerName() {
  return `answer ${at.current + 1} of ${at.subject.answers.length}`;
}

export function valueName(value) {
  return value === "skip" ? "Skipped" : typeof value === "string" ? `Rated ${value}` : "";
}

/** Let cards and buttons show what is so. */
export function mark() {
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

export function select(place, { follow = false } = {}) {
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
export function firstOpen(from) {
  const { answers } = at.subject;
  const places = answers.map((_, step) => (from + step) % answers.length);
  const open = places.find((place) => answers[place].value === null);
  if (open !== undefined) return open;
  return again ? answers.findIndex((answer, place) => place >= from && answer.value === "skip") : -1;
}

// Comments

const draftKey = (answer) => `${at.set.id}/${at.subject.position}/${answer.key}`;

export function keepDraft(answer) {
  const drafts = kept("sessionStorage", own("drafts")) ?? {};
  if (answer.draft === answer.comment) delete drafts[draftKey(answer)];
  else drafts[draftKey(answer)] = answer.draft;
  keep("sessionStorage", own("drafts"), Object.keys(drafts).length ? drafts : null);
}

export function keepDrafts() {
  at?.subject.answers.forEach(keepDraft);
}

function commitComment(answer) {
  if (at && me && at.subject.answers.includes(answer) && answer.draft !== answer.comment) send(answer, answer.value);
}

/** Before a subject is left: comments are saved, also without a rating. */
export function commitDrafts() {
  at?.subject.answers.forEach(commitComment);
}

export function comment() {
  const box = all("#texts .card")[at.current].querySelector(".comment");
  box.hidden = false;
  box.querySelector("textarea").focus();
}
