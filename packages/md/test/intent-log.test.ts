/** The rules of the bitmap against a model that is as simple as they are written down, and coarse counters in place of denied memory. */
import { Gfp, Memory, TaskContext } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitmapBits } from '../src/bitmap/bits.js';
import { ChunkCounters, counterWords } from '../src/bitmap/chunk-counters.js';
import { IntentLog, NEEDED, RESYNC } from '../src/bitmap/intent-log.js';
import { bitmapPages, pageOfChunk } from '../src/format/bitmap-superblock.js';

const TASK = TaskContext.root('test');

interface Bed {
  readonly log: IntentLog;
  readonly memory: Memory;
  /** Counter frames that are out; none can be had while false. */
  readonly out: Set<number>;
  mayTake: boolean;
}

async function bed(nrChunks: number): Promise<Bed> {
  const memory = new Memory(256);
  const standing = await memory.allocStanding(TASK, 'bits', bitmapPages(nrChunks));
  const table = memory.allocFrameArray('table', counterWords(nrChunks), Gfp.STANDING);
  const made: Bed = { log: null as never, memory, out: new Set(), mayTake: true };
  const counters = new ChunkCounters(nrChunks, memory.arena, table, {
    take: () => {
      if (!made.mayTake) return -12;
      const pfn = memory.allocator.allocPage(TASK, Gfp.SLAB | Gfp.ZERO);
      made.out.add(pfn);
      return pfn;
    },
    give: (pfn) => {
      expect(made.out.delete(pfn)).toBe(true);
      memory.allocator.freePage(pfn);
    },
  });
  return Object.assign(made, { log: new IntentLog(new BitmapBits(nrChunks, standing), counters) });
}

/** A chunk as M17 has it. */
interface ModelChunk {
  value: number;
  needed: boolean;
  resync: boolean;
  bit: boolean;
}

class Model {
  readonly chunks: ModelChunk[];
  readonly writes: { first: number; last: number }[] = [];
  eventsCleared = 0n;
  isDue = false;

  constructor(nr: number) {
    this.chunks = Array.from({ length: nr }, () => ({ value: 0, needed: false, resync: false, bit: false }));
  }

  start(first: number, last: number): void {
    for (const chunk of this.chunks.slice(first, last + 1)) {
      if (chunk.value === 0) chunk.bit = true;
      chunk.value = Math.max(chunk.value, 2) + 1;
    }
    this.writes.push({ first, last });
  }

  end(at: number, isEverywhere: boolean, events: bigint): void {
    const [{ first, last }] = this.writes.splice(at, 1);
    if (isEverywhere && this.eventsCleared < events) {
      this.eventsCleared = events;
      this.isDue = true;
    }
    for (const chunk of this.chunks.slice(first, last + 1)) {
      chunk.value--;
      if (!isEverywhere) chunk.needed = true;
    }
  }

  step(): void {
    for (const chunk of this.chunks) {
      if (chunk.needed || chunk.resync) continue;
      if (chunk.value === 1 && !this.isDue) Object.assign(chunk, { value: 0, bit: false });
      else if (chunk.value === 1 || chunk.value === 2) chunk.value = 1;
    }
  }
}

type Step =
  | { kind: 'start'; first: number; length: number }
  | { kind: 'end'; pick: number; isEverywhere: boolean; events: number }
  | { kind: 'step' }
  | { kind: 'stored' }
  | { kind: 'sync'; chunk: number; willBeHealthy: boolean; isDone: boolean };

const NR_CHUNKS = 6000;
/** Chunks at the seams of groups, of halves of them, and of pages. */
const CHUNK = fc.oneof(
  fc.nat(5),
  fc.integer({ min: 1020, max: 1028 }),
  fc.integer({ min: 2044, max: 2052 }),
  fc.integer({ min: 5990, max: 5999 }),
);
const STEP: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('start' as const), first: CHUNK, length: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant('end' as const), pick: fc.nat(), isEverywhere: fc.boolean(), events: fc.nat(5) }),
  fc.record({ kind: fc.constant('step' as const) }),
  fc.record({ kind: fc.constant('stored' as const) }),
  fc.record({ kind: fc.constant('sync' as const), chunk: CHUNK, willBeHealthy: fc.boolean(), isDone: fc.boolean() }),
);

