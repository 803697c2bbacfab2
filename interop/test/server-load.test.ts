/** Our server under fio: data verified at several depths, and memory that does not follow the load. */
import fs from 'node:fs';
import { NbdServer } from '@tidemark/nbd/host';
import { expect, it } from 'vitest';
import { MIB } from './support/bytes.js';
import { expectFramesAddUp, withKernel } from './support/kernels.js';
import { describeWith, programOf } from './support/peers.js';
import { succeed, until } from './support/processes.js';
import { freshFile, freshPath, uriOf } from './support/sandbox.js';
import { startTidemark } from './support/servers.js';

/** What is looked at in fio's report. */
interface FioReport {
  readonly jobs: readonly { readonly error: number; readonly read: FioCounts; readonly write: FioCounts }[];
}

interface FioCounts {
  readonly total_ios: number;
}

/** Runs one fio job on an export; it ends with an error if a block does not verify. */
async function fio(uri: string, ...words: string[]): Promise<FioReport> {
  const output = freshPath('fio.json'); // its stdout carries remarks, too
  await succeed(programOf('fio'), ['--name=job', '--ioengine=nbd', `--uri=${uri}`, '--output-format=json', `--output=${output}`, ...words]);
  const text = fs.readFileSync(output, 'utf8');
  return JSON.parse(text.slice(text.indexOf('{')));
}

const VERIFY = ['--rw=randrw', '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--randseed=11'];

/** Resident bytes of a process. */
function rssBytes(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]) * 1024;
}

describeWith(['fio'], 'fio', () => {
  it.each([
    ['mem:32MiB', 'unix', 1, '4k'],
    ['mem:32MiB', 'unix', 32, '4k'],
    ['mem:32MiB', 'tcp', 32, '4k'],
    ['mem:32MiB', 'unix', 8, '512-64k'],
    ['file', 'unix', 32, '4k'],
    ['file', 'tcp', 4, '16k'],
    ['file:threaded', 'unix', 32, '4k'],
  ] as const)('verifies %s over %s at depth %i, blocks of %s', async (what, kind, depth, block) => {
    const store = what.startsWith('mem') ? what : `file:${freshFile('store', 32 * MIB)}${what === 'file' ? '' : '?io=threaded'}`;
    const server = await startTidemark(kind, store);
    const size = block.includes('-') ? [`--bsrange=${block}`, '--blockalign=512'] : [`--bs=${block}`];
    const { jobs } = await fio(server.uri, ...VERIFY, ...size, '--size=24m', `--iodepth=${depth}`);
    const [job] = jobs;
    expect(job.error).toBe(0);
    expect(job.write.total_ios).toBeGreaterThan(100);
    expect(job.read.total_ios).toBeGreaterThan(100);
    expect(await server.process.stop()).toMatchObject({ code: 0, stderr: expect.not.stringMatching(/bug|error/i) });
  });
});

describeWith(['fio'], 'memory', () => {
  it('the process does not grow with the load', async () => {
    const server = await startTidemark('unix', freshFile('store', 64 * MIB));
    const load = ['--rw=randrw', '--bs=64k', '--size=64m', '--iodepth=32', '--numjobs=6', '--time_based', '--group_reporting'];
    await fio(server.uri, ...load, '--runtime=3'); // the compiler and the collector find their sizes
    const before = rssBytes(server.process.pid);
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, rssBytes(server.process.pid));
    }, 50);
    await fio(server.uri, ...load, '--runtime=5');
    clearInterval(watch);
    expect(peak - before).toBeLessThan(24 * MIB);
    await server.process.stop();
  });

  it('frames: two slots a connection, whatever the load, and none afterwards', () =>
    withKernel('32MiB', async (kernel) => {
      const address = { kind: 'unix', path: freshPath('sock') } as const;
      const disk = await kernel.openBlockDevice(`file:${freshFile('store', 16 * MIB)}`);
      const server = await NbdServer.listen(kernel, { address: `unix:${address.path}`, exports: { disk } });
      const idle = kernel.meminfo();
      const seen = new Set<number>();
      let mostConnections = 0;
      const watch = setInterval(() => {
        const now = kernel.meminfo();
        expectFramesAddUp(now);
        const perConnection = (now.standing - idle.standing) / (2 * kernel.memory.sizes.slotFrames);
        mostConnections = Math.max(mostConnections, server.nrConnections);
        seen.add(perConnection - server.nrConnections);
        seen.add(now.transient);
      }, 5);
      await fio(uriOf(address, 'disk'), ...VERIFY, '--bs=4k', '--size=4m', '--iodepth=32', '--numjobs=4', '--offset_increment=4m');
      clearInterval(watch);
      expect([...seen]).toEqual([0]);
      expect(mostConnections).toBe(4);
      await until('the connections to be gone', () => server.nrConnections === 0);
      expect(kernel.meminfo()).toEqual(idle);
      expect(server.nrConnectionErrors).toBe(0);
      await server.close();
    }));
});
