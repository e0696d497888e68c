// Debian's Chromium, and sites for it to visit.
import { X509Certificate, createHash } from "node:crypto";
import { accessSync, constants, mkdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { once } from "./wait.mjs";

/** The directory of the stock client's browser builds. */
export const dist = join(dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json")), "dist");

/**
 * With PICTURES=1, saves a screenshot of a page for people to look at, in a folder
 * that git ignores. Without a GPU, a screenshot takes more CPU time than loading the
 * page.
 */
export async function picture(tab, name) {
  if (!process.env.PICTURES) return;
  const folder = fileURLToPath(new URL("../screenshots", import.meta.url));
  mkdirSync(folder, { recursive: true });
  await tab.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

/** For a page to evaluate: what is wider than the window, or a control beside it. Code scrolls in its box. */
export function offScreen() {
  const found = document.scrollingElement.scrollWidth > innerWidth ? [`the page is ${document.scrollingElement.scrollWidth} wide`] : [];
  for (const el of document.querySelectorAll("body *")) {
    if (!el.checkVisibility() || el.closest(".hidden, .skip")) continue;
    const box = el.getBoundingClientRect();
    const scrolls = el.scrollWidth > el.clientWidth && ["auto", "scroll"].includes(getComputedStyle(el).overflowX) && !["PRE", "TEXTAREA"].includes(el.tagName);
    const off = !el.closest("pre") && box.width > 0 && (box.left < 0 || box.right > innerWidth + 0.5);
    if (scrolls || off) found.push(`${el.tagName} ${el.textContent.trim().slice(0, 30)}: ${box.left} to ${box.right}`);
  }
  return found;
}

/** For a page to evaluate: what in it has less contrast to what is behind it than WCAG's AA. */
export function lowContrast() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (rgb) =>
    rgb.slice(0, 3).map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (el) => {
    for (; el; el = el.parentElement) {
      const color = channels(getComputedStyle(el).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const el of document.querySelectorAll("body *")) {
    const text = [...el.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!text || !el.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(el.tagName)) continue;
    const [a, b] = [luminance(channels(getComputedStyle(el).color)), luminance(behind(el))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(`${el.tagName} ${el.textContent.trim().slice(0, 30)}`);
  }
  return found;
}

/** For a page to evaluate: controls that a screen reader has no name for. */
export function nameless() {
  return [...document.querySelectorAll("button, input:not([type=hidden]), select, textarea, a, summary, [tabindex='0']")]
    .filter((el) => !(el.labels?.[0]?.textContent.trim() || el.textContent.trim() || el.getAttribute("aria-label")))
    .map((el) => el.outerHTML.slice(0, 80));
}

// A page on another origin that loads the stock client as a script.
export async function foreignSite(host = "localhost") {
  const server = http.createServer((req, res) => {
    if (req.url === "/client.js") return res.end(readFileSync(join(dist, "socket.io.min.js")));
    res.setHeader("Content-Type", "text/html");
    res.end('<!doctype html><link rel="icon" href="data:,"><script src="/client.js"></script>');
  });
  server.listen(0);
  await once(server, "listening");
  server.origin = `http://${host}:${server.address().port}`;
  return server;
}

// Chromium trusts only this Caddy's CA: it gets the fingerprint of the intermediate
// certificate's key and checks everything else as usual.
export function launch(caddy, ...args) {
  if (caddy.tls) {
    const pem = readFileSync(join(dirname(caddy.rootCertificate), "intermediate.crt"));
    const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
    args.push(`--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`);
  }
  // Starting a process costs more than loading a page, so tabs of one site share a
  // process; site isolation still gives each site its own.
  args.push("--no-sandbox", "--renderer-process-limit=1");
  return chromium.launch({ executablePath: inPath("chromium-headless-shell", "chromium"), args });
}

/**
 * Returns the first of these programs in PATH. Chromium's headless shell has no user
 * interface and takes half the CPU time to start and to render a page.
 */
function inPath(...names) {
  for (const name of names) {
    for (const dir of process.env.PATH.split(delimiter)) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch {
        // Try the next one.
      }
    }
  }
  throw new Error(`no ${names.join(" or ")} in PATH: "make test" installs it`);
}
