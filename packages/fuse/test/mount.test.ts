import { Errno, Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { FuseMount, fuseSizes } from '@tidemark/fuse';
import { memfs } from '@tidemark/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { create, lock, mounted, names, range, write } from './fixture.js';
import { OP, pack, ScriptedKernel } from './scripted-kernel.js';

/** `TIDEMARK_RUNS=70` garbles 210,000 requests. */
const RUNS = Number(process.env.TIDEMARK_RUNS ?? 1);
const text = (body: DataView): string => new TextDecoder().decode(body);
const bytes = (of: string): Uint8Array => new TextEncoder().encode(of);

describe('INIT', () => {
  it('grants nothing that was not offered, and transfers of whole pages', async () => {
    const linux = new ScriptedKernel();
    const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, memfs, linux.plugin] });
    await kernel.mount('memfs:1MiB', '/');
    await FuseMount.open(kernel, { at: '/mnt' });
    const body = await linux.want(OP.INIT, 0, pack(7, 31, 4096, 0b1001, new Uint8Array(48)));
    expect(body.byteLength).toBe(64);
    expect([body.getUint32(0, true), body.getUint32(4, true)]).toEqual([7, 31]);
    expect(body.getUint32(12, true) & ~0b1001).toBe(0);
    const writeBytes = body.getUint32(20, true);
    expect(writeBytes % 4096).toBe(0);
    expect(writeBytes).toBe(fuseSizes(2048).transferBytes);
    expect(body.getUint16(28, true)).toBe(writeBytes / 4096);
    await kernel.shutdown();
  });

  it('refuses a kernel that is too old, and answers a newer major with ours', async () => {
    const linux = new ScriptedKernel();
    const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, memfs, linux.plugin] });
    await kernel.mount('memfs:1MiB', '/');
    await FuseMount.open(kernel, { at: '/mnt' });
    expect((await linux.ask(OP.INIT, 0, pack(7, 12, 0, 0, new Uint8Array(48)))).error).toBe(-Errno.EPROTO);
    expect((await linux.want(OP.INIT, 0, pack(8, 0, 0, 0, new Uint8Array(48)))).getUint32(0, true)).toBe(7);
    expect((await linux.ask(OP.GETATTR, 1, pack(0, 0, 0n))).error, 'before a real INIT').toBe(-Errno.EIO);
    await linux.greet();
    expect((await linux.ask(OP.GETATTR, 1, pack(0, 0, 0n))).error).toBe(0);
    await kernel.shutdown();
  });
});

