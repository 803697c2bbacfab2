/**
 * The demo's job: one kernel with a small budget holds a working set many times as large, because it swaps over NBD to a server of its
 * own, on a real TCP socket, whose store is a temporary file.
 *
 *     PagedBuffer → page allocator, reclaim → swap area → nbd client → TCP → nbd server → file
 *
 *     load          every chunk in order; a SHA-256 of the source goes along
 *     random read   every chunk once, in random order, each compared with its source
 *     read in order one SHA-256 of everything, compared with the source's
 *
 * All buffers are made once, and the young generation of the JS heap keeps the size it starts with, so that the process needs the same
 * memory for any working set.
 */
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { setImmediate as afterIo } from 'node:timers/promises';
import v8 from 'node:v8';
import { Kernel, PAGE_SIZE, planLeast, type ReservePolicyName } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { nfs } from '@tidemark/fs-nfs';
import { nbd } from '@tidemark/nbd/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { JobFailed, onWayOut, Stalled } from '../outcome.js';
import type { Progress } from '../progress.js';
import { type StackName, startStack, withTemporaryFolder } from '../stack.js';
import { STALL_QUIET_MS, STALLED_SHUTDOWN_MS, stallOf } from '../stall.js';
import { describeStack } from '../stack-description.js';
import { besideOf } from './beside.js';
import { formatDemoPlan, useOf } from './plan.js';
import type { DemoReport } from './report.js';
import { CHUNK_BYTES, Source } from './source.js';

export interface DemoOptions {
  readonly stack: StackName;
  readonly memoryBytes: number;
  readonly workingSetBytes: number;
  /** Undefined: the running program if it is large enough. */
  readonly inputPath: string | undefined;
  readonly seed: number;
  readonly policy: ReservePolicyName;
}

/**
 * Runs it.
 * @throws KernelError for a budget that is too small, an input that cannot be read, a disk that is full.
 * @throws JobFailed if a byte is not what it was, or the kernel left something behind.
 * @throws Stalled if nothing moves for 70 s.
 */
export async function runDemo(options: DemoOptions, progress: Progress): Promise<DemoReport> {
  v8.setFlagsFromString('--semi-space-growth-factor=1');
  const beganMs = performance.now();
  const source = Source.open(options.inputPath, options.workingSetBytes, options.seed);
  const disarm = onWayOut(() => progress.stop());
  try {
    return await withTemporaryFolder((folder) => runIn(folder, options, source, progress, beganMs));
  } finally {
    disarm();
    progress.stop();
    source.close();
  }
}

async function runIn(folder: string, options: DemoOptions, source: Source, progress: Progress, beganMs: number): Promise<DemoReport> {
  const { stack, memoryBytes, workingSetBytes, policy } = options;
  const kernel = await Kernel.boot({
    memory: memoryBytes,
    plugins: [host, swap, nbd, ext3, nfs],
    name: 'demo',
    policy,
    watchdog: { quietMs: STALL_QUIET_MS },
  });
  const stall = stallOf(kernel);
  try {
    const chain = await startStack(kernel, stack, folder, workingSetBytes);
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: workingSetBytes });
    const smallestMemoryBytes = planLeast(describeStack(stack, workingSetBytes)).total * PAGE_SIZE;
    progress.say(formatDemoPlan(kernel.reserves.explain(), smallestMemoryBytes, folder));
    progress.say(describe(source, options.inputPath === undefined));
    let isOver = false;
    const working = work(kernel, buffer, source, progress).finally(() => {
      isOver = true;
    });
    const besides = chain === null ? null : besideOf(kernel, chain, plainBytesOf(workingSetBytes), () => isOver);
    const [measured, beside] = await Promise.race([Promise.all([working, besides]), stall]);
    const use = useOf(kernel, folder);
    buffer.close();
    const { leakedFrames, leakedTimers, problems } = await kernel.shutdown();
    if (leakedFrames + leakedTimers + problems.length > 0) {
      throw new JobFailed(`shutdown left ${leakedFrames} frames and ${leakedTimers} timers behind: ${problems.join('; ')}`);
    }
    const totalSeconds = (performance.now() - beganMs) / 1000;
    const isChecked = chain !== null && checkImage(chain.image);
    return {
      ...headOf(options, source),
      ...measured,
      ...use,
      beside,
      isChecked,
      smallestMemoryBytes,
      totalSeconds,
      peakRssBytes: peakRssBytes(),
    };
  } catch (error) {
    if (error instanceof Stalled) await kernel.shutdown({ timeoutMs: STALLED_SHUTDOWN_MS });
    throw error;
  } finally {
    await kernel.shutdown(); // a second call returns at once
  }
}

function describe(source: Source, isDefault: boolean): string {
  if (source.inputPath !== null) return `input: ${source.inputPath}`;
  return isDefault ? 'input: the running program is too small to be one; all data is derived' : 'input: none';
}

type Measured = Pick<
  DemoReport,
  | 'sha256'
  | 'loadSeconds'
  | 'randomReadSeconds'
  | 'sequentialReadSeconds'
  | 'throughputBytesPerSecond'
  | 'pagesSwappedOut'
  | 'pagesSwappedIn'
  | 'refaults'
  | 'metadataFrames'
  | 'peakFramesUsed'
  | 'memoryFrames'
