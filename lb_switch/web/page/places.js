// Addresses and endpoints, as text.

/**
 * The address of an endpoint: without its port and brackets.
 * @param {string} place
 */
export function addressOf(place) {
  if (place.startsWith("[")) return place.slice(1, place.indexOf("]"));
  return place.split(":").length > 2 ? place : place.split(":")[0];
}

/**
 * An endpoint with the name of its machine before it, if it has one.
 * @param {any} scene
 * @param {string} place
 */
export function called(scene, place) {
  const name = scene?.hosts[addressOf(place)];
  return name ? `${name} ${place}` : place;
}
