/**
 * Feature bits of the superblock: what each is called, and what we may do with an image that has it.
 *
 *     incompat, unknown     the image is refused
 *     ro_compat, unknown    it is mounted read-only at most
 *     compat, unknown       nothing
 */

export const Compat = { DIR_PREALLOC: 0x1, HAS_JOURNAL: 0x4, EXT_ATTR: 0x8, RESIZE_INODE: 0x10, DIR_INDEX: 0x20 } as const;
export const Incompat = { FILETYPE: 0x2, RECOVER: 0x4 } as const;
export const RoCompat = { SPARSE_SUPER: 0x1, LARGE_FILE: 0x2, BTREE_DIR: 0x4 } as const;

/** What we read and write; any other bit decides as above. */
const INCOMPAT_KNOWN = Incompat.FILETYPE | Incompat.RECOVER;
const RO_COMPAT_KNOWN = RoCompat.SPARSE_SUPER | RoCompat.LARGE_FILE | RoCompat.BTREE_DIR;

/** Names of bits that we do not have, as `dumpe2fs` prints them. */
const INCOMPAT_NAMES: Readonly<Record<number, string>> = {
  1: 'compression',
  8: 'journal_dev',
  16: 'meta_bg',
  64: 'extents',
  128: '64bit',
  256: 'mmp',
  512: 'flex_bg',
  1024: 'ea_inode',
  4096: 'dirdata',
  8192: 'metadata_csum_seed',
  16384: 'large_dir',
  32768: 'inline_data',
  65536: 'encrypt',
  131072: 'casefold',
};
const RO_COMPAT_NAMES: Readonly<Record<number, string>> = {
  8: 'huge_file',
  16: 'uninit_bg',
  32: 'dir_nlink',
  64: 'extra_isize',
  128: 'has_snapshot',
  256: 'quota',
  512: 'bigalloc',
  1024: 'metadata_csum',
  2048: 'replica',
  4096: 'read-only',
  8192: 'project',
  16384: 'shared_blocks',
  32768: 'verity',
  65536: 'orphan_present',
};

/** Names of the incompatible features that keep us from mounting. */
export function unknownIncompat(features: number): string[] {
  return namesOf(features & ~INCOMPAT_KNOWN, INCOMPAT_NAMES, 'incompat');
}

/** Names of the features that keep us from writing. */
export function unknownRoCompat(features: number): string[] {
  return namesOf(features & ~RO_COMPAT_KNOWN, RO_COMPAT_NAMES, 'ro_compat');
}

function namesOf(bits: number, names: Readonly<Record<number, string>>, word: string): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = (1 << bit) >>> 0;
    if ((bits & mask) !== 0) found.push(names[mask] ?? `${word} feature 0x${mask.toString(16)}`);
  }
  return found;
}
