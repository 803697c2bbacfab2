/** The whole chain in one kernel: swap in a file on NFS, its server, ext3, NBD, its server; with an ordinary file and strangers beside it. */
import { describe, expect, it } from 'vitest';
import { run } from './command.js';

describe('demo --stack', () => {
  it.each(['nfs', 'full'])(
    '%s gives every byte of both back, and leaves an image that e2fsck accepts',
    { timeout: 600_000 },
    async (stack) => {
      const { code, stdout, stderr } = await run('demo', '--stack', stack, '--memory', '2MiB', '--working-set', '4MiB', '--json');
      expect(code, stderr).toBe(0);
      const report = JSON.parse(stdout);
      expect(report).toMatchObject({ stack, verified: true, unfundedAllocations: 0, holdingsBeyondDeclaration: 0 });
      expect(report.pagesSwappedOut).toBeGreaterThan(512);
      expect(report.beside.plainBytes).toBe(2 * 2 ** 20);
      expect(report.beside.strangersCalls).toBeGreaterThan(0);
      for (const { name, reserved, highWater } of report.nodes) expect(highWater, name).toBeLessThanOrEqual(reserved);
    },
  );
});
