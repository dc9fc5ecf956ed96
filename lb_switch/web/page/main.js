// The page: messages come in, a moment is chosen, views draw it.

import { advance, changeRate, goLive, makeClock, restart, seek, synchronise, toggle } from "./clock.js";
import { drawControls, makeControls } from "./controls.js";
import { say } from "./dom.js";
import { drawNews, drawPackets } from "./lists.js";
import { drawNumbers } from "./numbers.js";
import { closePanel, KINDS, makePanel, showPanel } from "./panel.js";
import { drawCaption, presented } from "./presentation.js";
import { LEG, tell } from "./schedule.js";
import { fileSource, liveSource } from "./source.js";
import { drawStage, makeStage } from "./stage.js";
import { lastBefore, learn, makeStore, shownOf } from "./store.js";

const kept = document.getElementById("recording");
const source = kept ? fileSource(JSON.parse(kept.textContent ?? "")) : liveSource();
const store = makeStore();
store.isFile = source.isFile;
document.documentElement.classList.toggle("recording", source.isFile);
const clock = makeClock(store);
const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const reduced = window.matchMedia("(prefers-reduced-motion: reduce)");
/** How much larger packets are in a presentation. */
const PRESENTED = 1.35;
/** Where a packet that was stepped to stands: in the middle of its first leg. */
const MIDDLE = LEG / 2;

const app = {
  store,
  clock,
  source,
  followed: /** @type {number | null} */ (null),
  chosen: /** @type {[string, any] | null} */ (null),
  presentation: {
    number: /** @type {number | null} */ (null), group: /** @type {string | null} */ (null),
    from: 0, until: 0,
  },
  choose(/** @type {string} */ kind, /** @type {any} */ name) {
    app.chosen = [kind, name];
    history.replaceState(null, "", `#${kind}=${encodeURIComponent(name)}`);
    showPanel(panel, kind, name).catch(() => say(find("status"), "lb-switch web does not answer"));
  },
  close() {
    app.chosen = null;
    app.followed = null;
    history.replaceState(null, "", "#");
    closePanel(panel);
  },
  follow(/** @type {number | null} */ number) {
    app.followed = app.followed === number ? null : number;
    if (app.followed !== null) app.choose("connection", number);
  },
  act: (/** @type {any} */ fields) => source.act(fields),
  stepTo(/** @type {number} */ by) {
    const steps = store.shown.filter((each) =>
      app.followed === null || each.connection === app.followed);
    const here = clock.head - MIDDLE;
    const next = by > 0 ? steps[lastBefore(steps, here + 0.01, "show") + 1]
      : steps[lastBefore(steps, here - 0.01, "show")];
    if (!next) return;
    clock.playing = false;
    seek(clock, next.show + MIDDLE);
    if (next.number !== null) app.choose("packet", next.number);
  },
  isPresented: () => document.documentElement.classList.contains("presentation"),
  present() {
    document.documentElement.classList.toggle("presentation");
    Object.assign(app.presentation, { number: null, group: null });
  },
};

const stage = makeStage(find("stage"), store, app.choose);
const panel = makePanel(find("panel"), app);
const controls = makeControls(find("controls"), app);

source.settings().then((settings) => {
  store.readOnly = settings.readOnly;
  store.hasLab = settings.lab;
}, () => {});
source.follow((messages) => {
  if (store.isFile) tell(messages);
  for (const message of messages) {
    if (message.kind === "begin") restart(clock, message.at);
    if (!store.isFile && typeof message.at === "number" && message.kind !== "begin") {
      synchronise(clock, message.at);
    }
  }
  learn(store, messages);
  if (store.isFile) clock.head = store.begin;
}, () => learn(store, [{
  kind: "status", connected: false, text: "lb-switch web does not answer (trying again)",
}]));

/** @type {Record<string, () => unknown>} */
const KEYS = {
  " ": () => toggle(clock),
  ArrowLeft: () => app.stepTo(-1),
  ArrowRight: () => app.stepTo(1),
  "+": () => changeRate(clock, 1),
  "-": () => changeRate(clock, -1),
  l: () => !store.isFile && goLive(clock),
  p: () => app.present(),
  Escape: () => app.close(),
};
document.addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  const typing = target.closest?.("input, select, textarea") && event.key !== "Escape";
  const pressing = event.key === " " && target.closest?.("button, summary");
  if (typing || pressing || event.ctrlKey || event.altKey || event.metaKey) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act) { event.preventDefault(); act(); }
});

/** Show what the address names, once something is known. */
function fromAddress() {
  const [kind, name] = location.hash.slice(1).split("=");
  if (!name || !KINDS.includes(kind)) return;
  if (store.scenes.length === 0) { setTimeout(fromAddress, 100); return; }
  let wanted;
  try { wanted = decodeURIComponent(name); } catch { return; }
  const isNumber = kind === "packet" || kind === "connection";
  if (!isNumber) app.choose(kind, wanted);
  else if (/^\d+$/.test(wanted)) app.choose(kind, Number(wanted));
}
window.addEventListener("hashchange", fromAddress);
fromAddress();

/** How often the lists and numbers are drawn, in milliseconds. */
const LISTS = 250;
let drawnLists = -LISTS;
let drawnVersion = -1;
let frames = 0;
let countedSince = performance.now();
/** @param {number} now */
function frame(now) {
  const at = advance(clock, store, now);
  const only = app.followed ?? (app.isPresented() ? presented(app.presentation, store, at) : null);
  const packets = drawStage(stage, at, {
    only,
    group: app.isPresented() ? app.presentation.group : null,
    reduced: reduced.matches,
    isFollowed: app.followed !== null,
    scale: app.isPresented() ? PRESENTED : 1,
  });
  drawCaption(find("caption"), packets, at);
  countFrames(now);
  if (now - drawnLists > LISTS) {
    drawnLists = now;
    drawControls(controls);
    drawHead(at);
    drawPackets(find("packets"), store, at, {
      chosen: app.chosen?.[0] === "packet" ? app.chosen[1] : null,
      followed: app.followed,
      choose: app.choose,
    });
    if (drawnVersion !== store.version || !clock.live) {
      drawnVersion = store.version;
      drawNews(find("news"), store, at);
      drawNumbers(find("numbers"), store, at);
      panel.update();
    }
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

/**
 * Count frames in the last second, for whoever measures.
 * @param {number} now
 */
function countFrames(now) {
  frames += 1;
  if (now - countedSince < 1000) return;
  document.documentElement.dataset.framesPerSecond = String(
    Math.round((1000 * frames) / (now - countedSince)),
  );
  frames = 0;
  countedSince = now;
}

/** @param {number} at */
function drawHead(at) {
  const status = find("status");
  say(status, store.isFile ? "a recording" : store.status.text);
  status.className = store.status.connected || store.isFile ? "" : "off";
  const missing = store.missing ? `; ${store.missing.toLocaleString("en")} events were missed` : "";
  const [shown, all] = store.isFile ? [0, 0] : shownOf(store, at - 10, at);
  const told = all ? `last 10 s: ${shown.toLocaleString("en")} of ${all.toLocaleString("en")} packets shown`
    : "no packets in the last 10 s";
  say(find("counts"), store.isFile ? `${store.packets.length} packets` : told + missing);
}
