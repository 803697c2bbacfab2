/** `tidemark serve nfs` as a process: what it prints, where it keeps its key, how it drains. What it serves, interop tests with real clients. */
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { AcceptStatus, LAST_FRAGMENT, NFS_PROGRAM, NOBODY, putCall, XdrReader, XdrWriter } from '@tidemark/fs-nfs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type Ended, start } from './command.js';
import { runHere } from './here.js';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  fs.rmSync(folder, { recursive: true, force: true });
});

const TREE = ['serve', 'nfs', 'memfs:1MiB', '--memory', '16MiB', '--listen', '127.0.0.1:0'];

function startHere(words: readonly string[]) {
  return start(words, { XDG_STATE_HOME: path.join(folder, 'state') });
}

/** Runs one that must be refused in one line. @returns the line. */
async function refused(words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runHere(...words);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr.trim().split('\n')).toHaveLength(1);
  return stderr;
}

/** The accept status of a NULL call. */
async function callNothing(port: number): Promise<number> {
  const socket = net.connect(port, '127.0.0.1');
  const bytes = new Uint8Array(256);
  const out = new XdrWriter().reset(bytes, 0, bytes.length);
  putCall(out.u32(0), { xid: 7, program: NFS_PROGRAM, version: 3, procedure: 0 }, NOBODY, new Uint8Array(0));
  out.patch(0, LAST_FRAGMENT + out.length - 4);
  socket.write(bytes.subarray(0, out.length));
  const reply = await new Promise<Buffer>((resolve, reject) => socket.once('data', resolve).once('error', reject));
  socket.destroy();
  const input = new XdrReader().reset(reply, 4 + 20, reply.length);
  return input.u32();
}

it('prints where it listens in the form of libnfs, serves there, and drains on a signal', async () => {
  const { child, firstLine, ended } = startHere([
    ...TREE,
    '--mount-port',
    '0',
    '--export',
    '/a b',
    '--read-only',
    '--hosts',
    '127.0.0.1, ::1',
  ]);
  const line = /^listening nfs:\/\/127\.0\.0\.1\/a%20b\?nfsport=(\d+)&mountport=(\d+)$/.exec(await firstLine);
  expect(line).not.toBeNull();
  const ports = line?.slice(1).map(Number) ?? [];
  expect(ports[0]).not.toBe(ports[1]);
  for (const port of ports) expect(await callNothing(port)).toBe(AcceptStatus.SUCCESS);
  child.kill('SIGTERM');
  const { code, stderr }: Ended = await ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '"/a b": memfs:1MiB, read-only\n' });
});

it('keeps the key of its handles for itself, and uses it again', async () => {
  const file = path.join(folder, 'state/tidemark/nfs-handle-key');
  const keys: Buffer[] = [];
  for (const signal of ['SIGINT', 'SIGHUP'] as const) {
    const { child, firstLine, ended } = startHere([...TREE, '--json']);
    const { listening, exports } = JSON.parse(await firstLine);
    expect(exports).toEqual([{ path: '/', uri: listening, tree: 'memfs:1MiB', readOnly: false, squash: 'root', hosts: [] }]);
    keys.push(fs.readFileSync(file));
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    child.kill(signal);
    expect(await ended).toMatchObject({ code: 0, stderr: '' });
  }
  expect(keys[0]).toHaveLength(16);
  expect(keys[1]).toEqual(keys[0]);
  expect(fs.readdirSync(path.dirname(file))).toEqual(['nfs-handle-key']);
});

it('serves without a place for the key, and says what that means', async () => {
  fs.writeFileSync(path.join(folder, 'state'), 'no directory');
  const { child, firstLine, ended } = startHere(TREE);
  await firstLine;
  child.kill('SIGTERM');
  const { code, stderr } = await ended;
  expect(code).toBe(0);
  expect(stderr).toMatch(/cannot make the handle key .*: handles will not outlive this server\n/);
});

it('refuses in one line what it cannot serve', async () => {
  vi.stubEnv('XDG_STATE_HOME', path.join(folder, 'state'));
  fs.writeFileSync(path.join(folder, 'short'), 'abc');
  fs.writeFileSync(path.join(folder, 'zeroes.img'), new Uint8Array(1 << 16));
  expect(await refused([...TREE, '--handle-key', path.join(folder, 'short')])).toMatch(
    /EINVAL.*short is no handle key: it has 3 bytes, not 16/,
  );
  expect(await refused([...TREE, '--handle-key', path.join(folder, 'zeroes.img/key')])).toMatch(/ENOTDIR|EEXIST/);
  expect(await refused([...TREE, '--export', 'home'])).toMatch(/EINVAL: export path "home"/);
  expect(await refused([...TREE, '--hosts', 'localhost'])).toMatch(/"localhost" is no address of a host/);
  expect(await refused([...TREE, '--squash', 'some'])).toMatch(/--squash "some" does not exist; there is root, all, none/);
  expect(await refused([...TREE, '--mount-port', '99999'])).toMatch(/--mount-port "99999" is not a whole number from 0 to 65535/);
  expect(await refused(['serve', 'nfs', 'memfs:1MiB', '--listen', `unix:${folder}/x`])).toMatch(/come by HOST:PORT/);
  expect(await refused(['serve', 'nfs', 'memfs:1MiB::/none', '--listen', '127.0.0.1:0'])).toMatch(/ENOENT.*\/none/);
  expect(await refused(['serve', 'nfs', 'disk.img'])).toMatch(/is a path of the host/);
  expect(await refused(['serve', 'nfs', `ext3:${folder}/zeroes.img`])).toMatch(/EINVAL|EUCLEAN/);
});
