/** Arrays of simulated disks: what several tests need. */
import { Bio, BioOp, type BlockDevice, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { createArray, type CreateOptions, md, type Raid1, raid1Of } from '@tidemark/md';
import { type BootSpec, type DiskImage, type Machine, SimulatedDisk, type SimulatedDiskOptions, type World } from '@tidemark/testkit';

export const KIB = 1024;

export interface Box {
  readonly world: World;
  readonly machine: Machine;
  readonly kernel: Kernel;
}

export async function bootBox(world: World, spec: BootSpec = { memory: 256 * PAGE_SIZE }, name = 'box'): Promise<Box> {
  const machine = world.machine(name);
  const kernel = await world.boot(machine, { ...spec, plugins: [md, ...(spec.plugins ?? [])] });
  return { world, machine, kernel };
}

/** A disk, attached. */
export function disk(box: Box, name: string, options: Partial<SimulatedDiskOptions> = {}): { ops: SimulatedDisk; device: BlockDevice } {
  const ops = new SimulatedDisk(box.world, box.machine, box.kernel.memory.arena, { sizeBytes: 256 * KIB, name, ...options });
  return { ops, device: box.kernel.attach(ops) };
}

/** Disks a, b, c …, each from an image if there is one. */
export function disks(box: Box, nr: number, options: Partial<SimulatedDiskOptions> = {}, images: readonly DiskImage[] = []) {
  return Array.from({ length: nr }, (_, i) =>
    disk(box, String.fromCharCode(97 + i), { ...options, ...(images[i] ? { image: images[i] } : {}) }),
  );
}

/** An array of fresh disks. */
export async function array(
  box: Box,
  nr: number,
  options: CreateOptions = {},
  diskOptions: Partial<SimulatedDiskOptions> = {},
): Promise<{ members: ReturnType<typeof disks>; device: BlockDevice; raid: Raid1 }> {
  const members = disks(box, nr, diskOptions);
  const device = await createArray(
    box.kernel,
    members.map((member) => member.device),
    options,
  );
  return { members, device, raid: raid1Of(box.kernel, device) };
}

/** Byte I/O on a device through frames that stand. */
export class Io {
  readonly #bio = new Bio(64);

  private constructor(
    private readonly kernel: Kernel,
    private readonly device: BlockDevice,
    private readonly memory: { address: number; bytes: Uint8Array; free(): void },
  ) {}

  static async on(kernel: Kernel, device: BlockDevice, pages = 16): Promise<Io> {
    const io = new Io(kernel, device, await kernel.memory.allocStanding(kernel.task, 'test', pages));
    return io;
  }

  /** @returns the status. */
  async write(offsetBytes: number, bytes: Uint8Array, fua = false): Promise<number> {
    this.memory.bytes.set(bytes);
    const bio = this.#bio.start(BioOp.WRITE, offsetBytes, this.kernel.task);
    bio.addSegment(this.memory.address, bytes.length);
    bio.fua = fua;
    return this.device.submitAndWait(this.kernel.task, bio);
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<{ status: number; bytes: Uint8Array }> {
    const bio = this.#bio.start(BioOp.READ, offsetBytes, this.kernel.task);
    bio.addSegment(this.memory.address, lengthBytes);
    const status = await this.device.submitAndWait(this.kernel.task, bio);
    return { status, bytes: this.memory.bytes.slice(0, lengthBytes) };
  }

  async flush(): Promise<number> {
    return this.device.submitAndWait(this.kernel.task, this.#bio.start(BioOp.FLUSH, 0, this.kernel.task));
  }

  free(): void {
    this.memory.free();
  }
}

/** Bytes of an image. */
export function bytesOf(image: DiskImage, offsetBytes: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  image.read(offsetBytes, bytes);
  return bytes;
}

/** True if two images hold the same data of an array that begins at `dataOffsetBytes`. */
export function sameData(a: DiskImage, b: DiskImage, dataOffsetBytes: number, lengthBytes: number): boolean {
  return Buffer.compare(bytesOf(a, dataOffsetBytes, lengthBytes), bytesOf(b, dataOffsetBytes, lengthBytes)) === 0;
}
