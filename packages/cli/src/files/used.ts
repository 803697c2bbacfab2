/** What a device holds that somebody may want to keep, by what it begins with. */
import type { DeviceBytes } from './device-bytes.js';

const HEAD_BYTES = 8192;
const EXT_MAGIC_AT = 1024 + 56;
const EXT_MAGIC = 0xef53;
const SWAP_MAGIC_AT = 4086;
const SWAP_MAGICS = ['SWAPSPACE2', 'SWAP-SPACE', 'S1SUSPEND\0', 'S2SUSPEND\0'];
const MD_MAGIC_AT = 4096;
const MD_MAGIC = 0xa92b4efc;

/** @returns what it is, for people, or null. @throws KernelError for what cannot be read. */
export async function whatIsOn(bytes: DeviceBytes): Promise<string | null> {
  const head = Buffer.alloc(HEAD_BYTES);
  await bytes.read(0, head.subarray(0, Math.min(HEAD_BYTES, bytes.sizeBytes)));
  if (head.readUInt16LE(EXT_MAGIC_AT) === EXT_MAGIC) return 'a filesystem (ext2, ext3 or ext4)';
  if (SWAP_MAGICS.includes(head.toString('latin1', SWAP_MAGIC_AT, SWAP_MAGIC_AT + 10))) return 'a swap area';
  return head.readUInt32LE(MD_MAGIC_AT) === MD_MAGIC ? 'a member of an array' : null;
}
