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

/** What is no block device: something whose package pins it, and its node of the writeout graph. */
export interface BitmapFile {
  readonly name: string;
  /** What the package of the file claims. */
  readonly backing: object;
  readonly node: WriteoutNode;
}

/** Where a bitmap is: on the members, or in a file. */
export type BitmapWhere = 'internal' | { readonly file: BlockDevice | BitmapFile };

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
    const { node } = place;
    const below: WriteoutNode[] = [];
    let prepare: (() => Promise<() => Promise<void>>) | undefined;
    if (where === 'internal') below.push(...core.state.members.map((member) => member.node));
    else {
      const file = where.file instanceof BlockDevice ? await fileOf(kernel, where.file) : where.file;
      below.push(file.node);
      prepare = async () => {
        const pinned = await kernel
          .swapHooksOf(file.backing, file.name)
          .swapActivate(core.task, file.backing, { user: node.name, nrUnits: 1 });
        place.#pinned = pinned;
        return () => pinned.release();
      };
    }
    const edges: WriteoutEdge[] = below.map((to) => [node, to] as const);
    if (user !== null) edges.unshift([user, node]);
    await kernel.reserves.admit(kernel.task, { candidates: [{ node, prepare }], edges });
    return place;
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

async function fileOf(kernel: Kernel, device: BlockDevice): Promise<BitmapFile> {
  kernel.requireOwn(device, 'keep a bitmap on');
  return { name: device.name, backing: device, node: await kernel.writeoutNodeOf(device) };
}

/** @throws KernelError EINVAL for what is no place for a bitmap. */
export function checkWhere(where: BitmapWhere): void {
  const isFile = typeof where === 'object' && where !== null && typeof where.file === 'object' && where.file !== null;
  if (where !== 'internal' && !isFile) throw new KernelError('EINVAL', "a bitmap is 'internal', or { file }");
}
