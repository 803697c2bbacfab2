/**
 * Traces of page references, to judge replacement policies by: recorded ones are read from text, made ones come from a seed.
 *
 * A trace is numbers of blocks, renumbered from 0 in the order in which they first come.
 */
import { Random } from '../time/random.js';

/** References, one after the other; the highest number is less than how many there are. */
export type Trace = Uint32Array;

/** Blocks as they were recorded, renumbered. */
export function renumbered(blocks: Iterable<number>): Trace {
  const ids = new Map<number, number>();
  const trace: number[] = [];
  for (const block of blocks) {
    let id = ids.get(block);
    if (id === undefined) {
      id = ids.size;
      ids.set(block, id);
    }
    trace.push(id);
  }
  return Uint32Array.from(trace);
}

/** A trace from text: a decimal block number a line; lines that are none, such as a simulator's marks, are no references. */
export function parseTrace(text: string): Trace {
  const lines = text.split('\n').map((line) => line.trim());
  return renumbered(lines.filter((line) => /^\d+$/.test(line)).map(Number));
}

/** Different blocks of a trace. */
export function nrBlocks(trace: Trace): number {
  let most = -1;
  for (const block of trace) if (block > most) most = block;
  return most + 1;
}

/** Round and round the same blocks. */
export function loopTrace(nrReferences: number, nrBlocksOfLoop: number): Trace {
  return Uint32Array.from({ length: nrReferences }, (_, i) => i % nrBlocksOfLoop);
}

/** Blocks by Zipf's law, from a seed. */
export function zipfTrace(seed: number, nrReferences: number, nrHot: number): Trace {
  const random = new Random(seed);
  return renumbered(Array.from({ length: nrReferences }, () => Math.floor(nrHot ** random.next())));
}

/** A mix from a seed: a hot set by Zipf's law, a loop, and scans of what never comes back. */
export function mixedTrace(seed: number, nrReferences: number): Trace {
  const random = new Random(seed);
  const blocks: number[] = [];
  let loop = 0;
  let scan = 1_000_000;
  while (blocks.length < nrReferences) {
    const dice = random.next();
    if (dice < 0.5) blocks.push(Math.floor(400 ** random.next()));
    else if (dice < 0.9) blocks.push(10_000 + (loop++ % 600));
    else for (let i = 0; i < 20; i++) blocks.push(scan++);
  }
  return renumbered(blocks.slice(0, nrReferences));
}
