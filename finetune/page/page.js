"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id), LANES = ["audio", "visual", "audio_visual"], MODALITIES = ["audio", "visual"];
const TITLES = { audio: "Heard", visual: "Seen", audio_visual: "Heard and seen" }, NOTHING = { audio: "no sound", visual: "no picture" };
const words = name => name.replaceAll("_", " "), total = DATA.seconds || 1;
const stamp = (t, digits = 0) => {
  const whole = Math.floor(t + 1e-6), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60, two = n => String(n).padStart(2, "0");
  return `${hours ? hours + ":" + two(minutes) : minutes}:${two(whole % 60)}${digits ? "." + Math.floor(10 * (t - whole) + 1e-6) : ""}`;
};
const short = t => String(Math.round(100 * t) / 100);
function make(tag, classes = "", text) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text !== undefined) made.textContent = text;
  return made;
}
function draw(tag, attributes, classes = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (classes) made.setAttribute("class", classes);
  return made;
}
const place = (element, from, to) => { element.style.left = `${100 * from / total}%`; if (to !== undefined) element.style.width = `${100 * (to - from) / total}%`; return element; };

/* what is known of a moment */
const clipAt = t => { let found = null; for (const clip of DATA.clips) if (clip.start <= t + 1e-6 && t < clip.end) found = clip; return found; };
function sureAt(t, modality, category) {
  const clip = clipAt(t), values = clip?.curves[modality]?.[category];
  return values ? values[Math.min(values.length - 1, Math.floor(t - clip.start + 1e-6))] ?? null : null;
}
const curvesOf = (modality, category) => DATA.clips.flatMap(clip => clip.curves[modality]?.[category] ?? []);
const most = values => values.reduce((best, value) => Math.max(best, value ?? 0), 0);  // a day has more values than a call takes arguments
const goingOn = t => DATA.events.filter(event => event.onset <= t + 1e-6 && t < event.offset);

/* the clock: the video's, or one's own where it cannot be played */
const video = $("video");
let clock = 0, playable = Boolean(video), follow = false;
const now = () => playable && video.readyState > 0 && !(video.paused && clock > video.duration) ? video.currentTime : clock;
const playing = () => playable && !video.paused && !video.ended;
function seek(t, announced = true) {
  clock = Math.max(0, Math.min(total, t));
  if (playable && video.readyState > 0) video.currentTime = Math.min(clock, video.duration || clock);
  show(clock, true);
  if (follow) keepInSight(clock);
  if (announced) announce(clock);
}
function toggle() {
  if (!playable) return;
  if (playing()) video.pause(); else { if (now() >= total - 0.05) seek(0, false); video.play().catch(unplayable); }
}
function other() {  // a browser that plays no data: URI may play the same bytes as a blob
  const data = /^data:(.*?);base64,(.*)$/s.exec(video.src);
  if (!data) return unplayable();
  const bytes = Uint8Array.from(atob(data[2]), sign => sign.charCodeAt(0));
  video.src = URL.createObjectURL(new Blob([bytes], { type: data[1] }));
}
function unplayable() {
  playable = false;
  for (const id of ["play", "mute"]) $(id).disabled = true;
  $("blank").hidden = false;
  $("blank").textContent = DATA.linked ? "The video is not beside this page any more, or this browser cannot play it. Everything below works without it." : "There is nothing to play here. Everything below works without it.";
}
function announce(t) {
  const on = goingOn(t), named = lane => [...new Set(on.filter(event => event.lane === lane).map(event => words(DATA.categories[event.category])))].join(", ");
  const parts = MODALITIES.filter(named).map(lane => `${TITLES[lane].toLowerCase()}: ${named(lane)}`);
  $("said").textContent = `${t.toFixed(1)} seconds. ${parts.join("; ") || "no event"}.`;
}

