/**
 * M9, a slot store whose cells are allocated on demand: entering a page in the swap cache takes memory, when there is none. Against the real one,
 * whose cells are all there when `swapon` returns.
 */
import {
  definePlugin,
  entrySlot,
  Gfp,
  instanceCachingFactory,
  KERNEL,
  type Kernel,
  type MayEnter,
  type Pfn,
  PAGE_SIZE,
  SWAP_SUBSYSTEM,
  TaskContext,
} from '@tidemark/core';
import { SwapManager } from '@tidemark/swap';
import { type LabPolicy, labPolicy } from '../policies.js';
import type { Topology } from '../topology.js';

const FRAMES = 128;
const SWAP_PAGES = 2 * FRAMES;
/** Pages that are wanted when memory is full. */
const GROWTH_PAGES = 16;
/** Cells of a frame. */
const CELLS = PAGE_SIZE / 4;

class SlotsOnDemand extends SwapManager {
  readonly #kernel: Kernel;
  readonly #task = TaskContext.root('slot store');
  /** Frames of cells, by the first slot divided by their number. */
  readonly #frames = new Map<number, Pfn>();

  constructor(kernel: Kernel) {
    super(kernel);
    this.#kernel = kernel;
    kernel.onShutdown('cells of slots', async () => {
      for (const pfn of this.#frames.values()) kernel.memory.allocator.freePage(pfn);
      this.#frames.clear();
    });
  }

  override addToSwap(pfn: Pfn, mayEnter: MayEnter | null): boolean {
    if (!super.addToSwap(pfn, mayEnter)) return false;
    const { allocator, frames } = this.#kernel.memory;
    const part = Math.floor(entrySlot(frames.priv[pfn]) / CELLS);
    if (this.#frames.has(part)) return true;
    const cells = allocator.allocPage(this.#task, Gfp.SLAB);
    if (cells >= 0) this.#frames.set(part, cells);
    else this.dropSlot(pfn);
    return cells >= 0;
  }
}

/** Composed, with that store. */
export const slotsOnDemand: LabPolicy = {
  ...labPolicy('composed'),
  plugins: [
    definePlugin({
      name: 'slots-on-demand',
      register: (container) =>
        void container.register(SWAP_SUBSYSTEM, { useFactory: instanceCachingFactory((c) => new SlotsOnDemand(c.resolve(KERNEL))) }),
    }),
  ],
};

/** T2 with free memory at its floor when the first page is to go out. Who needs memory asks until there is some. */
export const swapOnRawDisk: Topology = {
  name: 'T2, at the floor',
  title: 'swap → raw disk, free memory at its floor',
  preconditions: 'free memory at the ordinary floor when the first page goes out',
  transport: null,
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
    await lab.kernel.swapOn(lab.disk('vda', SWAP_PAGES), { format: true });
    const { allocator } = lab.kernel.memory;
    const resident = await lab.fill(allocator.nrFree - allocator.high - 2);
    const giveBack = lab.drain();
    stage.begins();
    const grower = lab.kernel.task.named('grower');
    await stage.world.together(async () => (await lab.insist(grower, () => lab.fill(GROWTH_PAGES))).close());
    giveBack();
    resident.close();
  },
};
