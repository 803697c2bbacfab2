/**
 * Copy-on-write overlay: what is written goes to an upper device, what was not written is read from the lower one, which stays as it is.
 *
 *     block b:   in the map → upper, at the same place        else → lower
 *
 * A write is whole blocks, so nothing has to be copied up; a block is in the map as soon as its write has ended well, so a write that fails
 * leaves what was there. The map is in memory and dies with the device: an overlay is a trial, and what becomes of it is said by
 *
 *     commit    copies every block of the map to the lower device, run after run, flushes that, and begins anew with an empty map. An error leaves
 *               the overlay as it was, and the lower device with some of the blocks: another commit copies them all
 *     discard   empties the map: every block is the lower device's again
 *
 * During either, requests wait in line. Zeroes (write-zeroes) are written like data. Discard goes to the upper device for blocks that are there; of
 * the lower device's it means nothing. At most `limitBytes` can differ; a write of more fails with ENOSPC, with writes under way counted as if
 * none of their blocks were another's.
 */
import { Errno, errorFrom, KernelError, type NegErrno } from '../../base/errno.js';
import { PAGE_SIZE, parseSize, type Size } from '../../base/size.js';
import type { StandingMemory } from '../../mm/standing.js';
import { Bio, BioOp } from '../bio.js';
import type { BlockDevice } from '../block-device.js';
import { BlockMap, blockMapFrames, MAP_BLOCKS_MAX } from './block-map.js';
import { Filter, filterOf, type FilterParts } from './filter.js';
import type { FilterKind } from './filter-kind.js';
import type { FilterRequest } from './filter-request.js';

/** Pages that a commit copies at a time, at most. */
const WINDOW_PAGES = 8;

export interface OverlayOptions {
  /** What is written to: at least as large as the device below. Default: a RAM disk of that size, which costs what is stored. */
  readonly upper?: BlockDevice;
  /** Bytes that may differ at most. Default: as many as fit on the upper device. */
  readonly limitBytes?: Size;
  /** By name: opens the device below so that `commit` can write to it. Default false: read-only. */
  readonly commit?: boolean;
}

/** How far an overlay is used. */
export interface OverlayState {
  /** Bytes that come from the upper device. */
  readonly changedBytes: number;
  readonly limitBytes: number;
}

interface Own {
  readonly map: BlockMap;
  readonly window: StandingMemory;
  readonly limitBytes: number;
}

function windowPages({ memory, below }: FilterParts): number {
  const most = Math.min(memory.sizes.payloadBytes, ...below.map(({ maxTransferBytes }) => maxTransferBytes));
  return Math.min(WINDOW_PAGES, 2 ** Math.floor(Math.log2(most / PAGE_SIZE)));
}

export class Overlay extends Filter {
  readonly #lower: BlockDevice;
  readonly #map: BlockMap;
  readonly #window: StandingMemory;
  readonly #limitBlocks: number;
  readonly #bio = new Bio(2); // the window crosses a chunk of the arena once at most
  /** Blocks that writes under way may add to the map. */
  #nrPending = 0;

  private constructor(parts: FilterParts, own: Own) {
    const [lower, upper] = parts.below;
    super(parts, upper, blockMapFrames(own.map.nrBlocks) + own.window.nrFrames);
    this.#lower = lower;
    this.#map = own.map;
    this.#window = own.window;
    this.#limitBlocks = Math.floor(own.limitBytes / this.blockSizeBytes);
  }

  /** @throws KernelError EINVAL for an upper device that is smaller, EROFS, EFBIG beyond 2^31 blocks, ENOMEM. */
  static async create(parts: FilterParts, options: OverlayOptions): Promise<Overlay> {
    const { memory, task, name } = parts;
    const [lower, upper] = parts.below;
    if (upper.readOnly) throw new KernelError('EROFS', `${name}: its upper device ${upper.name} is read-only`);
    if (upper.sizeBytes < lower.sizeBytes)
      throw new KernelError(
        'EINVAL',
        `${name}: its upper device ${upper.name} has ${upper.sizeBytes} bytes, ${lower.name} has ${lower.sizeBytes}`,
      );
    const limitBytes = options.limitBytes === undefined ? upper.sizeBytes : parseSize(options.limitBytes, `${name}: limitBytes`);
    const nrBlocks = Math.floor(lower.sizeBytes / Math.max(lower.blockSizeBytes, upper.blockSizeBytes));
    if (nrBlocks > MAP_BLOCKS_MAX) throw new KernelError('EFBIG', `${name}: ${nrBlocks} blocks, at most ${MAP_BLOCKS_MAX}`);
    const nrWindow = windowPages(parts);
    await memory.requireRoom(task, `map of ${name}`, blockMapFrames(nrBlocks) + nrWindow);
    const map = new BlockMap(memory, `map of ${name}`, nrBlocks);
    let window: StandingMemory | null = null;
    try {
      window = await memory.allocStanding(task, `buffer of ${name}`, nrWindow);
      return new Overlay(parts, { map, window, limitBytes });
    } catch (error) {
      window?.free();
      map.free();
      throw error;
    }
  }

  /** How far it is used. */
  explain(): OverlayState {
    return { changedBytes: this.#map.nrSet * this.blockSizeBytes, limitBytes: this.#limitBlocks * this.blockSizeBytes };
  }

  #blockAt(offsetBytes: number): number {
    return offsetBytes / this.blockSizeBytes;
  }

