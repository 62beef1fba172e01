// The page's own part: files go up, cards come down, and buttons of cards do what they say.
(() => {
  "use strict";
  const state = { known: 0, timer: 0, uploads: 0 };
  const at = (id) => document.getElementById(id);
  const say = (text, bad = false) => {
    const line = at("notice");
    if (!line) return;
    line.textContent = text;
    line.className = bad ? "bad" : "";
    line.setAttribute("role", bad ? "alert" : "status");
  };

  async function answer(response) {
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(body.error || `the server answers ${response.status}`);
    return body;
  }

  // --- cards -------------------------------------------------------------------------------------------------------

  function put(id, html) {
    const list = at("cards");
    let card = at(`card-${id}`);
    if (!card) {
      card = document.createElement("article");
      card.id = `card-${id}`;
      list.append(card);
    }
    const kept = kept_of(card);
    card.innerHTML = html;
    restore(card, kept);
  }

  // What a person has set in a card stays when the card is drawn anew: the slider, an open command, a playing film.
  function kept_of(card) {
    const focus = card.contains(document.activeElement) ? document.activeElement : null;
    return {
      cuts: [...card.querySelectorAll(".compare input")].map((input) => input.value),
      open: [...card.querySelectorAll("details")].map((details) => details.open),
      films: new Map([...card.querySelectorAll("video")].map((video) => [video.getAttribute("src"), video])),
      focus: focus && (focus.dataset.post || focus.getAttribute("href") || focus.getAttribute("aria-label")),
    };
  }

  function restore(card, kept) {
    card.querySelectorAll(".compare input").forEach((input, n) => {
      if (kept.cuts[n] !== undefined) input.value = kept.cuts[n];
      cut(input);
    });
    card.querySelectorAll("details").forEach((details, n) => { details.open = !!kept.open[n]; });
    card.querySelectorAll("video").forEach((video) => {
      const old = kept.films.get(video.getAttribute("src"));
      if (old) video.replaceWith(old);
    });
    if (kept.focus) {
      const same = [...card.querySelectorAll("button, a, input")].find((element) =>
        [element.dataset.post, element.getAttribute("href"), element.getAttribute("aria-label")].includes(kept.focus));
      if (same) same.focus();
    }
  }

  const cut = (input) => input.parentElement.style.setProperty("--cut", `${input.value}%`);

  async function refresh() {
    clearTimeout(state.timer);
    if (!at("cards")) { state.timer = setTimeout(refresh, 100); return; }  // gradio still builds the page
    let wait = 3000;
    try {
      const album = await answer(await fetch(`/studio/album?known=${state.known}`));
      if (album.version < state.known) { state.known = 0; return refresh(); }  // a server that was started anew
      state.known = album.version;
      const order = new Set(album.order);
      for (const card of [...at("cards").children]) if (!order.has(card.id.slice(5))) card.remove();
      for (const [id, html] of Object.entries(album.cards)) put(id, html);
      summary(album);
      mask(album.mask);
      if (album.new) press("added");  // also what came just before the page was reloaded
      if (state.lost) { state.lost = false; say(""); }
      wait = album.open || album.new ? 500 : 3000;
    } catch (error) {
      state.lost = true;
      say(`No answer from nogan app: ${error.message}`, true);
      wait = 1000;
    }
    state.timer = setTimeout(refresh, wait);
  }

  function summary(album) {
    const bar = at("summary");
    bar.hidden = !album.order.length;
    at("count").textContent = album.open
      ? `${album.done} of ${album.total} done`
      : `${album.done} done${album.failed ? `, ${album.failed} failed` : ""}`;
    at("zip").hidden = album.files < 2;
    document.title = album.open ? `${album.done}/${album.total} nogan` : "nogan";
  }

  // The mask of a blend, in the settings; they are drawn by gradio, which may have drawn them anew.
  function mask(name) {
    const line = at("mask-now");
    if (!line) return;
    line.hidden = !name;
    line.querySelector("span").textContent = name;
    line.querySelector("button").disabled = false;
  }

  // --- files -------------------------------------------------------------------------------------------------------

  function send(file, where = "upload") {
    return new Promise((done) => {
      const request = new XMLHttpRequest();
      request.open("POST", `/studio/${where}?name=${encodeURIComponent(file.name)}`);
      request.upload.onprogress = (event) => {
        if (event.lengthComputable && file.size > 5e6) {
          say(`Taking ${file.name}: ${Math.round((100 * event.loaded) / event.total)} %`);
        }
      };
      request.onload = () => {
        let text = "";
        try { text = JSON.parse(request.responseText).error || ""; } catch { text = `the server answers ${request.status}`; }
        done(request.status === 200 ? "" : text);
      };
      request.onerror = () => done(`${file.name}: it could not be sent`);
      const most = Number(at("drop").dataset.most);
      if (file.size > most) {
        done(`${file.name}: ${gigabytes(file.size)}, and at most ${gigabytes(most)} are taken (--max-upload)`);
        return;
      }
      request.send(file);
    });
  }

  const gigabytes = (size) => (size >= 1e8 ? `${(size / 1e9).toFixed(2)} GB` : `${(size / 1e6).toFixed(1)} MB`);

  async function take(files) {
    const refused = [];
    say("");
    for (const file of files) {
      const reason = await send(file);
      if (reason) refused.push(reason);
      refresh();  // which has it colored at once, while the next is on its way
    }
    say(refused.join("\n"), refused.length > 0);
  }

  // A button of gradio's, whose function gets what the controls say.
  function press(id) {
    const element = at(id);
    (element.matches("button") ? element : element.querySelector("button")).click();
  }

  // --- what a person does ------------------------------------------------------------------------------------------

  document.addEventListener("input", (event) => {
    if (event.target.matches(".compare input")) cut(event.target);
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "mask-file" && event.target.files.length) {
      const [file] = event.target.files;
      event.target.value = "";
      send(file, "mask").then((reason) => { at("mask-wrong").textContent = reason; refresh(); });
    }
    if (event.target.id === "files") { take([...event.target.files]); event.target.value = ""; }
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-post]");
    if (!button) return;
    button.disabled = true;
    try {
      await answer(await fetch(button.dataset.post, { method: "POST" }));
      refresh();
    } catch (error) {
      say(error.message, true);
      button.disabled = false;
    }
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      at("drop")?.classList.toggle("over", name === "dragover");
      if (name === "drop") take([...event.dataTransfer.files]);
    });
  }
  window.nogan = { refresh: () => { refresh(); } };
  document.addEventListener("DOMContentLoaded", refresh);
  if (document.readyState !== "loading") refresh();
})();
