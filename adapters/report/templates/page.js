"use strict";
// The picture is drawn without this script, and every detail is in it as a title. What
// follows shows the details at the pointer and at the keyboard's focus, filters, turns
// the sheets and zooms. Values are read as text and written as text.
(() => {
  const all = (selector, under = document) => [...under.querySelectorAll(selector)];
  const by = (id) => document.getElementById(id);
  const root = document.documentElement;
  const items = all(".item");
  const sheets = all(".sheet");
  const rows = all(".sheet .row[id]");
  const tip = by("tip");

  // The theme: what the system prefers, until it is chosen here.
  const theme = by("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", isDark() ? "Switch to light" : "Switch to dark");
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  prefersDark.addEventListener("change", nameTheme);
  theme.hidden = false;
  nameTheme();

  // The details. A title would be shown by the browser as well, so it is taken out.
  const lines = new Map();
  for (const item of items) {
    const title = item.querySelector("title");
    lines.set(item, title.textContent.split("\n"));
    item.setAttribute("aria-label", title.textContent.replaceAll("\n", ". "));
    title.remove();
  }
  let shownFor = null;
  let hiding = 0;
  const element = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  };
  const fill = (item) => {
    const [heading, ...rest] = lines.get(item);
    const list = document.createElement("dl");
    for (const line of rest) {
      const cut = line.indexOf(": ");
      list.append(element("dt", line.slice(0, cut)), element("dd", line.slice(cut + 2)));
    }
    tip.replaceChildren(element("strong", heading), list);
  };
  const show = (item, x) => {
    clearTimeout(hiding);
    if (shownFor !== item) {
      fill(item);
      shownFor = item;
    }
    tip.hidden = false;
    const target = (item.querySelector(".bar, use, .catch") || item).getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const wide = root.clientWidth - own.width - 8;
    const left = x === undefined ? target.left + Math.min(target.width / 2, 40) : x + 12;
    tip.style.left = `${Math.max(8, Math.min(left, wide))}px`;
    const below = target.bottom + 12;
    const above = target.top - own.height - 12;
    tip.style.top = `${below + own.height < root.clientHeight || above < 8 ? below : above}px`;
  };
  const hide = () => {
    clearTimeout(hiding);
    tip.hidden = true;
    shownFor = null;
  };
  const hideSoon = () => {
    clearTimeout(hiding);
    hiding = setTimeout(() => {
      const focused = document.activeElement;
      if (lines.has(focused) && focused.matches(":focus-visible")) show(focused);
      else hide();
    }, 150);
  };
  for (const item of items) {
    item.addEventListener("pointerenter", (event) => show(item, event.clientX));
    item.addEventListener("pointerleave", hideSoon);
    item.addEventListener("focus", () => show(item));
    item.addEventListener("blur", hide);
  }
  tip.addEventListener("pointerenter", () => clearTimeout(hiding));
  tip.addEventListener("pointerleave", hideSoon);
  const stay = () => (shownFor && shownFor === document.activeElement ? show(shownFor) : hide());
  addEventListener("scroll", stay, true);

  // The keyboard: one stop for each sheet and for the strip, arrow keys within.
  const seen = (item) => !item.classList.contains("dim") && item.getClientRects().length > 0;
  const groups = [...sheets, ...all(".strip")];
  const stop = (group) => {
    const there = all(".item", group);
    for (const item of there) item.setAttribute("tabindex", "-1");
    const first = there.find(seen) || there[0];
    if (first) first.setAttribute("tabindex", "0");
  };
  const go = (group, item) => {
    if (!item) return;
    for (const other of all('.item[tabindex="0"]', group)) other.setAttribute("tabindex", "-1");
    item.setAttribute("tabindex", "0");
    item.focus();
    item.scrollIntoView({ block: "nearest", inline: "nearest" });
    show(item);
  };
  const place = (item) =>
    (item.querySelector(".bar, use, .catch") || item).getBoundingClientRect().left;
  const inOrder = (track) =>
    all(".item", track).filter(seen).sort((one, other) => place(one) - place(other));
  const nearest = (group, item, step) => {
    const tracks = all(".track, .strip", group).filter((track) => inOrder(track).length);
    const track = tracks[tracks.indexOf(item.closest(".track, .strip")) + step];
    if (!track) return null;
    const from = place(item);
    const away = (one) => Math.abs(place(one) - from);
    return inOrder(track).reduce((best, one) => (away(one) < away(best) ? one : best));
  };
  const walk = (group, event) => {
    if (!lines.has(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
    const own = inOrder(event.target.closest(".track, .strip"));
    const at = own.indexOf(event.target);
    const steps = {
      ArrowRight: () => own[at + 1],
      ArrowLeft: () => own[at - 1],
      ArrowDown: () => nearest(group, event.target, 1),
      ArrowUp: () => nearest(group, event.target, -1),
      Home: () => own[0],
      End: () => own[own.length - 1],
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    go(group, steps[event.key]());
  };
  for (const group of groups) {
    stop(group);
    group.addEventListener("keydown", (event) => walk(group, event));
  }
  addEventListener("keydown", (event) => event.key === "Escape" && hide());

  // What is written in a bar: the name, else the code, else nothing.
  const write = () => {
    for (const tenure of all(".sheet:not([hidden]) .row:not([hidden]) .tenure")) {
      const width = tenure.querySelector(".bar").getBoundingClientRect().width;
      if (width === 0) continue;
      const name = tenure.querySelector(".name");
      const code = tenure.querySelector(".code");
      tenure.classList.remove("room-none", "room-code");
      tenure.classList.add("room-name");
      let room = "name";
      if (name.getComputedTextLength() + 12 > width) {
        tenure.classList.replace("room-name", "room-code");
        room = code.getComputedTextLength() + 8 > width ? "none" : "code";
      }
      tenure.classList.remove("room-name", "room-code");
      tenure.classList.add(`room-${room}`);
    }
  };

  // Sheets and filters.
  const pager = by("pager");
  const frame = by("frame");
  const windows = all(".window");
  const chosen = (id) => by(id).value;
  const holds = (list, value) => value === "" || list.includes(` ${value} `);
  const matches = (row) =>
    (chosen("lane") === "" || row.dataset.lane === chosen("lane")) &&
    holds(row.dataset.workers, chosen("worker")) &&
    holds(row.dataset.has, chosen("has"));
  const isFull = (sheet) => all(".row[id]:not([hidden])", sheet).length > 0;
  // What is worst is looked at first.
  let current = sheets.find((sheet) => sheet.querySelector(".row.error")) || sheets[0];
  const turnTo = (sheet) => {
    current = sheet;
    for (const other of sheets) other.hidden = other !== sheet || !isFull(sheet);
    if (pager) {
      for (const button of all("[data-page]", pager)) {
        const number = Number(button.dataset.page) - 1;
        button.disabled = !isFull(sheets[number]);
        if (sheets[number] === sheet) button.setAttribute("aria-current", "page");
        else button.removeAttribute("aria-current");
      }
      for (const button of all("[data-turn]", pager))
        button.disabled = !beside(Number(button.dataset.turn));
    }
    if (frame) {
      const { left, width } = windows[sheets.indexOf(sheet)].dataset;
      frame.setAttribute("x", left);
      frame.setAttribute("width", width);
    }
    stop(sheet);
    write();
  };
  const beside = (step) => {
    const full = sheets.filter((sheet) => sheet === current || isFull(sheet));
    return full[full.indexOf(current) + step];
  };
  const filter = () => {
    hide();
    const worker = chosen("worker");
    let count = 0;
    for (const row of rows) {
      row.hidden = !matches(row);
      count += row.hidden ? 0 : 1;
    }
    for (const tenure of all(".tenure"))
      tenure.classList.toggle("dim", worker !== "" && tenure.dataset.worker !== worker);
    for (const mark of all(".mark"))
      mark.classList.toggle("dim", !holds(mark.dataset.workers, worker));
    by("count").textContent =
      count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
    by("nothing").hidden = count > 0;
    turnTo(isFull(current) ? current : sheets.find(isFull) || current);
  };
  const zoomed = () => Number(by("zoom").textContent.replace("×", ""));
  const zoomTo = (times) => {
    const before = zoomed();
    by("zoom").textContent = `${times}×`;
    by("out").disabled = times <= 1;
    by("in").disabled = times >= 64;
    for (const sheet of sheets) {
      const scroller = sheet.querySelector(".scroller");
      const middle = (scroller.scrollLeft + scroller.clientWidth / 2) / before;
      sheet.querySelector(".plot").style.setProperty("--room", times);
      scroller.scrollLeft = middle * times - scroller.clientWidth / 2;
    }
    write();
  };
  const follow = () => {
    const row = rows.find((one) => `#${one.id}` === location.hash);
    if (!row) return;
    if (row.hidden) {
      by("controls").reset();
      filter();
    }
    turnTo(row.closest(".sheet"));
    row.scrollIntoView({ block: "center" });
    const first = row.querySelector(".item");
    if (first) go(current, first);
  };
  if (sheets.length) {
    for (const id of ["lane", "worker", "has"]) by(id).addEventListener("change", filter);
    by("controls").addEventListener("submit", (event) => event.preventDefault());
    by("in").addEventListener("click", () => zoomTo(zoomed() * 2));
    by("out").addEventListener("click", () => zoomTo(zoomed() / 2));
    if (pager) {
      pager.addEventListener("click", (event) => {
        const { page, turn } = event.target.dataset;
        if (page) turnTo(sheets[page - 1]);
        if (turn) turnTo(beside(Number(turn)));
      });
      pager.hidden = false;
    }
    by("controls").hidden = false;
    by("hint").hidden = false;
    by("controls").reset();
    by("out").disabled = true;
    filter();
    addEventListener("hashchange", follow);
    addEventListener("resize", write);
    matchMedia("print").addEventListener("change", write);
    follow();
  }
})();