describe('files', () => {
  it('are made as who asks, written, read, found again', async () => {
    const { linux } = await mounted();
    const { node, handle } = await create(linux, 'a');
    expect((await linux.want(OP.WRITE, node, write(handle, 3, bytes('hello')))).getUint32(0, true)).toBe(5);
    expect(text(await linux.want(OP.READ, node, range(handle, 0, 4096)))).toBe('\0\0\0hello');
    const entry = await linux.want(OP.LOOKUP, 1, pack('a'));
    expect(Number(entry.getBigUint64(0, true))).toBe(node);
    expect([entry.getBigUint64(40 + 8, true), entry.getUint32(40 + 60, true)]).toEqual([8n, 0o100644]);
    expect([entry.getUint32(40 + 68, true), entry.getUint32(40 + 72, true)], 'uid and gid').toEqual([1000, 100]);
    expect((await linux.ask(OP.READ, node, range(handle + 99n, 0, 10))).error).toBe(-Errno.EBADF);
    expect((await linux.ask(OP.RELEASE, node, pack(handle, 2, 0, 0n))).error).toBe(0);
    expect((await linux.ask(OP.RELEASE, node, pack(handle, 2, 0, 0n))).error).toBe(-Errno.EBADF);
  });

  it('a read ends early at the end only, whatever its size', async () => {
    const { linux } = await mounted();
    const { node, handle } = await create(linux, 'a');
    const data = Uint8Array.from({ length: 50_000 }, (_, i) => i % 251);
    await linux.want(OP.WRITE, node, write(handle, 0, data));
    const got = await linux.want(OP.READ, node, range(handle, 10, 60_000));
    expect(new Uint8Array(got.buffer, got.byteOffset)).toEqual(data.subarray(10));
    expect((await linux.want(OP.READ, node, range(handle, 2 ** 40, 10))).byteLength).toBe(0);
  });

  it('a name that does not exist is remembered until it is made', async () => {
    const { linux, kernel } = await mounted();
    const entry = await linux.want(OP.LOOKUP, 1, pack('nothing'));
    expect([entry.getBigUint64(0, true), entry.getBigUint64(16, true)]).toEqual([0n, 60n]);
    await kernel.fs.promises.writeFile('/nothing', 'x');
    await expect.poll(() => linux.notifications.filter((view) => view.getInt32(4, true) === 3).length).toBe(1);
  });

  it('unlinked but open: it goes on; unlinked and known: whoever stands in it can', async () => {
    const { linux, kernel } = await mounted();
    const { node, handle } = await create(linux, 'a');
    expect((await linux.ask(OP.UNLINK, 1, pack('a'))).error).toBe(0);
    await linux.want(OP.WRITE, node, write(handle, 0, bytes('still here')));
    expect(text(await linux.want(OP.READ, node, range(handle, 0, 100)))).toBe('still here');
    expect((await linux.want(OP.GETATTR, node, pack(0, 0, 0n))).getUint32(16 + 64, true), 'names').toBe(0);
    const made = await linux.want(OP.MKDIR, 1, pack(0o755, 0, 'd'));
    const dir = Number(made.getBigUint64(0, true));
    expect((await linux.ask(OP.RMDIR, 1, pack('d'))).error).toBe(0);
    expect((await linux.ask(OP.GETATTR, dir, pack(0, 0, 0n))).error).toBe(0);
    expect((await linux.ask(OP.CREATE, dir, pack(2, 0o644, 0, 0, 'x'))).error).toBe(-Errno.ENOENT);
    linux.post(OP.FORGET, dir, pack(1n));
    expect((await linux.ask(OP.GETATTR, dir, pack(0, 0, 0n))).error).toBe(-Errno.ESTALE);
    linux.post(OP.RELEASE, node, pack(handle, 2, 0, 0n));
    linux.post(OP.FORGET, node, pack(1n));
    await expect.poll(() => kernel.vfs.openFiles.size).toBe(0);
  });

  it('a file of another kernel user that took the number of a forgotten one is not taken for it', async () => {
    const { linux, kernel } = await mounted();
    const { node, handle } = await create(linux, 'a');
    await linux.want(OP.RELEASE, node, pack(handle, 2, 0, 0n));
    await kernel.fs.promises.unlink('/a');
    await kernel.fs.promises.writeFile('/b', 'another');
    expect((await linux.ask(OP.GETATTR, node, pack(0, 0, 0n))).error).toBe(-Errno.ESTALE);
  });

  it('a program that is written to loses what it was trusted with', async () => {
    const { linux, kernel } = await mounted();
    const { node, handle } = await create(linux, 'program');
    const capability = pack(4, 0, 'security.capability', bytes('caps'));
    expect((await linux.ask(OP.SETXATTR, node, capability)).error).toBe(0);
    await kernel.fs.promises.chmod('/program', 0o6755);
    const asked = (): Promise<{ error: number }> => linux.ask(OP.GETXATTR, node, pack(100, 0, 'security.capability'));
    expect((await asked()).error).toBe(0);
    await linux.want(OP.WRITE, node, write(handle, 0, bytes('x')));
    expect((await asked()).error).toBe(-Errno.ENODATA);
    expect((await kernel.fs.promises.stat('/program')).mode & 0o7777, 'for Linux to say').toBe(0o6755);
    await linux.want(OP.WRITE, node, pack(handle, 0n, 1, 4, 0n, 0, 0, bytes('y')));
    expect((await kernel.fs.promises.stat('/program')).mode & 0o7777).toBe(0o755);
    expect((await linux.ask(OP.GETXATTR, node, pack(100, 0, 'system.posix_acl_access'))).error).toBe(-Errno.EOPNOTSUPP);
  });

  it('copies from one to another, seeks, allocates as the filesystem can, knows no ioctl', async () => {
    const { linux } = await mounted();
    const from = await create(linux, 'from');
    const to = await create(linux, 'to');
    await linux.want(OP.WRITE, from.node, write(from.handle, 0, bytes('0123456789')));
    const copied = await linux.want(OP.COPY_FILE_RANGE, from.node, pack(from.handle, 2n, BigInt(to.node), to.handle, 1n, 100n, 0n));
    expect(copied.getUint32(0, true)).toBe(8);
    expect(text(await linux.want(OP.READ, to.node, range(to.handle, 0, 100)))).toBe('\x0023456789');
    expect((await linux.want(OP.LSEEK, from.node, pack(from.handle, 4n, 3, 0))).getBigUint64(0, true)).toBe(4n);
    expect((await linux.ask(OP.LSEEK, from.node, pack(from.handle, 40n, 3, 0))).error).toBe(-Errno.ENXIO);
    expect((await linux.ask(OP.FALLOCATE, from.node, pack(from.handle, 0n, 10n, 8, 0))).error).toBe(-Errno.EOPNOTSUPP);
    expect((await linux.ask(OP.IOCTL, from.node, new Uint8Array(32))).error).toBe(-25);
    expect((await linux.ask(4000, 1)).error).toBe(-Errno.ENOSYS);
  });
});

