/**
 * The verbs at work: what they print, how they end, what they leave behind. As processes where signals, pipes and servers matter, else within
 * this one.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run, start, toFullDisk } from './command.js';
import { type Answered, runHere } from './here.js';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const SMALL = ['--memory', '1MiB', '--working-set', '8MiB'];

/** Runs a line within this process, with its temporary files in the folder. */
async function here(...words: string[]): Promise<Answered> {
  const { TMPDIR } = process.env;
  process.env.TMPDIR = folder;
  try {
    return await runHere(...words);
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  }
}

describe('help', () => {
  const files = ['ls', 'cat', 'stat', 'tree', 'cp', 'mkdir', 'rm', 'mv', 'ln', 'df', 'check', 'mkfs ext3'];
  it.each(['demo', 'serve nbd', 'serve nfs', 'swap init', 'swap info', 'reserves', 'graph', ...files])(
    '%s shows examples and options',
    async (verb) => {
      const { code, stdout, stderr } = await here(...verb.split(' '), '--help');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain('Examples:');
      expect(stdout).toContain('--json');
      expect(stdout).toContain('--memory <size>');
    },
  );
});

it.each(['cp', 'lab'])('help %s is its --help', async (verb) => {
  expect((await here('help', verb)).stdout).toBe((await here(verb, '--help')).stdout);
});

it('help as a process is the same', async () => {
  expect(await run('cp', '--help')).toMatchObject({ ...(await here('cp', '--help')), signal: null });
});

it('--version prints that of the package', async () => {
  const { version } = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  expect(await run('--version')).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
});

it('sizes in help are sizes', async () => {
  expect((await here('demo', '--help')).stdout).toMatch(/--working-set <size> .*default: 128 MiB\)/);
});

