/**
 * Block devices of models: a bio is cut into pages, each goes its way as a unit of some node, and the bio ends when all have. The
 * device's own node of the writeout graph needs nothing; it is linked to the nodes that do the work.
 */
import {
  type Bio,
  BioOp,
  type BlockDevice,
  type BlockDeviceOps,
  Errno,
  type NegErrno,
  PAGE_SIZE,
  type Pfn,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';

/** What is behind a model device, page by page; for the task that asks. */
export interface PageStore {
  readonly name: string;
  readonly sizePages: number;
  /** Nodes that writing a page needs. */
  readonly needs: readonly WriteoutNode[];
  write(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno>;
  read(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno>;
  /** Makes what was written durable. */
  flush(task: TaskContext): Promise<0 | NegErrno>;
}

const MAX_TRANSFER_PAGES = 16;

class ModelDevice implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes = PAGE_SIZE;
  readonly maxTransferBytes = MAX_TRANSFER_PAGES * PAGE_SIZE;
  readonly readOnly = false;
  readonly trusted = false;
  readonly viaSocket = false; // its sockets are modelled, and core's hooks for raw devices serve it
  readonly can = { flush: true, fua: false, discard: false, writeZeroes: false };
  readonly #inFlight = new Set<Bio>();
  readonly #task: TaskContext;

  constructor(
    readonly store: PageStore,
    lab: LabKernel,
  ) {
    this.#task = lab.kernel.task.named(store.name);
    this.name = store.name;
    this.sizeBytes = store.sizePages * PAGE_SIZE;
  }

  submit(bio: Bio): void {
    this.#inFlight.add(bio);
    void this.#serve(bio).then((status) => this.#end(bio, status));
  }

  async #serve(bio: Bio): Promise<0 | NegErrno> {
    if (bio.op === BioOp.FLUSH) return this.store.flush(this.#task);
    const pages: Promise<0 | NegErrno>[] = [];
    let index = bio.offsetBytes / PAGE_SIZE;
    for (let i = 0; i < bio.nrSegments; i++) {
      for (let at = 0; at < bio.lengths[i]; at += PAGE_SIZE) {
        const pfn = (bio.addresses[i] + at) / PAGE_SIZE;
        pages.push(bio.op === BioOp.WRITE ? this.store.write(this.#task, index++, pfn) : this.store.read(this.#task, index++, pfn));
      }
    }
    return (await Promise.all(pages)).find((status) => status !== 0) ?? 0;
  }

  #end(bio: Bio, status: 0 | NegErrno): void {
    if (this.#inFlight.delete(bio)) bio.end(status);
  }

  async close(): Promise<void> {
    for (const bio of [...this.#inFlight]) this.#end(bio, -Errno.EIO);
  }
}

/** Attaches a device over a store, with its edges. @throws KernelError EDEADLK naming the cycle. */
export async function attachModelDevice(lab: LabKernel, store: PageStore): Promise<BlockDevice> {
  const device = lab.kernel.attach(new ModelDevice(store, lab));
  const node = await lab.kernel.writeoutNodeOf(device);
  for (const below of store.needs) await lab.link(node, below);
  return device;
}