describe('directories', () => {
  it('are read in pieces of any size, each entry once, with and without attributes', async () => {
    const { linux } = await mounted();
    const wanted = ['.', '..'];
    for (let i = 0; i < 60; i++) {
      const name = `${'n'.repeat(i + 1)}${i}`;
      wanted.push(name);
      const { node, handle } = await create(linux, name);
      await linux.want(OP.RELEASE, node, pack(handle, 2, 0, 0n));
    }
    const { body } = await linux.ask(OP.OPENDIR, 1, pack(0, 0));
    const handle = body.getBigUint64(0, true);
    for (const [opcode, plus, size] of [
      [OP.READDIR, false, 200],
      [OP.READDIR, false, 4096],
      [OP.READDIRPLUS, true, 300],
      [OP.READDIRPLUS, true, 4096],
    ] as const) {
      const seen: string[] = [];
      for (let cookie = 0n; ; ) {
        const piece = names(await linux.want(opcode, 1, pack(handle, cookie, size, 0, 0n, 0, 0)), plus);
        if (piece.length === 0) break;
        for (const { name, node } of piece) {
          seen.push(name);
          expect(node === 0n, name).toBe(!plus || name === '.' || name === '..');
        }
        cookie = piece[piece.length - 1].cookie;
      }
      expect(seen.slice().sort(), `${opcode} ${size}`).toEqual(wanted.slice().sort());
    }
  });

  it('what the kernel forgets in batches is forgotten', async () => {
    const { linux, mount } = await mounted();
    const { node, handle } = await create(linux, 'a');
    await linux.want(OP.RELEASE, node, pack(handle, 2, 0, 0n));
    await linux.want(OP.LOOKUP, 1, pack('a'));
    expect(mount.counts.nodes).toBe(2);
    linux.post(OP.BATCH_FORGET, 0, pack(2, 0, BigInt(node), 1n, 999n, 5n));
    expect(mount.counts.nodes).toBe(2);
    linux.post(OP.BATCH_FORGET, 0, pack(7, 0, BigInt(node), 1n)); // says more than it has
    expect(mount.counts.nodes).toBe(1);
  });

  it('a reply nobody waits for grants nothing', async () => {
    const { linux, mount } = await mounted();
    const { node, handle } = await create(linux, 'a');
    await linux.want(OP.RELEASE, node, pack(handle, 2, 0, 0n));
    linux.refusesReplies = true;
    linux.post(OP.LOOKUP, 1, pack('a'));
    linux.refusesReplies = false;
    linux.post(OP.FORGET, node, pack(1n));
    expect(mount.counts.nodes).toBe(1);
  });

  it('renames with and without replacing, exchanges, refuses flags it does not know', async () => {
    const { linux, kernel } = await mounted();
    await create(linux, 'a');
    await create(linux, 'b');
    const rename = (from: string, to: string, flags: number) => linux.ask(OP.RENAME2, 1, pack(1n, flags, 0, from, to));
    expect((await rename('a', 'b', 1)).error).toBe(-Errno.EEXIST);
    expect((await rename('a', 'b', 2)).error).toBe(0);
    expect((await rename('a', 'c', 4)).error).toBe(-Errno.EINVAL);
    expect((await rename('a', 'b', 0)).error).toBe(0);
    expect(await kernel.fs.promises.readdir('/')).toEqual(['b']);
    expect((await rename('a', 'x'.repeat(256), 0)).error).toBe(-Errno.ENAMETOOLONG);
    expect((await rename('b', 'x/y', 0)).error).toBe(-Errno.EINVAL);
  });
});

