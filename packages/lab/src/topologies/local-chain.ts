/**
 * T6 and T7: a file on NFS mounted from this very host. Each page that the client writes out becomes a new dirty page of the server's
 * file, and that one has to be written, too, before the first is clean.
 */
import { PAGE_SIZE } from '@tidemark/core';
import { ModelExt3 } from '../models/ext3.js';
import type { CachedFile } from '../models/cached-file.js';
import type { LabKernel } from '../models/lab-kernel.js';
import { ModelNfsClient } from '../models/nfs-client.js';
import { attachModelDevice } from '../models/model-device.js';
import { ModelNbd } from '../models/nbd.js';
import { ModelNfsServer } from '../models/nfs-server.js';
import { deviceStore } from '../models/page-stores.js';
import type { Stage, Topology } from '../topology.js';

const FRAMES = 1024;
/** Floors by hand: an arena this small would keep a tenth of itself. */
const MIN_FRAMES = 32;
/** Pages that are dirty when memory runs out: more than the reserve has frames. */
const DIRTY_PAGES = 48;
const NBD_PAGES = 1024;
const NBD_UNITS = 2;

/** Mounts a file of `ext3` over NFS in the kernel that exports it. */
async function mountLocally(lab: LabKernel, ext3: ModelExt3): Promise<CachedFile> {
  const exported = ext3.file('/export/file', DIRTY_PAGES);
  for (let index = 0; index < DIRTY_PAGES; index++) await exported.read(lab.kernel.task, index, new Uint8Array(PAGE_SIZE));
  for (let index = 0; index < DIRTY_PAGES; index++) exported.drop(index); // its inode and index stay
  const server = await ModelNfsServer.export(lab, { fs: ext3, file: exported });
  const client = await ModelNfsClient.mount(lab, 'nfs:/file', server);
  return client.file('/mnt/file', DIRTY_PAGES);
}

/** Dirties the file while there is memory, fills the rest with anonymous pages, and then wants the file written. */
async function writeWhenFull(stage: Stage, lab: LabKernel, file: CachedFile): Promise<void> {
  const { kernel } = lab;
  const page = new Uint8Array(PAGE_SIZE);
  for (let index = 0; index < DIRTY_PAGES; index++) await file.write(kernel.task, index, page.fill(index + 1));
  const { allocator } = kernel.memory;
  const anonymous = await lab.fill(allocator.nrFree - allocator.low - 2);
  const giveBack = lab.drain();
  stage.begins();
  await stage.world.together(() => file.sync(kernel.task.named('fsync /mnt/file')));
  giveBack();
  anonymous.close();
}

export const T6: Topology = {
  name: 'T6',
  title: 'file → NFS → local server → ext3 → disk',
  preconditions: `anonymous nine tenths, no swap, no clean file page; ${DIRTY_PAGES} pages to write, a reserve of ${MIN_FRAMES} frames`,
  transport: 'loopback model',
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES } });
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:vda', device: lab.disk('vda'), nrUnits: 2 });
    await writeWhenFull(stage, lab, await mountLocally(lab, ext3));
  },
};

export const T7: Topology = {
  name: 'T7',
  title: 'file → NFS → local server → ext3 → nbd → local nbd server → disk',
  preconditions: T6.preconditions,
  transport: 'loopback model',
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES } });
    const disk = await deviceStore(lab, lab.disk('vda'), 'vda', NBD_PAGES);
    const nbd = await ModelNbd.connect(lab, { name: 'nbd:0', sizePages: NBD_PAGES, nrUnits: NBD_UNITS }, disk);
    const ext3 = await ModelExt3.mount(lab, { name: 'ext3:nbd0', device: await attachModelDevice(lab, nbd), nrUnits: 2 });
    await writeWhenFull(stage, lab, await mountLocally(lab, ext3));
  },
};