describe('the rules of the bitmap', () => {
  it('are those of the model', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(STEP, { maxLength: 60 }), async (steps) => {
        const { log, out } = await bed(NR_CHUNKS);
        const model = new Model(NR_CHUNKS);
        for (const step of steps) {
          if (step.kind === 'start') {
            const last = Math.min(step.first + step.length, NR_CHUNKS) - 1;
            model.start(step.first, last);
            log.startWrite(step.first, last);
          } else if (step.kind === 'end' && model.writes.length > 0) {
            const at = step.pick % model.writes.length;
            const { first, last } = model.writes[at];
            model.end(at, step.isEverywhere, BigInt(step.events));
            log.endWrite(first, last, step.isEverywhere, BigInt(step.events));
          } else if (step.kind === 'step') {
            model.step();
            log.step();
          } else if (step.kind === 'stored') {
            model.isDue = false;
            log.isSuperblockDue = false;
          } else if (step.kind === 'sync') {
            const chunk = model.chunks[step.chunk];
            expect(log.startSync(step.chunk, step.willBeHealthy)).toBe(chunk.needed || chunk.resync);
            if (chunk.needed && step.willBeHealthy) Object.assign(chunk, { needed: false, resync: true });
            log.endSync(step.chunk, step.isDone);
            if (chunk.resync) Object.assign(chunk, { resync: false, needed: chunk.needed || !step.isDone });
          }
          expect(log.eventsCleared).toBe(model.eventsCleared);
          expect(log.isSuperblockDue).toBe(model.isDue);
          for (const [i, { value, needed, resync, bit }] of model.chunks.entries()) {
            if (value === 0 && !bit && !log.bits.test(i) && log.counters.get(i) === 0) continue;
            expect(log.counters.get(i), `chunk ${i}`).toBe(value + (needed ? NEEDED : 0) + (resync ? RESYNC : 0));
            expect(log.bits.test(i), `bit ${i}`).toBe(bit);
          }
        }
        const groups = new Set(model.chunks.flatMap(({ value }, i) => (value > 0 ? [i >> 11] : [])));
        expect(out.size).toBe(groups.size);
      }),
      { numRuns: 300 },
    );
  });

  it('count coarsely when memory is denied: never less than the model knows, all of it cleared in the end, and finely again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(STEP, fc.boolean()), { maxLength: 60 }), async (steps) => {
        const made = await bed(NR_CHUNKS);
        const { log } = made;
        const model = new Model(NR_CHUNKS);
        for (const [step, mayTake] of steps) {
          made.mayTake = mayTake;
          if (step.kind === 'start') {
            const last = Math.min(step.first + step.length, NR_CHUNKS) - 1;
            model.start(step.first, last);
            log.startWrite(step.first, last);
          } else if (step.kind === 'end' && model.writes.length > 0) {
            const { first, last } = model.writes[step.pick % model.writes.length];
            model.end(step.pick % model.writes.length, true, 1n);
            log.endWrite(first, last, true, 1n);
          } else if (step.kind === 'step') {
            log.isSuperblockDue = false;
            model.isDue = false;
            model.step();
            log.step();
          }
          for (const { first, last } of model.writes) for (let i = first; i <= last; i++) expect(log.bits.test(i)).toBe(true);
          for (const [i, { bit }] of model.chunks.entries()) if (bit && !log.bits.test(i)) expect.fail(`bit ${i} is clear too early`);
        }
        made.mayTake = true;
        for (const { first, last } of model.writes.splice(0)) log.endWrite(first, last, true, 1n);
        log.isSuperblockDue = false;
        for (let n = 0; n < 4; n++) log.step();
        expect([log.bits.nrSet, log.counters.nrCoarse, made.out.size]).toEqual([0, 0, 0]);
        log.startWrite(3, 3);
        expect([log.bits.nrSet, log.counters.nrCoarse]).toEqual([1, 0]);
      }),
      { numRuns: 300 },
    );
  });

  it('takes what is stored: bits are 2, needed from where members may differ on', async () => {
    const { log } = await bed(100);
    log.bits.set(10, 12);
    log.bits.set(50, 51);
    log.load(11);
    expect([10, 11, 12, 50].map((chunk) => log.counters.get(chunk))).toEqual([2, 2 | NEEDED, 0, 2 | NEEDED]);
    expect(log.nrNeeded).toBe(2);
    log.step();
    log.step();
    expect([10, 11, 50].map((chunk) => log.bits.test(chunk))).toEqual([false, true, true]);
  });

  it('has the bit of chunk i on page (i + 2048) >> 15', () => {
    for (const chunk of [0, 30_719, 30_720, 63_487, 63_488]) expect(pageOfChunk(chunk)).toBe((chunk + 2048) >> 15);
  });
});