>;

async function work(kernel: Kernel, buffer: PagedBuffer, source: Source, progress: Progress): Promise<Measured> {
  const got = new Uint8Array(CHUNK_BYTES);

  const expected = createHash('sha256');
  const loadSeconds = await phase(progress, 'load', source, null, async (index) => {
    const chunk = source.chunk(index);
    expected.update(chunk);
    const written = buffer.write(index * CHUNK_BYTES, chunk);
    checkLength('wrote', index, typeof written === 'number' ? written : await written, chunk.length);
  });

  const randomReadSeconds = await phase(progress, 'read at random', source, source.shuffledChunks(), async (index) => {
    const chunk = await readChunk(buffer, source, index, got);
    const want = source.chunk(index);
    if (Buffer.compare(chunk, want) !== 0) throw new JobFailed(mismatch(index, chunk, want));
  });

  const actual = createHash('sha256');
  const sequentialReadSeconds = await phase(progress, 'read in order', source, null, async (index) => {
    actual.update(await readChunk(buffer, source, index, got));
  });
  const sha256 = actual.digest('hex');
  const want = expected.digest('hex');
  if (sha256 !== want) throw new JobFailed(`SHA-256 of what was read is ${sha256}, of its source ${want}`);

  const vmstat = kernel.vmstat();
  const meminfo = kernel.meminfo();
  return {
    sha256,
    loadSeconds,
    randomReadSeconds,
    sequentialReadSeconds,
    throughputBytesPerSecond: Math.round((3 * source.sizeBytes) / (loadSeconds + randomReadSeconds + sequentialReadSeconds)),
    pagesSwappedOut: vmstat.pswpout,
    pagesSwappedIn: vmstat.pswpin,
    refaults: vmstat.workingset_refault_anon,
    metadataFrames: meminfo.slab + meminfo.standing,
    peakFramesUsed: kernel.memory.peakFramesUsed,
    memoryFrames: meminfo.memTotal,
  };
}

/** Does `work` for every chunk, in `order` or from first to last. @returns the seconds it took. */
async function phase(
  progress: Progress,
  name: string,
  source: Source,
  order: Uint32Array | null,
  work: (index: number) => Promise<void>,
): Promise<number> {
  const beganMs = performance.now();
  progress.begin(name, source.sizeBytes);
  for (let i = 0; i < source.nrChunks; i++) {
    await work(order === null ? i : order[i]);
    progress.advance(Math.min((i + 1) * CHUNK_BYTES, source.sizeBytes));
    await afterIo(); // signals and the bar get their turn even if nothing had to wait
  }
  progress.end();
  return (performance.now() - beganMs) / 1000;
}

async function readChunk(buffer: PagedBuffer, source: Source, index: number, into: Uint8Array): Promise<Uint8Array> {
  const length = Math.min(CHUNK_BYTES, source.sizeBytes - index * CHUNK_BYTES);
  const target = length === CHUNK_BYTES ? into : into.subarray(0, length);
  const read = buffer.read(index * CHUNK_BYTES, target);
  checkLength('read', index, typeof read === 'number' ? read : await read, length);
  return target;
}

function checkLength(verb: string, index: number, done: number, want: number): void {
  if (done !== want) throw new JobFailed(`${verb} ${done} of ${want} bytes at ${index * CHUNK_BYTES}`);
}

function mismatch(index: number, got: Uint8Array, want: Uint8Array): string {
  const at = got.findIndex((byte, i) => byte !== want[i]);
  return `byte ${index * CHUNK_BYTES + at} is ${got[at]}, its source has ${want[at]}`;
}

function headOf(options: DemoOptions, source: Source) {
  return {
    stack: options.stack,
    verified: true,
    memoryBytes: options.memoryBytes,
    workingSetBytes: source.sizeBytes,
    inputPath: source.inputPath,
    inputBytes: source.inputBytes,
    derivedBytes: source.sizeBytes - source.inputBytes,
    seed: options.seed,
    policy: options.policy,
  } as const;
}

/** Half of the working set, in whole chunks. */
function plainBytesOf(workingSetBytes: number): number {
  return Math.ceil(workingSetBytes / 2 / CHUNK_BYTES) * CHUNK_BYTES;
}

/** Has e2fsck look at the image. @returns false if it is not installed. @throws JobFailed with what it says. */
function checkImage(image: string): boolean {
  const { status, error, stdout } = spawnSync('e2fsck', ['-fn', image], {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  if (error !== undefined) return false;
  if (status !== 0) throw new JobFailed(`e2fsck -fn: ${stdout.trim()}`);
  return true;
}

/** Most memory this process has had resident. Linux's own mark: what getrusage says may be that of the program that started this one. */
function peakRssBytes(): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(fs.readFileSync('/proc/self/status', 'latin1'));
    if (match !== null) return Number(match[1]) * 1024;
  } catch {
    // no such file on this system
  }
  return process.resourceUsage().maxRSS * 1024;
}
