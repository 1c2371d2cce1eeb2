'use strict';
// One list of jobs, one of them shown. The server knows jobs by tokens, which the browser keeps:
// after a reload, or when the tab was closed, the list comes back.
const $ = (id) => document.getElementById(id);
const HEADER = { 'X-Mmclarity': 'page' };
const jobs = new Map();  // token or a local key: {key, name, state, ...}
let current = null, chosen = false, page = 0, zoom = 'fit', count = 0;
let settings = { limit: Infinity, suffixes: [], texts: { suffixes: [], names: [], limit: 0 } };

const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};
const KEPT = 'mmclarity-images';
function kept() {
  try { return JSON.parse(localStorage.getItem(KEPT)) || []; } catch { return []; }
}
function keep(token, wanted = true) {
  const tokens = kept().filter((other) => other !== token);
  if (wanted) {
    tokens.push(token);  // in the order of the list, not in that of the server's answers
    const here = [...jobs.values()].map((job) => job.token);
    tokens.sort((a, b) => here.indexOf(a) - here.indexOf(b));
  }
  try { localStorage.setItem(KEPT, JSON.stringify(tokens)); } catch { /* a browser that keeps nothing */ }
}
const say = (text) => { $('live').textContent = text; };

const settled = fetch('api/settings').then((r) => r.json()).then((found) => {
  settings = found;
  $('files').accept = [...found.suffixes, ...found.texts.suffixes].join(',');
  $('sharp').checked = found.sharpen;
  const own = found.weights.length ? `Weights: ${found.weights.join(', ')}` : '';
  $('own').textContent = [own, found.slow_levels ? 'grey levels of a slow scan' : ''].filter(Boolean).join('; ');
  $('own').hidden = !$('own').textContent;
  if (found.slow_levels) $('lefttag').textContent = 'before, in levels of a slow scan';
  $('kinds').textContent = `TIFF, PNG, BMP, JPEG, dm3, emd … up to ${found.limit_text}`;
  takeUp(kept());
}).catch(() => {});  // without a server each upload says so
if (!['127.0.0.1', 'localhost', '[::1]'].includes(location.hostname)) {
  $('local').textContent = `Images are restored on ${location.hostname}.`;
}

function complain(text) {
  const note = el('div', { className: 'alert', textContent: text });
  $('alerts').append(note);
  setTimeout(() => note.remove(), 20000);
}

// the images of before the reload, in their order, whatever that of the answers is
async function takeUp(tokens) {
  const answers = tokens.map((token) => fetch(`api/jobs/${token}`)
    .then((answer) => (answer.ok ? answer.json() : keep(token, false)))  // another server, or forgotten
    .catch(() => undefined));
  for (const answer of answers) {
    const found = await answer;
    if (!found) continue;
    const job = { key: `local${count++}`, ...found };
    jobs.set(job.key, job);
    draw(job);
    if (job.pages.length && current === null) show(job);
    if (['waiting', 'working'].includes(job.state)) watch(job);
  }
}

// The texts that microscopes put beside their images go along: NAME.txt, NAME.hdr, NAME-tif.hdr.
const isText = (name) => settings.texts.suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));
async function uploadAll(files, strangers = true) {
  await settled;
  const texts = new Map(files.filter((file) => isText(file.name)).map((file) => [file.name.toLowerCase(), file]));
  const taken = new Set();
  for (const file of files.filter((one) => !isText(one.name))) {
    const [, stem, kind] = file.name.toLowerCase().match(/^(.*?)(?:\.([^.]*))?$/);
    const names = settings.texts.names.map((one) => one.replace('{stem}', () => stem).replace('{kind}', () => kind));
    const name = names.find((one) => texts.has(one));
    taken.add(name);
    upload(file, texts.get(name));
  }
  if (strangers) texts.forEach((file, name) => taken.has(name) || upload(file));  // the server says no
}

