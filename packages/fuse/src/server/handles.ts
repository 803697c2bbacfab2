/** Files and directories that programs have open through the mount, by the number the kernel was given for each. */
import { Errno, type Inode, type NegErrno, OpenFile, OpenFlag } from '@tidemark/core';
import type { Node, Nodes } from './nodes.js';

/** Most that are open at once. */
const HANDLES_MAX = 65_536;

/** One open file or directory. */
export interface Handle {
  readonly node: Node;
  readonly file: OpenFile;
  /** The first write through it has taken privileges away that a changed program must not have. */
  isStripped: boolean;
}

export class Handles {
  readonly #nodes: Nodes;
  readonly #table: Set<OpenFile>;
  readonly #open = new Map<number, Handle>();
  #last = 0;

  /** @param table the kernel's open files. */
  constructor(nodes: Nodes, table: Set<OpenFile>) {
    this.#nodes = nodes;
    this.#table = table;
  }

  get size(): number {
    return this.#open.size;
  }

  /** True if one more may be opened. */
  get hasRoom(): boolean {
    return this.#open.size < HANDLES_MAX;
  }

  /** A number for an open file, which is taken over. */
  add(node: Node, file: OpenFile): number {
    const number = ++this.#last;
    this.#open.set(number, { node, file, isStripped: false });
    this.#nodes.opened(node, file.inode);
    return number;
  }

  /** A number for a directory, whose reference the caller hands over; `-ENFILE`. */
  addDirectory(node: Node, inode: Inode): number | NegErrno {
    if (this.hasRoom) return this.add(node, new OpenFile(inode, OpenFlag.DIRECTORY, this.#table));
    inode.superblock.put(inode);
    return -Errno.ENFILE;
  }

  /** What a number stands for, of one node. */
  get(number: number, node: Node): Handle | null {
    const handle = this.#open.get(number);
    return handle?.node === node ? handle : null;
  }

  /** Closes one. Files that are being read or written at this moment are, when that is over, found closed. */
  close(number: number): void {
    const handle = this.#open.get(number);
    if (handle === undefined) return;
    this.#open.delete(number);
    handle.file.release();
    this.#nodes.closed(handle.node);
  }

  /** Closes all: the mount is over. */
  dispose(): void {
    for (const number of [...this.#open.keys()]) this.close(number);
  }
}
