/** Kernels in this process: booted for a test, and taken down with nothing left behind. */
import { type BlockDevice, Kernel, type MemInfo, type NegErrno, type StandingMemory, Bio, BioOp } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nbd } from '@tidemark/nbd/host';
import { swap } from '@tidemark/swap';
import { expect } from 'vitest';

/** Boots a kernel, runs `body`, takes it down, and expects that nothing is left. */
export async function withKernel(memory: string, body: (kernel: Kernel) => Promise<void>): Promise<void> {
  const kernel = await Kernel.boot({ memory, plugins: [host, nbd, swap] });
  try {
    await body(kernel);
  } catch (error) {
    await kernel.shutdown({ timeoutMs: 2_000 });
    throw error;
  }
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
}

/** Every frame is in one class: the classes add up to the memory. */
export function expectFramesAddUp(info: MemInfo): void {
  const { memFree, cached, anonPages, slab, standing, transient, memTotal } = info;
  expect(memFree + cached + anonPages + slab + standing + transient).toBe(memTotal);
}

/** A device by plain bios, one at a time. Several of these on one device are several users of it. */
export class RawDisk {
  readonly #bio = new Bio(1);

  private constructor(
    private readonly kernel: Kernel,
    readonly device: BlockDevice,
    private readonly memory: StandingMemory,
  ) {}

  /** Takes memory for one transfer. */
  static async on(kernel: Kernel, device: BlockDevice): Promise<RawDisk> {
    return new RawDisk(kernel, device, await kernel.memory.allocStanding(kernel.task, 'raw disk', device.maxTransferBytes / 4096));
  }

  async #submit(op: BioOp, offsetBytes: number, lengthBytes: number, change?: (bio: Bio) => void): Promise<0 | NegErrno> {
    const bio = this.#bio.start(op, offsetBytes, this.kernel.task);
    if (op <= BioOp.WRITE) bio.addSegment(this.memory.address, lengthBytes);
    else bio.lengthBytes = lengthBytes;
    change?.(bio);
    return this.device.submitAndWait(this.kernel.task, bio);
  }

  /** @returns the bytes, which are the next call's to overwrite; or a negative errno. */
  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array | NegErrno> {
    this.memory.bytes.fill(0xee);
    const status = await this.#submit(BioOp.READ, offsetBytes, lengthBytes);
    return status === 0 ? this.memory.bytes.subarray(0, lengthBytes) : status;
  }

  write(offsetBytes: number, bytes: Uint8Array, fua = false): Promise<0 | NegErrno> {
    this.memory.bytes.set(bytes);
    return this.#submit(BioOp.WRITE, offsetBytes, bytes.length, (bio) => {
      bio.fua = fua;
    });
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, noUnmap: boolean): Promise<0 | NegErrno> {
    return this.#submit(BioOp.WRITE_ZEROES, offsetBytes, lengthBytes, (bio) => {
      bio.noUnmap = noUnmap;
    });
  }

  discard(offsetBytes: number, lengthBytes: number): Promise<0 | NegErrno> {
    return this.#submit(BioOp.DISCARD, offsetBytes, lengthBytes);
  }

  flush(): Promise<0 | NegErrno> {
    return this.#submit(BioOp.FLUSH, 0, 0);
  }

  dispose(): void {
    this.memory.free();
  }
}
