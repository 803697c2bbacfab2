/** A kernel with NBD, ways to read and write a device, and devices that end their requests late, out of order, or with errors. */
import { type Bio, Bio as BioClass, BioOp, type BlockDevice, type BlockDeviceOps, Kernel, type StandingMemory } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nbd } from '@tidemark/nbd/host';
import { expect } from 'vitest';

/** Handles of sockets and servers that the process has now; the runner's own pipes are among them. */
export function nrHandles(): number {
  return process.getActiveResourcesInfo().filter((name) => /TCP|Pipe|GetAddrInfo/.test(name)).length;
}

export interface World {
  readonly kernel: Kernel;
  readonly nrHandlesBefore: number;
}

export async function bootWorld(memory = '8MiB'): Promise<World> {
  const nrHandlesBefore = nrHandles();
  return { kernel: await Kernel.boot({ memory, plugins: [host, nbd] }), nrHandlesBefore };
}

/** Shuts down; nothing may be left of the kernel, and no socket or server of the process. */
export async function expectClean(world: World): Promise<void> {
  expect(await world.kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  for (let i = 0; i < 200 && nrHandles() > world.nrHandlesBefore; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(nrHandles()).toBe(world.nrHandlesBefore);
}

export async function waitFor(what: string, isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 4000; i++) {
    if (isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`waited in vain for: ${what}`);
}

/** Memory for requests of up to `bufferBytes`, and the requests themselves; each ends with its status. */
export class DeviceUser {
  private constructor(
    readonly device: BlockDevice,
    readonly memory: StandingMemory,
    readonly bufferBytes: number,
    private readonly free: number[],
  ) {}

  static async create(kernel: Kernel, device: BlockDevice, nrBuffers = 8, bufferBytes = 32768): Promise<DeviceUser> {
    const memory = await kernel.memory.allocStanding(kernel.task, 'test buffers', (nrBuffers * bufferBytes) / 4096);
    return new DeviceUser(
      device,
      memory,
      bufferBytes,
      Array.from({ length: nrBuffers }, (_, i) => i),
    );
  }

  dispose(): void {
    this.memory.free();
  }

  #run(bio: Bio): Promise<number> {
    return new Promise((resolve) => {
      bio.onEnd = (ended) => resolve(ended.status);
      this.device.submit(bio);
    });
  }

  async #withBuffer(use: (at: number) => Promise<number>): Promise<number> {
    const buffer = this.free.pop();
    if (buffer === undefined) throw new Error('the test has no buffer left');
    const status = await use(buffer * this.bufferBytes);
    this.free.push(buffer);
    return status;
  }

  /** Cuts the buffer into two segments with a hole between them where there is room, as scattered pages would be. */
  #segments(bio: Bio, at: number, lengthBytes: number): Bio {
    if (lengthBytes <= 4096) bio.addSegment(this.memory.address + at, lengthBytes);
    else {
      bio.addSegment(this.memory.address + at + 4096, lengthBytes - 4096);
      bio.addSegment(this.memory.address + at, 4096);
    }
    return bio;
  }

  write(offsetBytes: number, data: Uint8Array, fua = false): Promise<number> {
    return this.#withBuffer((at) => {
      const bio = this.#segments(new BioClass(2).start(BioOp.WRITE, offsetBytes), at, data.length);
      bio.fua = fua;
      this.#scatter(bio, data);
      return this.#run(bio);
    });
  }

  #scatter(bio: Bio, data: Uint8Array): void {
    for (let i = 0, done = 0; i < bio.nrSegments; done += bio.lengths[i++]) {
      this.memory.bytes.set(data.subarray(done, done + bio.lengths[i]), bio.addresses[i] - this.memory.address);
    }
  }

  read(offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#withBuffer(async (at) => {
      const bio = this.#segments(new BioClass(2).start(BioOp.READ, offsetBytes), at, target.length);
      const status = await this.#run(bio);
      for (let i = 0, done = 0; i < bio.nrSegments; done += bio.lengths[i++]) {
        const from = bio.addresses[i] - this.memory.address;
        target.set(this.memory.bytes.subarray(from, from + bio.lengths[i]), done);
      }
      return status;
    });
  }

  flush(): Promise<number> {
    return this.#run(new BioClass(0).start(BioOp.FLUSH, 0));
  }

  clear(op: typeof BioOp.DISCARD | typeof BioOp.WRITE_ZEROES, offsetBytes: number, lengthBytes: number): Promise<number> {
    const bio = new BioClass(0).start(op, offsetBytes);
    bio.lengthBytes = lengthBytes;
    return this.#run(bio);
  }

  /** The whole device. */
  async readAll(): Promise<Uint8Array> {
    const all = new Uint8Array(this.device.sizeBytes);
    for (let at = 0; at < all.length; at += this.bufferBytes) {
      expect(await this.read(at, all.subarray(at, Math.min(at + this.bufferBytes, all.length)))).toBe(0);
    }
    return all;
  }
}

