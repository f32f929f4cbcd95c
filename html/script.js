// Run the form's command without leaving the page: server-sent events in, text out, never markup.
"use strict";

const element = (id) => document.getElementById(id);
const [form, router, cmd, ip, run, stop, status, output] =
  ["form", "router", "cmd", "ip", "run", "stop", "status", "output"].map(element);
let underWay = null; // the AbortController of the answer in progress

// Offer only what the chosen router has, and a target only where the command takes one.
function offer() {
  for (const option of cmd.options) {
    const missing = !option.dataset.routers.split(" ").includes(router.value);
    option.hidden = option.disabled = missing;
    if (missing && option.selected) cmd.value = "";
  }
  if (!cmd.value) cmd.value = [...cmd.options].find((option) => !option.disabled)?.value ?? "";
  const chosen = cmd.selectedOptions[0];
  ip.disabled = !chosen || chosen.dataset.argument === "none";
}

function address() {
  const words = cmd.value.split(" ").map(encodeURIComponent).join("/");
  const target = ip.disabled ? "" : `/${encodeURIComponent(ip.value.trim())}`;
  return `.well-known/looking-glass/v1/${words}${target}?router=${encodeURIComponent(router.value)}`;
}

function permalink() {
  const query = new URLSearchParams({ ip: ip.value.trim(), cmd: cmd.value, router: router.value });
  history.replaceState(null, "", `?${query}`);
}

function tell(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function append(text) {
  const atEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
  output.append(text);
  if (atEnd) window.scrollTo(0, document.body.scrollHeight);
}

// Yield [event, data] of a stream of server-sent events; comments are passed over.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const match = /^event: (.*)\ndata: (.*)$/.exec(block);
      if (match) yield [match[1], JSON.parse(match[2])];
    }
  }
}

function finish(envelope, ended) {
  ended();
  const seconds = envelope.data ? ` after ${envelope.data.runtime.toFixed(1)} s` : "";
  tell(envelope.message ?? envelope.status + seconds, envelope.status !== "success");
}

async function follow(url, signal, ended) {
  const response = await fetch(url, { headers: { Accept: "text/event-stream" }, signal });
  if (response.headers.get("Content-Type").startsWith("application/json")) return finish(await response.json(), ended);
  for await (const [name, data] of events(response.body)) {
    if (name === "output") append(data.text);
    if (name === "result") return finish(data, ended);
  }
  ended();
  tell("The connection was lost; the output is not complete.", true);
}

async function submit(event) {
  event.preventDefault();
  if (underWay) return;
  underWay = new AbortController();
  output.textContent = "";
  run.disabled = true;
  stop.hidden = false;
  permalink();
  const started = performance.now();
  const elapsed = () => ((performance.now() - started) / 1000).toFixed(1);
  const clock = setInterval(() => tell(`running, ${elapsed()} s`), 100);
  let problem = "";
  try {
    await follow(address(), underWay.signal, () => clearInterval(clock));
  } catch (error) {
    problem = error.name === "AbortError" ? `stopped after ${elapsed()} s` : String(error);
  }
  clearInterval(clock);
  if (problem) tell(problem, true);
  underWay = null;
  run.disabled = false;
  stop.hidden = true;
}

form.addEventListener("submit", submit);
stop.addEventListener("click", () => underWay?.abort());
router.addEventListener("change", offer);
cmd.addEventListener("change", offer);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") underWay?.abort();
});
offer();
