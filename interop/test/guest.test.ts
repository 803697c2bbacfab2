/** The machine that other tests run a real Linux kernel in. */
import fs from 'node:fs';
import { expect, it } from 'vitest';
import { Guest, GUEST_PEERS, runGuest } from './support/guest.js';
import { describeWith } from './support/peers.js';
import { freshFile } from './support/sandbox.js';

const TIMEOUT_MS = 240_000;

describeWith(GUEST_PEERS, 'a Linux guest', () => {
  it('hears and is heard, has its disks, and tells how its script ended', { timeout: TIMEOUT_MS }, async () => {
    const disk = freshFile('disk', 1 << 20);
    const script = [
      'echo "kernel: $(uname -s)"',
      'read word',
      'printf "%s" "$word" | dd of=/dev/vda conv=fsync 2>/dev/null',
      'cat /greeting',
      'exit 7',
    ].join('\n');
    const guest = await Guest.start({ script, disks: [disk], files: { '/greeting': 'from a file\n' }, timeoutMs: TIMEOUT_MS });
    expect(await guest.until('kernel:')).toBe('Linux');
    guest.say('by the console');
    await guest.until('from a file');
    expect((await guest.ended).code).toBe(7);
    expect(fs.readFileSync(disk).subarray(0, 14).toString()).toBe('by the console');
  });

  it('whose time is over is killed, and its console shown', { timeout: TIMEOUT_MS }, async () => {
    const guest = await Guest.start({ script: 'echo begun; sleep 1000', timeoutMs: TIMEOUT_MS });
    await guest.until('begun');
    await guest.kill();
    await expect(guest.ended).rejects.toThrow(/killed[\s\S]*begun/);
    await expect(guest.until('more')).rejects.toThrow(/without saying "more"/);
  });

  it('whose kernel panics has no exit code', { timeout: TIMEOUT_MS }, async () => {
    await expect(runGuest({ script: 'echo c > /proc/sysrq-trigger; sleep 100', timeoutMs: TIMEOUT_MS })).rejects.toThrow(
      /without an exit code/,
    );
  });
});
