/**
 * The trees that a command line names: each is mounted at the root of a kernel of its own, so that its links and `..` stay inside; the
 * host's is there without. Trees that are only read are mounted read-only; but a journal that a crash left is replayed.
 */
import hostFs from 'node:fs/promises';
import { isKernelError, Kernel } from '@tidemark/core';
import { JobFailed } from '../outcome.js';
import { PLUGINS } from '../plugins.js';
import { stallOf, STALL_QUIET_MS, STALLED_SHUTDOWN_MS } from '../stall.js';
import { FileTree } from './file-tree.js';
import type { FileWord } from './file-word.js';
import { interruptible, type Interrupts } from './interrupts.js';
import { printable } from './printable.js';

/** A file in an open tree. */
export interface Place {
  readonly tree: FileTree;
  readonly path: string;
}

/** A place as the user would name it. */
export function nameOf({ tree, path }: Place): string {
  return tree.name(path);
}

/** What a verb works with. */
export interface OpenTrees {
  at(file: FileWord): Place;
  /** To be asked between steps of long work: throws once a signal has come. */
  readonly interrupts: Interrupts;
}

export interface TreesOptions {
  /** Page memory of each kernel, in bytes. */
  readonly memory: number;
  readonly reads?: readonly FileWord[];
  readonly writes?: readonly FileWord[];
}

/** A tree at the root of its kernel. */
export interface Mounted {
  readonly kernel: Kernel;
  readonly tree: FileTree;
  readonly stall: Promise<never>;
}

/**
 * Mounts what the files need, does `work`, writes everything out and takes it down.
 * @throws KernelError for a tree that cannot be mounted; JobFailed if one cannot be written out; Stalled; Interrupted after a signal.
 */
export async function withTrees<T>({ memory, reads = [], writes = [] }: TreesOptions, work: (trees: OpenTrees) => Promise<T>): Promise<T> {
  const mounted = new Map<string, Mounted>();
  const host = new FileTree(null, hostFs);
  const written = new Set(writes.map(({ tree }) => tree));
  const interrupts = interruptible();
  const at = ({ tree, path }: FileWord): Place => ({ tree: tree === null ? host : (mounted.get(tree) as Mounted).tree, path });
  const failures: unknown[] = [];
  let result: T | undefined;
  try {
    for (const { tree } of [...reads, ...writes])
      if (tree !== null && !mounted.has(tree)) mounted.set(tree, await mountTree(tree, memory, !written.has(tree)));
    result = await Promise.race([work({ at, interrupts }), ...[...mounted.values()].map(({ stall }) => stall)]);
  } catch (error) {
    failures.push(error);
  }
  for (const each of mounted.values()) failures.push(...(await takeDown(each)));
  interrupts.disarm();
  if (failures.length > 0) throw failures[0];
  return result as T;
}

/** Boots a kernel of `memory` bytes and mounts a TREE. @throws KernelError for one that cannot be mounted. */
export async function mountTree(source: string, memory: number, readOnly: boolean): Promise<Mounted> {
  const kernel = await Kernel.boot({ memory, plugins: PLUGINS, name: source, watchdog: { quietMs: STALL_QUIET_MS } });
  try {
    await mountReplaying(kernel, source, readOnly);
  } catch (error) {
    await kernel.shutdown();
    throw error;
  }
  return { kernel, tree: new FileTree(source, kernel.fs.promises), stall: stallOf(kernel) };
}

/** Mounts a tree as the root; a journal that must be replayed before anything can be read is replayed. */
export async function mountReplaying(kernel: Kernel, source: string, readOnly: boolean): Promise<void> {
  try {
    await kernel.mount(source, '/', { readOnly });
  } catch (error) {
    if (!readOnly || !isKernelError(error) || error.code !== 'EROFS') throw error;
    process.stderr.write(`${printable(source)} was not unmounted: replaying its journal\n`);
    await kernel.mount(source, '/');
  }
}

/** Writes a tree out, also after a failure, and ends its kernel. @returns what went wrong. */
export async function takeDown({ kernel, tree, stall }: Mounted): Promise<unknown[]> {
  const failures: unknown[] = [];
  const isStalled = (): boolean => kernel.watchdog.nrStalls > 0;
  if (!isStalled()) {
    try {
      await Promise.race([kernel.unmount('/'), stall]);
    } catch (error) {
      failures.push(isKernelError(error) ? new JobFailed(`${tree.word} was not written out: ${error.message}`, { cause: error }) : error);
    }
  }
  const { leakedFrames, leakedTimers, problems } = await kernel.shutdown(isStalled() ? { timeoutMs: STALLED_SHUTDOWN_MS } : {});
  for (const problem of problems) failures.push(new JobFailed(problem));
  if (leakedFrames + leakedTimers > 0)
    failures.push(new JobFailed(`shutdown of ${kernel.name} left ${leakedFrames} frames and ${leakedTimers} timers behind`));
  return failures;
}