/* the confidences on the right */
const peaks = DATA.categories.map((_, category) => most(MODALITIES.flatMap(one => curvesOf(one, category))));
const order = DATA.categories.map((_, category) => category).sort((a, b) => peaks[b] - peaks[a] || a - b);
const bars = new Map(), FEW = 12;
let chosen = order[0];
function buildClasses() {
  order.forEach((category, rank) => {
    const item = make("li"), button = make("button", "class"), two = make("span", "two"), numbers = make("small");
    const fills = MODALITIES.map(modality => { const track = make("i"), fill = make("span", `fill ${modality}`); track.append(fill); two.append(track); return fill; });
    if (DATA.limit !== null) { two.classList.add("limit"); two.style.setProperty("--limit", `${100 * DATA.limit}%`); }
    const shown = MODALITIES.map(() => make("span"));
    numbers.append(shown[0], " · ", shown[1]);
    button.type = "button";
    button.append(make("span", "", words(DATA.categories[category])), two, numbers);
    button.addEventListener("click", () => choose(category));
    item.append(button); item.hidden = rank >= FEW; $("classes").append(item);
    bars.set(category, { item, button, fills, shown });
  });
  const more = $("more"), all = DATA.categories.length;
  more.textContent = `Show all ${all} categories`;
  more.hidden = all <= FEW;
  more.addEventListener("click", () => {
    const open = more.getAttribute("aria-expanded") !== "true";
    more.setAttribute("aria-expanded", open);
    more.textContent = open ? "Show fewer" : `Show all ${all} categories`;
    order.forEach((category, rank) => { bars.get(category).item.hidden = !open && rank >= FEW; });
  });
}
function choose(category) {
  chosen = category;
  for (const [one, { button }] of bars) button.setAttribute("aria-pressed", one === category);
  $("class").value = category;
  curve();
}

/* the lanes */
const found = [];
function buildLanes() {
  const home = $("lanes");
  for (const lane of LANES) {
    const block = make("section", `lane ${lane}${DATA.truth ? " true" : ""}`), head = make("div", "row head"), mine = DATA.events.filter(event => event.lane === lane);
    const truth = (DATA.truth ?? []).filter(event => event.lane === lane);
    const title = make("h3", "", TITLES[lane]), right = make("div");
    title.id = `lane-${lane}`; title.style.margin = 0;
    block.setAttribute("aria-labelledby", title.id);
    const lacking = (lane === "audio_visual" ? MODALITIES : [lane]).flatMap(one => (DATA.absent[one] ?? []).map(span => [NOTHING[one], ...span]));
    const bands = [...lacking, ...DATA.gaps.map(span => ["not parsed", ...span])];
    for (const [what, from, to] of bands) {
      const band = place(make("div", "gone"), from, to);
      if (to - from > total / 12) band.append(make("b", "", what));
      band.title = `${what} from ${short(from)} to ${short(to)} s`;
      right.append(band);
    }
    if (!mine.length && !bands.some(([, from, to]) => to - from > total / 2)) right.append(make("div", "note", truth.length ? "no event found" : "no event"));
    head.append(title, right); block.append(head);
    const names = [...new Set([...mine, ...truth].sort((a, b) => a.onset - b.onset || a.category - b.category).map(event => event.category))];
    for (const category of names) {
      const row = make("div", "row"), plot = make("div", "plot");
      row.append(make("div", "", words(DATA.categories[category])), plot);
      for (const event of mine.filter(event => event.category === category)) plot.append(eventButton(event));
      for (const event of truth.filter(event => event.category === category)) {
        const bar = place(make("div", "truth"), event.onset, event.offset);
        bar.setAttribute("role", "img"); bar.setAttribute("aria-label", `True: ${words(DATA.categories[category])} from ${short(event.onset)} to ${short(event.offset)} seconds`);
        plot.append(bar);
      }
      plot.addEventListener("click", event => { if (event.target === plot) seekTo(event, plot); });
      block.append(row);
    }
    home.append(block);
  }
  home.append(curveBlock());
  for (const { start } of DATA.clips) if (start > 0) {
    const border = make("div", "border");
    border.style.left = `calc(var(--labels) + (100% - var(--labels) - .6rem) * ${start / total})`;
    $("sheet").append(border);
  }
  $("axis").addEventListener("click", event => seekTo(event, $("axis")));
}
const seekTo = (event, plot) => { const box = plot.getBoundingClientRect(); seek(total * (event.clientX - box.left) / box.width); };
function eventButton(event) {
  const button = place(make("button", "event"), event.onset, event.offset), name = words(DATA.categories[event.category]);
  button.type = "button";
  button.append(make("span", "", event.confidence.toFixed(2)));
  button.title = `${name}, ${short(event.onset)}–${short(event.offset)} s, confidence ${event.confidence.toFixed(2)}`;
  button.setAttribute("aria-label", `${name}, ${TITLES[event.lane].toLowerCase()} from ${short(event.onset)} to ${short(event.offset)} seconds, confidence ${event.confidence.toFixed(2)}`);
  button.addEventListener("click", press => { choose(event.category); seek(event.onset); if (press.detail > 0) button.blur(); });
  found.push([event, button]);
  return button;
}

