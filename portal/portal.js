const byId = (id) => document.getElementById(id);

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const source = byId(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected: copy it with the keyboard";
    }
    setTimeout(() => (button.textContent = label), 2000);
  });
}

const shown = 300;
const told = {
  connected: (e) => `${e.socket} from ${e.client_ip} with key ${e.key}`,
  disconnected: (e) => `${e.socket} from ${e.client_ip}: ${e.reason}`,
  subscribed: (e) => `${e.channel} by ${e.socket}`,
  unsubscribed: (e) => `${e.channel} by ${e.socket}`,
  published: (e) => `${e.event} to ${e.user ? `user ${e.user}` : e.channel}, ${count(e.subscribers ?? 0, "subscriber")}${data(e)}`,
  refused: (e) => `${e.attempt}${e.channel ? ` ${e.channel}` : ""} from ${e.client_ip || "somewhere"}: ${e.code}. ${e.cure}`,
};

const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;

function data(e) {
  if (e.data !== undefined) return `: ${JSON.stringify(e.data)}`;
  return e.size ? `: ${e.size} bytes` : "";
}

// A browser has six connections to a server of HTTP/1.1, for all its tabs, and a
// stream holds one: with six of them no tab would load or publish. So this many
// tabs are live, and others wait for one of those to be closed.
const livePlaces = 4;

function whenPlaced(begin) {
  const [navigation] = performance.getEntriesByType("navigation");
  if (!navigator.locks || !navigation?.nextHopProtocol.startsWith("http/1")) return begin();
  const others = new AbortController();
  const note = setTimeout(() => {
    byId("broken").textContent = `This page is not live: ${livePlaces} others are. Close one of them.`;
  }, 1000);
  for (let place = 0; place < livePlaces; place++) {
    const hold = () => {
      if (others.signal.aborted) return; // two places were free
      clearTimeout(note);
      others.abort();
      begin();
      return new Promise(() => {}); // until the tab is closed
    };
    navigator.locks.request(`realtime-live-${place}`, { signal: others.signal }, hold).catch(() => {}); // aborted
  }
}

function watch(state) {
  const pause = byId("pause");
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "false";
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Go on" : "Pause";
  });
  byId("clear").addEventListener("click", () => byId("tail").replaceChildren());
  whenPlaced(() => follow(state));
}

function follow(state) {
  const tail = byId("tail");
  const pause = byId("pause");
  const stream = new EventSource(state.dataset.live);
  let connections = parseInt(state.textContent);
  stream.onopen = () => {
    byId("broken").textContent = "";
    outdated = true; // by what happened between the page and the stream, or two streams
  };
  stream.onerror = () => {
    byId("broken").textContent = "The connection is lost; trying again.";
    // A browser gives up where it is answered with an error, as by a proxy in
    // front of a server that is being restarted.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => follow(state), 2000);
  };
  for (const [kind, tell] of Object.entries(told)) {
    stream.addEventListener(kind, ({ data }) => {
      const e = JSON.parse(data);
      if (kind !== "published" && kind !== "refused") outdated = true;
      if (pause.getAttribute("aria-pressed") === "true") return;
      const item = document.createElement("li");
      const time = document.createElement("time");
      const name = document.createElement("b");
      item.className = kind;
      time.dateTime = e.time;
      time.textContent = new Date(e.time).toLocaleTimeString();
      name.textContent = kind;
      item.append(time, " ", name, " ", tell(e));
      tail.prepend(item);
      while (tail.children.length > shown) tail.lastChild.remove();
    });
  }
  stream.addEventListener("second", ({ data }) => {
    const s = JSON.parse(data);
    const parts = [`${s.connections} connected`];
    if (s.published) parts.push(`${s.published} published a second`, `${s.deliveries} delivered`);
    if (s.refused) parts.push(`${s.refused} refused`);
    if (s.connections !== connections) outdated = true; // also by what happened on other machines
    connections = s.connections;
    if (s.skipped) parts.push(`${s.skipped} more not listed`);
    const text = parts.join(", ");
    if (state.textContent !== text) state.textContent = text;
    refresh();
  });
}

// Tables that are out of date are read again, but for one that is in use.
let outdated = false;
let refreshed = 0;
async function refresh() {
  if (!outdated || Date.now() - refreshed < 2000 || document.hidden) return;
  outdated = false;
  refreshed = Date.now();
  const here = byId("app-id").textContent;
  const channel = new URLSearchParams(location.search).get("channel");
  const answer = await fetch(`${here}${channel ? `?channel=${encodeURIComponent(channel)}` : ""}`);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const section of document.querySelectorAll("[data-refresh]")) {
    if (section.contains(document.activeElement)) {
      outdated = true;
      continue;
    }
    section.replaceChildren(...page.getElementById(section.id).childNodes);
  }
}

// The console publishes without leaving the page, so that the event is seen
// to arrive.
function publishFrom(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const status = byId("published");
    status.textContent = "";
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        headers: { Accept: "application/json" },
        body: new URLSearchParams([...new FormData(form), ["do", "publish"]]),
      });
      const body = await answer.json();
      if (body.error) status.textContent = `${body.error.code}: ${body.error.message}`;
      else if (answer.ok && body.results) {
        const channels = form.elements.channel.value.split("\n").map((line) => line.trim()).filter(Boolean);
        const each = body.results.map(({ id, subscribers }, i) => `${channels[i]} as ${id} to ${count(subscribers, "subscriber")}`);
        status.textContent = `Published to ${each.join(", ")}.`;
      } else if (answer.ok && body.id) status.textContent = `Published as ${body.id} to ${count(body.subscribers, "subscriber")}.`;
      else throw new Error(`the answer is ${answer.status} ${JSON.stringify(body)}`);
    } catch (err) {
      status.textContent = `Not published: ${err.message}`;
    }
  });
}

// A second click would have the browser drop the answer to the first, and with
// it the keys that are shown once.
for (const form of document.querySelectorAll('form[method="post"]:not(#publish)')) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});

if (byId("state")) watch(byId("state"));
if (byId("publish")) publishFrom(byId("publish"));
