// Ask without leaving the page. Output goes in as text; markup comes from this server's own "view" events only.
"use strict";

const LINES = 200; // of a block of text, which is laid out only when it is looked at
const CHARACTERS = 16384; // of a block, however long its lines are
const WRITE = 65536; // characters that are written in a frame
const LINKS = 500; // in an answer
const ANSWERS = 12; // on the page
const KEPT = 24; // results that "Compare with" offers
const CROWD = 5; // routers, from which on the server draws a board; lookingglass/views.py has the same number
const REFUSED = new Set([429, 503]); // HTTP statuses after which it is worth to ask again
const DOUBLE = 500; // milliseconds in which a second press does nothing
const SILENCE = 90000; // milliseconds; the server's heart beats every 15 s
const BUSY = "Stop what is running first, with Stop or Esc.";

const HOME = new URL(".", document.currentScript.src); // of the page

const element = (id) => document.getElementById(id);
const [form, router, cmd, ip, run, status, spoken, answers] =
  ["form", "router", "cmd", "ip", "run", "status", "spoken", "answers"].map(element);
const main = document.querySelector("main");
const title = document.title;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let underWay = null; // the Asking in progress
let current = null; // the Asking of the entry of the history that is shown
let refusedUntil = 0; // by performance.now()

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Do what can fail by a fault of this script, which is no error of the connection: what follows is still shown.
function attempt(act, failed = () => {}) {
  try {
    act();
  } catch (error) {
    reportError(error);
    failed();
  }
}

const button = (text, act, className = "") => make("button", { type: "button", className, onclick: act }, text);

// --- the form

const others = () => [...form.querySelectorAll('[name="routers"]')];
const chosen = () => cmd.selectedOptions[0];
const wants = () => (chosen() ? chosen().dataset.argument : "none") !== "none";

// Return the names of the routers that are asked, the one in the menu first.
function asked() {
  return [...new Set([router.value, ...others().filter((box) => box.checked).map((box) => box.value)])];
}

function placeOf(name) {
  const option = [...(router.options ?? [])].find((each) => each.value === name);
  return option?.textContent ?? router.dataset.place ?? name;
}

// Leave only what all of the routers have, and choose the first of it if need be.
function narrow(select, names) {
  for (const option of select.options) {
    const on = option.value === "" ? names : option.dataset.routers.split(" ");
    option.hidden = option.disabled = !names.every((name) => on.includes(name));
    if (option.disabled && option.selected) select.value = "";
  }
  for (const group of select.querySelectorAll("optgroup")) {
    group.hidden = [...group.children].every((option) => option.hidden);
  }
  if (!select.value) select.value = [...select.options].find((option) => option.value && !option.disabled)?.value ?? "";
}

// Show what the chosen command is and wants, and offer a target and a vrf only where it takes one.
function offer() {
  const names = asked();
  for (const box of others()) {
    box.parentElement.hidden = box.value === router.value;
  }
  const summary = form.querySelector("#others summary");
  if (summary) summary.textContent = names.length > 1 ? `and from ${names.length - 1} more` : "and from others";
  narrow(cmd, names);
  const data = chosen()?.dataset ?? { description: "These routers have no command in common." };
  element("description").textContent = data.description;
  element("wanted").textContent = data.wanted ? `: ${data.wanted}` : "";
  element("to").hidden = ip.disabled = !wants();
  const vrf = element("vrf");
  if (vrf) {
    element("vrf-field").hidden = vrf.disabled = !data.vrf;
    if (data.vrf) narrow(vrf, names);
  }
  complain("");
}

// Tell what is wrong with the target, under its field.
function complain(text) {
  element("error").textContent = text;
  if (text) {
    ip.setAttribute("aria-invalid", "true");
    ip.setAttribute("aria-describedby", "error");
    ip.focus();
  } else {
    ip.removeAttribute("aria-invalid");
    ip.removeAttribute("aria-describedby");
  }
}