describe('locks', () => {
  it('bind other owners, are told of, wait, and end with their owner', async () => {
    const { linux } = await mounted();
    const { node, handle } = await create(linux, 'a');
    expect((await linux.ask(OP.SETLK, node, lock(handle, 1n, 10n, 19n, 1))).error).toBe(0);
    expect((await linux.ask(OP.SETLK, node, lock(handle, 2n, 15n, 15n, 0))).error).toBe(-Errno.EAGAIN);
    const there = await linux.want(OP.GETLK, node, lock(handle, 2n, 0n, 2n ** 63n - 1n, 0));
    expect([there.getBigUint64(0, true), there.getBigUint64(8, true), there.getUint32(16, true), there.getUint32(20, true)]).toEqual([
      10n,
      19n,
      1,
      77,
    ]);
    const waiting = linux.post(OP.SETLKW, node, lock(handle, 2n, 15n, 2n ** 63n - 1n, 1));
    expect((await linux.ask(OP.SETLK, node, lock(handle, 3n, 0n, 5n, 1, 1))).error, 'flock is another matter').toBe(0);
    expect(linux.hasAnswer(waiting)).toBe(false);
    await linux.want(OP.FLUSH, node, pack(handle, 0n, 1n)); // its owner closes the file
    expect((await linux.answer(waiting)).error).toBe(0);
    const whole = await linux.want(OP.GETLK, node, lock(handle, 5n, 0n, 2n ** 63n - 1n, 0));
    expect(whole.getBigUint64(8, true)).toBe(2n ** 63n - 1n);
  });

  it('a wait ends with an interrupt, and waits beyond the bound are refused', async () => {
    const { linux, mount } = await mounted();
    const { node, handle } = await create(linux, 'a');
    await linux.want(OP.SETLK, node, lock(handle, 1n, 0n, 10n, 1));
    const { lockWaits } = fuseSizes(2048);
    const waits = Array.from({ length: lockWaits }, (_, i) => linux.post(OP.SETLKW, node, lock(handle, BigInt(i + 2), 0n, 5n, 1)));
    expect((await linux.ask(OP.SETLKW, node, lock(handle, 999n, 0n, 5n, 1))).error).toBe(-Errno.ENOLCK);
    expect(mount.counts.inProgress).toBe(lockWaits);
    for (const unique of waits) linux.post(OP.INTERRUPT, node, pack(unique));
    for (const unique of waits) expect((await linux.answer(unique)).error).toBe(-Errno.EINTR);
    linux.post(OP.INTERRUPT, node, pack(waits[0])); // once more: it is over
    expect((await linux.ask(OP.GETATTR, node, pack(0, 0, 0n))).error).toBe(0);
  });

  it('the end of the mount ends every wait', async () => {
    const { linux, mount } = await mounted();
    const { node, handle } = await create(linux, 'a');
    await linux.want(OP.SETLK, node, lock(handle, 1n, 0n, 10n, 1));
    linux.post(OP.SETLKW, node, lock(handle, 2n, 0n, 10n, 1));
    await mount.unmount();
    expect(mount.counts.inProgress).toBe(0);
  });
});

