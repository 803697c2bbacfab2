/** T1 to T3: chains that allocate nothing on the way, or have clean pages to live on. They complete under every policy. */
import { PAGE_SIZE } from '@tidemark/core';
import { sweepAnonymous } from '../load/anonymous.js';
import { ModelExt3 } from '../models/ext3.js';
import { attachModelDevice } from '../models/model-device.js';
import { deviceStore } from '../models/page-stores.js';
import type { Stage, Topology } from '../topology.js';

const FRAMES = 128;
/** Slots under a set of 4 × memory, and where the file's blocks begin. */
const SWAP_PAGES = 6 * FRAMES;
const FILE_AT = 512;
const PAGE = new Uint8Array(PAGE_SIZE);

export const T1: Topology = {
  name: 'T1',
  title: 'file → ext3 → disk, mostly file pages',
  preconditions: 'clean file pages are half of memory; four writers dirty as much again',
  transport: null,
  async run(stage: Stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:vda', device: lab.disk('vda'), nrUnits: 2 });
    const clean = ext3.file('/clean', FRAMES / 2);
    const dirty = ext3.file('/dirty', FRAMES / 2);
    for (let index = 0; index < FRAMES / 2; index++) await clean.read(lab.kernel.task, index, PAGE);
    stage.begins();
    const writer = (nr: number) => async (step: () => Promise<void>) => {
      for (let index = nr; index < FRAMES / 2; index += 4) {
        await step();
        await dirty.write(lab.kernel.task, index, PAGE);
      }
    };
    await stage.world.together(writer(0), writer(1), writer(2), writer(3));
    await dirty.sync(lab.kernel.task);
  },
};

export const T2: Topology = {
  name: 'T2',
  title: 'swap → raw disk',
  preconditions: 'anonymous set of 4 times memory',
  transport: null,
  async run(stage: Stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
    await lab.kernel.swapOn(lab.disk('vda'), { format: true });
    stage.begins();
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};

export const T3: Topology = {
  name: 'T3',
  title: 'swap → ext3 file → disk',
  preconditions: 'anonymous set of 4 times memory',
  transport: null,
  async run(stage: Stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
    const disk = lab.disk('vda');
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:vda', device: disk, nrUnits: 2 });
    const pinned = await deviceStore(lab, disk, '/swapfile', SWAP_PAGES, FILE_AT);
    const file = await attachModelDevice(lab, { ...pinned, needs: [ext3.data] });
    await lab.kernel.swapOn(file, { format: true });
    stage.begins();
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};
