/** `tidemark md`: arrays in files that nobody serves, and those of a server, over its control socket. */
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, run, start } from './command.js';
import { runHere } from './here.js';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-md-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
afterEach(() => {
  for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name), { recursive: true });
});

const words = (line: string): string[] => line.split(' ').map((word) => word.replaceAll('@', `${folder}/`));
const md = (line: string) => runHere('md', ...words(line));
const answer = async (line: string) => {
  const { code, stdout, stderr } = await md(`${line} --json`);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
};
const DATA_OFFSET = 24 * 512;
const scribble = (name: string, at: number, tag: number): void => {
  const fd = fs.openSync(path.join(folder, name), 'r+');
  fs.writeSync(fd, Buffer.alloc(4096, tag), 0, 4096, DATA_OFFSET + at);
  fs.closeSync(fd);
};
const data = (name: string): Buffer => fs.readFileSync(path.join(folder, name)).subarray(DATA_OFFSET);

describe('on arrays that nobody serves', () => {
  it('create makes files, and makes what they hold equal', async () => {
    const made = await md('create @a.img @b.img --size 1MiB --bitmap internal --chunk 64KiB --name box:1');
    expect(made).toMatchObject({ code: 0, stderr: expect.stringMatching(/^resync: 1012 KiB in \d+\.\d\d s\n$/) });
    expect(made.stdout).toMatch(/^resync: 1012 KiB of 1012 KiB copied\narray {5}md:box:1\nuuid/);
    const { arrays } = await answer('status @a.img @b.img');
    expect(arrays).toMatchObject([
      {
        name: 'md:box:1',
        sizeBytes: 1012 * 1024,
        raidDisks: 2,
        state: 'clean',
        isDegraded: false,
        resyncFromBytes: null,
        members: [
          { name: `file:${folder}/a.img`, state: 'in-sync', slot: 0 },
          { name: `file:${folder}/b.img`, state: 'in-sync', slot: 1 },
        ],
        refused: [],
        bitmap: { chunkBytes: 65_536, nrChunks: 16, nrNeeded: 0, isFailed: false },
      },
    ]);
    expect(typeof arrays[0].events).toBe('number');
  });

  it('what was left to be resynced is resynced by assemble, from any word for the array', async () => {
    await md('create @a.img @b.img --size 1MiB --no-wait --rate 4096');
    scribble('a.img', 524_288, 1);
    scribble('b.img', 524_288, 2);
    const { resyncFromBytes } = (await answer('status @a.img @b.img')).arrays[0];
    expect(resyncFromBytes).toBeLessThan(524_288);
    expect(data('a.img').equals(data('b.img'))).toBe(false);
    const { sync } = await answer('assemble md:@a.img,@b.img');
    expect(sync).toMatchObject({ action: 'resync', doneBytes: 1012 * 1024 - resyncFromBytes });
    expect(data('a.img').equals(data('b.img'))).toBe(true);
    expect((await md('status @a.img @b.img')).stdout).toMatch(/^resync {4}not needed$/m);
  });

  it('status writes nothing, also of one that was not stopped', async () => {
    await md('create @a.img @b.img --size 1MiB --bitmap internal --no-wait --rate 4096');
    const before = fs.readFileSync(path.join(folder, 'a.img'));
    await answer('status @a.img @b.img');
    await answer('status @a.img');
    expect(fs.readFileSync(path.join(folder, 'a.img')).equals(before)).toBe(true);
  });

  it('members fail, go, come back by the bitmap, and a spare takes a place', async () => {
    await md('create @a.img @b.img @c.img --size 1MiB --raid-disks 2 --bitmap internal --chunk 64KiB --assume-clean');
    const failed = await answer('fail md:@a.img,@b.img,@c.img @b.img');
    expect(failed).toMatchObject({ members: [{ result: 'failed' }], sync: { action: 'recovery', doneBytes: 1012 * 1024 } });
    expect(failed.arrays[0]).toMatchObject({ isDegraded: false, members: [{}, { state: 'faulty' }, { state: 'in-sync', slot: 1 }] });
    expect((await answer('remove md:@a.img,@b.img,@c.img @b.img')).members).toEqual([{ device: `${folder}/b.img`, result: 'removed' }]);
    expect((await answer('add md:@a.img,@c.img @b.img')).members[0].result).toBe('spare');
    expect(await md('fail md:@a.img,@b.img,@c.img @other.img')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/ENODEV.*no member/),
    });
    expect(await md('remove md:@a.img,@c.img @a.img')).toMatchObject({ code: 2, stderr: expect.stringMatching(/EBUSY.*fail it first/) });
  });

  it('one that is missing is named, and can be done without', async () => {
    await md('create @a.img @b.img --size 1MiB --bitmap internal --chunk 64KiB --assume-clean');
    expect(await md('assemble @a.img')).toMatchObject({ code: 2, stderr: expect.stringMatching(/ENXIO.*1 of the 2 members.*degraded/) });
    expect((await answer('assemble @a.img --degraded')).arrays[0].isDegraded).toBe(true);
    const back = await answer('add md:@a.img @b.img');
    expect(back).toMatchObject({ members: [{ result: 're-added' }], sync: { action: 'recovery', doneBytes: 0 } });
  });

  it('check compares, says that they differ, and repairs', async () => {
    await md('create @a.img @b.img --size 1MiB --assume-clean');
    scribble('b.img', 65_536, 9);
    expect(await md('check @a.img @b.img')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^check: 1012 KiB compared, 8 sectors differ$/m),
      stderr: expect.stringMatching(/the members differ in 8 sectors$/m),
    });
    expect(await md('check @a.img @b.img --repair')).toMatchObject({ code: 0, stdout: expect.stringMatching(/8 sectors differed/) });
    expect(await md('check @a.img @b.img')).toMatchObject({ code: 0, stdout: expect.stringMatching(/ 0 sectors differ/) });
    expect(data('a.img').equals(data('b.img'))).toBe(true);
  });

  it('a bitmap in a file is made, found, not needed, and taken away or given internally', async () => {
    await md('create @a.img @b.img --size 1MiB --bitmap @bits --chunk 4096');
    expect(fs.statSync(path.join(folder, 'bits')).size).toBe(4096);
    const where = async (line: string) => (await answer(line)).arrays[0].bitmap?.where ?? null;
    expect(await where('status @a.img @b.img --bitmap @bits')).toBe(`file:${folder}/bits`);
    expect(await where('status @a.img @b.img')).toBe(null);
    expect(await where('assemble @a.img @b.img --bitmap internal')).toBe('the members of md:tidemark:0');
    expect(await md('assemble @a.img @b.img --bitmap @bits')).toMatchObject({ code: 2, stderr: expect.stringMatching(/on its members/) });
    expect(await where('assemble @a.img @b.img --bitmap none')).toBe(null);
  });

  it('what somebody may want to keep is kept, and what was made for nothing is gone', async () => {
    await md('create @a.img @b.img --size 1MiB --assume-clean');
    for (const line of ['md create @a.img @c.img --size 1MiB', 'mkfs ext3 @a.img'])
      expect(await runHere(...words(line))).toMatchObject({ code: 2, stderr: expect.stringMatching(/EEXIST.*a member of an array/) });
    expect(fs.existsSync(path.join(folder, 'c.img'))).toBe(false);
    expect((await md('create @a.img @c.img --size 1MiB --assume-clean --force')).code).toBe(0);
  });

  it.each([
    ['md', /no verb/],
    ['md create @a.img', /ENOENT/],
    ['md create mem:1MiB mem:1MiB --size 1MiB', /--size is for files/],
    ['md create mem:1MiB --bitmap', /argument missing/],
    ['md create mem:1MiB mem:1MiB --bitmap ext3:x::/y', /a file in a tree/],
    ['md create mem:1MiB mem:1MiB --raid-disks 17', /--raid-disks "17"/],
    ['md create mem:1MiB mem:1MiB --bitmap internal --chunk 5000', /EINVAL.*power of two/],
    ['md status', /which array/],
    ['md status mem:1MiB', /EINVAL.*mem:1MiB/],
    ['md status md:a,,b', /want md:DEVICE/],
    ['md status a md:b', /md:b comes first/],
    ['md fail @b.img', /of which array/],
    ['md fail md:@a.img', /which member/],
    ['md status --control @sock', /want unix:PATH/],
    ['md status --control unix:@sock', /ENOENT/],
    ['serve nbd mem:1MiB --control unix:@sock', /EINVAL.*none is served/],
    ['serve nbd mem:1MiB --bitmap @bits', /--bitmap is for one array/],
  ])('%s is refused in one line', async (line, message) => {
    const { code, stderr } = await runHere(...words(line));
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd()).not.toContain('\n');
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('a signal ends a resync, and the array is stopped', async () => {
    const made = start(['md', 'create', ...words('@a.img @b.img --size 1MiB --rate 4096')]);
    const holdsArray = (): boolean =>
      fs.existsSync(path.join(folder, 'b.img')) && fs.readFileSync(path.join(folder, 'b.img')).readUInt32LE(4096) === 0xa92b4efc;
    while (!holdsArray()) await new Promise((resolve) => setTimeout(resolve, 20));
    made.child.kill('SIGINT');
    expect(await made.ended).toMatchObject({ code: 130, stdout: '' });
    expect((await answer('status @a.img @b.img')).arrays[0]).toMatchObject({
      state: 'clean',
      isDegraded: false,
      resyncFromBytes: expect.any(Number),
    });
  });
});

