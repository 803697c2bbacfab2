/**
 * T8: swap on nbd, whose server lives in this kernel and exports a file of ext3. Outside *composed* the server writes the file through
 * the page cache, as servers do; under *composed* the swap's pin has crossed the local edge, and the server writes the pinned file.
 * Its refused twin: the ext3 lies on the swap's own nbd device.
 */
import type { BlockDevice } from '@tidemark/core';
import { sweepAnonymous } from '../load/anonymous.js';
import { ModelExt3 } from '../models/ext3.js';
import type { LabKernel } from '../models/lab-kernel.js';
import { attachModelDevice, type PageStore } from '../models/model-device.js';
import { ModelNbd, type ModelNbdSpec } from '../models/nbd.js';
import { cachedStore, deviceStore } from '../models/page-stores.js';
import type { Topology } from '../topology.js';

const FRAMES = 96;
const MIN_FRAMES = 10;
const SWAP_PAGES = 6 * FRAMES;
const FILE_AT = 512;
const NBD_UNITS = 3;

/** The connection; a server that did not pin the file has a cache page for each request. */
function nbdSpec(lab: LabKernel): ModelNbdSpec {
  return { name: 'nbd:0', sizePages: SWAP_PAGES, nrUnits: NBD_UNITS, throughPageCache: !lab.policy.pinsBehindServers };
}

/** What the server exports: the swap file on `disk`, pinned or not. */
async function exportFile(lab: LabKernel, ext3: ModelExt3, disk: BlockDevice): Promise<PageStore> {
  if (!lab.policy.pinsBehindServers) return cachedStore(lab, ext3, ext3.file('/swapfile', SWAP_PAGES));
  return { ...(await deviceStore(lab, disk, '/swapfile', SWAP_PAGES, FILE_AT)), needs: [ext3.data] };
}

export const T8: Topology = {
  name: 'T8',
  title: 'swap → nbd → local server → ext3 file → disk',
  preconditions: `anonymous set of 4 times memory, no clean file page; the reserve of ${MIN_FRAMES} frames is less than a swap-out's pages`,
  transport: 'loopback model',
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES } });
    const disk = lab.disk('vda');
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:vda', device: disk, nrUnits: 2 });
    const nbd = await ModelNbd.connect(lab, nbdSpec(lab), await exportFile(lab, ext3, disk));
    await lab.kernel.swapOn(await attachModelDevice(lab, nbd), { format: true });
    stage.begins();
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};

export const T8_TWIN: Topology = {
  name: 'T8b',
  title: 'as T8, but the ext3 lies on the swap’s own nbd device',
  preconditions: T8.preconditions,
  transport: 'loopback model',
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES } });
    const disk = lab.disk('vda');
    const raw = await deviceStore(lab, disk, 'vda', SWAP_PAGES);
    let exported = raw; // until the ext3 on the device is mounted: its image was made before
    const nbd = await ModelNbd.connect(lab, nbdSpec(lab), {
      ...raw,
      write: (task, index, pfn) => exported.write(task, index, pfn),
      read: (task, index, pfn) => exported.read(task, index, pfn),
      flush: (task) => exported.flush(task),
    });
    const device = await attachModelDevice(lab, nbd);
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:nbd0', device, nrUnits: 2 });
    if (lab.policy.checksGraph) await lab.link(nbd.server, ext3.journal);
    exported = cachedStore(lab, ext3, ext3.file('/swapfile', SWAP_PAGES));
    stage.begins();
    await lab.kernel.swapOn(device, { format: true });
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};