/* the curve of the chosen category */
function curveBlock() {
  const block = make("section", "lane"), pick = make("div", "pick"), label = make("label", "", "Confidence over time of"), select = make("select"), keys = make("div", "keys");
  select.id = "class"; label.htmlFor = "class";
  DATA.categories.forEach((name, category) => { const option = make("option", "", words(name)); option.value = category; select.append(option); });
  select.addEventListener("change", () => choose(Number(select.value)));
  keys.append(make("span", "audio", "heard (full line)"), make("span", "visual", "seen (dashed)"));
  pick.append(label, select, keys);
  const row = make("div", "row curve"), side = make("div"), ticks = make("div", "ticks"), plot = make("div", "plot");
  for (const text of ["1", "½", "0"]) ticks.append(make("span", "", text));
  side.append(ticks); plot.id = "curve";
  plot.addEventListener("click", event => seekTo(event, plot));
  row.append(side, plot); block.append(pick, row);
  return block;
}
function curve() {
  const svg = draw("svg", { viewBox: `0 0 ${total} 1`, preserveAspectRatio: "none", role: "img" });
  const told = MODALITIES.map(modality => { const best = most(curvesOf(modality, chosen)); return `${TITLES[modality].toLowerCase()} at most ${best.toFixed(2)}`; });
  svg.setAttribute("aria-label", `Confidence of ${words(DATA.categories[chosen])} over time: ${told.join(", ")}`);
  for (const at of [0, .5, 1]) svg.append(draw("line", { x1: 0, x2: total, y1: 1 - at, y2: 1 - at, stroke: "var(--rule)", "stroke-width": 1, "vector-effect": "non-scaling-stroke" }));
  if (DATA.limit !== null) svg.append(draw("line", { x1: 0, x2: total, y1: 1 - DATA.limit, y2: 1 - DATA.limit }, "limit"));
  for (const modality of MODALITIES) {
    let path = "", down = false;
    for (const clip of DATA.clips) (clip.curves[modality]?.[chosen] ?? []).forEach((value, second) => {
      const from = clip.start + second, to = Math.min(from + 1, clip.end);
      if (value === null) { down = false; return; }
      path += `${down ? "L" : "M"}${short(from)} ${1 - value}H${short(to)}`; down = true;
    });
    svg.append(draw("path", { d: path || "M0 0" }, `line ${modality}`));
  }
  $("curve").replaceChildren(svg);
}

