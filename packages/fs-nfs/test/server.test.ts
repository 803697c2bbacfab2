/** Every procedure of the server over memfs, on a socket of this host. */
import {
  Access,
  CreateMode,
  getAccess,
  getFileSystemInfo,
  getFileSystemStatus,
  getLinked,
  getLookup,
  getPathLimits,
  getReadLink,
  getRenamed,
  getWcc,
  MOUNT_PROGRAM,
  Mount3,
  getExports,
  type NewAttributes,
  NFS_PROGRAM,
  Nfs3,
  NfsStatus,
  nfsServerSizes,
  NfsType,
  NO_CHANGE,
  Stable,
  putCreate,
  putNewAttributes,
  timeOfMs,
  typeOfMode,
  NOBODY,
} from '@tidemark/fs-nfs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { user } from './rpc-client.js';
import { type NfsClient, serve, type Served, text, textOf, writeArguments } from './server-fixture.js';

let served: Served;
let nfs: NfsClient;
let root: Uint8Array;

beforeEach(async () => {
  served = await serve();
  nfs = await served.connect();
  root = await nfs.mount('/');
});

afterEach(async () => {
  nfs.rpc.close();
  await served.close();
  expect(served.server.nrBugs).toBe(0);
});

function sattr(changes: Partial<NewAttributes>): NewAttributes {
  return { ...NO_CHANGE, ...changes };
}

describe('attributes', () => {
  it('NULL answers anybody', async () => {
    await nfs.rpc.call(NFS_PROGRAM, 3, Nfs3.NULL, NOBODY, () => {});
    await nfs.rpc.call(MOUNT_PROGRAM, 3, Mount3.NULL, NOBODY, () => {});
  });

  it('GETATTR tells what a file is', async () => {
    const file = await nfs.create(root, 'f', { mode: 0o640, uid: 7, gid: 8 });
    await nfs.write(file, 0, text('hello'));
    const attributes = await nfs.attributes(file);
    expect(attributes).toMatchObject({ mode: 0o100640, nlink: 1, uid: 7, gid: 8, sizeBytes: 5, usedBytes: 4096 });
    expect(attributes.fsid).toBe((await nfs.attributes(root)).fsid);
    expect((await nfs.attributes(root)).mode).toBe(0o040755);
  });

  it('SETATTR sets mode, owner, size and times, and refuses with a guard that is not true', async () => {
    const file = await nfs.create(root, 'f');
    await nfs.write(file, 0, text('hello'));
    const set = async (changes: Partial<NewAttributes>, guard: number | null = null) => {
      const { status, body } = await nfs.call(Nfs3.SETATTR, (out) => {
        putNewAttributes(out.opaque(file), sattr(changes));
        out.bool(guard !== null);
        if (guard !== null) out.u32(guard).u32(0);
      });
      return { status, wcc: getWcc(body) };
    };
    const before = await nfs.attributes(file);
    const { status, wcc } = await set({ mode: 0o600, uid: 3, gid: 4, sizeBytes: 2, mtime: timeOfMs(5000), atime: timeOfMs(7000) });
    expect(status).toBe(0);
    expect(wcc.before).toEqual({ sizeBytes: 5, mtime: before.mtime, ctime: before.ctime });
    expect(wcc.after).toMatchObject({ mode: 0o100600, uid: 3, gid: 4, sizeBytes: 2, mtime: { seconds: 5 }, atime: { seconds: 7 } });
    expect((await set({ mode: 0o777 }, 12)).status).toBe(NfsStatus.NOT_SYNC);
    expect((await nfs.attributes(file)).mode).toBe(0o100600);
    nfs.credentials = user(9);
    expect((await set({ mode: 0o777 })).status).toBe(NfsStatus.PERM);
    expect((await set({ sizeBytes: 0 })).status).toBe(NfsStatus.ACCES);
    nfs.credentials = user(3);
    expect((await set({ mode: 0o400 })).status).toBe(0);
    expect((await set({ sizeBytes: 1 })).status).toBe(0); // the owner may, whatever the mode
    expect((await set({ mtime: 'server', atime: 'server' })).status).toBe(0);
    expect((await nfs.attributes(file)).mtime.seconds).toBeGreaterThan(1_000_000_000);
  });

  it('ACCESS tells what the caller may do, of what it asked for', async () => {
    const file = await nfs.create(root, 'f', { mode: 0o640, uid: 5, gid: 6 });
    const ask = async (handle: Uint8Array, wanted: number): Promise<number> =>
      getAccess(await nfs.ok(Nfs3.ACCESS, (out) => out.opaque(handle).u32(wanted))).allowed;
    const { READ, LOOKUP, MODIFY, EXTEND, DELETE, EXECUTE } = Access;
    nfs.credentials = user(5);
    expect(await ask(file, 0x3f)).toBe(READ | MODIFY | EXTEND);
    expect(await ask(file, MODIFY)).toBe(MODIFY);
    nfs.credentials = user(1, 6);
    expect(await ask(file, 0x3f)).toBe(READ);
    nfs.credentials = user(1, 2, 6);
    expect(await ask(file, 0x3f)).toBe(READ);
    nfs.credentials = user(1);
    expect(await ask(file, 0x3f)).toBe(0);
    expect(await ask(root, 0x3f)).toBe(READ | LOOKUP);
    nfs.credentials = user(0);
    expect(await ask(root, 0x3f)).toBe(READ | LOOKUP | MODIFY | EXTEND | DELETE);
    expect(await ask(file, EXECUTE)).toBe(0);
  });

  it('FSSTAT, FSINFO and PATHCONF tell of the filesystem, and sizes come from the arena', async () => {
    const status = getFileSystemStatus(await nfs.ok(Nfs3.FSSTAT, (out) => out.opaque(root)));
    expect(status).toMatchObject({ totalBytes: 2 << 20, freeBytes: 2 << 20, availableBytes: 2 << 20, totalFiles: 512, freeFiles: 511 });
    const info = getFileSystemInfo(await nfs.ok(Nfs3.FSINFO, (out) => out.opaque(root)));
    expect(info).toMatchObject({ readMax: 32768, writeMax: 32768, directoryPreferred: 32768, properties: 0x1b });
    expect(nfsServerSizes(2048)).toMatchObject({ transferBytes: 32768, recordBytes: 36864, keptReplies: 64 });
    const limits = getPathLimits(await nfs.ok(Nfs3.PATHCONF, (out) => out.opaque(root)));
    expect(limits).toMatchObject({ linkMax: 65_000, nameBytesMax: 255 });
  });
});

