/** A kernel in virtual time with swap, and devices for it. */
import { type BlockDevice, isKernelError, Kernel, type KernelError, type ShutdownReport, type SwapOnOptions } from '@tidemark/core';
import { swap } from '@tidemark/swap';
import { MemoryDevice, type MemoryDeviceOptions } from '../../../core/test/support/memory-device.js';
import { VirtualTime, virtualHost } from '../../../core/test/support/virtual-time.js';

export const MIB = 2 ** 20;
export const CLEAN: ShutdownReport = { leakedFrames: 0, leakedTimers: 0, problems: [] };

export interface AreaOptions extends Partial<MemoryDeviceOptions> {
  /** Requests end within submit. */
  readonly isSync?: boolean;
}

export class SwapWorld {
  constructor(
    readonly time: VirtualTime,
    readonly kernel: Kernel,
  ) {}

  static async boot(memory: number | string): Promise<SwapWorld> {
    const time = new VirtualTime();
    return new SwapWorld(time, await Kernel.boot({ memory, plugins: [virtualHost(time), swap] }));
  }

  /** A device of `sizeBytes`, not an area yet. */
  device(options: AreaOptions & { sizeBytes: number }): { ops: MemoryDevice; device: BlockDevice } {
    const { isSync, ...rest } = options;
    const ops = new MemoryDevice({ arena: this.kernel.memory.arena, ...(isSync ? {} : { time: this.time }), ...rest });
    return { ops, device: this.kernel.attach(ops) };
  }

  /** A device that is swapped on. */
  async area(options: AreaOptions & { sizeBytes: number }, on: SwapOnOptions = {}): Promise<{ ops: MemoryDevice; device: BlockDevice }> {
    const made = this.device(options);
    await this.time.run(this.kernel.swapOn(made.device, { format: true, ...on }));
    return made;
  }

  run<T>(work: Promise<T> | T, limitMs?: number): Promise<T> {
    return this.time.run(work, limitMs);
  }

  shutdown(timeoutMs?: number): Promise<ShutdownReport> {
    return this.time.run(this.kernel.shutdown({ timeoutMs }));
  }
}

/** The error that `work` ends with. @throws Error if it ends well, or with another sort of error. */
export async function errorOf(work: () => unknown): Promise<KernelError> {
  try {
    await work();
  } catch (error) {
    if (isKernelError(error)) return error;
    throw error;
  }
  throw new Error('it should have failed');
}

/** The code of the error that `work` ends with, or `none`. */
export async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'none';
  } catch (error) {
    if (isKernelError(error)) return error.code;
    throw error;
  }
}
