/** Stages for block devices: one run on a kernel of its own, with simulated disks for whoever stands on some, and a user of the device. */
import { Bio, BioOp, type BlockDevice, type Kernel, type NegErrno, PAGE_SIZE, type Plugin, type StandingMemory } from '@tidemark/core';
import type { DiskImage } from '../disk/disk-image.js';
import { SimulatedDisk, type SimulatedDiskOptions } from '../disk/simulated-disk.js';
import type { Machine } from '../simulation/machine.js';
import { simulate, type SimulateOptions } from '../simulation/simulate.js';
import type { World } from '../simulation/world.js';
import { throwUnlessCompleted } from './stage.js';

/** Where a device is to be opened. */
export interface BlockGround {
  readonly world: World;
  readonly machine: Machine;
  readonly kernel: Kernel;
  /** False after a crash: what the disks hold is to be used again. */
  readonly isFresh: boolean;
  /** A simulated disk for the device to stand on; after a crash it holds what the crash has left. @param name asked for again after a crash. */
  disk(name: string, options?: Partial<SimulatedDiskOptions>): BlockDevice;
}

/** A kind of block device under test. What it can do is what the device says: `can`, `trusted`, `readOnly`, its sizes. */
export interface BlockDeviceSubject {
  readonly name: string;
  /** Plugins of the kernel beside core's. */
  readonly plugins?: readonly Plugin[];
  /** Opens a device of at least 64 KiB. */
  create(ground: BlockGround): Promise<BlockDevice>;
  readonly supports: {
    /** It stands on disks of the ground: what was flushed is there when it is opened again on what a crash has left of them. */
    readonly crash?: boolean;
    /** Its requests can be in flight while it is closed: it does not answer at once. */
    readonly late?: boolean;
  };
  /** Bytes of the disks of the ground. Default 512 KiB. */
  readonly diskBytes?: number;
  /** Memory of the kernel in bytes. Default 2 MiB. */
  readonly memoryBytes?: number;
}

/** What a case has in its hands. */
export interface BlockStage {
  readonly world: World;
  readonly kernel: Kernel;
  readonly device: BlockDevice;
  readonly user: BlockUser;
  /** What the power going now may leave of each disk. */
  crash(): Map<string, DiskImage>;
}

export interface BlockStageOptions {
  readonly seed: number;
  /** What a crash has left. */
  readonly images?: ReadonlyMap<string, DiskImage>;
}

const DISK_BYTES = 512 * 1024;
const MEMORY_BYTES = 2 ** 21;

/** Runs cases of one kind of device. */
export class BlockTheatre {
  constructor(
    readonly subject: BlockDeviceSubject,
    readonly afterReactions: SimulateOptions['afterReactions'],
  ) {}

  /** Runs a case. @throws what it throws, or what the simulation found. */
  async run(options: BlockStageOptions, play: (stage: BlockStage) => Promise<void>): Promise<void> {
    const { subject, afterReactions } = this;
    const outcome = await simulate(
      {
        name: subject.name,
        run: async (world) => {
          const machine = world.machine('box');
          const kernel = await world.boot(machine, { memory: subject.memoryBytes ?? MEMORY_BYTES, plugins: subject.plugins });
          const disks = new Map<string, SimulatedDisk>();
          const disk = (name: string, diskOptions: Partial<SimulatedDiskOptions> = {}): BlockDevice => {
            const image = options.images?.get(name);
            const all = { name, sizeBytes: subject.diskBytes ?? DISK_BYTES, ...diskOptions, ...(image && { image }) };
            const made = new SimulatedDisk(world, machine, kernel.memory.arena, all);
            disks.set(name, made);
            return kernel.attach(made);
          };
          const device = await subject.create({ world, machine, kernel, disk, isFresh: options.images === undefined });
          const user = await BlockUser.on(kernel, device);
          const crash = (): Map<string, DiskImage> => new Map([...disks].map(([name, each]) => [name, each.crash()]));
          await play({ world, kernel, device, user, crash });
          user.free();
        },
      },
      { seed: options.seed, afterReactions },
    );
    throwUnlessCompleted(outcome);
  }
}

const NR_SLOTS = 6;
const SLOT_PAGES = 4;

/** Reads and writes bytes of a device through memory that stands. */
export class BlockUser {
  /** Longest read or write. */
  readonly lengthMax: number;
  readonly #free: number[];
  readonly #bios = Array.from({ length: NR_SLOTS }, () => new Bio(8));