function upload(file, beside) {
  if (file.size > settings.limit) {
    complain(`${file.name}: is larger than ${settings.limit_text}, the limit of this page`);
    return;
  }
  const job = { key: `local${count++}`, name: file.name, state: 'uploading', progress: 0 };
  jobs.set(job.key, job);
  draw(job);
  const query = new URLSearchParams({ name: file.name, doubts: $('doubts').checked ? '1' : '0' });
  if (beside && beside.size <= settings.texts.limit) {  // a longer one is no microscope's
    query.set('beside', `${beside.name.toLowerCase().split('.').pop()}-${beside.size}`);
  } else beside = null;
  const request = new XMLHttpRequest();  // fetch does not tell how much is sent
  request.open('POST', `api/jobs?${query}`);
  request.setRequestHeader('X-Mmclarity', 'page');
  request.responseType = 'json';
  request.upload.onprogress = (e) => { job.progress = e.loaded / e.total; draw(job); };
  request.onerror = () => refuse(job, 'the upload broke off; is the server still running?');
  request.onload = () => {
    if (request.status !== 201) return refuse(job, (request.response || {}).error || 'refused');
    Object.assign(job, request.response);
    if (!jobs.has(job.key)) return forget(job);  // removed while it was sent
    keep(job.token);
    draw(job);
    watch(job);
  };
  request.send(beside ? new Blob([beside, file]) : file);
}

function refuse(job, text) {
  if (!jobs.has(job.key)) return;
  job.state = 'failed';
  job.error = text;
  draw(job);
  complain(text.startsWith(job.name) ? text : `${job.name}: ${text}`);
}

async function watch(job) {
  let lost = 0;  // answers in a row: a computer that wakes up, or changes its network, loses some
  while (jobs.has(job.key) && ['waiting', 'working'].includes(job.state)) {
    // those far behind are asked after less often: of a folder, there are hundreds
    await new Promise((wake) => setTimeout(wake, 400 * Math.min(1 + (job.ahead || 0) + lost, 25)));
    try {
      const answer = await fetch(`api/jobs/${job.token}`);
      const found = await answer.json();
      if (!jobs.has(job.key)) return;  // removed meanwhile
      if (!answer.ok) return refuse(job, found.error);
      lost = 0;
      const before = (job.pages || []).length;
      Object.assign(job, found);
      draw(job);
      // the first of the list, until another one is chosen
      const earlier = !chosen && current !== job && (current === null || position(job) < position(current));
      const changed = current === job && (before !== job.pages.length || job.state !== 'working');
      if (job.pages.length && (earlier || changed)) show(job, changed);
    } catch {
      if (++lost > 7) return refuse(job, 'the server does not answer any more; is it still running? Then reload the page');
    }
  }
  if (job.state === 'failed') (job.channels ? say : complain)(`${job.name}: ${job.error}`);
  if (job.state === 'done') say(`${job.name} is restored`);
}

const position = (job) => [...jobs.keys()].indexOf(job.key);

function stateText(job) {
  if (job.state === 'uploading') return `uploading ${Math.round(100 * job.progress)} %`;
  if (job.state === 'waiting') return job.ahead ? `waiting, ${job.ahead} before it` : 'waiting';
  if (job.state === 'working') return `restoring ${Math.round(100 * job.progress)} %`;
  if (job.state === 'failed') return job.error;
  if (job.state !== 'done') return job.state;
  const doubtful = job.pages.reduce((sum, p) => sum + p.doubtful, 0);
  return `${job.seconds} s` + (doubtful ? ` · ${doubtful} doubtful` : '');
}

function draw(job) {
  if (!jobs.has(job.key)) return;  // removed while it was sent
  let item = $(`item-${job.key}`);
  if (!item) {
    item = el('li', { className: 'item', id: `item-${job.key}` });
    item.open = el('button', { className: 'open', type: 'button' });
    item.thumb = el('img', { className: 'thumb', alt: '' });
    item.label = el('span', { className: 'name', textContent: job.name, title: job.name });
    item.state = el('span', { className: 'state' });
    item.bar = el('progress', { max: 1 });
    item.bar.setAttribute('aria-label', `progress of ${job.name}`);
    const close = el('button', { className: 'close', type: 'button', textContent: '×' });
    close.setAttribute('aria-label', `remove ${job.name}`);
    item.open.append(item.thumb, item.label, item.state);
    item.open.onclick = () => { if (job.pages && job.pages.length) { chosen = true; show(job); } };
    close.onclick = () => remove(job);
    item.choice = el('span', { className: 'choice' });
    item.choice.setAttribute('role', 'group');
    item.choice.setAttribute('aria-label', `colour of ${job.name} to restore`);
    item.append(item.open, close, item.choice, item.bar);
    $('list').append(item);
  }
  item.state.textContent = stateText(job);
  item.state.classList.toggle('failed', job.state === 'failed');
  item.bar.hidden = !['uploading', 'working', 'waiting'].includes(job.state);
  if (job.state === 'waiting') item.bar.removeAttribute('value');
  else item.bar.value = job.progress;
  if (job.pages && job.pages.length && !item.thumb.src) {
    item.thumb.src = `api/jobs/${job.token}/0/after.png`;
  }
  item.classList.toggle('current', job === current);
  const asks = job.state === 'failed' ? COLOURS.slice(0, job.channels || 0) : [];
  item.choice.hidden = !asks.length;
  if (item.choice.childElementCount !== asks.length) item.choice.replaceChildren(...asks.map((colour, channel) =>
    el('button', { type: 'button', textContent: colour, title: 'for all images that ask', onclick: () => choose(channel) })));
}

