// Loads openapi.yaml and checks the server's responses against it.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export const file = new URL("../../manage/openapi.yaml", import.meta.url);
export const spec = read(new URL("../../build/openapi.json", import.meta.url));

/**
 * Parses the document, or reads the JSON copy saved by another test file: parsing the
 * YAML takes a quarter of a second of CPU time per file.
 */
function read(copy) {
  const text = readFileSync(file, "utf8");
  const sha256 = createHash("sha256").update(text).digest("hex");
  try {
    const kept = JSON.parse(readFileSync(copy, "utf8"));
    if (kept.sha256 === sha256) return kept.spec;
  } catch {
    // The copy is missing or incomplete.
  }
  const { parse } = createRequire(import.meta.url)("yaml");
  const parsed = parse(text);
  const whole = new URL(`${copy}.${process.pid}`); // test files run in parallel: a copy gets its final name when it is complete
  mkdirSync(new URL(".", copy), { recursive: true });
  writeFileSync(whole, JSON.stringify({ sha256, spec: parsed }));
  renameSync(whole, copy);
  return parsed;
}

const methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/** Headers of HTTP, Caddy and CORS, which any response can have. */
const general = new Set(
  (
    "date server via connection keep-alive content-length content-type transfer-encoding alt-svc vary " +
    "access-control-allow-origin access-control-allow-credentials access-control-expose-headers"
  ).split(" "),
);

const ajv = new Ajv({ allErrors: true, strictTypes: false });
addFormats(ajv);
ajv.addVocabulary(Object.keys(spec)); // the whole document is added as a schema, so its own keys must be known keywords
ajv.addSchema(spec, "spec");

const escape = (part) => String(part).replaceAll("~", "~0").replaceAll("/", "~1");
const unescape = (part) => part.replaceAll("~1", "/").replaceAll("~0", "~");

/** Resolves a pointer, following references, to its node and the pointer of that node. */
export function find(pointer, ...parts) {
  pointer = [pointer, ...parts.map(escape)].join("/");
  let node = spec;
  for (const part of pointer.split("/").slice(1)) node = node?.[unescape(part)];
  return node?.$ref ? find(node.$ref) : { node, pointer };
}

/** Fails unless a value matches the schema at a pointer. */
function holds(pointer, value, what) {
  const wrong = lacks(pointer, value);
  assert.ok(wrong === undefined, `${what} is not as the document says: ${wrong}`);
}

const validators = new Map();

/** Describes how a value violates the schema at a pointer; undefined if it does not. */
export function lacks(pointer, value) {
  if (!validators.has(pointer)) {
    const fragment = pointer.slice(1).split("/").map(encodeURIComponent).join("/");
    validators.set(pointer, ajv.compile({ $ref: `spec#${fragment}` }));
  }
  const validate = validators.get(pointer);
  return validate(value) ? undefined : ajv.errorsText(validate.errors, { dataVar: "" });
}

const paths = Object.keys(spec.paths).map((path) => {
  // A channel name can contain slashes.
  const pattern = path.replaceAll(".", "\\.").replace("{channel}", ".*").replace(/\{\w+\}/g, "[^/]+");
  return { path, pattern: new RegExp(`^${pattern}$`) };
});

/** All operations: the name, for example "GET /realtime/apps", and the location. */
export const operations = paths.flatMap(({ path }) =>
  methods
    .filter((method) => spec.paths[path][method])
    .map((method) => ({ name: `${method.toUpperCase()} ${path}`, method: method.toUpperCase(), path, ...find("#/paths", path, method) })),
);

/** The codes that a response schema allows: "Caddy" for Caddy's own errors, "" for none. */
function codesOf(pointer) {
  const schema = pointer.split("/").slice(1).reduce((node, part) => node[unescape(part)], spec);
  if (schema.anyOf) return schema.anyOf.flatMap((_, i) => codesOf(`${pointer}/anyOf/${i}`));
  if (schema.$ref?.endsWith("/CaddyError")) return ["Caddy"];
  return schema.properties?.error?.properties?.code?.enum ?? [""];
}

/** All documented responses, as "<operation> <status> <code>". */
export function documented() {
  return operations.flatMap(({ name, node, pointer }) =>
    Object.keys(node.responses).flatMap((status) => {
      const response = find(pointer, "responses", status);
      const codes = response.node.content?.["application/json"] ? codesOf(`${response.pointer}/content/application~1json/schema`) : [""];
      return codes.map((code) => `${name} ${status} ${code}`.trim());
    }),
  );
}

/** The responses seen so far, in the same format. */
export const seen = new Set();