export interface TestDiskOptions {
  readonly sizeBytes: number;
  readonly blockSizeBytes?: number;
  readonly maxTransferBytes?: number;
  readonly can?: Partial<BlockDeviceOps['can']>;
  readonly readOnly?: boolean;
  /** Called with each request; what it returns decides when it ends: undefined at once, else by calling the function it is given. */
  readonly late?: (end: () => void, bio: Bio) => void;
  /** Status of a request, asked when it ends. */
  readonly statusOf?: (bio: Bio) => number;
}

/** A disk whose bytes can be looked at. */
export class TestDisk implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name = 'test disk';
  readonly trusted = true;
  readonly viaSocket = false;
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly can: BlockDeviceOps['can'];
  nrInFlight = 0;
  peakInFlight = 0;
  nrFlushes = 0;
  /** Requests in the order in which they came. */
  readonly log: { op: number; offsetBytes: number; lengthBytes: number; fua: boolean }[] = [];

  constructor(
    private readonly kernel: Kernel,
    private readonly options: TestDiskOptions,
  ) {
    this.sizeBytes = options.sizeBytes;
    this.bytes = new Uint8Array(options.sizeBytes);
    this.blockSizeBytes = options.blockSizeBytes ?? 1;
    this.maxTransferBytes = options.maxTransferBytes ?? 2 ** 20;
    this.readOnly = options.readOnly ?? false;
    this.can = { flush: true, fua: false, discard: true, writeZeroes: true, ...options.can };
  }

  submit(bio: Bio): void {
    this.log.push({ op: bio.op, offsetBytes: bio.offsetBytes, lengthBytes: bio.lengthBytes, fua: bio.fua });
    this.peakInFlight = Math.max(this.peakInFlight, ++this.nrInFlight);
    const end = (): void => {
      this.nrInFlight--;
      bio.end(this.options.statusOf?.(bio) || this.#run(bio));
    };
    if (this.options.late === undefined) end();
    else this.options.late(end, bio);
  }

  #run(bio: Bio): number {
    if (bio.op === BioOp.FLUSH) this.nrFlushes++;
    else if (bio.op > BioOp.FLUSH) this.bytes.fill(0, bio.offsetBytes, bio.offsetBytes + bio.lengthBytes);
    for (let i = 0, at = bio.offsetBytes; i < bio.nrSegments; at += bio.lengths[i++]) {
      const memory = this.kernel.memory.arena.view(bio.addresses[i], bio.lengths[i]);
      if (bio.op === BioOp.WRITE) this.bytes.set(memory, at);
      else memory.set(this.bytes.subarray(at, at + bio.lengths[i]));
    }
    return 0;
  }

  async close(): Promise<void> {}
}

/** Ends requests later, in an order drawn from `random`. */
export function endLate(random: () => number): (end: () => void) => void {
  const open: (() => void)[] = [];
  return (end) => {
    open.push(end);
    setImmediate(() => {
      for (let n = 1 + Math.floor(random() * 2); n > 0 && open.length > 0; n--) open.splice(Math.floor(random() * open.length), 1)[0]();
      if (open.length > 0) setImmediate(() => open.splice(0, 1)[0]?.());
    });
  };
}

/** A small deterministic generator, so that a failure can be run again. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

export function patterned(lengthBytes: number, seed: number): Uint8Array {
  const random = randomFrom(seed + 1);
  const bytes = new Uint8Array(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = random() * 256;
  return bytes;
}
