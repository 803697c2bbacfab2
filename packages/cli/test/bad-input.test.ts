/**
 * Bad input, word by word: exit code 2, nothing on stdout, one clear line on stderr.
 */
import fs from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { main } from '../src/main.js';
import { run, start } from './command.js';

let folder: string;
let stdout = '';
let stderr = '';

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-'));
  file('tiny.img', 4096);
  file('empty.img', 0);
  file('zeroes.img', 2 ** 20);
  file('suspended.img', 2 ** 20, 'S1SUSPEND\0');
  file('truncated.img', 2 ** 20, 'SWAPSPACE2', { version: 1, lastPage: 256 });
  file('version.img', 2 ** 20, 'SWAPSPACE2', { version: 2, lastPage: 255 });
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  stdout = '';
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += text;
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

/** Makes a file with a signature where swap headers have theirs. */
function file(name: string, sizeBytes: number, magic = '', header: { version: number; lastPage: number } | null = null): void {
  const bytes = Buffer.alloc(sizeBytes);
  if (magic !== '') bytes.write(magic, 4086, 'latin1');
  if (header !== null) {
    bytes.writeUInt32LE(header.version, 1024);
    bytes.writeUInt32LE(header.lastPage, 1028);
  }
  fs.writeFileSync(path.join(folder, name), bytes);
}

/** `@name` is a file of the folder. */
async function refused(words: readonly string[]): Promise<string> {
  const code = await main(words.map((word) => word.replaceAll('@', `${folder}/`)));
  expect(stderr).toMatch(/^tidemark: [^\n]+\n$/);
  expect(stdout).toBe('');
  expect(code).toBe(2);
  return stderr;
}

describe('words', () => {
  it.each<[string, RegExp]>([
    ['nonsense', /unknown command 'nonsense'/],
    ['demo extra', /too many arguments/],
    ['demo --memory', /--memory <size>.*argument missing/],
    ['demo --memory 8QiB', /--memory "8QiB" is not a size/],
    ['demo --memory 1.5MiB', /--memory "1.5MiB" is not a size/],
    ['demo --memory 0', /--memory "0" is nothing/],
    ['demo --working-set lots', /--working-set "lots" is not a size/],
    ['demo --seed -1', /--seed/],
    ['demo --seed x', /--seed "x" is not a whole number/],
    ['demo --stack ext9', /--stack "ext9" does not exist; there is nbd, ext3, nfs, full/],
    ['demo --policy best', /--policy "best" does not exist; there is none, memalloc, .*limits, vmio, composed/],
    ['demo --input ', /--input is empty; want a path/],
    ['reserves', /missing required argument 'stack'/],
    ['reserves plan', /reserves plan: which stack\?/],
    ['reserves nbd mem:1MiB', /one stack at a time, not also mem:1MiB/],
    ['reserves plan nbd --memory 8MiB --what', /unknown option '--what'/],
    ['reserves plan floppy:a', /EINVAL: no driver for block device "floppy:a"/],
    ['reserves plan swap:nbd://host:port/x', /EINVAL.*is no NBD URI/],
    ['reserves plan swap:mem:lots', /EINVAL: size of a RAM disk "lots" is not a size/],
    ['reserves plan nbd --working-set 1TiB', /EFBIG: a working set of 1 TiB is more than a swap area holds: 128 GiB/],
    ['reserves plan nbd --memory 1TiB', /EINVAL: an arena of 1 TiB is too large: at most 64 GiB/],
    ['reserves swap:@zeroes.img', /EINVAL.*zeroes\.img is no swap area/],
    ['graph plan', /ENOENT.*plan/],
    ['serve nbd', /missing required argument 'device'/],
    ['serve nbd a=', /names no device/],
    ['serve nbd a=@zeroes.img a=@tiny.img', /two devices would be exported as "a"/],
    ['serve nbd mem:1MiB --tls-certificates x', /unknown option '--tls-certificates'/],
    ['swap info', /missing required argument 'device'/],
    ['swap info mem:64MiB --memory 8QiB', /--memory "8QiB" is not a size/],
  ])('%s', async (line, reason) => expect(await refused(line.split(' '))).toMatch(reason));

  it.each([[[]], [['serve']], [['swap']]])('no verb at all: tidemark %s', async (words) => {
    expect(await refused(words)).toBe(`tidemark: no verb; see ${['tidemark', ...words, '--help'].join(' ')}\n`);
  });

  it('a label that cannot be printed', async () => {
    expect(await refused(['swap', 'init', 'mem:1MiB', '--label', 'a\nb'])).toMatch(/EINVAL: --label "a\\nb" has control characters/);
  });
});

