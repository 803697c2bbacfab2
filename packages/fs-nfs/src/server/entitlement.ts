/**
 * What a client of this kernel is entitled to (M16): a unit of the server for each of its own, and with it the frame of the cache page that a WRITE
 * of it becomes. A unit is taken for each page that is written, and ends when that page counts against it no more: the page is clean, and another
 * frame has taken its place in the server's account, or it is gone (M5). The client's COMMIT brings that about before its own units end, so whoever
 * keeps to its units always finds one here.
 *
 *     WRITE     begin: the page's unit, or a new one → data brought in on it: no dirty limit, no lock of a writer, no ordinary memory → end
 *               → none left: the data are drained, `whenFree` is waited for, and the answer is JUKEBOX: it is the client's wake-up, no clock
 *     COMMIT    committed: units of what is clean now end
 *
 * Pages that others have made dirty again keep their units; when none is left those files are written out on the spot.
 */
import {
  type Inode,
  type NegErrno,
  type TaskContext,
  type UnitPool,
  WaitQueue,
  type WriteoutNode,
  type WriteoutTicket,
} from '@tidemark/core';
import type { OpenFiles, ServedFile } from './open-files.js';
import type { ServedPin } from './pinned-files.js';

/** A unit that is out. */
export interface PageUnit {
  readonly ticket: WriteoutTicket;
  /** WRITEs that bring data in on it now. */
  nrWriting: number;
}

interface HeldFile {
  readonly served: ServedFile;
  /** The unit of each page that was written, by its index. */
  readonly units: Map<number, PageUnit>;
}

export interface EntitlementParts {
  /** Its client. */
  readonly name: string;
  /** The server's node, which its units are of. */
  readonly node: WriteoutNode;
  /** Units that its client has itself. */
  readonly nrUnits: number;
  readonly units: UnitPool;
  readonly files: OpenFiles;
  readonly task: TaskContext;
  /** What it has pinned of an inode. */
  pinOf(inode: Inode): ServedPin | null;
  /** Writes a file out and makes it durable. */
  sync(task: TaskContext, served: ServedFile): Promise<0 | NegErrno>;
}

export class Entitlement {
  readonly #parts: EntitlementParts;
  readonly #files = new Map<Inode, HeldFile>();
  #nrOut = 0;
  readonly #waiting: WaitQueue;
  #writingOut: Promise<void> | null = null;
  #isOver = false;
  /** WRITEs that found no unit. */
  nrWithoutUnit = 0;

  constructor(parts: EntitlementParts) {
    this.#parts = parts;
    this.#waiting = new WaitQueue({ kind: 'unit', name: `of ${parts.node.name} for ${parts.name}`, heldBy: () => [parts.node] });
  }

  /** Units that are out. */
  get nrOut(): number {
    return this.#nrOut;
  }

  /** What its client has pinned of an inode, or null. */
  pinOf(inode: Inode): ServedPin | null {
    return this.#parts.pinOf(inode);
  }

  /** The unit on which page `index` of a file is written, to be given to `end`; null if there is none left. */
  begin(inode: Inode, index: number): PageUnit | null {
    let held = this.#files.get(inode);
    let unit = held?.units.get(index);
    if (unit === undefined) {
      const ticket = this.#isOver || this.#nrOut >= this.#parts.nrUnits ? null : this.#parts.units.tryBegin(this.#parts.task);
      if (ticket === null) {
        this.nrWithoutUnit++;
        return null;
      }
      if (held === undefined) {
        held = { served: this.#parts.files.get(inode), units: new Map() };
        this.#files.set(inode, held);
      }
      unit = { ticket, nrWriting: 0 };
      held.units.set(index, unit);
      this.#nrOut++;
    }
    unit.nrWriting++;
    return unit;
  }

  /** The data are in, or could not be brought in. */
  end(unit: PageUnit): void {
    unit.nrWriting--;
  }

  /** What was written to a file is durable, or a page of it was not written after all: units that hold nothing end. */
  committed(inode: Inode): void {
    const held = this.#files.get(inode);
    if (held === undefined) return;
    inode.pages?.release();
    for (const [index, { ticket, nrWriting }] of held.units) {
      if (ticket.held > 0 || nrWriting > 0) continue;
      held.units.delete(index);
      ticket.end();
      this.#nrOut--;
    }
    if (held.units.size === 0) {
      this.#files.delete(inode);
      this.#parts.files.put(held.served);
    }
    this.#waiting.wakeAll();
  }

  /** Ends when there may be a unit: at once if there is one. Has what holds them written out. */
  async whenFree(task: TaskContext): Promise<void> {
    if (this.#isOver || this.#nrOut < this.#parts.nrUnits) return;
    this.#writingOut ??= this.#writeOut().finally(() => {
      this.#writingOut = null;
    });
    await this.#waiting.wait(task);
  }

  async #writeOut(): Promise<void> {
    const { task, sync } = this.#parts;
    for (const [inode, { served }] of [...this.#files]) {
      await sync(task, served);
      this.committed(inode);
    }
    this.#waiting.wakeAll();
  }

  /** The client is gone: what it wrote is written out, and its units end. */
  async close(): Promise<void> {
    this.#isOver = true;
    await this.#writingOut;
    while (this.#files.size > 0) {
      const before = this.#nrOut;
      await this.#writeOut();
      if (this.#nrOut === before) break; // a disk that fails; the pages keep their frames, and the units with them
    }
    this.#waiting.wakeAll();
  }
}
