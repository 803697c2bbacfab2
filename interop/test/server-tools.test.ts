/** Our server, run as the `tidemark` command, under libnbd's and qemu's tools. */
import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fileDifference, firstDifference, KIB, MIB, patternBytes } from './support/bytes.js';
import { describeWith, programOf } from './support/peers.js';
import { run, succeed, until } from './support/processes.js';
import { type Address, freshFile, freshPath, uriOf } from './support/sandbox.js';
import { type Server, startTidemark, tidemark } from './support/servers.js';

const KINDS: Address['kind'][] = ['unix', 'tcp'];

/** Ends a server as an administrator does; it must say that all is well. */
async function stopCleanly(server: Server): Promise<void> {
  expect(await server.process.stop()).toMatchObject({ code: 0, signal: null });
}

describeWith(['nbdinfo'], 'nbdinfo', () => {
  it.each(KINDS)('reads size, flags and block sizes over %s', async (kind) => {
    const server = await startTidemark(kind, 'mem:64MiB', '--export', 'disk');
    const nbdinfo = (...words: string[]) => succeed(programOf('nbdinfo'), words);
    expect(await nbdinfo('--size', server.uri)).toBe(`${64 * MIB}\n`);
    expect(await nbdinfo(server.uri)).toContain(`export-size: ${64 * MIB} (64M)`);
    const told = JSON.parse(await nbdinfo('--json', uriOf(server.address, 'disk')));
    expect(told).toMatchObject({ protocol: 'newstyle-fixed', TLS: false });
    expect(told.exports).toHaveLength(1);
    expect(told.exports[0]).toMatchObject({
      'export-name': 'disk',
      'export-size': 64 * MIB,
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      block_size_minimum: 512,
    });
    for (const can of ['flush', 'fua', 'multi-conn', 'trim', 'zero']) await nbdinfo('--can', can, server.uri);
    await stopCleanly(server);
  });

  it('lists every export, and knows none that is not there', async () => {
    const server = await startTidemark('unix', 'first=mem:1MiB', 'second=mem:2MiB', 'dritte Fläche=mem:3MiB');
    const listed = JSON.parse(await succeed(programOf('nbdinfo'), ['--list', '--json', server.uri]));
    expect(listed.exports.map((each: Record<string, unknown>) => [each['export-name'], each['export-size']])).toEqual([
      ['first', MIB],
      ['second', 2 * MIB],
      ['dritte Fläche', 3 * MIB],
    ]);
    expect(await succeed(programOf('nbdinfo'), ['--size', uriOf(server.address, 'dritte Fläche')])).toBe(`${3 * MIB}\n`);
    expect(await succeed(programOf('nbdinfo'), ['--size', server.uri])).toBe(`${MIB}\n`); // the first is the default
    const unknown = await run(programOf('nbdinfo'), [uriOf(server.address, 'fourth')]);
    expect(unknown.code).not.toBe(0);
    expect(unknown.stderr).toMatch(/server replied with error to opt_(go|info) request|unknown|No such file/i);
    expect(await succeed(programOf('nbdinfo'), ['--size', server.uri])).toBe(`${MIB}\n`); // and the server is none the worse
    await stopCleanly(server);
  });
});

describeWith(['nbdcopy', 'nbdinfo'], 'nbdcopy', () => {
  const SIZES = [512, 4 * KIB, 64 * KIB, 64 * KIB - 512, MIB + 512, 5 * MIB + 12 * KIB + 512];

  for (const kind of KINDS) {
    it.each(SIZES)(`copies %i bytes in and out over ${kind}`, async (sizeBytes) => {
      const content = patternBytes(sizeBytes, sizeBytes);
      const source = freshFile('source', content);
      const store = freshFile('store', sizeBytes);
      const copy = freshPath('copy');
      const server = await startTidemark(kind, store);
      await succeed(programOf('nbdcopy'), ['--flush', source, server.uri]);
      expect(fileDifference(store, content)).toBe(-1);
      await succeed(programOf('nbdcopy'), [server.uri, copy]);
      expect(fs.statSync(copy).size).toBe(sizeBytes);
      expect(fileDifference(copy, content)).toBe(-1);
      await stopCleanly(server);
    });
  }

  it('copies with many connections and with few requests, from one server to another', async () => {
    const content = patternBytes(33 * MIB, 5);
    const source = freshFile('source', content);
    const store = freshFile('store', content.length);
    const [first, second] = [await startTidemark('unix', 'mem:33MiB'), await startTidemark('tcp', store)];
    await succeed(programOf('nbdcopy'), ['--connections=8', '--requests=64', source, first.uri]);
    await succeed(programOf('nbdcopy'), ['--connections=4', '--requests=2', '--flush', first.uri, second.uri]);
    expect(fileDifference(store, content)).toBe(-1);
    await stopCleanly(first);
    await stopCleanly(second);
  });

  it('copies with smaller requests when the budget is small', async () => {
    const content = patternBytes(8 * MIB + 512, 6);
    const source = freshFile('source', content);
    const copy = freshPath('copy');
    const server = await startTidemark('unix', `mem:${content.length}`, '--memory', '8MiB');
    const largest = await succeed(programOf('nbdinfo'), ['--json', server.uri]);
    const request = `--request-size=${JSON.parse(largest).exports[0].block_size_maximum}`;
    await succeed(programOf('nbdcopy'), [request, source, server.uri]);
    await succeed(programOf('nbdcopy'), [request, server.uri, copy]);
    expect(fileDifference(copy, content)).toBe(-1);
    await stopCleanly(server);
  });
});

