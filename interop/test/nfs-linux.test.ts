/**
 * Our NFS server under the real Linux kernel: `tidemark serve nfs` of an ext3, killed and started again in the middle, mounted by a guest. At the
 * end the image is looked at by others.
 */
import crypto from 'node:crypto';
import fs from 'node:fs';
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { expect, it } from 'vitest';
import { Guest, GUEST_PEERS } from './support/guest.js';
import { describeWith, programOf } from './support/peers.js';
import { run, RunningProcess, succeed, until } from './support/processes.js';
import { freshPath } from './support/sandbox.js';
import { tidemark, tidemarkWords } from './support/servers.js';

/** Emulated, on a machine that does other things too. */
const TIMEOUT_MS = 900_000;
const STEP_MS = 600_000;
const NR_FILES = 5_000;
/** Removed one by one: each is durable before the next. */
const NR_REMOVED = 300;

/** A server of one image that can be killed and comes back at the same port, with the same handles. */
class ImageServer {
  readonly image = freshPath('ext3.img');
  readonly #key = freshPath('handle-key');
  #process: RunningProcess | null = null;
  port = 0;

  /** @param fill puts files onto it before it is served. */
  static async start(sizeMiB: number, fill?: (files: Kernel['fs']['promises']) => Promise<void>): Promise<ImageServer> {
    const server = new ImageServer();
    expect(await tidemark('mkfs', 'ext3', server.image, '--size', `${sizeMiB}MiB`)).toMatchObject({ code: 0 });
    if (fill !== undefined) {
      const kernel = await Kernel.boot({ memory: '32MiB', plugins: [host, ext3] });
      await kernel.mount(`ext3:${server.image}`, '/');
      await fill(kernel.fs.promises);
      expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    }
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const words = ['--listen', `127.0.0.1:${this.port}`, '--export', '/export', '--squash', 'none', '--handle-key', this.#key];
    const process_ = new RunningProcess(
      process.execPath,
      tidemarkWords('serve', 'nfs', `ext3:${this.image}`, ...words, '--memory', '32MiB'),
    );
    await until(
      'the server to listen',
      async () => {
        if (process_.isOver) throw new Error(`the server ended: ${(await process_.ended).stderr}`);
        return process_.stdout.includes('\n');
      },
      STEP_MS,
    );
    this.port = Number(/nfsport=(\d+)/.exec(process_.stdout)?.[1]);
    this.#process = process_;
  }

  /** The power goes: nothing is written out any more. */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async stop(): Promise<void> {
    expect(await this.#process?.stop()).toMatchObject({ code: 0 });
  }
}

/** What every script begins with. Each step is under `set -e`: the first that fails is the end, and the exit code. */
function prologue({ port }: ImageServer): string {
  const options = `vers=3,nolock,proto=tcp,port=${port},mountport=${port},mountproto=tcp,addr=10.0.2.2`;
  return `set -e
echo 'tcp 6 TCP' > /etc/protocols
printf 'tcp tpi_cots_ord v inet tcp - -\\nudp tpi_clts v inet udp - -\\n' > /etc/netconfig
step() { echo; echo "step: $* ($(cut -d' ' -f1 /proc/uptime) s)"; }
fresh() { echo 3 > /proc/sys/vm/drop_caches; }
mount.nfs 10.0.2.2:/export /mnt -o ${options}
cd /mnt
`;
}

function sha256(bytes: Uint8Array): string {
  return crypto.createHash('sha256').update(bytes).digest('hex');
}

describeWith([...GUEST_PEERS, 'mount.nfs', 'e2fsck'], 'the Linux kernel', () => {
  it('writes, reads, renames, links, lists and deletes; the server is killed and comes back meanwhile', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const server = await ImageServer.start(64, async (files) => {
      await files.mkdir('/many');
      await files.mkdir('/some');
      for (let i = 0; i < NR_FILES; i++) await files.writeFile(`/many/entry ${i}`, '');
      for (let i = 0; i < NR_REMOVED; i++) await files.writeFile(`/some/entry ${i}`, '');
    });
    const data = crypto.randomBytes(2 << 20);
    const script = `${prologue(server)}
step write
dd if=/data of=file bs=32k conv=fsync 2>/dev/null
mkdir -p a/b
mv file a/b/moved
ln a/b/moved hard
ln -s a/b/moved soft
step kill
read _
fresh
sha256sum < hard; sha256sum < soft
[ "$(stat -c %h hard)" = 2 ]
step during
dd if=/data of=second bs=32k conv=fsync 2>/dev/null
fresh
cmp /data second
step list
cd many
[ "$(ls | sort -u | wc -l)" = ${NR_FILES} ]
step again
read _
fresh
[ "$(ls -a | sort -u | wc -l)" = ${NR_FILES + 2} ]
cd ..
step delete # name by name, as they are listed
rm -r some
[ ! -e some ]
printf 'appended' >> hard
truncate -s 100 second
chmod 751 second; touch -d '2001-02-03 04:05:06' second
echo new > new; mv new soft
cp -r a copy
rm a/b/moved
df /mnt | tail -1
cd /
umount /mnt
step end
`;
    const guest = await Guest.start({
      modules: ['nfsv3'],
      programs: ['mount.nfs'],
      files: { '/data': data },
      script,
      timeoutMs: TIMEOUT_MS,
    });
    await guest.until('step: kill', STEP_MS);
    await server.kill(); // everything so far is stable
    await server.start();
    guest.say('back');
    for (let i = 0; i < 2; i++) expect(await guest.until(sha256(data), STEP_MS)).toBe('-');
    await guest.until('step: during', STEP_MS);
    await until('some of it to be written', () => fs.statSync(server.image).size > 0);
    await server.kill(); // some is not even sent
    await server.start();
    await guest.until('step: again', STEP_MS);
    await server.kill();
    await server.start();
    guest.say('back');
    const { code, console } = await guest.ended;
    expect(code, console).toBe(0);
    await server.stop();
    await succeed(programOf('e2fsck'), ['-fn', server.image]);
    const file = (path: string) => `ext3:${server.image}::${path}`;
    expect((await tidemark('ls', file('/'))).stdout.trim().split('\n').sort()).toEqual([
      'a',
      'copy',
      'hard',
      'lost+found',
      'many',
      'second',
      'soft',
    ]);
    const out = freshPath('out');
    fs.mkdirSync(out);
    const kept = ['/hard', '/second', '/soft', '/copy'].map(file);
    expect(await tidemark('cp', '-r', ...kept, out)).toMatchObject({ code: 0 });
    expect(sha256(fs.readFileSync(`${out}/hard`))).toBe(sha256(Buffer.concat([data, Buffer.from('appended')])));
    expect(sha256(fs.readFileSync(`${out}/copy/b/moved`))).toBe(sha256(Buffer.concat([data, Buffer.from('appended')])));
    expect(fs.readFileSync(`${out}/second`)).toEqual(data.subarray(0, 100));
    expect(fs.readFileSync(`${out}/soft`, 'utf8')).toBe('new\n');
    const second = JSON.parse((await tidemark('stat', file('/second'), '--json')).stdout);
    expect(JSON.stringify(second)).toMatch(/2001-02-03T04:05:06/);
  });

  it('swaps to a file there, also while the server is away', { timeout: TIMEOUT_MS }, async () => {
    const server = await ImageServer.start(64);
    const script = `${prologue(server)}
step make
dd if=/dev/zero of=swap bs=64k count=768 conv=fsync 2>/dev/null
chmod 600 swap
mkswap swap >/dev/null
swapon swap
available=$(sed -n 's/^MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)
n=$(((available + 16384) / 2048))
mkdir /mem; mount -t tmpfs -o size=256m none /mem
step fill $n
i=0; while [ $i -lt $n ]; do cat /data > /mem/$i; i=$((i+1)); done
grep pswpout /proc/vmstat
step kill
read _
i=0; while [ $i -lt $n ]; do cmp /data /mem/$i; i=$((i+1)); done
grep pswpin /proc/vmstat
umount /mem
swapoff swap
cd /; umount /mnt
`;
    const data = crypto.randomBytes(2 << 20);
    const options = {
      modules: ['nfsv3'],
      programs: ['mount.nfs'] as const,
      files: { '/data': data },
      memoryMiB: 112,
      timeoutMs: TIMEOUT_MS,
    };
    const guest = await Guest.start({ ...options, script });
    expect(Number(await guest.until('pswpout', STEP_MS))).toBeGreaterThan(0);
    await guest.until('step: kill', STEP_MS);
    await server.kill();
    guest.say('go on'); // it wants pages of a server that is not there
    await server.start();
    expect(Number(await guest.until('pswpin', STEP_MS))).toBeGreaterThan(0);
    const { code, console } = await guest.ended;
    expect(code, console).toBe(0);
    await server.stop();
    expect((await run(programOf('e2fsck'), ['-fn', server.image])).code).toBe(0);
  });
});