/* time moves on */
let drawn = -1;
function show(t, force = false) {
  clock = t;
  $("sheet").style.setProperty("--at", Math.max(0, Math.min(1, t / total)));
  $("time").textContent = stamp(t, 1); $("seek").value = t; $("seek").setAttribute("aria-valuetext", `${t.toFixed(1)} of ${total.toFixed(1)} seconds`);
  if (follow && playing()) keepInSight(t);
  const tenth = Math.floor(10 * t + 1e-6);
  if (!force && tenth === drawn) return;
  drawn = tenth;
  $("at").textContent = stamp(t);
  for (const [category, { fills, shown }] of bars) MODALITIES.forEach((modality, k) => {
    const value = sureAt(t, modality, category);
    fills[k].style.transform = `scaleX(${value ?? 0})`;
    shown[k].textContent = value === null ? "–" : value.toFixed(2);
    shown[k].className = value !== null && DATA.limit !== null && value >= DATA.limit ? "high" : "";
  });
  for (const [event, button] of found) { const on = event.onset <= t + 1e-6 && t < event.offset; if (on !== (button.ariaCurrent === "true")) button.ariaCurrent = on ? "true" : null; }
  const parts = LANES.map(lane => [lane, goingOn(t).filter(event => event.lane === lane).map(event => words(DATA.categories[event.category]))]).filter(([lane, names]) => names.length && lane !== "audio_visual");
  const inside = spans => (spans ?? []).some(([from, to]) => from <= t && t < to);
  const silent = inside(DATA.gaps) ? ["not parsed here"] : MODALITIES.filter(one => inside(DATA.absent[one])).map(one => NOTHING[one]);
  $("now").replaceChildren(...parts.flatMap(([lane, names], k) => [k ? " · " : "", `${TITLES[lane]}: `, make("b", "", names.join(", "))]), parts.length ? "" : silent.length ? "" : "No event here.", silent.length ? `${parts.length ? " · " : ""}${silent.join(", ")}` : "");
}
function keepInSight(t) {
  const scroll = $("scroll"), labels = parseFloat(getComputedStyle($("sheet").querySelector(".row > :first-child")).width), x = labels + (scroll.scrollWidth - labels) * t / total;
  if (x < scroll.scrollLeft + labels || x > scroll.scrollLeft + scroll.clientWidth - 8) scroll.scrollLeft = x - labels - 20;
}
function loop() { if (playing()) { show(now()); requestAnimationFrame(loop); } }
function state() {
  const on = playing();
  $("play").querySelector(".word").textContent = on ? "Pause" : "Play";
  $("sign").setAttribute("d", on ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5v13l11-6.5z");
  if (on) requestAnimationFrame(loop); else { show(now(), true); announce(now()); }
}

/* axis and zoom */
let zoom = 1;
function ticks() {
  const axis = $("axis"), width = axis.clientWidth || 1, step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600].find(s => s / total * width >= 58) ?? 3600;
  const marks = [];
  for (let t = 0; t <= total + 1e-6; t += step) marks.push(place(make("i"), t), place(make("span", t ? (total - t) / total * width < 18 ? "last" : "" : "first", stamp(t)), t));
  axis.replaceChildren(...marks);
  $("sheet").classList.toggle("dense", 10 / total * width < 36);
}
function resize(change) {
  const wide = $("scroll").clientWidth || 1, most = Math.max(1, 40 * total / wide);  // 40 pixels a second
  zoom = change === 0 ? 1 : change === null ? (total > 120 ? 6 * total / wide : 1) : zoom * 2 ** change;
  zoom = Math.max(1, Math.min(most, zoom));
  $("sheet").style.width = `${100 * zoom}%`; follow = zoom > 1;
  ticks();
  if (follow) keepInSight(now());
}

/* keys */
const onsets = [...new Set(DATA.events.map(event => event.onset))].sort((a, b) => a - b);
const step = way => { const t = now(), next = way > 0 ? onsets.find(at => at > t + 0.05) : onsets.findLast(at => at < t - 0.3) ?? (onsets[0] < t - 0.05 ? onsets[0] : undefined); if (next !== undefined) seek(next); };
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target, control = at instanceof HTMLElement && at.closest("button, select, summary, a");
  if (at instanceof HTMLSelectElement) return;
  const act = { " ": control ? null : toggle, k: toggle, K: toggle, m: mute, M: mute, ArrowLeft: () => seek(now() - 1), ArrowRight: () => seek(now() + 1), "[": () => step(-1), "]": () => step(1), Home: () => seek(0), End: () => seek(total) }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
function mute() { if (playable) { video.muted = !video.muted; $("mute").setAttribute("aria-pressed", video.muted); $("mute").textContent = video.muted ? "Muted" : "Mute"; } }

/* colours */
const darkly = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function theme() { $("theme").textContent = darkly() ? "Light" : "Dark"; $("theme").setAttribute("aria-label", `Change to ${darkly() ? "light" : "dark"} colours`); }
$("theme").addEventListener("click", () => { document.documentElement.dataset.theme = darkly() ? "light" : "dark"; theme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);

$("length").textContent = stamp(total, 1); $("seek").max = total;
$("seek").addEventListener("input", () => seek(Number($("seek").value), false)); $("seek").addEventListener("change", () => announce(now()));
$("play").addEventListener("click", toggle); $("before").addEventListener("click", () => step(-1)); $("after").addEventListener("click", () => step(1)); $("mute").addEventListener("click", mute);
$("zoom").hidden = total <= 20;
for (const button of $("zoom").children) button.addEventListener("click", () => resize(Number(button.dataset.zoom)));
if (video) {
  for (const name of ["play", "pause", "ended"]) video.addEventListener(name, state);
  for (const name of ["seeked", "timeupdate", "loadedmetadata"]) video.addEventListener(name, () => { if (!playing()) show(now()); });
  video.addEventListener("error", other);
  if (video.error) other();
} else unplayable();
theme(); buildClasses(); buildLanes(); choose(chosen); resize(null); show(0, true);
addEventListener("resize", ticks);
