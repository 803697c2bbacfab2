/** Our client on the servers of others: everything it can ask for, checked against a model and against what their store holds. */
import { KernelError } from '@tidemark/core';
import { expect, it } from 'vitest';
import { fileDifference, firstDifference, MIB, patternBytes } from './support/bytes.js';
import { exerciseByBios, exerciseByCache } from './support/exercise.js';
import { RawDisk, withKernel } from './support/kernels.js';
import { describeWith, type Peer, programOf } from './support/peers.js';
import { succeed } from './support/processes.js';
import { freshFile, freshPath, uriOf } from './support/sandbox.js';
import { type Server, startNbdkit, startQemuNbd } from './support/servers.js';

const SIZE_BYTES = 12 * MIB;

/** A server of others with an empty store. */
interface Stage {
  readonly name: string;
  readonly peers: readonly Peer[];
  /** Operations of a run. qemu-nbd before 8.1 leaves Nagle's algorithm on: over TCP some of its replies take 40 ms. */
  readonly nrOperations: number;
  start(): Promise<Server & { readonly store?: string }>;
}

async function withStore(start: (store: string) => Promise<Server>): Promise<Server & { store: string }> {
  const store = freshFile('store', SIZE_BYTES);
  return { ...(await start(store)), store };
}

const STAGES: Stage[] = [
  { name: 'nbdkit memory, unix', peers: ['nbdkit', 'nbdcopy'], nrOperations: 300, start: () => startNbdkit('unix', 'memory', '12M') },
  { name: 'nbdkit memory, tcp', peers: ['nbdkit', 'nbdcopy'], nrOperations: 300, start: () => startNbdkit('tcp', 'memory', '12M') },
  {
    name: 'nbdkit file, unix',
    peers: ['nbdkit'],
    nrOperations: 300,
    start: () => withStore((store) => startNbdkit('unix', 'file', store)),
  },
  { name: 'qemu-nbd, unix', peers: ['qemu-nbd'], nrOperations: 300, start: () => withStore((store) => startQemuNbd('unix', store)) },
  { name: 'qemu-nbd, tcp', peers: ['qemu-nbd'], nrOperations: 60, start: () => withStore((store) => startQemuNbd('tcp', store)) },
];

/** What the server's store holds, by means that are not ours. */
async function expectStored({ store, uri }: { store?: string; uri: string }, model: Uint8Array): Promise<void> {
  let file = store;
  if (file === undefined) {
    file = freshPath('copy');
    await succeed(programOf('nbdcopy'), [uri, file]);
  }
  expect(fileDifference(file, model)).toBe(-1);
}

for (const { name, peers, nrOperations, start } of STAGES) {
  describeWith(peers, name, () => {
    it('serves bios: reads, writes, FUA, zeroes, discards, flushes, four users at once', async () => {
      const server = await start();
      await withKernel('8MiB', async (kernel) => {
        const device = await kernel.openBlockDevice(server.uri);
        expect(device).toMatchObject({ sizeBytes: SIZE_BYTES, readOnly: false, trusted: false });
        expect(device.can).toEqual({ flush: true, fua: true, discard: true, writeZeroes: true });
        const { model, tally } = await exerciseByBios(kernel, device, 1, nrOperations);
        expect(tally).toEqual({ nrErrors: 0, nrWriteAgain: 0 });
        await device.close();
        await expectStored(server, model);
      });
      await server.process.stop();
    });

    it('serves a device cache three times the size of memory', async () => {
      const server = await start();
      await withKernel('4MiB', async (kernel) => {
        const cache = kernel.cacheDevice(await kernel.openBlockDevice(server.uri));
        const model = await exerciseByCache(cache, 2, 5 * nrOperations);
        await expectStored(server, model);
        await cache.close();
      });
      await server.process.stop();
    });
  });
}