// Return the target that somebody means who has pasted something; lookingglass/pasted.py does the same.
function clean(pasted, argument) {
  let text = pasted.replace(/[\u00ad\u200b\u200e\u200f\u2060\ufeff]/g, "").trim();
  if (text.length > 2048 || !["host", "addr", "address", "asn"].includes(argument)) return text;
  text = text.replaceAll("[.]", ".").replace(/^[\s"'`<>(),;]+|[\s"'`<>(),;]+$/g, "").replace(/(?<!:):$/, "");
  if (argument === "asn") return text.replace(/^asn?\s*([0-9]{1,10})$/i, "AS$1");
  if (argument !== "host") text = text.replace(/\s/g, "");
  const slash = text.indexOf("/");
  const url = /^(?:[a-z][a-z0-9+.-]{0,30}:)?\/\/([^/?#]*)/i.exec(text);
  if (url) text = url[1].slice(url[1].lastIndexOf("@") + 1);
  else if (slash >= 0 && !/^[0-9a-f:.]+\/[0-9]/i.test(text) && !/^\s*[0-9.]+\s*$/.test(text.slice(slash + 1))) text = text.slice(0, slash);
  text = (/^\[([0-9a-f:.]{2,45})\](?::[0-9]{1,5})?$/i.exec(text) ?? [null, text])[1];
  text = (/^([^:/[\]]+):[0-9]{1,5}$/.exec(text) ?? [null, text])[1];
  // IDNA 2003 and IDNA 2008 read some letters differently: nobody knows which name is meant
  if (!/[^\x00-\x7f]/.test(text) || text.length > 253 || /[\u00df\u1e9e\u03c2\u200c\u200d]/.test(text)) return text;
  try {
    const name = new URL(`http://${text}/`).hostname;
    return /^[0-9.]+$/.test(name) ? text : name;
  } catch {
    return text;
  }
}

// Show the target as it will be asked; return whether there is one where one is wanted.
function tidy() {
  if (!wants()) return true;
  const { argument, wanted, example } = chosen().dataset;
  const target = clean(ip.value, argument);
  if (target !== ip.value) ip.value = target;
  const wrong = target === "" || /^\.{1,2}$/.test(target); // dots would be read as a path's own
  if (wrong) complain(`Enter ${/^[aeiou]/i.test(wanted) ? "an" : "a"} ${wanted}, such as ${example}.`);
  return !wrong;
}

// Return the question that the form asks.
function question() {
  const target = wants() ? ip.value : "";
  const names = asked();
  const vrf = element("vrf");
  const protocol = form.querySelector('[name="protocol"]:checked')?.value ?? "";
  const more = [["protocol", protocol], ["vrf", vrf && !vrf.disabled ? vrf.value : ""]].filter(([, value]) => value);
  const path = [...cmd.value.split(" "), ...(target ? [target] : [])].map(encodeURIComponent).join("/");
  const where = names.length > 1 ? [["routers", names.join(",")]] : [["router", names[0]]];
  const fields = [["ip", target], ["cmd", cmd.value], ["router", names[0]]];
  const rest = names.slice(1).map((name) => ["routers", name]);
  return {
    names,
    title: target ? `${cmd.value} ${target}` : cmd.value,
    url: `.well-known/looking-glass/v1/${path}?${new URLSearchParams([...where, ...more])}`,
    link: `?${new URLSearchParams([...fields, ...rest, ...more])}`,
    fields: { target: ip.value, cmd: cmd.value, protocol, vrf: vrf?.value ?? "" },
  };
}

// Fill in the form as it was for a question, for some of its routers.
function refill({ fields }, names) {
  router.value = names[0];
  for (const box of others()) box.checked = names.slice(1).includes(box.value);
  cmd.value = fields.cmd;
  if (element("vrf")) element("vrf").value = fields.vrf;
  chooseFamily(fields.protocol);
  offer();
  ip.value = fields.target;
}

function chooseFamily(value) {
  const radio = form.querySelector(`[name="protocol"][value="${value}"]`);
  if (radio) radio.checked = true;
}

const kindOf = (text) => (/^as/i.test(text) ? "asn" : text.includes("/") ? "prefix" : "address");

// Return the command that an address, a prefix or an AS number can be asked next; the chosen one if it can.
function taker(text) {
  const takes = (option) => option && !option.disabled && option.dataset.takes.split(" ").includes(kindOf(text));
  return takes(chosen()) ? chosen() : [...cmd.options].find(takes);
}

function fill(text) {
  const option = taker(text);
  if (!option) return;
  cmd.value = option.value;
  chooseFamily("");
  offer();
  ip.value = text;
  ip.focus();
}

// Let a link do something here; with a key held down it opens as any link.
function acting(link, act) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    act();
  });
  return link;
}

const filling = (link, text) => acting(link, () => fill(text));

// Return the command that an answer's address, prefix or AS number leads to; a result's page has it from the server.
const leadsTo = (text) => (form ? taker(text)?.value : main.dataset[kindOf(text)]);

function linkTo(text, shown = text) {
  const fields = { ip: text, cmd: leadsTo(text) ?? "", router: form ? router.value : main.dataset.router };
  const made = make("a", { href: `${HOME}?${new URLSearchParams(fields)}` }, shown);
  return form ? filling(made, text) : made;
}

// Ask the configured names of this glass that have one address family for the visitor's other address.
async function findOwn(yours) {
  const shown = () => [...yours.querySelectorAll("a")];
  for (const link of shown()) filling(link, link.textContent);
  for (const [family, isOther] of [["ipv4", /:/], ["ipv6", /^[^:]*$/]]) {
    const url = yours.dataset[family];
    if (!url || shown().some((link) => !isOther.test(link.textContent))) continue;
    try {
      const address = (await (await fetch(url, { credentials: "omit" })).json()).ip;
      if (typeof address !== "string" || !/^[0-9a-f.:]{2,45}$/i.test(address)) continue;
      if (shown().every((link) => link.textContent !== address)) yours.append(" ", linkTo(address));
      yours.hidden = false;
    } catch {
      // The visitor has no address of this family.
    }
  }
}

// --- text

// Show text as it comes, at a bounded cost, and stay at its end unless the reader has scrolled up.
class Lines {
  constructor(label) {
    this.box = make("pre", { tabIndex: 0 });
    this.box.setAttribute("aria-label", label);
    this.box.setAttribute("role", "group"); // no landmark: there may be several of a name
    this.waiting = "";
    this.follows = true;
    this.top = 0;
    this.box.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.box;
      this.follows = scrollHeight - clientHeight - scrollTop < 24 || (this.follows && scrollTop >= this.top);
      this.top = scrollTop;
    });
  }

  write(text) {
    this.waiting += text;
    this.frame ??= requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.frame = null;
    let end = this.waiting.length;
    if (end > WRITE) end = this.waiting.lastIndexOf("\n", WRITE) + 1 || WRITE;
    this.append(this.waiting.slice(0, end));
    this.waiting = this.waiting.slice(end);
    if (this.follows) this.box.scrollTop = this.box.scrollHeight;
    if (this.waiting) this.frame = requestAnimationFrame(() => this.flush());
    else this.onrest?.();
  }

  append(text) {
    for (let at = 0; at < text.length; ) {
      if (!this.last || this.count >= LINES || this.last.length >= CHARACTERS) this.open();
      let end = at;
      while (this.count < LINES && end < text.length) {
        end = text.indexOf("\n", end) + 1 || text.length;
        if (text[end - 1] === "\n") this.count += 1;
      }
      end = Math.min(end, at + CHARACTERS - this.last.length);
      this.last.appendData(text.slice(at, end));
      at = end;
    }
  }

  open() {
    if (this.last && this.count >= LINES) this.last.parentElement.classList.add("full");
    this.count = 0;
    this.last = document.createTextNode("");
    this.box.append(make("span", { className: "lines" }, this.last));
  }

  // Call back when all is written.
  rest(act) {
    if (this.frame) this.onrest = act;
    else act();
  }

  toString() {
    return this.box.textContent + this.waiting;
  }
}

