/**
 * M14, a lazy `PinnedFile`: the map of a pinned file is read when a page of it is written first, into ordinary memory. Against the real thing,
 * whose map is in memory when `swapActivate` returns.
 */
import { Gfp, type Pfn, type TaskContext } from '@tidemark/core';
import { ModelExt3 } from '../models/ext3.js';
import type { LabKernel } from '../models/lab-kernel.js';
import { attachModelDevice, type PageStore } from '../models/model-device.js';
import { deviceStore } from '../models/page-stores.js';
import type { Topology } from '../topology.js';

const FRAMES = 128;
const SWAP_PAGES = 2 * FRAMES;
const FILE_AT = 512;
/** Pages that are wanted when memory is full. */
const GROWTH_PAGES = 16;
/** Pages of a map block, as small as in the smallest filesystem of this kind. */
const PAGES_A_BLOCK = 8;

/** The file, its map read block by block as it is needed, into memory that anybody may have. */
function lazily(lab: LabKernel, ext3: ModelExt3, pinned: PageStore): PageStore {
  const blocks = new Map<number, Promise<Pfn>>();
  lab.kernel.onShutdown('map of /swapfile', async () => {
    for (const block of blocks.values()) lab.kernel.memory.allocator.freePage(await block);
  });
  const readBlock = async (by: TaskContext): Promise<Pfn> => {
    const unit = await ext3.data.begin(by);
    const pfn = await lab.allocate(ext3.data.task, Gfp.SLAB);
    unit.end();
    return pfn;
  };
  return {
    ...pinned,
    write: async (by, index, pfn) => {
      const block = Math.floor(index / PAGES_A_BLOCK);
      if (!blocks.has(block)) blocks.set(block, readBlock(by));
      await blocks.get(block);
      return pinned.write(by, index, pfn);
    },
  };
}

/** Swap on a pinned ext3 file, with free memory at its floor when the first page goes out. */
export function swapOnPinned(isLazy: boolean): Topology {
  return {
    name: isLazy ? 'T3, lazy pin' : 'T3, pinned',
    title: 'swap → ext3 file → disk, free memory at its floor',
    preconditions: 'free memory at the ordinary floor when the first page goes out',
    transport: null,
    async run(stage) {
      const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
      const disk = lab.disk('vda');
      const ext3 = await ModelExt3.mount(lab, { name: 'ext3:vda', device: disk, nrUnits: 2 });
      const pinned = { ...(await deviceStore(lab, disk, '/swapfile', SWAP_PAGES, FILE_AT)), needs: [ext3.data] };
      await lab.kernel.swapOn(await attachModelDevice(lab, pinned), { format: true });
      if (isLazy) Object.assign(pinned, lazily(lab, ext3, { ...pinned }));
      const { allocator } = lab.kernel.memory;
      const resident = await lab.fill(allocator.nrFree - allocator.high - 2);
      const giveBack = lab.drain();
      stage.begins();
      await stage.world.together(async () => (await lab.fill(GROWTH_PAGES)).close());
      giveBack();
      resident.close();
    },
  };
}
