'use strict';
// Everything is drawn anew from `state`: which image, which detection is held or hovered, which
// layer, and whether only what the context changed is shown.
const DATA = JSON.parse(document.getElementById('data').textContent);
const state = { image: 0, held: null, hovered: null, near: null, layer: 0, only: false, heat: true };
const by = id => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const ADDED = '#ffbe5a', TAKEN = '#5c9dff';

const image = () => DATA.images[state.image];
const active = () => state.hovered ?? state.held;
const changed = picture => picture.lost.length + picture.detections.filter(d => d.changes.length).length;
const shown = d => !state.only || d.changes.length > 0;
const colour = d => DATA.colours[d.name] || '#c8ced8';
const signed = value => (value < 0 ? '−' : '+') + Math.abs(value).toFixed(Math.abs(value) < .01 ? 4 : 3);

function numbers(text, Kind) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'style' || key.startsWith('aria') || key === 'role') node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}
function draw(tag, attributes, parent) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}
// What is drawn anew would drop the keyboard's focus: it goes to whatever now has the same index.
function anew(id, fill) {
  const parent = by(id), had = document.activeElement;
  const index = parent.contains(had) ? had.dataset.index : undefined;
  fill(parent);
  if (index === undefined || parent.contains(document.activeElement)) return;
  parent.querySelector(`[data-index="${index}"]`)?.focus({ preventScroll: true });
}
const rectangle = box => ({ x: box[0], y: box[1], width: Math.max(box[2] - box[0], 0),
  height: Math.max(box[3] - box[1], 0) });
const centre = box => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
const layers = d => d.layers;
const layerOf = d => layers(d)[Math.min(state.layer, layers(d).length - 1)];

function proposals(picture) {
  picture.boxes ??= numbers(picture.proposals, Int16Array);
  return picture.boxes;
}
const proposal = (picture, place) => Array.from(proposals(picture).subarray(4 * place, 4 * place + 4));
function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const both = Math.max(w, 0) * Math.max(h, 0), area = r => (r[2] - r[0]) * (r[3] - r[1]);
  return both / Math.max(area(a) + area(b) - both, 1e-9);
}
function weights(picture, layer) {
  const small = numbers(layer.map, Int8Array), places = picture.sources[layer.title];
  picture.places ??= {};
  const sources = places && (picture.places[layer.title] ??= numbers(places, Uint16Array));
  return Array.from(small, (value, i) => [sources ? sources[i] : i, value / 127 * layer.largest]);
}

