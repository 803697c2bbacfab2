/** The parts of `kernel.fs` that are more than one call: callbacks, handles, streams, `opendir`, `cp`, `watch`, `glob`. */
import * as hostFs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Kernel } from '@tidemark/core';
import { host, mountInNode, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

let kernel: Kernel;
let fs: NodeFs;
let folder = '';

beforeEach(async () => {
  kernel = await Kernel.boot({ memory: '16MiB', plugins: [host, memfs] });
  await kernel.mount('memfs:8MiB', '/');
  fs = kernel.fs;
  folder = hostFs.mkdtempSync(path.join(tmpdir(), 'tidemark-face-'));
});

afterEach(async () => {
  hostFs.rmSync(folder, { recursive: true });
  const { leakedFrames, leakedTimers, problems } = await kernel.shutdown();
  expect({ leakedFrames, leakedTimers, problems }).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});

/** The same on both, with the place each has for the test. */
async function onBoth<T>(work: (fs: NodeFs, at: string) => Promise<T>): Promise<T> {
  fs.mkdirSync('/t');
  const expected = await work(hostFs as unknown as NodeFs, folder);
  const actual = await work(fs, '/t');
  expect(actual).toEqual(expected);
  return actual;
}

test('callbacks get what promises give, later', async () => {
  await onBoth(async (fs, at) => {
    await promisify(fs.writeFile)(`${at}/f`, 'some text');
    const fd = await promisify(fs.open)(`${at}/f`, 'r');
    const read = await new Promise<unknown>((resolve) => {
      let isLater = false;
      fs.read(fd, Buffer.alloc(4), 0, 4, 5, (error, bytes, buffer) => resolve([isLater, error, bytes, buffer.toString()]));
      isLater = true;
    });
    await promisify(fs.close)(fd);
    const failed = await promisify(fs.stat)(`${at}/none`).catch((error: NodeJS.ErrnoException) => [error.code, error.syscall, error.errno]);
    return [read, failed, await new Promise((resolve) => fs.exists(`${at}/f`, resolve))];
  });
});

test('file handles: positions, vectors, lines, closing', async () => {
  await onBoth(async (fs, at) => {
    const handle = await fs.promises.open(`${at}/f`, 'w+');
    await handle.write('one\ntwo\n');
    await handle.writev([Buffer.from('three\n'), Buffer.from('four\n')]);
    await handle.appendFile('five');
    const buffers = [Buffer.alloc(3), Buffer.alloc(4)];
    const { bytesRead } = await handle.readv(buffers, 4);
    const size = (await handle.stat()).size;
    const big = typeof (await handle.stat({ bigint: true })).mtimeNs;
    await handle.truncate(12);
    await handle.sync();
    await handle.close();
    const after = await handle.stat().catch((error: NodeJS.ErrnoException) => error.code);
    const lines: string[] = [];
    for await (const line of (await fs.promises.open(`${at}/f`)).readLines()) lines.push(line);
    return [bytesRead, buffers.join(), size, big, after, lines];
  });
});

describe('streams', () => {
  const text = 'The quick brown fox. '.repeat(20_000);

  test('write, append, read a part, in pieces', async () => {
    await onBoth(async (fs, at) => {
      const out = fs.createWriteStream(`${at}/f`);
      for (let i = 0; i < text.length; i += 7777)
        if (!out.write(text.slice(i, i + 7777))) await new Promise<void>((resolve) => void out.once('drain', () => resolve()));
      await new Promise<void>((resolve) => void out.end(() => resolve()));
      await pipeline([Buffer.from('!')], fs.createWriteStream(`${at}/f`, { flags: 'a' }));
      await pipeline([Buffer.from('A')], fs.createWriteStream(`${at}/f`, { flags: 'r+', start: 4 }));
      let whole = '';
      for await (const chunk of fs.createReadStream(`${at}/f`, { encoding: 'utf8' })) whole += chunk;
      const part = await collect(fs.createReadStream(`${at}/f`, { start: 2, end: 70_000, highWaterMark: 1000 }));
      const stream = fs.createReadStream(`${at}/f`);
      const events: string[] = [];
      for (const event of ['open', 'ready', 'end', 'close']) stream.on(event, () => events.push(event));
      await collect(stream);
      await new Promise((resolve) => setImmediate(resolve));
      return [out.bytesWritten, whole.length, whole.slice(0, 10), whole.at(-1), part.length, part.slice(0, 5), events, stream.bytesRead];
    });
  });

  test('what goes wrong is an event', async () => {
    await onBoth(async (fs, at) => {
      const missing = await collect(fs.createReadStream(`${at}/none`)).catch((error: NodeJS.ErrnoException) => [error.code, error.syscall]);
      const dir = await collect(fs.createReadStream(at)).catch((error: NodeJS.ErrnoException) => [error.code, error.syscall]);
      const bad = await pipeline([Buffer.from('x')], fs.createWriteStream(`${at}/no/f`)).catch(
        (error: NodeJS.ErrnoException) => error.code,
      );
      return [missing, dir, bad];
    });
  });

  async function collect(stream: hostFs.ReadStream): Promise<string> {
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString();
  }
});

test('opendir: entries with types, closed at the end, an error when used after', async () => {
  await onBoth(async (fs, at) => {
    for (let i = 0; i < 100; i++) fs.writeFileSync(`${at}/${i}`, '');
    fs.mkdirSync(`${at}/dir`);
    fs.symlinkSync('x', `${at}/link`);
    const dir = await fs.promises.opendir(at, { bufferSize: 7 });
    const entries: string[] = [];
    for await (const entry of dir) entries.push(`${entry.name} ${entry.isFile()} ${entry.isDirectory()} ${entry.isSymbolicLink()}`);
    const after = await (async () => dir.read())().catch((error: NodeJS.ErrnoException) => error.code);
    const sync = fs.opendirSync(at);
    const first = sync.readSync() !== null;
    sync.closeSync();
    return [entries.sort(), after, first];
  });
});

test('cp: trees, links, filters, refusals', async () => {
  await onBoth(async (fs, at) => {
    fs.mkdirSync(`${at}/a/b/c`, { recursive: true });
    fs.writeFileSync(`${at}/a/f`, 'f', { mode: 0o640 });
    fs.writeFileSync(`${at}/a/b/g`, 'g');
    fs.symlinkSync('f', `${at}/a/link`);
    fs.utimesSync(`${at}/a/f`, 1000, 2000);
    await fs.promises.cp(`${at}/a`, `${at}/x/y`, {
      recursive: true,
      preserveTimestamps: true,
      filter: (from: string) => !from.endsWith('/g'),
    });
    const listed = (await fs.promises.readdir(`${at}/x`, { recursive: true })).sort();
    const { mode, mtimeMs } = fs.statSync(`${at}/x/y/f`);
    const refusals: unknown[] = [];
    for (const [from, to, options] of [
      ['a', 'z', {}],
      ['a', 'a/b', { recursive: true }],
      ['a/f', 'a/f', {}],
      ['a', 'a/f', { recursive: true }],
      ['a/f', 'a/b', {}],
      ['a/f', 'x/y/f', { force: false, errorOnExist: true }],
      ['none', 'z', {}],
    ] as const)
      refusals.push(
        await fs.promises.cp(`${at}/${from}`, `${at}/${to}`, options).then(
          () => 'copied',
          (error: NodeJS.ErrnoException) => error.code,
        ),
      );
    return [listed, mode, mtimeMs, fs.readlinkSync(`${at}/x/y/link`).slice(at.length), refusals];
  });
});

test('what a program leaves open is closed at shutdown', async () => {
  fs.mkdirSync('/left');
  fs.writeFileSync('/left/f', 'x');
  const fd = fs.openSync('/left/f', 'r+');
  fs.writeSync(fd, 'more');
  fs.unlinkSync('/left/f');
  fs.opendirSync('/left').readSync();
  const handle = await fs.promises.open('/left/g', 'w');
  await kernel.shutdown();
  expect(() => fs.fstatSync(fd)).toThrow('EBADF');
  await expect(handle.stat()).rejects.toMatchObject({ code: 'EBADF' });
});

test('mkdtemp, statfs, utimes of links', async () => {
  await onBoth(async (fs, at) => {
    const made = await fs.promises.mkdtemp(`${at}/new-`);
    const missing = await fs.promises.mkdtemp(`${at}/none/new-`).catch((error: NodeJS.ErrnoException) => error.message.slice(0, 40));
    fs.symlinkSync('f', `${at}/link`);
    fs.writeFileSync(`${at}/f`, '');
    await fs.promises.lutimes(`${at}/link`, 5, 6);
    const { mtimeMs } = fs.lstatSync(`${at}/link`);
    return [made.length - at.length, fs.statSync(made).mode, missing, mtimeMs, (await fs.promises.statfs(at)).bsize];
  });
});

test('glob: names, sets, braces, any depth', () => {
  for (const file of ['a.txt', 'b.md', 'src/a.ts', 'src/b.js', 'src/deep/er/c.ts', '.hidden/x.ts', 'src/[odd].ts']) {
    fs.mkdirSync(path.posix.dirname(`/g/${file}`), { recursive: true });
    fs.writeFileSync(`/g/${file}`, '');
  }
  const find = (pattern: string | string[], options = {}): string[] => fs.globSync(pattern, { cwd: '/g', ...options }).sort();
  expect(find('*.txt')).toEqual(['a.txt']);
  expect(find('**/*.ts')).toEqual(['.hidden/x.ts', 'src/[odd].ts', 'src/a.ts', 'src/deep/er/c.ts']);
  expect(find('src/*.{ts,js}')).toEqual(['src/[odd].ts', 'src/a.ts', 'src/b.js']);
  expect(find('src/[ab].?s')).toEqual(['src/a.ts', 'src/b.js']);
  expect(find('src/[!a]*.ts')).toEqual(['src/[odd].ts']);
  expect(find(['*.md', '*.txt', '*.md'])).toEqual(['a.txt', 'b.md']);
  expect(find('src/**', { exclude: (found: string) => found.endsWith('deep') })).toEqual(['src', 'src/[odd].ts', 'src/a.ts', 'src/b.js']);
  expect(fs.globSync('/g/src/deep/**/*.ts')).toEqual(['/g/src/deep/er/c.ts']);
  expect(find('none/**')).toEqual([]);
});

test('watch a directory: what a host tells', async () => {
  const seen = await onBoth(async (fs, at) => {
    fs.mkdirSync(`${at}/w/sub`, { recursive: true });
    const seen: string[] = [];
    let isLast = (): void => {};
    const watcher = fs.watch(`${at}/w`, (kind, name) => {
      if (name === 'last') return isLast();
      if (seen.at(-1) !== `${kind} ${name}`) seen.push(`${kind} ${name}`); // a host tells some changes twice
    });
    fs.writeFileSync(`${at}/w/f`, 'x');
    fs.writeFileSync(`${at}/other`, 'x');
    fs.writeFileSync(`${at}/w/sub/below`, 'x');
    const fd = fs.openSync(`${at}/w/f`, 'r+');
    fs.renameSync(`${at}/w/f`, `${at}/w/g`);
    fs.writeSync(fd, 'more');
    fs.chmodSync(`${at}/w/g`, 0o600);
    fs.truncateSync(`${at}/w/g`);
    fs.linkSync(`${at}/w/g`, `${at}/w/h`);
    fs.unlinkSync(`${at}/w/g`);
    fs.closeSync(fd);
    await new Promise<void>((resolve) => {
      isLast = resolve;
      fs.writeFileSync(`${at}/w/last`, '');
    });
    watcher.close();
    return seen;
  });
  expect(seen.slice(0, 4)).toEqual(['rename f', 'change f', 'rename f', 'rename g']);
});

test('watch what is below, across a mount, as long as the kernel runs', async () => {
  fs.mkdirSync('/w/a/b', { recursive: true });
  fs.mkdirSync('/w/m');
  await kernel.mount('memfs:1MiB', '/w/m');
  const seen: string[] = [];
  const watcher = fs.watch('/w', { recursive: true }, (kind, name) => void seen.push(`${kind} ${name}`));
  const isClosed = new Promise<void>((resolve) => void watcher.once('close', () => resolve()));
  fs.writeFileSync('/w/a/b/f', '');
  fs.renameSync('/w/a/b', '/w/c');
  fs.appendFileSync('/w/c/f', 'x');
  fs.mkdirSync('/w/m/d');
  fs.writeFileSync('/beside', 'x');
  const events = fs.promises.watch('/w')[Symbol.asyncIterator]();
  const none = events.next();
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen).toEqual(['rename a/b/f', 'rename a/b', 'rename c', 'change c/f', 'rename m/d']);
  await kernel.shutdown();
  await isClosed;
  expect(await none).toEqual({ done: true, value: undefined });
});

