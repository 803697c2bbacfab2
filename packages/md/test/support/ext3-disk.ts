/** Disk images with an ext3 on them, alone or as what the members of an array hold. */
import { mkfs, planMkfs } from '@tidemark/fs-ext3';
import { DiskImage } from '@tidemark/testkit';

/** Where the data of a small array begin. */
export const DATA_BYTES = 24 * 512;

/** An image with a fresh ext3 from `atBytes` on. */
export async function ext3Image(sizeBytes: number, atBytes = 0): Promise<DiskImage> {
  const image = DiskImage.empty();
  const target = {
    name: 'disk',
    sizeBytes,
    write: async (offsetBytes: number, bytes: Uint8Array) => image.write(atBytes + offsetBytes, bytes.slice()),
    zero: async () => {},
    flush: async () => {},
  };
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  await mkfs(target, planMkfs('disk', sizeBytes, { ...fixed, blockSize: 1024 }));
  return image;
}