// One answer for all that ask: the images of a folder mostly come from one instrument.
const COLOURS = ['Red', 'Green', 'Blue'];
function choose(channel) {
  for (const job of jobs.values()) {
    if (job.state === 'failed' && channel < job.channels) answer(job, channel);
  }
}
async function answer(job, channel) {
  job.state = 'waiting';  // not asked twice
  draw(job);
  try {
    const told = await fetch(`api/jobs/${job.token}/channel/${channel}`, { method: 'POST', headers: HEADER });
    const found = await told.json();
    if (!told.ok) return refuse(job, found.error);
    Object.assign(job, found);
    watch(job);
  } catch { refuse(job, 'the server does not answer; is it still running?'); }
}

function remove(job) {
  jobs.delete(job.key);
  $(`item-${job.key}`).remove();
  forget(job);
  if (job !== current) return;
  const other = [...jobs.values()].find((j) => j.pages && j.pages.length);
  current = null;
  if (other) show(other);
  else { $('stage').hidden = true; $('empty').hidden = false; }
}

function forget(job) {
  if (!job.token) return;
  keep(job.token, false);
  // kept alive: the tab may be closed at once
  fetch(`api/jobs/${job.token}`, { method: 'DELETE', headers: HEADER, keepalive: true });
}

function show(job, stay = false) {
  const last = current;
  current = job;
  if (!stay) page = 0;
  if (last) draw(last);
  draw(job);
  $('empty').hidden = true;
  $('stage').hidden = false;
  $('title').textContent = job.name;
  $('pages').hidden = job.page_count < 2;
  $('page').max = job.pages.length;
  $('of').textContent = `of ${job.page_count}`;
  $('page').value = page + 1;
  const shown = job.pages[page], base = `api/jobs/${job.token}/${page}/`;
  const kinds = { before: 'before', after: sharp(shown) ? 'sharp' : 'after' };
  for (const [name, kind] of Object.entries(kinds)) {
    const address = new URL(`${base}${kind}.png`, location).href;
    if ($(name).src !== address) $(name).src = address;
  }
  $('righttag').textContent = sharp(shown) ? 'restored, sharpened' : 'restored';
  $('sharpbox').hidden = !shown.sharp;
  overlay(job, shown);
  report(job);
  size();  // after the report, which takes its room
}

// whether the sharpened one is shown; networks other than the general one have none
const sharp = (shown) => shown.sharp && $('sharp').checked;

function overlay(job, shown) {
  const svg = $('overlay'), all = $('all').checked, marks = $('marks').checked;
  svg.setAttribute('viewBox', `0 0 ${shown.width} ${shown.height}`);
  svg.replaceChildren(...shown.particles.filter((p) => (p[3] ? marks : all)).map((p) => {
    const circle = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
    circle.setAttribute('cx', p[0]);
    circle.setAttribute('cy', p[1]);
    circle.setAttribute('r', p[2] + (p[3] ? 3 : 0));
    if (p[3]) circle.setAttribute('class', 'doubt');
    return circle;
  }));
  const n = shown.doubtful;
  $('all').parentNode.hidden = !job.doubts;
  $('markbox').hidden = !n;  // "0 doubtful" would say that all are real; the report says how many are
  $('marktext').textContent = n === 1 ? '1 doubtful particle' : `${n} doubtful particles`;
}

function size() {
  if (!current) return;
  const shown = current.pages[page], view = $('view'), ratio = shown.width / shown.full[0];
  const fit = Math.min((view.clientWidth - 28) / shown.width, (view.clientHeight - 28) / shown.height);
  const scale = zoom === 'fit' ? fit : zoom / ratio;
  $('pair').style.setProperty('--w', `${Math.max(1, Math.round(shown.width * scale))}px`);
  $('pair').style.setProperty('--h', `${Math.max(1, Math.round(shown.height * scale))}px`);
  $('pair').classList.toggle('sharp', scale >= 2);
}

