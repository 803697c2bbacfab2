/** A kernel with a tree in memory, mounted on a scripted FUSE kernel. */
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { FuseMount, type FuseMountOptions } from '@tidemark/fuse';
import { memfs } from '@tidemark/testkit';
import { afterEach, expect } from 'vitest';
import { OP, pack, ScriptedKernel } from './scripted-kernel.js';

const kernels: Kernel[] = [];

afterEach(async () => {
  for (const kernel of kernels.splice(0)) {
    const { leakedFrames, leakedTimers, problems } = await kernel.shutdown();
    expect({ leakedFrames, leakedTimers, problems }).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  }
});

export async function mounted(options: Partial<FuseMountOptions> = {}, memory = '8MiB') {
  const linux = new ScriptedKernel();
  const kernel = await Kernel.boot({ memory, plugins: [host, memfs, linux.plugin] });
  kernels.push(kernel);
  await kernel.mount('memfs:4MiB', '/');
  const mount = await FuseMount.open(kernel, { at: '/mnt', ...options });
  await linux.greet();
  return { linux, kernel, mount };
}

/** Makes a file. @returns its node and an open handle. */
export async function create(linux: ScriptedKernel, name: string, flags = 2, dir = 1): Promise<{ node: number; handle: bigint }> {
  const body = await linux.want(OP.CREATE, dir, pack(flags, 0o100644, 0o22, 0, name));
  return { node: Number(body.getBigUint64(0, true)), handle: body.getBigUint64(128, true) };
}

export function write(handle: bigint, offset: number, data: Uint8Array): Uint8Array {
  return pack(handle, BigInt(offset), data.length, 0, 0n, 0, 0, data);
}

export function range(handle: bigint, offset: number, size: number): Uint8Array {
  return pack(handle, BigInt(offset), size, 0, 0n, 0, 0);
}

export function lock(handle: bigint, owner: bigint, first: bigint, last: bigint, type: number, flags = 0): Uint8Array {
  return pack(handle, owner, first, last, type, 77, flags, 0);
}

/** Names in the answer to a READDIR, with their cookies. */
export function names(body: DataView, plus = false): { name: string; cookie: bigint; node: bigint }[] {
  const found: { name: string; cookie: bigint; node: bigint }[] = [];
  const head = plus ? 128 : 0;
  for (let at = 0; at < body.byteLength; ) {
    const length = body.getUint32(at + head + 16, true);
    const name = new TextDecoder().decode(new Uint8Array(body.buffer, body.byteOffset + at + head + 24, length));
    found.push({ name, cookie: body.getBigUint64(at + head + 8, true), node: plus ? body.getBigUint64(at, true) : 0n });
    at += head + Math.ceil((24 + length) / 8) * 8;
  }
  return found;
}
