// Run the form's command without leaving the page: server-sent events in, text out, never markup.
"use strict";

const element = (id) => document.getElementById(id);
const [form, router, cmd, ip, protocol, vrfs, vrf, run, stop, status, clock, output] =
  ["form", "router", "cmd", "ip", "protocol", "vrfs", "vrf", "run", "stop", "status", "clock", "output"].map(element);
let underWay = null; // the AbortController of the answer in progress

// Leave only what the chosen router has, and choose the first of it if need be.
function narrow(select) {
  for (const option of select.options) {
    const missing = option.value !== "" && !option.dataset.routers.split(" ").includes(router.value);
    option.hidden = option.disabled = missing;
    if (missing && option.selected) select.value = "";
  }
  if (!select.value) select.value = [...select.options].find((option) => option.value && !option.disabled)?.value ?? "";
}

// Offer a target and a vrf only where the command takes one.
function offer() {
  narrow(cmd);
  narrow(vrf);
  const chosen = cmd.selectedOptions[0];
  ip.disabled = !chosen || chosen.dataset.argument === "none";
  vrfs.hidden = vrf.disabled = !chosen || !("vrf" in chosen.dataset);
}

// Return the parameters that differ from their defaults.
function parameters(always) {
  const chosen = { protocol: protocol.value, vrf: vrf.disabled ? "" : vrf.value };
  const given = Object.entries(chosen).filter(([, value]) => value);
  return new URLSearchParams({ ...always, router: router.value, ...Object.fromEntries(given) });
}

function address() {
  const words = cmd.value.split(" ").map(encodeURIComponent).join("/");
  const target = ip.disabled ? "" : `/${encodeURIComponent(ip.value.trim())}`;
  return `.well-known/looking-glass/v1/${words}${target}?${parameters({})}`;
}

function permalink() {
  history.replaceState(null, "", `?${parameters({ ip: ip.value.trim(), cmd: cmd.value })}`);
}

function tell(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

// Stay at the end of the output, unless the visitor has scrolled away from it.
function append(text) {
  const isFollowed = output.getBoundingClientRect().bottom <= window.innerHeight + 40;
  output.append(text);
  if (isFollowed) output.scrollIntoView({ block: "end" });
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

function finish(envelope) {
  const age = envelope.age ? `, ${envelope.age} s ago` : "";
  tell(envelope.message ?? `${envelope.status} after ${envelope.data.runtime.toFixed(1)} s${age}`, envelope.status !== "success");
}

// Return the envelope at the end; null: the connection has ended before.
async function follow(url, signal) {
  const response = await fetch(url, { headers: { Accept: "text/event-stream" }, signal });
  if (response.headers.get("Content-Type").startsWith("application/json")) return response.json();
  for await (const [name, data] of events(response.body)) {
    if (name === "output") append(data.text);
    if (name === "result") return { ...data, age: response.headers.get("Age") };
  }
  return null;
}

// Show that a command runs, or no longer; the keyboard's focus is not lost with the button that had it.
function show(running) {
  const focused = document.activeElement;
  run.disabled = running;
  stop.disabled = !running;
  if (focused === (running ? run : stop)) (running ? stop : run).focus({ preventScroll: true });
}

async function submit(event) {
  event.preventDefault();
  if (underWay) return;
  if (!ip.disabled && /^\.{1,2}$/.test(ip.value.trim())) return tell("A dot is no target.", true); // but a path's own
  underWay = new AbortController();
  output.textContent = "";
  output.scrollIntoView({ block: "nearest" });
  show(true);
  permalink();
  tell("running");
  const started = performance.now();
  const elapsed = () => `${((performance.now() - started) / 1000).toFixed(1)} s`;
  const ticking = setInterval(() => (clock.textContent = elapsed()), 100);
  try {
    const envelope = await follow(address(), underWay.signal);
    if (envelope) finish(envelope);
    else tell("The connection was lost; the output is not complete.", true);
  } catch {
    if (underWay.signal.aborted) tell(`stopped after ${elapsed()}`, true);
    else tell(`The looking glass cannot be reached${output.textContent ? "; the output is not complete" : ""}.`, true);
  }
  clearInterval(ticking);
  clock.textContent = "";
  underWay = null;
  show(false);
}

form.addEventListener("submit", submit);
stop.addEventListener("click", () => underWay?.abort());
router.addEventListener("change", offer);
cmd.addEventListener("change", offer);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") underWay?.abort();
});
stop.hidden = false;
offer();
