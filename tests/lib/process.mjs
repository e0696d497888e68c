// A program that runs alongside a test, and its output so far.
import { spawn } from "node:child_process";
import { until } from "./wait.mjs";

export class Program {
  output = "";

  constructor(file, args, { input, ...options } = {}) {
    this.child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (chunk) => (this.output += chunk));
    this.exited = new Promise((resolve) => this.child.on("close", resolve));
    this.child.stdin.end(input);
  }

  /** Waits until the output matches. */
  async prints(pattern, timeout) {
    try {
      return await until(`prints ${pattern}`, () => this.output.match(pattern), timeout);
    } catch (err) {
      err.message += `; it printed:\n${this.output}`;
      throw err;
    }
  }

  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    return this.exited;
  }
}
