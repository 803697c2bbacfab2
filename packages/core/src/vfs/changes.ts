/** Who wants to know what changes: told at once, by whoever changes it. Costs a comparison while nobody listens. */
import type { Inode } from './inode.js';

/** Most listeners of a kernel. */
const LISTENERS_MAX = 8192;

/** One change. */
export interface Change {
  /** A name came or went; or contents or attributes changed. */
  readonly kind: 'rename' | 'change';
  /** Where the name is; null if the name cache does not know one of what was changed by way of an open file or a handle. */
  readonly dir: Inode | null;
  readonly name: string | null;
  readonly inode: Inode;
}

/** One who wants to know; neither call may throw. */
export interface ChangeListener {
  /** Absent for one who wants to know of the end only. */
  changed?(change: Change): void;
  /** The tree is being shut down: there will be no more. */
  ended(): void;
}

export class Changes {
  readonly #listeners = new Set<ChangeListener>();
  /** Those of them who want to know of each change. */
  #nrCurious = 0;
  #hasEnded = false;

  /** @returns a function that ends it; null if there are too many, or the tree is being shut down. */
  subscribe(listener: ChangeListener): (() => void) | null {
    if (this.#hasEnded || this.#listeners.size >= LISTENERS_MAX) return null;
    this.#listeners.add(listener);
    const weight = listener.changed === undefined ? 0 : 1;
    this.#nrCurious += weight;
    return () => {
      if (this.#listeners.delete(listener)) this.#nrCurious -= weight;
    };
  }

  /** A name of an inode came or went. */
  renamed(dir: Inode, name: string, inode: Inode): void {
    if (this.#nrCurious > 0) this.#tell({ kind: 'rename', dir, name, inode });
  }

  /** Contents or attributes of an inode changed. */
  changed(inode: Inode): void {
    if (this.#nrCurious === 0) return;
    const { namedBy } = inode;
    this.#tell({ kind: 'change', dir: namedBy?.dir ?? null, name: namedBy?.name ?? null, inode });
  }

  #tell(change: Change): void {
    for (const listener of [...this.#listeners]) listener.changed?.(change);
  }

  /** Lets everybody go, for good. */
  end(): void {
    this.#hasEnded = true;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    this.#nrCurious = 0;
    for (const listener of listeners) listener.ended();
  }
}