test('a file that is open keeps its name in the cache, so that who watches is told of it', async () => {
  fs.mkdirSync('/w');
  const fd = fs.openSync('/w/f', 'w');
  const seen: string[] = [];
  const watcher = fs.watch('/w', (kind, name) => void seen.push(`${kind} ${name}`));
  for (let i = 0; i < 10; i++) kernel.vfs.names.scan(1000);
  expect(kernel.vfs.names.nrEntries).toBe(2);
  fs.writeSync(fd, 'x');
  fs.closeSync(fd);
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen).toEqual(['change f']);
  watcher.close();
  for (let i = 0; i < 10; i++) kernel.vfs.names.scan(1000);
  expect(kernel.vfs.names.nrEntries).toBe(0);
});

test('watchFile: a file that comes, changes and goes, as on the host', async () => {
  await onBoth(async (fs, at) => {
    const told: unknown[] = [];
    let next = (): void => {};
    const wait = (): Promise<void> =>
      new Promise((resolve) => {
        next = resolve;
      });
    const listener = (now: hostFs.Stats, before: hostFs.Stats): void => {
      told.push([now.size, before.size, now.isFile(), now.mtimeMs > 0, before.mtimeMs > 0]);
      next();
    };
    const watcher = fs.watchFile(`${at}/f`, { interval: 5, persistent: false }, listener);
    await wait(); // it is not there, and that is told
    let told2 = wait();
    fs.writeFileSync(`${at}/g`, 'content');
    fs.renameSync(`${at}/g`, `${at}/f`); // in one step: a look may fall between making a file and filling it
    await told2;
    told2 = wait();
    fs.appendFileSync(`${at}/f`, ' and more');
    await told2;
    told2 = wait();
    fs.unlinkSync(`${at}/f`);
    await told2;
    const other = (): void => {};
    const same = fs.watchFile(`${at}/f`, other) === watcher;
    fs.unwatchFile(`${at}/f`, listener);
    const left = (watcher as unknown as NodeJS.EventEmitter).listenerCount('change');
    const isStopped = new Promise<boolean>((resolve) => void (watcher as unknown as NodeJS.EventEmitter).once('stop', () => resolve(true)));
    fs.unwatchFile(`${at}/f`);
    fs.unwatchFile(`${at}/never`);
    const wrong = (() => {
      try {
        return (fs.watchFile as (path: string) => unknown)(`${at}/f`);
      } catch (error) {
        return (error as Error).message;
      }
    })();
    return [told, same, left, await isStopped, wrong];
  });
});