describe('devices', () => {
  it.each<[string, RegExp]>([
    ['swap info floppy:a', /EINVAL: no driver for block device "floppy:a"/],
    ['swap info @missing.img', /ENOENT.*missing\.img/],
    ['swap info @', /EISDIR|EINVAL/],
    ['swap info @empty.img', /EINVAL.*empty\.img/],
    ['swap info @tiny.img', /EINVAL.*tiny\.img.*too small/],
    ['swap info @zeroes.img', /EINVAL.*zeroes\.img is no swap area.*offset 4086/],
    ['swap info @truncated.img', /EINVAL.*last page is 256 and the device has 256 pages.*offset 1028/],
    ['swap info @version.img', /EINVAL.*version 2.*offset 1024/],
    ['swap info mem:lots', /EINVAL/],
    ['swap init @tiny.img', /EINVAL.*tiny\.img.*needs 10/],
    ['swap init @suspended.img', /EBUSY.*suspended/],
    ['swap init mem:1MiB --label sixteen-letters!', /EINVAL.*label/],
    ['swap init mem:1MiB --uuid 1234', /EINVAL.*uuid/],
    ['swap init @zeroes.img --memory 64KiB', /ENOMEM|EINVAL/],
    ['serve nbd @missing.img', /ENOENT.*missing\.img/],
    ['serve nbd mem:1MiB --listen nowhere', /EINVAL.*"nowhere".*HOST:PORT/],
    ['serve nbd mem:1MiB --listen 127.0.0.1:99999', /EINVAL.*port/],
    ['serve nbd mem:1MiB --listen unix:', /EINVAL.*path/],
    ['serve nbd mem:1MiB --listen unix:@no/such/folder', /(ENOENT|EACCES).*no\/such\/folder/],
    ['demo --memory 64KiB', /ENOMEM.*\d+ [KM]iB/],
    ['demo --input @missing.bin', /: ENOENT: cannot open input [^ ]*missing\.bin: no such file or directory\n$/],
    ['demo --input @', /EISDIR/],
  ])('%s', async (line, reason) => expect(await refused(line.split(' '))).toMatch(reason));

  it('a suspended machine’s image is overwritten only by force', async () => {
    expect(await main(['swap', 'init', path.join(folder, 'suspended.img'), '--force'])).toBe(0);
    expect(stdout).toContain('256 pages');
  });

  it('a file that another program serves', async () => {
    const server = start(['serve', 'nbd', path.join(folder, 'zeroes.img'), '--listen', `unix:${folder}/lock.sock`]);
    await server.firstLine;
    expect(await refused(['swap', 'init', '@zeroes.img'])).toMatch(/EBUSY.*zeroes\.img/);
    server.child.kill('SIGTERM');
    expect((await server.ended).code).toBe(0);
  });
});

describe('what the host cannot give the demo', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('a swap file: what was made is removed', async () => {
    const temporary = fs.mkdtempSync(path.join(folder, 'tmp-'));
    vi.stubEnv('TMPDIR', temporary);
    vi.spyOn(fs, 'truncateSync').mockImplementation(() => {
      throw Object.assign(new Error('full'), { errno: -os.constants.errno.ENOSPC, code: 'ENOSPC' });
    });
    expect(await refused(['demo', '--working-set', '1MiB'])).toMatch(/ENOSPC: cannot make the swap file .*TMPDIR/);
    expect(fs.readdirSync(temporary)).toEqual([]);
  });

  it.each(['128GiB', '8191TiB', String(Number.MAX_SAFE_INTEGER)])('a working set of %s: no swap area is that large', async (size) => {
    const temporary = fs.mkdtempSync(path.join(folder, 'tmp-'));
    vi.stubEnv('TMPDIR', temporary);
    expect(await refused(['demo', '--working-set', size])).toMatch(/EFBIG: a working set of .* is more than a swap area holds: 128 GiB/);
    expect(fs.readdirSync(temporary)).toEqual([]);
  });

  it('a temporary folder', async () => {
    vi.stubEnv('TMPDIR', path.join(folder, 'nowhere'));
    expect(await refused(['demo', '--working-set', '1MiB'])).toMatch(/ENOENT: cannot make a temporary folder in .*nowhere .*TMPDIR/);
  });
});

describe('servers', () => {
  it.each<[string, RegExp]>([
    ['swap info nbd://', /EINVAL.*is no NBD URI/],
    ['swap info nbd://host:port/x', /EINVAL.*is no NBD URI/],
    ['swap info nbd://127.0.0.1:0/x', /EINVAL.*port 0/],
    ['swap info nbds://127.0.0.1/x', /EPROTONOSUPPORT|EINVAL/],
    ['swap info nbd+unix:///x', /EINVAL.*socket=PATH/],
    ['swap info nbd://127.0.0.1:1/x', /ECONNREFUSED.*127\.0\.0\.1:1/],
    ['swap info nbd+unix:///x?socket=@none.sock', /ENOENT.*none\.sock/],
  ])('%s', async (line, reason) => expect(await refused(line.split(' '))).toMatch(reason));

  it.each<[string, string]>([
    ['closes at once', ''],
    ['greets with something else', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['closes in the middle of its greeting', 'NBDMAGICIHA'],
    ['closes after its greeting', 'NBDMAGICIHAVEOPT\0\x03'],
  ])('one that %s', async (_what, greeting) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {}).resume();
      socket.end(Buffer.from(greeting, 'latin1'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    expect(await refused(['swap', 'info', `nbd://127.0.0.1:${port}/x`])).toContain(String(port));
    await new Promise((resolve) => server.close(resolve));
  });

  it('an export that does not exist, and an address that is taken', async () => {
    const server = start(['serve', 'nbd', 'mem:1MiB', '--export', 'disk', '--listen', '127.0.0.1:0']);
    const uri = (await server.firstLine).replace('listening ', '');
    expect(await refused(['swap', 'info', uri.replace('disk', 'floppy')])).toMatch(/floppy/);
    stderr = '';
    expect(await refused(['serve', 'nbd', 'mem:1MiB', '--listen', new URL(uri).host])).toMatch(/EADDRINUSE/);
    server.child.kill('SIGINT');
    expect((await server.ended).code).toBe(0);
  });

  it('ends as a process, too', async () => {
    const ended = await run('swap', 'info', 'nbd://127.0.0.1:1/x');
    expect(ended).toMatchObject({ code: 2, signal: null, stdout: '' });
    expect(ended.stderr).toMatch(/^tidemark: ECONNREFUSED[^\n]+\n$/);
  });
});
