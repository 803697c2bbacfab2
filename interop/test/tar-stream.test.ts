/**
 * tar-stream on `kernel.fs`: packs a real tree, and unpacks it, through streams of our files. The judge of what it packs is the tar of
 * the host, which also packs what is unpacked.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import type { NodeFs } from '@tidemark/core/host';
import tar from 'tar-stream';
import { expect, it } from 'vitest';
import { describeWith, programOf } from './support/peers.js';
import { freshPath } from './support/sandbox.js';
import { copyAcross, listing, onHost, withTree } from './support/trees.js';

/** A tree as it comes: the sources of core, with a link and an empty directory beside. */
const SOURCES = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../packages/core/src');

async function pack(fs: NodeFs, top: string, archive: string): Promise<void> {
  const packing = tar.pack();
  const written = pipeline(packing, fs.createWriteStream(archive));
  for (const entry of await fs.promises.readdir(top, { recursive: true, withFileTypes: true })) {
    const file = path.posix.join(entry.parentPath, entry.name);
    const { mode, size, mtime } = await fs.promises.lstat(file);
    const header = { name: file.slice(top.length + 1), mode: mode & 0o777, mtime };
    if (entry.isSymbolicLink()) packing.entry({ ...header, type: 'symlink', linkname: await fs.promises.readlink(file) });
    else if (entry.isDirectory()) packing.entry({ ...header, type: 'directory' });
    else await pipeline(fs.createReadStream(file), packing.entry({ ...header, size }));
  }
  packing.finalize();
  await written;
}

async function unpack(fs: NodeFs, archive: string, top: string): Promise<void> {
  const extracting = tar.extract();
  const read = pipeline(fs.createReadStream(archive), extracting);
  const modes: [string, number][] = [];
  for await (const entry of extracting) {
    const { name, type, mode = 0o644, linkname, mtime } = entry.header;
    const file = path.posix.join(top, name);
    if (type === 'directory') await fs.promises.mkdir(file, { recursive: true });
    else if (type === 'symlink') await fs.promises.symlink(linkname as string, file);
    else {
      await pipeline(entry, fs.createWriteStream(file, { mode }));
      await fs.promises.utimes(file, mtime as Date, mtime as Date);
    }
    if (type === 'directory') modes.push([file, mode]);
    entry.resume();
  }
  for (const [file, mode] of modes) await fs.promises.chmod(file, mode);
  await read;
}

describeWith(['tar'], 'tar-stream', () => {
  it('packs a tree that tar unpacks to the same, and unpacks what tar packed', () =>
    withTree(async (tree) => {
      copyAcross(onHost, SOURCES, tree, '/tree');
      tree.mkdirSync('/tree/empty', { mode: 0o700 });
      tree.symlinkSync('index.ts', '/tree/link');
      tree.writeFileSync('/tree/run', '#!/bin/sh\n', { mode: 0o755 });
      tree.writeFileSync('/tree/large', Buffer.alloc(3_000_001, 'not a whole number of blocks'));
      tree.writeFileSync(`/tree/${'ä'.repeat(120)}`, 'a long name');
      const expected = listing(tree, '/tree');
      expect(expected.length).toBeGreaterThan(100);

      await pack(tree, '/tree', '/tree.tar');
      const [ours, unpacked, theirs] = [freshPath('ours.tar'), freshPath('unpacked'), freshPath('theirs.tar')];
      onHost.writeFileSync(ours, tree.readFileSync('/tree.tar'));
      onHost.mkdirSync(unpacked);
      execFileSync(programOf('tar'), ['-xpf', ours, '-C', unpacked]);
      expect(listing(onHost, unpacked)).toEqual(expected);

      execFileSync(programOf('tar'), ['-cf', theirs, '-C', unpacked, '.']);
      tree.writeFileSync('/theirs.tar', onHost.readFileSync(theirs));
      tree.mkdirSync('/again');
      await unpack(tree, '/theirs.tar', '/again');
      expect(listing(tree, '/again')).toEqual(expected);
      for (const name of ['large', 'index.ts'])
        expect(Math.floor(tree.statSync(`/again/${name}`).mtimeMs / 1000)).toBe(Math.floor(tree.statSync(`/tree/${name}`).mtimeMs / 1000));
    }));
});
