/** Blocks of the device for recovery, one at a time through one frame. */
import { BioOp, errorFrom, type StandingMemory, type TaskContext } from '@tidemark/core';
import { addressOf, type BlockIo } from '../device/block-io.js';
import type { BlockStore } from './recovery.js';

export class DeviceStore implements BlockStore {
  constructor(
    readonly task: TaskContext,
    readonly io: BlockIo,
    readonly frame: StandingMemory,
    readonly blockSize: number,
    readonly nrBlocks: number,
  ) {}

  async #transfer(op: BioOp, block: number): Promise<void> {
    const transfer = this.io.begin(this.task, op);
    await transfer.add(block * this.blockSize, addressOf(this.frame.pfn), this.blockSize);
    const status = await transfer.end();
    if (status < 0) throw errorFrom(status, `${op === BioOp.READ ? 'read' : 'write'} block ${block} of ${this.io.device.name}`, { block });
  }

  async read(block: number, bytes: Uint8Array): Promise<void> {
    await this.#transfer(BioOp.READ, block);
    bytes.set(this.frame.bytes.subarray(0, this.blockSize));
  }

  async write(block: number, bytes: Uint8Array): Promise<void> {
    this.frame.bytes.set(bytes);
    await this.#transfer(BioOp.WRITE, block);
  }

  async flush(): Promise<void> {
    const status = await this.io.flush(this.task);
    if (status < 0) throw errorFrom(status, `flush ${this.io.device.name}`);
  }
}
