/**
 * The bitmap of an array as a node of the writeout graph (M4): array → bitmap → the file it lies on, or the members. Pinning the file is part
 * of being admitted, so that a file that lies on the array itself, through whatever chain, is refused with the way that closes the cycle
 * before anything is touched (trap 10).
 */
import {
  BlockDevice,
  type Kernel,
  KernelError,
  type NodeFootprint,
  PAGE_SIZE,
  type PinnedFile,
  type PinTarget,
  withBacking,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import type { ArrayCore } from './array/array-core.js';
import { InternalStore } from './array/internal-store.js';
import { FileStore } from './bitmap/file-store.js';
import { type ArrayFacts, type BitmapOptions, createBitmap, loadBitmap, type LoadedBitmap } from './bitmap/load.js';
import type { BitmapStore } from './bitmap/store.js';
import { WriteIntentBitmap } from './bitmap/write-intent-bitmap.js';
import { bitmapFootprint } from './footprint.js';
import { BITMAP_HEADER_BYTES } from './format/bitmap-superblock.js';

/** Where a bitmap is: on the members, or in a file, which is whatever can be pinned. */
export type BitmapWhere = 'internal' | { readonly file: PinTarget };

/** A bitmap's node, and what it takes to undo it. */
export class BitmapPlace {
  readonly node: WriteoutNode & { footprint: NodeFootprint };

  private constructor(
    private readonly kernel: Kernel,
    readonly core: ArrayCore,
    readonly isInternal: boolean,
  ) {
    this.node = { name: `bitmap of ${core.state.name}`, kind: 'md-bitmap', footprint: bitmapFootprint(1, 0) };
  }

  #pinned: PinnedFile | null = null;

  /**
   * Admits the node, with the file pinned.
   * @param user the array's node, once it has one.
   * @throws KernelError EDEADLK naming the cycle; ENOMEM; what the file refuses with.
   */
  static async open(kernel: Kernel, core: ArrayCore, where: BitmapWhere, user: WriteoutNode | null): Promise<BitmapPlace> {
    const place = new BitmapPlace(kernel, core, where === 'internal');
    if (where === 'internal') {
      const members = core.state.members.map((member) => member.node);
      await place.#admit(members, user);
    } else {
      const doing = 'keep a bitmap on';
      await withBacking(kernel, where.file, doing, async (backing, name) => {
        if (backing instanceof BlockDevice) kernel.requireOwn(backing, doing);
        const pin = (): Promise<PinnedFile> =>
          kernel.swapHooksOf(backing, name).swapActivate(core.task, backing, { user: place.node.name, nrUnits: 1 });
        await place.#admit([await kernel.writeoutNodeOf(backing)], user, pin);
      });
    }
    return place;
  }

  async #admit(below: readonly WriteoutNode[], user: WriteoutNode | null, pin?: () => Promise<PinnedFile>): Promise<void> {
    const { node, kernel } = this;
    const edges: WriteoutEdge[] = below.map((to) => [node, to] as const);
    if (user !== null) edges.unshift([user, node]);
    const prepare = async (): Promise<() => Promise<void>> => {
      const pinned = await (pin as () => Promise<PinnedFile>)();
      this.#pinned = pinned;
      return () => pinned.release();
    };
    await kernel.reserves.admit(kernel.task, { candidates: [{ node, prepare: pin && prepare }], edges });
  }

  #store(offsetSectors: number): BitmapStore {
    return this.#pinned === null ? new InternalStore(this.core, offsetSectors) : new FileStore(this.#pinned, this.core.task);
  }

  #finish(store: BitmapStore, { log, superblock }: LoadedBitmap): WriteIntentBitmap {
    this.node.footprint = bitmapFootprint(log.nrChunks, this.#pinned?.standingFrames ?? 0);
    return new WriteIntentBitmap(log, store, superblock, this.core.clock, this.core);
  }

  /** Makes a new bitmap. @throws KernelError EINVAL, ENOMEM, EIO. */
  async create(facts: ArrayFacts, options: BitmapOptions, areEqual: boolean, offsetSectors: number): Promise<WriteIntentBitmap> {
    const store = this.#store(offsetSectors);
    const { memory, task } = this.core;
    return this.#finish(store, await createBitmap({ memory, task, store }, facts, options, areEqual));
  }

  /** Loads the bitmap that is there. @throws KernelError as `loadBitmap`. */
  async load(facts: ArrayFacts, offsetSectors: number): Promise<WriteIntentBitmap> {
    const store = this.#store(offsetSectors);
    const { memory, task } = this.core;
    const frame = await memory.allocStanding(task, `header of ${this.node.name}`, 1);
    try {
      store.bind({
        nrPages: 1,
        nrChunks: PAGE_SIZE * 8 - BITMAP_HEADER_BYTES * 8,
        pfns: Uint32Array.of(frame.pfn),
        addressOf: () => frame.address,
      });
      const headers: (Uint8Array | null)[] = [];
      for (let copy = 0; copy < store.nrCopies; copy++) headers.push((await store.read(copy, 0)) === 0 ? frame.bytes.slice() : null);
      return this.#finish(store, await loadBitmap({ memory, task, store }, facts, headers));
    } finally {
      frame.free();
    }
  }

  /** Takes the node out of the graph; the file is unpinned. */
  async close(): Promise<void> {
    await this.kernel.reserves.withdraw(this.node);
  }
}

/** @throws KernelError EINVAL for what is no place for a bitmap. */
export function checkWhere(where: BitmapWhere): void {
  const isFile = typeof where === 'object' && where !== null && ['object', 'string'].includes(typeof where.file) && where.file !== null;
  if (where !== 'internal' && !isFile) throw new KernelError('EINVAL', "a bitmap is 'internal', or { file }");
}