const TARGETS =
  /(?<![\w.:-])(?:AS[1-9]\d{0,9}|(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}:)(?:\/\d{1,3})?)(?![\w%-]|\.\d)/gi;
const NUMBERS = /(?<![\w:.])[1-9]\d{0,9}(?![\w:.])/g; // in an AS path

function isTarget(text) {
  const address = text.split("/")[0];
  return /^as/i.test(text) || URL.canParse(`http://${address.includes(":") ? `[${address}]` : address}/`);
}

// Make links of the addresses and AS numbers in text; the keyboard stops at each only once.
function* link(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const known = new Set();
  let count = 0;
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const text of texts) {
    yield;
    if (text.parentElement?.closest("a, button, svg, summary, .bar")) continue;
    const isPath = text.parentElement?.closest(".path");
    const parts = [];
    let at = 0;
    for (const match of text.data.matchAll(isPath ? NUMBERS : TARGETS)) {
      if (count >= LINKS) break;
      const target = isPath ? `AS${match[0]}` : match[0];
      if (!isTarget(target) || !leadsTo(target)) continue;
      count += 1;
      const made = linkTo(target, match[0]);
      made.className = "onward";
      if (known.has(target)) made.tabIndex = -1;
      known.add(target);
      parts.push(text.data.slice(at, match.index), made);
      at = match.index + match[0].length;
    }
    if (parts.length) text.replaceWith(...parts, text.data.slice(at));
    if (count >= LINKS) return;
  }
}

// Take the steps of something long between frames.
function slowly(steps) {
  const until = performance.now() + 8;
  while (performance.now() < until) if (steps.next().done) return;
  setTimeout(slowly, 16, steps);
}

// --- an answer

// One router's answer: heading, verdict, actions, what the server draws, text.
class Panel {
  constructor(asking, name) {
    this.asking = asking;
    this.name = name;
    this.from = placeOf(name);
    this.isOver = false;
    this.began = performance.now();
    this.lines = new Lines(`Text: ${asking.question.title}`);
    this.heading = make("div", { className: "heading" },
      make("h2", {}, asking.question.title), make("span", { className: "place" }, this.from),
      make("strong", { className: "verdict" }));
    this.actions = make("p", { className: "actions" });
    this.drawing = make("div", { className: "drawing" });
    const wrap = make("input", { type: "checkbox", onchange: () => this.lines.box.classList.toggle("wrapped", wrap.checked) });
    this.text = make("details", { className: "text", open: true },
      make("summary", {}, "Text"), make("label", { className: "wrap" }, wrap, " wrap lines"), this.lines.box);
    const bar = make("header", { className: "bar" }, this.heading, this.actions);
    this.article = make("article", { className: "answer" }, make("div", { className: "view" }, bar, this.drawing), this.text);
    this.article.dataset.router = name;
    this.text.querySelector("summary").addEventListener("click", () => (this.isChosen = true));
    this.tell("running", "●", "running, 0.0 s");
  }

  get verdict() {
    return this.heading.querySelector(".verdict");
  }

  // Show a verdict of the script's own: on what the server does not see, or does not say.
  tell(kind, mark, words) {
    const sign = make("span", {}, mark);
    sign.setAttribute("aria-hidden", "true");
    this.verdict.className = `verdict ${kind}`;
    delete this.verdict.dataset.spoken;
    this.verdict.replaceChildren(sign, ` ${words}`);
    this.base = 0;
    this.noted = this.began;
    this.asking.retitle();
  }

