/**
 * The key that handles of the NFS server are sealed with: 16 random bytes in a file that only its owner may read, made when it is first wanted.
 * It is made whole or not at all, so of two servers that start at once one makes it and both use it.
 */
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { KernelError } from '@tidemark/core';
import { attempt } from './host-error.js';

const KEY_BYTES = 16;
const FILE_NAME = 'nfs-handle-key';

/**
 * The key in `file`; without one, in the user's own state. Where that cannot be kept, the key is good for this run, and a line on stderr says so.
 * @throws KernelError for a named file that cannot be read or made, or holds no key (EINVAL).
 */
export function handleKeyOf(file: string | undefined): Uint8Array {
  if (file !== undefined) return keyIn(file);
  const state = process.env.XDG_STATE_HOME || path.join(os.homedir(), '.local', 'state');
  try {
    return keyIn(path.join(state, 'tidemark', FILE_NAME));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}: handles will not outlive this server\n`);
    return crypto.randomBytes(KEY_BYTES);
  }
}

function keyIn(file: string): Uint8Array {
  if (!fs.existsSync(file)) attempt(`make the handle key ${file}`, () => make(file));
  const key = attempt(`read the handle key ${file}`, () => fs.readFileSync(file));
  if (key.length !== KEY_BYTES) throw new KernelError('EINVAL', `${file} is no handle key: it has ${key.length} bytes, not ${KEY_BYTES}`);
  return key;
}

function make(file: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const fresh = `${file}.${process.pid}`;
  fs.writeFileSync(fresh, crypto.randomBytes(KEY_BYTES), { mode: 0o600, flag: 'wx' });
  try {
    fs.linkSync(fresh, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another server was quicker
  } finally {
    fs.unlinkSync(fresh);
  }
}
