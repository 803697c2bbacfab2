/** Opens `loop:/path`: a file of a mounted filesystem as a block device (block/loop-device.ts). It has no holes, and is nobody else's. */
import { errorFrom, KernelError } from '../base/errno.js';
import type { BlockDevice, BlockDeviceOps, BlockDriver, OpenDeviceOptions } from '../block/block-device.js';
import { createDeviceHooks } from '../block/device-hooks.js';
import { LoopDevice } from '../block/loop-device.js';
import type { SwapHooks, WriteoutHook } from '../cache/pinned-file.js';
import type { Memory } from '../mm/memory.js';
import { OpenFlag } from '../vfs/mode.js';
import { run } from '../vfs/steps.js';
import type { Kernel } from './kernel.js';

export class LoopDriver implements BlockDriver {
  readonly schemes = ['loop'];

  constructor(private readonly kernel: () => Kernel) {}

  /** @throws KernelError EINVAL (no absolute path, a hole with its offset), EBUSY, EROFS, EOPNOTSUPP, ENOMEM, and what opening the file fails with. */
  async open(url: string, options: OpenDeviceOptions): Promise<BlockDeviceOps> {
    const kernel = this.kernel();
    const path = url.slice(url.indexOf(':') + 1);
    if (!path.startsWith('/')) throw new KernelError('EINVAL', `open ${url}: want loop:/PATH, the path of a file of this kernel`);
    const file = await run(kernel.vfs.open(kernel.vfs.caller(), path, OpenFlag.READ_WRITE, 0));
    if (typeof file === 'number') throw errorFrom(file, `open ${url}`);
    try {
      const node = await kernel.writeoutNodeOf(file);
      const spec = { user: url, nrUnits: kernel.memory.sizes.clientUnits };
      const pinned = await kernel.swapHooksOf(file, url).swapActivate(kernel.task, file, spec);
      try {
        return new LoopDevice(url, pinned, node, options.readOnly ?? false);
      } catch (error) {
        await pinned.release();
        throw error;
      }
    } finally {
      file.release(); // its pin keeps it
    }
  }
}

/** The hooks of loop devices: what is below them is pinned as it is. */
export function loopHooks(memory: Memory): { swapHooks: SwapHooks; writeoutHook: WriteoutHook } {
  return createDeviceHooks(memory, {
    name: 'loop',
    owns: (device: BlockDevice) => device.ops instanceof LoopDevice,
    footprint: (device) => (device.ops as LoopDevice).footprint(memory.sizes.clientUnits),
  });
}
