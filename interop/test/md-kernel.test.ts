/**
 * RAID1 between Tidemark and the Linux kernel, over the same images: each assembles, resyncs and uses what the other made and left, clean or
 * with the power gone. mdadm says what both wrote.
 */
import fs from 'node:fs';
import { expect, it } from 'vitest';
import { Guest, GUEST_PEERS, runGuest } from './support/guest.js';
import { describeWith, programOf } from './support/peers.js';
import { RunningProcess, succeed, until } from './support/processes.js';
import { freshFile, freshPath } from './support/sandbox.js';
import { tidemark, tidemarkWords } from './support/servers.js';

const TIMEOUT_MS = 300_000;
const SIZE = 64 * 2 ** 20;
const CHUNK = 64 * 1024;
/** Where mdadm and Tidemark put the bitmap; and the data, in an array of this size that Tidemark made. */
const BITMAP_AT = 8192;
const DATA_AT = 2 ** 20;
const GUEST = { modules: ['raid1', 'ext4'], programs: ['mdadm', 'e2fsck'], timeoutMs: TIMEOUT_MS } as const;

interface Facts {
  readonly isDegraded: boolean;
  readonly state: string;
  readonly resyncFromBytes: number | null;
  readonly sizeBytes: number;
  readonly members: readonly { state: string }[];
  readonly bitmap: { chunkBytes: number; nrDirty: number; nrNeeded: number; nrChunks: number } | null;
}

interface Answer {
  readonly arrays: readonly Facts[];
  readonly sync: { action: string; doneBytes: number; nrMismatchSectors: number } | null;
}