describe('names', () => {
  it('LOOKUP finds names, the directory itself, and never leaves the export', async () => {
    const directory = await nfs.mkdir(root, 'd');
    const file = await nfs.create(directory, 'f');
    expect(await nfs.lookup(directory, 'f')).toEqual(file);
    expect(await nfs.lookup(directory, '.')).toEqual(directory);
    expect(await nfs.lookup(directory, '..')).toEqual(root);
    expect(await nfs.lookup(root, '..')).toEqual(root);
    const ask = async (handle: Uint8Array, name: Uint8Array) =>
      (await nfs.call(Nfs3.LOOKUP, (out) => out.opaque(handle).opaque(name))).status;
    expect(await ask(root, text('none'))).toBe(NfsStatus.NOENT);
    expect(await ask(file, text('none'))).toBe(NfsStatus.NOTDIR);
    expect(await ask(root, text('x'.repeat(256)))).toBe(NfsStatus.NAMETOOLONG);
    expect(await ask(root, text('a/b'))).toBe(NfsStatus.INVAL);
    expect(await ask(root, text(''))).toBe(NfsStatus.INVAL);
    expect(await ask(root, text('a\0b'))).toBe(NfsStatus.INVAL);
    const { body } = await nfs.call(Nfs3.LOOKUP, (out) => out.opaque(root).opaque(text('none')));
    expect(body.bool()).toBe(true); // the directory's attributes come with a failure
  });

  it('names of any bytes come back as they were', async () => {
    const name = Uint8Array.of(0xff, 0x61, 0xc3, 0xa4, 0x80);
    await nfs.ok(Nfs3.CREATE, (out) =>
      putCreate(out, { directory: root, name, mode: 1, attributes: sattr({ mode: 0o600 }), verifier: null }),
    );
    const found = getLookup(await nfs.ok(Nfs3.LOOKUP, (out) => out.opaque(root).opaque(name)));
    expect(found.attributes?.mode).toBe(0o100600);
  });

  it('SYMLINK and READLINK keep a target as it is', async () => {
    const target = '../some where/ä';
    const made = await nfs.make(Nfs3.SYMLINK, root, 'l', (out) => {
      putNewAttributes(out, NO_CHANGE);
      out.opaque(text(target));
    });
    expect(made.attributes?.mode).toBe(0o120777);
    const link = getReadLink(await nfs.ok(Nfs3.READLINK, (out) => out.opaque(made.handle as Uint8Array)));
    expect(textOf(link.target)).toBe(target);
    expect((await nfs.call(Nfs3.READLINK, (out) => out.opaque(root))).status).toBe(NfsStatus.INVAL);
    const { status } = await nfs.call(Nfs3.SYMLINK, (out) => {
      putNewAttributes(out.opaque(root).opaque(text('empty')), NO_CHANGE);
      out.opaque(text(''));
    });
    expect(status).toBe(NfsStatus.INVAL);
  });

  it('REMOVE and RMDIR take names away, and say what the directory was', async () => {
    await nfs.create(root, 'f');
    const directory = await nfs.mkdir(root, 'd');
    await nfs.create(directory, 'in');
    const before = await nfs.attributes(root);
    expect((await nfs.remove(Nfs3.REMOVE, root, 'd')).status).toBe(NfsStatus.ISDIR);
    expect((await nfs.remove(Nfs3.RMDIR, root, 'f')).status).toBe(NfsStatus.NOTDIR);
    expect((await nfs.remove(Nfs3.RMDIR, root, 'd')).status).toBe(NfsStatus.NOTEMPTY);
    expect((await nfs.remove(Nfs3.RMDIR, root, '.')).status).toBe(NfsStatus.INVAL);
    const removed = await nfs.remove(Nfs3.REMOVE, root, 'f');
    expect(removed.status).toBe(0);
    expect(removed.wcc.before).toEqual({ sizeBytes: before.sizeBytes, mtime: before.mtime, ctime: before.ctime });
    expect((await nfs.remove(Nfs3.REMOVE, root, 'f')).status).toBe(NfsStatus.NOENT);
    expect((await nfs.remove(Nfs3.REMOVE, directory, 'in')).status).toBe(0);
    expect((await nfs.remove(Nfs3.RMDIR, root, 'd')).status).toBe(0);
    expect((await nfs.call(Nfs3.GETATTR, (out) => out.opaque(directory))).status).toBe(NfsStatus.STALE);
    expect(await nfs.names(root)).toEqual(['.', '..']);
  });

  it('RENAME moves and replaces', async () => {
    const a = await nfs.mkdir(root, 'a');
    const b = await nfs.mkdir(root, 'b');
    const file = await nfs.create(a, 'f');
    await nfs.create(b, 'old');
    const rename = async (from: Uint8Array, name: string, to: Uint8Array, as: string) =>
      nfs.call(Nfs3.RENAME, (out) => out.opaque(from).opaque(text(name)).opaque(to).opaque(text(as)));
    const { status, body } = await rename(a, 'f', b, 'old');
    expect(status).toBe(0);
    const { from, to } = getRenamed(body);
    expect([from.before, to.before]).toEqual([expect.anything(), expect.anything()]);
    expect(await nfs.names(a)).toEqual(['.', '..']);
    expect(await nfs.lookup(b, 'old')).toEqual(file);
    expect((await rename(a, 'f', b, 'new')).status).toBe(NfsStatus.NOENT);
    expect((await rename(root, 'a', a, 'itself')).status).toBe(NfsStatus.INVAL);
    expect((await rename(root, 'a', root, 'b')).status).toBe(NfsStatus.NOTEMPTY);
    expect((await rename(b, 'old', root, 'a')).status).toBe(NfsStatus.ISDIR);
    expect((await rename(root, 'a', b, 'old')).status).toBe(NfsStatus.NOTDIR);
    expect((await rename(root, '.', b, 'x')).status).toBe(NfsStatus.INVAL);
  });

  it('LINK gives a file one more name', async () => {
    const file = await nfs.create(root, 'f');
    const linked = getLinked(await nfs.ok(Nfs3.LINK, (out) => out.opaque(file).opaque(root).opaque(text('g'))));
    expect(linked.attributes?.nlink).toBe(2);
    expect(linked.directory.before).not.toBeNull();
    expect(await nfs.lookup(root, 'g')).toEqual(file);
    expect((await nfs.call(Nfs3.LINK, (out) => out.opaque(file).opaque(root).opaque(text('g')))).status).toBe(NfsStatus.EXIST);
    expect((await nfs.call(Nfs3.LINK, (out) => out.opaque(root).opaque(root).opaque(text('h')))).status).toBe(NfsStatus.PERM);
  });
});