describeWith(['nbdinfo', 'qemu-img', 'nbdcopy'], 'allocation', () => {
  it('of a file with holes is told to libnbd and qemu, and copies keep the holes', async () => {
    const store = freshFile('store', 16 * MIB);
    const content = patternBytes(MIB, 3);
    const fd = fs.openSync(store, 'r+');
    for (const at of [2 * MIB, 9 * MIB]) fs.writeSync(fd, content, 0, content.length, at);
    fs.closeSync(fd);
    const server = await startTidemark('unix', store);
    const told = JSON.parse(await succeed(programOf('nbdinfo'), ['--map', '--json', server.uri])) as {
      offset: number;
      length: number;
      type: number;
    }[];
    const data = told.filter(({ type }) => type === 0);
    expect(data.reduce((sum, { length }) => sum + length, 0)).toBe(2 * MIB);
    expect(data.every(({ offset }) => offset >= 2 * MIB && offset < 10 * MIB)).toBe(true);
    expect(told.reduce((sum, { length }) => sum + length, 0)).toBe(16 * MIB);
    const map = JSON.parse(await succeed(programOf('qemu-img'), ['map', '--output=json', '-f', 'raw', server.uri])) as {
      start: number;
      length: number;
      data: boolean;
      zero: boolean;
    }[];
    const used = map.filter((each) => each.data);
    expect(used.map(({ start, length }) => [start, length])).toEqual([
      [2 * MIB, MIB],
      [9 * MIB, MIB],
    ]);
    const copy = freshPath('copy');
    await succeed(programOf('nbdcopy'), ['--connections=4', server.uri, copy]);
    expect(fs.readFileSync(copy).equals(fs.readFileSync(store))).toBe(true);
    expect(fs.statSync(copy).blocks * 512).toBeLessThan(4 * MIB);
    const converted = freshPath('converted');
    await succeed(programOf('qemu-img'), ['convert', '-f', 'raw', '-O', 'qcow2', server.uri, converted]);
    expect(fs.statSync(converted).size).toBeLessThan(4 * MIB);
    await succeed(programOf('qemu-img'), ['compare', '-f', 'raw', '-F', 'qcow2', server.uri, converted]);
    await stopCleanly(server);
  });

  it('of a RAM disk changes as it is written and trimmed', async () => {
    const server = await startTidemark('tcp', 'mem:8MiB');
    const types = async (): Promise<number[]> =>
      (JSON.parse(await succeed(programOf('nbdinfo'), ['--map', '--json', server.uri])) as { type: number }[]).map(({ type }) => type);
    expect(await types()).toEqual([3]);
    await succeed(programOf('nbdcopy'), [freshFile('source', patternBytes(MIB, 1)), server.uri]);
    expect(await types()).toEqual([0, 3]);
    expect(await succeed(programOf('nbdinfo'), ['--can', 'cache', server.uri])).toBe('');
    expect(await succeed(programOf('nbdinfo'), ['--can', 'df', server.uri])).toBe('');
    await stopCleanly(server);
  });
});

describeWith(['qemu-img'], 'qemu-img', () => {
  it.each(KINDS)('converts to and from an export over %s, and compares them', async (kind) => {
    const content = patternBytes(4 * MIB, 9);
    content.fill(0, MIB, 2 * MIB); // it writes zeroes, and asks for them to be discarded, where it finds some
    const source = freshFile('source', content);
    const copy = freshPath('copy');
    const server = await startTidemark(kind, 'mem:4MiB');
    const info = JSON.parse(await succeed(programOf('qemu-img'), ['info', '--output=json', server.uri]));
    expect(info).toMatchObject({ format: 'raw', 'virtual-size': 4 * MIB });
    await succeed(programOf('qemu-img'), ['convert', '-n', '-f', 'raw', '-O', 'raw', source, server.uri]);
    await succeed(programOf('qemu-img'), ['convert', '-f', 'raw', '-O', 'raw', server.uri, copy]);
    expect(fileDifference(copy, content)).toBe(-1);
    await succeed(programOf('qemu-img'), ['compare', '-f', 'raw', '-F', 'raw', source, server.uri]);
    await stopCleanly(server);
  });
});