test('watchFile ends with the kernel', async () => {
  const watcher = fs.watchFile('/f', { interval: 1_000_000 }, () => {});
  const isStopped = new Promise<void>((resolve) => void (watcher as unknown as NodeJS.EventEmitter).once('stop', () => resolve()));
  await kernel.shutdown();
  await isStopped;
});

test('mkdtempDisposable removes what was made, with all in it', async () => {
  const made = fs.mkdtempDisposableSync('/one-');
  fs.writeFileSync(`${made.path}/f`, '');
  made[Symbol.dispose]();
  const other = await fs.promises.mkdtempDisposable('/two-');
  fs.writeFileSync(`${other.path}/f`, '');
  await other.remove();
  await other[Symbol.asyncDispose](); // what is gone already is fine
  expect(fs.readdirSync('/')).toEqual([]);
});

test('without node:vfs the adapter says what is needed', () => {
  if (process.getBuiltinModule?.('node:vfs') !== undefined) return;
  expect(() => mountInNode(fs)).toThrow(/ENOSYS: there is no node:vfs here: it comes with Node 26\.4, under --experimental-vfs/);
});

test('watch a file until the signal aborts', async () => {
  fs.mkdirSync('/w');
  fs.writeFileSync('/w/h', 'x');
  const abort = new AbortController();
  const events: unknown[] = [];
  const watching = (async () => {
    for await (const event of fs.promises.watch('/w/h', { signal: abort.signal })) {
      events.push(event);
      abort.abort();
    }
  })();
  await new Promise((resolve) => setImmediate(resolve));
  fs.appendFileSync('/w/h', 'y');
  await expect(watching).rejects.toMatchObject({ name: 'AbortError' });
  expect(events).toEqual([{ eventType: 'change', filename: 'h' }]);
  fs.watch('/w'); // one that nobody closes keeps nothing
  expect(() => fs.watch('/none')).toThrow("ENOENT: no such file or directory, watch '/none'");
});

