/**
 * Files that the server has open: NFS has no open and close, so a file stays open from its first READ or WRITE until its place is wanted.
 *
 * An open file remembers what a stateless protocol forgets: where its reader goes on (readahead), and which failures to write it back nobody has
 * been told of. Whoever uses one says when it is done (`put`). One that holds writes no COMMIT has covered keeps its place until they are on
 * their way; when all places are taken by such, the next file gets none: it is closed after use, and its writes are made stable at once.
 */
import { type Inode, OpenFile, OpenFlag } from '@tidemark/core';

/** An open file in use. */
export interface ServedFile {
  readonly file: OpenFile;
  /** It stays open, so what is written to it may wait for a COMMIT. */
  readonly isKept: boolean;
  nrUsers: number;
  /** Writes that were made, and how many of them are known to be stable. */
  nrWrites: number;
  nrCommitted: number;
}

function isUncommitted({ nrWrites, nrCommitted }: ServedFile): boolean {
  return nrCommitted < nrWrites;
}

export class OpenFiles {
  /** Oldest use first. */
  readonly #kept = new Map<Inode, ServedFile>();

  /**
   * @param table the kernel's open files.
   * @param onLost what was written and acknowledged may be lost.
   */
  constructor(
    private readonly table: Set<OpenFile>,
    private readonly nrMost: number,
    private readonly onLost: () => void,
  ) {}

  get nrOpen(): number {
    return this.#kept.size;
  }

  /** A regular file, open; to be given back with `put`. */
  get(inode: Inode): ServedFile {
    let served = this.#kept.get(inode);
    if (served === undefined) {
      const isKept = this.#kept.size < this.nrMost || this.#makeRoom();
      inode.nrRefs++; // of the open file: it gives it back itself
      served = { file: new OpenFile(inode, OpenFlag.READ_WRITE, this.table), isKept, nrUsers: 0, nrWrites: 0, nrCommitted: 0 };
    } else this.#kept.delete(inode);
    if (served.isKept) this.#kept.set(inode, served);
    served.nrUsers++;
    return served;
  }

  put(served: ServedFile): void {
    if (--served.nrUsers > 0) return;
    if (!served.isKept) this.#close(served);
    else if (served.file.inode.nlink === 0) this.#forget(served);
  }

  /** Names were taken away: files that have none left need not stay. */
  dropUnlinked(): void {
    for (const served of this.#kept.values()) if (served.nrUsers === 0 && served.file.inode.nlink === 0) this.#forget(served);
  }

  /** Closes the file that was not used for longest, of those that nobody uses and nothing is to be written of. */
  #makeRoom(): boolean {
    for (const served of this.#kept.values()) {
      if (served.nrUsers > 0) continue;
      if (isUncommitted(served) && (served.file.inode.pages?.nrDirty ?? 0) > 0) continue;
      this.#forget(served);
      return true;
    }
    return false;
  }

  #forget(served: ServedFile): void {
    this.#kept.delete(served.file.inode);
    this.#close(served);
  }

  #close(served: ServedFile): void {
    const { file } = served;
    if (isUncommitted(served) && file.inode.nlink > 0 && file.takeError() < 0) this.onLost();
    file.release();
  }

  /** Those with writes that no COMMIT has covered: for the end of the server. */
  uncommitted(): ServedFile[] {
    return [...this.#kept.values()].filter(isUncommitted);
  }

  /** Closes all; nobody uses one any more. */
  close(): void {
    for (const served of [...this.#kept.values()]) this.#forget(served);
  }
}
