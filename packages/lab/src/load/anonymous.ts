/** The load of swap's topologies: an anonymous set several times as large as memory, written and read back. */
import { PAGE_SIZE } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import type { LabKernel } from '../models/lab-kernel.js';

/** Writes an anonymous set of `nrPages` and reads every other page back, each compared. */
export async function sweepAnonymous(lab: LabKernel, nrPages: number): Promise<void> {
  const { world, kernel } = lab;
  await world.together(async (step) => {
    const buffer = await PagedBuffer.create(kernel, { name: 'anonymous', sizeBytes: nrPages * PAGE_SIZE });
    const page = new Uint8Array(PAGE_SIZE);
    const word = new DataView(page.buffer);
    for (let index = 0; index < nrPages; index++) {
      word.setUint32(0, index + 1);
      await buffer.write(index * PAGE_SIZE, page);
      world.progress();
      if (index % 8 === 0) await step();
    }
    for (let index = 0; index < nrPages; index += 2) {
      await buffer.read(index * PAGE_SIZE, page);
      if (word.getUint32(0) !== index + 1) throw new Error(`anonymous page ${index} came back as page ${word.getUint32(0) - 1}`);
      world.progress();
    }
    buffer.close();
  });
}
