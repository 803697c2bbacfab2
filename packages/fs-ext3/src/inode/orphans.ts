/**
 * Inodes that a crash must not leave half done: those without a name that somebody has open, and those that are being cut in steps. On disk they
 * are a list through `dtime`, from the superblock on, the newest first; here too, because one leaves it by its predecessor.
 */
import { invariant, type Steps } from '@tidemark/core';
import type { LiveSuperblock } from '../alloc/live-superblock.js';
import type { Handle } from '../journal/handle.js';
import type { InodeTable } from './inode-table.js';
import type { Node } from './node.js';

export class Orphans {
  /** The oldest first: the list on disk begins with the last. */
  readonly #list: Node[] = [];

  constructor(
    readonly superblock: LiveSuperblock,
    readonly table: InodeTable,
  ) {}

  has(node: Node): boolean {
    return this.#list.includes(node);
  }

  /** Adds an inode, unless it is there, and writes it. Costs its block and the superblock. */
  *add(handle: Handle, node: Node): Steps<void> {
    if (!this.has(node)) {
      node.raw.dtime = this.superblock.fields.lastOrphan;
      this.#list.push(node);
      this.superblock.change(handle, { lastOrphan: node.ino });
    }
    yield* this.table.write(handle, node);
  }

  /** Removes an inode, if it is there; the caller writes it. Costs the superblock or the block of another inode. */
  *remove(handle: Handle, node: Node): Steps<void> {
    const at = this.#list.indexOf(node);
    if (at < 0) return;
    const next = node.raw.dtime;
    const before = this.#list.at(at + 1);
    this.#list.splice(at, 1);
    node.raw.dtime = 0;
    if (before === undefined) this.superblock.change(handle, { lastOrphan: next });
    else {
      before.raw.dtime = next;
      yield* this.table.write(handle, before);
    }
  }

  /** For mount: an inode that is on the list on disk, in its order there. */
  found(node: Node): void {
    invariant(!this.has(node), 'an orphan was found twice');
    this.#list.unshift(node);
  }
}