  // Show what the server has drawn: the inside of .view, of which the bar stays, for a finger may be on it.
  view(html) {
    const fresh = make("template", { innerHTML: html }).content;
    const bar = fresh.querySelector(".bar");
    if (bar) {
      this.heading.replaceChildren(...bar.childNodes);
      bar.remove();
      const running = /([\d.]+) of/.exec(this.verdict?.textContent ?? "");
      this.base = running ? Number(running[1]) : 0;
      this.left = Number(/about (\d+) s/.exec(this.verdict?.textContent ?? "")?.[1]);
      this.noted = performance.now();
      this.hasView = true;
    }
    const same = make("div", { className: "drawing" }, fresh);
    if (!same.isEqualNode(this.drawing)) this.drawing.replaceChildren(...same.childNodes);
    if (!this.isChosen) this.text.open = !this.drawing.querySelector("table");
    if (this.isOver) slowly(link(this.drawing));
    this.asking.retitle();
  }

  // Let the server's clock go on: up while it runs, down while it waits.
  tick() {
    if (this.isOver || !this.verdict?.matches(".running, .waiting")) return;
    const words = this.verdict.lastChild;
    const since = (performance.now() - this.noted) / 1000;
    const isWaiting = this.verdict.matches(".waiting");
    const now = isWaiting ? words.textContent.replace(/(?<=about )\d+/, Math.max(1, Math.ceil(this.left - since)))
      : words.textContent.replace(/[\d.]+(?= of| s)/, (this.base + since).toFixed(calm.matches ? 0 : 1));
    if (now === words.textContent) return;
    words.textContent = now;
    if (isWaiting) this.asking.board?.mark(this);
  }

  // Show the end: by the last view, or by the envelope where there was none.
  finish(envelope) {
    if (this.isOver) return;
    this.isOver = true;
    this.envelope = envelope;
    if (!this.hasView || this.verdict?.matches(".running, .waiting")) {
      if (envelope.status === "success") this.tell("good", "✓", "done");
      else if (REFUSED.has(envelope.code) && !envelope.data) this.tell("refused", "⏳", envelope.message);
      else this.tell("bad", "✗", envelope.message ?? "failed");
    }
    keep(this);
    this.end();
  }

  // End without an envelope: the visitor or the connection was first.
  cease(kind, mark, words) {
    if (this.isOver) return;
    this.isOver = true;
    this.tell(kind, mark, words);
    this.asking.board?.mark(this);
    this.end();
  }

  end() {
    offerActions(this);
    this.lines.rest(() => slowly(link(this.lines.box)));
    this.text.hidden = !this.lines.waiting && !this.lines.box.firstChild;
    slowly(link(this.drawing));
    this.asking.retitle();
  }

  get words() {
    return (this.verdict?.textContent ?? "").replace(/\s+/g, " ").trim();
  }

  get speech() {
    return this.verdict?.dataset.spoken ?? this.words.replace(/^\S+ /, "");
  }

  get when() {
    return this.heading.querySelector("time")?.textContent ?? this.envelope?.data?.performed_at ?? new Date().toISOString();
  }

  get result() {
    return this.envelope?.data?.result;
  }
}

// --- asking

// A question under way, and the panels of its answers.
class Asking {
  constructor(question) {
    this.question = question;
    this.controller = new AbortController();
    this.began = performance.now();
    this.asked = performance.timeOrigin + this.began; // later than all before, also before a reload
    this.silence = 0;
    this.panels = new Map();
    this.section = make("div", { className: "group", asked: this.asked, asking: this });
  }

  begin() {
    const { names } = this.question;
    this.section.classList.add(names.length >= CROWD ? "many" : `of-${names.length > 1 ? names.length + (names.length % 2) : 1}`);
    for (const name of names) {
      const panel = new Panel(this, name);
      this.panels.set(name.toLowerCase(), panel);
      panel.actions.append(button("Stop", () => this.leave(panel), "stop"));
      this.section.append(panel.article);
    }
    if (names.length >= CROWD) this.board = new Board(this);
    history.replaceState({ asked: this.asked, question: this.question }, "");
    answers.prepend(this.section);
    this.section.querySelector(".bar").scrollIntoView({ block: "nearest" });
    while (answers.children.length > ANSWERS) answers.lastElementChild.remove();
    const pace = calm.matches ? 1000 : 100;
    this.ticking = setInterval(() => this.tick(pace), pace);
    const from = names.length > 1 ? `from ${names.length} routers` : "";
    spoken.textContent = `${this.question.title} ${from} runs.`;
    this.retitle();
  }

  tick(pace) {
    this.panels.forEach((panel) => panel.tick());
    this.silence += pace; // not by the clock: a tab may sleep
    if (this.silence > SILENCE) this.controller.abort();
  }

  panel(data) {
    const name = data.router ?? data.data?.router ?? "";
    return this.panels.size === 1 ? [...this.panels.values()][0] : this.panels.get(name.toLowerCase());
  }