async function md(...words: string[]): Promise<Answer> {
  const { code, stdout, stderr } = await tidemark('md', ...words, '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

async function command(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await tidemark(...words);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** What mdadm says of the bitmap on a member: from a regular file it takes the bitmap alone. */
async function dirtyBits(image: string): Promise<number> {
  const bitmap = freshFile('bitmap', fs.readFileSync(image).subarray(BITMAP_AT, BITMAP_AT + 4096));
  return Number(/Bitmap : \d+ bits \(chunks\), (\d+) dirty/.exec(await succeed(programOf('mdadm'), ['-X', bitmap]))?.[1]);
}

const dataOf = (image: string, dataAt = DATA_AT): Buffer => fs.readFileSync(image).subarray(dataAt);

function scribble(image: string, at: number, text: string): void {
  const fd = fs.openSync(image, 'r+');
  fs.writeSync(fd, text, at);
  fs.closeSync(fd);
}

const newImages = (): [string, string] => [freshPath('a.img'), freshPath('b.img')];
const create = ([a, b]: readonly string[], ...more: string[]) =>
  md('create', a, b, '--size', String(SIZE), '--bitmap', 'internal', '--chunk', String(CHUNK), ...more);
/** Lines that wait until a pass is over. */
const SETTLE =
  'until grep -q idle /sys/block/md0/md/sync_action; do sleep 0.1; done; sleep 0.2; grep -q idle /sys/block/md0/md/sync_action';

describeWith([...GUEST_PEERS, 'mdadm', 'e2fsck', 'qemu-io'], 'RAID1 and the Linux kernel', () => {
  it('an array and an ext3 that Tidemark made are assembled, checked and written by the kernel, and read again', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const images = newImages();
    await create(images);
    const array = `md:${images.join(',')}`;
    await command('mkfs', 'ext3', array);
    const file = freshFile('file', Buffer.from('from Tidemark\n'.repeat(20_000)));
    await command('cp', file, `ext3:${array}::/file`);
    const examined = await succeed(programOf('mdadm'), ['--examine', images[1]]);
    expect(examined).toMatch(
      /Raid Level : raid1[\s\S]*State : clean[\s\S]*Checksum : \w+ - correct[\s\S]*Device Role : Active device 1[\s\S]*Array State : AA/,
    );
    const script = [
      'set -e',
      'mdadm --assemble --run /dev/md0 /dev/vda /dev/vdb',
      'cat /proc/mdstat',
      'test "$(cat /sys/block/md0/md/degraded)" = 0',
      'echo "action: $(cat /sys/block/md0/md/sync_action)"',
      'e2fsck -fn /dev/md0',
      'mount -t ext3 /dev/md0 /mnt',
      'echo "sum: $(md5sum < /mnt/file)"',
      'seq 1 5000 > /mnt/from-linux',
      'umount /mnt',
      'echo check > /sys/block/md0/md/sync_action',
      SETTLE,
      'echo "mismatches: $(cat /sys/block/md0/md/mismatch_cnt)"',
      'mdadm --stop /dev/md0',
    ].join('\n');
    const { code, console: said } = await runGuest({ ...GUEST, disks: images, script });
    expect(code, said).toBe(0);
    expect(said).toMatch(/^action: idle\r?$/m);
    expect(said).toMatch(/^mismatches: 0\r?$/m);
    expect(/^sum: (\w+)/m.exec(said)?.[1]).toBe((await succeed('md5sum', [file])).slice(0, 32));
    expect((await md('status', ...images)).arrays).toMatchObject([{ state: 'clean', isDegraded: false, resyncFromBytes: null }]);
    expect((await md('check', ...images)).sync).toMatchObject({ action: 'check', nrMismatchSectors: 0 });
    expect(await command('cat', `ext3:${array}::/from-linux`)).toBe(Array.from({ length: 5000 }, (_, i) => `${i + 1}\n`).join(''));
    await command('check', `ext3:${array}`);
  });

  it('what Tidemark left dirty is resynced by the kernel, by the bitmap: where a bit is set and nowhere else', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const images = newImages();
    await create(images, '--assume-clean');
    const socket = freshPath('nbd');
    const server = new RunningProcess(
      process.execPath,
      tidemarkWords('serve', 'nbd', `md:${images.join(',')}`, '--listen', `unix:${socket}`),
    );
    await until('the array to be served', () => fs.existsSync(socket));
    const written = [3, 40, 41, 500, 1007];
    const writes = Array.from({ length: 4000 }, (_, i) => ['-c', `write -P 1 ${written[i % written.length] * CHUNK} 4k`]).flat();
    const writer = new RunningProcess(programOf('qemu-io'), ['-f', 'raw', ...writes, `nbd+unix:///?socket=${socket}`]);
    await until('every chunk to be written', () => (writer.stdout.match(/^wrote/gm) ?? []).length > written.length);
    await server.kill();
    await writer.kill();
    expect((await md('status', ...images)).arrays[0]).toMatchObject({
      resyncFromBytes: 0,
      bitmap: { nrDirty: written.length, nrNeeded: written.length },
    });
    expect(await dirtyBits(images[0])).toBe(written.length);
    for (const chunk of written) scribble(images[1], DATA_AT + chunk * CHUNK + 8192, 'lost by a power failure');
    scribble(images[1], DATA_AT + 700 * CHUNK, 'no bit is set here');
    const script = [
      'set -e',
      'mdadm --assemble --run /dev/md0 /dev/vda /dev/vdb',
      'grep "resync=PENDING" /proc/mdstat', // it is read-only until it is written
      'mdadm --readwrite /dev/md0',
      'mdadm --wait /dev/md0 || true',
      SETTLE,
      'cat /proc/mdstat',
      'mdadm --stop /dev/md0',
    ].join('\n');
    const { code, console: said } = await runGuest({ ...GUEST, disks: images, script });
    expect(code, said).toBe(0);
    const [a, b] = images.map((image) => dataOf(image));
    for (const chunk of written)
      expect(b.subarray(chunk * CHUNK, (chunk + 1) * CHUNK).equals(a.subarray(chunk * CHUNK, (chunk + 1) * CHUNK))).toBe(true);
    expect(b.subarray(700 * CHUNK).toString('utf8', 0, 18)).toBe('no bit is set here');
    expect((await md('status', ...images)).arrays[0]).toMatchObject({ state: 'clean', resyncFromBytes: null, isDegraded: false });
    expect((await md('check', ...images, '--repair')).sync?.nrMismatchSectors).toBe(8);
  });

  it('what the kernel left when its power went is resynced by Tidemark, as many chunks as the bitmap says', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const images = [freshFile('a.img', SIZE), freshFile('b.img', SIZE)] as const;
    const script = [
      'set -e',
      `yes | mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal --bitmap-chunk=${CHUNK / 1024}K --delay=1 --assume-clean /dev/vda /dev/vdb`,
      'until mdadm -X /dev/vda | grep -q ", 0 dirty"; do sleep 0.5; done',
      'while true; do',
      'for at in 5 100 101 300 900; do dd if=/dev/urandom of=/dev/md0 bs=4k count=1 seek=$(($at * 16)) oflag=direct 2>/dev/null; done',
      'echo "written: all"',
      'done',
    ].join('\n');
    const guest = await Guest.start({ ...GUEST, disks: images, script });
    await guest.until('written: all');
    await guest.kill();
    const dirty = await dirtyBits(images[0]);
    expect(dirty).toBe(5);
    const [found] = (await md('status', ...images)).arrays;
    expect(found).toMatchObject({ state: 'clean', isDegraded: false, members: [{ state: 'in-sync' }, { state: 'in-sync' }] });
    expect(found).toMatchObject({ resyncFromBytes: 0, bitmap: { chunkBytes: CHUNK, nrDirty: dirty, nrNeeded: dirty } });
    const dataAt = Number(/Data Offset : (\d+) sectors/.exec(await succeed(programOf('mdadm'), ['--examine', images[0]]))?.[1]) * 512;
    scribble(images[1], dataAt + 100 * CHUNK + 512, 'lost by a power failure');
    scribble(images[1], dataAt + 700 * CHUNK, 'no bit is set here');
    const { sync } = await md('assemble', ...images);
    expect(sync).toMatchObject({ action: 'resync', doneBytes: dirty * CHUNK });
    const [a, b] = images.map((image) => dataOf(image, dataAt));
    const differing = Array.from({ length: Math.ceil(found.sizeBytes / CHUNK) }, (_, chunk) => chunk).filter(
      (chunk) => !a.subarray(chunk * CHUNK, (chunk + 1) * CHUNK).equals(b.subarray(chunk * CHUNK, (chunk + 1) * CHUNK)),
    );
    expect(differing).toEqual([700]);
    expect((await md('status', ...images)).arrays[0]).toMatchObject({ state: 'clean', resyncFromBytes: null });
  });

  it('a member that the kernel failed comes back to Tidemark by the bitmap, and the kernel takes both', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const images = [freshFile('a.img', SIZE), freshFile('b.img', SIZE)] as const;
    const first = [
      'set -e',
      `yes | mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal --bitmap-chunk=${CHUNK / 1024}K --assume-clean /dev/vda /dev/vdb`,
      'mdadm /dev/md0 --fail /dev/vdb --remove /dev/vdb',
      'for at in 7 8 600; do dd if=/dev/urandom of=/dev/md0 bs=4k count=1 seek=$(($at * 16)) oflag=direct; done',
      'mdadm --stop /dev/md0',
    ].join('\n');
    const made = await runGuest({ ...GUEST, disks: images, script: first });
    expect(made.code, made.console).toBe(0);
    const [found] = (await md('status', ...images)).arrays;
    expect(found).toMatchObject({ isDegraded: true, bitmap: { nrDirty: 3 } });
    const back = await md('add', `md:${images[0]}`, images[1], '--degraded');
    expect(back).toMatchObject({ members: [{ result: 're-added' }], sync: { action: 'recovery', doneBytes: 3 * CHUNK } });
    const second = ['set -e', 'mdadm --assemble --run /dev/md0 /dev/vda /dev/vdb', 'test "$(cat /sys/block/md0/md/degraded)" = 0'];
    second.push(
      'echo check > /sys/block/md0/md/sync_action',
      SETTLE,
      'echo "mismatches: $(cat /sys/block/md0/md/mismatch_cnt)"',
      'mdadm --stop /dev/md0',
    );
    const ended = await runGuest({ ...GUEST, disks: images, script: second.join('\n') });
    expect(ended.code, ended.console).toBe(0);
    expect(ended.console).toMatch(/^mismatches: 0\r?$/m);
  });
});
