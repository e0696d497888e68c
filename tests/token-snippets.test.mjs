// The code in docs/tokens.md signs tokens that the gateway takes from a stock client.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Caddy, root } from "./lib/caddy.mjs";
import { Laravel } from "./lib/laravel.mjs";
import { Program } from "./lib/process.mjs";
import { once } from "./lib/wait.mjs";

const page = readFileSync(join(root, "docs/tokens.md"), "utf8");

/** The block of a language below a heading. */
function snippet(heading, language, level = "###") {
  const section = page.split(`\n${level} ${heading}\n`)[1]?.split(/\n##+ /)[0];
  const block = section?.match(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, "m"));
  assert.ok(block, `docs/tokens.md has no ${language} below ${heading}`);
  return block[1];
}

describe("the snippets of docs/tokens.md", () => {
  let caddy, app, dir, env;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "realtime-"));
    caddy = await Caddy.start();
    app = await caddy.app();
    app.signing_key = await caddy.signingKey(app);
    env = { ...process.env, REALTIME_SIGNING_KEY: app.signing_key };
  });
  after(async () => {
    await caddy?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Runs a program that prints a token of user 42. */
  async function minted(program, args, options) {
    const signer = new Program(program, args, { env, ...options });
    assert.equal(await signer.exited, 0, signer.output);
    assert.match(signer.output, /^[\w-]+\.[\w-]+\.[\w-]+\n?$/);
    return signer.output.trim();
  }

  /** Connects with auth: the user's channel is open with these options, another user's is not. */
  async function opens(auth, options = []) {
    const socket = caddy.socket(app, { auth: { appId: app.id, ...auth } });
    await once(socket, "connect");
    const subscribe = (channel) => socket.timeout(15_000).emitWithAck("subscribe", channel, ...options);
    assert.deepEqual(await subscribe("private-user.42"), { channel: "private-user.42" });
    assert.equal((await subscribe("private-user.43")).error?.code, "channel_forbidden");
    const heard = once(socket, "order.updated");
    await caddy.published(app, { channel: "private-user.42", event: "order.updated", data: { id: 42 } });
    assert.deepEqual(await heard, [{ id: 42 }]);
    return socket;
  }

  const languages = {
    Node: () =>
      minted(process.execPath, ["--input-type=module", "-"], {
        input: `${snippet("Node", "js")}\nconsole.log(realtimeToken({ id: 42, name: "Žofie" }));`,
        cwd: fileURLToPath(new URL(".", import.meta.url)), // where imports are found
      }),
    PHP: () => minted("php", ["-n"], { input: `<?php\n${snippet("PHP", "php")}\necho realtimeToken('42', 'Žofie');` }),
    Python: () => minted("/usr/bin/python3", ["-"], { input: `${snippet("Python", "python")}\nprint(realtime_token(42, "Žofie"))` }),
    Go: () => {
      const [, imports, code] = snippet("Go", "go").match(/^(import \([^)]*\))([^]*)$/);
      const file = join(dir, "main.go");
      writeFileSync(file, `package main\n\nimport "fmt"\n\n${imports}\n${code}\nfunc main() {\n\ttoken, err := RealtimeToken("42", "Žofie")\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tfmt.Println(token)\n}\n`);
      return minted("go", ["run", file], { cwd: root }); // which requires golang-jwt
    },
  };
  for (const [language, mint] of Object.entries(languages)) {
    test(`a token from ${language} opens its user's channel`, async () => {
      const token = await mint();
      const socket = await opens({ token });
      // The user, too, is who presence shows.
      const rule = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: [{ match: "private-*", access: "token", presence: true }] });
      assert.equal(rule.status, 200, rule.text);
      const { presence } = await socket.timeout(15_000).emitWithAck("subscribe", "private-user.42");
      assert.deepEqual(presence.members, [{ id: "42", info: { name: "Žofie" }, sockets: 1 }]);
      socket.disconnect();
      const reset = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: null });
      assert.equal(reset.status, 200, reset.text);
    });
  }

  test("a token from Laravel opens its user's channel", async () => {
    const channels = join(dir, "channels.php");
    writeFileSync(channels, `<?php\n${snippet("Laravel", "php")}`);
    const laravel = await Laravel.start(caddy, app, { LARAVEL_CHANNELS: channels });
    try {
      const headers = await laravel.login(42);
      const token = await laravel.tokenFor("private-user.42", headers);
      await opens({ subscribeKey: app.subscribe_key }, [{ token }]);
      assert.equal((await laravel.post("/broadcasting/auth", headers, { channel_name: "private-user.43" })).status, 403);
    } finally {
      await laravel.close();
    }
  });

  test("TokenSigner signs without Laravel, and says what it cannot sign", async () => {
    const file = join(root, "examples/laravel/TokenSigner.php");
    const [call] = readFileSync(join(root, "examples/laravel/README.md"), "utf8").match(/\(new App\\Realtime\\TokenSigner\(getenv[^`]*(?=`)/);
    const php = (code) => ["php", ["-n", "-r", `require '${file}'; ${code}`]];
    (await opens({ token: await minted(...php(`echo ${call};`)) })).disconnect();

    for (const [args, message] of [
      ["''", /REALTIME_SIGNING_KEY must be a signing key of the app/],
      ["'pk_live_x'", /REALTIME_SIGNING_KEY must be a signing key of the app/],
      ["\"sign_live_x\\n\"", /REALTIME_SIGNING_KEY must be a signing key of the app/],
      ["'sign_live_x', 0", /A token cannot live for 0 seconds\. Set token_life/],
      ["'sign_live_x', 86401", /A token cannot live for 86401 seconds\. Set token_life/],
    ]) {
      const bad = new Program(...php(`try { (new App\\Realtime\\TokenSigner(${args}))->sign('42', []); } catch (InvalidArgumentException $e) { echo $e->getMessage(); }`));
      assert.equal(await bad.exited, 0, bad.output);
      assert.match(bad.output, message);
    }
  });

  test("a page gets its token from the backend at each connect", async () => {
    const token = await languages.Node();
    const code = snippet("Give it to the client", "js", "##").replace("https://example.com", caddy.origin).replace("YOUR_APP_ID", app.id);
    const client = new Program(process.execPath, ["--input-type=module", "-"], {
      input: `import { io } from "socket.io-client";
        let fetches = 0;
        globalThis.fetch = async (path) => Response.json(path === "/realtime-token" && ++fetches && { token: "${token}" });
        ${code}
        socket.on("subscribed", ({ channel }) => {
          console.log(channel, fetches);
          if (fetches === 1) socket.io.engine.close();
        });`,
      cwd: fileURLToPath(new URL(".", import.meta.url)),
    });
    try {
      await client.prints(/^private-user\.42 1\nprivate-user\.42 2$/m);
    } finally {
      await client.stop("SIGKILL");
    }
  });
});
