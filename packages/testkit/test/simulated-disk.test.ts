/** The simulated disk against a model of what a crash may leave, and its own contract. */
import { Bio, BioOp, type BlockDevice, Errno, type Kernel, PAGE_SIZE, type StandingMemory } from '@tidemark/core';
import { DiskImage, type Scenario, SimulatedDisk, type SimulatedDiskOptions, type World } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';

const command = 'npx vitest run packages/testkit/test/simulated-disk.test.ts';
const NR_SECTORS = 8;
const SECTOR = 512;

class User {
  constructor(
    readonly world: World,
    readonly kernel: Kernel,
    readonly disk: SimulatedDisk,
    readonly device: BlockDevice,
    readonly memory: StandingMemory,
  ) {}

  static async create(world: World, options: Partial<SimulatedDiskOptions> = {}): Promise<User> {
    const machine = world.machine('box');
    const kernel = await world.boot(machine, { memory: '2MiB' });
    const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 16 * PAGE_SIZE, ...options });
    return new User(world, kernel, disk, kernel.attach(disk), await kernel.memory.allocStanding(kernel.task, 'test', 16));
  }

  #submit(bio: Bio): Promise<number> {
    return new Promise((resolve) => {
      bio.onEnd = ({ status }) => resolve(status);
      this.device.submit(bio);
    });
  }

  /** Fills sectors with a value. Each slot of memory serves one request at a time. */
  write(slot: number, sector: number, count: number, value: number, fua = false): Promise<number> {
    const at = slot * PAGE_SIZE;
    this.memory.bytes.fill(value, at, at + count * SECTOR);
    const bio = new Bio(1).start(BioOp.WRITE, sector * SECTOR);
    bio.fua = fua;
    bio.addSegment(this.memory.address + at, count * SECTOR);
    return this.#submit(bio);
  }

  async read(sector: number, count: number): Promise<number[]> {
    const bio = new Bio(1).start(BioOp.READ, sector * SECTOR);
    bio.addSegment(this.memory.address + 15 * PAGE_SIZE, count * SECTOR);
    expect(await this.#submit(bio)).toBe(0);
    return Array.from({ length: count }, (_, i) => this.memory.bytes[15 * PAGE_SIZE + i * SECTOR]);
  }

  flush(): Promise<number> {
    return this.#submit(new Bio(0).start(BioOp.FLUSH, 0));
  }

  done(): void {
    this.memory.free();
  }
}

function sectorsOf(image: DiskImage): number[] {
  const bytes = new Uint8Array(NR_SECTORS * SECTOR);
  image.read(0, bytes);
  return Array.from({ length: NR_SECTORS }, (_, i) => {
    expect(bytes.subarray(i * SECTOR, (i + 1) * SECTOR).every((byte) => byte === bytes[i * SECTOR])).toBe(true); // no sector is torn
    return bytes[i * SECTOR];
  });
}

async function run(name: string, body: (world: World) => Promise<void>, nrSeeds = 50): Promise<void> {
  const scenario: Scenario = { name, run: body };
  await explore(scenario, { nrSeeds, command });
}