function report(job) {
  // the scale of the words: 2, 6, 13 and 30 % of the contrast end its fifths
  const ends = [0, 0.02, 0.06, 0.13, 0.3, 0.6], s = Math.min(job.sigma ?? 0, 0.6);
  const step = Math.max(1, ends.findIndex((e, i) => i && s <= e));
  const place = (step - 1 + (s - ends[step - 1]) / (ends[step] - ends[step - 1])) / 5;
  $('gauge').hidden = job.sigma === null;
  $('gauge').firstElementChild.style.left = `${(100 * place).toFixed(1)}%`;
  $('gauge').setAttribute('aria-label', `Noise: ${(100 * s).toFixed(1)} % of the contrast`);
  const lines = [...job.report];
  const [width, height] = job.pages[page].full;
  let text = `picture of ${width} × ${height} pixels`;
  if (job.vendor) text += `, ${job.vendor} file`;
  lines.push(text);
  $('lines').replaceChildren(...lines.map((l) => el('li', {
    textContent: l[0].toUpperCase() + l.slice(1),
  })));
  $('warnings').replaceChildren(...job.warnings.map((w) => el('div', {
    className: 'warning', textContent: w[0].toUpperCase() + w.slice(1),
  })));
  const link = $('download'), done = job.state === 'done', sharpened = sharp(job.pages[page]);
  const name = sharpened ? job.sharp : job.download;
  link.hidden = !done;
  $('kept').textContent = !done ? 'The file is being written …'
    : `${name}: same format and bit depth; calibration, tags and data bar as they were${
    settings.slow_levels ? '; grey levels as in a slow scan' : ''}.`;
  if (done) {
    link.href = `api/jobs/${job.token}/result${sharpened ? '?sharp=1' : ''}`;
    link.download = name;
    link.textContent = sharpened ? 'Download sharpened image' : 'Download restored image';
  }
}

$('slider').oninput = () => $('pair').style.setProperty('--cut', `${$('slider').value}%`);
$('marks').onchange = $('all').onchange = () => current && overlay(current, current.pages[page]);
$('sharp').onchange = () => current && show(current, true);
$('page').onchange = () => {
  page = Math.min(Math.max(Number($('page').value) || 1, 1), current.pages.length) - 1;
  show(current, true);
};
for (const button of document.querySelectorAll('[data-zoom]')) {
  button.onclick = () => {
    zoom = button.dataset.zoom === 'fit' ? 'fit' : Number(button.dataset.zoom);
    for (const other of document.querySelectorAll('[data-zoom]')) {
      other.setAttribute('aria-pressed', String(other === button));
    }
    size();
  };
}
$('files').onchange = (e) => { uploadAll([...e.target.files]); e.target.value = ''; };
addEventListener('resize', size);
let depth = 0;
addEventListener('dragenter', (e) => { e.preventDefault(); depth++; $('drop').classList.add('over'); });
addEventListener('dragleave', () => { if (--depth <= 0) { depth = 0; $('drop').classList.remove('over'); } });
addEventListener('dragover', (e) => e.preventDefault());
addEventListener('drop', (e) => {
  e.preventDefault();
  depth = 0;
  $('drop').classList.remove('over');
  const entries = [...e.dataTransfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry());
  entries.filter((entry) => entry && entry.isDirectory).forEach(uploadFolder);
  const folders = new Set(entries.filter((entry) => entry && entry.isDirectory).map((entry) => entry.name));
  uploadAll([...e.dataTransfer.files].filter((file) => !folders.has(file.name)));
});
addEventListener('beforeunload', (e) => {
  if ([...jobs.values()].some((job) => job.state === 'uploading')) e.preventDefault();
});

// The images of a folder, as mmclarity-restore takes them: not those of folders below.
async function uploadFolder(folder) {
  const reader = folder.createReader(), found = [];
  try {
    await settled;
    for (let some; (some = await new Promise((ok, no) => reader.readEntries(ok, no))).length;) found.push(...some);
    const read = (entry) => settings.suffixes.some((suffix) => entry.name.toLowerCase().endsWith(suffix));
    const images = found.filter((entry) => entry.isFile && !entry.name.startsWith('.') && read(entry));
    images.sort((a, b) => a.name.localeCompare(b.name));
    const below = found.filter((entry) => entry.isDirectory).length;
    if (!images.length) complain(`${folder.name}: holds no images`);
    if (below) complain(`${folder.name}: folders in it are left out (${below}); drop them as well`);
    const texts = found.filter((entry) => entry.isFile && isText(entry.name));
    const files = await Promise.all([...images, ...texts].map((entry) => new Promise((ok, no) => entry.file(ok, no))));
    uploadAll(files, false);
  } catch (error) { complain(`${folder.name}: cannot be read (${error.message})`); }
}