describe('reserves and graph', () => {
  it('show the whole chain: the server of the same kernel is an edge', async () => {
    const { code, stdout, stderr } = await here('graph', 'nbd', ...SMALL, '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { nodes, edges } = JSON.parse(stdout) as { nodes: { name: string; kind: string; level: number }[]; edges: [string, string][] };
    const chain = [...nodes].sort((a, b) => b.level - a.level);
    expect(chain.map(({ kind, level }) => [level, kind])).toEqual([
      [3, 'swap-area'],
      [2, 'block-device'],
      [1, 'server'],
      [0, 'block-device'],
    ]);
    const byLevel = edges.map(([from, to]) => [from, to].map((name) => nodes.find((node) => node.name === name)?.level));
    expect(byLevel.sort()).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('count the same standing frames node by node as the kernel does in all', async () => {
    const { code, stdout } = await here('reserves', 'nbd', ...SMALL, '--json');
    expect(code).toBe(0);
    const plan = JSON.parse(stdout) as {
      standing: number;
      nodes: { kind: string; standing: number; terms: { what: string; frames: number }[] }[];
    };
    const declared = plan.nodes.reduce((sum, node) => sum + node.standing, 0);
    expect(declared).toBeGreaterThan(0);
    expect(plan.standing).toBe(declared);
    for (const node of plan.nodes) expect(node.terms.reduce((sum, term) => sum + term.frames, 0)).toBe(node.standing);
  });

  it('take any device, and print a graph for Graphviz', async () => {
    const { code, stdout } = await here('graph', 'mem:1MiB', '--dot');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^digraph writeout \{\n {2}"mem:1MiB" \[label="mem:1MiB\\nblock-device"\];\n\}\n$/);
  });
});

describe('demo', () => {
  it('verifies every byte and reports it as an object', async () => {
    const { code, stdout, stderr } = await start(['demo', ...SMALL, '--seed', '3', '--json'], { TMPDIR: folder }).ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      stack: 'nbd',
      verified: true,
      memoryBytes: 2 ** 20,
      workingSetBytes: 2 ** 23,
      seed: 3,
      memoryFrames: 256,
    });
    expect(report).toMatchObject({ policy: 'composed', unfundedAllocations: 0, holdingsBeyondDeclaration: 0 });
    expect(report.smallestMemoryBytes).toBe(
      JSON.parse((await here('reserves', 'plan', 'nbd', '--working-set', '8MiB', '--json')).stdout).smallestMemoryBytes,
    );
    expect(report.nodes.map(({ kind }: { kind: string }) => kind)).toEqual(['block-device', 'server', 'block-device', 'swap-area']);
    for (const node of report.nodes) {
      expect(Object.keys(node)).toEqual(['name', 'kind', 'level', 'nrUnits', 'need', 'standing', 'reserved', 'highWater', 'waits']);
      expect(node.highWater).toBeLessThanOrEqual(node.reserved);
      expect(node.reserved).toBe(node.need * node.nrUnits);
    }
    expect(report.inputBytes + report.derivedBytes).toBe(2 ** 23);
    expect(report.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(report.pagesSwappedOut).toBeGreaterThanOrEqual(2048 - 256);
    expect(report.pagesSwappedIn).toBeGreaterThan(2048);
    expect(report.peakFramesUsed).toBeLessThanOrEqual(256);
    expect(report.metadataFrames).toBeLessThan(256);
    expect(report.refaults).toBeGreaterThan(0);
    for (const key of [
      'loadSeconds',
      'randomReadSeconds',
      'sequentialReadSeconds',
      'totalSeconds',
      'throughputBytesPerSecond',
      'peakRssBytes',
    ]) {
      expect(report[key], key).toBeGreaterThan(0);
    }
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('prints a few plain lines when piped, and the report', async () => {
    const input = path.join(folder, 'input');
    fs.writeFileSync(input, 'not much of an input');
    const { code, stdout, stderr } = await run('demo', ...SMALL, '--input', input);
    expect(code).toBe(0);
    const lines = stderr.trim().split('\n');
    const plan = lines.splice(0, lines.indexOf(`input: ${input}`));
    expect(plan[0]).toBe('plan (policy composed), in frames:');
    expect(plan.slice(2, 6).map((line) => line.trim().split(/ +/).slice(0, 1)[0].split(':')[0])).toEqual([
      'swap',
      'nbd',
      'nbd-server',
      'file',
    ]);
    expect(plan.at(-1)).toMatch(/^ {2}the smallest memory that holds this: \d+ KiB$/);
    expect(lines).toEqual([
      `input: ${input}`,
      expect.stringMatching(/^load: 8 MiB in /),
      expect.stringMatching(/^read at random: 8 MiB in /),
      expect.stringMatching(/^read in order: 8 MiB in /),
    ]);
    expect(stdout).toMatch(/^8 MiB in 1 MiB of memory, swapped over NBD on loopback: every byte came back\n/);
    expect(stdout).toContain(`20 B of ${input}, 8.0 MiB derived from seed 1`);
    expect(stdout).toContain('unfunded allocations 0, holdings beyond the declaration 0\n');
    expect(stdout).not.toContain('\x1b');
    expect(stdout + stderr).not.toContain('tidemark-demo-'); // the temporary folder is nobody's business
  });

  it.each(['none', 'memalloc', 'limits', 'vmio'])('runs under the policy %s', async (policy) => {
    const { code, stdout } = await here('demo', '--memory', '1MiB', '--working-set', '4MiB', '--policy', policy, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ policy, verified: true });
  });

  it('holds a working set that ends in the middle of a page', async () => {
    const { code, stdout } = await here('demo', '--memory', '1MiB', '--working-set', String(3 * 2 ** 20 + 777), '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout).workingSetBytes).toBe(3 * 2 ** 20 + 777);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('on %s removes its files and ends with %i', async (signal, code) => {
    const { child, ended } = start(['demo', '--memory', '8MiB', '--working-set', '1GiB'], { TMPDIR: folder });
    const listens = () => fs.readdirSync(folder).some((name) => fs.existsSync(path.join(folder, name, 'swap')));
    while (!listens() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill(signal);
    expect((await ended).code).toBe(code);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('removes its files when it fails', async () => {
    const { code, stderr } = await here('demo', '--memory', '128KiB', '--working-set', '1GiB');
    expect(code).toBe(2);
    expect(stderr).toMatch(/tidemark: ENOMEM/);
    expect(fs.readdirSync(folder)).toEqual([]);
  });
});

describe('a stream that fails', () => {
  it.each(['stdout', 'stderr'] as const)('%s, whose reader goes away: files removed, 141', async (stream) => {
    const { child, ended } = start(['demo', ...SMALL], { TMPDIR: folder });
    child[stream]?.destroy();
    expect((await ended).code).toBe(141);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('stdout on a full disk: one line, 1', async () => {
    const { code, stderr } = await toFullDisk('stdout', ['demo', ...SMALL, '--json'], { TMPDIR: folder });
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'tidemark: cannot write to stdout: no space left on device\n' });
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('stderr on a full disk: the demo goes on without it', async () => {
    const { code, stdout } = await toFullDisk('stderr', ['demo', ...SMALL], { TMPDIR: folder });
    expect(code).toBe(0);
    expect(stdout).toContain('every byte came back');
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('a server drains before it ends', async () => {
    const socket = path.join(folder, 'nbd.sock');
    const { code } = await toFullDisk('stdout', ['serve', 'nbd', 'mem:1MiB', '--listen', `unix:${socket}`]);
    expect(code).toBe(1);
    expect(fs.existsSync(socket)).toBe(false);
  });
});

describe('serve nbd', () => {
  it.each(['SIGTERM', 'SIGHUP'] as const)('prints where it listens, serves, keeps what was written, and drains on %s', async (signal) => {
    const image = path.join(folder, 'disk.img');
    fs.writeFileSync(image, Buffer.alloc(2 ** 20));
    const { child, firstLine, ended } = start(['serve', 'nbd', image, '--export', 'disk one', '--listen', '127.0.0.1:0']);
    const uri = /^listening (nbd:\/\/127\.0\.0\.1:\d+\/disk%20one)$/.exec(await firstLine)?.[1];
    expect(uri).toBeDefined();
    expect((await here('swap', 'init', uri as string, '--label', 'over nbd')).code).toBe(0);
    child.kill(signal);
    expect(await ended).toMatchObject({ code: 0, signal: null });
    expect((await here('swap', 'info', image)).stdout).toMatch(/^label +over nbd$/m);
  });

  it('serves several devices on a unix socket, read-only, and says so as an object', async () => {
    const socket = path.join(folder, 'nbd.sock');
    for (const name of ['a', 'b']) fs.writeFileSync(path.join(folder, name), Buffer.alloc(2 ** 20));
    const words = ['serve', 'nbd', `a=${folder}/a`, `b=${folder}/b`, '--listen', `unix:${socket}`, '--read-only', '--json'];
    const { child, firstLine, ended } = start(words);
    const { listening, exports } = JSON.parse(await firstLine);
    expect(listening).toBe(`nbd+unix:///a?socket=${socket}`);
    expect(exports).toEqual(
      ['a', 'b'].map((name) => ({
        name,
        uri: `nbd+unix:///${name}?socket=${socket}`,
        device: expect.stringContaining(`${folder}/${name}`),
        sizeBytes: 2 ** 20,
        readOnly: true,
      })),
    );
    const refused = await here('swap', 'init', exports[1].uri);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/^tidemark: EROFS/);
    child.kill('SIGINT');
    expect((await ended).code).toBe(0);
    expect(fs.existsSync(socket)).toBe(false);
  });

  it('takes over a socket that a killed server left, and not one that is alive', async () => {
    const words = ['serve', 'nbd', 'mem:1MiB', '--listen', `unix:${folder}/nbd.sock`];
    const killed = start(words);
    await killed.firstLine;
    const second = await run(...words);
    expect(second.code).toBe(2);
    expect(second.stderr).toMatch(/EADDRINUSE/);
    killed.child.kill('SIGKILL');
    await killed.ended;
    expect(fs.existsSync(`${folder}/nbd.sock`)).toBe(true);
    const third = start(words);
    expect(await third.firstLine).toMatch(/^listening nbd\+unix:/);
    third.child.kill('SIGTERM');
    expect((await third.ended).code).toBe(0);
  });
});

describe('swap', () => {
  it('writes a header and reads it back', async () => {
    const image = path.join(folder, 'swap.img');
    fs.writeFileSync(image, Buffer.alloc(64 * 4096, 0xa5));
    const uuid = '01234567-89ab-cdef-0123-456789abcdef';
    const facts = {
      device: image,
      version: 1,
      uuid,
      label: 'fifteen-letters',
      sizeBytes: 64 * 4096,
      nrPages: 64,
      usableBytes: 63 * 4096,
      badPages: [],
      otherByteOrder: false,
    };
    const made = await here('swap', 'init', image, '--label', 'fifteen-letters', '--uuid', uuid, '--json');
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(made.stdout)).toEqual(facts);
    const read = await here('swap', 'info', image, '--json');
    expect(JSON.parse(read.stdout)).toEqual(facts);
    const shown = await here('swap', 'info', image);
    expect(shown.stdout.split('\n').slice(1, 6)).toEqual([
      'version     1',
      'label       fifteen-letters',
      `uuid        ${uuid}`,
      'size        256 KiB, 64 pages',
      'usable      252 KiB',
    ]);
    const bytes = fs.readFileSync(image);
    expect(bytes.length).toBe(64 * 4096);
    expect(bytes.subarray(0, 1024).every((byte) => byte === 0xa5)).toBe(true); // boot bits stay
    expect(bytes.subarray(4096).every((byte) => byte === 0xa5)).toBe(true);
  });

  it('reads a header of the other byte order', async () => {
    const image = path.join(folder, 'swap.img');
    const bytes = Buffer.alloc(16 * 4096);
    bytes.writeUInt32BE(1, 1024);
    bytes.writeUInt32BE(15, 1028);
    bytes.writeUInt32BE(1, 1032);
    bytes.writeUInt32BE(7, 1536);
    bytes.write('SWAPSPACE2', 4086, 'latin1');
    fs.writeFileSync(image, bytes);
    const { stdout } = await here('swap', 'info', image, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ nrPages: 16, badPages: [7], usableBytes: 14 * 4096, otherByteOrder: true });
  });
});
