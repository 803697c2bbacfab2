/**
 * The hooks of a package whose backings are block devices: swap-in and swap-out through a pinned device (identity map, M14), and
 * writeout of pages. Core registers them for raw devices; a driver package registers them for its own.
 */
import { KernelError, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { PinnedFile, PinSpec, SwapHooks, WriteoutHook } from '../cache/pinned-file.js';
import type { NodeFootprint } from '../mm/footprint.js';
import type { Memory } from '../mm/memory.js';
import type { NodeDescription } from '../mm/plan.js';
import { planSizes } from '../mm/plan-sizes.js';
import type { TaskContext } from '../task/task-context.js';
import { BlockDevice } from './block-device.js';
import { DeviceIo } from './device-io.js';

/** A whole device, pinned: page n is at byte n × 4096. */
class PinnedDevice implements PinnedFile {
  readonly name: string;
  readonly sizePages: number;
  readonly trusted: boolean;
  readonly standingFrames: number;

  constructor(
    readonly io: DeviceIo,
    readonly nrUnits: number,
    /** Undoes what else the pin is made of, last first. */
    private readonly undo: () => Promise<void>,
  ) {
    this.name = io.device.name;
    this.sizePages = Math.floor(io.device.sizeBytes / PAGE_SIZE);
    this.trusted = io.device.trusted;
    this.standingFrames = io.standingFrames;
  }

  swapOut(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.io.write(task, index * PAGE_SIZE, pfns, from, count);
  }

  swapIn(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.io.read(task, index * PAGE_SIZE, pfns, from, count);
  }

  flush(task: TaskContext): MaybePromise<0 | NegErrno> {
    return this.io.flush(task);
  }

  cutOff(): Promise<void> {
    return this.io.device.abort();
  }

  async release(): Promise<void> {
    this.io.release();
    await this.undo();
  }
}

/** Pins what is behind a device, if that is in this kernel too (M14). @returns what undoes it. */
export type PinBehind = (task: TaskContext, device: BlockDevice, spec: PinSpec) => Promise<() => Promise<void>>;

/**
 * Pins a whole block device for `spec.user`, with its bios pre-attached: first the device, then what is behind it.
 * @throws KernelError EBUSY naming who has it, EROFS, EINVAL if it is smaller than a page, ENOMEM, and what `pinBehind` throws.
 */
export async function pinBlockDevice(
  task: TaskContext,
  memory: Memory,
  device: BlockDevice,
  spec: PinSpec,
  pinBehind: PinBehind | null = null,
): Promise<PinnedFile> {
  if (device.readOnly) throw new KernelError('EROFS', `${device.name} is read-only and cannot be pinned for ${spec.user}`);
  if (device.sizeBytes < PAGE_SIZE)
    throw new KernelError('EINVAL', `${device.name} has ${device.sizeBytes} bytes: too small to be pinned for ${spec.user}`);
  const isHeld = spec.isHeld ?? false;
  if (!isHeld) device.hold(spec.user);
  let unpinBehind: (() => Promise<void>) | undefined;
  const undo = async (): Promise<void> => {
    await unpinBehind?.();
    if (!isHeld) device.unhold();
  };
  try {
    unpinBehind = await pinBehind?.(task, device, spec);
    return new PinnedDevice(new DeviceIo(memory, device, spec.nrUnits), spec.nrUnits, undo);
  } catch (error) {
    await undo();
    throw error;
  }
}

/** What tells one package's devices from another's, and what they cost. */
export interface DeviceHooksSpec {
  /** Name of the package. */
  readonly name: string;
  /** True if the device is the package's. */
  owns(device: BlockDevice): boolean;
  /** Memory that writeout to the device takes. */
  footprint(device: BlockDevice): NodeFootprint;
  /** Pins what is behind the device; absent: nothing of this kernel is. */
  readonly pinBehind?: PinBehind;
}

/** What a device that needs no memory beyond its bios declares: a RAM disk, a file. */
export function rawDeviceFootprint(nrFrames: number): NodeFootprint {
  return { standing: [], unit: [], nrUnits: planSizes(nrFrames).clientUnits };
}

/** Such a device, for a dry run. */
export function describeRawDevice(name: string): NodeDescription {
  return { name, kind: 'block-device', needs: [], footprint: rawDeviceFootprint };
}

/** Makes both hooks of a package. */
export function createDeviceHooks(memory: Memory, spec: DeviceHooksSpec): { swapHooks: SwapHooks; writeoutHook: WriteoutHook } {
  const claims = (backing: object): boolean => backing instanceof BlockDevice && spec.owns(backing);
  const writers = new WeakMap<BlockDevice, DeviceIo>();
  const writerOf = (device: BlockDevice): DeviceIo => {
    let io = writers.get(device);
    if (io === undefined) {
      const made = new DeviceIo(memory, device, memory.sizes.clientUnits);
      writers.set(device, made);
      device.onClose(() => made.release());
      io = made;
    }
    return io;
  };
  return {
    swapHooks: {
      name: spec.name,
      claims,
      swapActivate: (task, backing, pin) => pinBlockDevice(task, memory, backing as BlockDevice, pin, spec.pinBehind ?? null),
    },
    writeoutHook: {
      name: spec.name,
      claims,
      footprint: (backing) => spec.footprint(backing as BlockDevice),
      prepare: (backing) => void writerOf(backing as BlockDevice),
      writeout: (task, backing, offsetBytes, pfns, from, count) =>
        writerOf(backing as BlockDevice).write(task, offsetBytes, pfns, from, count),
      sync: (task, backing) => writerOf(backing as BlockDevice).flush(task),
    },
  };
}
