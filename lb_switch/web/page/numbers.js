// Numbers over time, as small curves.

import { html, mark, reconcile, say, svg } from "./dom.js";
import { called } from "./places.js";
import { handled, lastBefore, sceneAt } from "./store.js";

const WIDTH = 260;
const HEIGHT = 76;
const LEFT = 44;
const COLOURS = 6;
/** Servers that have a curve of their own; more could not be told apart. */
const MOST_CURVES = 12;

/** @typedef {{title: string, curves: [string, number[]][]}} Chart */

/**
 * Draw all curves up to a moment.
 * @param {any} parent
 * @param {import("./store.js").Store} store
 * @param {number} at
 */
export function drawNumbers(parent, store, at) {
  const all = store.numbers.slice(0, lastBefore(store.numbers, at) + 1);
  if (all.length < 2) {
    const words = "They come in a moment.";
    reconcile(parent, [words], (each) => each, (each) => html("p", { class: "quiet" }, each));
    return;
  }
  const scene = sceneAt(store, at);
  const names = [...new Set(all.flatMap((each) => Object.keys(each.servers)))].slice(0, MOST_CURVES);
  const charts = chartsOf(all, names);
  const reasons = Object.entries(all[all.length - 1].packets)
    .sort((one, other) => other[1] - one[1]).slice(0, 8);
  /** @type {any[]} */
  const things = [names, ...charts, reasons];
  reconcile(parent, things, (each) => things.indexOf(each), (each) => {
    if (each === names) return html("ul", { class: "legend" });
    return each === reasons ? reasonsTable() : makeChart(each);
  }, (element, each) => {
    if (each === names) drawLegend(element, names, scene);
    else if (each === reasons) drawReasons(element, reasons);
    else drawChart(element, each);
  });
}

/**
 * @param {any[]} all
 * @param {string[]} names
 * @returns {Chart[]}
 */
function chartsOf(all, names) {
  const perSecond = (/** @type {(each: any) => number} */ pick) => all.slice(1).map((each, index) => {
    const before = all[index];
    return Math.max(0, (pick(each) - pick(before)) / (each.at - before.at || 1));
  });
  const ofEach = (/** @type {(name: string) => number[]} */ curve) =>
    names.map((name) => /** @type {[string, number[]]} */ ([name, curve(name)]));
  return [
    { title: "New connections a second",
      curves: ofEach((name) => perSecond((each) => each.servers[name]?.connections ?? 0)) },
    { title: "Active connections",
      curves: ofEach((name) => all.slice(1).map((each) => each.servers[name]?.active ?? 0)) },
    { title: "Packets a second", curves: [["all", perSecond(handled)]] },
    { title: "Bytes a second",
      curves: ofEach((name) => perSecond((each) => each.servers[name]?.bytes ?? 0)) },
  ];
}

/** @param {any} parent @param {string[]} names @param {any} scene */
function drawLegend(parent, names, scene) {
  reconcile(parent, names.map((name, index) => ({ name, index })), (each) => `${each.index} ${each.name}`,
    ({ name, index }) => {
      const [group, address] = name.split(/ (?=[^ ]*$)/);
      return html("li", {}, svg("svg", { viewBox: "0 0 20 10", "aria-hidden": "true" },
        svg("path", { class: `curve c${index % COLOURS}`, d: "M0 5H20" })),
      `${group} ${called(scene, address)}`);
    });
}

/** @param {Chart} chart */
function makeChart({ title, curves }) {
  const highest = svg("text", { class: "quiet", x: LEFT - 4, y: 12, "text-anchor": "end" });
  const lines = svg("g");
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" },
    svg("path", { class: "grid", d: `M${LEFT} 6H${WIDTH}M${LEFT} ${HEIGHT - 6}H${WIDTH}` }),
    highest, svg("text", { class: "quiet", x: LEFT - 4, y: HEIGHT - 2, "text-anchor": "end" }, "0"), lines);
  const figure = html("figure", {}, html("figcaption", {}, title), picture);
  return Object.assign(figure, { parts: { highest, lines, picture } });
}

/** @param {any} figure @param {Chart} chart */
function drawChart(figure, { title, curves }) {
  const { highest, lines, picture } = figure.parts;
  const most = Math.max(1, ...curves.flatMap(([, values]) => values));
  const last = curves.map(([name, values]) => `${name} ${rounded(values[values.length - 1])}`).join(", ");
  mark(picture, "aria-label", `${title}: ${last}`);
  say(highest, rounded(most));
  reconcile(lines, curves.map(([name, values], index) => ({ name, values, index })), (each) => each.name,
    ({ index }) => svg("polyline", { class: `curve c${index % COLOURS}` }), (line, { values }) => {
      const step = (WIDTH - LEFT) / Math.max(1, values.length - 1);
      mark(line, "points", values.map((value, index) =>
        `${(LEFT + index * step).toFixed(1)},${(HEIGHT - 6 - ((HEIGHT - 12) * value) / most).toFixed(1)}`).join(" "));
    });
}

function reasonsTable() {
  const rows = html("tbody", {});
  return Object.assign(html("figure", {}, html("figcaption", {}, "Packets by reason"), html("table", {}, rows)),
    { rows });
}

/** @param {any} figure @param {[string, any][]} reasons */
function drawReasons(figure, reasons) {
  reconcile(figure.rows, reasons, ([reason]) => reason, ([reason]) => html("tr", {},
    html("th", { scope: "row" }, reason.replaceAll("_", " ")), html("td", {})),
  (row, [, count]) => say(row.lastChild, count.toLocaleString("en")));
}

/** @param {number} value */
function rounded(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  return value >= 10 ? value.toFixed(0) : value.toFixed(value % 1 ? 1 : 0);
}
