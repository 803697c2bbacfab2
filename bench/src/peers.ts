/** Programs that benchmarks start: peers, and our own server. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Our command, as built. */
export const TIDEMARK = fileURLToPath(new URL('../../packages/cli/bin/tidemark.js', import.meta.url));

/** The first line of `command --version`, or null if it is not installed. */
export async function versionOf(command: string): Promise<string | null> {
  try {
    const { stdout } = await run(command, ['--version']);
    return stdout.split('\n', 1)[0].trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw cause;
  }
}

/** What a program writes to stdout. Throws if it fails. */
export async function outputOf(command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(command, args, { maxBuffer: 2 ** 26 });
  return stdout;
}

/** A server that listens on a unix socket. */
export class Server {
  readonly #child: ChildProcess;
  readonly #socket: string;

  private constructor(child: ChildProcess, socket: string) {
    this.#child = child;
    this.#socket = socket;
  }

  /** Starts it and waits until its socket is there. */
  static async start(command: string, args: readonly string[], socket: string): Promise<Server> {
    const child = spawn(command, args, { stdio: 'ignore' });
    const server = new Server(child, socket);
    for (let nrTries = 0; !fs.existsSync(socket); nrTries++) {
      if (nrTries === 500 || child.exitCode !== null) {
        await server.stop();
        throw new Error(`${path.basename(command)} did not listen on ${socket}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return server;
  }

  get uri(): string {
    return `nbd+unix:///?socket=${this.#socket}`;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }
}
