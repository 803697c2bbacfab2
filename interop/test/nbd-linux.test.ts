/** A real Linux kernel as a client of our NBD server: it attaches exports, makes an ext3 on one, copies, and takes the other as swap. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { GUEST_PEERS, runGuest } from './support/guest.js';
import { describeWith } from './support/peers.js';
import { freshFile } from './support/sandbox.js';
import { startTidemark } from './support/servers.js';

const TIMEOUT_MS = 400_000;

describeWith([...GUEST_PEERS, 'nbd-client', 'mke2fs', 'e2fsck'], 'the Linux kernel on our exports', () => {
  it('makes an ext3, copies to it, finds it again; makes a swap area', { timeout: TIMEOUT_MS }, async () => {
    const disk = freshFile('disk', 48 << 20);
    const server = await startTidemark('tcp', `disk=${disk}`, 'swap=mem:256MiB');
    const { address } = server;
    const port = address.kind === 'tcp' ? address.port : 0;
    const script = [
      'set -ex',
      `attach() { nbd-client -N "$1" 10.0.2.2 ${port} "$2" -persist -timeout 60; }`,
      'attach disk /dev/nbd0',
      'attach swap /dev/nbd1',
      '/sbin/mke2fs -q -F -t ext3 /dev/nbd0',
      'mount -t ext3 /dev/nbd0 /mnt',
      'dd if=/dev/urandom of=/mnt/random bs=1M count=3 2>/dev/null',
      'cp -a /bin/busybox /sbin /etc /mnt/',
      '(cd /mnt && sha1sum random busybox > /tmp/sums)',
      'umount /mnt',
      'echo 3 > /proc/sys/vm/drop_caches',
      'mount -t ext3 /dev/nbd0 /mnt',
      '(cd /mnt && sha1sum -c /tmp/sums)',
      'umount /mnt',
      'mkswap /dev/nbd1',
      'swapon /dev/nbd1',
      'grep nbd1 /proc/swaps',
      'swapoff /dev/nbd1',
      'nbd-client -d /dev/nbd0',
      'nbd-client -d /dev/nbd1',
      'echo all is well',
    ].join('\n');
    const options = { modules: ['nbd', 'ext4'], programs: ['nbd-client', 'mke2fs'] as const, memoryMiB: 112 };
    const { code, console } = await runGuest({ ...options, script, timeoutMs: TIMEOUT_MS });
    expect(code, console).toBe(0);
    expect(console).toContain('all is well');
    expect(await server.process.stop()).toMatchObject({ code: 0 });
    const { status, stdout } = spawnSync('e2fsck', ['-fn', disk], { encoding: 'utf8' });
    expect(status, stdout).toBe(0);
  });
});
