// Debian's Chromium, and sites for it to visit.
import { X509Certificate, createHash } from "node:crypto";
import { accessSync, constants, mkdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { once } from "./wait.mjs";

/** Where the stock client's builds for browsers are. */
export const dist = join(dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json")), "dist");

/**
 * With PICTURES=1, keeps what a page looks like, for people; git ignores the
 * folder. Without a GPU, a picture takes more CPU time than loading the page.
 */
export async function picture(tab, name) {
  if (!process.env.PICTURES) return;
  const folder = fileURLToPath(new URL("../screenshots", import.meta.url));
  mkdirSync(folder, { recursive: true });
  await tab.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

// A page of another origin, with the stock client as a script.
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

// Chromium trusts exactly this Caddy's CA: it is given the fingerprint of the
// intermediate certificate's key, and checks all else as always.
export function launch(caddy, ...args) {
  if (caddy.tls) {
    const pem = readFileSync(join(dirname(caddy.rootCertificate), "intermediate.crt"));
    const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
    args.push(`--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`);
  }
  // A process costs more to start than a page to load. Tabs of one site share
  // one; site isolation still gives each site its own.
  args.push("--no-sandbox", "--renderer-process-limit=1");
  return chromium.launch({ executablePath: inPath("chromium-headless-shell", "chromium"), args });
}

/**
 * The first of these programs that PATH has. Chromium's shell has no user
 * interface, and takes half the CPU time to start and to show a page.
 */
function inPath(...names) {
  for (const name of names) {
    for (const dir of process.env.PATH.split(delimiter)) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch {
        // The next one, then.
      }
    }
  }
  throw new Error(`no ${names.join(" or ")} in PATH: "make test" installs it`);
}