// ------------------------------------------------------------------ the image and what lies on it
function fit() {
  const picture = image(), room = by('stage').parentElement.getBoundingClientRect();
  const wide = matchMedia('(max-width: 900px)').matches ? room.width - 32 : Math.min(room.width - 32,
    (room.height - 32) * picture.width / picture.height);
  by('photo').style.width = Math.max(wide, 120) + 'px';
  paint();
}
function paint() { anew('lines', drawBoxes); }
function drawBoxes(svg) {
  const picture = image(), on = active();
  const unit = picture.width / (by('photo').clientWidth || picture.width);
  svg.replaceChildren();
  svg.setAttribute('viewBox', `0 0 ${picture.width} ${picture.height}`);
  by('stage').classList.toggle('lit', on !== null);
  if (on !== null) neighbours(picture, picture.detections[on], unit);
  else if (!state.only || picture.lost.length) picture.lost.forEach(d => {
    const g = draw('g', { class: 'gone' }, svg);
    draw('rect', rectangle(d.box), g);
    words(g, `${d.name} ${d.score.toFixed(2)}, only without context`, d.box, '#aab4c2', unit);
  });
  picture.detections.forEach((d, i) => {
    if (!shown(d)) return;
    const g = draw('g', { class: 'found' + (i === on ? ' on' : ''), 'data-index': i, tabindex: 0,
      role: 'button', 'aria-label': `${d.name} ${d.score.toFixed(2)}` }, svg);
    draw('rect', { ...rectangle(d.box), stroke: colour(d) }, g);
    words(g, `${d.name} ${d.score.toFixed(2)}`, d.box, colour(d), unit);
    g.onmouseenter = () => hover(i);
    g.onmouseleave = () => hover(null);
    g.onclick = event => { event.stopPropagation(); toggle(i); };
  });
  if (on !== null) heat(picture, picture.detections[on]);
  by('map').hidden = on === null || !state.heat;
}
function words(parent, text, box, fill, unit) {
  const y = box[1] > 16 * unit ? box[1] - 4 * unit : box[3] + 14 * unit;
  draw('text', { x: box[0], y, fill, 'font-size': 12.5 * unit }, parent).textContent = text;
}
function neighbours(picture, d, unit) {
  const svg = by('lines'), layer = layerOf(d);
  if (d.alone) draw('rect', { class: 'alone', ...rectangle(d.alone.box) }, svg);
  if (!layer) return;
  const largest = Math.max(...layer.top.map(n => Math.abs(n.weight)), 1e-12);
  layer.top.forEach((n, rank) => {
    const box = proposal(picture, n.place), fill = n.weight < 0 ? TAKEN : ADDED;
    const part = Math.abs(n.weight) / largest, lit = state.near === rank;
    const g = draw('g', { class: 'near', 'data-rank': rank }, svg);
    draw('rect', { ...rectangle(box), stroke: fill, 'stroke-width': lit ? 4 : 1 + 1.5 * part,
      'fill-opacity': lit ? .3 : 0, style: lit ? `fill: ${fill}` : '' }, g);
    if (n.overlap >= .5) return;
    const [x1, y1] = centre(d.box), [x2, y2] = centre(box);
    draw('line', { x1, y1, x2, y2, stroke: fill, 'stroke-width': lit ? 5 : 1 + 3.5 * part,
      'stroke-opacity': .45 + .5 * part }, g);
    if (lit) words(g, `${n.name} ${signed(n.weight)}`, box, fill, unit);
  });
}
// The sum of the weights of all regions that cover a place: a difference array, summed up twice.
function heat(picture, d) {
  const canvas = by('map'), layer = layerOf(d);
  const w = canvas.width = 240, h = canvas.height = Math.max(1, Math.round(240 * picture.height / picture.width));
  if (!layer) return;
  const step = picture.width / w, sum = new Float32Array((w + 1) * (h + 1)), boxes = proposals(picture);
  const cell = (value, most) => Math.min(most, Math.max(0, Math.round(value / step)));
  for (const [place, value] of weights(picture, layer)) {
    const [x1, y1, x2, y2] = [0, 1, 2, 3].map(k => cell(boxes[4 * place + k], k % 2 ? h : w));
    sum[y1 * (w + 1) + x1] += value; sum[y2 * (w + 1) + x2] += value;
    sum[y1 * (w + 1) + x2] -= value; sum[y2 * (w + 1) + x1] -= value;
  }
  let most = 1e-12;
  for (let y = 0; y <= h; y++) for (let x = 0; x <= w; x++) {
    const at = y * (w + 1) + x;
    if (x) sum[at] += sum[at - 1];
  }
  for (let y = 0; y <= h; y++) for (let x = 0; x <= w; x++) {
    const at = y * (w + 1) + x;
    if (y) sum[at] += sum[at - w - 1];
    most = Math.max(most, Math.abs(sum[at]));
  }
  const context = canvas.getContext('2d'), pixels = context.createImageData(w, h);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const value = sum[y * (w + 1) + x] / most, at = 4 * (y * w + x);
    const rgb = value < 0 ? [92, 157, 255] : [255, 190, 90];
    pixels.data.set([...rgb, 170 * Math.pow(Math.abs(value), .8)], at);
  }
  context.putImageData(pixels, 0, 0);
}

// ------------------------------------------------------------------ lists and the panel
function listImages() {
  anew('images', list => list.replaceChildren(...DATA.images.map((picture, i) => {
    const count = changed(picture), entry = make('button', { className: 'image', role: 'option',
      'aria-selected': i === state.image, hidden: state.only && !count, onclick: () => show(i) },
    make('img', { src: picture.thumb, alt: '' }), make('b', { textContent: picture.name, title: picture.name }),
    make('span', { textContent: `${picture.detections.length} found` }),
    make('span', { className: 'new', textContent: count ? ` · ${count} changed` : '' }));
    Object.assign(entry.dataset, { name: picture.name, index: i });
    return entry;
  })));
}
function listDetections() {
  const rows = image().detections.map((d, i) => {
    const row = make('button', { className: 'row', role: 'option', 'aria-selected': i === state.held,
      hidden: !shown(d), onclick: () => toggle(i),
      onmouseenter: () => hover(i), onmouseleave: () => hover(null) },
    make('span', { className: 'dot', style: `background: ${colour(d)}` }),
    make('span', {}, d.name, make('em', { textContent: d.changes.join(', ') })),
    make('span', { className: 'number', textContent: d.score.toFixed(2) }));
    row.dataset.index = i;
    row.classList.toggle('on', i === active());
    return row;
  });
  const lost = image().lost.map(d => make('div', { className: 'row' },
    make('span', { className: 'dot', style: 'border: 1px dashed #8d98a8' }),
    make('span', { textContent: `${d.name}`, className: 'soft' }, make('em', { textContent: 'only without context' })),
    make('span', { className: 'number', textContent: d.score.toFixed(2) })));
  const list = [...rows, ...lost];
  const none = make('p', { className: 'soft', textContent: 'Nothing was found here.' });
  anew('list', parent => parent.replaceChildren(...(list.some(row => !row.hidden) ? list : [none])));
}
const card = (title, name, score, fill) => make('div', { className: 'card' },
  make('small', { textContent: title }), make('b', { textContent: name }),
  make('div', { className: 'bar' }, make('i', { style: `width: ${100 * score}%; background: ${fill}` })),
  make('span', { className: 'number', textContent: score.toFixed(3) }));

