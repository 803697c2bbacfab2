/**
 * The adapter for `node:vfs`, on a Node that has it: Node's own `fs`, `import` and `require` below a mounted tree, each call also made in
 * a folder of the host. That Node comes from the registry; without it, the test is skipped by name.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const PROGRAM = path.join(path.dirname(fileURLToPath(import.meta.url)), 'node-vfs/program.mjs');
const NODE = 'node@26';

function nodeWithVfs(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('npx', ['-y', '-p', NODE, 'node', '--experimental-vfs', ...words], { encoding: 'utf8', timeout: 100_000 });
}

const hasVfs = nodeWithVfs('-e', "require('node:vfs')").status === 0;

describe.skipIf(!hasVfs)(`on ${NODE} with --experimental-vfs`, () => {
  it('node:fs, import and require find a tree of a kernel, and do there what they do on the host', () => {
    const { status, stdout, stderr } = nodeWithVfs(PROGRAM);
    expect(status, stderr).toBe(0);
    const { answers, inTree, isGone, shutdown } = JSON.parse(stdout.trim().split('\n').at(-1) as string) as {
      answers: Record<string, { host: unknown; ours: unknown }>;
      inTree: string[];
      isGone: boolean;
      shutdown: object;
    };
    expect(Object.keys(answers).sort()).toEqual(inTree);
    expect(Object.keys(answers)).toHaveLength(7);
    for (const [name, { host, ours }] of Object.entries(answers)) expect([name, ours]).toEqual([name, host]);
    expect({ isGone, shutdown }).toEqual({ isGone: true, shutdown: { leakedFrames: 0, leakedTimers: 0, problems: [] } });
  });
});
