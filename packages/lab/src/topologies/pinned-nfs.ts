/**
 * T4 and T11b: a file on a remote NFS server, pinned: by a swap area, and by the write-intent bitmap of a RAID1 under the swap area. The
 * calls are a model's, the packets are real.
 */
import type { LabKernel } from '../models/lab-kernel.js';
import { sweepAnonymous } from '../load/anonymous.js';
import { attachModelDevice, type PageStore } from '../models/model-device.js';
import { ModelNfsClient } from '../models/nfs-client.js';
import { RemoteNfs } from '../models/remote-nfs.js';
import type { Topology } from '../topology.js';
import { addBitmap, assemble } from './raid1.js';
import { bootClient, FOREIGN, needsTransport, openIdleSocket, WHOLE } from './swap-over-packets.js';

const FRAMES = 128;
/** With an array on top. */
const ARRAY_FRAMES = 160;
/** Slots for a set of 4 × memory. */
const SWAP_PAGES = 6 * FRAMES;
const PRECONDITIONS = `anonymous set of 4 times memory; ${FOREIGN.ratio} foreign packets with each packet to the client, a ring of as many slots`;

/** Mounts the server and pins a file of it. */
async function pin(lab: LabKernel, nfs: RemoteNfs, name: string, sizePages: number): Promise<PageStore> {
  const client = await ModelNfsClient.mount(lab, 'nfs:/', nfs);
  await needsTransport(lab, client.rpc);
  return client.pinnedStore(name, sizePages, nfs);
}

export const T4: Topology = {
  name: 'T4',
  title: 'swap → NFS, remote',
  preconditions: PRECONDITIONS,
  transport: 'packet',
  async run(stage) {
    const { lab, packets } = await bootClient(stage, { ...WHOLE, nrFrames: FRAMES });
    const nfs = await RemoteNfs.open(lab, packets);
    const device = await attachModelDevice(lab, await pin(lab, nfs, '/mnt/swapfile', SWAP_PAGES));
    await lab.kernel.swapOn(device, { format: true });
    await lab.kernel.reserves.refit(lab.kernel.task, nfs.transport.node);
    await openIdleSocket(lab);
    stage.begins();
    packets.flood(FOREIGN);
    await sweepAnonymous(lab, 4 * FRAMES);
  },
};

export const T11B: Topology = {
  name: 'T11b',
  title: 'swap → RAID1, file bitmap on NFS, remote',
  preconditions: PRECONDITIONS,
  transport: 'packet',
  async run(stage) {
    const { lab, packets } = await bootClient(stage, { ...WHOLE, nrFrames: ARRAY_FRAMES });
    const nfs = await RemoteNfs.open(lab, packets);
    const array = await assemble(lab, 6 * ARRAY_FRAMES);
    await addBitmap(lab, array, await attachModelDevice(lab, await pin(lab, nfs, '/mnt/bitmap', 1)));
    await lab.kernel.swapOn(array, { format: true });
    await lab.kernel.reserves.refit(lab.kernel.task, nfs.transport.node);
    await openIdleSocket(lab);
    stage.begins();
    packets.flood(FOREIGN);
    await sweepAnonymous(lab, 4 * ARRAY_FRAMES);
    await lab.kernel.swapOff(array);
    await array.close(); // what it still has to write goes through models, which a shutdown takes away first
  },
};
