/** T11: RAID1 whose write-intent bitmap is a file: on an ext3 beside it, on NFS, on the array itself. */
import { PAGE_SIZE } from '@tidemark/core';
import { ModelExt3 } from '../models/ext3.js';
import type { LabKernel } from '../models/lab-kernel.js';
import { attachModelDevice, type PageStore } from '../models/model-device.js';
import { deviceStore } from '../models/page-stores.js';
import { ModelRaid1 } from '../models/raid1.js';
import type { Stage, Topology } from '../topology.js';

const FRAMES = 128;
const ARRAY_PAGES = 256;
const RAID_UNITS = 2;
/** A bitmap that lies on the array has its page at the end, beyond what users write. */
const BITMAP_AT = ARRAY_PAGES - 1;
const FILE_AT = 512;

/** RAID1 of two disks. */
export async function assemble(lab: LabKernel, bitmap: (array: ModelRaid1) => PageStore, nrPages = ARRAY_PAGES): Promise<ModelRaid1> {
  const members = [await deviceStore(lab, lab.disk('vda'), 'vda', nrPages), await deviceStore(lab, lab.disk('vdb'), 'vdb', nrPages)];
  return ModelRaid1.assemble(lab, { name: 'md:0', members, bitmap, nrUnits: RAID_UNITS });
}

/** Writes through the array's page cache, with half of memory clean pages of it. */
async function writeArray(stage: Stage, lab: LabKernel, array: ModelRaid1): Promise<void> {
  const { kernel, world } = lab;
  const cache = kernel.cacheDevice(await attachModelDevice(lab, array));
  await cache.read(0, new Uint8Array((FRAMES / 2) * PAGE_SIZE));
  stage.begins();
  const writer = (nr: number) => async (step: () => Promise<void>) => {
    for (let index = nr; index < FRAMES / 2; index += 2) {
      await step();
      await cache.write((FRAMES / 2 + index) * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(index));
      world.progress();
    }
  };
  await world.together(writer(0), writer(1));
  await cache.sync();
  await cache.close();
}

export const T11A: Topology = {
  name: 'T11a',
  title: 'RAID1, file bitmap on ext3',
  preconditions: 'clean file pages are half of memory; two writers dirty as much again',
  transport: null,
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
    const disk = lab.disk('vdc');
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:vdc', device: disk, nrUnits: 2 });
    const file = { ...(await deviceStore(lab, disk, '/bitmap', 1, FILE_AT)), needs: [ext3.data] };
    await writeArray(stage, lab, await assemble(lab, () => file));
  },
};

export const T11C: Topology = {
  name: 'T11c',
  title: 'RAID1, file bitmap on the array itself',
  preconditions: 'any',
  transport: null,
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
    await writeArray(
      stage,
      lab,
      await assemble(lab, (array) => ({
        name: 'a file on md:0',
        sizePages: 1,
        needs: [array.node],
        write: (task, _index, pfn) => array.write(task, BITMAP_AT, pfn),
        read: (task, _index, pfn) => array.read(task, BITMAP_AT, pfn),
        flush: (task) => array.flush(task),
      })),
    );
  },
};