describe('making files', () => {
  const create = (
    directory: Uint8Array,
    name: string,
    mode: number,
    attributes: Partial<NewAttributes>,
    verifier: Uint8Array | null = null,
  ) =>
    nfs.call(Nfs3.CREATE, (out) =>
      putCreate(out, { directory, name: text(name), mode, attributes: verifier === null ? sattr(attributes) : null, verifier }),
    );

  it('CREATE: unchecked uses what is there, guarded refuses it', async () => {
    const file = await nfs.create(root, 'f');
    await nfs.write(file, 0, text('hello'));
    expect((await create(root, 'f', CreateMode.GUARDED, {})).status).toBe(NfsStatus.EXIST);
    expect((await create(root, 'f', CreateMode.UNCHECKED, { mode: 0o777 })).status).toBe(0);
    expect(await nfs.attributes(file)).toMatchObject({ mode: 0o100644, sizeBytes: 5 });
    expect((await create(root, 'f', CreateMode.UNCHECKED, { sizeBytes: 0 })).status).toBe(0);
    expect((await nfs.attributes(file)).sizeBytes).toBe(0);
    expect((await create(root, '.', CreateMode.UNCHECKED, {})).status).toBe(NfsStatus.EXIST);
    expect((await create(root, '..', CreateMode.UNCHECKED, {})).status).toBe(NfsStatus.EXIST);
    nfs.credentials = user(5);
    expect((await create(root, 'mine', CreateMode.GUARDED, {})).status).toBe(NfsStatus.ACCES);
    expect((await create(root, 'f', CreateMode.UNCHECKED, { sizeBytes: 0 })).status).toBe(NfsStatus.ACCES);
  });

  it('CREATE: exclusive is once for each verifier', async () => {
    const verifier = Uint8Array.of(0x91, 2, 3, 4, 0xf5, 6, 7, 8);
    const first = await create(root, 'x', CreateMode.EXCLUSIVE, {}, verifier);
    expect(first.status).toBe(0);
    const again = await create(root, 'x', CreateMode.EXCLUSIVE, {}, verifier);
    expect(again.status).toBe(0);
    expect((await create(root, 'x', CreateMode.EXCLUSIVE, {}, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 9))).status).toBe(NfsStatus.EXIST);
    const handle = await nfs.lookup(root, 'x');
    await nfs.write(handle, 0, text('x'));
    expect((await create(root, 'x', CreateMode.EXCLUSIVE, {}, verifier)).status).toBe(NfsStatus.EXIST);
  });

  it('who makes a file owns it; a directory inherits its group bit', async () => {
    const open = await nfs.mkdir(root, 'open', 0o777);
    nfs.credentials = user(5, 6);
    const file = await nfs.create(open, 'f', { mode: 0o640, uid: 99 });
    expect(await nfs.attributes(file)).toMatchObject({ uid: 5, gid: 6 });
    const directory = await nfs.mkdir(open, 'd', 0o2775);
    expect(await nfs.attributes(directory)).toMatchObject({ mode: 0o040775, uid: 5 });
  });

  it('MKNOD makes sockets and FIFOs, devices for root, and nothing else', async () => {
    const mknod = (name: string, type: number, device: readonly number[] | null) =>
      nfs.call(Nfs3.MKNOD, (out) => {
        out.opaque(root).opaque(text(name)).u32(type);
        if (type !== NfsType.REGULAR && type !== NfsType.DIRECTORY) putNewAttributes(out, sattr({ mode: 0o600 }));
        for (const word of device ?? []) out.u32(word);
      });
    expect((await mknod('fifo', NfsType.FIFO, null)).status).toBe(0);
    expect((await mknod('sock', NfsType.SOCKET, null)).status).toBe(0);
    expect((await mknod('dev', NfsType.BLOCK, [8, 17])).status).toBe(0);
    expect(await nfs.attributes(await nfs.lookup(root, 'dev'))).toMatchObject({ rdevMajor: 8, rdevMinor: 17 });
    expect(typeOfMode((await nfs.attributes(await nfs.lookup(root, 'fifo'))).mode)).toBe(NfsType.FIFO);
    expect((await mknod('reg', NfsType.REGULAR, null)).status).toBe(NfsStatus.BADTYPE);
    expect((await mknod('dir', NfsType.DIRECTORY, null)).status).toBe(NfsStatus.BADTYPE);
    nfs.credentials = user(5);
    expect((await mknod('dev2', NfsType.CHARACTER, [1, 3])).status).toBe(NfsStatus.PERM);
  });
});

