/**
 * A model of ext3 in ordered mode: two nodes, journal → data → its device (M4, M7).
 *
 *     data      a page being written: one mapping object
 *     journal   a commit: the blocks of the transaction frozen, a descriptor, the commit block; it waits for ordered data first
 *
 * Its files are page caches of the real core. Blocks are mapped when a page becomes dirty, so a page that is written needs nothing but
 * its data unit, unless `mapsAtWriteback`: then each write has to read the bitmap and the indirect block in first.
 */
import {
  type AddressSpaceOperations,
  type BlockDevice,
  DeviceIo,
  Gfp,
  type MaybePromise,
  type NegErrno,
  PAGE_SIZE,
  type Pfn,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { CachedFile } from './cached-file.js';
import type { LabKernel } from './lab-kernel.js';
import { ModelNode, type Unit } from './model-node.js';

/** Blocks of the largest transaction. */
const TRANSACTION_BLOCKS = 1;
/** Metadata blocks that a page write has to read when it maps at writeback. */
const METADATA_BLOCKS = 2;

export interface ModelExt3Spec {
  /** `ext3:vda`. */
  readonly name: string;
  readonly device: BlockDevice;
  /** Data units at once. */
  readonly nrUnits: number;
  /** Where the metadata of a page write is read into, if it was not mapped when it became dirty. */
  readonly mapsAtWriteback?: 'declared memory' | 'ordinary memory';
}

export class ModelExt3 {
  readonly data: ModelNode;
  readonly journal: ModelNode;
  readonly io: DeviceIo;
  #nextBlock = 64;

  private constructor(
    readonly lab: LabKernel,
    readonly spec: ModelExt3Spec,
  ) {
    const { name, nrUnits, mapsAtWriteback } = spec;
    this.io = new DeviceIo(lab.kernel.memory, spec.device, nrUnits);
    spec.device.onClose(() => this.io.release());
    const metadata = mapsAtWriteback === 'declared memory' ? [{ what: 'bitmap and indirect block', frames: METADATA_BLOCKS }] : [];
    this.data = new ModelNode(lab, {
      name: `${name} data`,
      kind: 'filesystem',
      unit: [{ what: 'mapping object', frames: 1 }, ...metadata],
      nrUnits,
    });
    const commit = [
      { what: 'frozen blocks', frames: TRANSACTION_BLOCKS },
      { what: 'descriptor and commit block', frames: 2 },
    ];
    this.journal = new ModelNode(lab, { name: `${name} journal`, kind: 'filesystem', unit: commit, nrUnits: 1 });
  }

  /** Mounts it. @throws KernelError ENOMEM, EDEADLK. */
  static async mount(lab: LabKernel, spec: ModelExt3Spec): Promise<ModelExt3> {
    const device = await lab.kernel.writeoutNodeOf(spec.device);
    const fs = new ModelExt3(lab, spec);
    await lab.admit(
      [fs.journal, fs.data],
      [
        [fs.journal, fs.data],
        [fs.data, device],
      ],
    );
    return fs;
  }

  /** A file whose blocks are allocated. */
  file(name: string, nrPages: number): CachedFile {
    const firstBlock = this.#nextBlock;
    this.#nextBlock += nrPages;
    return new CachedFile(this.lab, name, new Ext3FileOps(this, name, nrPages, firstBlock));
  }

  /** Writes one page of a file to its block. */
  async writePage(caller: TaskContext, block: number, pfns: Uint32Array, at: number): Promise<0 | NegErrno> {
    const unit = await this.data.begin(caller);
    try {
      await unit.take(1);
      await this.#readMetadata(unit);
      return await this.io.write(unit.task, block * PAGE_SIZE, pfns, at, 1);
    } finally {
      unit.end();
    }
  }

  async #readMetadata(unit: Unit): Promise<void> {
    const { mapsAtWriteback } = this.spec;
    if (mapsAtWriteback === undefined) return;
    for (let block = 0; block < METADATA_BLOCKS; block++) {
      if (mapsAtWriteback === 'declared memory') {
        await unit.take(1);
        await this.#readBlock(unit.task, block, unit.lastTaken);
      } else {
        const pfn = await this.lab.allocate(this.data.task, Gfp.FILE);
        await this.#readBlock(unit.task, block, pfn);
        this.lab.kernel.memory.allocator.freePage(pfn);
      }
    }
  }

  #readBlock(task: TaskContext, block: number, pfn: Pfn): MaybePromise<0 | NegErrno> {
    return this.io.read(task, block * PAGE_SIZE, Uint32Array.of(pfn), 0, 1);
  }

  /** Commits the running transaction: one unit of the journal. */
  async commit(caller: TaskContext): Promise<0 | NegErrno> {
    const unit = await this.journal.begin(caller);
    try {
      await unit.take(TRANSACTION_BLOCKS);
      await unit.take(2);
      const status = await this.io.write(unit.task, 8 * PAGE_SIZE, Uint32Array.of(unit.lastTaken), 0, 1);
      return status !== 0 ? status : await this.io.flush(unit.task);
    } finally {
      unit.end();
    }
  }
}

/** A file whose backing is a run of blocks. */
class Ext3FileOps implements AddressSpaceOperations {
  readonly beginsUnits = true;
  readonly device: BlockDevice;
  readonly sizeBytes: number;
  readonly #writer: TaskContext;

  constructor(
    readonly fs: ModelExt3,
    name: string,
    nrPages: number,
    readonly firstBlock: number,
  ) {
    this.sizeBytes = nrPages * PAGE_SIZE;
    this.device = fs.spec.device;
    this.#writer = fs.lab.kernel.task.named(`writer of ${name}`);
  }

  writesThrough(): WriteoutNode {
    return this.fs.data;
  }

  readFolio(task: TaskContext, index: number, pfn: number): MaybePromise<0 | NegErrno> {
    return this.fs.io.read(task, (this.firstBlock + index) * PAGE_SIZE, Uint32Array.of(pfn), 0, 1);
  }

  async writepages(_task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    const pages = Array.from({ length: count }, (_, i) => this.fs.writePage(this.#writer, this.firstBlock + index + i, pfns, from + i));
    return (await Promise.all(pages)).find((status) => status !== 0) ?? 0;
  }

  sync(task: TaskContext): Promise<0 | NegErrno> {
    return this.fs.commit(task);
  }
}
