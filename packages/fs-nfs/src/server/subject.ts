/**
 * The files a call is about, with what its answer says of them.
 *
 * `before` is what a file was when a change of it began, and is said only if nothing else can have happened in between: if the change was made
 * in one go, without waiting for anything, on a filesystem that nobody else changes. A client that is told a wrong `before` keeps a cache that
 * is not true; one that is told none only asks again.
 */
import { type Inode, type Steps } from '@tidemark/core';
import type { FileAttributes, WeakAttributes, WeakCacheData } from '../protocol/attributes.js';
import { type Export, weakAttributesOf } from './export-table.js';

export class Subject {
  #before: WeakAttributes | null = null;
  #after: FileAttributes | null = null;

  /** Takes over the caller's reference to the inode. */
  constructor(
    readonly target: Export,
    readonly inode: Inode,
  ) {}

  /** A change is about to be made. */
  begin(): void {
    this.#before = this.inode.superblock.isShared ? null : weakAttributesOf(this.inode);
  }

  /** It has been made, or not. */
  end(inOneGo: boolean): void {
    if (!inOneGo) this.#before = null;
    this.#after = this.target.attributesOf(this.inode);
  }

  /** What the file is: as it was right after the change, if there was one. */
  get attributes(): FileAttributes {
    return this.#after ?? this.target.attributesOf(this.inode);
  }

  get wcc(): WeakCacheData {
    return { before: this.#before, after: this.attributes };
  }

  release(): void {
    this.inode.superblock.put(this.inode);
  }
}

/** Makes a change of the subjects, and has them know what they were before and are after it. */
export function* changing<T>(subjects: readonly Subject[], change: Steps<T>): Steps<T> {
  for (const subject of subjects) subject.begin();
  let inOneGo = true;
  try {
    let next = change.next();
    while (next.done !== true) {
      inOneGo = false;
      let value: unknown;
      try {
        value = yield next.value;
      } catch (error) {
        next = change.throw(error);
        continue;
      }
      next = change.next(value);
    }
    return next.value;
  } finally {
    for (const subject of subjects) subject.end(inOneGo);
  }
}
