// Time in the hands of whoever looks: live, held, slower, back.

import { changeRate, goLive, seek, toggle } from "./clock.js";
import { lastMoment } from "./store.js";
import { html } from "./svg.js";

/** @param app `{store, clock, stepTo, present}` */
export function makeControls(parent, app) {
  const { store, clock } = app;
  const live = html("button", { click: () => goLive(clock) }, "Live");
  const play = html("button", { click: () => toggle(clock) });
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
  const present = html("button", { click: () => app.present() }, "Present (P)");
  parent.append(...(store.isFile ? [] : [live]), play, slower, rate, faster, back, on, range, present);
  return { live, play, rate, range, store, clock };
}

/** Show how time stands. */
export function drawControls(controls) {
  const { store, clock, range } = controls;
  const going = clock.live || clock.playing;
  say(controls.play, going ? "Hold (space)" : "Go on (space)");
  say(controls.rate, `${clock.rate}×`);
  controls.live.setAttribute("aria-pressed", String(clock.live));
  const span = lastMoment(store) - first(store);
  if (span > 0 && document.activeElement !== range) {
    range.value = String(Math.round((1000 * (clock.head - first(store))) / span));
  }
  range.setAttribute("aria-valuetext", `${Math.max(0, clock.head - first(store)).toFixed(1)} seconds`);
}

/** The first moment that can be shown. */
export function first(store) {
  return store.scenes[0]?.at ?? store.begin;
}

function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