  // Show what has come. What goes wrong in this page is no end of the answer: the text goes on.
  take(event, data) {
    const failed = () => {
      if (event !== "view") return;
      const drawing = this.panel(data)?.drawing ?? this.board.box;
      drawing.replaceChildren(make("p", { className: "bad" }, "This page has failed to draw the answer. Its text goes on."));
    };
    attempt(() => this.show(event, data), failed);
  }

  show(event, data) {
    const panel = this.panel(data);
    if (!panel) {
      if (event === "view") this.board?.view(data.html);
      return;
    }
    if (data.stop) {
      panel.secret = data.stop;
      if (panel.isUnwanted) this.leave(panel);
    }
    if (panel.isOver && !(event === "view" && panel.envelope)) return; // it is drawn again on another axis
    if (event === "output") panel.lines.write(data.text);
    if (event === "view") panel.view(data.html);
    if (event === "waiting") panel.tell("waiting", "…", `waits, ${ordinal(data.place)} in the queue`);
    if (event === "result") panel.finish(data);
  }

  // Say in the window's title how it stands.
  retitle() {
    const all = [...this.panels.values()];
    const done = all.filter((panel) => panel.isOver).length;
    if (this !== current || !all.length) return; // nothing has come, so that the last answer's title stays
    const state = all.length > 1 ? `${done} of ${all.length} done` : all[0].isOver || all[0].verdict?.matches(".waiting") ? all[0].words : "● running";
    this.board?.count(done, all.filter((panel) => panel.verdict?.matches(".waiting")).length);
    document.title = `${state} · ${this.question.title} · ${title}`;
  }

  // Stop one of several routers, whose end the server tells as any other; it is hidden where that cannot be.
  async leave(panel) {
    if (this.panels.size === 1) return this.stop();
    panel.isUnwanted = true;
    panel.actions.querySelector(".stop")?.setAttribute("aria-disabled", "true");
    if (!panel.secret) return; // it comes with the first event
    const answer = await fetch(new URL(`stop/${panel.secret}`, HOME), { method: "POST" }).catch(() => null);
    if (answer?.ok || panel.isOver) return;
    panel.cease("stopped", "■", "hidden; another process of the looking glass runs it, and goes on");
    if ([...this.panels.values()].every((each) => each.isOver)) this.controller.abort();
  }

  stop() {
    this.controller.abort();
  }

  // End what has not ended by itself.
  end() {
    clearInterval(this.ticking);
    const isStopped = this.controller.signal.aborted && this.silence <= SILENCE;
    for (const panel of this.panels.values()) {
      attempt(() => (isStopped ? panel.cease("stopped", "■", "stopped") : panel.cease("lost", "⚡", "connection lost")));
    }
    this.board?.end();
    if (this !== current) return;
    const results = [...this.panels.values()].filter((panel) => panel.result).map((panel) => [panel.from, panel.result]);
    if (history.state?.asked === this.asked) history.replaceState({ ...history.state, results }, "");
    if (this.panels.size) spoken.textContent = this.speech;
    this.retitle();
  }

  get speech() {
    const all = [...this.panels.values()];
    return all.map((panel) => `${all.length > 1 ? `${panel.name}: ` : ""}${panel.speech}`).slice(0, 8).join("; ");
  }
}

const ordinal = (number) =>
  `${number}${{ 1: "st", 2: "nd", 3: "rd" }[number % 100 > 10 && number % 100 < 20 ? 0 : number % 10] ?? "th"}`;

// Yield [event, data] of a stream of server-sent events; comments are passed over.
async function* events(body, hear) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    hear();
    const from = Math.max(0, rest.length - 1);
    rest += value;
    let at = 0;
    for (let end = rest.indexOf("\n\n", from); end >= 0; end = rest.indexOf("\n\n", at)) {
      const match = /^event: (.*)\ndata: (.*)$/.exec(rest.slice(at, end));
      if (match) yield [match[1], JSON.parse(match[2])];
      at = end + 2;
    }
    rest = rest.slice(at);
  }
}

// Say why a question is not answered: under the field, in the button that counts down, or above the answers.
function refuse(response, envelope) {
  const message = envelope.message ?? `The looking glass does not answer; something before it says ${response.status}.`;
  if (response.status === 400 && wants()) complain(message);
  else status.textContent = REFUSED.has(response.status) ? `⏳ ${message}` : message;
  if (!REFUSED.has(response.status)) return;
  refusedUntil = performance.now() + 1000 * (Number(response.headers.get("Retry-After")) || 5);
  countDown();
}

function countDown() {
  const seconds = Math.ceil((refusedUntil - performance.now()) / 1000);
  if (seconds > 0) {
    run.setAttribute("aria-disabled", "true");
    run.textContent = `in ${seconds} s`;
    setTimeout(countDown, 250);
  } else {
    run.removeAttribute("aria-disabled");
    run.textContent = "Run";
    if (status.textContent.startsWith("⏳")) status.textContent = "";
  }
}