describe('over a control socket', () => {
  const serving: Running[] = [];
  afterEach(async () => {
    for (const one of serving.splice(0)) {
      one.child.kill('SIGTERM');
      await one.ended;
    }
  });
  async function serve(line: string): Promise<Running> {
    const one = start(['serve', 'nbd', ...words(line), '--listen', `unix:${folder}/nbd`, '--control', `unix:${folder}/md`]);
    serving.push(one);
    await one.firstLine;
    return one;
  }

  it('an array that is served is looked after, and its server leaves nothing behind', async () => {
    await md('create @a.img @b.img --size 1MiB --bitmap @bits --chunk 64KiB --assume-clean');
    const server = await serve('md:@a.img,@b.img --bitmap @bits');
    expect(fs.statSync(path.join(folder, 'md')).mode & 0o777).toBe(0o600);
    const control = `--control unix:@md`;
    expect((await answer(`status ${control}`)).arrays).toMatchObject([{ bitmap: { where: `file:${folder}/bits` }, isDegraded: false }]);
    expect((await answer(`fail @b.img ${control}`)).arrays[0].isDegraded).toBe(true);
    await answer(`remove md:@a.img,@b.img @b.img ${control}`);
    expect(await answer(`add @b.img ${control}`)).toMatchObject({ members: [{ result: 're-added' }], arrays: [{ isDegraded: false }] });
    expect(await md(`check ${control}`)).toMatchObject({ code: 0, stdout: 'check: 1012 KiB compared, 0 sectors differ\n' });
    expect(await md(`fail @a.img @b.img ${control}`)).toMatchObject({ code: 2, stderr: expect.stringMatching(/EBUSY.*last member/) });
    expect(await md(`status md:@x ${control}`)).toMatchObject({ code: 2, stderr: expect.stringMatching(/ENODEV.*no array/) });
    expect(await md('status @a.img @b.img --bitmap @bits')).toMatchObject({ code: 2, stderr: expect.stringMatching(/EBUSY/) });
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0 });
    expect(fs.readdirSync(folder).sort()).toEqual(['a.img', 'b.img', 'bits']);
  });

  it('what is no request gets an answer, and the server goes on', async () => {
    await md('create @a.img @b.img --size 1MiB --assume-clean');
    await serve('md:@a.img,@b.img');
    const say = (text: string): Promise<string> =>
      new Promise((resolve, reject) => {
        let heard = '';
        const socket = net.connect({ path: path.join(folder, 'md') }, () => void socket.write(text));
        socket.on('data', (bytes) => (heard += bytes));
        socket.on('close', () => resolve(heard));
        socket.on('error', (error: NodeJS.ErrnoException) =>
          error.code === 'EPIPE' || error.code === 'ECONNRESET' ? resolve(heard) : reject(error),
        );
      });
    for (const text of [
      'rubbish\n',
      '[]\n',
      '{"verb":"format"}\n',
      '{"verb":"fail","array":1}\n',
      '{"verb":"fail","array":null,"devices":[""]}\n',
    ])
      expect(JSON.parse(await say(text)).error.code).toBe('EINVAL');
    await say(`${'x'.repeat(200_000)}\n`);
    expect((await answer('status --control unix:@md')).arrays).toHaveLength(1);
  });

  it('a socket whose server died is replaced, a live one is not', async () => {
    await md('create @a.img @b.img --size 1MiB --assume-clean');
    await md('create @c.img @d.img --size 1MiB --assume-clean');
    const first = await serve('md:@a.img,@b.img');
    const second = await run('serve', 'nbd', ...words('md:@c.img,@d.img --listen unix:@other --control unix:@md'));
    expect(second).toMatchObject({ code: 2, stderr: expect.stringMatching(/EADDRINUSE/) });
    first.child.kill('SIGKILL');
    await first.ended;
    await serve('md:@c.img,@d.img');
    expect((await answer('status --control unix:@md')).arrays[0].members[0].name).toBe(`file:${folder}/c.img`);
  });
});
