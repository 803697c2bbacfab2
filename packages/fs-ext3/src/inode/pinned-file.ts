/**
 * A pinned file (M14): where every block of it lies is in memory, its bios are its own, and what lies below the device is pinned, too. So a call needs
 * what the device needs, and nothing of the journal, the block map on disk or the page cache.
 *
 *     standing     4 bytes for each block of the file, in frames; up to 32 bios; what the pin of the device takes
 */
import {
  BioOp,
  Errno,
  type FrameArray,
  Gfp,
  type Inode,
  KernelError,
  type MaybePromise,
  type NegErrno,
  PAGE_SIZE,
  type PinnedFile,
  type PinSpec,
  run,
  type Steps,
  settle,
  type TaskContext,
} from '@tidemark/core';
import { addressOf, BlockIo, bioFrames } from '../device/block-io.js';
import { looking } from '../metadata/block-reader.js';
import type { Parts } from '../volume/parts.js';
import { nodeOf } from './node.js';

/** Most bios of a pin, whatever the units. */
const BIOS_MAX = 32;
/** Blocks looked up with the same indirect blocks pinned. */
const LOOKED_UP_AT_ONCE = 256;

function nrBiosFor(nrUnits: number): number {
  return Math.max(1, Math.min(BIOS_MAX, nrUnits));
}

/** Frames that the map and the bios of a pinned file stand for; what the device below takes comes on top. */
export function pinFrames(sizePages: number, blockSize: number, nrUnits: number): { map: number; bios: number } {
  return { map: Math.ceil((sizePages * (PAGE_SIZE / blockSize) * 4) / PAGE_SIZE), bios: bioFrames(nrBiosFor(nrUnits)) };
}

/**
 * Pins a file that core has brought to rest.
 * @throws KernelError EINVAL naming the offset of a hole, EPERM, ENOMEM naming the shortfall, EUCLEAN, EIO.
 */
