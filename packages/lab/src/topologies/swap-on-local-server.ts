/**
 * T8: swap on nbd, whose server lives in this kernel and exports a file of ext3. Outside *composed* the server writes the file through
 * the page cache, as servers do; under *composed* the swap's pin has crossed the local edge, and the server writes the pinned file.
 * Its refused twin: the ext3 lies on the swap's own nbd device.
 */
import type { BlockDevice } from '@tidemark/core';
import { sweepAnonymous } from '../load/anonymous.js';
import { ModelExt3 } from '../models/ext3.js';
import type { LabKernel } from '../models/lab-kernel.js';
import { attachModelDevice } from '../models/model-device.js';
import type { ModelNode } from '../models/model-node.js';
import { ModelNbd } from '../models/nbd.js';
import { cachedStore, deviceStore } from '../models/page-stores.js';
import type { Topology } from '../topology.js';

const FRAMES = 64;
const MIN_FRAMES = 8;
const SWAP_PAGES = 6 * FRAMES;
const FILE_AT = 512;
const NBD_UNITS = 2;

/** What the server exports: the swap file on `disk`, pinned or not. */
async function exportFile(lab: LabKernel, ext3: ModelExt3, disk: BlockDevice, server: ModelNode) {
  if (!lab.policy.pinsBehindServers) return cachedStore(lab, ext3, ext3.file('/swapfile', SWAP_PAGES), () => server);
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
    const nbd = await ModelNbd.connect(lab, 'nbd:0', SWAP_PAGES, NBD_UNITS, (server) => exportFile(lab, ext3, disk, server));
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
    let ext3: ModelExt3 | null = null;
    const nbd = await ModelNbd.connect(lab, 'nbd:0', SWAP_PAGES, NBD_UNITS, async () => {
      const raw = await deviceStore(lab, disk, 'vda', SWAP_PAGES);
      // Until the ext3 on the device is mounted, its blocks go to the disk: the image was made before.
      return {
        ...raw,
        write: (index, pfn) => (ext3 === null || index < FILE_AT ? raw.write(index, pfn) : looped.write(index - FILE_AT, pfn)),
      };
    });
    const device = await attachModelDevice(lab, nbd);
    ext3 = await ModelExt3.mount(lab, { name: 'ext3:nbd0', device, nrUnits: 2 });
    if (lab.policy.checksGraph) await lab.link(nbd.server, ext3.journal);
    const looped = cachedStore(lab, ext3, ext3.file('/swapfile', SWAP_PAGES), () => nbd.server);
    stage.begins();
    await lab.kernel.swapOn(device, { format: true });
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};