describeWith(['nbdkit'], 'handshakes', () => {
  it.each([
    ['--no-sr'],
    ['--mask-handshake=0'], // not fixed: EXPORT_NAME, with its zeroes
    ['--mask-handshake=1'], // fixed, with zeroes
    ['--mask-handshake=2'], // not fixed, without zeroes
  ])('of nbdkit %s', async (option) => {
    const server = await startNbdkit('unix', option, 'memory', '12M');
    await withKernel('4MiB', async (kernel) => {
      await exerciseByBios(kernel, await kernel.openBlockDevice(server.uri), 3, 50);
    });
    await server.process.stop();
  });

  it('choose the export, and are told when there is none of that name', async () => {
    const folder = freshFile('one', patternBytes(MIB, 1));
    const parts = folder.split('/');
    const file = parts.pop() as string;
    const server = await startNbdkit('unix', 'file', `dir=${parts.join('/')}`);
    await withKernel('4MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(uriOf(server.address, file), { readOnly: true });
      const disk = await RawDisk.on(kernel, device);
      expect(firstDifference((await disk.read(4096, 8192)) as Uint8Array, patternBytes(MIB, 1).subarray(4096, 12288))).toBe(-1);
      disk.dispose();
      await expect(kernel.openBlockDevice(uriOf(server.address, 'no-such-file'))).rejects.toThrow(KernelError);
    });
    await server.process.stop();
  });

  it('find a server that takes only TLS, and say so', async () => {
    const keys = freshFile('psk', new TextEncoder().encode('user:00112233445566778899aabbccddeeff\n'));
    const server = await startNbdkit('unix', '--tls=require', `--tls-psk=${keys}`, 'memory', '1M');
    await withKernel('4MiB', async (kernel) => {
      await expect(kernel.openBlockDevice(server.uri)).rejects.toThrow(/EPROTONOSUPPORT.*TLS/);
    });
    await server.process.stop();
  });
});

describeWith(['nbdkit'], 'block sizes', () => {
  const policy = (minimum: string, maximum: string) => [
    '--filter=blocksize-policy',
    'memory',
    '12M',
    `blocksize-minimum=${minimum}`,
    'blocksize-preferred=4096',
    `blocksize-maximum=${maximum}`,
    'blocksize-error-policy=error',
  ];

  it.each([
    ['1', '64K'],
    ['512', '8192'], // smaller than what the budget allows
    ['4096', '4096'],
  ])('of %s to %s bytes are kept to', async (minimum, maximum) => {
    const server = await startNbdkit('unix', ...policy(minimum, maximum));
    await withKernel('8MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(server.uri);
      expect(device.blockSizeBytes).toBe(Number(minimum));
      expect(device.maxTransferBytes).toBeLessThanOrEqual(maximum === '64K' ? 65_536 : Number(maximum));
      const { tally } = await exerciseByBios(kernel, device, 4, 100);
      expect(tally.nrErrors).toBe(0);
      await device.close();
      const cache = kernel.cacheDevice(await kernel.openBlockDevice(server.uri));
      await exerciseByCache(cache, 5, 100);
    });
    await server.process.stop();
  });

  it('larger than a page are refused', async () => {
    const server = await startNbdkit(
      'unix',
      '--filter=blocksize-policy',
      'memory',
      '12M',
      'blocksize-minimum=65536',
      'blocksize-preferred=65536',
      'blocksize-maximum=1M',
    );
    await withKernel('8MiB', async (kernel) => {
      await expect(kernel.openBlockDevice(server.uri)).rejects.toThrow(/EINVAL.*64 KiB/);
    });
    await server.process.stop();
  });
});

describeWith(['nbdkit'], 'what is written', () => {
  it('is what was there already, says nbdkit checkwrite; and it does notice another byte', async () => {
    const content = patternBytes(4 * MIB, 8);
    const server = await startNbdkit('unix', '--filter=checkwrite', 'file', freshFile('store', content));
    await withKernel('2MiB', async (kernel) => {
      const cache = kernel.cacheDevice(await kernel.openBlockDevice(server.uri));
      for (let at = 0; at < content.length; at += 10_007) await cache.write(at, content.subarray(at, at + 10_007));
      await cache.sync();
      await cache.write(12_345, Uint8Array.of(content[12_345] ^ 1));
      await expect(cache.sync()).rejects.toThrow('EIO');
      await cache.write(12_345, content.subarray(12_345, 12_346));
      await cache.sync();
    });
    await server.process.stop();
  });
});
