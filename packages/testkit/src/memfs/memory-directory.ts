/** The entries of one directory of memfs, in the order in which they were made: an entry's cookie is how many were made before, plus one. */
import type { DirectorySink } from '@tidemark/core';

/** One name. */
export interface MemoryEntry {
  readonly ino: number;
  /** Type bits of the mode. */
  readonly type: number;
  readonly cookie: number;
}

export class MemoryDirectory {
  readonly #entries = new Map<string, MemoryEntry>();
  #nrMade = 0;
  /** Where the last reader stopped: a reader that goes on there need not look for its place. */
  #stopped: { cookie: number; rest: Iterator<[string, MemoryEntry]> } | null = null;

  /** @param parent number of the directory above. */
  constructor(public parent: number) {}

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  get(name: string): MemoryEntry | undefined {
    return this.#entries.get(name);
  }

  /** Makes a name, or has it stand for another inode: then it is a new entry. */
  set(name: string, ino: number, type: number): void {
    this.#entries.delete(name);
    this.#entries.set(name, { ino, type, cookie: ++this.#nrMade });
  }

  delete(name: string): void {
    this.#entries.delete(name);
  }

  /** Gives the entries behind a cookie. Entries made or removed meanwhile do not disturb it. */
  read(after: number, sink: DirectorySink): void {
    const rest = this.#stopped?.cookie === after ? this.#stopped.rest : this.#entries.entries();
    this.#stopped = null;
    for (let next = rest.next(); next.done !== true; next = rest.next()) {
      const [name, { ino, type, cookie }] = next.value;
      if (cookie <= after || sink.add(name, ino, type, cookie)) continue;
      this.#stopped = { cookie, rest };
      return;
    }
  }
}