test('streams are Node’s: closing early, closed handles, functions that are derived from without a class', async () => {
  await onBoth(async (fs, at) => {
    const told: unknown[] = [];
    fs.writeFileSync(`${at}/f`, 'x'.repeat(100_000));
    const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException | null | undefined)?.code;
    const reading = fs.createReadStream(`${at}/f`);
    told.push(await promisify(reading.close.bind(reading))().catch(codeOf));
    const handle = await fs.promises.open(`${at}/f`, 'r+');
    const early = handle.createReadStream();
    const isClosed = new Promise<boolean>((resolve) => early.once('close', () => resolve(true)));
    await handle.close();
    told.push(await isClosed);
    for (const make of [() => handle.createReadStream(), () => handle.createWriteStream()]) {
      try {
        told.push(make());
      } catch (error) {
        told.push(codeOf(error));
      }
    }
    type Made = NodeJS.WritableStream & { bytesWritten: number; path: string };
    const Plain = fs.WriteStream as unknown as (this: unknown, path: string, options?: unknown) => Made;
    function Derived(this: Made, path: string): Made {
      return Plain.call(this, path, { start: 3, flags: 'r+' });
    }
    Derived.prototype = Object.create(fs.WriteStream.prototype as object);
    const derived = new (Derived as unknown as new (path: string) => Made)(`${at}/f`);
    derived.end('derived');
    await new Promise<void>((resolve) => derived.once('close', () => resolve()));
    told.push(derived instanceof fs.WriteStream, derived instanceof hostFs.WriteStream, derived.bytesWritten);
    const plain = (Plain as unknown as (path: string) => Made)(`${at}/g`);
    await new Promise<void>((resolve) => plain.once('close', () => resolve()).end());
    told.push(plain instanceof fs.WriteStream);
    return [...told, fs.readFileSync(`${at}/f`, 'utf8').slice(0, 12)];
  });
});

