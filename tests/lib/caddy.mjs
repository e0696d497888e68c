// A Caddy for one test: the binary built by xcaddy, with its own directory and ports,
// and helpers for what tests do with it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { check } from "./openapi.mjs";
import { closedListeners, freePorts } from "./ports.mjs";
import { once, until } from "./wait.mjs";

const require = createRequire(import.meta.url);

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const bin = resolve(root, process.env.CADDY_BIN ?? "build/caddy");

/** The transports by the names that tests use. */
export const transports = {
  websocket: ["websocket"],
  polling: ["polling"],
  upgrade: ["polling", "websocket"],
};

export class Caddy {
  #child;
  #sockets = new Set();
  logs = [];

  /** Writes a configuration, starts Caddy, and waits until it responds. */
  static async start(options = {}) {
    const caddy = await Caddy.prepare(options);
    await caddy.boot();
    return caddy;
  }

  /** Writes a configuration to a new directory. */
  static async prepare(options = {}) {
    const caddy = new Caddy();
    caddy.dir = mkdtempSync(join(tmpdir(), "realtime-"));
    [caddy.port, caddy.adminPort] = await freePorts(2);
    caddy.tls = options.tls ?? false;
    caddy.host = options.host ?? "localhost";
    caddy.within = options.within ?? [];
    caddy.origin = `${caddy.tls ? "https" : "http"}://${caddy.host}:${caddy.port}`;
    caddy.descriptors = options.descriptors;
    caddy.binary = options.binary ?? bin;
    caddy.environment = options.environment ?? {};
    caddy.configure(options);
    return caddy;
  }

  get configFile() {
    return join(this.dir, "Caddyfile");
  }

  get store() {
    return join(this.dir, "keystore");
  }

  get env() {
    return { ...process.env, ...this.environment, XDG_DATA_HOME: join(this.dir, "data"), XDG_CONFIG_HOME: join(this.dir, "config") };
  }

  /**
   * Writes the Caddyfile without loading it.
   * descriptors, only at a start: the process's limit of open files;
   * binary, only at a start: a binary other than the one under test;
   * environment, only at a start: more of its environment;
   * host, only at a start: its name or address, by default localhost;
   * within, only at a start: a command that runs the binary;
   * admin: returns the admin endpoint's block for an address; keystore: instead of badger, "" for none;
   * global: lines of the realtime global option; rateLimit: no limit by default;
   * options: other global options; site: the site's lines; sites: additional sites.
   */
  configure({ admin = () => "", global = "", keystore = `badger ${this.store}`, rateLimit = "0", options = "", site = "realtime", sites = "" } = {}) {
    writeFileSync(
      this.configFile,
      `{
	admin ${this.host}:${this.adminPort} ${admin(`${this.host}:${this.adminPort}`)}
	auto_https disable_redirects
	skip_install_trust
	log {
		output stderr
		format json
	}
	realtime {
		${keystore && `keystore ${keystore}`}
		rate_limit ${rateLimit}
		${global}
	}
	${options}
}
${this.host === "localhost" ? this.origin : `http://:${this.port}`} {
	${this.tls ? "tls internal" : ""}
	${site}
}
${sites}
`,
    );
  }

  /** Starts the process with the most recently written configuration. */
  async boot() {
    const limit = this.descriptors ? ["sh", "-c", `ulimit -n ${this.descriptors}; exec "$0" "$@"`] : [];
    const [file, ...args] = [...this.within, ...limit, this.binary, "run", "--config", this.configFile];
    const child = spawn(file, args, { env: this.env, stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    createInterface({ input: child.stderr }).on("line", (line) => this.logs.push(line));
    this.exited = new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal })));
    try {
      await until("Caddy answers", async () => {
        assert.equal(child.exitCode, null, `Caddy ended at its start:\n${this.logTail(2)}`);
        if ((await this.request("GET", "/publish").catch(notYet)).status !== 405) return false;
        return (await this.admin("GET", "/realtime/apps")).status !== 503; // all of Caddy's apps have started
      });
    } catch (err) {
      child.kill("SIGKILL");
      throw err;
    }
  }

  get pid() {
    return this.#child.pid;
  }

  /** The certificate of this Caddy's own CA, once it exists. */
  get rootCertificate() {
    return join(this.dir, "data/caddy/pki/authorities/local/root.crt");
  }

  /** Runs a command of the binary and returns its exit code and output. */
  async command(...args) {
    const child = spawn(this.binary, args, { env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    const [code] = await once(child, "close", 30_000);
    return { code, output };
  }

  async reload(...args) {
    const result = await this.command("reload", "--config", this.configFile, "--address", `localhost:${this.adminPort}`, ...args);
    await closedListeners();
    return result;
  }

  /** Loads a configuration, by default the latest Caddyfile, without a caddy reload process. */
  async load(body = readFileSync(this.configFile), type = "text/caddyfile") {
    const { status, text } = await this.request("POST", "/load", {
      origin: this.adminOrigin,
      documented: false,
      headers: { "Content-Type": type },
      body,
    });
    assert.equal(status, 200, text);
    await closedListeners();
  }

  signal(name) {
    this.#child.kill(name);
    return this.exited;
  }

  /**
   * Sends an HTTP request on a new connection, to the site or to any origin. It fails if
   * the response does not match openapi.yaml; documented: false is for a /publish that
   * belongs to something else.
   */
  request(method, path, { headers = {}, body, origin = this.origin, documented = true } = {}) {
    const url = new URL(path, origin);
    const secure = url.protocol === "https:";
    return new Promise((resolve, reject) => {
      const req = (secure ? https : http).request(
        url,
        { method, headers, agent: false, ...(secure && { ca: this.#ca() }) },
        (res) => {
          let text = "";
          res.setEncoding("utf8");
          res.on("data", (chunk) => (text += chunk));
          res.on("error", reject);
          res.on("end", () => {
            const answer = { status: res.statusCode, headers: res.headers, text, json: parse(text) };
            try {
              if (documented) this.#check(method, url, body, answer);
              resolve(answer);
            } catch (err) {
              reject(err);
            }
          });
        },
      );
      req.setTimeout(60_000, () => req.destroy(new Error(`${method} ${path} took over 60 s`)));
      req.on("error", reject);
      req.end(body);
    });
  }

  get adminOrigin() {
    return `http://${this.host}:${this.adminPort}`;
  }