describeWith(['qemu-io'], 'qemu-io', () => {
  const qemuIo = (uri: string, ...commands: string[]) =>
    run(programOf('qemu-io'), ['-f', 'raw', '-t', 'writeback', '-d', 'unmap', ...commands.flatMap((command) => ['-c', command]), uri]);

  it.each(['mem:16MiB', 'file'])('writes patterns at odd offsets and reads them back: %s', async (what) => {
    const server = await startTidemark('unix', what === 'file' ? freshFile('store', 16 * MIB) : what);
    const { code, stdout, stderr } = await qemuIo(
      server.uri,
      'write -P 0xa1 0 64k',
      'write -P 0xb2 1000 30001', // neither end is on a block
      'read -P 0xa1 0 1000',
      'read -P 0xb2 1000 30001',
      'read -P 0xa1 31001 34535',
      'write -P 0xc3 -f 2M 3M', // with FUA
      'write -z 2560k 64k',
      'write -z -u 3M 512k', // may be discarded
      'read -P 0xc3 2M 512k',
      'read -P 0 2560k 64k',
      'read -P 0xc3 2624k 448k',
      'read -P 0 3M 512k',
      'aio_write -P 0xd4 6M 1M',
      'aio_write -P 0xd5 7M 1M',
      'aio_flush',
      'read -P 0xd4 6M 1M',
      'read -P 0xd5 7M 1M',
      'discard 6M 1M',
      'read -P 0xd5 7M 1M',
      'write -P 0xe6 16776704 512', // the last block
      'read -P 0xe6 16776704 512',
      'flush',
    );
    expect(`${stdout}${stderr}`).not.toMatch(/fail|error|mismatch/i);
    expect(code).toBe(0);
    expect((await qemuIo(server.uri, 'read -P 0x00 0 512')).stdout).toContain('Pattern verification failed'); // it does look
    await stopCleanly(server);
  });

  it('discards: what was discarded reads as zeroes from a RAM disk', async () => {
    const server = await startTidemark('unix', 'mem:8MiB');
    const { code } = await qemuIo(server.uri, 'write -P 7 0 8M', 'discard 1M 3M', 'read -P 7 0 1M', 'read -P 0 1M 3M', 'read -P 7 4M 4M');
    expect(code).toBe(0);
    await stopCleanly(server);
  });

  it('cannot write to a read-only export, and reads it', async () => {
    const content = patternBytes(MIB, 3);
    const store = freshFile('store', content);
    const server = await startTidemark('unix', store, '--read-only');
    expect((await qemuIo(server.uri, 'write 0 4k')).code).not.toBe(0);
    const read = await run(programOf('qemu-io'), ['-r', '-f', 'raw', '-c', 'read 0 1M', server.uri]);
    expect(read.code).toBe(0);
    expect(fileDifference(store, content)).toBe(-1);
    await stopCleanly(server);
  });
});

describe('the command', () => {
  it.each(KINDS)('refuses the address of a running server, over %s', async (kind) => {
    const server = await startTidemark(kind, 'mem:1MiB');
    const { address } = server;
    const second = await tidemark(
      'serve',
      'nbd',
      'mem:1MiB',
      '--listen',
      address.kind === 'unix' ? `unix:${address.path}` : `127.0.0.1:${address.port}`,
    );
    expect(second.code).toBe(2);
    expect(second.stderr).toMatch(/^tidemark: EADDRINUSE: /);
    await stopCleanly(server);
  });
});

describeWith(['qemu-io'], 'SIGTERM', () => {
  it('drains: what was acknowledged is in the file, and the server ends with 0', async () => {
    const nrWrites = 4000;
    const store = freshFile('store', nrWrites * 4 * KIB);
    const server = await startTidemark('unix', store);
    const commands = Array.from({ length: nrWrites }, (_, i) => `write -P ${1 + (i % 250)} ${i * 4096} 4096`).join('\n');
    const writer = run(programOf('qemu-io'), ['-f', 'raw', '-t', 'writeback', server.uri], { input: `${commands}\n` });
    const probe = fs.openSync(store, 'r');
    const byte = new Uint8Array(1);
    await until('the writer to be under way', () => {
      fs.readSync(probe, byte, 0, 1, 300 * 4096);
      return byte[0] !== 0;
    });
    fs.closeSync(probe);
    await stopCleanly(server);
    const acknowledged = [...(await writer).stdout.matchAll(/wrote 4096\/4096 bytes at offset (\d+)/g)].map(([, offset]) => Number(offset));
    expect(acknowledged.length).toBeGreaterThanOrEqual(300);
    expect(acknowledged.length).toBeLessThan(nrWrites); // it was stopped in the middle
    const stored = fs.readFileSync(store);
    for (const offset of acknowledged) {
      const want = new Uint8Array(4096).fill(1 + ((offset / 4096) % 250));
      expect(firstDifference(stored.subarray(offset, offset + 4096), want), `the page at ${offset}`).toBe(-1);
    }
  });
});
