/**
 * The bytes of a block device, at any offset: what a check reads by and `mkfs` writes by. One window of arena memory, read when it is
 * entered and written when it is left, if anything in it has changed.
 *
 * What is made zero and is zero already is not written, so that holes of an image stay holes; a device behind a socket is told to write the
 * zeroes itself, if it can.
 */
import { Bio, BioOp, type BlockDevice, errorFrom, type Kernel, KernelError, PAGE_SIZE, type StandingMemory } from '@tidemark/core';

const WINDOW_BYTES = 16 * PAGE_SIZE;
/** Zeroes asked of a device at once. */
const ZERO_BYTES = 32 * 2 ** 20;

export class DeviceBytes {
  readonly name: string;
  /** Whole blocks of the device. */
  readonly sizeBytes: number;
  readonly #windowBytes: number;
  readonly #bio = new Bio(2);
  /** Offset of the window; −1 while it holds nothing. */
  #at = -1;
  /** What has changed in it: from, to. */
  #dirtyFrom = 0;
  #dirtyTo = 0;

  private constructor(
    readonly kernel: Kernel,
    readonly device: BlockDevice,
    readonly memory: StandingMemory,
  ) {
    this.name = device.name;
    this.sizeBytes = Math.floor(device.sizeBytes / device.blockSizeBytes) * device.blockSizeBytes;
    this.#windowBytes = Math.min(memory.bytes.length, device.maxTransferBytes);
  }

  /** Opens a device, does `work` with its bytes, and closes it. What was not flushed is lost. @throws KernelError. */
  static async with<T>(kernel: Kernel, device: BlockDevice, work: (bytes: DeviceBytes) => Promise<T>): Promise<T> {
    const memory = await kernel.memory.allocStanding(kernel.task, `the window on ${device.name}`, WINDOW_BYTES / PAGE_SIZE);
    try {
      return await work(new DeviceBytes(kernel, device, memory));
    } finally {
      memory.free();
    }
  }

  /** Fills `bytes`. @throws KernelError EINVAL beyond the end, and what the device says. */
  read(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    return this.#each(offsetBytes, bytes.length, (window, done) => void bytes.set(window, done));
  }

  write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    return this.#each(offsetBytes, bytes.length, (window, done, at) => {
      window.set(bytes.subarray(done, done + window.length));
      this.#change(at, window.length);
    });
  }

  /** Makes a range read as zeroes. */
  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    const { viaSocket, can } = this.device;
    const from = this.#up(offsetBytes);
    const to = Math.floor((offsetBytes + lengthBytes) / this.#windowBytes) * this.#windowBytes;
    if (!viaSocket || !can.writeZeroes || to <= from) return this.#zeroByHand(offsetBytes, lengthBytes);
    await this.#zeroByHand(offsetBytes, from - offsetBytes);
    await this.#leave();
    for (let at = from; at < to; at += ZERO_BYTES) {
      const bio = this.#bio.start(BioOp.WRITE_ZEROES, at);
      bio.lengthBytes = Math.min(ZERO_BYTES, to - at);
      await this.#submit(bio, 'write zeroes to');
    }
    await this.#zeroByHand(to, offsetBytes + lengthBytes - to);
  }

  /** Writes what has changed, and makes it durable. */
  async flush(): Promise<void> {
    await this.#writeBack();
    if (this.device.can.flush) await this.#submit(this.#bio.start(BioOp.FLUSH, 0), 'flush');
  }

  #up(offsetBytes: number): number {
    return Math.ceil(offsetBytes / this.#windowBytes) * this.#windowBytes;
  }

  #zeroByHand(offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.#each(offsetBytes, lengthBytes, (window, _done, at) => {
      if (!window.some((byte) => byte !== 0)) return;
      window.fill(0);
      this.#change(at, window.length);
    });
  }

  /** Does `work` with each part of a range, in the window; `at` is where in the window it begins. */
  async #each(offsetBytes: number, lengthBytes: number, work: (part: Uint8Array, done: number, at: number) => void): Promise<void> {
    if (offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes)
      throw new KernelError('EINVAL', `${lengthBytes} bytes at ${offsetBytes} are not in ${this.name}, which has ${this.sizeBytes}`);
    for (let done = 0; done < lengthBytes; ) {
      await this.#enter(offsetBytes + done);
      const at = offsetBytes + done - this.#at;
      const length = Math.min(lengthBytes - done, this.#windowBytes - at);
      work(this.memory.bytes.subarray(at, at + length), done, at);
      done += length;
    }
  }

  #change(at: number, length: number): void {
    if (this.#dirtyTo === 0) this.#dirtyFrom = at;
    this.#dirtyFrom = Math.min(this.#dirtyFrom, at);
    this.#dirtyTo = Math.max(this.#dirtyTo, at + length);
  }

  /** Moves the window to where `offsetBytes` is. */
  async #enter(offsetBytes: number): Promise<void> {
    const at = Math.floor(offsetBytes / this.#windowBytes) * this.#windowBytes;
    if (at === this.#at) return;
    await this.#leave();
    await this.#transfer(BioOp.READ, at, 0, Math.min(this.#windowBytes, this.sizeBytes - at));
    this.#at = at;
  }

  async #leave(): Promise<void> {
    await this.#writeBack();
    this.#at = -1;
  }

  async #writeBack(): Promise<void> {
    if (this.#dirtyTo === 0) return;
    const { blockSizeBytes } = this.device;
    const from = Math.floor(this.#dirtyFrom / blockSizeBytes) * blockSizeBytes;
    const to = Math.ceil(this.#dirtyTo / blockSizeBytes) * blockSizeBytes;
    await this.#transfer(BioOp.WRITE, this.#at + from, from, to - from);
    this.#dirtyTo = 0;
  }

  async #transfer(op: BioOp, offsetBytes: number, at: number, lengthBytes: number): Promise<void> {
    const bio = this.#bio.start(op, offsetBytes);
    bio.addSegment(this.memory.address + at, lengthBytes);
    await this.#submit(bio, op === BioOp.READ ? 'read' : 'write');
  }

  async #submit(bio: Bio, doing: string): Promise<void> {
    const status = await this.device.submitAndWait(this.kernel.task, bio);
    if (status < 0) throw errorFrom(status, `cannot ${doing} ${this.name} at ${bio.offsetBytes}`);
  }
}
