/**
 * Stages: one run of a case in virtual time, on a kernel of its own with a simulated disk, under a seed. Every event is followed by the
 * checks of `checkInvariants`; the end by an unmount, and by the count of what was left behind.
 */
import { type BlockDevice, formatStallReport, type Kernel } from '@tidemark/core';
import { DiskImage } from '../disk/disk-image.js';
import { SimulatedDisk, type SimulatedDiskOptions } from '../disk/simulated-disk.js';
import { type Outcome, type Scenario, simulate, type SimulateOptions } from '../simulation/simulate.js';
import type { World } from '../simulation/world.js';
import { Mismatch } from './expect.js';
import { Files } from './files.js';
import type { FileSystemSubject } from './subject.js';

const MEMORY_BYTES = 2 ** 22;
/** Events of one run; a case that needs more turns in circles. */
const EVENTS_MAX = 1_000_000;

/** What a case has in its hands. */
export interface Stage {
  readonly world: World;
  readonly kernel: Kernel;
  readonly files: Files;
  readonly disk: SimulatedDisk | null;
  readonly device: BlockDevice | null;
  /** Mounts the filesystem again, after `kernel.unmount('/')`. */
  mount(): Promise<void>;
}

export interface StageOptions {
  readonly seed: number;
  readonly memoryBytes?: number;
  readonly disk?: Partial<SimulatedDiskOptions>;
  /** What is on the disk. Default: a fresh filesystem. */
  readonly image?: DiskImage;
  /** The case mounts itself. Default false. */
  readonly isBare?: boolean;
}

/** Runs cases of one filesystem. */
export class Theatre {
  /** What a format leaves on the disk. */
  #fresh: Promise<DiskImage> | null = null;

  constructor(
    readonly subject: FileSystemSubject,
    readonly afterReactions: SimulateOptions['afterReactions'],
  ) {}

  /** What is on a disk that was just formatted. */
  freshImage(): Promise<DiskImage> {
    this.#fresh ??= this.#format();
    return this.#fresh;
  }

  async #format(): Promise<DiskImage> {
    let image = DiskImage.empty();
    await this.#simulate(1, async (world) => {
      const { kernel, disk, device } = await this.#boot(world, { seed: 1, image });
      await this.subject.create({ kernel, device, isFresh: true });
      await kernel.unmount('/');
      image = (disk as SimulatedDisk).image;
    });
    return image;
  }

  async #boot(world: World, options: StageOptions): Promise<{ kernel: Kernel; disk: SimulatedDisk | null; device: BlockDevice | null }> {
    const { plugins, diskBytes, memoryBytes = MEMORY_BYTES } = this.subject;
    const machine = world.machine('box');
    const kernel = await world.boot(machine, { memory: options.memoryBytes ?? memoryBytes, plugins });
    if (diskBytes === undefined) return { kernel, disk: null, device: null };
    const { image } = options;
    const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { ...options.disk, sizeBytes: diskBytes, image });
    return { kernel, disk, device: kernel.attach(disk) };
  }

  /** Runs a case. @throws what it throws, or what the simulation found: a standstill with its report, a leak, a violation. */
  async run(options: StageOptions, play: (stage: Stage) => Promise<void>): Promise<void> {
    const hasDisk = this.subject.diskBytes !== undefined;
    const image = hasDisk ? (options.image ?? (await this.freshImage())) : undefined;
    await this.#simulate(options.seed, async (world) => {
      const { kernel, disk, device } = await this.#boot(world, { ...options, image });
      const mount = (): Promise<void> => this.subject.create({ kernel, device, isFresh: !hasDisk });
      if (options.isBare !== true) await mount();
      await play({ world, kernel, disk, device, mount, files: new Files(kernel) });
    });
  }

  async #simulate(seed: number, run: (world: World) => Promise<void>): Promise<void> {
    const scenario: Scenario = { name: this.subject.name, run };
    const outcome = await simulate(scenario, { seed, afterReactions: this.afterReactions, eventsMax: EVENTS_MAX });
    throwUnlessCompleted(outcome);
  }
}

/** @throws what the run failed with; for one that is stuck, what it waits for. */
export function throwUnlessCompleted(outcome: Outcome): void {
  const { verdict, error, seed, reports, troubles } = outcome;
  if (verdict === 'completes') return;
  if (verdict === 'failed' && error instanceof Error) {
    if (!error.message.includes('(seed ')) error.message += ` (seed ${seed})`;
    throw error;
  }
  const stalls = reports.map(({ machine, report }) => `${machine}: ${formatStallReport(report)}`);
  throw new Mismatch([`${verdict} under seed ${seed}: ${error ?? 'nothing moves any more'}`, ...stalls, ...troubles].join('\n'));
}
