/** Runs the command within this process, from its sources: what it prints and its exit code. For the many lines that need no process. */
import { vi } from 'vitest';
import { main } from '../src/main.js';

export interface Answered {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Stands in for `write` of a stream; what comes is UTF-8. */
function collector(into: Buffer[]) {
  return (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    into.push(Buffer.from(chunk as string));
    const taken = rest.at(-1);
    if (typeof taken === 'function') taken();
    return true;
  };
}

/** Runs one line; one at a time. */
export async function runHere(...words: string[]): Promise<Answered> {
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(collector(stdout)),
    vi.spyOn(process.stderr, 'write').mockImplementation(collector(stderr)),
  ];
  try {
    const code = await main(words);
    return { code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
