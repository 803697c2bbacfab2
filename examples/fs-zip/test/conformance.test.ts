/** The conformance suite on an archive that zip.js itself has made. */
import { Bio, BioOp, type BlockDevice, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { describeFileSystem } from '@tidemark/testkit/conformance';
import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from '@zip.js/zip.js';
import { describe, it } from 'vitest';
import { fsZip } from '../src/index.js';

async function archive(): Promise<Uint8Array> {
  const writer = new ZipWriter(new Uint8ArrayWriter());
  const text = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * i) % 251);
  await writer.add('first.bin', new Uint8ArrayReader(text(50_000)));
  await writer.add('a/b/stored.bin', new Uint8ArrayReader(text(9_000)), { level: 0 });
  await writer.add('a/empty', new Uint8ArrayReader(new Uint8Array(0)));
  return writer.close();
}

/** Writes bytes to a device. An archive ends with its directory: the device is as long as that, in whole sectors, and the rest a comment. */
async function store(kernel: Kernel, device: BlockDevice, bytes: Uint8Array): Promise<void> {
  const frame = await kernel.memory.allocStanding(kernel.task, 'the archive', 1);
  const whole = new Uint8Array(device.sizeBytes);
  whole.set(bytes);
  const comment = whole.length - bytes.length;
  whole.set([comment & 0xff, comment >> 8], bytes.length - 2);
  for (let at = 0; at < whole.length; at += PAGE_SIZE) {
    frame.bytes.set(whole.subarray(at, at + PAGE_SIZE));
    const bio = new Bio(1).start(BioOp.WRITE, at, kernel.task);
    bio.addSegment(frame.address, PAGE_SIZE);
    await device.submitAndWait(kernel.task, bio);
  }
  frame.free();
}

/** Made on the host's time: what the suite runs is virtual. */
const bytes = await archive();

describeFileSystem(
  {
    name: 'fs-zip',
    plugins: [fsZip],
    diskBytes: 64 * 1024,
    async create({ kernel, device, isFresh }) {
      if (isFresh) await store(kernel, device as BlockDevice, bytes);
      await kernel.mount('zip:disk', '/', { device });
    },
    supports: { readOnly: true, persistent: true },
  },
  { describe, it },
);
