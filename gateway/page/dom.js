/**
 * Elements, made of text only: nothing that a camera, a model or a setting says is ever markup.
 */

const SVG = 'http://www.w3.org/2000/svg';

/** An element; `on…` are listeners, the rest are attributes, left out where null or false. */
export function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same in SVG. */
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/** A picture of the sprite in index.html; says nothing to a screen reader. */
export function icon(name) {
  const use = svg('use', { href: `#i-${name}` });
  return svg('svg', { class: 'icon', 'aria-hidden': 'true' }, use);
}

/** A button that shows a picture, and says what it does. */
export function iconButton(name, label, onclick) {
  return el('button', { type: 'button', class: 'tool', title: label, 'aria-label': label, onclick }, icon(name));
}

/** Let an element without others in it show a text; costs nothing where it does already. */
export function setText(node, text) {
  const only = node.firstChild;
  if (only === null) node.append(text);
  else if (only.data !== text) only.data = text;
}

/** Let a list hold as many elements as there are things: old ones are kept and filled anew. */
export function fill(list, things, make, show) {
  while (list.children.length > things.length) list.lastElementChild.remove();
  things.forEach((thing, i) => {
    let node = list.children[i];
    if (node === undefined) list.append(node = make());
    show(node, thing, i);
  });
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
