// Elements, made without markup: what comes from outside is text and stays text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An SVG element.
 * @param {string} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function svg(name, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/**
 * An HTML element.  A function among the attributes listens to the event of that name.
 * @param {string} name
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any} an HTMLElement, of the kind that the name says
 */
export function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null) element.setAttribute(key, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * Put words into an element, and touch nothing if they stand there: screen readers would say them
 * again, and a selection would be lost.
 * @param {Element} element
 * @param {string} words
 */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/**
 * Likewise for an attribute.
 * @param {Element} element
 * @param {string} name
 * @param {string | number} value
 */
export function mark(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * Bring the children of an element to a list of things: what stands there already is kept, so that
 * focus, scroll and half a click survive.  `parent.kept` remembers which is whose.
 * @template Thing
 * @param {any} parent
 * @param {Thing[]} things in order
 * @param {(thing: Thing) => unknown} keyOf
 * @param {(thing: Thing) => Element} make
 * @param {(element: any, thing: Thing) => void} [update]
 */
export function reconcile(parent, things, keyOf, make, update) {
  /** @type {Map<unknown, Element>} */
  const before = parent.kept ?? new Map();
  /** @type {Map<unknown, Element>} */
  const now = new Map();
  let next = parent.firstChild;
  for (const thing of things) {
    const key = keyOf(thing);
    const element = before.get(key) ?? make(thing);
    before.delete(key);
    now.set(key, element);
    update?.(element, thing);
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
  for (const element of before.values()) element.remove();
  parent.kept = now;
}

/**
 * Cut a text that has no room.
 * @param {string} text
 * @param {number} longest
 */
export function shortened(text, longest) {
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
}
