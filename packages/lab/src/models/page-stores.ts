/**
 * Places where pages can be kept, for model devices and model servers: a whole device, a pinned file, a file through its page cache.
 */
import { type BlockDevice, DeviceIo, type NegErrno, PAGE_SIZE, type Pfn, type WriteoutNode } from '@tidemark/core';
import type { CachedFile } from './cached-file.js';
import type { ModelExt3 } from './ext3.js';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';

const IO_UNITS = 16;

/** A device with its bios pre-attached, from byte `firstPage` on: a whole disk, or a file that is pinned and whose map is in memory (M14). */
export async function deviceStore(lab: LabKernel, device: BlockDevice, name: string, sizePages: number, firstPage = 0): Promise<PageStore> {
  const io = new DeviceIo(lab.kernel.memory, device, IO_UNITS);
  device.onClose(() => io.release());
  const { task } = lab.kernel;
  return {
    name,
    sizePages,
    needs: [await lab.kernel.writeoutNodeOf(device)],
    write: async (index, pfn) => io.write(task, (firstPage + index) * PAGE_SIZE, Uint32Array.of(pfn), 0, 1),
    read: async (index, pfn) => io.read(task, (firstPage + index) * PAGE_SIZE, Uint32Array.of(pfn), 0, 1),
    flush: async () => io.flush(task),
  };
}

/** A file as a server has it that did not pin it: every write is one more dirty page, every flush writes them all. */
export function cachedStore(lab: LabKernel, ext3: ModelExt3, file: CachedFile, server: () => WriteoutNode): PageStore {
  const { arena } = lab.kernel.memory;
  const task = () => lab.kernel.task.named(server().name).within(server()).localThrottle(ext3.spec.device);
  return {
    name: file.name,
    sizePages: file.cache.sizeBytes / PAGE_SIZE,
    needs: [ext3.journal],
    write: (index, pfn) => lab.insist(task(), () => file.write(task(), index, arena.view(pfn * PAGE_SIZE, PAGE_SIZE))).then(() => 0),
    read: (index, pfn: Pfn) => lab.insist(task(), () => file.read(task(), index, arena.view(pfn * PAGE_SIZE, PAGE_SIZE))).then(() => 0),
    flush: () => file.sync(task()).then((): 0 | NegErrno => 0),
  };
}
