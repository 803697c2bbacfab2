/**
 * One bio that stands, and waits for it: for what an array does for itself (superblocks, bitmap, resync). One call at a time. Runs longer than
 * the device takes are cut.
 */
import { Bio, BioOp, type BlockDevice, type NegErrno, type TaskContext } from '@tidemark/core';

export class SingleIo {
  readonly #bio = new Bio(2); // a run of memory crosses a chunk of the arena once at most

  constructor(
    private readonly device: BlockDevice,
    private readonly task: TaskContext,
  ) {}

  read(offsetBytes: number, address: number, lengthBytes: number): Promise<0 | NegErrno> {
    return this.#transfer(BioOp.READ, offsetBytes, address, lengthBytes, false);
  }

  /** @param durable it is stable when this ends. */
  async write(offsetBytes: number, address: number, lengthBytes: number, durable: boolean): Promise<0 | NegErrno> {
    const fua = durable && this.device.can.fua;
    const status = await this.#transfer(BioOp.WRITE, offsetBytes, address, lengthBytes, fua);
    return status === 0 && durable && !fua ? this.flush() : status;
  }

  async flush(): Promise<0 | NegErrno> {
    return this.device.submitAndWait(this.task, this.#bio.start(BioOp.FLUSH, 0, this.task));
  }

  async #transfer(op: BioOp, offsetBytes: number, address: number, lengthBytes: number, fua: boolean): Promise<0 | NegErrno> {
    for (let done = 0; done < lengthBytes; ) {
      const length = Math.min(lengthBytes - done, this.device.maxTransferBytes);
      const bio = this.#bio.start(op, offsetBytes + done, this.task);
      bio.addSegment(address + done, length);
      bio.fua = fua;
      const status = await this.device.submitAndWait(this.task, bio);
      if (status !== 0) return status;
      done += length;
    }
    return 0;
  }
}
