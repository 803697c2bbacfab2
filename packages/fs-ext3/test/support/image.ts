/** Images in files, made by us, looked at by e2fsck, debugfs and our own check. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { checkExt3 } from '../../src/check/check.js';
import type { Words } from '../../src/check/tables.js';
import { type MkfsTarget, mkfs } from '../../src/mkfs/mkfs.js';
import { type MkfsOptions, planMkfs } from '../../src/mkfs/options.js';

export const MIB = 2 ** 20;
/** The tools of e2fsprogs are there. */
export const hasPeers = spawnSync('e2fsck', ['-V']).status === 0 && spawnSync('debugfs', ['-V']).status === 0;

/** A folder for images, in memory where the host has room there. */
export function makeFolder(name: string): string {
  return fs.mkdtempSync(path.join(fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir(), `tidemark-${name}-`));
}

/** Makes a filesystem in a file. */
export async function makeImage(file: string, sizeBytes: number, options: Partial<MkfsOptions> = {}): Promise<void> {
  fs.writeFileSync(file, '');
  fs.truncateSync(file, sizeBytes);
  const fd = fs.openSync(file, 'r+');
  const target: MkfsTarget = {
    name: path.basename(file),
    sizeBytes,
    write: async (offsetBytes, bytes) => void fs.writeSync(fd, bytes, 0, bytes.length, offsetBytes),
    zero: async () => {}, // it is new
    flush: async () => {},
  };
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  await mkfs(target, planMkfs(target.name, sizeBytes, { ...fixed, ...options }));
  fs.closeSync(fd);
}

export interface Verdict {
  readonly status: number | null;
  readonly text: string;
}

/** What `e2fsck -fn` says of an image. */
export function e2fsck(file: string, flags = '-fn'): Verdict {
  const { status, stdout, stderr } = spawnSync('e2fsck', [flags, file], { encoding: 'utf8', maxBuffer: 64 * MIB });
  return { status, text: `${stdout}${stderr}` };
}

export function debugfs(file: string, command: string): string {
  return spawnSync('debugfs', ['-R', command, file], { encoding: 'latin1', maxBuffer: 64 * MIB }).stdout;
}

/** What our own check finds in the bytes of an image. */
export async function ownFindings(bytes: Uint8Array): Promise<string[]> {
  const source = {
    name: 'image',
    sizeBytes: bytes.length,
    read: async (offsetBytes: number, into: Uint8Array) => void into.set(bytes.subarray(offsetBytes, offsetBytes + into.length)),
  };
  const allocate = (_what: string, length: number): Words => {
    const words = new Uint32Array(length);
    return { get: (i) => words[i], set: (i, value) => void words.fill(value, i, i + 1) };
  };
  return (await checkExt3(source, allocate)).findings.map((finding) => JSON.stringify(finding));
}