function changesOf(d) {
  if (!d.alone) return [['this head cannot do without its context', 'none']];
  const said = { name: `name: ${d.alone.name} without context`,
    score: `score ${signed(d.score - d.alone.same)}`,
    box: `box moved: IoU ${overlap(d.box, d.alone.box).toFixed(2)}`,
    found: 'found by context only' };
  return d.changes.length ? d.changes.map(kind => [said[kind], ''])
    : [['not changed by context', 'none']];
}
function detail() {
  const on = active(), d = on === null ? null : image().detections[on], parts = [];
  if (d) {
    parts.push(make('h2', { textContent: 'What context changed' }));
    const cards = [card('with context', d.name, d.score, colour(d))];
    if (d.alone) cards.push(card('without', d.alone.name, d.alone.score, DATA.colours[d.alone.name] || '#8d98a8'));
    parts.push(make('div', { className: 'two' }, ...cards));
    parts.push(make('div', { className: 'chips' }, ...changesOf(d).map(([text, kind]) =>
      make('span', { className: `chip ${kind}`, textContent: text }))));
    const place = box => box.map(value => value.toFixed(1)).join(', ');
    parts.push(make('p', { className: 'soft', textContent: `Box ${place(d.box)}`
      + (d.alone ? `; without context ${place(d.alone.box)} (dashed)` : '') + `. From proposal ${d.proposal}.` }));
    if (layerOf(d)) parts.push(...drewOn(d));
  }
  anew('detail', parent => parent.replaceChildren(...parts));
  const layer = d && layerOf(d) || image().detections.flatMap(layers)[0];
  by('meaning').textContent = (layer ? DATA.meaning[layer.signed ? 'signed' : 'shares'] + ' ' : '') + DATA.meaning.page;
}
function drewOn(d) {
  const layer = layerOf(d), picture = image(), parts = [make('h2', { textContent: 'What it drew on' })];
  if (layers(d).length > 1) parts.push(make('div', { className: 'tabs' }, ...layers(d).map((one, i) => {
    const tab = make('button', { textContent: one.title, 'aria-pressed': one === layer,
      onclick: () => { state.layer = i; all(); } });
    tab.dataset.index = i;
    return tab;
  })));
  const own = proposal(picture, d.proposal), share = [0, 0, 0];
  for (const [place, value] of weights(picture, layer)) {
    const part = place === d.proposal ? 0 : overlap(own, proposal(picture, place)) >= .5 ? 1 : 2;
    share[part] += Math.abs(value);
  }
  const total = share.reduce((a, b) => a + b) || 1, fills = ['#7de0c3', '#4f8f80', ADDED];
  parts.push(make('div', { className: 'share' }, ...share.map((value, i) =>
    make('i', { style: `width: ${100 * value / total}%; background: ${fills[i]}` }))));
  const per = value => `${Math.round(100 * value / total)} %`;
  parts.push(make('p', { className: 'soft', textContent: `Of all weight ${per(share[0])} lies on itself, `
    + `${per(share[1])} on proposals over it, ${per(share[2])} elsewhere. The strongest of `
    + `${weights(picture, layer).length}, ${layer.heads > 1 ? `mean over ${layer.heads} heads` : 'one head'}:` }));
  const largest = Math.max(...layer.top.map(n => Math.abs(n.weight)), 1e-12);
  layer.top.forEach((n, rank) => {
    const fill = n.weight < 0 ? TAKEN : ADDED, where = n.place === d.proposal ? 'itself'
      : n.overlap >= .5 ? 'over it' : '';
    const row = make('div', { className: 'row near-row', tabIndex: 0,
      onmouseenter: () => near(rank), onmouseleave: () => near(null),
      onfocus: () => near(rank), onblur: () => near(null) },
    make('span', {}, `${n.name} `, make('span', { className: 'number', textContent: n.score.toFixed(2) }),
      make('em', { textContent: where })),
    make('span', { className: 'weight', style: `width: ${100 * Math.abs(n.weight) / largest}%; background: ${fill}` }),
    make('span', { className: 'number', textContent: layer.signed ? signed(n.weight) : n.weight.toFixed(3) }));
    row.dataset.rank = rank;
    parts.push(row);
  });
  return parts;
}

