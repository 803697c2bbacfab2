/**
 * Loop: a pinned file as a block device. The pin says where its bytes are and has what its I/O takes, so a request needs nothing of the file's page
 * cache, its block map on disk or its filesystem's journal: only what the device below needs. The file's filesystem stays mounted as long as it is open.
 */
import { Errno, KernelError, type NegErrno } from '../base/errno.js';
import { isPromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { PinnedFile } from '../cache/pinned-file.js';
import type { NodeFootprint } from '../mm/footprint.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import { Completion } from '../task/completion.js';
import type { WaitParty } from '../task/wait-queue.js';
import { TaskContext } from '../task/task-context.js';
import { type Bio, BioOp } from './bio.js';
import type { BlockDeviceOps } from './block-device.js';

const MAX_TRANSFER_BYTES = 256 * PAGE_SIZE;

export class LoopDevice implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes = MAX_TRANSFER_BYTES;
  readonly trusted: boolean;
  /** What it depends on is set aside by the pin, socket or not. */
  readonly viaSocket = false;
  readonly can = { flush: true, fua: false, discard: false, writeZeroes: false };
  readonly needs: readonly WriteoutNode[];
  readonly #file: PinnedFile;
  readonly #transfer: NonNullable<PinnedFile['transfer']>;
  #nrInFlight = 0;
  #isClosed = false;
  #idle: Completion | null = null;

  /**
   * @param name `loop:/path`. @param node what the file is written through.
   * @throws KernelError EOPNOTSUPP for a pin that moves whole pages only.
   */
  constructor(
    readonly name: string,
    file: PinnedFile,
    node: WriteoutNode,
    readonly readOnly: boolean,
  ) {
    if (file.transfer === undefined)
      throw new KernelError('EOPNOTSUPP', `${name}: ${file.name} can be read and written in whole pages only`);
    this.#file = file;
    this.#transfer = file.transfer.bind(file);
    this.needs = [node];
    this.sizeBytes = file.sizePages * PAGE_SIZE;
    this.blockSizeBytes = file.granularityBytes ?? PAGE_SIZE;
    this.trusted = file.trusted;
  }

  /** What it takes: what its pin stands for. */
  footprint(nrUnits: number): NodeFootprint {
    return { standing: [{ what: 'block map and bios of its file', frames: this.#file.standingFrames }], unit: [], nrUnits };
  }

  *waitsFor(): Generator<WaitParty> {
    if (this.#nrInFlight > 0) yield* this.needs;
  }

  submit(bio: Bio): void {
    if (this.#isClosed) {
      bio.end(-Errno.EIO);
      return;
    }
    this.#nrInFlight++;
    const status = this.#run(bio);
    if (isPromise(status)) void status.then((ended) => this.#end(bio, ended));
    else this.#end(bio, status);
  }

  #run(bio: Bio): ReturnType<PinnedFile['flush']> {
    const { task, op } = bio;
    if (op === BioOp.FLUSH) return this.#file.flush(task);
    return this.#transfer(task, op === BioOp.WRITE, bio.offsetBytes, bio.addresses, bio.lengths, bio.nrSegments);
  }

  #end(bio: Bio, status: 0 | NegErrno): void {
    this.#nrInFlight--;
    if (this.#nrInFlight === 0) this.#idle?.complete(0);
    bio.end(status);
  }

  /** Ends with the last request in flight; what is below ends those. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#nrInFlight > 0) {
      this.#idle = new Completion({ kind: 'bio', name: `requests of ${this.name}`, heldBy: () => this.needs });
      await this.#idle.wait(TaskContext.root(this.name));
    }
    await this.#file.release();
  }
}
