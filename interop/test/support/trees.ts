/** Trees for software to run on: a kernel with memfs at its root, and the way of a tree between that and the host. */
import hostFs from 'node:fs';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { expect } from 'vitest';

/** Boots a kernel, runs `body` on its files, takes it down, and expects that nothing is left. */
export async function withTree(body: (fs: NodeFs, kernel: Kernel) => Promise<void>): Promise<void> {
  const kernel = await Kernel.boot({ memory: '64MiB', plugins: [host, memfs] });
  await kernel.mount('memfs:48MiB', '/');
  try {
    await body(kernel.fs, kernel);
  } catch (error) {
    await kernel.shutdown({ timeoutMs: 2_000 });
    throw error;
  }
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
}

/** What a tree holds, as lines to compare: type, permissions, link target or content. */
export function listing(fs: NodeFs, top: string): string[] {
  const lines: string[] = [];
  const walk = (at: string): void => {
    for (const name of fs.readdirSync(at).sort()) {
      const inside = path.posix.join(at, name);
      const stat = fs.lstatSync(inside);
      const mode = (stat.mode & 0o777).toString(8);
      const shown = inside.slice(top.length);
      if (stat.isSymbolicLink()) lines.push(`${shown} -> ${fs.readlinkSync(inside)}`);
      else if (stat.isDirectory()) {
        lines.push(`${shown}/ ${mode}`);
        walk(inside);
      } else lines.push(`${shown} ${mode} ${stat.size} ${fs.readFileSync(inside).toString('base64')}`);
    }
  };
  walk(top);
  return lines;
}

/** Copies a tree from one filesystem to another: directories, files, symbolic links, permissions. */
export function copyAcross(from: NodeFs, source: string, to: NodeFs, target: string): void {
  to.mkdirSync(target, { recursive: true });
  for (const name of from.readdirSync(source)) {
    const [inside, made] = [path.posix.join(source, name), path.posix.join(target, name)];
    const stat = from.lstatSync(inside);
    if (stat.isDirectory()) copyAcross(from, inside, to, made);
    else if (stat.isSymbolicLink()) to.symlinkSync(from.readlinkSync(inside), made);
    else to.writeFileSync(made, from.readFileSync(inside));
    if (!stat.isSymbolicLink()) to.chmodSync(made, stat.mode & 0o777);
  }
}

/** Node's own, as the type that both have. */
export const onHost = hostFs as unknown as NodeFs;
