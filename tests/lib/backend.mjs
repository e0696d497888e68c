// An app with keys of every kind, and a backend that signs tokens for it, good ones and
// those that must be refused.
import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import jwt from "jsonwebtoken";

export const now = () => Math.floor(Date.now() / 1000);

/** The exp of a token that is let in within the leeway of 30 s, and ends 25 s after its exp. */
export const nearlyOver = () => now() - 15;

export class Backend {
  /** Creates an app with these rules (null: the default ones) and its signing keys. */
  static async start(caddy, rules = null) {
    const backend = new Backend();
    backend.caddy = caddy;
    backend.app = await caddy.app(`app ${randomUUID().slice(0, 8)}`);
    if (rules) await backend.setRules(rules);
    backend.key = await backend.addKey();
    return backend;
  }

  async setRules(rules) {
    this.rules = rules;
    await this.#patch({ channels: rules });
  }

  disable() {
    return this.#patch({ enabled: false });
  }

  /** Disconnects a socket, as an operator can. */
  async disconnect(socket) {
    const { status, text } = await this.caddy.admin("DELETE", `/realtime/connections/${this.app.id}/${socket}`);
    assert.equal(status, 204, text);
  }

  async #patch(fields) {
    const answer = await this.caddy.admin("PATCH", `/realtime/apps/${this.app.id}`, fields);
    assert.equal(answer.status, 200, answer.text);
  }

  /** Adds a signing key, by default. */
  async addKey(body = { kind: "sign" }) {
    const answer = await this.caddy.admin("POST", `/realtime/keys/${this.app.id}`, body);
    assert.equal(answer.status, 201, answer.text);
    return answer.json;
  }

  async revoke({ id }) {
    const { status, text } = await this.caddy.admin("DELETE", `/realtime/keys/${this.app.id}/${id}`);
    assert.equal(status, 204, text);
  }

  /** Revokes the tokens that a user has by now. */
  async revokeUser(user) {
    const { status, text } = await this.caddy.admin("POST", `/realtime/users/${this.app.id}/${user}/revoke`);
    assert.ok(status >= 200 && status < 300, `${status} ${text}`);
  }

  /** Disconnects a user, whose tokens stay valid. */
  async disconnectUser(user) {
    const { status, text } = await this.caddy.admin("DELETE", `/realtime/users/${this.app.id}/${user}/connections`);
    assert.equal(status, 200, text);
  }

  /** Revokes the key with which subscribers of the app connect. */
  async revokeSubscribeKey() {
    const { json } = await this.caddy.admin("GET", `/realtime/apps/${this.app.id}`);
    await this.revoke(json.keys.find(({ kind }) => kind === "subscribe"));
  }

  /** Signs a token with these claims, which is good for ten minutes. */
  sign(claims, { key = this.key, ...options } = {}) {
    return jwt.sign({ exp: now() + 600, ...claims }, key.key, { algorithm: "HS256", keyid: key.id, ...options });
  }

  /** The fields of auth of a credential of oracle.mjs. */
  auth({ key, whole }) {
    return { appId: this.app.id, ...(key && { subscribeKey: this.app.subscribe_key }), ...(whole && { token: this.tokenOf(whole) }) };
  }

  /** The text of a token of oracle.mjs, unless it has one. */
  tokenOf({ raw, user, channels, events = [], exp, key }) {
    const grants = channels && [...channels, ...events.map((match) => ({ match, client_events: true }))];
    return raw ?? this.sign({ ...(user && { sub: user }), ...(grants && { channels: grants }), ...(exp && { exp }) }, { key });
  }

  /** Tokens for a user and channels that must be refused: [{ what, raw, flaw }]. */
  async flawed(user, channels) {
    const claims = { sub: user, channels };
    const old = await this.addKey();
    const stranger = await Backend.start(this.caddy);
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = publicKey.export({ type: "spki", format: "pem" });
    const es = await this.addKey({ kind: "sign", public_key: pem });
    const kid = (key) => ({ keyid: key.id });
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = this.sign(claims);
    const [head, , signature] = signed.split(".");
    const tokens = [
      ["without a signature", jwt.sign({ exp: now() + 600, ...claims }, null, { algorithm: "none" })],
      ["without a signature, with a kid", jwt.sign({ exp: now() + 600, ...claims }, null, { algorithm: "none", ...kid(this.key) })],
      ["its signature taken away", `${signed.split(".").slice(0, 2).join(".")}.`],
      ["its claims replaced", [head, encode({ exp: now() + 600, ...claims, sub: "root" }), signature].join(".")],
      ["another app's key", stranger.sign(claims)],
      ["another app's key under a known kid", stranger.sign(claims, kid(this.key))],
      ["an unknown kid", this.sign(claims, { keyid: "key_unknown" })],
      ["the publish key as the secret", jwt.sign({ exp: now() + 600, ...claims }, this.app.publish_key)],
      ["the public key as the secret", jwt.sign({ exp: now() + 600, ...claims }, pem, { algorithm: "HS256", ...kid(es) })],
      ["another private key", jwt.sign({ exp: now() + 600, ...claims }, generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey, { algorithm: "ES256", ...kid(es) })],
      ["another algorithm", jwt.sign({ exp: now() + 600, ...claims }, this.key.key, { algorithm: "HS512", ...kid(this.key) })],
      ["no exp", jwt.sign(claims, this.key.key, kid(this.key))],
      ["exp two days ahead", this.sign({ ...claims, exp: now() + 2 * 86_400 })],
      ["not valid yet", this.sign({ ...claims, nbf: now() + 120 })],
      ["a * in the middle", this.sign({ ...claims, channels: ["orders.*.1"] })],
      ["an empty user", this.sign({ ...claims, sub: "" })],
      ["no token", "sub_live_x"],
      ["a revoked signing key", this.sign(claims, { key: old })],
    ].map(([what, raw]) => ({ what, raw, flaw: "invalid_token" }));
    tokens.push({ what: "expired", raw: this.sign({ ...claims, exp: now() - 60 }), flaw: "token_expired" });
    tokens.push({ what: "a revoked user", raw: this.sign({ ...claims, sub: "gone" }), user: "gone", flaw: "token_revoked" });
    await this.revokeUser("gone");
    await this.revoke(old);
    const good = this.caddy.socket(this.app, { auth: { appId: this.app.id, token: jwt.sign({ exp: now() + 600 }, privateKey, { algorithm: "ES256", ...kid(es) }) } });
    await new Promise((resolve, reject) => good.on("connect", resolve).on("connect_error", reject)); // the public key is known
    good.disconnect();
    return tokens.map((token) => ({ user, channels, ...token }));
  }
}