test('what older software asks for: close without a callback, realpath.native, F_OK', async () => {
  await onBoth(async (fs, at) => {
    fs.symlinkSync('f', `${at}/link`);
    fs.writeFileSync(`${at}/f`, '');
    const fd = fs.openSync(`${at}/f`, 'r');
    fs.close(fd);
    await new Promise((resolve) => setTimeout(resolve, 20));
    let code: unknown;
    try {
      fs.fstatSync(fd);
    } catch (error) {
      code = (error as NodeJS.ErrnoException).code;
    }
    const real = fs.realpathSync.native(`${at}/link`).slice(at.length);
    const later = (await promisify(fs.realpath.native)(`${at}/link`)).slice(at.length);
    const { F_OK, R_OK, W_OK, X_OK } = fs as unknown as Record<string, number>;
    return [code, real, later, F_OK, R_OK, W_OK, X_OK];
  });
});

test('data in pieces: iterables and streams, appended and written, by path and by handle', async () => {
  await onBoth(async (fs, at) => {
    async function* pieces(): AsyncGenerator<string> {
      for (let i = 0; i < 3; i++) yield `piece ${i} `;
    }
    await fs.promises.writeFile(`${at}/f`, pieces());
    await fs.promises.appendFile(`${at}/f`, ['and ', 'more'] as never, { mode: 0o600 });
    await fs.promises.writeFile(`${at}/g`, fs.createReadStream(`${at}/f`), { flag: 'wx' });
    const handle = await fs.promises.open(`${at}/g`, 'a');
    await fs.promises.writeFile(handle, pieces());
    await handle.close();
    const code = (error: NodeJS.ErrnoException): unknown => error.code;
    const refused = [
      await fs.promises.writeFile(`${at}/g`, pieces(), { flag: 'wx' }).catch(code),
      await fs.promises.writeFile(`${at}/h`, [1] as never).catch(code),
      await fs.promises.writeFile(`${at}/h`, pieces(), { signal: AbortSignal.abort() }).catch(code),
    ];
    return [refused, fs.readFileSync(`${at}/g`, 'utf8')];
  });
});