export async function pinInode(parts: Parts, task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile> {
  const { memory, geometry, io, losses } = parts;
  const name = parts.table.nameOf(inode.ino);
  const node = nodeOf(inode);
  if (node.isImmutable || node.isAppendOnly)
    throw new KernelError('EPERM', `${name} cannot be pinned for ${spec.user}: it is immutable or append-only`);
  const sizePages = Math.floor(inode.sizeBytes / PAGE_SIZE);
  const nrBlocks = sizePages * (PAGE_SIZE / geometry.blockSize);
  const undo: (() => void | Promise<void>)[] = [];
  try {
    const below = await parts.pinDevice(task, { user: spec.user, nrUnits: 1, isHeld: true });
    undo.push(() => below.release());
    const { map: mapFrames } = pinFrames(sizePages, geometry.blockSize, spec.nrUnits);
    await memory.makeRoom(task, mapFrames);
    const map = memory.allocFrameArray(`block map of ${name}, pinned for ${spec.user}`, nrBlocks, Gfp.STANDING);
    undo.push(() => map.free());
    await loadMap(parts, task, inode, map, spec.user);
    const own = new BlockIo(memory, io.device, `${name}, pinned for ${spec.user}`, losses, nrBiosFor(spec.nrUnits));
    return new PinnedExt3(name, own, map, sizePages, geometry.blockSize, spec.nrUnits, below);
  } catch (error) {
    for (const back of undo.reverse()) await back();
    throw error;
  }
}

/** @throws KernelError EINVAL naming the offset of a hole. */
async function loadMap(parts: Parts, task: TaskContext, inode: Inode, map: FrameArray, user: string): Promise<void> {
  const { cache, geometry } = parts;
  const finder = parts.map;
  const node = nodeOf(inode);
  for (let from = 0; from < map.length; from += LOOKED_UP_AT_ONCE) {
    const end = Math.min(from + LOOKED_UP_AT_ONCE, map.length);
    const look = looking(task, cache, function* (reader) {
      for (let logical = from; logical < end; logical++) {
        const block = yield* finder.find(reader, node, logical);
        if (block === 0) return logical;
        map.set(logical, block);
      }
      return -1;
    });
    const hole = await run(look);
    if (hole < 0) continue;
    const offsetBytes = hole * geometry.blockSize;
    throw new KernelError(
      'EINVAL',
      `${parts.table.nameOf(inode.ino)} cannot be pinned for ${user}: it has a hole at byte ${offsetBytes}; allocate its space first`,
      { details: { ino: inode.ino, offsetBytes } },
    );
  }
}

class PinnedExt3 implements PinnedFile {
  readonly trusted: boolean;
  readonly standingFrames: number;
  readonly granularityBytes: number;
  readonly #perPage: number;

  constructor(
    readonly name: string,
    private readonly io: BlockIo,
    private readonly map: FrameArray,
    readonly sizePages: number,
    private readonly blockSize: number,
    readonly nrUnits: number,
    private readonly below: PinnedFile,
  ) {
    this.trusted = io.device.trusted;
    this.granularityBytes = io.device.blockSizeBytes;
    this.standingFrames = map.nrFrames + bioFrames(nrBiosFor(nrUnits)) + below.standingFrames;
    this.#perPage = PAGE_SIZE / blockSize;
  }

  swapOut(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return run(this.#pages(task, BioOp.WRITE, index, pfns, from, count));
  }

  swapIn(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return run(this.#pages(task, BioOp.READ, index, pfns, from, count));
  }

  *#pages(task: TaskContext, op: BioOp, index: number, pfns: Uint32Array, from: number, count: number): Steps<0 | NegErrno> {
    if (index < 0 || index + count > this.sizePages) return -Errno.EINVAL;
    const { blockSize, map } = this;
    const transfer = this.io.begin(task, op);
    for (let i = 0; i < count; i++) {
      const first = (index + i) * this.#perPage;
      for (let slot = 0; slot < this.#perPage; slot++) {
        const offsetBytes = map.get(first + slot) * blockSize;
        yield* settle(transfer.add(offsetBytes, addressOf(pfns[from + i], slot * blockSize), blockSize));
      }
    }
    return yield* settle(transfer.end());
  }

  transfer(
    task: TaskContext,
    isWrite: boolean,
    offsetBytes: number,
    addresses: Float64Array,
    lengths: Uint32Array,
    nrPieces: number,
  ): MaybePromise<0 | NegErrno> {
    return run(this.#bytes(task, isWrite ? BioOp.WRITE : BioOp.READ, offsetBytes, addresses, lengths, nrPieces));
  }

  *#bytes(
    task: TaskContext,
    op: BioOp,
    offsetBytes: number,
    addresses: Float64Array,
    lengths: Uint32Array,
    nrPieces: number,
  ): Steps<0 | NegErrno> {
    const { blockSize, map } = this;
    let at = offsetBytes;
    for (let i = 0; i < nrPieces; i++) at += lengths[i];
    if (offsetBytes < 0 || at > this.sizePages * PAGE_SIZE) return -Errno.EINVAL;
    at = offsetBytes;
    const transfer = this.io.begin(task, op);
    for (let i = 0; i < nrPieces; i++) {
      for (let done = 0; done < lengths[i]; ) {
        const logical = Math.floor(at / blockSize);
        const inBlock = at - logical * blockSize;
        const length = Math.min(blockSize - inBlock, lengths[i] - done);
        yield* settle(transfer.add(map.get(logical) * blockSize + inBlock, addresses[i] + done, length));
        done += length;
        at += length;
      }
    }
    return yield* settle(transfer.end());
  }

  flush(task: TaskContext): MaybePromise<0 | NegErrno> {
    return this.io.flush(task);
  }

  cutOff(): Promise<void> {
    return this.io.device.abort();
  }

  async release(): Promise<void> {
    if (this.io.nrTransfers > 0) throw new KernelError('EBUSY', `${this.name} has ${this.io.nrTransfers} calls in flight`);
    this.io.release();
    this.map.free();
    await this.below.release();
  }
}
