/**
 * A bitmap in a file, through a `PinnedFile` and nothing else (M14): whatever lies underneath has promised that `swapOut` and `flush`
 * complete when memory is gone, and that the file stays in place (trap 9). Whoever pinned it releases it.
 */
import { KernelError, type NegErrno, PAGE_SIZE, type PinnedFile, type TaskContext, WRITE_AGAIN } from '@tidemark/core';
import type { BitmapStore, StoredPages } from './store.js';

/** Times that pages are written again for a backing that lost them, before it is given up. */
const WRITE_AGAIN_MAX = 8;

export class FileStore implements BitmapStore {
  readonly name: string;
  readonly spaceBytes: number;
  readonly nrCopies = 1;
  #unflushed: Uint8Array | null = null;
  #pages: StoredPages | null = null;

  constructor(
    private readonly file: PinnedFile,
    private readonly task: TaskContext,
  ) {
    this.name = file.name;
    this.spaceBytes = file.sizePages * PAGE_SIZE;
  }

  /** Binds the frames. @throws KernelError EINVAL if the file is too small. */
  bind(pages: StoredPages): void {
    if (pages.nrPages > this.file.sizePages)
      throw new KernelError('EINVAL', `${this.name} has ${this.file.sizePages} pages, and the bitmap needs ${pages.nrPages}`);
    this.#pages = pages;
    this.#unflushed = new Uint8Array(pages.nrPages);
  }

  async writeDurably(pages: Uint32Array, count: number): Promise<0 | NegErrno> {
    for (let i = 0; i < count; i++) {
      const status = await this.write(pages[i]);
      if (status !== 0) return status;
    }
    for (let attempt = 0; ; attempt++) {
      const status = await this.file.flush(this.task);
      const isLost = status === WRITE_AGAIN && attempt < WRITE_AGAIN_MAX;
      if (!isLost) {
        if (status === 0) this.#unflushed?.fill(0);
        return status;
      }
      const again = await this.#writeUnflushed();
      if (again !== 0) return again;
    }
  }

  /** The server restarted: every page since the last good flush may be gone. */
  async #writeUnflushed(): Promise<0 | NegErrno> {
    const unflushed = this.#unflushed as Uint8Array;
    for (let page = 0; page < unflushed.length; page++) {
      const status = unflushed[page] !== 0 ? await this.write(page) : 0;
      if (status !== 0) return status;
    }
    return 0;
  }

  async write(page: number): Promise<0 | NegErrno> {
    const { pfns } = this.#pages as StoredPages;
    (this.#unflushed as Uint8Array)[page] = 1;
    return this.file.swapOut(this.task, page, pfns, page, 1);
  }

  async read(_copy: number, page: number): Promise<0 | NegErrno> {
    return this.file.swapIn(this.task, page, (this.#pages as StoredPages).pfns, page, 1);
  }
}
