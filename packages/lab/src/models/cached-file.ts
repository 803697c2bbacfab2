/**
 * A file of a model: the real core's page cache over the model's operations. Calls take whole pages; what fails is thrown.
 */
import {
  type AddressSpaceOperations,
  errnoName,
  KernelError,
  type NegErrno,
  PAGE_SIZE,
  PG,
  PageCache,
  type Pfn,
  type TaskContext,
} from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';

export class CachedFile {
  readonly cache: PageCache;

  constructor(
    readonly lab: LabKernel,
    readonly name: string,
    ops: AddressSpaceOperations,
  ) {
    const { kernel } = lab;
    this.cache = new PageCache(kernel.cacheParts, name, ops);
    kernel.onShutdown(`file ${name}`, async () => this.#check('close', await this.cache.close(kernel.task)));
  }

  /** Writes one page. @throws KernelError. */
  async write(task: TaskContext, index: number, page: Uint8Array): Promise<void> {
    this.#check(`write page ${index} of`, await this.cache.write(task, index * PAGE_SIZE, page));
  }

  /** Reads one page in. @throws KernelError. */
  async read(task: TaskContext, index: number, page: Uint8Array): Promise<void> {
    this.#check(`read page ${index} of`, await this.cache.read(task, index * PAGE_SIZE, page));
  }

  /** Writes what is dirty and makes it durable. @throws KernelError. */
  async sync(task: TaskContext): Promise<void> {
    this.#check('sync', await this.cache.sync(task));
  }

  #check(doing: string, status: number | NegErrno): void {
    if (status < 0) throw new KernelError(errnoName(status), `cannot ${doing} ${this.name}`);
  }

  /** The frame of a page that is in memory, clean, and used by nobody; or -1. */
  cleanFrame(index: number): Pfn {
    const { flags, refs } = this.lab.kernel.memory.frames;
    const pfn = this.cache.lookup(index);
    return pfn >= 0 && refs[pfn] === 0 && (flags[pfn] & (PG.DIRTY | PG.WRITEBACK | PG.LOCKED)) === 0 ? pfn : -1;
  }

  /** Lets go of a page that `cleanFrame` has found. */
  drop(index: number): void {
    const { memory, reclaim } = this.lab.kernel;
    const pfn = this.cleanFrame(index);
    if (pfn < 0) return;
    reclaim.policy.remove(pfn);
    this.cache.evict(pfn, 0);
    memory.allocator.freePage(pfn);
  }
}
