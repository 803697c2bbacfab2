/** T11: RAID1 whose write-intent bitmap is a file: on an ext3 beside it, on NFS, on the array itself. Array and ext3 are real. */
import { type BlockDevice, OpenFlag, PAGE_SIZE, type PinTarget, run } from '@tidemark/core';
import { ext3, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { createArray, md, raid1Of } from '@tidemark/md';
import { DiskImage } from '@tidemark/testkit';
import type { LabKernel } from '../models/lab-kernel.js';
import { attachModelDevice } from '../models/model-device.js';
import { deviceStore } from '../models/page-stores.js';
import type { Stage, Topology } from '../topology.js';

const FRAMES = 256;
const ARRAY_PAGES = 512;
/** Superblocks and the space before the data of a small array. */
const METADATA_PAGES = 8;
const DATA_AT = 24 * 512;
const FILESYSTEM_BYTES = ARRAY_PAGES * PAGE_SIZE;
const BITMAP = { chunkBytes: 16_384, daemonSeconds: 1 };
const PLUGINS = () => [md, ext3];

/** RAID1 of two disks, `nrPages` large; without a bitmap. */
export async function assemble(lab: LabKernel, nrPages: number, image?: DiskImage): Promise<BlockDevice> {
  const disks = ['vda', 'vdb'].map((name) => lab.disk(name, nrPages + METADATA_PAGES, image?.clone()));
  return createArray(lab.kernel, disks, { name: '0', assumeEqual: true, start: { name: 'md:0' } });
}

/** Gives it one. @throws KernelError EDEADLK naming the cycle. */
export function addBitmap({ kernel }: LabKernel, array: BlockDevice, file: PinTarget): Promise<void> {
  return raid1Of(kernel, array).addBitmap({ file }, BITMAP);
}

/** A disk with a fresh ext3 from `atBytes` on. */
async function formatted(atBytes: number): Promise<DiskImage> {
  const image = DiskImage.empty();
  const target = {
    name: 'disk',
    sizeBytes: FILESYSTEM_BYTES,
    write: async (offsetBytes: number, bytes: Uint8Array) => image.write(atBytes + offsetBytes, bytes.slice()),
    zero: async () => {},
    flush: async () => {},
  };
  const fixed = { nowSeconds: 0, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  await mkfs(target, planMkfs('disk', FILESYSTEM_BYTES, { ...fixed, blockSize: 1024 }));
  return image;
}

/** Mounts an ext3 and makes a file of a page on it. @returns its path. */
async function fileOn({ kernel }: LabKernel, device: BlockDevice): Promise<string> {
  const { vfs } = kernel;
  await kernel.mount(`ext3:${device.name}`, '/mnt', { device });
  const file = await run(vfs.open(vfs.caller(), '/mnt/bitmap', OpenFlag.READ_WRITE | OpenFlag.CREATE, 0o600));
  if (typeof file === 'number') throw new Error(`the file of the bitmap: ${file}`);
  const written = await run(vfs.data.write(vfs.caller(), file, new Uint8Array(PAGE_SIZE), 0));
  if (written !== PAGE_SIZE) throw new Error(`the file of the bitmap: ${written}`);
  file.release();
  return '/mnt/bitmap';
}

/** Writes through the array's page cache, with half of memory clean pages of it. */
async function writeArray(stage: Stage, { kernel, world }: LabKernel, array: BlockDevice): Promise<void> {
  const cache = kernel.cacheDevice(array);
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
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, plugins: PLUGINS });
    const array = await assemble(lab, ARRAY_PAGES);
    await addBitmap(lab, array, await fileOn(lab, lab.disk('vdc', ARRAY_PAGES, await formatted(0))));
    await writeArray(stage, lab, array);
  },
};

export const T11C: Topology = {
  name: 'T11c',
  title: 'RAID1, file bitmap on the array itself',
  preconditions: 'any',
  transport: null,
  async run(stage) {
    const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, plugins: PLUGINS });
    const array = await assemble(lab, ARRAY_PAGES, await formatted(DATA_AT));
    // The others do not look: their file is a device that tells nobody where it lies.
    const hidden = { ...(await deviceStore(lab, array, 'a file on md:0', 1, ARRAY_PAGES - 1)), needs: [] };
    await addBitmap(lab, array, lab.policy.checksGraph ? await fileOn(lab, array) : await attachModelDevice(lab, hidden));
    await writeArray(stage, lab, array);
  },
};
