/** A device in a kernel of its own, for tools that work on what is on it. */
import { type BlockDevice, isKernelError, Kernel } from '@tidemark/core';
import type { FileDeviceOptions } from '@tidemark/core/host';
import { JobFailed } from '../outcome.js';
import { PLUGINS } from '../plugins.js';
import { DeviceBytes } from './device-bytes.js';
import { toldFailure } from './telling.js';

/** The device, by its bytes, and its kernel. */
export interface OpenDevice {
  readonly kernel: Kernel;
  readonly device: BlockDevice;
  readonly bytes: DeviceBytes;
}

/**
 * Opens a device by its word, does `work`, closes it.
 * @throws KernelError for a device that cannot be opened; JobFailed if it fails later.
 */
export async function withDevice<T>(
  word: string,
  memory: number,
  options: FileDeviceOptions,
  work: (opened: OpenDevice) => Promise<T>,
): Promise<T> {
  const kernel = await Kernel.boot({ memory, plugins: PLUGINS, name: word });
  let failure: unknown = null;
  let result: T | undefined;
  try {
    const device = await kernel.openBlockDevice(word, options);
    device.hold('this command');
    result = await DeviceBytes.with(kernel, device, (bytes) => work({ kernel, device, bytes }));
    device.unhold();
    await device.close();
  } catch (error) {
    failure = isKernelError(error) ? toldFailure(error) : error;
  }
  const { problems } = await kernel.shutdown();
  if (failure !== null) throw failure;
  if (problems.length > 0) throw new JobFailed(problems.join('; '));
  return result as T;
}
