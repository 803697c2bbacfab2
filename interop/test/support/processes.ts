/**
 * Processes of the tests: each leads a group of its own, so that ending it ends whatever it started, and none outlives its test file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { afterAll } from 'vitest';

/** How a process ended, and what it printed. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const RUN_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
/** What a process may print before the rest is dropped. */
const OUTPUT_MAX_CHARACTERS = 1 << 20;

const running = new Set<RunningProcess>();
process.on('exit', () => {
  for (const each of running) each.signalGroup('SIGKILL');
});
afterAll(() => Promise.all([...running].map((each) => each.kill())));

/** A process that is running, or was. */
export class RunningProcess {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  #isOver = false;

  /** @param input what it reads on stdin; null leaves that open for `write`. */
  constructor(
    readonly command: string,
    words: readonly string[],
    input?: string | null,
  ) {
    const child = spawn(command, words, { detached: true, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
    this.#child = child;
    running.add(this);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout = (this.#stdout + text).slice(0, OUTPUT_MAX_CHARACTERS);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(0, OUTPUT_MAX_CHARACTERS);
    });
    child.stdin?.on('error', () => {}); // it ended before it had read everything
    if (typeof input === 'string') child.stdin?.end(input);
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        this.#isOver = true;
        running.delete(this);
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
    this.ended.catch(() => running.delete(this));
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** What it has printed so far. */
  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** More for its stdin. */
  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  signalGroup(signal: NodeJS.Signals): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, signal);
    } catch {
      // the group is gone already
    }
  }

  /** Ends it and everything it started, at once. */
  async kill(): Promise<Ended> {
    this.signalGroup('SIGKILL');
    return this.ended;
  }

  /** Asks it to end; ends it if it does not. */
  async stop(): Promise<Ended> {
    const timer = setTimeout(() => this.signalGroup('SIGKILL'), STOP_TIMEOUT_MS);
    this.signalGroup('SIGTERM');
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Runs a command to its end, or for `timeoutMs` at most: then it counts as killed. */
export async function run(command: string, words: readonly string[], options: { input?: string; timeoutMs?: number } = {}): Promise<Ended> {
  const started = new RunningProcess(command, words, options.input);
  const timer = setTimeout(() => started.signalGroup('SIGKILL'), options.timeoutMs ?? RUN_TIMEOUT_MS);
  try {
    return await started.ended;
  } finally {
    clearTimeout(timer);
  }
}

/** As `run`, for a command that must succeed. @returns what it printed on stdout. */
export async function succeed(
  command: string,
  words: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<string> {
  const { code, signal, stdout, stderr } = await run(command, words, options);
  if (code !== 0) throw new Error(`${command} ${words.join(' ')}\nended with ${code ?? signal}\n${stdout}\n${stderr}`);
  return stdout;
}

/** Waits until `holds`, looking every few milliseconds. @throws Error saying what was waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