async function ask() {
  const asking = (underWay = new Asking(question()));
  record(asking);
  status.textContent = "";
  stop.textContent = asking.question.names.length > 1 ? "Stop all" : "Stop";
  show(true);
  try {
    const response = await fetch(`${asking.question.url}&view=1`,
      { headers: { Accept: "text/event-stream" }, signal: asking.controller.signal });
    if (response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      attempt(() => asking.begin());
      for await (const [event, data] of events(response.body, () => (asking.silence = 0))) asking.take(event, data);
    } else {
      const envelope = await response.json().catch(() => ({}));
      if (asking === current) refuse(response, envelope);
    }
  } catch {
    if (!asking.controller.signal.aborted && !asking.panels.size) status.textContent = "The looking glass cannot be reached.";
  }
  underWay = null;
  asking.ended = performance.now();
  if (status.textContent === BUSY) status.textContent = "";
  show(false);
  asking.end();
}

// Turn Run into Stop and back; the keyboard's focus is not lost with the button that had it.
function show(running) {
  const focused = document.activeElement;
  run.hidden = running;
  stop.hidden = !running;
  if (focused === (running ? run : stop)) (running ? stop : run).focus({ preventScroll: true });
}

const isRecent = (moment) => performance.now() - moment < DOUBLE;

// Return whether this is the second press of two, or one on Run that was meant for Stop.
const isDouble = () => current?.question.link === question().link && isRecent(current.ended);

function submit(event) {
  event?.preventDefault();
  if (underWay) {
    if (!isRecent(underWay.began)) status.textContent = BUSY;
  } else if (performance.now() >= refusedUntil && chosen() && tidy() && !isDouble()) {
    complain("");
    ask();
  }
}

// --- the browser's history: an entry for each question; going back to one asks nothing

const gone = make("p", { id: "gone" });

// Give a question an entry, unless it is the same again; what was not answered gives its own away.
function record(asking) {
  const { asked, question } = asking;
  const act = history.state?.isUnanswered ? "replaceState" : "pushState";
  if (question.link !== location.search) history[act]({ asked, question, isUnanswered: true }, "", question.link);
  current = asking;
  reveal(asked);
}

// Show the answers up to a moment; return one of this moment.
function reveal(asked) {
  if (gone.contains(document.activeElement)) run.focus();
  gone.remove();
  for (const each of answers.children) each.hidden = each.asked > asked;
  return [...answers.children].find((each) => each.asked === asked);
}

// Show the answers as they were at the entry, or the way to one that is gone; return what to say.
function recall() {
  const { asked = 0, question, results = [] } = history.state;
  const own = reveal(asked);
  current = own?.asking ?? null;
  document.title = asked ? `${question.title} · ${title}` : title;
  current?.retitle();
  if (current) return `${question.title}: ${current.speech}`;
  if (own || !asked) return "The form is as it was.";
  const words = `This page holds no answer to ${question.title}.`;
  const links = results.flatMap(([from, href]) => [make("a", { href }, from), " "]);
  gone.replaceChildren(words, links.length ? " It is kept: " : " ", ...links, againButton("Ask again", question, question.names));
  answers.before(gone);
  return words;
}

// Follow the browser back or forward; a question that is left stops.
function revisit() {
  const { question } = history.state ?? {};
  if (!question) return; // somebody has changed the address by hand
  const focused = document.activeElement;
  const left = underWay;
  left?.stop();
  refill(question, question.names);
  status.textContent = "";
  spoken.textContent = `${left ? `${left.question.title} is stopped. ` : ""}${recall()}`;
  if (focused.isConnected && !focused.closest("[hidden]")) return;
  const goal = current?.section.querySelector("h2") ?? gone.querySelector("button") ?? cmd;
  if (current) goal.tabIndex = -1;
  goal.focus();
}

// Begin at an entry that may be older than this page; its address runs nothing again.
function resume() {
  const state = { question: question(), ...history.state };
  const address = new URL(location);
  address.searchParams.delete("run");
  for (const each of answers.children) {
    each.asked = state.asked = performance.timeOrigin;
    const link = each.querySelector("[rel~=bookmark]");
    if (link) (state.results ??= []).push([each.querySelector(".place").textContent, link.href]);
  }
  history.replaceState(state, "", address);
  if (state.asked) recall();
}

// --- what one can do with an answer

// Return what asks the same in a terminal; a result's page has it from the server.
const curl = (panel) => {
  if (panel.curl) return panel.curl;
  const url = new URL(panel.asking.question.url, document.baseURI).href.replaceAll("'", "%27");
  return `curl -N -H 'Accept: text/plain' '${url}'`;
};

const linkOf = (panel) => new URL(panel.result ?? panel.asking.question.link, document.baseURI).href;

const headOf = (panel) => `${panel.asking.question.title} from ${panel.from}, ${panel.when}: ${panel.words}`;

const asText = (panel) => `${headOf(panel)}\n${linkOf(panel)}\n\n${panel.lines}`;

