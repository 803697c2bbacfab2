/** Who wants to know what changes: told at once, by whoever changes it. Costs a comparison while nobody listens. */
import type { Inode } from './inode.js';

/** Most listeners of a kernel. */
const LISTENERS_MAX = 8192;

/** One change. */
export interface Change {
  /** A name came or went; or contents or attributes changed. */
  readonly kind: 'rename' | 'change';
  /** Where the name is; null for a change that was made by way of an open file. */
  readonly dir: Inode | null;
  readonly name: string | null;
  readonly inode: Inode;
}

export class Changes {
  readonly #listeners = new Set<(change: Change) => void>();

  /** Has `listener` called for each change; it must not throw. @returns a function that ends it; null if there are too many. */
  subscribe(listener: (change: Change) => void): (() => void) | null {
    if (this.#listeners.size >= LISTENERS_MAX) return null;
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** A name of an inode came or went. */
  renamed(dir: Inode, name: string, inode: Inode): void {
    if (this.#listeners.size > 0) this.#tell({ kind: 'rename', dir, name, inode });
  }

  /** Contents or attributes of an inode changed. */
  changed(inode: Inode): void {
    if (this.#listeners.size > 0) this.#tell({ kind: 'change', dir: null, name: null, inode });
  }

  #tell(change: Change): void {
    for (const listener of [...this.#listeners]) listener(change);
  }
}
