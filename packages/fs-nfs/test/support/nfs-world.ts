/** In virtual time: a machine with ext3 on a disk that can lose its power, served over links that can fail, and a machine that mounts it. */
import { Bio, BioOp, type BlockDevice, type Kernel, type MountOptions, PAGE_SIZE } from '@tidemark/core';
import { ext3, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { NfsServer } from '@tidemark/fs-nfs';
import { type DiskImage, type LinkOptions, type Machine, SimulatedDisk, SimulatedNetwork, type World } from '@tidemark/testkit';
import type { Plugin } from '@tidemark/core';
import type { NfsVolume } from '../../src/client/volume.js';
import { watchedNfs } from '../client-fixture.js';
import type { Tamper } from './tamper.js';

export const ADDRESS = 'server:2049';
const HANDLE_KEY = new Uint8Array(16).fill(5);
const DISK_BYTES = 8 << 20;

/** Formats a device, a block at a time through one frame. */
async function format(kernel: Kernel, device: BlockDevice): Promise<void> {
  const frame = await kernel.memory.allocStanding(kernel.task, 'mkfs', 1);
  const bio = new Bio(1);
  const write = async (offsetBytes: number, bytes: Uint8Array): Promise<void> => {
    for (let done = 0; done < bytes.length; done += PAGE_SIZE) {
      const piece = bytes.subarray(done, done + PAGE_SIZE);
      frame.bytes.set(piece);
      bio.start(BioOp.WRITE, offsetBytes + done, kernel.task).addSegment(frame.address, piece.length);
      const status = await device.submitAndWait(kernel.task, bio);
      if (status < 0) throw new Error(`mkfs: ${status}`);
    }
  };
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  const options = { ...fixed, blockSize: 1024, journalSize: 1 << 20, bytesPerInode: 8192 };
  const target = { name: device.name, sizeBytes: device.sizeBytes, write, zero: async () => {}, flush: async () => {} };
  await mkfs(target, planMkfs(device.name, device.sizeBytes, options));
  frame.free();
}

/** The server's machine: one after the other, with one disk. */
export class ServerBox {
  machine!: Machine;
  disk!: SimulatedDisk;
  kernel!: Kernel;
  server!: NfsServer;
  nrCrashes = 0;

  constructor(
    readonly world: World,
    readonly network: SimulatedNetwork,
    readonly memory: string,
  ) {}

  async start(image?: DiskImage): Promise<void> {
    const { world, network } = this;
    this.machine = world.machine('server');
    // A simulated machine draws the same numbers in each of its lives; a real one does not, and the write verifier is one of them.
    for (let i = 0; i < this.nrCrashes; i++) this.machine.random.nextUint32();
    this.kernel = await world.boot(this.machine, { memory: this.memory, plugins: [ext3, network.transportOf(this.machine)] });
    this.disk = new SimulatedDisk(world, this.machine, this.kernel.memory.arena, { sizeBytes: DISK_BYTES, image });
    const device = this.kernel.attach(this.disk);
    if (image === undefined) await format(this.kernel, device);
    await this.kernel.mount('ext3:disk', '/', { device });
    await this.listen();
  }

  async listen(): Promise<void> {
    this.server = await NfsServer.listen(this.kernel, {
      address: ADDRESS,
      exports: { '/': { tree: '/', squash: 'none', fsid: 7 } },
      handleKey: HANDLE_KEY,
    });
  }

  /** The power goes, and comes back after a while with what a crash left. */
  crash(backAfterMs: number): void {
    this.nrCrashes++;
    const image = this.disk.crash();
    this.machine.kill();
    this.world.later(backAfterMs, () => this.start(image));
  }

  /** The server ends and another one begins, in the same kernel: nothing is lost but what it knew. */
  async restart(): Promise<void> {
    await this.server.close({ timeoutMs: 0 }).catch(() => {}); // it may have what it could not make stable
    await this.listen();
  }
}

/** One kernel that is both: ext3 at `/srv`, served to itself, mounted at `/mnt`: a local edge (M16). */
export async function bootLocalWorld(
  world: World,
  memory: string,
): Promise<{ readonly kernel: Kernel; readonly volume: NfsVolume; readonly server: NfsServer }> {
  const network = new SimulatedNetwork(world);
  const machine = world.machine('both');
  const { plugin, volume } = watchedNfs();
  const kernel = await world.boot(machine, { memory, plugins: [ext3, plugin, network.transportOf(machine)] });
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: DISK_BYTES });
  const device = kernel.attach(disk);
  await format(kernel, device);
  await kernel.mount('ext3:disk', '/srv', { device });
  const server = await NfsServer.listen(kernel, {
    address: 'both:2049',
    exports: { '/': { tree: '/srv', squash: 'none' } },
    handleKey: HANDLE_KEY,
  });
  await kernel.mount('nfs://both/?nfsport=2049', '/mnt');
  return { kernel, volume: volume(), server };
}

export interface NfsWorld {
  readonly network: SimulatedNetwork;
  readonly server: ServerBox;
  readonly kernel: Kernel;
  readonly volume: NfsVolume;
}

/** Boots both. @param mount options of the mount. */
export async function bootNfsWorld(
  world: World,
  setup: {
    readonly link?: Partial<LinkOptions>;
    readonly mount?: MountOptions;
    readonly memory?: string;
    readonly serverMemory?: string;
    readonly plugins?: readonly Plugin[];
    readonly tamper?: Tamper;
  } = {},
): Promise<NfsWorld> {
  const network = new SimulatedNetwork(world, setup.link);
  const server = new ServerBox(world, network, setup.serverMemory ?? '4MiB');
  await server.start();
  const client = world.machine('client');
  const { plugin, volume } = watchedNfs();
  const kernel = await world.boot(client, {
    memory: setup.memory ?? '4MiB',
    plugins: [plugin, setup.tamper?.between(network.transportOf(client)) ?? network.transportOf(client), ...(setup.plugins ?? [])],
  });
  await kernel.mount(`nfs://server/?nfsport=2049&mountport=2049`, '/', setup.mount);
  return { network, server, kernel, volume: volume() };
}