// ------------------------------------------------------------------ what the reader does
function all() { listDetections(); detail(); paint(); }
function show(index) {
  Object.assign(state, { image: index, held: null, hovered: null, near: null });
  by('photo').src = image().src;
  by('photo').alt = image().name;
  listImages();
  const entry = by('images').children[index];
  entry && entry.scrollIntoView({ block: 'nearest' });
  count();
  fit();
  all();
}
function hold(index) {
  Object.assign(state, { held: index, hovered: null, near: null });
  all();
  const row = index !== null && document.querySelector(`#list [data-index="${index}"]`);
  if (row) row.scrollIntoView({ block: 'nearest' });
}
const toggle = index => hold(index === state.held ? null : index);
function hover(index) {
  if (state.held !== null && index !== null) return;
  if (state.hovered === index) return;
  state.hovered = index;
  document.querySelectorAll('#list .row').forEach(row => row.classList.toggle('on', +row.dataset.index === active()));
  detail();
  light();
}
// Hovering must not rebuild what is under the pointer, or the browser would send it in and out.
function light() {
  const svg = by('lines'), on = active(), picture = image();
  svg.querySelectorAll('.near, .alone').forEach(node => node.remove());
  by('stage').classList.toggle('lit', on !== null);
  svg.querySelectorAll('.found').forEach(g => g.classList.toggle('on', +g.dataset.index === on));
  svg.querySelectorAll('.gone').forEach(g => g.setAttribute('visibility', on === null ? 'visible' : 'hidden'));
  by('map').hidden = on === null || !state.heat;
  if (on === null) return;
  neighbours(picture, picture.detections[on], picture.width / (by('photo').clientWidth || picture.width));
  heat(picture, picture.detections[on]);
}
function near(rank) { state.near = rank; light(); }
function count() {
  const found = DATA.images.reduce((sum, p) => sum + p.detections.length, 0);
  const altered = DATA.images.reduce((sum, p) => sum + changed(p), 0);
  by('count').textContent = `${DATA.images.length} images, ${found} detections, ${altered} changed by context`;
}
function filter() {
  state.only = !state.only;
  by('only').setAttribute('aria-pressed', state.only);
  if (state.held !== null && !shown(image().detections[state.held])) state.held = null;
  const first = DATA.images.findIndex(changed);
  if (state.only && !changed(image()) && first >= 0) show(first);
  else { listImages(); all(); }
}
function step(by_, list, at, use) {
  if (!list.length) return;
  const place = list.indexOf(at);
  use(list[place < 0 ? (by_ > 0 ? 0 : list.length - 1) : Math.min(list.length - 1, Math.max(0, place + by_))]);
}
by('only').onclick = filter;
by('heat').onclick = () => {
  state.heat = !state.heat;
  by('heat').setAttribute('aria-pressed', state.heat);
  light();
};
by('stage').onclick = () => hold(null);
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const pictures = DATA.images.map((p, i) => i).filter(i => !state.only || changed(DATA.images[i]));
  const found = image().detections.map((d, i) => i).filter(i => shown(image().detections[i]));
  const keys = { c: filter, m: () => by('heat').onclick(), Escape: () => hold(null),
    ArrowLeft: () => step(-1, pictures, state.image, show), ArrowRight: () => step(1, pictures, state.image, show),
    ArrowUp: () => step(-1, found, state.held, hold), ArrowDown: () => step(1, found, state.held, hold) };
  const box = document.activeElement && document.activeElement.closest('.found');
  if (box && (event.key === 'Enter' || event.key === ' ')) keys[event.key] = () => toggle(+box.dataset.index);
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
addEventListener('resize', fit);
by('photo').onload = fit;
show(0);
