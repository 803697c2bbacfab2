/** T14: swap on a file of a copy-on-write filesystem that cannot say how much a page's writeout takes. */
import { sweepAnonymous } from '../load/anonymous.js';
import { ModelCowFileSystem } from '../models/cow-filesystem.js';
import { attachModelDevice } from '../models/model-device.js';
import { deviceStore } from '../models/page-stores.js';
import type { Topology } from '../topology.js';

const FRAMES = 128;
const MIN_FRAMES = 8;
const SWAP_PAGES = 6 * FRAMES;

export const T14: Topology = {
  name: 'T14',
  title: 'transactional, copy-on-write filesystem under swap',
  preconditions: 'anonymous set of 4 times memory; a transaction takes whoever comes',
  transport: null,
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES } });
    const fs = await ModelCowFileSystem.mount(lab, 'cow:vda', await deviceStore(lab, lab.disk('vda'), 'vda', SWAP_PAGES));
    await lab.kernel.swapOn(await attachModelDevice(lab, fs), { format: true });
    stage.begins();
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};