  protected override admitted(request: FilterRequest): void {
    const { op, offsetBytes, lengthBytes } = request.parent;
    if (op === BioOp.WRITE || op === BioOp.WRITE_ZEROES) {
      const nrNew = this.#countClear(this.#blockAt(offsetBytes), this.#blockAt(offsetBytes + lengthBytes));
      if (nrNew > 0 && this.#map.nrSet + this.#nrPending + nrNew > this.#limitBlocks) {
        this.end(request, -Errno.ENOSPC);
        return;
      }
      request.nrBlocks = nrNew;
      this.#nrPending += nrNew;
    }
    this.pass(request);
  }

  #countClear(from: number, to: number): number {
    let count = 0;
    for (let at = from; at < to; ) {
      const length = this.#map.runLength(at, to);
      if (!this.#map.test(at)) count += length;
      at += length;
    }
    return count;
  }

  protected override route(request: FilterRequest): BlockDevice | null {
    const { op } = request.parent;
    if (op !== BioOp.READ && op !== BioOp.DISCARD) return this.written;
    const from = this.#blockAt(request.offsetBytes);
    const length = this.#map.runLength(from, this.#blockAt(request.offsetBytes + request.leftBytes));
    request.pieceBytes = length * this.blockSizeBytes;
    if (this.#map.test(from)) return this.written;
    return op === BioOp.READ ? this.#lower : null;
  }

  protected override pieceEnded(request: FilterRequest, status: 0 | NegErrno): void {
    const { op } = request.parent;
    if (status !== 0 || (op !== BioOp.WRITE && op !== BioOp.WRITE_ZEROES)) return;
    const to = this.#blockAt(request.offsetBytes + request.pieceBytes);
    for (let block = this.#blockAt(request.offsetBytes); block < to; block++) this.#map.set(block);
  }

  protected override finished(request: FilterRequest): void {
    this.#nrPending -= request.nrBlocks;
    request.nrBlocks = 0;
  }

  /**
   * Makes the lower device what this one is.
   * @throws KernelError EROFS if that is read-only, EBUSY while this or `discard` is under way, EIO and the like; then nothing is lost here.
   */
  async commit(): Promise<void> {
    if (this.#lower.readOnly) throw new KernelError('EROFS', `commit ${this.name}: ${this.#lower.name} is read-only, or was opened so`);
    await this.alone('commit', async () => {
      const { nrBlocks } = this.#map;
      for (let at = 0; at < nrBlocks; ) {
        const length = this.#map.runLength(at, nrBlocks);
        if (this.#map.test(at)) await this.#copy(at * this.blockSizeBytes, length * this.blockSizeBytes);
        at += length;
      }
      await this.#must(this.#lower, this.#bio.start(BioOp.FLUSH, 0, this.parts.task));
      await this.#forgetChanges();
    });
  }

  /** Makes this device what the lower one is. @throws KernelError EBUSY while this or `commit` is under way, EIO if the device is closed. */
  async discard(): Promise<void> {
    await this.alone('discard', () => this.#forgetChanges());
  }

  async #copy(offsetBytes: number, lengthBytes: number): Promise<void> {
    const windowBytes = this.#window.nrFrames * PAGE_SIZE;
    for (let done = 0; done < lengthBytes; ) {
      if (this.isClosing) throw new KernelError('EIO', `commit ${this.name}: it is being closed`);
      const length = Math.min(windowBytes, lengthBytes - done);
      for (const [op, device] of [[BioOp.READ, this.written] as const, [BioOp.WRITE, this.#lower] as const]) {
        const bio = this.#bio.start(op, offsetBytes + done, this.parts.task);
        bio.addSegment(this.#window.address, length);
        await this.#must(device, bio);
      }
      done += length;
    }
  }

  async #must(device: BlockDevice, bio: Bio): Promise<void> {
    const status = await device.submitAndWait(this.parts.task, bio);
    if (status !== 0) throw errorFrom(status, `commit ${this.name}, on ${device.name}`);
  }

  async #forgetChanges(): Promise<void> {
    this.#map.clear();
    if (!this.written.can.discard) return;
    const bio = this.#bio.start(BioOp.DISCARD, 0, this.parts.task);
    bio.lengthBytes = this.sizeBytes;
    await this.written.submitAndWait(this.parts.task, bio); // a hint: whatever becomes of it, no block of there is looked at
  }

  protected override release(): void {
    this.#window.free();
    this.#map.free();
  }
}

/** Writes the changes of an overlay to the device below it. @throws KernelError as `Overlay.commit`, EINVAL for a device that is none. */
export async function commitOverlay(device: BlockDevice): Promise<void> {
  await filterOf(device, Overlay).commit();
}

/**
 * Throws the changes of an overlay away.
 * @throws KernelError as `Overlay.discard`, EBUSY while somebody has the device, EINVAL for a device that is no overlay.
 */
export async function discardOverlay(device: BlockDevice): Promise<void> {
  const overlay = filterOf(device, Overlay);
  device.hold('discard');
  await overlay.discard().finally(() => device.unhold());
}

/** `cow:limitBytes=64MiB,commit=1:LOWER`. */
export const copyOnWrite: FilterKind<OverlayOptions> = {
  scheme: 'cow',
  settings: ['limitBytes', 'commit'],
  parse: (settings) => ({ limitBytes: settings.text('limitBytes'), commit: settings.flag('commit') }),
  sparesLower: ({ commit }) => commit !== true,
  second: ({ upper }, lower) => upper ?? `mem:${lower.sizeBytes}`,
  create: (parts, options) => Overlay.create(parts, options),
};
