/**
 * Which peers this machine has. A group of tests names the commands it needs; if one is missing the group is skipped and says which, or,
 * where `CI=true` promises that all are installed, fails.
 */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

/** The command that stands for a peer, and the Debian package it comes from. */
const PACKAGES = {
  nbdkit: 'nbdkit',
  nbdinfo: 'libnbd-bin',
  nbdcopy: 'libnbd-bin',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  fio: 'fio',
  mkswap: 'util-linux',
  swaplabel: 'util-linux',
  blkid: 'util-linux',
  git: 'git',
  rsync: 'rsync',
  fuse2fs: 'fuse2fs',
  tar: 'tar',
  sqlite3: 'sqlite3',
  'nfs-ls': 'libnfs-utils',
  'nfs-cp': 'libnfs-utils',
  'nfs-cat': 'libnfs-utils',
  'ganesha.nfsd': 'nfs-ganesha',
  rpcbind: 'rpcbind',
  'qemu-system-x86_64': 'qemu-system-x86',
  'linux-image': 'linux-image-cloud-amd64',
  busybox: 'busybox-static',
  modprobe: 'kmod',
  'mount.nfs': 'nfs-common',
  e2fsck: 'e2fsprogs',
  mke2fs: 'e2fsprogs',
  'nbd-client': 'nbd-client',
  mdadm: 'mdadm',
} as const;

export type Peer = keyof typeof PACKAGES;

/** Some of them live where only root looks. */
const FOLDERS = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin'];

/** A kernel of Debian's for virtual machines, and the release its modules are under. */
export interface GuestKernel {
  readonly image: string;
  readonly version: string;
}

/** The newest kernel whose image and modules are here, or null. */
export function guestKernel(): GuestKernel | null {
  const releases = fs.existsSync('/lib/modules') ? fs.readdirSync('/lib/modules') : [];
  const kernels = releases.map((version) => ({ version, image: `/boot/vmlinuz-${version}` }));
  const usable = kernels.filter(({ version, image }) => /-cloud-amd64$/.test(version) && fs.existsSync(image));
  return usable.sort((a, b) => a.version.localeCompare(b.version, 'en', { numeric: true })).at(-1) ?? null;
}

/** Where a peer is, or null. */
function locate(peer: Peer): string | null {
  if (peer === 'linux-image') return guestKernel()?.image ?? null;
  return FOLDERS.map((folder) => path.join(folder, peer)).find((file) => fs.existsSync(file)) ?? null;
}

/** The path of a peer's program. Only inside a group that asked for it. */
export function programOf(peer: Peer): string {
  const file = locate(peer);
  if (file === null) throw new Error(`${peer} is not installed, and this group did not ask for it`);
  return file;
}

/** A group of tests that needs `peers`. */
export function describeWith(peers: readonly Peer[], name: string, body: () => void): void {
  const missing = peers.filter((peer) => locate(peer) === null).map((peer) => `${peer} (Debian package ${PACKAGES[peer]})`);
  if (missing.length === 0) describe(name, body);
  else if (process.env.CI === 'true') {
    describe(name, () => {
      it('finds its peers', () => expect(missing).toEqual([]));
    });
  } else describe.skipIf(true)(`${name}: skipped, there is no ${missing.join(', no ')}`, body);
}