  admin(method, path, body) {
    return this.request(method, path, {
      origin: this.adminOrigin,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  /** Creates an app: { id, name, publish_key, subscribe_key }. */
  async app(name = "test") {
    const answer = await this.admin("POST", "/realtime/apps", { name });
    assert.equal(answer.status, 201, answer.text);
    return answer.json;
  }

  /** Creates a signing key of an app, and returns its text. */
  async signingKey(app) {
    const answer = await this.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign" });
    assert.equal(answer.status, 201, answer.text);
    return answer.json.key;
  }

  /** Publishes a body, given as a value or as JSON text. */
  publish(app, body, headers = {}) {
    return this.request("POST", "/publish", {
      headers: {
        "Content-Type": "application/json",
        "X-App-Id": app.id,
        Authorization: `Bearer ${app.publish_key}`,
        ...headers,
      },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  }

  /** Publishes, and fails unless the publish is accepted. */
  async published(app, body) {
    const answer = await this.publish(app, body);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  }

  /**
   * Returns a stock socket with an app's credentials. client is the io of another version,
   * uri another server than this Caddy. The socket is closed with this Caddy.
   */
  socket(app, { client = stockClient(), uri = this.origin, ...options } = {}) {
    const socket = client(uri, {
      forceNew: true,
      transports: transports.websocket,
      auth: app && { appId: app.id, subscribeKey: app.subscribe_key },
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
      ...(this.tls && { ca: this.#ca() }),
      ...options,
    });
    this.#sockets.add(socket);
    return socket;
  }

  /** Returns a connected socket that is subscribed to channels. */
  async subscriber(app, channels, options) {
    const socket = this.socket(app, options);
    await once(socket, "connect");
    for (const channel of [channels].flat()) {
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", channel), { channel });
    }
    return socket;
  }

  /** Returns the log records whose message or fields match. */
  logged(pattern) {
    return this.logs.filter((line) => pattern.test(line));
  }

  logTail(lines = 15) {
    return this.logs.slice(-lines).join("\n");
  }

  /** Stops everything; fails if Caddy exits with an error or has logged a panic. */
  async close() {
    for (const socket of this.#sockets) socket.disconnect();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const { code, signal } = await this.signal("SIGTERM");
      assert.deepEqual({ code, signal }, { code: 0, signal: null }, this.logTail());
    }
    assert.deepEqual(this.logged(/panic|DATA RACE/), [], this.logTail(60));
    this.remove();
  }

  remove() {
    rmSync(this.dir, { recursive: true, force: true });
  }

  #check(method, url, body, answer) {
    if (url.origin === this.adminOrigin) check("admin", { method, url, body }, answer);
    if (url.origin === this.origin) check("site", { method, url, body }, answer);
  }

  #ca() {
    return readFileSync(this.rootCertificate);
  }
}

/** The client's CommonJS build loads in a third of the time; only files with sockets need it. */
function stockClient() {
  return require("socket.io-client").io;
}

/** Returns an empty response if nothing listens yet. */
function notYet(err) {
  if (err.code && err.code !== "ERR_ASSERTION") return {};
  throw err;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
