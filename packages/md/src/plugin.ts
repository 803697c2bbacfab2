/**
 * The plugin `md`: opens `md:DEVICE,DEVICE…` (an array that is there), and says how arrays are pinned and written out to.
 */
import {
  BLOCK_DRIVER,
  type BlockDevice,
  type BlockDeviceOps,
  type BlockDriver,
  createDeviceHooks,
  definePlugin,
  type DependencyContainer,
  instanceCachingFactory,
  KERNEL,
  type Kernel,
  KernelError,
  MEMORY,
  type OpenDeviceOptions,
  SWAP_HOOKS,
  WRITEOUT_HOOK,
} from '@tidemark/core';
import { Raid1Device } from './array/raid1-device.js';
import { assemble, type AssembleOptions } from './assemble.js';
import { type CreateOptions, formatMembers } from './create.js';

/** RAID1. */
export const md = definePlugin({
  name: 'md',
  register(container) {
    const hooks = instanceCachingFactory((c: DependencyContainer) =>
      createDeviceHooks(c.resolve(MEMORY), {
        name: 'md',
        owns: (device: BlockDevice) => device.ops instanceof Raid1Device,
        footprint: (device) => (device.ops as Raid1Device).footprint,
        pinBehind: (task, device, spec) => (device.ops as Raid1Device).pins.pin(task, spec),
      }),
    );
    container.register(BLOCK_DRIVER, { useFactory: (c) => new MdDriver(c) });
    container.register(SWAP_HOOKS, { useFactory: (c) => hooks(c).swapHooks });
    container.register(WRITEOUT_HOOK, { useFactory: (c) => hooks(c).writeoutHook });
  },
});

/** Opens `md:DEVICE,DEVICE…`; the devices belong to the array, and are closed with it. */
class MdDriver implements BlockDriver {
  readonly schemes = ['md'];

  constructor(private readonly container: DependencyContainer) {}

  async open(url: string, options: OpenDeviceOptions & AssembleOptions): Promise<BlockDeviceOps> {
    const kernel = this.container.resolve(KERNEL);
    const names = url.slice('md:'.length).split(',');
    if (names.some((name) => name === '')) throw new KernelError('EINVAL', `${JSON.stringify(url)}: want md:DEVICE,DEVICE…`);
    const opened: BlockDevice[] = [];
    try {
      const { readOnly, timeoutMs, signal } = options;
      for (const name of names) opened.push(await kernel.openBlockDevice(name, { readOnly, timeoutMs, signal }));
      return await assemble(
        kernel,
        opened.map((device) => ({ device, isOwned: true })),
        options,
      );
    } catch (error) {
      for (const device of opened.reverse()) await device.close();
      throw error;
    }
  }
}

async function attach(kernel: Kernel, ops: Raid1Device): Promise<BlockDevice> {
  const device = kernel.attach(ops);
  try {
    const node = await kernel.writeoutNodeOf(device);
    // Before the servers that its bitmap may be behind; but not from under whoever writes to it: then it goes with the other devices.
    const close = async (): Promise<void> => {
      if ([...kernel.reserves.graph.predecessorsOf(node)].length === 0) await device.close();
    };
    device.onClose(kernel.onShutdown(`array ${device.name}`, close));
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}

/**
 * Assembles an array of devices that are open; they stay the caller's.
 * @throws KernelError as `assemble`.
 */
export async function assembleArray(kernel: Kernel, devices: readonly BlockDevice[], options: AssembleOptions = {}): Promise<BlockDevice> {
  return attach(
    kernel,
    await assemble(
      kernel,
      devices.map((device) => ({ device, isOwned: false })),
      options,
    ),
  );
}

/** Makes an array, and assembles it. What the devices held is lost. @throws KernelError as `formatMembers` and `assemble`. */
export async function createArray(
  kernel: Kernel,
  devices: readonly BlockDevice[],
  options: CreateOptions & { readonly start?: AssembleOptions } = {},
): Promise<BlockDevice> {
  await formatMembers(kernel, devices, options);
  return assembleArray(kernel, devices, { ...options.start, degraded: true });
}
