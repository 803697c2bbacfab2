/**
 * An array that nobody serves, in a kernel of this command's own: assembled, worked on, and stopped again. A signal ends a pass between two
 * windows; the array is stopped, and says how far it is.
 */
import { type BlockDevice, isKernelError, Kernel, type Plugin } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { assembleArray, type AssembleOptions, md, raid1Of } from '@tidemark/md';
import { nbd } from '@tidemark/nbd/host';
import { toldFailure } from '../files/telling.js';
import { Interrupted, JobFailed, SIGNALS } from '../outcome.js';
import { stallOf, STALL_QUIET_MS, STALLED_SHUTDOWN_MS } from '../stall.js';
import type { Running } from './perform.js';

const PLUGINS: readonly Plugin[] = [host, nbd, md];

/** Where the bitmap is to be, or is. */
export type BitmapWord = 'internal' | 'none' | { readonly file: string };

/** How an array is started. */
export interface StartWords {
  /** Page memory of the kernel, in bytes. */
  readonly memory: number;
  readonly degraded?: boolean;
  readonly readOnly?: boolean;
  readonly bitmap?: BitmapWord;
  /** Bytes a second that a pass does at most. Default: as many as it can. */
  readonly rate?: number;
}

/**
 * Does `work` in a kernel of its own.
 * @throws KernelError, JobFailed, Stalled, Interrupted.
 */
export async function inKernel<T>(memory: number, work: (kernel: Kernel) => Promise<T>): Promise<T> {
  const kernel = await Kernel.boot({ memory, plugins: PLUGINS, name: 'md', watchdog: { quietMs: STALL_QUIET_MS } });
  const { interruption, disarm } = onSignal();
  let failure: unknown = null;
  let result: T | undefined;
  try {
    const working = work(kernel);
    working.catch(() => {}); // one that was interrupted may end as it likes
    result = await Promise.race([working, interruption, stallOf(kernel)]);
  } catch (error) {
    failure = isKernelError(error) ? toldFailure(error) : error;
  }
  const { problems } = await kernel.shutdown(kernel.watchdog.nrStalls > 0 ? { timeoutMs: STALLED_SHUTDOWN_MS } : {});
  disarm();
  if (failure !== null) throw failure;
  if (problems.length > 0) throw new JobFailed(problems.join('; '));
  return result as T;
}

function onSignal(): { interruption: Promise<never>; disarm(): void } {
  let disarm = (): void => {};
  const interruption = new Promise<never>((_, reject) => {
    const end = (signal: NodeJS.Signals): void => {
      disarm(); // a second one ends the process at once
      reject(new Interrupted(signal));
    };
    disarm = () => {
      for (const signal of SIGNALS) process.off(signal, end);
    };
    for (const signal of SIGNALS) process.on(signal, end);
  });
  interruption.catch(() => {});
  return { interruption, disarm };
}

/** Options of assembling that words say. The bitmap's file is opened. */
export async function startOptions(kernel: Kernel, words: StartWords): Promise<AssembleOptions> {
  const { degraded, readOnly, bitmap, rate } = words;
  const bitmapFile = typeof bitmap === 'object' ? await kernel.openBlockDevice(bitmap.file) : undefined; // pinned, so open to writing
  return { degraded, readOnly, bitmapFile, syncBytesPerSecond: rate ?? Number.POSITIVE_INFINITY };
}

/** Assembles an array, gives or takes its bitmap, does `work`, and stops it. @throws as `inKernel`. */
export function withStoppedArray<T>(devices: readonly string[], words: StartWords, work: (running: Running) => Promise<T>): Promise<T> {
  return inKernel(words.memory, async (kernel) => {
    const { readOnly } = words;
    const opened: BlockDevice[] = [];
    for (const device of devices) opened.push(await kernel.openBlockDevice(device, { readOnly }));
    const array = await assembleArray(kernel, opened, await startOptions(kernel, words));
    const running = { kernel, device: array, raid: raid1Of(kernel, array) };
    const { bitmap } = running.raid.info();
    if (!readOnly && words.bitmap === 'internal' && bitmap === null) await running.raid.addBitmap('internal');
    if (!readOnly && words.bitmap === 'none' && bitmap !== null) await running.raid.removeBitmap();
    const result = await work(running);
    await array.close();
    return result;
  });
}