describe('others', () => {
  it('what the mount itself changes is not told of, what others change is, once', async () => {
    const { linux, kernel } = await mounted();
    const { node, handle } = await create(linux, 'a');
    await linux.want(OP.WRITE, node, write(handle, 0, bytes('x')));
    await linux.want(OP.SETATTR, node, pack(1, 0, 0n, 0n, 0n, 0n, 0n, 0n, 0, 0, 0, 0o600, 0, 0, 0, 0));
    await kernel.fs.promises.appendFile('/b', 'unknown to linux');
    await new Promise((resolve) => setTimeout(resolve, 5));
    const about = (view: DataView) => [view.getInt32(4, true), view.getBigUint64(16, true)];
    const before = linux.notifications.length;
    expect(linux.notifications.map(about)).not.toContainEqual([2, BigInt(node)]);
    for (let i = 0; i < 20; i++) kernel.fs.appendFileSync('/a', 'more');
    await expect.poll(() => linux.notifications.slice(before).map(about)).toEqual([[2, BigInt(node)]]);
  });

  it('pages stay true over a close, until somebody else writes', async () => {
    const { linux, kernel } = await mounted();
    const { node } = await create(linux, 'a');
    const keeps = async (): Promise<boolean> => ((await linux.want(OP.OPEN, node, pack(0, 0))).getUint32(8, true) & 2) !== 0;
    expect(await keeps()).toBe(true);
    await kernel.fs.promises.appendFile('/a', 'more');
    expect(await keeps()).toBe(false);
    expect(await keeps()).toBe(true);
  });
});

describe('memory', () => {
  it('is what the plan says, and all of it comes back', async () => {
    const { kernel, mount } = await mounted();
    const node = kernel.reserves.explain().nodes.find(({ name }) => name === 'fuse:/mnt');
    expect(node?.standing).toBe(8 * fuseSizes(2048).slotFrames + 4);
    await mount.unmount();
    expect(kernel.graph().nodes).toEqual([]);
    await expect(mount.unmount()).resolves.toBeUndefined();
  });

  it('is refused if there is too little, and then nothing is left', async () => {
    const linux = new ScriptedKernel();
    const kernel = await Kernel.boot({ memory: '512KiB', plugins: [host, memfs, linux.plugin] });
    await kernel.mount('memfs:1MiB', '/');
    const others = await kernel.memory.allocStanding(kernel.task, 'others', 64);
    await expect(FuseMount.open(kernel, { at: '/mnt' })).rejects.toMatchObject({ code: 'ENOMEM' });
    others.free();
    await (await FuseMount.open(kernel, { at: '/mnt' })).unmount();
    expect((await kernel.shutdown()).leakedFrames).toBe(0);
  });
});

describe('bad input', () => {
  it('requests cut, stretched and garbled are answered with an error or not at all, and change nothing for others', {
    timeout: 30_000 * RUNS,
  }, async () => {
    const { linux, mount } = await mounted();
    const { node, handle } = await create(linux, 'victim');
    await linux.want(OP.WRITE, node, write(handle, 0, bytes('victim')));
    const opcodes = Object.values(OP).filter((op) => op !== OP.INIT);
    fc.assert(
      fc.property(
        fc.constantFrom(...opcodes),
        fc.constantFrom(0, 1, node, 77, 2 ** 40),
        fc.uint8Array({ maxLength: 160 }),
        fc.integer({ min: -45, max: 20 }),
        (opcode, nodeId, body, lie) => {
          const raw = pack(40 + body.length + Math.max(lie, 0), opcode, 1n, BigInt(nodeId), 0, 0, 0, 0, body);
          linux.refusesReplies = true; // all of them have one number
          linux.send(lie < 0 ? raw.subarray(0, Math.max(raw.length + lie, 0)) : raw);
          linux.refusesReplies = false;
        },
      ),
      { numRuns: 3000 * RUNS },
    );
    await expect.poll(() => mount.counts.inProgress).toBe(0);
    expect(mount.counts.bugs).toBe(0);
    expect(text(await linux.want(OP.READ, node, range(handle, 0, 100)))).toBeTypeOf('string');
  });
});
