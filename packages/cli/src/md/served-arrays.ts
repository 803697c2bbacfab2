/** What `serve` needs of arrays: the plugin, and a control socket for those that it serves. */
import { type BlockDevice, type Kernel, KernelError } from '@tidemark/core';
import type { NamedDevice } from '../grammar.js';
import { ControlServer } from './control-server.js';
import { type Running, runningOn } from './perform.js';
import { absolute } from './words.js';

export { md } from '@tidemark/md';

/** Opens the control socket. @throws KernelError EINVAL if no device is an array; as `ControlServer.listen`. */
export function control(
  kernel: Kernel,
  address: string,
  named: readonly NamedDevice[],
  devices: ReadonlyMap<string, BlockDevice>,
): Promise<ControlServer> {
  const arrays = new Map<string, Running>();
  for (const { name, device } of named) {
    const running = runningOn(kernel, devices.get(name) as BlockDevice);
    if (running !== null) arrays.set(absolute(device), running);
  }
  if (arrays.size === 0) throw new KernelError('EINVAL', '--control is for arrays, and none is served: want md:DEVICE,DEVICE…');
  return ControlServer.listen(address, arrays);
}
