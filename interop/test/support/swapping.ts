/**
 * A working set on swap, and what it must hold: each page of a buffer carries its number and its version, so that a page that is lost,
 * stale or another's is told from a right one.
 */
import { isKernelError, type Kernel } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import { firstDifference, PAGE_BYTES, pageBytes } from './bytes.js';

let nrSets = 0;

export class WorkingSet {
  readonly nrPages: number;
  /** Version of each page; 0 is the page of zeroes a buffer begins with. */
  readonly #versions: Uint32Array;
  readonly #target = new Uint8Array(PAGE_BYTES);
  readonly #number = nrSets++;

  private constructor(readonly buffer: PagedBuffer) {
    this.nrPages = buffer.sizeBytes / PAGE_BYTES;
    this.#versions = new Uint32Array(this.nrPages);
  }

  static async create(kernel: Kernel, sizeBytes: number): Promise<WorkingSet> {
    return new WorkingSet(await PagedBuffer.create(kernel, { sizeBytes }));
  }

  /** Writes the next version of a page. */
  async write(page: number): Promise<void> {
    const version = this.#versions[page] + 1;
    await this.buffer.write(page * PAGE_BYTES, pageBytes(this.#number, page, version));
    this.#versions[page] = version;
  }

  /** @returns true if the page reads as it must, false if its read ends with EIO. @throws Error if it holds anything else. */
  async reads(page: number): Promise<boolean> {
    try {
      await this.buffer.read(page * PAGE_BYTES, this.#target);
    } catch (error) {
      if (isKernelError(error) && error.code === 'EIO') return false;
      throw error;
    }
    const version = this.#versions[page];
    const want = version === 0 ? new Uint8Array(PAGE_BYTES) : pageBytes(this.#number, page, version);
    if (firstDifference(this.#target, want) >= 0)
      throw new Error(`page ${page} of ${this.buffer.name} holds wrong bytes; it is in version ${version}`);
    return true;
  }

  async writeAll(): Promise<void> {
    for (let page = 0; page < this.nrPages; page++) await this.write(page);
  }

  /** Reads every page. @returns how many ended with EIO. */
  async countLost(): Promise<number> {
    let nrLost = 0;
    for (let page = 0; page < this.nrPages; page++) if (!(await this.reads(page))) nrLost++;
    return nrLost;
  }

  close(): void {
    this.buffer.close();
  }
}