  private constructor(
    readonly kernel: Kernel,
    readonly device: BlockDevice,
    readonly memory: StandingMemory,
  ) {
    this.lengthMax = Math.min(SLOT_PAGES * PAGE_SIZE, device.maxTransferBytes);
    this.#free = this.#bios.map((_, i) => i);
  }

  static async on(kernel: Kernel, device: BlockDevice): Promise<BlockUser> {
    return new BlockUser(kernel, device, await kernel.memory.allocStanding(kernel.task, 'user of the device', NR_SLOTS * SLOT_PAGES));
  }

  free(): void {
    this.memory.free();
  }

  get nrFree(): number {
    return this.#free.length;
  }

  /** A request on a slot of memory. @param prepare makes it ready. */
  async #request<T>(
    op: BioOp,
    offsetBytes: number,
    prepare: (bio: Bio, slot: Uint8Array, address: number) => void,
    done: (status: NegErrno, slot: Uint8Array) => T,
  ): Promise<T> {
    const nr = this.#free.pop() as number;
    const at = nr * SLOT_PAGES * PAGE_SIZE;
    const slot = this.memory.bytes.subarray(at, at + SLOT_PAGES * PAGE_SIZE);
    const bio = this.#bios[nr].start(op, offsetBytes, this.kernel.task);
    prepare(bio, slot, this.memory.address + at);
    const status = await this.device.submitAndWait(this.kernel.task, bio);
    const result = done(status, slot);
    this.#free.push(nr);
    return result;
  }

  /** @param cuts where the memory is cut into segments. */
  read(offsetBytes: number, lengthBytes: number, cuts: readonly number[] = []): Promise<{ status: NegErrno; bytes: Uint8Array }> {
    return this.#request(
      BioOp.READ,
      offsetBytes,
      (bio, slot, address) => {
        slot.fill(0xdd);
        addSegments(bio, placed(address, piecesOf(lengthBytes, cuts)));
      },
      (status, slot) => ({ status, bytes: gather(slot, piecesOf(lengthBytes, cuts)) }),
    );
  }

  write(offsetBytes: number, bytes: Uint8Array, cuts: readonly number[] = [], fua = false): Promise<NegErrno> {
    return this.#request(
      BioOp.WRITE,
      offsetBytes,
      (bio, slot, address) => {
        const pieces = piecesOf(bytes.length, cuts);
        for (const { from, at, length } of pieces) slot.set(bytes.subarray(from, from + length), at);
        addSegments(bio, placed(address, pieces));
        bio.fua = fua;
      },
      (status) => status,
    );
  }

  /** A flush, a discard, zeroes. */
  plain(op: BioOp, offsetBytes = 0, lengthBytes = 0): Promise<NegErrno> {
    const prepare = (bio: Bio): void => {
      bio.lengthBytes = lengthBytes;
    };
    return this.#request(op, offsetBytes, prepare, (status) => status);
  }
}

/** Memory of a request in pieces: `cuts` are offsets in it. Neighbouring pieces are not neighbours in memory, or they would be merged. */
function addSegments(bio: Bio, pieces: readonly { readonly address: number; readonly length: number }[]): void {
  for (const { address, length } of pieces) bio.addSegment(address, length);
}

/** A piece of a request: bytes `from` onwards, at a place of the slot. */
interface Piece {
  readonly from: number;
  readonly at: number;
  readonly length: number;
}

/** The pieces, the last one first in memory. */
function piecesOf(lengthBytes: number, cuts: readonly number[]): Piece[] {
  const ends = [...cuts.filter((cut) => cut > 0 && cut < lengthBytes), lengthBytes];
  const pieces = ends.map((end, i) => ({ from: ends[i - 1] ?? 0, length: end - (ends[i - 1] ?? 0) }));
  let at = lengthBytes;
  return pieces.map((piece) => {
    at -= piece.length;
    return { ...piece, at };
  });
}

function placed(address: number, pieces: readonly Piece[]): { address: number; length: number }[] {
  return pieces.map(({ at, length }) => ({ address: address + at, length }));
}

function gather(slot: Uint8Array, pieces: readonly Piece[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  for (const { from, at, length } of pieces) bytes.set(slot.subarray(at, at + length), from);
  return bytes;
}