/** The parameters of an operation, in the path, the query and the headers. */
export const parametersOf = ({ path, pointer, node }) => [
  ...(spec.paths[path].parameters ?? []).map((_, i) => find("#/paths", path, "parameters", i)),
  ...(node.parameters ?? []).map((_, i) => find(pointer, "parameters", i)),
];

/**
 * Fails if a response does not match the document. surface is "site" or "admin". For a
 * stream, which has no text, it checks only the headers.
 */
export function check(surface, { method, url, body }, answer) {
  const { pathname, searchParams } = new URL(url);
  const ours = surface === "admin" ? pathname.startsWith("/realtime/") : pathname === "/publish";
  if (!ours) return;
  try {
    const route = paths.find(({ pattern }) => pattern.test(pathname));
    const wanted = method === "HEAD" ? "GET" : method;
    const operation = route && operations.find((each) => each.path === route.path && each.method === wanted);
    const response = operation ? find(operation.pointer, "responses", answer.status) : undeclared(surface, route, answer);
    assert.ok(response?.node, `the status ${answer.status} is not in the document`);
    checkHeaders(response, answer);
    checkBody(response, method, answer);
    if (!operation) return;
    const code = method === "HEAD" || answer.status < 400 ? "" : (answer.json.error.code ?? "Caddy");
    seen.add(`${operation.name} ${answer.status} ${code}`.trim());
    if (answer.status < 300) checkRequest(operation, searchParams, body);
  } catch (err) {
    throw new Error(`openapi.yaml: ${method} ${pathname}: ${answer.status} ${answer.text ?? ""}\n${err.message}`, { cause: err });
  }
}

/** The response schema for a request that matches no operation. */
function undeclared(surface, route, answer) {
  const responses = route ? { 405: "MethodNotAllowed" } : { 404: "NotFound" };
  if (surface === "admin") Object.assign(responses, { 400: "Refused", 403: "Forbidden" });
  if (answer.status === 405) {
    const declared = operations.filter(({ path }) => path === route?.path).map(({ method }) => method);
    if (declared.includes("GET")) declared.push("HEAD");
    assert.deepEqual(answer.headers.allow?.split(", ").sort(), declared.sort(), "Allow");
  }
  if (surface === "site" && answer.status !== 405) return find("#/paths", "/publish", "options", "responses", answer.status);
  return responses[answer.status] && find("#/components/responses", responses[answer.status]);
}

function checkHeaders(response, { headers }) {
  const names = Object.keys(response.node.headers ?? {});
  for (const name of names) {
    const header = find(response.pointer, "headers", name);
    const text = headers[name.toLowerCase()];
    if (text === undefined) {
      assert.ok(!header.node.required, `there is no ${name}`);
      continue;
    }
    const value = header.node.schema.type === "integer" ? Number(text) : text;
    holds(`${header.pointer}/schema`, value, `the header ${name}: ${text}`);
  }
  const known = new Set([...general, ...names.map((name) => name.toLowerCase())]);
  assert.deepEqual(Object.keys(headers).filter((name) => !known.has(name)), [], "headers that are not in the document");
}

function checkBody(response, method, { headers, text, json }) {
  const { content } = response.node;
  if (!content) {
    assert.equal(text ?? "", "", "a body");
    return;
  }
  const type = headers["content-type"];
  assert.ok(content[type], `the media type ${type}`);
  if (method === "HEAD") assert.equal(text, "", "a body");
  if (method === "HEAD" || text === undefined) return;
  const value = type === "application/json" ? json : text;
  holds([response.pointer, "content", escape(type), "schema"].join("/"), value, "the body");
}

export const bodySchema = ({ pointer }) => `${pointer}/requestBody/content/application~1json/schema`;

/** Fails if the server accepted a request that the document does not allow. */
function checkRequest(operation, query, body) {
  const parameters = parametersOf(operation);
  for (const [name, text] of query) {
    const parameter = parameters.find(({ node }) => node.in === "query" && node.name === name);
    assert.ok(parameter, `the parameter ${name} is not in the document`);
    const value = parameter.node.schema.type === "integer" ? Number(text) : text;
    holds(`${parameter.pointer}/schema`, value, `the accepted parameter ${name}=${text}`);
  }
  if (!operation.node.requestBody) return;
  holds(bodySchema(operation), JSON.parse(body), `the accepted body ${body}`);
}

/** Fails if an event of the live stream does not match the document. */
export function checkEvent(kind, data) {
  const { node, pointer } = find("#/paths", "/realtime/live/{app}", "get", "responses", "200", "content", "text/event-stream", "x-events");
  assert.ok(node[kind], `openapi.yaml: the event ${kind} is not in the document`);
  holds(find(pointer, kind).pointer, data, `openapi.yaml: the event ${kind} ${JSON.stringify(data)}`);
  seen.add(`event ${kind}`);
}