describe('a simulated disk', () => {
  it('ends requests that are under way together in any order', async () => {
    const orders = new Set<string>();
    await run('order', async (world) => {
      const user = await User.create(world);
      let order = '';
      await Promise.all(
        [0, 1, 2].map(async (n) => {
          await user.write(n, n, 1, n + 1);
          order += n;
        }),
      );
      orders.add(order);
      expect(await user.read(0, 3)).toEqual([1, 2, 3]);
      user.done();
    });
    expect(orders.size).toBe(6);
  });

  it('a crash keeps what was flushed or forced, and of the rest each write, none, or some of its sectors', async () => {
    const fates = { lost: 0, kept: 0, torn: 0 };
    await run('crash', async (world) => {
      const user = await User.create(world);
      await user.write(0, 0, 8, 1);
      await user.flush();
      await user.write(0, 2, 2, 2); // volatile
      await user.write(0, 3, 1, 3, true); // forced, over half of it
      const inFlight = user.write(0, 6, 2, 4);
      for (const image of [user.disk.crash(), ...user.disk.crashes()]) {
        const sectors = sectorsOf(image);
        expect(sectors.slice(0, 2)).toEqual([1, 1]);
        expect([1, 2]).toContain(sectors[2]);
        expect(sectors.slice(3, 6)).toEqual([3, 1, 1]);
        for (const value of sectors.slice(6)) expect([1, 4]).toContain(value);
        const nrNew = sectors.slice(6).filter((value) => value === 4).length;
        fates[nrNew === 0 ? 'lost' : nrNew === 2 ? 'kept' : 'torn']++;
      }
      await inFlight;
      user.done();
    });
    for (const count of Object.values(fates)) expect(count).toBeGreaterThan(20);
  });

  it('lists every subset of few volatile writes', async () => {
    await run(
      'subsets',
      async (world) => {
        const user = await User.create(world);
        for (let n = 0; n < 4; n++) await user.write(0, n, 1, n + 1);
        const images = new Set([...user.disk.crashes(0)].map((image) => sectorsOf(image).join()));
        expect(images.size).toBe(16);
        user.done();
      },
      2,
    );
  });

  it('a flush covers what had ended when it was issued, and no more', async () => {
    await run('flush', async (world) => {
      const user = await User.create(world);
      await user.write(0, 0, 1, 1);
      const flushed = user.flush();
      const late = user.write(1, 1, 1, 2);
      await flushed;
      let isLateLost = false;
      for (const image of user.disk.crashes()) {
        const sectors = sectorsOf(image);
        expect(sectors[0]).toBe(1);
        if (sectors[1] === 0) isLateLost = true;
      }
      expect(isLateLost).toBe(true);
      await late;
      user.done();
    });
  });

  it('its log leaves at every step what a crash at that step leaves', async () => {
    await run(
      'log',
      async (world) => {
        const user = await User.create(world, { keepsLog: true });
        const { log } = user.disk;
        if (log === null) throw new Error('no log');
        let nrDurable = 0;
        const durableAt: number[] = [];
        for (let n = 1; n <= 10; n++) {
          await user.write(0, 0, 1, n);
          if (world.random.chance(0.5)) {
            await user.flush();
            nrDurable = n;
          }
          durableAt[log.entries.length] = nrDurable;
        }
        for (const [at, least] of durableAt.entries()) {
          if (least === undefined) continue;
          for (const image of log.imagesAt(at, world.random)) expect(sectorsOf(image)[0]).toBeGreaterThanOrEqual(least);
        }
        const end = [...log.imagesAt(log.entries.length, world.random, 20)].map((image) => sectorsOf(image)[0]);
        expect(Math.max(...end)).toBe(10);
        user.done();
      },
      20,
    );
  });

  it('a write that fails may have written some of its sectors; a read that fails leaves no stale bytes', async () => {
    const torn = new Set<number>();
    await run('failing', async (world) => {
      const user = await User.create(world, { fault: ({ nr }) => (nr === 2 ? -Errno.EIO : 0) });
      await user.write(0, 0, 4, 1);
      expect(await user.write(0, 0, 4, 2)).toBe(-Errno.EIO);
      torn.add((await user.read(0, 4)).filter((value) => value === 2).length);
      user.done();
    });
    expect(torn.size).toBeGreaterThan(3);
  });

  it('ends everything with EIO when it is closed, silent or not', async () => {
    await run(
      'closed',
      async (world) => {
        const user = await User.create(world);
        if (world.seed % 2 === 0) user.disk.silence();
        const ended = Promise.all([user.write(0, 0, 1, 1), user.flush()]);
        await user.device.abort();
        expect(await ended).toEqual([-Errno.EIO, -Errno.EIO]);
        expect(user.disk.nrInFlight).toBe(0);
        user.done();
      },
      4,
    );
  });

  it('tells a page that changes under way', async () => {
    const values = new Set<number>();
    await run('unstable', async (world) => {
      const user = await User.create(world);
      const written = user.write(0, 0, 1, 1);
      user.memory.bytes.fill(9, 0, SECTOR);
      await written;
      values.add((await user.read(0, 1))[0]);
      user.done();
    });
    expect(values).toEqual(new Set([1, 9]));
  });
});

