/**
 * Replies that are not what a server sends: whatever is changed in them, each operation ends, with a result or a typed error; no invariant of
 * memory breaks, nothing is left behind, and when the server speaks sense again the mount works. `TIDEMARK_RUNS=n` does n times as much.
 */
import { isKernelError } from '@tidemark/core';
import { NFS_PROGRAM } from '@tidemark/fs-nfs';
import type { Scenario } from '@tidemark/testkit';
import { Files } from '@tidemark/testkit/conformance';
import { explore } from '@tidemark/testkit/host';
import { expect, it } from 'vitest';
import { bootNfsWorld } from './support/nfs-world.js';
import { Tamper } from './support/tamper.js';

const command = 'npx vitest run packages/fs-nfs/test/client-fuzz.test.ts';
const RUNS = Math.max(1, Math.floor(Number(process.env.TIDEMARK_RUNS ?? 1)) || 1);
const CHANGES_PER_SEED = 150;

it(`${CHANGES_PER_SEED} changed replies a seed, of every procedure (program ${NFS_PROGRAM})`, async () => {
  let nrChanged = 0;
  const codes = new Map<string, number>();
  const scenario: Scenario = {
    name: 'NFS, changed replies',
    async run(world) {
      const tamper = new Tamper(world.randomOf('tamper'));
      const { kernel } = await bootNfsWorld(world, {
        tamper,
        mount: { soft: true, timeo: 10, retrans: 1, jukeboxMs: 50, acregmin: 0, acregmax: 0, acdirmin: 0, acdirmax: 0 },
      });
      const files = new Files(kernel);
      const { random } = world;
      const bytes = new Uint8Array(20_000).fill(7);
      await files.mkdir('/d');
      for (let i = 0; i < 12; i++) await files.write(`/d/f${i}`, 0, bytes);
      const path = (): string => `/d/f${random.below(16)}`;
      const operations: (() => Promise<unknown>)[] = [
        () => files.stat(path()),
        () => files.readdir('/d'),
        () => files.read(path(), random.below(20_000), 20_000),
        () => files.write(path(), random.below(30_000), bytes.subarray(0, 1 + random.below(9_000))),
        () => files.fsync(path()),
        () => files.truncate(path(), random.below(20_000)),
        () => files.unlink(path()),
        () => files.rename(path(), path()),
        () => files.link(path(), path()),
        () => files.symlink('f1', path()),
        () => files.readlink(path()),
        () => files.mkdir(path()),
        () => files.rmdir(path()),
        () => files.mknod(path(), 0o010000, 0),
        () => files.chmod(path(), 0o600),
        () => kernel.vfs.inodes.scan(8) as unknown as Promise<void>,
        () => Promise.resolve(kernel.reclaim.shrink(100, true, true, kernel.task)),
      ];
      tamper.chance = 0.3;
      while (tamper.nrChanged < CHANGES_PER_SEED) {
        try {
          await random.pick(operations)();
        } catch (error) {
          if (!isKernelError(error)) throw error;
          codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
        }
        world.progress();
      }
      tamper.chance = 0;
      await world.sleep(5_000);
      await files.write('/after', 0, bytes);
      await files.fsync('/after').catch(() => {}); // of what failed before
      expect((await files.readAll('/after')).length).toBe(bytes.length);
      nrChanged += tamper.nrChanged;
      world.progress();
      await kernel.unmount('/', { force: true }); // what could not be written may be dirty still
    },
  };
  await explore(scenario, { nrSeeds: 2 * RUNS, command, eventsMax: 1_000_000 });
  expect(nrChanged).toBeGreaterThanOrEqual(2 * CHANGES_PER_SEED * RUNS);
  expect(codes.get('EPROTO') ?? 0).toBeGreaterThan(0);
}, 3_600_000);
