/** A kernel in virtual time with one file behind a page cache. */
import { Kernel, PageCache } from '@tidemark/core';
import { FileBacking, type FileBackingOptions } from './file-backing.js';
import { VirtualTime, virtualHost } from './virtual-time.js';

export interface FileWorld {
  readonly time: VirtualTime;
  readonly kernel: Kernel;
  readonly file: FileBacking;
  readonly cache: PageCache;
}

/** Boots it. Frames hold rubbish, so that what nobody wrote shows. */
export async function bootFile(memory: number | string, options: Partial<FileBackingOptions> = {}, isSync = false): Promise<FileWorld> {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory, plugins: [virtualHost(time)] });
  const { arena } = kernel.memory;
  arena.view(0, 1); // chunks are there
  for (let pfn = 0; pfn < kernel.memory.nrFrames; pfn++) arena.view(pfn * 4096, 4096).fill(0xee);
  const file = new FileBacking({ arena, ...(isSync ? {} : { time }), ...options });
  return { time, kernel, file, cache: addFile(kernel, file, 'file') };
}

/** One more file; closed at shutdown. */
export function addFile(kernel: Kernel, file: FileBacking, name: string): PageCache {
  const cache = new PageCache(kernel.cacheParts, name, file);
  kernel.onShutdown(name, async () => {
    const status = await cache.close(kernel.task);
    if (status < 0) throw new Error(`closing ${name}: ${status}`);
  });
  return cache;
}
