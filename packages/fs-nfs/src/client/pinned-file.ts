/**
 * A pinned file on NFS (M14, M15): what writes pages when memory is gone. Its handle is fixed, its calls are its own (a lane of WRITEs, one of READs, a
 * COMMIT) and stand since the mount; data go by reference. So a call needs the connection, and nothing of the page cache, the units of ordinary
 * writeback, or the attribute cache.
 *
 *     swapOut    WRITE UNSTABLE, remembered under the server's verifier         acknowledged is not durable
 *     flush      COMMIT; another verifier than the writes had: WRITE_AGAIN, once    the server has restarted, or lost something
 *
 * If the server is of this kernel, the file behind it is pinned as well, and the pin crosses the edge by the kernel's table, not on the wire.
 */
import {
  Errno,
  type Inode,
  KernelError,
  type MaybePromise,
  type NegErrno,
  PAGE_SIZE,
  type PinnedFile,
  type PinSpec,
  Semaphore,
  type TaskContext,
  WRITE_AGAIN,
} from '@tidemark/core';
import { Stable } from '../protocol/nfs3-constants.js';
import { commitOf, isSameVerifier } from './committer.js';
import { readPages, writePages } from './file-pages.js';
import { type NfsNode, nodeOf } from './nfs-node.js';
import type { NfsParts } from './nfs-parts.js';

/**
 * Pins a file that core has brought to rest.
 * @throws KernelError EINVAL for a file with a hole, as far as the server tells; ESTALE, EIO and what the server says; what `LocalServer.pin` throws.
 */
export async function pinInode(parts: NfsParts, task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile> {
  const node = nodeOf(inode);
  const name = `inode ${inode.ino} of ${parts.name}`;
  const asked = await parts.calls.getAttributes(task, node.handle);
  const attributes = typeof asked === 'number' ? null : asked.ok;
  if (attributes === null) {
    const status = typeof asked === 'number' ? asked : asked.status;
    throw new KernelError(
      status === -Errno.ESTALE ? 'ESTALE' : 'EIO',
      `${name} cannot be pinned for ${spec.user}: the server does not tell its size`,
    );
  }
  const sizePages = Math.floor(attributes.sizeBytes / PAGE_SIZE);
  if (attributes.usedBytes < sizePages * PAGE_SIZE)
    throw new KernelError(
      'EINVAL',
      `${name} cannot be pinned for ${spec.user}: it has ${attributes.sizeBytes} bytes, of which ${attributes.usedBytes} are there; write the rest first`,
      { details: { ino: inode.ino, sizeBytes: attributes.sizeBytes, usedBytes: attributes.usedBytes } },
    );
  node.nrPins++;
  try {
    return new PinnedNfs(parts, node, name, sizePages, spec, await parts.pinBehind(task, { ...spec, handle: node.handle }));
  } catch (error) {
    node.nrPins--;
    throw error;
  }
}

class PinnedNfs implements PinnedFile {
  readonly trusted = false;
  readonly standingFrames = 0;
  readonly nrUnits: number;
  readonly #units: Semaphore;
  readonly #flushTurn: Semaphore;
  /** Of the writes that were acknowledged and not committed. */
  #verifier: Uint8Array | null = null;
  #nrAcknowledged = 0;
  #nrSettled = 0;
  /** Some of them went to a server that is no more. */
  #hasLosses = false;
  #nrInFlight = 0;
  #isReleased = false;

  constructor(
    private readonly parts: NfsParts,
    private readonly node: NfsNode,
    readonly name: string,
    readonly sizePages: number,
    spec: PinSpec,
    private readonly unpinBehind: () => Promise<void>,
  ) {
    this.nrUnits = Math.max(Math.min(spec.nrUnits, parts.pinnedUnits), 1);
    const heldBy = () => [parts.nodes.rpc];
    this.#units = new Semaphore(this.nrUnits, { kind: 'units', name: `pages of ${name}`, heldBy });
    this.#flushTurn = new Semaphore(1, { kind: 'flush', name, heldBy });
  }

  swapOut(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.#inPieces(task, index, count, this.parts.writeBytes, (at, skip, n) => this.#write(task, at, pfns, from + skip, n));
  }

  swapIn(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    const { parts, node } = this;
    return this.#inPieces(task, index, count, parts.readBytes, (at, skip, n) =>
      readPages(parts, task, node, at, pfns, from + skip, n, true),
    );
  }

  /** Does `work` with as many pages at a time as there are units. All pieces are tried; the first failure counts. */
  async #inPieces(
    task: TaskContext,
    index: number,
    count: number,
    bytesMax: number,
    work: (index: number, skip: number, count: number) => Promise<0 | NegErrno>,
  ): Promise<0 | NegErrno> {
    if (this.#isReleased) return -Errno.EIO;
    if (index < 0 || index + count > this.sizePages) return -Errno.EINVAL;
    const perCall = Math.max(Math.min(Math.floor(bytesMax / PAGE_SIZE), this.nrUnits), 1);
    this.#nrInFlight++;
    let status: NegErrno = 0;
    const pieces: Promise<void>[] = [];
    for (let done = 0; done < count && status === 0; done += perCall) {
      const n = Math.min(perCall, count - done);
      const begun = await this.#units.acquire(task, n);
      if (begun < 0) {
        status ||= begun;
        break;
      }
      const piece = work(index + done, done, n).then((ended) => {
        this.#units.release(n);
        status ||= ended;
      });
      pieces.push(piece);
    }
    await Promise.all(pieces);
    this.#nrInFlight--;
    return status;
  }

  async #write(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    const { parts, node } = this;
    const written = await writePages(parts, task, node, index, pfns, from, count * PAGE_SIZE, Stable.UNSTABLE, true);
    if (typeof written === 'number') return written;
    if (written === 'again') return this.#write(task, index, pfns, from, count); // a restart between two calls of it: the pages are here
    const { verifier } = written;
    if (verifier === null) return 0;
    const isKnown = this.#verifier !== null && isSameVerifier(this.#verifier, verifier);
    if (!isKnown && this.#nrAcknowledged > this.#nrSettled) this.#hasLosses = true;
    this.#verifier = verifier;
    this.#nrAcknowledged++;
    return 0;
  }

  async flush(task: TaskContext): Promise<0 | NegErrno> {
    const turn = await this.#flushTurn.acquire(task);
    if (turn < 0) return turn;
    const status = await this.#flush(task);
    this.#flushTurn.release();
    return status;
  }

  async #flush(task: TaskContext): Promise<0 | NegErrno> {
    if (this.#isReleased) return -Errno.EIO;
    const mark = this.#nrAcknowledged;
    if (mark === this.#nrSettled) return 0;
    const verifier = this.#verifier as Uint8Array;
    const answer = await commitOf(this.parts, task, this.node, true);
    if (typeof answer === 'number') return answer;
    const isLost = this.#hasLosses || !isSameVerifier(verifier, answer);
    this.#hasLosses = false;
    this.#nrSettled = mark;
    return isLost ? WRITE_AGAIN : 0;
  }

  /** What it needs is the mount's connection: that is cut. */
  cutOff(): Promise<void> {
    this.#isReleased = true;
    return this.parts.cutOff();
  }

  async release(): Promise<void> {
    if (this.#nrInFlight > 0) throw new KernelError('EBUSY', `${this.name} has ${this.#nrInFlight} calls in flight`);
    this.#isReleased = true;
    await this.unpinBehind();
    this.node.nrPins--;
    this.parts.cache.expire(this.node);
  }
}
