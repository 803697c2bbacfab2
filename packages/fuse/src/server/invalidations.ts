/**
 * What others change in the tree (a program of this kernel, another server), the operating system is told, so that it may remember names and
 * attributes for long. One notification is under way at a time, because it can wait for locks inside the operating system; those that have not
 * been sent are each kept once. What does not fit is counted, and every name is declared stale at once where the operating system can be told so;
 * elsewhere what it remembers stays until its time is up.
 */
import type { Change } from '@tidemark/core';
import type { FuseChannel } from '../channel.js';
import { MINOR_WITH_EPOCH } from '../protocol/constants.js';
import { invalidateAllNames, invalidateName, invalidateNode } from '../protocol/notifications.js';
import type { Nodes } from './nodes.js';

export class Invalidations {
  /** By what they are about, in the order in which they came. */
  readonly #waiting = new Map<string, () => Uint8Array>();
  #sending: Promise<void> | null = null;
  #hasOverflown = false;
  #isOver = false;
  /** Sent. */
  nrSent = 0;
  /** Not sent, because too many were waiting. */
  nrDropped = 0;

  constructor(
    private readonly channel: FuseChannel,
    private readonly nodes: Nodes,
    private readonly nrMost: number,
  ) {}

  /** Somebody else changed something. @param kernelMinor of the protocol the operating system speaks. */
  changed({ kind, dir, name, inode }: Change, kernelMinor: number): void {
    if (this.#isOver) return;
    const node = this.nodes.of(inode);
    if (node !== null) {
      node.isCacheTrue = false;
      this.#add(`${node.id}`, () => invalidateNode(node.id), kernelMinor);
    }
    const parent = kind === 'rename' && dir !== null ? this.nodes.of(dir) : null;
    if (parent === null || name === null) return;
    const { id } = parent;
    this.#add(`${id}/${name}`, () => invalidateName(id, name), kernelMinor);
    this.#add(`${id}`, () => invalidateNode(id), kernelMinor);
  }

  #add(key: string, make: () => Uint8Array, kernelMinor: number): void {
    if (this.#waiting.has(key)) return;
    if (this.#waiting.size >= this.nrMost) {
      this.nrDropped++;
      if (kernelMinor >= MINOR_WITH_EPOCH) this.#hasOverflown = true;
    } else this.#waiting.set(key, make);
    this.#sending ??= this.#send();
  }

  async #send(): Promise<void> {
    await null; // not in the middle of the change
    while (!this.#isOver && (this.#waiting.size > 0 || this.#hasOverflown)) {
      const [next] = this.#waiting;
      if (next !== undefined) this.#waiting.delete(next[0]);
      else this.#hasOverflown = false;
      await this.channel.notify(next === undefined ? invalidateAllNames() : next[1]());
      this.nrSent++;
    }
    this.#sending = null;
  }

  /** No more are sent; ends when the one under way has been. */
  async close(): Promise<void> {
    this.#isOver = true;
    this.#waiting.clear();
    await this.#sending;
  }
}
