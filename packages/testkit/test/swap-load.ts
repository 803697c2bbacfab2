/**
 * The load of T2 and T5: tasks that write, read and rewrite pages of buffers several times as large as memory. Every byte that comes back
 * is compared; an operation may fail only with an error that the scenario allows, and then says nothing about that page any more.
 */
import { isKernelError, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import { Random, type Step, type World } from '@tidemark/testkit';

export interface SwapLoad {
  readonly nrTasks: number;
  readonly pagesPerTask: number;
  /** Operations of each task after it has filled its buffer. */
  readonly nrOperations: number;
  /** Codes of errors that are an answer too. */
  readonly allowed?: readonly string[];
}

const SECTOR_WORDS = 128;
/** Bytes to cut pages from. */
const TABLE = new Uint8Array(16 * PAGE_SIZE);
new Random(1).fill(TABLE);

/** A page whose every sector says where it belongs and of which version it is. */
function fillPage(words: Uint32Array, bytes: Uint8Array, tag: number): void {
  const from = Math.imul(tag, 0x9e3779b1) >>> 17; // below 32 Ki
  bytes.set(TABLE.subarray(from, from + PAGE_SIZE));
  for (let i = 0; i < words.length; i += SECTOR_WORDS) words[i] = tag + i;
}

/** A page came back with other bytes than were written. */
export class WrongBytes extends Error {}

/** What the load came to. */
export interface LoadResult {
  readonly nrErrors: number;
}

export async function runSwapLoad(world: World, kernel: Kernel, load: SwapLoad): Promise<LoadResult> {
  let nrErrors = 0;
  const allow = (error: unknown): void => {
    if (!isKernelError(error) || !(load.allowed ?? []).includes(error.code)) throw error;
    nrErrors++;
    world.trace.addText(error.code);
  };
  const task = async (nr: number, step: Step): Promise<void> => {
    const random = world.randomOf(`task ${nr}`);
    let buffer: PagedBuffer;
    try {
      buffer = await PagedBuffer.create(kernel, { name: `task ${nr}`, sizeBytes: load.pagesPerTask * PAGE_SIZE });
    } catch (error) {
      allow(error);
      return;
    }
    const versions = new Int32Array(load.pagesPerTask); // -1: a failed operation has left it unknown
    const words = new Uint32Array(PAGE_SIZE / 4);
    const bytes = new Uint8Array(words.buffer);
    const wantedWords = new Uint32Array(PAGE_SIZE / 4);
    const wanted = new Uint8Array(wantedWords.buffer);
    const tagOf = (index: number): number => (nr * 1000 + versions[index]) * 65536 + index;
    const write = async (index: number): Promise<void> => {
      const next = Math.abs(versions[index]) + 1;
      versions[index] = next;
      fillPage(words, bytes, tagOf(index));
      try {
        await buffer.write(index * PAGE_SIZE, bytes);
      } catch (error) {
        allow(error);
        versions[index] = -next;
      }
    };
    const read = async (index: number): Promise<void> => {
      bytes.fill(0xdd);
      try {
        await buffer.read(index * PAGE_SIZE, bytes);
      } catch (error) {
        allow(error);
        return;
      }
      if (versions[index] < 0) return;
      if (versions[index] === 0) wanted.fill(0);
      else fillPage(wantedWords, wanted, tagOf(index));
      if (Buffer.compare(bytes, wanted) !== 0) {
        const at = bytes.findIndex((byte, i) => byte !== wanted[i]);
        throw new WrongBytes(`page ${index} of task ${nr}: byte ${at} is ${bytes[at]}, not ${wanted[at]}`);
      }
    };
    const operation = async (index: number, writes: boolean): Promise<void> => {
      await (writes ? write(index) : read(index));
      world.progress();
      if (random.chance(0.2)) await step();
    };
    for (let index = 0; index < load.pagesPerTask; index++) await operation(index, true);
    for (let n = 0; n < load.nrOperations; n++) await operation(random.below(load.pagesPerTask), random.chance(0.3));
    for (let index = 0; index < load.pagesPerTask; index++) await operation(index, false);
    buffer.close();
  };
  await world.together(...Array.from({ length: load.nrTasks }, (_, nr) => (step: Step) => task(nr, step)));
  return { nrErrors };
}
