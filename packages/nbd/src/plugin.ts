/**
 * The plugin: the driver of NBD devices, and their hooks. Both hooks work through bios that are attached when a device is pinned or
 * first written out to; the path below them takes nothing more (see `NbdDevice`), so a unit's footprint is 0 frames beside what stands.
 */
import {
  BLOCK_DRIVER,
  type BlockDevice,
  createDeviceHooks,
  definePlugin,
  type DependencyContainer,
  instanceCachingFactory,
  MEMORY,
  SWAP_HOOKS,
  WRITEOUT_HOOK,
} from '@tidemark/core';
import { NbdDevice } from './client/nbd-device.js';
import { NbdDriver } from './client/nbd-driver.js';
import { nbdClientFootprint } from './footprints.js';

/** NBD without transports: for programs that bring their own. With the host's it is in `@tidemark/nbd/host`. */
export const nbd = definePlugin({
  name: 'nbd',
  register(container) {
    const hooks = instanceCachingFactory((c: DependencyContainer) =>
      createDeviceHooks(c.resolve(MEMORY), {
        name: 'nbd',
        owns: (device: BlockDevice) => device.ops instanceof NbdDevice,
        footprint: () => nbdClientFootprint(c.resolve(MEMORY).nrFrames),
        pinBehind: (task, device, spec) => (device.ops as NbdDevice).client.pin(task, spec),
      }),
    );
    container.register(BLOCK_DRIVER, { useFactory: (c) => new NbdDriver(c) });
    container.register(SWAP_HOOKS, { useFactory: (c) => hooks(c).swapHooks });
    container.register(WRITEOUT_HOOK, { useFactory: (c) => hooks(c).writeoutHook });
  },
});
