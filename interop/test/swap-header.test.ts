/** Swap areas and util-linux: its tools read ours, and we swap on theirs. */
import fs from 'node:fs';
import { expect, it } from 'vitest';
import { MIB, PAGE_BYTES } from './support/bytes.js';
import { withKernel } from './support/kernels.js';
import { describeWith, programOf } from './support/peers.js';
import { succeed } from './support/processes.js';
import { freshFile } from './support/sandbox.js';
import { startNbdkit, tidemark } from './support/servers.js';
import { WorkingSet } from './support/swapping.js';

const UUID = '3e2b1c0d-4f5a-4697-8899-aabbccddeeff';
const LABEL = 'Gezeiten 15 by.'; // as long as one may be
const FROM = 1024;

/** What `swaplabel` and `blkid` say of a file. */
async function probed(file: string): Promise<{ label: string; uuid: string; blkid: Record<string, string> }> {
  const swaplabel = await succeed(programOf('swaplabel'), [file]);
  const blkid = await succeed(programOf('blkid'), ['--probe', '--output', 'export', file]);
  const told = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(swaplabel)?.[1] ?? '';
  const fields = blkid
    .trim()
    .split('\n')
    .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).replaceAll('\\', '')]);
  return { label: told('LABEL'), uuid: told('UUID'), blkid: Object.fromEntries(fields) };
}

const headerOf = (file: string): Buffer => fs.readFileSync(file).subarray(0, PAGE_BYTES);

describeWith(['swaplabel', 'blkid', 'mkswap'], 'areas that Tidemark made', () => {
  it('are read by swaplabel and blkid, and are what mkswap makes, byte for byte', async () => {
    for (const sizeBytes of [10 * PAGE_BYTES, MIB, 3 * MIB + 512]) {
      const ours = freshFile('ours', sizeBytes);
      const theirs = freshFile('theirs', sizeBytes);
      const init = await tidemark('swap', 'init', ours, '--label', LABEL, '--uuid', UUID);
      expect(init).toMatchObject({ code: 0, stderr: '' });
      await succeed(programOf('mkswap'), ['--label', LABEL, '--uuid', UUID, theirs]);
      expect(headerOf(ours).subarray(FROM).equals(headerOf(theirs).subarray(FROM))).toBe(true);
      expect(await probed(ours)).toMatchObject({ label: LABEL, uuid: UUID, blkid: { TYPE: 'swap', LABEL, UUID, VERSION: '1' } });
    }
  });

  it('without label have none, and a uuid of their own', async () => {
    const files = [freshFile('first', MIB), freshFile('second', MIB)];
    for (const file of files) expect((await tidemark('swap', 'init', file)).code).toBe(0);
    const [first, second] = [await probed(files[0]), await probed(files[1])];
    expect(first.label).toBe('');
    expect(first.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(second.uuid).not.toBe(first.uuid);
  });

  it('keep what stands before the header, such as a boot sector', async () => {
    const file = freshFile('area', MIB);
    const boot = Buffer.alloc(FROM, 0x5a);
    fs.writeFileSync(file, Buffer.concat([boot, Buffer.alloc(MIB - FROM)]));
    expect((await tidemark('swap', 'init', file)).code).toBe(0);
    expect(headerOf(file).subarray(0, FROM).equals(boot)).toBe(true);
    expect((await probed(file)).uuid).not.toBe('');
  });

  it('can be relabelled by swaplabel, and Tidemark sees it', async () => {
    const file = freshFile('area', MIB);
    await tidemark('swap', 'init', file, '--label', 'before');
    await succeed(programOf('swaplabel'), ['--label', 'after', '--uuid', UUID, file]);
    const info = JSON.parse((await tidemark('swap', 'info', file, '--json')).stdout);
    expect(info).toMatchObject({ label: 'after', uuid: UUID, nrPages: MIB / PAGE_BYTES });
  });
});

describeWith(['nbdkit', 'swaplabel', 'blkid'], 'an area made over NBD by swapOn', () => {
  it('is read by swaplabel and blkid on the server', async () => {
    const file = freshFile('area', 16 * MIB);
    const server = await startNbdkit('unix', 'file', file);
    await withKernel('2MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(server.uri);
      const area = await kernel.swapOn(device, { format: true, label: 'via nbd' });
      const set = await WorkingSet.create(kernel, 4 * MIB);
      await set.writeAll();
      expect(await probed(file)).toMatchObject({ label: 'via nbd', uuid: area.uuid, blkid: { TYPE: 'swap' } });
      expect(area).toMatchObject({ label: 'via nbd', nrSlots: (16 * MIB) / PAGE_BYTES - 1 });
      set.close();
    });
    await server.process.stop();
  });
});

describeWith(['mkswap', 'nbdkit', 'swaplabel', 'blkid'], 'areas that mkswap made', () => {
  it.each(['file', 'nbdkit file'])('are swapped on through %s, and keep label and uuid', async (through) => {
    const file = freshFile('area', 16 * MIB);
    await succeed(programOf('mkswap'), ['--label', LABEL, '--uuid', UUID, file]);
    const before = headerOf(file);
    const server = through === 'file' ? null : await startNbdkit('tcp', 'file', file);
    await withKernel('2MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(server?.uri ?? `file:${file}`);
      const area = await kernel.swapOn(device);
      expect(area).toMatchObject({ label: LABEL, uuid: UUID, nrSlots: (16 * MIB) / PAGE_BYTES - 1, nrBad: 0 });
      const set = await WorkingSet.create(kernel, 8 * MIB);
      await set.writeAll();
      expect(await set.countLost()).toBe(0);
      expect(kernel.vmstat().pswpout).toBeGreaterThan(1000);
      set.close();
      await kernel.swapOff(device);
    });
    await server?.process.stop();
    expect(headerOf(file).equals(before)).toBe(true);
    expect(await probed(file)).toMatchObject({ label: LABEL, uuid: UUID });
  });
});