describe('a run', () => {
  it('that waits for what nobody will do is stuck at once', async () => {
    const never: Scenario = { name: 'never', run: () => new Promise(() => {}) };
    expect(await simulate(never, { seed: 1 })).toMatchObject({ verdict: 'stuck', nrEvents: 0, elapsedMs: 0 });
  });

  it('with nothing but a periodic timer, or a retry that has stopped backing off, is stuck', async () => {
    for (const next of [(delayMs: number) => delayMs, (delayMs: number) => Math.min(2 * delayMs, 2_000)]) {
      const scenario: Scenario = {
        name: 'retries',
        async run(world) {
          for (let delayMs = 20; ; delayMs = next(delayMs)) await world.sleep(delayMs);
        },
      };
      const { verdict, elapsedMs } = await simulate(scenario, { seed: 2 });
      expect(verdict).toBe('stuck');
      expect(elapsedMs).toBeGreaterThan(120_000);
      expect(elapsedMs).toBeLessThan(130_000);
    }
  });

  it('with one long timer, or with progress now and then, is not', async () => {
    const patient: Scenario = { name: 'patient', run: (world) => world.sleep(86_400_000) };
    expect(await simulate(patient, { seed: 1 })).toMatchObject({ verdict: 'completes' });
    const slow: Scenario = {
      name: 'slow',
      async run(world) {
        for (let n = 0; n < 100; n++) {
          for (let k = 0; k < 10; k++) await world.sleep(10_000);
          world.progress();
        }
      },
    };
    expect(await simulate(slow, { seed: 1 })).toMatchObject({ verdict: 'completes' });
    const slower: Scenario = {
      name: 'slower',
      async run(world) {
        for (let n = 0; n < 3; n++) await world.sleep(100_000); // longer than the patience, and not three times the timer
      },
    };
    expect(await simulate(slower, { seed: 1 })).toMatchObject({ verdict: 'completes' });
  });

  it('goes on while a device takes its time', async () => {
    const slow: Scenario = {
      name: 'slow disk',
      async run(world) {
        const user = await User.create(world, { latencyMs: 400_000 });
        let isOver = false;
        const written = user.write(0, 0, 1, 7).finally(() => {
          isOver = true;
          world.progress();
        });
        while (!isOver) await world.sleep(10_000);
        expect(await written).toBe(0);
        user.done();
      },
    };
    expect(await simulate(slow, { seed: 1 })).toMatchObject({ verdict: 'completes' });
  });

  it('that goes round in circles without progress is stuck, when its events are used up', async () => {
    const circles: Scenario = {
      name: 'circles',
      async run(world) {
        await world.together(async (step) => {
          for (;;) await step();
        });
      },
    };
    expect(await simulate(circles, { seed: 1, eventsMax: 500 })).toMatchObject({ verdict: 'stuck', nrEvents: 500 });
  });

  it('runs every reaction before the next event, however long the chain', async () => {
    const chain: Scenario = {
      name: 'chain',
      async run(world) {
        let length = 0;
        world.later(1, async () => {
          for (; length < 1_000; length++) await null;
        });
        world.later(1.5, () => expect(length).toBe(1_000));
        await world.sleep(2);
      },
    };
    for (const schedule of ['random', 'pct'] as const)
      expect(await simulate(chain, { seed: 1, schedule })).toMatchObject({ verdict: 'completes' });
  });

  it('fails with what its scenario, or a plan of it, throws', async () => {
    const error = new Error('as planned');
    const now: Scenario = { name: 'now', run: () => Promise.reject(error) };
    const later: Scenario = {
      name: 'later',
      async run(world) {
        world.later(1, async () => {
          throw error;
        });
        await world.sleep(5);
      },
    };
    for (const scenario of [now, later]) expect(await simulate(scenario, { seed: 1 })).toMatchObject({ verdict: 'failed', error });
  });

  it('fails if its end leaves frames behind', async () => {
    const leak: Scenario = {
      name: 'leak',
      async run(world) {
        const kernel = await world.boot(world.machine('box'), { memory: '2MiB' });
        await kernel.memory.allocStanding(kernel.task, 'the leak', 2);
      },
    };
    const { verdict, error } = await simulate(leak, { seed: 1 });
    expect([verdict, String(error)]).toEqual([
      'failed',
      'Error: box leaves 2 frames and 0 timers behind: 2 frames are still held by the leak',
    ]);
  });

  it('that does not end as expected says how to replay it', async () => {
    const never: Scenario = { name: 'never', run: () => new Promise(() => {}) };
    await expect(explore(never, { nrSeeds: 3, firstSeed: 5, command: 'npm test' })).rejects.toThrow(
      /^never: stuck under seed 5 \(pct\)[\s\S]*\nreplay: TIDEMARK_SEED=5 npm test$/,
    );
  });
});
