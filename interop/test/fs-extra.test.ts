/**
 * fs-extra, and graceful-fs below it, on `kernel.fs`. They take no `fs`, so they are loaded with ours in the place of Node's. What a call
 * leaves behind, gives and throws is compared with the same call on the host.
 */
import type * as FsExtra from 'fs-extra';
import type { NodeFs } from '@tidemark/core/host';
import { expect, it } from 'vitest';
import { loadOn } from './support/load-on.js';
import { freshPath } from './support/sandbox.js';
import { listing, onHost, withTree } from './support/trees.js';

type Extra = typeof FsExtra;
type Step = (extra: Extra, at: string) => unknown;

const STEPS: readonly (readonly [name: string, step: Step])[] = [
  ['outputFile', (extra, at) => extra.outputFile(`${at}/a/b/c.txt`, 'c')],
  ['outputFileSync', (extra, at) => extra.outputFileSync(`${at}/a/b2/c.txt`, 'c2')],
  ['ensureDir', (extra, at) => extra.ensureDir(`${at}/dir/below`, 0o750)],
  ['ensureDirSync', (extra, at) => extra.ensureDirSync(`${at}/dir/below2`)],
  ['ensureFile', (extra, at) => extra.ensureFile(`${at}/made/file`)],
  ['ensureFile on a directory', (extra, at) => extra.ensureFile(`${at}/a`)],
  ['ensureLink', (extra, at) => extra.ensureLink(`${at}/a/b/c.txt`, `${at}/links/hard`)],
  ['ensureSymlink', (extra, at) => extra.ensureSymlink(`${at}/a/b/c.txt`, `${at}/links/soft`)],
  ['ensureSymlinkSync of a directory', (extra, at) => extra.ensureSymlinkSync(`${at}/a`, `${at}/links/dir`)],
  ['writeJson', (extra, at) => extra.writeJson(`${at}/data.json`, { a: [1, 2, { b: null }] }, { spaces: 2 })],
  ['readJson', (extra, at) => extra.readJson(`${at}/data.json`)],
  ['readJson of rubbish', (extra, at) => extra.readJson(`${at}/a/b/c.txt`)],
  ['outputJsonSync', (extra, at) => extra.outputJsonSync(`${at}/deep/er/data.json`, 'text')],
  ['copy a tree', (extra, at) => extra.copy(`${at}/a`, `${at}/copied/a`)],
  ['copySync a tree', (extra, at) => extra.copySync(`${at}/copied`, `${at}/copied2`, { preserveTimestamps: true })],
  ['copy with a filter', (extra, at) => extra.copy(`${at}/a`, `${at}/filtered`, { filter: (name) => !name.endsWith('b2') })],
  ['copy, dereferencing', (extra, at) => extra.copy(`${at}/links`, `${at}/followed`, { dereference: true })],
  ['copy over what exists', (extra, at) => extra.copy(`${at}/data.json`, `${at}/a/b/c.txt`, { overwrite: false, errorOnExist: true })],
  ['copy into itself', (extra, at) => extra.copy(`${at}/a`, `${at}/a/inside`)],
  ['copySync of nothing', (extra, at) => extra.copySync(`${at}/none`, `${at}/some`)],
  ['move a tree', (extra, at) => extra.move(`${at}/copied`, `${at}/moved/here`)],
  ['move over what exists', (extra, at) => extra.move(`${at}/copied2`, `${at}/moved/here`)],
  ['moveSync, overwriting', (extra, at) => extra.moveSync(`${at}/copied2`, `${at}/moved/here`, { overwrite: true })],
  ['pathExists', (extra, at) => extra.pathExists(`${at}/moved/here`)],
  ['emptyDir', (extra, at) => extra.emptyDir(`${at}/moved`)],
  ['emptyDirSync of what is not there', (extra, at) => extra.emptyDirSync(`${at}/empty`)],
  ['remove a tree', (extra, at) => extra.remove(`${at}/deep`)],
  ['removeSync what is not there', (extra, at) => extra.removeSync(`${at}/deep`)],
  ['promises of callback calls', async (extra, at) => (await extra.stat(`${at}/data.json`)).size],
  ['open, write, read, close', (extra, at) => readsAndWrites(extra, `${at}/raw`)],
  ['streams of graceful-fs', (extra, at) => streams(extra, `${at}/data.json`, `${at}/streamed`)],
];

async function readsAndWrites(extra: Extra, file: string): Promise<unknown> {
  const fd = await extra.open(file, 'w+');
  const { bytesWritten } = await extra.write(fd, Buffer.from('0123456789'), 2, 6, 0);
  const vector = await extra.writev(fd, [Buffer.from('ab'), Buffer.from('cd')], 4);
  const { bytesRead, buffer } = await extra.read(fd, Buffer.alloc(8), 0, 8, 1);
  await extra.close(fd);
  return [bytesWritten, vector.bytesWritten, bytesRead, buffer.toString()];
}

function streams(extra: Extra, from: string, to: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const source = extra.createReadStream(from, { highWaterMark: 8 });
    const target = extra.createWriteStream(to);
    source.on('error', reject);
    target.on('error', reject).on('close', () => resolve([source.bytesRead, target.bytesWritten]));
    source.pipe(target);
  });
}

/** What each step gave, without the place it was done at. */
async function run(extra: Extra, at: string): Promise<unknown[]> {
  const told: unknown[] = [];
  for (const [name, step] of STEPS) {
    try {
      told.push([name, (await step(extra, at)) ?? null]);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      told.push([name, code ?? '', message]);
    }
  }
  return JSON.parse(JSON.stringify(told).replaceAll(at, '<top>')) as unknown[];
}

it('every call of fs-extra does on kernel.fs what it does on the host', () =>
  withTree(async (tree) => {
    const folder = freshPath('fs-extra');
    onHost.mkdirSync(folder);
    tree.mkdirSync('/t');
    const expected = await run(loadOn<Extra>(onHost, 'fs-extra'), folder);
    const told = await run(loadOn<Extra>(tree, 'fs-extra'), '/t');
    expect(told).toEqual(expected);
    const lines = listing(tree, '/t').map((line) => line.replaceAll('/t/', '<top>/'));
    expect(lines).toEqual(listing(onHost, folder).map((line) => line.replaceAll(folder, '<top>')));
    expect(lines.length).toBeGreaterThan(20);
  }));

it('graceful-fs reads 1,000 files at once', () =>
  withTree(async (tree: NodeFs) => {
    const extra = loadOn<Extra>(tree, 'fs-extra');
    const names = Array.from({ length: 1_000 }, (_, i) => `/many/${i % 30}/${i}`);
    await Promise.all(names.map((name) => extra.outputFile(name, name)));
    const read = await Promise.all(names.map((name) => extra.readFile(name, 'utf8')));
    expect(read).toEqual(names);
  }));
