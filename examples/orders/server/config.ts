// Settings from the environment. npm run setup writes them to .env.
function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: "npm run setup" writes it to .env`);
  return value;
}

export const config = {
  port: Number(process.env["ORDERS_PORT"] ?? 3000),

  /** The gateway's address for backends, as in the Caddyfile. */
  gateway: required("REALTIME_URL"),
  appId: required("REALTIME_APP_ID"),

  /** Publishes, and nothing else. */
  publishKey: required("REALTIME_PUBLISH_KEY"),

  /** Ends users' sockets and tokens, and cannot publish. */
  manageKey: required("REALTIME_MANAGE_KEY"),

  /** Signs tokens: anyone who has it can be any user. */
  signingKey: required("REALTIME_SIGNING_KEY"),
  signingKeyId: required("REALTIME_SIGNING_KEY_ID"),

  /**
   * How long a token lets in, in seconds: also one that is stolen, until its user logs
   * out. The page is told a minute before, and fetches the next one.
   */
  tokenLife: Number(process.env["ORDERS_TOKEN_LIFE"] ?? 300),
};
