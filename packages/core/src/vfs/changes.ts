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

/** Who is told of each change, when it has been made. */
export type ChangeListener = (change: Change) => void;

export class Changes {
  readonly #listeners = new Set<ChangeListener>();
  /** Whom the end is told, listeners or not. */
  readonly #ends = new Set<() => void>();
  #hasEnded = false;

  /**
   * Has `changed` called for each change, and `ended` when the tree is being shut down and there will be no more; neither may throw.
   * @param changed null for one who wants to know of the end only.
   * @returns a function that ends it; null if there are too many, or the tree is being shut down.
   */
  subscribe(changed: ChangeListener | null, ended: () => void = () => {}): (() => void) | null {
    if (this.#hasEnded || this.#ends.size >= LISTENERS_MAX) return null;
    const end = (): void => ended(); // one function for each call
    this.#ends.add(end);
    const listener: ChangeListener | null = changed === null ? null : (change) => changed(change);
    if (listener !== null) this.#listeners.add(listener);
    return () => {
      this.#ends.delete(end);
      if (listener !== null) this.#listeners.delete(listener);
    };
  }

  /** A name of an inode came or went. */
  renamed(dir: Inode, name: string, inode: Inode): void {
    if (this.#listeners.size > 0) this.#tell({ kind: 'rename', dir, name, inode });
  }

  /** Contents or attributes of an inode changed. */
  changed(inode: Inode): void {
    if (this.#listeners.size === 0) return;
    const { namedBy } = inode;
    this.#tell({ kind: 'change', dir: namedBy?.dir ?? null, name: namedBy?.name ?? null, inode });
  }

  #tell(change: Change): void {
    for (const listener of [...this.#listeners]) listener(change);
  }

  /** Lets everybody go, for good. */
  end(): void {
    this.#hasEnded = true;
    const ends = [...this.#ends];
    this.#ends.clear();
    this.#listeners.clear();
    for (const end of ends) end();
  }
}