describe('data', () => {
  it('what is written is read, to the end', async () => {
    const file = await nfs.create(root, 'f');
    const data = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 31) ^ (i >> 8));
    for (let at = 0; at < data.length; at += 32_768) {
      const written = await nfs.write(file, at, data.subarray(at, at + 32_768), Stable.UNSTABLE);
      expect(written).toMatchObject({ countBytes: Math.min(32_768, data.length - at), committed: Stable.UNSTABLE });
    }
    const got = new Uint8Array(data.length);
    for (let at = 0; at < data.length; ) {
      const piece = await nfs.read(file, at, 30_001);
      got.set(piece.data, at);
      at += piece.data.length;
      expect(piece.isEnd).toBe(at === data.length);
    }
    expect(got).toEqual(data);
    expect(await nfs.read(file, 70_000, 10)).toEqual({ data: new Uint8Array(0), isEnd: true });
    expect(await nfs.read(file, 2 ** 60, 10)).toEqual({ data: new Uint8Array(0), isEnd: true });
    expect((await nfs.read(file, 0, 1 << 20)).data.length).toBe(32_768);
  });

  it('the write verifier is one for all, and WRITE says how stable it was made', async () => {
    const file = await nfs.create(root, 'f');
    const other = await served.connect();
    const one = await nfs.write(file, 0, text('a'), Stable.UNSTABLE);
    const verifier = Uint8Array.from(one.verifier);
    expect(one.wcc.before?.sizeBytes).toBe(0);
    expect(one.wcc.after?.sizeBytes).toBe(1);
    expect((await other.write(file, 1, text('b'), Stable.DATA_SYNC)).committed).toBe(Stable.DATA_SYNC);
    const two = await other.write(file, 2, text('c'), Stable.FILE_SYNC);
    expect(two.committed).toBe(Stable.FILE_SYNC);
    expect(Uint8Array.from(two.verifier)).toEqual(verifier);
    expect(Uint8Array.from((await other.commit(file)).verifier)).toEqual(verifier);
    expect((await nfs.write(file, 0, new Uint8Array(0))).countBytes).toBe(0);
    other.rpc.close();
  });

  it('permissions are those of the caller; the owner may always read and write', async () => {
    const file = await nfs.create(root, 'f', { mode: 0, uid: 5, gid: 6 });
    const try_ = async () => [
      (await nfs.call(Nfs3.READ, (out) => out.opaque(file).u64(0).u32(10))).status,
      (await nfs.call(Nfs3.WRITE, writeArguments(file, 0, text('x'), 2))).status,
      (await nfs.call(Nfs3.COMMIT, (out) => out.opaque(file).u64(0).u32(0))).status,
    ];
    nfs.credentials = user(5);
    expect(await try_()).toEqual([0, 0, 0]);
    nfs.credentials = user(7, 6);
    expect(await try_()).toEqual([NfsStatus.ACCES, NfsStatus.ACCES, NfsStatus.ACCES]);
    nfs.credentials = NOBODY;
    expect(await try_()).toEqual([NfsStatus.ACCES, NfsStatus.ACCES, NfsStatus.ACCES]);
    nfs.credentials = user(0);
    const program = await nfs.create(root, 'p', { mode: 0o711 });
    nfs.credentials = user(7);
    expect((await nfs.call(Nfs3.READ, (out) => out.opaque(program).u64(0).u32(10))).status).toBe(0);
  });

  it('what is no regular file is refused, and so is what is too far', async () => {
    const file = await nfs.create(root, 'f');
    expect((await nfs.call(Nfs3.READ, (out) => out.opaque(root).u64(0).u32(10))).status).toBe(NfsStatus.ISDIR);
    expect((await nfs.call(Nfs3.WRITE, writeArguments(root, 0, text('x'), 2))).status).toBe(NfsStatus.ISDIR);
    expect((await nfs.call(Nfs3.COMMIT, (out) => out.opaque(root).u64(0).u32(0))).status).toBe(NfsStatus.INVAL);
    expect((await nfs.call(Nfs3.WRITE, writeArguments(file, 2 ** 60, text('x'), 2))).status).toBe(NfsStatus.FBIG);
    expect((await nfs.call(Nfs3.WRITE, writeArguments(file, 2 ** 50, text('x'), 2))).status).toBe(NfsStatus.FBIG);
  });

  it('a full filesystem: as much as fits, then NOSPC', async () => {
    const file = await nfs.create(root, 'f');
    const chunk = new Uint8Array(32_768).fill(1);
    let at = 0;
    for (;;) {
      const { status, body } = await nfs.call(Nfs3.WRITE, writeArguments(file, at, chunk, Stable.UNSTABLE));
      if (status !== 0) {
        expect(status).toBe(NfsStatus.NOSPC);
        break;
      }
      getWcc(body);
      at += body.u32();
    }
    expect(at).toBe(2 << 20);
    expect((await nfs.attributes(file)).sizeBytes).toBe(2 << 20);
  });
});

