/**
 * Where a bitmap is kept: `FileStore` for a pinned file, and one for the members of the array itself. Nothing here allocates arena memory once it
 * is made. One call at a time; whoever reads or writes pages keeps them in place until it ends.
 */
import type { NegErrno } from '@tidemark/core';

export interface BitmapStore {
  /** For people: what it lies on. */
  readonly name: string;
  /** Bytes there are for the bitmap. */
  readonly spaceBytes: number;
  /** Copies there are to read now. */
  readonly nrCopies: number;
  /** Writes pages of the bitmap from their frames; they are durable when it ends. One flush, however many. */
  writeDurably(pages: Uint32Array, count: number): Promise<0 | NegErrno>;
  /** Writes one page, to be durable some time. */
  write(page: number): Promise<0 | NegErrno>;
  /** Tells it where the pages are. @throws KernelError EINVAL if they do not fit. */
  bind(pages: StoredPages): void;
  /** Reads one page of a copy into its frame. */
  read(copy: number, page: number): Promise<0 | NegErrno>;
}

/** The frames of a bitmap's pages, for its store. */
export interface StoredPages {
  readonly nrChunks: number;
  readonly nrPages: number;
  readonly pfns: Uint32Array;
  addressOf(page: number): number;
}
