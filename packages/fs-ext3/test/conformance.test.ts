/** The conformance suite of `@tidemark/testkit` on ext3, formatted by its own mkfs on a disk in virtual time. */
import { type BlockDevice, Bio, BioOp, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { describeFileSystem, type FileSystemSubject } from '@tidemark/testkit/conformance';
import { describe, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { mkfs } from '../src/mkfs/mkfs.js';
import { planMkfs } from '../src/mkfs/options.js';

const MIB = 2 ** 20;

/** Formats a device of a kernel, a block at a time through one frame. */
async function format(kernel: Kernel, device: BlockDevice, blockSize: number): Promise<void> {
  const frame = await kernel.memory.allocStanding(kernel.task, 'mkfs', 1);
  const bio = new Bio(1);
  const write = async (offsetBytes: number, bytes: Uint8Array): Promise<void> => {
    for (let done = 0; done < bytes.length; done += PAGE_SIZE) {
      const piece = bytes.subarray(done, done + PAGE_SIZE);
      frame.bytes.set(piece);
      bio.start(BioOp.WRITE, offsetBytes + done, kernel.task).addSegment(frame.address, piece.length);
      const status = await device.submitAndWait(kernel.task, bio);
      if (status < 0) throw new Error(`mkfs: ${status}`);
    }
  };
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  const options = { ...fixed, blockSize, journalSize: 1024 * blockSize, bytesPerInode: 8192 };
  const target = { name: device.name, sizeBytes: device.sizeBytes, write, zero: async () => {}, flush: async () => {} };
  await mkfs(target, planMkfs(device.name, device.sizeBytes, options));
  frame.free();
}

const subject: FileSystemSubject = {
  name: 'ext3',
  plugins: [ext3],
  diskBytes: 6 * MIB,
  async create({ kernel, device, isFresh }) {
    if (isFresh) await format(kernel, device as BlockDevice, 1024);
    await kernel.mount('ext3:disk', '/', { device });
  },
  supports: {
    persistent: true,
    crashConsistent: true,
    hardLinks: true,
    symlinks: true,
    specialFiles: true,
    xattrs: true,
    exchange: true,
    punch: true,
    seekHoles: true,
    handles: true,
    pinnedFiles: true,
  },
};

// Mounting costs some milliseconds: every crash point is for TIDEMARK_RUNS, and for crash.test.ts.
describeFileSystem(subject, { describe, it }, { crashPointsMax: 20 * Math.max(1, Number(process.env.TIDEMARK_RUNS ?? 1)) });