describe('directories', () => {
  it('READDIR and READDIRPLUS list everything once, in calls of any size', async () => {
    const expected = Array.from({ length: 300 }, (_, i) => `file-${i}`);
    for (const name of expected) await nfs.create(root, name);
    for (const isPlus of [false, true])
      for (const resultBytes of [512, 1500, 4096, 1 << 20]) {
        const names = await nfs.names(root, isPlus, resultBytes);
        expect(names.slice(0, 2)).toEqual(['.', '..']);
        expect(names.slice(2).sort()).toEqual([...expected].sort());
      }
    const { entries } = await nfs.list(root, true);
    for (const { name, attributes, handle, fileid } of entries.slice(2, 5)) {
      expect(Uint8Array.from(handle as Uint8Array)).toEqual(await nfs.lookup(root, name));
      expect(attributes?.fileid).toBe(fileid);
    }
    const { status } = await nfs.call(Nfs3.READDIR, (out) => out.opaque(root).fixed(new Uint8Array(16)).u32(100));
    expect(status).toBe(NfsStatus.TOOSMALL);
    const bad = await nfs.call(Nfs3.READDIR, (out) => out.opaque(root).fixed(new Uint8Array(16).fill(255)).u32(4096));
    expect(bad.status).toBe(NfsStatus.BAD_COOKIE);
  });

  it('what is listed can be deleted on the way', async () => {
    for (let i = 0; i < 200; i++) await nfs.create(root, `f${i}`);
    let cookie = new Uint8Array(8);
    let nrSeen = 0;
    for (;;) {
      const { entries, isEnd } = await nfs.list(root, false, cookie, 600);
      for (const { name, cookie: at } of entries) {
        cookie = at as Uint8Array<ArrayBuffer>;
        if (name === '.' || name === '..') continue;
        nrSeen++;
        expect((await nfs.remove(Nfs3.REMOVE, root, name)).status).toBe(0);
      }
      if (isEnd) break;
    }
    expect(nrSeen).toBe(200);
    expect(await nfs.names(root)).toEqual(['.', '..']);
  });
});