// Write Markdown in which nothing of the output is markup: the fence is longer than any in it.
function asMarkdown(panel) {
  const text = `${panel.lines}`.replace(/\n?$/, "\n");
  const fence = "`".repeat(Math.max(3, 1 + Math.max(0, ...(text.match(/`+/g) ?? []).map((run) => run.length))));
  const head = headOf(panel).replace(/[\\`*_{}[\]<>()#+!|~&-]/g, "\\$&");
  return `**${head}**\n\n${fence}\n${text}${fence}\n\n<${linkOf(panel)}>\n`;
}

function save(panel) {
  const href = URL.createObjectURL(new Blob([asText(panel)], { type: "text/plain" }));
  const name = `${panel.asking.question.title} ${panel.name} ${panel.when}`.replace(/[^\w.-]+/g, "-");
  make("a", { href, download: `${name.slice(0, 120)}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

// Copy, also where the page came without TLS, and say so on what was pressed.
async function copy(text, pressed) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, className: "unseen" });
    pressed.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    pressed.focus();
  }
  pressed.dataset.name ??= pressed.textContent;
  pressed.textContent = "Copied";
  setTimeout(() => (pressed.textContent = pressed.dataset.name), 1500);
}

const copier = (name, write) => button(name, (event) => copy(write(), event.target));

const copying = (goal) => acting(goal, () => copy(goal.href, goal));

function menuOf(panel, ...more) {
  return make("details", { className: "menu" }, make("summary", {}, "More"), make("div", {},
    copier("Copy as Markdown", () => asMarkdown(panel)), ...(curl(panel) ? [copier("Copy the curl line", () => curl(panel))] : []),
    button("Download", () => save(panel)), ...more));
}

function againButton(text, question, names) {
  return button(text, () => {
    refill(question, names);
    submit();
  });
}

function offerActions(panel) {
  const hadFocus = panel.actions.contains(document.activeElement);
  const goal = copying(make("a", { href: linkOf(panel), className: "button" }, "Link"));
  const again = againButton("Again", panel.asking.question, [panel.name]);
  const menu = menuOf(panel, ...(panel.result ? [comparing(panel)] : []));
  panel.actions.querySelector(".stop")?.remove();
  panel.actions.append(copier("Copy", () => asText(panel)), goal, again, menu);
  if (hadFocus) again.focus({ preventScroll: true });
}

// --- results of this browser, to compare with

const idOf = (url) => /\/results\/([\w-]{8,64})(?:[./?#].*)?$/.exec(url)?.[1];

function kept() {
  try {
    return JSON.parse(localStorage.getItem("tinytracer")) ?? [];
  } catch {
    return [];
  }
}

function keep(panel) {
  const id = panel.result && idOf(panel.result);
  if (!id) return;
  try {
    const entry = { id, words: `${panel.asking.question.title}, ${panel.from}, ${panel.when}` };
    localStorage.setItem("tinytracer", JSON.stringify([entry, ...kept()].slice(0, KEPT)));
  } catch {
    // A browser that keeps nothing compares with pasted links only.
  }
}

// Return a menu of the other results of this browser, those like a result first, and what fills it anew.
function results(own, title) {
  const command = title.split(" ")[0];
  const likeness = ({ words }) => words.startsWith(`${title},`) + words.startsWith(`${command} `);
  const select = make("select", { name: "with" });
  select.setAttribute("aria-label", "Compare with a result of this browser");
  const list = () => {
    const found = kept().filter(({ id }) => id !== own).sort((one, other) => likeness(other) - likeness(one));
    select.replaceChildren(...found.map(({ id, words }) => make("option", { value: id }, words)));
    select.hidden = select.disabled = !found.length;
  };
  return [select, list];
}

function comparing(panel) {
  const own = idOf(panel.result);
  const [select, list] = results(own, panel.asking.question.title);
  const pasted = make("input", { placeholder: "or paste a result's link" });
  pasted.setAttribute("aria-label", "Compare with a pasted link");
  const compare = make("form", { onsubmit: (event) => {
    event.preventDefault();
    const other = pasted.value.trim() ? idOf(pasted.value.trim()) : select.value;
    pasted.setCustomValidity(other ? "" : "Paste the link of a result, such as https://…/results/….");
    if (other) location.href = new URL(`results/${other}/vs/${own}`, HOME).href;
    else pasted.reportValidity();
  } }, make("strong", {}, "Compare with"), select, pasted, make("button", {}, "Compare"));
  pasted.addEventListener("input", () => pasted.setCustomValidity(""));
  panel.actions.addEventListener("toggle", list, true);
  list();
  return compare;
}

// --- a crowd of routers: the server's board, whose rows open the whole answers below it

class Board {
  constructor(asking) {
    this.asking = asking;
    this.panels = [...asking.panels.values()];
    this.sum = make("strong", { className: "verdict" });
    this.stop = button("Stop all", () => asking.stop(), "stop");
    const heading = make("div", { className: "heading" }, make("h2", {}, asking.question.title),
      make("span", { className: "place" }, `from ${this.panels.length} routers`), this.sum);
    const bar = make("header", { className: "bar" }, heading, make("p", { className: "actions" }, this.stop));
    this.box = make("div", { className: "drawing" });
    asking.section.prepend(make("article", { className: "answer" }, bar, this.box));
    for (const { article } of this.panels) article.hidden = true;
  }

  // Show the newest board; a row that is there already stays, for a finger may be on it.
  view(html) {
    const { content } = make("template", { innerHTML: html });
    const fresh = content.querySelector(".board");
    const rows = [...fresh.tBodies[0].rows];
    if (!this.rows) {
      this.box.append(content);
      [this.head, this.rows] = [fresh.tHead, rows];
      rows.forEach((row, number) => this.equip(row, this.panels[number]));
      return;
    }
    this.unexplain();
    this.box.append(content.querySelector(".why") ?? "");
    if (!this.head.isEqualNode(fresh.tHead)) this.head.replaceChildren(...fresh.tHead.childNodes);
    rows.forEach((row, number) => {
      const [, ...before] = this.rows[number].cells;
      const [, ...cells] = row.cells;
      cells.forEach((cell, at) => {
        if (!before[at]) this.rows[number].append(cell);
        else if (!before[at].isEqualNode(cell)) before[at].replaceWith(cell);
      });
    });
  }

  // Let a row open the whole answer: with its button, or a click anywhere.
  equip(row, panel) {
    const name = row.querySelector(".router span");
    const opener = button("", () => {}, "opener");
    opener.append(...name.childNodes);
    opener.setAttribute("aria-expanded", "false");
    name.replaceWith(opener);
    row.addEventListener("click", () => {
      panel.article.hidden = !panel.article.hidden;
      opener.setAttribute("aria-expanded", !panel.article.hidden);
      if (!panel.article.hidden) panel.article.scrollIntoView({ block: "nearest" });
    });
  }

  // Show in its row what the script says of an answer.
  mark(panel) {
    const cell = this.rows?.[this.panels.indexOf(panel)]?.cells[1];
    if (!cell) return;
    cell.className = `standing ${panel.verdict.className}`;
    cell.replaceChildren(...panel.verdict.cloneNode(true).childNodes);
  }

  count(done, waiting) {
    const counts = [[done, "done"], [this.panels.length - done - waiting, "running"], [waiting, "waiting"]];
    const mark = done < this.panels.length ? "● " : "";
    this.sum.textContent = mark + counts.filter(([count]) => count).map((pair) => pair.join(" ")).join(", ");
  }

  // Take away why some wait.
  unexplain() {
    this.box.querySelector(".why")?.remove();
  }

  end() {
    this.stop.remove();
    this.unexplain();
    if (!this.rows) for (const { article } of this.panels) article.hidden = false; // there is no board to open them from
  }
}

// --- answers that the server has written: streamed, kept, compared

// Offer with an answer what needs a script.
function adopt(article) {
  slowly(link(article));
  const find = (name) => article.querySelector(name)?.textContent ?? "";
  const actions = article.querySelector(".actions");
  const goal = actions?.querySelector("[rel~=bookmark]");
  if (!goal) return;
  const panel = {
    name: article.dataset.router, from: find(".place"), when: find("time"),
    words: find(".verdict").replace(/\s+/g, " ").trim(),
    lines: find("pre"), result: goal.href, curl: document.querySelector(".curl")?.textContent ?? "",
    asking: { question: { title: find("h2") } }, actions,
  };
  const compare = document.querySelector(".with"); // of a result's page
  if (compare) {
    const [select, list] = results(idOf(goal.href), find("h2"));
    const input = compare.querySelector("input");
    select.onchange = () => (input.value = select.value);
    list();
    select.prepend(make("option", { value: "" }, "a result of this browser"));
    select.value = "";
    select.removeAttribute("name");
    input.before(select);
  }
  actions.prepend(copier("Copy", () => asText(panel)), copying(goal));
  actions.append(menuOf(panel, ...(compare ? [] : [comparing(panel)])));
  keep(panel);
}

// Offer to copy a comparison as the server writes it.
function adoptComparison(article) {
  slowly(link(article));
  const text = article.querySelector('.actions [href$=".txt"]');
  text?.before(button("Copy", async (event) => copy(await (await fetch(text.href)).text(), event.target)), " ");
}

const stop = button("Stop", () => {
  if (underWay && !isRecent(underWay.began)) underWay.stop();
});
stop.id = "stop";
stop.hidden = true;

// Make the form work without leaving the page.
function begin() {
  run.after(stop);
  form.addEventListener("submit", submit);
  form.addEventListener("change", (event) => {
    if (event.target === ip) {
      if (wants()) ip.value = clean(ip.value, chosen().dataset.argument);
    } else offer();
  });
  ip.addEventListener("input", () => ip.hasAttribute("aria-invalid") && complain(""));
  const told = element("error").textContent; // by the server
  offer();
  complain(told);
  resume();
  addEventListener("popstate", revisit);
  addEventListener("pagehide", () => underWay?.stop());
  const yours = element("yours");
  if (yours) findOwn(yours);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.repeat) event.preventDefault(); // a key that is held asks once
  if (event.key !== "Escape") return;
  const open = document.querySelector(".menu[open]");
  if (open) {
    open.open = false;
    open.firstChild.focus();
  } else underWay?.stop();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
if (form) begin();
for (const article of document.querySelectorAll(".answer")) {
  if (article.matches(".comparison")) adoptComparison(article);
  else adopt(article);
}
