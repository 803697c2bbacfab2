/** The client against our own server on loopback sockets: what a program sees. */
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nfs, NfsServer } from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { memfs } from '@tidemark/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { mountServed, type Pair, servedAndMounted } from './client-fixture.js';

let pair: Pair | null = null;
afterEach(async () => {
  await pair?.close();
  pair = null;
});

const pattern = (length: number, seed = 1): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8) * 13 + seed * 31) & 0xff));

describe('a tree on NFS', () => {
  it('files: made, written, read, cut, appended to', async () => {
    pair = await servedAndMounted();
    const { fs, server } = pair;
    const bytes = pattern(300_001);
    await fs.writeFile('/a', bytes);
    expect((await fs.readFile('/a')).equals(bytes)).toBe(true);
    expect((await server.kernel.fs.promises.readFile('/a')).equals(bytes)).toBe(true);
    await fs.truncate('/a', 5_000);
    await fs.appendFile('/a', 'end');
    const expected = Buffer.concat([bytes.subarray(0, 5_000), Buffer.from('end')]);
    expect((await server.kernel.fs.promises.readFile('/a')).equals(expected)).toBe(true);
    const stats = await fs.stat('/a');
    expect([stats.size, stats.isFile(), stats.mode & 0o777, stats.nlink]).toEqual([5_003, true, 0o644, 1]);
  });

  it('what is not in memory any more is read again', async () => {
    pair = await servedAndMounted({ mount: { memory: '2MiB' }, server: { memory: '32MiB', tree: 'memfs:16MiB' } });
    const { fs } = pair;
    const bytes = pattern(3 << 20, 3);
    await fs.writeFile('/big', bytes);
    expect((await fs.readFile('/big')).equals(bytes)).toBe(true);
    await fs.unlink('/big');
  });

  it('names: directories, links, renames', async () => {
    pair = await servedAndMounted();
    const { fs } = pair;
    await fs.mkdir('/d/e', { recursive: true });
    await fs.writeFile('/d/e/f', 'hello');
    await fs.link('/d/e/f', '/d/g');
    await fs.symlink('e/f', '/d/s');
    await fs.symlink('x'.repeat(3_000), '/d/long');
    expect(await fs.readlink('/d/long')).toBe('x'.repeat(3_000));
    expect(await fs.readFile('/d/s', 'utf8')).toBe('hello');
    expect((await fs.stat('/d/g')).nlink).toBe(2);
    await fs.rename('/d/g', '/h');
    expect((await fs.readdir('/d')).sort()).toEqual(['e', 'long', 's']);
    await fs.unlink('/h');
    expect((await fs.stat('/d/e/f')).nlink).toBe(1);
    await expect(fs.rmdir('/d')).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    await fs.rm('/d', { recursive: true });
    expect(await fs.readdir('/')).toEqual([]);
    await expect(fs.stat('/d')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('attributes', async () => {
    pair = await servedAndMounted();
    const { fs } = pair;
    await fs.writeFile('/a', 'x', { mode: 0o640 });
    await fs.chmod('/a', 0o600);
    await fs.chown('/a', 12, 34);
    await fs.utimes('/a', 1_000_000, 2_000_000.5);
    const stats = await fs.stat('/a');
    expect([stats.mode & 0o7777, stats.uid, stats.gid, stats.atimeMs, stats.mtimeMs]).toEqual([0o600, 12, 34, 1e9, 2_000_000_500]);
    const room = await fs.statfs('/');
    expect(room.blocks * room.bsize).toBe(8 << 20);
  });

  it('hundreds of entries, with READDIRPLUS and without, deleted while they are read', async () => {
    pair = await servedAndMounted({ server: { memory: '64MiB', tree: 'memfs:32MiB' }, mount: { memory: '16MiB' } });
    const { fs, server } = pair;
    const names = Array.from({ length: 300 }, (_, i) => `name-${i}`);
    for (const name of names) await server.kernel.fs.promises.writeFile(`/${name}`, '');
    expect(new Set(await fs.readdir('/'))).toEqual(new Set(names));
    const plain = await mountServed(server.port, { rdirplus: false });
    expect(new Set(await plain.fs.readdir('/'))).toEqual(new Set(names));
    await plain.close();
    for await (const entry of await fs.opendir('/')) await fs.unlink(`/${entry.name}`);
    expect(await fs.readdir('/')).toEqual([]);
  });

  it('a file that is removed while it is open stays until it is closed, under a name nobody sees', async () => {
    pair = await servedAndMounted();
    const { fs, server } = pair;
    const file = await fs.open('/a', 'w+');
    await file.write('before');
    await fs.unlink('/a');
    expect(await fs.readdir('/')).toEqual([]);
    const there = await server.kernel.fs.promises.readdir('/');
    expect(there).toHaveLength(1);
    expect(there[0]).toMatch(/^\.nfs[0-9a-f]{16}$/);
    await file.write(' after', 6);
    expect((await file.read(Buffer.alloc(20), 0, 20, 0)).bytesRead).toBe(12);
    await file.close();
    await fs.writeFile('/b', 'b');
    expect(await server.kernel.fs.promises.readdir('/')).toEqual(['b']);
    const target = await fs.open('/b', 'r');
    await fs.writeFile('/c', 'c');
    await fs.rename('/c', '/b');
    expect(await target.readFile('utf8')).toBe('b');
    await target.close();
    expect(await fs.readFile('/b', 'utf8')).toBe('c');
  });

  it('close to open: what one client has closed, the next one that opens it sees', async () => {
    pair = await servedAndMounted();
    const { fs, server } = pair;
    const other = await mountServed(server.port);
    await fs.writeFile('/a', 'one');
    for (let round = 0; round < 10; round++) {
      await other.fs.writeFile('/a', `round ${round}`);
      expect(await fs.readFile('/a', 'utf8')).toBe(`round ${round}`);
      await fs.appendFile('/a', '!');
      expect(await other.fs.readFile('/a', 'utf8')).toBe(`round ${round}!`);
    }
    await other.close();
  });

  it("permissions are the server's to judge", async () => {
    pair = await servedAndMounted({ mount: { uid: 1000, gid: 1000 } });
    const { fs, server } = pair;
    await server.kernel.fs.promises.writeFile('/a', 'secret', { mode: 0o600 });
    await server.kernel.fs.promises.chmod('/', 0o777);
    await expect(fs.readFile('/a')).rejects.toMatchObject({ code: 'EACCES' });
    await fs.writeFile('/b', 'mine');
    expect((await server.kernel.fs.promises.stat('/b')).uid).toBe(1000);
  });

  it('a server of the same kernel: one edge in the graph, and none of its own left', async () => {
    const kernel = await Kernel.boot({ memory: '16MiB', plugins: [host, hostTransports, memfs, nfs] });
    await kernel.mount('memfs:4MiB', '/srv');
    const server = await NfsServer.listen(kernel, { address: '127.0.0.1:0', exports: { '/': { tree: '/srv', squash: 'none' } } });
    const { address } = server;
    const port = address.kind === 'tcp' ? address.port : 0;
    const before = kernel.graph().nodes.length;
    await kernel.mount(`nfs://127.0.0.1/?nfsport=${port}&mountport=${port}`, '/mnt');
    expect(kernel.graph().edges).toEqual(
      expect.arrayContaining([
        ['nfs://127.0.0.1/', 'nfs://127.0.0.1/ commit'],
        ['nfs://127.0.0.1/ commit', 'nfs://127.0.0.1/ rpc'],
        ['nfs://127.0.0.1/ rpc', `nfs-server:127.0.0.1:${port}`],
      ]),
    );
    const bytes = pattern(1_500_000, 9);
    await kernel.fs.promises.writeFile('/mnt/a', bytes);
    expect((await kernel.fs.promises.readFile('/srv/a')).equals(bytes)).toBe(true);
    expect((await kernel.fs.promises.readFile('/mnt/a')).equals(bytes)).toBe(true);
    await kernel.unmount('/mnt');
    expect(kernel.graph().nodes).toHaveLength(before);
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  });

  it('a mount that cannot be leaves nothing behind, and says why', async () => {
    pair = await servedAndMounted();
    const { kernel, server } = pair;
    const at = `nfsport=${server.port}&mountport=${server.port}`;
    await expect(kernel.mount(`nfs://127.0.0.1/nowhere?${at}`, '/')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(kernel.mount(`nfs://127.0.0.1/?nfsport=${server.port}&mountport=1`, '/')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(kernel.mount('nfs://127.0.0.1/?colour=red', '/')).rejects.toThrow(/colour/);
    await expect(kernel.mount(`nfs://127.0.0.1/?${at}&rsize=1`, '/')).rejects.toThrow(/rsize is 1; want 1024 to/);
    await expect(kernel.mount('nfs:/export', '/')).rejects.toThrow(/want nfs:\/\/HOST/);
  });
});
