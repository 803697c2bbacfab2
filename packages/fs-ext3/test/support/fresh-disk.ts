/** Simulated disks with a filesystem on them. */
import { DiskImage } from '@tidemark/testkit';
import { mkfs } from '../../src/mkfs/mkfs.js';
import { type MkfsOptions, planMkfs } from '../../src/mkfs/options.js';

/** What is on a disk that was just formatted. */
export async function freshDisk(sizeBytes: number, options: Partial<MkfsOptions>): Promise<DiskImage> {
  const image = DiskImage.empty();
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  const target = {
    name: 'disk',
    sizeBytes,
    write: async (offsetBytes: number, bytes: Uint8Array) => image.write(offsetBytes, bytes.slice()),
    zero: async () => {},
    flush: async () => {},
  };
  await mkfs(target, planMkfs('disk', sizeBytes, { ...fixed, ...options }));
  return image;
}

/** The bytes of an image. */
export function bytesOf(image: DiskImage, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  image.read(0, bytes);
  return bytes;
}