describe('MOUNT', () => {
  it('mounts an export and directories below it, and tells what there is', async () => {
    const directory = await nfs.mkdir(root, 'd');
    expect(await nfs.mount('/d/')).toEqual(directory);
    expect(await nfs.mount('/./d/../../d')).toEqual(directory);
    await nfs.create(root, 'f');
    const ask = async (path: string) =>
      (await nfs.rpc.call(MOUNT_PROGRAM, 3, Mount3.MNT, nfs.credentials, (out) => out.opaque(text(path)))).u32();
    expect(await ask('/none')).toBe(2);
    expect(await ask('/f')).toBe(20);
    const list = getExports(await nfs.rpc.call(MOUNT_PROGRAM, 3, Mount3.EXPORT, NOBODY, () => {}));
    expect(list.map(({ path }) => textOf(path))).toEqual(['/']);
    expect((await nfs.rpc.call(MOUNT_PROGRAM, 3, Mount3.DUMP, NOBODY, () => {})).bool()).toBe(false);
    await nfs.rpc.call(MOUNT_PROGRAM, 3, Mount3.UMNT, NOBODY, (out) => out.opaque(text('/')));
    await nfs.rpc.call(MOUNT_PROGRAM, 3, Mount3.UMNTALL, NOBODY, () => {});
  });
});
