// When a packet is seen: packets come faster than eyes, and each has to be followed on its way.

import { addressOf } from "./places.js";

/** @typedef {(step: any) => string} Wire which wire of a client a step goes along */
/** @type {Wire} */
const OF_ADDRESS = (step) => addressOf(step.client);
/**
 * In a recording each packet is shown: clients without a name, a flood perhaps, share a wire.
 * @type {Wire}
 */
const OF_NAME = (step) => step.clientName;

/** Seconds of the picture that a packet takes for one leg, and inside the switch. */
export const LEG = 0.55;
export const INSIDE = 0.4;
/** Seconds for which a packet that ends in the switch stays there, so that its reason is read. */
const STAYS = 1.2;
/** Seconds between two packets that go the same way on the same wire of a client. */
const GAP = 0.4;
/** Seconds between any two packets of a recording. */
const RECORDED_GAP = 0.15;
/** Seconds of silence that a recording keeps. */
const LONGEST_SILENCE = 1.5;
/** Connections whose packets travel at the same time; of others nothing is shown. */
const AT_ONCE = 12;
/** Seconds that the picture may be behind. */
const LONGEST_DELAY = 10;

/**
 * How long one step of a packet takes.
 * @param {any} step
 */
export function stepTime(step) {
  const legs = (step.left === null ? 0 : 1) + (step.right === null ? 0 : 1);
  const ends = step.left?.ends || step.right?.ends;
  return legs * LEG + (legs === 2 ? INSIDE : 0) + (ends ? STAYS : 0);
}

/**
 * How long all steps of a packet take.
 * @param {any} packet
 */
export function duration(packet) {
  return packet.steps.reduce((/** @type {number} */ sum, /** @type {any} */ step) =>
    sum + stepTime(step), 0);
}

/** @returns what is to be remembered from packet to packet */
export function makeSchedule() {
  return {
    /** @type {Map<unknown, any>} the last packet of each connection that is on the picture */
    last: new Map(),
    /** @type {Set<unknown>} connections that are not shown */
    skipped: new Set(),
    /** @type {Map<string, number[]>} when packets of a client are seen that go one way */
    wires: new Map(),
  };
}

/**
 * Decide when a packet of a running switch is seen: `show`, in seconds of the switch's clock; null:
 * it is not.
 * @param {ReturnType<typeof makeSchedule>} schedule
 * @param {any} packet
 */
export function place(schedule, packet) {
  const { last, skipped, wires } = schedule;
  const key = keyOf(packet);
  const before = last.get(key);
  if (before === undefined) {
    for (const [each, packetBefore] of last) {
      if (packetBefore.show + duration(packetBefore) < packet.at) last.delete(each);
    }
    if (last.size >= AT_ONCE) skipped.add(key);
    else skipped.delete(key);
  }
  const wire = wireOf(packet, OF_ADDRESS);
  const show = free(wires, wire, after(before, packet));
  packet.show = skipped.has(key) || show > packet.at + LONGEST_DELAY ? null : show;
  if (packet.show !== null) {
    last.set(key, packet);
    take(wires, wire, packet.show, packet.at);
  }
  if (skipped.size > 5000) skipped.clear();
  if (wires.size > 5000) wires.clear();
}

/**
 * Give the messages of a recording the times of a story: nothing is skipped, one packet comes after
 * the other, and long silence is short.  `at` becomes the story's time, `real` what it was.
 * @param {any[]} messages
 */
export function tell(messages) {
  const { last, wires } = makeSchedule();
  let now = 0;
  let real = messages[0]?.at ?? 0;
  let shown = -RECORDED_GAP;
  for (const message of messages) {
    message.real = message.at;
    now += Math.min(LONGEST_SILENCE, Math.max(0, message.at - real));
    real = Math.max(real, message.at);
    if (message.kind === "packet") {
      message.at = now;
      const wire = wireOf(message, OF_NAME);
      now = free(wires, wire, Math.max(
        after(last.get(keyOf(message)), message), shown + RECORDED_GAP,
      ));
      shown = message.show = now;
      take(wires, wire, now, now);
      last.set(keyOf(message), message);
    }
    message.at = now;
  }
}

/**
 * The wire that a packet is first on, and which way.
 * @param {any} packet
 * @param {Wire} of
 */
function wireOf(packet, of) {
  const [step] = packet.steps;
  return step === undefined ? "" : `${of(step)} ${step.inward}`;
}

/**
 * The first moment from `wanted` on at which a wire is free.
 * @param {Map<string, number[]>} wires
 * @param {string} wire
 * @param {number} wanted
 */
function free(wires, wire, wanted) {
  let moment = wanted;
  for (const each of wires.get(wire) ?? []) {
    if (each > moment - GAP && each < moment + GAP) moment = each + GAP;
  }
  return moment;
}

/**
 * @param {Map<string, number[]>} wires
 * @param {string} wire
 * @param {number} moment at which it is taken
 * @param {number} now before which nobody asks
 */
function take(wires, wire, moment, now) {
  const taken = (wires.get(wire) ?? []).filter((each) => each > now - GAP);
  taken.push(moment);
  wires.set(wire, taken.sort((one, other) => one - other));
}

/** @param {any} packet */
function keyOf(packet) {
  return packet.connection ?? `n${packet.number}`;
}

/**
 * When a packet may be seen that follows another one of its connection.
 * @param {any} before
 * @param {any} packet
 */
function after(before, packet) {
  if (before === undefined) return packet.at;
  const sameWay = before.steps.length === 1 && packet.steps.length > 0
    && before.steps[0].inward === packet.steps[0].inward;
  return Math.max(packet.at, before.show + (sameWay ? GAP : duration(before)));
}
