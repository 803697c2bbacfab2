/** Makes an array on devices, or in files of the host, which it makes if it is told how large. */
import fs from 'node:fs';
import { type BlockDevice, type Kernel, KernelError, PAGE_SIZE } from '@tidemark/core';
import type { FileDeviceOptions } from '@tidemark/core/host';
import { createArray, raid1Of } from '@tidemark/md';
import { DeviceBytes } from '../files/device-bytes.js';
import { whatIsOn } from '../files/used.js';
import { UsageError } from '../outcome.js';
import { perform, type Tell } from './perform.js';
import type { MdAnswer } from './requests.js';
import { inKernel, type StartWords } from './stopped-array.js';
import { pathOf } from './words.js';

const CHUNK_BYTES_LEAST = PAGE_SIZE;
const BITMAP_HEADER_BYTES = 256;

/** What a new array is to be. */
export interface CreateWords extends StartWords {
  readonly name?: string;
  readonly uuid?: Uint8Array;
  readonly raidDisks?: number;
  readonly size?: number;
  readonly chunk?: number;
  readonly daemonSeconds?: number;
  readonly assumeClean?: true;
  readonly force?: true;
  readonly wait: boolean;
}

/** Makes it; files that were made for it are removed if that fails. @throws as `inKernel`, UsageError. */
export async function create(words: readonly string[], options: CreateWords, tell: Tell): Promise<MdAnswer> {
  const { size, bitmap } = options;
  const paths = words.map(pathOf);
  if (size !== undefined && paths.includes(null)) throw new UsageError('--size is for files; the other devices have a size of their own');
  const files = [...(size === undefined ? [] : paths), typeof bitmap === 'object' ? pathOf(bitmap.file) : null];
  const fresh = files.filter((path): path is string => path !== null && !fs.existsSync(path));
  let isMade = false;
  try {
    return await inKernel(options.memory, async (kernel) => {
      const devices: BlockDevice[] = [];
      const asFile: FileDeviceOptions = size === undefined ? {} : { create: true, sizeBytes: size };
      for (const word of words) devices.push(await kernel.openBlockDevice(word, asFile));
      if (options.force !== true) for (const device of devices) await refuseUsed(kernel, device);
      return make(kernel, devices, options, tell, () => {
        isMade = true;
      });
    });
  } catch (error) {
    if (!isMade) for (const path of fresh) fs.rmSync(path, { force: true });
    throw error;
  }
}

async function make(kernel: Kernel, devices: BlockDevice[], options: CreateWords, tell: Tell, onMade: () => void): Promise<MdAnswer> {
  const { name, uuid, raidDisks, chunk, daemonSeconds, assumeClean, bitmap, rate, wait } = options;
  const bitmapOptions = { chunkBytes: chunk, daemonSeconds };
  const file = typeof bitmap === 'object' ? await openBitmapFile(kernel, bitmap.file, devices, options) : null;
  const array = await createArray(kernel, devices, {
    name,
    uuid,
    raidDisks,
    assumeEqual: assumeClean === true,
    bitmap: bitmap === 'internal' ? bitmapOptions : false,
    start: { syncBytesPerSecond: rate ?? Number.POSITIVE_INFINITY },
  });
  const raid = raid1Of(kernel, array);
  if (file !== null) await raid.addBitmap({ file }, bitmapOptions);
  onMade();
  const request = { verb: 'status', array: null, devices: [], force: false, wait } as const;
  const answer = await perform({ kernel, device: array, raid }, request, tell);
  await array.close();
  return answer;
}

/** Opens the file that a bitmap is to be in; one that is not there is made as large as it has to be. */
async function openBitmapFile(kernel: Kernel, word: string, devices: readonly BlockDevice[], options: CreateWords): Promise<BlockDevice> {
  if (pathOf(word) === null) return kernel.openBlockDevice(word);
  const sizeBytes = Math.max(...devices.map((device) => device.sizeBytes));
  const nrChunks = Math.ceil(sizeBytes / Math.max(options.chunk ?? 2 ** 26, CHUNK_BYTES_LEAST));
  const pages = Math.ceil((BITMAP_HEADER_BYTES + Math.ceil(nrChunks / 8)) / PAGE_SIZE);
  return kernel.openBlockDevice<FileDeviceOptions>(word, { create: true, sizeBytes: pages * PAGE_SIZE });
}

/** @throws KernelError EEXIST for a device that somebody may want to keep. */
async function refuseUsed(kernel: Kernel, device: BlockDevice): Promise<void> {
  const what = await DeviceBytes.with(kernel, device, whatIsOn);
  if (what !== null) throw new KernelError('EEXIST', `${device.name} holds ${what}; --force makes an array of it`);
}
