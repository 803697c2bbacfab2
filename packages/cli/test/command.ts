/**
 * Runs the built command as a process: `bin/tidemark.js`, with everything it prints, its exit code or the signal that ended it.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const BIN = path.join(PACKAGE, 'bin/tidemark.js');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** The first line on stdout; fails if the command ends without one. */
  readonly firstLine: Promise<string>;
  readonly ended: Promise<Ended>;
}

/** Starts it. */
export function start(words: readonly string[], env: Record<string, string> = {}): Running {
  return watch(launch(words, env, ['ignore', 'pipe', 'pipe']));
}

/** Runs it with one stream on a disk that is full. */
export async function toFullDisk(stream: 'stdout' | 'stderr', words: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const full = fs.openSync('/dev/full', 'w');
  try {
    return await watch(launch(words, env, stream === 'stdout' ? ['ignore', full, 'pipe'] : ['ignore', 'pipe', full])).ended;
  } finally {
    fs.closeSync(full);
  }
}

function launch(words: readonly string[], env: Record<string, string>, stdio: StdioOptions): ChildProcess {
  if (!fs.existsSync(path.join(PACKAGE, 'dist/main.js'))) throw new Error('these tests run the built command: npm run build first');
  return spawn(process.execPath, [BIN, ...words], { stdio, env: { ...process.env, ...env } });
}

function watch(child: ChildProcess): Running {
  let stdout = '';
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const ended = new Promise<Ended>((resolve) => child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr })));
  const firstLine = new Promise<string>((resolve, reject) => {
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      if (stdout.includes('\n')) resolve(stdout.slice(0, stdout.indexOf('\n')));
    });
    ended.then(({ stderr }) => reject(new Error(`ended without a line: ${stderr}`)));
  });
  firstLine.catch(() => {}); // who does not ask for it is not told
  return { child, firstLine, ended };
}

/** Runs it to its end. */
export function run(...words: string[]): Promise<Ended> {
  return start(words).ended;
}
