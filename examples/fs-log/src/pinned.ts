/** A pinned file (M14): its map is in frames, the device below is pinned, and the cleaner leaves it where it is. Written in place, past the log. */
import {
  type FrameArray,
  Gfp,
  type Inode,
  KernelError,
  type NegErrno,
  PAGE_SIZE,
  type PinnedFile,
  type PinSpec,
  type TaskContext,
} from '@tidemark/core';
import { type LogNode, nodeOf } from './node.js';
import { runFrom } from './pages.js';
import type { Volume } from './volume.js';

/** @throws KernelError EINVAL naming the offset of a hole; ENOMEM; EIO. */
export async function pinFile(volume: Volume, task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile> {
  const { kernel, memory, device, log, name } = volume;
  const node = nodeOf(inode);
  const sizePages = Math.floor(inode.sizeBytes / PAGE_SIZE);
  const what = `inode ${inode.ino} of ${name}, pinned for ${spec.user}`;
  for (let page = 0; page < sizePages; page++)
    if (!node.map.has(page)) throw new KernelError('EINVAL', `${what}: it has a hole at byte ${page * PAGE_SIZE}`);
  node.nrPins++; // from here on the cleaner moves none of it; what it has moved is made durable
  const undo: (() => unknown)[] = [() => node.nrPins--];
  try {
    if ((await log.sync(task)) < 0) throw new KernelError('EIO', `${what}: its map could not be made durable`);
    const map = memory.allocFrameArray(`map of ${what}`, sizePages, Gfp.STANDING);
    undo.push(() => map.free());
    for (let page = 0; page < sizePages; page++) map.set(page, node.map.get(page) as number);
    const below = await kernel.swapHooksOf(device, device.name).swapActivate(task, device, { ...spec, isHeld: true });
    return new PinnedLog(what, node, map, sizePages, below);
  } catch (error) {
    for (const back of undo.reverse()) back();
    throw error;
  }
}

class PinnedLog implements PinnedFile {
  readonly trusted: boolean;
  readonly standingFrames: number;
  readonly nrUnits: number;

  constructor(
    readonly name: string,
    private readonly node: LogNode,
    private readonly map: FrameArray,
    readonly sizePages: number,
    private readonly below: PinnedFile,
  ) {
    this.trusted = below.trusted;
    this.nrUnits = below.nrUnits;
    this.standingFrames = map.nrFrames + below.standingFrames;
  }

  swapOut(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    return this.#each(index, count, (block, i, run) => this.below.swapOut(task, block, pfns, from + i, run));
  }

  swapIn(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    return this.#each(index, count, (block, i, run) => this.below.swapIn(task, block, pfns, from + i, run));
  }

  async #each(
    index: number,
    count: number,
    transfer: (block: number, i: number, run: number) => NegErrno | Promise<NegErrno>,
  ): Promise<0 | NegErrno> {
    for (let i = 0; i < count; ) {
      const run = runFrom((k) => this.map.get(index + k), i, count);
      const status = await transfer(this.map.get(index + i), i, run);
      if (status < 0) return status;
      i += run;
    }
    return 0;
  }

  flush(task: TaskContext): NegErrno | Promise<NegErrno> {
    return this.below.flush(task);
  }

  async release(): Promise<void> {
    await this.below.release();
    this.map.free();
    this.node.nrPins--;
  }
}
