// Which moment is shown: live, slowed down, held, or one of the past.

import { lastMoment } from "./store.js";

/** Seconds that live is behind, so that what comes late is still in time. */
const LAG = 0.3;
export const RATES = [0.1, 0.25, 0.5, 1, 2, 4];

/** @param {import("./store.js").Store} store */
export function makeClock(store) {
  return {
    head: 0, rate: 1, playing: true, live: !store.isFile, offset: -Infinity, last: performance.now(),
  };
}

/** @typedef {ReturnType<typeof makeClock>} Clock */

/**
 * Note how the switch's clock stands to ours: the message that came fastest is nearest.
 * @param {Clock} clock
 * @param {number} at
 */
export function synchronise(clock, at) {
  clock.offset = Math.max(clock.offset, at - performance.now() / 1000);
}

/**
 * Begin anew: another run of the switch has another clock.
 * @param {Clock} clock
 * @param {number} at
 */
export function restart(clock, at) {
  clock.offset = -Infinity;
  clock.head = at;
}

/**
 * Let time pass; return the moment that is shown now.
 * @param {Clock} clock
 * @param {import("./store.js").Store} store
 * @param {number} now milliseconds
 */
export function advance(clock, store, now) {
  const passed = Math.min(0.25, (now - clock.last) / 1000);
  clock.last = now;
  if (clock.live && Number.isFinite(clock.offset)) {
    clock.head = now / 1000 + clock.offset - LAG;
  } else if (clock.playing) {
    clock.head = Math.min(clock.head + passed * clock.rate, lastMoment(store));
  }
  return clock.head;
}

/**
 * Show another moment, and stay there.
 * @param {Clock} clock
 * @param {number} at
 */
export function seek(clock, at) {
  clock.live = false;
  clock.head = at;
}

/**
 * Follow what happens now, at its own speed.
 * @param {Clock} clock
 */
export function goLive(clock) {
  clock.live = true;
  clock.playing = true;
  clock.rate = 1;
}

/**
 * Go on, or hold.
 * @param {Clock} clock
 */
export function toggle(clock) {
  if (clock.live) { clock.live = false; clock.playing = false; } else clock.playing = !clock.playing;
}

/**
 * Go faster or slower by some steps.
 * @param {Clock} clock
 * @param {number} by
 */
export function changeRate(clock, by) {
  const index = RATES.indexOf(clock.rate) + by;
  clock.rate = RATES[Math.max(0, Math.min(RATES.length - 1, index))];
  if (clock.rate !== 1) clock.live = false;
}
