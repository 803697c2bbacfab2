/**
 * A model of RAID1 with a write-intent bitmap (M17): two members, and one page of bits that stands in memory. A write to a chunk whose bit
 * is clear waits until the bitmap with that bit is on its backing; then both members are written.
 */
import { type NegErrno, type Pfn, type StandingMemory, type TaskContext, WaitQueue } from '@tidemark/core';
import type { LabKernel } from './lab-kernel.js';
import type { PageStore } from './model-device.js';
import { ModelNode, type Unit } from './model-node.js';

/** Pages of one bit. */
const CHUNK_PAGES = 8;

export interface ModelRaid1Spec {
  readonly name: string;
  readonly members: readonly PageStore[];
  /** Where the page of bits is kept; given the array, for a bitmap on the array itself. */
  readonly bitmap: (array: ModelRaid1) => PageStore;
  readonly nrUnits: number;
}

export class ModelRaid1 implements PageStore {
  readonly name: string;
  readonly sizePages: number;
  readonly node: ModelNode;
  /** The pin of the page of bits. */
  readonly bitmapNode: ModelNode;
  readonly needs: readonly ModelNode[];
  readonly #members: readonly PageStore[];
  readonly #bitmap: PageStore;
  /** Chunks whose bit is set in memory; those whose bit is on the backing. */
  readonly #set = new Set<number>();
  readonly #stable = new Set<number>();
  readonly #written: WaitQueue;
  #isWriting = false;

  private constructor(
    readonly lab: LabKernel,
    spec: ModelRaid1Spec,
    private readonly bits: StandingMemory,
  ) {
    this.name = spec.name;
    this.#members = spec.members;
    this.sizePages = Math.min(...spec.members.map(({ sizePages }) => sizePages));
    this.node = new ModelNode(lab, {
      name: `${spec.name} array`,
      kind: 'raid1',
      unit: [{ what: 'write request', frames: 1 }],
      nrUnits: spec.nrUnits,
    });
    this.needs = [this.node];
    this.bitmapNode = new ModelNode(lab, { name: `bitmap of ${spec.name}`, kind: 'bitmap-file', unit: [], nrUnits: 1 });
    this.#bitmap = spec.bitmap(this);
    this.#written = new WaitQueue(this.bitmapNode);
  }

  /** Assembles it. @throws KernelError ENOMEM; EDEADLK for a bitmap that lies on the array. */
  static async assemble(lab: LabKernel, spec: ModelRaid1Spec): Promise<ModelRaid1> {
    const { kernel } = lab;
    const bits = await kernel.memory.allocStanding(kernel.task, `bitmap of ${spec.name}`, 1);
    kernel.onShutdown(`bitmap of ${spec.name}`, async () => bits.free());
    const array = new ModelRaid1(lab, spec, bits);
    const below = spec.members.flatMap(({ needs }) => needs);
    const { node, bitmapNode } = array;
    await lab.admit([node, bitmapNode], [[node, bitmapNode], ...below.map((member) => [node, member] as const)]);
    for (const backing of array.#bitmap.needs) {
      if (backing !== node || lab.policy.checksGraph) await lab.link(bitmapNode, backing); // the others did not look
    }
    return array;
  }

  async write(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    const unit = await this.node.begin(task);
    try {
      await unit.take(1);
      await this.#setBit(unit, Math.floor(index / CHUNK_PAGES));
      const writes = await Promise.all(this.#members.map((member) => member.write(unit.task, index, pfn)));
      return writes.find((status) => status !== 0) ?? 0;
    } finally {
      unit.end();
    }
  }

  read(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.#members[0].read(task, index, pfn);
  }

  async flush(task: TaskContext): Promise<0 | NegErrno> {
    const flushes = await Promise.all(this.#members.map((member) => member.flush(task)));
    return flushes.find((status) => status !== 0) ?? 0;
  }

  /** Returns when the chunk's bit is on the backing. One writes the page; the others wait, and write what it has not covered. */
  async #setBit(unit: Unit, chunk: number): Promise<void> {
    this.#set.add(chunk);
    while (!this.#stable.has(chunk)) {
      if (this.#isWriting) {
        await this.#written.wait(unit.task);
        continue;
      }
      this.#isWriting = true;
      const covered = [...this.#set];
      for (const bit of covered) this.bits.bytes[bit >> 3] |= 1 << (bit & 7);
      await unit.waitFor(this.bitmapNode, this.#writeBitmap());
      for (const bit of covered) this.#stable.add(bit);
      this.#isWriting = false;
      this.#written.wakeAll();
    }
  }

  async #writeBitmap(): Promise<void> {
    const unit = await this.bitmapNode.begin(this.node.task);
    const [backing] = this.#bitmap.needs;
    await unit.waitFor(backing, this.#bitmap.write(unit.task, 0, this.bits.pfn));
    await unit.waitFor(backing, this.#bitmap.flush(unit.task));
    unit.end();
  }
}
