// Numbers over time, as small curves.

import { handled } from "./store.js";
import { html, svg } from "./svg.js";

const WIDTH = 260;
const HEIGHT = 76;
const LEFT = 44;

/** Draw all curves anew. */
export function drawNumbers(parent, store, at) {
  const all = store.numbers.filter((each) => each.at <= at);
  if (all.length < 2) {
    parent.replaceChildren(html("p", {}, store.isFile ? "A recording has packets, not numbers over time." : "They come in a moment."));
    return;
  }
  const names = [...new Set(all.flatMap((each) => Object.keys(each.servers)))];
  const perSecond = (pick) => all.slice(1).map((each, index) => {
    const before = all[index];
    const seconds = each.at - before.at || 1;
    return Math.max(0, (pick(each) - pick(before)) / seconds);
  });
  const charts = [
    ["New connections a second", names.map((name) => [name, perSecond((each) => each.servers[name]?.connections ?? 0)])],
    ["Active connections", names.map((name) => [name, all.slice(1).map((each) => each.servers[name]?.active ?? 0)])],
    ["Packets a second", [["all", perSecond(handled)]]],
    ["Bytes a second", names.map((name) => [name, perSecond((each) => each.servers[name]?.bytes ?? 0)])],
  ];
  const reasons = Object.entries(all.at(-1).packets).sort((one, other) => other[1] - one[1]).slice(0, 8);
  parent.replaceChildren(
    ...charts.map(([title, curves]) => chart(title, curves)),
    html("figure", {}, html("figcaption", {}, "Packets by reason"),
      html("table", {}, html("tbody", {}, ...reasons.map(([reason, count]) =>
        html("tr", {}, html("th", { scope: "row" }, reason.replaceAll("_", " ")),
          html("td", {}, count.toLocaleString("en")))))))
  );
}

function chart(title, curves) {
  const highest = Math.max(1, ...curves.flatMap(([, values]) => values));
  const last = curves.map(([name, values]) => `${name} ${rounded(values.at(-1))}`).join(", ");
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${last}`,
  },
  svg("path", { class: "grid", d: `M${LEFT} 6H${WIDTH}M${LEFT} ${HEIGHT - 6}H${WIDTH}` }),
  svg("text", { class: "quiet", x: LEFT - 4, y: 12, "text-anchor": "end" }, rounded(highest)),
  svg("text", { class: "quiet", x: LEFT - 4, y: HEIGHT - 2, "text-anchor": "end" }, "0"));
  curves.forEach(([, values], number) => {
    const step = (WIDTH - LEFT) / Math.max(1, values.length - 1);
    const points = values.map((value, index) =>
      `${(LEFT + index * step).toFixed(1)},${(HEIGHT - 6 - ((HEIGHT - 12) * value) / highest).toFixed(1)}`);
    picture.append(svg("polyline", { class: `curve c${number % 6}`, points: points.join(" ") }));
  });
  return html("figure", {}, html("figcaption", {}, title), picture);
}

function rounded(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  return value >= 10 ? value.toFixed(0) : value.toFixed(value % 1 ? 1 : 0);
}
