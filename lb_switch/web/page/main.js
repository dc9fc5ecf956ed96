// The page: messages come in, a moment is chosen, views draw it.

import { advance, changeRate, goLive, makeClock, restart, seek, synchronise, toggle } from "./clock.js";
import { drawControls, makeControls } from "./controls.js";
import { drawNews, drawPackets } from "./lists.js";
import { drawNumbers } from "./numbers.js";
import { closePanel, makePanel, showPanel } from "./panel.js";
import { fileSource, liveSource } from "./source.js";
import { drawStage, makeStage } from "./stage.js";
import { learn, LEG, makeStore, shownOf } from "./store.js";

const kept = document.getElementById("recording");
const source = kept ? fileSource(JSON.parse(kept.textContent)) : liveSource();
const store = makeStore();
store.isFile = source.isFile;
const clock = makeClock(store);
const find = (id) => document.getElementById(id);
const reduced = window.matchMedia("(prefers-reduced-motion: reduce)");

const app = {
  store,
  clock,
  source,
  followed: null,
  chosen: null,
  choose(kind, name) {
    app.chosen = [kind, name];
    history.replaceState(null, "", `#${kind}=${encodeURIComponent(name)}`);
    showPanel(panel, kind, name);
  },
  close() {
    app.chosen = null;
    app.followed = null;
    history.replaceState(null, "", "#");
    closePanel(panel);
  },
  follow(number) {
    app.followed = app.followed === number ? null : number;
    if (app.followed !== null) app.choose("connection", number);
  },
  act: async (fields) => {
    const answer = await source.act(fields);
    setTimeout(() => app.chosen?.[0] === "server" && !answer.refused && refreshServer(), 600);
    return answer;
  },
  stepTo(by) {
    const shown = store.packets.filter((each) => each.show !== null && each.steps.length > 0
      && (app.followed === null || each.connection === app.followed));
    const middle = (each) => each.show + LEG / 2;
    const next = by > 0 ? shown.find((each) => middle(each) > clock.head + 0.01)
      : shown.findLast((each) => middle(each) < clock.head - 0.01);
    if (!next) return;
    clock.playing = false;
    seek(clock, middle(next));
    if (next.number !== null) app.choose("packet", next.number);
  },
  present() { document.body.classList.toggle("presentation"); },
};

const stage = makeStage(find("stage"), store, app.choose);
const panel = makePanel(find("panel"), app);
const controls = makeControls(find("controls"), app);

function refreshServer() {
  if (app.chosen?.[0] === "server" && !find("panel").contains(document.activeElement?.closest("input"))) {
    showPanel(panel, ...app.chosen);
  }
}

source.settings().then((settings) => { store.readOnly = settings.readOnly; }, () => {});
source.follow((messages) => {
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
  const typing = event.target.closest?.("input, select, textarea");
  const pressing = event.key === " " && event.target.closest?.("button, summary");
  if (typing || pressing || event.ctrlKey || event.altKey || event.metaKey) return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

function fromAddress() {
  const [kind, name] = location.hash.slice(1).split("=");
  if (!name) return;
  const wanted = decodeURIComponent(name);
  if (kind === "server") app.choose(kind, wanted);
  else if (["packet", "connection"].includes(kind)) app.choose(kind, Number(wanted));
}
window.addEventListener("hashchange", fromAddress);
setTimeout(fromAddress, 300);

let drawnLists = 0;
let drawnVersion = -1;
function frame(now) {
  const at = advance(clock, store, now);
  drawStage(stage, at, app.followed, reduced.matches);
  if (now - drawnLists > 250) {
    drawnLists = now;
    drawControls(controls);
    drawHead(at);
    drawPackets(find("packets"), store, at, app.chosen?.[0] === "packet" ? app.chosen[1] : null,
      app.followed, app.choose);
    if (drawnVersion !== store.version || !clock.live) {
      drawnVersion = store.version;
      drawNews(find("news"), store, at);
      drawNumbers(find("numbers"), store, at);
      if (app.chosen?.[0] === "server") refreshServer();
    }
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

function drawHead(at) {
  const status = find("status");
  const words = store.isFile ? "a recording" : store.status.text;
  if (status.textContent !== words) status.textContent = words;
  status.className = store.status.connected || store.isFile ? "" : "off";
  const [shown, all] = shownOf(store, at - 10, at);
  const missing = store.missing ? `; ${store.missing.toLocaleString("en")} events were missed` : "";
  find("counts").textContent = all
    ? `last 10 s: ${shown.toLocaleString("en")} of ${all.toLocaleString("en")} packets shown${missing}`
    : `no packets in the last 10 s${missing}`;
}
