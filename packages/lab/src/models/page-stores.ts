/**
 * Places where pages can be kept, for model devices and model servers: a whole device, a pinned file, a file through its page cache.
 */
import { type BlockDevice, DeviceIo, PAGE_SIZE, type Pfn } from '@tidemark/core';
import type { CachedFile } from './cached-file.js';
import type { ModelExt3 } from './ext3.js';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';

const IO_UNITS = 16;

/** A device with its bios pre-attached, from byte `firstPage` on: a whole disk, or a file that is pinned and whose map is in memory (M14). */
export async function deviceStore(lab: LabKernel, device: BlockDevice, name: string, sizePages: number, firstPage = 0): Promise<PageStore> {
  const io = new DeviceIo(lab.kernel.memory, device, IO_UNITS);
  device.onClose(() => io.release());
  return {
    name,
    sizePages,
    needs: [await lab.kernel.writeoutNodeOf(device)],
    write: async (task, index, pfn) => io.write(task, (firstPage + index) * PAGE_SIZE, Uint32Array.of(pfn), 0, 1),
    read: async (task, index, pfn) => io.read(task, (firstPage + index) * PAGE_SIZE, Uint32Array.of(pfn), 0, 1),
    flush: async (task) => io.flush(task),
  };
}

/** A file of `ext3` from block `firstBlock` on, written past the page cache: each page is a data unit of the filesystem. */
export function fileStore(ext3: ModelExt3, name: string, sizePages: number, firstBlock: number): PageStore {
  return {
    name,
    sizePages,
    needs: [ext3.data],
    write: (task, index, pfn) => ext3.writePage(task, firstBlock + index, Uint32Array.of(pfn), 0),
    read: async (task, index, pfn) => ext3.io.read(task, (firstBlock + index) * PAGE_SIZE, Uint32Array.of(pfn), 0, 1),
    flush: async (task) => ext3.io.flush(task),
  };
}

/**
 * A file as a server has it that did not pin it: every write is one more dirty page, which is nobody's unit's; every flush writes them all.
 * The page is taken with whatever right the task has.
 */
export function cachedStore(lab: LabKernel, ext3: ModelExt3, file: CachedFile): PageStore {
  const { arena, allocator } = lab.kernel.memory;
  const pageOf = (pfn: Pfn): Uint8Array => arena.view(pfn * PAGE_SIZE, PAGE_SIZE);
  const giveUp = (index: number): void => {
    const pfn = file.cache.lookup(index);
    if (pfn >= 0) allocator.exchange(pfn);
  };
  return {
    name: file.name,
    sizePages: file.cache.sizeBytes / PAGE_SIZE,
    needs: [ext3.journal],
    write: async (task, index, pfn) => {
      await lab.insist(task, () => file.write(task.localThrottle(ext3.spec.device), index, pageOf(pfn)));
      giveUp(index);
      lab.note(task.name, `has dirtied page ${index}`);
      return 0;
    },
    read: async (task, index, pfn) => {
      await lab.insist(task, () => file.read(task, index, pageOf(pfn)));
      giveUp(index);
      return 0;
    },
    flush: async (task) => {
      await file.sync(task);
      return 0;
    },
  };
}
