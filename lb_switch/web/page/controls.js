// Time in the hands of whoever looks: live, held, slower, back.

import { changeRate, goLive, seek, toggle } from "./clock.js";
import { html, mark, say } from "./dom.js";
import { lastMoment } from "./store.js";

/** @param {Element} parent @param {any} app */
export function makeControls(parent, app) {
  const { store, clock } = app;
  const live = html("button", { click: () => goLive(clock), title: "L" }, "Live");
  const play = html("button", { class: "play", click: () => toggle(clock), title: "space" });
  const slower = html("button", { click: () => changeRate(clock, -1), title: "-" }, "Slower");
  const faster = html("button", { click: () => changeRate(clock, 1), title: "+" }, "Faster");
  const rate = html("output", {});
  const back = html("button", { click: () => app.stepTo(-1), title: "←" }, "◀ packet");
  const on = html("button", { click: () => app.stepTo(1), title: "→" }, "packet ▶");
  const range = html("input", {
    type: "range", min: 0, max: 1000, value: 1000, "aria-label": "moment that is shown",
    input: () => {
      clock.playing = false;
      seek(clock, first(store) + (range.value / 1000) * (lastMoment(store) - first(store)));
    },
  });
  const all = html("button", { click: () => app.follow(null), hidden: true }, "Show all connections");
  const present = html("button", { click: () => app.present(), title: "P", "aria-pressed": "false" }, "Present");
  parent.append(...(store.isFile ? [] : [live]), play, slower, rate, faster, back, on, range, all, present);
  return { live, play, rate, range, all, present, store, clock, app };
}

/**
 * Show how time stands.
 * @param {ReturnType<typeof makeControls>} controls
 */
export function drawControls(controls) {
  const { store, clock, range, app } = controls;
  const going = clock.live || clock.playing;
  say(controls.play, going ? "Hold" : "Go on");
  say(controls.rate, `${clock.rate}×`);
  mark(controls.live, "aria-pressed", String(clock.live));
  mark(controls.present, "aria-pressed", String(app.isPresented()));
  controls.all.hidden = app.followed === null;
  const begin = first(store);
  const span = lastMoment(store) - begin;
  if (span > 0 && document.activeElement !== range) {
    range.value = String(Math.round((1000 * (clock.head - begin)) / span));
  }
  mark(range, "aria-valuetext", `${Math.max(0, clock.head - begin).toFixed(1)} seconds`);
}

/**
 * The first moment that can be shown.
 * @param {any} store
 */
export function first(store) {
  return store.scenes[0]?.at ?? store.begin;
}
